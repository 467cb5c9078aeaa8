//! Folders and files that no other user of this machine can read.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::Path;

/// Makes a folder that no other user can look into. One that is there keeps its mode.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Opens a file for writing, or makes one that no other user can read: it may hold passwords' hashes. What SQLite puts beside it is as private.
/// A file that is there keeps its contents and its mode.
pub(crate) fn open_private(path: &Path, follow: bool) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
        if !follow {
            options.custom_flags(nix::libc::O_NOFOLLOW);
        }
    }
    options.open(path)
}

/// Closes a file that is there to other users of this machine, as a restored copy may be open to them.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(mode & !0o077))?;
        }
    }
    Ok(())
}

/// Makes a file that is not there, for writing.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Opens a file that is there, and is no link, for writing.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(nix::libc::O_NOFOLLOW);
    }
    options.open(path)
}
