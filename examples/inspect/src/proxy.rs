//! `proxy`: stands between clients and a server, and shows, records and impairs what they say.

mod impair;
mod record;
mod relay;

use crate::capture::Filter;
use crate::capture::flows::{Analyzer, Wanted};
use crate::capture::report::{self, Printer};
use crate::capture::{Summary, link};
use crate::{Error, say};
use impair::{Impairment, Random};
use pcap_parser::Linktype;
use record::{Carrier, Recorder};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// The flags of `proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where clients connect, as ADDRESS:PORT; port 0 is any free one.
    #[arg(value_name = "LISTEN")]
    listen: SocketAddr,
    /// The server, as ADDRESS:PORT.
    #[arg(value_name = "TARGET")]
    target: SocketAddr,
    #[command(flatten)]
    filter: Filter,
    /// Write what is forwarded to this file, as pcapng; at most 1 GiB.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    impairment: Impairment,
    /// Print JSON objects, one a line: messages, then flows, then a summary.
    #[arg(long)]
    json: bool,
    /// Print at most so many messages; all are counted and recorded.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
}

/// All that the relays share, on one thread.
struct Shared {
    target: SocketAddr,
    /// The target's, by UDP: what its hello says, if there is one.
    udp_port: Cell<u16>,
    impairment: Impairment,
    random: RefCell<Random>,
    watch: RefCell<Watch>,
}

/// Looks at what is forwarded.
struct Watch {
    analyzer: Analyzer,
    json: bool,
    left: u64,
    shown: u64,
    recorder: Option<Recorder>,
    counted: Summary,
    /// Why the program ends, if not for a signal.
    failure: Option<std::io::Error>,
    figures: Figures,
}

/// What the proxy itself did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    /// Datagrams that were dropped on purpose, and segments that were held up as if they had been lost.
    pub(crate) lost: u64,
    pub(crate) stalled: u64,
    /// Connections, clients and datagrams beyond the limits.
    pub(crate) refused: u64,
}

impl Watch {
    /// Shows `left` messages of what is wanted.
    fn new(wanted: Wanted, json: bool, left: u64, recorder: Option<Recorder>) -> Self {
        Self {
            analyzer: Analyzer::new(wanted),
            json,
            left,
            shown: 0,
            recorder,
            counted: Summary::default(),
            failure: None,
            figures: Figures::default(),
        }
    }

    /// Something goes to its receiver now.
    fn forwarded(&mut self, carrier: &mut Carrier, from_client: bool, data: &[u8]) {
        self.opened(&carrier.packet(from_client, data));
    }

    /// A packet that carries no bytes of anybody, or the one that does.
    fn opened(&mut self, packet: &[u8]) {
        // A recording has the time of day.
        #[expect(clippy::disallowed_methods, reason = "the program's own clock")]
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        if let Err(error) = self.packet(time, packet) {
            self.failure.get_or_insert(error);
        }
    }

    fn packet(&mut self, time: i64, packet: &[u8]) -> std::io::Result<()> {
        self.counted.frames += 1;
        if let Some(recorder) = &mut self.recorder {
            recorder.write(time, packet)?;
        }
        let Ok(packet) = link::packet(Linktype::RAW, packet) else { return Ok(()) };
        let mut out = std::io::stdout().lock();
        let (json, left, only) = (self.json, self.left, None);
        let mut printer = Printer { out: &mut out, json, left, only, shown: 0 };
        let result = self.analyzer.packet(time, 0, &packet, &mut printer);
        (self.left, self.shown) = (printer.left, self.shown + printer.shown);
        result
    }

    fn finish(mut self) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        let (json, left, only) = (self.json, self.left, None);
        let mut printer = Printer { out: &mut out, json, left, only, shown: self.shown };
        self.analyzer.finish(&mut printer)?;
        let shown = printer.shown;
        report::summary(&mut out, json, &self.analyzer, &self.counted, shown)?;
        report::proxied(&mut out, json, &self.figures)?;
        if let Some(recorder) = self.recorder {
            recorder.finish()?;
        }
        self.failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

pub(crate) fn run(flags: Flags) -> Result<(), Error> {
    let wanted = flags.filter.wanted()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(flags, wanted))
}

/// Until a signal comes.
async fn serve(flags: Flags, wanted: Wanted) -> Result<(), Error> {
    let Flags { listen, target, record, impairment, json, messages, .. } = flags;
    let uses = |of: fn(&crate::follow::Follows) -> Option<u16>| {
        wanted.entries.iter().filter_map(|entry| entry.follows).any(|follows| of(follows).is_some())
    };
    let (uses_tcp, uses_udp) = (uses(|follows| follows.tcp_port), uses(|follows| follows.udp_port));
    let about = |error: std::io::Error| {
        Error::Malformed(format!("cannot listen on {listen}: {error}; another LISTEN may be free"))
    };
    let tcp = if uses_tcp { Some(TcpListener::bind(listen).await.map_err(about)?) } else { None };
    let bound = tcp.as_ref().map_or(Ok(listen), TcpListener::local_addr)?;
    let udp = if uses_udp { Some(UdpSocket::bind(bound).await.map_err(about)?) } else { None };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let recorder = record.as_deref().map(Recorder::create).transpose()?;
    let watch = Watch::new(wanted, json, messages, recorder);
    let random = RefCell::new(impairment.random());
    let shared = Rc::new(Shared {
        target,
        udp_port: Cell::new(target.port()),
        impairment,
        random,
        watch: RefCell::new(watch),
    });
    let udp_port = udp.as_ref().and_then(|udp| udp.local_addr().ok()).map(|bound| bound.port());
    if let Some(tcp) = tcp {
        announce(json, "tcp", tcp.local_addr()?, target)?;
        tokio::task::spawn_local(relay::tcp(shared.clone(), tcp, udp_port));
    }
    if let Some(udp) = udp {
        announce(json, "udp", udp.local_addr()?, target)?;
        tokio::task::spawn_local(relay::udp(shared.clone(), udp));
    }
    let failed = async {
        while shared.watch.borrow().failure.is_none() {
            tokio::time::sleep(core::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = failed => {}
    }
    // The relays end with the thread; what they share is looked at once more.
    let nothing = Wanted { entries: Vec::new(), port: None, max_flows: 0 };
    shared.watch.replace(Watch::new(nothing, json, 0, None)).finish()
}

fn announce(json: bool, way: &str, address: SocketAddr, target: SocketAddr) -> Result<(), Error> {
    let object =
        serde_json::json!({ "listening": way, "address": address.to_string(), "target": target.to_string() });
    say(&if json { object.to_string() } else { format!("listening {way} {address}, for {target}") })
}
