//! The machine's microphone and loudspeaker. Sound goes through a queue without locks: the device's own thread neither waits nor
//! allocates.

use crate::Error;
use audioadapter_buffers::direct::InterleavedSlice;
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    Device, FromSample, SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfig,
    SupportedStreamConfigRange,
};
use rtrb::{Consumer, Producer, RingBuffer};
use rubato::{Fft, FixedSync, Resampler};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What a queue holds before sound is dropped, in seconds: device and program run by different clocks.
const QUEUE: f64 = 0.25;
/// What waits for the loudspeaker before any more is dropped, in seconds. More would be heard as delay.
const AHEAD: f64 = 0.08;

/// What comes in from the machine's default microphone.
pub struct Microphone {
    queue: Consumer<f32>,
    convert: Converter,
    ready: VecDeque<f32>,
    channels: usize,
    health: Arc<Health>,
    _stream: Stream,
}

/// What goes out to the machine's default loudspeaker.
pub struct Loudspeaker {
    queue: Producer<f32>,
    convert: Converter,
    converted: VecDeque<f32>,
    ahead: usize,
    dropped: u64,
    health: Arc<Health>,
    _stream: Stream,
}

/// What the device's thread has to say.
#[derive(Debug, Default)]
struct Health {
    failed: AtomicBool,
    /// Samples that nobody fetched, or that were missing.
    missed: AtomicU64,
}

impl Microphone {
    /// Starts listening, for samples from -1 to 1 at `rate`, interleaved; the device's own rate and channels are converted.
    ///
    /// # Errors
    /// There is no microphone, or it is busy, or cannot be used.
    pub fn open(rate: u32, channels: u16) -> Result<Self, Error> {
        let about = about("microphone");
        let device = cpal::default_host().default_input_device();
        let device = device.ok_or_else(|| about("there is none".into()))?;
        let supported = device.supported_input_configs().map(|all| best(all, rate, channels));
        let config = match supported.ok().flatten() {
            Some(config) => config,
            None => device.default_input_config().map_err(|error| about(error.to_string()))?,
        };
        let (theirs, their_channels) = (config.sample_rate(), config.channels());
        let (producer, queue) = RingBuffer::new(samples(QUEUE, theirs, their_channels));
        let health = Arc::new(Health::default());
        let stream = match config.sample_format() {
            SampleFormat::F32 => listen::<f32>(&device, config.config(), producer, &health),
            SampleFormat::I16 => listen::<i16>(&device, config.config(), producer, &health),
            SampleFormat::I32 => listen::<i32>(&device, config.config(), producer, &health),
            SampleFormat::U8 => listen::<u8>(&device, config.config(), producer, &health),
            other => return Err(about(format!("its sample format {other} is not supported"))),
        };
        let stream = stream.map_err(|error| about(error.to_string()))?;
        stream.play().map_err(|error| about(error.to_string()))?;
        let convert = Converter::new((theirs, their_channels), (rate, channels))?;
        let ready = VecDeque::new();
        Ok(Self { queue, convert, ready, channels: channels.max(1).into(), health, _stream: stream })
    }

    /// Fills `samples`, if as much has come in; false, and nothing is taken, if not.
    ///
    /// # Errors
    /// The microphone is gone.
    pub fn read(&mut self, samples: &mut [f32]) -> Result<bool, Error> {
        if self.health.failed.load(Relaxed) {
            return Err(about("microphone")("it has stopped".into()));
        }
        while let Ok(sample) = self.queue.pop() {
            self.convert.push(sample, &mut self.ready)?;
        }
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

    /// Samples that came in and nobody fetched in time.
    pub fn missed(&self) -> u64 {
        self.health.missed.load(Relaxed)
    }
}

impl Loudspeaker {
    /// Starts playing samples from -1 to 1 at `rate`, interleaved; converted to what the device wants.
    ///
    /// # Errors
    /// There is no loudspeaker, or it is busy, or cannot be used.
    pub fn open(rate: u32, channels: u16) -> Result<Self, Error> {
        let about = about("loudspeaker");
        let device = cpal::default_host().default_output_device();
        let device = device.ok_or_else(|| about("there is none".into()))?;
        let supported = device.supported_output_configs().map(|all| best(all, rate, channels));
        let config = match supported.ok().flatten() {
            Some(config) => config,
            None => device.default_output_config().map_err(|error| about(error.to_string()))?,
        };
        let (theirs, their_channels) = (config.sample_rate(), config.channels());
        let (queue, consumer) = RingBuffer::new(samples(QUEUE, theirs, their_channels));
        let health = Arc::new(Health::default());
        let stream = match config.sample_format() {
            SampleFormat::F32 => speak::<f32>(&device, config.config(), consumer, &health),
            SampleFormat::I16 => speak::<i16>(&device, config.config(), consumer, &health),
            SampleFormat::I32 => speak::<i32>(&device, config.config(), consumer, &health),
            SampleFormat::U8 => speak::<u8>(&device, config.config(), consumer, &health),
            other => return Err(about(format!("its sample format {other} is not supported"))),
        };
        let stream = stream.map_err(|error| about(error.to_string()))?;
        stream.play().map_err(|error| about(error.to_string()))?;
        let convert = Converter::new((rate, channels), (theirs, their_channels))?;
        let ahead = samples(AHEAD, theirs, their_channels);
        let converted = VecDeque::new();
        Ok(Self { queue, convert, converted, ahead, dropped: 0, health, _stream: stream })
    }

    /// Plays `samples` after what waits; drops them if that is too much already.
    ///
    /// # Errors
    /// The loudspeaker is gone.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), Error> {
        if self.health.failed.load(Relaxed) {
            return Err(about("loudspeaker")("it has stopped".into()));
        }
        for &sample in samples {
            self.convert.push(sample, &mut self.converted)?;
        }
        let waiting = self.queue.buffer().capacity().saturating_sub(self.queue.slots());
        if waiting >= self.ahead {
            self.dropped = self.dropped.saturating_add(self.converted.len() as u64);
            self.converted.clear();
        }
        for sample in self.converted.drain(..) {
            if self.queue.push(sample).is_err() {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Samples dropped because the device played more slowly than they came; and how often it had none to play.
    pub fn dropped_and_missed(&self) -> (u64, u64) {
        (self.dropped, self.health.missed.load(Relaxed))
    }
}

impl core::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Microphone").field("health", &self.health).finish_non_exhaustive()
    }
}

impl core::fmt::Debug for Loudspeaker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Loudspeaker").field("health", &self.health).finish_non_exhaustive()
    }
}

fn about(device: &'static str) -> impl Fn(String) -> Error {
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
    let take = move |samples: &[T], _: &cpal::InputCallbackInfo| {
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
    mut queue: Consumer<f32>,
    health: &Arc<Health>,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + FromSample<f32> + Send + 'static,
{
    let (missed, failed) = (health.clone(), health.clone());
    let give = move |samples: &mut [T], _: &cpal::OutputCallbackInfo| {
        for sample in samples {
            *sample = T::from_sample_(queue.pop().unwrap_or_else(|_| {
                missed.missed.fetch_add(1, Relaxed);
                0.0
            }));
        }
    };
    device.build_output_stream(config, give, move |error| failed.note(&error), None)
}

impl Health {
    fn note(&self, error: &cpal::Error) {
        // A hiccup is not the end.
        let gone = [cpal::ErrorKind::DeviceNotAvailable, cpal::ErrorKind::StreamInvalidated];
        if gone.contains(&error.kind()) {
            self.failed.store(true, Relaxed);
        }
    }
}

/// From one rate and number of channels to another, sample by sample.
struct Converter {
    from: usize,
    to: usize,
    frame: Vec<f32>,
    resampler: Option<Resampling>,
}

struct Resampling {
    rates: (u32, u32),
    fft: Fft<f32>,
    /// What waits for a whole chunk.
    waiting: Vec<f32>,
    /// Room for what comes out of one.
    room: Vec<f32>,
}

impl Converter {
    fn new((from_rate, from): (u32, u16), (to_rate, to): (u32, u16)) -> Result<Self, Error> {
        let resampler = if from_rate == to_rate {
            None
        } else {
            let about = |reason: String| Error::Resample { from: from_rate, to: to_rate, reason };
            let channels = usize::from(to);
            let fft = Fft::<f32>::new(from_rate as usize, to_rate as usize, 256, channels, FixedSync::Both)
                .map_err(|error| about(error.to_string()))?;
            let room = vec![0.0; fft.output_frames_max() * channels];
            Some(Resampling { rates: (from_rate, to_rate), fft, waiting: Vec::new(), room })
        };
        Ok(Self { from: usize::from(from.max(1)), to: usize::from(to.max(1)), frame: Vec::new(), resampler })
    }

    /// Takes a sample, and hands on what that completes.
    fn push(&mut self, sample: f32, out: &mut VecDeque<f32>) -> Result<(), Error> {
        self.frame.push(sample);
        if self.frame.len() < self.from {
            return Ok(());
        }
        let mono = self.frame.iter().sum::<f32>() / self.from as f32;
        let (from, to, frame) = (self.from, self.to, &self.frame);
        let channels = (0..to).map(|n| if from == to { frame[n] } else { mono });
        match &mut self.resampler {
            None => out.extend(channels),
            Some(resampling) => {
                resampling.waiting.extend(channels);
                resampling.chunk(to, out)?;
            }
        }
        self.frame.clear();
        Ok(())
    }
}

impl Resampling {
    /// Hands on a chunk, if one is whole.
    fn chunk(&mut self, channels: usize, out: &mut VecDeque<f32>) -> Result<(), Error> {
        let frames = self.fft.input_frames_next();
        if self.waiting.len() < frames * channels {
            return Ok(());
        }
        let (from, to) = self.rates;
        let about = |reason: String| Error::Resample { from, to, reason };
        let room = self.room.len() / channels;
        let input = InterleavedSlice::new(&self.waiting, channels, frames);
        let input = input.map_err(|error| about(error.to_string()))?;
        let output = InterleavedSlice::new_mut(&mut self.room, channels, room);
        let mut output = output.map_err(|error| about(error.to_string()))?;
        let done = self.fft.process_into_buffer(&input, &mut output, None);
        let (_, written) = done.map_err(|error| about(error.to_string()))?;
        out.extend(&self.room[..written * channels]);
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clip;

    #[test]
    fn d_18_what_a_device_hears_is_converted_to_what_is_asked_for() {
        for ((rate, channels), (to, to_channels)) in
            [((48_000, 1), (48_000, 1)), ((44_100, 2), (48_000, 1)), ((48_000, 1), (44_100, 2))]
        {
            let tone = Clip::tone(rate, channels, 500.0, 0.5);
            let mut converter = Converter::new((rate, channels), (to, to_channels)).unwrap();
            let mut out = VecDeque::new();
            for &sample in &tone.samples {
                converter.push(sample as f32, &mut out).unwrap();
            }
            let frames = out.len() / usize::from(to_channels);
            let expected = to as usize / 2;
            assert!(expected - frames < 2048, "{rate} to {to}: {frames} of {expected} frames");
            // As loud as before, on every channel.
            let loudest = |channel: usize| {
                let samples = out.iter().skip(channel).step_by(to_channels.into()).skip(4000);
                samples.fold(0.0_f32, |peak, sample| peak.max(sample.abs()))
            };
            let before = tone.samples.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs())) as f32;
            for channel in 0..usize::from(to_channels) {
                assert!((loudest(channel) - before).abs() < 0.02, "{rate} to {to}: {}", loudest(channel));
            }
        }
    }
}
