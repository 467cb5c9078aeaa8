//! What has to outlive the server, in SQLite: accounts, contacts, groups, members, and messages for those who are away.
//!
//! Whatever is acknowledged is on the disk: write-ahead log, and synchronised with every transaction. One thread writes; what
//! waits for it goes into one transaction.

use crate::Error;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
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

/// Messages that are dropped in one transaction because of their age, and copies of them; one message may have more. Some 30 ms.
const DROPPED: usize = 32;
const DROPPED_COPIES: usize = 1000;
/// Messages whose time is set in one transaction, as the clock is set now.
const STAMPED: usize = 1000;

/// A clock that says less, in seconds since 1970, has not been set: 2024.
const CLOCK_IS_SET: i64 = 1_704_067_200;

/// Which part of what may be kept one source may take.
const OF_ONE_SOURCE: u64 = 8;

/// The bytes of a page, by which the size of the file is limited.
const PAGE: u64 = 4096;

/// Room on the disk that is kept for taking note of what has been delivered, in bytes: so that a disk which is full becomes emptier.
const RESERVE: usize = 2 * 1024 * 1024;

/// What the journal is cut back to, in bytes.
const JOURNAL: u64 = 16 * 1024 * 1024;
/// The part of the database's limit that the journal may have before no more messages are kept; [`JOURNAL`] at least.
const OF_JOURNAL: u64 = 16;

/// How long the thread that writes waits for a lock. Nobody else should write to the database at all.
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

/// A kept message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: i64,
    /// The update, as it is sent.
    pub(super) body: Vec<u8>,
}

/// What became of a message that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// It is kept, under this number.
    Kept(i64),
    /// There is no such user.
    Unknown,
    /// There is no room for it in the mailbox.
    Full,
    /// There is no room for it in the database, or its source has too much there.
    NoRoom,
    /// It was kept too late, and is taken back.
    Late,
}

/// The limits of what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quotas {
    pub(super) accounts: usize,
    pub(super) contacts: usize,
    pub(super) kept: usize,
    pub(super) kept_bytes: usize,
    pub(super) database: u64,
    /// After which time a message is dropped that nobody has fetched; 0 for never.
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
        // And the database itself, which cannot be removed without anybody's noticing. Where such a lock would be in SQLite's way: the
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

    /// Whether the journal can take more messages: somebody who reads for long, as a check of the database or a copy does, keeps it from
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

    /// Keeps a message of `sender`'s for those of `recipients` who exist and have room for it. One sender may take a quarter of
    /// somebody's room, by count and by bytes; all who are not on its contact list three quarters. All messages have three quarters of
    /// the database, so that there is room for accounts and groups; one `source`, if it pays, an eighth of that.
    pub(super) fn keep(
        &self,
        sender: &[u8],
        source: Option<&[u8]>,
        recipients: &[Box<[u8]>],
        body: &[u8],
    ) -> rusqlite::Result<Keeping> {
        let Some(sender) = self.user(sender)? else { return Ok(Keeping::Unknown) };
        let (mut takers, mut known) = (Vec::new(), false);
        for recipient in recipients {
            let Some(recipient) = self.user(recipient)? else { continue };
            known = true;
            if self.has_room(recipient, sender, body.len())? {
                takers.push(recipient);
            }
        }
        if takers.is_empty() {
            return Ok(if known { Keeping::Full } else { Keeping::Unknown });
        }
        if !self.has_place(source, body.len() as u64)? {
            return Ok(Keeping::NoRoom);
        }
        self.db
            .prepare_cached("INSERT INTO messages (body, checksum) VALUES (?1, ?2)")?
            .execute(params![body, crc32fast::hash(body)])?;
        let message = self.db.last_insert_rowid();
        self.db
            .prepare_cached(
                "INSERT INTO origins (message, since, source, size) VALUES (?1, unixepoch(), ?2, ?3)",
            )?
            .execute(params![message, source, body.len()])?;
        for user in takers {
            self.db
                .prepare_cached(
                    "INSERT INTO kept (recipient, message, sender, size) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![user, message, sender, body.len()])?;
        }
        Ok(Keeping::Kept(message))
    }

    /// Whether one more message of `sender`'s can be kept for `recipient`.
    fn has_room(&self, recipient: i64, sender: i64, len: usize) -> rusqlite::Result<bool> {
        let Quotas { kept, kept_bytes, .. } = self.quotas;
        let two = |row: &rusqlite::Row<'_>| Ok((row.get::<_, usize>(0)?, row.get::<_, usize>(1)?));
        let (count, bytes) = self
            .db
            .prepare_cached("SELECT kept_count, kept_bytes FROM users WHERE id = ?1")?
            .query_row([recipient], two)?;
        let (sent, sent_bytes) = self
            .db
            .prepare_cached("SELECT count, bytes FROM shares WHERE recipient = ?1 AND sender = ?2")?
            .query_row([recipient, sender], two)
            .optional()?
            .unwrap_or_default();
        let is_contact = self
            .db
            .prepare_cached("SELECT 1 FROM contacts WHERE user = ?1 AND contact = ?2")?
            .exists([recipient, sender])?;
        let of_all = |all: usize| if is_contact { all } else { (all - all / 4).max(1) };
        let fits = |used: usize, more: usize, all: usize| used.saturating_add(more) <= all;
        Ok(fits(count, 1, of_all(kept))
            && fits(bytes, len, of_all(kept_bytes))
            && fits(sent, 1, (kept / 4).max(1))
            && fits(sent_bytes, len, kept_bytes / 4))
    }

    /// Whether the database has room for `len` more bytes of messages, and those of `source` are not too many.
    fn has_place(&self, source: Option<&[u8]>, len: u64) -> rusqlite::Result<bool> {
        let pragma = |name: &str| {
            self.db
                .prepare_cached(&format!("SELECT * FROM pragma_{name}"))?
                .query_row([], |row| row.get::<_, u64>(0))
        };
        let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?).saturating_mul(PAGE);
        let most = self.quotas.database / 4 * 3;
        let Some(source) = source else { return Ok(used.saturating_add(len) <= most) };
        let of_it: Option<u64> = self
            .db
            .prepare_cached("SELECT bytes FROM sources WHERE source = ?1")?
            .query_row([source], |row| row.get(0))
            .optional()?;
        let of_it = of_it.unwrap_or(0).saturating_add(len);
        Ok(used.saturating_add(len) <= most && of_it <= most / OF_ONE_SOURCE)
    }

    /// Drops some messages that nobody has fetched for too long. Returns how many, and whether there may be more.
    pub(super) fn drop_old(&self) -> rusqlite::Result<(usize, bool)> {
        if self.quotas.age.is_zero() {
            return Ok((0, false));
        }
        // Stamped by a clock that had not been set.
        let stamped = self
            .db
            .prepare_cached(
                "UPDATE origins SET since = unixepoch() WHERE unixepoch() >= ?1
                    AND message IN (SELECT message FROM origins WHERE since < ?1 LIMIT ?2)",
            )?
            .execute(params![CLOCK_IS_SET, STAMPED])?;
        let mut statement = self.db.prepare_cached(
            "SELECT message FROM origins WHERE since >= ?1 AND since < unixepoch() - ?2 ORDER BY since LIMIT ?3",
        )?;
        let old = statement
            .query_map(params![CLOCK_IS_SET, self.quotas.age.as_secs(), DROPPED], |row| row.get(0))?;
        let old: Vec<i64> = old.collect::<Result<_, _>>()?;
        let (mut dropped, mut copies) = (0_usize, 0_usize);
        for message in old {
            if copies >= DROPPED_COPIES {
                return Ok((dropped, true));
            }
            copies = copies.saturating_add(self.drop_message(message)?);
            dropped = dropped.saturating_add(1);
        }
        Ok((dropped, dropped == DROPPED || stamped == STAMPED))
    }

    /// Drops a message, whoever has not fetched it. Returns how many those were.
    pub(super) fn drop_message(&self, message: i64) -> rusqlite::Result<usize> {
        // With the last one its body goes, too.
        let copies = self.db.prepare_cached("DELETE FROM kept WHERE message = ?1")?.execute([message])?;
        self.db.prepare_cached("DELETE FROM origins WHERE message = ?1")?.execute([message])?;
        Ok(copies)
    }

    /// What is kept for a user, oldest first, but for `without` and what is damaged: one message, and more as long as all together have at
    /// most `bytes`.
    pub(super) fn kept(
        &self,
        username: &[u8],
        bytes: usize,
        without: &BTreeSet<i64>,
    ) -> rusqlite::Result<Vec<Kept>> {
        let sql = "SELECT message, size FROM kept
            WHERE recipient = (SELECT id FROM users WHERE name = ?1) ORDER BY message";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([username])?;
        let (mut kept, mut total): (Vec<Kept>, usize) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (id, size): (i64, usize) = (row.get(0)?, row.get(1)?);
            if without.contains(&id) || self.unsound.borrow().contains(&id) {
                continue;
            }
            let after = total.saturating_add(size);
            if after > bytes && !kept.is_empty() {
                break;
            }
            match self.body(id)? {
                Ok(body) => {
                    total = after;
                    kept.push(Kept { id, body });
                }
                Err(why) => self.skip(id, why),
            }
        }
        Ok(kept)
    }

    /// The body of a message, or why it is not what was kept.
    fn body(&self, id: i64) -> rusqlite::Result<Result<Vec<u8>, &'static str>> {
        let found = self
            .db
            .prepare_cached("SELECT body, checksum FROM messages WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<i64>>(1)?)));
        match found {
            Ok((body, Some(checksum))) if i64::from(crc32fast::hash(&body)) != checksum => {
                Ok(Err("its checksum is another one"))
            }
            Ok((body, _)) => Ok(Ok(body)),
            // It is this one that cannot be read, and those behind it have nothing to do with that.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
                Ok(Err("its pages cannot be read"))
            }
            Err(rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..)) => {
                Ok(Err("its row is no message's"))
            }
            Err(error) => Err(error),
        }
    }

    /// Delivers a message no more, because it is damaged, and says so once. It stays in the database, for whoever restores a copy.
    pub(super) fn skip(&self, message: i64, why: &str) {
        if self.unsound.borrow_mut().insert(message) {
            tracing::error!(
                message,
                why,
                "a kept message is damaged: it is left out, and stays in msgpack.db"
            );
        }
    }

    /// A user has it.
    pub(super) fn received(&self, username: &[u8], message: i64) -> rusqlite::Result<()> {
        let sql =
            "DELETE FROM kept WHERE message = ?2 AND recipient = (SELECT id FROM users WHERE name = ?1)";
        self.db.prepare_cached(sql)?.execute(params![username, message])?;
        Ok(())
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

/// Messages that are checked in one transaction.
const CHECKED: usize = 32;

/// A connection that only reads: for those who look passwords up.
#[derive(Debug)]
pub(super) struct Reader(Connection);

impl Reader {
    pub(super) fn open(folder: &Path) -> rusqlite::Result<Self> {
        let path: PathBuf = folder.join("msgpack.db");
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5))?;
        Ok(Self(db))
    }

    /// What is wrong with the database, if anything is.
    pub(super) fn damage(&self) -> rusqlite::Result<Option<String>> {
        damage(&self.0)
    }

    /// The kept messages whose checksum is another one than their body's.
    pub(super) fn unsound(&self) -> rusqlite::Result<Vec<i64>> {
        // A few at a time: as long as somebody reads, the journal grows with all that is written.
        let sql = "SELECT id, body, checksum FROM messages WHERE id > ?1 ORDER BY id LIMIT ?2";
        let (mut statement, mut unsound, mut after) = (self.0.prepare(sql)?, Vec::new(), Some(i64::MIN));
        while let Some(last) = after.take() {
            let mut rows = statement.query(params![last, CHECKED])?;
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                let body = row.get_ref(1)?.as_bytes().unwrap_or_default();
                let checksum: Option<i64> = row.get(2).unwrap_or(Some(-1));
                if checksum.is_some_and(|checksum| checksum != crc32fast::hash(body).into()) {
                    unsound.push(id);
                }
                after = Some(id);
            }
        }
        Ok(unsound)
    }

    /// The hash of a user's password.
    pub(super) fn password(&self, username: &[u8]) -> rusqlite::Result<Option<String>> {
        self.0
            .prepare_cached("SELECT password FROM users WHERE name = ?1")?
            .query_row([username], |row| row.get(0))
            .optional()
    }
}

/// Whether there is no room for it, in the file or on the disk.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Whether somebody else holds a lock on it.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// What is wrong with a database, if anything is: pages that cannot be read, indices that are not those of their tables, rows that
/// refer to nothing, and passwords that are no hashes.
fn damage(db: &Connection) -> rusqlite::Result<Option<String>> {
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

/// Makes a folder that nobody else on this machine can look into, unless it is there.
fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Opens a file for writing, or makes one that nobody else on this machine can read: it will hold passwords' hashes. What SQLite puts
/// beside it is as private. What is in it stays.
fn open_private(path: &Path, follow: bool) -> io::Result<File> {
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

/// Locks a file of `folder`, or the folder itself.
fn lock(folder: &Path, name: &str, follow: bool) -> Result<File, Error> {
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
struct Place(Vec<(PathBuf, (u64, u64))>);

impl Place {
    fn of(folder: &Path) -> io::Result<Self> {
        let paths = ["msgpack.db", "msgpack.db-wal"].map(|name| folder.join(name));
        let files = paths.into_iter().map(|path| identity(&path).map(|identity| (path, identity)));
        files.collect::<io::Result<_>>().map(Self)
    }

    fn check(&self) -> rusqlite::Result<()> {
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
struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    fn new(path: PathBuf) -> Self {
        let mut reserve = Self { path, held: false };
        if !reserve.hold() {
            tracing::warn!(path = %reserve.path.display(), "the disk is full: no messages are kept");
        }
        reserve
    }

    fn hold(&mut self) -> bool {
        self.held = self.fill().is_ok();
        if !self.held {
            let _ = std::fs::remove_file(&self.path);
        }
        self.held
    }

    fn fill(&self) -> io::Result<()> {
        use io::Write as _;
        let mut file = open_private(&self.path, false)?;
        let has = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // Written, not only claimed.
        file.write_all(&vec![0; RESERVE.saturating_sub(has)])?;
        file.sync_all()
    }

    fn release(&mut self) -> bool {
        core::mem::take(&mut self.held) && std::fs::remove_file(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTAS: Quotas =
        Quotas { accounts: 4, contacts: 2, kept: 8, kept_bytes: 400, database: 1 << 30, age: Duration::ZERO };

    /// A folder of its own, which goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("voxwire-store-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn groups(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        store.groups(|group, owner| all.push((group.into(), owner.into()))).unwrap();
        store.members(|group, user| all.push((group.into(), user.into()))).unwrap();
        all
    }

    #[test]
    fn m_07_accounts_contacts_groups_and_messages_outlive_the_store() {
        let folder = Folder::new("outlive");
        for round in 0..2 {
            let store = Store::open(&folder.0, QUOTAS).unwrap();
            if round == 0 {
                let all = store.transaction(|store| {
                    Ok([
                        store.register(b"ann", "$argon2id$x$hash").unwrap(),
                        store.register(b"ann", "other").unwrap(),
                        store.register(b"b\xff\0b", "$argon2id$x$hash").unwrap(),
                        store.add_contact(b"ann", b"b\xff\0b", true).unwrap(),
                        store.add_contact(b"ann", b"nobody", true).unwrap(),
                        store.create_group(b"room", b"ann").unwrap(),
                        store.create_group(b"room", b"b\xff\0b").unwrap(),
                        store.join_group(b"room", b"b\xff\0b").unwrap(),
                        store.join_group(b"room", b"b\xff\0b").unwrap(),
                        store.join_group(b"nowhere", b"ann").unwrap(),
                    ])
                });
                use Outcome::{Done, Exists, Unknown};
                let expected = [Done, Exists, Done, Done, Unknown, Done, Exists, Done, Exists, Exists];
                assert_eq!(all.unwrap(), expected);
                let id = store
                    .transaction(|store| store.keep(b"ann", None, &[b"ann"[..].into()], b"hello"))
                    .unwrap();
                assert!(matches!(id, Keeping::Kept(_)));
            }
            let room = |name: &[u8]| (b"room".to_vec(), name.to_vec());
            assert_eq!(groups(&store), [room(b"ann"), room(b"ann"), room(b"b\xff\0b")]);
            assert_eq!(store.kept(b"ann", 1000, &BTreeSet::new()).unwrap()[0].body, b"hello");
            let reader = Reader::open(&folder.0).unwrap();
            assert_eq!(reader.password(b"ann").unwrap().as_deref(), Some("$argon2id$x$hash"));
            assert_eq!(reader.password(b"nobody").unwrap(), None);
        }
    }

    fn to(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn keep(store: &Store, sender: &str, names: &[&str], len: usize) -> Result<i64, Keeping> {
        match store.keep(sender.as_bytes(), None, &to(names), &vec![7; len]).unwrap() {
            Keeping::Kept(id) => Ok(id),
            other => Err(other),
        }
    }

    /// F-07
    #[test]
    fn m_08_messages_are_kept_within_quotas_and_gone_when_the_last_recipient_has_them() {
        let folder = Folder::new("kept");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        for name in ["ann", "bob"] {
            store.register(name.as_bytes(), "$argon2id$x$x").unwrap();
        }
        let one = keep(&store, "bob", &["ann", "bob", "nobody"], 60).unwrap();
        assert_eq!(keep(&store, "bob", &["nobody"], 1), Err(Keeping::Unknown));
        assert_eq!(keep(&store, "nobody", &["ann"], 1), Err(Keeping::Unknown));
        assert_eq!(keep(&store, "bob", &["ann"], 41), Err(Keeping::Full), "a quarter of the bytes");
        let two = keep(&store, "bob", &["ann"], 20).unwrap();
        assert_eq!(keep(&store, "bob", &["ann"], 1), Err(Keeping::Full), "a quarter of eight messages");
        let three = keep(&store, "ann", &["ann"], 1).unwrap();
        let ids = |name: &str, bytes, without: &[i64]| {
            let without = without.iter().copied().collect();
            let kept = store.kept(name.as_bytes(), bytes, &without).unwrap();
            kept.iter().map(|kept| kept.id).collect::<Vec<_>>()
        };
        assert_eq!((ids("ann", 1000, &[]), ids("bob", 1000, &[])), (vec![one, two, three], vec![one]));
        assert_eq!((ids("ann", 80, &[]), ids("ann", 0, &[])), (vec![one, two], vec![one]), "one at least");
        assert_eq!(ids("ann", 0, &[one, two]), [three], "what could not be deleted is not delivered again");
        let messages = || store.db.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
        store.received(b"ann", one).unwrap();
        assert_eq!((ids("ann", 1000, &[]), messages()), (vec![two, three], 3));
        store.received(b"bob", one).unwrap();
        assert_eq!(messages(), 2, "nobody waits for the first any more");
    }

    /// F-07: who has many accounts fills three quarters of a mailbox; the rest is for those on the contact list.
    #[test]
    fn strangers_leave_room_for_contacts() {
        let folder = Folder::new("strangers");
        let quotas = Quotas { accounts: 20, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        for name in ["ann", "bob", "a", "b", "c", "d", "e"] {
            store.register(name.as_bytes(), "$argon2id$x$x").unwrap();
        }
        store.add_contact(b"ann", b"bob", true).unwrap();
        let kept = ["a", "b", "c", "d", "e"].map(|name| keep(&store, name, &["ann"], 100).is_ok());
        assert_eq!(kept, [true, true, true, false, false]);
        assert!(keep(&store, "bob", &["ann"], 100).is_ok());
        assert_eq!(keep(&store, "bob", &["ann"], 1), Err(Keeping::Full));
    }

    /// F-07: kept messages leave a quarter of the database to accounts and groups, and one source takes an eighth of theirs.
    #[test]
    fn kept_messages_leave_room_for_accounts_and_one_source_has_a_part() {
        let folder = Folder::new("room");
        let database = 4 << 20;
        let quotas = Quotas { accounts: 99, kept: 1000, kept_bytes: 1 << 30, database, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        for name in ["ann", "bob"] {
            store.register(name.as_bytes(), "$argon2id$x$x").unwrap();
        }
        let keep = |source: Option<&[u8]>| {
            store.transaction(|store| store.keep(b"bob", source, &to(&["ann"]), &[7; 100_000])).unwrap()
        };
        let mut of_one = 0;
        while let Keeping::Kept(_) = keep(Some(b"here")) {
            of_one += 1;
        }
        assert_eq!(of_one, 3, "an eighth of 3 MiB");
        assert!(matches!(keep(Some(b"there")), Keeping::Kept(_)));
        let mut all = 4;
        while let Keeping::Kept(_) = keep(None) {
            all += 1;
        }
        assert!((25..32).contains(&all), "{all}");
        assert_eq!(keep(None), Keeping::NoRoom);
        // Accounts and groups go on.
        for n in 0..50 {
            let made =
                store.transaction(|store| store.register(format!("user{n}").as_bytes(), "$argon2id$x$x"));
            assert_eq!(made.unwrap(), Outcome::Done);
            let made = store.transaction(|store| store.create_group(format!("group{n}").as_bytes(), b"ann"));
            assert_eq!(made.unwrap(), Outcome::Done);
        }
        // What is fetched counts no more.
        for kept in store.kept(b"ann", usize::MAX >> 1, &BTreeSet::new()).unwrap() {
            store.received(b"ann", kept.id).unwrap();
        }
        assert!(matches!(keep(Some(b"here")), Keeping::Kept(_)));
        let sources: i64 = store.db.query_row("SELECT count(*) FROM sources", [], |row| row.get(0)).unwrap();
        assert_eq!(sources, 1);
    }

    /// F-07: what nobody fetches is dropped in the end.
    #[test]
    fn messages_that_nobody_fetches_are_dropped() {
        let folder = Folder::new("old");
        let day = Duration::from_secs(24 * 60 * 60);
        let quotas = Quotas { kept: 1000, kept_bytes: 1 << 20, age: 30 * day, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        for name in ["ann", "bob"] {
            store.register(name.as_bytes(), "$argon2id$x$x").unwrap();
        }
        for _ in 0..DROPPED + 10 {
            keep(&store, "bob", &["ann", "bob"], 100).unwrap();
        }
        let age = |days: i64| {
            let sql = "UPDATE origins SET since = unixepoch() - ?1 * 24 * 60 * 60";
            store.db.execute(sql, [days]).unwrap();
        };
        let drop_old = || store.transaction(Store::drop_old).unwrap();
        age(29);
        assert_eq!(drop_old(), (0, false));
        age(31);
        let fresh = keep(&store, "bob", &["ann"], 100).unwrap();
        assert_eq!([drop_old(), drop_old(), drop_old()], [(DROPPED, true), (10, false), (0, false)]);
        let kept = store.kept(b"ann", 1 << 20, &BTreeSet::new()).unwrap();
        assert_eq!(kept.iter().map(|kept| kept.id).collect::<Vec<_>>(), [fresh]);
        let counts = "SELECT (SELECT sum(kept_count) FROM users), (SELECT count(*) FROM messages),
            (SELECT sum(count) FROM shares)";
        let counts = store.db.query_row(counts, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]));
        let counts: [i64; 3] = counts.unwrap();
        assert_eq!(counts, [1, 1, 1]);
        // A clock that was not set when it was kept says nothing of its age.
        age(20_000);
        assert_eq!(drop_old(), (0, false));
        // Or never, where that is the setting.
        age(300);
        let store = Store { quotas: Quotas { age: Duration::ZERO, ..quotas }, ..store };
        assert_eq!(store.transaction(Store::drop_old).unwrap(), (0, false));
    }

    /// F-12: old messages for many are dropped a few at a time: the thread that drops them is the one that lets people in.
    #[test]
    fn old_messages_for_many_are_dropped_a_few_at_a_time() {
        let folder = Folder::new("old-many");
        let day = Duration::from_secs(24 * 60 * 60);
        let quotas = Quotas { accounts: 2000, kept: 100, kept_bytes: 1 << 20, age: 30 * day, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        let all: Vec<Box<[u8]>> = (0..700).map(|n| format!("user{n}").as_bytes().into()).collect();
        let made = store.transaction(|store| {
            all.iter().try_for_each(|name| store.register(name, "$argon2id$x$x").map(drop))?;
            (0..5).try_for_each(|_| store.keep(&all[0], None, &all, b"hello").map(drop))?;
            store.db.execute("UPDATE origins SET since = unixepoch() - 31 * 24 * 60 * 60", [])
        });
        assert_eq!(made.unwrap(), 5);
        let drop_old = || store.transaction(Store::drop_old).unwrap();
        assert_eq!([drop_old(), drop_old(), drop_old()], [(2, true), (2, true), (1, false)]);
        // Nor does a clock that is set now have all of them stamped at once.
        let many: usize = STAMPED + 10;
        let made = store.transaction(|store| {
            let mut statement = store.db.prepare("INSERT INTO messages (body) VALUES (x'61')")?;
            (0..many).try_for_each(|_| statement.execute([]).map(drop))?;
            store.db.execute("INSERT INTO origins SELECT id, 7, NULL, 1 FROM messages", [])
        });
        assert_eq!(made.unwrap(), many);
        assert_eq!([drop_old(), drop_old()], [(0, true), (0, false)]);
    }

    /// F-12: while somebody reads, the journal grows; messages do not fill the disk with it.
    #[test]
    fn the_journal_is_bounded_while_somebody_reads() {
        let folder = Folder::new("journal");
        let quotas = Quotas { kept: 1000, kept_bytes: 1 << 28, ..QUOTAS };
        let store = Store::open(&folder.0, quotas).unwrap();
        store.register(b"ann", "$argon2id$x$x").unwrap();
        let reader = Connection::open(folder.0.join("msgpack.db")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let read = || reader.query_row("SELECT count(*) FROM messages", [], |row| row.get::<_, i64>(0));
        read().unwrap();
        let keep = || {
            let body = vec![7; 4 << 20];
            store.transaction(|store| store.keep(b"ann", None, &to(&["ann"]), &body)).unwrap();
        };
        let mut stored = 0;
        while store.shorten_journal() {
            keep();
            stored += 4;
            assert!(stored < 100, "{stored} MiB");
        }
        assert!(stored > 60, "a sixteenth of the database: {stored} MiB");
        reader.execute_batch("COMMIT").unwrap();
        assert!(store.shorten_journal());
        keep();
    }

    /// A transaction that could not be rolled back does not keep all later ones from beginning.
    #[test]
    fn a_transaction_that_did_not_end_is_rolled_back_by_the_next() {
        let folder = Folder::new("rollback");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        store.db.execute_batch("BEGIN").unwrap();
        store.register(b"eve", "$argon2id$x$x").unwrap();
        let made = store.transaction(|store| store.register(b"ann", "$argon2id$x$x"));
        assert_eq!(made.unwrap(), Outcome::Done);
        assert!(store.db.is_autocommit() && store.user(b"eve").unwrap().is_none());
    }

    /// F-12
    #[test]
    fn groups_can_be_removed_and_say_when_they_were_used() {
        let folder = Folder::new("groups");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        for name in ["ann", "bob"] {
            store.register(name.as_bytes(), "$argon2id$x$x").unwrap();
        }
        for group in [&b"lonely"[..], b"room"] {
            assert_eq!(store.create_group(group, b"ann").unwrap(), Outcome::Done);
        }
        store.join_group(b"room", b"bob").unwrap();
        let outcomes = [&b"lonely"[..], b"room", b"nowhere"].map(|group| store.forget_group(group).unwrap());
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Unknown]);
        assert!(groups(&store).is_empty());
        for group in [&b"lonely"[..], b"room", b"early"] {
            assert_eq!(store.create_group(group, b"bob").unwrap(), Outcome::Done);
        }
        store.db.execute("UPDATE groups SET used = unixepoch() - 100 * 24 * 60 * 60", []).unwrap();
        store.db.execute("UPDATE groups SET used = 7 WHERE name = CAST('early' AS BLOB)", []).unwrap();
        assert_eq!(store.use_group(b"room").unwrap(), Outcome::Done);
        assert_eq!(store.use_group(b"nowhere").unwrap(), Outcome::Unknown);
        let mut unused = Vec::new();
        store.unused(|name, time| unused.push((name.to_vec(), time.as_secs() / (24 * 60 * 60)))).unwrap();
        unused.sort();
        assert_eq!(unused, [(b"lonely".to_vec(), 100), (b"room".to_vec(), 0)]);
    }

    /// F-49
    #[test]
    fn m_07_a_damaged_database_is_not_used() {
        let folder = Folder::new("damage");
        let path = folder.0.join("msgpack.db");
        {
            let store = Store::open(&folder.0, Quotas { accounts: 2000, ..QUOTAS }).unwrap();
            let made = store.transaction(|store| {
                (0..1000).try_for_each(|n: u32| {
                    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$salt{n}$hash{n}");
                    store.register(format!("user{n}").as_bytes(), &hash).map(drop)
                })
            });
            made.unwrap();
            assert_eq!(Reader::open(&folder.0).unwrap().damage().unwrap(), None);
        }
        let whole = std::fs::read(&path).unwrap();
        let pages = whole.len() / PAGE as usize;
        let mut noticed = 0;
        // Each page but the first in its turn.
        for page in 1..pages {
            let mut bytes = whole.clone();
            bytes[page * PAGE as usize..][..PAGE as usize].fill(0);
            std::fs::write(&path, &bytes).unwrap();
            match Store::open(&folder.0, QUOTAS) {
                Ok(_) => {}
                Err(Error::Database { .. }) => noticed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(noticed, pages - 1);
        // A hash that is none.
        std::fs::write(&path, &whole).unwrap();
        Connection::open(&path).unwrap().execute("UPDATE users SET password = 'x' WHERE id = 7", []).unwrap();
        let error = Store::open(&folder.0, QUOTAS).unwrap_err().to_string();
        assert!(error.contains("the database is damaged: a password's hash is none"), "{error}");
    }

    /// F-49: a body that is not what was kept any more is not delivered as if it were, and keeps back nothing behind it.
    #[test]
    fn m_07_a_damaged_message_is_left_out_and_those_behind_it_are_delivered() {
        let folder = Folder::new("body");
        let path = folder.0.join("msgpack.db");
        let quotas = Quotas { kept: 100, kept_bytes: 1 << 24, ..QUOTAS };
        let mut rng = voxwire_core::testing::Rng::new(1);
        let mut body = |len| (0..len).map(|_| rng.below(256) as u8).collect::<Vec<u8>>();
        let bodies = [body(900), body(50_000), body(900)];
        {
            let store = Store::open(&folder.0, quotas).unwrap();
            store.register(b"ann", "$argon2id$x$x").unwrap();
            for body in &bodies {
                let kept = store.transaction(|store| store.keep(b"ann", None, &[b"ann"[..].into()], body));
                assert!(matches!(kept, Ok(Keeping::Kept(_))));
            }
            store.checkpoint();
        }
        let whole = std::fs::read(&path).unwrap();
        // Where the second one's bytes are: in pages of which each begins with the number of the next.
        let pages: Vec<usize> = bodies[1]
            .chunks_exact(64)
            .filter_map(|chunk| whole.windows(64).position(|window| window == chunk))
            .collect();
        assert!(pages.len() > 700, "{}", pages.len());
        let reads = |store: &Store| -> Vec<Vec<u8>> {
            let kept = store.kept(b"ann", 1, &BTreeSet::new()).unwrap();
            let first = kept.iter().map(|kept| kept.id).collect();
            let rest = store.kept(b"ann", 1 << 20, &first).unwrap();
            kept.into_iter().chain(rest).map(|kept| kept.body).collect()
        };
        for seed in 0..8 {
            let mut rng = voxwire_core::testing::Rng::new(seed);
            let mut bytes = whole.clone();
            let at = pages[rng.below(pages.len() as u64) as usize];
            for byte in &mut bytes[at..at + 64] {
                *byte = rng.below(256) as u8;
            }
            std::fs::write(&path, &bytes).unwrap();
            let store = Store::open(&folder.0, quotas).unwrap();
            assert_eq!(Reader::open(&folder.0).unwrap().unsound().unwrap(), [2]);
            for _ in 0..2 {
                assert!(reads(&store) == [&bodies[0][..], &bodies[2]], "{seed}");
            }
        }
        // Nor is one whose pages lead nowhere, should that come about while the server runs.
        std::fs::write(&path, &whole).unwrap();
        let store = Store::open(&folder.0, quotas).unwrap();
        assert!(Reader::open(&folder.0).unwrap().unsound().unwrap().is_empty());
        store.db.execute("UPDATE messages SET body = 7, checksum = 7 WHERE id = 2", []).unwrap();
        assert!(reads(&store) == [&bodies[0][..], &bodies[2]]);
    }

    /// F-49: what is written to files that are gone is lost, and must not be acknowledged.
    #[test]
    fn m_07_writes_fail_once_the_files_are_gone() {
        for gone in ["msgpack.db", "msgpack.db-wal", ""] {
            let folder = Folder::new("gone");
            let store = Store::open(&folder.0, QUOTAS).unwrap();
            let register =
                |name: &str| store.transaction(|store| store.register(name.as_bytes(), "$argon2id$x$x"));
            assert_eq!(register("ann").unwrap(), Outcome::Done);
            match gone {
                "" => std::fs::remove_dir_all(&folder.0).unwrap(),
                file => std::fs::remove_file(folder.0.join(file)).unwrap(),
            }
            let error = register("bob").unwrap_err().to_string();
            assert!(error.contains("is not there any more"), "{gone}: {error}");
        }
    }

    /// F-10
    #[cfg(unix)]
    #[test]
    fn the_lock_follows_no_link_cuts_nothing_and_tells_errors_apart() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = Folder::new("lock-link");
        let (target, lock) = (folder.0.join("precious"), folder.0.join("msgpack.lock"));
        std::fs::write(&target, "precious").unwrap();
        for target in [target.clone(), folder.0.join("nowhere")] {
            symlink(&target, &lock).unwrap();
            let error = Store::open(&folder.0, QUOTAS).unwrap_err();
            assert!(matches!(error, Error::Write { .. }), "{error}");
            assert!(error.to_string().contains("symbolic link, which is not followed"), "{error}");
            assert!(!folder.0.join("nowhere").exists());
            std::fs::remove_file(&lock).unwrap();
        }
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        std::fs::write(&lock, "who").unwrap();
        drop(Store::open(&folder.0, QUOTAS).unwrap());
        assert_eq!(std::fs::read(&lock).unwrap(), b"who");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        let error = Store::open(&folder.0, QUOTAS).unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error}");
        // F-49: what is made is its owner's alone.
        let inner = folder.0.join("a/b");
        let store = Store::open(&inner, QUOTAS).unwrap();
        store.register(b"ann", "$argon2id$x$x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&folder.0.join("a"))), (0o700, 0o700));
        for entry in std::fs::read_dir(&inner).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn c_04_accounts_contacts_and_the_disk_have_limits() {
        let folder = Folder::new("limits");
        let mut store = Store::open(&folder.0, QUOTAS).unwrap();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(store.register(name.as_bytes(), "$argon2id$x$hash").unwrap(), Outcome::Done);
        }
        assert_eq!(store.register(b"e", "$argon2id$x$hash").unwrap(), Outcome::Full);
        for (contact, outcome) in [("b", Outcome::Done), ("c", Outcome::Done), ("d", Outcome::Full)] {
            assert_eq!(store.add_contact(b"a", contact.as_bytes(), true).unwrap(), outcome);
        }
        drop(store);
        let quotas = Quotas { database: 100 * PAGE, kept: 1000, kept_bytes: 1 << 30, ..QUOTAS };
        store = Store::open(&folder.0, quotas).unwrap();
        let body = vec![7; 100_000];
        let keep = |store: &mut Store| {
            let kept = store.transaction(|store| store.keep(b"b", None, &[b"a"[..].into()], &body));
            kept.map_err(|error| assert!(is_full(&error), "{error}"))
                .is_ok_and(|message| matches!(message, Keeping::Kept(_)))
        };
        let kept: Vec<bool> = (0..10).map(|_| keep(&mut store)).collect();
        assert!(kept[0] && !kept[9], "{kept:?}");
        // And it goes on once there is room.
        for kept in store.kept(b"a", usize::MAX >> 1, &BTreeSet::new()).unwrap() {
            store.received(b"a", kept.id).unwrap();
        }
        assert!(keep(&mut store));
    }

    #[test]
    fn databases_of_earlier_versions_are_brought_up_to_date_and_later_ones_refused() {
        let folder = Folder::new("versions");
        let path = folder.0.join("msgpack.db");
        {
            let mut old = Connection::open(&path).unwrap();
            Store::prepare(&mut old, QUOTAS, 1).unwrap();
            old.execute(
                "INSERT INTO users (name, password) VALUES (CAST('ann' AS BLOB), '$argon2id$x$hash')",
                [],
            )
            .unwrap();
            assert!(old.prepare("SELECT * FROM kept").is_err());
        }
        // What was kept before shares were counted is counted.
        {
            let mut old = Connection::open(&path).unwrap();
            Store::prepare(&mut old, QUOTAS, 3).unwrap();
            old.execute_batch(
                "INSERT INTO messages (body) VALUES (x'6162'); INSERT INTO kept VALUES (1, 1, 1, 2);",
            )
            .unwrap();
            drop(old);
            let store = Store::open(&folder.0, QUOTAS).unwrap();
            let sum = |table: &str, column: &str| -> i64 {
                let sql = format!("SELECT coalesce(sum({column}), 0) FROM {table}");
                store.db.query_row(&sql, [], |row| row.get(0)).unwrap()
            };
            assert_eq!((sum("shares", "bytes"), sum("origins", "size")), (2, 2));
            store.received(b"ann", 1).unwrap();
            assert_eq!((sum("shares", "count"), sum("origins", "size"), sum("messages", "1")), (0, 0, 0));
        }
        {
            let store = Store::open(&folder.0, QUOTAS).unwrap();
            let kept = store.keep(b"ann", None, &[b"ann"[..].into()], b"hello").unwrap();
            assert!(matches!(kept, Keeping::Kept(_)));
            // What was kept before there were checksums is delivered as it is.
            store.db.execute("UPDATE messages SET checksum = NULL; ", []).unwrap();
            assert_eq!(store.kept(b"ann", 1, &BTreeSet::new()).unwrap()[0].body, b"hello");
            assert!(Reader::open(&folder.0).unwrap().unsound().unwrap().is_empty());
        }
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&folder.0, QUOTAS).unwrap_err().to_string();
        assert!(error.contains("version 99, made by a later server"), "{error}");
    }

    /// F-05: an account that was made when names were compared by bytes is found by its canonical form.
    #[test]
    fn names_of_earlier_versions_are_brought_into_canonical_form() {
        let folder = Folder::new("canonical");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        let (nfd, nfc) = ("Jose\u{301}".as_bytes(), "Jos\u{e9}".as_bytes());
        store.register(nfd, "$argon2id$x$old").unwrap();
        store.register(b"ann", "$argon2id$x$ann").unwrap();
        assert_eq!(store.canonicalize_names().unwrap(), 0);
        let reader = Reader::open(&folder.0).unwrap();
        assert_eq!(reader.password(nfc).unwrap().as_deref(), Some("$argon2id$x$old"));
        // Two of one form: none is lost, and the one that has the form keeps it.
        store.register(nfd, "$argon2id$x$new").unwrap();
        assert_eq!(store.canonicalize_names().unwrap(), 1);
        assert_eq!(reader.password(nfc).unwrap().as_deref(), Some("$argon2id$x$old"));
        assert_eq!(reader.password(nfd).unwrap().as_deref(), Some("$argon2id$x$new"));
    }

    #[test]
    fn one_server_at_a_time_uses_a_database() {
        let folder = Folder::new("lock");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        assert!(matches!(Store::open(&folder.0, QUOTAS), Err(Error::InUse(_))));
        // F-49: nor if somebody has removed the lock.
        std::fs::remove_file(folder.0.join("msgpack.lock")).unwrap();
        assert!(matches!(Store::open(&folder.0, QUOTAS), Err(Error::InUse(_))));
        drop(store);
        Store::open(&folder.0, QUOTAS).unwrap();
    }
}
