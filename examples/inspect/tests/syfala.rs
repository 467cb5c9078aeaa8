//! C-09 for syfala: the program, run as a person would.

mod kit;

use kit::inspect;

const VECTORS: &str = include_str!("../../../proto-syfala/tests/vectors/messages.txt");

/// Name, hex digits and meaning of the vectors that one side sends.
fn vectors(side: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.splitn(3, ' ');
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
    });
    lines.filter(|(name, ..)| name.contains(side) && !name.starts_with("nested")).collect()
}

#[test]
fn c_09_decode_then_encode_gives_the_same_bytes() {
    for (from, side) in [("client", "c2s"), ("server", "s2c")] {
        let mut canonical: Vec<&str> = vectors(side)
            .into_iter()
            .filter(|(.., meaning)| meaning.starts_with("golden:") || meaning.starts_with("golden-live:"))
            .map(|(_, hex, _)| hex)
            .collect();
        // A head that lies, and two streams each way.
        canonical.push(match from {
            "client" => "0602000000001000000000000008000000010203",
            _ => "0002000000000070e740012006000000000070e74008000701000000008088e5408001400b",
        });
        let decoded =
            inspect(&["decode", "--protocol", "syfala", "--from", from, "-"], &canonical.join("\n"));
        assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
        let objects = String::from_utf8(decoded.stdout).unwrap();
        assert_eq!(objects.lines().count(), canonical.len());
        let encoded = inspect(&["encode", "--protocol", "syfala", "--from", from], &objects);
        assert!(encoded.status.success(), "{}", String::from_utf8_lossy(&encoded.stderr));
        assert_eq!(String::from_utf8(encoded.stdout).unwrap().lines().collect::<Vec<_>>(), canonical);
    }
}

#[test]
fn c_09_malformed_bytes_exit_with_1_and_name_field_and_offset() {
    for (from, side) in [("client", "c2s"), ("server", "s2c")] {
        for (name, hex, meaning) in vectors(side) {
            let hex = if hex == "-" { "" } else { hex };
            let output = inspect(&["decode", "--protocol", "syfala", "--from", from, hex], "");
            let error = String::from_utf8(output.stderr).unwrap();
            if meaning.contains("REJECT") {
                assert_eq!(output.status.code(), Some(1), "{name}");
                assert!(error.contains(" at offset "), "{name}: {error}");
            } else {
                assert_eq!(output.status.code(), Some(0), "{name}: {error}");
            }
        }
    }
    // Who sent it has to be said.
    let output = inspect(&["decode", "--protocol", "syfala", "00"], "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("--from"), "{error}");
}

#[test]
fn s_12_bytes_behind_a_message_are_counted() {
    for (hex, message, length, trailing) in
        [("00aabb", "Discovery", 1, 2), ("8800", "Heartbeat", 2, 0), ("880000", "Heartbeat", 2, 1)]
    {
        let output = inspect(&["decode", "--protocol", "syfala", "--from", "client", hex], "");
        let object = String::from_utf8(output.stdout).unwrap();
        let expected = format!(
            r#"{{"protocol":"syfala","message":"{message}","length":{length},"fields":{{}},"trailing":{trailing}}}"#
        );
        assert_eq!(object.trim(), expected);
    }
}
