use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// Hex digits of bytes, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A text as a JSON string.
pub fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
    json
}

/// A JSON object of these members. Their values are JSON already.
pub fn json_object(members: &[(&str, String)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(key, value)| format!("{}: {value}", json_string(key))).collect();
    format!("{{{}}}", members.join(", "))
}

/// Compares the JSON array of `objects`, one on each line, with a file. With `VOXWIRE_BLESS=1` the file is written instead.
pub fn assert_json_file(path: &str, objects: &[String]) {
    let expected = format!("[\n{}\n]\n", objects.join(",\n"));
    if std::env::var_os("VOXWIRE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(path, expected).expect("the file can be written");
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    for (at, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{path}, line {}; VOXWIRE_BLESS=1 writes it anew", at + 1);
    }
    assert_eq!(found.len(), expected.len(), "{path}; VOXWIRE_BLESS=1 writes it anew");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_17_json_is_escaped() {
        assert_eq!(json_string("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
        assert_eq!(json_object(&[("a", "1".into()), ("b", json_string("é"))]), r#"{"a": 1, "b": "é"}"#);
        assert_eq!(hex(&[0, 0xfe]), "00fe");
    }
}
