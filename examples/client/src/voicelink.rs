//! `voxwire-client voicelink`: the flags, and what the actions do.

mod call_client;
mod demo;

use crate::check::{Probe, Row, rounds};
use crate::device::DeviceFlags;
use crate::dialogue::Dialogue;
use crate::error::Error;
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::Report;
use crate::screen;
use crate::signals::Signals;
use crate::sound::{Play, RecordAs, prepare, seconds};
use crate::talk::TalkFlags;
use crate::waiting::{Callee as _, wait};
pub(crate) use call_client::{Answer, CallClient, Options, Summary, Tap};
use clap::{Args, Subcommand, ValueEnum};
use core::str::FromStr;
use core::time::Duration;
use std::path::PathBuf;
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, Format, Parameters,
};

pub(crate) const ENTRY: Entry = entry!("voicelink", "Calls through an intermediary, raw PCM over TCP");

#[derive(Debug, Args)]
struct Flags {
    /// Register under this name; without one, a server shows the address.
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// What shows that the name is ours, where the server asks for it.
    #[arg(long, global = true, value_name = "TEXT", requires = "name")]
    secret: Option<String>,
    /// Frames per second to propose.
    #[arg(long, global = true, value_name = "HZ", default_value_t = 48_000)]
    rate: u32,
    /// Channels to propose.
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    channels: u16,
    /// Sample format to propose: uint8, int8, int16, int32 or float32.
    #[arg(long, global = true, value_name = "NAME", default_value = "int16", value_parser = format)]
    format: Format,
    /// Frames in one packet; 0 leaves it open, and 20 ms are sent [default: 20 ms].
    #[arg(long, global = true, value_name = "FRAMES")]
    chunk: Option<u32>,
    /// Byte order of the packets' heads.
    #[arg(long, global = true, value_name = "ORDER", default_value = "be")]
    byte_order: Order,
    /// Byte order of the samples [default: as the heads].
    #[arg(long, global = true, value_name = "ORDER")]
    sample_order: Option<SampleOrder>,
    /// Play a WAV, FLAC or Ogg file, `-` for one from standard input, or `tone[:HZ]`.
    #[arg(long, global = true, value_name = "FILE")]
    play: Option<Play>,
    /// Record what is heard to a WAV file.
    #[arg(long, global = true, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    /// How the recording stores its samples.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "i16")]
    record_as: RecordAs,
    #[command(flatten)]
    devices: DeviceFlags,
    #[command(flatten)]
    talk: TalkFlags,
    /// Hang up after so many seconds of call.
    #[arg(long = "for", global = true, value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Wait for one call, take it, and end with it.
    Wait {
        /// Take calls as they are proposed: what happens anyway.
        #[arg(long, conflicts_with_all = ["counter", "refuse"])]
        accept: bool,
        /// Propose other parameters, as RATE:CHANNELS:FORMAT.
        #[arg(long, value_name = "RATE:CHANNELS:FORMAT", conflicts_with = "refuse")]
        counter: Option<Counter>,
        /// Refuse calls.
        #[arg(long)]
        refuse: bool,
        /// Go on with the next call, and when the server is back after a restart. Later recordings are numbered: bob.wav, bob-2.wav, ..
        #[arg(long)]
        keep: bool,
    },
    /// Call a user; hang up when the file has been played.
    Call {
        /// Whom.
        user: String,
        /// Do not take other parameters than ours, if the other side proposes them.
        #[arg(long)]
        strict: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Big-endian, network order.
    Be,
    /// Little-endian.
    Le,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SampleOrder {
    /// As the heads of the packets.
    Connection,
    /// Big-endian.
    #[value(alias = "big")]
    Be,
    /// Little-endian.
    #[value(alias = "little")]
    Le,
}

/// `RATE:CHANNELS:FORMAT`
#[derive(Debug, Clone, Copy)]
struct Counter {
    rate: u32,
    channels: u16,
    format: Format,
}

impl FromStr for Counter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split(':');
            let (rate, channels, name) = (parts.next()?, parts.next()?, parts.next()?);
            let end = parts.next().is_none();
            let counter = Self {
                rate: rate.parse().ok()?,
                channels: channels.parse().ok()?,
                format: format(name).ok()?,
            };
            end.then_some(counter)
        };
        parse().ok_or_else(|| "RATE:CHANNELS:FORMAT expected, for example 16000:1:int16".into())
    }
}

fn format(name: &str) -> Result<Format, String> {
    let number = name.parse().ok().and_then(Format::from_wire);
    Format::from_name(name).or(number).ok_or_else(|| "uint8, int8, int16, int32 or float32 expected".into())
}

impl From<Order> for ByteOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Be => Self::BigEndian,
            Order::Le => Self::LittleEndian,
        }
    }
}

/// A packet holds at most 1 MiB, and a server takes a thousand a second in time.
fn check_chunk(parameters: &Parameters) -> Result<(), Error> {
    let Parameters { sample_rate, chunk_size, .. } = *parameters;
    let most = (voxwire_voicelink::MAX_DATA - voxwire_voicelink::HEAD_LEN) / parameters.frame_size();
    let least = sample_rate.div_ceil(1000);
    if chunk_size != 0 && (chunk_size < least || chunk_size as usize > most) {
        let range = format!("expected {least} to {most} frames, or 0 for 20 ms");
        return Err(Error::Usage(format!("--chunk {chunk_size}: {range}")));
    }
    Ok(())
}

/// Parameters to propose; `flag` stands before what is wrong with them.
fn parameters_of(
    rate: u32,
    channels: u16,
    format: Format,
    chunk: Option<u32>,
    flag: &str,
) -> Result<Parameters, Error> {
    let chunk_size = chunk.unwrap_or(rate / 50);
    let parameters = Parameters { sample_rate: rate, channels, format, chunk_size };
    let range = parameters.check(&voxwire_voicelink::Ranges::DEFAULT);
    range.map_err(|error| Error::Usage(format!("{flag}{error}")))?;
    check_chunk(&parameters)?;
    Ok(parameters)
}

/// Does what the command line says.
async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let order = ByteOrder::from(flags.byte_order);
    let samples = match flags.sample_order {
        None | Some(SampleOrder::Connection) => order,
        Some(SampleOrder::Be) => ByteOrder::BigEndian,
        Some(SampleOrder::Le) => ByteOrder::LittleEndian,
    };
    let parameters = parameters_of(flags.rate, flags.channels, flags.format, flags.chunk, "")?;
    let mut signals = Signals::catch()?;
    let devices = flags.devices.choose(report);
    flags.talk.apply(report, false)?;
    let source =
        prepare(flags.play.as_ref(), flags.record.as_deref(), &devices, report, &mut signals).await?;
    let options = Options {
        name: flags.name,
        secret: flags.secret,
        parameters,
        order,
        samples,
        source,
        record: flags.record,
        record_as: flags.record_as,
        loudspeaker: devices.output,
        length: flags.length,
    };
    let us = options.name.as_deref().unwrap_or("nobody");
    let title = match &flags.action {
        Action::Wait { .. } => format!("voicelink: {us} waits for calls"),
        Action::Call { user, .. } => format!("voicelink: {us} calls {user}"),
    };
    screen::open(report, &title);
    match flags.action {
        Action::Wait { counter, refuse, keep, .. } => {
            let answer = match counter {
                _ if refuse => Answer::Refuse,
                None => Answer::Accept,
                Some(Counter { rate, channels, format }) => {
                    Answer::Counter(parameters_of(rate, channels, format, flags.chunk, "--counter: ")?)
                }
            };
            let connect =
                async || CallClient::connect(&link, options.clone(), report.clone(), signals.clone()).await;
            let call = async |client: &mut CallClient| client.wait(answer, &mut ()).await.map(|_| ());
            wait(report, &mut signals.clone(), keep, connect, call).await
        }
        Action::Call { user, strict } => {
            let mut client = CallClient::connect(&link, options, report.clone(), signals.clone()).await?;
            let result = client.call(&user, strict, &mut ()).await;
            let recordings = client.close().await;
            result.and(recordings.end(&mut signals).await)
        }
    }
}

/// Looks at a server's port: calls nobody, some times. The server answers that there is no such user.
async fn check(probe: &Probe<'_>) -> Vec<Row> {
    let nobody = format!("check-{:016x}", fastrand::u64(..));
    let parameters = Parameters { sample_rate: 48_000, channels: 1, format: Format::I16, chunk_size: 960 };
    let call = |dialogue: &mut Dialogue<Client>| {
        dialogue.tell(ClientCommand::Call { user: nobody.as_bytes(), parameters, optional: b"" })
    };
    let is_answer =
        |event: &ClientEvent<'_>| matches!(event, ClientEvent::NotFound | ClientEvent::Dropped { .. });
    let ask = async |dialogue: &mut Dialogue<Client>| rounds(dialogue, call, is_answer).await;
    probe.tcp(ENTRY.name, DEFAULT_PORT, || Client::new(ClientSettings::DEFAULT), ask).await
}
