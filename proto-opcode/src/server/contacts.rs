//! Who comes and goes, told to every client: at once while it is calm, together in a storm.

use super::{Client, Peer, Server};
use crate::types::{COUNT_LEN, Text};
use crate::wire::HEAD_LEN;
use crate::{ECHO, Packet};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use voxwire_core::{Bucket, Instant, Lane, List, PeerId, Rate};

/// What has happened since every client was told last.
#[derive(Debug, Default)]
pub(super) struct Changes {
    log: Vec<Change>,
    /// Who has connected or logged in since, and what had happened by then, which is no news to it: who logs in is given
    /// every client's name.
    newcomers: BTreeMap<PeerId, usize>,
    /// How often every client may be told.
    told: Bucket,
    due: Option<Instant>,
    silent: bool,
}

#[derive(Debug)]
struct Change {
    name: Box<[u8]>,
    here: bool,
}

/// How often every client is told at once, before it is a storm.
const CALM: u32 = 10;
/// Changes after which every client is told, however little time has passed: newcomers make telling quadratic.
const MANY: usize = 256;
/// Bytes of one list; longer ones are told in several.
const CHUNK: usize = 60 * 1024;
/// Slots whose names a newcomer is told in one list.
const NEIGHBOURS: u32 = 64;
/// Changes that a newcomer is told together.
const PART: usize = 64;

impl Changes {
    /// No client is told anything.
    pub(super) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// What `changes` come to: who has gone, and who has come.
fn net(changes: &[Change]) -> (Vec<Text<'_>>, Vec<Text<'_>>) {
    // By name: whether it was there before and has gone, and whether it has come (again).
    let mut names: BTreeMap<&[u8], (bool, bool)> = BTreeMap::new();
    for Change { name, here } in changes {
        let entry = names.entry(name).or_insert((!here, false));
        entry.1 = *here;
    }
    let gone = names.iter().filter(|(_, (gone, _))| *gone).map(|(name, _)| Text(name)).collect();
    let come = names.iter().filter(|(_, (_, come))| *come).map(|(name, _)| Text(name)).collect();
    (gone, come)
}

/// The length of a name in a list.
pub(super) const fn encoded(name: &[u8]) -> usize {
    name.len().saturating_add(COUNT_LEN)
}

/// `names` in lists that fit a packet.
fn chunks<'a>(mut names: &'a [Text<'a>], max_items: usize) -> impl Iterator<Item = List<'a, Text<'a>>> {
    core::iter::from_fn(move || {
        let mut bytes: usize = 0;
        let fits = |name: &&Text<'_>| {
            bytes = bytes.saturating_add(encoded(name.0));
            bytes <= CHUNK
        };
        // A name is far shorter than a list: at least one fits.
        let n = names.iter().take(max_items).take_while(fits).count().max(1);
        let (now, later) = names.split_at_checked(n.min(names.len()))?;
        names = later;
        (!now.is_empty()).then_some(now.into())
    })
}

impl Server {
    /// A client has logged in: it is told who is there, and they that it is.
    pub(super) fn come(&mut self, now: Instant, peer: PeerId, name: Box<[u8]>) {
        // Before it had a name it was told who came. Who has gone since, and is not in the list that it gets now, it would
        // never hear of again: what it is told next begins behind this.
        if self.settings.unnamed_are_told {
            let since = self.changes.newcomers.get(&peer).copied().unwrap_or(0);
            let changes = core::mem::take(&mut self.changes);
            let (gone, _) = net(changes.log.get(since..).unwrap_or(&[]));
            self.tell(&[peer], &gone, &[]);
            self.changes = changes;
        }
        self.introduce(peer);
        self.changes.log.push(Change { name, here: true });
        self.changes.newcomers.insert(peer, self.changes.log.len());
        self.changed(now);
    }

    /// Tells `peer` who is there. Lists are of neighbouring slots, so that most of them say the same to others that log in: a driver
    /// can hold them once.
    fn introduce(&mut self, peer: PeerId) {
        let Self { peers, outbox, settings, wire, .. } = self;
        let (unnamed_count, max_items) = (settings.unnamed_take_part, settings.limits.max_items);
        let mut names: Vec<Text<'_>> = Vec::new();
        let mut tell = |names: &mut Vec<Text<'_>>| {
            for contacts in chunks(names, max_items) {
                // It fits: the lists were made so.
                let _ = outbox.send_over_limit(peer, Lane::Reliable, &Packet::AddContact { contacts }, wire);
            }
            names.clear();
        };
        if settings.echo {
            names.push(ECHO.into());
        }
        let mut last = 0;
        for (other, state) in peers.iter() {
            let name = match state {
                Peer::Client(Client { name: Some(name), .. }) => Text(name),
                Peer::Client(_) if unnamed_count => Text(b""),
                _ => continue,
            };
            if other == peer {
                continue;
            }
            if other.slot / NEIGHBOURS != last {
                tell(&mut names);
                last = other.slot / NEIGHBOURS;
            }
            names.push(name);
        }
        tell(&mut names);
    }

    /// A client has connected: what has happened before does not concern it.
    pub(super) fn arrive(&mut self, now: Instant, peer: PeerId) {
        if self.changes.newcomers.len() >= MANY {
            self.tell_changes(now);
        }
        if !self.changes.log.is_empty() {
            self.changes.newcomers.insert(peer, self.changes.log.len());
        }
    }

    /// A client has gone.
    pub(super) fn gone(&mut self, now: Instant, name: Box<[u8]>) {
        if !self.changes.silent {
            self.changes.log.push(Change { name, here: false });
            self.changed(now);
        }
    }

    fn changed(&mut self, now: Instant) {
        let every = self.settings.coalesce;
        let per_second = 1_000_000_u128.checked_div(every.as_micros()).unwrap_or(0);
        let rate = Rate { per_second: u32::try_from(per_second).unwrap_or(u32::MAX).max(1), burst: CALM };
        if every.is_zero() || self.changes.log.len() >= MANY {
            self.tell_changes(now);
        } else if self.changes.due.is_none() {
            match self.changes.told.charge(now, rate, 1) {
                None => self.tell_changes(now),
                due => self.changes.due = due,
            }
        }
    }

    /// Tells every client what has changed.
    pub(super) fn tell_changes(&mut self, now: Instant) {
        let changes = core::mem::take(&mut self.changes);
        let (gone, come) = net(&changes.log);
        let size =
            |names: &[Text<'_>]| names.iter().fold(0, |sum: usize, name| sum.saturating_add(encoded(name.0)));
        let frames = size(&gone).saturating_add(size(&come)).saturating_add(4 * HEAD_LEN);
        let needed = frames.saturating_mul(changes.newcomers.len().saturating_add(1));
        // Into an empty outbox it goes beyond the limit: waiting would not make it less.
        let full = !self.outbox.is_empty()
            && self.outbox.check_capacity(needed, self.peers.len().saturating_mul(2)).is_err();
        if full {
            // Later: no client misses anything, every client hears of it a little late.
            let wait = self.settings.coalesce.max(core::time::Duration::from_millis(50));
            self.changes = Changes { due: Some(now.saturating_add(wait)), ..changes };
            return;
        }
        let told = self.settings.unnamed_are_told;
        let others: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(peer, state)| match state {
                Peer::Client(client) => {
                    (told || client.name.is_some()) && !changes.newcomers.contains_key(peer)
                }
                Peer::Leg(_) => false,
            })
            .map(|(peer, _)| peer)
            .collect();
        self.tell(&others, &gone, &come);
        for (peer, since) in &changes.newcomers {
            // It may have gone again; and may have no name.
            if self.client(*peer).is_some_and(|client| told || client.name.is_some()) {
                // Up to the next part alone, then part by part: most of them say the same to all newcomers.
                let mut from = *since;
                while from < changes.log.len() {
                    let end = from.saturating_add(1).next_multiple_of(PART).min(changes.log.len());
                    let (gone, come) = net(changes.log.get(from..end).unwrap_or(&[]));
                    self.tell(&[*peer], &gone, &come);
                    from = end;
                }
            }
        }
        self.changes.told = changes.told;
    }

    fn tell(&mut self, to: &[PeerId], gone: &[Text<'_>], come: &[Text<'_>]) {
        let max = self.settings.limits.max_items;
        let gone = chunks(gone, max).map(|contacts| Packet::DelContact { contacts });
        let come = chunks(come, max).map(|contacts| Packet::AddContact { contacts });
        for packet in gone.chain(come) {
            // It fits a packet: the lists were made so.
            let _ = self.outbox.send_all_over_limit(to.iter().copied(), Lane::Reliable, &packet, &self.wire);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o_05_changes_come_to_who_has_gone_and_who_has_come() {
        let log = |text: &str| -> Vec<Change> {
            let change = |word: &str| Change { name: word.as_bytes()[1..].into(), here: &word[..1] == "+" };
            text.split_whitespace().map(change).collect()
        };
        let check = |text: &str, gone: &[&str], come: &[&str]| {
            let log = log(text);
            let (got_gone, got_come) = net(&log);
            assert_eq!(got_gone.iter().filter_map(Text::as_str).collect::<Vec<_>>(), gone, "{text}");
            assert_eq!(got_come.iter().filter_map(Text::as_str).collect::<Vec<_>>(), come, "{text}");
        };
        check("+b +a", &[], &["a", "b"]);
        check("+a -a", &[], &[]);
        check("-a +a", &["a"], &["a"]);
        check("-a +a -a", &["a"], &[]);
        check("+a -a +a", &[], &["a"]);
        check("-a -b +c", &["a", "b"], &["c"]);
    }

    #[test]
    fn long_lists_are_told_in_several() {
        let name = [b'x'; 255];
        let names: Vec<Text<'_>> = (0..600).map(|_| Text(&name)).collect();
        let lists: Vec<usize> = chunks(&names, 4096).map(|list| list.len()).collect();
        assert_eq!(lists, [233, 233, 134]);
        assert_eq!(chunks(&names, 500).map(|list| list.len()).sum::<usize>(), 600);
        assert_eq!(chunks(&[], 500).count(), 0);
    }
}
