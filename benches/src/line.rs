//! opcode's calls that are up.

use voxwire_core::{DialId, Input, Instant, Lane, ListenId, Message, PeerId, Rate, Session, Via};
use voxwire_opcode::{
    CallRequest, Client, ClientCommand, ClientSettings, Packet, RelayAddress, Server, ServerSettings, Text,
    Wire,
};

const fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

/// A packet's bytes.
///
/// # Panics
/// It cannot be encoded.
pub fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&Wire::CLIENT, &mut bytes).unwrap();
    bytes
}

fn send(session: &mut impl Session, from: PeerId, packet: &Packet<'_>) {
    let bytes = encoded(packet);
    let input = Input::Frame { peer: from, lane: Lane::Reliable, bytes: &bytes };
    assert!(session.handle_input(Instant::ZERO, input).is_ok());
    session.advance(usize::MAX);
}

fn open(session: &mut impl Session, peer: PeerId, via: Via) {
    let from = Some(([10, 0, 0, 1], 1).into());
    assert!(session.handle_input(Instant::ZERO, Input::Opened { peer, via, from }).is_ok());
    session.advance(usize::MAX);
}

/// A server that carries a call, and the connections of the two sides.
pub fn carried(voice: Rate) -> (Server, [PeerId; 2]) {
    let relay = Some(RelayAddress { v4: Some([10, 0, 0, 9].into()), v6: None });
    let mut server = Server::new(ServerSettings { relay, voice, ..ServerSettings::DEFAULT }, 1);
    for (slot, name) in [(0, "alice"), (1, "bob")] {
        open(&mut server, peer(slot), Via::Accepted);
        send(&mut server, peer(slot), &Packet::Login { name: name.into() });
    }
    let call = CallRequest { contact: "bob".into(), host: Text(b""), port: 4001 };
    send(&mut server, peer(0), &Packet::CallRequest(call));
    let _ = server.handle_input(Instant::ZERO, Input::Listening { id: ListenId::new(0), port: 4002 });
    open(&mut server, peer(2), Via::AcceptedOn(ListenId::new(0)));
    open(&mut server, peer(3), Via::Dialled(DialId::new(1)));
    assert_eq!(server.stats().established, 1);
    (server, [peer(3), peer(2)])
}

/// A client in a call, and its connection to the other side.
pub fn calling(voice: Rate) -> (Client, PeerId) {
    let mut client = Client::new(ClientSettings { voice, ..ClientSettings::DEFAULT });
    client.handle_command(Instant::ZERO, ClientCommand::Login { name: "alice" }).unwrap();
    open(&mut client, peer(0), Via::Accepted);
    send(&mut client, peer(0), &Packet::HelloConnect);
    send(&mut client, peer(0), &Packet::LoginSuccess);
    client.handle_command(Instant::ZERO, ClientCommand::Call { contact: b"bob" }).unwrap();
    client.handle_input(Instant::ZERO, Input::Listening { id: ListenId::new(1), port: 4001 }).unwrap();
    open(&mut client, peer(1), Via::AcceptedOn(ListenId::new(1)));
    (client, peer(1))
}
