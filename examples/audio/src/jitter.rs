//! A jitter buffer for one speaker: packets come in whenever the network brings them, and go out at the pace of the
//! listener's sound card.

mod delays;

use core::time::Duration;
use delays::Delays;

/// Holds a speaker's packets back for as long as their delays vary, and no longer.
///
/// No clock and no codec inside: times are durations since whenever the caller began, packets are bytes. What is pulled is
/// one frame after the other: a packet, or what to do about one that is missing.
///
/// The delay aimed at, from when a packet comes in to when it is pulled, is the 95th percentile of what packets were late by, compared
/// with the quickest ones about that time, plus a frame and a quarter, so that the packet behind a lost one is there in time; older
/// observations are forgotten slowly. It is taken up at the beginning of a speech, and otherwise approached by playing faster or
/// slower: [`pace`](Self::pace) says when. What is far beyond it, as after a stall, is left out.
#[derive(Debug)]
pub struct JitterBuffer {
    frame: Duration,
    min_delay: Duration,
    max_delay: Duration,
    slots: Vec<Slot>,
    /// The position of a speech's frame 0, modulo 2^64: speeches follow each other without a gap.
    base: u64,
    /// The first position of the speech, as far as it has come in.
    begin: u64,
    /// Nothing of the speech has come in.
    fresh: bool,
    /// One more than the highest position so far.
    end: u64,
    /// The position to be played next.
    next: u64,
    /// What is before it was played, or given up, before the buffer began to wait.
    floor: u64,
    state: State,
    delays: Delays,
    /// The last frame of the speech has come in: at this position.
    last: Option<u64>,
    /// The speech has ended without a last packet: what was heard last fades before it is silent.
    breaks_off: bool,
    /// Frames made up for in a row, with nothing to follow.
    concealed_run: f32,
    /// The same since it was made, whole ones and the rest.
    underruns: f64,
    /// What is pulled next does not follow what was pulled before.
    joins: bool,
    /// Frames that come at once, in one message.
    bulk: f32,
    /// What is pulled next is played faster, or slower, until the delay is what it should be.
    pace: Pace,
    /// When a packet was last lost.
    lost: Option<Duration>,
    stats: JitterStats,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    /// The first packet has come in; playing starts when it has waited for as long as is aimed at.
    Waiting,
    Playing,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    position: Option<u64>,
    packet: Vec<u8>,
}

/// What to play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pull<'a> {
    /// This packet.
    Packet {
        /// Its bytes.
        packet: &'a [u8],
    },
    /// The packet is lost; the one behind it, which may carry it, is this.
    Recover {
        /// Its bytes.
        next: &'a [u8],
    },
    /// The packet is lost or late: something like what was heard before, this loud at its end.
    Conceal {
        /// From 0 to 1.
        gain: f32,
    },
    /// Nobody speaks.
    Silence,
}

/// How fast to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it was spoken.
    Even,
    /// A little slower: there is less in store than is needed.
    Slower,
    /// A little faster: there is more in store than is needed.
    Faster,
    /// Much faster: there is far more in store than is needed.
    MuchFaster,
}

/// Counters of a jitter buffer, since it was made, and where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct JitterStats {
    /// Packets that came in.
    pub received: u64,
    /// Packets played.
    pub played: u64,
    /// Packets that came in after their turn.
    pub late: u64,
    /// Packets that came in more than once.
    pub duplicate: u64,
    /// Packets that came in behind a later one, and in time.
    pub reordered: u64,
    /// Packets left out because they had waited for too long, as after a stall.
    pub overflow: u64,
    /// Frames whose packet did not come in time although a later one had.
    pub lost: u64,
    /// Of these: with a packet behind them that may carry them.
    pub recoverable: u64,
    /// Frames' lengths played while there was nothing in store at all.
    pub underruns: u64,
    /// Speeches.
    pub speeches: u64,
    /// The delay aimed at.
    pub target: Duration,
    /// What is in store now.
    pub stored: Duration,
}

/// How many packets can be in store: 64 of 20 ms are more than a second. Where several come in one message, twice as many beside.
const SLOTS: usize = 64;
/// The most that are taken to come in one message: 2 s of 10 ms.
const MOST_BULK: f32 = 200.0;
/// More than this beyond the delay aimed at is left out at once: to play it faster would take too long. In seconds.
const TOO_LATE: f64 = 0.3;
/// More than this beyond is played much faster.
const LATE: f64 = 0.06;
/// Less than this beyond is left as it is, besides what is pulled at once: a period that is left out is up to 15 ms.
const SLACK: f64 = 0.01;
/// Frames made up for with nothing to follow, before the speech counts as interrupted.
const MAX_CONCEALED_RUN: f32 = 5.0;
/// For so long after a packet was lost there is a frame more in store than jitter needs: the next one may be lost, too.
const LOSSY: Duration = Duration::from_secs(10);

impl JitterBuffer {
    /// For packets of one `frame` each, held back for `min_delay` to `max_delay`.
    pub fn new(frame: Duration, min_delay: Duration, max_delay: Duration) -> Self {
        let frame = frame.max(Duration::from_millis(1));
        Self {
            frame,
            min_delay,
            max_delay: max_delay.min(frame * (SLOTS as u32 * 3 / 4)).max(min_delay),
            slots: vec![Slot::default(); SLOTS],
            base: 0,
            begin: 0,
            fresh: false,
            end: 0,
            next: 0,
            floor: 0,
            state: State::Idle,
            delays: Delays::new(),
            last: None,
            breaks_off: false,
            concealed_run: 0.0,
            underruns: 0.0,
            joins: false,
            bulk: 1.0,
            pace: Pace::Even,
            lost: None,
            stats: JitterStats::default(),
        }
    }

    /// A frame and a quarter, at least, to 300 ms.
    pub fn for_frame(frame: Duration) -> Self {
        Self::new(frame, Duration::ZERO, Duration::from_millis(300))
    }

    /// So many frames come at once from now on, in one message: that is not a delay of the network's.
    pub(crate) fn set_bulk(&mut self, frames: f32) {
        self.bulk = frames.clamp(0.0, MOST_BULK);
        let wanted = SLOTS + 2 * self.bulk as usize;
        if self.bulk > 1.0 && wanted > self.slots.len() {
            let slots = core::mem::replace(&mut self.slots, vec![Slot::default(); wanted]);
            for slot in slots {
                if let Some(position) = slot.position {
                    let at = self.at(position);
                    self.slots[at] = slot;
                }
            }
        }
    }

    /// A new speech starts: its sequence numbers count from any number on. What the first packet to come in overtook is played before it,
    /// as long as that has not been played.
    pub fn start(&mut self) {
        (self.base, self.begin, self.fresh) = (self.end, self.end, true);
        (self.last, self.breaks_off) = (None, false);
        self.stats.speeches += 1;
        // How long nobody spoke says nothing about the network.
        self.delays.forget_baseline();
        if self.state == State::Idle {
            self.next = self.base;
        }
    }

    /// The speech has ended without a last packet: what is in store is played, and fades at its end.
    pub fn stop(&mut self) {
        // Of the speech before, whose last packet has come, this says nothing.
        self.breaks_off = self.state != State::Idle && self.last.is_none();
        self.last = self.last.or_else(|| Some(self.end.saturating_sub(1)));
    }

    /// A packet has come in; `sequence` counts the frames of the speech, `last` marks its last one.
    pub fn insert(&mut self, now: Duration, sequence: u32, packet: &[u8], last: bool) {
        self.put(sequence, packet, last);
        let position = self.base.wrapping_add(sequence.into()).cast_signed();
        self.delays.observe(now, position as f64 * self.length());
    }

    /// Notes when the newest message came, and up to where it goes, in frames.
    pub(crate) fn observe(&mut self, now: Duration, end: f64) {
        // As if it were a packet that begins a frame before its end.
        self.delays.observe(now, (end - 1.0) * self.length());
    }

    /// Seconds of a frame.
    const fn length(&self) -> f64 {
        self.frame.as_secs_f64()
    }

    /// Keeps a packet, whose delay is noted elsewhere.
    pub(crate) fn put(&mut self, sequence: u32, packet: &[u8], last: bool) {
        self.stats.received += 1;
        if core::mem::take(&mut self.fresh) {
            self.base = self.end.wrapping_sub(sequence.into());
        }
        let position = self.base.wrapping_add(sequence.into());
        let before = self.begin.wrapping_sub(position).cast_signed();
        let position = match u64::try_from(before) {
            Ok(before @ 1..) if !self.make_room(before) => {
                self.stats.late += 1;
                return;
            }
            Ok(1..) => self.begin,
            _ => position,
        };
        if last {
            self.last = Some(position);
        }
        let slots = self.slots.len() as u64;
        // Until playing begins, what was spoken before the first packet that came in is in time.
        if position < self.next && self.state == State::Waiting && self.end < position + slots {
            self.next = position.max(self.floor);
        }
        if position < self.next {
            self.stats.late += 1;
            return;
        }
        if position >= self.next + slots {
            // What is older than the delay aimed at is of no use any more.
            self.skip_to((position + 1).saturating_sub(self.aim() as u64 + 1));
        }
        let at = self.at(position);
        let slot = &mut self.slots[at];
        if slot.position == Some(position) {
            self.stats.duplicate += 1;
            return;
        }
        slot.position = Some(position);
        slot.packet.clear();
        slot.packet.extend_from_slice(packet);
        self.stats.reordered += u64::from(position + 1 < self.end);
        self.end = self.end.max(position + 1);
        if self.state == State::Idle {
            // Nor does a pause, if that was one.
            self.delays.forget_baseline();
            self.state = State::Waiting;
            self.floor = self.next;
            self.next = position;
            self.concealed_run = 0.0;
        }
    }

    /// Moves a speech back by so many frames: others of it have been overtaken by what came in first. False if that is played already.
    fn make_room(&mut self, frames: u64) -> bool {
        let room = self.slots.len() as u64;
        if self.state == State::Idle || self.next > self.begin || self.end + frames - self.next > room {
            return false;
        }
        for position in (self.begin..self.end).rev() {
            let (from, to) = (self.at(position), self.at(position + frames));
            if self.slots[from].position == Some(position) {
                self.slots.swap(from, to);
                self.slots[to].position = Some(position + frames);
            }
        }
        self.base = self.base.wrapping_add(frames);
        self.end += frames;
        self.last = self.last.map(|last| if last >= self.begin { last + frames } else { last });
        self.delays.shift(frames as f64 * self.length());
        true
    }

    /// Leaves the oldest packets out until fewer than `most` are waiting for their turn.
    pub fn truncate_to(&mut self, most: usize) {
        if self.end.saturating_sub(self.next) >= most as u64 {
            self.skip_to((self.end + 1).saturating_sub(most as u64));
        }
    }

    /// How fast to play what is pulled next. `ahead` was pulled and is not played yet; `round` is what is played at once.
    pub fn pace(&mut self, now: Duration, ahead: Duration, round: Duration) -> Pace {
        if !self.plays(now) {
            self.pace = Pace::Even;
            return Pace::Even;
        }
        let (ahead, round) = (ahead.as_secs_f64(), round.as_secs_f64());
        // What is left of the last frame when the next one is pulled: that waits for less than it is heard later by.
        let rest = ahead % round.max(1e-3);
        let aim = self.wanted().as_secs_f64() - ahead + rest;
        // What the network holds back just now cannot be left out: the last few packets say what can.
        let Some(late) = self.waited(now, self.delays.recent()) else { return Pace::Even };
        if late - aim > TOO_LATE {
            let frames = ((late - aim) / self.length()) as u64;
            self.skip_to((self.next + frames).min(self.end));
        }
        let beyond = |quickest| self.waited(now, quickest).map_or(0.0, |waited| waited - aim);
        let (late, usual) = (beyond(self.delays.recent()), beyond(self.delays.quickest()));
        // The packet behind a lost one has to be there in time; without loss there is no need to change a voice for that.
        let lossy = self.lost.is_some_and(|lost| now < lost + LOSSY);
        let short = if lossy { 0.005 } else { (self.length() / 2.0).max(0.01).min(self.length() * 0.85) };
        let is_fast = matches!(self.pace, Pace::Faster | Pace::MuchFaster);
        self.pace = if late > LATE.max(round + SLACK) {
            Pace::MuchFaster
        } else if late > round + SLACK || (is_fast && late > round) {
            Pace::Faster
        } else if usual < -short || (self.pace == Pace::Slower && usual < 0.0) {
            Pace::Slower
        } else {
            Pace::Even
        };
        self.pace
    }

    /// The next frame. To be called once for each frame's length.
    pub fn pull(&mut self, now: Duration) -> Pull<'_> {
        self.pull_part(now, 1.0)
    }

    /// The next frame; or so much of one, from 0 to 1, if there is nothing in store at all.
    pub(crate) fn pull_part(&mut self, now: Duration, part: f32) -> Pull<'_> {
        if !self.plays(now) {
            return Pull::Silence;
        }
        // An earlier packet may have come in behind the first one.
        self.state = State::Playing;
        self.go_on(now);
        let stored = self.stored();
        if self.has(self.next) {
            self.concealed_run = 0.0;
            self.stats.played += 1;
            let at = self.take();
            return Pull::Packet { packet: &self.slots[at].packet };
        }
        if stored > 0 {
            self.stats.lost += 1;
            self.lost = Some(now);
            self.concealed_run = 0.0;
            self.next += 1;
            if self.has(self.next) {
                self.stats.recoverable += 1;
                let at = self.at(self.next);
                return Pull::Recover { next: &self.slots[at].packet };
            }
            return Pull::Conceal { gain: 1.0 };
        }
        if self.last.is_some_and(|last| last < self.next) || self.concealed_run >= MAX_CONCEALED_RUN {
            if core::mem::take(&mut self.breaks_off) && self.concealed_run < MAX_CONCEALED_RUN {
                return Pull::Conceal { gain: 0.0 };
            }
            self.state = State::Idle;
            return Pull::Silence;
        }
        // Late or lost, nobody can tell yet: time stands still for the speech, but not for long.
        self.underruns += f64::from(part);
        self.concealed_run += part;
        Pull::Conceal { gain: fade(self.concealed_run) }
    }

    /// The counters.
    pub fn stats(&self) -> JitterStats {
        JitterStats {
            target: self.target(),
            stored: self.frame * self.stored() as u32,
            underruns: self.underruns.round() as u64,
            ..self.stats
        }
    }

    /// The delay aimed at.
    fn target(&self) -> Duration {
        // The first frame of a message has to wait until its last one is played; where frames begin within messages, for a frame more.
        let whole = (self.bulk - self.bulk.round()).abs() < 1e-3;
        let bulk = if whole { (self.bulk - 1.0).max(0.0) } else { self.bulk };
        let delay = self.delays.quantile() + self.frame + self.frame / 4;
        delay.clamp(self.min_delay, self.max_delay) + self.frame.mul_f32(bulk)
    }

    /// What a packet has to wait for, at least, before it is pulled: a quarter of a frame less, as the next round may be as much later.
    fn wanted(&self) -> Duration {
        self.target().saturating_sub(self.frame / 4)
    }

    /// The delay aimed at, in frames.
    fn aim(&self) -> f32 {
        self.target().as_secs_f32() / self.frame.as_secs_f32()
    }

    /// For how long the packet to be played next has waited, or would have if it had come in as soon as the quickest one, in seconds.
    fn waited(&self, now: Duration, quickest: Option<f64>) -> Option<f64> {
        quickest.map(|quickest| now.as_secs_f64() - self.next as f64 * self.length() - quickest)
    }

    /// Leaves everything out before a position.
    fn skip_to(&mut self, position: u64) {
        if position <= self.next {
            return;
        }
        for slot in &mut self.slots {
            if slot.position.is_some_and(|at| at < position) {
                slot.position = None;
                self.stats.overflow += 1;
            }
        }
        self.next = position;
        self.joins = true;
    }

    /// Once there is something to go on with: what was made up for while nobody could tell is lost, and sound goes on behind it.
    fn go_on(&mut self, now: Duration) {
        if self.concealed_run == 0.0 || self.stored() == 0 {
            return;
        }
        while self.concealed_run >= 0.75 && !self.has(self.next) {
            self.next += 1;
            self.concealed_run -= 1.0;
            self.lost = Some(now);
        }
        // Where time stood still, what follows does not fit.
        self.joins |= self.concealed_run.abs() > 0.01;
        self.concealed_run = 0.0;
    }

    /// Whether what is pulled next does not follow what was pulled before: some was left out, or time stood still. Told once.
    pub(crate) fn take_join(&mut self, now: Duration) -> bool {
        self.go_on(now);
        core::mem::replace(&mut self.joins, false)
    }

    /// Whether there is something to play at `now`.
    fn plays(&self, now: Duration) -> bool {
        match self.state {
            State::Idle => false,
            State::Waiting => self
                .waited(now, self.delays.quickest())
                .is_some_and(|waited| waited + 1e-6 >= self.wanted().as_secs_f64()),
            State::Playing => true,
        }
    }

    const fn at(&self, position: u64) -> usize {
        (position % self.slots.len() as u64) as usize
    }

    /// Whether the next frame is there.
    pub(crate) fn is_ready(&self) -> bool {
        self.has(self.next)
    }

    /// The position to be played next.
    #[cfg(test)]
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that packets have room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.slots.iter().map(|slot| slot.packet.capacity()).sum()
    }

    /// Whether nothing is played, and nothing is in store.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    fn has(&self, position: u64) -> bool {
        self.slots[self.at(position)].position == Some(position)
    }

    fn take(&mut self) -> usize {
        let at = self.at(self.next);
        self.slots[at].position = None;
        self.next += 1;
        at
    }

    /// Packets in store.
    fn stored(&self) -> usize {
        self.slots.iter().filter(|slot| slot.position.is_some_and(|position| position >= self.next)).count()
    }
}

/// How loud the end of something made up is, with so many frames of it.
fn fade(frames: f32) -> f32 {
    const GAINS: [f32; 6] = [1.0, 0.9, 0.7, 0.4, 0.1, 0.0];
    let at = (frames.max(0.0) as usize).min(GAINS.len() - 2);
    let share = (frames - at as f32).min(1.0);
    GAINS[at] + (GAINS[at + 1] - GAINS[at]) * share
}

#[cfg(test)]
mod tests;
