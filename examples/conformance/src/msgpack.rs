//! msgpack over ZMTP, and plain objects.

mod bytes;
mod calls;
mod client;
mod requests;
mod talk;
mod user;
mod zmtp;

use crate::protocols::Protocol;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "msgpack",
    is_udp: false,
    abilities: &[
        ("plain", "plain objects over TCP, without ZMTP"),
        ("zmtp-1", "peers of ZMTP 1.0"),
        ("zmtp-2", "peers of ZMTP 2.0"),
        ("strict", "the safe defaults, which the original program does not have"),
    ],
    server: &[zmtp::ZMTP, requests::REQUESTS, talk::TALK, calls::CALLS],
    roles: &[
        ("listener", "logs in and shows what comes"),
        ("talker", "joins the call of the group readers and sends audio"),
        ("whisperer", "whispers something to bob"),
    ],
    client: &[client::CLIENT],
};
