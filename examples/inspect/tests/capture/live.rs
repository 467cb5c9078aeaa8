//! A demonstration of all protocols, captured by `dumpcap` in a network of its own.

use crate::capture;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = "
ip link set lo up || exit 3
dumpcap -q -B 64 -i lo -w \"$1\" & dumpcap=$!
n=0; until [ -s \"$1\" ] || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
sleep 0.5
\"$2\" --json demo --out \"$3\"; code=$?
sleep 1; kill -INT $dumpcap; wait $dumpcap
exit $code";

/// The client, where it has been built beside the inspector.
fn client() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_voxwire-inspect")).with_file_name("voxwire-client");
    path.exists().then_some(path)
}

/// Why there can be no capture.
fn problem() -> Option<&'static str> {
    let succeeds = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !succeeds("dumpcap", &["--version"]) {
        return Some("dumpcap is not installed");
    }
    if !succeeds("unshare", &["-rn", "ip", "link", "set", "lo", "up"]) {
        return Some("no network namespaces");
    }
    if !succeeds("unshare", &["-rn", "dumpcap", "-D"]) {
        return Some("dumpcap may not capture");
    }
    client().is_none().then_some("voxwire-client is not built")
}

#[test]
fn f_60_a_captured_demonstration_is_counted_as_the_programs_count() {
    if let Some(problem) = problem() {
        eprintln!("skipped: {problem}");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capture-live");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("demo.pcapng");
    let _ = std::fs::remove_file(&file);
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", SCRIPT, "sh"])
        .args([&file, &client().unwrap(), &folder.join("out")])
        .output()
        .unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Some(dropped) = dropped(&log) {
        eprintln!("skipped: dumpcap did not keep up, it says {dropped:?}");
        return;
    }
    let calls: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|object: &Value| object["event"] == "call")
        .collect();
    // On a busy machine a call may not be heard as it was said: it is counted all the same.
    assert!(!calls.is_empty(), "{text}{log}");
    let shown = capture(&file, &["--messages", "0"]);
    assert_eq!(shown.summary["malformed"], 0);
    for call in &calls {
        check(call, &shown.flows);
    }
}

/// The line in which `dumpcap` says that packets are missing from the file.
fn dropped(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| line.starts_with("Packets received/dropped on interface"))?;
    let (_, counts) = line.rsplit_once("': ")?;
    let count = counts.split_once('/')?.1.split(' ').next()?;
    (count != "0").then_some(line)
}

/// What a speaker said in one direction of a connection by TCP, before UDP was bound, and by UDP afterwards: two flows, whose counts add up.
fn by_tcp_and_udp<'f>(flows: impl Iterator<Item = &'f Value> + Clone) -> Vec<u64> {
    // Of each voice: where the server is, the direction, the speaker, and how many messages.
    let said = |transport: &str| -> Vec<(String, &Value, &Value, u64)> {
        let flows = flows.clone().filter(|flow| flow["transport"] == transport);
        let of = |flow: &'f Value| {
            let (host, _) = flow["server"].as_str().unwrap().rsplit_once(':').unwrap();
            let voices = flow["voice"].as_array().into_iter().flatten();
            voices.map(move |voice| {
                let messages = voice["messages"].as_u64().unwrap();
                (host.to_owned(), &voice["from"], &voice["speaker"], messages)
            })
        };
        flows.flat_map(of).collect()
    };
    let udp = said("udp");
    let sums = said("tcp").into_iter().flat_map(|(host, from, speaker, first)| {
        let rest = udp.iter().filter(move |rest| (&rest.0, rest.1, rest.2) == (&host, from, speaker));
        rest.map(|rest| first + rest.3).collect::<Vec<_>>()
    });
    sums.collect()
}

/// A voice of which as many messages were sent as the program says, in one direction of a flow of that protocol.
fn check(call: &Value, flows: &[Value]) {
    let name = call["protocol"].as_str().unwrap();
    let protocol = name.split([':', ' ']).next().unwrap();
    let (sent, heard) = (call["sent"].as_u64().unwrap(), call["heard"].as_u64().unwrap());
    let of_protocol = flows.iter().filter(|flow| flow["protocol"] == protocol);
    let voices: Vec<&Value> =
        of_protocol.clone().filter_map(|flow| flow["voice"].as_array()).flatten().collect();
    let mut any: Vec<u64> = voices.iter().map(|voice| voice["messages"].as_u64().unwrap()).collect();
    any.extend(by_tcp_and_udp(of_protocol.clone()));
    let about = format!("{name}: {sent} sent, {heard} heard, {any:?} captured");
    match name {
        // The sum of two speakers; one message of its own kind; round trips, which are no voice.
        "msgpack: both to carol" => {}
        "msgpack: message to carol" => {
            let number = |flow: &Value| flow["messages"]["client"]["voice_msg"]["count"].as_u64();
            assert_eq!(of_protocol.filter_map(number).sum::<u64>(), 1, "{about}");
        }
        _ if protocol == "echo" => {
            let number = |flow: &Value| flow["messages"]["client"]["Request"]["count"].as_u64();
            assert!(of_protocol.filter_map(number).any(|number| number == sent), "{about}");
        }
        _ => {
            assert!(any.contains(&sent), "{about}");
            // Opcode's and syfala's listeners may leave before the last messages arrive.
            assert!(any.contains(&heard) || any.iter().any(|n| *n > heard && n - heard < 10), "{about}");
        }
    }
}
