//! What has to outlive the server, in SQLite: accounts, contacts, groups, members, and messages for those who are away.
//!
//! All that is acknowledged is on the disk: write-ahead log, and synchronised with every transaction. One thread writes; what
//! waits for it goes into one transaction.

mod files;
mod messages;
mod reader;

use crate::Error;
use crate::private_files::{create_folder, open_private};
use files::{Place, Reserve, lock};
pub(super) use messages::{Keeping, Kept};
pub(super) use reader::Reader;
use reader::damage;
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use voxwire_core::name_key;

/// What makes a database of version n one of version n + 1.
const MIGRATIONS: [&str; 4] = [
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, password TEXT NOT NULL);
     CREATE TABLE contacts (
         user INTEGER NOT NULL REFERENCES users, contact INTEGER NOT NULL REFERENCES users,
         PRIMARY KEY (user, contact)
     ) WITHOUT ROWID;
     CREATE TABLE groups (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, owner INTEGER NOT NULL REFERENCES users);
     CREATE TABLE members (
         \"group\" INTEGER NOT NULL REFERENCES groups, user INTEGER NOT NULL REFERENCES users,
         PRIMARY KEY (\"group\", user)
     ) WITHOUT ROWID;",
    "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
     CREATE TABLE kept (
         recipient INTEGER NOT NULL REFERENCES users, message INTEGER NOT NULL REFERENCES messages,
         sender INTEGER NOT NULL REFERENCES users, size INTEGER NOT NULL, PRIMARY KEY (recipient, message)
     ) WITHOUT ROWID;
     CREATE INDEX kept_messages ON kept (message);
     CREATE INDEX kept_senders ON kept (recipient, sender);
     ALTER TABLE users ADD COLUMN kept_count INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE users ADD COLUMN kept_bytes INTEGER NOT NULL DEFAULT 0;
     CREATE TRIGGER kept_more AFTER INSERT ON kept
         BEGIN UPDATE users SET kept_count = kept_count + 1, kept_bytes = kept_bytes + NEW.size
             WHERE id = NEW.recipient; END;
     CREATE TRIGGER kept_less AFTER DELETE ON kept
         BEGIN UPDATE users SET kept_count = kept_count - 1, kept_bytes = kept_bytes - OLD.size
             WHERE id = OLD.recipient; END;
     CREATE TRIGGER kept_gone AFTER DELETE ON kept
         WHEN NOT EXISTS (SELECT 1 FROM kept WHERE message = OLD.message)
         BEGIN DELETE FROM messages WHERE id = OLD.message; END;",
    // None for messages that were kept before: writing them anew would be more of a risk than what it finds.
    "ALTER TABLE messages ADD COLUMN checksum INTEGER;",
    // What one sender has in one mailbox is known without a sum, when a message came and what each source has in all mailboxes.
    // (In a table of its own: behind a long body a column costs as much as the body.)
    "CREATE TABLE shares (
         recipient INTEGER NOT NULL REFERENCES users, sender INTEGER NOT NULL REFERENCES users,
         count INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (recipient, sender)
     ) WITHOUT ROWID;
     INSERT INTO shares SELECT recipient, sender, count(*), sum(size) FROM kept GROUP BY recipient, sender;
     DROP INDEX kept_senders;
     CREATE TRIGGER share_more AFTER INSERT ON kept
         BEGIN INSERT INTO shares (recipient, sender, count, bytes) VALUES (NEW.recipient, NEW.sender, 1, NEW.size)
             ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes; END;
     CREATE TRIGGER share_less AFTER DELETE ON kept
         BEGIN UPDATE shares SET count = count - 1, bytes = bytes - OLD.size
             WHERE recipient = OLD.recipient AND sender = OLD.sender;
         DELETE FROM shares WHERE recipient = OLD.recipient AND sender = OLD.sender AND count <= 0; END;
     CREATE TABLE origins (
         message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
         since INTEGER NOT NULL, source BLOB, size INTEGER NOT NULL
     );
     CREATE INDEX origins_since ON origins (since);
     INSERT INTO origins (message, since, size)
         SELECT message, unixepoch(), max(size) FROM kept GROUP BY message;
     CREATE TABLE sources (source BLOB PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
     CREATE TRIGGER source_more AFTER INSERT ON origins WHEN NEW.source IS NOT NULL
         BEGIN INSERT INTO sources (source, bytes) VALUES (NEW.source, NEW.size)
             ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes; END;
     CREATE TRIGGER source_less AFTER DELETE ON origins WHEN OLD.source IS NOT NULL
         BEGIN UPDATE sources SET bytes = bytes - OLD.size WHERE source = OLD.source;
         DELETE FROM sources WHERE source = OLD.source AND bytes <= 0; END;
     ALTER TABLE groups ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
     UPDATE groups SET used = unixepoch();",
];

/// A clock that says less, in seconds since 1970, has not been set: 2024.
const CLOCK_IS_SET: i64 = 1_704_067_200;

/// The bytes of a page, by which the size of the file is limited.
const PAGE: u64 = 4096;

/// What the journal is cut back to, in bytes.
const JOURNAL: u64 = 16 * 1024 * 1024;
/// The part of the database's limit that the journal may have before no more messages are kept; [`JOURNAL`] at least.
const OF_JOURNAL: u64 = 16;

/// How long the thread that writes waits for a lock. No other process should write to the database at all.
const BUSY: Duration = Duration::from_secs(1);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There is one of that name.
    Exists,
    /// There is none of that name.
    Unknown,
    /// A limit is reached, or the disk is full.
    Full,
}

/// The limits of what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quotas {
    pub(super) accounts: usize,
    pub(super) contacts: usize,
    pub(super) kept: usize,
    pub(super) kept_bytes: usize,
    pub(super) database: u64,
    /// After which time a message is dropped that no user has fetched; 0 for never.
    pub(super) age: Duration,
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    quotas: Quotas,
    place: Place,
    reserve: Reserve,
    journal: PathBuf,
    /// Messages that are not delivered, as they are not what was kept.
    unsound: RefCell<BTreeSet<i64>>,
    /// Held as long as the database is used: two servers on one would not know of each other's groups.
    _locks: [File; 2],
}

impl Store {
    /// Opens the database in `folder`, or makes it.
    pub(super) fn open(folder: &Path, quotas: Quotas) -> Result<Self, Error> {
        create_folder(folder).map_err(|error| Error::Write { path: folder.into(), error })?;
        // Servers of earlier versions lock this file alone.
        let first = lock(folder, "msgpack.lock", false)?;
        let path = folder.join("msgpack.db");
        open_private(&path, true).map_err(|error| Error::Write { path: path.clone(), error })?;
        // And the database itself, which cannot be removed without notice. Where such a lock would be in SQLite's way: the
        // folder.
        let second = match cfg!(target_os = "linux") {
            true => lock(folder, "msgpack.db", true)?,
            false => lock(folder, ".", true)?,
        };
        let wrong = |error: rusqlite::Error| Error::Database { path: path.clone(), error: error.to_string() };
        let mut db = Connection::open(&path).map_err(wrong)?;
        Self::prepare(&mut db, quotas, MIGRATIONS.len()).map_err(wrong)?;
        if let Some(damage) = damage(&db).map_err(wrong)? {
            let advice = "restore a copy, or mend it with `sqlite3 msgpack.db .recover`";
            return Err(Error::Database {
                path,
                error: format!("the database is damaged: {damage}; {advice}"),
            });
        }
        // So that its journal is there, to be watched.
        db.execute_batch("BEGIN IMMEDIATE; COMMIT").map_err(wrong)?;
        let place = Place::of(folder).map_err(|error| Error::Write { path: path.clone(), error })?;
        let reserve = Reserve::new(folder.join("msgpack.reserve"));
        let journal = folder.join("msgpack.db-wal");
        Ok(Self { db, quotas, place, reserve, journal, unsound: RefCell::default(), _locks: [first, second] })
    }

    /// Brings the database to version `version`.
    fn prepare(db: &mut Connection, quotas: Quotas, version: usize) -> rusqlite::Result<()> {
        db.busy_timeout(BUSY)?;
        db.pragma_update(None, "page_size", PAGE)?;
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update_and_check(None, "journal_size_limit", JOURNAL, |_| Ok(()))?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update_and_check(None, "max_page_count", quotas.database / PAGE, |_| Ok(()))?;
        let found: usize = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > MIGRATIONS.len() {
            let text =
                format!("version {found}, made by a later server: at most {} expected", MIGRATIONS.len());
            return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
        }
        for (at, migration) in MIGRATIONS.iter().enumerate().take(version).skip(found) {
            let transaction = db.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", at + 1)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Brings the names of accounts and groups into the form in which the session compares names. A database in which names were
    /// compared by bytes can have several names of one form: the oldest gets it. Returns how many names are left in another form.
    pub(super) fn canonicalize_names(&self) -> rusqlite::Result<usize> {
        self.transaction(|store| {
            let mut left = 0;
            for table in ["users", "groups"] {
                let mut rows = store.db.prepare(&format!("SELECT id, name FROM {table} ORDER BY id"))?;
                let names = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let mut others: Vec<(i64, Vec<u8>)> = names.collect::<Result<_, _>>()?;
                others.retain(|(_, name)| *name_key(name) != **name);
                let mut update =
                    store.db.prepare(&format!("UPDATE OR IGNORE {table} SET name = ?2 WHERE id = ?1"))?;
                for (id, name) in others {
                    if update.execute(params![id, &*name_key(&name)])? == 0 {
                        left += 1;
                    }
                }
            }
            Ok(left)
        })
    }

    /// Runs `f` in one transaction: all that it did is on the disk when this returns, or nothing.
    pub(super) fn transaction<R>(&self, f: impl FnOnce(&Self) -> rusqlite::Result<R>) -> rusqlite::Result<R> {
        self.place.check()?;
        // One that could not be rolled back is tried again, rather than that nothing is ever stored any more.
        self.end_transaction()?;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let result = f(self).and_then(|result| self.db.execute_batch("COMMIT").map(|()| result));
        let result = result.and_then(|result| self.place.check().map(|()| result));
        // Some errors end the transaction by themselves.
        if result.is_err() {
            self.end_transaction()?;
        }
        result
    }

    /// Rolls back a transaction that has not ended.
    fn end_transaction(&self) -> rusqlite::Result<()> {
        if self.db.is_autocommit() { Ok(()) } else { self.db.execute_batch("ROLLBACK") }
    }

    /// Whether the disk has room: then a database that is full has the size that the settings allow, which is no fault.
    pub(super) fn disk_has_room(&self) -> bool {
        const ROOM: u64 = 64 * 1024 * 1024;
        #[cfg(unix)]
        if let Ok(disk) = nix::sys::statvfs::statvfs(&self.journal) {
            #[allow(clippy::unnecessary_cast, reason = "not on every system")]
            return (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64) >= ROOM;
        }
        true
    }

    /// The disk is full: what was reserved can be used, for what makes room. False if it has been.
    pub(super) fn release_reserve(&mut self) -> bool {
        self.reserve.release()
    }

    /// Reserves room again, if it can be had. False if it cannot: then nothing should be stored but what makes room.
    pub(super) fn restore_reserve(&mut self) -> bool {
        if self.reserve.held {
            return true;
        }
        self.checkpoint();
        self.reserve.hold()
    }

    /// Puts what the journal holds into the database, as far as that can be done, so that the journal begins anew.
    pub(super) fn checkpoint(&self) {
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Whether the journal can take more messages: a process that reads for long, as a check of the database or a copy does, keeps it from
    /// beginning anew, and the limit of the database's file is none of its journal.
    pub(super) fn shorten_journal(&self) -> bool {
        let is_short = || {
            let len = std::fs::metadata(&self.journal).map_or(0, |meta| meta.len());
            len <= JOURNAL.max(self.quotas.database / OF_JOURNAL)
        };
        if is_short() {
            return true;
        }
        // Without waiting for who reads.
        let waits = |time| drop(self.db.busy_timeout(time));
        waits(Duration::ZERO);
        self.checkpoint();
        waits(BUSY);
        is_short()
    }

    /// Does something that leaves no trace if it comes to nothing.
    fn attempt(&self, f: impl FnOnce() -> rusqlite::Result<Outcome>) -> rusqlite::Result<Outcome> {
        self.db.execute_batch("SAVEPOINT attempt")?;
        let outcome = f()?;
        self.db.execute_batch(match outcome {
            Outcome::Done => "RELEASE attempt",
            _ => "ROLLBACK TO attempt; RELEASE attempt",
        })?;
        Ok(outcome)
    }

    pub(super) fn register(&self, username: &[u8], password: &str) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let accounts: usize = self
                .db
                .prepare_cached("SELECT coalesce(max(id), 0) FROM users")?
                .query_row([], |row| row.get(0))?;
            if accounts >= self.quotas.accounts {
                return Ok(Outcome::Full);
            }
            let added = self
                .db
                .prepare_cached("INSERT INTO users (name, password) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute(params![username, password])?;
            Ok(if added == 1 { Outcome::Done } else { Outcome::Exists })
        })
    }

    /// Another hash of the same password.
    pub(super) fn rehash(&self, username: &[u8], password: &str) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            self.db
                .prepare_cached("UPDATE users SET password = ?2 WHERE name = ?1")?
                .execute(params![username, password])?;
            Ok(Outcome::Done)
        })
    }

    fn user(&self, username: &[u8]) -> rusqlite::Result<Option<i64>> {
        self.db
            .prepare_cached("SELECT id FROM users WHERE name = ?1")?
            .query_row([username], |row| row.get(0))
            .optional()
    }

    /// Whether both exist; and puts the second on the first one's list if `store`.
    pub(super) fn add_contact(
        &self,
        username: &[u8],
        contact: &[u8],
        store: bool,
    ) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let (Some(user), Some(contact)) = (self.user(username)?, self.user(contact)?) else {
                return Ok(Outcome::Unknown);
            };
            if !store {
                return Ok(Outcome::Done);
            }
            let count: usize = self
                .db
                .prepare_cached("SELECT count(*) FROM contacts WHERE user = ?1")?
                .query_row([user], |row| row.get(0))?;
            if count >= self.quotas.contacts {
                return Ok(Outcome::Full);
            }
            self.db
                .prepare_cached("INSERT OR IGNORE INTO contacts (user, contact) VALUES (?1, ?2)")?
                .execute([user, contact])?;
            Ok(Outcome::Done)
        })
    }

    /// Makes a group with its owner as a member.
    pub(super) fn create_group(&self, name: &[u8], owner: &[u8]) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let Some(owner) = self.user(owner)? else { return Ok(Outcome::Unknown) };
            let added = self
                .db
                .prepare_cached("INSERT INTO groups (name, owner, used) VALUES (?1, ?2, unixepoch()) ON CONFLICT DO NOTHING")?
                .execute(params![name, owner])?;
            if added == 0 {
                return Ok(Outcome::Exists);
            }
            let group = self.db.last_insert_rowid();
            self.db
                .prepare_cached("INSERT INTO members (\"group\", user) VALUES (?1, ?2)")?
                .execute([group, owner])?;
            Ok(Outcome::Done)
        })
    }

    pub(super) fn join_group(&self, name: &[u8], username: &[u8]) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let Some(user) = self.user(username)? else { return Ok(Outcome::Unknown) };
            let joined = self
                .db
                .prepare_cached(
                    "INSERT OR IGNORE INTO members (\"group\", user) SELECT id, ?2 FROM groups WHERE name = ?1",
                )?
                .execute(params![name, user])?;
            Ok(if joined == 1 { Outcome::Done } else { Outcome::Exists })
        })
    }

    /// A group is used today.
    pub(super) fn use_group(&self, name: &[u8]) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let mut update =
                self.db.prepare_cached("UPDATE groups SET used = unixepoch() WHERE name = ?1")?;
            Ok(if update.execute([name])? == 1 { Outcome::Done } else { Outcome::Unknown })
        })
    }

    /// Removes a group, and its members.
    pub(super) fn forget_group(&self, name: &[u8]) -> rusqlite::Result<Outcome> {
        self.attempt(|| {
            let found: Option<i64> = self
                .db
                .prepare_cached("SELECT id FROM groups WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            let Some(group) = found else { return Ok(Outcome::Unknown) };
            self.db.prepare_cached("DELETE FROM members WHERE \"group\" = ?1")?.execute([group])?;
            self.db.prepare_cached("DELETE FROM groups WHERE id = ?1")?.execute([group])?;
            Ok(Outcome::Done)
        })
    }

    /// All groups, each with its owner.
    pub(super) fn groups(&self, mut f: impl FnMut(&[u8], &[u8])) -> rusqlite::Result<()> {
        let sql =
            "SELECT groups.name, users.name FROM groups JOIN users ON users.id = owner ORDER BY groups.id";
        self.pairs(sql, &mut f)
    }

    /// For how long each group has not been used, as far as the clock was set then and is now.
    pub(super) fn unused(&self, mut f: impl FnMut(&[u8], Duration)) -> rusqlite::Result<()> {
        let mut statement =
            self.db.prepare("SELECT name, max(unixepoch() - used, 0) FROM groups WHERE used >= ?1")?;
        let mut rows = statement.query([CLOCK_IS_SET])?;
        while let Some(row) = rows.next()? {
            f(row.get_ref(0)?.as_blob()?, Duration::from_secs(row.get(1)?));
        }
        Ok(())
    }

    /// All members, each with its group.
    pub(super) fn members(&self, mut f: impl FnMut(&[u8], &[u8])) -> rusqlite::Result<()> {
        let sql = "SELECT groups.name, users.name FROM members
            JOIN groups ON groups.id = members.\"group\" JOIN users ON users.id = members.user";
        self.pairs(sql, &mut f)
    }

    fn pairs(&self, sql: &str, f: &mut dyn FnMut(&[u8], &[u8])) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            f(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }
}

/// Whether there is no room for it, in the file or on the disk.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether another process holds a lock on it.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

#[cfg(test)]
pub(super) mod tests;
