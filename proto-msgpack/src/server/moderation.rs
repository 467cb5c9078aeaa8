//! What an operator decides about clients: see [`Member`].

use super::Server;
use crate::{Code, MAX_MUTED, Refusal, Resource, ServerMessage, Text};
use alloc::{boxed::Box, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{Instant, Lane, Member, Mute, PeerId};

impl Server {
    /// The connections that are logged in: a user may have several.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.peers.iter().filter_map(|(peer, state)| {
            let username = &*state.login.as_ref()?.username;
            Some(Member {
                peer,
                name: Some(username),
                address: self.address(peer),
                muted: self.muted.get(username).copied().unwrap_or_default(),
                hearing_set: self.hearing.has_set(peer),
            })
        })
    }

    /// Every connection, and its address, if the driver told it.
    pub fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.peers.iter().map(|(peer, _)| (peer, self.address(peer)))
    }

    /// The connections of a user, those for requests alone included.
    pub fn connections_of(&self, username: &[u8]) -> Vec<PeerId> {
        self.users.of(username).collect()
    }

    /// The group whose call a connection takes part in.
    pub fn call_of(&self, peer: PeerId) -> Option<&[u8]> {
        self.peers.get(peer)?.call.as_deref()
    }

    /// Closes one connection, whose log-in cannot be taken up again; its user may have others. The protocol has no word for the reason.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn kick(&mut self, now: Instant, peer: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer);
        Ok(())
    }

    /// [`mute_user`](Self::mute_user), of the user who is logged in on that connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Full`] if [`MAX_MUTED`] other users are muted.
    pub fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        let username = Box::<[u8]>::from(self.username(peer).ok_or(Refusal::UnknownPeer)?);
        self.decide(username, mute)
    }

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

    /// Hands all of a user on again, who need not be there.
    pub fn unmute(&mut self, username: &[u8]) {
        let username = self.users.key(username);
        self.muted.remove(&*username);
    }

    /// Decides whose live audio is handed on to a connection; `None` for what [`close_hearing`](Self::close_hearing) says. Text is not
    /// concerned. Ends with the connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.peers.get(listener).ok_or(Refusal::UnknownPeer)?;
        self.hearing.set(listener, speakers);
        Ok(())
    }

    /// Whether connections of which nothing is decided hear no client, rather than every client.
    pub const fn close_hearing(&mut self, closed: bool) {
        self.hearing.close(closed);
    }

    /// Sends a group's members that are online a text, as one of `sender`. Returns to how many connections; 0 if no member is online.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`]; [`Refusal::Unexpected`] if there is no such group, or if a user who is online or a member of the group has
    /// the sender's name (other users are known to the application alone, which should have no account of that name);
    /// [`Refusal::Encode`] for a text that is too long, or if the outbox is full.
    pub fn say(&mut self, group_name: &str, sender: &str, content: &str) -> Result<usize, Refusal> {
        let (group_name, sender, content) = (Text::from(group_name), Text::from(sender), content.into());
        if let Some(error) = self.wrong_with(sender) {
            return Err(Refusal::InvalidName(error));
        }
        let command = "send a text";
        let state = "there is no such group";
        let group = self.groups.get(group_name.0).ok_or(Refusal::Unexpected { state, command })?;
        let key = self.key(sender);
        if group.members.contains(&*key) || self.members().any(|it| it.name == Some(&*key)) {
            return Err(Refusal::Unexpected { state: "a user has the sender's name", command });
        }
        let members = group.members.iter().filter_map(|member| self.users.get(member));
        let mut copies: usize = 0;
        let online = members.flat_map(|user| user.connections.iter().copied());
        let online = online.inspect(|_| copies = copies.saturating_add(1));
        let update = ServerMessage::MsgGroup { group_name, sender, content };
        self.outbox.send(online, Lane::Reliable, &update, &self.wire)?;
        Ok(copies)
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
