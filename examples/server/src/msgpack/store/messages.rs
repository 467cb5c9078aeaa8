//! Messages that are kept for those who are away.

use super::{CLOCK_IS_SET, PAGE, Quotas, Store};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeSet;

/// Messages that are dropped in one transaction because of their age, and copies of them; one message may have more. Some 30 ms.
const DROPPED: usize = 32;
const DROPPED_COPIES: usize = 1000;
/// Messages whose time is set in one transaction, as the clock is set now.
const STAMPED: usize = 1000;

/// Which part of what may be kept one source may take.
const OF_ONE_SOURCE: u64 = 8;

/// A kept message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::msgpack) struct Kept {
    pub(in crate::msgpack) id: i64,
    /// The update, as it is sent.
    pub(in crate::msgpack) body: Vec<u8>,
}

/// What became of a message that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::msgpack) enum Keeping {
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

impl Store {
    /// Keeps a message of `sender`'s for those of `recipients` who exist and have room for it. One sender may take a quarter of
    /// a mailbox, by count and by bytes; all who are not on its contact list three quarters. All messages have three quarters of
    /// the database, so that there is room for accounts and groups; one `source`, if it pays, an eighth of that.
    pub(in crate::msgpack) fn keep(
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

    /// Drops some messages that no user has fetched for too long. Returns how many, and whether there may be more.
    pub(in crate::msgpack) fn drop_old(&self) -> rusqlite::Result<(usize, bool)> {
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
            copies = copies.saturating_add(self.copies(message)?);
            if copies > DROPPED_COPIES && dropped > 0 {
                return Ok((dropped, true));
            }
            self.drop_message(message)?;
            dropped = dropped.saturating_add(1);
        }
        Ok((dropped, dropped == DROPPED || stamped == STAMPED))
    }

    /// How many have not fetched a message.
    fn copies(&self, message: i64) -> rusqlite::Result<usize> {
        self.db
            .prepare_cached("SELECT count(*) FROM kept WHERE message = ?1")?
            .query_row([message], |row| row.get(0))
    }

    /// Drops a message, also where some have not fetched it.
    pub(in crate::msgpack) fn drop_message(&self, message: i64) -> rusqlite::Result<()> {
        // With the last one its body goes, too.
        self.db.prepare_cached("DELETE FROM kept WHERE message = ?1")?.execute([message])?;
        self.db.prepare_cached("DELETE FROM origins WHERE message = ?1")?.execute([message])?;
        Ok(())
    }

    /// What is kept for a user, oldest first, but for `without` and what is damaged: one message, and more as long as all together have at
    /// most `bytes`.
    pub(in crate::msgpack) fn kept(
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

    /// Delivers a message no more, because it is damaged, and says so once. It stays in the database, so that a copy can be restored.
    pub(in crate::msgpack) fn skip(&self, message: i64, why: &str) {
        if self.unsound.borrow_mut().insert(message) {
            tracing::error!(
                message,
                why,
                "a kept message is damaged: it is left out, and stays in msgpack.db"
            );
        }
    }

    /// A user has it.
    pub(in crate::msgpack) fn received(&self, username: &[u8], message: i64) -> rusqlite::Result<()> {
        let sql =
            "DELETE FROM kept WHERE message = ?2 AND recipient = (SELECT id FROM users WHERE name = ?1)";
        self.db.prepare_cached(sql)?.execute(params![username, message])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, QUOTAS};
    use super::*;
    use crate::msgpack::store::{Outcome, Reader};
    use std::time::Duration;

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
        // Two have more copies than are dropped at once.
        let dropped: Vec<_> = core::iter::repeat_with(drop_old).take(5).collect();
        assert_eq!(dropped, [(1, true), (1, true), (1, true), (1, true), (1, false)]);
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
}
