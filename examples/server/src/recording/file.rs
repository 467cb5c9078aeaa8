//! The file of a track: written in whole pieces, each where it belongs, and open only meanwhile.

use crate::private_files::{create_folder, create_private, open_to_write};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What a track has to write.
#[derive(Debug)]
pub(super) struct TrackFile {
    path: PathBuf,
    exists: bool,
    /// Where each part begins, in ascending order.
    parts: Vec<(u64, Vec<u8>)>,
    waiting: usize,
    touched: bool,
}

impl TrackFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, exists: false, parts: Vec::new(), waiting: 0, touched: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was there once.
    pub(super) const fn exists(&self) -> bool {
        self.exists
    }

    /// Bytes that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds bytes at a place behind all others.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.waiting += bytes.len();
        self.touched = true;
        match self.parts.last_mut() {
            Some((begin, part)) if *begin + part.len() as u64 == at => part.extend_from_slice(bytes),
            _ => self.parts.push((at, bytes.to_vec())),
        }
    }

    /// Whether nothing waits.
    pub(super) const fn is_written(&self) -> bool {
        !self.touched
    }

    /// The file is to be written even if nothing else waits.
    pub(super) const fn touch(&mut self) {
        self.touched = true;
    }

    /// Writes all that waits; then the head, which has its room, and the length. What could not be written waits on. Returns how many bytes
    /// of what waited were written.
    pub(super) fn write(&mut self, head: Option<&[u8]>, len: Option<u64>) -> io::Result<u64> {
        let file = self.open()?;
        let mut written = 0;
        for (at, part) in &self.parts {
            file.write_all_at(part, *at)?;
            written += part.len() as u64;
        }
        if let Some(head) = head {
            file.write_all_at(head, 0)?;
        }
        if let Some(len) = len {
            file.set_len(len)?;
        }
        self.parts.clear();
        (self.waiting, self.touched) = (0, false);
        Ok(written)
    }

    fn open(&mut self) -> io::Result<File> {
        if self.exists {
            return open_to_write(&self.path);
        }
        if let Some(folder) = self.path.parent() {
            create_folder(folder)?;
        }
        let file = create_private(&self.path)?;
        self.exists = true;
        Ok(file)
    }
}
