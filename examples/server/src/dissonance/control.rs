//! Dissonance under control.

use crate::control::{Ability, Moderated, Touched};
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId, Session as _};
use voxwire_dissonance::{Refusal, Server, ServerCommand, ServerEvent};

impl Moderated for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Enter => Some(
                "Dissonance's clients choose the rooms that they listen to themselves: ask the game for it, or say who hears whom",
            ),
            _ => None,
        }
    }

    fn each_member(&self, each: &mut dyn FnMut(Member<'_>)) {
        self.members().for_each(each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(PeerId, Option<SocketAddr>)) {
        self.connections_from().for_each(|(peer, address)| each(peer, address));
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.find(name).and_then(|client| self.peer(client)).into_iter().collect()
    }

    fn name_of(&self, peer: PeerId) -> Option<String> {
        self.client_of(peer).and_then(|client| self.name(client)).map(String::from)
    }

    fn address_of(&self, peer: PeerId) -> Option<SocketAddr> {
        self.address(peer)
    }

    fn rooms_of(&self, peer: PeerId) -> Vec<String> {
        self.client_of(peer)
            .map_or_else(Vec::new, |client| Self::rooms_of(self, client).map(String::from).collect())
    }

    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        Self::kick(self, now, peer, reason)
    }

    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        Self::mute(self, peer, mute)
    }

    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        Self::set_hearing(self, listener, speakers)
    }

    fn close_hearing(&mut self, closed: bool) {
        Self::close_hearing(self, closed);
    }

    fn say(&mut self, now: Instant, room: &str, sender: &str, text: &str) -> Result<usize, Refusal> {
        Self::say(self, now, room, sender, text)
    }

    fn leave(&mut self, now: Instant, peer: PeerId, room: &str) -> Result<(), Refusal> {
        let client = self.client_of(peer).ok_or(Refusal::UnknownPeer)?;
        if !Self::rooms_of(self, client).any(|listened| listened == room) {
            let (state, command) = ("it does not listen to that room", "move a client");
            return Err(Refusal::Unexpected { state, command });
        }
        self.handle_command(now, ServerCommand::Move { client, from: Some(room), to: None })
    }

    fn touched(event: &ServerEvent<'_>) -> Touched {
        match event {
            ServerEvent::Joined { peer, .. } => Touched::Changed(*peer),
            ServerEvent::Left { peer, .. } | ServerEvent::Gone { peer } => Touched::Gone(*peer),
            _ => Touched::Nothing,
        }
    }
}
