//! `capture`: the conversations in a file of pcap or pcapng.

mod file;
pub(crate) mod flows;
pub(crate) mod link;
pub(crate) mod report;
mod stream;
mod voice;

use crate::protocol::Entry;
use crate::{Error, PROTOCOLS};
pub(crate) use file::FileError;
use flows::{Analyzer, Sink, Wanted};
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
    pub(crate) fragments: u64,
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
    let mut analyzer = Analyzer::new(wanted);
    let mut counted = Summary::default();
    let read = file::read(path, |frame| {
        counted.frames += 1;
        match link::packet(frame.link, frame.data) {
            Ok(packet) => return analyzer.packet(frame.time, frame.missing, &packet, sink),
            Err(NotPacket::Fragment) => counted.fragments += 1,
            Err(NotPacket::Link) => counted.unknown_link += 1,
            Err(NotPacket::Other) => {}
        }
        Ok(())
    });
    let finished = analyzer.finish(sink);
    let result = read.map_err(Error::from).and_then(|()| Ok(finished?));
    (analyzer, counted, result)
}
