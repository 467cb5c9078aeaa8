//! What an operator sees of clients, and decides about them.

use super::Server;
use crate::{Refusal, ServerEvent};
use alloc::{borrow::Cow, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{
    Ability, Instant, Member, MemberChange, Moderation, Mute, PeerId, Unsupported, Watched, canonical_name,
};

const NO_ROOMS: Unsupported =
    Unsupported { ability: Ability::Record, why: "voicelink has no rooms: say whose calls, by name" };

impl Moderation for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::MuteText | Ability::Say => Some("voicelink has no text"),
            Ability::Leave | Ability::Enter => Some("voicelink has no rooms"),
            Ability::MuteVoice | Ability::Hearing | Ability::Names | Ability::Record => None,
        }
    }

    fn member_change(event: &ServerEvent<'_>) -> Option<MemberChange> {
        match event {
            ServerEvent::Connected { peer, .. }
            | ServerEvent::Registering { peer, .. }
            | ServerEvent::Registered { peer } => Some(MemberChange::Changed(*peer)),
            ServerEvent::Gone { peer, .. } => Some(MemberChange::Gone(*peer)),
            _ => None,
        }
    }

    /// A connection that has a name.
    fn member(&self, peer: PeerId) -> Option<Member<'_>> {
        let state = self.peers.get(peer)?;
        Some(Member {
            peer,
            name: Some(state.name.as_ref()?.text.as_bytes()),
            address: self.peers.address(peer),
            muted: Mute { voice: state.muted, text: false },
            hearing_set: self.hearing.has_set(peer),
        })
    }

    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.peers.addresses()
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.address(peer)
    }

    fn last_voice(&self, peer: PeerId) -> Option<Instant> {
        let full_at = self.peers.get(peer)?.voice.full_at();
        (full_at != Instant::ZERO).then_some(full_at)
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.find(name).into_iter().collect()
    }

    fn name_key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        canonical_name(name)
    }

    /// Ends a connection's call, tells it the reason, of which at most 255 bytes are sent, and closes it.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer, Some(reason));
        Ok(())
    }

    /// Decides whether audio of a connection is handed on. Its calls go on. Ends with the connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unsupported`] for text, which the protocol does not have.
    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            self.check_ability(Ability::MuteText)?;
        }
        self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?.muted = mute.voice;
        Ok(())
    }

    /// Decides whose audio is handed on to a listener; `None` for what [`close_hearing`](Self::close_hearing) says. Ends with the
    /// listener's connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.peers.get(listener).ok_or(Refusal::UnknownPeer)?;
        self.hearing.set(listener, speakers);
        Ok(())
    }

    /// Raises [`ServerEvent::Voice`] for the calls of a client, both sides of them. Ends with the connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`] if no client has the name; [`Refusal::Unsupported`] for a room.
    fn watch(&mut self, watched: Watched<'_>, on: bool) -> Result<(), Refusal> {
        let name = match watched {
            Watched::Name(name) => name,
            Watched::Room(_) => return Err(NO_ROOMS.into()),
        };
        let peer = self.find(name).and_then(|peer| self.peers.get_mut(peer));
        peer.ok_or(Refusal::UnknownPeer)?.watched = on;
        Ok(())
    }

    fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
    }
}
