//! A jitter buffer for one speaker: packets come in whenever the network brings them, and go out at the pace of the
//! listener's sound card.

use core::time::Duration;

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
    starving: f32,
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
const STARVE: f32 = 5.0;
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
            starving: 0.0,
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
            self.starving = 0.0;
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
            self.starving = 0.0;
            self.stats.played += 1;
            let at = self.take();
            return Pull::Packet { packet: &self.slots[at].packet };
        }
        if stored > 0 {
            self.stats.lost += 1;
            self.lost = Some(now);
            self.starving = 0.0;
            self.next += 1;
            if self.has(self.next) {
                self.stats.recoverable += 1;
                let at = self.at(self.next);
                return Pull::Recover { next: &self.slots[at].packet };
            }
            return Pull::Conceal { gain: 1.0 };
        }
        if self.last.is_some_and(|last| last < self.next) || self.starving >= STARVE {
            if core::mem::take(&mut self.breaks_off) && self.starving < STARVE {
                return Pull::Conceal { gain: 0.0 };
            }
            self.state = State::Idle;
            return Pull::Silence;
        }
        // Late or lost, nobody can tell yet: time stands still for the speech, but not for long.
        self.underruns += f64::from(part);
        self.starving += part;
        Pull::Conceal { gain: fade(self.starving) }
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
        if self.starving == 0.0 || self.stored() == 0 {
            return;
        }
        while self.starving >= 0.75 && !self.has(self.next) {
            self.next += 1;
            self.starving -= 1.0;
            self.lost = Some(now);
        }
        // Where time stood still, what follows does not fit.
        self.joins |= self.starving.abs() > 0.01;
        self.starving = 0.0;
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

/// How late packets come, compared with the quickest ones.
///
/// A packet's transit is when it came in less when it was spoken: by clocks that have nothing to do with each other, so that only
/// differences say something. A moment's delay is what its slowest packet was late by, compared with the quickest of the moments up to it
/// and with the quickest from it on, whichever is slower: so that a way that becomes longer or shorter is no jitter.
#[derive(Debug)]
struct Delays {
    /// The last moments, the newest last, of which the last few are not in the histogram yet.
    moments: [Option<Moment>; MOMENTS],
    /// The last packets' transits.
    recent: [Option<f64>; 4],
    /// When the newest packet came in.
    newest: Duration,
    /// How likely delays are, in steps of [`STEP`].
    histogram: [f32; STEPS],
    observations: u32,
    /// In seconds.
    quantile: f64,
}

/// Transits within a moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    end: Duration,
    quickest: f64,
    slowest: f64,
    /// A speech begins with it.
    first: bool,
}

const STEP: f64 = 0.001;
const STEPS: usize = 500;
/// What comes in so late did not vary, it stood still.
const STALL: f64 = STEP * STEPS as f64;
const MOMENT: Duration = Duration::from_millis(200);
/// Moments before one, and behind it, that it is compared with.
const AROUND: usize = 2;
const MOMENTS: usize = 2 * AROUND + 1;
/// What comes in so soon behind something else came with it, as what a stall held back: that is one moment, not several.
const BURST: Duration = Duration::from_millis(3);
/// Before anything is known, packets may be late by so many steps.
const UNKNOWN: usize = 2;

impl Delays {
    fn new() -> Self {
        let mut histogram = [0.0; STEPS];
        histogram[UNKNOWN] = 1.0;
        let mut delays = Self {
            moments: [None; MOMENTS],
            recent: [None; 4],
            newest: Duration::ZERO,
            histogram,
            observations: 0,
            quantile: 0.0,
        };
        delays.settle();
        delays
    }

    fn forget_baseline(&mut self) {
        // There will be nothing to compare the last moments with.
        for _ in 0..=AROUND {
            self.turn(None);
        }
        self.moments = [None; MOMENTS];
        self.recent = [None; 4];
    }

    /// All that was observed lately was spoken so much later.
    fn shift(&mut self, seconds: f64) {
        for moment in self.moments.iter_mut().flatten() {
            moment.quickest -= seconds;
            moment.slowest -= seconds;
        }
        self.recent.iter_mut().flatten().for_each(|transit| *transit -= seconds);
    }

    fn observe(&mut self, now: Duration, spoken: f64) {
        let transit = now.as_secs_f64() - spoken;
        let burst = now < self.newest + BURST;
        self.newest = now;
        self.recent.rotate_left(1);
        self.recent[self.recent.len() - 1] = Some(transit);
        let moment = &mut self.moments[MOMENTS - 1];
        match moment {
            Some(moment) if now < moment.end || (burst && now < moment.end + MOMENT) => {
                let before = moment.quickest;
                moment.quickest = before.min(transit);
                // The first packets of a speech may come in a burst, and say little.
                moment.slowest = if moment.first {
                    moment.slowest + (moment.quickest - before).min(0.0)
                } else {
                    moment.slowest
                };
                moment.slowest = moment.slowest.max(transit);
            }
            _ => {
                let first = self.moments.iter().all(Option::is_none);
                let end = now + MOMENT;
                self.turn(Some(Moment { end, quickest: transit, slowest: transit, first }));
            }
        }
    }

    /// Begins a moment: there is one more to compare the others with.
    fn turn(&mut self, moment: Option<Moment>) {
        // The newest one is over now, and the one in the middle has seen what came behind it.
        if let Some(delay) = self.delay(AROUND) {
            note(&mut self.histogram, &mut self.observations, delay);
        }
        self.settle();
        self.moments.rotate_left(1);
        self.moments[MOMENTS - 1] = moment;
    }

    /// By how much the slowest packet of a moment was late.
    fn delay(&self, at: usize) -> Option<f64> {
        let moment = self.moments[at]?;
        let quickest = |moments: &[Option<Moment>]| {
            moments.iter().flatten().map(|moment| moment.quickest).fold(moment.quickest, f64::min)
        };
        let before = quickest(&self.moments[at.saturating_sub(AROUND)..at]);
        let behind = quickest(&self.moments[at + 1..(at + 1 + AROUND).min(MOMENTS)]);
        // Of the newest one nobody can tell yet: the way may have become longer.
        let quickest = if at + AROUND < MOMENTS { before.max(behind) } else { before };
        Some(moment.slowest - quickest)
    }

    /// The quickest transit of late.
    fn quickest(&self) -> Option<f64> {
        let last = self.moments.iter().rev().take(AROUND + 1).flatten();
        last.map(|moment| moment.quickest).reduce(f64::min)
    }

    /// The quickest of the last few packets.
    fn recent(&self) -> Option<f64> {
        self.recent.iter().flatten().copied().reduce(f64::min)
    }

    /// Finds the quantile, with those moments that are not in the histogram yet.
    fn settle(&mut self) {
        let (mut histogram, mut observations) = (self.histogram, self.observations);
        for at in AROUND + 1..MOMENTS {
            if let Some(delay) = self.delay(at) {
                note(&mut histogram, &mut observations, delay);
            }
        }
        let mut sum = 0.0;
        let at = histogram.iter().position(|share| {
            sum += share;
            sum >= 0.95
        });
        self.quantile = (at.unwrap_or(STEPS) + 1) as f64 * STEP;
    }

    fn quantile(&self) -> Duration {
        Duration::from_secs_f64(self.quantile)
    }
}

fn note(histogram: &mut [f32; STEPS], observations: &mut u32, delay: f64) {
    // A stall is not jitter: no delay that may be aimed at bridges it, and it says nothing about what follows.
    if delay >= STALL {
        return;
    }
    *observations = observations.saturating_add(1);
    // The first ones count for much, later ones for one part in sixty: about twelve seconds of speech.
    let keep = (1.0 - 2.0 / (*observations as f32 + 1.0)).min(1.0 - 1.0 / 60.0);
    let step = ((delay / STEP) as usize).min(STEPS - 1);
    for (at, share) in histogram.iter_mut().enumerate() {
        *share = *share * keep + if at == step { 1.0 - keep } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Plays a speech whose packet `n` comes in `delays[n]` milliseconds after it is spoken, or never. Returns what each
    /// pull gave, with the number that is in the packet.
    fn play(buffer: &mut JitterBuffer, from: u64, delays: &[Option<u64>], frames: u64) -> Vec<String> {
        let mut arrivals: Vec<(u64, u32)> = delays
            .iter()
            .zip(0..)
            .filter_map(|(delay, n)| Some((from + u64::from(n) * 20 + (*delay)?, n)))
            .collect();
        arrivals.sort();
        buffer.start();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut heard = Vec::new();
        for pull in 0..frames {
            let now = from + pull * 20;
            while let Some((at, n)) = arrivals.next_if(|(at, _)| *at <= now) {
                buffer.insert(ms(at), n, &[n as u8], n as usize == delays.len() - 1);
            }
            heard.push(match buffer.pull(ms(now)) {
                Pull::Packet { packet } => packet[0].to_string(),
                Pull::Recover { next } => format!("r{}", next[0]),
                Pull::Conceal { .. } => "c".into(),
                Pull::Silence => "-".into(),
            });
        }
        heard
    }

    #[test]
    fn packets_that_come_in_order_go_out_in_order_after_the_shortest_delay() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        let heard = play(&mut buffer, 1000, &[Some(0); 8], 14);
        assert_eq!(heard.join(" "), "- - 0 1 2 3 4 5 6 7 - - - -");
        let stats = buffer.stats();
        assert_eq!((stats.received, stats.played, stats.lost, stats.underruns), (8, 8, 0, 0));
        // Another speech, soon after.
        let heard = play(&mut buffer, 2000, &[Some(0); 3], 8);
        assert_eq!(heard.join(" "), "- - 0 1 2 - - -");
        assert_eq!(buffer.stats().speeches, 2);
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_and_two_are_concealed_and_recovered() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        let some = Some(0);
        let heard = play(&mut buffer, 1000, &[some, some, None, some, None, None, some, some], 12);
        assert_eq!(heard.join(" "), "- - 0 1 r3 3 c r6 6 7 - -");
        let stats = buffer.stats();
        assert_eq!((stats.lost, stats.recoverable), (3, 2));
    }

    /// F-53: a packet that was made up for before anybody could tell that it was lost is not made up for again.
    #[test]
    fn a_lost_packet_is_made_up_for_once() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for n in 0..2 {
            buffer.insert(ms(0), n, &[n as u8], false);
        }
        for now in [40, 60] {
            assert!(matches!(buffer.pull(ms(now)), Pull::Packet { .. }));
        }
        assert!(matches!(buffer.pull(ms(80)), Pull::Conceal { .. }));
        buffer.insert(ms(90), 3, &[3], false);
        assert_eq!(buffer.pull(ms(100)), Pull::Packet { packet: &[3] });
        assert_eq!((buffer.stats().lost, buffer.stats().underruns), (0, 1));
    }

    #[test]
    fn reordered_packets_are_put_right_and_duplicates_and_late_ones_are_dropped() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for (at, n) in [(0, 0), (20, 2), (30, 1), (30, 2), (60, 3)] {
            buffer.insert(ms(at), n, &[n as u8], false);
        }
        for (now, expected) in (60..).step_by(20).zip(0..4_u8) {
            assert!(matches!(buffer.pull(ms(now)), Pull::Packet { packet } if packet == [expected]));
        }
        buffer.insert(ms(150), 1, &[1], false);
        let stats = buffer.stats();
        assert_eq!((stats.reordered, stats.duplicate, stats.late), (1, 1, 1));
    }

    #[test]
    fn a_speech_that_breaks_off_fades_and_ends() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for n in 0..3 {
            buffer.insert(ms(0), n, &[0], false);
        }
        let mut gains = Vec::new();
        for pull in 3..20 {
            match buffer.pull(ms(pull * 20)) {
                Pull::Conceal { gain } => gains.push(gain),
                Pull::Silence => break,
                _ => {}
            }
        }
        assert!(gains.len() == 5 && gains.is_sorted_by(|a, b| a > b), "{gains:?}");
        // What then comes in is played, after the delay.
        buffer.insert(ms(500), 9, &[9], false);
        assert_eq!(buffer.pull(ms(500)), Pull::Silence);
        assert!(matches!(buffer.pull(ms(820)), Pull::Packet { packet: [9] }));
    }

    /// F-54: what was spoken first and comes in second is played first, as long as nothing has been played.
    #[test]
    fn a_packet_from_before_the_first_arrival_is_in_time_until_playing_begins() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for n in [2, 1, 0, 3] {
            buffer.insert(ms(0), n, &[n as u8], false);
        }
        let mut played = Vec::new();
        for pull in 0..10 {
            if let Pull::Packet { packet } = buffer.pull(ms(pull * 20)) {
                played.push(packet[0]);
            }
        }
        assert_eq!(played, [0, 1, 2, 3]);
        assert_eq!((buffer.stats().late, buffer.stats().lost), (0, 0));
        // Interrupted, and going on: what was played before is not played again.
        for pull in 10..20 {
            buffer.pull(ms(pull * 20));
        }
        buffer.insert(ms(400), 16, &[16], false);
        buffer.insert(ms(401), 3, &[3], false);
        buffer.insert(ms(401), 15, &[15], false);
        let mut played = Vec::new();
        for pull in 20..45 {
            if let Pull::Packet { packet } = buffer.pull(ms(pull * 20)) {
                played.push(packet[0]);
            }
        }
        assert_eq!((played, buffer.stats().late), (vec![15, 16], 1));
    }

    /// F-54: what the first packet of a speech overtook is played before it, and the speech before it to its end; what the last packet
    /// overtook is played before that.
    #[test]
    fn packets_that_overtake_each_other_at_the_ends_of_a_speech_are_put_right() {
        for apart in [0, 400_u64] {
            let mut buffer = JitterBuffer::for_frame(FRAME);
            buffer.start();
            // The first speech counts from 64 on, with packets from before; its last one comes before the last but one.
            let first = [(0, 64, 2), (5, 63, 1), (6, 62, 0), (40, 65, 3), (65, 67, 5), (66, 66, 4)];
            // The second one, from its third packet on.
            let second = [(120, 64, 8), (125, 62, 6), (130, 63, 7), (140, 65, 9)];
            let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
            let mut played = Vec::new();
            for now in (0..1000).step_by(20) {
                while let Some((at, sequence, name)) = first.next_if(|(at, ..)| *at <= now) {
                    buffer.insert(ms(at), sequence, &[name], sequence == 67);
                }
                while let Some((at, sequence, name)) = second.next_if(|(at, ..)| at + apart <= now) {
                    if name == 8 {
                        buffer.start();
                    }
                    buffer.insert(ms(at + apart), sequence, &[name], sequence == 65);
                }
                match buffer.pull(ms(now)) {
                    Pull::Packet { packet } => played.push(packet[0]),
                    Pull::Silence => {}
                    other => panic!("{now}: {other:?}"),
                }
            }
            assert_eq!(played, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{apart}");
            let stats = buffer.stats();
            assert_eq!((stats.lost, stats.late, stats.overflow, stats.underruns), (0, 0, 0, 0));
        }
    }

    #[test]
    fn the_delay_follows_what_the_network_does() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        let mut random = 1_u64;
        let mut delays = |most: u64| -> Vec<Option<u64>> {
            (0..1500)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    Some((random >> 33) % most.max(1))
                })
                .collect()
        };
        let calm = delays(2);
        play(&mut buffer, 0, &calm, 1600);
        let calm = buffer.stats();
        assert_eq!(calm.target, ms(27));
        let wild = delays(100);
        play(&mut buffer, 100_000, &wild, 1600);
        let wild = buffer.stats();
        assert!((ms(100)..ms(140)).contains(&wild.target), "{wild:?}");
        let again = delays(100);
        play(&mut buffer, 200_000, &again, 1600);
        let missed = buffer.stats().lost + buffer.stats().underruns - wild.lost - wild.underruns;
        assert!(missed < 60, "{missed} of 1500 were not in time");
    }

    /// F-53, T-A1: a way that becomes longer, or shorter again, is no jitter: the delay aimed at is what it was as soon as there is
    /// something to compare with, and does not rise when everything has been seen.
    #[test]
    fn a_way_that_becomes_longer_is_no_jitter() {
        for jitter in [2_u64, 20] {
            let mut delays = Delays::new();
            let mut random = 1_u64;
            let mut usual = None;
            for n in 0..3000_u64 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Longer after 20 s, shorter after 40 s.
                let way = if (1000..2000).contains(&n) { 80 } else { 0 };
                let at = ms(n * 20 + way + (random >> 33) % (jitter + 1));
                delays.observe(at, n as f64 * 0.02);
                if n == 990 {
                    usual = Some(delays.quantile());
                }
                let longest = delays.quantile();
                if let Some(usual) = usual {
                    assert!(longest <= usual + ms(5), "{jitter} ms, {n}: {longest:?}, {usual:?} before");
                    let quickest = delays.quickest().unwrap();
                    let away = quickest - (if (1000..2000).contains(&n) { 0.08 } else { 0.0 });
                    // Half a second after it has become longer, and at once when it has become shorter.
                    assert!(
                        away.abs() < 0.006 || (1000..1030).contains(&n) || (2000..2004).contains(&n),
                        "{n}: {away}"
                    );
                }
            }
        }
    }

    /// F-53: what is a little too much is played faster, what is far too much is left out, the oldest first.
    #[test]
    fn too_much_in_store_is_played_faster_or_left_out() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for n in 0..14 {
            buffer.insert(ms(0), n, &[n as u8], false);
        }
        assert_eq!(buffer.pace(ms(20), ms(0), FRAME), Pace::MuchFaster);
        assert_eq!(buffer.pull(ms(20)), Pull::Packet { packet: &[0] });
        // What is left out is not ahead any more.
        assert_eq!(buffer.pace(ms(20), FRAME, FRAME), Pace::MuchFaster);
        buffer.skip_to(12);
        assert_eq!(buffer.pace(ms(20), FRAME, FRAME), Pace::Faster);
        assert_eq!(buffer.pace(ms(20), ms(5), FRAME), Pace::Even);
        // A stall of five seconds: all of it comes at once.
        for n in 14..250 {
            buffer.insert(ms(5000), n, &[n as u8], false);
        }
        assert!(buffer.stats().stored < ms(1280), "{:?}", buffer.stats());
        buffer.pace(ms(5000), ms(0), FRAME);
        let stored = buffer.stats().stored;
        assert!(stored <= buffer.stats().target + FRAME * 2, "{stored:?}");
        assert!(matches!(buffer.pull(ms(5000)), Pull::Packet { packet: [newest] } if *newest > 240));
        assert!(buffer.stats().overflow > 230 && buffer.stats().lost == 0);
    }
}
