//! syfala under control.

use crate::control::{Ability, Moderated, Touched};
use core::net::SocketAddr;
use voxwire_core::{Instant, Member, Mute, PeerId};
use voxwire_syfala::{Refusal, Server, ServerEvent};

impl Moderated for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::MuteVoice => None,
            Ability::Names => Some("syfala has no names: say which peer"),
            Ability::MuteText | Ability::Say => Some("syfala has no text"),
            Ability::Hearing => Some("a syfala device mixes what it plays for all of its clients"),
            Ability::Leave | Ability::Enter => Some("syfala has no rooms"),
        }
    }

    fn each_member(&self, each: &mut dyn FnMut(Member<'_>)) {
        self.members().for_each(each);
    }

    fn each_connection(&self, each: &mut dyn FnMut(PeerId, Option<SocketAddr>)) {
        self.connections_from().for_each(|(peer, address)| each(peer, address));
    }

    fn named(&self, _name: &str) -> Vec<PeerId> {
        Vec::new()
    }

    fn name_of(&self, _peer: PeerId) -> Option<String> {
        None
    }

    fn is_member(&self, peer: PeerId) -> bool {
        self.io(peer).is_some()
    }

    fn address_of(&self, peer: PeerId) -> Option<SocketAddr> {
        self.clients().find(|(client, ..)| *client == peer).and_then(|(_, address, _)| address)
    }

    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Refusal> {
        Self::kick(self, now, peer, reason)
    }

    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        Self::mute(self, peer, mute)
    }

    fn touched(event: &ServerEvent<'_>) -> Touched {
        match event {
            ServerEvent::Connected { client, .. } => Touched::Changed(*client),
            ServerEvent::Gone { client, .. } => Touched::Gone(*client),
            _ => Touched::Nothing,
        }
    }
}
