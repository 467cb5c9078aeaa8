//! `vector`: the messages of a recording as test vectors, in the schema of docs/vectors.md.

mod fields;

use crate::capture::flows::{Seen, Sink};
use crate::capture::{self, Filter};
use crate::{Error, say_to};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Bytes of all vectors: a recording of any length is read.
const MAX_BYTES: usize = 16 << 20;

/// The flags of `vector`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A recording of `proxy`, or any other file of pcap or pcapng. What users said is in it, and passwords are, too.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// Print an array of objects in the schema of `vectors/*.json` of the protocol crates: `name`, `source`, `from`, `wire`, `hex`, and `fields` or
    /// `error`.
    #[arg(long)]
    json: bool,
    /// At most so many vectors of each kind of message.
    #[arg(long, value_name = "N", default_value_t = 10)]
    each: usize,
    /// Leave out messages that are longer, in bytes.
    #[arg(long, value_name = "N", default_value_t = 512)]
    longest: usize,
}

/// Vectors that are all different.
struct Collector<'a> {
    flags: &'a Flags,
    seen: HashSet<(&'static str, &'static str, Vec<u8>)>,
    bytes: usize,
    /// How many there are of a name.
    numbers: BTreeMap<String, usize>,
    vectors: Vec<Value>,
}

impl Sink for Collector<'_> {
    fn message(&mut self, seen: &Seen<'_>) -> std::io::Result<()> {
        let Some(bytes) = seen.follow.packet(seen.from, seen.bytes) else { return Ok(()) };
        if bytes.len() > self.flags.longest || self.bytes + bytes.len() > MAX_BYTES {
            return Ok(());
        }
        let protocol = seen.entry.name;
        let (name, meaning) = match seen.follow.show(seen.from, seen.bytes) {
            Ok(shown) => {
                let name = snake(shown.message);
                (name, ("fields", fields::fields(protocol, bytes, shown)))
            }
            Err(problem) => {
                let (field, offset) = problem.at.unwrap_or(("message", 0));
                ("reject".into(), ("error", json!({ "field": field, "offset": offset })))
            }
        };
        let way = if seen.from.name() == "client" { "c2s" } else { "s2c" };
        let name = format!("{protocol}_{way}_{name}");
        if self.numbers.get(&name).is_some_and(|number| *number >= self.flags.each)
            || !self.seen.insert((protocol, way, bytes.into()))
        {
            return Ok(());
        }
        self.bytes += bytes.len();
        let number = self.numbers.entry(name.clone()).or_default();
        *number += 1;
        let file = self.flags.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut vector = json!({
            "name": format!("{name}_{number}"), "source": format!("recorded in {file}"),
            "from": seen.from.name(), "hex": hex::encode(bytes),
        });
        if let Some(wire) = seen.follow.wire() {
            vector["wire"] = wire.into();
        }
        vector[meaning.0] = meaning.1;
        self.vectors.push(vector);
        Ok(())
    }
}

/// `HandshakeRequest` as `handshake_request`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            out.push('_');
        }
        out.extend(if c.is_alphanumeric() { c.to_lowercase().next() } else { Some('_') });
        before = c;
    }
    out
}

pub(crate) fn run(flags: &Flags) -> Result<(), Error> {
    let mut collector =
        Collector { flags, seen: HashSet::new(), bytes: 0, numbers: BTreeMap::new(), vectors: Vec::new() };
    let (_, _, read) = capture::follow(&flags.file, flags.filter.wanted()?, &mut collector);
    let out = &mut std::io::stdout().lock();
    let vectors = &collector.vectors;
    if flags.json {
        say_to(out, "[")?;
        for (at, vector) in vectors.iter().enumerate() {
            let comma = if at + 1 < vectors.len() { "," } else { "" };
            say_to(out, &format!("{vector}{comma}"))?;
        }
        say_to(out, "]")?;
    } else {
        for vector in vectors {
            let digits = vector["hex"].as_str().filter(|digits| !digits.is_empty()).unwrap_or("-");
            let name = vector["name"].as_str().unwrap_or_default();
            let meaning = match vector.get("error") {
                Some(error) => {
                    format!("error {} {}", error["field"].as_str().unwrap_or_default(), error["offset"])
                }
                None => vector["fields"].to_string(),
            };
            say_to(out, &format!("{name} {digits} {meaning}"))?;
        }
    }
    read
}
