//! One direction of a TCP connection: segments in order, each byte once.

use std::collections::BTreeMap;

/// Bytes that wait in one direction for segments before them.
const MAX_WAITING: usize = 1 << 20;

/// How long they wait for a segment that the other side has acknowledged, in nanoseconds: the capture has missed it.
const PATIENCE: i64 = 1_000_000_000;

/// Puts segments in order.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// The place of the next byte, once that is known. The lower half is its sequence number.
    next: Option<u64>,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    /// When the first of them came.
    since: i64,
    /// The sequence number of the SYN.
    pub(crate) first: Option<u32>,
    pub(crate) figures: Figures,
}

/// What went wrong on the way, or in the capture.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    /// Bytes that came again.
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) gaps: u64,
    /// Bytes in the gaps.
    pub(crate) missing: u64,
}

impl Reassembly {
    pub(crate) fn syn(&mut self, sequence: u32) {
        self.first = Some(sequence);
        self.next = Some((1 << 32) + u64::from(sequence.wrapping_add(1)));
    }

    /// Whether bytes have been read from the start of the connection.
    pub(crate) const fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// The bytes of a segment that come next. Others wait, or have been there already.
    pub(crate) fn accept<'a>(&mut self, time: i64, sequence: u32, data: &'a [u8]) -> Option<&'a [u8]> {
        let next = *self.next.get_or_insert_with(|| (1 << 32) + u64::from(sequence));
        let [.., a, b, c, d] = next.to_be_bytes();
        let step = sequence.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
        let at = next.saturating_add_signed(step.into());
        let end = at.saturating_add(data.len() as u64);
        if at <= next {
            let known = usize::try_from(next - at).unwrap_or(usize::MAX).min(data.len());
            self.figures.repeated += known as u64;
            let fresh = data.get(known..).filter(|fresh| !fresh.is_empty())?;
            self.next = Some(end);
            return Some(fresh);
        }
        self.figures.out_of_order += 1;
        let longer = self.waiting.get(&at).is_none_or(|known| known.len() < data.len());
        if longer && !data.is_empty() {
            if self.waiting.is_empty() {
                self.since = time;
            }
            self.waiting_bytes += data.len();
            let before = self.waiting.insert(at, data.into());
            self.waiting_bytes -= before.map_or(0, |before| before.len());
        }
        None
    }

    /// The next segment that has waited, if its turn has come.
    pub(crate) fn next_waiting(&mut self) -> Option<Vec<u8>> {
        loop {
            let next = self.next?;
            let entry = self.waiting.first_entry().filter(|entry| *entry.key() <= next)?;
            let (at, mut data) = entry.remove_entry();
            self.waiting_bytes -= data.len();
            let known = usize::try_from(next - at).unwrap_or(usize::MAX).min(data.len());
            data.drain(..known);
            if !data.is_empty() {
                self.next = Some(next + data.len() as u64);
                return Some(data);
            }
        }
    }

    /// Whether what is missing will not come any more: too much waits, or it is acknowledged.
    pub(crate) fn is_stuck(&self, time: i64, acknowledged: Option<u32>) -> bool {
        let Some(next) = self.next.filter(|_| !self.waiting.is_empty()) else { return false };
        let [.., a, b, c, d] = next.to_be_bytes();
        let is_behind = |number: u32| number.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed() > 0;
        self.waiting_bytes > MAX_WAITING
            || (acknowledged.is_some_and(is_behind) && time.saturating_sub(self.since) > PATIENCE)
    }

    /// Goes on behind what is missing.
    pub(crate) fn skip(&mut self) -> bool {
        let Some((&at, _)) = self.waiting.first_key_value() else { return false };
        self.gap(at);
        true
    }

    /// Bytes that were sent next, but not captured.
    pub(crate) fn cut_off(&mut self, missing: usize) {
        if let Some(next) = self.next {
            self.gap(next.saturating_add(missing as u64));
        }
    }

    fn gap(&mut self, to: u64) {
        self.figures.gaps += 1;
        self.figures.missing += to.saturating_sub(self.next.unwrap_or(to));
        self.next = Some(to);
    }

    pub(crate) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &mut Reassembly, segments: &[(u32, &str)]) -> String {
        let mut text = String::new();
        for (sequence, data) in segments {
            if let Some(fresh) = stream.accept(0, *sequence, data.as_bytes()) {
                text += core::str::from_utf8(fresh).unwrap();
            }
            while let Some(data) = stream.next_waiting() {
                text += core::str::from_utf8(&data).unwrap();
            }
        }
        text
    }

    #[test]
    fn c_09_segments_come_in_order_and_once() {
        let mut stream = Reassembly::default();
        stream.syn(u32::MAX - 2);
        let start = u32::MAX - 1;
        let segments = [
            (start.wrapping_add(4), "ef"),
            (start, "ab"),
            (start, "abcd"),
            (start.wrapping_add(3), "def"),
            (start.wrapping_sub(1), "?abcdefg"),
            (start.wrapping_add(8), "i"),
            (start.wrapping_add(7), "hi"),
        ];
        assert_eq!(all(&mut stream, &segments), "abcdefghi");
        let Figures { out_of_order, gaps, .. } = stream.figures;
        assert_eq!((out_of_order, gaps, stream.waiting_bytes), (2, 0, 0));
    }

    #[test]
    fn c_09_gaps_are_skipped_once_they_will_not_be_filled() {
        let mut stream = Reassembly::default();
        assert_eq!(all(&mut stream, &[(100, "ab"), (110, "kl")]), "ab");
        assert!(!stream.is_stuck(PATIENCE + 1, Some(102)) && !stream.is_stuck(PATIENCE, Some(112)));
        assert!(stream.is_stuck(PATIENCE + 1, Some(112)));
        assert!(stream.skip() && stream.next_waiting().as_deref() == Some(b"kl") && !stream.skip());
        assert_eq!((stream.figures.gaps, stream.figures.missing), (1, 8));
        let large = vec![0; MAX_WAITING + 1];
        assert!(stream.accept(0, 200, &large).is_none() && stream.is_stuck(0, None));
    }
}
