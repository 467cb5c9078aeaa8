//! Any object of MessagePack, whether or not it is a message of a protocol.

use crate::explain::Explainer;
use crate::msgpack::object::{NEVER_USED, Object};
use crate::protocol::{Cutter, Entry, Fields, Problem, Protocol, Shown, Stop};
use rmpv::{Value as Any, ValueRef};
use serde_json::{Value, json};

/// How deep arrays and maps may be inside of each other.
const MAX_DEPTH: usize = 32;

/// How many objects there may be in one.
const MAX_OBJECTS: usize = 1 << 20;

pub(crate) const ENTRY: Entry =
    Entry { name: "any-msgpack", start: |_| Ok(Box::new(AnyMsgpack)), follows: None };

/// The first object in `bytes` as `decode` shows it, and its length; `None` where there is no whole one.
pub(crate) fn object(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut shown = AnyMsgpack.decode(bytes).ok()?;
    Some((shown.fields["value"].take(), shown.length))
}

#[derive(Debug)]
struct AnyMsgpack;

impl Protocol for AnyMsgpack {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        let length = walk(bytes, |_| {})?;
        let mut rest = &bytes[..length];
        // What `walk` has checked; rmpv counts differently.
        let value = rmpv::decode::read_value_ref_with_max_depth(&mut rest, 1024)
            .map_err(|error| Problem { at: None, text: error.to_string() })?;
        let fields = json!({ "value": show(&value) });
        Ok(Shown { message: type_of(&value), length, fields, trailing: bytes.len() - length })
    }

    fn explain<'a>(&self, bytes: &'a [u8], _shown: Option<&Shown>) -> Explainer<'a> {
        let mut explainer = Explainer::new(bytes, "-");
        let _ = walk(bytes, |place| {
            let field = match (place.inside, place.index) {
                ("map", index) if index % 2 == 0 => format!("{}key {}", place.indent(), index / 2 + 1),
                ("map", index) => format!("{}value {}", place.indent(), index / 2 + 1),
                ("array", index) => format!("{}element {}", place.indent(), index + 1),
                _ => "object".into(),
            };
            let object = place.object;
            explainer.row(field, object.len(), |bytes| (object.value(bytes), object.name.into()));
        });
        explainer
    }

    fn has_names(&self) -> bool {
        false
    }

    fn encode(&self, _message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        put(fields.value("value")?, &mut bytes)?;
        Ok(bytes)
    }

    fn cutter(&self) -> Cutter {
        Box::new(|rest| {
            let length = walk(rest, |_| {}).map_err(|problem| Stop::Wrong(problem.text))?;
            Ok((Some(0..length), length))
        })
    }
}

/// Where an object is.
struct Place {
    object: Object,
    depth: usize,
    /// In an `array`, a `map`, or in neither.
    inside: &'static str,
    /// Among the objects in there.
    index: u64,
}

impl Place {
    /// One mark for each level but the first: blanks would not be seen in a table.
    fn indent(&self) -> String {
        "· ".repeat(self.depth.saturating_sub(1))
    }
}

/// Goes through one object and all that is in it, without recursion. Returns its length.
fn walk(bytes: &[u8], mut visit: impl FnMut(Place)) -> Result<usize, Problem> {
    let wrong = |at: usize, text: String| Problem {
        at: Some(("object", at)),
        text: format!("object at offset {at}: {text}"),
    };
    let (mut at, mut objects) = (0, 0);
    // What is open: its kind, how many objects belong in it, and how many were seen.
    let mut open: Vec<(&'static str, u64, u64)> = Vec::new();
    loop {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let object = Object::read(rest)
            .filter(|object| object.len() <= rest.len())
            .ok_or_else(|| wrong(at, format!("{} left, expected a whole object", rest.len())))?;
        if object.name == NEVER_USED {
            return Err(wrong(at, "c1 found, expected the first byte of an object".into()));
        }
        objects += 1;
        if objects > MAX_OBJECTS {
            return Err(wrong(at, format!("expected at most {MAX_OBJECTS} objects in one")));
        }
        let depth = open.len();
        let (inside, index) = match open.last_mut() {
            Some((kind, _, seen)) => {
                *seen += 1;
                (*kind, *seen - 1)
            }
            None => ("", 0),
        };
        if object.elements.is_some() && depth == MAX_DEPTH {
            return Err(wrong(at, format!("expected at most {MAX_DEPTH} levels of arrays and maps")));
        }
        visit(Place { object, depth, inside, index });
        at += object.len();
        if let Some(elements) = object.elements {
            let is_map = object.name.ends_with("map") || object.name.starts_with("map");
            open.push((if is_map { "map" } else { "array" }, elements, 0));
        }
        while open.last().is_some_and(|(_, elements, seen)| elements == seen) {
            open.pop();
        }
        if open.is_empty() {
            return Ok(at);
        }
    }
}

const fn type_of(value: &ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Nil => "nil",
        ValueRef::Boolean(_) => "boolean",
        ValueRef::Integer(_) => "integer",
        ValueRef::F32(_) => "float 32",
        ValueRef::F64(_) => "float 64",
        ValueRef::String(_) => "str",
        ValueRef::Binary(_) => "bin",
        ValueRef::Array(_) => "array",
        ValueRef::Map(_) => "map",
        ValueRef::Ext(..) => "ext",
    }
}

/// What JSON has no form for is an object with one key or two.
fn show(value: &ValueRef<'_>) -> Value {
    match value {
        ValueRef::Nil => Value::Null,
        ValueRef::Boolean(value) => (*value).into(),
        ValueRef::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, number) => number.into(),
        },
        ValueRef::F32(number) if number.is_finite() => json!({ "float32": number }),
        ValueRef::F32(number) => json!({ "float32": hex::encode(number.to_bits().to_be_bytes()) }),
        ValueRef::F64(number) if number.is_finite() => json!(number),
        ValueRef::F64(number) => json!({ "float64": hex::encode(number.to_bits().to_be_bytes()) }),
        ValueRef::String(text) => match text.as_str() {
            Some(text) => text.into(),
            None => json!({ "bytes": hex::encode(text.as_bytes()) }),
        },
        ValueRef::Binary(bytes) => json!({ "bin": hex::encode(bytes) }),
        ValueRef::Array(values) => values.iter().map(show).collect(),
        ValueRef::Map(pairs) => {
            let pairs: Value = pairs.iter().map(|(key, value)| json!([show(key), show(value)])).collect();
            json!({ "map": pairs })
        }
        ValueRef::Ext(kind, bytes) => json!({ "ext": kind, "data": hex::encode(bytes) }),
    }
}

fn put(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let expected = |what: &str| Err(format!("fields.value: {value} found, expected {what}"));
    let fields = Fields(value);
    let leaf = match value {
        Value::Null => Any::Nil,
        Value::Bool(value) => Any::Boolean(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (_, Some(number), _) => number.into(),
            (.., Some(number)) => Any::F64(number),
            _ => return expected("a number of 64 bits"),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(values) => {
            put_head(values.len(), [0x90, 0xdc, 0xdd], 16, out)?;
            return values.iter().try_for_each(|value| put(value, out));
        }
        Value::Object(object) => match object.iter().next().map(|(key, inner)| (key.as_str(), inner)) {
            Some(("float32", inner)) => Any::F32(match inner.as_f64() {
                Some(number) => number as f32,
                None => f32::from_bits(u32::from_be_bytes(bits(&fields, "float32")?)),
            }),
            Some(("float64", _)) => Any::F64(f64::from_bits(u64::from_be_bytes(bits(&fields, "float64")?))),
            Some(("bytes", _)) => {
                // rmpv would make a bin of it.
                let bytes = fields.bytes("bytes")?;
                match u8::try_from(bytes.len()) {
                    Ok(len @ 32..) => out.extend([0xd9, len]),
                    _ => put_head(bytes.len(), [0xa0, 0xda, 0xdb], 32, out)?,
                }
                out.extend(bytes);
                return Ok(());
            }
            Some(("bin", _)) => Any::Binary(fields.bytes("bin")?),
            Some(("ext", inner)) => match inner.as_i64().and_then(|kind| i8::try_from(kind).ok()) {
                Some(kind) => Any::Ext(kind, fields.bytes("data")?),
                None => return expected("ext from -128 to 127"),
            },
            Some(("map", Value::Array(pairs))) => {
                put_head(pairs.len(), [0x80, 0xde, 0xdf], 16, out)?;
                return pairs.iter().try_for_each(|pair| match pair.as_array().map(Vec::as_slice) {
                    Some([key, value]) => put(key, out).and_then(|()| put(value, out)),
                    _ => expected("a list of pairs"),
                });
            }
            _ => return expected("float32, float64, bytes, bin, map or ext"),
        },
    };
    rmpv::encode::write_value(out, &leaf).map_err(|error| error.to_string())
}

/// A length: in the first byte below `few`, or behind one of the other two.
fn put_head(len: usize, [fix, of_16, of_32]: [u8; 3], few: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
        (Ok(short), ..) if len < few => out.push(fix | short),
        (_, Ok(len), _) => {
            out.push(of_16);
            out.extend(len.to_be_bytes());
        }
        (.., Ok(len)) => {
            out.push(of_32);
            out.extend(len.to_be_bytes());
        }
        _ => return Err("fields.value: expected at most 2^32 - 1 elements".into()),
    }
    Ok(())
}

/// The bits of a float, which JSON has no number for.
fn bits<const N: usize>(fields: &Fields<'_>, name: &str) -> Result<[u8; N], String> {
    let bytes = fields.bytes(name)?;
    bytes.try_into().map_err(|_| format!("fields.value: expected {} hex digits in {name}", N * 2))
}
