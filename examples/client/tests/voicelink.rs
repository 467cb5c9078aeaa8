//! C-08 and what voicelink's issue asks to be seen: the programs, run by hand from two terminals and a server; every failure
//! with its message and exit code; and a client written from the document alone, in another language.

mod kit;

use kit::{Client, Server, temporary};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use voxwire_audio::{Clip, SampleFormat, SampleOrder, compare, encode, load, save_wav};
use voxwire_server::{FixedName, Protocol, Voicelink};
use voxwire_voicelink::ByteOrder;

/// A sound that is nowhere like itself: a sweep.
fn sweep(rate: u32, channels: u16, seconds: f64) -> Clip {
    let frames = (f64::from(rate) * seconds) as usize;
    let sample = |frame: usize, channel: u16| {
        let time = frame as f64 / f64::from(rate);
        let hz = 200.0 + f64::from(channel) * 50.0 + 400.0 * time;
        // On the grid of 8 bits, so that every format holds it exactly.
        (0.6 * (core::f64::consts::TAU * hz * time).sin() * 128.0).round() / 128.0
    };
    let samples =
        (0..frames).flat_map(|frame| (0..channels).map(move |channel| sample(frame, channel))).collect();
    Clip { rate, channels, samples }
}

#[test]
fn c_14_v_10_a_call_in_every_format_is_heard_sample_by_sample() {
    let server = Server::start(Protocol::VOICELINK);
    for (index, (format, stored)) in [
        ("uint8", SampleFormat::U8),
        ("int8", SampleFormat::I8),
        ("int16", SampleFormat::I16),
        ("int32", SampleFormat::I32),
        ("float32", SampleFormat::F32),
    ]
    .into_iter()
    .enumerate()
    {
        let said = sweep(11_025, 2, 0.7);
        let (play, record) = (format!("say-{format}.wav"), format!("heard-{format}.wav"));
        save_wav(&temporary(&play), &said, stored).unwrap();
        // Every combination of orders comes up: they agree, differ in heads, differ in samples.
        let (orders, other) = (["be", "le"][index % 2], ["le", "be"][index / 2 % 2]);
        let bob =
            server.spawn(&format!("wait --name bob --record {record} --byte-order {orders}"), "waiting");
        let call = format!(
            "call bob --name alice --play {play} --rate 11025 --channels 2 --format {format} --byte-order {other} --chunk 100 --sample-order le"
        );
        let (code, out, errors) = server.client(&call);
        assert_eq!(code, Some(0), "{out}{errors}");
        assert!(
            out.contains("call with bob is up: 11025 Hz, 2 channels") && out.contains("78 packets sent"),
            "{out}"
        );
        let (code, out, errors) = bob.end();
        assert_eq!(code, Some(0), "{out}{errors}");
        assert!(out.contains("alice calls") && out.contains("alice hung up"), "{out}");
        let comparison = compare(&said, &load(&temporary(&record)).unwrap().clip).unwrap();
        assert!(comparison.exact && comparison.offset == 0, "{format}: {comparison:?}");
    }
}

#[test]
fn c_08_a_file_of_another_shape_is_converted_and_tones_last_as_long_as_asked() {
    let server = Server::start(Protocol::VOICELINK);
    let speech = Path::new(env!("CARGO_MANIFEST_DIR")).join("../audio/assets/speech.flac");
    let bob = server.spawn("wait --name bob --record converted.wav", "waiting");
    let call = format!("call bob --name alice --rate 24000 --channels 2 --for 2 --play {}", speech.display());
    let (code, out, errors) = server.client(&call);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!(bob.end().0, Some(0));
    let heard = load(&temporary("converted.wav")).unwrap().clip;
    assert_eq!((heard.rate, heard.channels), (24_000, 2));
    assert!((1.5..2.3).contains(&heard.seconds()), "{}", heard.seconds());
    let original = load(&speech).unwrap().clip;
    let first = Clip { samples: original.samples[..24_000].to_vec(), ..original };
    let comparison = compare(&first, &heard).unwrap();
    assert!(comparison.present > 0.95 && comparison.spectral_distance_db < 3.0, "{comparison:?}");

    let bob = server.spawn("wait --name bob --record tone.wav --play tone", "waiting");
    let (code, ..) = server.client("call bob --play tone:1000 --for 0.5 --record back.wav");
    assert_eq!(code, Some(0));
    assert_eq!(bob.end().0, Some(0));
    for (file, hz) in [("tone.wav", 1000.0), ("back.wav", 440.0)] {
        let heard = load(&temporary(file)).unwrap().clip;
        let comparison = compare(&Clip::tone(48_000, 1, hz, 0.3), &heard).unwrap();
        assert!(comparison.present > 0.9, "{file}: {comparison:?}");
    }
}

#[test]
fn c_08_failures_have_a_message_and_an_exit_code() {
    let server = Server::start(Protocol::VOICELINK);
    let text = temporary("text.wav");
    std::fs::write(&text, "no sound").unwrap();
    let _bob = server.spawn("wait --name bob --keep", "waiting");
    for (arguments, code, expected) in [
        ("call nobody", 1, "nobody: the server knows nobody of that name"),
        ("call alice --name alice", 1, "you cannot call yourself"),
        ("wait --name bob", 1, "the server refused the name \"bob\": name taken"),
        ("call bob --play no-such.wav", 1, "no-such.wav: No such file"),
        ("call bob --play text.wav", 1, "not a WAV, FLAC or Ogg file"),
        ("call bob --record no/such/place.wav", 1, "cannot record to no/such/place.wav"),
        ("call bob --format int24", 2, "uint8, int8, int16, int32 or float32 expected"),
        ("call bob --rate 0", 2, "Sample Rate 0, expected 1 to 768000"),
        ("call bob --play tone:x", 2, "no frequency"),
        ("call bob --chunk 4", 2, "--chunk 4: expected 48 to 524285 frames"),
        ("call bob --log loud", 2, "off, error, warn, info, debug or trace expected"),
        ("wait --counter 8000", 2, "RATE:CHANNELS:FORMAT expected"),
        ("wait --refuse --accept", 2, "cannot be used with"),
        ("call", 2, "<USER>"),
        ("shout", 2, "unrecognized subcommand"),
    ] {
        let (got, _, errors) = server.client(arguments);
        assert!(got == Some(code) && errors.contains(expected), "{arguments}: {got:?} {errors}");
    }
    assert!(!temporary("never.wav").exists());
    assert_eq!(server.client("call nobody --record never.wav").0, Some(1));
    assert!(!temporary("never.wav").exists(), "a call that never came up leaves no file");
    let nobody = Command::new(env!("CARGO_BIN_EXE_voxwire-client"))
        .args(["--server", "127.0.0.1:1", "voicelink", "call", "bob"])
        .output()
        .unwrap();
    let errors = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(errors.contains("cannot connect to 127.0.0.1:1: Connection refused"), "{errors}");
}

/// F-16: a caller cannot make a callee that plays play any amount: the callee waits for the next call. One that only records takes it.
#[test]
fn f_16_a_call_of_more_samples_a_second_than_can_be_played_is_refused() {
    let server = Server::start(Protocol::VOICELINK);
    let speech = Path::new(env!("CARGO_MANIFEST_DIR")).join("../audio/assets/speech.flac");
    let wait = format!("wait --name bob --play {}", speech.display());
    let bob = server.spawn(&wait, "waiting");
    let (code, _, errors) =
        server.client("call bob --name alice --rate 767999 --channels 64 --format int8 --for 1");
    assert!(code == Some(1) && errors.contains("more samples a second than can be played"), "{errors}");
    let (code, _, errors) = server.client("call bob --name alice --rate 767999 --channels 2 --for 0.3");
    assert_eq!(code, Some(0), "{errors}");
    let (code, out, _) = bob.end();
    let refused = "refused: 767999 Hz and 64 channels are 49151936 samples a second: at most 24576000";
    assert!(code == Some(0) && out.contains(refused), "{out}");
    let (code, _, errors) = server.client("call bob --rate 767999 --channels 64 --format int8 --play tone");
    assert!(code == Some(2) && errors.contains("49151936 samples a second: at most 24576000"), "{errors}");
}

#[test]
fn c_08_refused_countered_and_busy() {
    let server = Server::start(Protocol::VOICELINK);
    let bob = server.spawn("wait --name bob --refuse", "waiting");
    let (code, _, errors) = server.client("call bob --name alice");
    assert!(code == Some(1) && errors.contains("bob refused the call"), "{errors}");
    assert_eq!(bob.end().0, Some(0));

    let bob = server.spawn("wait --name bob --counter 16000:2:float32 --record countered.wav", "waiting");
    let (code, out, errors) = server.client("call bob --name alice --play tone --for 0.4");
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("bob proposes 16000 Hz, 2 channels, float32"), "{out}");
    assert_eq!(bob.end().0, Some(0));
    let heard = load(&temporary("countered.wav")).unwrap().clip;
    assert_eq!((heard.rate, heard.channels), (16_000, 2));

    let bob = server.spawn("wait --name bob --counter 16000:2:float32", "waiting");
    let (code, _, errors) = server.client("call bob --name alice --strict");
    assert!(code == Some(1) && errors.contains("bob does not take 48000 Hz"), "{errors}");
    let (code, _, errors) = bob.end();
    assert!(code == Some(1) && errors.contains("alice did not take our parameters"), "{errors}");

    let _bob = server.spawn("wait --name bob", "waiting");
    let alice = server.spawn("call bob --name alice --play tone", "is up");
    let (code, _, errors) = server.client("call bob --name carol");
    assert!(code == Some(1) && errors.contains("bob cannot be reached: busy"), "{errors}");
    drop(alice);
}

#[test]
fn c_08_a_killed_client_and_a_server_that_goes() {
    let mut server = Server::start(Protocol::VOICELINK);
    let bob = server.spawn("wait --name bob --record killed.wav", "waiting");
    let mut alice = server.spawn("call bob --name alice --play tone", "is up");
    std::thread::park_timeout(Duration::from_millis(1500));
    alice.child.kill().unwrap();
    let (code, out, errors) = bob.end();
    assert!(
        code == Some(1) && errors.contains("the call with alice was cut: connection lost"),
        "{out}{errors}"
    );
    // What was heard is kept.
    assert!(load(&temporary("killed.wav")).unwrap().clip.seconds() > 1.0);

    let bob = server.spawn("wait --name bob", "waiting");
    let alice = server.spawn("call bob --name alice2 --play tone", "is up");
    server.stop();
    for client in [bob, alice] {
        let (code, _, errors) = client.end();
        assert!(code == Some(1) && errors.contains("server is shutting down"), "{errors}");
    }
}

#[test]
fn c_08_a_signal_hangs_up_and_keeps_the_recording_and_wait_keep_goes_on() {
    let server = Server::start(Protocol::VOICELINK);
    let bob = server.spawn("wait --name bob --keep --record kept.wav", "waiting");
    for signal in ["-INT", "-HUP"] {
        let alice = server.spawn("call bob --play tone", "is up");
        std::thread::park_timeout(Duration::from_millis(300));
        alice.signal(signal);
        assert_eq!(alice.end().0, Some(0));
        bob.until("call over (127.0.0.1:");
    }
    bob.signal("-TERM");
    assert_eq!(bob.end().0, Some(0));
    for file in ["kept.wav", "kept-2.wav"] {
        assert!(load(&temporary(file)).unwrap().clip.seconds() > 0.1, "{file}");
    }
}

#[test]
fn c_08_what_peers_write_is_escaped_for_people_and_exact_for_programs() {
    use std::io::Write;
    // A server that calls with a name made to confuse a terminal, and then sends nonsense.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let name = "\u{1b}[2Jeve\u{202e}";
    let serve = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = vec![
                0,
                0,
                0,
                (19 + name.len()) as u8,
                0,
                0,
                0,
                0,
                0xbb,
                0x80,
                0,
                1,
                2,
                0,
                0,
                3,
                0xc0,
                0,
                name.len() as u8,
            ];
            call.extend(name.bytes());
            stream.write_all(&call).unwrap();
            let _ = stream.read(&mut [0; 6]);
            stream.write_all(&[0; 4]).unwrap();
            let _ = stream.read(&mut [0; 100]);
        }
    });
    let wait = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        let output = command.args(["--server", &address, "voicelink", "wait"]).args(extra).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, errors) = wait(&[]);
    assert!(
        out.contains(r"\u{1b}[2Jeve\u{202e} calls") && !out.contains('\u{202e}') && !out.contains('\u{1b}'),
        "{out}"
    );
    assert!(code == Some(1) && errors.contains("is not voicelink: frame of 0 bytes announced"), "{errors}");
    let (_, out, _) = wait(&["--json"]);
    let incoming = out.lines().find(|line| line.contains("incoming")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(incoming).unwrap()["caller"], name);
    serve.join().unwrap();
}

#[test]
fn c_08_json_quiet_and_secrets() {
    let server = Server::with(Protocol::VOICELINK, |config| {
        config.of_mut::<Voicelink>().secrets.insert("bob".into(), "hush".into());
    });
    let (code, _, errors) = server.client("wait --name bob --secret wrong");
    assert!(code == Some(1) && errors.contains("wrong secret"), "{errors}");
    let bob = server.spawn("wait --name bob --secret hush --json", r#""event":"waiting""#);
    let (code, out, errors) = server.client("call bob --play tone --for 0.2 --quiet");
    assert_eq!((code, &*out, &*errors), (Some(0), "", ""));
    let (code, out, _) = bob.end();
    assert_eq!(code, Some(0));
    for line in out.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().get("event").is_some(), "{line}");
    }
    assert!(out.contains(r#""event":"incoming""#) && out.contains(r#""packets_heard":1"#), "{out}");
}

#[test]
fn c_06_a_call_over_tls() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (temporary("tls-cert.pem"), temporary("tls-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let server = Server::with(Protocol::VOICELINK, |config| config.tls = Some((cert.clone(), key)));
    let tls = format!("--tls-ca {} --tls-name localhost", cert.display());
    let said = sweep(8000, 1, 0.5);
    save_wav(&temporary("tls-say.wav"), &said, SampleFormat::I16).unwrap();
    let bob = server.spawn(&format!("wait --name bob --record tls.wav {tls}"), "waiting");
    let (code, out, errors) = server.client(&format!("call bob --rate 8000 --play tls-say.wav {tls}"));
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!(bob.end().0, Some(0));
    assert!(compare(&said, &load(&temporary("tls.wav")).unwrap().clip).unwrap().exact);
    // F-62: a name, and no certificate that could show it.
    let (code, _, errors) = server.client("call bob --tls-name localhost");
    assert!(code == Some(2) && errors.contains("--tls-name: say --tls or --tls-ca FILE"), "{errors}");
}

#[test]
fn v_01_v_13_a_client_written_from_the_document_alone_calls_and_is_called() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/voicelink_peer.py");
    let server = Server::with(Protocol::VOICELINK, |config| {
        let name = |name: &str, order| FixedName { name: name.into(), order };
        config.of_mut::<Voicelink>().names.insert([127, 0, 0, 2].into(), name("snake", None));
        config
            .of_mut::<Voicelink>()
            .names
            .insert([127, 0, 0, 3].into(), name("adder", Some(ByteOrder::LittleEndian)));
    });
    let said = sweep(8000, 1, 0.6);
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command
            .arg(&script)
            .arg(server.address.to_string())
            .args(arguments)
            .current_dir(env!("CARGO_TARGET_TMPDIR"));
        command
    };
    for (order, samples) in [("be", SampleOrder::Big), ("le", SampleOrder::Little)] {
        // It calls one of ours. Nobody declared an order of samples for it: they come as they are.
        let mut bytes = Vec::new();
        encode(&said.samples, SampleFormat::I16, samples, &mut bytes);
        let raw = temporary(&format!("python-{order}.raw"));
        std::fs::write(&raw, &bytes).unwrap();
        let bob = server
            .spawn(&format!("wait --name bob --record from-python.wav --sample-order {order}"), "waiting");
        let output = python(&[order, "call", "bob", raw.to_str().unwrap()])
            .output()
            .expect("python3 is needed for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (code, out, errors) = bob.end();
        assert_eq!(code, Some(0), "{out}{errors}");
        assert!(out.contains("127.0.0.1:") && out.contains("calls: 8000 Hz"), "{out}");
        let comparison = compare(&said, &load(&temporary("from-python.wav")).unwrap().clip).unwrap();
        assert!(comparison.exact, "{order}: {comparison:?}");
    }
    for (order, name, from, samples) in
        [("be", "snake", "127.0.0.2", SampleOrder::Big), ("le", "adder", "127.0.0.3", SampleOrder::Little)]
    {
        // It is called under the name that its address has.
        let kept = format!("heard-by-{name}.raw");
        let peer = Client::spawn(python(&[order, "wait", &kept, from]), "waiting");
        std::thread::park_timeout(Duration::from_millis(200));
        save_wav(&temporary("to-python.wav"), &said, SampleFormat::I16).unwrap();
        let call =
            format!("call {name} --name alice --rate 8000 --play to-python.wav --sample-order {order}");
        let (code, out, errors) = server.client(&call);
        assert_eq!(code, Some(0), "{out}{errors}");
        let (code, out, errors) = peer.end();
        assert_eq!(code, Some(0), "{errors}");
        assert!(out.contains("called by alice: 8000 1 2 160"), "{out}");
        let mut bytes = Vec::new();
        encode(&said.samples, SampleFormat::I16, samples, &mut bytes);
        assert!(std::fs::read(temporary(&kept)).unwrap() == bytes, "{name} heard something else");
    }
}

/// F-28: a device with a fixed name that reconnects can be called, though its old connection has not ended.
#[test]
fn f_28_a_fixed_name_goes_to_the_newest_connection_and_back() {
    use std::io::{Read, Write};
    let server = Server::with(Protocol::VOICELINK, |config| {
        let name = FixedName { name: "door".into(), order: None };
        config.of_mut::<Voicelink>().names.insert([127, 0, 0, 4].into(), name);
    });
    let connect = |from: [u8; 4]| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(server.address).await.unwrap()
        });
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // It is seen by the server before the next one is.
        std::thread::park_timeout(Duration::from_millis(200));
        stream
    };
    let ring = |door: &mut std::net::TcpStream| {
        let mut caller = connect([127, 0, 0, 1]);
        caller
            .write_all(&[
                0, 0, 0, 23, 0, 0, 0, 0, 0x1f, 0x40, 0, 1, 2, 0, 0, 0, 160, 0, 4, b'd', b'o', b'o', b'r',
            ])
            .unwrap();
        let mut head = [0; 6];
        door.read_exact(&mut head).expect("the door rings");
        assert_eq!(head[4..], [0, 0], "a Handshake");
        caller.write_all(&[0, 0, 0, 6, 0, 5]).unwrap();
        let mut rest = vec![0; usize::from(head[3]) - 6 + 6];
        door.read_exact(&mut rest).unwrap();
    };
    let mut old = connect([127, 0, 0, 4]);
    ring(&mut old);
    let mut new = connect([127, 0, 0, 4]);
    ring(&mut new);
    drop(new);
    std::thread::park_timeout(Duration::from_millis(200));
    ring(&mut old);
}

/// F-31: who waits with --keep waits on when the server has been restarted, and says so once.
#[test]
fn f_31_waiting_outlasts_a_server_that_restarts() {
    let mut server = Server::start(Protocol::VOICELINK);
    let said = sweep(8000, 1, 0.2);
    save_wav(&temporary("f31-say.wav"), &said, SampleFormat::I16).unwrap();
    let bob = server.spawn("wait --name bob --keep --record f31.wav", "waiting");
    let call = "call bob --rate 8000 --play f31-say.wav";
    assert_eq!(server.client(call).0, Some(0));
    for _ in 0..2 {
        let port = server.address.port();
        server.stop();
        bob.until("lost; trying again");
        // It stays away for longer than the first attempts take.
        std::thread::park_timeout(Duration::from_millis(1500));
        server = Server::with(Protocol::VOICELINK, |config| config.of_mut::<Voicelink>().port = port);
        bob.until("registered as bob");
        bob.until("the connection to the server is back");
        bob.until("waiting");
        let (code, out, errors) = server.client(call);
        assert_eq!(code, Some(0), "{out}{errors}");
    }
    // Recordings are numbered across the restarts.
    for name in ["f31.wav", "f31-2.wav", "f31-3.wav"] {
        assert!(compare(&said, &load(&temporary(name)).unwrap().clip).unwrap().exact, "{name}");
    }
    // A signal ends the wait for a server that is away, too.
    server.stop();
    bob.until("lost; trying again");
    bob.signal("-INT");
    let (code, out, errors) = bob.end();
    assert_eq!(code, Some(0), "{out}{errors}");
}

/// F-31: a caller whose server ends says that it was the server, in the call and before.
#[test]
fn f_31_a_caller_whose_server_ends_says_so() {
    let mut server = Server::start(Protocol::VOICELINK);
    let bob = server.spawn("wait --name bob --keep", "waiting");
    let ann = server.spawn("call bob --name ann --play tone", "call with bob is up");
    server.stop();
    let (code, out, errors) = ann.end();
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("call over (the server ended it: server is shutting down)"), "{out}");
    assert!(errors.contains("the call with bob was cut: server is shutting down"), "{errors}");
    bob.until("call over (the server ended it: server is shutting down)");
    bob.until("lost; trying again");
}

#[test]
fn c_08_the_demonstration_is_heard_and_leaves_its_files() {
    demonstrate("demo-clean", &[]);
}

#[test]
fn c_08_the_demonstration_is_heard_through_a_network_that_loses_packets() {
    demonstrate("demo-lossy", &["--loss", "5", "--jitter", "10"]);
}

fn demonstrate(name: &str, impairment: &[&str]) {
    let out = temporary(name);
    let output = Command::new(env!("CARGO_BIN_EXE_voxwire-client"))
        .args(["demo", "--json", "--out", out.to_str().unwrap()])
        .args(impairment)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let call = text.lines().find(|line| line.contains(r#""protocol":"voicelink""#)).unwrap();
    let call: serde_json::Value = serde_json::from_str(call).unwrap();
    assert_eq!((&call["exact"], &call["lost"]), (&true.into(), &0.into()), "{call}");
    assert_eq!(call["stalls"].as_u64().unwrap() > 0, !impairment.is_empty(), "{call}");
    // Three players, two rooms and one direct, through a network that loses packets: each heard by one, and nobody else.
    let games: Vec<serde_json::Value> = text
        .lines()
        .filter(|line| line.contains(r#""protocol":"dissonance"#))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(games.len(), 3, "{text}");
    for game in games {
        assert_eq!(game["heard_as_said"], true, "{game}");
        assert!(game["lost"].as_u64().unwrap() > 0 && game["stalls"].as_u64().unwrap() > 0, "{game}");
    }
    let (played, heard) = (out.join("voicelink-played.wav"), out.join("voicelink-heard.wav"));
    assert!(compare(&load(&played).unwrap().clip, &load(&heard).unwrap().clip).unwrap().exact);
    assert!(std::fs::read(out.join("voicelink.png")).unwrap().starts_with(b"\x89PNG"));
}
