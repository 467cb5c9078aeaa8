//! Groups: who made them, who is a member, who takes part in the call.

use super::{Answer, CREATION, Server, ServerEvent, ServerMessage, What, key};
use crate::{Action, Code, MIN_KEPT_COST, Secret, Text};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::time::Duration;
use voxwire_core::{Deadlines, Instant, Lane, Message, PeerId};

/// How often the application is told that a group is used.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Groups {
    /// Whether names are compared byte by byte.
    exact: bool,
    by_name: BTreeMap<Box<[u8]>, Group>,
    /// Names that the application is storing.
    creating: BTreeSet<Box<[u8]>>,
    /// How many each user has made, or is making.
    made: BTreeMap<Box<[u8]>, usize>,
    /// When to look whether a group is used.
    unused: Deadlines<u64>,
    /// The names of those groups, by number.
    numbered: BTreeMap<u64, Box<[u8]>>,
    numbers: u64,
}

#[derive(Debug)]
pub(super) struct Group {
    owner: Box<[u8]>,
    /// When it was used last, or we heard of it.
    used: Instant,
    /// How long it had not been used then.
    unused: Duration,
    /// When the application was told last that it is used.
    told: Option<Instant>,
    number: u64,
    pub(super) members: BTreeSet<Box<[u8]>>,
    /// How many the application is storing.
    joining: usize,
    /// Who takes part in its call: the connection, and the number of its user.
    pub(super) call: Vec<(PeerId, u64)>,
}

impl Groups {
    pub(super) const fn new(exact: bool) -> Self {
        Self {
            exact,
            by_name: BTreeMap::new(),
            creating: BTreeSet::new(),
            made: BTreeMap::new(),
            unused: Deadlines::new(),
            numbered: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// What a group or a user is known by.
    pub(super) fn key<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        key(name, self.exact)
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Group> {
        self.by_name.get(&*self.key(name))
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.by_name.get_mut(&*key(name, self.exact))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Adds a group with its owner as a member, unless it is there; without others it is kept for `lonely`.
    pub(super) fn add(&mut self, now: Instant, name: &[u8], owner: &[u8], lonely: Duration) {
        let (name, owner) = (&*key(name, self.exact), &*key(owner, self.exact));
        if self.by_name.contains_key(name) {
            return;
        }
        let members = BTreeSet::from([owner.into()]);
        let group = Group {
            owner: owner.into(),
            used: now,
            unused: Duration::ZERO,
            told: None,
            number: self.numbers.saturating_add(1),
            members,
            joining: 0,
            call: Vec::new(),
        };
        self.by_name.insert(name.into(), group);
        self.numbers = self.numbers.saturating_add(1);
        self.unused.set(self.numbers, now.saturating_add(lonely));
        self.numbered.insert(self.numbers, name.into());
        let made = self.made.entry(owner.into()).or_default();
        *made = made.saturating_add(1);
    }

    /// The application has stored a group, or has not.
    pub(super) fn created(
        &mut self,
        now: Instant,
        name: &[u8],
        owner: &[u8],
        lonely: Duration,
        stored: bool,
    ) {
        self.creating.remove(name);
        self.unmake(owner);
        if stored {
            self.add(now, name, owner, lonely);
        }
    }

    /// `owner` has one group less.
    fn unmake(&mut self, owner: &[u8]) {
        if let Some(made) = self.made.get_mut(owner) {
            *made = made.saturating_sub(1);
            if *made == 0 {
                self.made.remove(owner);
            }
        }
    }

    /// A user uses a group. Once a day what it is known by comes out, so that the application can take note of it.
    pub(super) fn used(&mut self, now: Instant, name: &[u8]) -> Option<Box<[u8]>> {
        let name = key(name, self.exact);
        let group = self.by_name.get_mut(&*name)?;
        (group.used, group.unused) = (now, Duration::ZERO);
        if group.told.is_some_and(|told| now < told.saturating_add(DAY)) {
            return None;
        }
        group.told = Some(now);
        Some((*name).into())
    }

    /// A group has not been used for so long, and is looked at as soon as its members are known; false if there is none.
    pub(super) fn unused(&mut self, now: Instant, name: &[u8], time: Duration) -> bool {
        let Some(group) = self.get_mut(name) else { return false };
        group.unused = time;
        let number = group.number;
        self.unused.set(number, now);
        true
    }

    /// When a group has to be looked at.
    pub(super) fn next_unused(&self) -> Option<Instant> {
        self.unused.next()
    }

    /// Forgets one group that no user has used in time: for `lonely` if it has no members but its owner, for `unused` if it has.
    pub(super) fn forget_unused(
        &mut self,
        now: Instant,
        lonely: Duration,
        unused: Duration,
    ) -> Option<Box<[u8]>> {
        let number = self.unused.pop(now)?;
        let name = self.numbered.get(&number)?;
        let group = self.by_name.get_mut(name)?;
        if !group.call.is_empty() || group.joining > 0 {
            (group.used, group.unused) = (now, Duration::ZERO);
        }
        // The application knows to a day since when a group is not used.
        let left = if group.members.len() > 1 { unused.saturating_sub(group.unused) } else { lonely };
        let until = group.used.saturating_add(left);
        if until > now {
            self.unused.set(number, until);
            return None;
        }
        let name = self.numbered.remove(&number)?;
        let group = self.by_name.remove(&name)?;
        self.unmake(&group.owner);
        Some(name)
    }

    /// The application has stored a member, or has not.
    pub(super) fn joined(&mut self, name: &[u8], username: &[u8], stored: bool) {
        if let Some(group) = self.by_name.get_mut(name) {
            group.joining = group.joining.saturating_sub(1);
        }
        if stored {
            self.add_member(name, username);
        }
    }

    /// Adds a member; false if there is no such group.
    pub(super) fn add_member(&mut self, name: &[u8], username: &[u8]) -> bool {
        let username = key(username, self.exact);
        let Some(group) = self.get_mut(name) else { return false };
        group.members.insert((*username).into());
        true
    }
}

impl Server {
    pub(super) fn create_group<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        group_name: Text<'a>,
    ) -> Answer<'a> {
        self.authorize(now, peer, username, token)?;
        let (known_by, owner) = (self.groups.key(group_name.0), self.groups.key(username.0));
        let is_taken = self.groups.get(group_name.0).is_some() || self.is_echo(group_name);
        if is_taken || self.groups.creating.contains(&*known_by) {
            return Err(Code::GROUP_ALREADY_EXIST);
        }
        if let Some(error) = self.wrong_with(group_name) {
            self.respond(peer, Action::CreateGroup, Code::REQUEST_INVALID);
            return Ok(Some(ServerEvent::InvalidName { peer, error }));
        }
        let from = self.peers.ip(peer);
        let all = self.groups.len().saturating_add(self.groups.creating.len());
        let made = self.groups.made.get(&*owner).copied().unwrap_or(0);
        if all >= self.settings.max_groups
            || made >= self.settings.max_own_groups
            || from.is_some_and(|from| !self.creations.allow_n(now, from, CREATION))
        {
            return Err(Code::REQUEST_OVER_LIMIT);
        }
        self.groups.creating.insert((*known_by).into());
        *self.groups.made.entry((*owner).into()).or_default() = made.saturating_add(1);
        let what = What::CreateGroup { group_name: known_by.into(), owner: owner.into() };
        let ticket = self.ask(now, peer, Action::CreateGroup, what);
        Ok(Some(ServerEvent::CreatingGroup { ticket, peer, group_name, owner: username }))
    }

    pub(super) fn join_group<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        group_name: Text<'a>,
    ) -> Answer<'a> {
        self.authorize(now, peer, username, token)?;
        let (known_by, member) = (self.groups.key(group_name.0), self.groups.key(username.0));
        if self.is_echo(group_name) {
            return Err(Code::GROUP_MEMBER_ALREADY_EXIST);
        }
        let group = self.groups.get_mut(group_name.0).ok_or(Code::GROUP_DOES_NOT_EXIST)?;
        if group.members.contains(&*member) {
            return Err(Code::GROUP_MEMBER_ALREADY_EXIST);
        }
        if group.members.len().saturating_add(group.joining) >= self.settings.max_members {
            return Err(Code::REQUEST_OVER_LIMIT);
        }
        group.joining = group.joining.saturating_add(1);
        self.use_group(now, group_name);
        let what = What::JoinGroup { group_name: known_by.into(), username: member.into() };
        let ticket = self.ask(now, peer, Action::JoinGroup, what);
        Ok(Some(ServerEvent::JoiningGroup { ticket, peer, group_name, username }))
    }

    /// A user uses a group, of which the application may have to take note.
    pub(super) fn use_group(&mut self, now: Instant, group_name: Text<'_>) {
        if let Some(group_name) = self.groups.used(now, group_name.0) {
            self.later.push_back(ServerEvent::GroupUsed { group_name });
        }
    }

    /// A group of which `username` is a member.
    pub(super) fn member_of(&self, group_name: Text<'_>, username: Text<'_>) -> Result<&Group, Code> {
        let group = self.groups.get(group_name.0).ok_or(Code::GROUP_DOES_NOT_EXIST)?;
        if group.members.contains(&*self.groups.key(username.0)) {
            Ok(group)
        } else {
            Err(Code::GROUP_MEMBER_DOES_NOT_EXIST)
        }
    }

    pub(super) fn msg_group<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        group_name: Text<'a>,
        content: Text<'a>,
    ) -> Answer<'a> {
        self.authorize(now, peer, username, token)?;
        self.member_of(group_name, username)?;
        self.check_text(username)?;
        self.use_group(now, group_name);
        let members = &self.member_of(group_name, username)?.members;
        let sender = self.groups.key(username.0);
        let online: Vec<PeerId> = members
            .iter()
            .filter_map(|member| self.users.get(member))
            .flat_map(|user| user.connections.iter().copied())
            .collect();
        let offline: Vec<Box<[u8]>> = match self.settings.keep {
            // (Who sends it may be there for requests alone.)
            true => {
                let others = members.iter().filter(|member| ***member != *sender);
                others.filter(|member| self.users.get(member).is_none()).cloned().collect()
            }
            false => Vec::new(),
        };
        let delivered = members.iter().any(|member| **member != *sender && self.users.get(member).is_some());
        let update = ServerMessage::MsgGroup { group_name, sender: username, content };
        let len = update.encoded_len(&self.wire).unwrap_or(usize::MAX);
        let kept = len.max(MIN_KEPT_COST).saturating_mul(offline.len());
        let cost = len.saturating_mul(online.len()).saturating_add(kept);
        // No user pays for what is not sent.
        if self.outbox.check_capacity(len, 1).is_err() {
            return Err(Code::SERVER_UNAVAILABLE);
        }
        if !self.users.may_send(now, self.settings.messages, username.0, cost) {
            return Err(Code::REQUEST_OVER_LIMIT);
        }
        // To the sender, too, as the original does; and before its answer.
        if self.outbox.send(online, Lane::Reliable, &update, &self.wire).is_err() {
            return Err(Code::SERVER_UNAVAILABLE);
        }
        if offline.is_empty() {
            self.count(Action::MsgGroup);
            self.respond(peer, Action::MsgGroup, Code::SUCCESS);
            return Ok(None);
        }
        let ticket = self.ask(now, peer, Action::MsgGroup, What::Keep { delivered });
        Ok(Some(ServerEvent::Keeping { ticket, peer, recipients: offline, update }))
    }
}
