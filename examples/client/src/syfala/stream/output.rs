//! What goes to a device: the sound that is played, or numbers that show when it comes back.

use super::Options;
use crate::error::Error;
use crate::report::Report;
use crate::sound::{Player, Shape, Source};
use crate::syfala::Spread;
use crate::syfala::driver::Measure;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use voxwire_audio::{Pacer, SampleOrder, decode, encode};
use voxwire_server::syfala::sample_format;
use voxwire_syfala::Format;

/// What goes to one of the device's outputs.
pub(super) struct Output {
    pub(super) format: Format,
    /// Frames of a message, and when the next one is due, by the output's own rate.
    pub(super) block: usize,
    rate: u32,
    pub(super) pacer: Pacer,
    pub(super) player: Option<Player>,
    /// What is played, in numbers rather than sound.
    pub(super) measure: bool,
    pub(super) frame: u64,
    /// All has been played.
    pub(super) over: bool,
}

/// When which frame was sent, for as long as it can come back.
pub(super) type Sent = Arc<Mutex<VecDeque<(u64, voxwire_core::Instant)>>>;

/// Numbers repeat after so many; 0 stands for silence.
const NUMBERS: u64 = 32_767;
/// Frames in a row that have the same number, so that numbers last for as long as sound can be on its way: 21 s at 48 kHz.
const GROUP: u64 = 32;

impl Output {
    /// The output `n` of the device: what is to be played, if it is among those that play.
    pub(super) fn new(
        n: usize,
        format: Format,
        shape: Shape,
        options: &Options,
        report: &Report,
    ) -> Result<Self, Error> {
        let chosen = match (options.output, &options.source) {
            (Some(output), _) => output as usize == n,
            (None, Some(Source::Microphone(_))) => n == 0,
            (None, _) => true,
        };
        // Each by its own rate: they may differ.
        let ready = options.source.as_ref().filter(|_| chosen);
        let ready = ready.map(|source| source.at_rate(shape.rate)).transpose()?;
        let player = ready.map(|ready| ready.player(shape)?.gated(report)).transpose()?;
        let thousandth = (shape.rate as usize).div_ceil(1000);
        let block = format.buffer_size.map_or(thousandth, |frames| frames.get() as usize);
        Ok(Self {
            format,
            block: block.clamp(1, thousandth * 100),
            rate: shape.rate,
            pacer: Pacer::new(shape.rate),
            player,
            measure: options.measure && chosen,
            frame: 0,
            over: false,
        })
    }

    /// The clock begins anew, the sound does not.
    pub(super) fn restart(&mut self) {
        self.pacer = Pacer::new(self.rate);
    }

    /// The next frames, silent where there is nothing to play.
    pub(super) fn next(&mut self, frames: usize) -> Result<(Vec<u8>, f64, bool), Error> {
        let len = frames * self.format.frame_size();
        let (mut bytes, mut loudest, mut over) = (Vec::with_capacity(len), 0.0, false);
        if self.measure {
            let channels = self.format.channels.get() as usize;
            let group = |n: usize| (self.frame + (n / channels) as u64) / GROUP;
            let number = |n: usize| (group(n) % NUMBERS + 1) as f64 / 32_768.0;
            let samples: Vec<f64> = (0..frames * channels).map(number).collect();
            encode(&samples, sample_format(self.format.sample_type), SampleOrder::Little, &mut bytes);
        } else if let Some(player) = &mut self.player {
            match player.next(frames)? {
                Some((samples, peak)) => {
                    bytes.extend_from_slice(samples);
                    loudest = peak;
                }
                None => over = true,
            }
        }
        self.frame += frames as u64;
        let silence = self.format.sample_type.silence().iter().cycle();
        bytes.extend(silence.take(len - bytes.len()));
        Ok((bytes, loudest, over))
    }
}

/// Finds out when the frame was sent that a message begins with.
pub(super) fn measurer(format: Format, sent: Sent, times: Arc<Mutex<Spread>>) -> Measure {
    Box::new(move |now, payload| {
        let first = payload.get(..format.sample_type.size()).unwrap_or(&[]);
        let sample = decode(first, sample_format(format.sample_type), SampleOrder::Little);
        let number = sample.first().map_or(0.0, |sample| (sample * 32_768.0).round());
        if !(1.0..=NUMBERS as f64).contains(&number) {
            return;
        }
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((newest, _)) = sent.back() else { return };
        // The newest group of that number, and its first frame.
        let newest = newest / GROUP;
        let back = (newest % NUMBERS + NUMBERS - (number as u64 - 1)) % NUMBERS;
        let Some(frame) = newest.checked_sub(back).map(|group| group * GROUP) else { return };
        let at = sent.partition_point(|(first, _)| *first <= frame);
        if let Some((_, at)) = at.checked_sub(1).and_then(|at| sent.get(at)) {
            let time = now.saturating_duration_since(*at).as_secs_f64();
            times.lock().unwrap_or_else(PoisonError::into_inner).add(time);
        }
    })
}
