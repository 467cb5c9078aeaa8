//! Attacks on the program `voxwire-server`: a load of one kind at a time, with an honest call beside it.
//!
//! Each file is an attack on the real program as a child process. Beside it two clients of ours make a call, which must lose nothing;
//! afterwards the server must have stayed under 512 MiB and must end when it is told to. The attacks take some five seconds each, one
//! after the other; `CONTRIBUTING.md` has the command for their full length.
//!
//! Some send datagrams at an even pace, 10 000 a second; `VOXWIRE_ATTACK_RATE` says another.
//!
//! All traffic stays on loopback, or in a network of the test's own. What cannot run on a machine prints `skipped` and why.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    unreachable_pub,
    dead_code
)]

mod common;
mod descriptors;
mod discovery;
mod disk;
mod floods;
mod frozen;
mod http;
mod initials;
mod log_pipe;
#[path = "../../../../tests/kit/namespaces.rs"]
mod namespaces;
mod partial;
#[path = "../kit/raw.rs"]
mod raw;
mod together;
#[path = "../kit/user.rs"]
mod user;
