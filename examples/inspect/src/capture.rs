//! `capture`: the conversations in a file of pcap or pcapng.

mod file;
pub(crate) mod flows;
pub(crate) mod fragments;
pub(crate) mod link;
pub(crate) mod report;
mod stream;
mod voice;

use crate::protocol::Entry;
use crate::{Error, PROTOCOLS};
pub(crate) use file::FileError;
use file::Frame;
use flows::{Analyzer, Sink, Wanted};
use fragments::Fragments;
use link::NotPacket;
use report::Printer;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The flags of `capture`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A file of pcap or pcapng, as `tcpdump -w`, dumpcap and tshark write it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// Print JSON objects, one a line: messages, then flows, then a summary.
    #[arg(long)]
    json: bool,
    /// Print at most so many messages; 0 for the summary alone.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    messages: u64,
    /// Print messages of this flow alone, by its number in the summary.
    #[arg(long, value_name = "N")]
    flow: Option<usize>,
}

/// Which conversations are followed.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Follow this protocol alone. Without it the first bytes and the ports of a flow tell its protocol.
    #[arg(long, value_name = "P", value_parser = crate::entry_parser())]
    protocol: Option<&'static Entry>,
    /// The server's port, where it is not the protocol's default. It counts where bytes can be of several protocols.
    #[arg(long, value_name = "N", requires = "protocol")]
    port: Option<u16>,
    /// Follow at most so many flows; packets of others are counted.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_flows: usize,
}

impl Filter {
    pub(crate) fn wanted(&self) -> Result<Wanted, Error> {
        let is_wanted = |entry: &&Entry| self.protocol.is_none_or(|wanted| wanted.name == entry.name);
        let entries: Vec<_> =
            PROTOCOLS.iter().filter(is_wanted).filter(|entry| entry.follows.is_some()).collect();
        if entries.is_empty() {
            return Err(Error::Usage("nothing tells conversations of this protocol from others"));
        }
        Ok(Wanted { entries, port: self.port, max_flows: self.max_flows })
    }
}

/// What was in a file, beside flows.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) frames: u64,
    pub(crate) fragments: fragments::Figures,
    pub(crate) unknown_link: u64,
}

pub(crate) fn run(flags: &Flags) -> Result<(), Error> {
    let wanted = flags.filter.wanted()?;
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let (json, left, only) = (flags.json, flags.messages, flags.flow);
    let mut printer = Printer { out: &mut out, json, left, only, shown: 0 };
    let (analyzer, counted, read) = follow(&flags.file, wanted, &mut printer);
    let shown = printer.shown;
    report::summary(&mut out, flags.json, &analyzer, &counted, shown)?;
    out.flush()?;
    read
}

/// Follows the conversations in a file. What was found is returned, also where the file cannot be read to its end.
pub(crate) fn follow(
    path: &Path,
    wanted: Wanted,
    sink: &mut dyn Sink,
) -> (Analyzer, Summary, Result<(), Error>) {
    let mut reading = Reading::new(wanted);
    let read = file::read(path, |frame| reading.frame(&frame, sink));
    reading.finish(read, sink)
}

/// A file that is being read.
struct Reading {
    analyzer: Analyzer,
    counted: Summary,
    fragments: Fragments,
}

impl Reading {
    fn new(wanted: Wanted) -> Self {
        let (counted, fragments) = Default::default();
        Self { analyzer: Analyzer::new(wanted), counted, fragments }
    }

    fn frame(&mut self, frame: &Frame<'_>, sink: &mut dyn Sink) -> std::io::Result<()> {
        self.counted.frames += 1;
        match link::packet(frame.link, frame.data) {
            Ok(packet) => return self.analyzer.packet(frame.time, frame.missing, &packet, sink),
            Err(NotPacket::Fragment(fragment)) => {
                let Some(payload) = self.fragments.add(frame.time, &fragment) else { return Ok(()) };
                if let Some(packet) = link::transport(&fragment.key, &payload) {
                    return self.analyzer.packet(frame.time, 0, &packet, sink);
                }
            }
            Err(NotPacket::Link) => self.counted.unknown_link += 1,
            Err(NotPacket::Other) => {}
        }
        Ok(())
    }

    fn finish(
        mut self,
        read: Result<(), FileError>,
        sink: &mut dyn Sink,
    ) -> (Analyzer, Summary, Result<(), Error>) {
        self.fragments.finish();
        self.counted.fragments = self.fragments.figures;
        let finished = self.analyzer.finish(sink);
        let result = read.map_err(Error::from).and_then(|()| Ok(finished?));
        (self.analyzer, self.counted, result)
    }
}

/// Reads a file out of memory, shows all of it, and checks what must hold of any.
pub(crate) fn check_bytes(bytes: &[u8]) {
    let entries = PROTOCOLS.iter().filter(|entry| entry.follows.is_some()).collect();
    let mut reading = Reading::new(Wanted { entries, port: None, max_flows: 64 });
    let mut printer = Printer { out: &mut std::io::sink(), json: true, left: u64::MAX, only: None, shown: 0 };
    let read = file::read_from(bytes, "input", |frame| {
        reading.frame(&frame, &mut printer)?;
        assert!(
            reading.fragments.held() <= fragments::MAX_HELD && reading.analyzer.held() <= flows::MAX_HELD
        );
        Ok(())
    });
    let (analyzer, counted, _) = reading.finish(read, &mut printer);
    assert!(analyzer.flows().len() <= 64);
    let fragments = counted.fragments;
    assert!(fragments.complete + fragments.incomplete <= fragments.fragments);
    assert!(analyzer.packets <= counted.frames - fragments.fragments + fragments.complete);
    let shown = printer.shown;
    for json in [true, false] {
        let mut out = Vec::new();
        report::summary(&mut out, json, &analyzer, &counted, shown).expect("memory takes all");
        assert!(!out.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'), "a terminal is steered");
    }
}
