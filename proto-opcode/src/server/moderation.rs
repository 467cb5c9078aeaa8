//! What an operator sees of clients, and decides about them.

use super::{Peer, Server};
use crate::{Refusal, ServerEvent};
use alloc::{borrow::Cow, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{
    Ability, Instant, Member, MemberChange, Moderation, Mute, PeerId, Unsupported, Watched, canonical_name,
};

const NO_ROOMS: Unsupported =
    Unsupported { ability: Ability::Record, why: "opcode has no rooms: say whose calls, by name" };

impl Moderation for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::MuteText | Ability::Say => Some("opcode has no text"),
            Ability::Leave | Ability::Enter => Some("opcode has no rooms"),
            Ability::MuteVoice | Ability::Hearing | Ability::Record if self.settings.relay.is_none() => Some(
                "opcode's calls go straight between clients: set `relay`, so that the server carries them",
            ),
            Ability::MuteVoice | Ability::Hearing | Ability::Names | Ability::Record => None,
        }
    }

    fn member_change(event: &ServerEvent<'_>) -> Option<MemberChange> {
        match event {
            ServerEvent::LoggingIn { peer, .. } | ServerEvent::LoggedIn { peer } => {
                Some(MemberChange::Changed(*peer))
            }
            ServerEvent::Gone { peer, .. } => Some(MemberChange::Gone(*peer)),
            _ => None,
        }
    }

    /// A client that is logged in.
    fn member(&self, peer: PeerId) -> Option<Member<'_>> {
        let client = self.client(peer)?;
        Some(Member {
            peer,
            name: Some(client.name.as_deref()?),
            address: self.peers.address(peer),
            muted: Mute { voice: client.muted, text: false },
            hearing_set: self.hearing.has_set(peer),
        })
    }

    /// Every client's connection, and its address, if the driver told it.
    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        let clients = self.peers.iter().filter(|(_, state)| matches!(state, Peer::Client(_)));
        clients.map(|(peer, _)| (peer, self.peers.address(peer)))
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.address(peer)
    }

    fn last_voice(&self, peer: PeerId) -> Option<Instant> {
        self.relayed_voice(peer)
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.find(name.as_bytes()).into_iter().collect()
    }

    fn name_key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.settings.any_name { name.into() } else { canonical_name(name) }
    }

    /// Ends the calls of a client that the server carries, those included that are up, tells it the reason, of which at most 255 bytes are
    /// sent, and closes its connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        self.client(peer).ok_or(Refusal::UnknownPeer)?;
        self.end_relays(now, peer);
        self.expel(now, peer, Some(reason));
        Ok(())
    }

    /// Decides whether voice of a client is handed on, where the server carries calls. Ends with the connection; in a call that is up when
    /// the client logs out it holds to the end of the call.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unsupported`] for text, which the protocol does not have, and where calls go straight between
    /// clients, except for [`Mute::NOTHING`].
    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            self.check_ability(Ability::MuteText)?;
        }
        let relayed = self.check_ability(Ability::MuteVoice);
        let client = self.client_mut(peer).ok_or(Refusal::UnknownPeer)?;
        if mute.voice {
            relayed?;
        }
        client.muted = mute.voice;
        self.silence_calls_of(peer);
        Ok(())
    }

    /// Decides whose voice is handed on to a listener, where the server carries calls; `None` for what
    /// [`close_hearing`](Self::close_hearing) says. Ends with the listener's connection; in a call that is up when one of its parties logs
    /// out, what both hear stays as it is.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unsupported`] where calls go straight between clients, except for `None`.
    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.client(listener).ok_or(Refusal::UnknownPeer)?;
        if speakers.is_some() {
            self.check_ability(Ability::Hearing)?;
        }
        self.hearing.set(listener, speakers);
        self.silence_calls_of(listener);
        Ok(())
    }

    /// Raises [`ServerEvent::Voice`] for the calls of a client that the server carries, both sides of them. Ends with the connection; in a call
    /// that is up when its parties have logged out it holds to the end of the call.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`] if no client has the name; [`Refusal::Unsupported`] for a room, and where calls go straight between clients.
    fn watch(&mut self, watched: Watched<'_>, on: bool) -> Result<(), Refusal> {
        let name = match watched {
            Watched::Name(name) => name,
            Watched::Room(_) => return Err(NO_ROOMS.into()),
        };
        self.check_ability(Ability::Record)?;
        let peer = self.find(name.as_bytes()).ok_or(Refusal::UnknownPeer)?;
        self.client_mut(peer).ok_or(Refusal::UnknownPeer)?.watched = on;
        self.silence_calls_of(peer);
        Ok(())
    }

    /// Whether listeners of which nothing is decided hear no client, rather than every client. Where calls go straight between clients, they
    /// hear each other all the same.
    fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
        self.silence_all();
    }
}
