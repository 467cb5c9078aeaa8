//! The devices of this machine: listed, chosen by name, played to and heard. The machine is one of ALSA's plug-ins.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods)]

#[path = "kit/alsa.rs"]
mod alsa;
mod kit;

use alsa::Machine;
use kit::temporary;
use serde_json::{Value, json};
use std::fs::write;
use std::process::{Command, Output};

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

/// D-18: the devices are listed, for people and for programs.
#[test]
fn d_18_devices_are_listed() {
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

/// D-18: a machine without sound says so.
#[test]
fn d_18_a_machine_without_devices_says_so() {
    let silent = temporary("devices-asound.conf");
    write(&silent, "").unwrap();
    for config in [silent, temporary("no-such-asound.conf")] {
        let Some(out) = devices(|command| drop(command.env("ALSA_CONFIG_PATH", config)), &[]) else { return };
        let error = String::from_utf8_lossy(&out.stderr);
        let says = error.contains("this machine has no input") || error.contains("cannot be used");
        assert!(out.status.code() == Some(1) && says, "{error}");
    }
}
