//! C-09 for echo: the program, run as a person would.
#![cfg(feature = "echo")]
#![allow(missing_docs)]

mod kit;

use kit::inspect;

const HELLO: &str = "010000000768656c6c6f";

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    let decoded = inspect(&["decode", "--protocol", "echo", HELLO], "");
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    let object = String::from_utf8(decoded.stdout).unwrap();
    let expected = r#"{"protocol":"echo","message":"Answer","length":10,"fields":{"sequence":7,"payload":"68656c6c6f"},"trailing":0}"#;
    assert_eq!(object.trim_end(), expected);
    let encoded = inspect(&["encode", "--protocol", "echo"], &object);
    assert_eq!(String::from_utf8(encoded.stdout).unwrap().trim_end(), HELLO);
}

#[test]
fn c_09_malformed_bytes_exit_with_1_and_name_field_and_offset() {
    for (hex, expected) in [(&HELLO[..6], "Sequence at offset 1"), ("02", "Kind at offset 0")] {
        let output = inspect(&["decode", "--protocol", "echo", hex], "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(expected), "{error}");
    }
}

#[test]
fn c_09_every_byte_is_explained() {
    let output = inspect(&["decode", "--explain", "--protocol", "echo", HELLO], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let offsets: Vec<&str> =
        text.lines().skip(2).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(offsets, ["0", "1", "5"], "{text}");
}
