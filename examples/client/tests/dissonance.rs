//! C-08 and what Dissonance's issue asks to be seen: the programs, run by hand from several terminals and a server.

mod kit;

use kit::{Client, Server, temporary};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use voxwire_audio::{
    SPEECH, SampleFormat, VoiceSettings, compare, load, read, resample, save_wav, through_codec,
};
use voxwire_server::{Dissonance, Profile, Protocol};

#[test]
fn d_18_speech_is_heard_in_its_room_and_nowhere_else() {
    let server = Server::start(Protocol::DISSONANCE);
    let (bob_wav, carol_wav, said) =
        (temporary("d18-bob.wav"), temporary("d18-carol.wav"), temporary("d18-said.wav"));
    let speech = resample(&read(SPEECH).unwrap().clip.mono(), 48_000).unwrap();
    save_wav(&said, &speech, SampleFormat::I16).unwrap();
    let bob = server.spawn(&format!("join Red Blue --name bob --record {}", bob_wav.display()), "joined");
    let carol = server.spawn(&format!("join Blue --name carol --record {}", carol_wav.display()), "joined");
    let arguments = format!("join Red --name alice --text hi --frame 40 --play {}", said.display());
    let (code, out, error) = server.client(&arguments);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("voice goes by UDP") && out.contains("said 198 frames"), "{out}");
    bob.until("\"alice\" has left");
    carol.until("\"alice\" has left");
    bob.signal("-INT");
    carol.signal("-TERM");
    let ((code, bob, _), (_, carol, _)) = (bob.end(), carol.end());
    assert_eq!(code, Some(0));
    // Every one of them. How many came too late to be played is the machine's affair.
    assert!(bob.contains("heard \"alice\": 198 frames, "), "{bob}");
    assert!(!carol.contains("heard"), "{carol}");
    // The words are there. What the codec alone makes of them is asserted where the clock is counted and nobody stands still: in
    // `c_14_without_loss_only_the_codec_is_heard`. Here three programs play in real time, and each that has to wait for the machine loses as
    // much of the eight seconds: half a second of that, twice, was taken for a fault.
    let voice = VoiceSettings { frame: Duration::from_millis(40), ..VoiceSettings::DEFAULT };
    let likeness = compare(&through_codec(&speech, voice).unwrap(), &load(&bob_wav).unwrap().clip).unwrap();
    assert!(likeness.present > 0.5, "{likeness:?}");
    assert!(compare(&speech, &load(&carol_wav).unwrap().clip).is_err(), "carol's recording is silent");
}

#[test]
fn d_18_a_client_says_that_it_has_no_microphone() {
    let server = Server::start(Protocol::DISSONANCE);
    // A machine without sound, wherever this runs.
    let silent = temporary("d18-asound.conf");
    std::fs::write(&silent, "").unwrap();
    let mut command = server.command("join Red --device --name alice");
    let out = command.env("ALSA_CONFIG_PATH", silent).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    if cfg!(feature = "device") {
        assert!(out.status.code() == Some(1) && error.contains("the microphone cannot be used"), "{error}");
    } else {
        assert!(out.status.code() == Some(2) && error.contains("--features device"), "{error}");
    }
}

#[test]
fn d_15_clients_over_quic_and_others_share_rooms() {
    let data = temporary("d15-data");
    let _ = std::fs::remove_dir_all(&data);
    let server = Server::with(Protocol::DISSONANCE, |config| {
        (config.of_mut::<Dissonance>().quic, config.data) = (true, data.clone());
    });
    let quic = format!("--quic --tls-ca {}", data.join("quic-cert.pem").display());
    let by_quic = |arguments: &str| server.command_to(server.at("quic"), &format!("{quic} {arguments}"));
    let bob = Client::spawn(by_quic("--name bob join Red"), "joined");
    let carol = server.spawn("--name carol join Red", "joined");
    let out = by_quic("--name alice join Red --text hi --play tone --for 2").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for listener in [bob, carol] {
        assert_eq!(listener.until("hi"), "\"alice\" to Red: \"hi\"");
        listener.until("\"alice\" has left");
        listener.signal("-INT");
        let (code, out, _) = listener.end();
        assert_eq!(code, Some(0));
        assert!(out.contains("heard \"alice\"") && out.contains(" 0 lost"), "{out}");
    }
    // A client that trusts no certificate, or another one, does not come in.
    let (code, _, error) = server.client("--quic join Red");
    assert!(code == Some(2) && error.contains("--tls-ca"), "{error}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = temporary("d15-stranger.pem");
    std::fs::write(&stranger, other.cert.pem()).unwrap();
    let arguments = format!("--quic --tls-ca {} join Red", stranger.display());
    let out = server.command_to(server.at("quic"), &arguments).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
}

#[test]
fn c_08_rooms_texts_and_names() {
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob join Lobby Team", "joined");
    let carol = server.spawn("--name carol join Lobby --json", "joined");
    let (code, out, _) = server.client("rooms");
    assert_eq!(code, Some(0));
    for line in ["player \"bob\", Opus 48000 Hz, 20 ms", "room \"Lobby\": bob, carol", "room \"Team\": bob"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (code, out, error) = server.client("--name dave join --to bob --text secret");
    assert_eq!(code, Some(0), "{out}{error}");
    let text = bob.until("secret");
    assert_eq!(text, "\"dave\" to bob: \"secret\"");
    let (code, ..) = server.client("--name erin join Lobby --text hello");
    assert_eq!(code, Some(0));
    let text: serde_json::Value = serde_json::from_str(&carol.until("\"text\"")).unwrap();
    assert_eq!(
        (&text["from"], &text["to"], &text["text"]),
        (&"erin".into(), &"Lobby".into(), &"hello".into())
    );
    // A user has the name: not let in, and told why. (On loopback nobody is displaced.)
    let (code, out, error) = server.client("--name bob join Lobby --for 1");
    assert!(code == Some(1) && error.contains("perhaps another player has the name"), "{out}{error}");
    drop((bob, carol));
}

/// F-03: a name that another client chose forges no line, and steers no terminal.
#[test]
fn what_others_call_things_stays_in_its_line() {
    // Only with the original's rules does a server hand such a name on.
    let server = Server::with(Protocol::DISSONANCE, |config| config.profile = Profile::Original);
    let room = "x\x1b[2J\u{9b}1m\nplayer \"eve\", Opus\u{202e}";
    let mut joining = server.command("--name น้ำฝน join Lobby --json");
    joining.arg(room);
    let thai = Client::spawn(joining, "joined");
    for (flags, expected) in [
        (
            "--name bob rooms",
            vec![r#"room "x\u{1b}[2J\u{9b}1m\nplayer \"eve\", Opus\u{202e}": น้ำฝน"#, "player \"น้ำฝน\""],
        ),
        (
            "--name bob --json rooms",
            vec!["\"name\":\"น้ำฝน\"", r#"\u001b[2J\u009b1m\nplayer \"eve\", Opus\u202e"#],
        ),
    ] {
        let (code, out, error) = server.client(flags);
        assert_eq!(code, Some(0), "{error}");
        for text in expected {
            assert!(out.contains(text), "{text}: {out:?}");
        }
        assert!(!out.contains(|c: char| c != '\n' && c.is_control()) && !out.contains('\u{202e}'), "{out:?}");
        assert_eq!(out.lines().count(), 3, "{out:?}");
    }
    drop(thai);
}

#[test]
fn c_08_failures_have_a_message_and_an_exit_code() {
    let server = Server::with(Protocol::DISSONANCE, |config| {
        config.of_mut::<Dissonance>().rooms = vec!["Lobby".into()];
        config.of_mut::<Dissonance>().rooms_only = true;
        config.of_mut::<Dissonance>().token = Some("sesame".into());
    });
    for (arguments, expected, code) in [
        ("join", "name a room to join", 2),
        ("join Lobby --frame 30", "10, 20, 40 or 60 expected", 2),
        ("join Lobby --play no-such.wav --token sesame", "no-such.wav", 1),
        ("join Lobby --token wrong", "does not admit", 1),
        ("join Lobby", "does not admit", 1),
        ("--server 127.0.0.1:1 join Lobby", "cannot connect to 127.0.0.1:1", 1),
    ] {
        let (got, out, error) = server.client(arguments);
        assert_eq!(got, Some(code), "{arguments}: {out}{error}");
        assert!(error.contains(expected), "{arguments}: {error}");
    }
    let (code, out, _) = server.client("--token sesame join Lobby Attic --for 0.5");
    assert_eq!(code, Some(0));
    assert!(out.contains("the server does not let us listen to \"Attic\""), "{out}");
}

#[test]
fn d_14_d_15_a_client_survives_its_server_and_speaks_by_tcp_where_it_must() {
    let mut server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob --no-udp join Lobby", "joined");
    let (code, out, error) = server.client("--name alice --no-udp join Lobby --play tone --for 1");
    assert_eq!(code, Some(0), "{error}");
    assert!(!out.contains("UDP"), "{out}");
    bob.until("\"alice\" speaks");
    server.stop();
    bob.until("trying again");
    bob.signal("-INT");
    let (code, out, _) = bob.end();
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("heard \"alice\""), "{out}");
}

/// F-14: TLS without QUIC covers no voice that goes by UDP. That is said once; and `--encrypted-only` keeps it on TLS.
#[test]
fn f_14_voice_in_the_clear_is_said_once_and_refused_where_that_is_asked_for() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (temporary("f14-cert.pem"), temporary("f14-key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = format!("--tls-ca {} --tls-name localhost", cert.display());
    for encrypted_only in [false, true] {
        let server = Server::with(Protocol::DISSONANCE, |config| {
            config.tls = Some((cert.clone(), key.clone()));
            config.encrypted_only = encrypted_only;
        });
        let bob = server.spawn(&format!("{tls} --encrypted-only --name bob join Red"), "joined");
        let (code, _, error) =
            server.client(&format!("{tls} --name alice join Red --text hi --play tone --for 1"));
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(error.matches("warning: voice goes by UDP and is not encrypted").count(), 1, "{error}");
        // Where no voice is sent, or something else is wrong, there is nothing to warn of.
        for (action, expected) in [("rooms", 0), ("join Red --play missing.wav", 1)] {
            let (code, _, error) = server.client(&format!("{tls} --name carol {action}"));
            assert!(code == Some(expected) && !error.contains("not encrypted"), "{action}: {error}");
        }
        bob.until("\"alice\" has left");
        bob.signal("-INT");
        let (code, out, error) = bob.end();
        assert!(code == Some(0) && out.contains("heard \"alice\""), "{out}{error}");
        assert!(!error.contains("not encrypted"), "{error}");
        for clear in
            ["--encrypted-only join Red".to_owned(), format!("{tls} --encrypted-only --p2p join Red")]
        {
            let (code, _, error) = server.client(&clear);
            assert!(code == Some(2) && error.contains("--encrypted-only"), "{clear}: {error}");
        }
    }
}

/// Passes TCP alone on to the server, on an address where nothing takes datagrams.
fn without_udp(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.9:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = TcpStream::connect(server).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

/// F-22: where UDP never gets through the client says so, once: what happened, and what mends it.
#[test]
fn f_22_a_client_whose_udp_never_gets_through_says_so_once_and_what_mends_it() {
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob join Red", "joined");
    let address = without_udp(server.address);
    let out = server.command_to(address, "--name alice join Red --play tone --for 5").output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}");
    let blocked: Vec<&str> = said.lines().filter(|line| line.contains("UDP")).collect();
    let [line] = blocked[..] else { panic!("{said}") };
    let port = server.address.port();
    let expected = format!(
        "UDP is blocked: 127.0.0.9:{port} does not answer by UDP. Voice goes by TCP, later than it might,"
    );
    assert!(
        line.starts_with(&expected) && line.ends_with(&format!("let UDP through to port {port}")),
        "{line}"
    );
    bob.until("\"alice\" has left");
    bob.signal("-INT");
    let (code, out, _) = bob.end();
    assert!(code == Some(0) && out.contains("heard \"alice\"") && out.contains(" 0 lost"), "{out}");
}

/// F-22, F-66: a server that is away for a moment is no reason to call UDP blocked. That it is away is said once, and each reason once; how
/// long it was away has nothing to do with when the program began.
#[test]
fn f_22_after_a_restart_of_the_server_udp_is_not_called_blocked() {
    let mut server = Server::start(Protocol::DISSONANCE);
    let port = server.address.port();
    let bob = server.spawn("--name bob join Red", "voice goes by UDP");
    std::thread::park_timeout(Duration::from_secs(3));
    server.stop();
    bob.until("trying again");
    drop(server);
    bob.until("not yet: the server cannot be reached");
    std::thread::park_timeout(Duration::from_secs(3));
    let _again = Server::with(Protocol::DISSONANCE, |config| config.of_mut::<Dissonance>().port = port);
    // Between the two, nothing has been said again.
    assert_eq!(bob.next(), "joined as \"bob\" again");
    let back = bob.until("back after");
    let away: f64 = back.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(away >= 3.0, "{back}");
    std::thread::park_timeout(Duration::from_secs(5));
    bob.signal("-INT");
    let (code, out, _) = bob.end();
    assert!(code == Some(0) && !out.contains("blocked"), "{out}");
}

/// C-14: a client that ends because something failed completes its recording and says how it went, as any other.
#[test]
fn c_14_a_client_that_fails_says_how_it_went() {
    let server = Server::start(Protocol::DISSONANCE);
    let path = temporary("dissonance-fails.wav");
    let (code, out, errors) =
        server.client(&format!("--name bob join Red --text hi --wait 0.3 --record {}", path.display()));
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(errors.contains("nothing was said"), "{errors}");
    assert!(out.contains("said 0 frames"), "{out}");
    load(&path).unwrap();
}

/// F-64: a sound or a text that nobody would hear is not said into the void.
#[test]
fn f_64_where_nobody_listens_the_client_says_so_and_fails() {
    let server = Server::start(Protocol::DISSONANCE);
    for (arguments, whom) in [
        ("join Lobby --play tone --wait 1", r#"in "Lobby""#),
        ("join Lobby --text hello --wait 1", r#"in "Lobby""#),
        ("join --to nobody --play tone --for 1", r#"as "nobody""#),
    ] {
        let (code, out, errors) = server.client(arguments);
        assert_eq!(code, Some(1), "{out}{errors}");
        assert!(out.contains(&format!("nobody listens {whom} yet")), "{out}");
        assert!(errors.contains(&format!("nobody listens {whom}: nothing was said")), "{errors}");
    }
    for empty in ["", "--name= join Lobby", "--to="] {
        let mut command = server.command("join");
        command.arg(empty);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{empty:?}: {output:?}");
    }
    // One who comes later is waited for.
    let alice = Client::start(server.command("--name alice join Lobby --text hello --wait 30"));
    alice.until("nobody listens");
    let bob = server.spawn("--name bob join Lobby", r#""alice" to Lobby: "hello""#);
    assert_eq!(alice.end().0, Some(0));
    bob.signal("-INT");
    assert_eq!(bob.end().0, Some(0));
}

/// F-65: a text that no packet carries is refused before anything is connected.
#[test]
fn f_65_a_text_that_is_too_long_is_a_mistake_of_the_command_line() {
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob join Lobby", "joined");
    let (code, _, errors) = server.client(&format!("join Lobby --text {}", "x".repeat(999)));
    assert!(code == Some(2) && errors.contains("999 bytes, of which a packet carries 998"), "{errors}");
    let (code, _, errors) = server.client(&format!("join Lobby --text {}", "x".repeat(998)));
    assert_eq!(code, Some(0), "{errors}");
    bob.until("xxxx");
}
