//! What a player says, one packet after the other.

use super::{Options, TICK_SAMPLES};
use crate::device::Microphone;
use crate::error::Error;
use crate::sound::{Player, Shape, Source};
use tokio::time::Instant;
use voxwire_audio::{Clip, OPUS_RATE, Preprocessor, SampleFormat, SampleOrder, VoiceEncoder, voice_encoder};

/// What is being said.
pub(super) struct Speaking {
    sound: Sound,
    at: usize,
    encoder: Box<dyn VoiceEncoder>,
    preprocessor: Preprocessor,
    frame: usize,
    /// Samples of time that have gone by since the last frame.
    due: usize,
    /// A player listens.
    pub(super) started: bool,
    /// When the last frame was sent.
    pub(super) ended: Option<Instant>,
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
    pub(super) fn new(source: &Source, options: &Options) -> Result<Self, Error> {
        let sound = match source {
            Source::Tone(hz) => Sound::Tone(*hz),
            Source::Microphone(input) => Sound::Microphone(input.open(OPUS_RATE, 1)?.into()),
            Source::Clip(_) | Source::File(_) => Sound::Player(source.player(SHAPE)?.into(), None),
        };
        Ok(Self {
            sound,
            at: 0,
            encoder: voice_encoder(options.voice)?,
            preprocessor: Preprocessor::new(options.gain, options.denoise),
            frame: options.voice.samples(),
            due: 0,
            started: false,
            ended: None,
        })
    }

    /// Whether it is said just now.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self.sound, Sound::Microphone(_))
    }

    /// The next packet, if it is due; its loudest sample, and whether it is the last one.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, f64, bool)>, Error> {
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
        self.preprocessor.process(&mut samples);
        let level = samples.iter().fold(0.0_f64, |peak, sample| peak.max(f64::from(sample.abs())));
        let mut packet = Vec::new();
        self.encoder.encode(&samples, &mut packet)?;
        self.ended = last.then(Instant::now);
        Ok(Some((packet, level, last)))
    }
}
