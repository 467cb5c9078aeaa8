//! The devices of this machine: listed, chosen by name, played to and heard. The machine is one of ALSA's plug-ins.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)]

#[path = "kit/alsa.rs"]
mod alsa;
mod kit;

use alsa::{Machine, RATE};
use kit::{Client, Server, temporary};
use serde_json::{Value, json};
use std::fs::write;
use std::process::{Command, Output};
use std::time::Duration;
use voxwire_audio::{Clip, SPEECH, SampleFormat, compare, load, read, resample, save_wav};
use voxwire_server::Protocol;

/// Runs the client on a machine; `None` where devices are not built in, which it says.
fn devices(machine: impl FnOnce(&mut Command), arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    machine(command.arg("devices").args(arguments));
    let out = command.output().unwrap();
    if cfg!(feature = "device") {
        return Some(out);
    }
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && error.contains("devices is not built in"), "{error}");
    None
}

/// F-58: the devices are listed, for people and for programs.
#[test]
fn f_58_devices_are_listed() {
    let machine = Machine::new("list");
    let Some(out) = devices(|command| machine.on(command), &[]) else { return };
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    let (inputs, outputs) = text.split_once("outputs:\n").unwrap();
    assert!(inputs.starts_with("inputs:\n  default") && inputs.contains("  mic  (A microphone)\n"), "{text}");
    assert!(outputs.starts_with("  default") && outputs.contains("  spk  (A loudspeaker)\n"), "{text}");

    let out = devices(|command| machine.on(command), &["--json"]).unwrap();
    let lines = String::from_utf8(out.stdout).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |direction: &str, name: &str| {
        let found = events.iter().find(|event| event["direction"] == direction && event["name"] == name);
        found.unwrap_or_else(|| panic!("{direction} {name}: {lines}"))
    };
    let spk = find("output", "spk");
    assert_eq!((&spk["event"], &spk["default"]), (&json!("sound_device"), &json!(false)), "{lines}");
    assert_eq!(spk["description"], "A loudspeaker");
    assert!(
        spk["formats"].as_array().unwrap().contains(&json!("f32")) && spk["rates"][0][0].is_u64(),
        "{spk}"
    );
    assert_eq!(find("input", "default")["default"], true);
    assert!(find("input", "mic")["channels"].as_array().unwrap().contains(&json!(1)));
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["devices"]), (&json!("done"), &json!(events.len() - 1)));
}

/// C-22: `check` lists them, too, and a machine without sound fails no check.
#[test]
fn c_22_check_lists_the_devices() {
    let machine = Machine::new("check");
    for has_sound in [true, false] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        command.args(["check", "--only", "voicelink"]);
        if has_sound {
            machine.on(&mut command);
        } else {
            command.env("ALSA_CONFIG_PATH", temporary("no-such-asound.conf"));
        }
        let out = command.output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && text.contains("sound "), "{text}");
        if has_sound && cfg!(feature = "device") {
            let (inputs, outputs) = text.split_once("sound outputs:\n").unwrap();
            assert!(
                inputs.contains("sound inputs:\n  default") && inputs.contains("  mic  (A microphone)"),
                "{text}"
            );
            assert!(outputs.contains("  spk  (A loudspeaker)"), "{text}");
        }
    }
}

/// F-58: a machine without sound says so.
#[test]
fn f_58_a_machine_without_devices_says_so() {
    let silent = temporary("devices-asound.conf");
    write(&silent, "").unwrap();
    for config in [silent, temporary("no-such-asound.conf")] {
        let Some(out) = devices(|command| _ = command.env("ALSA_CONFIG_PATH", config), &[]) else { return };
        let error = String::from_utf8_lossy(&out.stderr);
        let says = error.contains("this machine has no input") || error.contains("cannot be used");
        assert!(out.status.code() == Some(1) && says, "{error}");
    }
}

/// Speech at the rate of the devices, and a file with it.
fn speech(name: &str) -> (Clip, String) {
    let clip = resample(&read(SPEECH).unwrap().clip.mono(), RATE).unwrap();
    let path = temporary(name);
    save_wav(&path, &clip, SampleFormat::I16).unwrap();
    (clip, path.display().to_string())
}

fn spawn(machine: &Machine, server: &Server, arguments: &str, line: &str) -> Client {
    let mut command = server.command(arguments);
    machine.on(&mut command);
    Client::spawn(command, line)
}

/// F-58: with a file to play and an output that is named, the file goes out and the other side comes out of that output; no microphone
/// is opened.
#[test]
fn f_58_what_the_other_side_says_comes_out_of_the_output_that_is_named() {
    if !cfg!(feature = "device") {
        return eprintln!("skipped: the feature `device` is not built in");
    }
    let machine = Machine::new("output");
    let server = Server::start(Protocol::VOICELINK);
    let (said, file) = speech("devices-output.wav");
    let recording = temporary("devices-output-bob.wav");
    let wait = format!("wait --name bob --rate {RATE} --play {file} --record {}", recording.display());
    let bob = server.spawn(&wait, "waiting");
    let loudspeaker = machine.listen();
    let call = format!("call bob --name alice --rate {RATE} --play {file} --output spk");
    let (code, out, errors) = spawn(&machine, &server, &call, "is up").end();
    assert_eq!(code, Some(0), "{out}{errors}");
    let heard = Clip { rate: RATE, channels: 1, samples: loudspeaker.end() };
    let found = compare(&said, &heard).unwrap();
    assert!(found.present > 0.8, "{found:?}");
    assert_eq!(bob.end().0, Some(0));
    let found = compare(&said, &load(&recording).unwrap().clip).unwrap();
    assert!(found.missing == 0 && found.exact, "{found:?}");
}

/// F-58: what the input that is named hears goes to the other side.
#[test]
fn f_58_what_the_input_that_is_named_hears_goes_to_the_other_side() {
    if !cfg!(feature = "device") {
        return eprintln!("skipped: the feature `device` is not built in");
    }
    let machine = Machine::new("input");
    let server = Server::start(Protocol::VOICELINK);
    let (said, _) = speech("devices-input.wav");
    let recording = temporary("devices-input-bob.wav");
    let wait = format!("wait --name bob --rate {RATE} --record {}", recording.display());
    let bob = server.spawn(&wait, "waiting");
    let call = format!("call bob --name alice --rate {RATE} --input mic --for 9");
    let (microphone, mouth) = machine.microphone();
    let alice = spawn(&machine, &server, &call, "is up");
    mouth.send(said.samples.clone()).unwrap();
    let (code, out, errors) = alice.end();
    assert_eq!(code, Some(0), "{out}{errors}");
    microphone.end();
    assert_eq!(bob.end().0, Some(0));
    let found = compare(&said, &load(&recording).unwrap().clip).unwrap();
    assert!(found.present > 0.8, "{found:?}");
}

/// F-77: who hears the loudspeaker in the microphone is warned, once; who hears something else is not.
#[test]
fn f_77_an_echo_is_warned_of_once() {
    if !cfg!(feature = "device") {
        return eprintln!("skipped: the feature `device` is not built in");
    }
    let (said, file) = speech("devices-echo.wav");
    let backwards: Vec<f64> = said.samples.iter().rev().copied().collect();
    let call = |name: &str, hears: &[f64]| {
        let machine = Machine::new(name);
        let server = Server::start(Protocol::VOICELINK);
        let loudspeaker = machine.listen();
        let (microphone, mouth) = machine.microphone();
        let wait = format!("wait --name bob --rate {RATE} --input mic --output spk --json");
        let bob = spawn(&machine, &server, &wait, "waiting");
        let ann =
            server.spawn(&format!("call bob --name ann --rate {RATE} --play {file}.long --for 24"), "is up");
        bob.until("established");
        // Later than what is played.
        let late = std::iter::repeat_n(0.0, RATE as usize / 2);
        let quiet = |sample: f64| sample * 0.1;
        mouth
            .send(late.chain(hears.iter().cycle().take(24 * RATE as usize).copied().map(quiet)).collect())
            .unwrap();
        assert_eq!(ann.end().0, Some(0));
        let (code, out, errors) = bob.end();
        assert_eq!(code, Some(0), "{out}{errors}");
        loudspeaker.end();
        microphone.end();
        out.lines().filter(|line| line.contains("the microphone hears what the loudspeaker plays")).count()
    };
    let long = Clip { samples: said.samples.repeat(3), ..said.clone() };
    save_wav(std::path::Path::new(&format!("{file}.long")), &long, SampleFormat::I16).unwrap();
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| call("echo", &said.samples));
        let other = scope.spawn(|| call("no-echo", &backwards));
        assert_eq!((echo.join().unwrap(), other.join().unwrap()), (1, 0));
    });
}

/// F-58: a name that no device has is told from those that there are, in every protocol, before anything is connected.
#[test]
fn f_58_a_name_that_no_device_has_lists_those_that_there_are() {
    let machine = Machine::new("unknown");
    let calls = [
        "voicelink wait --output noise",
        "opcode wait --output noise",
        "msgpack chat --user alice --output noise",
        "dissonance join Red --output noise",
        "syfala stream --output-device noise",
        "voicelink wait --input noise",
        "opcode wait --input noise",
        "msgpack chat --user alice --input noise",
        "dissonance join Red --input noise",
        "syfala stream --input-device noise",
    ];
    for call in calls {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        machine.on(command.args(call.split(' ')).env("VOXWIRE_PASSWORD", "geheim"));
        let out = command.output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        if cfg!(feature = "device") {
            let listed = error.contains(r#"no device has the name "noise"; there are"#);
            assert!(out.status.code() == Some(1) && listed && error.contains(r#""spk""#), "{call}: {error}");
        } else {
            assert!(out.status.code() == Some(2) && error.contains("is not built in"), "{call}: {error}");
        }
    }
}

/// F-59: a loudspeaker that is unplugged ends no call, and that is reported once; when it is back it is heard again.
#[test]
fn f_59_a_loudspeaker_that_is_unplugged_is_used_again_when_it_is_back() {
    if !cfg!(feature = "device") {
        return eprintln!("skipped: the feature `device` is not built in");
    }
    let mut machine = Machine::new("unplugged");
    let server = Server::start(Protocol::VOICELINK);
    let wait = format!("wait --name bob --rate {RATE} --play tone:200");
    let bob = server.spawn(&wait, "waiting");
    let loudspeaker = machine.listen();
    let call = format!("call bob --name alice --rate {RATE} --play tone --output spk --json");
    let alice = spawn(&machine, &server, &call, "established");
    std::thread::sleep(Duration::from_secs(1));
    machine.unplug();
    loudspeaker.end();
    let lost: Value = serde_json::from_str(&alice.until("sound_device_lost")).unwrap();
    assert_eq!((&lost["device"], &lost["name"]), (&json!("loudspeaker"), &json!("spk")));
    let loudspeaker = machine.listen();
    // (Between the two there is no other event.)
    assert!(alice.next().contains("sound_device_back"));
    std::thread::sleep(Duration::from_secs(2));
    alice.signal("-INT");
    let (code, out, errors) = alice.end();
    assert_eq!(code, Some(0), "{out}{errors}");
    let heard = loudspeaker.end();
    let loud = heard.iter().filter(|sample| sample.abs() > 0.1).count();
    assert!(loud > RATE as usize / 2, "{loud} of {}", heard.len());
    drop(bob);
}
