//! What of control has to outlive the server, in SQLite: bans, and who did what. All that is acknowledged is on the disk.

use super::bans::{Ban, MOST};
use crate::Error;
use crate::private_files::{create_folder, make_private, open_private};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// The file, in the folder of what is stored.
pub(super) const FILE: &str = "control.db";

/// Actions that are kept: older ones are dropped.
const ACTIONS: i64 = 10_000;

/// What makes a database of version n one of version n + 1.
const MIGRATIONS: [&str; 1] = ["CREATE TABLE bans (
         id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT, name TEXT, reason TEXT NOT NULL, by TEXT NOT NULL,
         since INTEGER NOT NULL, until INTEGER
     );
     CREATE TABLE actions (
         id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, by TEXT NOT NULL, action TEXT NOT NULL,
         details TEXT NOT NULL
     );"];

/// Something that an operator has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Action {
    pub(super) id: i64,
    /// Seconds since 1970.
    pub(super) at: i64,
    /// Who.
    pub(super) by: String,
    /// What.
    pub(super) action: String,
    /// The request, and how it went.
    pub(super) details: serde_json::Value,
}

/// The connection to the database.
#[derive(Debug)]
pub(super) struct Store(Connection);

impl Store {
    /// Opens the database in `folder`, or makes it.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        create_folder(folder).map_err(|error| Error::Write { path: folder.into(), error })?;
        // The folder may be a link that the operator has made. The file may be none that somebody else has.
        let folder = folder.canonicalize().map_err(|error| Error::Write { path: path.clone(), error })?;
        let path = folder.join(FILE);
        let file = open_private(&path, false).map_err(|error| Error::Write { path: path.clone(), error })?;
        make_private(&file).map_err(|error| Error::Write { path: path.clone(), error })?;
        let wrong = |error: rusqlite::Error| Error::Database { path: path.clone(), error: error.to_string() };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut db = Connection::open_with_flags(&path, flags).map_err(wrong)?;
        Self::prepare(&mut db).map_err(wrong)?;
        Ok(Self(db))
    }

    fn prepare(db: &mut Connection) -> rusqlite::Result<()> {
        db.busy_timeout(Duration::from_secs(1))?;
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        db.pragma_update(None, "synchronous", "FULL")?;
        let found: usize = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > MIGRATIONS.len() {
            let text =
                format!("version {found}, made by a later server: at most {} expected", MIGRATIONS.len());
            return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
        }
        for (at, migration) in MIGRATIONS.iter().enumerate().skip(found) {
            let transaction = db.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", at + 1)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Every ban that has not ended.
    pub(super) fn each_ban(&self, now: i64, mut each: impl FnMut(Ban)) -> rusqlite::Result<()> {
        let mut rows = self.0.prepare("SELECT * FROM bans WHERE until IS NULL OR until > ?1")?;
        let bans = rows.query_map([now], ban)?;
        for ban in bans {
            each(ban?);
        }
        Ok(())
    }

    /// How many bans have not ended, and some of them, by number.
    pub(super) fn bans(&self, now: i64, offset: usize, limit: usize) -> rusqlite::Result<(usize, Vec<Ban>)> {
        let held = "FROM bans WHERE until IS NULL OR until > ?1";
        let count = self.0.query_row(&format!("SELECT count(*) {held}"), [now], |row| row.get(0))?;
        let mut rows = self.0.prepare(&format!("SELECT * {held} ORDER BY id LIMIT ?2 OFFSET ?3"))?;
        let bans = rows.query_map(params![now, limit, offset], ban)?.collect::<Result<_, _>>()?;
        Ok((count, bans))
    }

    /// Stores a ban, whose number comes out; `None` if there are as many as may be. Those that have ended are forgotten.
    pub(super) fn add_ban(&self, now: i64, ban: &Ban) -> rusqlite::Result<Option<i64>> {
        self.0.execute("DELETE FROM bans WHERE until <= ?1", [now])?;
        let count: usize = self.0.query_row("SELECT count(*) FROM bans", [], |row| row.get(0))?;
        if count >= MOST {
            return Ok(None);
        }
        let Ban { address, name, reason, by, since, until, .. } = ban;
        self.0.execute(
            "INSERT INTO bans (address, name, reason, by, since, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![address, name, reason, by, since, until],
        )?;
        Ok(Some(self.0.last_insert_rowid()))
    }

    /// Removes a ban, which comes out.
    pub(super) fn remove_ban(&self, id: i64) -> rusqlite::Result<Option<Ban>> {
        self.0.query_row("DELETE FROM bans WHERE id = ?1 RETURNING *", [id], ban).optional()
    }

    /// When the bans end that there are of the subject of this one.
    pub(super) fn ends(&self, now: i64, ban: &Ban) -> rusqlite::Result<Vec<Option<i64>>> {
        let same =
            "SELECT until FROM bans WHERE address IS ?1 AND name IS ?2 AND (until IS NULL OR until > ?3)";
        let mut rows = self.0.prepare(same)?;
        rows.query_map(params![ban.address, ban.name, now], |row| row.get(0))?.collect()
    }

    /// Takes note of an action.
    pub(super) fn note(&self, at: i64, by: &str, action: &str, details: &str) -> rusqlite::Result<()> {
        let insert = "INSERT INTO actions (at, by, action, details) VALUES (?1, ?2, ?3, ?4)";
        self.0.execute(insert, params![at, by, action, details])?;
        let oldest = self.0.last_insert_rowid().saturating_sub(ACTIONS);
        self.0.execute("DELETE FROM actions WHERE id <= ?1", [oldest])?;
        Ok(())
    }

    /// How many actions are kept, and some of them, the newest first.
    pub(super) fn actions(&self, offset: usize, limit: usize) -> rusqlite::Result<(usize, Vec<Action>)> {
        let count = self.0.query_row("SELECT count(*) FROM actions", [], |row| row.get(0))?;
        let mut rows = self.0.prepare("SELECT * FROM actions ORDER BY id DESC LIMIT ?1 OFFSET ?2")?;
        let actions = rows.query_map(params![limit, offset], |row| {
            let details: String = row.get("details")?;
            Ok(Action {
                id: row.get("id")?,
                at: row.get("at")?,
                by: row.get("by")?,
                action: row.get("action")?,
                details: serde_json::from_str(&details).unwrap_or_default(),
            })
        })?;
        Ok((count, actions.collect::<Result<_, _>>()?))
    }
}

fn ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    Ok(Ban {
        id: row.get("id")?,
        address: row.get("address")?,
        name: row.get("name")?,
        reason: row.get("reason")?,
        by: row.get("by")?,
        since: row.get("since")?,
        until: row.get("until")?,
    })
}
