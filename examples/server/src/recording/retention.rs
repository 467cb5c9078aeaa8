//! How long recordings are kept, and how much room they have.

use super::names::recording_of;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// A file that was last written longer ago is removed; `None` for never.
    pub(super) age: Option<Duration>,
    /// Bytes of all files. Beyond it the recording that takes most loses its oldest file. `None` for any number.
    pub(super) bytes: Option<u64>,
}

/// What a look at the folder has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) removed: u64,
    /// A file that could not be removed, and why.
    pub(super) failed: Option<String>,
    /// What cannot be removed, or is being written, has all the room that there is.
    pub(super) is_full: bool,
}

/// A recording's file.
struct Found {
    path: PathBuf,
    /// Of which one.
    recording: u64,
    written: SystemTime,
    bytes: u64,
}

/// What a recording takes.
#[derive(Default)]
struct Takes<'a> {
    bytes: u64,
    /// What can be removed of it, the oldest first.
    files: VecDeque<&'a Found>,
}

/// Every recording in the folder, the oldest first: their names begin with the time.
fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let Ok(entry) = entry else { continue };
        let Some(recording) = entry.file_name().to_str().and_then(recording_of) else { continue };
        // One that is removed meanwhile is no error.
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(written) = meta.modified() else { continue };
        if meta.is_file() {
            // What it takes on the disk: silence may take nothing.
            let bytes = meta.blocks().saturating_mul(512);
            found.push(Found { path: entry.path(), recording, written, bytes });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// The highest number of a recording in the folder; 0 if there is none.
pub(super) fn highest(folder: &Path) -> io::Result<u64> {
    let found = list(folder)?;
    Ok(found.iter().map(|found| found.recording).max().unwrap_or(0))
}

/// Removes what is not kept any longer, except for files that are being written. One that cannot be removed keeps no other.
pub(super) fn sweep(
    folder: &Path,
    kept: Kept,
    in_use: &BTreeSet<&Path>,
    now: SystemTime,
    remove: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<Swept> {
    let found = list(folder)?;
    let mut swept = Swept::default();
    let mut total: u64 = found.iter().map(|found| found.bytes).sum();
    let mut remove = |file: &Found| {
        match remove(&file.path) {
            Ok(()) => swept.removed += 1,
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                swept.failed.get_or_insert_with(|| format!("{}: {error}", file.path.display()));
                return 0;
            }
        }
        file.bytes
    };
    let mut recordings: BTreeMap<u64, Takes<'_>> = BTreeMap::new();
    for file in &found {
        let age = now.duration_since(file.written).unwrap_or_default();
        let (is_old, is_used) = (kept.age.is_some_and(|most| age > most), in_use.contains(&*file.path));
        let gone = if is_old && !is_used { remove(file) } else { 0 };
        total = total.saturating_sub(gone);
        let takes = recordings.entry(file.recording).or_default();
        takes.bytes += file.bytes - gone;
        if !is_old && !is_used {
            takes.files.push_back(file);
        }
    }
    while kept.bytes.is_some_and(|most| total > most) {
        let has_some = recordings.values_mut().filter(|takes| !takes.files.is_empty());
        // Of those that take as much, the oldest one.
        let most = has_some.reduce(|most, other| if other.bytes > most.bytes { other } else { most });
        let Some(most) = most else { break };
        let Some(file) = most.files.pop_front() else { break };
        let gone = remove(file);
        (most.bytes, total) = (most.bytes - gone, total.saturating_sub(gone));
    }
    swept.is_full = kept.bytes.is_some_and(|most| total > most);
    Ok(swept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// C-45: the oldest go, by age and by room, and nothing that is no recording or is being written.
    #[test]
    fn c_45_recordings_are_kept_by_age_and_by_room() {
        let folder = std::env::temp_dir().join(format!("voxwire-retention-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let names: Vec<String> =
            (1..=4).map(|n| format!("2026010{n}T000000Z-msgpack-{n}-a-1-b.wav")).collect();
        for name in names.iter().map(String::as_str).chain(["notes.txt"]) {
            fs::write(folder.join(name), [1; 8192]).unwrap();
        }
        let written = fs::metadata(folder.join(&names[0])).unwrap().modified().unwrap();
        let left = || {
            let mut left: Vec<String> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            left.sort();
            left
        };
        assert_eq!(highest(&folder).unwrap(), 4);
        let all = Kept { age: None, bytes: None };
        let sweep = |kept, in_use: &BTreeSet<&Path>, now| {
            let (removed, is_full) =
                match sweep(&folder, kept, in_use, now, |path| fs::remove_file(path)).unwrap() {
                    Swept { removed, is_full, failed: None } => (removed, is_full),
                    swept => panic!("{swept:?}"),
                };
            (removed, is_full)
        };
        assert_eq!(sweep(all, &BTreeSet::new(), written), (0, false));
        // Room for three, of which the oldest is being written.
        let oldest = folder.join(&names[0]);
        let in_use = BTreeSet::from([&*oldest]);
        let three = Kept { age: None, bytes: Some(3 * 8192) };
        assert_eq!(sweep(three, &in_use, written), (1, false));
        assert_eq!(left(), [&*names[0], &names[2], &names[3], "notes.txt"]);
        let none = Kept { age: None, bytes: Some(1) };
        assert_eq!(sweep(none, &in_use, written), (2, true));
        let day = Kept { age: Some(Duration::from_secs(86_400)), bytes: None };
        let later = written + Duration::from_secs(86_500);
        assert_eq!(sweep(day, &BTreeSet::new(), later).0, 1);
        assert_eq!(left(), ["notes.txt"]);
        fs::remove_dir_all(folder).unwrap();
    }

    /// C-45: a file that cannot be removed keeps no other, and counts; one that is gone meanwhile does not.
    #[test]
    fn c_45_a_file_that_cannot_be_removed_keeps_no_other() {
        let folder = std::env::temp_dir().join(format!("voxwire-stuck-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let of = |n: u8| folder.join(format!("2026010{n}T000000Z-msgpack-{n}-a-1-b.wav"));
        (1..=4).for_each(|n| fs::write(of(n), [1; 8192]).unwrap());
        let (stuck, gone) = (of(1), of(2));
        let remove = |path: &Path| match path {
            path if path == stuck => Err(io::ErrorKind::PermissionDenied.into()),
            path if path == gone => {
                fs::remove_file(path)?;
                Err(io::ErrorKind::NotFound.into())
            }
            path => fs::remove_file(path),
        };
        let kept = |bytes| Kept { age: None, bytes: Some(bytes) };
        let now = SystemTime::UNIX_EPOCH;
        let swept = sweep(&folder, kept(2 * 8192), &BTreeSet::new(), now, remove).unwrap();
        assert_eq!((swept.removed, swept.is_full), (1, false));
        assert!(swept.failed.is_some_and(|why| why.contains("msgpack-1-")));
        assert!(stuck.exists() && !of(3).exists() && of(4).exists());
        let swept = sweep(&folder, kept(1), &BTreeSet::new(), now, remove).unwrap();
        assert_eq!((swept.removed, swept.is_full, swept.failed.is_some()), (1, true, true));
        fs::remove_dir_all(folder).unwrap();
    }
    /// C-45: a recording with much in it makes room, and not the others, although they are older.
    #[test]
    fn c_45_the_recording_that_takes_most_makes_room() {
        let folder = std::env::temp_dir().join(format!("voxwire-most-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let of = |n: u8, recording: u8, speaker: &str| {
            folder.join(format!("2026010{n}T000000Z-msgpack-{recording}-a-{n}-{speaker}.wav"))
        };
        let all = [of(1, 1, "ann"), of(2, 2, "eve"), of(3, 2, "eve"), of(4, 2, "eve"), of(5, 2, "eve")];
        all.iter().for_each(|path| fs::write(path, [1; 8192]).unwrap());
        let left = |bytes: u64, in_use: &[&Path]| {
            let kept = Kept { age: None, bytes: Some(bytes * 8192) };
            let in_use = in_use.iter().copied().collect();
            let swept =
                sweep(&folder, kept, &in_use, SystemTime::UNIX_EPOCH, |path| fs::remove_file(path)).unwrap();
            assert!(!swept.is_full);
            all.iter().map(|path| path.exists()).collect::<Vec<_>>()
        };
        assert_eq!(left(3, &[&all[1]]), [true, true, false, false, true]);
        // As much is in both: the older one goes.
        assert_eq!(left(2, &[]), [true, false, false, false, true]);
        assert_eq!(left(1, &[]), [false, false, false, false, true]);
        fs::remove_dir_all(folder).unwrap();
    }
}
