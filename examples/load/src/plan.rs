//! What a run does: who is in it, who talks, and when each frame is due.

use crate::encryption::Encryption;
use crate::error::Cause;
use crate::protocols::{Entry, Grouping};
use core::ops::Range;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use voxwire_transport::Remote;

/// A run, as every process of it has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The protocol's name.
    pub(crate) protocol: String,
    /// Where the server is; `None` as long as the program has not started its own.
    pub(crate) server: Option<SocketAddr>,
    /// `None`: in the clear.
    pub(crate) encryption: Option<Encryption>,
    pub(crate) users: u32,
    pub(crate) talkers: u32,
    /// Rooms or groups of which each user has one; without a meaning for calls and streams.
    pub(crate) groups: u32,
    /// Frames a second of each talker, and bytes of each; 0 where the server says it.
    pub(crate) rate: u32,
    pub(crate) bytes: usize,
    pub(crate) seconds: u32,
    /// Users a second that join, over all processes.
    pub(crate) ramp: u32,
    /// Seconds that a user may take to join, and to set up what it speaks in.
    pub(crate) timeout: u32,
    /// What the names of all users begin with.
    pub(crate) prefix: String,
    /// Which users this process has.
    pub(crate) part: Range<u32>,
}

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

impl Plan {
    pub(crate) fn entry(&self) -> &'static Entry {
        // The name was taken from the table.
        Entry::named(&self.protocol).unwrap_or(Entry::FIRST)
    }

    pub(crate) fn server(&self) -> String {
        self.server.map_or_else(String::new, |server| server.to_string())
    }

    /// The way to the server: `clear`, or what is encrypted in its place.
    pub(crate) fn remote(&self, clear: Remote) -> Result<Remote, Cause> {
        match &self.encryption {
            None => Ok(clear),
            Some(encryption) => encryption.remote(&self.server(), clear),
        }
    }

    /// Whether users come by QUIC.
    pub(crate) fn is_quic(&self) -> bool {
        self.encryption.as_ref().is_some_and(|encryption| encryption.quic)
    }

    /// What a user is called.
    pub(crate) fn name(&self, user: u32) -> String {
        format!("{}-{user}", self.prefix)
    }

    /// The group that a user is in: with those, and no others, it speaks.
    pub(crate) fn group(&self, user: u32) -> u32 {
        match self.entry().grouping {
            Grouping::Pairs => user / 2,
            Grouping::Groups => scaled(user, self.groups, self.users),
            Grouping::Alone => user,
        }
    }

    /// Whether `listener` is to hear what `speaker` says.
    pub(crate) fn hears(&self, listener: u32, speaker: u32) -> bool {
        let itself = self.entry().grouping == Grouping::Alone;
        speaker < self.users
            && self.group(speaker) == self.group(listener)
            && (itself || speaker != listener)
            && self.talks(speaker)
    }

    /// Whether a user talks. Talkers are spread evenly over the users.
    pub(crate) fn talks(&self, user: u32) -> bool {
        self.nth_talker(user + 1) > self.nth_talker(user)
    }

    fn nth_talker(&self, user: u32) -> u32 {
        scaled(user, self.talkers, self.users)
    }

    /// Frames that a talker says, at `rate` a second.
    pub(crate) fn frames(&self, rate: f64) -> u32 {
        (rate * f64::from(self.seconds)).round() as u32
    }

    /// When a frame is due, in nanoseconds from the beginning of the talk. Talkers do not all talk at the same moment.
    pub(crate) fn due(&self, user: u32, sequence: u32, rate: f64) -> u64 {
        let offset = f64::from(self.nth_talker(user)) / f64::from(self.talkers.max(1));
        ((f64::from(sequence) + offset) / rate * SECOND as f64) as u64
    }

    /// How long after its stage has begun a user does its part of it: not all at once.
    pub(crate) fn ramp(&self, user: u32) -> u64 {
        let place = u64::from(user - self.part.start) * SECOND / u64::from(self.ramp.max(1));
        // All processes begin together, and share the rate.
        place * u64::from(self.users) / u64::from((self.part.end - self.part.start).max(1))
    }

    /// The users of each of `processes`: two that call each other are in the same one.
    pub(crate) fn parts(&self, processes: u32) -> impl Iterator<Item = Range<u32>> {
        let unit = if self.entry().grouping == Grouping::Pairs { 2 } else { 1 };
        let units = self.users / unit;
        (0..processes)
            .map(move |part| scaled(part, units, processes) * unit..scaled(part + 1, units, processes) * unit)
    }
}

/// `part` of `of`, in a whole of `whole`.
fn scaled(part: u32, of: u32, whole: u32) -> u32 {
    u32::try_from(u64::from(part) * u64::from(of) / u64::from(whole.max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(protocol: &str, users: u32, talkers: u32, groups: u32) -> Plan {
        Plan {
            protocol: protocol.into(),
            server: None,
            encryption: None,
            users,
            talkers,
            groups,
            rate: 50,
            bytes: 80,
            seconds: 2,
            ramp: 100,
            timeout: 10,
            prefix: "load".into(),
            part: 0..users,
        }
    }

    #[test]
    fn talkers_and_groups_are_spread_evenly() {
        let plan = plan("dissonance", 100, 10, 10);
        let mut talkers = [0; 10];
        for user in (0..100).filter(|user| plan.talks(*user)) {
            talkers[plan.group(user) as usize] += 1;
        }
        assert_eq!(talkers, [1; 10]);
        assert_eq!((plan.frames(50.0), plan.due(9, 0, 50.0), plan.due(99, 1, 50.0)), (100, 0, 38_000_000));
        assert!(plan.hears(0, 9) && !plan.hears(9, 9) && !plan.hears(10, 9) && !plan.hears(9, 0));
    }

    #[test]
    fn each_user_is_in_one_process_and_the_two_of_a_call_in_the_same() {
        for (users, processes) in [(10, 3), (8, 4), (2, 1), (19_000, 7)] {
            let plan = plan("voicelink", users, users, 1);
            let parts: Vec<_> = plan.parts(processes).collect();
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, users));
            assert!(parts.windows(2).all(|two| two[0].end == two[1].start && two[0].end % 2 == 0));
        }
    }

    #[test]
    fn all_processes_together_join_at_the_rate_of_the_ramp() {
        let mut plan = plan("voicelink", 1000, 0, 1);
        let last = |plan: &Plan| plan.ramp(plan.part.end - 1);
        assert_eq!(last(&plan), 999 * SECOND / 100);
        for part in plan.clone().parts(4) {
            plan.part = part;
            assert!(last(&plan).abs_diff(10 * SECOND) < SECOND / 10, "{}", last(&plan));
        }
    }
}
