//! One speaker's sound in one file.

use super::file::TrackFile;
use super::ogg::OggOpus;
use super::sound::{Kind, Pcm, Sound, Timeline};
use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use voxwire_audio::{SampleFormat, SampleOrder, wav_header};

/// Bytes of samples in a WAV file: its length is a number of 32 bits.
const MOST_BYTES: u64 = (u32::MAX - 4096) as u64;

/// Bytes that may wait for a file that takes none.
pub(super) const WAITING: usize = 256 << 10;

/// Bytes of Opus that a second has at most, and how many come at once: all that libopus makes, and not all that a packet can hold.
const OPUS_SECOND: u64 = 64_000;

/// What of Opus is taken, so that one speaker does not fill the disk.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    at: Duration,
}

impl Allowance {
    const fn new(at: Duration) -> Self {
        Self { bytes: OPUS_SECOND, at }
    }

    /// Whether so many bytes more are taken.
    fn take(&mut self, at: Duration, bytes: usize) -> bool {
        let since = at.saturating_sub(self.at).min(Duration::from_secs(1));
        let more = u64::try_from(since.as_nanos() * u128::from(OPUS_SECOND) / 1_000_000_000);
        let has = self.bytes.saturating_add(more.unwrap_or(OPUS_SECOND)).min(OPUS_SECOND);
        self.at = self.at.max(at);
        let rest = has.checked_sub(bytes as u64);
        self.bytes = rest.unwrap_or(has);
        rest.is_some()
    }
}

#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    file: TrackFile,
    line: Timeline,
    coder: Coder,
    /// What may still be put in order.
    pending: Vec<(Duration, Sound)>,
    /// When the file begins, in its part of the recording.
    from: Duration,
    /// When the last piece came in.
    heard: Duration,
    allowance: Allowance,
    unwritten: u64,
    is_full: bool,
    is_gone: bool,
}

#[derive(Debug)]
enum Coder {
    /// And how many bytes there are so far.
    Ogg(Box<OggOpus>, u64),
    Wav {
        head: usize,
    },
}

impl Track {
    /// Nothing is written yet.
    pub(super) fn new(
        path: PathBuf,
        kind: Kind,
        from: Duration,
        serial: u32,
        comments: &[(&str, &str)],
    ) -> io::Result<Self> {
        let coder = match kind {
            Kind::Opus { channels } => Coder::Ogg(Box::new(OggOpus::new(serial, channels, comments)?), 0),
            Kind::Pcm(pcm) => Coder::Wav { head: head(pcm, 0).len() },
        };
        let (file, line, pending) = (TrackFile::new(path), Timeline::new(kind.rate()), Vec::new());
        let allowance = Allowance::new(from);
        Ok(Self {
            kind,
            file,
            line,
            coder,
            pending,
            from,
            heard: from,
            allowance,
            unwritten: 0,
            is_full: false,
            is_gone: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Adds what came in at a time, since the beginning of the recording's part.
    pub(super) fn add(&mut self, at: Duration, sound: Sound) {
        self.heard = self.heard.max(at);
        self.pending.push((at, sound));
    }

    /// Whether nothing has come in for so long.
    pub(super) fn is_quiet(&self, at: Duration, long: Duration) -> bool {
        self.pending.is_empty() && at.saturating_sub(self.heard) >= long
    }

    /// Bytes that wait for the disk.
    pub(super) const fn waiting(&self) -> usize {
        self.file.waiting()
    }

    /// Puts what came in until then in its place, as far as there is room for so many bytes more. The rest is [due](Self::due) still.
    /// Returns how many pieces are of no use: no sound, or more of it than time has gone by, or than a file
    /// is to hold.
    pub(super) fn settle(&mut self, until: Duration, room: usize) -> io::Result<u64> {
        let mut unusable = 0;
        let (mut due, later): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= until);
        let first = due.first().and_then(|(_, sound)| sound.sequence()).unwrap_or(0);
        // Numbers wrap around.
        due.sort_by_key(|(_, sound)| sound.sequence().map(|number| number.wrapping_sub(first).cast_signed()));
        // One piece is taken, however long, where nothing waits.
        let own = if self.waiting() == 0 { usize::MAX } else { WAITING.saturating_sub(self.waiting()) };
        let mut taken = 0_usize;
        let mut due = due.into_iter();
        for (at, sound) in due.by_ref() {
            let all = taken.saturating_add(sound.bytes().len());
            if all > room.min(own) || (taken > 0 && all > WAITING) {
                self.pending.push((at, sound));
                break;
            }
            taken = all;
            let is_allowed = match &sound {
                Sound::Opus { packet, .. } => self.allowance.take(at, packet.len()),
                Sound::Pcm { .. } => true,
            };
            let frames = sound.frames().filter(|_| is_allowed);
            let since = at.saturating_sub(self.from);
            let place =
                frames.and_then(|frames| Some((frames, self.line.place(since, frames, sound.sequence())?)));
            match place {
                Some((frames, gap)) if self.is_beyond(gap.saturating_add(frames)) => {
                    self.is_full = true;
                    self.pending.push((at, sound));
                    break;
                }
                Some((frames, gap)) => self.put(sound, frames, gap)?,
                None => unusable += 1,
            }
        }
        self.pending.extend(due.chain(later));
        if let Coder::Ogg(ogg, _) = &mut self.coder {
            ogg.end_page()?;
        }
        self.take_pages();
        Ok(unusable)
    }

    /// Pieces that came in until then, and are not in their place.
    pub(super) fn due(&self, until: Duration) -> usize {
        self.pending.iter().filter(|(at, _)| *at <= until).count()
    }

    /// Drops these. Returns how many.
    pub(super) fn drop_due(&mut self, until: Duration) -> u64 {
        let due = self.due(until) as u64;
        self.pending.retain(|(at, _)| *at > until);
        due
    }

    /// Whether another file has to go on: this one holds no more, or is gone.
    pub(super) const fn is_over(&self) -> bool {
        self.is_full || self.is_gone
    }

    /// Pieces that are in their place, and not on the disk.
    pub(super) const fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Whether so many frames more are beyond what a file holds.
    fn is_beyond(&self, frames: u64) -> bool {
        match self.kind {
            Kind::Opus { .. } => false,
            Kind::Pcm(pcm) => bytes_of(pcm, self.line.end().saturating_add(frames)) > MOST_BYTES,
        }
    }

    fn put(&mut self, sound: Sound, frames: u64, gap: u64) -> io::Result<()> {
        self.unwritten += 1;
        match (&mut self.coder, sound) {
            (Coder::Ogg(ogg, _), Sound::Opus { packet, .. }) => {
                let silence = ogg.silence(gap)?;
                ogg.packet(packet, frames)?;
                self.line.advance(silence + frames);
            }
            (Coder::Wav { head }, Sound::Pcm { pcm, bytes }) => {
                self.line.advance(gap);
                let frame = stored(pcm).frame_size() as u64;
                let whole = bytes.len() - bytes.len() % pcm.frame_size();
                let bytes = to_store(pcm, bytes.get(..whole).unwrap_or_default());
                // What is skipped is silence, and takes no room on most disks.
                self.file.put(*head as u64 + self.line.end() * frame, &bytes);
                self.line.advance(frames);
            }
            // A track has one kind.
            _ => {}
        }
        Ok(())
    }

    fn take_pages(&mut self) {
        if let Coder::Ogg(ogg, len) = &mut self.coder {
            let pages = ogg.take();
            if !pages.is_empty() {
                self.file.put(*len, &pages);
                *len += pages.len() as u64;
            }
        }
    }

    /// Writes what is in its place. Returns how many bytes.
    pub(super) fn write(&mut self) -> io::Result<u64> {
        if self.file.is_written() {
            return Ok(0);
        }
        let written = match (&self.coder, self.kind) {
            (Coder::Wav { head: size }, Kind::Pcm(pcm)) => {
                let len = bytes_of(pcm, self.line.end());
                let head = head(pcm, u32::try_from(len).unwrap_or(u32::MAX));
                self.file.write(Some(&head), Some(*size as u64 + len))
            }
            _ => self.file.write(None, None),
        };
        match &written {
            Ok(_) => self.unwritten = 0,
            // Somebody has removed it.
            Err(error) => self.is_gone = self.file.exists() && error.kind() == io::ErrorKind::NotFound,
        }
        written
    }

    /// Takes what came in later than it was ended.
    pub(super) fn later(&mut self) -> Vec<(Duration, Sound)> {
        core::mem::take(&mut self.pending)
    }

    /// Ends the track: it is silent until then, as far as the file holds that.
    pub(super) fn end(&mut self, at: Duration) -> io::Result<()> {
        let since = at.saturating_sub(self.from);
        let rest = self.line.frames(since).saturating_sub(self.line.end());
        let is_beyond = self.is_beyond(rest);
        match &mut self.coder {
            Coder::Ogg(ogg, _) => {
                ogg.silence(rest)?;
                ogg.end()?;
            }
            Coder::Wav { .. } if is_beyond => {}
            Coder::Wav { .. } => {
                self.line.advance(rest);
                self.file.touch();
            }
        }
        self.take_pages();
        Ok(())
    }
}

/// When a file begins whose first piece comes at that time: then, where the silence before would take half of what a file holds.
pub(super) fn beginning(kind: Kind, at: Duration) -> Duration {
    match kind {
        Kind::Pcm(pcm) if bytes_of(pcm, Timeline::new(pcm.rate).frames(at)) > MOST_BYTES / 2 => at,
        _ => Duration::ZERO,
    }
}

/// Bytes that so many frames take in a file.
fn bytes_of(pcm: Pcm, frames: u64) -> u64 {
    frames.saturating_mul(stored(pcm).frame_size() as u64)
}

/// How samples are stored: those of 8 bits as 16, whose silence is zero.
fn stored(pcm: Pcm) -> Pcm {
    let format = match pcm.format {
        SampleFormat::U8 | SampleFormat::I8 => SampleFormat::I16,
        format => format,
    };
    Pcm { format, order: SampleOrder::Little, ..pcm }
}

fn head(pcm: Pcm, len: u32) -> Vec<u8> {
    wav_header(pcm.rate, pcm.channels, stored(pcm).format, len)
}

fn to_store(pcm: Pcm, bytes: &[u8]) -> Vec<u8> {
    match (pcm.format, pcm.order) {
        (SampleFormat::U8, _) => bytes.iter().flat_map(|byte| [0, byte ^ 0x80]).collect(),
        (SampleFormat::I8, _) => bytes.iter().flat_map(|byte| [0, *byte]).collect(),
        (_, SampleOrder::Little) => bytes.to_vec(),
        (format, SampleOrder::Big) => {
            bytes.chunks_exact(format.size()).flat_map(|sample| sample.iter().rev().copied()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-45: as much of Opus is taken as an encoder makes, and not as much as a sender likes.
    #[test]
    fn c_45_a_second_of_opus_has_so_many_bytes() {
        let second = |ms: u64, packet: usize| {
            let mut allowance = Allowance::new(Duration::ZERO);
            // A minute of packets of so many milliseconds.
            let taken = (0..60_000 / ms).filter(|n| allowance.take(Duration::from_millis(n * ms), packet));
            taken.count() as u64 * packet as u64 / 60
        };
        // 510 kbit/s, the most that libopus makes.
        assert_eq!(second(20, 1275), 63_750);
        // Eight times that.
        let most = second(5, 2550);
        assert!((60_000..66_000).contains(&most), "{most}");
    }
}
