//! M-07: the server is killed (`kill -9`) at a random moment while clients write, again and again: all that was acknowledged is
//! there afterwards. 200 rounds; for more: `cargo test -p voxwire-server --test crash -- 1000`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod kit;

use kit::user::{User, runtime};
use kit::{Server, folder};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use voxwire_core::testing::Rng;
use voxwire_msgpack::{ClientCommand, Dialect};

const NAME: &str = "m_07_all_that_was_acknowledged_survives_kill_9_at_any_moment";

/// What the server has said it would not lose.
#[derive(Debug, Default)]
struct Acknowledged {
    users: BTreeSet<String>,
    /// Group and member.
    members: BTreeSet<(String, String)>,
    /// Whose list, and who is on it.
    contacts: BTreeSet<(String, String)>,
    kept: BTreeSet<String>,
}

fn main() {
    let mut rounds = 200;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--list" => {
                println!("{NAME}: test");
                return;
            }
            flag if flag.starts_with('-') => {}
            number if number.parse::<u64>().is_ok() => rounds = number.parse().unwrap(),
            // A filter, as other tests take it.
            filter if NAME.contains(filter) => {}
            _ => return,
        }
    }
    let data = folder("crash");
    let mut rng = Rng::new(u64::from(std::process::id()));
    let (mut all, mut busy) = (0, 0);
    for round in 0..rounds {
        let mut server = Server::start(&[
            "--only",
            "msgpack",
            "--msgpack-port",
            "0",
            "--http",
            "off",
            "--data",
            data.to_str().unwrap(),
        ]);
        let mut acknowledged = Acknowledged::default();
        let after = Duration::from_millis(rng.below(150));
        runtime().block_on(work(&server, round, after, &mut acknowledged));
        server.child.wait().unwrap();
        let count = check(&data, &acknowledged);
        all += count;
        busy += u64::from(count > 0);
        if round % 50 == 49 {
            println!("round {}: {all} acknowledged writes, all there", round + 1);
        }
    }
    println!("test {NAME} ... ok: {rounds} rounds, {busy} with acknowledged writes, {all} of them in all");
    assert!(busy * 2 > rounds, "most rounds have to have something to lose");
    std::fs::remove_dir_all(&data).unwrap();
}

/// Three clients write, until the server is killed.
async fn work(server: &Server, round: u64, after: Duration, acknowledged: &mut Acknowledged) {
    let address = server.address("msgpack zmtp");
    let connect = || User::connect(address, Dialect::Zmtp);
    let (mut newcomer, mut owner, mut sender) = (connect().await, connect().await, connect().await);
    if round == 0 {
        let mut away = connect().await;
        away.log_in("away").await;
    }
    owner.log_in(&format!("owner{round}")).await;
    sender.log_in("sender").await;
    let Acknowledged { users, members, contacts, kept } = acknowledged;
    let done =
        |answer: Option<String>| answer.map(|answer| answer.ends_with("code: SUCCESS, again: false }"));
    let register = async {
        for n in 0.. {
            let name = format!("user{round}x{n}");
            newcomer.send(ClientCommand::Register { username: name.as_str().into(), password: "x".into() });
            match done(newcomer.hear_or_end().await) {
                Some(true) => users.insert(name),
                Some(false) => panic!("{name} is refused"),
                None => return,
            };
        }
    };
    let group = async {
        let me = format!("owner{round}");
        for n in 0..60 {
            let name = format!("group{round}x{n}");
            owner.send(ClientCommand::CreateGroup { group_name: name.as_str().into() });
            match done(owner.hear_or_end().await) {
                Some(true) => members.insert((name, me.clone())),
                Some(false) => panic!("{name} is refused"),
                None => return,
            };
        }
    };
    let send = async {
        for n in 0..70 {
            let text = format!("text{round}x{n}");
            let (recipient, content) = ("away".into(), text.as_str().into());
            sender.send(ClientCommand::Whisper { recipient, content });
            match done(sender.hear_or_end().await) {
                Some(true) => kept.insert(text),
                // The box is full, after some hundred rounds.
                Some(false) => false,
                None => return,
            };
            let contact = format!("owner{}", round.saturating_sub(n));
            sender.send(ClientCommand::AddContact { contact: contact.as_str().into() });
            match done(sender.hear_or_end().await) {
                Some(true) => contacts.insert(("sender".into(), contact)),
                Some(false) => false,
                None => return,
            };
        }
    };
    let kill = async {
        tokio::time::sleep(after).await;
        server.signal("-KILL");
    };
    tokio::join!(register, group, send, kill);
}

/// Looks into the database for all of it; returns how much that was.
fn check(data: &Path, acknowledged: &Acknowledged) -> u64 {
    let db = Connection::open(data.join("msgpack.db")).unwrap();
    let verdict: String = db.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let there = |sql: &str, values: [&str; 2]| {
        let values = values.map(str::as_bytes);
        db.prepare_cached(sql).unwrap().exists(values).unwrap()
    };
    let Acknowledged { users, members, contacts, kept } = acknowledged;
    for user in users {
        assert!(there("SELECT 1 FROM users WHERE name = ?1 AND ?2 = ?2", [user, ""]), "{user} is lost");
    }
    let sql = "SELECT 1 FROM members JOIN groups ON groups.id = members.\"group\" JOIN users ON users.id = members.user
        WHERE groups.name = ?1 AND users.name = ?2";
    for (group, member) in members {
        assert!(there(sql, [group, member]), "{member} of {group} is lost");
    }
    let sql = "SELECT 1 FROM contacts JOIN users AS a ON a.id = user JOIN users AS b ON b.id = contact
        WHERE a.name = ?1 AND b.name = ?2";
    for (user, contact) in contacts {
        assert!(there(sql, [user, contact]), "{contact} on the list of {user} is lost");
    }
    let sql = "SELECT 1 FROM kept JOIN messages ON messages.id = message WHERE instr(body, ?1) AND ?2 = ?2";
    for text in kept {
        assert!(there(sql, [text, ""]), "{text} is lost");
    }
    (users.len() + members.len() + contacts.len() + kept.len()) as u64
}
