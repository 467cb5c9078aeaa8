//! Bytes with the names of their fields: what is sent, and what is expected.

/// The order of the bytes of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Big,
    Little,
}

#[derive(Debug, Clone)]
enum Want {
    Bytes(Vec<u8>),
    /// So many bytes with any values.
    Any(usize),
    /// Any bytes up to the end.
    Rest,
}

/// A message as its fields, one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    order: Order,
    parts: Vec<(&'static str, Want)>,
}

/// Where bytes that came begin to differ from a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) offset: usize,
    pub(crate) field: &'static str,
}

impl Layout {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, parts: Vec::new() }
    }

    pub(crate) fn big() -> Self {
        Self::new(Order::Big)
    }

    pub(crate) fn little() -> Self {
        Self::new(Order::Little)
    }

    fn with(mut self, name: &'static str, want: Want) -> Self {
        self.parts.push((name, want));
        self
    }

    fn integer(self, name: &'static str, value: u64, width: usize) -> Self {
        let bytes = match self.order {
            Order::Big => value.to_be_bytes()[8 - width..].to_vec(),
            Order::Little => value.to_le_bytes()[..width].to_vec(),
        };
        self.with(name, Want::Bytes(bytes))
    }

    pub(crate) fn u8(self, name: &'static str, value: u8) -> Self {
        self.integer(name, value.into(), 1)
    }

    pub(crate) fn u16(self, name: &'static str, value: u16) -> Self {
        self.integer(name, value.into(), 2)
    }

    pub(crate) fn u32(self, name: &'static str, value: u32) -> Self {
        self.integer(name, value.into(), 4)
    }

    pub(crate) fn u64(self, name: &'static str, value: u64) -> Self {
        self.integer(name, value, 8)
    }

    pub(crate) fn bytes(self, name: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        self.with(name, Want::Bytes(bytes))
    }

    /// A field whose value the peer chooses.
    pub(crate) fn any(self, name: &'static str, length: usize) -> Self {
        self.with(name, Want::Any(length))
    }

    /// All that follows, which the peer chooses.
    pub(crate) fn rest(self, name: &'static str) -> Self {
        self.with(name, Want::Rest)
    }

    /// `other` behind this.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Bytes without what `rest` stands for.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|(_, want)| want.len()).sum()
    }

    /// The bytes; zeros where the peer chooses.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (_, want) in &self.parts {
            match want {
                Want::Bytes(part) => bytes.extend(part),
                Want::Any(length) => bytes.resize(bytes.len() + length, 0),
                Want::Rest => {}
            }
        }
        bytes
    }

    /// The bytes as hex digits, `..` for each that the peer chooses.
    pub(crate) fn hex(&self) -> String {
        let of = |want: &Want| match want {
            Want::Bytes(part) => hex::encode(part),
            Want::Any(length) => "..".repeat(*length),
            Want::Rest => "*".into(),
        };
        self.parts.iter().map(|(_, want)| of(want)).collect()
    }

    /// The first byte that is not as it should be.
    pub(crate) fn difference(&self, came: &[u8]) -> Option<Difference> {
        let mut at = 0;
        for (field, want) in &self.parts {
            let rest = came.get(at..).unwrap_or_default();
            let same = match want {
                Want::Rest => return None,
                Want::Any(length) => rest.len().min(*length),
                Want::Bytes(part) => part.iter().zip(rest).take_while(|(one, other)| one == other).count(),
            };
            if same < want.len() {
                return Some(Difference { offset: at + same, field });
            }
            at += same;
        }
        (at < came.len()).then_some(Difference { offset: at, field: "behind the last field" })
    }
}

impl Want {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(part) => part.len(),
            Self::Any(length) => *length,
            Self::Rest => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::big().u16("kind", 0x0102).any("number", 2).bytes("name", b"bob")
    }

    #[test]
    fn the_first_difference_has_an_offset_and_a_field() {
        let difference = |came: &[u8]| layout().difference(came).map(|it| (it.offset, it.field));
        assert_eq!(difference(b"\x01\x02\xaa\xbbbob"), None);
        assert_eq!(difference(b"\x01\x03\xaa\xbbbob"), Some((1, "kind")));
        assert_eq!(difference(b"\x01\x02\xaa"), Some((3, "number")));
        assert_eq!(difference(b"\x01\x02\xaa\xbbbox"), Some((6, "name")));
        assert_eq!(difference(b"\x01\x02\xaa\xbbbobs"), Some((7, "behind the last field")));
        assert_eq!(layout().rest("more").difference(b"\x01\x02\xaa\xbbbobs"), None);
    }

    #[test]
    fn integers_have_the_order_of_the_layout() {
        assert_eq!(Layout::little().u32("n", 1).u64("m", 2).encode(), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Layout::big().u32("n", 1).encode(), [0, 0, 0, 1]);
        assert_eq!(layout().hex(), "0102....626f62");
    }
}
