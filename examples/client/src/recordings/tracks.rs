//! `--record-each`: a file for each speaker.

use super::{RecordFile, unused};
use crate::error::Error;
use crate::report::Report;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxwire_audio::SampleFormat;

/// Files at a time: those who speak are as many as others choose.
const MOST: usize = 64;
/// Characters of a speaker's name that are in a file's name.
const LONGEST: usize = 48;

/// Makes the files, of one channel.
#[derive(Debug, Clone)]
pub(crate) struct TrackFiles {
    path: PathBuf,
    rate: u32,
    report: Report,
    made: usize,
}

impl TrackFiles {
    /// Beside `path`: `call.wav` leads to `call-ann.wav`.
    pub(crate) fn new(path: &Path, rate: u32, report: &Report) -> Self {
        Self { path: path.into(), rate, report: report.clone(), made: 0 }
    }

    /// Begins the file of a speaker. What goes wrong is said, and ends no call.
    pub(crate) fn create(&mut self, speaker: &str) -> Option<RecordFile> {
        self.made += 1;
        if self.made > MOST {
            if self.made == MOST + 1 {
                let reason = format!("{MOST} speakers have files of their own, and others get none");
                self.report.keep("failed", json!({ "reason": reason }), &reason);
            }
            return None;
        }
        let made = self.begin(speaker);
        made.map_err(|error| {
            let reason = error.to_string();
            self.report.keep("failed", json!({ "reason": reason }), &reason);
        })
        .ok()
    }

    fn begin(&self, speaker: &str) -> Result<RecordFile, Error> {
        let (path, _) = unused(&named(&self.path, speaker), 1)?;
        RecordFile::create(&path, self.rate, 1, SampleFormat::I16, &self.report)
    }
}

/// Where what a speaker says goes. Others choose names: nothing of one leads elsewhere, or is taken for an option.
fn named(path: &Path, speaker: &str) -> PathBuf {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let name: String = speaker.chars().take(LONGEST).map(|c| if is_plain(c) { c } else { '_' }).collect();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(|| "wav".into(), |extension| extension.to_string_lossy());
    path.with_file_name(format!("{stem}-{name}.{extension}"))
}

/// The files of speakers who are rendered in step: all begin at the same moment.
#[derive(Debug)]
pub(crate) struct Tracks {
    files: TrackFiles,
    speakers: BTreeMap<String, Option<RecordFile>>,
    /// Samples since the beginning.
    at: u64,
}

impl Tracks {
    pub(crate) const fn new(files: TrackFiles) -> Self {
        Self { files, speakers: BTreeMap::new(), at: 0 }
    }

    /// What a speaker says just now.
    pub(crate) fn put(&mut self, speaker: &str, samples: &[f32]) {
        if !self.speakers.contains_key(speaker) {
            let file = self.files.create(speaker);
            // Those who get no file are too many to be remembered.
            if self.speakers.len() >= MOST {
                return;
            }
            self.speakers.insert(speaker.into(), file);
        }
        if let Some(Some(file)) = self.speakers.get_mut(speaker) {
            // What lies between is silence.
            let samples: Vec<f64> = samples.iter().map(|sample| f64::from(*sample)).collect();
            file.replace(self.at, &samples);
        }
    }

    /// The next samples are so many behind those before.
    pub(crate) const fn advance(&mut self, samples: usize) {
        self.at += samples as u64;
    }

    /// All have the same length then.
    pub(crate) fn into_files(self) -> impl Iterator<Item = RecordFile> {
        let at = self.at;
        self.speakers.into_values().flatten().map(move |mut file| {
            file.replace(at, &[]);
            file
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_audio::load;

    /// F-74: names that others choose lead to no other folder.
    #[test]
    fn f_74_a_name_is_a_part_of_the_files_name_and_no_more() {
        let name = |speaker: &str| named(Path::new("dir/call.wav"), speaker).display().to_string();
        assert_eq!(name("ann"), "dir/call-ann.wav");
        assert_eq!(name("../../etc/x\\n\\0"), "dir/call-______etc_x_n_0.wav");
        assert_eq!(name("สมชาย"), "dir/call-สมชาย.wav");
        assert_eq!(name(&"x".repeat(4000)).len(), "dir/call-.wav".len() + LONGEST);
        assert_eq!(named(Path::new("call"), ""), Path::new("call-.wav"));
    }

    /// F-74: tracks begin and end together, with silence where a speaker says nothing.
    #[test]
    fn f_74_tracks_begin_and_end_together() {
        let folder = std::env::temp_dir().join(format!("voxwire-tracks-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let files = TrackFiles::new(&folder.join("call.wav"), 8000, &Report::silent());
        let mut tracks = Tracks::new(files);
        for n in 0..100 {
            if n < 50 {
                tracks.put("ann", &[0.5; 80]);
            }
            if (30..90).contains(&n) {
                tracks.put("bob", &[0.25; 80]);
            }
            tracks.advance(80);
        }
        tracks.into_files().for_each(|file| file.finish().unwrap());
        for (name, level, says) in [("ann", 0.5, 0..4000), ("bob", 0.25, 2400..7200)] {
            let samples = load(&folder.join(format!("call-{name}.wav"))).unwrap().clip.samples;
            assert_eq!(samples.len(), 8000, "{name}");
            let expected = |at: usize| if says.contains(&at) { level } else { 0.0 };
            assert!((0..8000).all(|at| samples[at] == expected(at)), "{name}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
