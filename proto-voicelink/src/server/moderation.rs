//! What an operator decides about clients: see [`Member`].

use super::Server;
use crate::Refusal;
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId};

impl Server {
    /// The connections that have a name.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.peers.iter().filter_map(|(peer, state)| {
            let name = state.name.as_ref()?;
            Some(Member {
                peer,
                name: Some(name.text.as_bytes()),
                address: self.address(peer),
                muted: Mute { voice: state.muted, text: false },
                hearing_set: self.hearing.has_set(peer),
            })
        })
    }

    /// Every connection, and its address, if the driver told it.
    pub fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.peers.iter().map(|(peer, _)| (peer, self.address(peer)))
    }

    /// Ends a connection's call, tells it the reason, of which at most 255 bytes are sent, and closes it.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer, Some(reason));
        Ok(())
    }

    /// Decides whether audio of a connection is handed on. Its calls go on. Ends with the connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unexpected`] for text, which the protocol does not have.
    pub fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            return Err(Refusal::Unexpected { state: "voicelink has no text", command: "mute text" });
        }
        self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?.muted = mute.voice;
        Ok(())
    }

    /// Decides whose audio is handed on to a listener; `None` for what [`close_hearing`](Self::close_hearing) says. Ends with the
    /// listener's connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.peers.get(listener).ok_or(Refusal::UnknownPeer)?;
        self.hearing.set(listener, speakers);
        Ok(())
    }

    /// Whether listeners of which nothing is decided hear no client, rather than every client.
    pub const fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
    }
}
