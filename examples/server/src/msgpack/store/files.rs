//! The database's files, and those beside it.

use crate::Error;
use crate::private_files::open_private;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Room on the disk that is kept for taking note of what has been delivered, in bytes: so that a disk which is full becomes emptier.
const RESERVE: usize = 2 * 1024 * 1024;

/// Locks a file of `folder`, or the folder itself.
pub(super) fn lock(folder: &Path, name: &str, follow: bool) -> Result<File, Error> {
    let path = folder.join(name);
    let file = match name {
        "." => File::open(&path),
        _ => open_private(&path, follow),
    };
    let file = file.map_err(|error| match std::fs::symlink_metadata(&path) {
        Ok(meta) if !follow && meta.is_symlink() => {
            let reason = "it is a symbolic link, which is not followed: remove it";
            Error::Write { path: path.clone(), error: io::Error::other(reason) }
        }
        _ => Error::Write { path: path.clone(), error },
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.into())),
        Err(TryLockError::Error(error)) => Err(Error::Lock { path, error }),
    }
}

/// Which files the database is, to see when they are gone: what is written to a file that has no name any more is lost.
#[derive(Debug)]
pub(super) struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let paths = ["msgpack.db", "msgpack.db-wal"].map(|name| folder.join(name));
        let files = paths.into_iter().map(|path| identity(&path).map(|identity| (path, identity)));
        files.collect::<io::Result<_>>().map(Self)
    }

    pub(super) fn check(&self) -> rusqlite::Result<()> {
        for (path, expected) in &self.0 {
            if identity(path).ok() != Some(*expected) {
                let text = format!("{} is not there any more, or another one is", path.display());
                return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
            }
        }
        Ok(())
    }
}

/// What tells a file from all others.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok((meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        Ok((0, 0))
    }
}

/// A file that holds room on the disk.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    pub(super) held: bool,
}

impl Reserve {
    pub(super) fn new(path: PathBuf) -> Self {
        let mut reserve = Self { path, held: false };
        if let Err(error) = reserve.try_hold() {
            let path = reserve.path.display();
            tracing::warn!(%path, %error, "cannot reserve room on the disk: no messages are kept until that is possible");
        }
        reserve
    }

    pub(super) fn hold(&mut self) -> bool {
        self.try_hold().is_ok()
    }

    fn try_hold(&mut self) -> io::Result<()> {
        let filled = self.fill();
        self.held = filled.is_ok();
        if !self.held {
            let _ = std::fs::remove_file(&self.path);
        }
        filled
    }

    fn fill(&self) -> io::Result<()> {
        use io::Write as _;
        let mut file = open_private(&self.path, false)?;
        let has = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // Written, not only claimed.
        file.write_all(&vec![0; RESERVE.saturating_sub(has)])?;
        file.sync_all()
    }

    pub(super) fn release(&mut self) -> bool {
        core::mem::take(&mut self.held) && std::fs::remove_file(&self.path).is_ok()
    }
}
