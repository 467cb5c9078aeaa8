//! What everybody in a call says, on one time line.

mod placing;

use crate::device::OutputDevice;
use crate::error::Error;
use crate::playout::Playout;
use crate::recordings::{RecordFile, TrackFiles};
use crate::report::text;
use core::time::Duration;
use placing::{Mix, SPEAKERS, frame, frames};
use std::collections::BTreeMap;
use tokio::time::Instant;
use voxwire_msgpack::SAMPLE_RATE;

/// After so long it is known of a message whether what followed came in time again.
const SETTLED: Duration = Duration::from_secs(6);
/// What is older than this is written: nothing can be added to it any more. What is settled may have been said 5 s earlier, and more.
const WRITTEN: Duration = Duration::from_secs(12);
/// So often the file is brought up to date.
const UP_TO_DATE: Duration = Duration::from_millis(700);

/// Mixes the speakers of a call, who say no time. What is played keeps up with them; what is recorded has all of it, where it was said.
#[derive(Debug)]
pub(super) struct Mixer {
    timeline: Option<Timeline>,
    tracks: Option<Tracks>,
    playout: Option<Playout>,
}

impl Mixer {
    pub(super) fn new(file: Option<RecordFile>, output: Option<&OutputDevice>) -> Result<Self, Error> {
        Ok(Self {
            timeline: file.map(|file| Timeline::new(file, Mix::default())),
            tracks: None,
            playout: output.map(|output| Playout::open(output, SAMPLE_RATE, 1)).transpose()?,
        })
    }

    /// The same with a file for each speaker.
    pub(super) fn with_tracks(self, files: Option<TrackFiles>) -> Self {
        let tracks = files.map(|files| Tracks { files, speakers: BTreeMap::new() });
        Self { tracks, ..self }
    }

    /// Adds what `speaker` said, which arrived at `now` of the call. Returns how loud it is.
    pub(super) fn hear(&mut self, now: Duration, speaker: &[u8], samples: &[i16]) -> f64 {
        let floats = samples.iter().map(|sample| f32::from(*sample) / 32_768.0);
        if let Some(playout) = &mut self.playout {
            playout.hear(now, speaker, floats.clone());
        }
        if let Some(tracks) = &mut self.tracks {
            tracks.hear(frame(now), speaker, floats.clone());
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.hear(frame(now), speaker, floats);
        }
        samples.iter().map(|sample| f64::from(sample.unsigned_abs()) / 32_768.0).fold(0.0, f64::max)
    }

    /// When there is something to play.
    pub(super) fn due(&self) -> Option<Duration> {
        self.playout.as_ref().map(Playout::due)
    }

    /// Plays what is due at `now`.
    pub(super) fn play(&mut self, now: Duration) -> Result<(), Error> {
        self.playout.as_mut().map_or(Ok(()), |playout| playout.advance(now))
    }

    /// Nothing more comes in of the call that began at `start`: plays the rest to its end.
    pub(super) async fn play_out(&mut self, start: Instant) -> Result<(), Error> {
        match &mut self.playout {
            Some(playout) => playout.finish(start).await,
            None => Ok(()),
        }
    }

    /// Writes what is due at `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        let tracks = self.tracks.iter_mut().flat_map(Tracks::timelines);
        self.timeline.iter_mut().chain(tracks).for_each(|timeline| timeline.advance(now));
    }

    /// Ends it: all is on its way to the files, which are to be completed.
    pub(super) fn into_files(self) -> Vec<RecordFile> {
        let tracks = self.tracks.into_iter().flat_map(|tracks| tracks.speakers.into_values().flatten());
        self.timeline.into_iter().chain(tracks).map(Timeline::into_file).collect()
    }

    #[cfg(test)]
    pub(super) const fn on(playout: Playout) -> Self {
        Self { timeline: None, tracks: None, playout: Some(playout) }
    }

    #[cfg(test)]
    fn finish(self) -> Result<(), Error> {
        self.into_files().into_iter().try_for_each(RecordFile::finish)
    }
}

/// A file for each speaker, all from the beginning of the call on.
#[derive(Debug)]
struct Tracks {
    files: TrackFiles,
    /// `None` where there is no file.
    speakers: BTreeMap<Vec<u8>, Option<Timeline>>,
}

impl Tracks {
    fn hear(&mut self, now: u64, speaker: &[u8], samples: impl ExactSizeIterator<Item = f32>) {
        if !self.speakers.contains_key(speaker) {
            let file = self.files.create(&text(speaker));
            // Those who get no file are too many to be remembered.
            if self.speakers.len() >= SPEAKERS {
                return;
            }
            let timeline = file.map(|file| Timeline::new(file, Mix::from_the_call()));
            self.speakers.insert(speaker.into(), timeline);
        }
        if let Some(Some(timeline)) = self.speakers.get_mut(speaker) {
            timeline.hear(now, speaker, samples);
        }
    }

    fn timelines(&mut self) -> impl Iterator<Item = &mut Timeline> {
        self.speakers.values_mut().flatten()
    }
}

/// A recording of all, in samples since the call began. The file has what is settled, and behind it what the rest would come to if
/// nobody said any more: it is as good as the call whenever the program ends.
#[derive(Debug)]
struct Timeline {
    mix: Mix,
    file: RecordFile,
    /// Samples in the file that stay as they are.
    written: u64,
    /// The first frame of the call that the file has only as a guess.
    guessed: u64,
    /// When the file is brought up to date next.
    due: Duration,
}

impl Timeline {
    fn new(file: RecordFile, mix: Mix) -> Self {
        Self { mix, file, written: 0, guessed: u64::MAX, due: Duration::ZERO }
    }

    fn hear(&mut self, now: u64, speaker: &[u8], samples: impl ExactSizeIterator<Item = f32>) {
        self.mix.hear(now, speaker, samples);
    }

    /// Puts what is settled at `now` to its place, and brings the file up to date.
    fn advance(&mut self, now: Duration) {
        self.mix.settle(frame(now).saturating_sub(frames(SETTLED)));
        if now < self.due {
            return;
        }
        self.due = now + UP_TO_DATE;
        let until = frame(now).saturating_sub(frames(WRITTEN));
        if self.file.is_pipe() {
            let mut settled = self.mix.take(until);
            let silence = self.mix.silence(until);
            settled.resize(settled.len() + silence, 0.0);
            self.file.write(&clamped(settled));
            return;
        }
        let pending = self.mix.is_pending();
        // What could not be written is tried again, as far as it is still here.
        let missing = self.file.missing(self.written).map(|at| self.mix.start + (at - self.written));
        if pending || self.mix.touched < u64::MAX || missing.is_some() {
            // All that has been put somewhere else since, and may be now.
            let from = self.guessed.min(self.mix.earliest()).min(missing.unwrap_or(u64::MAX));
            let mut guess = self.mix.from(from);
            let at = self.written + (guess.start.saturating_sub(self.mix.start));
            guess.settle(u64::MAX);
            self.file.replace(at, &clamped(guess.sum));
            (self.guessed, self.mix.touched) = (guess.touched, u64::MAX);
        }
        self.written += self.mix.take(until).len() as u64;
        let silence = self.mix.silence(until);
        // Before what is guessed it is in the file.
        if silence > 0 && !pending {
            self.file.replace(self.written + silence as u64, &[]);
        }
        self.written += silence as u64;
    }

    fn into_file(mut self) -> RecordFile {
        self.mix.settle(u64::MAX);
        let rest = clamped(core::mem::take(&mut self.mix.sum));
        if self.file.is_pipe() {
            self.file.write(&rest);
        } else {
            self.file.replace(self.written, &rest);
        }
        self.file
    }
}

fn clamped(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    samples.into_iter().map(|sample| sample.clamp(-1.0, 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playout::tests::{lateness, listening, speech};
    use crate::report::Report;
    use std::path::Path;
    use voxwire_audio::{Clip, SampleFormat, load};

    fn recording_to(path: &Path) -> Mixer {
        let file = RecordFile::create(path, SAMPLE_RATE, 1, SampleFormat::I16, &Report::silent()).unwrap();
        Mixer::new(Some(file), None).unwrap()
    }

    #[test]
    fn m_10_speakers_are_mixed_each_without_gaps_and_late_ones_put_to_the_present() {
        let path = std::env::temp_dir().join(format!("voxwire-mixer-{}.wav", std::process::id()));
        let mut mixer = recording_to(&path);
        let ms = Duration::from_millis;
        let block = [1000_i16; 4410];
        // Nobody has spoken for a while: that is not recorded.
        mixer.advance(ms(5000));
        for n in 0..50 {
            // Anna's messages come with jitter, bob begins later and talks over her.
            let now = ms(5000 + n * 100 + (n * 37) % 80);
            mixer.hear(now, b"anna", &block);
            if n >= 20 {
                mixer.hear(now, b"bob", &block);
            }
            mixer.advance(now);
        }
        // Five seconds of nothing, then anna goes on.
        mixer.advance(ms(15_000));
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
        let path = std::env::temp_dir().join(format!("voxwire-mixer-flood-{}.wav", std::process::id()));
        let mut mixer = recording_to(&path);
        for _ in 0..1000 {
            mixer.hear(Duration::ZERO, b"eve", &[1000; 44_100]);
        }
        let held = |mixer: &Mixer| {
            let timeline = mixer.timeline.as_ref().unwrap();
            timeline.mix.sum.len()
                + timeline.mix.speakers.values().map(|track| track.samples.len()).sum::<usize>()
        };
        assert!(held(&mixer) <= 12 * 44_100, "{}", held(&mixer));
        // The others are heard all the same, and she again once her time has come.
        let ms = Duration::from_millis;
        for n in 0..100 {
            mixer.hear(ms(1000 + n * 10), b"anna", &[1; 441]);
            for other in 0..100_u8 {
                mixer.hear(ms(1000), &[other], &[1; 441]);
            }
            mixer.advance(ms(1000 + n * 10));
        }
        assert_eq!(mixer.timeline.as_ref().unwrap().mix.speakers.len(), SPEAKERS);
        mixer.advance(Duration::from_secs(60));
        mixer.hear(Duration::from_secs(60), b"eve", &[1000; 441]);
        mixer.finish().unwrap();
        let clip = load(&path).unwrap().clip;
        std::fs::remove_file(&path).unwrap();
        // What comes at once may have been held up, and is recorded before.
        assert!((59.0..73.0).contains(&clip.seconds()), "{}", clip.seconds());
        assert!(clip.samples[clip.samples.len() - 1] > 0.02);
    }

    #[test]
    fn m_10_one_speaker_alone_is_recorded_sample_by_sample() {
        let path = std::env::temp_dir().join(format!("voxwire-mixer-one-{}.wav", std::process::id()));
        let mut mixer = recording_to(&path);
        let said: Vec<i16> = (0..44_100 * 3).map(|n| (n % 60_000 - 30_000) as i16).collect();
        for (n, chunk) in said.chunks(882).enumerate() {
            let now = Duration::from_millis(20 * n as u64 + (n as u64 * 31) % 300);
            mixer.hear(now, b"anna", chunk);
            mixer.advance(now);
        }
        mixer.finish().unwrap();
        let clip = load(&path).unwrap().clip;
        std::fs::remove_file(&path).unwrap();
        let heard: Vec<i16> = clip.samples.iter().map(|sample| (sample * 32_768.0) as i16).collect();
        assert_eq!(heard, said);
    }

    /// Speech in messages of 20 ms: when each is said, and when it comes in, in milliseconds; none, if it does not. Returns how late its
    /// end is heard, in seconds, and the recording.
    fn call(said: &Clip, away: core::ops::Range<u64>, arrival: impl Fn(u64) -> Option<u64>) -> (f64, Clip) {
        let path = std::env::temp_dir().join(format!(
            "voxwire-mixer-stall-{}-{:?}.wav",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut mixer = recording_to(&path);
        let (playout, heard) = listening(SAMPLE_RATE);
        mixer.playout = Some(playout);
        for (n, message) in (1_u64..).zip(said.samples.chunks(882)) {
            let spoken = Duration::from_millis(n * 20);
            if !away.contains(&(n * 20)) {
                mixer.play(spoken).unwrap();
                mixer.advance(spoken);
            }
            let message: Vec<i16> = message.iter().map(|sample| (sample * 32_768.0) as i16).collect();
            if let Some(arrival) = arrival(n * 20) {
                mixer.hear(Duration::from_millis(arrival), b"anna", &message);
            }
        }
        mixer.play(Duration::from_secs_f64(said.seconds())).unwrap();
        mixer.finish().unwrap();
        let late = lateness(said, &heard.lock().unwrap());
        let clip = load(&path).unwrap().clip;
        std::fs::remove_file(&path).unwrap();
        (late, clip)
    }

    /// Whether every sample is there, from the first word on.
    fn is_in(said: &Clip, recorded: &Clip) -> bool {
        let start = |clip: &Clip| clip.samples.iter().position(|sample| *sample != 0.0).unwrap();
        recorded.samples[start(recorded)..] == said.samples[start(said)..]
    }

    /// F-53: after a stall of the listener, the speaker or the server a group call is heard as soon after it was said as before; its
    /// recording has all of it, and nothing of it later.
    #[test]
    fn f_53_a_group_call_is_no_later_after_a_stall() {
        let said = speech(SAMPLE_RATE, 10);
        for stall in [1500, 5000_u64] {
            let held_up = |spoken: u64| {
                Some(if (3000..3000 + stall).contains(&spoken) { 3000 + stall } else { spoken })
            };
            for (what, away) in [("server", 0..0), ("listener", 3000..3000 + stall)] {
                let (late, recorded) = call(&said, away, held_up);
                assert!((0.0..0.15).contains(&late), "{what}, {stall} ms: {late} s");
                assert!(is_in(&said, &recorded), "{what}, {stall} ms");
            }
            // Of a speaker with a microphone nothing comes for that time: the recording has a gap there, and no more.
            let microphone = |spoken: u64| (!(3000..3000 + stall).contains(&spoken)).then_some(spoken);
            let (late, recorded) = call(&said, 0..0, microphone);
            assert!((0.0..0.15).contains(&late), "speaker, {stall} ms: {late} s");
            let mut expected = said.clone();
            let gap = 44_100 * (3000 - 20) / 1000..44_100 * (3000 + stall as usize - 20) / 1000;
            expected.samples[gap].fill(0.0);
            assert!(is_in(&expected, &recorded), "speaker, {stall} ms");
        }
    }

    /// F-53: a speaker whose clock runs apart is recorded where it was said all the same.
    #[test]
    fn f_53_a_recording_follows_a_clock_that_runs_apart() {
        for parts in [-200, 200_i64] {
            // Two parts in a hundred, for 15 seconds: 300 ms in the end.
            let said = speech(SAMPLE_RATE, 15);
            let arrival = |spoken: u64| Some((spoken as i64 - spoken as i64 * parts / 10_000) as u64);
            let (_, recorded) = call(&said, 0..0, arrival);
            let expected = 15.0 * (1.0 - parts as f64 / 10_000.0);
            assert!((recorded.seconds() - expected).abs() < 0.2, "{parts}: {}", recorded.seconds());
        }
    }

    /// F-81: whenever the program ends, the file is whole and has all but the last second of the call.
    #[test]
    fn f_81_the_file_is_at_most_a_second_behind_the_call() {
        let path = std::env::temp_dir().join(format!("voxwire-mixer-killed-{}.wav", std::process::id()));
        let mut said = speech(SAMPLE_RATE, 40);
        said.samples[44_100 * 1598 / 100..44_100 * 3198 / 100].fill(0.0);
        let mut mixer = recording_to(&path);
        for (n, message) in (1_u64..).zip(said.samples.chunks(882)) {
            // For a second and a half nothing comes, then all at once; and bob joins in. Nobody speaks for a while behind that.
            let spoken = n * 20;
            if (16_000..32_000).contains(&spoken) {
                if n % 5 == 0 {
                    mixer.advance(Duration::from_millis(spoken));
                }
                continue;
            }
            let now = Duration::from_millis(if (6000..7500).contains(&spoken) { 7500 } else { spoken });
            let message: Vec<i16> = message.iter().map(|sample| (sample * 32_768.0) as i16).collect();
            mixer.hear(now, b"anna", &message);
            if spoken > 10_000 {
                mixer.hear(now, b"bob", &message);
            }
            // What has come is taken first.
            if n % 5 == 0 && !(6000..7500).contains(&spoken) {
                mixer.advance(now);
            }
            if n % 50 == 0 && !(6000..7500).contains(&spoken) {
                // What is there if it ended now.
                assert!(mixer.timeline.as_ref().unwrap().file.flush());
                let heard = load(&path).unwrap().clip;
                let behind = spoken as f64 / 1000.0 - heard.seconds();
                assert!(behind <= 1.0, "{spoken} ms: {behind} s are missing");
                let expected = |at: usize| match said.samples[at] {
                    sample if at < 10 * 44_100 => sample,
                    sample => (2.0 * sample).clamp(-1.0, 32_767.0 / 32_768.0),
                };
                let wrong =
                    (0..heard.samples.len()).find(|at| (heard.samples[*at] - expected(*at)).abs() > 1e-4);
                assert_eq!(wrong, None, "{spoken} ms");
            }
        }
        drop(mixer);
        std::fs::remove_file(&path).unwrap();
    }
}
