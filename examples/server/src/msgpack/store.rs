//! What has to outlive the server, in SQLite: accounts, contacts, groups, members, and messages for those who are away.
//!
//! Whatever is acknowledged is on the disk: write-ahead log, and synchronised with every transaction. One thread writes; what
//! waits for it goes into one transaction.

use crate::Error;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What makes a database of version n one of version n + 1.
const MIGRATIONS: [&str; 2] = [
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
];

/// The bytes of a page, by which the size of the file is limited.
const PAGE: u64 = 4096;

/// What the journal is cut back to, in bytes.
const JOURNAL: u64 = 16 * 1024 * 1024;

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

/// The limits of what is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quotas {
    pub(super) accounts: usize,
    pub(super) contacts: usize,
    pub(super) kept: usize,
    pub(super) kept_bytes: usize,
    pub(super) database: u64,
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    quotas: Quotas,
    /// Held as long as the database is used: two servers on one would not know of each other's groups.
    _lock: File,
}

impl Store {
    /// Opens the database in `folder`, or makes it.
    pub(super) fn open(folder: &Path, quotas: Quotas) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(|error| Error::Write { path: folder.into(), error })?;
        let path = folder.join("msgpack.lock");
        let lock = File::create(&path).map_err(|error| Error::Write { path: path.clone(), error })?;
        lock.try_lock().map_err(|_| Error::InUse(folder.into()))?;
        let path = folder.join("msgpack.db");
        create_private(&path).map_err(|error| Error::Write { path: path.clone(), error })?;
        let wrong = |error: rusqlite::Error| Error::Database { path: path.clone(), error: error.to_string() };
        let mut db = Connection::open(&path).map_err(wrong)?;
        Self::prepare(&mut db, quotas, MIGRATIONS.len()).map_err(wrong)?;
        Ok(Self { db, quotas, _lock: lock })
    }

    /// Brings the database to version `version`.
    fn prepare(db: &mut Connection, quotas: Quotas, version: usize) -> rusqlite::Result<()> {
        // Nobody else should write to it at all.
        db.busy_timeout(Duration::from_secs(1))?;
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

    /// Runs `f` in one transaction: all that it did is on the disk when this returns, or nothing.
    pub(super) fn transaction<R>(&self, f: impl FnOnce(&Self) -> rusqlite::Result<R>) -> rusqlite::Result<R> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let result = f(self).and_then(|result| self.db.execute_batch("COMMIT").map(|()| result));
        // Some errors end the transaction by themselves.
        if result.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        result
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
                .prepare_cached("INSERT INTO groups (name, owner) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
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

    /// Keeps a message of `sender`'s for those of `recipients` who exist and have room for it. Returns its number; `None` if that
    /// is nobody. One sender may take a quarter of somebody's room.
    pub(super) fn keep(
        &self,
        sender: &[u8],
        recipients: &[Box<[u8]>],
        body: &[u8],
    ) -> rusqlite::Result<Option<i64>> {
        let Some(sender) = self.user(sender)? else { return Ok(None) };
        let Quotas { kept, kept_bytes, .. } = self.quotas;
        let mut takers = Vec::new();
        for recipient in recipients {
            let room = self
                .db
                .prepare_cached(
                    "SELECT id FROM users WHERE name = ?1 AND kept_count < ?2 AND kept_bytes + ?3 <= ?4
                     AND (SELECT count(*) FROM kept WHERE recipient = id AND sender = ?5) < max(?2 / 4, 1)",
                )?
                .query_row(params![recipient, kept, body.len(), kept_bytes, sender], |row| {
                    row.get::<_, i64>(0)
                })
                .optional()?;
            takers.extend(room);
        }
        if takers.is_empty() {
            return Ok(None);
        }
        self.db.prepare_cached("INSERT INTO messages (body) VALUES (?1)")?.execute([body])?;
        let message = self.db.last_insert_rowid();
        for user in takers {
            self.db
                .prepare_cached(
                    "INSERT INTO kept (recipient, message, sender, size) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![user, message, sender, body.len()])?;
        }
        Ok(Some(message))
    }

    /// What is kept for a user, oldest first: one message, and more as long as all together have at most `bytes`.
    pub(super) fn kept(&self, username: &[u8], bytes: usize) -> rusqlite::Result<Vec<Kept>> {
        let sql = "SELECT message, size FROM kept
            WHERE recipient = (SELECT id FROM users WHERE name = ?1) ORDER BY message";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([username])?;
        let (mut kept, mut total): (Vec<Kept>, usize) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (id, size): (i64, usize) = (row.get(0)?, row.get(1)?);
            total = total.saturating_add(size);
            if total > bytes && !kept.is_empty() {
                break;
            }
            let body = self
                .db
                .prepare_cached("SELECT body FROM messages WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            kept.push(Kept { id, body });
        }
        Ok(kept)
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

/// Makes an empty file that nobody else on this machine can read: it will hold passwords' hashes. What SQLite puts beside it is
/// as private.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTAS: Quotas = Quotas { accounts: 4, contacts: 2, kept: 8, kept_bytes: 100, database: 1 << 30 };

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
                        store.register(b"ann", "hash").unwrap(),
                        store.register(b"ann", "other").unwrap(),
                        store.register(b"b\xff\0b", "hash").unwrap(),
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
                let id =
                    store.transaction(|store| store.keep(b"ann", &[b"ann"[..].into()], b"hello")).unwrap();
                assert!(id.is_some());
            }
            let room = |name: &[u8]| (b"room".to_vec(), name.to_vec());
            assert_eq!(groups(&store), [room(b"ann"), room(b"ann"), room(b"b\xff\0b")]);
            assert_eq!(store.kept(b"ann", 1000).unwrap()[0].body, b"hello");
            let reader = Reader::open(&folder.0).unwrap();
            assert_eq!(reader.password(b"ann").unwrap().as_deref(), Some("hash"));
            assert_eq!(reader.password(b"nobody").unwrap(), None);
        }
    }

    #[test]
    fn m_08_messages_are_kept_within_quotas_and_gone_when_the_last_recipient_has_them() {
        let folder = Folder::new("kept");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        for name in ["ann", "bob"] {
            store.register(name.as_bytes(), "hash").unwrap();
        }
        let to = |names: &[&str]| names.iter().map(|name| name.as_bytes().into()).collect::<Vec<Box<[u8]>>>();
        let keep = |sender: &str, names: &[&str], len: usize| {
            store.keep(sender.as_bytes(), &to(names), &vec![7; len]).unwrap()
        };
        let one = keep("bob", &["ann", "bob", "nobody"], 60).unwrap();
        assert_eq!(keep("bob", &["nobody"], 1), None);
        assert_eq!(keep("nobody", &["ann"], 1), None);
        assert_eq!(keep("bob", &["ann"], 60), None, "too many bytes");
        let two = keep("bob", &["ann"], 20).unwrap();
        assert_eq!(keep("bob", &["ann"], 1), None, "a quarter of eight messages");
        let three = keep("ann", &["ann"], 1).unwrap();
        let ids = |name: &str, bytes| {
            store.kept(name.as_bytes(), bytes).unwrap().iter().map(|kept| kept.id).collect::<Vec<_>>()
        };
        assert_eq!((ids("ann", 1000), ids("bob", 1000)), (vec![one, two, three], vec![one]));
        assert_eq!((ids("ann", 80), ids("ann", 0)), (vec![one, two], vec![one]), "one at least");
        let messages = || store.db.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
        store.received(b"ann", one).unwrap();
        assert_eq!((ids("ann", 1000), messages()), (vec![two, three], 3));
        store.received(b"bob", one).unwrap();
        assert_eq!(messages(), 2, "nobody waits for the first any more");
    }

    #[test]
    fn c_04_accounts_contacts_and_the_disk_have_limits() {
        let folder = Folder::new("limits");
        let mut store = Store::open(&folder.0, QUOTAS).unwrap();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(store.register(name.as_bytes(), "hash").unwrap(), Outcome::Done);
        }
        assert_eq!(store.register(b"e", "hash").unwrap(), Outcome::Full);
        for (contact, outcome) in [("b", Outcome::Done), ("c", Outcome::Done), ("d", Outcome::Full)] {
            assert_eq!(store.add_contact(b"a", contact.as_bytes(), true).unwrap(), outcome);
        }
        drop(store);
        let quotas = Quotas { database: 100 * PAGE, kept: 1000, kept_bytes: 1 << 30, ..QUOTAS };
        store = Store::open(&folder.0, quotas).unwrap();
        let body = vec![7; 100_000];
        let keep = |store: &mut Store| {
            let kept = store.transaction(|store| store.keep(b"b", &[b"a"[..].into()], &body));
            kept.map_err(|error| assert!(is_full(&error), "{error}")).is_ok_and(|message| message.is_some())
        };
        let kept: Vec<bool> = (0..10).map(|_| keep(&mut store)).collect();
        assert!(kept[0] && !kept[9], "{kept:?}");
        // And it goes on once there is room.
        for kept in store.kept(b"a", usize::MAX >> 1).unwrap() {
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
            old.execute("INSERT INTO users (name, password) VALUES (CAST('ann' AS BLOB), 'hash')", [])
                .unwrap();
            assert!(old.prepare("SELECT * FROM kept").is_err());
        }
        {
            let store = Store::open(&folder.0, QUOTAS).unwrap();
            assert!(store.keep(b"ann", &[b"ann"[..].into()], b"hello").unwrap().is_some());
        }
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&folder.0, QUOTAS).unwrap_err().to_string();
        assert!(error.contains("version 99, made by a later server"), "{error}");
    }

    #[test]
    fn one_server_at_a_time_uses_a_database() {
        let folder = Folder::new("lock");
        let store = Store::open(&folder.0, QUOTAS).unwrap();
        assert!(matches!(Store::open(&folder.0, QUOTAS), Err(Error::InUse(_))));
        drop(store);
        Store::open(&folder.0, QUOTAS).unwrap();
    }
}
