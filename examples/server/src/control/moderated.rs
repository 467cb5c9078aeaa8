//! What control asks of a protocol's session: its protocol's module answers.

use core::net::SocketAddr;
use serde::Serialize;
use voxwire_core::{Instant, Member, Mute, PeerId, Session};

/// What control can do, where a protocol can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ability {
    /// Not to hand on a client's voice.
    MuteVoice,
    /// Not to hand on a client's texts.
    MuteText,
    /// To decide who hears whom.
    Hearing,
    /// To send a room a text.
    Say,
    /// To take a client out of a room.
    Leave,
    /// To put a client into a room.
    Enter,
    /// To find clients by name.
    Names,
}

impl Ability {
    pub(super) const ALL: [Self; 7] =
        [Self::MuteVoice, Self::MuteText, Self::Hearing, Self::Say, Self::Leave, Self::Enter, Self::Names];
}

/// What an event of a session says about a client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Touched {
    /// Nothing that matters here.
    Nothing,
    /// It may have another name now, or be in the session.
    Changed(PeerId),
    /// It is gone, or has no name any more.
    Gone(PeerId),
}

/// A session whose clients can be moderated.
pub(crate) trait Moderated: Session {
    /// Why the protocol, as it is served, cannot do something, if it cannot.
    fn lacks(&self, ability: Ability) -> Option<&'static str>;

    /// The clients, and what is decided about them.
    fn each_member(&self, each: &mut dyn FnMut(Member<'_>));

    /// Every connection, those included that are no clients yet, and its address.
    fn each_connection(&self, each: &mut dyn FnMut(PeerId, Option<SocketAddr>));

    /// The connections of a client, by its name.
    fn named(&self, name: &str) -> Vec<PeerId>;

    /// The name of a client.
    fn name_of(&self, peer: PeerId) -> Option<String>;

    /// Whether it is a client: one with a name, where the protocol has names.
    fn is_member(&self, peer: PeerId) -> bool {
        self.name_of(peer).is_some()
    }

    /// The address of a connection.
    fn address_of(&self, peer: PeerId) -> Option<SocketAddr>;

    /// The rooms, groups or calls that a client is in.
    fn rooms_of(&self, _peer: PeerId) -> Vec<String> {
        Vec::new()
    }

    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Self::Refusal>;

    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Self::Refusal>;

    /// A name is not muted any more, whose client is perhaps not there.
    fn forget_mute(&mut self, _name: &str) {}

    /// Asked only if the protocol can.
    fn set_hearing(&mut self, _listener: PeerId, _speakers: Option<&[PeerId]>) -> Result<(), Self::Refusal> {
        Ok(())
    }

    /// Asked only if the protocol can.
    fn close_hearing(&mut self, _closed: bool) {}

    /// Asked only if the protocol can. Returns to how many.
    fn say(
        &mut self,
        _now: Instant,
        _room: &str,
        _sender: &str,
        _text: &str,
    ) -> Result<usize, Self::Refusal> {
        Ok(0)
    }

    /// Asked only if the protocol can.
    fn leave(&mut self, _now: Instant, _peer: PeerId, _room: &str) -> Result<(), Self::Refusal> {
        Ok(())
    }

    /// Which client an event is about.
    fn touched(event: &Self::Event<'_>) -> Touched;
}
