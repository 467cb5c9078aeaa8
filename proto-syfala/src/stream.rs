//! One stream's bytes: cut into messages on one side, put in order on the other, with silence where something is missing.
//!
//! Made for threads that must not wait: memory is taken once, in `new`; nothing locks.

mod drift;

pub use drift::{Drift, DriftEstimate};

use crate::message::Audio;
use crate::wire::{AUDIO_HEAD_LEN, MAX_DATAGRAM, MAX_PAYLOAD};
use crate::{Format, Refusal, SampleType, Wire};
use alloc::{boxed::Box, vec};
use core::time::Duration;
use voxwire_core::{Instant, Lane, Message, Outbox, PeerId};

/// Cuts a stream's bytes into payloads.
///
/// ```
/// use voxwire_syfala::{Format, stream::Sending};
/// let mut sending = Sending::new(&Format::STANDARD);
/// let block = [0; 3000];
/// let cut: Vec<_> = sending.cut(&block).map(|(byte_index, payload)| (byte_index, payload.len())).collect();
/// assert_eq!(cut, [(0, 1400), (1400, 1400), (2800, 200)]);
/// assert_eq!(sending.byte_index(), 3000);
/// ```
#[derive(Debug, Clone)]
pub struct Sending {
    next: u64,
    payload: usize,
}

impl Sending {
    /// From the first byte on, in payloads of at most [`MAX_PAYLOAD`] bytes and whole frames where one fits.
    pub fn new(format: &Format) -> Self {
        Self { next: 0, payload: format.payload(MAX_PAYLOAD).max(1) }
    }

    /// The byte index of what is cut next.
    pub const fn byte_index(&self) -> u64 {
        self.next
    }

    /// From the first byte on again: IO is started anew.
    pub const fn restart(&mut self) {
        self.next = 0;
    }

    /// Payloads and their byte indices. What the iterator has not handed out does not count as sent.
    pub fn cut<'a>(&mut self, bytes: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        bytes.chunks(self.payload).map(|payload| {
            let at = self.next;
            self.next = at.saturating_add(payload.len() as u64);
            (at, payload)
        })
    }
}

/// Sends samples of one of a connection's streams, as the messages of one side. Returns how many there were.
pub(crate) fn play<'m, M: Message<'m, Wire = Wire>>(
    streams: &mut [Sending],
    (outbox, wire): (&mut Outbox, &Wire),
    (to, stream): (PeerId, u32),
    samples: &'m [u8],
    message: fn(Audio<'m>) -> M,
) -> Result<u64, Refusal> {
    let sending = usize::try_from(stream).ok().and_then(|stream| streams.get_mut(stream));
    let sending = sending.ok_or(Refusal::UnknownStream(stream))?;
    let messages = samples.len().div_ceil(sending.payload);
    // All or nothing.
    outbox.check_capacity(samples.len().saturating_add(messages.saturating_mul(AUDIO_HEAD_LEN)), messages)?;
    for (byte_index, payload) in sending.cut(samples) {
        outbox.send([to], Lane::Droppable, &message(Audio::new(stream, byte_index, payload)), wire)?;
    }
    Ok(messages as u64)
}

/// How a [`Receiving`] deals with a network that loses and reorders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// Bytes in store at most: what has not been read, and what waits for something missing. At least the largest datagram.
    pub buffer: usize,
    /// Messages that may wait for one that is missing; with one more it counts as lost. At most 8.
    pub window: usize,
    /// How long they wait.
    pub wait: Duration,
    /// Messages in a row that have to agree before a byte index far away is believed.
    pub agreeing: u8,
    /// How much of the stream, in time, counts as late; what lies further behind is far away.
    pub late: Duration,
}

impl StreamSettings {
    /// 256 KiB, 4 messages or 10 ms, 3 that agree, 250 ms.
    pub const DEFAULT: Self = Self {
        buffer: 256 * 1024,
        window: 4,
        wait: Duration::from_millis(10),
        agreeing: 3,
        late: Duration::from_millis(250),
    };
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counters of a stream, since it was made. All but the first count bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Messages taken.
    pub messages: u64,
    /// Bytes taken.
    pub received: u64,
    /// Silence in place of what did not come.
    pub silence: u64,
    /// What came too late or twice.
    pub late: u64,
    /// What there was no room for.
    pub overflow: u64,
    /// What was passed over by jumps.
    pub jumped: u64,
    /// Payloads that were not as long as they said, and indices that cannot be right.
    pub invalid: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// It is in store.
    Stored,
    /// It came too late, or twice.
    Late,
    /// There is no room: the reader is behind.
    Overflow,
    /// Its byte index is far away, and not believed yet.
    Doubted,
    /// Its byte index is far away, and so were those before it: the stream goes on there, and what was in store is gone.
    Jumped,
    /// It is not as long as it says.
    Invalid,
}

/// Puts a stream's messages in order.
///
/// Bytes come out as they were sent, each at its place. What does not come in time is silence of the sample type, whole samples
/// of it: no sample is ever made of bytes that do not belong together.
#[derive(Debug)]
pub struct Receiving {
    sample_type: SampleType,
    frame: u64,
    /// Bytes behind `next` that count as late.
    late: u64,
    settings: StreamSettings,
    ring: Box<[u8]>,
    /// The next byte to be read; at the start of a sample.
    read: u64,
    /// Everything before this has come, or is silence.
    next: u64,
    /// The end of the sample of which a part was lost last.
    muted: u64,
    /// What has come behind `next`, and when: disjoint, in order.
    ahead: [Ahead; MAX_WINDOW],
    waiting: usize,
    /// Where messages far away would go on, and how many of them agree.
    doubted: (u64, u8),
    stats: StreamStats,
}

/// Room for messages that wait: [`StreamSettings::window`] is less.
pub const MAX_WINDOW: usize = 8;

/// Bytes that wait for those before them.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    start: u64,
    end: u64,
    came: Instant,
}

impl Receiving {
    /// A stream whose IO starts now.
    pub fn new(format: &Format, settings: StreamSettings) -> Self {
        let window = settings.window.clamp(1, MAX_WINDOW.saturating_sub(1));
        // Room for the largest datagram, and whole samples.
        let buffer = settings.buffer.max(MAX_DATAGRAM);
        let buffer = buffer.saturating_sub(buffer.checked_rem(format.sample_type.size()).unwrap_or(0));
        Self {
            sample_type: format.sample_type,
            frame: (format.frame_size() as u64).max(1),
            late: format.bytes(frames(format, settings.late)),
            settings: StreamSettings { window, ..settings },
            ring: vec![0; buffer].into(),
            read: 0,
            next: 0,
            muted: 0,
            ahead: [Ahead::default(); MAX_WINDOW],
            waiting: 0,
            doubted: (0, 0),
            stats: StreamStats::default(),
        }
    }

    /// Begins anew, with nothing in store: IO is started once more.
    pub const fn restart(&mut self) {
        (self.read, self.next, self.muted, self.waiting, self.doubted) = (0, 0, 0, 0, (0, 0));
    }

    /// The counters.
    pub const fn stats(&self) -> StreamStats {
        self.stats
    }

    /// The byte index of what is read next.
    pub const fn byte_index(&self) -> u64 {
        self.read
    }

    /// Bytes that can be read now: whole samples.
    pub fn readable(&self) -> usize {
        let ready = self.next.saturating_sub(self.read);
        let size = self.sample_type.size() as u64;
        usize::try_from(ready.saturating_sub(ready.checked_rem(size).unwrap_or(0))).unwrap_or(usize::MAX)
    }

    /// When [`give_up`](Self::give_up) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let since = self.ahead.iter().take(self.waiting).map(|ahead| ahead.came).min();
        since.map(|since| since.saturating_add(self.settings.wait))
    }

    /// Takes what is missing for lost, if it has been waited for long enough.
    pub fn give_up(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.close_gap();
        }
    }

    /// Takes one message.
    pub fn insert(&mut self, now: Instant, audio: &Audio<'_>) -> Taken {
        self.give_up(now);
        let len = audio.payload.len() as u64;
        let Some(end) = audio.byte_index.checked_add(len).filter(|_| audio.is_whole()) else {
            self.stats.invalid = self.stats.invalid.saturating_add(1);
            return Taken::Invalid;
        };
        let start = audio.byte_index;
        if len == 0 {
            // Legal, and nothing to keep.
            return if start < self.next { Taken::Late } else { Taken::Stored };
        }
        if start < self.next {
            // So far behind that the other side may have started anew.
            if self.next.saturating_sub(start) > self.late {
                return self.doubt(now, start, end, audio.payload);
            }
            self.stats.late = self.stats.late.saturating_add(len);
            return Taken::Late;
        }
        // As far as the window reaches, and no further, is believed at once.
        let reach = (self.ring.len() as u64) / 2;
        if start.saturating_sub(self.next) > reach {
            return self.doubt(now, start, end, audio.payload);
        }
        self.doubted = (0, 0);
        self.store(now, start, end, audio.payload)
    }

    /// Copies what can be read into `out`, whole samples; returns how many bytes.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let size = self.sample_type.size();
        let room = out.len().saturating_sub(out.len().checked_rem(size).unwrap_or(0));
        let n = self.readable().min(room);
        let Some(out) = out.get_mut(..n) else { return 0 };
        let (first, second) = self.window(self.read, n);
        let (head, tail) = out.split_at_mut(first.len().min(n));
        let (Some(from), Some(rest)) = (self.ring.get(first), self.ring.get(second)) else { return 0 };
        head.copy_from_slice(from);
        tail.copy_from_slice(rest);
        self.read = self.read.saturating_add(n as u64);
        n
    }

    /// Passes over what can be read, at most `bytes` of it and whole samples; returns how many.
    pub fn skip(&mut self, bytes: usize) -> usize {
        let size = self.sample_type.size();
        let n = self.readable().min(bytes.saturating_sub(bytes.checked_rem(size).unwrap_or(0)));
        self.read = self.read.saturating_add(n as u64);
        n
    }

    fn store(&mut self, now: Instant, start: u64, end: u64, payload: &[u8]) -> Taken {
        let len = payload.len() as u64;
        if end > self.read.saturating_add(self.ring.len() as u64) {
            self.stats.overflow = self.stats.overflow.saturating_add(len);
            return Taken::Overflow;
        }
        let stored = self.ahead.get(..self.waiting).unwrap_or(&[]);
        if stored.iter().any(|stored| start < stored.end && stored.start < end) {
            self.stats.late = self.stats.late.saturating_add(len);
            return Taken::Late;
        }
        self.write(start, payload);
        // The rest of a sample of which a part is lost.
        self.silence(start, self.muted.min(end));
        self.stats.messages = self.stats.messages.saturating_add(1);
        self.stats.received = self.stats.received.saturating_add(len);
        if start == self.next {
            self.next = end;
            self.absorb();
            return Taken::Stored;
        }
        let at = self.ahead.iter().take(self.waiting).filter(|stored| stored.start < start).count();
        if let Some(tail) = self.ahead.get_mut(at..) {
            // There is room: one more than may wait.
            tail.rotate_right(1);
            if let Some(place) = tail.first_mut() {
                *place = Ahead { start, end, came: now };
            }
        }
        self.waiting = self.waiting.saturating_add(1);
        if self.waiting > self.settings.window {
            self.close_gap();
        }
        Taken::Stored
    }

    /// A byte index far away: believed once several in a row agree.
    fn doubt(&mut self, now: Instant, start: u64, end: u64, payload: &[u8]) -> Taken {
        let (expected, agreed) = self.doubted;
        let agreed = if agreed > 0 && expected == start { agreed.saturating_add(1) } else { 1 };
        if agreed < self.settings.agreeing {
            self.doubted = (end, agreed);
            self.stats.invalid = self.stats.invalid.saturating_add(1);
            return Taken::Doubted;
        }
        // At the start of a frame, so that channels stay what they are.
        let into = start.checked_rem(self.frame).unwrap_or(0);
        let begin = if into == 0 { Some(start) } else { start.checked_add(self.frame.saturating_sub(into)) };
        let skip = begin.and_then(|begin| usize::try_from(begin.saturating_sub(start)).ok());
        let (Some(begin), Some(payload)) = (begin, skip.and_then(|skip| payload.get(skip..))) else {
            self.doubted = (end, agreed);
            return Taken::Doubted;
        };
        self.stats.jumped = self.stats.jumped.saturating_add(begin.saturating_sub(self.read));
        (self.read, self.next, self.waiting, self.doubted, self.muted) = (begin, begin, 0, (0, 0), 0);
        self.store(now, begin, end, payload);
        Taken::Jumped
    }

    /// What is missing is lost: silence takes its place.
    fn close_gap(&mut self) {
        let Some(&Ahead { start, .. }) = self.ahead.first().filter(|_| self.waiting > 0) else { return };
        let size = self.sample_type.size() as u64;
        // Samples of which a part is missing are silent as a whole; nothing of them has been read.
        let from = self.next.saturating_sub(self.next.checked_rem(size).unwrap_or(0));
        let rest = start.checked_rem(size).unwrap_or(0);
        let to = if rest == 0 { start } else { start.saturating_add(size.saturating_sub(rest)) };
        self.stats.silence = self.stats.silence.saturating_add(start.saturating_sub(self.next));
        self.silence(from, to);
        self.muted = to;
        self.next = start;
        self.absorb();
    }

    /// What waits and follows at once is no more ahead.
    fn absorb(&mut self) {
        while let Some(&Ahead { start, end, .. }) = self.ahead.first().filter(|_| self.waiting > 0) {
            if start > self.next {
                break;
            }
            self.next = self.next.max(end);
            self.ahead.rotate_left(1);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Makes the bytes from `from` to `to` those of silent samples.
    fn silence(&mut self, from: u64, to: u64) {
        let silence = self.sample_type.silence();
        let index = |at: u64, len: usize| {
            at.checked_rem(len as u64).and_then(|at| usize::try_from(at).ok()).unwrap_or(usize::MAX)
        };
        for at in from..to {
            let place = index(at, self.ring.len());
            if let (Some(place), Some(byte)) =
                (self.ring.get_mut(place), silence.get(index(at, silence.len())))
            {
                *place = *byte;
            }
        }
    }

    fn write(&mut self, start: u64, payload: &[u8]) {
        let (first, second) = self.window(start, payload.len());
        let (head, tail) = payload.split_at(first.len().min(payload.len()));
        if let Some(place) = self.ring.get_mut(first) {
            place.copy_from_slice(head);
        }
        if let Some(place) = self.ring.get_mut(second) {
            place.copy_from_slice(tail);
        }
    }

    /// Where `len` bytes from `start` on lie in the ring: up to its end, and from its beginning. `len` is at most its size.
    fn window(&self, start: u64, len: usize) -> (core::ops::Range<usize>, core::ops::Range<usize>) {
        let capacity = self.ring.len();
        let at = start.checked_rem(capacity as u64).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let first = len.min(capacity.saturating_sub(at));
        (at..at.saturating_add(first), 0..len.saturating_sub(first))
    }
}

/// Frames of so much time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "neither negative nor NaN; saturates"
)]
fn frames(format: &Format, time: Duration) -> u64 {
    (format.sample_rate.get() * time.as_secs_f64()) as u64
}
