use super::*;
use crate::config::Config;
use crate::msgpack::store::Quotas;
use crate::msgpack::store::tests::{Folder, QUOTAS};
use crate::recording::Recorder;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use voxwire_core::Handler;
use voxwire_msgpack::{Client, ClientCommand, ClientSettings, ServerEvent};
use voxwire_transport::{Connection, ConnectionSettings, Handle, Hub, HubSettings, Listener};

/// A writer without a session.
fn writer(folder: &Path) -> Writer {
    writer_with(folder, QUOTAS)
}

fn writer_with(folder: &Path, quotas: Quotas) -> Writer {
    let store = Store::open(folder, quotas).unwrap();
    let shared = Arc::new(Shared {
        clock: Clock::start(),
        damaged: AtomicBool::new(false),
        hub: OnceLock::new(),
        delivered: Mutex::default(),
        refusals: crate::refusals::Refusals::new("msgpack", &[]),
        kept: 0.into(),
        transactions: Default::default(),
        hashes: Default::default(),
        control: None,
        tap: Recorder::open(&Config { data: folder.into(), ..Config::default() }, None)
            .tap("msgpack")
            .unwrap()
            .clone(),
    });
    Writer::new(store, shared, Arc::new(Queue::new()), Arc::default())
}

fn keep(ticket: u64, sender: &str, copies: usize, until: Instant) -> Job {
    Job::Keep {
        ticket: Ticket(ticket),
        sender: sender.as_bytes().into(),
        source: None,
        recipients: vec![b"bob"[..].into(); copies],
        body: vec![7; 10],
        until,
    }
}

fn admit(ticket: u64) -> Job {
    let peer = PeerId { slot: 1, generation: 0 };
    Job::Admit { ticket: Ticket(ticket), peer, username: b"ann"[..].into() }
}

const LATER: Instant = Instant::from_nanos(u64::MAX);

/// The tickets of the next transaction.
fn next(writer: &mut Writer) -> Vec<u64> {
    writer.next_batch().jobs.iter().filter_map(|job| job.ticket()).map(|ticket| ticket.0).collect()
}

/// M-08: messages for many who are away hold no log-in up.
#[test]
fn log_ins_do_not_wait_behind_messages_that_are_kept() {
    let folder = Folder::new("storage-turns");
    let mut writer = writer(&folder.0);
    let queue = writer.queue.clone();
    let add = |ticket, copies| {
        let source = Source::Network(b"here"[..].into());
        let refused = queue.add(Instant::ZERO, &source, b"ann", keep(ticket, "ann", copies, LATER));
        assert!(refused.is_empty());
    };
    for (ticket, copies) in [(1, 990), (2, 1), (3, 990), (4, 1)] {
        add(ticket, copies);
    }
    queue.admit(admit(5));
    assert_eq!(next(&mut writer), [5, 1]);
    queue.admit(admit(6));
    add(7, 990);
    assert_eq!(next(&mut writer), [6, 2, 3]);
    // What waits when the server ends is done, and nothing more is taken.
    queue.close();
    let refused =
        queue.add(Instant::ZERO, &Source::Account(b"ann"[..].into()), b"ann", keep(8, "ann", 1, LATER));
    assert_eq!(refused, [(Ticket(8), Code::SERVER_UNAVAILABLE)]);
    assert_eq!(next(&mut writer), [4, 7]);
    assert!(writer.next_batch().end);
    drop(writer);
}

/// F-12, F-25: 94 accounts send as much as they may to a group of a thousand who are away, over and over. What others send is stored
/// in the next transaction, and so are log-ins.
#[test]
fn group_messages_for_many_who_are_away_starve_nobody() {
    let folder = Folder::new("storage-starve");
    let mut writer = writer(&folder.0);
    let queue = writer.queue.clone();
    let clock = writer.shared.clock;
    let (mut sent, mut refused) = (0..2000_u64, Vec::new());
    let mut attack = |refused: &mut Vec<_>, count| {
        for n in sent.by_ref().take(count) {
            let (sender, source) = (format!("eve{}", n % 94), Source::Network([n as u8 % 94][..].into()));
            let job = keep(n, &sender, 1000, LATER);
            refused.extend(queue.add(clock.now(), &source, sender.as_bytes(), job));
        }
    };
    attack(&mut refused, 1504);
    assert!(refused.iter().all(|(_, code)| *code == Code::REQUEST_OVER_LIMIT));
    // No more waits than can be stored in some seconds.
    assert!((1360..1504).contains(&refused.len()), "{}", refused.len());
    for n in 2000..2020 {
        let ann = Source::Network(b"home"[..].into());
        assert!(queue.add(clock.now(), &ann, b"ann", keep(n, "ann", 1, LATER)).is_empty());
        // A neighbour of one of them.
        let bob = Source::Network([7][..].into());
        assert!(queue.add(clock.now(), &bob, b"bob", keep(n + 100, "bob", 1, LATER)).is_empty());
        queue.admit(admit(n + 200));
        let tickets = next(&mut writer);
        for expected in [n, n + 100, n + 200] {
            assert!(tickets.contains(&expected), "{expected}: {tickets:?}");
        }
        attack(&mut refused, 20);
    }
    assert!(refused.iter().all(|(ticket, _)| ticket.0 < 2000));
    drop(writer);
}

/// F-25: what is refused because it took too long is not kept afterwards, whether it waited or the disk did.
#[test]
fn a_message_that_is_refused_because_of_time_is_not_kept() {
    let folder = Folder::new("storage-late");
    let mut writer = writer(&folder.0);
    for name in [b"ann", b"bob"] {
        writer.store.register(name, "$argon2id$v=19$x$y").unwrap();
    }
    let queue = writer.queue.clone();
    let ann = Source::Account(b"ann"[..].into());
    // It is longer ago than the start of the clock: as if it had waited for 20 s.
    let early = Instant::ZERO;
    let add = |now: Instant, job| assert!(queue.add(now, &ann, b"ann", job).is_empty());
    add(early, keep(1, "ann", 1, LATER));
    let now = early.saturating_add(Duration::from_secs(20));
    let batch = queue.take(Duration::ZERO, || now);
    assert!(batch.jobs.is_empty() && batch.late == [Ticket(1)]);
    // It is begun in time, and its sender is told while the disk is busy.
    let soon = writer.shared.clock.now();
    let done = writer.write(vec![keep(2, "ann", 1, soon), keep(3, "ann", 1, LATER)]);
    let done: Vec<Done> = done.unwrap_or_else(|_| panic!()).into_iter().map(|(_, done)| done).collect();
    assert!(matches!(done[..], [Done::Message(Keeping::Late), Done::Message(Keeping::Kept(2))]));
    let kept = writer.store.kept(b"bob", 1000, &BTreeSet::new()).unwrap();
    assert_eq!(kept.iter().map(|kept| kept.id).collect::<Vec<_>>(), [2]);
    drop(writer);
}

/// F-12: hundreds of messages for which there is no room are not tried one after the other.
#[test]
fn what_cannot_be_written_is_tried_once() {
    let folder = Folder::new("storage-room");
    let mut writer = writer(&folder.0);
    writer.store.register(b"ann", "$argon2id$v=19$x$y").unwrap();
    let username = |n: u8| Box::<[u8]>::from([b'a', n]);
    let register = |n: u8| Job::Register {
        ticket: Ticket(n.into()),
        username: username(n),
        password: "$argon2id$v=19$x$y".into(),
    };
    // There is no room for the reserve.
    assert!(writer.store.release_reserve());
    std::fs::create_dir(folder.0.join("msgpack.reserve")).unwrap();
    let keeps = (0..200).map(|n| keep(100 + n, "ann", 1, LATER));
    let (done, undone) = writer.write_each(keeps.chain([register(1)]).collect());
    assert_eq!((done.len(), undone.len(), undone[0].1.len()), (1, 1, 200));
    // Another process holds the lock: each would wait for it.
    let other = rusqlite::Connection::open(folder.0.join("msgpack.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (done, undone) = writer.write_each((2..32).map(register).collect());
    assert_eq!((done.len(), undone.len(), undone[0].1.len()), (0, 1, 30));
    drop((writer, other));
}

/// F-12: thousands of groups that are forgotten at once hold nobody up, and a new one of such a name is not deleted.
#[test]
fn forgotten_groups_are_deleted_a_few_at_a_time() {
    let folder = Folder::new("storage-groups");
    let mut writer = writer(&folder.0);
    writer.store.register(b"ann", "$argon2id$v=19$x$y").unwrap();
    let queue = writer.queue.clone();
    let name = |n: u32| Box::<[u8]>::from(format!("group{n}").as_bytes());
    for n in 0..40 {
        writer.store.create_group(&name(n), b"ann").unwrap();
        queue.forget_group(name(n));
    }
    let create = Job::CreateGroup { ticket: Ticket(1), group_name: name(39), owner: b"ann"[..].into() };
    assert!(queue.add(Instant::ZERO, &Source::Account(b"ann"[..].into()), b"ann", create).is_empty());
    let mut batches = Vec::new();
    while batches.is_empty() || !writer.forgotten.is_empty() {
        let jobs = writer.next_batch().jobs;
        batches.push(jobs.len());
        let done = writer.write(jobs).unwrap_or_else(|_| panic!());
        assert!(done.iter().all(|(_, done)| matches!(done, Done::Outcome(Outcome::Done))));
    }
    assert_eq!(batches, [17, 16, 7]);
    let mut left = Vec::new();
    writer.store.groups(|name, _| left.push(Box::<[u8]>::from(name))).unwrap();
    assert_eq!(left, [name(39)]);
    drop(writer);
}

/// Says who logs in.
struct Door(std::sync::mpsc::Sender<(Ticket, PeerId)>);

impl Handler<Server> for Door {
    fn on_event(&mut self, _: &mut Server, _: Instant, event: ServerEvent<'_>) {
        if let ServerEvent::LoggingIn { ticket, peer, .. } = event {
            self.0.send((ticket, peer)).unwrap();
        }
    }
}

/// A writer with a session, two messages of ann's for bob, and one that he has not read.
fn writer_with_mail(folder: &Path, hall: Handle<Server>) -> Writer {
    let writer = writer_with(folder, Quotas { kept: 40, kept_bytes: 4000, ..QUOTAS });
    writer.shared.hub.set(hall).unwrap();
    for name in [b"ann", b"bob"] {
        writer.store.register(name, "$argon2id$v=19$x$y").unwrap();
    }
    for content in ["read", "read, too", "new"] {
        let mut body = Vec::new();
        let update = ServerMessage::Whisper { sender: "ann".into(), content: content.into() };
        update.encode(&Wire::SERVER, &mut body).unwrap();
        let kept = writer.store.keep(b"ann", None, &[b"bob"[..].into()], &body).unwrap();
        assert!(matches!(kept, Keeping::Kept(_)));
    }
    writer
}

/// Runs `f` with a session, and with a function that logs bob in: when he asks for it, and what he hears until he is in.
fn with_hall(f: impl FnOnce(Handle<Server>, &dyn Fn() -> (Ticket, PeerId), &dyn Fn() -> Vec<String>)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (asked, asks) = channel();
    let (hall, address) = runtime.block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(ServerSettings::DEFAULT, 1, |_| [0; 32]);
        (Hub::spawn(vec![listener], server, Door(asked), HubSettings::DEFAULT).unwrap(), address.to_string())
    });
    let (heard, hears) = channel();
    let log_in = || {
        let (address, heard) = (address.clone(), heard.clone());
        runtime.spawn(async move {
            let client = Client::new(ClientSettings { reconnect: None, ..ClientSettings::DEFAULT });
            let mut bob = Connection::connect(&address, client, ConnectionSettings::DEFAULT).await.unwrap();
            let (username, password) = ("bob".into(), "geheim".into());
            while let Some(next) = bob.next().await {
                let Some(event) = next.result.unwrap() else { continue };
                let event = format!("{event:?}");
                if event == "Connected" {
                    let log_in = ClientCommand::Login { username, password };
                    bob.call(|client, now| client.handle_command(now, log_in)).unwrap();
                } else if heard.send(event).is_err() {
                    break;
                }
            }
        });
        asks.recv_timeout(Duration::from_secs(20)).unwrap()
    };
    let hears = || {
        let next = || hears.recv_timeout(Duration::from_secs(20)).unwrap();
        core::iter::repeat_with(next).take_while(|event| !event.starts_with("LoggedIn")).collect()
    };
    f(hall, &log_in, &hears);
}

/// F-33: who has read the mail, logs out and logs in again is not sent it once more, though the log-in comes before it is deleted.
#[test]
fn log_ins_that_overtake_deletions_bring_no_mail_twice() {
    let folder = Folder::new("storage-again");
    with_hall(|hall, log_in, hears| {
        let mut writer = writer_with_mail(&folder.0, hall);
        let queue = writer.queue.clone();
        let old = |slot: u32| PeerId { slot: 1000 + slot, generation: 7 };
        // What others have read is deleted first.
        for slot in 0..4 {
            queue.arrived(old(slot), [b'x', slot as u8][..].into(), (100..600).collect());
        }
        queue.arrived(old(9), b"bob"[..].into(), vec![1, 2]);
        queue.gone(old(9));
        let (ticket, peer) = log_in();
        queue.admit(Job::Admit { ticket, peer, username: b"bob"[..].into() });
        assert!(writer.step());
        assert!(queue.has_arrived(b"bob", 1), "nothing overtook anything");
        assert_eq!(hears(), [r#"Whisper { sender: "ann", content: "new" }"#]);
    });
}

/// F-33: nor if it could not be deleted, in the transaction in which the user was let in.
#[test]
fn deletions_that_fail_beside_a_log_in_bring_no_mail_twice() {
    let folder = Folder::new("storage-failed");
    with_hall(|hall, log_in, hears| {
        let mut writer = writer_with_mail(&folder.0, hall);
        let queue = writer.queue.clone();
        let other = rusqlite::Connection::open(folder.0.join("msgpack.db")).unwrap();
        other
            .execute_batch("CREATE TRIGGER never BEFORE DELETE ON kept BEGIN SELECT RAISE(ABORT, 'no'); END")
            .unwrap();
        let old = PeerId { slot: 1000, generation: 7 };
        queue.arrived(old, b"bob"[..].into(), vec![1, 2]);
        let (ticket, peer) = log_in();
        queue.admit(Job::Admit { ticket, peer, username: b"bob"[..].into() });
        assert!(writer.step());
        assert_eq!(hears(), [r#"Whisper { sender: "ann", content: "new" }"#]);
    });
}

/// F-33: what arrives on another connection while it is read from the database is not sent, and what comes behind it is.
#[test]
fn what_arrives_elsewhere_while_it_is_read_is_left_out() {
    let folder = Folder::new("storage-elsewhere");
    with_hall(|hall, log_in, hears| {
        let mut writer = writer_with_mail(&folder.0, hall.clone());
        let (ticket, peer) = log_in();
        let other = PeerId { slot: 1000, generation: 7 };
        let part = next_part(&writer.store, b"bob", &BTreeSet::new(), |mail| {
            writer.queue.arrived(other, b"bob"[..].into(), vec![1, 2]);
            hall.call(|server, now| writer.deliver(server, now, peer, b"bob", &mail[..2]))
        });
        assert_eq!(part, Ok(true));
        writer.mail.add(peer, b"bob"[..].into(), false);
        writer.deliver_next();
        // It is sent: something will show that it takes more.
        let part = next_part(&writer.store, b"bob", &BTreeSet::new(), |mail| {
            hall.call(|server, now| writer.deliver(server, now, peer, b"bob", mail))
        });
        assert_eq!(part, Ok(false));
        writer.admit(ticket, peer, b"bob");
        assert_eq!(hears(), [r#"Whisper { sender: "ann", content: "new" }"#]);
    });
}

/// F-12: old messages are dropped though nobody logs in or sends anything: one part after the other, and when it is time to look again.
#[test]
fn old_messages_are_dropped_while_nothing_else_is_done() {
    let folder = Folder::new("storage-old");
    let day = Duration::from_secs(24 * 60 * 60);
    let quotas = Quotas { kept: 1000, kept_bytes: 1 << 20, age: 30 * day, ..QUOTAS };
    let mut writer = writer_with(&folder.0, quotas);
    for name in [b"ann", b"bob"] {
        writer.store.register(name, "$argon2id$v=19$x$y").unwrap();
    }
    let other = rusqlite::Connection::open(folder.0.join("msgpack.db")).unwrap();
    other.busy_timeout(Duration::from_secs(20)).unwrap();
    let keep = |store: &Store| {
        let made = store.transaction(|store| {
            (0..100).try_for_each(|_| store.keep(b"ann", None, &[b"bob"[..].into()], b"hello").map(drop))
        });
        made.unwrap();
        other.execute("UPDATE origins SET since = unixepoch() - 31 * 24 * 60 * 60", []).unwrap();
    };
    let left = || -> i64 { other.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)).unwrap() };
    keep(&writer.store);
    // An hour later than the last time.
    let (queue, clock) = (writer.queue.clone(), writer.shared.clock);
    writer.drop_at = clock.now().saturating_add(Duration::from_millis(300));
    assert_eq!(left(), 100);
    let thread = std::thread::spawn(move || writer.run());
    let until = clock.now().saturating_add(Duration::from_secs(20));
    while left() > 0 && clock.now() < until {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(left(), 0);
    queue.close();
    thread.join().unwrap();
}

/// F-12: the name of a group that could not be deleted is free all the same.
#[test]
fn a_forgotten_group_that_could_not_be_deleted_can_be_made_again() {
    let folder = Folder::new("storage-forgotten");
    let mut writer = writer(&folder.0);
    for name in [b"ann", b"bob"] {
        writer.store.register(name, "$argon2id$v=19$x$y").unwrap();
    }
    writer.store.create_group(b"room", b"ann").unwrap();
    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    let busy = rusqlite::Error::SqliteFailure(busy, None);
    let forget = Job::ForgetGroup { group_name: b"room"[..].into() };
    writer.fail(&busy, vec![forget]);
    let (group_name, owner) = (b"room"[..].into(), b"bob"[..].into());
    let create = Job::CreateGroup { ticket: Ticket(1), group_name, owner };
    let made = perform(&writer.store, &create, &writer.undeleted).unwrap();
    assert!(matches!(made, Done::Outcome(Outcome::Done)));
    let made = perform(&writer.store, &create, &Undeleted::default()).unwrap();
    assert!(matches!(made, Done::Outcome(Outcome::Exists)));
    drop(writer);
}
