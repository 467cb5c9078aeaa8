//! Checks of the database while the server runs.

use super::store::Reader;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};

/// When the database is looked through while the server runs.
pub(super) const CHECKS: Duration = Duration::from_secs(6 * 60 * 60);

/// Looks for damage that no user has met yet.
pub(super) fn check_now_and_then(
    reader: &Reader,
    ended: &Receiver<()>,
    damaged: &AtomicBool,
    every: Duration,
) {
    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        judge(reader.damage(), damaged);
        // These stop no other user's.
        match reader.unsound() {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => {
                damaged.store(true, Relaxed);
                let first: Vec<i64> = messages.iter().copied().take(20).collect();
                tracing::error!(count = messages.len(), ?first, "kept messages are damaged: restore a copy");
            }
            Err(error) => tracing::warn!(%error, "kept messages could not be checked: tried again later"),
        }
    }
}

/// Says what a check of the database has come to. One that could not be done says nothing about the database.
fn judge(check: rusqlite::Result<Option<String>>, damaged: &AtomicBool) {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let damage = match check {
        Ok(None) => return damaged.store(false, Relaxed),
        Ok(Some(damage)) => damage,
        Err(error) if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) => {
            error.to_string()
        }
        Err(error) => {
            return tracing::warn!(%error, "the database could not be checked: it is tried again later");
        }
    };
    damaged.store(true, Relaxed);
    tracing::error!(damage, "the database is damaged: stop the server, and restore a copy");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::store::tests::{Folder, QUOTAS};
    use crate::msgpack::store::{Outcome, Store};
    use std::sync::mpsc::channel;

    /// F-37: the gauge `damaged` is set by the check that runs while the server does.
    #[test]
    fn damage_that_comes_later_is_found() {
        let folder = Folder::new("storage-damage");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        let made = store.transaction(|store| store.register(b"ann", "$argon2id$v=19$x$y"));
        assert_eq!(made.unwrap(), Outcome::Done);
        let (reader, damaged) = (Reader::open(&folder.0).unwrap(), AtomicBool::new(false));
        let look = || {
            let (end, ended) = channel();
            let stop = std::thread::spawn(move || {
                std::thread::park_timeout(Duration::from_millis(100));
                drop(end);
            });
            check_now_and_then(&reader, &ended, &damaged, Duration::from_millis(10));
            stop.join().unwrap();
            damaged.load(Relaxed)
        };
        assert!(!look());
        let db = rusqlite::Connection::open(folder.0.join("msgpack.db")).unwrap();
        db.execute("UPDATE users SET password = 'x'", []).unwrap();
        assert!(look());
        db.execute("UPDATE users SET password = '$argon2id$v=19$x$y'", []).unwrap();
        assert!(!look());
        // F-49
        db.execute("INSERT INTO messages (body, checksum) VALUES (x'61', 1)", []).unwrap();
        assert!(look());
        drop((store, reader));
    }

    /// F-37: a check that could not be done is no damage, and a later one that is clean clears the gauge.
    #[test]
    fn only_damage_is_reported_as_damage() {
        use rusqlite::ffi::{Error, SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_IOERR, SQLITE_NOTADB};
        let error = |code| Err(rusqlite::Error::SqliteFailure(Error::new(code), None));
        let damaged = AtomicBool::new(false);
        for code in [SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_IOERR] {
            judge(error(code), &damaged);
            assert!(!damaged.load(Relaxed), "{code}");
        }
        judge(error(SQLITE_NOTADB), &damaged);
        assert!(damaged.load(Relaxed));
        judge(error(SQLITE_BUSY), &damaged);
        assert!(damaged.load(Relaxed), "nothing is known anew");
        judge(Ok(None), &damaged);
        assert!(!damaged.load(Relaxed));
    }
}
