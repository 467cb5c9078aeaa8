//! What operators rely on: settings from everywhere, health, the log, the service manager, and the files that are shipped.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod kit;

use kit::raw::{
    connect, connect_from, log_in_plain, metrics, next_opcode, next_packet, opcode_packet, packet, pause,
    registered, sample,
};
use kit::{Server, command, fails, file, folder};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ANY: [&str; 6] = ["--only", "voicelink", "--voicelink-port", "0", "--http", "127.0.0.1:0"];

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A file of the workspace.
fn shipped(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The flags that `--help` names.
fn flags() -> Vec<String> {
    let help = String::from_utf8(command(&["--help"]).output().unwrap().stdout).unwrap();
    let flags = help.lines().filter_map(|line| line.strip_prefix("      --")?.split([' ', '<']).next());
    flags.map(String::from).collect()
}

fn variable(flag: &str) -> String {
    format!("VOXWIRE_{}", flag.replace('-', "_").to_uppercase())
}

/// How the program ends with a variable, and what it says.
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// C-07: a wrong value in the environment is refused, which shows that each flag's variable is read.
#[test]
fn c_07_every_flag_has_its_variable() {
    // These ask for something else than serving, or are another name of a setting.
    let others = ["help", "version", "check-config", "print-default-config", "no-quic"];
    // Any text is one.
    let texts = [
        "data",
        "dissonance-rooms",
        "dissonance-record-rooms",
        "msgpack-record-groups",
        "opcode-record-names",
        "voicelink-record-names",
        "syfala-sound",
        "control-socket",
        "control-say-as",
    ];
    let flags = flags();
    assert!(flags.len() > 60, "{flags:?}");
    for flag in &flags {
        let name = variable(flag);
        if others.contains(&&**flag) || texts.contains(&&**flag) {
            continue;
        }
        // The ports are set by a flag where a test does not say otherwise.
        let output = Command::new(env!("CARGO_BIN_EXE_voxwire-server"))
            .arg("--check-config")
            .env(&name, "?!")
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = match &**flag {
            "config" | "control-token-file" => "cannot read ?!",
            "tls-cert" | "tls-key" => "belong together",
            _ => &name,
        };
        assert!(output.status.code() == Some(2) && error.contains(expected), "{name}: {error}");
    }
    let quiet = ["--only", "dissonance", "--http", "off"];
    let long = "x".repeat(70_000);
    for (name, value, only, expected) in [
        ("VOXWIRE_SYFALA_SOUND", "no-such.wav", "syfala", "no-such.wav"),
        ("VOXWIRE_DISSONANCE_ROOMS", &*long, "dissonance", "the room"),
        ("VOXWIRE_DISSONANCE_RECORD_ROOMS", &*long, "dissonance", "cannot be recorded"),
        ("VOXWIRE_DATA", "/dev/null/data", "dissonance", "/dev/null/data"),
    ] {
        let arguments = [&["--only", only], &quiet[2..]].concat();
        let (code, error) = with(&[(name, value)], &arguments);
        assert!(code.is_some_and(|code| code != 0) && error.contains(expected), "{name}: {error:.200}");
    }
}

/// C-07: a flag wins over the environment, and that over the file.
#[test]
fn c_07_flags_win_over_the_environment_and_that_over_the_file() {
    let path = file(
        "precedence.toml",
        "drain-seconds = 0\nonly = [\"voicelink\"]\n[voicelink]\nanswer-seconds = 0\n",
    );
    let base = ["--check-config", "--config", path.to_str().unwrap()];
    let (code, error) = with(&[], &base);
    assert!(code == Some(2) && error.contains("drain-seconds 0: 1 to 3600 expected"), "{error}");
    let environment = [("VOXWIRE_DRAIN_SECONDS", "5")];
    let (code, error) = with(&environment, &base);
    assert!(code == Some(2) && error.contains("voicelink: answer-seconds 0: 1 to 3600 expected"), "{error}");
    let environment = [environment[0], ("VOXWIRE_VOICELINK_ANSWER_SECONDS", "30")];
    assert_eq!(with(&environment, &base), (Some(0), String::new()));
    for (flag, expected) in
        [("--drain-seconds", "drain-seconds 9999"), ("--voicelink-answer-seconds", "answer-seconds 9999")]
    {
        let (code, error) = with(&environment, &[&base[..], &[flag, "9999"]].concat());
        assert!(code == Some(2) && error.contains(expected), "{error}");
    }
    // The file itself can be named by the environment.
    let (code, error) = with(&[("VOXWIRE_CONFIG", path.to_str().unwrap())], &["--check-config"]);
    assert!(code == Some(2) && error.contains("drain-seconds 0"), "{error}");
    // A misspelt name is told.
    let (code, error) = with(&[("VOXWIRE_BNID", "127.0.0.1")], &["--check-config"]);
    assert!(code == Some(0) && error.contains("VOXWIRE_BNID"), "{error}");
}

/// C-07: no number is out of range and taken.
#[test]
fn c_07_numbers_out_of_range_are_refused_with_the_range() {
    let defaults = String::from_utf8(command(&["--print-default-config"]).output().unwrap().stdout).unwrap();
    let (mut section, mut seen) = (String::new(), 0);
    for line in defaults.lines() {
        if line.starts_with('[') {
            section = line.split(']').next().unwrap().to_owned() + "]\n";
        }
        let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if !value.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        for wrong in ["-1", "999999999999999999"] {
            let path = file("range.toml", &format!("{section}{key} = {wrong}\n"));
            let (code, error) = fails(&["--check-config", "--config", path.to_str().unwrap()]);
            let range = error.rsplit_once("expected").is_some_and(|(before, after)| {
                // "1 to 3600 expected", or "expected a number from 0 to 65535".
                before.ends_with(' ') && (before.contains(" to ") || after.contains("number"))
            });
            assert!(code == Some(2) && range, "{section}{key} = {wrong}: {error}");
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

/// C-07: secrets come from the environment or a file of their own, and are shown nowhere.
#[test]
fn c_07_secrets_have_no_flag_and_are_not_shown() {
    let secrets = [
        "voicelink-secrets",
        "opcode-secrets",
        "msgpack-accounts",
        "dissonance-token",
        "control-webhooks",
        "control-webhook-secret",
    ];
    assert!(flags().iter().all(|flag| !secrets.contains(&&**flag)));
    let secret = file("token.txt", "hush-hush\n");
    let log = file("secret.log", "");
    let arguments = ["--only", "dissonance", "--dissonance-port", "0", "--no-quic", "--http", "127.0.0.1:0"];
    let mut command = command(&[&arguments[..], &["--log", "trace"]].concat());
    command.env("VOXWIRE_DISSONANCE_TOKEN_FILE", &secret).stderr(File::create(&log).unwrap());
    let server = Server::spawn(&mut command);
    // A hello without a token.
    let mut stranger = connect(server.address("dissonance tcp"));
    stranger.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
    let http = server.address("http tcp");
    counts(http, "dissonance", "refusals_total{rule=\"token\"}", "1");
    says(&log, &["rule=\"token\"", "advice="]);
    drop(server);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains("hush-hush"), "{log}");
    for (name, expected) in [
        ("VOXWIRE_MSGPACK_ACCOUNTS", "VOXWIRE_MSGPACK_ACCOUNTS"),
        ("VOXWIRE_CONTROL_WEBHOOKS", "control: webhooks: "),
        ("VOXWIRE_CONTROL_WEBHOOK_SECRET", "control: webhook-secret: "),
    ] {
        let (code, error) = with(&[(name, "hush-hush")], &["--check-config"]);
        assert!(code == Some(2) && error.contains(expected) && !error.contains("hush"), "{error}");
    }
}

/// Waits until a number is what it should be.
#[track_caller]
fn counts(http: SocketAddr, protocol: &str, name: &str, expected: &str) {
    let name = sample(protocol, name);
    let mut last = None;
    for _ in 0..500 {
        last = metrics(http).get(&name).cloned();
        if last.as_deref() == Some(expected) {
            return;
        }
        pause(20);
    }
    panic!("{name} is {last:?}, {expected} expected");
}

/// F-14: QUIC is served alone, and nothing of it goes in the clear.
#[test]
fn f_14_quic_alone_has_no_way_in_the_clear() {
    let data = folder("quic-alone");
    let path = file(
        "quic-alone.toml",
        "only = [\"dissonance\"]\nhttp = \"off\"\nencrypted-only = true\n[dissonance]\ntcp = false\nquic-port = 0\ntoken = \"x\"\n",
    );
    let arguments = ["--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&arguments);
    assert_eq!(server.lines.len(), 2, "{:?}", server.lines);
    assert_ne!(server.address("dissonance quic").port(), 0);
    drop(server);
    let _ = std::fs::remove_dir_all(data);
    let (code, error) = fails(&["--config", path.to_str().unwrap(), "--no-quic"]);
    assert!(code == Some(2) && error.contains("tcp and quic are false"), "{error}");
}

/// C-07: `/readyz` says why clients should go elsewhere: the database, and the shutdown.
#[test]
fn c_07_the_server_is_ready_until_it_cannot_write_or_drains() {
    let data = folder("ready");
    let arguments =
        ["--only", "voicelink,msgpack", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut server = Server::start(&[&arguments[..], &["--drain-seconds", "5"]].concat());
    let http = server.address("http tcp");
    assert!(get(http, "/readyz").starts_with("HTTP/1.1 200"));
    let mut user = connect(server.address("msgpack zmtp"));
    log_in_plain(&mut user, "ann");
    assert!(get(http, "/readyz").ends_with("ready\n"));
    // The database goes.
    std::fs::remove_file(data.join("msgpack.db")).unwrap();
    let mut page = String::new();
    for _ in 0..3000 {
        page = get(http, "/readyz");
        if page.starts_with("HTTP/1.1 503") {
            break;
        }
        pause(20);
    }
    assert!(page.contains("msgpack: the database cannot be written"), "{page}");
    assert!(get(http, "/healthz").ends_with("ok\n"), "it answers, though");
    // One client that does not go.
    let stuck = registered(connect(server.address("voicelink tcp")), "stuck");
    server.signal("-TERM");
    for _ in 0..200 {
        page = get(http, "/readyz");
        if page.ends_with("draining\n") {
            break;
        }
        pause(10);
    }
    assert!(page.starts_with("HTTP/1.1 503") && page.ends_with("draining\n"), "{page}");
    drop(stuck);
    server.wait();
    let _ = std::fs::remove_dir_all(data);
}

/// A server whose log goes to a file.
fn logged(name: &str, arguments: &[&str]) -> (Server, PathBuf) {
    let log = file(name, "");
    let mut command = command(arguments);
    (Server::spawn(command.stderr(File::create(&log).unwrap())), log)
}

/// Waits until the log has a line with all of these.
#[track_caller]
fn says(log: &Path, parts: &[&str]) -> String {
    for _ in 0..500 {
        let text = std::fs::read_to_string(log).unwrap();
        if let Some(line) = text.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
            return line.into();
        }
        pause(20);
    }
    panic!("no line with {parts:?}: {}", std::fs::read_to_string(log).unwrap());
}

/// C-07, F-67: lines for people and for programs, each with protocol and address of the peer; no forms of Rust.
#[test]
fn c_07_the_log_has_a_level_and_a_format() {
    let path = file("json.toml", "log = \"debug\"\nlog-format = \"json\"\n");
    let (server, log) = logged("json.log", &[&ANY[..], &["--config", path.to_str().unwrap()]].concat());
    let stream = connect(server.address("voicelink tcp"));
    let address = stream.local_addr().unwrap().to_string();
    let client = registered(stream, "bob");
    let line = says(&log, &["\"message\":\"registered\"", "bob"]);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["protocol"], "voicelink", "{line}");
    assert_eq!(value["address"], address.as_str(), "{line}");
    assert_eq!(value["level"], "INFO");
    drop(client);
    says(&log, &["\"message\":\"gone\""]);
    drop(server);
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(!line.contains("Some(") && !line.contains("PeerId"), "{line}");
    }
    let (server, log) = logged("text.log", &[&ANY[..], &["--log", "debug"]].concat());
    let _client = registered(connect(server.address("voicelink tcp")), "bob");
    let line = says(&log, &["registered"]);
    assert!(line.contains("peer{protocol=\"voicelink\" address=127.0.0.1:"), "{line}");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("Some(") && !text.contains("PeerId {"), "{text}");
    // What is no level is refused.
    let (code, error) = with(&[("VOXWIRE_LOG", "loud")], &["--check-config"]);
    assert!(code == Some(2) && error.contains("off, error, warn, info, debug or trace"), "{error}");
}

/// C-07: every refusal is counted by its rule, and logged with what to do.
#[test]
fn c_07_refusals_name_the_rule_the_address_and_what_to_do() {
    let path = file(
        "refusals.toml",
        "only = [\"voicelink\", \"opcode\"]\n[voicelink]\nport = 0\nsecrets-only = true\n\
         [voicelink.names]\n\"127.0.0.2\" = \"door\"\n[voicelink.secrets]\nalice = \"a\"\n\
         [opcode]\nport = 0\nsecrets-only = true\n[opcode.secrets]\nalice = \"a\"\n",
    );
    let (server, log) =
        logged("refusals.log", &["--config", path.to_str().unwrap(), "--http", "127.0.0.1:0"]);
    let http = server.address("http tcp");
    let voicelink = server.address("voicelink tcp");
    let _door = connect_from([127, 0, 0, 2], voicelink);
    let register = |name: &str| {
        let mut stream = connect(voicelink);
        let body = [&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0][..], name.as_bytes()].concat();
        stream.write_all(&packet(0, &body)).unwrap();
        next_packet(&mut stream)
    };
    for name in ["door", "eve", "alice", "alice\0b"] {
        assert_eq!(register(name), 5, "{name}");
    }
    for (rule, count) in [("fixed-name", "1"), ("secrets-only", "1"), ("secret", "2")] {
        counts(http, "voicelink", &format!("refusals_total{{rule=\"{rule}\"}}"), count);
        let line = says(&log, &["refused", "protocol=\"voicelink\"", &format!("rule=\"{rule}\"")]);
        assert!(line.contains("address=127.0.0.1:") && line.contains("advice="), "{line}");
    }
    let log_in = |name: &str| {
        let mut stream = connect(server.address("opcode tcp"));
        assert_eq!(next_opcode(&mut stream), [1, 0]);
        stream.write_all(&opcode_packet(2, &[name.as_bytes()], None)).unwrap();
        next_opcode(&mut stream)[0]
    };
    for name in ["eve", "alice", "alice:b"] {
        assert_eq!(log_in(name), 4, "{name}");
    }
    for (rule, count) in [("secrets-only", "1"), ("secret", "2")] {
        counts(http, "opcode", &format!("refusals_total{{rule=\"{rule}\"}}"), count);
    }
    // A name that another client has.
    let arguments = ["--only", "voicelink,opcode", "--http", "127.0.0.1:0"];
    let (server, log) = logged("names.log", &arguments);
    let _bob = registered(connect(server.address("voicelink tcp")), "bob");
    let mut other = connect(server.address("voicelink tcp"));
    other
        .write_all(&packet(0, &[&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0][..], b"bob"].concat()))
        .unwrap();
    assert_eq!(next_packet(&mut other), 5);
    let _bob = kit::raw::log_in(connect(server.address("opcode tcp")), "bob");
    let mut other = connect(server.address("opcode tcp"));
    assert_eq!(next_opcode(&mut other), [1, 0]);
    other.write_all(&opcode_packet(2, &[b"bob"], None)).unwrap();
    assert_eq!(next_opcode(&mut other)[0], 4);
    for protocol in ["voicelink", "opcode"] {
        counts(server.address("http tcp"), protocol, "refusals_total{rule=\"name\"}", "1");
        says(&log, &["refused", &format!("protocol=\"{protocol}\""), "rule=\"name\"", "127.0.0.1:"]);
    }
}

/// The next message that the service manager is sent and that is no sign of life.
fn told(socket: &UnixDatagram) -> String {
    loop {
        let mut message = [0; 1000];
        let length = socket.recv(&mut message).unwrap();
        let text = String::from_utf8(message[..length].to_vec()).unwrap();
        if text != "WATCHDOG=1\n" {
            return text;
        }
    }
}

/// C-07: the service manager learns of the start, of signs of life, of reloads and of the end.
#[test]
fn c_07_the_service_manager_is_told() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = command(&ANY);
    command.stderr(Stdio::null()).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut server = Server::spawn(&mut command);
    assert_eq!(told(&socket), "READY=1\n");
    for _ in 0..3 {
        let mut message = [0; 100];
        let length = socket.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"WATCHDOG=1\n");
    }
    server.signal("-HUP");
    let reloading = told(&socket);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&socket), "READY=1\n");
    server.signal("-TERM");
    assert_eq!(told(&socket), "STOPPING=1\n");
    assert_eq!(server.wait().code(), Some(0));
    let _ = std::fs::remove_file(&path);
}

/// C-07: SIGHUP takes what can be taken, and names the rest.
#[test]
fn c_07_a_reload_changes_the_level_and_names_what_needs_a_restart() {
    let path = file("reload.toml", "log = \"info\"\n[voicelink]\nport = 0\nidle-seconds = 300\n");
    let arguments = ["--only", "voicelink", "--http", "off", "--config", path.to_str().unwrap()];
    let (server, log) = logged("reload.log", &arguments);
    server.signal("-HUP");
    says(&log, &["read again: the log's level, and the files of certificates"]);
    std::fs::write(&path, "log = \"debug\"\nconnections = 9\n[voicelink]\nport = 0\nidle-seconds = 60\n")
        .unwrap();
    server.signal("-HUP");
    says(&log, &["a restart", "connections, voicelink.idle-seconds"]);
    let _client = connect(server.address("voicelink tcp"));
    says(&log, &["DEBUG", "connected"]);
    std::fs::write(&path, "connections = \"many\"\n").unwrap();
    server.signal("-HUP");
    says(&log, &["the former ones stay", "line 1"]);
}

/// C-07: the unit is one that systemd takes.
#[test]
fn c_07_the_systemd_unit_is_right() {
    let unit = shipped("packaging/voxwire-server.service");
    let unit = unit.replace("/usr/bin/voxwire-server", env!("CARGO_BIN_EXE_voxwire-server"));
    let path = file("voxwire-server.service", &unit);
    match Command::new("systemd-analyze").arg("verify").arg(&path).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("voxwire-server.service:"), "{said}");
        }
        Err(error) => println!("skipped: systemd-analyze: {error}"),
    }
    // The settings that are shipped are right, as they are and with their examples.
    let settings = shipped("packaging/server.toml");
    let path = file("shipped.toml", &settings);
    assert_eq!(fails(&["--check-config", "--config", path.to_str().unwrap()]).0, Some(0));
}

/// C-07: completions and the manual page know the flags.
#[test]
fn c_07_completions_and_the_manual_page_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = command_output(&["completions", shell]);
        assert!(script.contains("voxwire-server") && script.contains("encrypted-only"), "{shell}: {script}");
        if shell == "bash" {
            let path = file("completions.bash", &script);
            match Command::new("bash").arg("-n").arg(&path).status() {
                Ok(status) => assert!(status.success()),
                Err(error) => println!("skipped: bash: {error}"),
            }
        }
    }
    let page = command_output(&["man"]);
    assert!(page.contains(".TH voxwire-server 1") && page.contains("encrypted\\-only"), "{page:.500}");
}

fn command_output(arguments: &[&str]) -> String {
    // Without the ports, which are flags.
    let output = Command::new(env!("CARGO_BIN_EXE_voxwire-server")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of samples that `/metrics` has, buckets included, and those of the families.
fn names() -> (BTreeSet<String>, BTreeSet<String>) {
    let data = folder("names");
    let arguments =
        ["--http", "127.0.0.1:0", "--dissonance-quic-port", "0", "--data", data.to_str().unwrap()];
    let mut command = command(&arguments);
    command.env("VOXWIRE_CONTROL_TOKEN", "0123456789-token").stderr(Stdio::null());
    let server = Server::spawn(&mut command);
    let page = get(server.address("http tcp"), "/metrics");
    drop(server);
    let _ = std::fs::remove_dir_all(data);
    let body = page.split("\r\n\r\n").nth(1).unwrap();
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.split(['{', ' ']).next()).map(String::from).collect();
    let families = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    (samples, families.map(String::from).collect())
}

/// What looks like a metric in a text.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("voxwire_") || word.starts_with("process_"))
        .map(String::from)
        .collect()
}

/// F-37: the dashboard asks for what there is, and the manual lists all of it and nothing else.
#[test]
fn f_37_dashboard_and_manual_name_the_metrics_that_there_are() {
    let (samples, families) = names();
    let dashboard = shipped("packaging/grafana.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let used = mentioned(&dashboard);
    let unknown: Vec<&String> = used.iter().filter(|name| !samples.contains(*name)).collect();
    assert!(used.len() > 20 && unknown.is_empty(), "the dashboard asks for {unknown:?}");
    let manual = shipped("../../docs/operations.md");
    let table = manual.split("\n## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed: BTreeSet<String> = mentioned(table)
        .into_iter()
        .map(|name| name.strip_suffix("_total").map(String::from).unwrap_or(name))
        .collect();
    let listed: BTreeSet<String> = listed
        .into_iter()
        .map(|name| if name == "voxwire_build_info" { "voxwire_build".into() } else { name })
        .collect();
    // That of another protocol where the program has it: there are no others.
    let missing: Vec<&String> = families.difference(&listed).collect();
    let unknown: Vec<&String> = listed.difference(&families).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    for name in &samples {
        let own = name.starts_with("voxwire_") || *name == "process_start_time_seconds";
        assert!(own && !name.contains("__"), "{name}");
    }
}

/// F-17: no route is without the limits of all: a request that never ends is ended.
#[test]
fn f_17_every_page_has_the_deadline() {
    let server = Server::start(&[&ANY[..], &["--http-seconds", "1"]].concat());
    for path in ["/", "/metrics", "/healthz", "/readyz", "/nothing"] {
        let mut stream: TcpStream = connect(server.address("http tcp"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nX-").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{path}");
    }
}
