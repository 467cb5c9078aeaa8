//! Mute, push-to-talk, voice activation, noise suppression and automatic gain, as the other side hears them; and how loud speakers are heard.
#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Server, temporary};
use serde_json::Value;
use std::fs::write;
use std::path::{Path, PathBuf};
use voxwire_audio::{Clip, SPEECH, SampleFormat, compare, load, read, resample, save_wav};
use voxwire_server::Protocol;

/// A script that mutes for two seconds.
fn mutes(name: &str, up: &str) -> PathBuf {
    let script = temporary(name);
    let lines =
        format!("expect {up}\nwait 1500ms\n/mute\nexpect muted\nwait 2s\n/unmute\nwait 1500ms\n/quit\n");
    write(&script, lines).unwrap();
    script
}

/// How long the longest silence between sounds is, in seconds.
fn longest_gap(path: &Path) -> f64 {
    let clip = load(path).unwrap().clip.mono();
    let loud: Vec<usize> = (0..clip.samples.len()).filter(|at| clip.samples[*at].abs() > 0.05).collect();
    let gap = loud.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
    gap as f64 / f64::from(clip.rate)
}

/// F-72: in voicelink and opcode what is muted is silence, and the call goes on.
#[test]
fn f_72_what_is_muted_is_silence_where_a_stream_has_no_gaps() {
    for protocol in [Protocol::VOICELINK, Protocol::OPCODE] {
        let server = Server::start(protocol);
        let (name, recording) = (protocol.name(), temporary(&format!("talk-{}.wav", protocol.name())));
        let bob = server.spawn(&format!("wait --name bob --record {}", recording.display()), "waiting");
        let script = mutes(&format!("talk-{name}.script"), "is up");
        let call = format!("call bob --name alice --play tone --script {}", script.display());
        let (code, out, errors) = server.client(&call);
        assert_eq!(code, Some(0), "{name}: {out}{errors}");
        assert_eq!(bob.end().0, Some(0), "{name}");
        let gap = longest_gap(&recording);
        assert!((1.5..6.0).contains(&gap), "{name}: {gap} s");
    }
}

/// F-72: in Dissonance nothing is sent meanwhile.
#[test]
fn f_72_who_is_muted_in_a_room_stops_speaking() {
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob join Red --json", "joined");
    let script = mutes("talk-dissonance.script", "bob");
    let join = format!("--name alice join Red --play tone --script {}", script.display());
    let (code, out, errors) = server.client(&join);
    assert_eq!(code, Some(0), "{out}{errors}");
    bob.until("\"left\"");
    bob.signal("-INT");
    let (_, out, _) = bob.end();
    let heard = out.lines().find(|line| line.contains("\"heard\"")).unwrap();
    let heard: Value = serde_json::from_str(heard).unwrap();
    // Three seconds of five.
    assert!((50..225).contains(&heard["frames"].as_u64().unwrap()), "{heard}");
}

/// Speech, three seconds of nothing, and speech.
fn twice(name: &str) -> String {
    let speech = resample(&read(SPEECH).unwrap().clip.mono(), 48_000).unwrap();
    let mut samples = speech.samples[..3 * 48_000].to_vec();
    samples.resize(6 * 48_000, 0.0);
    samples.extend_from_slice(&speech.samples[..3 * 48_000]);
    let path = temporary(name);
    save_wav(&path, &Clip { samples, ..speech }, SampleFormat::I16).unwrap();
    path.display().to_string()
}

/// F-72: with voice activation two speeches are two speeches for a listener, and silence in a group call is not sent.
#[test]
fn f_72_only_voice_is_sent_where_a_voice_activates() {
    let file = twice("talk-twice.wav");
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("--name bob join Red --json", "joined");
    let (code, out, errors) =
        server.client(&format!("--name alice join Red --json --voice-activation --play {file}"));
    assert_eq!(code, Some(0), "{out}{errors}");
    let said = out.lines().find(|line| line.contains("\"said\"")).unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    // Six seconds of nine are speech, with pauses; each ends with the hang-over.
    let frames = said["frames"].as_u64().unwrap();
    assert!((200..360).contains(&frames), "{said}");
    bob.until("\"left\"");
    bob.signal("-INT");
    let (_, out, _) = bob.end();
    assert!(!out.contains("\"unheard\""), "{out}");

    let server = Server::start(Protocol::MSGPACK);
    assert_eq!(server.client("register --user alice").0, Some(0));
    assert_eq!(server.client("create-group readers --user alice").0, Some(0));
    let call = format!("call readers --user alice --json --voice-activation --play {file}");
    let (code, out, errors) = server.client(&call);
    assert_eq!(code, Some(0), "{out}{errors}");
    let ended = out.lines().find(|line| line.contains("\"ended\"")).unwrap();
    let ended: Value = serde_json::from_str(ended).unwrap();
    assert!((200..360).contains(&ended["sent"].as_u64().unwrap()), "{ended}");
}

/// F-72: with push-to-talk nothing is sent before the key, which is a command in a script; without any key it is a usage error.
#[test]
fn f_72_nothing_is_sent_before_the_key_is_pushed() {
    let server = Server::start(Protocol::VOICELINK);
    let recording = temporary("talk-push.wav");
    let (code, _, errors) = server.client("wait --name carol --push-to-talk");
    assert!(code == Some(2) && errors.contains("there is no key without a screen"), "{errors}");
    let bob = server.spawn(&format!("wait --name bob --record {}", recording.display()), "waiting");
    let script = temporary("talk-push.script");
    write(&script, "expect is up\nwait 1s\n/talk\nexpect talking\nwait 1s\n/talk\nwait 1s\n/quit\n").unwrap();
    let call = format!("call bob --name alice --push-to-talk --play tone --script {}", script.display());
    let (code, out, errors) = server.client(&call);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!(bob.end().0, Some(0));
    let clip = load(&recording).unwrap().clip;
    let loud = |sample: &f64| sample.abs() > 0.05;
    let seconds = |at: usize| at as f64 / f64::from(clip.rate);
    let first = seconds(clip.samples.iter().position(loud).unwrap());
    let behind = clip.seconds() - seconds(clip.samples.iter().rposition(loud).unwrap());
    assert!(first > 0.5 && behind > 0.5, "{first} s before, {behind} s behind");
}

/// F-73: a speaker is heard as loud as the flag says, and as a command says later, in a room and in a group call.
#[test]
fn f_73_a_speaker_is_heard_as_loud_as_is_wanted() {
    let script = temporary("talk-volume.script");
    for (protocol, up) in [(Protocol::DISSONANCE, "joined"), (Protocol::MSGPACK, "in the call")] {
        let lines = "wait 2500ms\n/volume ann 200\nexpect ann is heard at 200 %\nwait 2500ms\n/quit\n";
        write(&script, format!("expect {up}\n{lines}")).unwrap();
        let server = Server::start(protocol);
        let (name, recording) = (protocol.name(), temporary(&format!("talk-volume-{}.wav", protocol.name())));
        let heard = format!("--volume ann=50 --record {} --script {}", recording.display(), script.display());
        let (says, hears) = if protocol == Protocol::MSGPACK {
            for line in [
                "register --user ann",
                "register --user bob",
                "create-group all --user ann",
                "join-group all --user bob",
            ] {
                assert_eq!(server.client(line).0, Some(0), "{line}");
            }
            ("call all --user ann --play tone --for 20".to_owned(), format!("call all --user bob {heard}"))
        } else {
            ("--name ann join Red --play tone --for 20".to_owned(), format!("--name bob join Red {heard}"))
        };
        let ann = server.spawn(&says, up);
        let (code, out, errors) = server.client(&hears);
        assert_eq!(code, Some(0), "{name}: {out}{errors}");
        drop(ann);
        let samples = load(&recording).unwrap().clip.mono().samples;
        let loudest = |samples: &[f64]| samples.iter().fold(0.0_f64, |peak, sample| peak.max(sample.abs()));
        let end = samples.len() - 30_000;
        let (first, last) = (loudest(&samples[..end / 3]), loudest(&samples[end * 2 / 3..end]));
        assert!((3.0..5.0).contains(&(last / first)), "{name}: {first}, then {last}");
    }
}

/// F-74: each speaker has a recording of its own, and all begin together.
#[test]
fn f_74_each_speaker_is_recorded_alone() {
    for protocol in [Protocol::DISSONANCE, Protocol::MSGPACK] {
        let (server, name) = (Server::start(protocol), protocol.name());
        let folder = temporary(&format!("talk-each-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let each = format!("--record-each {}", folder.join("call.wav").display());
        let group = protocol == Protocol::MSGPACK;
        if group {
            assert_eq!(server.client("register --user ann").0, Some(0));
            assert_eq!(server.client("create-group all --user ann").0, Some(0));
            for user in ["bob", "carol"] {
                assert_eq!(server.client(&format!("register --user {user}")).0, Some(0));
                assert_eq!(server.client(&format!("join-group all --user {user}")).0, Some(0));
            }
        }
        let call = |user: &str, rest: &str| match group {
            true => (format!("call all --user {user} {rest}"), "in the call"),
            false => (format!("--name {user} join Red {rest}"), "joined"),
        };
        let (arguments, up) = call("ann", &each);
        let ann = server.spawn(&arguments, up);
        for (user, hz) in [("bob", 300), ("carol", 1000)] {
            let (arguments, _) = call(user, &format!("--play tone:{hz} --for 1"));
            assert_eq!(server.client(&arguments).0, Some(0), "{name}, {user}");
        }
        ann.signal("-INT");
        let (code, out, errors) = ann.end();
        assert_eq!(code, Some(0), "{name}: {out}{errors}");
        let loud = |user: &str| {
            let clip = load(&folder.join(format!("call-{user}.wav"))).unwrap().clip;
            let at = |at: Option<usize>| at.unwrap() as f64 / f64::from(clip.rate);
            let is_loud = |sample: &f64| sample.abs() > 0.1;
            (at(clip.samples.iter().position(is_loud)), at(clip.samples.iter().rposition(is_loud)))
        };
        let ((first, last), (next, end)) = (loud("bob"), loud("carol"));
        // One behind the other, each for a second.
        assert!(last < next, "{name}: {first} to {last}, {next} to {end}");
        assert!(last - first > 0.4 && end - next > 0.4, "{name}: {first} to {last}, {next} to {end}");
    }
}

/// The power of each part of a recording, in decibels of full scale.
fn decibels(samples: &[f64]) -> f64 {
    10.0 * (samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len() as f64)
        .max(1e-12)
        .log10()
}

/// F-76: in every protocol a quiet voice in noise is heard louder, and with less noise beside it.
#[test]
fn f_76_a_quiet_voice_in_noise_is_heard_louder_and_cleaner() {
    const RATE: usize = 48_000;
    let calls = [
        (Protocol::VOICELINK, "wait --name bob", "waiting", "call bob --name ann"),
        (Protocol::OPCODE, "wait --name bob", "waiting", "call bob --name ann"),
        (Protocol::MSGPACK, "call room --user bob", "in the call", "call room --user ann --for 16"),
        (Protocol::SYFALA, "stream", "both ways", "stream --for 16"),
        (Protocol::DISSONANCE, "join Red --name bob", "joined", "join Red --name ann"),
    ];
    // Speech, a pause, and speech, with noise in all of it.
    let speech = resample(&read(SPEECH).unwrap().clip.mono(), RATE as u32).unwrap().samples;
    let quiet = speech[..6 * RATE].iter().map(|sample| sample * 0.05);
    let said: Vec<f64> = quiet.clone().chain(std::iter::repeat_n(0.0, 3 * RATE)).chain(quiet).collect();
    let mut random = 1_u32;
    let mut noise = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(random >> 8) / f64::from(1 << 24) - 0.5) * 0.004
    };
    let noisy = Clip {
        rate: RATE as u32,
        channels: 1,
        samples: said.iter().map(|sample| sample + noise()).collect(),
    };
    let file = temporary("talk-noisy.wav");
    save_wav(&file, &noisy, SampleFormat::I16).unwrap();
    let levels = |samples: &[f64]| {
        [decibels(&samples[9 * RATE..15 * RATE]), decibels(&samples[13 * RATE / 2..17 * RATE / 2])]
    };
    let [voice_before, noise_before] = levels(&noisy.samples);
    let said = Clip { samples: said, ..noisy };
    let call = |(protocol, listens, ready, speaks): (Protocol, &str, &str, &str)| {
        let (server, name) = (Server::start(protocol), protocol.name());
        if protocol == Protocol::MSGPACK {
            for request in ["register --user ann", "register --user bob", "create-group room --user ann"] {
                assert_eq!(server.client(request).0, Some(0), "{request}");
            }
            assert_eq!(server.client("join-group room --user bob").0, Some(0));
        }
        let path = temporary(&format!("talk-clean-{name}.wav"));
        let bob = server.spawn(&format!("{listens} --record {}", path.display()), ready);
        let call = format!("{speaks} --denoise --automatic-gain --play {}", file.display());
        let (code, out, errors) = server.client(&call);
        assert_eq!(code, Some(0), "{name}: {out}{errors}");
        bob.signal("-INT");
        assert_eq!(bob.end().0, Some(0), "{name}");
        let heard = resample(&load(&path).unwrap().clip.mono(), RATE as u32).unwrap();
        let at = usize::try_from(compare(&said, &heard).unwrap().offset).unwrap();
        let mut heard = heard.samples[at..].to_vec();
        heard.resize(15 * RATE, 0.0);
        let [voice, noise] = levels(&heard);
        assert!(voice > voice_before + 10.0, "{name}: {voice_before} dB, then {voice}");
        let cleaner = (voice - noise) - (voice_before - noise_before);
        assert!(cleaner > 10.0, "{name}: {noise_before} dB of noise, then {noise}");
    };
    std::thread::scope(|scope| {
        calls.map(|it| scope.spawn(move || call(it))).map(|thread| thread.join().unwrap())
    });
}
