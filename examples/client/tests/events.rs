//! `--json`: the page that describes events, the sources, and what the program prints say the same.
#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Server, temporary};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string, write};
use std::path::Path;
use std::process::Command;
use voxwire_server::Protocol;

/// A field on the page.
#[derive(Debug)]
struct Field {
    optional: bool,
    types: Vec<String>,
}

/// The events on the page, and their fields.
fn documented() -> BTreeMap<String, BTreeMap<String, Field>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let page = read_to_string(page).unwrap();
    let mut events = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (name, fields) = (cells.next().unwrap().trim_matches(['`', ' ']), cells.next().unwrap());
        // The table of the notation.
        if name.contains(' ') {
            continue;
        }
        let fields = fields.split('`').skip(1).step_by(2).map(|field| {
            let (name, types) = field.split_once(' ').unwrap_or_else(|| panic!("{line}: {field}"));
            let types = types.split('/').map(str::to_owned).collect();
            (name.trim_end_matches('?').to_owned(), Field { optional: name.ends_with('?'), types })
        });
        assert!(events.insert(name.to_owned(), fields.collect()).is_none(), "{name} is there twice");
    }
    events
}

/// The names of events in the sources.
fn in_sources(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // The screen takes events, and makes none.
        if path.is_dir() && name != "screen" {
            in_sources(&path, names);
        } else if name.ends_with(".rs") && !["tests.rs", "screen.rs"].contains(&name) {
            let text = read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for call in [".event(", ".keep(", ".block(", ".plain(", "done("] {
                names.extend(code.split(call).skip(1).filter_map(first_argument));
            }
            // A table of them.
            for part in code.split("(\"").skip(1) {
                names.extend(
                    part.split_once("\", json!(")
                        .map(|(name, _)| name.to_owned())
                        .filter(|name| is_name(name)),
                );
            }
        }
    }
}

fn first_argument(arguments: &str) -> Option<String> {
    let (name, rest) = arguments.trim_start().strip_prefix('"')?.split_once('"')?;
    (is_name(name) && rest.trim_start().starts_with(',')).then(|| name.to_owned())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn every_event_of_the_sources_is_on_the_page_and_no_other() {
    let mut names = BTreeSet::new();
    in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(names, documented);
    assert!(names.len() > 50);
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What was printed, checked against the page.
#[derive(Default)]
struct Checked {
    seen: BTreeSet<String>,
}

impl Checked {
    fn check(&mut self, output: &str) {
        let events = documented();
        for line in output.lines() {
            let object: Map<String, Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let name = object["event"].as_str().unwrap();
            let fields = events.get(name).unwrap_or_else(|| panic!("not on the page: {line}"));
            for (field, value) in object.iter().filter(|(field, _)| *field != "event") {
                let described =
                    fields.get(field).unwrap_or_else(|| panic!("{field} is not on the page: {line}"));
                assert!(described.types.iter().any(|name| name == type_of(value)), "{field}: {line}");
            }
            for (field, _) in fields.iter().filter(|(_, field)| !field.optional) {
                assert!(object.contains_key(field), "{field} is not there: {line}");
            }
            self.seen.insert(name.to_owned());
        }
    }

    /// Runs the client to its end.
    fn run(&mut self, server: &Server, arguments: &str, code: i32) {
        let (status, output, errors) = server.client(&format!("{arguments} --json"));
        assert_eq!(status, Some(code), "{arguments}: {output} {errors}");
        self.check(&output);
    }

    /// The same for sound in real time, which a busy machine may cut off: that is an error like others.
    fn run_in_time(&mut self, server: &Server, arguments: &str) {
        let (_, output, _) = server.client(&format!("{arguments} --json"));
        self.check(&output);
    }

    /// Runs it until it is told to end.
    fn run_beside(&mut self, server: &Server, arguments: &str, ready: &str, work: impl FnOnce(&mut Self)) {
        let client = server.spawn(&format!("{arguments} --json"), ready);
        work(self);
        client.signal("-INT");
        let (_, output, _) = client.end();
        self.check(&output);
    }
}

#[test]
fn all_that_is_printed_is_as_the_page_says() {
    let mut checked = Checked::default();
    let server = Server::start(Protocol::VOICELINK);
    checked.run_beside(&server, "wait --name bob --counter 16000:1:int16", "waiting", |checked| {
        checked.run(&server, "call bob --name ann --play tone --for 1", 0);
    });
    checked.run(&server, "call nobody --name ann", 1);
    checked.run(&server, "call bob --name ann --chunk 1", 2);
    checked.run(&server, "fly", 2);

    let server = Server::start(Protocol::OPCODE);
    checked.run_beside(&server, "wait --name bob --keep", "waiting", |checked| {
        checked.run(&server, "contacts --name ann", 0);
        checked.run(&server, "call bob --name ann --play tone --for 1", 0);
    });

    let server = Server::start(Protocol::MSGPACK);
    for user in ["ann", "bob"] {
        checked.run(&server, &format!("register --user {user}"), 0);
    }
    checked.run(&server, "add-contact bob --user ann", 0);
    checked.run(&server, "create-group readers --user ann", 0);
    checked.run(&server, "join-group readers --user bob", 0);
    checked.run(&server, "call readers --user ann --play tone --for 1", 0);
    let script = temporary("events-script");
    write(&script, "/help\n/msg ann hi\n/send readers all\n/fly\n/add eve\n/contacts\n/groups\n/recordings\n/level\n/call readers\nexpect established\n/level\n/hangup\nexpect ended\n").unwrap();
    let chat = format!("chat --user bob --script {}", script.display());
    let wait = format!("wait --keep --user ann --record {}", temporary("events-messages.wav").display());
    checked.run_beside(&server, &wait, "waiting", |checked| {
        checked.run(&server, "whisper ann hello --user bob", 0);
        checked.run(&server, "voice-message ann --user bob --play tone --for 0.1", 0);
        checked.run(&server, &chat, 0);
    });

    let server = Server::start(Protocol::DISSONANCE);
    checked.run_beside(&server, "join Lobby --name bob", "joined", |checked| {
        checked.run(&server, "join Lobby --name ann --play tone --text hi --for 1", 0);
        checked.run(&server, "join Lobby --to bob --name ann --text hi", 0);
        checked.run(&server, "rooms", 0);
    });

    let server = Server::start(Protocol::SYFALA);
    checked.run(&server, "discover --for 1", 0);
    checked.run_in_time(&server, "stream --play tone --for 1");

    let out = temporary("events-demo");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    let demo = demo.args(["--json", "demo", "--only", "voicelink", "--out"]).arg(&out).output().unwrap();
    checked.check(&String::from_utf8(demo.stdout).unwrap());

    let mut check = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    let address = server.address.to_string();
    let check = check.args(["--json", "--server", &address, "check", "--only", "syfala"]).output().unwrap();
    checked.check(&String::from_utf8(check.stdout).unwrap());

    for event in [
        "error",
        "established",
        "check",
        "ended",
        "heard",
        "call",
        "voice_message",
        "text",
        "level",
        "device",
    ] {
        assert!(checked.seen.contains(event), "{event} was not printed: {:?}", checked.seen);
    }
}
