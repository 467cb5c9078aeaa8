//! What a server's operator asks of a session.

use crate::{Instant, Member, Mute, PeerId, Session};
use alloc::{borrow::Cow, vec::Vec};
use core::{fmt, net::SocketAddr};
use thiserror::Error;

/// What an operator can decide about clients, where the protocol has it. Every protocol answers for each: a new one needs a new version of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Ability {
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
    /// To be told of voice, for recordings.
    Record,
}

impl Ability {
    /// All abilities.
    pub const ALL: &'static [Self] = &[
        Self::MuteVoice,
        Self::MuteText,
        Self::Hearing,
        Self::Say,
        Self::Leave,
        Self::Enter,
        Self::Names,
        Self::Record,
    ];

    /// Its name in interfaces: `mute-voice`, `mute-text`, `hearing`, `say`, `leave`, `enter`, `names` or
    /// `record`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MuteVoice => "mute-voice",
            Self::MuteText => "mute-text",
            Self::Hearing => "hearing",
            Self::Say => "say",
            Self::Leave => "leave",
            Self::Enter => "enter",
            Self::Names => "names",
            Self::Record => "record",
        }
    }

    /// What an operator does with it, for errors: "cannot mute text".
    pub const fn command(self) -> &'static str {
        match self {
            Self::MuteVoice => "mute voice",
            Self::MuteText => "mute text",
            Self::Hearing => "decide whom a client hears",
            Self::Say => "send a text",
            Self::Leave => "take a client out of a room",
            Self::Enter => "put a client into a room",
            Self::Names => "find a client by name",
            Self::Record => "record voice",
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A protocol, as it is served, lacks an [`Ability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("cannot {}: {why}", .ability.command())]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Unsupported {
    /// Which.
    pub ability: Ability,
    /// Why: "voicelink has no text".
    pub why: &'static str,
}

/// Whose voice an application is told of: see [`Moderation::watch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched<'a> {
    /// All that is said to a room or group of that name.
    Room(&'a str),
    /// All that the client of that name says; in protocols of calls, also what it hears there.
    Name(&'a str),
}

/// What an event says about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MemberChange {
    /// It may be a client now, or have another name: [`Moderation::member`] tells.
    Changed(PeerId),
    /// It is a client no more.
    Gone(PeerId),
}

/// A server's session whose clients an operator can see and decide about: one interface for the servers of all protocols.
///
/// What a protocol lacks is refused with [`Unsupported`], and nothing is changed. A method that a session does not implement refuses in the same
/// way if it returns a `Result`; otherwise it does nothing. To ask for what holds anyway (to mute nothing, to decide nothing) is always allowed.
///
/// ```
/// use voxwire_core::{Ability, Instant, Moderation};
///
/// /// Disconnects the clients of a name. Returns how many connections were closed.
/// fn kick_all<S: Moderation>(server: &mut S, now: Instant, name: &str) -> Result<usize, S::Refusal> {
///     server.check_ability(Ability::Names)?;
///     let peers = server.named(name);
///     peers.iter().try_for_each(|peer| server.kick(now, *peer, "out"))?;
///     Ok(peers.len())
/// }
/// ```
pub trait Moderation: Session<Refusal: From<Unsupported>> {
    /// Why the protocol, as it is served, lacks an ability; `None` if it has it.
    fn lacks(&self, ability: Ability) -> Option<&'static str>;

    /// Whether the protocol, as it is served, has an ability.
    ///
    /// # Errors
    /// [`Unsupported`] if it has not.
    fn check_ability(&self, ability: Ability) -> Result<(), Unsupported> {
        self.lacks(ability).map_or(Ok(()), |why| Err(Unsupported { ability, why }))
    }

    /// What the event says about a client.
    fn member_change(event: &Self::Event<'_>) -> Option<MemberChange>;

    /// The client of a connection: one with a name, where the protocol has names. `None` for other connections.
    fn member(&self, peer: PeerId) -> Option<Member<'_>>;

    /// The clients. A client with several connections is listed once for each.
    fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.connections_from().filter_map(|(peer, _)| self.member(peer))
    }

    /// Every connection that can be closed by [`kick`](Self::kick), and its address, if the driver told it.
    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)>;

    /// The address of a connection, if the driver told it.
    fn address(&self, peer: PeerId) -> Option<SocketAddr>;

    /// The connections of the client of that name. None where the protocol lacks [`Ability::Names`].
    fn named(&self, _name: &str) -> Vec<PeerId> {
        Vec::new()
    }

    /// What the session knows a client of that name by. Names with the same key are one name. By default each name is its own key.
    fn name_key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        Cow::Borrowed(name)
    }

    /// The same for a room or group.
    fn room_key<'n>(&self, room: &'n str) -> Cow<'n, str> {
        Cow::Borrowed(room)
    }

    /// The rooms, groups or calls that a client is in, by name. None where the protocol has no rooms.
    fn rooms_joined(&self, _peer: PeerId) -> impl Iterator<Item = &[u8]> {
        core::iter::empty()
    }

    /// When voice of a client was taken last, to a second or so; `None` if it was not, or if the server does not see it.
    fn last_voice(&self, _peer: PeerId) -> Option<Instant> {
        None
    }

    /// Closes a connection. Its client is told the reason, where the protocol has a word for it.
    ///
    /// # Errors
    /// `UnknownPeer` if there is no such connection.
    fn kick(&mut self, now: Instant, peer: PeerId, reason: &str) -> Result<(), Self::Refusal>;

    /// Decides what of a client is handed on.
    ///
    /// # Errors
    /// `UnknownPeer` if the connection has no client; [`Unsupported`] for voice or text that the protocol cannot mute.
    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Self::Refusal>;

    /// Hands all of a client on again, which need not be there. Nothing is done where the session keeps no such decision beyond the
    /// connection.
    fn unmute(&mut self, _name: &str) {}

    /// Decides whose voice is handed on to a listener; `None` for what [`close_hearing`](Self::close_hearing) says. Ends with the
    /// listener's connection.
    ///
    /// # Errors
    /// `UnknownPeer` if there is no such connection; [`Unsupported`] where the protocol lacks [`Ability::Hearing`].
    fn set_hearing(&mut self, _listener: PeerId, _speakers: Option<&[PeerId]>) -> Result<(), Self::Refusal> {
        Err(lacking(self, Ability::Hearing))
    }

    /// Decides whether listeners of which nothing is decided hear no client, rather than every client. Changes nothing of what is heard where
    /// the protocol lacks [`Ability::Hearing`].
    fn close_hearing(&mut self, _closed: bool) {}

    /// Sends a room or group a text, as one of `sender`. Returns to how many connections; 0 if none is there.
    ///
    /// # Errors
    /// [`Unsupported`] where the protocol lacks [`Ability::Say`]; else what the protocol's own says.
    fn say(
        &mut self,
        _now: Instant,
        _room: &str,
        _sender: &str,
        _text: &str,
    ) -> Result<usize, Self::Refusal> {
        Err(lacking(self, Ability::Say))
    }

    /// Sends one client a text, as one of `sender`: for `room`, or to the client alone.
    ///
    /// # Errors
    /// [`Unsupported`] where the protocol lacks [`Ability::Say`]; else what the protocol's own says.
    fn tell(
        &mut self,
        _now: Instant,
        _peer: PeerId,
        _room: Option<&str>,
        _sender: &str,
        _text: &str,
    ) -> Result<(), Self::Refusal> {
        Err(lacking(self, Ability::Say))
    }

    /// Raises events for voice from now on, or no more. Meanwhile no voice of these bypasses the server. A room need not be there; a name is
    /// watched until its connection ends.
    ///
    /// # Errors
    /// `UnknownPeer` or the like if no client has the name; [`Unsupported`] where the protocol lacks [`Ability::Record`].
    fn watch(&mut self, _watched: Watched<'_>, _on: bool) -> Result<(), Self::Refusal> {
        Err(lacking(self, Ability::Record))
    }

    /// Takes a client out of a room, puts it into another one, or both.
    ///
    /// # Errors
    /// [`Unsupported`] where the protocol lacks [`Ability::Leave`] or [`Ability::Enter`]; else what the protocol's own says.
    fn move_client(
        &mut self,
        _now: Instant,
        _peer: PeerId,
        from: Option<&str>,
        _to: Option<&str>,
    ) -> Result<(), Self::Refusal> {
        Err(lacking(self, if from.is_some() { Ability::Leave } else { Ability::Enter }))
    }
}

/// The refusal of a method that is not implemented.
fn lacking<S: Moderation + ?Sized>(session: &S, ability: Ability) -> S::Refusal {
    let why = session.lacks(ability).unwrap_or("the session does not implement it");
    Unsupported { ability, why }.into()
}
