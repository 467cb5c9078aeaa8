#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod any_msgpack;
mod capture;
mod dissonance;
mod echo;
mod explain;
mod follow;
mod msgpack;
mod opcode;
mod protocol;
mod proxy;
mod syfala;
mod tcp_udp;
mod vector;
mod voicelink;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use protocol::{Dialect, Entry, Problem, Protocol, Shown};
use serde_json::{Deserializer, Value, json};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use thiserror::Error;
use voxwire_core::{OneLine, Untrusted};

/// Rows, and behind them those of features.
macro_rules! rows {
    ($($row:expr),+; $($feature:literal: $optional:expr),*) => {
        &[$($row,)+ $(#[cfg(feature = $feature)] $optional),*]
    };
}

/// Every protocol that can be shown, one row each.
const PROTOCOLS: &[Entry] = rows![
    // In the order of `--help`.
    voicelink::ENTRY,
    opcode::ENTRY,
    msgpack::ENTRY,
    syfala::ENTRY,
    dissonance::ENTRY,
    any_msgpack::ENTRY;
    "echo": echo::ENTRY
];

/// A person's view of bytes: messages, captures and live conversations of any protocol.
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
        /// Print a table for each message instead: its bytes, field by field, what they mean, and the section of the protocol's
        /// document that says so. What is malformed is marked with `>`.
        #[arg(long)]
        explain: bool,
        /// The bytes as hex digits; `-` reads them from standard input, one message per line.
        #[arg(value_name = "HEX")]
        hex: String,
    },
    /// Read JSON objects from standard input and print messages as hex digits.
    Encode {
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Show the conversations in a capture: messages with their times, then for each flow who sent what and how much, and loss and
    /// jitter of voice as RFC 3550 has them.
    Capture(capture::Flags),
    /// Stand between clients and a server: show, record and impair what they say, until a signal comes. Point the clients to LISTEN.
    /// Both TCP and UDP are forwarded, as the protocol uses them.
    Proxy(proxy::Flags),
    /// Print the messages of a recording as test vectors: name, hex digits, fields.
    Vector(vector::Flags),
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
    File(#[from] capture::FileError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Chosen {
    fn protocol(&self) -> Result<Box<dyn Protocol>, Error> {
        (self.protocol.start)(self.dialect).map_err(Error::Usage)
    }
}

/// The program `voxwire-inspect`.
pub fn main() -> ExitCode {
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
        Action::Decode { chosen, stream, explain, hex } => {
            let decoder = Decoder { name: chosen.protocol.name, protocol: chosen.protocol()?, explain };
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
                let frame = protocol::encode(&*protocol, &object?).map_err(Error::Malformed)?;
                say(&hex::encode(frame))?;
            }
            Ok(())
        }
        Action::Capture(flags) => capture::run(&flags),
        Action::Proxy(flags) => proxy::run(flags),
        Action::Vector(flags) => vector::run(&flags),
        Action::RoomId { name } => {
            let id = voxwire_dissonance::room_id(&name).get();
            say(&format!("{id} 0x{id:04x}"))
        }
    }
}

/// Reads `bytes` as a file of pcap or pcapng, and shows all that is in it, without printing it. For fuzzing.
///
/// # Panics
/// If more is kept than there may be, or if messages, packets and flows are counted wrongly.
pub fn capture_bytes(bytes: &[u8]) {
    capture::check_bytes(bytes);
}

/// Prints the messages of one protocol.
struct Decoder {
    name: &'static str,
    protocol: Box<dyn Protocol>,
    /// Field by field.
    explain: bool,
}

impl Decoder {
    fn decode(&self, bytes: &[u8]) -> Result<(), Error> {
        self.message(bytes, 0).map_err(|problem| Error::Malformed(format!("{}: {}", self.name, problem.text)))
    }

    fn decode_stream(&self, stream: &[u8]) -> Result<(), Error> {
        let mut cutter = self.protocol.cutter();
        let mut at = 0;
        while at < stream.len() {
            let name = self.name;
            let about = |problem: &dyn core::fmt::Display| {
                Error::Malformed(format!("{name}: in the unit at offset {at} of the stream: {problem}"))
            };
            let (unit, len) = cutter(&stream[at..]).map_err(|stop| about(&stop))?;
            let range = unit.unwrap_or(len..len);
            if self.explain && range.start > 0 {
                let head =
                    if range.is_empty() { "a unit without a message" } else { "in front of the message" };
                let shown = &stream[at..at + range.start.min(32)];
                say(&format!(
                    "{name}: {} at offset {at}, {head}: {}",
                    explain::bytes_of(range.start),
                    hex::encode(shown)
                ))?;
            }
            if !range.is_empty() {
                let (start, unit) = (at + range.start, &stream[at..][range]);
                self.message(unit, start).map_err(|problem| about(&problem.text))?;
            }
            at += len;
        }
        Ok(())
    }

    /// Prints the message that `bytes` hold, `base` bytes behind the start of the stream.
    fn message(&self, bytes: &[u8], base: usize) -> Result<(), Problem> {
        let io = |error: Error| Problem { at: None, text: error.to_string() };
        let decoded = self.protocol.decode(bytes);
        if !self.explain {
            return self.show(decoded?).map_err(io);
        }
        let explainer = self.protocol.explain(bytes, decoded.as_ref().ok());
        let rows = explainer.finish(decoded.as_ref().err());
        let title = match &decoded {
            Ok(shown) => format!("{} {}, {}", self.name, shown.message, explain::bytes_of(shown.length)),
            Err(problem) => format!("{}, malformed: {}", self.name, problem.text),
        };
        self.say_coloured(&title, decoded.is_err(), true).map_err(io)?;
        for (line, is_wrong) in explain::table(&rows, bytes, base) {
            self.say_coloured(&line, is_wrong, false).map_err(io)?;
        }
        decoded.map(drop)
    }

    /// Red for what is wrong, and bold for titles, where a terminal shows it.
    fn say_coloured(&self, line: &str, is_wrong: bool, is_title: bool) -> Result<(), Error> {
        let is_coloured = std::io::stdout().is_terminal()
            && !anstyle_query::no_color()
            && anstyle_query::term_supports_ansi_color();
        let style = match (is_coloured, is_wrong, is_title) {
            (true, true, _) => "31",
            (true, false, true) => "1",
            _ => return say(line),
        };
        Ok(writeln!(std::io::stdout().lock(), "\x1b[{style}m{}\x1b[0m", OneLine::new(line))?)
    }

    fn show(&self, shown: Shown) -> Result<(), Error> {
        let Shown { message, length, fields, trailing } = shown;
        let object = json!({
            "protocol": self.name, "message": message, "length": length, "fields": fields, "trailing": trailing,
        });
        say(&object.to_string())
    }
}

fn say(line: &str) -> Result<(), Error> {
    Ok(say_to(&mut std::io::stdout().lock(), line)?)
}

/// The border to standard output: what the line holds of others is in strings of JSON, or has been escaped.
fn say_to(out: &mut dyn Write, line: &str) -> std::io::Result<()> {
    writeln!(out, "{}", OneLine::new(line))
}

/// Columns of a text on a terminal, as far as that can be told.
fn width_of(text: &str) -> usize {
    text.chars().count()
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
