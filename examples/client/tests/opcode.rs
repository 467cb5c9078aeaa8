//! C-08 and what opcode's issue asks to be seen: the programs, run by hand from several terminals and a server; and peers that
//! behave as the original programs do.

mod kit;

use kit::{Client, Server, temporary};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use voxwire_audio::{
    Clip, SPEECH, SampleFormat, VoiceSettings, compare, load, read, resample, save_wav, through_codec,
    voice_decoder,
};
use voxwire_core::Message;
use voxwire_core::testing::vectors;
use voxwire_opcode::{Packet, Wire};
use voxwire_server::{Opcode, Protocol};

/// What the codec alone makes of it. What is heard is that, but for what comes too late where the machine is busy.
fn coded(clip: &Clip) -> Clip {
    let call = VoiceSettings { channels: 2, bitrate: 96_000, expected_loss: 0, ..VoiceSettings::DEFAULT };
    through_codec(clip, call).unwrap()
}

/// Three seconds of speech, as a file.
fn speech(name: &str) -> (Clip, std::path::PathBuf) {
    let mut clip = resample(&read(SPEECH).unwrap().clip.mono(), 48_000).unwrap();
    clip.samples.truncate(3 * 48_000);
    let path = temporary(name);
    save_wav(&path, &clip, SampleFormat::I16).unwrap();
    (clip, path)
}

fn carrying() -> Server {
    Server::with(Protocol::OPCODE, |config| {
        config.of_mut::<Opcode>().relay = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    })
}

#[test]
fn o_08_o_09_a_call_is_heard_straight_and_carried() {
    let (clip, said) = speech("o08-said.wav");
    let ways = [(Server::start(Protocol::OPCODE), ""), (carrying(), ""), (carrying(), "--no-listen")];
    for (n, (server, flags)) in ways.iter().enumerate() {
        let heard = temporary(&format!("o08-heard-{n}.wav"));
        let bob = server.spawn(&format!("wait --name bob --record {}", heard.display()), "waiting");
        let (code, out, _) = server.client("contacts --name carol");
        assert_eq!((code, out.as_str()), (Some(0), "logged in as carol\nbob\necho\n"));
        let call = format!("call bob {flags} --name alice --play {}", said.display());
        let (code, out, error) = server.client(&call);
        assert_eq!(code, Some(0), "{out}{error}");
        assert!(out.contains("call with bob is up") && out.contains("packets sent"), "{out}");
        let (code, out, error) = bob.end();
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("alice calls") && out.contains("call with alice over (alice hung up)"), "{out}");
        // Silence, too, is said, both ways, every 20 ms.
        let packets = |text: &str| -> u64 {
            let at = out.find(text).unwrap();
            out[..at].rsplit(' ').next().unwrap().parse().unwrap()
        };
        let (sent, heard_packets) = (packets(" packets sent"), packets(" heard"));
        assert!(sent.abs_diff(heard_packets) < 20 && heard_packets >= 148, "{out}");
        let likeness = compare(&coded(&clip), &load(&heard).unwrap().clip).unwrap();
        assert!(likeness.present > 0.9, "{likeness:?}");
    }
}

#[test]
fn c_08_interrupted_before_an_answer_is_a_failure_and_the_last_words_are_recorded() {
    let server = Server::start(Protocol::OPCODE);
    let silent = python(&["client", &server.address.to_string(), "statue", "hold"]);
    let _silent = Client::spawn(silent, "waiting");
    let alice = server.spawn("call statue --name alice", "calling");
    alice.signal("-INT");
    let (code, _, error) = alice.end();
    assert!(code == Some(1) && error.contains("interrupted before any user answered"), "{error}");
    // A tone up to the very end of the call.
    let tone = temporary("c08-tone.wav");
    save_wav(&tone, &Clip::tone(48_000, 2, 440.0, 1.0), SampleFormat::I16).unwrap();
    let heard = temporary("c08-heard.wav");
    let bob = server.spawn(&format!("wait --name bob --record {}", heard.display()), "waiting");
    let (code, _, error) = server.client(&format!("call bob --name alice --play {}", tone.display()));
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(bob.end().0, Some(0));
    let loud = load(&heard).unwrap().clip.samples.iter().filter(|sample| sample.abs() > 0.05).count();
    // On two channels, most of the time, for a second.
    assert!(loud > 2 * 48_000 * 8 / 10, "{loud}");
}

#[test]
fn o_06_o_07_calls_that_do_not_come_up_say_why() {
    let server = Server::start(Protocol::OPCODE);
    let (code, _, error) = server.client("call nobody --name alice");
    assert_eq!((code, error.trim()), (Some(1), "voxwire-client: nobody: requested username not found"));
    let bob = server.spawn("wait --refuse --name bob", "waiting");
    let (code, _, error) = server.client("call bob --name alice");
    assert_eq!((code, error.trim()), (Some(1), "voxwire-client: bob refused the call"));
    assert_eq!(bob.end().0, Some(0));
    let bob = server.spawn("wait --keep --name bob", "waiting");
    let (code, _, error) = server.client("contacts --name bob");
    assert!(code == Some(1) && error.contains("username already used"), "{error}");
    let (code, _, error) = server.client("call bob --name alice --no-listen");
    assert!(code == Some(1) && error.contains("this server carries no calls"), "{error}");
    for (arguments, what) in
        [("call", "required"), ("contacts --name a\u{7}b", "invalid name"), ("contacts --bitrate 1", "6000")]
    {
        let (code, _, error) = server.client(arguments);
        assert!(code == Some(2) && error.contains(what), "{error}");
    }
    bob.signal("-TERM");
    assert_eq!(bob.end().0, Some(0));
}

#[test]
fn o_08_one_dies_and_the_other_hears_of_it() {
    for server in [Server::start(Protocol::OPCODE), carrying()] {
        let bob = server.spawn("wait --name bob", "waiting");
        let alice = server.spawn("call bob --name alice --play tone", "is up");
        bob.until("is up");
        alice.signal("-KILL");
        let (code, out, _) = bob.end();
        assert!(code == Some(0) && out.contains("alice hung up"), "{out}");
    }
}

#[test]
fn o_08_three_in_a_call() {
    let server = Server::start(Protocol::OPCODE);
    let (clip, said) = speech("o08-three.wav");
    let wait = |name: &str| {
        let record = temporary(&format!("o08-three-{name}.wav"));
        (server.spawn(&format!("wait --name {name} --record {}", record.display()), "waiting"), record)
    };
    let others = [wait("bob"), wait("carol")];
    let (code, out, error) = server.client(&format!("call bob carol --name alice --play {}", said.display()));
    assert_eq!(code, Some(0), "{out}{error}");
    for (other, record) in others {
        assert_eq!(other.end().0, Some(0));
        let likeness = compare(&coded(&clip), &load(&record).unwrap().clip).unwrap();
        assert!(likeness.present > 0.9, "{likeness:?}");
    }
}

#[test]
fn a_name_with_a_secret_is_its_owners() {
    let server = Server::with(Protocol::OPCODE, |config| {
        config.of_mut::<Opcode>().secrets.insert("bob".into(), "hush".into());
    });
    for (flags, reason) in [("", "needs a secret"), ("--secret loud", "wrong secret")] {
        let (code, _, error) = server.client(&format!("contacts --name bob {flags}"));
        assert!(code == Some(1) && error.contains(reason), "{error}");
    }
    // A client that shows the secret takes the name over.
    let old = server.spawn("wait --name bob --secret hush", "waiting");
    let (code, out, _) = server.client("contacts --name bob --secret hush");
    assert_eq!((code, out.as_str()), (Some(0), "logged in as bob\necho\n"));
    let (code, _, error) = old.end();
    assert!(code == Some(1) && error.contains("lost"), "{error}");
    let (code, out, _) = server.client("contacts --name alice");
    assert_eq!((code, out.as_str()), (Some(0), "logged in as alice\necho\n"));
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opcode_peer.py")).args(arguments);
    command
}

#[test]
fn o_10_a_client_like_the_original_calls_ours_and_is_called() {
    let (clip, said) = speech("o10-said.wav");
    for server in [Server::start(Protocol::OPCODE), carrying()] {
        let address = server.address.to_string();
        // It is called, and sends back what it hears.
        let snake = Client::spawn(python(&["client", &address, "snake", "wait"]), "waiting");
        let heard = temporary("o10-heard.wav");
        let call =
            format!("call snake --name alice --for 4 --play {} --record {}", said.display(), heard.display());
        let (code, out, error) = server.client(&call);
        assert_eq!(code, Some(0), "{out}{error}");
        assert_eq!(snake.until("called by"), "called by alice");
        snake.until("over: ");
        let likeness = compare(&coded(&clip), &load(&heard).unwrap().clip).unwrap();
        assert!(likeness.present > 0.9, "{likeness:?}");
        // It calls.
        let bob = server.spawn(&format!("wait --name bob --for 2 --play {}", said.display()), "waiting");
        let snake = Client::spawn(python(&["client", &address, "adder", "call", "bob"]), "over: ");
        let (code, out, error) = bob.end();
        assert_eq!(code, Some(0), "{out}{error}");
        assert_eq!(snake.end().0, Some(0));
    }
}

#[test]
fn o_10_our_clients_use_a_server_like_the_original() {
    let (clip, said) = speech("o10-server-said.wav");
    let mut command = python(&["server"]);
    let mut serving = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(serving.stdout.take().unwrap()), &mut port)
        .unwrap();
    let ours = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        command.args(["--server", &format!("127.0.0.1:{}", port.trim()), "opcode"]);
        command.args(arguments.split_whitespace());
        command
    };
    let heard = temporary("o10-server-heard.wav");
    let bob = Client::spawn(ours(&format!("wait --name bob --record {}", heard.display())), "waiting");
    let taken = ours("contacts --name bob").output().unwrap();
    assert!(String::from_utf8_lossy(&taken.stderr).contains("username already used"));
    let nobody = ours("call nobody --name alice").output().unwrap();
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("requested username not found"));
    // Connections without a name are no contacts.
    let _silent = std::net::TcpStream::connect(("127.0.0.1", port.trim().parse::<u16>().unwrap())).unwrap();
    let contacts = ours("contacts --name carol").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&contacts.stdout), "logged in as carol\nbob\n");
    let call = ours(&format!("call bob --name alice --play {}", said.display())).output().unwrap();
    assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
    assert_eq!(bob.end().0, Some(0));
    let likeness = compare(&coded(&clip), &load(&heard).unwrap().clip).unwrap();
    assert!(likeness.present > 0.9, "{likeness:?}");
    serving.kill().unwrap();
    serving.wait().unwrap();
}

#[test]
fn o_09_what_an_original_said_can_be_played() {
    let recorded = vectors(include_str!("../../../proto-opcode/tests/vectors/packets.txt"));
    let mut decoder = voice_decoder(2).unwrap();
    let mut samples = vec![0.0; 1920];
    let mut loudest = 0.0_f32;
    for vector in recorded.iter().filter(|vector| vector.name.starts_with("p2p_voice")) {
        let Packet::VoiceData(packet) = Packet::decode(&vector.bytes, &Wire::CLIENT).unwrap() else {
            panic!()
        };
        if !packet.is_empty() {
            assert_eq!(decoder.decode(packet, &mut samples).unwrap(), 1920, "{}", vector.name);
            loudest = samples.iter().fold(loudest, |loudest, sample| loudest.max(sample.abs()));
        }
    }
    // A test tone.
    assert!((0.1..=1.5).contains(&loudest), "{loudest}");
}

/// F-31: who waits with --keep waits on when the server has been restarted.
#[test]
fn f_31_waiting_outlasts_a_server_that_restarts() {
    let mut server = Server::start(Protocol::OPCODE);
    let port = server.address.port();
    let bob = server.spawn("wait --name bob --keep", "waiting");
    server.stop();
    bob.until("lost; trying again");
    std::thread::park_timeout(Duration::from_millis(1500));
    server = Server::with(Protocol::OPCODE, |config| config.of_mut::<Opcode>().port = port);
    bob.until("logged in as bob");
    bob.until("the connection to the server is back");
    bob.until("waiting");
    let (code, out, errors) = server.client("call bob --play tone --for 0.3");
    assert_eq!(code, Some(0), "{out}{errors}");
    server.stop();
    bob.until("lost; trying again");
    bob.signal("-INT");
    assert_eq!(bob.end().0, Some(0));
}

/// F-31: a caller whose server ends says so, and ends with a failure.
#[test]
fn f_31_a_caller_whose_server_ends_says_so() {
    let mut server = Server::start(Protocol::OPCODE);
    let mut bob = Callee::login(server.address, "bob");
    let ann = server.spawn("call bob --name ann --play tone", "calling bob");
    // It rings.
    bob.called();
    server.stop();
    let (code, out, errors) = ann.end();
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("the connection to the server was lost while calling"), "{errors}");
}

/// A peer written from the document: a client that is logged in, and the connection of its call.
struct Callee {
    server: std::net::TcpStream,
}

impl Callee {
    fn login(server: std::net::SocketAddr, name: &str) -> Self {
        use std::io::Write;
        let mut server = std::net::TcpStream::connect(server).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut login = Vec::new();
        Packet::Login { name: name.into() }.encode(&Wire::CLIENT, &mut login).unwrap();
        server.write_all(&login).unwrap();
        Self { server }
    }

    /// The port of the caller, once there is a CallRequest.
    fn called(&mut self) -> u16 {
        loop {
            let frame = read_packet(&mut self.server).expect("a packet of the server's");
            if let Packet::CallRequest(request) = Packet::decode(&frame, &Wire::CLIENT).unwrap() {
                return request.port;
            }
        }
    }
}

fn read_packet(stream: &mut std::net::TcpStream) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut frame = vec![0; 8];
    stream.read_exact(&mut frame).ok()?;
    let length = u64::from_le_bytes(frame[..8].try_into().unwrap());
    frame.resize(8 + usize::try_from(length).unwrap(), 0);
    stream.read_exact(&mut frame[8..]).ok()?;
    Some(frame)
}

/// O-09: one 20 ms packet of stereo Opus every 20 ms for the whole call, silence included: the original plays what it gets.
#[test]
fn o_09_voice_goes_every_20_ms_for_the_whole_call_silence_included() {
    let server = Server::start(Protocol::OPCODE);
    let mut callee = Callee::login(server.address, "meter");
    let mut clip = resample(&read(SPEECH).unwrap().clip.mono(), 48_000).unwrap();
    clip.samples.truncate(24_000);
    let said = temporary("o09-half-a-second.wav");
    save_wav(&said, &clip, SampleFormat::I16).unwrap();
    let caller = server.spawn(&format!("call meter --for 3 --play {}", said.display()), "calling");
    let mut direct = std::net::TcpStream::connect(("127.0.0.1", callee.called())).unwrap();
    direct.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let first = read_packet(&mut direct).unwrap();
    assert!(matches!(Packet::decode(&first, &Wire::CLIENT), Ok(Packet::ConnectionEstablished)));
    let mut decoder = voice_decoder(2).unwrap();
    let mut samples = vec![0.0; 2 * 5760];
    let (began, mut times, mut loud) = (tokio::time::Instant::now(), vec![], vec![]);
    while let Some(frame) = read_packet(&mut direct) {
        let Ok(Packet::VoiceData(packet)) = Packet::decode(&frame, &Wire::CLIENT) else {
            panic!("{frame:02x?}")
        };
        // Stereo, one frame of 20 ms: bit 2 of the first byte, a frame count of one, 960 samples of each channel.
        assert_eq!((packet[0] & 0b111, decoder.decode(packet, &mut samples).unwrap()), (0b100, 1920));
        times.push(began.elapsed());
        loud.push(samples[..1920].iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs())));
    }
    // 150 are due in three seconds, also where the machine was late.
    assert!((140..=155).contains(&times.len()), "{} packets", times.len());
    // Half a second of speech, and two and a half of silence that is sent all the same.
    assert!(loud[..25].iter().any(|loud| *loud > 0.05) && loud[60..].iter().all(|loud| *loud < 0.01));
    assert!(times[times.len() - 1] - times[60] > Duration::from_millis(1500), "not in one burst");
    assert_eq!(caller.end().0, Some(0));
}

/// F-85: the port of a call that was given up stays open for a while: an original callee that cannot connect ends itself.
#[test]
fn f_85_who_accepts_too_late_is_connected_and_hears_that_it_is_over() {
    use std::io::Read;
    let server = Server::start(Protocol::OPCODE);
    let mut callee = Callee::login(server.address, "late");
    let caller = server.spawn("call late --name alice", "calling");
    let port = callee.called();
    caller.signal("-INT");
    caller.until("may still be accepted");
    std::thread::park_timeout(Duration::from_millis(500));
    let mut direct = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the port is still open");
    direct.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(direct.read(&mut [0; 100]).unwrap(), 0, "and closed without a word");
    assert_eq!(caller.end().0, Some(1));
}
