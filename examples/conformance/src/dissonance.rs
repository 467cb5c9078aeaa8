//! Dissonance over TCP + UDP: rooms, and a server that relays.

mod bytes;
mod client;
mod joining;
mod player;
mod relaying;
mod transport;

use crate::protocols::Protocol;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "dissonance",
    is_udp: false,
    abilities: &[("udp", "droppable packets go by UDP")],
    server: &[transport::TRANSPORT, joining::JOINING, relaying::RELAYING],
    roles: &[
        ("listener", "joins and listens to the room Lobby"),
        ("speaker", "joins and speaks to the room Lobby"),
    ],
    client: &[client::CLIENT],
};
