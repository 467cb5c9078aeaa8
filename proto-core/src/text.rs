use core::fmt::{self, Write as _};

/// Text that a peer chose, on its way to a person's eyes: a terminal, a log, a page.
///
/// It is bytes that are meant to be UTF-8. `Display` writes what can be read as it is, and escapes what would steer a terminal,
/// end a line, turn the direction of the text around it, or not show:
///
/// | escaped | as |
/// | --- | --- |
/// | control characters: C0, DEL, C1 | `\n`, `\r`, `\t`, otherwise `\u{1b}` |
/// | line and paragraph separator: U+2028, U+2029 | `\u{2028}` |
/// | format characters (`Cf`), among them all that set a direction, and tags: but for the signs that show (U+0600 and its like) | `\u{202e}` |
/// | default-ignorable characters, among them fillers | `\u{3164}` |
/// | noncharacters and private use, which each reader's font shows as something else | `\u{e000}` |
/// | joiners (U+200C, U+200D) and variation selectors that are not inside a word, or have nothing to act on | `\u{200d}` |
/// | a combining mark at the beginning, which would join what is written before | `\u{301}` |
/// | bytes that are not UTF-8 | `\xff` |
///
/// Combining marks, and joiners and variation selectors inside a word, are left alone: Thai, Hindi, Persian, `❤️` and the
/// emoji of a family read as they were written. So are unassigned characters: each version of Unicode assigns some of them.
/// What `Display` writes is not escaped any further by a second time. `Debug` writes the same between quotation marks, with
/// quotation marks and backslashes inside escaped: for a field of a log, which has an end. For programs (JSON), take
/// [`as_str`](Self::as_str) or [`as_bytes`](Self::as_bytes).
///
/// ```
/// use voxwire_core::Untrusted;
/// assert_eq!(Untrusted::new("bob\x1b[2J\n").to_string(), r"bob\u{1b}[2J\n");
/// assert_eq!(Untrusted::new("Zoë ❤️").to_string(), "Zoë ❤️");
/// assert_eq!(format!("{:?}", Untrusted::new(b"\"\xff")), r#""\"\xff""#);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Untrusted<'a>(&'a [u8]);

impl<'a> Untrusted<'a> {
    /// Text, or bytes that are probably text.
    pub fn new<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Self(text.as_ref())
    }

    /// The bytes as they came.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text as it came, if it is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.0).ok()
    }

    fn write(self, f: &mut fmt::Formatter<'_>, quoted: bool) -> fmt::Result {
        let mut before = None;
        for chunk in self.0.utf8_chunks() {
            before = write_text(f, chunk.valid(), before, quoted)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
                before = Some('\0');
            }
        }
        Ok(())
    }
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.write(f, true)?;
        f.write_char('"')
    }
}

/// Printable ASCII as it is, all else escaped.
#[cfg(feature = "defmt")]
impl defmt::Format for Untrusted<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=[u8]:a}", self.0);
    }
}

impl<'a> From<&'a str> for Untrusted<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Untrusted<'a> {
    fn from(text: &'a [u8]) -> Self {
        Self(text)
    }
}

/// A line for a terminal which a program may read, too: JSON, or text that has been escaped already.
///
/// `Display` writes it, and escapes control characters (line feeds, too) and those that set a direction as JSON does in a string, where
/// alone JSON holds any: a program reads the same. All else stays, in any language.
///
/// ```
/// use voxwire_core::OneLine;
/// let json = "{\"name\":\"\u{9b}2Jbob\u{202e}\"}";
/// assert_eq!(OneLine::new(json).to_string(), r#"{"name":"\u009b2Jbob\u202e"}"#);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OneLine<'a>(&'a str);

impl<'a> OneLine<'a> {
    /// The line, without its end.
    pub const fn new(line: &'a str) -> Self {
        Self(line)
    }
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets_direction = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        for part in self.0.split_inclusive(|c: char| c.is_control() || sets_direction(c)) {
            match part.char_indices().next_back() {
                Some((at, c)) if c.is_control() || sets_direction(c) => {
                    f.write_str(part.get(..at).unwrap_or(""))?;
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// As much of `text` as `max` bytes hold, without half a character at the end.
pub fn truncated(text: &str, max: usize) -> &str {
    let end = (0..=text.len().min(max)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

/// Writes `text`, which comes after `before`; returns what comes before what follows.
fn write_text(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    mut before: Option<char>,
    quoted: bool,
) -> Result<Option<char>, fmt::Error> {
    // What is not escaped is written in one piece.
    let mut written = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|&(_, c)| c);
        let escaped = is_escaped(before, c, after) || (quoted && matches!(c, '"' | '\\'));
        before = Some(c);
        if !escaped {
            continue;
        }
        f.write_str(text.get(written..at).unwrap_or(""))?;
        match c {
            '"' | '\\' | '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
            c => write!(f, "{}", c.escape_unicode())?,
        }
        // Nothing joins an escape.
        before = Some('\0');
        written = at.saturating_add(c.len_utf8());
    }
    f.write_str(text.get(written..).unwrap_or(""))?;
    Ok(before)
}

/// The first character of `text` that is not shown as it is.
#[cfg(feature = "names")]
pub(crate) fn first_escaped(text: &str) -> Option<char> {
    let mut chars = text.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        if is_escaped(before, c, chars.peek().copied()) {
            return Some(c);
        }
        before = Some(c);
    }
    None
}

fn is_escaped(before: Option<char>, c: char, after: Option<char>) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let is_word = |c: char| !c.is_whitespace() && !is_hidden(c) && !is_variation_selector(c) && !is_joiner(c);
    if is_variation_selector(c) {
        // Letters of ASCII have no variants; digits do, in the emoji of keys.
        return !before.is_some_and(|before| {
            is_word(before) && (!before.is_ascii() || matches!(before, '0'..='9' | '#' | '*'))
        });
    }
    if is_joiner(c) {
        // Two letters of ASCII have nothing to be joined or kept apart. An emoji may have been varied before it is joined.
        let (Some(before), Some(after)) = (before, after) else { return true };
        return !((is_word(before) || is_variation_selector(before)) && is_word(after))
            || (before.is_ascii() && after.is_ascii());
    }
    // `escape_debug` knows the combining marks.
    is_hidden(c) || (before.is_none() && !is_sign(c) && c.escape_debug().len() > 1)
}

/// `Prepended_Concatenation_Mark`, Unicode 17.0 (`PropList.txt`): format characters that show.
pub(crate) const fn is_sign(c: char) -> bool {
    matches!(
        c,
        '\u{600}'
            ..='\u{605}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'
                | '\u{891}'
                | '\u{8e2}'
                | '\u{110bd}'
                | '\u{110cd}'
    )
}

const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// `Variation_Selector`, Unicode 17.0 (`PropList.txt`).
pub(crate) const fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// What never shows, or steers what is around it; beside joiners and variation selectors, which may have a meaning.
///
/// Unicode 17.0: `Cc`, `Zl`, `Zp`, `Cf` without `Prepended_Concatenation_Mark`, `Default_Ignorable_Code_Point`, `Co`, and
/// noncharacters (`UnicodeData.txt`, `PropList.txt`, `DerivedCoreProperties.txt`).
pub(crate) const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}'
    ) || (c as u32) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::{String, ToString};

    #[test]
    fn truncated_text_ends_with_a_whole_character() {
        let ends = [0, 1, 2, 3, 4, 9].map(|max| truncated("aé€", max));
        assert_eq!(ends, ["", "a", "a", "aé", "aé", "aé€"]);
    }

    fn shown(text: &str) -> String {
        Untrusted::new(text).to_string()
    }

    /// F-04: what people write in their languages is shown as they wrote it.
    #[test]
    fn text_that_can_be_read_is_left_alone() {
        for text in [
            "",
            "bob",
            "it's \"quoted\" \\ ",
            "Zoë",
            "Zoe\u{308}",
            "น้ำผึ้ง",
            "สวัสดี",
            "हिन्दी",
            "क्\u{200d}ष",
            "שָׁלוֹם",
            "می\u{200c}خواهم",
            "தமிழ்",
            "ශ්\u{200d}රී",
            "မြန်မာ",
            "❤\u{fe0f}",
            "👨\u{200d}👩\u{200d}👧\u{200d}👦",
            "❤\u{fe0f}\u{200d}🔥",
            "1\u{fe0f}\u{20e3}",
            "👍🏽 🇩🇪",
            "葛\u{e0100}",
            "ᠠ\u{180b}ᠠ",
            "\u{600}١",
            "a\u{a0}b\u{3000}c\u{2800}",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    /// F-03: nothing steers a terminal, ends a line or turns what is around it.
    #[test]
    fn what_steers_or_hides_is_escaped() {
        for (text, expected) in [
            ("a\x1b[31m", r"a\u{1b}[31m"),
            ("a\nb\r\t\0", r"a\nb\r\t\u{0}"),
            ("\u{7f}\u{85}\u{9b}2J", r"\u{7f}\u{85}\u{9b}2J"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{202e}evil\u{202c}\u{2066}\u{200f}\u{61c}", r"\u{202e}evil\u{202c}\u{2066}\u{200f}\u{61c}"),
            ("b\u{200b}o\u{2060}b\u{feff}\u{ad}", r"b\u{200b}o\u{2060}b\u{feff}\u{ad}"),
            ("a\u{34f}\u{3164}\u{115f}\u{ffa0}", r"a\u{34f}\u{3164}\u{115f}\u{ffa0}"),
            ("🏴\u{e0067}\u{e007f}", r"🏴\u{e0067}\u{e007f}"),
            ("\u{1d173}\u{fff9}", r"\u{1d173}\u{fff9}"),
            ("\u{e000}\u{fdd0}\u{ffff}\u{10ffff}", r"\u{e000}\u{fdd0}\u{ffff}\u{10ffff}"),
            ("\u{301}bob", r"\u{301}bob"),
            // Joiners and selectors with nothing to act on.
            ("bob\u{fe0f}", r"bob\u{fe0f}"),
            ("b\u{200d}ob\u{200c}", r"b\u{200d}ob\u{200c}"),
            ("\u{200d}א \u{200c}\u{fe0f}", r"\u{200d}א \u{200c}\u{fe0f}"),
            ("❤\u{fe0f}\u{fe0f}\u{200d}", r"❤️\u{fe0f}\u{200d}"),
            ("م\u{200c}\u{200c}م", r"م\u{200c}\u{200c}م"),
            ("م\u{200c}\u{202e}", r"م\u{200c}\u{202e}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    /// F-03, F-04: a line stays one line, steers no terminal, and is the same JSON.
    #[test]
    fn f_03_a_line_of_json_stays_one_and_steers_no_terminal() {
        let line = "{\"name\":\"ไทย ❤\u{fe0f}\x1b\u{7f}\u{9b}\u{202e}\u{2028}\"}";
        let expected = "{\"name\":\"ไทย ❤\u{fe0f}\\u001b\\u007f\\u009b\\u202e\\u2028\"}";
        assert_eq!(OneLine::new(line).to_string(), expected);
        assert_eq!(OneLine::new("a\r\nb\u{2066}").to_string(), "a\\u000d\\u000ab\\u2066");
        assert_eq!(OneLine::new("").to_string(), "");
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_numbers() {
        assert_eq!(Untrusted::new(b"a\xff\xc3(\xe2\x80").to_string(), r"a\xff\xc3(\xe2\x80");
        assert_eq!((Untrusted::new(b"\xff").as_str(), Untrusted::new("ok").as_str()), (None, Some("ok")));
    }

    #[test]
    fn a_field_of_a_log_has_an_end() {
        assert_eq!(format!("{:?}", Untrusted::new("a\" level=\\\n")), r#""a\" level=\\\n""#);
        assert_eq!(format!("{:?}", Untrusted::new("ไทย ❤\u{fe0f}")), "\"ไทย ❤\u{fe0f}\"");
    }

    /// F-03: for every character there is.
    #[test]
    fn no_character_that_has_to_be_escaped_gets_out() {
        for c in ('\0'..='\u{1ffff}').chain('\u{e0000}'..='\u{e1000}') {
            for text in [format!("{c}"), format!("ห{c}ห")] {
                let shown = shown(&text);
                let bad = |c: char| c.is_control() || is_hidden(c);
                assert!(!shown.contains(bad), "{:x}", u32::from(c));
                assert_eq!(self::shown(&shown), shown, "{:x}", u32::from(c));
            }
        }
    }
}
