//! C-09 for opcode: the program, run as a person would.

mod kit;

use kit::inspect;

const VECTORS: &str = include_str!("../../../proto-opcode/tests/vectors/packets.txt");
const DIALOGUE: &str = include_str!("../../../proto-opcode/tests/vectors/dialogue.txt");

fn vectors() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (hex, expect) = rest.trim_start().split_once(' ').unwrap();
        (name, hex, expect)
    })
}

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    let packets = vectors().filter(|(_, _, expect)| !expect.starts_with("error")).map(|(_, hex, _)| hex);
    let said =
        DIALOGUE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').nth(2));
    // A name that is not UTF-8.
    let more = "0c000000000000000200020000000000000061ff";
    let all: Vec<&str> = packets.chain(said).chain([more]).collect();
    assert_eq!(all.len(), 23 + 26 + 1);
    let decoded = inspect(&["decode", "--protocol", "opcode", "-"], &all.join("\n"));
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    let objects = String::from_utf8(decoded.stdout).unwrap();
    assert_eq!(objects.lines().count(), all.len());
    assert!(objects.contains(r#""fields":{"name":{"bytes":"61ff"}}"#));
    assert!(objects.contains(r#""message":"CallRequest""#) && objects.contains(r#""host":"127.0.0.1""#));
    assert!(objects.contains(r#""contacts":["","alice"]"#));
    let encoded = inspect(&["encode", "--protocol", "opcode"], &objects);
    assert!(encoded.status.success(), "{}", String::from_utf8_lossy(&encoded.stderr));
    assert_eq!(String::from_utf8(encoded.stdout).unwrap().lines().collect::<Vec<_>>(), all);
    // The same as one stream.
    let stream = inspect(&["decode", "--protocol", "opcode", "--stream", "-"], &all.join("\n"));
    assert_eq!(String::from_utf8(stream.stdout).unwrap(), objects);
}

#[test]
fn c_09_malformed_bytes_exit_with_1_and_name_field_and_offset() {
    for (name, hex, expect) in vectors() {
        let Some(expect) = expect.strip_prefix("error ") else { continue };
        let output = inspect(&["decode", "--protocol", "opcode", hex], "");
        assert_eq!(output.status.code(), Some(1), "{name}");
        let (field, offset) = expect.split_once(' ').unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("{field} at offset {offset}: ")), "{name}: {error}");
    }
    for (object, expected) in [
        (r#"{"message":"Login"}"#, "fields.name is missing"),
        (r#"{"message":"AddContact","fields":{"contacts":"bob"}}"#, "expected a list"),
        (r#"{"message":"CallRequest","fields":{"contact":"a","host":"","port":70000}}"#, "16 bits"),
        (r#"{"message":"Logout"}"#, "expected HelloConnect"),
    ] {
        let output = inspect(&["encode", "--protocol", "opcode"], object);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(expected), "{error}");
    }
}

#[test]
fn o_02_bytes_after_the_last_field_are_counted() {
    // Counted by the packet's length, or not.
    for hex in ["0600000000000000030011223344", "0200000000000000030011223344"] {
        let output = inspect(&["decode", "--protocol", "opcode", hex], "");
        let object = String::from_utf8(output.stdout).unwrap();
        assert!(object.contains(r#""length":10"#) && object.contains(r#""trailing":4"#), "{object}");
    }
}
