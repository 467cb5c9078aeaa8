//! What a protocol's module provides, and what they share.

use crate::explain::Explainer;
use crate::follow::Follows;
use core::fmt;
use core::ops::Range;
use serde_json::{Value, json};
use voxwire_core::{DecodeError, EncodeError, FrameError, Framing, Message, Progress};

/// A row of the table of protocols.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the command line and the printed objects have it.
    pub(crate) name: &'static str,
    /// Fails where the dialect does not say enough.
    pub(crate) start: fn(Dialect) -> Result<Box<dyn Protocol>, &'static str>,
    /// How its conversations are followed; `None` where nothing tells them from others.
    pub(crate) follows: Option<&'static Follows>,
}

/// What the command line says of the bytes, where a protocol leaves it open.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Dialect {
    /// Who sent it, where that matters (msgpack and syfala: it does, and has to be said).
    #[arg(long, value_name = "SIDE")]
    from: Option<Side>,
    /// Byte order, where a protocol leaves it open.
    #[arg(long, value_name = "ORDER", default_value = "be")]
    pub(crate) byte_order: Order,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Order {
    /// Big-endian, network order.
    Be,
    /// Little-endian.
    Le,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl Dialect {
    /// Whether the client sent it, where the two sides differ.
    pub(crate) fn is_from_client(self) -> Result<bool, &'static str> {
        let side = self.from.ok_or("the two sides differ: --from client or --from server")?;
        Ok(matches!(side, Side::Client))
    }
}

/// One protocol in one dialect.
pub(crate) trait Protocol {
    /// Decodes one message at the start of `bytes`.
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem>;

    /// Goes through the fields of a message, valid or not, as far as they can be told apart. `shown` is what [`decode`](Self::decode) has
    /// made of them.
    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a>;

    /// Whether the name of a message says how it is encoded.
    fn has_names(&self) -> bool {
        true
    }

    /// Encodes the message of this name.
    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String>;

    /// Cuts units from the start of a stream, one call after the other. A protocol of datagrams has no streams.
    fn cutter(&self) -> Cutter {
        Box::new(|_| Err(Stop::Wrong("not a stream: each packet stands for itself".into())))
    }
}

/// Returns where the message lies in the next unit, if it is one, and the unit's length.
pub(crate) type Cutter = Box<dyn FnMut(&[u8]) -> Result<(Option<Range<usize>>, usize), Stop>>;

/// Why no unit was cut.
#[derive(Debug)]
pub(crate) enum Stop {
    /// At least so many bytes are missing.
    Short(usize),
    Wrong(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(missing) => write!(f, "{missing} more bytes expected before the end of the stream"),
            Self::Wrong(text) => f.write_str(text),
        }
    }
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// What is wrong with bytes.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which field, and where it is in bytes from the start of the message, if that is known.
    pub(crate) at: Option<(&'static str, usize)>,
    pub(crate) text: String,
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        Self { at: Some((error.field, error.offset)), text: error.to_string() }
    }
}

impl From<EncodeError> for Problem {
    fn from(error: EncodeError) -> Self {
        Self { at: None, text: error.to_string() }
    }
}

impl From<FrameError> for Problem {
    fn from(error: FrameError) -> Self {
        Self { at: None, text: error.to_string() }
    }
}

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

/// Cuts units that `framing` finds: each is a frame, behind a header or not.
pub(crate) fn frame_cutter(mut framing: impl Framing + 'static) -> Cutter {
    Box::new(move |stream| match framing.next_frame(stream) {
        Ok(Progress::Frame { header, body }) => Ok((Some(header..header + body), header + body)),
        Ok(Progress::Skip(n)) => Ok((None, n.get())),
        Ok(Progress::NeedMore(n)) => Err(Stop::Short(n.get())),
        Err(error) => Err(error.into()),
    })
}

/// Encodes the message that an object describes.
pub(crate) fn encode(protocol: &dyn Protocol, object: &Value) -> Result<Vec<u8>, String> {
    let message = object.get("message").and_then(Value::as_str);
    let message = match message {
        None if protocol.has_names() => return Err("message: expected a message's name".into()),
        message => message.unwrap_or_default(),
    };
    protocol.encode(message, &Fields(object.get("fields").unwrap_or(&json!({}))))
}

/// What is wrong with an object whose message has none of these names.
pub(crate) fn unknown(message: &str, names: &str) -> String {
    format!("message: {message:?} found, expected {names}")
}

/// The bytes of a message.
pub(crate) fn to_bytes<'a, M: Message<'a>>(message: &M, wire: &M::Wire) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    message.encode(wire, &mut frame).map_err(|error| error.to_string())?;
    Ok(frame)
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
