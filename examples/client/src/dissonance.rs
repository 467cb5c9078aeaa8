//! `voxwire-client dissonance`: the flags, and what the actions do.

mod demo;
mod voice_client;
mod voices;

use crate::check::{Probe, Row};
use crate::device::DeviceFlags;
use crate::error::Error;
use crate::link::Link;
use crate::protocols::{Entry, entry};
use crate::report::{Report, listed, quoted};
use crate::screen;
use crate::signals::Signals;
use crate::sound::{Play, prepare, seconds};
use crate::talk::{SpeakerFlags, TalkFlags};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use core::net::SocketAddr;
use core::time::Duration;
use serde_json::json;
use std::path::PathBuf;
pub(crate) use voice_client::{Heard, Options, Summary, VoiceClient};
use voxwire_audio::VoiceSettings;
use voxwire_dissonance::{DEFAULT_PORT, DEFAULT_QUIC_PORT, MAX_TEXT};
use voxwire_transport::{DirectSettings, TcpUdpSettings};

pub(crate) const ENTRY: Entry = entry!("dissonance", "Voice chat for games: rooms and direct speech");

#[derive(Debug, Args)]
struct Flags {
    /// What to be known by [default: a random name].
    #[arg(long, global = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// What the server asks for before it lets any player in.
    #[arg(long, global = true, value_name = "TEXT")]
    token: Option<String>,
    /// Use TCP for voice, too.
    #[arg(long, global = true)]
    no_udp: bool,
    /// Go by QUIC, which encrypts everything; needs --tls-ca.
    #[arg(long, global = true, conflicts_with_all = ["no_udp", "no_fallback"])]
    quic: bool,
    /// Speak directly to those who want that, too; shows them our address, and us theirs.
    #[arg(long, global = true, conflicts_with_all = ["quic", "no_udp"])]
    p2p: bool,
    /// Speak directly to the player at this address who has the same --p2p-key; can be given several times.
    #[arg(long, global = true, value_name = "ADDR:PORT", requires = "p2p_key")]
    p2p_address: Vec<SocketAddr>,
    /// The UDP port at which others reach us directly [default: any].
    #[arg(long, global = true, value_name = "N", default_value_t = 0, hide_default_value = true)]
    p2p_port: u16,
    /// What those show each other who know each other's addresses; at most 16 bytes.
    #[arg(long, global = true, value_name = "TEXT", value_parser = path_key, conflicts_with_all = ["quic", "no_udp"])]
    p2p_key: Option<[u8; 16]>,
    /// Where UDP is blocked, lose the voice rather than send it by TCP.
    #[arg(long, global = true)]
    no_fallback: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Listen to rooms and speak to them, until the file is played, the time is over, or a signal comes.
    Join(Box<JoinFlags>),
    /// Print who is there and who listens to what.
    Rooms,
}

#[derive(Debug, Args)]
struct JoinFlags {
    /// The rooms to listen to.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    rooms: Vec<String>,
    /// Speak to this player instead of the rooms; can be given several times.
    #[arg(long, value_name = "PLAYER", value_parser = NonEmptyStringValueParser::new())]
    to: Vec<String>,
    /// Send a text to those who are spoken to; at most 998 bytes.
    #[arg(long, value_name = "TEXT", value_parser = text)]
    text: Option<String>,
    /// Play a WAV, FLAC or Ogg file, `-` for one from standard input, or `tone[:HZ]`.
    #[arg(long, value_name = "FILE")]
    play: Option<Play>,
    /// Record what is heard to a WAV file.
    #[arg(long, value_name = "FILE.wav")]
    record: Option<PathBuf>,
    #[command(flatten)]
    speakers: SpeakerFlags,
    #[command(flatten)]
    devices: DeviceFlags,
    #[command(flatten)]
    talk: TalkFlags,
    /// Leave after so many seconds in the session, even while --wait waits for a listener.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    length: Option<Duration>,
    /// Give up if no player has listened to --play or --text after so many seconds, or when --for is over.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    wait: Duration,
    /// Milliseconds in one packet: 10, 20, 40 or 60.
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = frame)]
    frame: u64,
    /// Bits per second.
    #[arg(long, value_name = "BITS", default_value_t = 32_000)]
    bitrate: u32,
    /// The loss to prepare for, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    expected_loss: u8,
    /// Multiply what is said by this.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    gain: f64,
}

fn frame(text: &str) -> Result<u64, String> {
    let frame = text.parse().ok().filter(|frame| [10, 20, 40, 60].contains(frame));
    frame.ok_or_else(|| "10, 20, 40 or 60 expected".into())
}

/// F-65: what fits into a packet, in the words of the flag.
fn text(text: &str) -> Result<String, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("{} bytes, of which a packet carries {MAX_TEXT}", text.len()));
    }
    Ok(text.into())
}

fn path_key(text: &str) -> Result<[u8; 16], String> {
    let mut key = [0; 16];
    let Some(start) = key.get_mut(..text.len()).filter(|_| text.len() >= 4) else {
        return Err("4 to 16 bytes expected".into());
    };
    start.copy_from_slice(text.as_bytes());
    Ok(key)
}

/// Does what the command line says.
async fn run(link: Link, flags: Flags, report: &Report) -> Result<(), Error> {
    let tcp_udp = TcpUdpSettings {
        token: flags.token.unwrap_or_default().into_bytes(),
        udp: !flags.no_udp,
        fallback: !flags.no_fallback,
        direct: DirectSettings {
            announce: flags.p2p,
            port: flags.p2p_port,
            key: flags.p2p_key,
            addresses: flags.p2p_address,
        },
    };
    if flags.p2p || tcp_udp.direct.key.is_some() {
        link.allow_clear("direct voice goes in the clear")?;
    }
    // Who asks for TLS may think that it covers the voice.
    let voice_in_clear = link.trust.is_some() && tcp_udp.udp && !flags.quic && !link.encrypted_only;
    let name = flags.name.unwrap_or_else(|| format!("guest-{:08x}", fastrand::u32(..)));
    let options = Options { tcp_udp, quic: flags.quic, ..Options::listener(name) };
    match flags.action {
        Action::Join(flags) => {
            let mut signals = Signals::catch()?;
            let options = join_options(*flags, options, report, &mut signals).await?;
            let places = if options.to.is_empty() { options.rooms.join(", ") } else { options.to.join(", ") };
            screen::open(report, &format!("dissonance: {} in {places}", options.name));
            let player = VoiceClient::connect(&link, options, report.clone(), signals).await?;
            if voice_in_clear {
                report.warning(
                    "voice goes by UDP and is not encrypted, TLS covers the rest alone: --quic encrypts everything, \
                     --encrypted-only keeps voice on TLS",
                );
            }
            player.run().await?;
            Ok(())
        }
        Action::Rooms => list_rooms(&link, options, report).await,
    }
}

/// Looks at a server's ports, and joins no session.
async fn check(probe: &Probe<'_>) -> Vec<Row> {
    let (rows, quic) =
        tokio::join!(probe.tcp_udp(ENTRY.name, DEFAULT_PORT), probe.quic(ENTRY.name, DEFAULT_QUIC_PORT));
    rows.into_iter().chain(quic).collect()
}

/// Bad files are reported here, before any player is disturbed.
async fn join_options(
    flags: JoinFlags,
    options: Options,
    report: &Report,
    signals: &mut Signals,
) -> Result<Options, Error> {
    let JoinFlags { rooms, to, text, play, record, speakers, devices, length, gain, .. } = flags;
    if rooms.is_empty() && to.is_empty() {
        return Err(Error::Usage("name a room to join, or a player to speak to with --to".into()));
    }
    let devices = devices.choose(report);
    speakers.apply(report)?;
    flags.talk.apply(report, false)?;
    let source = prepare(play.as_ref(), record.as_deref(), &devices, report, signals).await?;
    Ok(Options {
        speak_to_rooms: if to.is_empty() { rooms.clone() } else { Vec::new() },
        rooms,
        to,
        text,
        source,
        record,
        record_each: speakers.record_each,
        loudspeaker: devices.output,
        length,
        wait: flags.wait,
        voice: VoiceSettings {
            frame: Duration::from_millis(flags.frame),
            bitrate: flags.bitrate,
            expected_loss: flags.expected_loss,
            ..VoiceSettings::DEFAULT
        },
        gain,
        ..options
    })
}

/// Prints who is there, and who listens to what.
async fn list_rooms(link: &Link, options: Options, report: &Report) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let mut observer = VoiceClient::connect(link, options, Report::silent(), signals.clone()).await?;
    signals.interrupt("reading who is there", observer.settle()).await?;
    for (name, codec) in observer.players() {
        let text = format!("player {}, {codec}", quoted(&name));
        report.event("player", json!({ "name": name, "codec": codec }), &text);
    }
    for (room, players) in observer.rooms() {
        let listeners: Vec<String> = players.iter().map(|name| listed(name)).collect();
        let text = format!("room {}: {}", quoted(&room), listeners.join(", "));
        report.event("room", json!({ "room": room, "players": players }), &text);
    }
    observer.close().await;
    Ok(())
}
