//! The program `voxwire-inspect`: decodes and encodes any message of any protocol.
#![forbid(unsafe_code)]

mod dissonance;
mod msgpack;
mod opcode;
mod protocol;
mod syfala;
mod voicelink;

use clap::{Parser, Subcommand, ValueEnum};
use protocol::{Protocol, Shown};
use serde_json::{Deserializer, Value, json};
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use thiserror::Error;
use voxwire_core::Untrusted;
use voxwire_voicelink::ByteOrder;

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
        dialect: Dialect,
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
        dialect: Dialect,
    },
    /// Print the number that stands for a Dissonance room, decimal and hexadecimal.
    RoomId {
        /// The room's name.
        name: String,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Dialect {
    /// Which protocol.
    #[arg(long, value_name = "P")]
    protocol: Name,
    /// Who sent it, where that matters (msgpack and syfala: it does, and has to be said).
    #[arg(long, value_name = "SIDE")]
    from: Option<Side>,
    /// Byte order, where a protocol leaves it open.
    #[arg(long, value_name = "ORDER", default_value = "be")]
    byte_order: Order,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Voicelink,
    Opcode,
    Msgpack,
    Syfala,
    Dissonance,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Big-endian, network order.
    Be,
    /// Little-endian.
    Le,
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

impl Dialect {
    /// Whether the client sent it, where the two sides differ.
    fn is_from_client(&self) -> Result<bool, Error> {
        let side = self.from.ok_or(Error::Usage("the two sides differ: --from client or --from server"))?;
        Ok(matches!(side, Side::Client))
    }

    fn protocol(&self) -> Result<Box<dyn Protocol>, Error> {
        Ok(match self.protocol {
            Name::Voicelink => Box::new(voicelink::Voicelink::new(match self.byte_order {
                Order::Be => ByteOrder::BigEndian,
                Order::Le => ByteOrder::LittleEndian,
            })),
            Name::Opcode => Box::new(opcode::Opcode::new()),
            Name::Msgpack => Box::new(msgpack::Msgpack::new(self.is_from_client()?)),
            Name::Syfala => Box::new(syfala::Syfala::new(self.is_from_client()?)),
            Name::Dissonance => Box::new(dissonance::Dissonance::new()),
        })
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
        Action::Decode { dialect, stream, hex } => {
            let protocol = dialect.protocol()?;
            if stream {
                let text = if hex == "-" { all_input()? } else { hex };
                return decode_stream(&*protocol, &unhex(&text)?);
            }
            if hex != "-" {
                return decode(&*protocol, &unhex(&hex)?);
            }
            for line in std::io::stdin().lock().lines() {
                let line = line?;
                if !line.trim().is_empty() {
                    decode(&*protocol, &unhex(&line)?)?;
                }
            }
            Ok(())
        }
        Action::Encode { dialect } => {
            let protocol = dialect.protocol()?;
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

fn decode(protocol: &dyn Protocol, bytes: &[u8]) -> Result<(), Error> {
    let about = |problem| Error::Malformed(format!("{}: {problem}", protocol.name()));
    show(protocol, protocol.decode(bytes).map_err(about)?)
}

fn decode_stream(protocol: &dyn Protocol, stream: &[u8]) -> Result<(), Error> {
    let mut cutter = protocol.cutter();
    let mut at = 0;
    while at < stream.len() {
        let about = |problem| {
            Error::Malformed(format!(
                "{}: in the unit at offset {at} of the stream: {problem}",
                protocol.name()
            ))
        };
        let (unit, len) = cutter(&stream[at..]).map_err(about)?;
        if let Some(range) = unit {
            show(protocol, protocol.decode(&stream[at..][range]).map_err(about)?)?;
        }
        at += len;
    }
    Ok(())
}

fn show(protocol: &dyn Protocol, shown: Shown) -> Result<(), Error> {
    let Shown { message, length, fields, trailing } = shown;
    let object = json!({
        "protocol": protocol.name(), "message": message, "length": length, "fields": fields, "trailing": trailing,
    });
    say(&object.to_string())
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
