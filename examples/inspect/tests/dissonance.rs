//! C-09 for Dissonance: the program, run as a person would.

mod kit;

use kit::inspect;

const VECTORS: &str = include_str!("../../../proto-dissonance/tests/vectors/packets.txt");

fn vectors() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.splitn(3, ' ');
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
    })
}

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    let packets: Vec<&str> =
        vectors().filter(|(_, _, expect)| expect.starts_with('{')).map(|(_, hex, _)| hex).collect();
    assert_eq!(packets.len(), 17);
    // A full answer to a handshake, a string that is not UTF-8, and every bit of a channel.
    let more = [
        "8bc7051234567800010002000661\
         6c696365000001000003c00000bb800004626f62000101000003c00000bb80000100064c6f6262790001560c010000",
        "8bc70912345678010000000361ff",
        "8bc7021234567800078000000002ffff1234807b00070001ff",
    ];
    let all = [&packets[..], &more].concat();
    let decoded = inspect(&["decode", "--protocol", "dissonance", "-"], &all.join("\n"));
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    let objects = String::from_utf8(decoded.stdout).unwrap();
    assert_eq!(objects.lines().count(), all.len());
    assert!(objects.contains(r#""room":{"bytes":"61ff"}"#) && objects.contains(r#""priority":"high""#));
    let encoded = inspect(&["encode", "--protocol", "dissonance"], &objects);
    assert!(encoded.status.success(), "{}", String::from_utf8_lossy(&encoded.stderr));
    assert_eq!(String::from_utf8(encoded.stdout).unwrap().lines().collect::<Vec<_>>(), all);
}

#[test]
fn c_09_malformed_bytes_exit_with_1_and_name_field_and_offset() {
    for (name, hex, expect) in vectors() {
        let Some(expect) = expect.strip_prefix("error ") else { continue };
        let output = inspect(&["decode", "--protocol", "dissonance", hex], "");
        assert_eq!(output.status.code(), Some(1), "{name}");
        let (field, offset) = expect.split_once(' ').unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("{field} at offset {offset}: ")), "{name}: {error}");
    }
}

#[test]
fn d_02_bytes_after_the_end_are_counted() {
    let output = inspect(&["decode", "--protocol", "dissonance", "8bc70a12345678 0007 ffff"], "");
    let object = String::from_utf8(output.stdout).unwrap();
    assert!(object.contains(r#""length":9"#) && object.contains(r#""trailing":2"#), "{object}");
}

#[test]
fn d_03_room_ids_decimal_and_hexadecimal() {
    let output = inspect(&["room-id", "Global"], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "29976 0x7518\n");
}

#[test]
fn c_09_an_object_that_is_no_packet_says_what_is_missing() {
    for (object, what) in [
        (r#"{"message":"Hello"}"#, "expected ClientState"),
        (r#"{"message":"RemoveClient","fields":{"session":1}}"#, "fields.client is missing"),
        (r#"{"message":"RemoveClient","fields":{"session":1,"client":65536}}"#, "16 bits"),
        (
            r#"{"message":"TextData","fields":{"session":1,"sender":1,"target":1,"recipient":"x","text":null}}"#,
            "expected \"room\"",
        ),
    ] {
        let output = inspect(&["encode", "--protocol", "dissonance"], object);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(what), "{object}: {error}");
    }
}
