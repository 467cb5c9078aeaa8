//! msgpack served by the program: with real libzmq and another implementation at the other end, through crashes of clients and
//! floods of guesses.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod kit;

use kit::user::{User, runtime};
use kit::{Server, command, fails, file, folder, resident};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use voxwire_msgpack::{ClientCommand, ClientEvent, Code, Dialect};
use zeromq::{Socket, SocketRecv, SocketSend, ZmqMessage};

fn start(data: &str, more: &[&str]) -> Server {
    let data = folder(data);
    start_in(data.to_str().unwrap(), more)
}

fn start_in(data: &str, more: &[&str]) -> Server {
    let common = ["--only", "msgpack", "--msgpack-port", "0", "--data", data];
    let http = if more.contains(&"--http") { &[][..] } else { &["--http", "off"] };
    Server::start(&[&common, http, more].concat())
}

/// A Python that has zmq: Debian's, which need not be the first one.
fn python() -> Command {
    for python in ["/usr/bin/python3", "python3"] {
        let works = Command::new(python).args(["-c", "import zmq"]).stderr(Stdio::null()).status();
        if works.is_ok_and(|status| status.success()) {
            let mut command = Command::new(python);
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop.py"));
            return command;
        }
    }
    panic!("no Python with zmq: install the Debian package python3-zmq");
}

const DONE: &str = "code: SUCCESS, again: false }";

#[test]
fn m_09_a_whole_session_with_libzmq_as_the_client_heartbeats_on() {
    let server = start("libzmq", &[]);
    let address = server.address("msgpack zmtp").to_string();
    let output = python().args(["dealer", &address]).output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), out.trim()), (Some(0), "all is well"), "{errors}");
}

#[test]
fn m_09_m_10_our_client_with_libzmq_as_the_server_heartbeats_on() {
    let mut router = python().arg("router").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(router.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port: u16 = lines.next().unwrap().parse().unwrap();
    runtime().block_on(async {
        let mut ann = User::connect(([127, 0, 0, 1], port).into(), Dialect::Zmtp).await;
        ann.log_in("ann").await;
        let group_name = "room".into();
        for request in [
            ClientCommand::AddContact { contact: "bob".into() },
            ClientCommand::Whisper { recipient: "bob".into(), content: "hello".into() },
            ClientCommand::CreateGroup { group_name },
            ClientCommand::JoinGroup { group_name },
            ClientCommand::MsgGroup { group_name, content: "hi".into() },
        ] {
            assert!(ann.ask(request).await.ends_with(DONE));
        }
        let joined = ann.ask(ClientCommand::JoinCall { group_name }).await;
        assert_eq!(joined, r#"CallJoined { group_name: "room", again: false }"#);
        let samples: Vec<i16> = (0..41_900).map(|n| (n * 37 % 65_536 - 32_768) as i16).collect();
        // For longer than the router goes without an answer to its heartbeats.
        for _ in 0..30 {
            ann.send(ClientCommand::Say { samples: samples[..].into() });
            assert_eq!(ann.hear().await, r#"CallData { sender: "echo", samples: 41900 Int samples }"#);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // As the original: no answer to that, and the next one is taken for what it is.
        ann.send(ClientCommand::LeaveCall);
        let recording = ClientCommand::VoiceMsg {
            recipient: "bob".into(),
            channels: 1,
            sample_rate: 44_100,
            samples: samples[..].into(),
        };
        assert!(ann.ask(recording).await.ends_with(DONE));
        assert_eq!(ann.hear().await, "NoAnswer { action: LeaveCall }");
        assert!(ann.ask(ClientCommand::Logout).await.ends_with(DONE));
    });
    let heard: Vec<String> = lines.collect();
    assert!(router.wait().unwrap().success());
    assert_eq!(heard[0], "request register ann geheim");
    assert_eq!(heard.iter().filter(|line| line.starts_with("update call_data ann")).count(), 30);
    assert_eq!(heard.last().unwrap(), "request logout ann");
}

fn objects(texts: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for text in texts {
        body.push(0xa0 | text.len() as u8);
        body.extend(text.as_bytes());
    }
    body
}

#[test]
fn m_09_the_zeromq_crate_talks_to_our_server_and_ours_to_its() {
    let server = start("zeromq", &[]);
    let address = server.address("msgpack zmtp");
    runtime().block_on(async {
        let mut dealer = zeromq::DealerSocket::new();
        dealer.connect(&format!("tcp://{address}")).await.unwrap();
        for (request, answer) in [
            (objects(&["request", "register", "eve", "geheim"]), objects(&["response", "register"])),
            (objects(&["request", "login", "eve", "geheim"]), objects(&["response", "login"])),
        ] {
            dealer.send(ZmqMessage::from(request)).await.unwrap();
            let reply = dealer.recv().await.unwrap();
            assert_eq!(reply.len(), 1);
            let body = reply.get(0).unwrap();
            assert_eq!(&body[..=answer.len()], [&answer[..], &[0]].concat());
        }
        // Nothing but our own client, with ZeroMQ's other side at the other end.
        let mut router = zeromq::RouterSocket::new();
        let endpoint = router.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
        let address: SocketAddr = endpoint.trim_start_matches("tcp://").parse().unwrap();
        let serve = async {
            let request = router.recv().await.unwrap();
            let (identity, body) = (request.get(0).unwrap().clone(), request.get(1).unwrap().clone());
            assert_eq!((request.len(), &body[..]), (2, &objects(&["request", "register", "ann", "x"])[..]));
            let mut reply = ZmqMessage::from([objects(&["response", "register"]), vec![0]].concat());
            reply.push_front(identity);
            router.send(reply).await.unwrap();
        };
        let ask = async {
            let mut ann = User::connect(address, Dialect::Zmtp).await;
            ann.ask(ClientCommand::Register { username: "ann".into(), password: "x".into() }).await
        };
        let ((), answer) = tokio::join!(serve, ask);
        assert_eq!(answer, "Response { action: Register, code: SUCCESS, again: false }");
    });
}

#[test]
fn m_09_plain_objects_on_the_same_port_and_the_reason_before_the_end() {
    let server = start("plain", &[]);
    let address = server.address("msgpack zmtp");
    runtime().block_on(async {
        let mut ann = User::connect(address, Dialect::Plain).await;
        let mut bob = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        bob.log_in("bob").await;
        let whisper = ClientCommand::Whisper { recipient: "ann".into(), content: "hello".into() };
        assert!(bob.ask(whisper).await.ends_with(DONE));
        assert_eq!(ann.hear().await, r#"Whisper { sender: "bob", content: "hello" }"#);
    });
    // A client that cannot be understood is told so, and then closed.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[objects(&["request", "fly"]), vec![7; 5000]].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [objects(&["response", "fly"]), vec![0xcd, 0x03, 0xff]].concat());
}

#[test]
fn m_07_accounts_groups_and_kept_messages_survive_a_restart() {
    let data = folder("restart");
    let data = data.to_str().unwrap();
    let mut server = start_in(data, &[]);
    runtime().block_on(async {
        let mut ann = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
        let mut bob = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
        ann.log_in("ann").await;
        bob.log_in("bob").await;
        assert!(ann.ask(ClientCommand::CreateGroup { group_name: "room".into() }).await.ends_with(DONE));
        assert!(bob.ask(ClientCommand::JoinGroup { group_name: "room".into() }).await.ends_with(DONE));
        assert!(bob.ask(ClientCommand::Logout).await.ends_with(DONE));
        let whisper = ClientCommand::Whisper { recipient: "bob".into(), content: "for later".into() };
        assert!(ann.ask(whisper).await.ends_with(DONE));
        let nobody = ClientCommand::Whisper { recipient: "nobody".into(), content: "x".into() };
        assert!(ann.ask(nobody).await.contains("USER_NOT_CONNECTED"));
    });
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    let server = start_in(data, &[]);
    runtime().block_on(async {
        let mut bob = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
        let (username, password) = ("bob".into(), "geheim".into());
        bob.send(ClientCommand::Login { username, password });
        assert_eq!(bob.hear().await, r#"Whisper { sender: "ann", content: "for later" }"#);
        assert!(bob.hear().await.starts_with("LoggedIn"));
        let joined = bob.ask(ClientCommand::JoinCall { group_name: "room".into() }).await;
        assert_eq!(joined, r#"CallJoined { group_name: "room", again: false }"#);
        // It has been shown that it has arrived.
        bob.ask(ClientCommand::Logout).await;
        bob.send(ClientCommand::Login { username, password });
        assert!(bob.hear().await.starts_with("LoggedIn"));
    });
}

#[test]
fn m_07_the_profile_original_starts_with_the_originals_users_and_says_who_exists() {
    let server = start("original", &["--profile", "original"]);
    runtime().block_on(async {
        let mut ann = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
        let login = |name: &'static str, password: &'static str| ClientCommand::Login {
            username: name.into(),
            password: password.into(),
        };
        assert!(ann.ask(login("nobody", "123")).await.contains("USER_DOES_NOT_EXIST"));
        assert!(ann.ask(login("edoren", "bad")).await.contains("USER_WRONG_PASSWORD"));
        assert!(ann.ask(login("edoren", "123")).await.starts_with("LoggedIn"));
        let whisper = ClientCommand::Whisper { recipient: "pepe".into(), content: "x".into() };
        assert!(ann.ask(whisper).await.contains("USER_NOT_CONNECTED"));
    });
}

#[test]
fn m_07_c_07_settings() {
    let text = "[msgpack]\nregister = false\nkeep = false\nmax-contacts = 1\n\n[msgpack.accounts]\nann = \"geheim\"\nbob = \"geheim\"\n";
    let config = file("msgpack.toml", text);
    let server = start("settings", &["--config", config.to_str().unwrap()]);
    runtime().block_on(async {
        let mut ann = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
        let (username, password) = ("eve".into(), "x".into());
        let refused = ann.ask(ClientCommand::Register { username, password }).await;
        assert!(refused.contains("REQUEST_OVER_LIMIT"), "{refused}");
        let (username, password) = ("ann".into(), "geheim".into());
        assert!(ann.ask(ClientCommand::Login { username, password }).await.starts_with("LoggedIn"));
        let whisper = ClientCommand::Whisper { recipient: "bob".into(), content: "x".into() };
        assert!(ann.ask(whisper).await.contains("USER_NOT_CONNECTED"));
        for (contact, code) in [("bob", "SUCCESS"), ("ann", "REQUEST_OVER_LIMIT")] {
            let add = ClientCommand::AddContact { contact: contact.into() };
            assert!(ann.ask(add).await.contains(code));
        }
    });
    // Passwords do not travel in the clear beyond this machine unless the operator says so.
    let anywhere = ["--only", "msgpack", "--msgpack-port", "0", "--http", "off", "--bind", "0.0.0.0"];
    let (code, error) = fails(&anywhere);
    assert_eq!(code, Some(2));
    assert!(error.contains("msgpack: passwords would travel in the clear on 0.0.0.0"), "{error}");
    // One server to a folder.
    let data = folder("shared");
    let _first = start_in(data.to_str().unwrap(), &[]);
    let second =
        ["--only", "msgpack", "--msgpack-port", "0", "--http", "off", "--data", data.to_str().unwrap()];
    let (code, error) = fails(&second);
    assert_eq!(code, Some(1));
    assert!(error.contains("in use by another server"), "{error}");
    assert!(command(&["--help"]).output().unwrap().status.success());
}

/// What two in a call send each other arrives, all of it.
async fn talk(ann: &mut User, bob: &mut User) {
    let samples = [1000_i16; 4410];
    for name in ["ann", "bob"] {
        let (from, to) = if name == "ann" { (&mut *ann, &mut *bob) } else { (&mut *bob, &mut *ann) };
        from.send(ClientCommand::Say { samples: samples[..].into() });
        from.0.flush().await.unwrap();
        let said = format!(r#"CallData {{ sender: "{name}", samples: 4410 Int samples }}"#);
        assert_eq!(to.hear().await, said);
    }
}

#[test]
fn m_11_attackers_on_real_sockets_cost_nobody_anything() {
    let server = start("attacks", &[]);
    let address = server.address("msgpack zmtp");
    let runtime = runtime();
    let (mut ann, mut bob) = runtime.block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        let mut bob = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        bob.log_in("bob").await;
        let group_name = "room".into();
        ann.ask(ClientCommand::CreateGroup { group_name }).await;
        bob.ask(ClientCommand::JoinGroup { group_name }).await;
        for user in [&mut ann, &mut bob] {
            assert!(user.ask(ClientCommand::JoinCall { group_name }).await.starts_with("CallJoined"));
        }
        (ann, bob)
    });
    let mut greeted = Vec::new();
    voxwire_msgpack::zmtp::put_greeting(&mut greeted);
    voxwire_msgpack::zmtp::put_ready(voxwire_msgpack::zmtp::SocketType::Dealer, &mut greeted);
    let with = |bytes: &[u8]| [&greeted[..], bytes].concat();
    let mut noise = 1_u32;
    let noise: Vec<u8> = (0..4096)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    let login = objects(&["request", "login"]);
    let attacks: Vec<Vec<u8>> = vec![
        vec![0x91; 1 << 20],
        with(&[&[2, 0, 0, 0, 0, 0, 0x10, 0, 0][..], &[0x91; 4000]].concat()),
        with(&[2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        with(&[&[0, login.len() as u8 + 5][..], &login, &[0xdb, 0xff, 0xff, 0xff, 0xff]].concat()),
        with(&[&[0, login.len() as u8 + 2][..], &login, &[0xc1, 0xc1]].concat()),
        with(&[&[1, 0][..], &[0, login.len() as u8], &login].concat()),
        with(&b"\x04\x17\x04PING\x00\x010123456789abcdef".repeat(10_000)),
        greeted[..30].to_vec(),
        noise.clone(),
        with(&noise),
        Vec::new(),
    ];
    let before = resident(&server.child);
    let mut open = Vec::new();
    for round in 0..60 {
        for attack in &attacks {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            // It may close in the middle of it.
            let _ = stream.write_all(attack);
            if round < 10 {
                open.push(stream);
            }
        }
        runtime.block_on(talk(&mut ann, &mut bob));
    }
    let after = resident(&server.child);
    println!("memory before {before} KiB, after {after} KiB");
    assert!(after < before + 32 * 1024, "from {before} to {after} KiB");
    drop(open);
    runtime.block_on(talk(&mut ann, &mut bob));
}

#[test]
fn m_07_c_04_in_a_storm_of_guesses_an_honest_user_is_served_next() {
    let server = start("storm", &["--http", "127.0.0.1:0"]);
    let address = server.address("msgpack zmtp");
    let http = server.address("http tcp");
    let wrong = || -> u64 {
        let mut stream = TcpStream::connect(http).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("voxwire_refusals_total{protocol=\"msgpack\",rule=\"password\"} "));
        line.unwrap_or_else(|| panic!("{text}")).split(' ').nth(1).unwrap().parse().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        drop(ann);
        // A hundred addresses, each with ten connections that guess once a second.
        let mut greeted = Vec::new();
        voxwire_msgpack::zmtp::put_greeting(&mut greeted);
        voxwire_msgpack::zmtp::put_ready(voxwire_msgpack::zmtp::SocketType::Dealer, &mut greeted);
        let guess = objects(&["request", "login", "ann", "falsch"]);
        let guess = [&[0, guess.len() as u8][..], &guess].concat();
        let answered = std::sync::Arc::new(core::sync::atomic::AtomicU64::new(0));
        let mut guessers = Vec::new();
        for n in 0..1000_u32 {
            let (greeted, guess, answered) = (greeted.clone(), guess.clone(), answered.clone());
            guessers.push(tokio::spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.bind(([127, 9, 0, 1 + (n % 100) as u8], 0).into()).unwrap();
                let stream = socket.connect(address).await.unwrap();
                let (mut read, mut write) = stream.into_split();
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                write.write_all(&greeted).await.unwrap();
                let mut greeting = [0; 64 + 43];
                read.read_exact(&mut greeting).await.unwrap();
                loop {
                    if write.write_all(&guess).await.is_err() {
                        return;
                    }
                    let mut answer = [0; 20];
                    if read.read_exact(&mut answer).await.is_err() {
                        return;
                    }
                    answered.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }));
        }
        // Until each of them has failed.
        while wrong() < 150 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut hashed = Vec::new();
        for _ in 0..5 {
            let started = tokio::time::Instant::now();
            let mut ann = User::connect(address, Dialect::Zmtp).await;
            let before = wrong();
            let (username, password) = ("ann".into(), "geheim".into());
            let answer = ann.ask(ClientCommand::Login { username, password }).await;
            assert!(answer.starts_with("LoggedIn"), "{answer}");
            hashed.push(wrong() - before);
            println!(
                "logged in after {:?}, {} guesses looked at meanwhile",
                started.elapsed(),
                hashed.last().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        println!("{} guesses answered in all", answered.load(core::sync::atomic::Ordering::Relaxed));
        // Those whose hashes were being made, and those that had waited for longer with as few failures: none.
        assert!(hashed.iter().all(|&hashed| hashed <= 16), "{hashed:?}");
        guessers.iter().for_each(|guesser| guesser.abort());
    });
}

#[test]
fn m_03_codes_and_events_have_names_for_people() {
    assert_eq!(Code::USER_WRONG_PASSWORD.to_string(), "USER_WRONG_PASSWORD (515)");
    let event = ClientEvent::Response { action: voxwire_msgpack::Action::Login, code: Code(7), again: false };
    assert_eq!(format!("{event:?}"), "Response { action: Login, code: 7, again: false }");
}

/// M-13: `echo`, which is no group of a user's.
#[test]
fn m_13_who_joins_the_call_of_echo_hears_itself() {
    for (data, more) in [("echo", &[][..]), ("echo-off", &["--msgpack-echo", "false"])] {
        let server = start(data, more);
        runtime().block_on(async {
            let mut ann = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
            ann.log_in("ann").await;
            let group_name = "echo".into();
            let joined = ann.ask(ClientCommand::JoinCall { group_name }).await;
            if !more.is_empty() {
                assert!(joined.contains("GROUP_DOES_NOT_EXIST"), "{joined}");
                return;
            }
            assert!(joined.starts_with("CallJoined"), "{joined}");
            let heard = ann.ask(ClientCommand::Say { samples: (&[7_i16; 80][..]).into() }).await;
            assert!(heard.starts_with("CallData") && heard.contains("echo"), "{heard}");
            let made = ann.ask(ClientCommand::CreateGroup { group_name }).await;
            assert!(made.contains("GROUP_ALREADY_EXIST"), "{made}");
        });
    }
}
