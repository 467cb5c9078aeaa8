//! What an operator decides about clients: see [`Member`].

use super::{Place, Server};
use crate::{Cause, Refusal, ServerEvent, ServerMessage};
use core::net::SocketAddr;
use voxwire_core::{Instant, Lane, Member, Mute, PeerId};

impl Server {
    /// The clients. The protocol has no names.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.peers.iter().filter_map(|(peer, known)| {
            let Place::Client(client) = &known.place else { return None };
            let muted = Mute { voice: client.muted, text: false };
            Some(Member { peer, name: None, address: known.from, muted, hearing_set: false })
        })
    }

    /// The clients and their addresses.
    pub fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.clients().map(|(client, address, _)| (client, address))
    }

    /// Ends the connection of a client; `Gone` follows. The protocol has no word for the reason.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn kick(&mut self, _now: Instant, client: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.io(client).ok_or(Refusal::UnknownPeer)?;
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
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unexpected`] for text, which the protocol does not have.
    pub fn mute(&mut self, client: PeerId, mute: Mute) -> Result<(), Refusal> {
        if mute.text {
            return Err(Refusal::Unexpected { state: "syfala has no text", command: "mute text" });
        }
        self.client_mut(client).ok_or(Refusal::UnknownPeer)?.muted = mute.voice;
        Ok(())
    }
}
