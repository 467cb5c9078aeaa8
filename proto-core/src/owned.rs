use crate::{Element, List, Untrusted};
use alloc::{boxed::Box, string::String, vec::Vec};
use bytes::Bytes;
use core::{fmt, ops::Deref};

/// Defines the owned form of a message or an event: the same variants and fields, but none borrows.
///
/// The borrowed form is the type of the same name at the root of the crate. The macro writes the type, with `Debug`, `Clone` and
/// `PartialEq`, `From<crate::Name<'_>>`, and `crate::Name::into_owned`. A field is converted by `Into`, or by the function behind `=`.
/// With the caller's feature `serde`, the type has `Serialize` and `Deserialize`.
///
/// ```
/// pub enum Event<'a> {
///     Connected,
///     Text { from: u32, text: &'a [u8] },
/// }
///
/// mod owned {
///     use voxwire_core::ByteString;
///     voxwire_core::owned! {
///         pub enum Event {
///             Connected,
///             Text { from: u32, text: ByteString },
///         }
///     }
/// }
///
/// fn main() {
///     let event = Event::Text { from: 1, text: b"hello" }.into_owned();
///     assert_eq!(format!("{event:?}"), r#"Text { from: 1, text: "hello" }"#);
/// }
/// ```
#[macro_export]
macro_rules! owned {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($variant:ident
                $(($value:ident: $of:ty))?
                $({ $($field:ident: $field_of:ty $(= $with:expr)?),* $(,)? })?
            ),* $(,)?
        }
    ) => {
        #[doc = concat!("[`crate::", stringify!($name), "`], owned.")]
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        $(#[$meta])*
        pub enum $name {
            $(
                #[doc = concat!("As [there](crate::", stringify!($name), "::", stringify!($variant), ").")]
                $variant $(($of))? $({ $(
                    #[doc = "As there."]
                    $field: $field_of
                ),* })?
            ),*
        }

        const _: () = {
            use super::$name as Borrowed;

            impl From<Borrowed<'_>> for $name {
                fn from(borrowed: Borrowed<'_>) -> Self {
                    match borrowed {
                        $(Borrowed::$variant $(($value))? $({ $($field),* })? =>
                            Self::$variant $(($value.into()))?
                                $({ $($field: $crate::owned!(@ $field $(, $with)?)),* })?),*
                    }
                }
            }

            impl Borrowed<'_> {
                #[doc = concat!("The same, owned: [`owned::", stringify!($name), "`](crate::owned::", stringify!($name), ").")]
                pub fn into_owned(self) -> $name {
                    self.into()
                }
            }
        };
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($field:ident: $field_of:ty $(= $with:expr)?),* $(,)?
        }
    ) => {
        #[doc = concat!("[`crate::", stringify!($name), "`], owned.")]
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        $(#[$meta])*
        pub struct $name {
            $(
                #[doc = concat!("As [there](crate::", stringify!($name), "::", stringify!($field), ").")]
                pub $field: $field_of
            ),*
        }

        const _: () = {
            use super::$name as Borrowed;

            impl From<Borrowed<'_>> for $name {
                fn from(borrowed: Borrowed<'_>) -> Self {
                    let Borrowed { $($field),* } = borrowed;
                    Self { $($field: $crate::owned!(@ $field $(, $with)?)),* }
                }
            }

            impl Borrowed<'_> {
                #[doc = concat!("The same, owned: [`owned::", stringify!($name), "`](crate::owned::", stringify!($name), ").")]
                pub fn into_owned(self) -> $name {
                    self.into()
                }
            }
        };
    };
    (@ $field:ident) => { $field.into() };
    (@ $field:ident, $with:expr) => { ($with)($field) };
}

macro_rules! bytes {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(Bytes);

        impl $name {
            /// The bytes, shared.
            pub fn into_bytes(self) -> Bytes {
                self.0
            }
        }

        impl Deref for $name {
            type Target = [u8];

            fn deref(&self) -> &[u8] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<Bytes> for $name {
            fn from(bytes: Bytes) -> Self {
                Self(bytes)
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }

        impl From<Box<[u8]>> for $name {
            fn from(bytes: Box<[u8]>) -> Self {
                Self(bytes.into())
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(Bytes::copy_from_slice(bytes))
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::from(text.as_bytes())
            }
        }
    };
}

bytes! {
    /// Owned bytes that are meant to be UTF-8, such as a name that a peer chose. A clone shares them.
    ///
    /// `Display` and `Debug` escape them, as [`Untrusted`] does. In serde's human-readable formats they are a string, or a list of numbers
    /// where they are not UTF-8; in other formats they are bytes.
    ByteString
}

bytes! {
    /// Owned bytes that are meant for programs, such as audio. A clone shares them. `Debug` shows their number alone. In serde they are
    /// bytes, which human-readable formats write as a list of numbers.
    Payload
}

bytes! {
    /// An owned password or token. A clone shares it. `Debug` shows three stars. serde writes it **in the clear**, as a [`ByteString`]: a
    /// message that holds one is a secret, too.
    SecretString
}

impl ByteString {
    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl From<String> for ByteString {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl fmt::Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Untrusted::new(&self.0), f)
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Untrusted::new(&self.0), f)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'a, T: Element<'a>, O: From<T>> From<List<'a, T>> for Vec<O> {
    fn from(list: List<'a, T>) -> Self {
        list.iter().map(O::from).collect()
    }
}

#[cfg(feature = "serde")]
mod bytes_and_text {
    use super::{ByteString, Payload, SecretString};
    use alloc::vec::Vec;
    use bytes::Bytes;
    use core::fmt;
    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    /// Takes a string, bytes, or a list of numbers.
    struct Text;

    impl<'de> Visitor<'de> for Text {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or bytes")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(text.as_bytes()))
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes.into())
        }
    }

    fn text<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        match core::str::from_utf8(bytes) {
            Ok(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => serializer.serialize_bytes(bytes),
        }
    }

    fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Text)
        } else {
            deserializer.deserialize_byte_buf(Text)
        }
    }

    impl Serialize for ByteString {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            text(&self.0, serializer)
        }
    }

    impl<'de> Deserialize<'de> for ByteString {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_text(deserializer).map(Self)
        }
    }

    impl Serialize for SecretString {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            text(&self.0, serializer)
        }
    }

    impl<'de> Deserialize<'de> for SecretString {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            from_text(deserializer).map(Self)
        }
    }

    impl Serialize for Payload {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Payload {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_byte_buf(Text).map(Self)
        }
    }
}
