//! voicelink: calls through a server.

mod bytes;
mod client;
mod framing;
mod server;

use crate::protocols::Protocol;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "voicelink",
    is_udp: false,
    abilities: &[
        ("registration", "clients take names by registering"),
        ("sample-order", "samples are swapped between clients that declared different orders"),
    ],
    server: &[framing::FRAMING, server::CALLS],
    roles: &[
        ("callee", "registers a name and accepts calls as they are proposed"),
        ("caller", "calls the client bob and sends audio"),
    ],
    client: &[client::CHECKS],
};
