//! The program `voxwire-inspect`: decodes and encodes any message of any protocol.
#![forbid(unsafe_code)]

mod dissonance;
mod echo;
mod msgpack;
mod opcode;
mod protocol;
mod syfala;
mod voicelink;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use protocol::{Dialect, Entry, Protocol, Shown};
use serde_json::{Deserializer, Value, json};
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use thiserror::Error;
use voxwire_core::Untrusted;

/// Every protocol that can be shown, one row each.
const PROTOCOLS: &[Entry] = &[
    // In the order of `--help`.
    voicelink::ENTRY,
    opcode::ENTRY,
    msgpack::ENTRY,
    syfala::ENTRY,
    dissonance::ENTRY,
    #[cfg(feature = "echo")]
    echo::ENTRY,
];

/// A person's view of bytes: decodes and encodes any message of any protocol.
///
/// Exit code 0: done; 1: malformed, standard error says what, where and what was expected; 2: usage error.
#[derive(Debug, Parser)]
#[command(name = "voxwire-inspect", version)]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print messages as JSON objects.
    Decode {
        #[command(flatten)]
        chosen: Chosen,
        /// The bytes are a piece of a byte stream: cut messages out of it first.
        #[arg(long)]
        stream: bool,
        /// The bytes as hex digits; `-` reads them from standard input, one message per line.
        #[arg(value_name = "HEX")]
        hex: String,
    },
    /// Read JSON objects from standard input and print messages as hex digits.
    Encode {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Print the number that stands for a Dissonance room, decimal and hexadecimal.
    RoomId {
        /// The room's name.
        name: String,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Chosen {
    /// Which protocol.
    #[arg(long, value_name = "P", value_parser = entry_parser())]
    protocol: &'static Entry,
    #[command(flatten)]
    dialect: Dialect,
}

fn entry_parser() -> impl TypedValueParser<Value = &'static Entry> {
    PossibleValuesParser::new(PROTOCOLS.iter().map(|entry| entry.name))
        .try_map(|name| PROTOCOLS.iter().find(|entry| entry.name == name).ok_or("no such protocol"))
}

/// Why something could not be shown or made.
#[derive(Debug, Error)]
enum Error {
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Usage(&'static str),
    #[error("not hex digits: {0}")]
    Hex(#[from] hex::FromHexError),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Chosen {
    fn protocol(&self) -> Result<Box<dyn Protocol>, Error> {
        (self.protocol.start)(self.dialect).map_err(Error::Usage)
    }
}

fn main() -> ExitCode {
    match run(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("voxwire-inspect: {}", Untrusted::new(&error.to_string()));
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(flags: Flags) -> Result<(), Error> {
    match flags.action {
        Action::Decode { chosen, stream, hex } => {
            let decoder = Decoder { name: chosen.protocol.name, protocol: chosen.protocol()? };
            if stream {
                let text = if hex == "-" { all_input()? } else { hex };
                return decoder.decode_stream(&unhex(&text)?);
            }
            if hex != "-" {
                return decoder.decode(&unhex(&hex)?);
            }
            for line in std::io::stdin().lock().lines() {
                let line = line?;
                if !line.trim().is_empty() {
                    decoder.decode(&unhex(&line)?)?;
                }
            }
            Ok(())
        }
        Action::Encode { chosen } => {
            let protocol = chosen.protocol()?;
            let input = all_input()?;
            for object in Deserializer::from_str(&input).into_iter::<Value>() {
                let frame = protocol.encode(&object?).map_err(Error::Malformed)?;
                say(&hex::encode(frame))?;
            }
            Ok(())
        }
        Action::RoomId { name } => {
            let id = voxwire_dissonance::room_id(&name).get();
            say(&format!("{id} 0x{id:04x}"))
        }
    }
}

/// Prints the messages of one protocol.
struct Decoder {
    name: &'static str,
    protocol: Box<dyn Protocol>,
}

impl Decoder {
    fn decode(&self, bytes: &[u8]) -> Result<(), Error> {
        let about = |problem| Error::Malformed(format!("{}: {problem}", self.name));
        self.show(self.protocol.decode(bytes).map_err(about)?)
    }

    fn decode_stream(&self, stream: &[u8]) -> Result<(), Error> {
        let mut cutter = self.protocol.cutter();
        let mut at = 0;
        while at < stream.len() {
            let name = self.name;
            let about = |problem| {
                Error::Malformed(format!("{name}: in the unit at offset {at} of the stream: {problem}"))
            };
            let (unit, len) = cutter(&stream[at..]).map_err(about)?;
            if let Some(range) = unit {
                self.show(self.protocol.decode(&stream[at..][range]).map_err(about)?)?;
            }
            at += len;
        }
        Ok(())
    }

    fn show(&self, shown: Shown) -> Result<(), Error> {
        let Shown { message, length, fields, trailing } = shown;
        let object = json!({
            "protocol": self.name, "message": message, "length": length, "fields": fields, "trailing": trailing,
        });
        say(&object.to_string())
    }
}

/// The border to standard output: what the line holds of others is in strings of JSON, where all that steers a terminal may be
/// escaped.
fn say(line: &str) -> Result<(), Error> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            c if steers(c) => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    Ok(writeln!(std::io::stdout().lock(), "{out}")?)
}

fn all_input() -> Result<String, Error> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn unhex(text: &str) -> Result<Vec<u8>, Error> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    Ok(hex::decode(digits)?)
}
