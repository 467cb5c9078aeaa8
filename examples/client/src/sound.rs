//! What is played into a call, and what is kept of it.

use crate::device::{Devices, InputDevice, Loudspeaker, Microphone, OutputDevice};
use crate::error::Error;
use crate::playout::{LOUDSPEAKER_DELAY, Playout};
use crate::recordings::{RecordFile, check_writable};
use crate::report::Report;
use crate::signals::Signals;
use crate::talk::{Gate, Passed};
use core::str::FromStr;
use core::time::Duration;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use voxwire_audio::{Clip, SampleFormat, SampleOrder, SoundFile, SoundStream, decode, encode, resample};

/// `--play`: a file, standard input, or a test tone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Play {
    File(PathBuf),
    StandardInput,
    Tone(f64),
}

impl FromStr for Play {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("tone") {
            Some("") => Ok(Self::Tone(440.0)),
            Some(rest) if rest.starts_with(':') => match rest[1..].parse() {
                Ok(hz) if (1.0..=96_000.0).contains(&hz) => Ok(Self::Tone(hz)),
                _ => Err(format!("`{}` is no frequency from 1 to 96000 Hz", &rest[1..])),
            },
            None if text == "-" => Ok(Self::StandardInput),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// Opens a file to play, and says what is wrong with it as far as that is known.
pub(crate) fn open(path: &Path, report: &Report) -> Result<Arc<File>, Error> {
    Ok(File::checked(SoundFile::open(path)?, report))
}

/// A file that is read as it is played.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) sound: SoundFile,
    report: Report,
}

impl File {
    fn checked(sound: SoundFile, report: &Report) -> Arc<Self> {
        let file = Self { sound, report: report.clone() };
        file.remark(file.sound.remarks());
        Arc::new(file)
    }

    /// Says what is wrong with it.
    fn remark(&self, remarks: &[String]) {
        let name = self.sound.name();
        for remark in remarks {
            let fields = json!({ "file": name, "remark": remark });
            self.report.event("file", fields, &format!("{name}: {remark}"));
        }
    }

    /// The first `most` frames of it in memory, as one channel; a pipe is waited for.
    pub(crate) fn whole(&self, rate: u32, most: usize) -> Result<Clip, Error> {
        let mut stream = self.sound.play(rate, 1)?;
        stream.wait();
        let mut samples = Vec::new();
        while samples.len() < most && !stream.is_over() {
            stream.take((most - samples.len()).min(rate as usize), &mut samples);
        }
        self.remark(&stream.remarks());
        Ok(Clip { rate, channels: 1, samples })
    }
}

/// `--record-as`: how the samples of a recording are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum RecordAs {
    /// Integers of 8 bits.
    U8,
    /// Integers of 16 bits.
    #[default]
    I16,
    /// Integers of 24 bits.
    I24,
    /// Integers of 32 bits.
    I32,
    /// Floating point of 32 bits.
    F32,
    /// As the call has them.
    Call,
}

impl RecordAs {
    /// How samples are stored that a call carries as `call`.
    pub(crate) fn format(self, call: SampleFormat) -> SampleFormat {
        self.fixed().unwrap_or(call)
    }

    /// `None`: the call's own format.
    pub(crate) const fn fixed(self) -> Option<SampleFormat> {
        match self {
            Self::U8 => Some(SampleFormat::U8),
            Self::I16 => Some(SampleFormat::I16),
            Self::I24 => Some(SampleFormat::I24),
            Self::I32 => Some(SampleFormat::I32),
            Self::F32 => Some(SampleFormat::F32),
            Self::Call => None,
        }
    }
}

/// How a call carries its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rate: u32,
    pub(crate) channels: u16,
    pub(crate) format: SampleFormat,
    pub(crate) order: SampleOrder,
}

/// Samples a second, of all channels, that are played into a call or out of one: 512 channels at 48 kHz, or 32 at 768 kHz. A
/// recording has no such limit: of what waits for the disk, 20 s or 64 MiB are kept, whichever is less.
pub(crate) const MOST_SAMPLES: u64 = 24_576_000;

impl Shape {
    /// Checks that so many samples a second can be played: others may choose how many.
    pub(crate) fn check(self) -> Result<(), String> {
        let Self { rate, channels, .. } = self;
        let samples = u64::from(rate) * u64::from(channels);
        if samples > MOST_SAMPLES {
            return Err(format!(
                "{rate} Hz and {channels} channels are {samples} samples a second: at most {MOST_SAMPLES} can be played"
            ));
        }
        Ok(())
    }
}

/// Something to play, opened before the call, so that a bad file is known in time.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Clip(Clip),
    File(Arc<File>),
    Tone(f64),
    Microphone(InputDevice),
}

/// Opens what `--play` and the devices' flags ask for, and checks that `--record` can be written: a bad file is reported before the other side
/// hears of a call. A pipe is waited for, until a signal comes.
pub(crate) async fn prepare(
    play: Option<&Play>,
    record: Option<&Path>,
    devices: &Devices,
    report: &Report,
    signals: &mut Signals,
) -> Result<Option<Source>, Error> {
    let (play, record, report) = (play.cloned(), record.map(Path::to_owned), report.clone());
    let devices = devices.clone();
    let open = move || {
        let source = Source::open(play.as_ref(), &devices, &report)?;
        if let Some(path) = &record {
            check_writable(path)?;
        }
        Ok(source)
    };
    signals.interrupt_blocking("opening sound files", open).await
}

impl Source {
    /// What `--play` and the devices' flags ask for.
    fn open(play: Option<&Play>, devices: &Devices, report: &Report) -> Result<Option<Self>, Error> {
        let input = devices.input.as_ref().filter(|_| play.is_none());
        // Before any user is called.
        input.map(InputDevice::check).transpose()?;
        devices.output.as_ref().map(OutputDevice::check).transpose()?;
        Ok(match play {
            Some(Play::File(path)) => Some(Self::File(open(path, report)?)),
            Some(Play::StandardInput) => {
                let sound = SoundFile::from_reader("standard input", std::io::stdin());
                let sound = sound.map_err(|reason| Error::Failed(format!("standard input: {reason}")))?;
                Some(Self::File(File::checked(sound, report)))
            }
            Some(Play::Tone(hz)) => Some(Self::Tone(*hz)),
            None => input.cloned().map(Self::Microphone),
        })
    }

    /// Makes it ready to be sent in `shape`.
    pub(crate) fn player(&self, shape: Shape) -> Result<Player, Error> {
        self.at_rate(shape.rate)?.player(shape)
    }

    /// Makes it ready to be sent at `rate`, in any number of shapes.
    pub(crate) fn at_rate(&self, rate: u32) -> Result<Ready, Error> {
        Ok(match self {
            Self::Clip(clip) => Ready::Clip(resample(clip, rate)?.into()),
            Self::File(file) => Ready::File(file.clone()),
            Self::Tone(hz) => Ready::Tone(*hz),
            Self::Microphone(input) => Ready::Microphone(input.clone()),
        })
    }
}

/// A source at its rate, of which there is one for all who play it.
#[derive(Debug)]
pub(crate) enum Ready {
    Clip(Arc<Clip>),
    File(Arc<File>),
    Tone(f64),
    Microphone(InputDevice),
}

impl Ready {
    pub(crate) fn player(&self, shape: Shape) -> Result<Player, Error> {
        let sound = match self {
            Self::Clip(clip) => Sound::Clip(clip.clone()),
            Self::File(file) => match file.sound.play(shape.rate, shape.channels) {
                Ok(stream) => Sound::File(stream.into(), file.clone()),
                Err(error) => {
                    // It was there when the program began: others are not to hear of it.
                    let name = file.sound.name();
                    let fields = json!({ "file": name, "remark": error.to_string() });
                    file.report.event("file", fields, &format!("{error}: nothing is played"));
                    Sound::Clip(Arc::new(Clip::empty(shape.rate, shape.channels)))
                }
            },
            Self::Tone(hz) => Sound::Tone(*hz),
            Self::Microphone(input) => Sound::Microphone(input.open(shape.rate, shape.channels)?.into()),
        };
        Ok(Player { shape, sound, at: 0, chunk: Vec::new(), gate: None, passed: Passed::Open })
    }
}

/// Hands out a source chunk by chunk.
#[derive(Debug)]
pub(crate) struct Player {
    shape: Shape,
    sound: Sound,
    /// In frames.
    at: u64,
    chunk: Vec<u8>,
    gate: Option<Gate>,
    passed: Passed,
}

#[derive(Debug)]
enum Sound {
    Clip(Arc<Clip>),
    File(Box<SoundStream>, Arc<File>),
    /// Without end.
    Tone(f64),
    Microphone(Box<Microphone>),
}

impl Player {
    /// What is said is prepared, and what is not to be sent is made silent: what is muted, for example.
    pub(crate) fn gated(self, report: &Report) -> Result<Self, Error> {
        let gate = Some(Gate::new(report, self.shape.rate, self.shape.channels, 1.0)?);
        Ok(Self { gate, ..self })
    }

    /// Whether the samples before are to be sent. Where they are not, they are silent.
    pub(crate) const fn passed(&self) -> Passed {
        self.passed
    }

    /// The next `frames` frames as raw bytes, and their loudest sample; `None` at the end.
    pub(crate) fn next(&mut self, frames: usize) -> Result<Option<(&[u8], f64)>, Error> {
        let Shape { format, order, .. } = self.shape;
        let Some(samples) = self.next_samples(frames)? else { return Ok(None) };
        self.chunk.clear();
        encode(&samples, format, order, &mut self.chunk);
        Ok(Some((&self.chunk, peak(&samples))))
    }

    /// The next `frames` frames, fewer at the end; `None` behind it.
    pub(crate) fn next_samples(&mut self, frames: usize) -> Result<Option<Vec<f64>>, Error> {
        let Some(mut samples) = self.next_sound(frames)? else { return Ok(None) };
        if let Some(gate) = &mut self.gate {
            self.passed = gate.pass(&mut samples)?;
        }
        Ok(Some(samples))
    }

    fn next_sound(&mut self, frames: usize) -> Result<Option<Vec<f64>>, Error> {
        let Shape { rate, channels, .. } = self.shape;
        let samples = match &mut self.sound {
            Sound::Tone(hz) => Clip::tone_from(rate, channels, *hz, self.at, frames).samples,
            Sound::Microphone(microphone) => {
                // Silence, if it has nothing yet: a call has its own pace.
                let mut samples = vec![0.0; frames * usize::from(channels)];
                microphone.read_paced(&mut samples)?;
                samples.into_iter().map(f64::from).collect()
            }
            Sound::File(stream, file) => {
                let mut samples = Vec::new();
                let came = stream.take(frames, &mut samples);
                file.report.played(stream.played().filter(|_| !stream.is_over()));
                if stream.is_over() {
                    file.remark(&stream.remarks());
                    if came == 0 {
                        return Ok(None);
                    }
                } else {
                    // Silence, where a pipe has nothing yet: a call has its own pace.
                    samples.resize(frames * usize::from(channels.max(1)), 0.0);
                }
                samples
            }
            Sound::Clip(clip) => {
                let own = usize::from(clip.channels.max(1));
                let start = usize::try_from(self.at).unwrap_or(usize::MAX).saturating_mul(own);
                let end = start.saturating_add(frames.saturating_mul(own)).min(clip.samples.len());
                let samples = clip.samples.get(start..end).unwrap_or(&[]).to_vec();
                if samples.is_empty() {
                    return Ok(None);
                }
                Clip { rate, channels: clip.channels, samples }.mix(channels).samples
            }
        };
        self.at += (samples.len() / usize::from(channels.max(1))) as u64;
        Ok(Some(samples))
    }
}

/// What is heard, into a file if that is asked for.
#[derive(Debug)]
pub(crate) struct Recorder {
    shape: Shape,
    file: Option<RecordFile>,
    loudspeaker: Option<Loudspeaker>,
    /// What comes in as raw bytes is played by this.
    playout: Option<Playout>,
    /// The end of a sample that a packet cut in two, and of a frame that is to be folded.
    rest: Vec<u8>,
    frame: Vec<f64>,
}

impl Recorder {
    /// `output`: where it is heard.
    pub(crate) fn new(
        file: Option<RecordFile>,
        output: Option<&OutputDevice>,
        shape: Shape,
    ) -> Result<Self, Error> {
        let Shape { rate, channels, .. } = shape;
        let loudspeaker = output.map(|output| output.open(rate, channels)).transpose()?;
        Ok(Self { shape, file, loudspeaker, playout: None, rest: Vec::new(), frame: Vec::new() })
    }

    /// The same for sound that comes when the network brings it: all of it is recorded, in its order; what is played keeps up with
    /// the other side.
    pub(crate) fn live(
        file: Option<RecordFile>,
        output: Option<&OutputDevice>,
        shape: Shape,
    ) -> Result<Self, Error> {
        // More channels than two are folded before they are kept for a while.
        let playout =
            output.map(|output| Playout::open(output, shape.rate, shape.channels.min(2))).transpose()?;
        Ok(Self { playout, ..Self::new(file, None, shape)? })
    }

    /// When [`advance`](Self::advance) has something to play.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.playout.as_ref().map(Playout::due)
    }

    /// Plays what is due at `now` of the call.
    pub(crate) fn advance(&mut self, now: Duration) -> Result<(), Error> {
        self.playout.as_mut().map_or(Ok(()), |playout| playout.advance(now))
    }

    /// The other side is gone from the call that began at `start`: plays what has come in to its end.
    pub(crate) async fn play_out(&mut self, start: tokio::time::Instant) -> Result<(), Error> {
        match &mut self.playout {
            Some(playout) => playout.finish(start).await,
            None => Ok(()),
        }
    }

    /// Nothing more is to be played: waits until what the loudspeaker holds has come out.
    pub(crate) async fn drain(&mut self) -> Result<(), Error> {
        let Some(loudspeaker) = &mut self.loudspeaker else { return Ok(()) };
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let Shape { rate, channels, .. } = self.shape;
        let silence = vec![0.0; rate as usize / 100 * usize::from(channels)];
        let end = tokio::time::Instant::now() + LOUDSPEAKER_DELAY;
        while ticks.tick().await < end {
            loudspeaker.write(&silence)?;
        }
        Ok(())
    }

    /// Takes raw bytes that came in at `now` of the call; returns their loudest sample.
    pub(crate) fn hear(&mut self, now: Duration, bytes: &[u8]) -> Result<f64, Error> {
        let Shape { format, order, rate, channels } = self.shape;
        let samples = if self.rest.is_empty() && bytes.len().is_multiple_of(format.size()) {
            decode(bytes, format, order)
        } else {
            self.rest.extend_from_slice(bytes);
            let whole = self.rest.len() - self.rest.len() % format.size();
            let samples = decode(&self.rest[..whole], format, order);
            self.rest.drain(..whole);
            samples
        };
        self.hear_samples(&samples)?;
        if let Some(playout) = &mut self.playout {
            let hear = |playout: &mut Playout, samples: &[f64]| {
                playout.hear(now, b"", samples.iter().map(|sample| *sample as f32));
            };
            if channels > 2 {
                // What a packet cut in two goes on in the next.
                self.frame.extend_from_slice(&samples);
                let whole = self.frame.len() - self.frame.len() % usize::from(channels);
                let rest = self.frame.split_off(whole);
                let samples = core::mem::replace(&mut self.frame, rest);
                hear(playout, &Clip { rate, channels, samples }.mix(2).samples);
            } else {
                hear(playout, &samples);
            }
        }
        Ok(peak(&samples))
    }

    /// Takes samples.
    pub(crate) fn hear_samples(&mut self, samples: &[f64]) -> Result<(), Error> {
        self.keep(samples);
        if let Some(loudspeaker) = &mut self.loudspeaker {
            loudspeaker.write(&samples.iter().map(|sample| *sample as f32).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Records samples that are not played any more.
    pub(crate) fn keep(&mut self, samples: &[f64]) {
        if let Some(file) = &mut self.file {
            file.write(samples);
        }
    }

    #[cfg(test)]
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.file.map_or(Ok(()), RecordFile::finish)
    }

    /// Ends it: its file is still to be completed.
    pub(crate) fn into_file(self) -> Option<RecordFile> {
        self.file
    }
}

/// `--for`: a number of seconds, with a fraction if need be.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds expected")?;
    // A century will do.
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time.as_secs() < 3_000_000_000 => Ok(time),
        Ok(_) => Err("at most 3000000000 seconds expected".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn peak(samples: &[f64]) -> f64 {
    samples.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_audio::load;

    const SHAPE: Shape =
        Shape { rate: 8000, channels: 2, format: SampleFormat::I16, order: SampleOrder::Little };

    /// F-16: what others choose is played up to so many samples a second.
    #[test]
    fn f_16_what_can_be_played_has_a_limit() {
        let shape = |rate, channels| Shape { rate, channels, ..SHAPE };
        for shape in [shape(48_000, 512), shape(768_000, 32), shape(1, 1024)] {
            assert_eq!(shape.check(), Ok(()));
        }
        let error = shape(767_999, 64).check().unwrap_err();
        assert_eq!(
            error,
            "767999 Hz and 64 channels are 49151936 samples a second: at most 24576000 can be played"
        );
    }

    /// F-56: what is played of more channels than two is folded, also where packets end within a frame.
    #[test]
    fn f_56_what_is_heard_in_many_channels_is_folded_to_two() {
        use crate::playout::tests::listening_in;
        let shape = Shape { channels: 6, rate: 8000, ..SHAPE };
        let (playout, heard) = listening_in(8000, 2);
        let mut recorder = Recorder::live(None, None, shape).unwrap();
        recorder.playout = Some(playout);
        // The centre alone.
        let sound = [0.0, 0.0, 0.5, 0.0, 0.0, 0.0].repeat(8000);
        let mut bytes = Vec::new();
        encode(&sound, SampleFormat::I16, SampleOrder::Little, &mut bytes);
        for (n, part) in (1..).zip(bytes.chunks(1922)) {
            let now = Duration::from_millis(n * 20);
            recorder.hear(now, part).unwrap();
            recorder.advance(now).unwrap();
        }
        let heard = heard.lock().unwrap();
        let expected = Clip { rate: 8000, channels: 6, samples: sound[..6].to_vec() }.mix(2).samples;
        let end = &heard[heard.len() - 4000..];
        assert!(end.chunks(2).all(|frame| (frame[0] - expected[0]).abs() < 1e-3 && frame[0] == frame[1]));
    }

    #[test]
    fn play_is_a_tone_or_a_file() {
        assert_eq!("tone".parse(), Ok(Play::Tone(440.0)));
        assert_eq!("tone:1000".parse(), Ok(Play::Tone(1000.0)));
        assert!("tone:x".parse::<Play>().is_err() && "tone:0".parse::<Play>().is_err());
        assert_eq!("tone.wav".parse(), Ok(Play::File("tone.wav".into())));
        assert_eq!("-".parse(), Ok(Play::StandardInput));
    }

    #[test]
    fn a_player_hands_out_every_frame_once() {
        let clip = Clip::tone(8000, 2, 100.0, 0.0505);
        let mut player = Source::Clip(clip.clone()).player(SHAPE).unwrap();
        let mut bytes = Vec::new();
        while let Some((chunk, _)) = player.next(160).unwrap() {
            assert!(chunk.len() == 640 || chunk.len() < 640);
            bytes.extend_from_slice(chunk);
        }
        assert_eq!(bytes.len(), clip.samples.len() * 2);
    }

    #[test]
    fn a_recorder_puts_samples_together_that_packets_cut() {
        let mut recorder = Recorder::new(None, None, SHAPE).unwrap();
        assert_eq!(recorder.hear(Duration::ZERO, &[0, 0x40, 0]).unwrap(), 0.5);
        assert_eq!(recorder.hear(Duration::ZERO, &[0x20]).unwrap(), 0.25);
        recorder.finish().unwrap();
    }

    /// F-53: after a stall of the listener, the speaker or the server a voicelink call is heard as soon after it was said as before; its
    /// recording has all of it.
    #[test]
    fn f_53_a_voicelink_call_is_no_later_after_a_stall() {
        use crate::playout::tests::{lateness, listening, speech};
        let path = std::env::temp_dir().join(format!("voxwire-voicelink-stall-{}.wav", std::process::id()));
        let shape = Shape { rate: 16_000, channels: 1, format: SampleFormat::I16, order: SampleOrder::Big };
        let said = speech(16_000, 12);
        for stall in [1500, 3000, 5000_u64] {
            for listener in [false, true] {
                let (playout, heard) = listening(16_000);
                let file = RecordFile::create(&path, shape.rate, 1, shape.format, &Report::silent()).unwrap();
                let mut recorder = Recorder::live(Some(file), None, shape).unwrap();
                recorder.playout = Some(playout);
                let mut bytes = Vec::new();
                for (n, message) in (1_u64..).zip(said.samples.chunks(320)) {
                    // What is held up comes at once; a listener who stands still plays nothing meanwhile.
                    let spoken = n * 20;
                    let still = (3000..3000 + stall).contains(&spoken);
                    let now = Duration::from_millis(if still { 3000 + stall } else { spoken });
                    bytes.clear();
                    encode(message, SampleFormat::I16, SampleOrder::Big, &mut bytes);
                    if !(still && listener) {
                        recorder.advance(Duration::from_millis(spoken)).unwrap();
                    }
                    recorder.hear(now, &bytes).unwrap();
                }
                recorder.advance(Duration::from_secs(12)).unwrap();
                let late = lateness(&said, &heard.lock().unwrap());
                assert!((0.0..0.15).contains(&late), "{stall} ms, listener: {listener}: {late} s");
                recorder.finish().unwrap();
                assert_eq!(load(&path).unwrap().clip.samples, said.samples);
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
