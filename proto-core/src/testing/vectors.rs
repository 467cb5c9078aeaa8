use alloc::vec::Vec;

/// One line of a vector file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector<'a> {
    /// What the bytes are called.
    pub name: &'a str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What to make of them, in the words of the test that reads the file.
    pub expect: &'a str,
}

/// Reads a vector file: one `name hex expectation` per line, separated by blanks; an empty line or one that starts with
/// `#` is a comment. Empty bytes are written `-`.
pub fn vectors(text: &str) -> Vec<Vector<'_>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(char::is_whitespace).expect("a name and hex digits");
            let rest = rest.trim_start();
            let (hex, expect) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            Vector { name, bytes: unhex(hex), expect: expect.trim() }
        })
        .collect()
}

/// The bytes that hex digits stand for; `-` stands for none.
pub fn unhex(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return Vec::new();
    }
    assert!(hex.len() % 2 == 0, "odd number of hex digits: {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}
