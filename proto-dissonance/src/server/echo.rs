//! The room in which a client hears itself.

use super::{Flags, Server};
use crate::{
    Channel, ClientId, ClientInfo, ClientState, DeltaClientState, ECHO, Packet, Recipient, RoomId, Text,
    VoiceData, Wire, room_id,
};
use voxwire_core::{Instant, Lane, List, Outbox, PeerId};

impl Server {
    /// Whether a name is that of the room in which a client hears itself, or of the player that it hears there. The room is in no table: it has no
    /// listeners that others know of.
    pub(super) fn is_echo(&self, name: &str) -> bool {
        self.settings.echo && name == ECHO
    }

    /// Whether a room has this number: no other name with it is a room, or its listeners would hear what is said to echo.
    pub(super) fn is_echo_number(&self, id: RoomId) -> bool {
        self.settings.echo && id == room_id(ECHO)
    }

    /// A client listens to the room, or no more. Returns whether that is new.
    pub(super) fn set_echo(&mut self, now: Instant, peer: PeerId, client: ClientId, listens: bool) -> bool {
        // Its number is taken when somebody listens first.
        let echo = if listens { self.clients.echo(now) } else { self.clients.echo_number() };
        let Some(echo) = echo else { return false };
        let Some(state) = self.peers.get_mut(peer) else { return false };
        let listened = state.flags.has(Flags::ECHO);
        state.flags.set(Flags::ECHO, listens);
        if listens {
            self.tell_echo(peer, client);
        } else if listened {
            let (session, room) = (self.session, Text::new(ECHO));
            self.send(
                peer,
                &Packet::DeltaClientState(DeltaClientState { session, joined: false, client, room }),
            );
            self.send(peer, &Packet::RemoveClient { session, client: echo });
        }
        listened != listens
    }

    /// Tells a client that listens to the room that it does, and who is there. Nobody else is told.
    pub(super) fn tell_echo(&mut self, peer: PeerId, client: ClientId) {
        let listens = self.peers.get(peer).is_some_and(|state| state.flags.has(Flags::ECHO));
        let Some(echo) = self.clients.echo_number().filter(|_| listens) else { return };
        // Its own voice is what it hears.
        let Some(codec) = self.clients.get(client).map(|state| state.codec) else { return };
        let (session, room) = (self.session, Text::new(ECHO));
        self.send(peer, &Packet::DeltaClientState(DeltaClientState { session, joined: true, client, room }));
        let client = ClientInfo { name: Text::new(ECHO), id: echo, codec };
        let rooms = List::from(core::slice::from_ref(&room));
        self.send(peer, &Packet::ClientState(ClientState { session, client, rooms }));
    }
}

/// Sends back what a client says to echo. Returns whether it says something to it.
#[cold]
pub(super) fn send_back(
    outbox: &mut Outbox,
    wire: &Wire,
    echo: ClientId,
    (peer, sender): (PeerId, ClientId),
    voice: VoiceData<'_>,
) -> bool {
    let answer = |channel: &Channel| match channel.recipient() {
        Recipient::Room(room) => (room == room_id(ECHO)).then_some(*channel),
        Recipient::Player(client) => {
            (client == echo).then(|| Channel::from_bits(channel.bits(), sender.get()))
        }
    };
    let Some(channel) = voice.channels.iter().find_map(answer) else { return false };
    let voice = VoiceData { sender: echo, channels: &[channel], ..voice };
    // What does not fit the outbox is lost, as any voice is.
    let _ = outbox.send([peer], Lane::Droppable, &Packet::VoiceData(voice), wire);
    true
}
