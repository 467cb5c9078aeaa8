//! `voxwire-client syfala`: the flags, and what the actions do.

mod demo;
mod driver;
mod figures;
mod stream;

use crate::call_timers::until;
use crate::check::{PATIENCE, Probe, ROUNDS, Row, State, not_of, state_of};
use crate::device::Devices;
use crate::error::{Error, failed};
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::recordings::check_writable;
use crate::report::Report;
use crate::screen;
use crate::signals::Signals;
use crate::sound::{Play, RecordAs, prepare, seconds};
use crate::talk::TalkFlags;
use clap::{Args, Subcommand};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU32;
use core::time::Duration;
pub(crate) use driver::{Driver, Event};
pub(crate) use figures::Spread;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
pub(crate) use stream::{Options, stream};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};
use voxwire_audio::FollowState;
use voxwire_core::{Message, PeerId};
use voxwire_server::syfala::{
    DeviceEvent, DeviceFigures, DeviceSettings, MOST_DRIFT, Serve, SoftDevice, Sound, bind,
    broadcast_addresses, format, repeated,
};
use voxwire_syfala::{
    CLIENT_PORT, ClientMessage, DEFAULT_PORT, Format, MAX_STREAMS, SampleType, ServerMessage, ServerSettings,
    Wire,
};
use voxwire_transport::HubSettings;

pub(crate) const ENTRY: Entry =
    entry!("syfala", "Devices on the local network: discovery and real-time audio");

#[derive(Debug, Args)]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the devices on the network: --server, or all that answer on the networks of this machine.
    Discover {
        /// Look for so many seconds.
        #[arg(long = "for", value_name = "SECONDS", default_value = "2", value_parser = seconds)]
        length: Duration,
    },
    /// Exchange audio with a device: --server, or the first one found on the networks of this machine.
    Stream(StreamFlags),
    /// Be a device: for tests, and for people without hardware.
    Serve(ServeFlags),
}

#[derive(Debug, Args)]
struct StreamFlags {
    /// Play a WAV, FLAC or Ogg file, `-` for one from standard input, or `tone[:HZ]`; without --for, end behind the file.
    #[arg(long, value_name = "FILE")]
    play: Option<Play>,
    /// Record what is heard to a WAV file.
    #[arg(long, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    /// How the recording stores its samples.
    #[arg(long, value_name = "FORMAT", default_value = "i16")]
    record_as: RecordAs,
    /// Hear with the machine's loudspeaker; without --play, speak into its microphone.
    #[arg(long)]
    device: bool,
    #[command(flatten)]
    talk: TalkFlags,
    /// Speak into this input of the machine (`voxwire-client devices` lists them), instead of --play.
    #[arg(long, value_name = "NAME", conflicts_with = "play")]
    input_device: Option<String>,
    /// Hear with this output of the machine (`voxwire-client devices` lists them).
    #[arg(long, value_name = "NAME")]
    output_device: Option<String>,
    /// End after so many seconds of audio.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    /// Which of the device's outputs to play to [default: all; with a microphone the first]. The others get silence.
    #[arg(long, value_name = "N")]
    output: Option<u32>,
    /// Which of the device's inputs to hear.
    #[arg(long, value_name = "N", default_value_t = 0)]
    input: u32,
    /// How many seconds to look for the device again when it is gone, as after a restart; 0 ends at once.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds_or_none)]
    retry: Duration,
    /// Measure how long sound takes there and back, with a device that echoes: plays numbers, not to be heard.
    #[arg(long, conflicts_with_all = ["play", "device", "input_device", "output_device"])]
    measure: bool,
}

#[derive(Debug, Args)]
struct ServeFlags {
    /// Listen at this address; the wildcard 0.0.0.0 serves all networks of this machine.
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// UDP port; 0 takes any free one.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Send this WAV, FLAC or OGG file to every client, from its beginning and again and again.
    #[arg(long, value_name = "FILE", conflicts_with = "echo")]
    play: Option<PathBuf>,
    /// Send every client what it sends itself, rather than what the others send.
    #[arg(long)]
    echo: bool,
    /// Record what clients send to the first output to a WAV file.
    #[arg(long, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    /// How the recording stores its samples.
    #[arg(long, value_name = "FORMAT", default_value = "i16")]
    record_as: RecordAs,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    /// Streams that the device sends.
    #[arg(long, value_name = "N", default_value_t = 1)]
    inputs: usize,
    /// Streams that it is sent.
    #[arg(long, value_name = "N", default_value_t = 1)]
    outputs: usize,
    /// Frames a second.
    #[arg(long, value_name = "HZ", default_value_t = 48_000)]
    rate: u32,
    /// Channels of each stream.
    #[arg(long, value_name = "N", default_value_t = 2)]
    channels: u32,
    /// Frames of one message; 0 for no hint.
    #[arg(long, value_name = "FRAMES", default_value_t = 32)]
    buffer: u32,
    /// How samples are stored: U8, U16, U24, U32, U64, I8, I16, I24, I32, I64, F32 or F64.
    #[arg(long, value_name = "TYPE", default_value = "F32", value_parser = voxwire_server::sample_type)]
    sample_type: SampleType,
    /// How much of a client's audio is in store before it is used, in milliseconds: what its messages may be late.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    latency: u64,
    /// How much faster than it says the device's clock runs, in millionths.
    #[arg(long, value_name = "PPM", default_value_t = 0.0, allow_negative_numbers = true)]
    ppm: f64,
    /// Up to how many millionths a client's clock may be off the device's and is followed, by resampling; 0 follows no host.
    #[arg(long, value_name = "PPM", default_value_t = MOST_DRIFT)]
    follow: f64,
    /// Tell every host on the networks as often as this that the device is there, in milliseconds.
    #[arg(long, value_name = "MS")]
    announce: Option<u64>,
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text) }
}

/// Does what the command line says.
async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    if link.trust.is_some() {
        return Err(Error::Usage("syfala goes by UDP, without TLS".into()));
    }
    link.allow_clear("syfala knows no encryption")?;
    match flags.action {
        Action::Discover { length } => {
            let mut signals = Signals::catch()?;
            let to = signals.interrupt("looking for devices", targets(&link)).await?;
            discover(&to, length, signals, report).await
        }
        Action::Stream(flags) => {
            let mut signals = Signals::catch()?;
            let names = (flags.input_device, flags.output_device);
            flags.talk.apply(report, false)?;
            let devices = Devices::choose(flags.device, names, report);
            let source =
                prepare(flags.play.as_ref(), flags.record.as_deref(), &devices, report, &mut signals).await?;
            let options = Options {
                source,
                record: flags.record,
                record_as: flags.record_as,
                loudspeaker: devices.output,
                length: flags.length,
                output: flags.output,
                input: flags.input,
                measure: flags.measure,
                trace: false,
                retry: flags.retry,
            };
            let to = signals.interrupt("looking for the device", targets(&link)).await?;
            screen::open(report, "syfala: audio with a device");
            stream(&to, options, report, signals).await.map(|_| ())
        }
        Action::Serve(flags) => serve(flags, report).await,
    }
}

const NO_ENCRYPTION: &str = "syfala knows no encryption, and --encrypted-only rules it out";
const NO_DEVICE: &str = "no device answers: does the server serve syfala, does a firewall let UDP through, and is this machine on \
                         the device's network? A device answers no other";

/// Looks at a device's port: asks some times who is there, and accepts nothing.
async fn check(probe: &Probe<'_>) -> Vec<Row> {
    let mut row = Row::new(ENTRY.name, "UDP", probe.link.address(DEFAULT_PORT));
    if probe.quic {
        return Vec::new();
    }
    if probe.link.encrypted_only {
        row.skipped = Some(NO_ENCRYPTION);
    } else if let Err(error) = ask_device(&mut row, probe.link).await {
        row.state = state_of(&error);
        row.problem = Some(format!("{error}: {NO_DEVICE}"));
    }
    vec![row]
}

async fn ask_device(row: &mut Row, link: &Link) -> std::io::Result<()> {
    let to =
        *targets(link).await.map_err(std::io::Error::other)?.first().ok_or(std::io::ErrorKind::NotFound)?;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let (mut question, mut answer) = (Vec::new(), [0; 65_536]);
    ClientMessage::Discovery.encode(&Wire::DEFAULT, &mut question).map_err(std::io::Error::other)?;
    let mut sent = 0;
    row.state = State::Silent;
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        socket.send(&question).await?;
        sent += 1;
        let Ok(received) = timeout(PATIENCE / 4, socket.recv(&mut answer)).await else { continue };
        let answer = answer.get(..received?).unwrap_or_default();
        if !matches!(ServerMessage::decode(answer, &Wire::DEFAULT), Ok(ServerMessage::Connect(_))) {
            row.problem = Some(not_of(ENTRY.name));
            return Ok(());
        }
        row.round_trips.push(asked.elapsed());
    }
    row.lost = Some((sent - row.round_trips.len() as u64, sent));
    if row.round_trips.is_empty() {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    row.state = State::Answers;
    Ok(())
}

/// Where to ask for devices.
async fn targets(link: &Link) -> Result<Vec<SocketAddr>, Error> {
    if link.server.is_none() {
        let all = broadcast_addresses(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT)?;
        return if all.is_empty() { Err(failed!("this machine is on no network")) } else { Ok(all) };
    }
    let address = link.address(DEFAULT_PORT);
    let found = tokio::net::lookup_host(&address).await;
    let found = found.map_err(|error| failed!("cannot find {address}: {error}"))?;
    // One socket has one family: IPv4, where there is a choice, as only that has broadcasts.
    let mut all: Vec<SocketAddr> = found.collect();
    if all.iter().any(SocketAddr::is_ipv4) {
        all.retain(SocketAddr::is_ipv4);
    }
    Ok(all)
}

async fn discover(
    to: &[SocketAddr],
    length: Duration,
    mut signals: Signals,
    report: &Report,
) -> Result<(), Error> {
    let mut driver = Driver::start(to, 0)?;
    report.live();
    let end = Instant::now() + length;
    let mut found: Vec<(PeerId, String, Vec<Format>, Vec<Format>)> = Vec::new();
    loop {
        let event = tokio::select! {
            event = driver.next() => event,
            () = sleep_until(end) => break,
            () = signals.recv() => break,
        };
        match event {
            Event::Found { server, from, inputs, outputs } => {
                let address = from.map_or_else(|| "?".into(), |from| from.to_string());
                let fields = json!({
                    "address": address,
                    "inputs": inputs.iter().map(format_json).collect::<Vec<_>>(),
                    "outputs": outputs.iter().map(format_json).collect::<Vec<_>>(),
                });
                report.event("device", fields, "");
                found.retain(|(_, known, ..)| *known != address);
                found.push((server, address, inputs, outputs));
            }
            Event::Lost { server, .. } => found.retain(|(peer, ..)| *peer != server),
            _ => {}
        }
    }
    driver.end().await;
    if found.is_empty() {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        return Err(failed!("no device answers at {}", to.join(", ")));
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let devices = found.iter().map(|(_, address, inputs, outputs)| described(address, inputs, outputs));
    let text = devices.collect::<Vec<_>>().join("\n");
    report.block("done", json!({ "devices": found.len() }), &text);
    Ok(())
}

/// A device and its streams, in 80 columns.
fn described(address: &str, inputs: &[Format], outputs: &[Format]) -> String {
    let mut text = address.to_owned();
    for (verb, formats) in [("sends", inputs), ("is sent", outputs)] {
        if formats.is_empty() {
            text += &format!("\n  {verb:<7}  nothing");
        }
        // Streams in a row that have one format are one line.
        for same in formats.chunk_by(PartialEq::eq) {
            let times = if same.len() == 1 { String::new() } else { format!("{} x ", same.len()) };
            let format = same.first().map(ToString::to_string).unwrap_or_default();
            text += &format!("\n  {verb:<7}  {times}{format}");
        }
    }
    text
}

fn format_json(format: &Format) -> Value {
    json!({
        "rate": format.sample_rate.get(),
        "channels": format.channels,
        "buffer": format.buffer_size.map_or(0, NonZeroU32::get),
        "sample_type": format.sample_type.name(),
    })
}

/// Is a device until a signal comes, or `--for` is over.
async fn serve(flags: ServeFlags, report: &Report) -> Result<(), Error> {
    if flags.announce.is_some_and(|millis| millis < 50) {
        return Err(Error::Usage("--announce: at least 50 ms expected".into()));
    }
    let mut signals = Signals::catch()?;
    let (format, settings) = device_settings(&flags, report, &mut signals).await?;
    let (listener, address) = bind(flags.bind, flags.port)
        .map_err(|error| failed!("cannot listen on {}:{}: {error}", flags.bind, flags.port))?;
    let listener = match flags.announce {
        None => listener,
        Some(_) => listener.with_broadcast(broadcast_addresses(flags.bind, CLIENT_PORT)?)?,
    };
    let session = ServerSettings {
        announce_interval: flags.announce.map(Duration::from_millis),
        ..ServerSettings::DEFAULT
    };
    screen::open(report, &format!("syfala: a device at {address}"));
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let listening = Arc::new(move |event| {
        let _ = sender.send(event);
    });
    report.live();
    let serve = Serve::OnLink(flags.bind);
    let device = SoftDevice::start(listener, settings, session, serve, HubSettings::DEFAULT, listening)?;
    report.event(
        "ready",
        json!({ "address": address.to_string() }),
        &format!("device at {address}: {format}"),
    );
    let end = flags.length.map(|length| Instant::now() + length);
    loop {
        tokio::select! {
            Some(event) = events.recv() => report_event(event, report),
            () = signals.recv() => break,
            () = until(end) => break,
        }
    }
    signals.end();
    let mut drained = core::pin::pin!(device.drain(Duration::from_secs(2)));
    tokio::select! {
        _ = &mut drained => {}
        () = signals.recv() => {
            // What is not written by now is lost.
            device.abort_recording();
            drained.await;
        }
    }
    report_summary(&device.figures(), report);
    device.problem().map_or(Ok(()), |problem| Err(failed!("{problem}")))
}

/// What the flags say of the device. Bad files are reported here, before it is there.
async fn device_settings(
    flags: &ServeFlags,
    report: &Report,
    signals: &mut Signals,
) -> Result<(Format, DeviceSettings), Error> {
    if flags.inputs.max(flags.outputs) > MAX_STREAMS || flags.inputs + flags.outputs == 0 {
        return Err(Error::Usage("1 to 64 --inputs and --outputs expected".into()));
    }
    let format = format(flags.rate, flags.channels, flags.buffer, flags.sample_type);
    let format = format.ok_or_else(|| Error::Usage("--rate and --channels above 0 expected".into()))?;
    if flags.record.is_some() && flags.outputs == 0 {
        return Err(Error::Usage("--record: a device without outputs is sent nothing".into()));
    }
    let (play, echo, record, reports) =
        (flags.play.clone(), flags.echo, flags.record.clone(), report.clone());
    let open = move || {
        let sound = match (&play, echo) {
            (Some(path), _) => repeated(path, &mut |remark| {
                let fields = json!({ "file": path, "remark": remark });
                reports.event("file", fields, &format!("{}: {remark}", path.display()));
            })?,
            (None, true) => Sound::Echo,
            (None, false) => Sound::Mix,
        };
        if let Some(path) = &record {
            check_writable(path)?;
        }
        Ok(sound)
    };
    let sound = signals.interrupt_blocking("opening sound files", open).await?;
    let settings = DeviceSettings {
        inputs: vec![format; flags.inputs],
        outputs: vec![format; flags.outputs],
        sound,
        latency: Duration::from_millis(flags.latency),
        ppm: flags.ppm,
        follow: flags.follow,
        record: flags.record.clone(),
        record_as: flags.record_as.fixed(),
        trace: false,
    };
    Ok((format, settings))
}

fn report_event(event: DeviceEvent, report: &Report) {
    match event {
        DeviceEvent::Connected(client, from) => {
            let from = from.map_or_else(|| "?".into(), |from| from.to_string());
            let fields = json!({ "client": client.to_string(), "from": from });
            report.event("connected", fields, &format!("client {client} connected from {from}"));
        }
        DeviceEvent::Started(client) => {
            let fields = json!({ "client": client.to_string() });
            report.event("started", fields, &format!("audio to and from client {client}"));
        }
        DeviceEvent::Stopped(client) => {
            let fields = json!({ "client": client.to_string() });
            report.event("stopped", fields, &format!("no more audio to and from client {client}"));
        }
        DeviceEvent::Gone(client, cause) => {
            let fields = json!({ "client": client.to_string(), "cause": cause.to_string() });
            report.event("gone", fields, &format!("client {client} is gone: {cause}"));
        }
        DeviceEvent::Clock(client, state, drift) => {
            let fields = json!({
                "client": client.to_string(), "followed": state == FollowState::WithinRange,
                "ppm": drift.map(|drift| drift.ppm),
                "ppm_uncertainty": drift.map(|drift| drift.uncertainty),
            });
            let drift = drift.map_or_else(|| "unknown".into(), |drift| drift.to_string());
            let text = match state {
                FollowState::WithinRange => "it is followed again",
                FollowState::TooFast => "too fast to be followed: now and then audio is left out",
                FollowState::TooSlow => "too slow to be followed: now and then audio is waited for",
            };
            report.event("clock", fields, &format!("client {client}'s clock is {drift} off ours: {text}"));
        }
        _ => {}
    }
}

fn report_summary(figures: &DeviceFigures, report: &Report) {
    let fields = json!({
        "underruns": figures.underruns, "passed_over": figures.passed_over, "silence": figures.silence,
        "jumped": figures.jumped, "resynchronised": figures.resynchronised, "unsent": figures.unsent,
    });
    let mut text = format!(
        "{} frames had not come in time, {} were passed over, {} bytes were lost",
        figures.underruns,
        figures.passed_over,
        figures.silence + figures.jumped
    );
    if figures.resynchronised > 0 {
        text += &format!("; resynchronised {} times", figures.resynchronised);
    }
    report.event("summary", fields, &text);
}
