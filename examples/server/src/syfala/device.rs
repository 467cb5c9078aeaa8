//! A device made of software: for tests, and for people without hardware.

use super::output::{Output, Turn};
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use voxwire_audio::{
    AdaptiveResampler, Clip, ClipStream, FollowState, MAX_SAMPLES, Recording, RecordingAbort, SampleFormat,
    SampleOrder, SoundFile, SoundStream, decode, encode, limit,
};
use voxwire_core::{Instant, PeerId, Session as _};
use voxwire_syfala::stream::{DriftEstimate, StreamSettings};
use voxwire_syfala::{Audio, Format, SampleType, Server, ServerCommand};

/// Bytes that one stream may have in store.
const MOST_STORE: u64 = 32 << 20;
/// No two quartz clocks are further apart, in millionths; and no ear hears that.
pub const MOST_DRIFT: f64 = 1000.0;
/// What may be followed, in millionths.
pub(crate) const FOLLOW: core::ops::RangeInclusive<f64> = 0.0..=100_000.0;

/// What a device is made of. All its streams have one sample rate: that of its clock.
#[derive(Debug, Clone)]
pub struct DeviceSettings {
    /// The streams that it sends.
    pub inputs: Vec<Format>,
    /// The streams that it is sent.
    pub outputs: Vec<Format>,
    /// What goes into its inputs.
    pub sound: Sound,
    /// How much of a client's audio is in store before it is used: what its messages may be late.
    pub latency: Duration,
    /// How much faster than it says its clock runs, in millionths.
    pub ppm: f64,
    /// Up to how many millionths a client's clock may be off its own and is followed, by resampling: 1000 by default. What is beyond
    /// is left out or waited for, with a word in the log. 0 follows no host.
    pub follow: f64,
    /// Where to record what it is sent on its first output, by all clients together.
    pub record: Option<PathBuf>,
    /// How the recording stores its samples; `None`: as the output has them.
    pub record_as: Option<SampleFormat>,
    /// Tell of each message: [`DeviceEvent::Heard`](super::DeviceEvent::Heard), [`DeviceEvent::Played`](super::DeviceEvent::Played).
    pub trace: bool,
}

/// What a device sends.
#[derive(Debug, Clone)]
pub enum Sound {
    /// To each client what all the others send.
    Mix,
    /// To each client what it sends itself.
    Echo,
    /// A recording, to each client from its beginning.
    Clip {
        /// The recording.
        clip: Clip,
        /// Again and again.
        repeat: bool,
    },
    /// A file, to each client from its beginning, and again and again. It is read as it is played, for each client by a thread of its own
    /// that has at most [`READ_AHEAD`](voxwire_audio::READ_AHEAD) samples in memory.
    File(Arc<SoundFile>),
}

/// A file as one client hears it, for all of the inputs that have one format.
#[derive(Debug)]
struct Playing {
    format: Format,
    stream: SoundStream,
    /// What is sent in this turn, and as numbers.
    block: Vec<u8>,
    samples: Vec<f64>,
}

impl DeviceSettings {
    /// One input and one output of the standard format, which mixes its clients, with 20 ms in store.
    pub fn standard() -> Self {
        Self {
            inputs: vec![Format::STANDARD],
            outputs: vec![Format::STANDARD],
            sound: Sound::Mix,
            latency: Duration::from_millis(20),
            ppm: 0.0,
            follow: MOST_DRIFT,
            record: None,
            record_as: None,
            trace: false,
        }
    }
}

/// Counters of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFigures {
    /// Clients whose IO is active.
    pub active: usize,
    /// Frames that were due and had not come.
    pub underruns: u64,
    /// Frames passed over because too many were in store.
    pub passed_over: u64,
    /// Times that some were passed over or waited for: between two short fades.
    pub resynchronised: u64,
    /// Bytes of silence in place of lost messages.
    pub silence: u64,
    /// Bytes that were lost because a client went on elsewhere.
    pub jumped: u64,
    /// Messages that could not be queued.
    pub unsent: u64,
}

/// The engine: its clock, its clients, their streams.
pub(crate) struct Device {
    settings: DeviceSettings,
    rate: f64,
    /// Frames of one turn.
    block: usize,
    /// The recording, ready to be sent, for each input.
    clips: Vec<Arc<Vec<u8>>>,
    clients: BTreeMap<PeerId, Client>,
    /// When the clock was started, and how far it is, in frames.
    since: Instant,
    frames: u64,
    recorder: Option<Recording>,
    /// What went wrong with it.
    problem: Option<String>,
    figures: DeviceFigures,
    /// What is being sent.
    out: Vec<u8>,
    /// Whom it is told that something has been sent: the client, the input, the byte index.
    played: Option<Played>,
}

pub(super) type Played = Box<dyn FnMut(PeerId, u32, u64) + Send>;

#[derive(Debug)]
struct Client {
    outputs: Vec<Output>,
    /// Frames sent of each input.
    sent: usize,
    /// The file that it hears.
    playing: Vec<Playing>,
    ending: Ending,
    /// Whether its clock can be followed, as was told last.
    told: FollowState,
}

/// How far a client is with going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// What it has said is used up first; then it has an answer, or not.
    Soon {
        answer: bool,
    },
}

/// As the audio crate has it.
pub fn sample_format(sample_type: SampleType) -> SampleFormat {
    match sample_type {
        SampleType::U8 => SampleFormat::U8,
        SampleType::U16 => SampleFormat::U16,
        SampleType::U24 => SampleFormat::U24,
        SampleType::U32 => SampleFormat::U32,
        SampleType::U64 => SampleFormat::U64,
        SampleType::I8 => SampleFormat::I8,
        SampleType::I16 => SampleFormat::I16,
        SampleType::I24 => SampleFormat::I24,
        SampleType::I32 => SampleFormat::I32,
        SampleType::I64 => SampleFormat::I64,
        SampleType::Ieef32 => SampleFormat::F32,
        SampleType::Ieef64 => SampleFormat::F64,
    }
}

/// Whether there can be such a device: its rate, and the frames of a message.
fn check(settings: &DeviceSettings) -> Result<(f64, usize), String> {
    let first = settings.inputs.iter().chain(&settings.outputs).next().ok_or("a device without streams")?;
    let rate = first.sample_rate.get();
    let streams = || settings.inputs.iter().chain(&settings.outputs);
    if streams().any(|format| format.sample_rate != first.sample_rate) {
        return Err("one sample rate for all streams expected".into());
    }
    let is_whole = (1.0..=768_000.0).contains(&rate) && rate.fract() == 0.0;
    if !is_whole || streams().any(|format| format.channels.get() > 1024) {
        return Err(format!(
            "{first}: a whole number of Hz up to 768000, and at most 1024 channels expected"
        ));
    }
    let thousandth = (rate / 1000.0).ceil() as usize;
    let hint = first.buffer_size.map_or(thousandth, |frames| frames.get() as usize);
    let block = hint.clamp(1, thousandth.max(1) * 100);
    if !(-100_000.0..=100_000.0).contains(&settings.ppm) {
        return Err(format!("a clock {} millionths off: at most 100000 expected", settings.ppm));
    }
    if !FOLLOW.contains(&settings.follow) {
        return Err(format!(
            "clocks {} millionths off to be followed: 0 to 100000 expected",
            settings.follow
        ));
    }
    let store = |format: &Format| {
        format.bytes((settings.latency.as_secs_f64() * rate) as u64 + 2 * block as u64 + rate as u64)
    };
    if settings.latency > Duration::from_secs(10) || streams().any(|format| store(format) > MOST_STORE) {
        return Err(format!("{:?} in store: more than a stream of {first} may take", settings.latency));
    }
    Ok((rate, block))
}

/// The bytes of the recording that is played, for each input; one copy for all inputs of a format.
fn render_clips(settings: &DeviceSettings) -> Result<Vec<Arc<Vec<u8>>>, String> {
    let mut clips: Vec<Arc<Vec<u8>>> = Vec::new();
    let Sound::Clip { clip, .. } = &settings.sound else { return Ok(clips) };
    for (n, format) in settings.inputs.iter().enumerate() {
        let same = settings.inputs.iter().position(|other| other == format).and_then(|at| clips.get(at));
        let rendered = match same.filter(|_| n > 0) {
            Some(clip) => clip.clone(),
            None => render(clip, format).map_err(|error| error.to_string())?.into(),
        };
        clips.push(rendered);
    }
    Ok(clips)
}

impl Device {
    /// Makes ready what is sent.
    pub(crate) fn new(settings: DeviceSettings) -> Result<Self, String> {
        let (rate, block) = check(&settings)?;
        let clips = render_clips(&settings)?;
        let record = settings.record.as_ref().zip(settings.outputs.first());
        let recorder = record.map(|(path, format)| {
            let channels = u16::try_from(format.channels.get()).unwrap_or(u16::MAX);
            let stored = settings.record_as.unwrap_or_else(|| sample_format(format.sample_type));
            Recording::create(path, rate as u32, channels, stored)
        });
        Ok(Self {
            rate,
            block,
            clips,
            clients: BTreeMap::new(),
            since: Instant::ZERO,
            frames: 0,
            recorder: recorder.transpose().map_err(|error| error.to_string())?,
            problem: None,
            figures: DeviceFigures::default(),
            out: Vec::new(),
            played: None,
            settings,
        })
    }

    pub(crate) fn figures(&self) -> DeviceFigures {
        let mut figures = DeviceFigures { active: self.clients.len(), ..self.figures };
        self.clients
            .values()
            .flat_map(|client| &client.outputs)
            .for_each(|output| output.count(&mut figures));
        figures
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.clone()
    }

    pub(crate) fn trace(&mut self, played: Played) {
        self.played = self.settings.trace.then_some(played);
    }

    pub(crate) const fn is_traced(&self) -> bool {
        self.settings.trace
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// Makes everything ready for a client's audio.
    pub(crate) fn start(&mut self, now: Instant, client: PeerId) {
        if self.is_idle() {
            (self.since, self.frames) = (now, 0);
        }
        let outputs = self.settings.outputs.iter().map(|format| {
            // A second, beside what is to be in store.
            let frames = self.in_store() as u64 + 2 * self.block as u64 + self.rate as u64;
            let buffer =
                usize::try_from(format.bytes(frames).clamp(64 * 1024, MOST_STORE)).unwrap_or(usize::MAX);
            let settings = StreamSettings { buffer, ..StreamSettings::DEFAULT };
            Output::new(format, settings, self.settings.follow)
        });
        let mut playing: Vec<Playing> = Vec::new();
        if let Sound::File(file) = &self.settings.sound {
            for format in &self.settings.inputs {
                if playing.iter().any(|playing| playing.format == *format) {
                    continue;
                }
                let channels = u16::try_from(format.channels.get()).unwrap_or(u16::MAX);
                match file.play_repeated(self.rate as u32, channels) {
                    Ok(stream) => {
                        playing.push(Playing { format: *format, stream, block: vec![], samples: vec![] });
                    }
                    Err(error) => tracing::warn!(%client, %error, "it hears nothing"),
                }
            }
        }
        let client_of = Client {
            outputs: outputs.collect(),
            sent: 0,
            playing,
            ending: Ending::No,
            told: FollowState::WithinRange,
        };
        self.clients.insert(client, client_of);
    }

    /// A client ends its audio, or is gone: what it has said is used up, and then everything of it freed.
    pub(crate) fn end(&mut self, client: PeerId, answer: bool) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.ending = Ending::Soon { answer };
        }
    }

    /// The device ends: nothing more is heard of any client.
    pub(crate) fn end_all(&mut self) {
        for client in self.clients.values_mut().filter(|client| client.ending == Ending::No) {
            client.ending = Ending::Soon { answer: false };
        }
    }

    /// How much of a client's audio is in store before it is used.
    pub(crate) const fn latency(&self) -> Duration {
        self.settings.latency
    }

    /// Frees everything of clients that have ended. Returns those that want to know.
    pub(crate) fn ended(&mut self) -> Vec<PeerId> {
        let used_up =
            |client: &Client| client.ending != Ending::No && client.outputs.iter().all(Output::is_used_up);
        let ended: Vec<PeerId> =
            self.clients.iter().filter(|(_, client)| used_up(client)).map(|(name, _)| *name).collect();
        let mut answers = Vec::new();
        for name in ended {
            let Some(client) = self.clients.remove(&name) else { continue };
            client.outputs.iter().for_each(|output| output.count(&mut self.figures));
            if client.ending == (Ending::Soon { answer: true }) {
                answers.push(name);
            }
        }
        answers
    }

    /// A message of a client's.
    pub(crate) fn hear(&mut self, now: Instant, client: PeerId, audio: &Audio<'_>) {
        let Some(client) = self.clients.get_mut(&client).filter(|client| client.ending == Ending::No) else {
            return;
        };
        if let Some(output) = usize::try_from(audio.stream).ok().and_then(|at| client.outputs.get_mut(at)) {
            let elapsed = now.saturating_duration_since(self.since).mul_f64(1.0 + self.settings.ppm * 1e-6);
            output.hear(now, Instant::ZERO.saturating_add(elapsed), audio);
        }
    }

    /// Clients whose clocks have come to be too far off to be followed, or no longer are: told once.
    pub(crate) fn changes(&mut self) -> impl Iterator<Item = (PeerId, FollowState, Option<DriftEstimate>)> {
        self.clients.iter_mut().filter_map(|(name, client)| {
            let state = |output: &&Output| output.state() != FollowState::WithinRange;
            let output = client.outputs.iter().find(state).or_else(|| client.outputs.first())?;
            let before = core::mem::replace(&mut client.told, output.state());
            (before != client.told).then(|| (*name, client.told, output.drift()))
        })
    }

    /// Does what is due by the device's own clock.
    pub(crate) fn turn(&mut self, now: Instant, server: &mut Server) {
        if self.is_idle() {
            return;
        }
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        let due = (elapsed * self.rate * (1.0 + self.settings.ppm * 1e-6)) as u64;
        // A machine that has slept does not make up for it.
        let most = (self.rate as u64).max(2 * self.block as u64);
        if due.saturating_sub(self.frames) > most {
            self.figures.underruns += due - self.frames - most;
            self.frames = due - most;
        }
        while self.frames + self.block as u64 <= due {
            self.frames += self.block as u64;
            self.collect(now);
            self.send(now, server);
            self.record();
        }
    }

    /// Frames that are to be in store.
    fn in_store(&self) -> usize {
        (self.settings.latency.as_secs_f64() * self.rate) as usize
    }

    /// Takes what is due of every output of every client.
    fn collect(&mut self, now: Instant) {
        let in_store = self.in_store().max(self.block + AdaptiveResampler::AHEAD);
        let turn = Turn { now, frames: self.block, in_store, rate: self.rate };
        for client in self.clients.values_mut() {
            let ending = client.ending != Ending::No;
            for output in &mut client.outputs {
                output.turn(turn, ending, &mut self.figures);
            }
        }
    }

    fn send(&mut self, now: Instant, server: &mut Server) {
        let Self { settings, block, clips, clients, figures, out, played, .. } = self;
        let active = clients.iter().filter(|(_, client)| client.ending == Ending::No);
        let names: Vec<PeerId> = active.map(|(name, _)| *name).collect();
        for name in names {
            if let Some(client) = clients.get_mut(&name) {
                client.playing.iter_mut().for_each(|playing| playing.turn(name, *block));
            }
            let from = clients.get(&name).map_or(0, |client| client.sent);
            for (input, format) in settings.inputs.iter().enumerate() {
                let from = from * format.frame_size();
                out.clear();
                match &settings.sound {
                    Sound::Mix => mix(clients, &settings.outputs, input, format, |other| other != name, out),
                    Sound::Echo => mix(clients, &settings.outputs, input, format, |other| other == name, out),
                    Sound::Clip { repeat, .. } => {
                        play(&clips[input], from, *repeat, *block * format.frame_size(), out);
                    }
                    Sound::File(_) => {
                        let playing = clients.get(&name).map_or(&[][..], |client| &client.playing);
                        if let Some(playing) = playing.iter().find(|playing| playing.format == *format) {
                            out.extend_from_slice(&playing.block);
                        }
                    }
                }
                silence(format, *block * format.frame_size(), out);
                let stream = u32::try_from(input).unwrap_or(u32::MAX);
                if let Some(played) = played {
                    played(name, stream, from as u64);
                }
                let command = ServerCommand::Play { client: name, stream, samples: out };
                figures.unsent += u64::from(server.handle_command(now, command).is_err());
            }
            if let Some(client) = clients.get_mut(&name) {
                client.sent += *block;
            }
        }
    }

    fn record(&mut self) {
        let (Some(recorder), Some(format)) = (&mut self.recorder, self.settings.outputs.first()) else {
            return;
        };
        self.out.clear();
        mix(&self.clients, &self.settings.outputs, 0, format, |_| true, &mut self.out);
        silence(format, self.block * format.frame_size(), &mut self.out);
        let samples = decode(&self.out, sample_format(format.sample_type), SampleOrder::Little);
        // It waits for nothing: the session is locked.
        recorder.write(&samples);
        for remark in recorder.remarks() {
            tracing::error!("the recording: {remark}");
        }
    }

    /// Ends the wait for the recording.
    pub(crate) fn recording(&self) -> Option<RecordingAbort> {
        self.recorder.as_ref().map(Recording::abort_handle)
    }

    /// The recording, to be [completed](Self::finish) while nothing waits.
    pub(crate) fn take_recording(&mut self) -> Option<Recording> {
        self.recorder.take()
    }

    /// Completes the recording; says what went wrong.
    pub(crate) fn finish(mut recording: Recording) -> Option<String> {
        let finished = recording.finish();
        for remark in recording.remarks() {
            tracing::error!("the recording: {remark}");
        }
        let error = finished.err()?;
        tracing::error!(%error, "the recording is not complete");
        Some(error.to_string())
    }

    pub(crate) fn set_problem(&mut self, problem: String) {
        self.problem = Some(problem);
    }
}

impl Playing {
    /// Takes what is due. What has not been read in time is silence, and comes later.
    fn turn(&mut self, client: PeerId, frames: usize) {
        self.samples.clear();
        self.stream.take(frames, &mut self.samples);
        self.block.clear();
        let format = sample_format(self.format.sample_type);
        encode(&self.samples, format, SampleOrder::Little, &mut self.block);
        for remark in self.stream.remarks() {
            tracing::warn!(%client, "the file that it hears: {remark}");
        }
    }
}

/// What the clients that are wanted have sent to the output of that number, put together in `format`. One alone is handed on as it
/// is, bit for bit.
fn mix(
    clients: &BTreeMap<PeerId, Client>,
    outputs: &[Format],
    stream: usize,
    format: &Format,
    wanted: impl Fn(PeerId) -> bool,
    out: &mut Vec<u8>,
) {
    let Some(theirs) = outputs.get(stream) else { return };
    let heard = clients.iter().filter(|(name, _)| wanted(**name));
    let heard = heard.filter_map(|(_, client)| client.outputs.get(stream)?.block());
    let same = theirs.sample_type == format.sample_type && theirs.channels == format.channels;
    let mut sum: Vec<f64> = Vec::new();
    let mut count = 0;
    for block in heard.clone() {
        count += 1;
        if count == 1 && same && heard.clone().nth(1).is_none() {
            out.extend_from_slice(block);
            return;
        }
        let samples = decode(block, sample_format(theirs.sample_type), SampleOrder::Little);
        let clip =
            Clip { rate: 1, channels: u16::try_from(theirs.channels.get()).unwrap_or(u16::MAX), samples };
        let samples = clip.mix(u16::try_from(format.channels.get()).unwrap_or(u16::MAX)).samples;
        add(&mut sum, &samples);
    }
    if count > 1 {
        let mut bent: Vec<f32> = sum.iter().map(|sample| *sample as f32).collect();
        limit(&mut bent);
        sum = bent.into_iter().map(f64::from).collect();
    }
    encode(&sum, sample_format(format.sample_type), SampleOrder::Little, out);
}

/// Adds a client's samples to those of others. What is no number, or far beyond full scale, must not make the others inaudible.
fn add(sum: &mut Vec<f64>, samples: &[f64]) {
    const MOST: f64 = 1000.0;
    sum.resize(samples.len().max(sum.len()), 0.0);
    for (sum, sample) in sum.iter_mut().zip(samples).filter(|(_, sample)| sample.is_finite()) {
        *sum += sample.clamp(-MOST, MOST);
    }
}

/// Fills up with silence.
fn silence(format: &Format, len: usize, out: &mut Vec<u8>) {
    let silence = format.sample_type.silence().iter().cycle();
    let missing = len.saturating_sub(out.len());
    out.extend(silence.take(missing));
}

/// `len` bytes of a recording from `from` on.
fn play(clip: &[u8], from: usize, repeat: bool, len: usize, out: &mut Vec<u8>) {
    let mut from = from;
    while out.len() < len && !clip.is_empty() {
        if repeat {
            from %= clip.len();
        }
        let part = clip.get(from..).unwrap_or(&[]);
        let part = &part[..part.len().min(len - out.len())];
        if part.is_empty() {
            return;
        }
        out.extend_from_slice(part);
        from += part.len();
    }
}

/// A recording as a stream has it.
fn render(clip: &Clip, format: &Format) -> Result<Vec<u8>, voxwire_audio::Error> {
    let channels = u16::try_from(format.channels.get()).unwrap_or(u16::MAX);
    let rate = format.sample_rate.get() as u32;
    // No more than a file has: it is in memory as a whole.
    let frames = u128::from(rate) * clip.frames() as u128 / u128::from(clip.rate.max(1));
    let samples = frames * u128::from(channels);
    if samples > MAX_SAMPLES as u128 {
        let reason = format!("{samples} samples in {channels} channels: at most {MAX_SAMPLES} expected");
        return Err(voxwire_audio::Error::Resample { from: clip.rate, to: rate, reason });
    }
    let mut stream = ClipStream::new(clip.clone(), rate, channels)?;
    let (mut samples, mut bytes) = (Vec::new(), Vec::new());
    while stream.take(1024, &mut samples)? > 0 {
        encode(&samples, sample_format(format.sample_type), SampleOrder::Little, &mut bytes);
        samples.clear();
    }
    Ok(bytes)
}

/// A format, from settings; `None` without a rate or channels.
pub fn format(rate: u32, channels: u32, buffer: u32, sample_type: SampleType) -> Option<Format> {
    Some(Format {
        sample_rate: voxwire_syfala::SampleRate::new(rate.into())?,
        channels: NonZeroU32::new(channels)?,
        buffer_size: NonZeroU32::new(buffer),
        sample_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-50: samples of one client that are no numbers, or infinite, leave what others say.
    #[test]
    fn f_50_samples_that_are_no_numbers_mute_nobody_else() {
        let mut sum = vec![0.25, 0.25];
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            add(&mut sum, &[bad, 0.25, bad]);
        }
        assert_eq!(sum, [0.25, 1.0, 0.0]);
        add(&mut sum, &[1e300, -1e300]);
        assert!(sum.iter().all(|sample| sample.abs() <= 1001.0), "{sum:?}");
    }

    #[test]
    fn a_recording_goes_round_or_ends() {
        let part = |from, repeat| {
            let mut out = Vec::new();
            play(&[1, 2, 3], from, repeat, 7, &mut out);
            out
        };
        assert_eq!(part(0, true), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(part(302, true), [3, 1, 2, 3, 1, 2, 3]);
        assert_eq!((part(1, false), part(3, false), part(9, false)), (vec![2, 3], vec![], vec![]));
        let mut nothing = Vec::new();
        play(&[], 0, true, 7, &mut nothing);
        assert!(nothing.is_empty());
    }

    #[test]
    fn s_03_a_device_says_what_it_cannot_be() {
        let with = |change: fn(&mut DeviceSettings)| {
            let mut settings = DeviceSettings::standard();
            change(&mut settings);
            Device::new(settings).err().unwrap_or_default()
        };
        assert_eq!(with(|_| {}), "");
        assert!(
            with(|device| (device.inputs, device.outputs) = (vec![], vec![])).contains("without streams")
        );
        assert!(with(|device| device.ppm = f64::NAN).contains("at most 100000"));
        assert!(with(|device| device.latency = Duration::from_secs(11)).contains("more than a stream"));
        let other =
            |format: &mut Format| format.sample_rate = voxwire_syfala::SampleRate::new(8000.0).unwrap();
        let mut settings = DeviceSettings::standard();
        settings.inputs.iter_mut().for_each(other);
        assert!(Device::new(settings).err().unwrap().contains("one sample rate"));
    }
}
