//! What a player says, one packet after the other.

use super::{Options, TICK_SAMPLES};
use crate::device::Microphone;
use crate::error::Error;
use crate::report::Report;
use crate::sound::{Player, Shape, Source};
use crate::talk::{Gate, Passed};
use tokio::time::Instant;
use voxwire_audio::{Clip, OPUS_RATE, SampleFormat, SampleOrder, VoiceEncoder, voice_encoder};

/// What is being said.
pub(super) struct Speaking {
    sound: Sound,
    at: usize,
    encoder: Box<dyn VoiceEncoder>,
    frame: usize,
    gate: Gate,
    /// Frames are sent, and were before this one.
    open: bool,
    /// Samples of time that have gone by since the last frame.
    due: usize,
    /// A player listens.
    pub(super) started: bool,
    /// When the last frame was sent.
    pub(super) ended: Option<Instant>,
}

/// One packet.
pub(super) struct Said {
    pub(super) packet: Vec<u8>,
    /// Its loudest sample.
    pub(super) level: f64,
    /// Nothing was sent just before it, or will be just behind it.
    pub(super) first: bool,
    pub(super) last: bool,
}

pub(super) enum Sound {
    /// With the next frame: of the last one it is to be known that it is the last. None before the first.
    Player(Box<Player>, Option<Vec<f64>>),
    /// Without end.
    Tone(f64),
    Microphone(Box<Microphone>),
}

/// How voice is encoded.
const SHAPE: Shape =
    Shape { rate: OPUS_RATE, channels: 1, format: SampleFormat::F32, order: SampleOrder::Little };

impl Speaking {
    pub(super) fn new(source: &Source, options: &Options, report: &Report) -> Result<Self, Error> {
        let sound = match source {
            Source::Tone(hz) => Sound::Tone(*hz),
            Source::Microphone(input) => Sound::Microphone(input.open(OPUS_RATE, 1)?.into()),
            Source::Clip(_) | Source::File(_) => Sound::Player(source.player(SHAPE)?.into(), None),
        };
        Ok(Self {
            sound,
            at: 0,
            encoder: voice_encoder(options.voice)?,
            frame: options.voice.samples(),
            gate: Gate::new(report, OPUS_RATE, 1, options.gain)?,
            open: false,
            due: 0,
            started: false,
            ended: None,
        })
    }

    /// Whether it is said just now.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.sound, Sound::Microphone(_))
    }

    /// Whether what is said is sent.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// The next packet, if it is due and to be sent.
    pub(super) fn next(&mut self) -> Result<Option<Said>, Error> {
        if !self.started || self.ended.is_some() {
            return Ok(None);
        }
        let mut samples = vec![0.0; self.frame];
        if let Sound::Microphone(microphone) = &mut self.sound {
            // It has a clock of its own.
            if !microphone.read(&mut samples)? {
                return Ok(None);
            }
        } else {
            self.due += TICK_SAMPLES;
            if self.due < self.frame {
                return Ok(None);
            }
            self.due -= self.frame;
        }
        let mut last = false;
        match &mut self.sound {
            Sound::Microphone(_) => {}
            Sound::Tone(hz) => {
                let tone = Clip::tone_from(OPUS_RATE, 1, *hz, self.at as u64, self.frame);
                samples.iter_mut().zip(&tone.samples).for_each(|(to, from)| *to = *from as f32);
            }
            Sound::Player(player, next) => {
                let now = match next.take() {
                    Some(now) => Some(now),
                    None => player.next_samples(self.frame)?,
                };
                let now = now.unwrap_or_default();
                samples.iter_mut().zip(now).for_each(|(to, from)| *to = from as f32);
                *next = player.next_samples(self.frame)?;
                last = next.is_none();
            }
        }
        self.at += self.frame;
        let mut passing: Vec<f64> = samples.iter().map(|sample| f64::from(*sample)).collect();
        let passed = self.gate.pass(&mut passing)?;
        self.ended = last.then(Instant::now);
        let was_open = core::mem::replace(&mut self.open, passed == Passed::Open && !last);
        if passed != Passed::Open && !was_open {
            return Ok(None);
        }
        samples.iter_mut().zip(passing).for_each(|(to, from)| *to = from.clamp(-1.0, 1.0) as f32);
        let level = samples.iter().fold(0.0_f64, |peak, sample| peak.max(f64::from(sample.abs())));
        let mut packet = Vec::new();
        self.encoder.encode(&samples, &mut packet)?;
        Ok(Some(Said { packet, level, first: !was_open, last: !self.open }))
    }
}
