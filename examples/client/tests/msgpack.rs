//! C-08: every action of `voxwire-client msgpack`, against a server of its own.
#![allow(missing_docs)]

mod kit;

use kit::{Client, Server, temporary};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use voxwire_audio::{Clip, SampleFormat, compare, load, read, resample, save_wav};
use voxwire_server::{Msgpack, Protocol};

fn server() -> Server {
    let server = Server::start(Protocol::MSGPACK);
    for user in ["ann", "bob"] {
        let (code, out, errors) = server.client(&format!("register --user {user}"));
        assert_eq!((code, out), (Some(0), format!("{user} has an account now\n")), "{errors}");
    }
    server
}

/// Speech as a call carries it.
fn speech(name: &str) -> (std::path::PathBuf, Clip) {
    let clip = resample(&read(voxwire_audio::SPEECH).unwrap().clip.mono(), 44_100).unwrap();
    let samples = clip.samples.iter().take(3 * 44_100);
    let samples = samples.map(|sample| (sample * 32_768.0).round() / 32_768.0).collect();
    let (path, clip) = (temporary(name), Clip { samples, ..clip });
    save_wav(&path, &clip, SampleFormat::I16).unwrap();
    (path, clip)
}

#[test]
fn m_10_c_08_accounts_contacts_and_groups() {
    let server = server();
    let fails = |arguments: &str, reason: &str| {
        let (code, _, errors) = server.client(arguments);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    };
    let works = |arguments: &str, text: &str| {
        let (code, out, errors) = server.client(arguments);
        assert_eq!(code, Some(0), "{errors}");
        assert!(out.ends_with(&format!("{text}\n")), "{out}");
    };
    fails("register --user ann", "register refused: the name is taken (513)");
    works("login --user ann", "logged in as ann");
    let mut wrong = server.command("login --user ann");
    let wrong = wrong.env("VOXWIRE_PASSWORD", "falsch").output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("wrong name or password (515)"));
    works("add-contact bob --user ann", "bob is on the list");
    fails("add-contact nobody --user ann", "there is no such user (514)");
    works("create-group room --user ann", "room is there, and ann in it");
    fails("create-group room --user bob", "there is a group of that name (767)");
    fails("send room hello --user bob", "not a member (770)");
    works("join-group room --user bob", "bob is a member of room");
    fails("join-group nowhere --user bob", "there is no such group (768)");
    fails("call nowhere --user bob", "there is no such group (768)");
    fails(
        "whisper nobody hello --user ann",
        "no such user, or the user is not logged in and this server keeps no messages (512)",
    );
    // Plain objects over TCP say the same.
    works("login --user ann --plain", "logged in as ann");
    // What makes no sense is said before anything is connected.
    for (arguments, reason) in [
        ("login", "who are you?"),
        ("voice-message bob --user ann", "what should it say?"),
        ("voice-message bob --user ann --play tone", "how long should it be?"),
    ] {
        let (code, _, errors) = server.client(arguments);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn m_10_c_08_a_password_may_come_from_standard_input() {
    let server = server();
    for (typed, code) in [("geheim\n", 0), ("falsch\n", 1), ("\n", 1)] {
        let mut command = server.command("login --user ann");
        command
            .env_remove("VOXWIRE_PASSWORD")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{typed:?}");
    }
}

#[test]
fn m_10_c_08_texts_are_heard_by_those_who_wait_and_kept_for_those_who_do_not() {
    let server = server();
    let json =
        |out: &str| -> Vec<Value> { out.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let (code, ..) = server.client("create-group room --user ann");
    assert_eq!(code, Some(0));
    let bob = server.spawn("wait --keep --user bob", "waiting for messages");
    assert_eq!(server.client("join-group room --user bob").0, Some(0));
    assert_eq!(server.client("whisper bob good morning --user ann").0, Some(0));
    bob.until("ann: good morning");
    assert_eq!(server.client("send room hi all --user ann").0, Some(0));
    bob.until("[room] ann: hi all");
    bob.signal("-INT");
    assert_eq!(bob.end().0, Some(0));
    // Nobody waits now: it is there at the next log-in, once.
    assert_eq!(server.client("whisper bob for later \u{202e}! --user ann").0, Some(0));
    let (code, out, _) = server.client("wait --user bob --json --for 0.3");
    let heard = json(&out);
    assert_eq!(code, Some(0));
    assert_eq!(heard[0]["event"], "whisper");
    assert_eq!(
        (&heard[0]["from"], &heard[0]["text"]),
        (&Value::from("ann"), &Value::from("for later \u{202e}!"))
    );
    let (_, out, _) = server.client("wait --user bob --for 0.3");
    assert!(!out.contains("later"), "{out}");
}

#[test]
fn m_10_c_08_c_14_recordings_arrive_sample_by_sample() {
    let server = server();
    let (path, said) = speech("msgpack-message.wav");
    let heard = temporary("msgpack-message-heard.wav");
    let bob = server.spawn(&format!("wait --user bob --record {}", heard.display()), "waiting for messages");
    let (code, out, errors) =
        server.client(&format!("voice-message bob --user ann --play {}", path.display()));
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.ends_with("3.0 s of sound sent to bob\n"), "{out}");
    let (code, out, _) = bob.end();
    assert_eq!(code, Some(0));
    assert!(out.contains("ann: 3.0 s of sound, in "), "{out}");
    assert_eq!(load(&heard).unwrap().clip.samples, said.samples);
    // A tone has the length that is asked for; to nobody it does not go.
    assert_eq!(server.client("voice-message bob --user ann --play tone:300 --for 2").0, Some(0));
    let (code, _, errors) = server.client("voice-message nobody --user ann --play tone --for 1");
    assert!(code == Some(1) && errors.contains("not logged in"), "{errors}");
    let (code, _, errors) = server.client("voice-message bob --user ann --play tone --for 500");
    assert!(code == Some(1) && errors.contains("at most 120 seconds"), "{errors}");
}

#[test]
fn m_10_c_08_c_14_a_call_is_heard_sample_by_sample_and_recorded() {
    let server = server();
    assert_eq!(server.client("create-group room --user ann").0, Some(0));
    assert_eq!(server.client("join-group room --user bob").0, Some(0));
    let (path, said) = speech("msgpack-call.wav");
    let heard = temporary("msgpack-call-heard.wav");
    let bob = server
        .spawn(&format!("call room --user bob --for 5 --record {}", heard.display()), "in the call of room");
    let (code, out, errors) = server.client(&format!("call room --user ann --play {}", path.display()));
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("call over (left): 150 messages sent, 0 of 0 speakers heard"), "{out}");
    let (code, out, _) = bob.end();
    assert_eq!(code, Some(0));
    assert!(out.contains("150 of 1 speakers heard"), "{out}");
    let comparison = compare(&said, &load(&heard).unwrap().clip).unwrap();
    assert!(comparison.exact, "{comparison:?}");
}

/// M-10: a call is mono at 44.1 kHz: a file of another shape is converted, and the recording has that shape.
#[test]
fn m_10_a_call_is_mono_at_44_1_khz_for_any_file() {
    let server = server();
    assert_eq!(server.client("create-group room --user ann").0, Some(0));
    assert_eq!(server.client("join-group room --user bob").0, Some(0));
    let heard = temporary("msgpack-mono-heard.wav");
    let bob = server
        .spawn(&format!("call room --user bob --for 4 --record {}", heard.display()), "in the call of room");
    // Two channels of speech at 48 kHz.
    let speech = resample(&read(voxwire_audio::SPEECH).unwrap().clip.mono(), 48_000).unwrap();
    let samples = speech.samples.iter().take(2 * 48_000).flat_map(|&sample| [sample, sample]).collect();
    let (played, stereo) = (temporary("msgpack-stereo.wav"), Clip { channels: 2, rate: 48_000, samples });
    save_wav(&played, &stereo, SampleFormat::I16).unwrap();
    let (code, _, errors) = server.client(&format!("call room --user ann --play {}", played.display()));
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(bob.end().0, Some(0));
    let heard = load(&heard).unwrap().clip;
    assert_eq!((heard.channels, heard.rate), (1, 44_100));
    let likeness = compare(&resample(&stereo.mono(), 44_100).unwrap(), &heard).unwrap();
    assert!(likeness.present > 0.99, "{likeness:?}");
}

/// Types lines into a chat, one after the other, each once what is expected has been heard.
struct Chat {
    client: Client,
    stdin: std::process::ChildStdin,
}

impl Chat {
    fn start(server: &Server, user: &str, more: &str) -> Self {
        let mut command = server.command(&format!("chat --user {user} {more}"));
        command.stdin(Stdio::piped());
        let mut client = Client::spawn(command, "type /help");
        let stdin = client.child.stdin.take().unwrap();
        Self { client, stdin }
    }

    fn say(&mut self, line: &str, expected: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        if !expected.is_empty() {
            self.client.until(expected);
        }
    }
}

#[test]
fn m_10_c_08_chat_does_all_of_it_in_one_session() {
    let server = server();
    let heard = temporary("msgpack-chat-call.wav");
    let (path, said) = speech("msgpack-chat.wav");
    let mut ann = Chat::start(&server, "ann", "");
    let mut bob = Chat::start(&server, "bob", &format!("--record {}", heard.display()));
    ann.say("hello?", "to whom?");
    ann.say("/fly", "/fly: no such command");
    ann.say(
        "/msg nobody x",
        "no such user, or the user is not logged in and this server keeps no messages (512)",
    );
    ann.say("/add bob", "bob is on the list");
    ann.say("/msg bob hello", "");
    bob.client.until("ann: hello");
    ann.say("again", "");
    bob.client.until("ann: again");
    ann.say("/create room", "room is there, and you in it");
    bob.say("/join room", "you are a member of room");
    bob.say("/send room hi all", "");
    ann.client.until("[room] bob: hi all");
    ann.say("/groups", "room");
    ann.say("/contacts", "bob");
    ann.say(&format!("/voice bob {}", path.display()), "recording sent to bob");
    bob.client.until("ann: recording 1, 3.0 s");
    let saved = temporary("msgpack-chat-saved.wav");
    bob.say(&format!("/save 1 {}", saved.display()), "saved in");
    assert_eq!(load(&saved).unwrap().clip.samples, said.samples);
    bob.say("/save 7 x.wav", "no such recording");
    ann.say("/level", "not in a call");
    ann.say("/call room", "in the call of room");
    bob.say("/call room", "in the call of room");
    ann.say(&format!("/say {}", path.display()), "");
    std::thread::park_timeout(core::time::Duration::from_millis(3500));
    ann.say("/level", "out [");
    ann.say("/hangup", "room: 00:0");
    bob.say("/hangup", "in [");
    for chat in [&mut ann, &mut bob] {
        chat.say("/quit", "");
    }
    assert_eq!((ann.client.end().0, bob.client.end().0), (Some(0), Some(0)));
    let comparison = compare(&said, &load(&heard).unwrap().clip).unwrap();
    assert!(comparison.exact, "{comparison:?}");
}

/// M-10: a chat's second call is recorded beside the first, and one whose recording is incomplete is no success in the end.
#[test]
fn m_10_each_call_of_a_chat_has_a_recording_of_its_own() {
    let server = server();
    let [first, second] = ["", "-2"].map(|n| temporary(&format!("msgpack-chat-twice{n}.wav")));
    [&first, &second].into_iter().for_each(|path| drop(std::fs::remove_file(path)));
    let mut ann = Chat::start(&server, "ann", "--play tone");
    let mut bob = Chat::start(&server, "bob", &format!("--record {}", first.display()));
    ann.say("/create room", "room is there, and you in it");
    bob.say("/join room", "you are a member of room");
    ann.say("/call room", "in the call of room");
    for (ms, path) in [(1000, &first), (300, &second)] {
        bob.say("/call room", "in the call of room");
        std::thread::park_timeout(core::time::Duration::from_millis(ms));
        bob.say("/hangup", "in [");
        assert!(path.exists(), "{}", path.display());
    }
    bob.say("/quit", "");
    assert_eq!(bob.client.end().0, Some(0));
    let [first, second] = [first, second].map(|path| load(&path).unwrap().clip.seconds());
    assert!(first > 0.7 && second < 0.7, "{first} s, {second} s");
    if cfg!(target_os = "linux") {
        let mut bob = Chat::start(&server, "bob", "--record /dev/full");
        bob.say("/call room", "in the call of room");
        bob.client.until("/dev/full");
        // Until something has been heard.
        std::thread::park_timeout(core::time::Duration::from_millis(1000));
        bob.say("/hangup", "are not in it");
        bob.say("/groups", "no groups yet");
        bob.say("/quit", "");
        let (code, _, errors) = bob.client.end();
        assert!(code == Some(1) && errors.contains("are not in it"), "{code:?}: {errors}");
    }
    ann.say("/quit", "");
    assert_eq!(ann.client.end().0, Some(0));
}

#[test]
fn m_10_a_waiting_client_survives_a_restart_of_the_server() {
    let mut server = server();
    let bob = server.spawn("wait --keep --user bob", "waiting for messages");
    let address = server.address;
    server.stop();
    bob.until("the connection is lost; trying again");
    let data = temporary("msgpack-restarted");
    let _ = std::fs::remove_dir_all(&data);
    let server = Server::with(Protocol::MSGPACK, |config| {
        config.of_mut::<Msgpack>().port = address.port();
        config.of_mut::<Msgpack>().accounts.insert("bob".into(), "geheim".into());
        config.of_mut::<Msgpack>().accounts.insert("ann".into(), "geheim".into());
    });
    bob.until("back, and logged in again");
    assert_eq!(server.client("whisper bob welcome --user ann").0, Some(0));
    bob.until("ann: welcome");
}

#[test]
fn c_07_passwords_travel_over_tls_where_that_is_asked_for() {
    let names = ["localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (temporary("msgpack-cert.pem"), temporary("msgpack-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let server = Server::with(Protocol::MSGPACK, |config| config.tls = Some((cert.clone(), key)));
    let tls = format!("--tls-ca {} --tls-name localhost", cert.display());
    assert_eq!(server.client(&format!("{tls} register --user ann")).0, Some(0));
    assert_eq!(server.client(&format!("{tls} login --user ann")).0, Some(0));
    let (code, ..) = server.client("login --user ann");
    assert_eq!(code, Some(1));
}

/// F-32: what was kept is shown once, by a program that shows messages: not by one that only makes a request. `wait` ends with it.
#[test]
fn f_32_kept_messages_are_consumed_by_those_who_show_them() {
    let server = server();
    let (path, said) = speech("msgpack-kept.wav");
    assert_eq!(server.client("whisper bob for later --user ann").0, Some(0));
    assert_eq!(server.client(&format!("voice-message bob --user ann --play {}", path.display())).0, Some(0));
    for once in ["--quiet whisper ann hi --user bob", "login --user bob", "--quiet create-group g --user bob"]
    {
        let (code, out, errors) = server.client(once);
        assert_eq!(code, Some(0), "{errors}");
        assert!(!out.contains("later"), "{out}");
    }
    let heard = temporary("msgpack-kept-heard.wav");
    // Both have come with the log-in: it does not wait for a third.
    let (code, out, errors) =
        server.client(&format!("wait --user bob --for 20 --record {}", heard.display()));
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("ann: for later") && out.contains("3.0 s of sound"), "{out}");
    assert!(!out.contains("waiting"), "{out}");
    assert_eq!(load(&heard).unwrap().clip.samples, said.samples);
    let (_, out, _) = server.client("wait --user bob --for 0.3");
    assert!(!out.contains("later"), "{out}");
    // Messages are shown with `--quiet`, too.
    assert_eq!(server.client("whisper bob quietly --user ann").0, Some(0));
    let (code, out, _) = server.client("--quiet wait --user bob");
    assert_eq!((code, out.trim()), (Some(0), "ann: quietly"));
}

/// F-82: a server that does not know the account any more is not waited for.
#[test]
fn f_82_a_client_whose_account_is_gone_says_so_and_ends() {
    let mut server = server();
    let bob = server.spawn("wait --keep --user bob", "waiting for messages");
    let address = server.address;
    server.stop();
    bob.until("the connection is lost; trying again");
    let _server = Server::with(Protocol::MSGPACK, |config| config.of_mut::<Msgpack>().port = address.port());
    let (code, out, errors) = bob.end();
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("logged in no more after the connection was lost"), "{errors}");
}

/// F-33: kept recordings come as fast as the connection takes them, however many parts they are delivered in.
#[test]
fn f_33_kept_recordings_do_not_trickle() {
    let server = server();
    for _ in 0..3 {
        let (code, _, errors) = server.client("voice-message bob --user ann --play tone:300 --for 10");
        assert_eq!(code, Some(0), "{errors}");
    }
    let heard = temporary("msgpack-three.wav");
    let (code, out, errors) =
        server.client(&format!("wait --keep --user bob --for 8 --record {}", heard.display()));
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(out.matches("10.0 s of sound").count(), 3, "{out}");
}
