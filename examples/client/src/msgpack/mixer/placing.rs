//! Where on the time line of a recording each message of a call belongs. Messages carry no time: all that is known is when each came in.
//!
//! The messages of a speaker are put one behind the other, without a gap. A message whose predecessors are all there cannot have been
//! said later than it came in, and the network lets some pass at once. So the message that came least late, of those that follow, tells
//! where the speaker really is:
//!
//! - as far as the speaker is now, but for what the network does to all of them: nothing moves;
//! - much later: the speaker paused, and moves;
//! - somewhat later or earlier, and for longer: the speaker's clock runs apart, and what follows is played slower or faster.
//!
//! TCP over a network that loses segments holds up nearly all messages, and lets what it held up come in at once. This makes the least
//! late message of a second vary by hundreds of milliseconds. How much the delays vary within a second is therefore no reason to move.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use voxwire_audio::{lengthen, shorten};
use voxwire_msgpack::SAMPLE_RATE;

/// What a speaker said last is put behind what came before, unless it comes later by more than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much has to follow to tell a speaker who was held up from one who paused.
const SURE: Duration = Duration::from_secs(1);
/// So much is a word.
const WORD: Duration = Duration::from_millis(200);
/// A speaker who is so far off has paused, or was held up for too long. Twice the variation of the delays is added.
const JUMP: Duration = Duration::from_millis(150);
/// The clock of a speaker who is so far off runs apart. The variation of the delays is added.
const NEAR: Duration = Duration::from_millis(60);
/// How much is remembered of the delays of what has its place.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Runs that are remembered: a speaker of single words has many.
const RUNS: usize = 64;
/// The variation of the delays is that within runs of so much speech.
const RUN: Duration = Duration::from_secs(1);
/// What a recording holds of a speaker and has not put anywhere: more is a flood, and is not kept.
const PENDING: Duration = Duration::from_secs(12);
/// The same in messages, each of which is looked at when another one is placed: 12 s of 5 ms.
const MESSAGES: usize = 2400;
/// Speakers of a recording at a time. Another is kept once one of them has said nothing for as long as nothing is written.
pub(super) const SPEAKERS: usize = 64;
/// What a recording has of the time before the first word.
const LEAD: Duration = Duration::from_secs(1);

/// The sum of all that has been said, on a time line that [`frame`] tells.
#[derive(Debug)]
pub(super) struct Mix {
    /// The sum from frame `start` on.
    pub(super) sum: VecDeque<f64>,
    pub(super) start: u64,
    /// The first word has been said.
    begun: bool,
    pub(super) speakers: BTreeMap<Vec<u8>, Track>,
    /// What is put somewhere just now.
    piece: Vec<f32>,
    /// The first frame that something has been put to since this was set back.
    pub(super) touched: u64,
}

/// What one speaker has said lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// What has no place yet: samples, and of each message when it came in and how many are its.
    pub(super) samples: VecDeque<f32>,
    messages: VecDeque<(u64, usize)>,
    /// Up to where the speaker has come.
    at: Option<u64>,
    /// The delays of what has its place, the oldest first.
    runs: VecDeque<Run>,
}

/// How late messages came that followed each other without a gap, against where they were put, in frames.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// When the last one came in.
    last: u64,
    /// Frames in all of them.
    len: i64,
    /// The delay of the one that came least late.
    least: i64,
    /// By how much the others came later, summed over their frames.
    excess: i64,
}

impl Default for Mix {
    fn default() -> Self {
        let (sum, speakers, piece) = (VecDeque::new(), BTreeMap::new(), Vec::new());
        Self { sum, start: 0, begun: false, speakers, piece, touched: u64::MAX }
    }
}

impl Mix {
    /// One that begins with the call, and not with the first word.
    pub(super) fn from_the_call() -> Self {
        Self { begun: true, ..Self::default() }
    }

    /// The same from frame `from` on, as far as it is not silent, to go on with.
    pub(super) fn from(&self, from: u64) -> Self {
        let first = (from.saturating_sub(self.start) as usize).min(self.sum.len());
        Self {
            sum: self.sum.range(first..).copied().collect(),
            start: self.start + first as u64,
            begun: self.begun,
            speakers: self.speakers.clone(),
            ..Self::default()
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.speakers.values().any(|track| !track.messages.is_empty())
    }

    /// The first frame that has changed since `touched` was set back, or that what has no place yet can be put to.
    pub(super) fn earliest(&self) -> u64 {
        let pending = self.speakers.values().filter(|track| !track.messages.is_empty());
        let pending = pending.map(|track| track.at.unwrap_or(self.start)).min();
        self.touched.min(pending.unwrap_or(u64::MAX))
    }

    /// Goes on to frame `until`, if there is nothing before it. Returns how much of that is silence in the file: none before the first
    /// word.
    pub(super) fn silence(&mut self, until: u64) -> usize {
        if !self.sum.is_empty() {
            return 0;
        }
        let silence = until.saturating_sub(self.start);
        self.start += silence;
        if self.begun { silence as usize } else { 0 }
    }

    /// Keeps a message that came in at [`frame`] `now`.
    pub(super) fn hear(&mut self, now: u64, speaker: &[u8], samples: impl ExactSizeIterator<Item = f32>) {
        if !self.speakers.contains_key(speaker) {
            if self.speakers.len() >= SPEAKERS {
                let start = self.start;
                self.speakers
                    .retain(|_, track| !track.messages.is_empty() || track.at.is_some_and(|at| at > start));
            }
            if self.speakers.len() >= SPEAKERS {
                return;
            }
            self.speakers.insert(speaker.to_vec(), Track::default());
        }
        let Some(track) = self.speakers.get_mut(speaker) else { return };
        let pending = (track.samples.len() + samples.len()) as u64;
        if samples.len() == 0 || pending > frames(PENDING) || track.messages.len() >= MESSAGES {
            return;
        }
        track.messages.push_back((now, samples.len()));
        track.samples.extend(samples);
    }

    /// Puts what came in until then to its place.
    pub(super) fn settle(&mut self, until: u64) {
        let mut speakers = core::mem::take(&mut self.speakers);
        if !self.begun && speakers.values().any(|track| track.is_due(until)) {
            self.begun = true;
            let first = speakers.values().filter_map(Track::said).min().map_or(0, unsigned);
            // The time before the call is not recorded, but for what was said in it.
            let lead = first.saturating_sub(frames(LEAD)).max(frame(Duration::ZERO)).min(first);
            self.start = self.start.max(lead);
        }
        for track in speakers.values_mut() {
            while track.is_due(until) {
                self.place(track);
            }
        }
        self.speakers = speakers;
    }

    /// Takes everything up to frame `until`.
    pub(super) fn take(&mut self, until: u64) -> Vec<f64> {
        let count = (until.saturating_sub(self.start) as usize).min(self.sum.len());
        self.start += count as u64;
        self.sum.drain(..count).collect()
    }

    /// Puts a speaker's next message to its place.
    fn place(&mut self, track: &mut Track) {
        let said = track.said().unwrap_or(0);
        let mut at = track.at.unwrap_or_else(|| unsigned(said)).max(self.start);
        let (moved, drift) = track.off(at, said);
        if moved > 0 {
            at = at.saturating_add_signed(moved);
        } else if moved < 0 {
            // It can be put no earlier than where it ended, or what is written.
            track.leave_out(moved.unsigned_abs() as usize);
        }
        self.piece.clear();
        let wanted = if drift != 0 { frames(Duration::from_millis(30)) as usize } else { 1 };
        while self.piece.len() < wanted {
            let Some((arrival, len)) = track.messages.pop_front() else { break };
            self.piece.extend(track.samples.drain(..len));
            let end = at + self.piece.len() as u64;
            track.remember(arrival, len as i64, arrival as i64 - end as i64);
        }
        if drift != 0 {
            let before = self.piece.len() as i64;
            let stretch = if drift > 0 { lengthen } else { shorten };
            // Where it has become urgent, what sounds less alike will do.
            let alike = if drift.abs() < signed(JUMP) * 2 / 3 { 0.8 } else { 0.5 };
            stretch(&mut self.piece, 1, SAMPLE_RATE, alike);
            let longer = self.piece.len() as i64 - before;
            track.runs.iter_mut().for_each(|run| run.least -= longer);
        }
        self.touched = self.touched.min(at);
        let index = (at - self.start) as usize;
        if index + self.piece.len() > self.sum.len() {
            self.sum.resize(index + self.piece.len(), 0.0);
        }
        for (sum, sample) in self.sum.range_mut(index..).zip(&self.piece) {
            *sum += f64::from(*sample);
        }
        track.at = Some(at + self.piece.len() as u64);
    }
}

impl Track {
    /// Whether the next message came in until then.
    fn is_due(&self, until: u64) -> bool {
        self.messages.front().is_some_and(|(arrival, _)| *arrival <= until)
    }

    /// When the next message was said at the latest: what came least late of it and of what follows came at once.
    fn said(&self) -> Option<i64> {
        let said = self.messages.iter().scan(0, |end, (arrival, len)| {
            *end += *len as i64;
            Some(*arrival as i64 - *end)
        });
        said.min()
    }

    /// How far the next message moves, if put to `at` it were behind the one before, and it was `said` at the latest; and how far off
    /// the speaker's clock is.
    fn off(&self, at: u64, said: i64) -> (i64, i64) {
        let late = said - at as i64;
        if late.abs() <= signed(NEAR) {
            return (0, 0);
        }
        let variation = self.variation();
        let far = signed(JUMP) + 2 * variation;
        if late <= signed(PATIENCE) && !self.is_sure(said, far) {
            return (0, 0);
        }
        if late.abs() > far {
            return (late, 0);
        }
        // What came less late before is as good a proof that nothing has changed.
        let drift = self.runs.iter().map(|run| run.least).fold(late, i64::min);
        let drift = if drift > 0 { drift } else { late.min(0) };
        (0, if drift.abs() > signed(NEAR) + variation { drift } else { 0 })
    }

    /// Whether enough follows that came no later than by `far` behind what came least late. A few words will do if they came as fast as they
    /// were said: what was held up comes at once.
    fn is_sure(&self, said: i64, far: i64) -> bool {
        let (mut end, mut support, mut latest) = (0, 0, 0);
        for (arrival, len) in &self.messages {
            end += *len as i64;
            let later = *arrival as i64 - end - said;
            if later <= far {
                support += *len as i64;
                latest = latest.max(later);
            }
        }
        support >= signed(SURE) || (support >= signed(WORD) && latest < support / 2)
    }

    /// By how much messages come later than the least late one of their run, on average.
    fn variation(&self) -> i64 {
        let (mut frames, mut excess) = (0, 0);
        let mut add = |run: &Run| {
            frames += run.len;
            excess += run.excess;
        };
        self.runs.iter().for_each(&mut add);
        let (mut run, mut end) = (Run::default(), 0);
        for (arrival, len) in &self.messages {
            let len = *len as i64;
            end += len;
            if !run.takes(*arrival, len) {
                add(&run);
                run = Run::default();
            }
            run.add(*arrival, len, *arrival as i64 - end);
        }
        add(&run);
        excess / frames.max(1)
    }

    /// Remembers the delay of what has been put somewhere.
    fn remember(&mut self, arrival: u64, len: i64, late: i64) {
        match self.runs.back_mut() {
            Some(run) if run.takes(arrival, len) => run.add(arrival, len, late),
            _ => {
                let mut run = Run::default();
                run.add(arrival, len, late);
                self.runs.push_back(run);
                let mut total: i64 = self.runs.iter().map(|run| run.len).sum();
                while total > signed(REMEMBERED) || self.runs.len() > RUNS {
                    total -= self.runs.pop_front().map_or(total, |run| run.len);
                }
            }
        }
    }

    /// Leaves out the oldest that has no place yet, but for the last message.
    fn leave_out(&mut self, mut samples: usize) {
        while let Some((_, len)) = self.messages.front_mut() {
            let gone = samples.min(*len);
            *len -= gone;
            samples -= gone;
            self.samples.drain(..gone);
            if *len > 0 {
                return;
            }
            self.messages.pop_front();
        }
    }
}

impl Run {
    /// Whether a message belongs to it.
    fn takes(&self, arrival: u64, len: i64) -> bool {
        let gap = arrival.saturating_sub(self.last) as i64 - len;
        self.len == 0 || (self.len < signed(RUN) && gap <= signed(JUMP))
    }

    fn add(&mut self, arrival: u64, len: i64, late: i64) {
        if self.len == 0 {
            self.least = late;
        }
        let least = self.least.min(late);
        self.excess += (self.least - least) * self.len + (late - least) * len;
        self.least = least;
        self.len += len;
        self.last = arrival;
    }
}

/// The frame of the time line for a time since the call began. What has no place yet can have been said before, as its beginning may have
/// been held up: all that is kept of it has a place in front.
pub(super) fn frame(time: Duration) -> u64 {
    frames(PENDING + time)
}

/// A time in frames.
pub(super) fn frames(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as u64
}

fn unsigned(frame: i64) -> u64 {
    u64::try_from(frame).unwrap_or(0)
}

fn signed(time: Duration) -> i64 {
    frames(time) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playout::tests::speech;
    use voxwire_audio::{Clip, resample};

    /// Frames in a message of 20 ms.
    const BLOCK: usize = 882;

    /// A network that carries segments in their order, each with up to `jitter` milliseconds of delay. So many per cent are lost, and
    /// sent again after 200 ms.
    struct Tcp {
        random: fastrand::Rng,
        loss: f64,
        jitter: f64,
        last: f64,
    }

    impl Tcp {
        fn new(seed: u64, loss: f64, jitter: f64) -> Self {
            Self { random: fastrand::Rng::with_seed(seed), loss: loss / 100.0, jitter, last: 0.0 }
        }

        /// When a message comes in that is sent at a time, in milliseconds: two segments.
        fn carry(&mut self, sent: f64) -> f64 {
            for _ in 0..2 {
                let mut at = sent + self.jitter * self.random.f64();
                while self.random.f64() < self.loss {
                    at += 200.0;
                }
                self.last = self.last.max(at);
            }
            self.last
        }
    }

    struct Speaker<'a> {
        name: &'a [u8],
        said: &'a [f32],
        /// When a message is sent, in milliseconds, by where its end is in what is said.
        sent: &'a dyn Fn(f64) -> f64,
    }

    /// What is recorded of them.
    fn record(speakers: &[Speaker<'_>], tcp: &mut Tcp) -> Vec<f64> {
        let mut messages = Vec::new();
        for speaker in speakers {
            for (n, message) in (1..).zip(speaker.said.chunks(BLOCK)) {
                messages.push(((speaker.sent)(f64::from(n) * 20.0), speaker.name, message));
            }
        }
        messages.sort_by(|one, other| one.0.total_cmp(&other.0));
        let at = |ms: f64| frame(Duration::from_secs_f64(ms / 1000.0));
        let mut mix = Mix::default();
        let mut tick = 6000.0;
        for (sent, name, message) in messages {
            let arrival = tcp.carry(sent);
            while tick < arrival {
                mix.settle(at(tick - 6000.0));
                tick += 100.0;
            }
            mix.hear(at(arrival), name, message.iter().copied());
        }
        mix.settle(u64::MAX);
        mix.take(u64::MAX)
    }

    /// Speech in whole samples of 16 bits, from its first sound on.
    fn samples(seconds: usize, pace: f64) -> Vec<f32> {
        let rate = (f64::from(SAMPLE_RATE) * pace) as u32;
        let clip = resample(&Clip { rate, ..speech(SAMPLE_RATE, seconds) }, SAMPLE_RATE).unwrap();
        let samples = clip.samples.iter().map(|sample| ((sample * 32_768.0).round() / 32_768.0) as f32);
        samples.skip_while(|sample| *sample == 0.0).collect()
    }

    /// Takes what was said away from the rest of a recording, which begins with it. Returns where that is, in milliseconds.
    fn take_away(said: &[f32], rest: &mut [f64]) -> f64 {
        let start = rest.iter().position(|sample| *sample != 0.0).unwrap();
        rest[start..].iter_mut().zip(said).for_each(|(rest, said)| *rest -= f64::from(*said));
        start as f64 * 1000.0 / f64::from(SAMPLE_RATE)
    }

    /// The networks of the tests: loss in per cent, jitter in milliseconds, and how far apart from where they were two speakers may be
    /// put, in milliseconds. For how long both are held up at least decides that.
    const NETWORKS: [(f64, f64, f64); 4] =
        [(0.0, 30.0, 20.0), (1.0, 30.0, 100.0), (10.0, 30.0, 200.0), (20.0, 60.0, 400.0)];

    /// F-53: where TCP loses nothing and only holds up, every sample of two speakers is recorded where it was said.
    #[test]
    fn f_53_speakers_over_a_bad_network_do_not_move_against_each_other() {
        let (alice, bob) = (samples(9, 1.0), samples(8, 0.8));
        for (loss, jitter, most) in NETWORKS {
            // They may have begun before the call is answered, and were held up as the answer was.
            for (seed, begin) in (0..20).zip([500.0, -1250.0].into_iter().cycle()) {
                let speakers = [
                    Speaker { name: b"alice", said: &alice, sent: &|end| begin + end },
                    Speaker { name: b"bob", said: &bob, sent: &|end| begin + 1007.0 + end },
                ];
                let mut rest = record(&speakers, &mut Tcp::new(seed, loss, jitter));
                let apart = -take_away(&alice, &mut rest) + take_away(&bob, &mut rest);
                let what = format!("{loss} %, {jitter} ms, seed {seed}: {apart} ms apart");
                assert!(rest.iter().all(|sample| *sample == 0.0), "{what}");
                assert!((apart - 1007.0).abs() <= most, "{what}");
            }
        }
    }

    /// F-53: a speaker who pauses moves, also with single words between the pauses. The other speaker does not.
    #[test]
    fn f_53_a_speaker_who_pauses_moves_over_a_bad_network_too() {
        let (alice, bob) = (samples(12, 1.0), samples(6, 0.8));
        let words = [0, 22_050, 44_100 * 3 / 2, 44_100 * 3, bob.len()];
        let begins = [1507.0, 4000.0, 6500.0, 9500.0];
        let sent = |end: f64| {
            let word = words[1..].iter().position(|word| end * 44.1 <= *word as f64 + 1.0).unwrap_or(3);
            begins[word] + end - words[word] as f64 / 44.1
        };
        for (loss, jitter, most) in &NETWORKS[..3] {
            for seed in 0..20 {
                let speakers = [
                    Speaker { name: b"alice", said: &alice, sent: &|end| 500.0 + end },
                    Speaker { name: b"bob", said: &bob, sent: &sent },
                ];
                let mut rest = record(&speakers, &mut Tcp::new(seed, *loss, *jitter));
                let start = take_away(&alice, &mut rest);
                for (word, begin) in words.windows(2).zip(begins) {
                    let said = &bob[word[0]..word[1]];
                    let silent = said.iter().take_while(|sample| **sample == 0.0).count();
                    let apart = take_away(&said[silent..], &mut rest) - silent as f64 / 44.1 - start;
                    let off = apart - (begin - 500.0);
                    assert!(off.abs() <= *most, "{loss} %, {jitter} ms, seed {seed}: {off} ms off");
                }
                assert!(rest.iter().all(|sample| *sample == 0.0), "{loss} %, {jitter} ms, seed {seed}");
            }
        }
    }

    /// F-53: a clock that runs apart is followed over a bad network, too.
    #[test]
    fn f_53_a_clock_that_runs_apart_is_followed_over_a_bad_network() {
        let said = samples(150, 1.0);
        for (loss, jitter, most) in NETWORKS {
            for parts in [-3, 3] {
                // 450 ms in the end.
                let sent = |end: f64| end + end * f64::from(parts) / 1000.0;
                let speakers = [Speaker { name: b"alice", said: &said, sent: &sent }];
                let recorded = record(&speakers, &mut Tcp::new(1, loss, jitter));
                let begun = recorded.iter().position(|sample| *sample != 0.0).unwrap();
                let end = (recorded.len() - begun) as f64 / 44.1;
                let off = end - sent(said.len() as f64 / 44.1);
                assert!(off.abs() <= most + 110.0, "{loss} %, {jitter} ms, {parts}: {off} ms off");
            }
        }
    }
}
