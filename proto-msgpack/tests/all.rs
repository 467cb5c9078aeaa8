//! The tests of this crate, in one binary: each takes its time to link. A new file needs a line here.

mod harness;
mod kit;

mod client;
mod costs;
mod delivery;
mod dialogue;
mod hostile;
mod json;
mod laws;
mod lost_log_ins;
mod moderation;
mod owned;
mod requests_only;
mod session;
mod storage;
mod vectors;
mod versions;
mod waiting;
