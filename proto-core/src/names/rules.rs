//! Which names will do, and which are the same.

use crate::text::is_variation_selector;
use alloc::{borrow::Cow, string::String};
use core::fmt;
use core::net::Ipv6Addr;
use unicode_joining_type::{JoiningType, get_joining_type};
use unicode_normalization::char::{canonical_combining_class, decompose_compatible};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc};
use unicode_properties::{EmojiStatus, GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

/// The most bytes of a name.
pub const MAX_NAME_LEN: usize = 255;

/// The most combining marks on one letter, as UTS 39 section 5.4 recommends.
const MAX_MARKS: usize = 4;

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';
/// The variation selector that asks for an emoji.
const EMOJI_STYLE: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// What is wrong with a name. `Display` says it in ASCII, and names the character by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NameError {
    /// There is nothing in it.
    Empty,
    /// It has more bytes than are allowed.
    TooLong {
        /// How many it has, in its canonical form where that is longer.
        len: usize,
        /// How many are allowed.
        max: usize,
    },
    /// It is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        offset: usize,
    },
    /// A blank at an end, or two in a row.
    Blank,
    /// A character of the class `Cc`.
    Control(char),
    /// A character that does not show, or looks like a blank, or turns the direction of the text.
    Invisible(char),
    /// A joiner or a variation selector where it joins or varies nothing.
    Stray(char),
    /// A combining mark without a letter before it, one twice in a row, too many of them, or one that does not show.
    Mark(char),
    /// A character that looks like others, which are to be used instead: its compatibility decomposition.
    Lookalike(char),
    /// A character that is no letter, digit or emoji, and none of the signs that names may have.
    Disallowed(char),
    /// Letters of different scripts in one word, which may look like another word.
    Mixed(char),
    /// It reads like a network address, by which peers without a name are shown.
    Address,
}

impl NameError {
    /// What would have been right.
    pub const fn expected(&self) -> &'static str {
        match self {
            Self::Empty | Self::TooLong { .. } => "1 to 255 bytes",
            Self::NotUtf8 { .. } => "UTF-8",
            Self::Blank => "words with single blanks between them",
            Self::Control(_) => "no control characters",
            Self::Invisible(_) => "characters that can be seen",
            Self::Stray(_) => "joiners and variation selectors only where they have an effect",
            Self::Mark(_) => "combining marks on letters only",
            Self::Lookalike(_) => "ordinary characters",
            Self::Disallowed(_) => "letters, digits, emoji and the signs of ASCII",
            Self::Mixed(_) => "words of one script",
            Self::Address => "a name that is no network address",
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (c, what) = match *self {
            Self::Empty => return f.write_str("the name is empty"),
            Self::TooLong { len, max } => {
                return write!(f, "the name has {len} bytes, at most {max} expected");
            }
            Self::NotUtf8 { offset } => return write!(f, "the name is not UTF-8 at byte {offset}"),
            Self::Blank => return f.write_str("the name begins or ends with a blank, or has two in a row"),
            Self::Address => return f.write_str("the name reads like a network address"),
            Self::Control(c) => (c, "a control character"),
            Self::Invisible(c) => (c, "which cannot be seen"),
            Self::Stray(c) => (c, "which joins or varies nothing there"),
            Self::Mark(c) => (c, "a combining mark that does not belong there"),
            Self::Lookalike(c) => (c, "which looks like other characters"),
            Self::Disallowed(c) => (c, "which is not allowed in names"),
            Self::Mixed(c) => (c, "a letter of another script than the word's"),
        };
        write!(f, "the name holds U+{:04X}, {what}", u32::from(c))
    }
}

impl core::error::Error for NameError {}

/// The name as text if it will do, for names that people read and find others by: of persons, rooms and groups.
///
/// The rules are those of the PRECIS profile `UsernameCasePreserved` (RFC 8265): 1 to [`MAX_NAME_LEN`] bytes of UTF-8; words
/// of the `IdentifierClass` (RFC 8264), with single spaces (U+0020) between them; joiners and other characters by the
/// contextual rules of RFC 5892 appendix A. They apply to the [canonical form](canonical_name). What differs, knowingly:
///
/// * Emoji are allowed, in the sequences of UTS 51 (but for tag sequences), and so are geometric shapes, miscellaneous symbols and
///   dingbats (U+25A0 to U+27BF of the class `So`) but for those that look like bars and quotation marks.
/// * A middle dot (U+00B7) may stand between any two letters: names are written with it in Chinese and Uyghur.
/// * These have compatibility decompositions, but are ordinary letters: U+0587 (Armenian), U+0E33 (Thai), U+0EB3, U+0EDC, U+0EDD
///   (Lao), U+3131 to U+3163 (Korean). A joiner may stand between U+09B0 (Bengali) or U+0CB0 (Kannada) and a virama.
/// * Instead of the Bidi rule of RFC 5893: the letters of a word are of one script, or of a set that UTS 39 calls *highly restrictive*
///   (Latin with Chinese, Japanese or Korean). So neither look-alikes of other scripts nor directions are mixed in a word.
///   (A *whole* word of another script may still look like a Latin one.)
/// * Combining marks follow a letter, at most four in a row and none twice; none is a dot on `i` or `j` (UTS 39 section 5.4).
/// * U+13441, U+13442 and U+16FE4, letters and marks by their class, are blank and refused.
///
/// # Errors
/// What is wrong with it.
///
/// ```
/// use voxwire_core::{NameError, check_name};
/// assert_eq!(check_name("Zoë 🎧".as_bytes()), Ok("Zoë 🎧"));
/// assert_eq!(check_name("bob\u{200b}".as_bytes()), Err(NameError::Invisible('\u{200b}')));
/// ```
pub fn check_name(name: &[u8]) -> Result<&str, NameError> {
    let text =
        core::str::from_utf8(name).map_err(|error| NameError::NotUtf8 { offset: error.valid_up_to() })?;
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    check_len(text)?;
    // All that ASCII has but for control characters is allowed.
    if text.is_ascii() {
        if let Some(c) = text.chars().find(char::is_ascii_control) {
            return Err(NameError::Control(c));
        }
        check_blanks(text)?;
        return Ok(text);
    }
    let canonical = canonical_name(text);
    check_len(&canonical)?;
    check_blanks(&canonical)?;
    check_characters(&canonical)?;
    canonical.split(is_word_end).try_for_each(check_script)?;
    // Everything else that stands where it does not show.
    match crate::text::first_escaped(&canonical) {
        Some(c) => Err(NameError::Invisible(c)),
        None => Ok(text),
    }
}

/// The label as text if it will do, for names that a program gives, not a person, and that may be any text: at most
/// [`MAX_NAME_LEN`] bytes of UTF-8 which [`Untrusted`](crate::Untrusted) shows as they are, without blanks at the ends. It may be empty.
///
/// # Errors
/// What is wrong with it.
pub fn check_label(label: &[u8]) -> Result<&str, NameError> {
    let text =
        core::str::from_utf8(label).map_err(|error| NameError::NotUtf8 { offset: error.valid_up_to() })?;
    check_len(text)?;
    match crate::text::first_escaped(text) {
        Some(c) if c.is_control() => return Err(NameError::Control(c)),
        Some(c) if crate::text::is_hidden(c) => return Err(NameError::Invisible(c)),
        Some(c) if is_mark(c.general_category()) && !is_variation_selector(c) => {
            return Err(NameError::Mark(c));
        }
        Some(c) => return Err(NameError::Stray(c)),
        None => {}
    }
    if text.trim().len() != text.len() {
        return Err(NameError::Blank);
    }
    Ok(text)
}

const fn check_len(text: &str) -> Result<(), NameError> {
    match text.len() {
        len if len > MAX_NAME_LEN => Err(NameError::TooLong { len, max: MAX_NAME_LEN }),
        _ => Ok(()),
    }
}

fn check_blanks(text: &str) -> Result<(), NameError> {
    if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Err(NameError::Blank);
    }
    Ok(())
}

/// The form in which names are compared: two names are the same if these are.
///
/// Fullwidth and halfwidth characters become ordinary ones, U+2019 an apostrophe, an emoji has a variation selector exactly where
/// it would be text without; then NFC. It is not longer than the name by more than a factor of three.
///
/// ```
/// use voxwire_core::canonical_name;
/// assert_eq!(canonical_name("Jose\u{301}"), "José");
/// ```
pub fn canonical_name(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let mut mapped = Cow::Borrowed(name);
    if name.chars().any(|c| is_mapped(c) || is_emoji(c)) {
        mapped = Cow::Owned(map(name));
    }
    if is_nfc_quick(mapped.chars()) == IsNormalized::Yes {
        return mapped;
    }
    Cow::Owned(mapped.nfc().collect())
}

fn is_mapped(c: char) -> bool {
    matches!(c, '\u{2019}' | '\u{ff01}'..='\u{ffee}' | '\u{fe0e}' | '\u{fe0f}' | KEYCAP)
}

fn map(name: &str) -> String {
    let mut mapped = String::new();
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{2019}' => mapped.push('\''),
            '\u{ff01}'..='\u{ffee}' => decompose_compatible(c, |c| mapped.push(c)),
            _ if is_emoji(c) => {
                mapped.push(c);
                let styled = chars.next_if_eq(&EMOJI_STYLE).is_some();
                let modified = chars.peek().is_some_and(|&c| is_modifier(c));
                // A style that was not asked for stays, to be refused.
                if (styled || chars.peek() != Some(&'\u{fe0e}')) && !is_emoji_by_itself(c) && !modified {
                    mapped.push(EMOJI_STYLE);
                }
            }
            // The emoji of a key, with the selector or without.
            EMOJI_STYLE if chars.peek() == Some(&KEYCAP) && mapped.ends_with(is_key) => mapped.push(c),
            KEYCAP if mapped.ends_with(is_key) => mapped.extend([EMOJI_STYLE, c]),
            _ => mapped.push(c),
        }
    }
    mapped
}

/// The keys that emoji show.
fn is_key(c: char) -> bool {
    matches!(c, '0'..='9' | '#' | '*')
}

/// An emoji that may stand alone; those of ASCII are not meant, nor such as look like letters.
fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char() && !is_flag_letter(c) && !has_compatibility_form(c)
}

/// Whether it is another way to write other characters (`HasCompat` of RFC 8264).
fn has_compatibility_form(c: char) -> bool {
    !is_nfkc(c.encode_utf8(&mut [0; 4]))
}

/// The letters that flags are made of.
const fn is_flag_letter(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Whether it is shown as an emoji without a variation selector.
fn is_emoji_by_itself(c: char) -> bool {
    matches!(
        c.emoji_status(),
        EmojiStatus::EmojiPresentation
            | EmojiStatus::EmojiPresentationAndModifierBase
            | EmojiStatus::EmojiPresentationAndEmojiComponent
            | EmojiStatus::EmojiPresentationAndModifierAndEmojiComponent
    )
}

/// The colours of skin.
const fn is_modifier(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Checks every character of a canonical name where it stands.
fn check_characters(name: &str) -> Result<(), NameError> {
    let (mut marks, mut flag_letters) = (0_usize, 0_usize);
    let mut before = None;
    for (at, c) in name.char_indices() {
        let (head, rest) = (name.get(..at).unwrap_or(""), name.get(at..).unwrap_or(""));
        let after = rest.chars().nth(1);
        check_character(head, before, c, after)?;
        flag_letters = if is_flag_letter(c) { flag_letters.saturating_add(1) } else { 0 };
        // They come in pairs.
        if flag_letters % 2 == 1 && !after.is_some_and(is_flag_letter) {
            return Err(NameError::Disallowed(c));
        }
        let category = c.general_category();
        let spacing = category == GeneralCategory::SpacingMark;
        let nonspacing = category == GeneralCategory::NonspacingMark && c != EMOJI_STYLE;
        marks = match (nonspacing, spacing) {
            (true, _) => marks.saturating_add(1),
            (_, true) => marks,
            _ => 0,
        };
        let based = before.is_some_and(|before: char| {
            matches!(before, ZWNJ | ZWJ) || before.is_alphanumeric() || is_mark(before.general_category())
        });
        let dotted = c == '\u{307}' && matches!(before, Some('i' | 'j' | '\u{456}' | '\u{458}'));
        let repeated = nonspacing && (before == Some(c) || marks > MAX_MARKS);
        if (nonspacing || spacing) && (!based || dotted || repeated) {
            return Err(NameError::Mark(c));
        }
        before = Some(c);
    }
    Ok(())
}

const fn is_mark(category: GeneralCategory) -> bool {
    matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark)
}

/// Checks that `c` may stand between `before` and `after`; `head` is all before it.
fn check_character(head: &str, before: Option<char>, c: char, after: Option<char>) -> Result<(), NameError> {
    use GeneralCategory as G;
    let is_letter = |c: char| c.is_alphabetic() && c.is_alphanumeric();
    let allowed = match c {
        _ if c.is_ascii() => return if c.is_ascii_control() { Err(NameError::Control(c)) } else { Ok(()) },
        EMOJI_STYLE => {
            let key = before.is_some_and(is_key) && after == Some(KEYCAP);
            return if key || before.is_some_and(is_emoji) { Ok(()) } else { Err(NameError::Stray(c)) };
        }
        KEYCAP => return if before == Some(EMOJI_STYLE) { Ok(()) } else { Err(NameError::Mark(c)) },
        ZWJ if is_emoji_joined(before, after) => return Ok(()),
        ZWJ | ZWNJ => return if joins(head, before, c, after) { Ok(()) } else { Err(NameError::Stray(c)) },
        _ if is_variation_selector(c) => return Err(NameError::Stray(c)),
        _ if is_flag_letter(c) => true,
        _ if is_modifier(c) => before.is_some_and(is_modifier_base),
        _ if is_emoji(c) => true,
        // RFC 5892 appendix A.3, extended; A.4; A.5 and A.6; A.7.
        '\u{b7}' => before.is_some_and(is_letter) && after.is_some_and(is_letter),
        '\u{375}' => after.is_some_and(|c| c.script() == Script::Greek),
        '\u{5f3}' | '\u{5f4}' => before.is_some_and(|c| c.script() == Script::Hebrew),
        '\u{30fb}' => head
            .chars()
            .chain(after)
            .any(|c| matches!(c.script(), Script::Hiragana | Script::Katakana | Script::Han)),
        // A.8 and A.9: two kinds of Arabic digits look alike.
        '\u{660}'..='\u{669}' => !head.contains(|c| matches!(c, '\u{6f0}'..='\u{6f9}')),
        '\u{6f0}'..='\u{6f9}' => !head.contains(|c| matches!(c, '\u{660}'..='\u{669}')),
        // RFC 8264 section 9.6.
        '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => true,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => false,
        _ if c.is_whitespace() || is_blank(c) || crate::text::is_hidden(c) => {
            let control = c.general_category() == G::Control;
            return Err(if control { NameError::Control(c) } else { NameError::Invisible(c) });
        }
        '\u{587}' | '\u{e33}' | '\u{eb3}' | '\u{edc}' | '\u{edd}' | '\u{3131}'..='\u{3163}' => true,
        // Section 9.9: syllables of Korean are composed by now.
        '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97c}' | '\u{d7b0}'..='\u{d7fb}' => false,
        _ if has_compatibility_form(c) => return Err(NameError::Lookalike(c)),
        '\u{2758}'..='\u{2760}' => false,
        '\u{25a0}'..='\u{27bf}' => c.general_category() == G::OtherSymbol,
        _ => matches!(
            c.general_category(),
            G::UppercaseLetter
                | G::LowercaseLetter
                | G::OtherLetter
                | G::ModifierLetter
                | G::DecimalNumber
                | G::NonspacingMark
                | G::SpacingMark
        ),
    };
    if allowed { Ok(()) } else { Err(NameError::Disallowed(c)) }
}

/// What shows nothing, though its class says otherwise: beside the default-ignorable ones.
const fn is_blank(c: char) -> bool {
    matches!(c, '\u{2800}' | '\u{13441}' | '\u{13442}' | '\u{16fe4}' | '\u{1d159}')
}

fn is_modifier_base(c: char) -> bool {
    matches!(c.emoji_status(), EmojiStatus::EmojiModifierBase | EmojiStatus::EmojiPresentationAndModifierBase)
}

/// Whether a joiner makes one emoji of two.
fn is_emoji_joined(before: Option<char>, after: Option<char>) -> bool {
    let ends = |c: char| is_emoji(c) || is_modifier(c) || c == EMOJI_STYLE;
    before.is_some_and(ends) && after.is_some_and(|c| is_emoji(c) && !is_modifier(c))
}

/// Whether a joiner or non-joiner has an effect where it stands: RFC 5892 appendix A.1 and A.2, and inside a word only, where it shows.
fn joins(head: &str, before: Option<char>, c: char, after: Option<char>) -> bool {
    const VIRAMA: u8 = 9;
    let is_virama = |c: char| canonical_combining_class(c) == VIRAMA;
    if before.is_some_and(is_virama) {
        return after.is_some_and(|after| after.is_alphanumeric() || is_mark(after.general_category()));
    }
    match c {
        ZWJ => matches!(before, Some('\u{9b0}' | '\u{cb0}')) && after.is_some_and(is_virama),
        _ => {
            // It keeps two apart that would join: T are marks, which do not matter.
            let kind = |c: char| get_joining_type(c);
            let joins_on = |c: &char| kind(*c) != JoiningType::Transparent;
            let left = head.chars().rev().find(joins_on).map(kind);
            let right = after.map(kind);
            matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
                && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
        }
    }
}

/// What ends a word, as far as scripts are concerned.
fn is_word_end(c: char) -> bool {
    c == ' ' || c.is_ascii_punctuation()
}

/// Checks that the letters of one word are of one script, or of scripts that are written together.
fn check_script(word: &str) -> Result<(), NameError> {
    // Sets of UTS 39 section 5.2, "Highly Restrictive"; each script alone is another.
    const TOGETHER: [&[Script]; 3] = [
        &[Script::Latin, Script::Han, Script::Hiragana, Script::Katakana],
        &[Script::Latin, Script::Han, Script::Bopomofo],
        &[Script::Latin, Script::Han, Script::Hangul],
    ];
    let scripts = || {
        word.chars()
            .map(|c| (c, c.script()))
            .filter(|(_, script)| !matches!(script, Script::Common | Script::Inherited | Script::Unknown))
    };
    let Some((_, first)) = scripts().next() else { return Ok(()) };
    let Some((other, _)) = scripts().find(|(_, script)| *script != first) else { return Ok(()) };
    let together = TOGETHER.iter().any(|set| scripts().all(|(_, script)| set.contains(&script)));
    if together { Ok(()) } else { Err(NameError::Mixed(other)) }
}

/// Whether a name reads like a network address, with a port or without: peers that have no name may be shown by theirs.
///
/// For IPv4 letters that look like digits are taken for these.
///
/// ```
/// use voxwire_core::is_address_like;
/// assert!(is_address_like("192.0.2.7:40000") && is_address_like("[2001:db8::1]:40000") && !is_address_like("bob"));
/// ```
pub fn is_address_like(name: &str) -> bool {
    let name: String = canonical_name(name).chars().filter(|c| *c != ' ').collect();
    // Nine groups, if all eight of an address are written out before a port.
    let without_port = name.rsplit_once(':').filter(|(_, port)| port.chars().all(|c| c.is_ascii_digit()));
    is_v4(&name) || is_v6(&name) || without_port.is_some_and(|(host, _)| is_v6(host))
}

fn is_v4(name: &str) -> bool {
    let is_number = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, 'O' | 'o' | 'l' | 'I' | '|'))
    };
    let (host, port) = match name.split_once(':') {
        Some((host, port)) => (host, port),
        None => (name, "0"),
    };
    // An empty port shows as well as none.
    let port = port.is_empty() || is_number(port);
    port && host.split('.').count() == 4 && host.split('.').all(is_number)
}

fn is_v6(name: &str) -> bool {
    let (host, port) = match name.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => (rest, ""),
        },
        None => (name, ""),
    };
    let host = host.split_once('%').map_or(host, |(host, _zone)| host);
    port.chars().all(|c| c.is_ascii_digit()) && host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests;
