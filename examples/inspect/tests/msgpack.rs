//! C-09 for msgpack: the program, run as a person would.
#![allow(missing_docs)]

mod kit;

use kit::inspect;

const VECTORS: &str = include_str!("../../../proto-msgpack/tests/vectors/messages.txt");
const DIALOGUE: &str = include_str!("../../../proto-msgpack/tests/vectors/dialogue.txt");

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Name, hex and expectation.
fn vectors() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| {
        let mut words = line.splitn(3, ' ').filter(|word| !word.is_empty());
        let name = words.next().unwrap();
        let (hex, expect) = line[name.len()..].trim_start().split_once(' ').unwrap();
        [name, hex, expect]
    })
}

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    let mut count = 0;
    for [name, hex, expect] in vectors() {
        let side = expect.split(' ').next().unwrap().replace("unit", "client");
        let dialect = ["--protocol", "msgpack", "--from", &side];
        let stream: &[&str] = if name == "zmtp_frame_login" { &["--stream"] } else { &[] };
        let output = inspect(&[&["decode"], &dialect[..], stream, &[hex]].concat(), "");
        let error = text(output.stderr);
        if expect.contains("error") || expect.contains("lenient") {
            assert_eq!(output.status.code(), Some(1), "{name}");
            let words: Vec<&str> = expect.split(' ').collect();
            assert!(error.contains(&format!("{} at offset {}: ", words[2], words[3])), "{name}: {error}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{name}: {error}");
        let objects = text(output.stdout);
        assert_eq!(objects.contains(r#""trailing":0"#), name != "ok_trailing_objects", "{name}: {objects}");
        let output = inspect(&[&["encode"], &dialect[..]].concat(), &objects);
        let again = text(output.stdout);
        let same = again.trim() == hex.strip_prefix(if stream.is_empty() { "" } else { "0019" }).unwrap();
        assert_eq!(same, !expect.contains("other"), "{name}: {objects}{again}{}", text(output.stderr));
        count += 1;
    }
    assert!(count > 30);
}

#[test]
fn c_09_the_captured_streams_are_cut_greetings_and_commands_included() {
    for (side, messages) in [("client", 23), ("server", 28)] {
        let mut all = String::new();
        for connection in ["0", "1"] {
            let lines =
                DIALOGUE.lines().filter_map(|line| line.strip_prefix(&format!("{connection} {side} ")));
            let stream: String = lines.collect();
            let arguments = ["decode", "--protocol", "msgpack", "--from", side, "--stream", "-"];
            let output = inspect(&arguments, &stream);
            assert_eq!(output.status.code(), Some(0), "{}", text(output.stderr));
            let objects = text(output.stdout);
            let kinds: Vec<&str> = objects.lines().map(|line| line.split('"').nth(7).unwrap()).collect();
            assert_eq!(kinds[..2], ["greeting", "READY"], "{objects}");
            all += &objects;
        }
        let commands =
            all.lines().filter(|line| line.contains(r#""message":"READY""#) || line.contains("greeting"));
        assert_eq!((all.lines().count() - 4, commands.count()), (messages, 4), "{all}");
        assert!(all.contains(r#""Socket-Type","#));
    }
}

#[test]
fn c_09_streams_of_every_version_are_cut_also_from_their_middle() {
    // From the middle of a stream; and plain objects.
    let logout = "a772657175657374a66c6f676f7574a161";
    for stream in [format!("0011{logout}0011{logout}"), format!("{logout}{logout}")] {
        let arguments = ["decode", "--protocol", "msgpack", "--from", "client", "--stream", &stream];
        let objects = text(inspect(&arguments, "").stdout);
        assert_eq!(objects.matches(r#""message":"logout","length":17"#).count(), 2, "{objects}");
    }
    // F-83, F-38: older versions, and what REQ sockets send, are cut, too.
    for (stream, count) in [
        // ZMTP 2.0: signature, revision, socket type, identity.
        (format!("ff00000000000000017f0105 0003626f62 0011{logout} 020000000000000011{logout}"), 2),
        // 1.0, anonymous and named; and its other side, whose identity is our signature.
        (format!("0100 1200{logout} ff000000000000001200{logout}"), 2),
        (format!("0400626f62 1200{logout}"), 1),
        (format!("ff00000000000000017f 1200{logout}"), 1),
        // From the middle of it.
        (format!("1200{logout} 1200{logout}"), 2),
        (format!("0100 0011{logout} 0100 0011{logout}"), 2),
    ] {
        let arguments = ["decode", "--protocol", "msgpack", "--from", "client", "--stream", &stream];
        let output = inspect(&arguments, "");
        let objects = text(output.stdout);
        let error = text(output.stderr);
        assert_eq!(
            objects.matches(r#""message":"logout","length":17"#).count(),
            count,
            "{stream}: {objects}{error}"
        );
        assert_eq!(output.status.code(), Some(0), "{error}");
    }
    for greeting in ["ff00000000000000017f0105", "ff00000000000000017f"] {
        let dialect = ["--protocol", "msgpack", "--from", "client"];
        let shown = text(inspect(&[&["decode"], &dialect[..], &[greeting]].concat(), "").stdout);
        let again = text(inspect(&[&["encode"], &dialect[..]].concat(), &shown).stdout);
        assert_eq!(again.trim(), greeting, "{shown}");
    }
}

#[test]
fn c_09_what_cannot_be_cut_says_where() {
    for (stream, problem) in [
        ("0101070011a7", "offset 0 of the stream: a message of several frames, expected one"),
        ("0011a7", "offset 0 of the stream: 16 more bytes expected before the end of the stream"),
        (
            "ff00000000000000017f01",
            "offset 0 of the stream: 1 more bytes expected before the end of the stream",
        ),
        ("0001c0", "offset 0 of the stream: type at offset 0: unknown tag 192, expected a string"),
    ] {
        let output =
            inspect(&["decode", "--protocol", "msgpack", "--from", "client", "--stream", stream], "");
        let error = text(output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(problem), "{error}");
    }
}

#[test]
fn c_09_a_log_in_for_requests_alone_is_whole() {
    // The last argument in its shortest form and in a longer one, and something behind it.
    let start = "a772657175657374a56c6f67696ea161a162";
    for (last, length, trailing) in
        [("ad72657175657374735f6f6e6c79", 32, 0), ("d90d72657175657374735f6f6e6c7907", 33, 1)]
    {
        let hex = format!("{start}{last}");
        let output = inspect(&["decode", "--protocol", "msgpack", "--from", "client", &hex], "");
        let object = text(output.stdout);
        assert!(object.contains(r#""requests_only":true"#), "{object}");
        assert!(
            object.contains(&format!(r#""length":{length},"#))
                && object.contains(&format!(r#""trailing":{trailing}"#)),
            "{object}"
        );
    }
}

#[test]
fn c_09_bytes_floats_and_mistakes() {
    let dialect = ["--protocol", "msgpack", "--from", "client"];
    // Text that is not UTF-8, and samples that are floats.
    let objects = r#"{"message":"register","fields":{"username":{"bytes":"fffe"},"password":"x"}}
        {"message":"call_data","fields":{"username":"a","token":"b","group_name":"c","samples":[0.5,-1.0]}}
        {"message":"PING","fields":{"ttl":100,"context":"0102"}}"#;
    let output = inspect(&[&["encode"], &dialect[..]].concat(), objects);
    let hex = text(output.stdout);
    let lines: Vec<&str> = hex.lines().collect();
    assert_eq!(lines[0], "a772657175657374a87265676973746572a2fffea178");
    assert!(lines[1].ends_with("92ca3f000000cabf800000"), "{hex}");
    assert_eq!(lines[2], "0409".to_owned() + "0450494e4700640102");
    let again = text(inspect(&[&["decode"], &dialect[..], &["-"]].concat(), &hex).stdout);
    assert!(again.contains(r#"{"bytes":"fffe"}"#) && again.contains("[0.5,-1.0]"), "{again}");
    for (object, problem) in [
        (r#"{"message":"fly","fields":{"username":"a"}}"#, r#"message: "fly" found, expected register"#),
        (r#"{"message":"login","fields":{"username":"a"}}"#, "fields.password is missing"),
        (
            r#"{"message":"call_data","fields":{"username":"a","token":"b","group_name":"c","samples":[40000]}}"#,
            "fields.samples: 40000 found",
        ),
    ] {
        let output = inspect(&[&["encode"], &dialect[..]].concat(), object);
        let error = text(output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(problem), "{error}");
    }
    let output = inspect(&["decode", "--protocol", "msgpack", "00"], "");
    let error = text(output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("--from client or --from server"), "{error}");
}
