//! Calls: who takes part, and the audio.

use super::{Action, Answer, Server, ServerEvent, ServerMessage};
use crate::{Code, ECHO, Samples, Secret, Text, Violation};
use alloc::{boxed::Box, vec::Vec};
use voxwire_core::{EncodeError, Instant, Lane, PeerId};

impl Server {
    pub(super) fn join_call<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        group_name: Text<'a>,
    ) -> Answer<'a> {
        self.authorize(now, peer, username, token)?;
        if self
            .peers
            .get(peer)
            .and_then(|state| state.login.as_ref())
            .is_some_and(|login| login.requests_only)
        {
            return Err(Code::USER_NOT_CONNECTED);
        }
        if !self.is_echo(group_name) {
            self.member_of(group_name, username)?;
            self.use_group(now, group_name);
        }
        for peer in self.parties(peer, username) {
            self.take_part(peer, group_name.0);
        }
        self.stats.joined = self.stats.joined.saturating_add(1);
        self.send(peer, &ServerMessage::CallJoined { group_name });
        Ok(Some(ServerEvent::CallJoined { peer, group_name }))
    }

    pub(super) fn leave_call<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
    ) -> Answer<'a> {
        self.authorize(now, peer, username, token)?;
        let left =
            self.parties(peer, username).into_iter().filter(|peer| self.leave(*peer).is_some()).count();
        if left == 0 {
            return Err(Code::GROUP_MEMBER_DOES_NOT_EXIST);
        }
        self.respond(peer, Action::LeaveCall, Code::SUCCESS);
        Ok(Some(ServerEvent::CallLeft { peer }))
    }

    /// The connections for which `peer` joins and leaves: itself, or all of its user.
    fn parties(&self, peer: PeerId, username: Text<'_>) -> Vec<PeerId> {
        match self.users.get(username.0) {
            Some(user) if !self.settings.participants_only => user.connections.clone(),
            _ => Vec::from([peer]),
        }
    }

    /// Has `peer` take part in a group's call, and in no other. The call hands nothing on to a connection that is gone.
    pub(super) fn take_part(&mut self, peer: PeerId, group_name: &[u8]) {
        self.leave(peer);
        let known_by = self.groups.key(group_name);
        let is_echo = self.is_echo(Text(group_name));
        let Some(state) = self.peers.get_mut(peer) else { return };
        let Some(login) = &state.login else { return };
        match self.groups.get_mut(group_name) {
            Some(group) if state.gone.is_none() => group.call.push((peer, login.user)),
            None if !is_echo => return,
            _ => {}
        }
        state.call = Some(known_by.into());
        self.in_calls = self.in_calls.saturating_add(1);
    }

    /// Has `peer` take part in the call of its user's other connections.
    pub(super) fn share_call(&mut self, peer: PeerId) {
        let Some(user) = self.name(peer).and_then(|username| self.users.get(username)) else { return };
        let call = user.connections.iter().find_map(|other| self.peers.get(*other)?.call.clone());
        if let Some(call) = call {
            self.take_part(peer, &call);
        }
    }

    /// Takes `peer` out of the call it is in; returns that call's group.
    pub(super) fn leave(&mut self, peer: PeerId) -> Option<Box<[u8]>> {
        let call = self.peers.get_mut(peer)?.call.take()?;
        self.in_calls = self.in_calls.saturating_sub(1);
        if let Some(group) = self.groups.get_mut(&call) {
            group.call.retain(|(party, _)| *party != peer);
        }
        Some(call)
    }

    /// The connection of `peer` is gone: its call hands nothing on to it. It stays in that call, to come back to it.
    pub(super) fn stop_hearing(&mut self, peer: PeerId) {
        let call = self.peers.get(peer).and_then(|state| state.call.as_deref());
        if let Some(group) = call.and_then(|call| self.groups.get_mut(call)) {
            group.call.retain(|(party, _)| *party != peer);
        }
    }

    /// Hands live audio on to all others in the call. What no user may hear is dropped without a word: updates are never
    /// answered.
    pub(super) fn call_data<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'_>,
        group_name: Text<'a>,
        samples: Samples<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let authorized = self.authorize(now, peer, username, token).is_ok();
        let group = self.groups.get(group_name.0).filter(|_| authorized);
        let known_by = self.groups.key(group_name.0);
        let takes_part =
            || self.peers.get(peer).is_some_and(|state| state.call.as_deref() == Some(&*known_by));
        let may_talk = |members: &alloc::collections::BTreeSet<Box<[u8]>>| {
            if self.settings.participants_only {
                takes_part()
            } else {
                members.contains(&*self.groups.key(username.0))
            }
        };
        if authorized && takes_part() && self.is_echo(group_name) {
            self.spoke(now, peer);
            return self.echo(peer, username, group_name, samples);
        }
        let user = self.users.get(username.0).map(|user| user.number);
        let (Some(group), Some(user)) = (group.filter(|group| may_talk(&group.members)), user) else {
            self.stats.stray = self.stats.stray.saturating_add(1);
            return Ok(None);
        };
        if self.is_muted(username).voice {
            self.stats.muted = self.stats.muted.saturating_add(1);
            return Ok(None);
        }
        let hearing = &self.hearing;
        let hears = |party: PeerId| hearing.hears(party, peer);
        let others = group
            .call
            .iter()
            .filter(|(party, number)| *number != user && hears(*party))
            .map(|(party, _)| *party);
        let update = ServerMessage::CallData { sender: username, samples };
        match self.outbox.send(others, Lane::Droppable, &update, &self.wire) {
            Ok(_) => {
                self.spoke(now, peer);
                self.stats.packets = self.stats.packets.saturating_add(1);
                let watched = self.is_watched(username, group_name);
                Ok(watched.then_some(ServerEvent::Voice { peer, username, group_name, samples }))
            }
            Err(EncodeError::NoRoom { needed, available }) => {
                Err(Violation::OutboxFull(voxwire_core::Full { needed, available }))
            }
            Err(_) => Ok(None),
        }
    }

    fn spoke(&mut self, now: Instant, peer: PeerId) {
        if let Some(state) = self.peers.get_mut(peer) {
            state.spoke = Some(now);
        }
    }

    /// Whether a group is the one whose call has each user alone.
    pub(super) fn is_echo(&self, group_name: Text<'_>) -> bool {
        self.settings.echo
            && *self.groups.key(group_name.0) == *ECHO.as_bytes()
            && self.groups.get(group_name.0).is_none()
    }

    /// Hands live audio back to its sender.
    fn echo<'a>(
        &mut self,
        peer: PeerId,
        username: Text<'a>,
        group_name: Text<'a>,
        samples: Samples<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if self.is_muted(username).voice {
            self.stats.muted = self.stats.muted.saturating_add(1);
            return Ok(None);
        }
        let update = ServerMessage::CallData { sender: ECHO.into(), samples };
        if let Err(EncodeError::NoRoom { needed, available }) =
            self.outbox.send([peer], Lane::Droppable, &update, &self.wire)
        {
            return Err(Violation::OutboxFull(voxwire_core::Full { needed, available }));
        }
        self.stats.packets = self.stats.packets.saturating_add(1);
        let watched = self.is_watched(username, group_name);
        Ok(watched.then_some(ServerEvent::Voice { peer, username, group_name, samples }))
    }
}
