//! C-09: the program, run as a person would.

mod kit;

use kit::inspect;

const VECTORS: &str = include_str!("../../../proto-voicelink/tests/vectors/packets.txt");

fn vectors() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split_whitespace();
        let (name, hex) = (words.next().unwrap(), words.next().unwrap());
        (name, hex, line.split_once(hex).unwrap().1.trim())
    })
}

fn order(name: &str) -> &str {
    name.rsplit_once('_').unwrap().1
}

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    for order_of in ["be", "le"] {
        let canonical: Vec<&str> = vectors()
            .filter(|(name, _, expect)| {
                order(name) == order_of && !expect.starts_with("error") && !expect.ends_with("tolerated")
            })
            .map(|(_, hex, _)| hex)
            .collect();
        assert!(canonical.len() > 10);
        let dialect = ["--protocol", "voicelink", "--byte-order", order_of];
        // One message a line, and all of them as a stream.
        for (arguments, input) in
            [(&["-"][..], canonical.join("\n")), (&["--stream", "-"], canonical.concat())]
        {
            let decoded = inspect(&[&["decode"], &dialect[..], arguments].concat(), &input);
            assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
            let objects = String::from_utf8(decoded.stdout).unwrap();
            assert_eq!(objects.lines().count(), canonical.len());
            let encoded = inspect(&[&["encode"], &dialect[..]].concat(), &objects);
            assert_eq!(String::from_utf8(encoded.stdout).unwrap().lines().collect::<Vec<_>>(), canonical);
        }
    }
}

#[test]
fn c_09_malformed_bytes_exit_with_1_and_name_field_and_offset() {
    for (name, hex, expect) in vectors() {
        let Some(expect) = expect.strip_prefix("error ") else { continue };
        let got = inspect(&["decode", "--protocol", "voicelink", "--byte-order", order(name), hex], "");
        let error = String::from_utf8(got.stderr).unwrap();
        assert_eq!(got.status.code(), Some(1), "{name}: {error}");
        let (field, offset) = expect.rsplit_once(' ').unwrap();
        assert!(error.contains(&format!("{field} at offset {offset}: ")), "{name}: {error}");
    }
}

#[test]
fn c_09_the_tolerated_form_decodes_and_comes_out_canonical() {
    let decoded = inspect(&["decode", "--protocol", "voicelink", "000000060000"], "");
    let object = String::from_utf8(decoded.stdout).unwrap();
    assert_eq!(
        object.trim(),
        r#"{"protocol":"voicelink","message":"UserNotFound","length":6,"fields":{},"trailing":0}"#
    );
    let encoded = inspect(&["encode", "--protocol", "voicelink"], &object);
    assert_eq!(encoded.stdout, b"000000060001\n");
}

#[test]
fn c_09_strings_that_are_no_text_numbers_for_formats_and_trailing_bytes() {
    let hex = "00:00:00:15 0000 0000bb80 0001 02 000003c0 0002 fffe ff";
    let decoded = inspect(&["decode", "--protocol", "voicelink", hex], "");
    let object = String::from_utf8(decoded.stdout).unwrap();
    assert!(
        object.contains(r#""user_name":{"bytes":"fffe"}"#) && object.contains(r#""trailing":1"#),
        "{object}"
    );
    let by_number = object.replace(r#""int16""#, "2");
    let encoded = inspect(&["encode", "--protocol", "voicelink"], &by_number);
    assert_eq!(String::from_utf8(encoded.stdout).unwrap(), "0000001500000000bb80000102000003c00002fffe\n");
}

#[test]
fn c_09_bad_input_is_described() {
    for (arguments, input, code, expected) in [
        (&["decode", "--protocol", "voicelink", "0x"][..], "", 1, "not hex digits"),
        (
            &["decode", "--protocol", "voicelink", "--stream", "00000008000312"],
            "",
            1,
            "1 more bytes expected",
        ),
        (
            &["decode", "--protocol", "voicelink", "--stream", "0000000600030000000500"],
            "",
            1,
            "at offset 6 of the stream",
        ),
        (&["encode", "--protocol", "voicelink"], "{", 1, "not JSON"),
        (
            &["encode", "--protocol", "voicelink"],
            r#"{"message":"Shout"}"#,
            1,
            "expected Handshake, UserNotFound",
        ),
        (
            &["encode", "--protocol", "voicelink"],
            r#"{"message":"Handshake","fields":{"user_name":"x"}}"#,
            1,
            "fields.format is missing",
        ),
        (&["decode", "--protocol", "smoke"], "", 2, "invalid value 'smoke'"),
        (&["decode"], "", 2, "required"),
    ] {
        let got = inspect(arguments, input);
        let error = String::from_utf8(got.stderr).unwrap();
        assert_eq!(
            (got.status.code(), error.contains(expected)),
            (Some(code), true),
            "{arguments:?}: {error}"
        );
    }
}
