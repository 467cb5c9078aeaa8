//! opcode: log-ins, contact lists and calls.

mod bytes;
mod calls;
mod client;
mod log_in;
mod user;

use crate::protocols::Protocol;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "opcode",
    is_udp: false,
    abilities: &[
        ("names", "names are checked and unnamed clients unlisted, which the original does not do"),
        ("direct", "callees are told the caller's own address; the server carries no calls"),
    ],
    server: &[log_in::LOG_IN, calls::CALLS],
    roles: &[("callee", "logs in and accepts calls"), ("caller", "calls the client bob and sends voice")],
    client: &[client::CLIENT],
};
