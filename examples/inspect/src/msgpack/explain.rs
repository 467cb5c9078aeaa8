//! Messages and units of ZMTP byte by byte.

use super::OLD_GREETING_LEN;
use super::object::Object;
use crate::explain::{Explainer, plain};
use crate::protocol::Shown;
use voxwire_msgpack::zmtp::SIGNATURE_LEN;

/// A row for each field of a greeting, a command or a message.
pub(super) fn explain<'a>(bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
    let mut explainer = Explainer::new(bytes, "ZMTP");
    let _ = match bytes {
        [0xff, ..] => greeting_rows(&mut explainer),
        [4 | 6, ..] => command_rows(&mut explainer),
        _ => {
            explainer.section("On the wire");
            message_rows(&mut explainer, shown)
        }
    };
    explainer
}

/// How many samples of a list have a row each.
const SAMPLES_SHOWN: u64 = 16;

/// A row for each part of a greeting.
fn greeting_rows(rows: &mut Explainer<'_>) -> Option<()> {
    rows.data("signature", SIGNATURE_LEN as u64, "ff, eight bytes, 7f")?;
    match rows.left() {
        0 => Some(()),
        left if left == OLD_GREETING_LEN - SIGNATURE_LEN => {
            rows.number("revision", 1, |_| "ZMTP 2".into())?;
            rows.number("socket type", 1, plain).map(drop)
        }
        _ => {
            rows.number("version", 1, |_| "major".into())?;
            rows.number("version", 1, |_| "minor".into())?;
            let mechanism = rows.rest().iter().take(20).take_while(|byte| **byte != 0).count() as u64;
            rows.text("mechanism", mechanism, "")?;
            rows.data("mechanism", 20 - mechanism, "padding")?;
            rows.number("as server", 1, plain)?;
            rows.data("filler", 31, "").map(drop)
        }
    }
}

/// A row for each part of a command.
fn command_rows(rows: &mut Explainer<'_>) -> Option<()> {
    let flags =
        rows.number("flags", 1, |flags| if flags & 2 == 0 { "command" } else { "long command" }.into())?;
    let len =
        rows.number("length", if flags & 2 == 0 { 1 } else { 8 }, |_| "bytes of what follows".into())?;
    let head = if flags & 2 == 0 { 2 } else { 9 };
    rows.end_at(len.saturating_add(head));
    let len = rows.number("length of name", 1, |_| "bytes".into())?;
    match rows.text("name", len, "")? {
        b"READY" => {
            while rows.left() > 0 {
                let len = rows.number("length of property", 1, |_| "bytes".into())?;
                rows.text("property", len, "")?;
                let len = rows.number("length of value", 4, |_| "bytes".into())?;
                rows.text("value", len, "")?;
            }
        }
        b"PING" if rows.left() >= 2 => {
            rows.number("ttl", 2, |_| "tenths of a second; 0 for none".into())?;
            rows.data("context", rows.left() as u64, "sent back")?;
        }
        b"PONG" => drop(rows.data("context", rows.left() as u64, "of the PING")?),
        b"ERROR" if rows.left() > 0 => {
            rows.number("length of reason", 1, |_| "bytes".into())?;
            rows.text("reason", rows.left() as u64, "")?;
        }
        _ => drop(rows.data("data", rows.left() as u64, "")?),
    }
    Some(())
}

/// A row for each object of a message, for each of the first samples, and for the others together.
fn message_rows(rows: &mut Explainer<'_>, shown: Option<&Shown>) -> Option<()> {
    let first = Object::read(rows.rest())?;
    let is_typed = [&b"request"[..], b"response", b"update"].contains(&first.text(rows.rest()));
    let mut names: Vec<&str> = if is_typed { vec!["type", "action"] } else { vec!["action"] };
    let fields = shown.and_then(|shown| shown.fields.as_object());
    let keys = fields.into_iter().flatten().map(|(key, _)| key.as_str());
    // The code's name is not in the message.
    names.extend(keys.filter(|key| !["action", "name"].contains(key)));
    let known = names.len();
    for at in 0.. {
        let name = match names.get(at) {
            Some(name) => (*name).to_owned(),
            // Of a message that cannot be decoded.
            None if shown.is_none() && rows.left() > 0 => format!("argument {}", at + 1 - known),
            None => break,
        };
        let object = Object::read(rows.rest())?;
        rows.row(name.clone(), object.len(), |bytes| (object.value(bytes), object.name.into()))?;
        if let Some(count) = object.elements {
            sample_rows(rows, &name, count)?;
        }
    }
    Some(())
}

fn sample_rows(rows: &mut Explainer<'_>, name: &str, count: u64) -> Option<()> {
    for _ in 0..count.min(SAMPLES_SHOWN) {
        let sample = Object::read(rows.rest())?;
        rows.row(name.to_owned(), sample.len(), |bytes| (sample.value(bytes), sample.name.into()))?;
    }
    let more = count.saturating_sub(SAMPLES_SHOWN);
    let (mut len, rest) = (0, rows.rest());
    for _ in 0..more {
        match rest.get(len..).and_then(Object::read) {
            Some(sample) if len + sample.len() <= rest.len() => len += sample.len(),
            _ => break,
        }
    }
    if len > 0 {
        rows.row(name.to_owned(), len, |_| (format!("{more} more"), String::new()))?;
    }
    Some(())
}
