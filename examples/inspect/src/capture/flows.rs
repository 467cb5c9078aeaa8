//! Packets to flows, flows to messages. Everything that is kept is bounded.

use super::link::Packet;
use super::stream::Reassembly;
use super::voice::Figures;
use crate::follow::{Follow, Names, Note, Opening, Sender};
use crate::protocol::{Entry, Problem, Side, Stop};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// The largest message that is put together, in bytes: a voice message of msgpack has up to 16 MiB.
const MAX_MESSAGE: usize = (16 << 20) + (64 << 10);

/// Bytes of incomplete messages and of segments that wait, in all flows.
pub(crate) const MAX_HELD: usize = 256 << 20;

/// What is kept of a flow until its protocol is recognised: bytes of a side, and pieces or datagrams.
const MAX_UNKNOWN: usize = 64 << 10;
const MAX_PIECES: usize = 64;
const MAX_KEPT: usize = 32;

/// How many speakers are told apart in a flow.
const MAX_SPEAKERS: usize = 4096;

/// What is done with messages.
pub(crate) trait Sink {
    fn message(&mut self, message: &Seen<'_>) -> std::io::Result<()>;
}

/// A message in a flow.
pub(crate) struct Seen<'a> {
    /// In nanoseconds since 1970.
    pub(crate) time: i64,
    /// When the first packet of the capture came.
    pub(crate) start: i64,
    /// Counted from 1.
    pub(crate) flow: usize,
    pub(crate) entry: &'static Entry,
    pub(crate) from: Side,
    pub(crate) bytes: &'a [u8],
    pub(crate) note: Result<Note, &'a Problem>,
    pub(crate) follow: &'a dyn Follow,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) entries: Vec<&'static Entry>,
    /// The port of the one protocol.
    pub(crate) port: Option<u16>,
    pub(crate) max_flows: usize,
}

/// Follows all flows of a capture.
pub(crate) struct Analyzer {
    wanted: Wanted,
    flows: Vec<Flow>,
    table: HashMap<Key, usize>,
    /// The flow of the packet before.
    last: Option<(Key, usize)>,
    names: Names,
    held: usize,
    /// When the first packet came.
    start: Option<i64>,
    /// Packets, and those in flows beyond the limit.
    pub(crate) packets: u64,
    pub(crate) ignored: u64,
}

/// Both ends, the smaller first; whether it is TCP.
type Key = (SocketAddr, SocketAddr, bool);

/// All packets between two ends.
pub(crate) struct Flow {
    pub(crate) is_tcp: bool,
    /// The one that has sent first, and the other.
    ends: [SocketAddr; 2],
    /// Which of them is the client, once that is known.
    client: Option<usize>,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    streams: [Stream; 2],
    state: State,
}

/// One direction of TCP.
#[derive(Default)]
struct Stream {
    reassembly: Reassembly,
    unread: Vec<u8>,
    /// Where messages begin is not known.
    is_lost: bool,
    /// Bytes of no message.
    skipped: u64,
}

enum State {
    Unknown {
        kept: Vec<(i64, usize, Vec<u8>)>,
        pieces: usize,
    },
    Known(Box<Known>),
    /// Why.
    Other(&'static str),
}

/// A flow whose protocol is known.
pub(crate) struct Known {
    pub(crate) entry: &'static Entry,
    pub(crate) follow: Box<dyn Follow>,
    /// Of client and server: message, number, bytes.
    pub(crate) counts: [Vec<(&'static str, u64, u64)>; 2],
    voices: BTreeMap<(usize, u64), Figures>,
    pub(crate) malformed: u64,
    /// The first.
    pub(crate) problem: Option<String>,
}

impl Analyzer {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            flows: Vec::new(),
            table: HashMap::new(),
            last: None,
            names: Names::default(),
            held: 0,
            start: None,
            packets: 0,
            ignored: 0,
        }
    }

    pub(crate) fn flows(&self) -> &[Flow] {
        &self.flows
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// Bytes that wait in all flows.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// `missing`: bytes at the end of the packet that were not captured.
    pub(crate) fn packet(
        &mut self,
        time: i64,
        missing: usize,
        packet: &Packet<'_>,
        sink: &mut dyn Sink,
    ) -> std::io::Result<()> {
        self.packets += 1;
        let start = *self.start.get_or_insert(time);
        let Some(index) = self.index(time, packet) else {
            self.ignored += 1;
            return Ok(());
        };
        let flow = &mut self.flows[index];
        (flow.first, flow.last) = (flow.first.min(time), flow.last.max(time));
        flow.packets += 1;
        flow.bytes += packet.payload.len() as u64;
        let sender = usize::from(packet.source != flow.ends[0]);
        let mut context =
            Context { time, start, number: index + 1, wanted: &self.wanted, names: &mut self.names, sink };
        if packet.tcp.is_none() && missing > 0 {
            flow.streams[sender].skipped += packet.payload.len() as u64;
            return Ok(());
        }
        let before = flow.held();
        match packet.tcp {
            None => flow.datagram(&mut context, sender, packet.payload)?,
            Some(_) => flow.segment(&mut context, sender, packet, missing)?,
        }
        if self.held + flow.held() > MAX_HELD + before {
            flow.forget();
        }
        self.held = (self.held + flow.held()).saturating_sub(before);
        Ok(())
    }

    /// The end of the capture: what has waited will not be completed.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) -> std::io::Result<()> {
        for (index, flow) in self.flows.iter_mut().enumerate() {
            let (time, wanted, names) = (flow.last, &self.wanted, &mut self.names);
            let start = self.start.unwrap_or(time);
            flow.finish(&mut Context { time, start, number: index + 1, wanted, names, sink: &mut *sink })?;
        }
        self.held = 0;
        Ok(())
    }

    fn index(&mut self, time: i64, packet: &Packet<'_>) -> Option<usize> {
        let (a, b) = (packet.source, packet.target);
        let key = (a.min(b), a.max(b), packet.tcp.is_some());
        let opens = packet.tcp.filter(|tcp| tcp.is_syn && tcp.acknowledged.is_none());
        let known = match self.last {
            Some((last, index)) if last == key => Some(index),
            _ => self.table.get(&key).copied(),
        };
        if let Some(index) = known {
            // The same ports again are another connection.
            let flow = &self.flows[index];
            let sender = usize::from(a != flow.ends[0]);
            let first = flow.streams[sender].reassembly.first;
            if opens.is_none_or(|tcp| first.is_none_or(|first| first == tcp.sequence)) {
                self.last = Some((key, index));
                return Some(index);
            }
        }
        if self.flows.len() == self.wanted.max_flows {
            return None;
        }
        let index = self.flows.len();
        self.flows.push(Flow {
            is_tcp: key.2,
            ends: [a, b],
            client: None,
            first: time,
            last: time,
            packets: 0,
            bytes: 0,
            streams: Default::default(),
            state: State::Unknown { kept: Vec::new(), pieces: 0 },
        });
        self.table.insert(key, index);
        self.last = Some((key, index));
        Some(index)
    }
}

/// What the handling of a packet needs beside its flow.
struct Context<'a> {
    time: i64,
    start: i64,
    number: usize,
    wanted: &'a Wanted,
    names: &'a mut Names,
    sink: &'a mut dyn Sink,
}

impl Context<'_> {
    /// The protocol of which these bytes are, and who sends such.
    fn recognise(&self, opening: &Opening<'_>, ports: [u16; 2]) -> Option<(&'static Entry, Sender)> {
        let found = self.wanted.entries.iter().filter_map(|entry| {
            let sender = (entry.follows?.recognise)(opening)?;
            Some((*entry, sender))
        });
        // That of the port, if it is among them.
        let mut first = None;
        for (entry, sender) in found {
            if self.server_end(entry, opening.is_tcp, ports).is_some() {
                return Some((entry, sender));
            }
            first = first.or(Some((entry, sender)));
        }
        first
    }

    /// One protocol is asked for: no other can be meant.
    const fn is_sure(&self) -> bool {
        self.wanted.entries.len() == 1
    }

    /// Which of the two ports is a server's.
    fn server_end(&self, entry: &Entry, is_tcp: bool, ports: [u16; 2]) -> Option<usize> {
        let follows = entry.follows?;
        let default = if is_tcp { follows.tcp_port } else { follows.udp_port };
        ports.iter().position(|port| Some(*port) == self.wanted.port.or(default))
    }
}

impl Flow {
    /// Client and server, as far as they can be told.
    pub(crate) fn ends(&self) -> [SocketAddr; 2] {
        if self.client == Some(1) { [self.ends[1], self.ends[0]] } else { self.ends }
    }

    /// What is known of it, or why nothing is.
    pub(crate) const fn known(&self) -> Result<&Known, &'static str> {
        match &self.state {
            State::Known(known) => Ok(known),
            State::Other(why) => Err(why),
            State::Unknown { .. } => Err("not recognised"),
        }
    }

    /// What went wrong in the stream of client and server, and the bytes of no message.
    pub(crate) fn trouble(&self, side: Side) -> (super::stream::Figures, u64) {
        let stream = &self.streams[self.end(side)];
        (stream.reassembly.figures, stream.skipped)
    }

    const fn side(&self, end: usize) -> Side {
        match self.client {
            Some(1) if end == 0 => Side::Server,
            Some(1) => Side::Client,
            _ if end == 0 => Side::Client,
            _ => Side::Server,
        }
    }

    fn end(&self, side: Side) -> usize {
        usize::from(self.side(0) != side)
    }

    const fn ports(&self) -> [u16; 2] {
        [self.ends[0].port(), self.ends[1].port()]
    }

    fn held(&self) -> usize {
        let streams =
            self.streams.iter().map(|stream| stream.unread.len() + stream.reassembly.waiting_bytes());
        let kept = match &self.state {
            State::Unknown { kept, .. } => kept.iter().map(|(.., data)| data.len()).sum(),
            _ => 0,
        };
        streams.sum::<usize>() + kept
    }

    /// Gives up what is held, where there is too much of it.
    fn forget(&mut self) {
        if let State::Unknown { kept, .. } = &mut self.state {
            *kept = Vec::new();
        }
        for stream in &mut self.streams {
            stream.lose();
            while stream.reassembly.skip() {
                while let Some(data) = stream.reassembly.next_waiting() {
                    stream.skipped += data.len() as u64;
                }
            }
        }
    }

    fn become_known(&mut self, context: &Context<'_>, entry: &'static Entry, sender: Sender, end: usize) {
        let Some(follows) = entry.follows else { return };
        let by_bytes = match sender {
            Sender::Client => Some(end),
            Sender::Server => Some(1 - end),
            Sender::Either => None,
        };
        let by_port = || context.server_end(entry, self.is_tcp, self.ports()).map(|server| 1 - server);
        self.client = self.client.or(by_bytes).or_else(by_port).or(Some(0));
        let mut follow = (follows.start)();
        if !self.is_tcp {
            follow.datagrams();
        }
        let known = Known {
            entry,
            follow,
            counts: [Vec::new(), Vec::new()],
            voices: BTreeMap::new(),
            malformed: 0,
            problem: None,
        };
        self.state = State::Known(Box::new(known));
    }

    fn datagram(&mut self, context: &mut Context<'_>, end: usize, data: &[u8]) -> std::io::Result<()> {
        let side = self.side(end);
        let kept = match &mut self.state {
            State::Known(known) => {
                let size = known.follow.datagram_size(data).max(1);
                // One without bytes is a datagram, too.
                let mut all = data.chunks(size).chain(data.is_empty().then_some(data));
                return all.try_for_each(|datagram| known.message(context, side, datagram));
            }
            State::Other(_) => return Ok(()),
            State::Unknown { kept, .. } => kept,
        };
        kept.push((context.time, end, data.into()));
        let bytes: usize = kept.iter().map(|(.., data)| data.len()).sum();
        let is_full = kept.len() >= MAX_KEPT || bytes > MAX_UNKNOWN;
        let opening = Opening { is_tcp: false, bytes: data, is_last: context.is_sure() };
        match context.recognise(&opening, self.ports()) {
            Some((entry, sender)) => self.replay(context, entry, sender, end),
            None if is_full => self.give_up(context),
            None => Ok(()),
        }
    }

    /// Handles the datagrams that came before the protocol was known.
    fn replay(
        &mut self,
        context: &mut Context<'_>,
        entry: &'static Entry,
        sender: Sender,
        end: usize,
    ) -> std::io::Result<()> {
        let kept = match &mut self.state {
            State::Unknown { kept, .. } => core::mem::take(kept),
            _ => Vec::new(),
        };
        self.become_known(context, entry, sender, end);
        let now = context.time;
        for (time, end, data) in kept {
            context.time = time;
            self.datagram(context, end, &data)?;
        }
        context.time = now;
        Ok(())
    }

    /// No bytes so far tell the protocol. What several begin with has to do, or the port.
    fn give_up(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        let ports = self.ports();
        let last = |bytes| context.recognise(&Opening { is_tcp: self.is_tcp, bytes, is_last: true }, ports);
        let found = match &self.state {
            State::Unknown { kept, .. } if !self.is_tcp => {
                kept.iter().find_map(|(_, end, data)| Some((last(data)?, *end)))
            }
            _ => (0..2).find_map(|end| Some((last(&self.streams[end].unread)?, end))),
        };
        if let Some(((entry, sender), end)) = found {
            return if self.is_tcp {
                self.recognised(context, entry, sender, end)
            } else {
                self.replay(context, entry, sender, end)
            };
        }
        let by_port = |entry: &&&'static Entry| context.server_end(entry, self.is_tcp, ports).is_some();
        let entry = context.wanted.entries.iter().find(by_port).filter(|_| !self.is_tcp);
        if let Some(entry) = entry {
            return self.replay(context, entry, Sender::Either, 0);
        }
        // The first datagram of a connection fills a packet.
        let is_quic = |first: &[u8]| first.len() >= 1200 && first[0] & 0xc0 == 0xc0;
        let why = match &self.state {
            State::Unknown { kept, .. } if kept.iter().any(|(.., data)| is_quic(data)) => "QUIC: encrypted",
            _ => "not recognised",
        };
        self.state = State::Other(why);
        for stream in &mut self.streams {
            stream.unread = Vec::new();
        }
        Ok(())
    }

    fn segment(
        &mut self,
        context: &mut Context<'_>,
        end: usize,
        packet: &Packet<'_>,
        missing: usize,
    ) -> std::io::Result<()> {
        let Some(tcp) = packet.tcp else { return Ok(()) };
        if tcp.is_syn {
            self.client =
                self.client.or_else(|| Some(if tcp.acknowledged.is_none() { end } else { 1 - end }));
            if !self.streams[end].reassembly.has_begun() {
                self.streams[end].reassembly.syn(tcp.sequence);
            }
            return Ok(());
        }
        if !packet.payload.is_empty() || missing > 0 {
            let is_first = !self.streams[end].reassembly.has_begun();
            self.streams[end].is_lost |= is_first;
            let sequence = tcp.sequence;
            if let Some(fresh) = self.streams[end].reassembly.accept(context.time, sequence, packet.payload) {
                self.piece(context, end, fresh)?;
                if missing > 0 {
                    self.streams[end].reassembly.cut_off(missing);
                    self.streams[end].lose();
                }
            }
            self.waiting(context, end)?;
        }
        // What this side acknowledges, the other has sent.
        let other = 1 - end;
        if self.streams[other].reassembly.is_stuck(context.time, tcp.acknowledged) {
            self.skip(context, other)?;
        }
        if self.streams[end].reassembly.is_stuck(context.time, None) {
            self.skip(context, end)?;
        }
        Ok(())
    }

    fn waiting(&mut self, context: &mut Context<'_>, end: usize) -> std::io::Result<()> {
        while let Some(data) = self.streams[end].reassembly.next_waiting() {
            self.piece(context, end, &data)?;
        }
        Ok(())
    }

    fn skip(&mut self, context: &mut Context<'_>, end: usize) -> std::io::Result<()> {
        if self.streams[end].reassembly.skip() {
            self.streams[end].lose();
            self.waiting(context, end)?;
        }
        Ok(())
    }

    fn finish(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        for end in 0..2 {
            while self.streams[end].reassembly.skip() {
                self.streams[end].lose();
                self.waiting(context, end)?;
            }
        }
        if matches!(self.state, State::Unknown { .. }) {
            self.give_up(context)?;
        }
        self.streams.iter_mut().for_each(Stream::lose);
        Ok(())
    }

    /// The next bytes of one direction.
    fn piece(&mut self, context: &mut Context<'_>, end: usize, data: &[u8]) -> std::io::Result<()> {
        match self.state {
            State::Other(_) => return Ok(()),
            State::Known(_) => {}
            State::Unknown { .. } => return self.unknown_piece(context, end, data),
        }
        self.read(context, end, data)
    }

    fn unknown_piece(&mut self, context: &mut Context<'_>, end: usize, data: &[u8]) -> std::io::Result<()> {
        let ports = self.ports();
        let stream = &mut self.streams[end];
        if stream.is_lost {
            // Only the start of a segment may be that of a message.
            stream.skipped += stream.unread.len() as u64;
            stream.unread.clear();
        }
        stream.unread.extend_from_slice(data);
        let opening = Opening { is_tcp: true, bytes: &stream.unread, is_last: context.is_sure() };
        if let Some((entry, sender)) = context.recognise(&opening, ports) {
            stream.is_lost = false;
            return self.recognised(context, entry, sender, end);
        }
        let is_full = stream.unread.len() > MAX_UNKNOWN;
        let State::Unknown { pieces, .. } = &mut self.state else { return Ok(()) };
        *pieces += 1;
        if is_full || *pieces > MAX_PIECES.max(MAX_UNKNOWN / 64) { self.give_up(context) } else { Ok(()) }
    }

    /// Reads what came before the protocol was known, the client's first.
    fn recognised(
        &mut self,
        context: &mut Context<'_>,
        entry: &'static Entry,
        sender: Sender,
        end: usize,
    ) -> std::io::Result<()> {
        self.become_known(context, entry, sender, end);
        let client = self.end(Side::Client);
        for end in [client, 1 - client] {
            let unread = core::mem::take(&mut self.streams[end].unread);
            if !unread.is_empty() {
                self.read(context, end, &unread)?;
            }
        }
        Ok(())
    }

    /// Cuts messages out of what has come.
    fn read(&mut self, context: &mut Context<'_>, end: usize, data: &[u8]) -> std::io::Result<()> {
        let (side, ports) = (self.side(end), self.ports());
        let State::Known(known) = &mut self.state else { return Ok(()) };
        let stream = &mut self.streams[end];
        if stream.is_lost {
            let opening = Opening { is_tcp: true, bytes: data, is_last: true };
            let is_start =
                context.recognise(&opening, ports).is_some_and(|(entry, _)| entry.name == known.entry.name);
            if !is_start {
                stream.skipped += data.len() as u64;
                return Ok(());
            }
            stream.is_lost = false;
            known.follow.restart(side);
        }
        // As a rule a segment holds whole messages: these are not copied.
        let mut joined = core::mem::take(&mut stream.unread);
        let bytes = if joined.is_empty() {
            data
        } else {
            joined.extend_from_slice(data);
            &joined[..]
        };
        let mut at = 0;
        let stop = loop {
            if at == bytes.len() {
                break None;
            }
            match known.follow.cut(side, &bytes[at..]) {
                Ok((message, len)) => {
                    if let Some(range) = message {
                        let message = bytes[at..].get(range).unwrap_or(&[]);
                        known.message(context, side, message)?;
                    }
                    // A follower that cuts nothing would do so for ever.
                    at = (at + len.max(1)).min(bytes.len());
                }
                Err(stop) => break Some(stop),
            }
        };
        let rest = bytes.len() - at;
        let wrong = match stop {
            Some(Stop::Short(missing)) if rest.saturating_add(missing) > MAX_MESSAGE => {
                let len = rest.saturating_add(missing);
                Some(format!("a message of {len} bytes, expected at most {MAX_MESSAGE}"))
            }
            Some(Stop::Wrong(text)) => Some(text),
            Some(Stop::Short(_)) | None => None,
        };
        if let Some(text) = wrong {
            known.wrong(text);
            stream.skipped += rest as u64;
            stream.is_lost = true;
        } else {
            stream.keep(joined, data, at);
        }
        Ok(())
    }
}

impl Stream {
    /// Keeps what lies behind `at`: of `joined`, or of `data` where nothing was joined.
    fn keep(&mut self, mut joined: Vec<u8>, data: &[u8], at: usize) {
        if joined.is_empty() {
            joined.extend_from_slice(&data[at..]);
        } else {
            joined.drain(..at);
        }
        // Only small buffers are used again.
        if !joined.is_empty() || joined.capacity() <= MAX_UNKNOWN {
            self.unread = joined;
        }
    }

    /// What is unread will not be completed.
    fn lose(&mut self) {
        self.skipped += self.unread.len() as u64;
        self.unread = Vec::new();
        self.is_lost = true;
    }
}

impl Known {
    fn message(&mut self, context: &mut Context<'_>, from: Side, bytes: &[u8]) -> std::io::Result<()> {
        let side = usize::from(from == Side::Server);
        let note = self.follow.note(context.names, from, bytes);
        match &note {
            Ok(note) => {
                let len = bytes.len() as u64;
                match self.counts[side].iter_mut().find(|(name, ..)| *name == note.name) {
                    Some((_, number, sum)) => (*number, *sum) = (*number + 1, *sum + len),
                    None => self.counts[side].push((note.name, 1, len)),
                }
                if let Some(voice) = &note.voice {
                    let is_full = self.voices.len() >= MAX_SPEAKERS;
                    let key = (side, voice.speaker);
                    if !is_full || self.voices.contains_key(&key) {
                        self.voices.entry(key).or_default().count(context.time, voice);
                    }
                }
            }
            Err(problem) => self.wrong(problem.text.clone()),
        }
        let note = note.as_ref().copied();
        let (time, start, flow, entry) = (context.time, context.start, context.number, self.entry);
        let follow = &*self.follow;
        context.sink.message(&Seen { time, start, flow, entry, from, bytes, note, follow })
    }

    fn wrong(&mut self, text: String) {
        self.malformed += 1;
        self.problem.get_or_insert(text);
    }

    pub(crate) fn voices(&self) -> impl Iterator<Item = (Side, u64, &Figures)> {
        let side = |end| if end == 0 { Side::Client } else { Side::Server };
        self.voices.iter().map(move |(&(end, speaker), figures)| (side(end), speaker, figures))
    }

    pub(crate) fn messages(&self) -> u64 {
        self.counts.iter().flatten().map(|(_, number, _)| number).sum()
    }
}
