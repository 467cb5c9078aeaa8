//! The tests of this crate, in one binary: each takes its time to link. A new file needs a line here.

mod harness;
mod kit;

mod client;
mod costs;
mod dialogue;
mod echo;
mod hostile;
mod independent;
mod json;
mod laws;
mod listening;
mod moderation;
mod owned;
mod session;
mod vectors;
mod worlds;
