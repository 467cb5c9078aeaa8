//! Control of a running server, as operators and game servers use it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "../kit/mod.rs"]
mod kit;

mod bans;
mod common;
mod ctl;
mod events;
mod hostile;
mod limits;
mod protocols;
mod recordings;
mod schemathesis;
