//! Connections that only read, and whether what they read is sound.

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Messages that are checked in one transaction.
const CHECKED: usize = 32;

/// A connection that only reads: for those who look passwords up.
#[derive(Debug)]
pub(in crate::msgpack) struct Reader(Connection);

impl Reader {
    pub(in crate::msgpack) fn open(folder: &Path) -> rusqlite::Result<Self> {
        let path: PathBuf = folder.join("msgpack.db");
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        Ok(Self(db))
    }

    /// What is wrong with the database, if anything is.
    pub(in crate::msgpack) fn damage(&self) -> rusqlite::Result<Option<String>> {
        damage(&self.0)
    }

    /// The kept messages whose checksum is another one than their body's.
    pub(in crate::msgpack) fn unsound(&self) -> rusqlite::Result<Vec<i64>> {
        // A few at a time: as long as a process reads, the journal grows with all that is written.
        let sql = "SELECT id, body, checksum FROM messages WHERE id > ?1 ORDER BY id LIMIT ?2";
        let (mut statement, mut unsound, mut after) = (self.0.prepare(sql)?, Vec::new(), Some(i64::MIN));
        while let Some(last) = after.take() {
            let mut rows = statement.query(params![last, CHECKED])?;
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                let body = row.get_ref(1)?.as_bytes().unwrap_or_default();
                let checksum: Option<i64> = row.get(2).unwrap_or(Some(-1));
                if checksum.is_some_and(|checksum| checksum != i64::from(crc32fast::hash(body))) {
                    unsound.push(id);
                }
                after = Some(id);
            }
        }
        Ok(unsound)
    }

    /// The hash of a user's password.
    pub(in crate::msgpack) fn password(&self, username: &[u8]) -> rusqlite::Result<Option<String>> {
        self.0
            .prepare_cached("SELECT password FROM users WHERE name = ?1")?
            .query_row([username], |row| row.get(0))
            .optional()
    }
}

/// What is wrong with a database, if anything is: pages that cannot be read, indices that are not those of their tables, rows that
/// refer to nothing, and passwords that are no hashes.
pub(super) fn damage(db: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => {}
        Ok(verdict) => return Ok(Some(verdict)),
        // It may be too bad for the check itself.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            return Ok(Some(error.to_string()));
        }
        Err(error) => return Err(error),
    }
    if db.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Ok(Some("rows refer to others that are not there".into()));
    }
    if db.prepare("SELECT 1 FROM users WHERE password NOT GLOB '$argon2*$*$*'")?.exists([])? {
        return Ok(Some("a password's hash is none".into()));
    }
    Ok(None)
}
