//! Names of files: made of the time, the protocol, numbers and escaped names, so that no path comes from a peer.

use super::What;
use std::fmt::Write as _;
use std::time::SystemTime;
use time::OffsetDateTime;

/// Bytes of an escaped name in a file's name.
const LONGEST: usize = 60;

/// What a file's name says.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileName<'a> {
    /// When the file begins.
    pub(super) begins: SystemTime,
    pub(super) protocol: &'static str,
    /// The recording, and the track in it.
    pub(super) id: u64,
    pub(super) track: u64,
    pub(super) what: &'a What,
    pub(super) speaker: &'a str,
    pub(super) extension: &'static str,
}

impl FileName<'_> {
    /// `20261201T062910Z-dissonance-3-Lobby-1-alice.ogg`
    pub(super) fn text(&self) -> String {
        let Self { protocol, id, track, extension, .. } = *self;
        let (what, speaker) = (escaped(self.what.name()), escaped(self.speaker));
        format!("{}-{protocol}-{id}-{what}-{track}-{speaker}.{extension}", stamp(self.begins))
    }
}

/// The number of the recording that a file is of; `None` for a file of another kind.
pub(super) fn recording_of(name: &str) -> Option<u64> {
    let (stem, extension) = name.rsplit_once('.')?;
    let parts: Vec<&str> = stem.split('-').collect();
    let [stamp, _, id, _, track, _] = parts[..] else { return None };
    let is_stamp = stamp.len() == 16 && stamp.starts_with(|first: char| first.is_ascii_digit());
    let is_ours = is_stamp && track.parse::<u64>().is_ok() && matches!(extension, "ogg" | "wav");
    id.parse().ok().filter(|_| is_ours)
}

fn stamp(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

/// When, for people and programs: `2026-12-01T06:29:10Z`.
pub(super) fn readable(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// A name as a part of a file's name: letters and digits of ASCII and `_`, and all other bytes as `%` and two digits. A long one is cut.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if text.len() > LONGEST - 3 {
            break;
        }
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' => text.push(char::from(byte)),
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn name(room: &str, speaker: &str) -> String {
        let what = What::Room(room.into());
        let begins = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_106_550);
        let (protocol, extension) = ("dissonance", "ogg");
        FileName { begins, protocol, id: 3, track: 1, what: &what, speaker, extension }.text()
    }

    /// C-45: no path comes from a peer, and each name is read again.
    #[test]
    fn c_45_no_path_comes_from_a_peer() {
        assert_eq!(name("Lobby", "alice"), "20261201T062910Z-dissonance-3-Lobby-1-alice.ogg");
        for hostile in
            ["../../etc/passwd", "/", "..", "a\0b", "", "-", "CON", &"x".repeat(5000), "ไทย\u{202e}"]
        {
            let name = name(hostile, hostile);
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_%.".contains(c);
            assert!(name.chars().all(plain) && name.len() < 200 && name.matches('.').count() == 1, "{name}");
            assert_eq!(recording_of(&name), Some(3), "{name}");
        }
        for other in ["control.db", "x-y-3-z-1-w.ogg", "20261201T062910Z-dissonance-3-Lobby-1-alice.txt"] {
            assert_eq!(recording_of(other), None);
        }
    }
}
