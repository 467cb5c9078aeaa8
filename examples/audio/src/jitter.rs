//! A jitter buffer for one speaker: packets come in whenever the network brings them, and go out at the pace of the
//! listener's sound card.

use core::time::Duration;

/// Holds a speaker's packets back for as long as their delays vary, and no longer.
///
/// No clock and no codec inside: times are durations since whenever the caller began, packets are bytes. What is pulled is
/// one frame after the other: a packet, or what to do about one that is missing.
///
/// The delay aimed at is the 95th percentile of what packets were late by, compared with the quickest of the last seconds,
/// plus two frames, so that the packet behind a lost one is there in time; older observations are forgotten slowly. It is taken up
/// at the beginning of a speech, and otherwise approached by playing faster or slower: [`pace`](Self::pace) says when. What is
/// far beyond it, as after a stall, is left out.
#[derive(Debug)]
pub struct JitterBuffer {
    frame: Duration,
    min_delay: Duration,
    max_delay: Duration,
    slots: Vec<Slot>,
    /// The position of a speech's frame 0: speeches follow each other without a gap.
    base: u64,
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
    /// Frames made up for in a row, with nothing to follow.
    starving: u32,
    /// What is pulled next does not follow what was pulled before.
    joins: bool,
    /// Frames that come at once, in one message.
    bulk: f32,
    /// When the newest frame came in.
    newest: Duration,
    level: f32,
    stats: JitterStats,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    /// The first packet has come in; playing starts then.
    Waiting(Duration),
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
    /// Frames played while there was nothing in store at all.
    pub starved: u64,
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
/// More than this beyond the delay aimed at is left out at once: to play it faster would take too long.
const TOO_LATE: Duration = Duration::from_millis(300);
/// Frames made up for with nothing to follow, before the speech counts as interrupted.
const STARVE: u32 = 5;

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
            end: 0,
            next: 0,
            floor: 0,
            state: State::Idle,
            delays: Delays::new(),
            last: None,
            starving: 0,
            joins: false,
            bulk: 1.0,
            newest: Duration::ZERO,
            level: 0.0,
            stats: JitterStats::default(),
        }
    }

    /// 40 to 300 ms.
    pub fn for_frame(frame: Duration) -> Self {
        Self::new(frame, (frame * 2).max(Duration::from_millis(40)), Duration::from_millis(300))
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

    /// A new speech starts: its sequence numbers count from 0 again.
    pub fn start(&mut self) {
        self.base = self.end;
        self.last = None;
        self.stats.speeches += 1;
        if self.state == State::Idle {
            self.next = self.base;
            // How long nobody spoke says nothing about the network.
            self.delays.forget_baseline();
        }
    }

    /// The speech has ended without a last packet.
    pub fn stop(&mut self) {
        self.last = Some(self.end.saturating_sub(1));
    }

    /// A packet has come in; `sequence` counts the frames of the speech, `last` marks its last one.
    pub fn insert(&mut self, now: Duration, sequence: u32, packet: &[u8], last: bool) {
        let position = self.base + u64::from(sequence);
        self.delays.observe(now, self.frame * u32::try_from(position % (1 << 31)).unwrap_or(0));
        self.put(now, sequence, packet, last);
    }

    /// Notes how late the newest message came, which was spoken then.
    pub(crate) fn observe(&mut self, now: Duration, spoken: Duration) {
        self.newest = now;
        self.delays.observe(now, spoken);
    }

    /// Keeps a packet, whose delay is noted elsewhere, and whose first part came in at `now`.
    pub(crate) fn put(&mut self, now: Duration, sequence: u32, packet: &[u8], last: bool) {
        self.stats.received += 1;
        let position = self.base + u64::from(sequence);
        if last {
            self.last = Some(position);
        }
        let slots = self.slots.len() as u64;
        // Until playing begins, what was spoken before the first packet that came in is in time.
        if position < self.next && self.is_waiting() && self.end < position + slots {
            self.next = position.max(self.floor);
        }
        if position < self.next {
            self.stats.late += 1;
            return;
        }
        if position >= self.next + slots {
            // What is older than the delay aimed at is of no use any more.
            self.skip_to((position + 1).saturating_sub((self.aim() + self.bulk) as u64));
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
        if position >= self.end {
            (self.end, self.newest) = (position + 1, now);
        }
        if self.state == State::Idle {
            self.state = State::Waiting(now + self.target());
            self.floor = self.next;
            self.next = position;
            self.starving = 0;
        }
    }

    /// Leaves the oldest packets out until fewer than `most` are waiting for their turn.
    pub fn keep(&mut self, most: usize) {
        if self.end.saturating_sub(self.next) >= most as u64 {
            self.skip_to((self.end + 1).saturating_sub(most as u64));
        }
    }

    /// How fast to play what is pulled next. To be called once for each frame's length, with what was pulled and is not played yet.
    pub fn pace(&mut self, now: Duration, ahead: Duration) -> Pace {
        if !self.plays(now) {
            return Pace::Even;
        }
        let ahead = ahead.as_secs_f32() / self.frame.as_secs_f32();
        let aim = self.aim();
        let too_late = TOO_LATE.as_secs_f32() / self.frame.as_secs_f32();
        // What is spoken meanwhile counts, although it has not come in yet: so the level does not go up and down with each message.
        let bulk = self.bulk;
        let spoken = now.saturating_sub(self.newest).as_secs_f32() / self.frame.as_secs_f32();
        let ahead = ahead + spoken.min(bulk) - bulk;
        let excess = self.end.saturating_sub(self.next) as f32 + ahead - aim;
        if excess > too_late {
            self.skip_to((self.next + excess as u64).min(self.end));
            self.level = self.stored() as f32 + ahead;
        }
        let level = self.stored() as f32 + ahead;
        if self.state == State::Playing {
            self.level += (level - self.level) / 16.0;
        } else {
            self.level = level;
        }
        match self.level - aim {
            more if more > 3.5 => Pace::MuchFaster,
            more if more > 1.0 => Pace::Faster,
            more if more < -1.0 => Pace::Slower,
            _ => Pace::Even,
        }
    }

    /// So much less is to be played than was pulled, or more if that is negative, in frames.
    pub fn stretched(&mut self, frames: f32) {
        self.level -= frames;
    }

    /// The next frame. To be called once for each frame's length.
    pub fn pull(&mut self, now: Duration) -> Pull<'_> {
        if !self.plays(now) {
            return Pull::Silence;
        }
        // An earlier packet may have come in behind the first one.
        self.state = State::Playing;
        let stored = self.stored();
        // What was made up for while nobody could tell is lost: it is not made up for again, and sound goes on behind it.
        while self.starving > 0 && stored > 0 && !self.has(self.next) {
            self.next += 1;
            self.starving -= 1;
        }
        if self.has(self.next) {
            self.starving = 0;
            self.stats.played += 1;
            let at = self.take();
            return Pull::Packet { packet: &self.slots[at].packet };
        }
        if stored > 0 {
            self.stats.lost += 1;
            self.starving = 0;
            self.next += 1;
            if self.has(self.next) {
                self.stats.recoverable += 1;
                let at = self.at(self.next);
                return Pull::Recover { next: &self.slots[at].packet };
            }
            return Pull::Conceal { gain: 1.0 };
        }
        if self.last.is_some_and(|last| last < self.next) || self.starving >= STARVE {
            self.state = State::Idle;
            return Pull::Silence;
        }
        // Late or lost, nobody can tell yet: time stands still for the speech, but not for long.
        self.stats.starved += 1;
        self.starving += 1;
        self.joins = true;
        Pull::Conceal {
            gain: [0.9, 0.7, 0.4, 0.1, 0.0].get(self.starving as usize - 1).copied().unwrap_or(0.0),
        }
    }

    /// The counters.
    pub fn stats(&self) -> JitterStats {
        JitterStats { target: self.target(), stored: self.frame * self.stored() as u32, ..self.stats }
    }

    /// The delay aimed at.
    fn target(&self) -> Duration {
        (self.delays.quantile() + self.frame * 2).clamp(self.min_delay, self.max_delay)
    }

    /// The delay aimed at, in frames.
    fn aim(&self) -> f32 {
        self.target().as_secs_f32() / self.frame.as_secs_f32()
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

    /// Whether what is pulled next does not follow what was pulled before: some was left out, or time stood still. Told once.
    pub(crate) const fn take_join(&mut self) -> bool {
        core::mem::replace(&mut self.joins, false)
    }

    /// Whether there is something to play at `now`: a speech begins with the round that is nearest to its time, rather late than early.
    fn plays(&self, now: Duration) -> bool {
        match self.state {
            State::Idle => false,
            State::Waiting(start) => now + self.frame / 4 >= start,
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

    /// Bytes that packets have room for.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.slots.iter().map(|slot| slot.packet.capacity()).sum()
    }

    /// Whether nothing is played, and nothing is in store.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
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

/// How late packets come, compared with the quickest ones.
#[derive(Debug)]
struct Delays {
    /// The quickest of this window and of the one before: when it came, less when it was spoken.
    quickest: [Option<f64>; 2],
    window_end: Duration,
    /// The latest of the last moments.
    latest: f64,
    moment_end: Duration,
    /// When the latest was noted.
    noted: Duration,
    /// How likely delays are, in steps of [`STEP`].
    histogram: [f32; 100],
    observations: u32,
}

const STEP: f64 = 0.005;
/// What comes in so late did not vary, it stood still.
const STALL: f64 = STEP * 100.0;
const WINDOW: Duration = Duration::from_secs(2);
const MOMENT: Duration = Duration::from_millis(200);
const BURST: Duration = Duration::from_millis(10);

impl Delays {
    fn new() -> Self {
        let mut histogram = [0.0; 100];
        // Before anything is known: nothing. A speech that starts later than need be would be played faster soon.
        histogram[0] = 1.0;
        Self {
            quickest: [None; 2],
            window_end: Duration::ZERO,
            latest: 0.0,
            moment_end: Duration::ZERO,
            noted: Duration::ZERO,
            histogram,
            observations: 0,
        }
    }

    fn forget_baseline(&mut self) {
        self.quickest = [None; 2];
        self.moment_end = Duration::ZERO;
    }

    fn observe(&mut self, now: Duration, spoken: Duration) {
        let transit = now.as_secs_f64() - spoken.as_secs_f64();
        if now >= self.window_end {
            self.quickest = [None, self.quickest[0]];
            self.window_end = now + WINDOW;
        }
        let quickest = self.quickest[0].map_or(transit, |quickest| quickest.min(transit));
        self.quickest[0] = Some(quickest);
        let quickest = self.quickest[1].map_or(quickest, |before| before.min(quickest));
        let delay = transit - quickest;
        if self.moment_end == Duration::ZERO {
            // A speech starts: the first packets may come in a burst, and say little.
            (self.moment_end, self.latest) = (now + MOMENT, 0.0);
            return;
        }
        // What a stall held back comes in at once: one observation, not several.
        if now < self.noted + BURST {
            return;
        }
        self.latest = self.latest.max(delay);
        if now >= self.moment_end {
            self.note(self.latest);
            (self.moment_end, self.latest, self.noted) = (now + MOMENT, 0.0, now);
        }
    }

    fn note(&mut self, delay: f64) {
        // A stall is not jitter: no delay that may be aimed at bridges it, and it says nothing about what follows.
        if delay >= STALL {
            return;
        }
        self.observations = self.observations.saturating_add(1);
        // The first ones count for much, later ones for one part in sixty: about twelve seconds of speech.
        let keep = (1.0 - 2.0 / (self.observations as f32 + 1.0)).min(1.0 - 1.0 / 60.0);
        let step = ((delay / STEP) as usize).min(self.histogram.len() - 1);
        for (at, share) in self.histogram.iter_mut().enumerate() {
            *share = *share * keep + if at == step { 1.0 - keep } else { 0.0 };
        }
    }

    fn quantile(&self) -> Duration {
        let mut sum = 0.0;
        let at = self.histogram.iter().position(|share| {
            sum += share;
            sum >= 0.95
        });
        Duration::from_secs_f64((at.unwrap_or(self.histogram.len()) + 1) as f64 * STEP)
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
        assert_eq!((stats.received, stats.played, stats.lost, stats.starved), (8, 8, 0, 0));
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
        assert_eq!((buffer.stats().lost, buffer.stats().starved), (0, 1));
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
        assert_eq!(calm.target, ms(45));
        let wild = delays(100);
        play(&mut buffer, 100_000, &wild, 1600);
        let wild = buffer.stats();
        assert!((ms(100)..ms(170)).contains(&wild.target), "{wild:?}");
        let again = delays(100);
        play(&mut buffer, 200_000, &again, 1600);
        let missed = buffer.stats().lost + buffer.stats().starved - wild.lost - wild.starved;
        assert!(missed < 60, "{missed} of 1500 were not in time");
    }

    /// F-53: what is a little too much is played faster, what is far too much is left out, the oldest first.
    #[test]
    fn too_much_in_store_is_played_faster_or_left_out() {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        for n in 0..14 {
            buffer.insert(ms(0), n, &[n as u8], false);
        }
        assert_eq!(buffer.pace(ms(60), ms(0)), Pace::MuchFaster);
        assert_eq!(buffer.pull(ms(60)), Pull::Packet { packet: &[0] });
        buffer.stretched(9.0);
        assert_eq!(buffer.pace(ms(80), ms(0)), Pace::Faster);
        // A stall of five seconds: all of it comes at once.
        for n in 14..250 {
            buffer.insert(ms(5000), n, &[n as u8], false);
        }
        assert!(buffer.stats().stored < ms(1280), "{:?}", buffer.stats());
        buffer.pace(ms(5000), ms(0));
        let stored = buffer.stats().stored;
        assert!(stored <= buffer.stats().target + FRAME * 2, "{stored:?}");
        assert!(matches!(buffer.pull(ms(5000)), Pull::Packet { packet: [newest] } if *newest > 240));
        assert!(buffer.stats().overflow > 230 && buffer.stats().lost == 0);
    }
}
