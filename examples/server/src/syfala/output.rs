//! What a client sends to one of the device's outputs, by the device's own clock.

use super::DeviceFigures;
use super::device::sample_format;
use voxwire_audio::{AdaptiveResampler, ClockFollower, FollowState, SampleOrder, decode_into, encode};
use voxwire_core::Instant;
use voxwire_syfala::stream::{Drift, DriftEstimate, Receiving, StreamSettings, StreamStats, Taken};
use voxwire_syfala::{Audio, Format};

/// How long a fade takes where something is left out or waited for, in seconds; or a quarter of what is to be in store.
const FADE: f64 = 0.005;

/// One client's audio for one output: put in order, held in store, and played by the device's clock.
///
/// Nothing is allocated once the largest block has been played.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
    receiving: Receiving,
    drift: Drift,
    follower: ClockFollower,
    resampler: AdaptiveResampler,
    /// There was enough in store.
    flowing: bool,
    /// How loud it is played, from 0 to 1, and where that goes to.
    gain: f64,
    fade: Fade,
    /// What is used in this turn, and how much of it has really come.
    block: Vec<u8>,
    filled: usize,
    /// The same as numbers, and what is read for it.
    samples: Vec<f64>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fade {
    /// As loud as it is, in the end.
    In,
    /// Silent in the end; then what is too much is left out.
    OutToSkip,
    /// Silent in the end; then it is waited until there is enough.
    OutToWait,
}

/// A turn of the device: so many frames are due, and so many are to be in store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) now: Instant,
    pub(super) frames: usize,
    pub(super) in_store: usize,
    pub(super) rate: f64,
}

impl Output {
    pub(super) fn new(format: &Format, settings: StreamSettings, follow: f64) -> Self {
        let channels = usize::try_from(format.channels.get()).unwrap_or(usize::MAX);
        Self {
            format: *format,
            receiving: Receiving::new(format, settings),
            drift: Drift::new(format),
            follower: ClockFollower::new(follow),
            resampler: AdaptiveResampler::new(channels),
            flowing: false,
            gain: 1.0,
            fade: Fade::In,
            block: Vec::new(),
            filled: 0,
            samples: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// A message has come in, at `local` of the device's own clock.
    pub(super) fn hear(&mut self, now: Instant, local: Instant, audio: &Audio<'_>) {
        match self.receiving.insert(now, audio) {
            Taken::Stored => {
                self.drift.observe(local, audio.byte_index.saturating_add(audio.payload.len() as u64));
            }
            Taken::Jumped => self.drift.restart(),
            _ => {}
        }
    }

    /// How far the client's clock is off the device's.
    pub(super) fn drift(&self) -> Option<DriftEstimate> {
        self.drift.estimate()
    }

    pub(super) const fn state(&self) -> FollowState {
        self.follower.state()
    }

    /// What is used in this turn, if anything has come.
    pub(super) fn block(&self) -> Option<&[u8]> {
        (self.filled > 0).then_some(&self.block)
    }

    /// Whether all of it has been played.
    pub(super) fn is_used_up(&self) -> bool {
        let rest = self.receiving.readable() < self.format.frame_size() && self.resampler.ahead() == 0;
        rest && self.receiving.poll_timeout().is_none()
    }

    pub(super) fn count(&self, figures: &mut DeviceFigures) {
        let StreamStats { silence, jumped, .. } = self.receiving.stats();
        // What a client says that it has passed over adds up to anything.
        figures.silence = figures.silence.saturating_add(silence);
        figures.jumped = figures.jumped.saturating_add(jumped);
    }

    /// Frames in store.
    fn stored(&self) -> usize {
        self.receiving.readable() / self.format.frame_size() + self.resampler.ahead()
    }

    /// Takes what is due. `ending`: nothing more will come, and it is used up.
    pub(super) fn turn(&mut self, turn: Turn, ending: bool, figures: &mut DeviceFigures) {
        let Turn { now, frames, in_store, rate } = turn;
        self.receiving.give_up(now);
        let frame = self.format.frame_size();
        let stored = self.stored();
        self.block.clear();
        self.filled = 0;
        if !self.flowing && (stored >= in_store || ending) {
            self.flowing = true;
            self.fade = Fade::In;
        }
        if self.flowing {
            let seconds = |frames: usize| frames as f64 / rate;
            let drift = self.drift.estimate().map(|drift| (drift.ppm, drift.uncertainty));
            if self.fade == Fade::In && !ending {
                self.follower.update(seconds(frames), (seconds(stored), seconds(in_store)), drift);
            }
            let fade = ((FADE * rate) as usize).min(in_store / 4).max(1);
            // What comes in bursts may be as much again.
            let most = 2 * in_store + (rate / 10.0) as usize;
            let behind = self.state() == FollowState::TooSlow && stored < frames + fade + in_store / 8;
            self.fade = match self.fade {
                Fade::In if stored > most && !ending => Fade::OutToSkip,
                Fade::In if behind && !ending => Fade::OutToWait,
                fade => fade,
            };
            let came =
                if self.follower.is_engaged() { self.resample(frames, ending) } else { self.pass(frames) };
            let missing = frames - came;
            if missing > 0 && !ending {
                figures.underruns += missing as u64;
                // It breaks off: not with a click, and it goes on as softly.
                self.soften(came.saturating_sub(fade)..came);
                self.gain = 0.0;
            } else if self.gain < 1.0 || self.fade != Fade::In {
                self.swell(1.0 / fade as f64);
            }
            self.filled = self.block.len();
            // Nothing is left: what comes next is waited for anew.
            if came == 0 {
                self.wait();
            } else if self.gain == 0.0 && missing == 0 {
                figures.resynchronised += 1;
                if self.fade == Fade::OutToSkip {
                    let bytes = self.stored().saturating_sub(in_store) * frame;
                    figures.passed_over += (self.receiving.skip(bytes) / frame) as u64;
                    self.resampler.reset();
                    self.follower.forget_level();
                    self.fade = Fade::In;
                } else {
                    self.wait();
                }
            }
        }
        let silence = self.format.sample_type.silence().iter().cycle();
        self.block.extend(silence.take(frames * frame - self.block.len()));
    }

    /// Until there is enough in store again.
    fn wait(&mut self) {
        self.flowing = false;
        self.resampler.reset();
        self.follower.forget_level();
    }

    /// Plays frames as they are; returns how many.
    fn pass(&mut self, frames: usize) -> usize {
        let frame = self.format.frame_size();
        let came = frames.min(self.receiving.readable() / frame);
        self.block.resize(came * frame, 0);
        self.receiving.read(&mut self.block);
        // What a resampler needs if there is to be one.
        let newest = self.block.len().saturating_sub(64 * frame);
        self.samples.clear();
        self.decode_block(newest);
        self.resampler.passed(&self.samples);
        came
    }

    /// Plays frames at the rate that the clocks ask for; returns how many.
    fn resample(&mut self, frames: usize, ending: bool) -> usize {
        let frame = self.format.frame_size();
        let channels = frame / self.format.sample_type.size();
        let ratio = self.follower.ratio();
        let wanted = self.resampler.wanted(frames, ratio);
        let read = wanted.min(self.receiving.readable() / frame);
        self.bytes.resize(read * frame, 0);
        self.receiving.read(&mut self.bytes);
        self.samples.clear();
        let format = sample_format(self.format.sample_type);
        decode_into(&self.bytes, format, SampleOrder::Little, &mut self.samples);
        let ahead = self.resampler.ahead() + read;
        if ending {
            // What is behind the last frame is silence.
            self.samples.resize(wanted * channels, 0.0);
        }
        self.resampler.push(&self.samples);
        self.samples.clear();
        self.samples.resize(frames * channels, 0.0);
        let mut came = self.resampler.process(ratio, &mut self.samples);
        if ending && ahead <= came {
            came = ahead;
            self.resampler.reset();
        }
        self.samples.truncate(came * channels);
        self.encode_block();
        came
    }

    /// Fades what is in the block towards the end of these frames, and what is before it.
    fn soften(&mut self, over: core::ops::Range<usize>) {
        let (start, len) = (over.start, over.len().max(1) as f64);
        let before = self.gain;
        self.shape(|frame| before * (1.0 - (frame + 1).saturating_sub(start) as f64 / len));
    }

    /// Becomes louder or softer by `step` with each frame.
    fn swell(&mut self, step: f64) {
        let (before, step) = (self.gain, if self.fade == Fade::In { step } else { -step });
        let gain = |frames: usize| (before + frames as f64 * step).clamp(0.0, 1.0);
        self.shape(|frame| gain(frame + 1));
        self.gain = gain(self.block.len() / self.format.frame_size());
    }

    /// Multiplies each frame of the block.
    fn shape(&mut self, gain: impl Fn(usize) -> f64) {
        self.samples.clear();
        self.decode_block(0);
        let channels = self.format.frame_size() / self.format.sample_type.size();
        for (at, frame) in self.samples.chunks_exact_mut(channels.max(1)).enumerate() {
            // Halfway, by a cosine: softer at both ends than a straight line.
            let gain = (1.0 - (core::f64::consts::PI * gain(at)).cos()) / 2.0;
            frame.iter_mut().for_each(|sample| *sample *= gain);
        }
        self.encode_block();
    }

    fn decode_block(&mut self, from: usize) {
        let format = sample_format(self.format.sample_type);
        decode_into(&self.block[from..], format, SampleOrder::Little, &mut self.samples);
    }

    fn encode_block(&mut self) {
        self.block.clear();
        encode(&self.samples, sample_format(self.format.sample_type), SampleOrder::Little, &mut self.block);
    }
}

#[cfg(test)]
mod tests {
    use super::super::MOST_DRIFT;
    use super::*;
    use core::f64::consts::TAU;
    use core::num::NonZeroU32;
    use voxwire_core::testing::Rng;
    use voxwire_syfala::{SampleRate, SampleType};

    const RATE: f64 = 8000.0;
    /// Frames of a message and of a turn: 5 ms.
    const BLOCK: usize = 40;
    const IN_STORE: usize = 160;
    const HZ: f64 = 200.0;

    fn format() -> Format {
        Format {
            sample_rate: SampleRate::new(RATE).unwrap(),
            channels: NonZeroU32::MIN,
            buffer_size: None,
            sample_type: SampleType::Ieef32,
        }
    }

    /// A period, which is a message's worth.
    fn tone() -> Vec<u8> {
        let sample = |frame: u32| (0.5 * (f64::from(frame) * HZ / RATE * TAU).sin()) as f32;
        (0..BLOCK as u32).flat_map(|frame| sample(frame).to_le_bytes()).collect()
    }

    /// A client and a device, each with its own clock, and no other.
    struct World {
        output: Output,
        figures: DeviceFigures,
        period: Vec<u8>,
        /// How much faster the client's clock is, in millionths.
        ppm: f64,
        rng: Rng,
        /// The turn, the next message, and the time until which nothing comes before.
        turn: u64,
        message: u64,
        came: f64,
        /// The byte index is so much more.
        skipped: u64,
        gone: bool,
        before: [f64; 2],
        /// The loudest thing that a tone does not do.
        click: f64,
        least: usize,
        most: usize,
    }

    impl World {
        fn new(ppm: f64) -> Self {
            let output = Output::new(&format(), StreamSettings::DEFAULT, MOST_DRIFT);
            Self {
                output,
                figures: DeviceFigures::default(),
                period: tone(),
                ppm,
                rng: Rng::new(1),
                turn: 0,
                message: 0,
                came: 0.0,
                skipped: 0,
                gone: false,
                before: [0.0; 2],
                click: 0.0,
                least: usize::MAX,
                most: 0,
            }
        }

        /// A turn of the device, and all that has come by then: up to 2 ms late, and now and then 6.
        fn turn(&mut self) {
            let seconds = |at: f64| Instant::from_nanos((at * 1e9) as u64);
            let now = self.turn as f64 * BLOCK as f64 / RATE;
            self.turn += 1;
            while !self.gone {
                let sent = (self.message + 1) as f64 * BLOCK as f64 / RATE / (1.0 + self.ppm * 1e-6);
                if sent > now {
                    break;
                }
                let hitch = if self.rng.below(2000) == 0 { 0.006 } else { 0.0 };
                let at = self.came.max(sent + f64::from(self.rng.below(2000) as u32) * 1e-6 + hitch);
                self.came = at;
                let index = (self.message * BLOCK as u64 + self.skipped) * 4;
                self.output.hear(seconds(at), seconds(at), &Audio::new(0, index, &self.period));
                self.message += 1;
            }
            let turn = Turn { now: seconds(now), frames: BLOCK, in_store: IN_STORE, rate: RATE };
            if self.output.flowing && self.output.fade == Fade::In {
                let stored = self.output.stored();
                (self.least, self.most) = (self.least.min(stored), self.most.max(stored));
            }
            self.output.turn(turn, self.gone, &mut self.figures);
            assert_eq!(self.output.block.len(), BLOCK * 4);
            let twice = 2.0 * (HZ / RATE * TAU).cos();
            let [mut first, mut second] = self.before;
            for sample in self.output.block.as_chunks().0 {
                let sample = f64::from(f32::from_le_bytes(*sample));
                let off = (sample - twice * second + first).abs();
                if off > self.click {
                    self.click = off;
                }
                (first, second) = (second, sample);
            }
            self.before = [first, second];
        }

        fn run(&mut self, seconds: f64) {
            for _ in 0..(seconds * RATE / BLOCK as f64) as u64 {
                self.turn();
            }
        }
    }

    /// -60 dB of full scale.
    const NO_CLICK: f64 = 0.001;

    /// F-55: a clock that is a thousandth fast or slow is followed for an hour, and nothing is heard of it. Without optimisation a quarter
    /// of it has to do: the drift is measured over two minutes, and what is in store settles within one.
    fn hour(ppm: f64) {
        let seconds = if cfg!(debug_assertions) { 900.0 } else { 3600.0 };
        let mut world = World::new(ppm);
        world.run(0.2);
        // (The tone begins.)
        world.click = 0.0;
        world.run(seconds);
        assert!(world.click < NO_CLICK, "{}", world.click);
        let figures = world.figures;
        assert_eq!((figures.underruns, figures.passed_over, figures.resynchronised), (0, 0, 0));
        assert!(world.least > IN_STORE / 4 && world.most < IN_STORE * 2, "{} to {}", world.least, world.most);
        let drift = world.output.drift().unwrap();
        assert!((drift.ppm - ppm).abs() < 2.0 && drift.uncertainty < 5.0, "{drift}");
        assert_eq!(world.output.state(), FollowState::WithinRange);
    }

    #[test]
    fn f_55_an_hour_of_a_clock_a_thousandth_fast_goes_by_without_a_glitch() {
        hour(1000.0);
    }

    #[test]
    fn f_55_an_hour_of_a_clock_a_thousandth_slow_goes_by_without_a_glitch() {
        hour(-1000.0);
    }

    /// C-14: where the clocks agree, every sample stays what it is.
    #[test]
    fn f_55_of_one_clock_samples_are_not_touched() {
        let mut world = World::new(0.0);
        let mut heard = 0;
        for _ in 0..50_000 {
            world.turn();
            if world.output.filled > 0 {
                assert_eq!(world.output.block, world.period);
                heard += 1;
            }
        }
        assert!(heard > 49_900 && world.figures.underruns == 0, "{heard}");
    }

    /// F-55: what cannot be followed is said to be so, and is cut out or waited for softly: it neither starves nor clicks.
    #[test]
    fn f_55_a_clock_that_is_too_far_off_is_told_and_resynchronised_softly() {
        for (ppm, state) in [(5000.0, FollowState::TooFast), (-5000.0, FollowState::TooSlow)] {
            let mut world = World::new(ppm);
            world.run(4.0);
            assert_eq!(world.output.state(), state);
            world.click = 0.0;
            world.run(296.0);
            let figures = world.figures;
            assert_eq!(figures.underruns, 0, "{ppm}");
            assert!((3..150).contains(&figures.resynchronised), "{ppm}: {figures:?}");
            assert_eq!(figures.passed_over > 0, ppm > 0.0, "{ppm}: {figures:?}");
            assert!(world.click < 0.01, "{ppm}: {}", world.click);
        }
    }

    /// F-55: a client that goes on elsewhere has lost what is between, and says nothing about its clock.
    #[test]
    fn f_55_a_jump_is_counted_and_the_clock_is_measured_anew() {
        let mut world = World::new(40.0);
        world.run(60.0);
        assert!((world.output.drift().unwrap().ppm - 40.0).abs() < 10.0);
        world.skipped = 1_000_000;
        world.run(1.0);
        assert_eq!(world.output.drift(), None);
        world.output.count(&mut world.figures);
        assert!((4_000_000..4_001_000).contains(&world.figures.jumped), "{:?}", world.figures);
        // A client may say that it has passed over anything, again and again.
        let mut figures = DeviceFigures { jumped: u64::MAX - 1, ..world.figures };
        world.output.count(&mut figures);
        assert_eq!(figures.jumped, u64::MAX);
        world.run(60.0);
        assert!((world.output.drift().unwrap().ppm - 40.0).abs() < 10.0);
    }

    /// What a client has said is used up before the device says that it has stopped, also where it is resampled.
    #[test]
    fn f_55_a_client_that_ends_is_used_up() {
        for ppm in [0.0, 800.0] {
            let mut world = World::new(ppm);
            world.run(30.0);
            assert_eq!(world.output.follower.is_engaged(), ppm > 0.0);
            world.gone = true;
            let stored = world.output.stored();
            let mut heard = 0;
            while !world.output.is_used_up() {
                world.turn();
                heard += world.output.filled / 4;
                assert!(heard < 2 * IN_STORE);
            }
            assert!(heard.abs_diff(stored) <= BLOCK, "{ppm}: {heard} of {stored}");
        }
    }

    /// Once warm, a turn allocates nothing: what it needs is there.
    #[test]
    fn f_55_buffers_do_not_grow_once_they_are_warm() {
        let mut world = World::new(900.0);
        world.run(30.0);
        let sizes =
            |output: &Output| (output.block.capacity(), output.samples.capacity(), output.bytes.capacity());
        let warm = sizes(&world.output);
        world.run(30.0);
        assert_eq!(sizes(&world.output), warm);
    }
}
