//! What a recording lacks: of what is put at a place, bytes that did not fit or could not be written.

use core::ops::Range;

/// Gaps that are told apart: of more, the nearest count as one.
pub(super) const MAX_GAPS: usize = 64;

/// Bytes of a recording that neither are in it nor wait for it, in order.
#[derive(Debug, Default)]
pub(super) struct Missing(pub(super) Vec<Range<u64>>);

impl Missing {
    /// All from there on are written anew.
    pub(super) fn cut(&mut self, at: u64) {
        self.0.retain_mut(|gap| {
            gap.end = gap.end.min(at);
            !gap.is_empty()
        });
    }

    pub(super) fn add(&mut self, gap: Range<u64>) {
        if gap.is_empty() {
            return;
        }
        self.0.push(gap);
        self.0.sort_by_key(|gap| gap.start);
        let mut gaps: Vec<Range<u64>> = Vec::new();
        for gap in self.0.drain(..) {
            match gaps.last_mut() {
                Some(last) if gap.start <= last.end => last.end = last.end.max(gap.end),
                _ => gaps.push(gap),
            }
        }
        if gaps.len() > MAX_GAPS {
            let nearest = (1..gaps.len()).min_by_key(|n| gaps[*n].start - gaps[*n - 1].end);
            if let Some(n) = nearest {
                gaps[n - 1].end = gaps.remove(n).end;
            }
        }
        self.0 = gaps;
    }

    /// The first from `at` on.
    pub(super) fn first(&self, at: u64) -> Option<u64> {
        self.0.iter().find(|gap| gap.end > at).map(|gap| gap.start.max(at))
    }

    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|gap| gap.end - gap.start).sum()
    }
}
