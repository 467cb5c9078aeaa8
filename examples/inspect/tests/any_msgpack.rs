//! C-09: any MessagePack is shown, message of a protocol or not. Depth and number of objects are bounded.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::inspect;
use serde_json::{Value, json};

fn decode(digits: &str) -> Result<Value, String> {
    let output = inspect(&["decode", "--protocol", "any-msgpack", "-"], digits);
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        code => Err(format!("{code:?} {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// An object of each kind, and what is shown of it.
fn samples() -> [(&'static str, &'static str, Value); 16] {
    [
        ("c0", "nil", json!(null)),
        ("c3", "boolean", json!(true)),
        ("e0", "integer", json!(-32)),
        ("cfffffffffffffffff", "integer", json!(u64::MAX)),
        ("d38000000000000000", "integer", json!(i64::MIN)),
        ("ca3f000000", "float 32", json!({ "float32": 0.5 })),
        ("ca7fc00000", "float 32", json!({ "float32": "7fc00000" })),
        ("cb3fe0000000000000", "float 64", json!(0.5)),
        ("cb7ff0000000000000", "float 64", json!({ "float64": "7ff0000000000000" })),
        ("a26869", "str", json!("hi")),
        ("a2ff00", "str", json!({ "bytes": "ff00" })),
        ("c402ff00", "bin", json!({ "bin": "ff00" })),
        ("d4ff07", "ext", json!({ "ext": -1, "data": "07" })),
        ("c70305010203", "ext", json!({ "ext": 5, "data": "010203" })),
        ("930190c0", "array", json!([1, [], null])),
        ("82a16101c0920203", "map", json!({ "map": [["a", 1], [null, [2, 3]]] })),
    ]
}

#[test]
fn c_09_each_kind_of_object_is_shown_and_encoded_back() {
    for (digits, message, value) in samples() {
        let object = decode(&format!("{digits}00")).unwrap();
        assert_eq!(object["message"], message, "{digits}");
        assert_eq!(object["fields"]["value"], value, "{digits}");
        assert_eq!((&object["length"], &object["trailing"]), (&json!(digits.len() / 2), &json!(1)));
        let encoded = inspect(&["encode", "--protocol", "any-msgpack"], &object.to_string());
        assert_eq!(String::from_utf8(encoded.stdout).unwrap().trim_end(), digits);
    }
}

#[test]
fn c_09_what_is_no_object_is_refused_where_it_is() {
    for (digits, expected) in [
        ("c1", "object at offset 0: c1 found"),
        ("9201", "object at offset 2: 0 left"),
        ("dfffffffff00", "object at offset 6: 0 left"),
        ("dbffffffff00", "object at offset 0: 6 left"),
        (&format!("{}c0", "91".repeat(33)), "object at offset 32: expected at most 32 levels"),
        (&format!("dd00200000{}", "c0".repeat(0x20_0000)), "expected at most 1048576 objects"),
    ] {
        let error = decode(digits).unwrap_err();
        assert!(error.starts_with("Some(1)") && error.contains(expected), "{error}");
    }
    assert!(decode(&format!("{}c0", "91".repeat(32))).is_ok());
    let deep = format!("{}c0", "81c0".repeat(32));
    let object = decode(&deep).unwrap();
    let encoded = inspect(&["encode", "--protocol", "any-msgpack"], &object.to_string());
    assert_eq!(String::from_utf8(encoded.stdout).unwrap().trim_end(), deep);
}

#[test]
fn c_09_a_stream_is_cut_into_objects_and_explained() {
    let stream: String = samples().iter().map(|(digits, ..)| *digits).collect();
    let output = inspect(&["decode", "--protocol", "any-msgpack", "--stream", &stream], "");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), samples().len());
    let explained = inspect(&["decode", "--protocol", "any-msgpack", "--explain", "82a16101c0920203ff"], "");
    let text = String::from_utf8(explained.stdout).unwrap();
    let cells = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.take(6).collect::<Vec<_>>().join(" | ")
    };
    let lines: Vec<String> = text.lines().skip(2).map(cells).collect();
    assert_eq!(
        lines,
        [
            "0 | 1 | 82 | object | 2 pairs | fixmap",
            "1 | 2 | a1 61 | key 1 | \"a\" | fixstr",
            "3 | 1 | 01 | value 1 | 1 | positive fixint",
            "4 | 1 | c0 | key 2 | 1 byte | nil",
            "5 | 1 | 92 | value 2 | 2 elements | fixarray",
            "6 | 1 | 02 | · element 1 | 2 | positive fixint",
            "7 | 1 | 03 | · element 2 | 3 | positive fixint",
            "8 | 1 | ff | - | 1 byte | behind the message: ignored",
        ]
    );
}
