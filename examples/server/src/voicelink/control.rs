//! voicelink under control.

use crate::control::{Ability, Moderated, Touched};
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId};
use voxwire_voicelink::{Refusal, Server, ServerEvent};

impl Moderated for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::MuteText | Ability::Say => Some("voicelink has no text"),
            Ability::Leave | Ability::Enter => Some("voicelink has no rooms"),
            Ability::MuteVoice | Ability::Hearing | Ability::Names => None,
        }
    }

    fn each_member(&self, each: &mut dyn FnMut(Member<'_>)) {
        self.members().for_each(each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(PeerId, Option<SocketAddr>)) {
        self.connections_from().for_each(|(peer, address)| each(peer, address));
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.find(name).into_iter().collect()
    }

    fn name_of(&self, peer: PeerId) -> Option<String> {
        self.name(peer).map(String::from)
    }

    fn address_of(&self, peer: PeerId) -> Option<SocketAddr> {
        self.address(peer)
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

    fn touched(event: &ServerEvent<'_>) -> Touched {
        match event {
            ServerEvent::Connected { peer, .. }
            | ServerEvent::Registering { peer, .. }
            | ServerEvent::Registered { peer } => Touched::Changed(*peer),
            ServerEvent::Gone { peer, .. } => Touched::Gone(*peer),
            _ => Touched::Nothing,
        }
    }
}
