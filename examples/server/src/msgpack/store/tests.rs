//! The database, opened, used and damaged.
use super::*;

pub(in crate::msgpack) const QUOTAS: Quotas =
    Quotas { accounts: 4, contacts: 2, kept: 8, kept_bytes: 400, database: 1 << 30, age: Duration::ZERO };

/// A folder of its own, which goes with it.
pub(in crate::msgpack) struct Folder(pub(in crate::msgpack) PathBuf);

impl Folder {
    pub(in crate::msgpack) fn new(name: &str) -> Self {
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
            let id =
                store.transaction(|store| store.keep(b"ann", None, &[b"ann"[..].into()], b"hello")).unwrap();
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

/// F-12: while a process reads, the journal grows; messages do not fill the disk with it.
#[test]
fn the_journal_is_bounded_while_another_process_reads() {
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
        store.transaction(|store| store.keep(b"ann", None, &[b"ann"[..].into()], &body)).unwrap();
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
    // F-49: nor if a process has removed the lock.
    std::fs::remove_file(folder.0.join("msgpack.lock")).unwrap();
    assert!(matches!(Store::open(&folder.0, QUOTAS), Err(Error::InUse(_))));
    drop(store);
    Store::open(&folder.0, QUOTAS).unwrap();
}
