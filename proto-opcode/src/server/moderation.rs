//! What an operator decides about clients: see [`Member`].

use super::{Peer, Server};
use crate::Refusal;
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId};

impl Server {
    /// The clients that are logged in.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.peers.iter().filter_map(|(peer, state)| {
            let Peer::Client(client) = state else { return None };
            Some(Member {
                peer,
                name: Some(client.name.as_deref()?),
                address: self.address(peer),
                muted: Mute { voice: client.muted, text: false },
                hearing_set: self.hearing.has_set(peer),
            })
        })
    }

    /// Every client's connection, and its address, if the driver told it.
    pub fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        let clients = self.peers.iter().filter(|(_, state)| matches!(state, Peer::Client(_)));
        clients.map(|(peer, _)| (peer, self.address(peer)))
    }

    /// Ends the calls of a client that the server carries, those included that are up, tells it the reason, of which at most 255 bytes are
    /// sent, and closes its connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        self.client(peer).ok_or(Refusal::UnknownPeer)?;
        self.end_relays(now, peer);
        self.expel(now, peer, Some(reason));
        Ok(())
    }

    /// Decides whether voice of a client is handed on, where the server carries calls. Ends with the connection; in a call that is up when
    /// the client logs out it holds to the end of the call.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unexpected`] for text, which the protocol does not have, and where calls go straight between
    /// clients, except for [`Mute::NOTHING`].
    pub fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            return Err(Refusal::Unexpected { state: "opcode has no text", command: "mute text" });
        }
        let relayed = self.check_relay("mute a client");
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
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unexpected`] where calls go straight between clients, except for `None`.
    pub fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.client(listener).ok_or(Refusal::UnknownPeer)?;
        if speakers.is_some() {
            self.check_relay("say whom a client hears")?;
        }
        self.hearing.set(listener, speakers);
        self.silence_calls_of(listener);
        Ok(())
    }

    /// Whether listeners of which nothing is decided hear no client, rather than every client. Where calls go straight between clients, they
    /// hear each other all the same.
    pub fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
        self.silence_all();
    }

    /// Whether the server carries calls, rather than telling clients where to connect to.
    pub const fn carries_calls(&self) -> bool {
        self.settings.relay.is_some()
    }

    fn check_relay(&self, command: &'static str) -> Result<(), Refusal> {
        let state = "calls go straight between clients, without a relay";
        self.settings.relay.map(drop).ok_or(Refusal::Unexpected { state, command })
    }
}
