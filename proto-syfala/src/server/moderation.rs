//! What an operator sees of clients, and decides about them.

use super::{Place, Server};
use crate::{Cause, Refusal, ServerEvent, ServerMessage};
use core::net::SocketAddr;
use voxwire_core::{Ability, Instant, Lane, Member, MemberChange, Moderation, Mute, PeerId};

impl Moderation for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::MuteVoice => None,
            Ability::Names => Some("syfala has no names: say which peer"),
            Ability::MuteText | Ability::Say => Some("syfala has no text"),
            Ability::Record => Some("a syfala device hands on no voice of one client"),
            Ability::Hearing => Some("a syfala device mixes what it plays for all of its clients"),
            Ability::Leave | Ability::Enter => Some("syfala has no rooms"),
        }
    }

    fn member_change(event: &ServerEvent<'_>) -> Option<MemberChange> {
        match event {
            ServerEvent::Connected { client, .. } => Some(MemberChange::Changed(*client)),
            ServerEvent::Gone { client, .. } => Some(MemberChange::Gone(*client)),
            _ => None,
        }
    }

    /// A client. The protocol has no names.
    fn member(&self, peer: PeerId) -> Option<Member<'_>> {
        let known = self.peers.get(peer)?;
        let Place::Client(client) = &known.place else { return None };
        let muted = Mute { voice: client.muted, text: false };
        Some(Member { peer, name: None, address: known.from, muted, hearing_set: false })
    }

    /// The clients and their addresses.
    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.clients().map(|(client, address, _)| (client, address))
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.member(peer)?.address
    }

    /// Ends the connection of a client; `Gone` follows. The protocol has no word for the reason.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn kick(&mut self, _now: Instant, client: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.state(client).ok_or(Refusal::UnknownPeer)?;
        // One byte.
        self.outbox.send_over_limit(client, Lane::Reliable, &ServerMessage::Disconnect, &self.wire)?;
        if let Some(io) = self.forget(client) {
            self.later.push_back(ServerEvent::Gone { client, cause: Cause::Disconnected, io });
        }
        Ok(())
    }

    /// Decides whether audio of a client is told of, rather than dropped. Ends with the connection. What the client hears is
    /// the application's affair.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unsupported`] for text, which the protocol does not have.
    fn mute(&mut self, client: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            self.check_ability(Ability::MuteText)?;
        }
        self.client_mut(client).ok_or(Refusal::UnknownPeer)?.muted = mute.voice;
        Ok(())
    }
}
