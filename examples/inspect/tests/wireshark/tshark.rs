//! `tshark` with the dissectors, and what it shows.

use crate::capture::Side::{self, Client};
use crate::capture::{Capture, Cut};
use crate::pdml::{self, Node};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const PROTOCOLS: [&str; 6] = ["voicelink", "opcode", "msgpack", "syfala", "dissonance", "transport"];
pub const CUTS: [Cut; 6] = [Cut::Whole, Cut::Bytes, Cut::Pairs, Cut::Ragged, Cut::Again, Cut::Swapped];

/// Whether there is a `tshark` with Lua. Says so if there is none.
pub fn is_here() -> bool {
    let problem = match Command::new("tshark").arg("--version").output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("with Lua") => return true,
        Ok(_) => "this tshark has no Lua",
        Err(_) => "tshark is not installed",
    };
    eprintln!("skipped: {problem}");
    false
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wireshark")
}

/// Runs `tshark` on a capture, with the dissectors and without the settings of the user who runs the test.
pub fn tshark(name: &str, capture: &Capture, arguments: &[&str]) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wireshark-{name}"));
    std::fs::create_dir_all(&home).unwrap();
    let file = home.join("capture.pcap");
    capture.write(&file);
    let scripts = PROTOCOLS.map(|protocol| folder().join(format!("voxwire_{protocol}.lua")));
    run(&home, &file, &scripts, arguments)
}

pub fn run(home: &Path, file: &Path, scripts: &[PathBuf], arguments: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("WIRESHARK_CONFIG_DIR", home);
    for script in scripts {
        command.arg("-X").arg(format!("lua_script:{}", script.display()));
    }
    let Output { status, stdout, stderr } =
        command.args(["-n", "-r"]).arg(file).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && !stderr.contains("Lua"), "{stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The packets that hold messages of ours, dissected.
pub fn dissect(name: &str, capture: &Capture, more: &[&str]) -> Vec<Node> {
    let ours: Vec<String> = PROTOCOLS.iter().map(|protocol| format!("vox.{protocol}")).collect();
    let (filter, shown) = (ours.join(" or "), format!("tcp udp {}", ours.join(" ")));
    // Segments in the wrong order are put right, and lists of samples are shown as a whole.
    let order = ["-o", "tcp.reassemble_out_of_order:TRUE", "-o", "vox.msgpack.samples:1000"];
    let output = ["-T", "pdml", "-Y", &filter, "-J", &shown];
    pdml::parse(&tshark(name, capture, &[&order[..], &output, more].concat()))
}

/// The messages of one protocol from one side of a conversation, which its client's port names.
pub fn messages<'a>(packets: &'a [Node], protocol: &str, client_port: u16, from: Side) -> Vec<&'a Node> {
    let name = format!("vox.{protocol}");
    let port = client_port.to_string();
    let field = if from == Client { "srcport" } else { "dstport" };
    let is_here = |packet: &&Node| {
        let transport = packet.children.iter().find(|proto| ["tcp", "udp"].contains(&proto.name()));
        transport
            .and_then(|proto| proto.find(&format!("{}.{field}", proto.name())))
            .is_some_and(|node| node.show() == port)
    };
    let all = packets.iter().filter(is_here).flat_map(|packet| &packet.children);
    all.filter(|proto| proto.name() == name).collect()
}

/// What the columns of packets with payload say, from the first packet on.
pub fn columns(name: &str, capture: &Capture, more: &[&str]) -> Vec<String> {
    let arguments = [
        "-T",
        "fields",
        "-e",
        "_ws.col.Protocol",
        "-e",
        "_ws.col.Info",
        "-Y",
        "tcp.len > 0 or udp.length > 8",
    ];
    let text = tshark(name, capture, &[&arguments, more].concat());
    text.lines().map(|line| line.replacen('\t', " ", 1)).collect()
}
