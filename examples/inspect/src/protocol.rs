//! What a protocol's module provides, and what they share.

use core::ops::Range;
use serde_json::{Value, json};

/// One protocol in one dialect.
pub(crate) trait Protocol {
    fn name(&self) -> &'static str;

    /// Decodes one message at the start of `bytes`.
    fn decode(&self, bytes: &[u8]) -> Result<Shown, String>;

    /// Encodes one message.
    fn encode(&self, object: &Value) -> Result<Vec<u8>, String>;

    /// Cuts units from the start of a stream, one call after the other.
    fn cutter(&self) -> Cutter;
}

/// Returns where the message lies in the next unit, if it is one, and the unit's length.
pub(crate) type Cutter = Box<dyn FnMut(&[u8]) -> Result<(Option<Range<usize>>, usize), String>>;

/// A message, to be printed.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) message: &'static str,
    /// In bytes.
    pub(crate) length: usize,
    pub(crate) fields: Value,
    /// Bytes behind the message.
    pub(crate) trailing: usize,
}

/// Text, or the bytes of what is not.
pub(crate) fn show_text(bytes: &[u8]) -> Value {
    core::str::from_utf8(bytes).map_or_else(|_| json!({ "bytes": hex::encode(bytes) }), Value::from)
}

/// Fields of an object that is to be encoded.
pub(crate) struct Fields<'a>(pub(crate) &'a Value);

impl<'a> Fields<'a> {
    /// Whether there is such a field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    fn get(&self, name: &str) -> Result<&'a Value, String> {
        self.0.get(name).ok_or_else(|| format!("fields.{name} is missing"))
    }

    /// An unsigned number that fits the field.
    pub(crate) fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<T, String> {
        let value = self.get(name)?;
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| {
            format!("fields.{name}: {value} found, expected a number of {} bits", size_of::<T>() * 8)
        })
    }

    /// Hex digits; none if the field is missing.
    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(digits)) => {
                hex::decode(digits).map_err(|error| format!("fields.{name}: {error}"))
            }
            Some(value) => Err(format!("fields.{name}: {value} found, expected hex digits")),
        }
    }

    /// A string, or `{"bytes": ..}`.
    pub(crate) fn text(&self, name: &str) -> Result<Vec<u8>, String> {
        match self.get(name)? {
            Value::String(text) => Ok(text.as_bytes().into()),
            Value::Object(object) if object.contains_key("bytes") => Fields(self.get(name)?).bytes("bytes"),
            value => {
                Err(format!("fields.{name}: {value} found, expected a string or {{\"bytes\": \"<hex>\"}}"))
            }
        }
    }

    /// The value itself.
    pub(crate) fn value(&self, name: &str) -> Result<&'a Value, String> {
        self.get(name)
    }
}
