//! The tests of this crate, in one binary: each takes its time to link. A new file needs a line here.

mod desk;
mod harness;

mod costs;
mod crossing;
mod hostile;
mod json;
mod laws;
mod moderation;
mod owned;
mod session;
mod vectors;
