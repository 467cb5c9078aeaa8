//! The machine's microphone and loudspeaker. Sound goes through a queue without locks: the device's own thread neither waits nor
//! allocates.

mod catalogue;
mod kept;

use crate::bridge::{BridgeFigures, ClockBridge};
use crate::{Error, StreamResampler};
pub use catalogue::{DeviceDirection, DeviceInfo, devices};
use catalogue::{find, quiet};
use core::iter;
use core::time::Duration;
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{
    Device, ErrorKind, FromSample, SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfig,
    SupportedStreamConfigRange,
};
pub use kept::DeviceChange;
use kept::{End, Kept};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// What a queue holds before sound is dropped, in seconds: device and program run by different clocks.
const QUEUE: f64 = 0.25;
/// The same on the way to the loudspeaker: what comes at once when the network has stood still.
const BURST: f64 = 1.0;

/// So many errors within this time, none of which says that the device is gone, mean the same.
const MOST_ERRORS: (u32, Duration) = (20, Duration::from_secs(1));

/// What comes in from a microphone of the machine, which has a clock of its own: either it says when there is something to be
/// [read](Self::read), or the caller does, and the microphone's clock is [followed](Self::read_paced). A microphone that is gone is
/// silent, and is opened again once a second until it is back.
pub struct Microphone {
    source: Kept<Source>,
    ready: VecDeque<f32>,
    bridge: ClockBridge,
    channels: usize,
    /// What those missed that are gone.
    missed: u64,
}

/// What goes out to a loudspeaker of the machine, which has a clock of its own: it is followed, by resampling, if it is up to 1000
/// millionths off the one that the sound is written by. What is further off is left out, or waited for, softly. A loudspeaker that is
/// gone is opened again once a second until it is back.
pub struct Loudspeaker {
    sink: Kept<Sink>,
    converted: VecDeque<f32>,
    dropped: u64,
    /// What those missed that are gone.
    missed: u64,
}

/// A microphone that is open.
struct Source {
    queue: Consumer<f32>,
    convert: Converter,
    health: Arc<Health>,
    /// None where something else speaks into it.
    _stream: Option<Stream>,
}

/// A loudspeaker that is open.
struct Sink {
    queue: Producer<f32>,
    convert: Converter,
    health: Arc<Health>,
    /// None where something else plays it.
    _stream: Option<Stream>,
}

/// The loudspeaker's other end, on the device's own thread: gives it what is due by the device's clock.
struct Renderer {
    queue: Consumer<f32>,
    bridge: ClockBridge,
    health: Arc<Health>,
    told: BridgeFigures,
    block: Vec<f32>,
}

/// What the device's thread has to say.
#[derive(Debug, Default)]
struct Health {
    /// Why it is gone.
    failure: OnceLock<String>,
    /// Since when there are errors that do not say so, and how many.
    errors: Mutex<Option<(Instant, u32)>>,
    /// Samples that nobody fetched, or that were missing.
    missed: AtomicU64,
    /// Samples that were left out, as too much waited.
    left_out: AtomicU64,
}

impl Microphone {
    /// Starts listening, for samples from -1 to 1 at `rate`, interleaved; the device's own rate and channels are converted. `name` is
    /// one of [`devices`]; without one it is the machine's default.
    ///
    /// # Errors
    /// There is no such microphone, or it is busy, or cannot be used.
    pub fn open(name: Option<&str>, rate: u32, channels: u16) -> Result<Self, Error> {
        let name = name.map(str::to_owned);
        let open = move || Source::open(name.as_deref(), (rate, channels));
        Ok(Self::of(Kept::open(Arc::new(open))?, (rate, channels)))
    }

    fn of(source: Kept<Source>, (rate, channels): (u32, u16)) -> Self {
        let (ready, bridge) = (VecDeque::new(), ClockBridge::new(rate, channels));
        Self { source, ready, bridge, channels: channels.max(1).into(), missed: 0 }
    }

    /// Fills `samples`, if as much has come in by the microphone's clock; false, and nothing is taken, if not.
    ///
    /// # Errors
    /// What comes in cannot be converted.
    pub fn read(&mut self, samples: &mut [f32]) -> Result<bool, Error> {
        self.take()?;
        let wanted = samples.len();
        if self.ready.len() < wanted {
            return Ok(false);
        }
        samples.iter_mut().zip(self.ready.drain(..wanted)).for_each(|(to, from)| *to = from);
        // What has piled up while nobody fetched it would be heard as delay.
        let late = self.ready.len().saturating_sub(wanted.saturating_mul(4));
        self.ready.drain(..late - late % self.channels);
        Ok(true)
    }

    /// Fills `samples`, up to half a second, with what is due by the clock of the caller, who asks for as much as its time has gone on. The
    /// microphone's clock is followed, by resampling, if it is up to 1000 millionths off; what is further off is left out, or waited for,
    /// softly. Silence where nothing has come in. Not to be used together with [`read`](Self::read).
    ///
    /// # Errors
    /// What comes in cannot be converted.
    pub fn read_paced(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        self.take()?;
        self.bridge.push(self.ready.drain(..));
        self.bridge.fill(samples);
        Ok(())
    }

    /// Takes what has come in.
    fn take(&mut self) -> Result<(), Error> {
        let lost = |source: &Source| self.missed += source.health.missed.load(Relaxed);
        let Some(source) = self.source.get(lost) else { return Ok(()) };
        while let Ok(sample) = source.queue.pop() {
            source.convert.push(sample, &mut self.ready)?;
        }
        Ok(())
    }

    /// Samples that came in and nobody fetched in time.
    pub fn missed(&self) -> u64 {
        let now = self.source.device().map_or(0, |source| source.health.missed.load(Relaxed));
        self.missed.saturating_add(now)
    }

    /// Whether the microphone has been lost, or is back, since this was asked last. Reading finds that out.
    pub fn take_change(&mut self) -> Option<DeviceChange> {
        self.source.take_change()
    }
}

impl Source {
    fn open(name: Option<&str>, ours: (u32, u16)) -> Result<Self, Error> {
        let (device, about) = (find(DeviceDirection::Input, name)?, about(DeviceDirection::Input));
        let supported = device.supported_input_configs().map(|all| best(all, ours.0, ours.1));
        let config = match supported.ok().flatten() {
            Some(config) => config,
            None => device.default_input_config().map_err(|error| about(error.to_string()))?,
        };
        let (mut source, producer) = Self::connected(ours, (config.sample_rate(), config.channels()))?;
        let health = &source.health;
        let stream = match config.sample_format() {
            SampleFormat::F32 => listen::<f32>(&device, config.config(), producer, health),
            SampleFormat::I16 => listen::<i16>(&device, config.config(), producer, health),
            SampleFormat::I32 => listen::<i32>(&device, config.config(), producer, health),
            SampleFormat::U8 => listen::<u8>(&device, config.config(), producer, health),
            other => return Err(about(format!("its sample format {other} is not supported"))),
        };
        let stream = stream.map_err(|error| about(error.to_string()))?;
        stream.play().map_err(|error| about(error.to_string()))?;
        source._stream = Some(stream);
        Ok(source)
    }

    /// For what is read so, and the end that a device which hears so puts it in.
    fn connected(ours: (u32, u16), theirs: (u32, u16)) -> Result<(Self, Producer<f32>), Error> {
        let (producer, queue) = RingBuffer::new(samples(QUEUE, theirs.0, theirs.1));
        let (convert, health) = (Converter::new(theirs, ours)?, Arc::new(Health::default()));
        Ok((Self { queue, convert, health, _stream: None }, producer))
    }
}

impl End for Source {
    fn failure(&self) -> Option<String> {
        self.health.failure.get().cloned()
    }
}

impl Loudspeaker {
    /// Starts playing samples from -1 to 1 at `rate`, interleaved; converted to what the device wants. `name` is one of [`devices`];
    /// without one it is the machine's default.
    ///
    /// # Errors
    /// There is no such loudspeaker, or it is busy, or cannot be used.
    pub fn open(name: Option<&str>, rate: u32, channels: u16) -> Result<Self, Error> {
        let name = name.map(str::to_owned);
        let open = move || Sink::open(name.as_deref(), (rate, channels));
        Ok(Self::of(Kept::open(Arc::new(open))?))
    }

    const fn of(sink: Kept<Sink>) -> Self {
        Self { sink, converted: VecDeque::new(), dropped: 0, missed: 0 }
    }

    /// Plays `samples` after what waits; drops them if that is a second already, or if the loudspeaker is gone.
    ///
    /// # Errors
    /// They cannot be converted.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), Error> {
        let lost = |sink: &Sink| {
            self.dropped += sink.health.left_out.load(Relaxed);
            self.missed += sink.health.missed.load(Relaxed);
        };
        let Some(sink) = self.sink.get(lost) else {
            self.dropped = self.dropped.saturating_add(samples.len() as u64);
            return Ok(());
        };
        for &sample in samples {
            sink.convert.push(sample, &mut self.converted)?;
        }
        for sample in self.converted.drain(..) {
            if sink.queue.push(sample).is_err() {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Samples dropped because more had come than could wait, or the loudspeaker was gone; and how many the device had to do without,
    /// between others.
    pub fn dropped_and_missed(&self) -> (u64, u64) {
        let now = self
            .sink
            .device()
            .map(|sink| (sink.health.left_out.load(Relaxed), sink.health.missed.load(Relaxed)));
        let (left_out, missed) = now.unwrap_or_default();
        (self.dropped.saturating_add(left_out), self.missed.saturating_add(missed))
    }

    /// Whether the loudspeaker has been lost, or is back, since this was asked last. Writing finds that out.
    pub fn take_change(&mut self) -> Option<DeviceChange> {
        self.sink.take_change()
    }
}

impl Sink {
    fn open(name: Option<&str>, ours: (u32, u16)) -> Result<Self, Error> {
        let (device, about) = (find(DeviceDirection::Output, name)?, about(DeviceDirection::Output));
        let supported = device.supported_output_configs().map(|all| best(all, ours.0, ours.1));
        let config = match supported.ok().flatten() {
            Some(config) => config,
            None => device.default_output_config().map_err(|error| about(error.to_string()))?,
        };
        let (mut sink, renderer) = Self::connected(ours, (config.sample_rate(), config.channels()))?;
        let health = &sink.health;
        let stream = match config.sample_format() {
            SampleFormat::F32 => speak::<f32>(&device, config.config(), renderer, health),
            SampleFormat::I16 => speak::<i16>(&device, config.config(), renderer, health),
            SampleFormat::I32 => speak::<i32>(&device, config.config(), renderer, health),
            SampleFormat::U8 => speak::<u8>(&device, config.config(), renderer, health),
            other => return Err(about(format!("its sample format {other} is not supported"))),
        };
        let stream = stream.map_err(|error| about(error.to_string()))?;
        stream.play().map_err(|error| about(error.to_string()))?;
        sink._stream = Some(stream);
        Ok(sink)
    }

    /// For what is written so, and the end that a device which plays so takes it from.
    fn connected(ours: (u32, u16), theirs: (u32, u16)) -> Result<(Self, Renderer), Error> {
        let (queue, consumer) = RingBuffer::new(samples(BURST, theirs.0, theirs.1));
        let (health, bridge) = (Arc::new(Health::default()), ClockBridge::new(theirs.0, theirs.1));
        let (told, block) = (BridgeFigures::default(), Vec::new());
        let renderer = Renderer { queue: consumer, bridge, health: health.clone(), told, block };
        Ok((Self { queue, convert: Converter::new(ours, theirs)?, health, _stream: None }, renderer))
    }
}

impl End for Sink {
    fn failure(&self) -> Option<String> {
        self.health.failure.get().cloned()
    }
}

impl core::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let health = self.source.device().map(|source| &source.health);
        f.debug_struct("Microphone").field("health", &health).finish_non_exhaustive()
    }
}

impl core::fmt::Debug for Loudspeaker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let health = self.sink.device().map(|sink| &sink.health);
        f.debug_struct("Loudspeaker").field("health", &health).finish_non_exhaustive()
    }
}

fn about(direction: DeviceDirection) -> impl Fn(String) -> Error {
    let device = match direction {
        DeviceDirection::Input => "microphone",
        DeviceDirection::Output => "loudspeaker",
    };
    move |reason| Error::Device { device, reason }
}

fn samples(seconds: f64, rate: u32, channels: u16) -> usize {
    (seconds * f64::from(rate)) as usize * usize::from(channels)
}

/// A configuration that needs no conversion, if there is one in a sample format that we know.
fn best(
    all: impl Iterator<Item = SupportedStreamConfigRange>,
    rate: u32,
    channels: u16,
) -> Option<SupportedStreamConfig> {
    let known = [SampleFormat::F32, SampleFormat::I16, SampleFormat::I32];
    let fitting: Vec<_> = all
        .filter(|range| range.channels() == channels)
        .filter(|range| (range.min_sample_rate()..=range.max_sample_rate()).contains(&rate))
        .collect();
    let found = known.iter().find_map(|format| fitting.iter().find(|range| range.sample_format() == *format));
    found.map(|range| range.with_sample_rate(rate))
}

fn listen<T>(
    device: &Device,
    config: StreamConfig,
    mut queue: Producer<f32>,
    health: &Arc<Health>,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + Send + 'static,
    f32: FromSample<T>,
{
    let (missed, failed) = (health.clone(), health.clone());
    let mut begin = Some(quiet);
    let take = move |samples: &[T], _: &cpal::InputCallbackInfo| {
        begin.take().into_iter().for_each(|begin| begin());
        for &sample in samples {
            if queue.push(f32::from_sample_(sample)).is_err() {
                missed.missed.fetch_add(1, Relaxed);
            }
        }
    };
    device.build_input_stream(config, take, move |error| failed.note(&error), None)
}

fn speak<T>(
    device: &Device,
    config: StreamConfig,
    mut renderer: Renderer,
    health: &Arc<Health>,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + FromSample<f32> + Send + 'static,
{
    let failed = health.clone();
    let mut begin = Some(quiet);
    let give = move |samples: &mut [T], _: &cpal::OutputCallbackInfo| {
        begin.take().into_iter().for_each(|begin| begin());
        renderer.render(samples);
    };
    device.build_output_stream(config, give, move |error| failed.note(&error), None)
}

impl Renderer {
    /// What the device plays next.
    fn render<T: FromSample<f32>>(&mut self, out: &mut [T]) {
        let room = self.queue.slots().min(self.bridge.room());
        if let Ok(chunk) = self.queue.read_chunk(room) {
            self.bridge.push(chunk);
        }
        self.block.resize(out.len(), 0.0);
        self.bridge.fill(&mut self.block);
        out.iter_mut().zip(&self.block).for_each(|(to, from)| *to = T::from_sample_(*from));
        let figures = self.bridge.figures();
        let samples = |frames: u64| frames * self.bridge.channels() as u64;
        self.health.missed.fetch_add(samples(figures.missing - self.told.missing), Relaxed);
        self.health.left_out.fetch_add(samples(figures.left_out - self.told.left_out), Relaxed);
        self.told = figures;
    }
}

impl Health {
    fn note(&self, error: &cpal::Error) {
        quiet();
        let gone = match error.kind() {
            // A hiccup is not the end.
            ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => false,
            ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated | ErrorKind::HostUnavailable => true,
            // A signal may have come; what does not stop is the end.
            _ => self.is_one_too_many(),
        };
        if gone {
            // The first reason is the one.
            let _ = self.failure.set(error.to_string());
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an error comes with no time, on a thread of the device's own"
    )]
    fn is_one_too_many(&self) -> bool {
        let now = Instant::now();
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = errors.filter(|(since, _)| now.duration_since(*since) < MOST_ERRORS.1);
        let (since, count) = recent.unwrap_or((now, 0));
        *errors = Some((since, count + 1));
        count + 1 >= MOST_ERRORS.0
    }
}

/// From one rate and number of channels to another, sample by sample.
struct Converter {
    from: usize,
    to: usize,
    frame: Vec<f64>,
    /// Of all channels where there are as many on both sides, else of their mean.
    resampler: StreamResampler,
    block: Vec<f64>,
}

impl Converter {
    fn new((from_rate, from): (u32, u16), (to_rate, to): (u32, u16)) -> Result<Self, Error> {
        let (from, to) = (from.max(1), to.max(1));
        let resampler = StreamResampler::new(from_rate, to_rate, if from == to { from } else { 1 })?;
        Ok(Self { from: from.into(), to: to.into(), frame: Vec::new(), resampler, block: Vec::new() })
    }

    /// Takes a sample, and hands on what that completes.
    fn push(&mut self, sample: f32, out: &mut VecDeque<f32>) -> Result<(), Error> {
        self.frame.push(sample.into());
        if self.frame.len() < self.from {
            return Ok(());
        }
        if self.from == self.to {
            self.resampler.feed(&self.frame);
        } else {
            self.resampler.feed(&[self.frame.iter().sum::<f64>() / self.from as f64]);
        }
        self.frame.clear();
        while self.resampler.pull(&mut self.block)? {
            let times = if self.from == self.to { 1 } else { self.to };
            out.extend(self.block.iter().flat_map(|sample| iter::repeat_n(*sample as f32, times)));
            self.block.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
