//! syfala: audio for devices, by datagrams alone.

mod audio;
mod bytes;
mod client;
mod computer;
mod connecting;

use crate::protocols::Protocol;

pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "syfala",
    is_udp: true,
    abilities: &[
        ("inputs", "the device sends at least one stream"),
        ("several", "the device serves several clients"),
    ],
    server: &[connecting::CONNECTING, audio::AUDIO],
    roles: &[("streamer", "uses the device at the runner's address, with audio both ways")],
    client: &[client::CLIENT],
};
