//! The task that writes: takes what was said some times a second, and writes it where it belongs.

use super::names::{FileName, readable};
use super::queue::{Begin, Job, Piece};
use super::retention::{Kept, sweep};
use super::sound::Kind;
use super::track::{Track, beginning};
use super::{Count, Shared, Stats};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;
use voxwire_core::{Clock, Instant};

/// How often what was said is written: less than a second is lost with the process.
const TICK: Duration = Duration::from_millis(400);
/// How long a piece may be overtaken by those that were said before it.
const ORDER: Duration = Duration::from_millis(150);
/// How long a file is: the next one begins then, so that old ones can be removed while a recording goes on.
const PART: Duration = Duration::from_secs(60 * 60);
/// How often the folder is looked at, while something is recorded and otherwise.
const SWEEP: Duration = Duration::from_secs(10);
const IDLE_SWEEP: Duration = Duration::from_secs(600);
/// Bytes that may wait for a disk that takes none, of all tracks together.
const WAITING: usize = 8 << 20;
/// Tracks of a recording at a time, and how long one is quiet that is ended for another one.
const TRACKS: usize = 256;
const QUIET: Duration = Duration::from_secs(60);

/// Writes until the server ends.
pub(super) fn run(shared: &Arc<Shared>) {
    let clock = shared.clock;
    let mut writer = Writer {
        shared: shared.clone(),
        clock,
        recordings: BTreeMap::new(),
        sweep_at: clock.now(),
        is_full: false,
        is_stuck: false,
        clean: None,
    };
    let mut ends = false;
    loop {
        writer.tick();
        if ends {
            writer.end_all();
            break;
        }
        ends = match writer.recordings.is_empty() {
            true => shared.queue.wait(IDLE_SWEEP),
            false => shared.queue.pause(TICK),
        };
    }
    shared.queue.ended();
}

struct Writer {
    shared: Arc<Shared>,
    clock: Clock,
    recordings: BTreeMap<u64, Writing>,
    sweep_at: Instant,
    /// All the room that recordings have is taken.
    is_full: bool,
    /// The last look at the folder failed: the log says so once.
    is_stuck: bool,
    /// Since when nothing was lost.
    clean: Option<Instant>,
}

/// A recording that is being written.
struct Writing {
    begin: Begin,
    begun: Instant,
    /// Which part, from 0 on.
    part: u32,
    tracks: BTreeMap<Box<str>, Vec<Track>>,
    /// Tracks so far, of all parts.
    count: u64,
}

impl Writer {
    fn tick(&mut self) {
        let now = self.clock.now();
        while let Some(job) = self.shared.queue.pop() {
            match job {
                Job::Begin(begin) => {
                    let writing =
                        Writing { begun: begin.begun, part: 0, tracks: BTreeMap::new(), count: 0, begin };
                    self.recordings.insert(writing.begin.id, writing);
                }
                Job::Piece(piece) => self.take(piece),
                Job::End { id, at } => self.end(id, at),
            }
        }
        let ids: Vec<u64> = self.recordings.keys().copied().collect();
        for id in ids {
            self.write(id, now);
        }
        if now >= self.sweep_at {
            self.sweep();
            let pause = if self.recordings.is_empty() { IDLE_SWEEP } else { SWEEP };
            self.sweep_at = self.clock.now().saturating_add(pause);
        }
        self.shared.look_back(self.clock.now(), self.is_full, &mut self.clean);
    }

    fn take(&mut self, piece: Piece) {
        let Some(writing) = self.recordings.get_mut(&piece.id) else { return };
        if self.is_full {
            return writing.begin.stats.add(Count::LostDisk, 1);
        }
        writing.take(&self.shared, piece);
    }

    /// Bytes that may still wait.
    fn room(&self) -> usize {
        let tracks = self.recordings.values().flat_map(|writing| writing.tracks.values().flatten());
        WAITING.saturating_sub(tracks.map(Track::waiting).sum())
    }

    /// Writes what was said a moment ago.
    fn write(&mut self, id: u64, now: Instant) {
        let mut room = self.room();
        let Some(writing) = self.recordings.get_mut(&id) else { return };
        let at = now.saturating_duration_since(writing.begun).saturating_sub(ORDER);
        let part = u32::try_from(at.as_secs() / PART.as_secs()).unwrap_or(u32::MAX);
        if part > writing.part {
            let later = writing.end(&self.shared, PART * (writing.part + 1), &mut room);
            writing.part = part;
            // Those that speak on have new files.
            for piece in later {
                writing.take(&self.shared, piece);
            }
        }
        let at = at.saturating_sub(PART * writing.part);
        writing.settle(&self.shared, at, &mut room);
    }

    fn end(&mut self, id: u64, at: Duration) {
        let mut room = self.room();
        if let Some(mut writing) = self.recordings.remove(&id) {
            writing.end(&self.shared, at, &mut room);
        }
    }

    fn end_all(&mut self) {
        let now = self.clock.now();
        let ids: Vec<(u64, Instant)> =
            self.recordings.iter().map(|(id, writing)| (*id, writing.begun)).collect();
        for (id, begun) in ids {
            self.end(id, now.saturating_duration_since(begun));
        }
    }

    #[allow(clippy::disallowed_methods, reason = "files are as old as the clock on the wall says")]
    fn sweep(&mut self) {
        let Shared { folder, settings, .. } = &*self.shared;
        let kept = Kept {
            age: (settings.days > 0).then(|| Duration::from_secs(86_400) * settings.days),
            bytes: (settings.mib > 0).then_some(settings.mib << 20),
        };
        let tracks = self.recordings.values().flat_map(|writing| writing.tracks.values().flatten());
        let in_use: BTreeSet<&Path> = tracks.map(Track::path).collect();
        let failed = match sweep(folder, kept, &in_use, SystemTime::now(), |path| std::fs::remove_file(path))
        {
            Ok(swept) => {
                if swept.removed > 0 {
                    tracing::info!(files = swept.removed, "recordings that are no longer kept are removed");
                }
                self.is_full = swept.is_full;
                if swept.is_full {
                    self.shared.failing(
                        "recordings-mib is reached by files that are being written or cannot be removed",
                    );
                }
                swept.failed
            }
            Err(error) => Some(format!("{}: {error}", folder.display())),
        };
        let was_stuck = core::mem::replace(&mut self.is_stuck, failed.is_some());
        if let Some(why) = failed.filter(|_| !was_stuck) {
            tracing::warn!(why, "recordings that are no longer kept cannot be removed");
        }
    }
}

impl Writing {
    /// Adds a piece to its track, which is begun if need be. One that has none is counted.
    fn take(&mut self, shared: &Shared, piece: Piece) {
        if !self.find_track(shared, piece) {
            self.begin.stats.add(Count::LostUnusable, 1);
        }
    }

    fn find_track(&mut self, shared: &Shared, piece: Piece) -> bool {
        let kind = piece.sound.kind();
        let at = piece.at.saturating_sub(PART * self.part);
        let tracks = self.tracks.get_mut(&piece.speaker).map_or(&mut [][..], Vec::as_mut_slice);
        if let Some(track) = tracks.iter_mut().find(|track| track.kind() == kind) {
            track.add(at, piece.sound);
            return true;
        }
        // Nothing is begun for what is no sound.
        if piece.sound.frames().is_none() {
            return false;
        }
        if self.tracks.values().map(Vec::len).sum::<usize>() >= TRACKS && !self.end_quiet(shared, at) {
            let id = self.begin.id;
            shared.failing(&format!("recording {id}: no more than {TRACKS} files at a time"));
            return false;
        }
        self.count += 1;
        match self.begin_track(shared, &piece.speaker, kind, beginning(kind, at)) {
            Ok(mut track) => {
                track.add(at, piece.sound);
                self.begin.stats.add(Count::Files, 1);
                self.tracks.entry(piece.speaker).or_default().push(track);
                true
            }
            Err(error) => {
                shared.failing(&error.to_string());
                false
            }
        }
    }

    /// Ends the tracks that have been quiet. False if there are none.
    fn end_quiet(&mut self, shared: &Shared, at: Duration) -> bool {
        let mut has_ended = false;
        for tracks in self.tracks.values_mut() {
            tracks.retain_mut(|track| {
                if !track.is_quiet(at, QUIET) {
                    return true;
                }
                let ended = track.end(Duration::ZERO);
                shared.wrote(&self.begin.stats, ended, track);
                self.begin.stats.add(Count::LostDisk, track.unwritten());
                has_ended = true;
                false
            });
        }
        self.tracks.retain(|_, tracks| !tracks.is_empty());
        has_ended
    }

    fn begin_track(&self, shared: &Shared, speaker: &str, kind: Kind, from: Duration) -> io::Result<Track> {
        let Begin { id, protocol, ref what, started, .. } = self.begin;
        let begins = started + PART * self.part + from;
        let extension = match kind {
            Kind::Opus { .. } => "ogg",
            Kind::Pcm(_) => "wav",
        };
        let name = FileName { begins, protocol, id, track: self.count, what, speaker, extension };
        let date = readable(begins);
        let comments =
            [("TITLE", what.name()), ("ARTIST", speaker), ("DATE", &date), ("DESCRIPTION", protocol)];
        let serial = u32::try_from(self.count).unwrap_or(0);
        Track::new(shared.folder.join(name.text()), kind, from, serial, &comments)
    }

    /// Puts what came in until then, since the part's beginning, in its place, and writes it. Where a file is over, another one goes on.
    fn settle(&mut self, shared: &Shared, at: Duration, room: &mut usize) {
        let begin = PART * self.part;
        loop {
            let mut left = Vec::new();
            for (speaker, tracks) in &mut self.tracks {
                tracks.retain_mut(|track| {
                    shared.settle(&self.begin.stats, track, at, room);
                    if track.is_over() {
                        left.extend(pieces_of(track, self.begin.id, begin, speaker));
                    }
                    !track.is_over()
                });
            }
            self.tracks.retain(|_, tracks| !tracks.is_empty());
            if left.is_empty() {
                return;
            }
            for piece in left {
                self.take(shared, piece);
            }
        }
    }

    /// Ends the tracks of a part, so long after the recording's beginning. Returns what was said later.
    fn end(&mut self, shared: &Shared, at: Duration, room: &mut usize) -> Vec<Piece> {
        let begin = PART * self.part;
        let at = at.saturating_sub(begin);
        self.settle(shared, at, room);
        let mut later = Vec::new();
        for (speaker, mut tracks) in core::mem::take(&mut self.tracks) {
            for track in &mut tracks {
                let ended = track.end(at);
                shared.wrote(&self.begin.stats, ended, track);
                self.begin.stats.add(Count::LostDisk, track.unwritten());
                later.extend(pieces_of(track, self.begin.id, begin, &speaker));
            }
        }
        later
    }
}

/// What of a track is in no file, and can be in the next one.
fn pieces_of(track: &mut Track, id: u64, begin: Duration, speaker: &str) -> Vec<Piece> {
    let piece = |(at, sound)| Piece { id, at: begin + at, speaker: speaker.into(), sound };
    track.later().into_iter().map(piece).collect()
}

impl Shared {
    /// Writes what came in of a track until then. What finds no room is counted.
    fn settle(&self, stats: &Stats, track: &mut Track, at: Duration, room: &mut usize) {
        loop {
            let (due, waiting) = (track.due(at), track.waiting());
            let put = track.settle(at, *room).map(|unusable| stats.add(Count::LostUnusable, unusable));
            let is_written = self.wrote(stats, put, track);
            *room = room.saturating_add(waiting).saturating_sub(track.waiting());
            let left = track.due(at);
            if !is_written || track.is_over() || left == 0 || left == due {
                break;
            }
        }
        match track.is_over() {
            true => stats.add(Count::LostDisk, track.unwritten()),
            false => stats.add(Count::LostDisk, track.drop_due(at)),
        }
    }

    /// Writes a track in which something was put. False if that fails.
    fn wrote(&self, stats: &Stats, put: io::Result<()>, track: &mut Track) -> bool {
        let written = put.and_then(|()| track.write());
        match written {
            Ok(0) => {}
            Ok(bytes) => {
                stats.add(Count::Bytes, bytes);
                self.writes.store(true, Relaxed);
            }
            Err(error) => {
                self.failing(&format!("{}: {error}", track.path().display()));
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sound::Sound;
    use super::super::{FOLDER, Pcm, Recorder, What};
    use super::*;
    use crate::config::Config;
    use std::fs;
    use std::path::PathBuf;
    use voxwire_audio::{SampleFormat, SampleOrder};

    const PCM: Pcm = Pcm { rate: 8000, channels: 1, format: SampleFormat::U8, order: SampleOrder::Little };

    /// A writer of a recording that began at zero, and its folder.
    fn writer(name: &str) -> (Writer, PathBuf) {
        let data = std::env::temp_dir().join(format!("voxwire-writer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        let recorder = Recorder::open(&Config { data: data.clone(), ..Config::default() }, None);
        let (shared, clock) = (recorder.shared.clone(), recorder.shared.clock);
        let begin = Begin {
            id: 1,
            protocol: "voicelink",
            what: What::Name("ann".into()),
            started: SystemTime::UNIX_EPOCH,
            begun: Instant::ZERO,
            stats: Arc::default(),
        };
        let writing = Writing { begun: Instant::ZERO, part: 0, tracks: BTreeMap::new(), count: 0, begin };
        let recordings = BTreeMap::from([(1, writing)]);
        let writer = Writer {
            shared,
            clock,
            recordings,
            sweep_at: Instant::ZERO,
            is_full: false,
            is_stuck: false,
            clean: None,
        };
        (writer, data)
    }

    /// A tenth of a second of one value.
    fn piece(at: Duration, speaker: &str, value: u8) -> Piece {
        let sound = Sound::Pcm { pcm: PCM, bytes: vec![value; 800].into() };
        Piece { id: 1, at, speaker: speaker.into(), sound }
    }

    fn samples(path: &Path) -> Vec<i16> {
        let bytes = fs::read(path).unwrap();
        bytes[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// C-45: after an hour the next files begin, and nothing between is lost.
    #[test]
    fn c_45_after_an_hour_the_next_files_begin() {
        let (mut writer, data) = writer("hour");
        for (at, value) in [(3599.8, 129), (3599.9, 130), (3600.0001, 131), (3600.1, 132)] {
            writer.take(piece(seconds(at), "bob", value));
        }
        writer.write(1, Instant::ZERO.saturating_add(seconds(3600.5)));
        writer.end(1, seconds(3601.0));
        let mut files: Vec<PathBuf> =
            fs::read_dir(data.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let names: Vec<&str> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["19700101T000000Z-voicelink-1-ann-1-bob.wav", "19700101T010000Z-voicelink-1-ann-2-bob.wav"]
        );
        let (first, second) = (samples(&files[0]), samples(&files[1]));
        // Samples of 8 bits are stored in 16.
        assert_eq!((first.len(), first[0], first[28_798_400], first[28_799_999]), (28_800_000, 0, 256, 512));
        assert_eq!((second.len(), second[0], second[801], second[1700]), (8000, 768, 1024, 0));
        fs::remove_dir_all(data).unwrap();
    }

    /// C-45: a recording has so many files, what is no sound begins none, and nothing is taken while there is no room.
    #[test]
    fn c_45_what_is_beyond_the_limits_is_counted() {
        let (mut writer, data) = writer("limits");
        let stats = writer.recordings[&1].begin.stats.clone();
        for n in 0..TRACKS + 3 {
            writer.take(piece(Duration::ZERO, &n.to_string(), 1));
        }
        let packet = Sound::Opus { packet: [][..].into(), channels: 1, sequence: None };
        writer.take(Piece { id: 1, at: Duration::ZERO, speaker: "eve".into(), sound: packet });
        assert_eq!((stats.get(Count::Files), stats.get(Count::LostUnusable)), (TRACKS as u64, 4));
        writer.is_full = true;
        writer.take(piece(Duration::ZERO, "0", 1));
        assert_eq!(stats.get(Count::LostDisk), 1);
        let _ = fs::remove_dir_all(data);
    }
    /// Has the writer take and write pieces of a speaker, one each second.
    fn speak(writer: &mut Writer, speaker: &str, from: u32, count: u32) {
        for second in from..from + count {
            writer.take(piece(seconds(f64::from(second)), speaker, 129));
            writer.write(1, Instant::ZERO.saturating_add(seconds(f64::from(second) + 0.5)));
        }
    }

    fn path_of(data: &Path, name: &str) -> PathBuf {
        data.join(FOLDER).join(format!("19700101T{name}"))
    }

    /// C-45: where a file was removed, another one goes on.
    #[test]
    fn c_45_a_file_that_was_removed_is_followed_by_another_one() {
        let (mut writer, data) = writer("removed");
        let stats = writer.recordings[&1].begin.stats.clone();
        speak(&mut writer, "bob", 0, 1);
        fs::remove_file(path_of(&data, "000000Z-voicelink-1-ann-1-bob.wav")).unwrap();
        speak(&mut writer, "bob", 1, 2);
        let samples = samples(&path_of(&data, "000000Z-voicelink-1-ann-2-bob.wav"));
        assert_eq!((samples.len(), samples[15_999], samples[16_000]), (16_800, 0, 256));
        assert_eq!((stats.get(Count::Files), stats.get(Count::LostDisk)), (2, 1));
        fs::remove_dir_all(data).unwrap();
    }

    /// C-45: a file that cannot be written costs its own sound, and no other speaker's.
    #[test]
    fn c_45_a_file_that_cannot_be_written_costs_its_own_sound_alone() {
        let (mut writer, data) = writer("unwritable");
        let stats = writer.recordings[&1].begin.stats.clone();
        speak(&mut writer, "bob", 0, 1);
        let bobs = path_of(&data, "000000Z-voicelink-1-ann-1-bob.wav");
        fs::remove_file(&bobs).unwrap();
        fs::create_dir(&bobs).unwrap();
        speak(&mut writer, "bob", 1, 400);
        let waiting = WAITING - writer.room();
        // Samples of 8 bits are stored in 16.
        assert!(waiting > 0 && waiting <= 2 * super::super::track::WAITING, "{waiting}");
        assert!(stats.get(Count::LostDisk) > 100);
        let before = stats.get(Count::LostDisk);
        speak(&mut writer, "eve", 401, 1);
        assert_eq!(stats.get(Count::LostDisk), before);
        let eves = path_of(&data, "000000Z-voicelink-1-ann-2-eve.wav");
        assert_eq!(samples(&eves).len(), 401 * 8000 + 800);
        fs::remove_dir_all(data).unwrap();
    }

    /// C-45: silence that a file cannot hold is between two files, and a file is not made longer by it at its end.
    #[test]
    fn c_45_silence_that_no_file_can_hold_is_between_two_files() {
        let (mut writer, data) = writer("silence");
        let stats = writer.recordings[&1].begin.stats.clone();
        // 197 MB a second.
        let pcm = Pcm { rate: 768_000, channels: 64, format: SampleFormat::F32, order: SampleOrder::Little };
        for at in [0, 100, 2000] {
            let sound = Sound::Pcm { pcm, bytes: vec![1; 2560].into() };
            writer.take(Piece { id: 1, at: Duration::from_secs(at), speaker: "bob".into(), sound });
            writer.write(1, Instant::ZERO.saturating_add(Duration::from_secs(at + 1)));
        }
        writer.end(1, Duration::from_secs(2200));
        for name in [
            "000000Z-voicelink-1-ann-1-bob",
            "000140Z-voicelink-1-ann-2-bob",
            "003320Z-voicelink-1-ann-3-bob",
        ] {
            let bytes = fs::read(path_of(&data, &format!("{name}.wav"))).unwrap();
            assert!(bytes.len() < 2560 + 100 && bytes.ends_with(&[1; 2560]), "{name}: {}", bytes.len());
        }
        assert_eq!((stats.get(Count::Files), stats.lost()), (3, 0));
        fs::remove_dir_all(data).unwrap();
    }
    /// C-45: who has been quiet gives way where a recording has all its files, and has another file later.
    #[test]
    fn c_45_quiet_speakers_give_way_to_others() {
        let (mut writer, data) = writer("quiet");
        let stats = writer.recordings[&1].begin.stats.clone();
        let write = |writer: &mut Writer, at| writer.write(1, Instant::ZERO.saturating_add(seconds(at)));
        for n in 0..TRACKS {
            writer.take(piece(seconds(if n == 0 { 0.0 } else { 30.0 }), &n.to_string(), 129));
        }
        write(&mut writer, 31.0);
        writer.take(piece(seconds(59.0), "eve", 129));
        assert!((stats.get(Count::LostUnusable), writer.shared.is_failing.load(Relaxed)) == (1, true));
        writer.take(piece(seconds(60.0), "eve", 129));
        write(&mut writer, 61.0);
        let bytes = |name: &str| samples(&path_of(&data, name)).len();
        assert_eq!(bytes("000000Z-voicelink-1-ann-1-0.wav"), 800);
        assert_eq!(bytes("000000Z-voicelink-1-ann-257-eve.wav"), 60 * 8000 + 800);
        // All others are quiet by now.
        writer.take(piece(seconds(100.0), "0", 129));
        write(&mut writer, 101.0);
        assert_eq!(bytes("000000Z-voicelink-1-ann-258-0.wav"), 100 * 8000 + 800);
        assert_eq!((stats.get(Count::LostUnusable), writer.recordings[&1].tracks.len()), (1, 2));
        fs::remove_dir_all(data).unwrap();
    }

    /// C-45: operators are told that recordings are written again once nothing was lost for a while, and there is room.
    #[test]
    fn c_45_recordings_are_written_again_once_nothing_is_lost_for_a_while() {
        let (writer, data) = writer("again");
        let (shared, mut clean) = (writer.shared, None);
        let mut fails_at = |at: u64, is_full| {
            shared.writes.store(true, Relaxed);
            shared.look_back(Instant::ZERO.saturating_add(Duration::from_secs(at)), is_full, &mut clean);
            shared.is_failing.load(Relaxed)
        };
        shared.failing("a test");
        assert!(fails_at(1, false) && fails_at(2, false) && fails_at(6, false));
        shared.failing("a test");
        assert!(fails_at(8, false) && fails_at(9, false) && fails_at(13, true));
        assert!(fails_at(14, false) && fails_at(18, false) && !fails_at(19, false));
        let _ = fs::remove_dir_all(data);
    }
}
