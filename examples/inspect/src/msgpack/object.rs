//! One object of MessagePack, without what is inside of an array or a map.

use crate::explain::{bytes_of, clipped};
use crate::protocol::show_text;

/// The one first byte that no object has.
pub(crate) const NEVER_USED: &str = "never used";

/// An object of MessagePack, from its first bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object {
    /// As the specification calls it.
    pub(crate) name: &'static str,
    /// The bytes before its text, or all.
    head: usize,
    /// The bytes of its text.
    text: usize,
    /// Of an array or a map: the objects that follow.
    pub(crate) elements: Option<u64>,
}

impl Object {
    /// `None` where the first bytes are not all there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let number = |width: usize| {
            let field = rest.get(..width)?;
            Some(field.iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte)))
        };
        let plain = |name, head| Some(Self { name, head, text: 0, elements: None });
        let text = |name, width| {
            let len = usize::try_from(number(width)?).ok()?;
            Some(Self { name, head: 1 + width, text: len, elements: None })
        };
        let list =
            |name, width| Some(Self { name, head: 1 + width, text: 0, elements: Some(number(width)?) });
        let map = |name, width| {
            let elements = number(width)?.saturating_mul(2);
            Some(Self { name, head: 1 + width, text: 0, elements: Some(elements) })
        };
        // The type of an extension is a part of its head.
        let ext = |name, width| {
            let len = usize::try_from(number(width)?).ok()?;
            Some(Self { name, head: 2 + width, text: len, elements: None })
        };
        let fixext = |name, len| Some(Self { name, head: 2, text: len, elements: None });
        match first {
            0x00..=0x7f => plain("positive fixint", 1),
            0x80..=0x8f => {
                let elements = u64::from(first & 15) * 2;
                Some(Self { name: "fixmap", head: 1, text: 0, elements: Some(elements) })
            }
            0x90..=0x9f => {
                Some(Self { name: "fixarray", head: 1, text: 0, elements: Some((first & 15).into()) })
            }
            0xa0..=0xbf => Some(Self { name: "fixstr", head: 1, text: (first & 31).into(), elements: None }),
            0xe0..=0xff => plain("negative fixint", 1),
            0xc0 => plain("nil", 1),
            0xc1 => plain(NEVER_USED, 1),
            0xc2 => plain("false", 1),
            0xc3 => plain("true", 1),
            0xc4 => text("bin 8", 1),
            0xc5 => text("bin 16", 2),
            0xc6 => text("bin 32", 4),
            0xc7 => ext("ext 8", 1),
            0xc8 => ext("ext 16", 2),
            0xc9 => ext("ext 32", 4),
            0xca => plain("float 32", 5),
            0xcb => plain("float 64", 9),
            0xcc => plain("uint 8", 2),
            0xcd => plain("uint 16", 3),
            0xce => plain("uint 32", 5),
            0xcf => plain("uint 64", 9),
            0xd0 => plain("int 8", 2),
            0xd1 => plain("int 16", 3),
            0xd2 => plain("int 32", 5),
            0xd3 => plain("int 64", 9),
            0xd4 => fixext("fixext 1", 1),
            0xd5 => fixext("fixext 2", 2),
            0xd6 => fixext("fixext 4", 4),
            0xd7 => fixext("fixext 8", 8),
            0xd8 => fixext("fixext 16", 16),
            0xd9 => text("str 8", 1),
            0xda => text("str 16", 2),
            0xdb => text("str 32", 4),
            0xdc => list("array 16", 2),
            0xdd => list("array 32", 4),
            0xde => map("map 16", 2),
            0xdf => map("map 32", 4),
        }
    }

    /// Without the elements of a list.
    pub(crate) const fn len(&self) -> usize {
        self.head.saturating_add(self.text)
    }

    pub(crate) fn text<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.head..self.len()).unwrap_or(&[])
    }

    /// Of the object that `bytes` hold.
    pub(crate) fn value(&self, bytes: &[u8]) -> String {
        if let Some(count) = self.elements {
            let (count, what) = if self.name.ends_with("map") || self.name.starts_with("map") {
                (count / 2, "pair")
            } else {
                (count, "element")
            };
            return format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        }
        let behind = bytes.get(1..).unwrap_or(&[]);
        let unsigned = behind.iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
        match (bytes.first(), behind.len()) {
            (Some(0xa0..=0xbf | 0xc4..=0xc6 | 0xd9..=0xdb), _) => {
                clipped(show_text(self.text(bytes)).to_string())
            }
            (Some(&first @ 0x00..=0x7f), _) => first.to_string(),
            (Some(&first @ 0xe0..=0xff), _) => i8::from_ne_bytes([first]).to_string(),
            (Some(0xca), 4) => f32::from_bits(u32::try_from(unsigned).unwrap_or(0)).to_string(),
            (Some(0xcb), 8) => f64::from_bits(unsigned).to_string(),
            (Some(0xcc..=0xcf), _) => unsigned.to_string(),
            (Some(0xd0..=0xd3), width @ 1..=8) => {
                let unused = 64 - 8 * u32::try_from(width).unwrap_or(8);
                ((unsigned << unused).cast_signed() >> unused).to_string()
            }
            _ => bytes_of(bytes.len()),
        }
    }
}
