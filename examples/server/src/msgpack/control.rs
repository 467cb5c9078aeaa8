//! msgpack under control.

use crate::control::{Ability, Moderated, Touched};
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId};
use voxwire_msgpack::{Refusal, Server, ServerEvent};

impl Moderated for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Leave | Ability::Enter => Some(
                "msgpack's users choose the groups and calls that they are in: the protocol has no word that moves one",
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
        self.connections_of(name.as_bytes())
    }

    fn name_of(&self, peer: PeerId) -> Option<String> {
        self.username(peer).map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn address_of(&self, peer: PeerId) -> Option<SocketAddr> {
        self.address(peer)
    }

    fn rooms_of(&self, peer: PeerId) -> Vec<String> {
        self.call_of(peer).map(|group| String::from_utf8_lossy(group).into_owned()).into_iter().collect()
    }

    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        Self::kick(self, now, peer, reason)
    }

    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        Self::mute(self, peer, mute)
    }

    fn forget_mute(&mut self, name: &str) {
        Self::unmute(self, name.as_bytes());
    }

    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        Self::set_hearing(self, listener, speakers)
    }

    fn close_hearing(&mut self, closed: bool) {
        Self::close_hearing(self, closed);
    }

    fn say(&mut self, _now: Instant, room: &str, sender: &str, text: &str) -> Result<usize, Refusal> {
        Self::say(self, room, sender, text)
    }

    /// A log-in is told of where the storage admits it.
    fn touched(event: &ServerEvent<'_>) -> Touched {
        match event {
            ServerEvent::Resumed { peer, .. } | ServerEvent::CallJoined { peer, .. } => {
                Touched::Changed(*peer)
            }
            ServerEvent::LoggedOut { peer, .. } | ServerEvent::Gone { peer, .. } => Touched::Gone(*peer),
            _ => Touched::Nothing,
        }
    }
}
