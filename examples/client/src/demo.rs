//! `voxwire-client demo`: a real call over each protocol, and how it went.

pub(crate) mod proxy;

use crate::error::{Error, failed};
use crate::link::Link;
use crate::protocols::{Entry, PROTOCOLS};
use crate::report::Report;
use crate::signals::Signals;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use core::net::SocketAddr;
use core::time::Duration;
use proxy::{Impairment, LanesProxy};
use serde_json::json;
use std::path::{Path, PathBuf};
use voxwire_audio::{
    Clip, Comparison, SPEECH, SpeakerFigures, VoiceSettings, compare, draw_waveforms, read, through_codec,
};
use voxwire_server::{Config, Protocol, Running, Wanted};

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Only these protocols, separated by commas.
    #[arg(long, value_name = "P[,P..]", value_delimiter = ',', value_parser = Entry::parser())]
    only: Option<Vec<&'static Entry>>,
    /// Lose this part of what the network carries [default: 5 for dissonance]. Over TCP nothing is lost for good: it
    /// stalls, as a retransmission would. Opcode's calls go straight from one client to the other, past all this.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    loss: Option<f64>,
    /// Delay what the network carries by up to so much, at random.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter: u64,
    /// Where to leave the recordings and the pictures.
    #[arg(long, value_name = "DIR", default_value = "voxwire-demo")]
    out: PathBuf,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok().filter(|percent| (0.0..=90.0).contains(percent));
    percent.ok_or_else(|| "a percentage from 0 to 90 expected".into())
}

/// What is said, over which network.
#[derive(Debug)]
pub(crate) struct Conditions<'a> {
    pub(crate) speech: &'a Clip,
    /// In per cent; `None` for the protocol's own.
    loss: Option<f64>,
    jitter: Duration,
    /// Where recordings and pictures are left.
    pub(crate) out: &'a Path,
    pub(crate) signals: &'a Signals,
}

impl<'a> Conditions<'a> {
    pub(crate) const fn new(
        speech: &'a Clip,
        loss: Option<f64>,
        jitter: Duration,
        out: &'a Path,
        signals: &'a Signals,
    ) -> Self {
        Self { speech, loss, jitter, out, signals }
    }

    /// What the network does, for a protocol that loses `usual` per cent by default.
    pub(crate) fn impairment(&self, usual: f64) -> Impairment {
        Impairment { loss: self.loss.unwrap_or(usual) / 100.0, jitter: self.jitter }
    }
}

/// How one protocol's call went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) protocol: &'static str,
    pub(crate) set_up: Duration,
    /// Packets.
    pub(crate) sent: u64,
    pub(crate) heard: u64,
    /// From one end to the other, of each packet.
    pub(crate) latencies: Vec<Duration>,
    /// Segments that came late over TCP; frames that were recovered from the next one over UDP.
    pub(crate) stalls: u64,
    /// How alike what was heard is to what was said.
    pub(crate) likeness: Result<Likeness, String>,
    /// Whether that is good enough.
    pub(crate) passed: bool,
}

/// How alike two things are.
#[derive(Debug)]
pub(crate) enum Likeness {
    Sound(Comparison),
    /// What came is what was sent, byte by byte.
    #[allow(dead_code, reason = "for protocols that carry no sound, of which none may be built in")]
    Bytes,
}

/// Ends at the first signal. Comparing blocks for seconds: the calls and all of that have a thread and a runtime of their own.
pub(crate) async fn run(flags: Flags, report: &Report) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let (report, heeded) = (report.clone(), signals.clone());
    let show = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(show(flags, &report, &heeded))
    };
    signals.interrupt_blocking("demonstrating", show).await
}

async fn show(flags: Flags, report: &Report, signals: &Signals) -> Result<(), Error> {
    std::fs::create_dir_all(&flags.out)
        .map_err(|error| failed!("cannot use {}: {error}", flags.out.display()))?;
    let speech = read(SPEECH).map_err(Error::Failed)?.clip;
    let jitter = Duration::from_millis(flags.jitter);
    let only = flags.only.unwrap_or_else(|| PROTOCOLS.iter().collect());
    let text =
        format!("playing {:.1} s of speech through servers on loopback, in real time", speech.seconds());
    report.event("demo", json!({ "loss_percent": flags.loss, "jitter_ms": flags.jitter }), &text);
    let conditions = Conditions::new(&speech, flags.loss, jitter, &flags.out, signals);
    let outcomes = calls(&only, &conditions, report).await?;
    let text = format!("{}\nrecordings and pictures are in {}", shown(&outcomes), flags.out.display());
    report.block("done", json!({ "out": flags.out }), &text);
    let failed: Vec<String> =
        outcomes.iter().filter(|outcome| !outcome.passed).map(Outcome::likeness).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed!("not heard as it was said: {}", failed.join("; "))) }
}

/// Makes the calls of these protocols, one after the other.
pub(crate) async fn calls(
    only: &[&'static Entry],
    conditions: &Conditions<'_>,
    report: &Report,
) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    for entry in only {
        report.event("demonstrating", json!({ "name": entry.name }), &format!("{} ..", entry.name));
        let calls = (entry.demo)(conditions).await?;
        for outcome in &calls {
            report.event("call", outcome.json(), "");
        }
        outcomes.extend(calls);
    }
    Ok(outcomes)
}

impl Outcome {
    fn json(&self) -> serde_json::Value {
        let comparison = match &self.likeness {
            Ok(Likeness::Sound(comparison)) => Some(comparison),
            _ => None,
        };
        let bytes = matches!(self.likeness, Ok(Likeness::Bytes));
        json!({
            "protocol": self.protocol,
            "set_up_ms": self.set_up.as_secs_f64() * 1e3,
            "sent": self.sent, "heard": self.heard, "lost": self.sent.saturating_sub(self.heard),
            "latency_ms": { "p50": self.latency(0.5), "p99": self.latency(0.99), "max": self.latency(1.0) },
            "stalls": self.stalls,
            "exact": bytes || comparison.is_some_and(|comparison| comparison.exact),
            "snr_db": comparison.map(|comparison| comparison.snr_db).filter(|snr| snr.is_finite()),
            "present": comparison.map(|comparison| comparison.present),
            "spectral_distance_db": comparison.map(|comparison| comparison.spectral_distance_db),
            "problem": self.likeness.as_ref().err(),
            "heard_as_said": self.passed,
        })
    }

    /// How alike what was heard is to what was said, in full.
    pub(crate) fn likeness(&self) -> String {
        let likeness = match &self.likeness {
            Ok(Likeness::Bytes) => "every byte equal".into(),
            Ok(Likeness::Sound(comparison)) if comparison.exact => "every sample equal".into(),
            Ok(Likeness::Sound(Comparison { snr_db, present, spectral_distance_db, .. })) => format!(
                "SNR {snr_db:.1} dB, {:.0} % present, spectra {spectral_distance_db:.1} dB apart",
                present * 100.0
            ),
            Err(problem) => problem.clone(),
        };
        format!("{}: {likeness}", self.protocol)
    }

    /// The same in one column of the table.
    fn verdict(&self) -> String {
        match &self.likeness {
            _ if !self.passed => "NOT HEARD".into(),
            Ok(Likeness::Sound(comparison)) if !comparison.exact => {
                format!("heard {:.0} %", comparison.present * 100.0)
            }
            _ => "heard all".into(),
        }
    }

    /// A quantile of the latencies, in milliseconds.
    fn latency(&self, quantile: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let at = (quantile * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// What the columns of the table say.
const LEGEND: &str = "late: TCP segments delayed by a loss, UDP frames recovered from the next packet;
p50/p99: how long packets took from one end to the other";

/// F-61: in 80 columns; `--json` has more figures.
pub(crate) fn shown(outcomes: &[Outcome]) -> String {
    let rows = outcomes.iter().map(|outcome| {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let lost = outcome.sent.saturating_sub(outcome.heard);
        vec![
            Cell::new(outcome.protocol),
            right(format!("{} ms", short(outcome.set_up.as_secs_f64() * 1e3))),
            right(format!("{lost}/{}", outcome.sent)),
            right(outcome.stalls.to_string()),
            right(format!("{}/{}", short(outcome.latency(0.5)), short(outcome.latency(0.99)))),
            Cell::new(outcome.verdict()),
        ]
    });
    format!("{}\n{LEGEND}", framed(&["", "set-up", "lost", "late", "p50/p99 ms", ""], rows))
}

/// A table as narrow as its cells.
pub(crate) fn framed(header: &[&str], rows: impl Iterator<Item = Vec<Cell>>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(header);
    table.add_rows(rows);
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((u16::from(index == 0), u16::from(index == last)));
    }
    table
}

/// Starts a server of one protocol, and says where it listens.
pub(crate) async fn serve(
    protocol: Protocol,
    change: impl FnOnce(&mut Config),
) -> Result<(Running, SocketAddr), Error> {
    let mut config = Config { only: vec![protocol], http: Wanted::No, ..Config::default() };
    config.use_free_ports();
    change(&mut config);
    let server = voxwire_server::start(config).await?;
    let first = server.listening().first().ok_or_else(|| failed!("the server does not listen"))?;
    let address = first.address;
    Ok((server, address))
}

/// Starts a server of one protocol over TCP and UDP, and says how it is reached over a network that is as bad.
pub(crate) async fn serve_by_proxy(
    protocol: Protocol,
    change: impl FnOnce(&mut Config),
    impairment: Impairment,
) -> Result<(Running, Link), Error> {
    let (server, address) = serve(protocol, change).await?;
    let proxy = LanesProxy::start(address, impairment).await?;
    Ok((server, Link::to(proxy.address)))
}

/// Milliseconds, in five columns.
fn short(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// Compares what was heard through Opus with what was said: as for noise, with the words themselves; as for what is present, with what
/// the codec alone makes of them, which at low bitrates is not what was said. Returns whether it is as good as it has to be, too.
///
/// Where nothing was lost, late, or played faster or slower, every frame is there, and no noise but the codec's. On a busy machine that
/// is not so: then 95 % of the frames that were sent are played or recovered, and what is heard is what was said, but for the places
/// where something was moved. With more than 5 % loss as many fewer are there.
pub(crate) fn judge_opus(
    said: &Clip,
    heard: &Clip,
    settings: VoiceSettings,
    loss: f64,
    figures: &SpeakerFigures,
) -> Result<(Comparison, bool), String> {
    let codec = through_codec(said, settings).map_err(|error| error.to_string())?;
    let compare = |one: &Clip, other: &Clip| compare(one, other).map_err(|error| error.to_string());
    let (to_codec, to_said) = (compare(&codec, heard)?, compare(said, heard)?);
    let SpeakerFigures { jitter, recovered, shortened, lengthened, .. } = *figures;
    let calm = shortened + lengthened + jitter.late + jitter.overflow + jitter.underruns + jitter.lost == 0;
    let passed = if calm {
        let alone = compare(said, &codec)?;
        to_codec.present >= 1.0 && to_said.snr_db >= alone.snr_db - 0.5
    } else {
        let sent = (jitter.received + jitter.lost).max(1) as f64;
        let left = jitter.stored.as_secs_f64() / settings.frame.as_secs_f64();
        let played = ((jitter.played + recovered) as f64 + left) / sent;
        let more = 2.0 * (loss - 0.05).max(0.0);
        played >= 0.95 - more && to_codec.present >= 0.8 - more
    };
    Ok((Comparison { present: to_codec.present, ..to_said }, passed))
}

/// Draws what was played and what was heard.
pub(crate) fn draw(
    out: &Path,
    call: &str,
    speaker: &str,
    listener: &str,
    played: &Clip,
    heard: &Clip,
) -> Result<(), Error> {
    let (above, below) = (format!("{call}: played by {speaker}"), format!("{call}: heard by {listener}"));
    let name: String = call.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let path = out.join(format!("{}.png", name.replace("--", "-")));
    Ok(draw_waveforms(&path, &[(&above, played), (&below, heard)])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-61
    #[test]
    fn f_61_the_table_has_80_columns_at_most() {
        let outcome = |likeness, passed| Outcome {
            protocol: "dissonance: alice to room Red",
            set_up: Duration::from_millis(12_345),
            sent: 9999,
            heard: 9000,
            latencies: vec![Duration::from_millis(12_345)],
            stalls: 1234,
            likeness,
            passed,
        };
        let (exact, snr_db, spectral_distance_db) = (false, 12.3, 4.5);
        let comparison =
            Comparison { offset: 0, exact, snr_db, present: 1.0, spectral_distance_db, missing: 0 };
        let outcomes = [
            outcome(Ok(Likeness::Bytes), true),
            outcome(Ok(Likeness::Sound(comparison)), true),
            outcome(Err("no recording was made, which is a long story ".repeat(9)), false),
        ];
        let text = shown(&outcomes);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        // Each word of the header that needs it is explained.
        assert!(["late", "p50/p99"].iter().all(|word| text.matches(word).count() == 2), "{text}");
        for verdict in ["heard all", "heard 100 %", "NOT HEARD"] {
            assert!(text.contains(verdict), "{text}");
        }
    }
}
