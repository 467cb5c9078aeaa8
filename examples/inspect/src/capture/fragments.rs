//! Fragments of IP packets, put together. Everything that is kept is bounded.

use super::link::{Fragment, FragmentKey};
use etherparse::defrag::IpDefragBuf;
use std::collections::{HashMap, VecDeque};

/// Packets that are not complete.
const MAX_PACKETS: usize = 1024;
/// Bytes of all of them.
pub(crate) const MAX_HELD: usize = 16 << 20;
/// Separate parts of one packet: as many as 64 KiB have in the smallest packets of IPv4.
const MAX_PARTS: usize = 128;
/// How long a packet may take, in nanoseconds: as Linux has it.
const PATIENCE: i64 = 30_000_000_000;
/// How many complete packets are known, whose fragments may have been captured twice.
const RECENT: usize = 16;

/// Puts fragments together.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    packets: HashMap<FragmentKey, Incomplete>,
    held: usize,
    recent: VecDeque<FragmentKey>,
    pub(crate) figures: Figures,
}

/// What became of fragments.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) fragments: u64,
    /// Packets that were put together.
    pub(crate) complete: u64,
    /// Packets of which something is missing, or whose fragments contradict each other.
    pub(crate) incomplete: u64,
}

#[derive(Debug)]
struct Incomplete {
    /// When its first fragment was captured.
    since: i64,
    parts: IpDefragBuf,
}

impl Fragments {
    /// Takes a fragment that was captured at `time`. The payload of the packet, if this completes it.
    pub(crate) fn add(&mut self, time: i64, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        self.figures.fragments += 1;
        let key = fragment.key;
        if self.recent.contains(&key) {
            return None;
        }
        self.expire(time);
        if !self.packets.contains_key(&key) {
            self.make_room();
        }
        let packet = self.packets.entry(key).or_insert_with(|| Incomplete {
            since: time,
            parts: IpDefragBuf::new(key.number, Vec::new(), Vec::new()),
        });
        // What is cut off cannot be completed, and waits to be counted.
        if fragment.is_cut {
            return None;
        }
        let before = packet.parts.data().len();
        let added = packet.parts.add(fragment.offset, fragment.more, fragment.payload);
        let (after, parts) = (packet.parts.data().len(), packet.parts.sections().len());
        self.held = (self.held + after).saturating_sub(before);
        if added.is_err() || parts > MAX_PARTS {
            self.give_up(&key);
            return None;
        }
        if !packet.parts.is_complete() {
            self.bound(&key);
            return None;
        }
        let packet = self.packets.remove(&key)?;
        self.held = self.held.saturating_sub(after);
        self.figures.complete += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(key);
        Some(packet.parts.take_bufs().0)
    }

    /// The end of the capture: what is missing does not come any more.
    pub(crate) fn finish(&mut self) {
        self.figures.incomplete += self.packets.len() as u64;
        self.packets.clear();
        self.held = 0;
    }

    /// Bytes that are kept.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    fn expire(&mut self, time: i64) {
        let is_late = |packet: &Incomplete| time.saturating_sub(packet.since) > PATIENCE;
        let late: Vec<FragmentKey> =
            self.packets.iter().filter(|(_, packet)| is_late(packet)).map(|(key, _)| *key).collect();
        late.iter().for_each(|key| self.give_up(key));
    }

    fn make_room(&mut self) {
        if self.packets.len() == MAX_PACKETS {
            self.give_up_oldest(None);
        }
    }

    /// Gives up others where all together are too large.
    fn bound(&mut self, but: &FragmentKey) {
        while self.held > MAX_HELD && self.packets.len() > 1 {
            self.give_up_oldest(Some(but));
        }
    }

    fn give_up_oldest(&mut self, but: Option<&FragmentKey>) {
        let others = self.packets.iter().filter(|(key, _)| Some(*key) != but);
        let oldest = others.min_by_key(|(_, packet)| packet.since).map(|(key, _)| *key);
        oldest.iter().for_each(|key| self.give_up(key));
    }

    fn give_up(&mut self, key: &FragmentKey) {
        if let Some(packet) = self.packets.remove(key) {
            self.held = self.held.saturating_sub(packet.parts.data().len());
            self.figures.incomplete += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::{NotPacket, packet};
    use super::*;
    use etherparse::{IpFragOffset, IpNumber, Ipv4Header};
    use pcap_parser::Linktype;

    /// A fragment of a packet of IPv4; `at` in units of eight bytes.
    fn raw(identification: u16, at: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap();
        let mut header = Ipv4Header::new(len, 64, IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        (header.identification, header.more_fragments) = (identification, more);
        header.fragment_offset = IpFragOffset::try_new(at).unwrap();
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes.extend(payload);
        bytes
    }

    fn add(fragments: &mut Fragments, time: i64, bytes: &[u8]) -> Option<Vec<u8>> {
        match packet(Linktype::RAW, bytes) {
            Err(NotPacket::Fragment(fragment)) => fragments.add(time, &fragment),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn f_60_fragments_come_in_any_order_twice_and_overlap() {
        let whole: Vec<u8> = (0..40).collect();
        let mut fragments = Fragments::default();
        for (at, more, range, complete) in [
            (4, false, 32..40, false),
            (0, true, 0..8, false),
            (0, true, 0..16, false),
            (4, false, 32..40, false),
            (1, true, 8..32, true),
        ] {
            let done = add(&mut fragments, 0, &raw(7, at, more, &whole[range]));
            assert_eq!(done, complete.then(|| whole.clone()));
        }
        // What was captured twice is no packet of its own.
        assert_eq!(add(&mut fragments, 0, &raw(7, 4, false, &whole[32..])), None);
        fragments.finish();
        let Figures { fragments: number, complete, incomplete } = fragments.figures;
        assert_eq!((number, complete, incomplete, fragments.held()), (6, 1, 0, 0));
    }

    #[test]
    fn f_60_fragments_of_ipv6_are_found_behind_other_extension_headers() {
        let fixed = |len: u8, next: u8| {
            let mut head = vec![0x60, 0, 0, 0, 0, len, next, 64];
            head.resize(40, 1);
            head
        };
        let options = [44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let part = |at: u8, more: u8| [&[17, 0, 0, at | more, 0, 0, 0, 9][..], &[at; 8]].concat();
        let mut fragments = Fragments::default();
        let first = [fixed(32, 60), options.into(), part(0, 1)].concat();
        assert_eq!(add(&mut fragments, 0, &first), None);
        let last = add(&mut fragments, 0, &[fixed(16, 44), part(8, 0)].concat());
        assert_eq!(last.as_deref(), Some(&[[0; 8], [8; 8]].concat()[..]));
        // Cut off anywhere: the crate below has read beyond the end.
        for len in 0..first.len() {
            let _ = packet(Linktype::RAW, &first[..len]);
        }
    }

    #[test]
    fn f_60_incomplete_packets_are_counted_once_and_bounded() {
        let mut fragments = Fragments::default();
        // 64 KiB each, for a last fragment alone.
        for number in 0..5000_u16 {
            assert_eq!(add(&mut fragments, number.into(), &raw(number, 8000, false, &[1; 8])), None);
            assert!(fragments.held() <= MAX_HELD && fragments.packets.len() <= MAX_PACKETS);
        }
        for number in 5000..10_000_u16 {
            assert_eq!(add(&mut fragments, number.into(), &raw(number, 0, true, &[1; 8])), None);
        }
        assert_eq!(fragments.packets.len(), MAX_PACKETS);
        // Too late.
        assert_eq!(add(&mut fragments, 2 * PATIENCE, &raw(9999, 1, false, &[2; 8])), None);
        assert_eq!(fragments.packets.len(), 1);
        // Two ends.
        for at in [3, 5] {
            assert_eq!(add(&mut fragments, 2 * PATIENCE, &raw(1, at, false, &[2; 8])), None);
        }
        // Too many holes.
        for at in 0..=MAX_PARTS as u16 {
            assert_eq!(add(&mut fragments, 2 * PATIENCE, &raw(2, 2 * at, true, &[2; 8])), None);
        }
        fragments.finish();
        let Figures { complete, incomplete, .. } = fragments.figures;
        assert_eq!((complete, incomplete, fragments.held()), (0, 10_003, 0));
    }
}
