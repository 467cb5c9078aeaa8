//! What an operator sees of clients, and decides about them.

use super::Server;
use crate::{Code, MAX_MUTED, Refusal, Resource, ServerEvent, ServerMessage, Text};
use alloc::{borrow::Cow, boxed::Box, collections::BTreeSet, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{
    Ability, Instant, Lane, Member, MemberChange, Moderation, Mute, PeerId, Watched, canonical_name,
};

/// What is told of live audio, by what groups and users are known by.
#[derive(Debug, Default)]
pub(super) struct Watches {
    groups: BTreeSet<Box<[u8]>>,
    users: BTreeSet<Box<[u8]>>,
}

impl Moderation for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Leave | Ability::Enter => Some(
                "msgpack's users choose the groups and calls that they are in: the protocol has no word that moves one",
            ),
            _ => None,
        }
    }

    /// A log-in is told of where the storage admits it.
    fn member_change(event: &ServerEvent<'_>) -> Option<MemberChange> {
        match event {
            ServerEvent::Resumed { peer, .. } | ServerEvent::CallJoined { peer, .. } => {
                Some(MemberChange::Changed(*peer))
            }
            ServerEvent::LoggedOut { peer, .. } | ServerEvent::Gone { peer, .. } => {
                Some(MemberChange::Gone(*peer))
            }
            _ => None,
        }
    }

    /// A connection that is logged in: a user may have several.
    fn member(&self, peer: PeerId) -> Option<Member<'_>> {
        let username = self.name(peer)?;
        Some(Member {
            peer,
            name: Some(username),
            address: self.peers.address(peer),
            muted: self.muted.get(username).copied().unwrap_or_default(),
            hearing_set: self.hearing.has_set(peer),
        })
    }

    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.peers.addresses()
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.address(peer)
    }

    /// The connections of a user, those for requests alone included.
    fn last_voice(&self, peer: PeerId) -> Option<Instant> {
        self.peers.get(peer)?.spoke
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.users.of(name.as_bytes()).collect()
    }

    fn name_key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.settings.lenient { name.into() } else { canonical_name(name) }
    }

    fn room_key<'n>(&self, room: &'n str) -> Cow<'n, str> {
        self.name_key(room)
    }

    /// The group whose call a connection takes part in.
    fn rooms_joined(&self, peer: PeerId) -> impl Iterator<Item = &[u8]> {
        self.peers.get(peer).and_then(|state| state.call.as_deref()).into_iter()
    }

    /// Closes one connection, whose log-in cannot be taken up again; its user may have others. The protocol has no word for the reason.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn kick(&mut self, now: Instant, peer: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer);
        Ok(())
    }

    /// [`mute_user`](Self::mute_user), of the user who is logged in on that connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Full`] if [`MAX_MUTED`] other users are muted.
    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        let username = Box::<[u8]>::from(self.name(peer).ok_or(Refusal::UnknownPeer)?);
        self.decide(username, mute)
    }

    /// Hands all of a user on again, who need not be there.
    fn unmute(&mut self, name: &str) {
        let username = self.users.key(name.as_bytes());
        self.muted.remove(&*username);
    }

    /// Decides whose live audio is handed on to a connection; `None` for what [`close_hearing`](Self::close_hearing) says. Text is not
    /// concerned. Ends with the connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        // One that is gone, and whose requests are still done, hears nothing.
        self.peers.get(listener).filter(|state| state.gone.is_none()).ok_or(Refusal::UnknownPeer)?;
        self.hearing.set(listener, speakers);
        Ok(())
    }

    fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
    }

    /// Sends a group's members that are online a text, as one of `sender`. Returns to how many connections; 0 if no member is online.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`]; [`Refusal::Unexpected`] if there is no such group, or if a user who is online or a member of the group has
    /// the sender's name (other users are known to the application alone, which should have no account of that name);
    /// [`Refusal::Encode`] for a text that is too long, or if the outbox is full.
    fn say(&mut self, _now: Instant, room: &str, sender: &str, text: &str) -> Result<usize, Refusal> {
        let (group_name, sender, content) = (Text::from(room), Text::from(sender), text.into());
        self.check_sender(sender, Some(group_name))?;
        let members = self.groups.get(group_name.0).map(|group| group.members.iter());
        let members = members.into_iter().flatten().filter_map(|member| self.users.get(member));
        let mut copies: usize = 0;
        let online = members.flat_map(|user| user.connections.iter().copied());
        let online = online.inspect(|_| copies = copies.saturating_add(1));
        let update = ServerMessage::MsgGroup { group_name, sender, content };
        self.outbox.send(online, Lane::Reliable, &update, &self.wire)?;
        Ok(copies)
    }

    /// The same to one connection, as a text of a group; without one as a whisper.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`] if no user is logged in there, and those of [`say`](Self::say).
    fn tell(
        &mut self,
        _now: Instant,
        peer: PeerId,
        room: Option<&str>,
        sender: &str,
        text: &str,
    ) -> Result<(), Refusal> {
        self.name(peer).ok_or(Refusal::UnknownPeer)?;
        let (sender, content) = (Text::from(sender), text.into());
        self.check_sender(sender, room.map(Text::from))?;
        let update = match room {
            Some(room) => ServerMessage::MsgGroup { group_name: room.into(), sender, content },
            None => ServerMessage::Whisper { sender, content },
        };
        self.outbox.send([peer], Lane::Reliable, &update, &self.wire)?;
        Ok(())
    }

    /// Raises [`ServerEvent::Voice`] for the audio of a group's calls, or of a user. Neither need be there.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`]
    fn watch(&mut self, watched: Watched<'_>, on: bool) -> Result<(), Refusal> {
        let (Watched::Room(name) | Watched::Name(name)) = watched;
        if let Some(error) = self.wrong_with(name.into()) {
            return Err(Refusal::InvalidName(error));
        }
        let key = Box::<[u8]>::from(&*self.key(name.into()));
        let set = match watched {
            Watched::Room(_) => &mut self.watched.groups,
            Watched::Name(_) => &mut self.watched.users,
        };
        if on {
            set.insert(key);
        } else {
            set.remove(&key);
        }
        Ok(())
    }
}

impl Server {
    /// Decides what of a user is handed on: on all of its connections, now and after a new log-in, for as long as this server lives.
    /// Recordings are voice. Texts and recordings that are not handed on are answered with `REQUEST_OVER_LIMIT`; live audio is dropped.
    /// Whether such a user exists is not checked.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`]; [`Refusal::Full`] if [`MAX_MUTED`] other users are muted.
    pub fn mute_user(&mut self, username: &[u8], mute: Mute) -> Result<(), Refusal> {
        if let Some(error) = self.wrong_with(Text(username)) {
            return Err(Refusal::InvalidName(error));
        }
        let username = Box::from(&*self.key(Text(username)));
        self.decide(username, mute)
    }

    /// The users who are muted: what each is [known by](Self::key), and what of it is not handed on.
    pub fn muted(&self) -> impl Iterator<Item = (&[u8], Mute)> {
        self.muted.iter().map(|(username, mute)| (&**username, *mute))
    }

    /// Whether a text may come from a name that no user has, for a group.
    fn check_sender(&self, sender: Text<'_>, group_name: Option<Text<'_>>) -> Result<(), Refusal> {
        if let Some(error) = self.wrong_with(sender) {
            return Err(Refusal::InvalidName(error));
        }
        let command = "send a text";
        let state = "there is no such group";
        let group = match group_name {
            Some(name) => Some(self.groups.get(name.0).ok_or(Refusal::Unexpected { state, command })?),
            None => None,
        };
        let key = self.key(sender);
        let is_member = group.is_some_and(|group| group.members.contains(&*key));
        if is_member || self.members().any(|it| it.name == Some(&*key)) {
            return Err(Refusal::Unexpected { state: "a user has the sender's name", command });
        }
        Ok(())
    }

    /// Whether what a user says to a group is told. Names are as they were sent.
    pub(super) fn is_watched(&self, username: Text<'_>, group_name: Text<'_>) -> bool {
        let Watches { groups, users } = &self.watched;
        (!groups.is_empty() && groups.contains(&*self.key(group_name)))
            || (!users.is_empty() && users.contains(&*self.key(username)))
    }

    fn decide(&mut self, username: Box<[u8]>, mute: Mute) -> Result<(), Refusal> {
        if mute.is_nothing() {
            self.muted.remove(&username);
            return Ok(());
        }
        if self.muted.len() >= MAX_MUTED && !self.muted.contains_key(&username) {
            return Err(Refusal::Full { what: Resource::MutedUsers, max: MAX_MUTED });
        }
        self.muted.insert(username, mute);
        Ok(())
    }

    /// What of a user is not handed on. `username` is as it was sent.
    pub(super) fn is_muted(&self, username: Text<'_>) -> Mute {
        if self.muted.is_empty() {
            return Mute::NOTHING;
        }
        self.muted.get(&*self.key(username)).copied().unwrap_or_default()
    }

    /// Whether a text of a user's is handed on.
    pub(super) fn check_text(&mut self, username: Text<'_>) -> Result<(), Code> {
        let muted = self.is_muted(username).text;
        self.check_muted(muted)
    }

    /// Whether a recording of a user's is handed on.
    pub(super) fn check_recording(&mut self, username: Text<'_>) -> Result<(), Code> {
        let muted = self.is_muted(username).voice;
        self.check_muted(muted)
    }

    fn check_muted(&mut self, muted: bool) -> Result<(), Code> {
        if !muted {
            return Ok(());
        }
        self.stats.muted = self.stats.muted.saturating_add(1);
        Err(Code::REQUEST_OVER_LIMIT)
    }
}
