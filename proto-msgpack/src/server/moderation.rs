//! What an operator decides about clients: see [`Member`].

use super::Server;
use crate::{Code, Refusal, ServerMessage, Text};
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

    /// Closes a connection, whose log-in cannot be taken up again. The protocol has no word for the reason.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn kick(&mut self, now: Instant, peer: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer);
        Ok(())
    }

    /// Decides what of a user, who is logged in on that connection, is handed on: on all of its connections, and also after a new log-in.
    /// Texts and recordings that are not are answered with `REQUEST_OVER_LIMIT`, live audio never is.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    pub fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        let username = Box::<[u8]>::from(self.username(peer).ok_or(Refusal::UnknownPeer)?);
        if mute.is_nothing() {
            self.muted.remove(&username);
        } else {
            self.muted.insert(username, mute);
        }
        Ok(())
    }

    /// Hands all of a user on again, who need not be there.
    pub fn unmute(&mut self, username: &[u8]) {
        let username = self.users.key(username);
        self.muted.remove(&*username);
    }

    /// Decides whose live audio is handed on to a connection; `None` for what [`close_hearing`](Self::close_hearing) says. Text is not
    /// concerned.
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

    /// Sends a group's members that are online a text, as one of `sender`. Returns to how many connections.
    ///
    /// # Errors
    /// [`Refusal::Unexpected`] if there is no such group; [`Refusal::Encode`] for a text that is too long, or if the outbox is full.
    pub fn say(&mut self, group_name: &str, sender: &str, content: &str) -> Result<usize, Refusal> {
        let (group_name, sender, content) = (Text::from(group_name), sender.into(), content.into());
        let command = "send a text";
        let state = "there is no such group";
        let group = self.groups.get(group_name.0).ok_or(Refusal::Unexpected { state, command })?;
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

    pub(super) fn check_text(&self, username: Text<'_>) -> Result<(), Code> {
        if self.is_muted(username).text { Err(Code::REQUEST_OVER_LIMIT) } else { Ok(()) }
    }
}
