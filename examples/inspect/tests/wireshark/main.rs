//! C-09: the Wireshark dissectors of `examples/wireshark` show what `voxwire-inspect` shows, field by field.
//!
//! The tests write captures, in which the messages are cut in many ways, and read what `tshark` makes of them.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub)]

mod capture;
mod conversation;
mod expect;
mod fields;
#[path = "../kit/mod.rs"]
mod kit;
mod numbers;
mod packets;
mod pdml;
mod ports;
mod robust;
mod transport;
mod tshark;
mod vectors;
