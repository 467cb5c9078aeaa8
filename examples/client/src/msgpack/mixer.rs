//! What everybody in a call says, on one time line.

use crate::device::Loudspeaker;
use crate::error::Error;
use crate::sound::peak;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use voxwire_audio::{SampleFormat, WavRecorder};
use voxwire_msgpack::SAMPLE_RATE;

/// How late somebody's sound may come before what follows is put to the present rather than behind what came before.
const PATIENCE: Duration = Duration::from_secs(1);
/// How far ahead of the present somebody's sound may be: more than that is a flood, and is not kept.
const AHEAD: Duration = Duration::from_secs(10);
/// What is older than this is written: nothing can be added to it any more.
const SETTLED: Duration = Duration::from_secs(2);
/// How far the loudspeaker stays behind, to have what it needs.
const DELAY: Duration = Duration::from_millis(200);

/// Mixes the speakers of a call, who say no time: each one's messages follow each other without a gap as long as they come in
/// time.
#[derive(Debug)]
pub(super) struct Mixer {
    /// The sum of all, from frame `start` on.
    mix: VecDeque<f64>,
    start: u64,
    /// Up to where each speaker has come.
    speakers: BTreeMap<Vec<u8>, u64>,
    file: Option<WavRecorder>,
    loudspeaker: Option<Loudspeaker>,
    /// Up to where it has been played.
    played: u64,
}

impl Mixer {
    pub(super) fn new(path: Option<&Path>, device: bool) -> Result<Self, Error> {
        let create = |path| WavRecorder::create(path, SAMPLE_RATE, 1, SampleFormat::I16);
        Ok(Self {
            mix: VecDeque::new(),
            start: 0,
            speakers: BTreeMap::new(),
            file: path.map(create).transpose()?,
            loudspeaker: device.then(|| Loudspeaker::open(SAMPLE_RATE, 1)).transpose()?,
            played: 0,
        })
    }

    /// Adds what `speaker` said, which arrived at `now` of the call.
    pub(super) fn hear(&mut self, now: Duration, speaker: &[u8], samples: &[i16]) -> f64 {
        let now = frames(now);
        let samples: Vec<f64> = samples.iter().map(|sample| f64::from(*sample) / 32_768.0).collect();
        let end = samples.len() as u64;
        let at = match self.speakers.get(speaker) {
            Some(&at) if at + end + frames(PATIENCE) >= now => at,
            _ => now,
        };
        let at = at.max(self.start);
        if at > now + frames(AHEAD) {
            return peak(&samples);
        }
        for (n, sample) in samples.iter().enumerate() {
            let index = (at - self.start) as usize + n;
            if index >= self.mix.len() {
                self.mix.resize(index + 1, 0.0);
            }
            self.mix[index] += sample;
        }
        self.speakers.insert(speaker.to_vec(), at + end);
        peak(&samples)
    }

    /// Plays and writes what is due at `now`.
    pub(super) fn advance(&mut self, now: Duration) -> Result<(), Error> {
        let due = frames(now.saturating_sub(DELAY));
        if let Some(loudspeaker) = self.loudspeaker.as_mut().filter(|_| due > self.played) {
            let from = self.played.max(self.start);
            let sample = |frame: u64| self.mix.get((frame - self.start) as usize).copied().unwrap_or(0.0);
            let samples: Vec<f32> = (from..due).map(|frame| sample(frame).clamp(-1.0, 1.0) as f32).collect();
            loudspeaker.write(&samples)?;
            self.played = due;
        }
        let settled = frames(now.saturating_sub(SETTLED));
        self.write(settled)
    }

    /// Writes everything up to frame `until`.
    fn write(&mut self, until: u64) -> Result<(), Error> {
        let count = (until.saturating_sub(self.start) as usize).min(self.mix.len());
        let samples: Vec<f64> = self.mix.drain(..count).map(|sample| sample.clamp(-1.0, 1.0)).collect();
        self.start += count as u64;
        if self.mix.is_empty() {
            // Silence to the present is silence in the file, but not before anybody has spoken.
            let silence = until.saturating_sub(self.start) as usize;
            self.start += silence as u64;
            if let Some(file) = self.file.as_mut().filter(|_| !self.speakers.is_empty()) {
                file.write(&samples)?;
                file.write(&vec![0.0; silence])?;
            }
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            file.write(&samples)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let end = self.start + self.mix.len() as u64;
        self.write(end)?;
        self.file.map_or(Ok(()), |file| Ok(file.finish()?))
    }
}

fn frames(time: Duration) -> u64 {
    (time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_audio::load;

    #[test]
    fn m_10_speakers_are_mixed_each_without_gaps_and_late_ones_put_to_the_present() {
        let path = std::env::temp_dir().join(format!("voxwire-mixer-{}.wav", std::process::id()));
        let mut mixer = Mixer::new(Some(&path), false).unwrap();
        let ms = Duration::from_millis;
        let block = [1000_i16; 4410];
        // Nobody has spoken for a while: that is not recorded.
        mixer.advance(ms(5000)).unwrap();
        for n in 0..50 {
            // Anna's messages come with jitter, bob begins later and talks over her.
            let now = ms(5000 + n * 100 + (n * 37) % 80);
            mixer.hear(now, b"anna", &block);
            if n >= 20 {
                mixer.hear(now, b"bob", &block);
            }
            mixer.advance(now).unwrap();
        }
        // Five seconds of nothing, then anna goes on.
        mixer.advance(ms(15_000)).unwrap();
        mixer.hear(ms(15_000), b"anna", &block);
        mixer.finish().unwrap();
        let clip = load(&path).unwrap().clip;
        std::fs::remove_file(&path).unwrap();
        let level = |n: usize| (clip.samples[n] * 32_768.0).round() as i32;
        let start = clip.samples.iter().position(|sample| *sample != 0.0).unwrap();
        assert!((0..2 * 44_100).all(|n| level(start + n) == 1000), "anna alone, without a gap");
        assert!((4 * 44_100..5 * 44_100 - 4410).all(|n| level(start + n) == 2000), "both");
        let silence = (6 * 44_100..9 * 44_100).all(|n| level(start + n) == 0);
        assert!(silence && level(clip.samples.len() - 1) == 1000);
    }

    #[test]
    fn m_10_nobody_fills_our_memory_with_what_is_to_be_heard_in_hours() {
        let mut mixer = Mixer::new(None, false).unwrap();
        for _ in 0..1000 {
            mixer.hear(Duration::ZERO, b"eve", &[1000; 44_100]);
        }
        assert!(mixer.mix.len() <= 12 * 44_100, "{}", mixer.mix.len());
        // The others are heard all the same, and she again once her time has come.
        mixer.hear(Duration::from_secs(1), b"anna", &[1; 441]);
        mixer.hear(Duration::from_secs(60), b"eve", &[1; 441]);
        assert!(mixer.mix.len() >= 60 * 44_100);
    }

    #[test]
    fn m_10_one_speaker_alone_is_recorded_sample_by_sample() {
        let path = std::env::temp_dir().join(format!("voxwire-mixer-one-{}.wav", std::process::id()));
        let mut mixer = Mixer::new(Some(&path), false).unwrap();
        let said: Vec<i16> = (0..44_100 * 3).map(|n| (n % 60_000 - 30_000) as i16).collect();
        for (n, chunk) in said.chunks(882).enumerate() {
            let now = Duration::from_millis(20 * n as u64 + (n as u64 * 31) % 300);
            mixer.hear(now, b"anna", chunk);
            mixer.advance(now).unwrap();
        }
        mixer.finish().unwrap();
        let clip = load(&path).unwrap().clip;
        std::fs::remove_file(&path).unwrap();
        let heard: Vec<i16> = clip.samples.iter().map(|sample| (sample * 32_768.0) as i16).collect();
        assert_eq!(heard, said);
    }
}
