//! D-19: the C# package for Unity against our server and our client. Needs Mono.

mod adapter;
mod codec;
mod ends;
mod game;
mod hostile;
#[path = "../kit/mod.rs"]
mod kit;
mod memory;
mod mono;
mod network;
mod package;
#[path = "../../../../proto-dissonance/tests/kit/mod.rs"]
mod packets;
mod players;
mod proxy;
mod raw;
mod tls;
mod voice;
