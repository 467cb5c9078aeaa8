//! The tests of this crate, in one binary: each takes its time to link. A new file needs a line here.

mod harness;

mod costs;
mod dialogue;
mod echo;
mod hostile;
mod json;
mod laws;
mod moderation;
mod owned;
mod server;
mod session;
mod vectors;
