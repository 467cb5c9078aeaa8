//! Sends datagrams with as few calls as the system allows.

use super::datagram::{BATCH, Destination, Send};
use super::socket::Udp;
use super::system;
use core::sync::atomic::Ordering::Relaxed;
use voxwire_core::FrameId;

/// Bytes that a batch has room for from the start.
const ROOM: usize = 4096;

/// Datagrams to be sent, each with a head of its own; many share their bytes.
#[derive(Debug, Default)]
pub(crate) struct DatagramBatch {
    bytes: Vec<u8>,
    sends: Vec<Send>,
    /// The id of the last shared frame, and where it lies.
    last: Option<(FrameId, usize)>,
    pub(super) frames: usize,
    /// Indices into `sends`, by destination.
    order: Vec<usize>,
    /// Datagrams for the first of these two sockets go through the second one.
    through: Option<(usize, usize)>,
}

impl DatagramBatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sends.clear();
        self.last = None;
        self.frames = 0;
        self.through = None;
    }

    /// Sends everything for the sockets at one address, of which `group` is the first, through `socket`.
    pub(crate) const fn send_through(&mut self, group: usize, socket: usize) {
        self.through = Some((group, socket));
    }

    /// Adds a datagram that has one destination.
    pub(crate) fn push(&mut self, destination: Destination, frame: &[u8]) {
        let destination = self.routed(destination);
        let start = self.append(frame);
        self.sends.push(Send { destination, start, len: frame.len() });
    }

    /// Adds a datagram. A frame with the same id as that of the call before is not copied again.
    pub(crate) fn push_shared(&mut self, destination: Destination, id: FrameId, frame: &[u8]) {
        let start = match self.last {
            Some((last, start)) if last == id => start,
            _ => self.append(frame),
        };
        self.last = Some((id, start));
        let destination = self.routed(destination);
        self.sends.push(Send { destination, start, len: frame.len() });
    }

    fn routed(&self, destination: Destination) -> Destination {
        match self.through {
            Some((group, socket)) if group == destination.socket => Destination { socket, ..destination },
            _ => destination,
        }
    }

    /// Copies a frame. Returns where it lies.
    fn append(&mut self, frame: &[u8]) -> usize {
        if self.bytes.capacity() == 0 {
            // From the start, so that it does not grow step by step.
            self.bytes.reserve(ROOM);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.frames = self.frames.saturating_add(1);
        start
    }

    /// Sends everything. Returns how many datagrams could not be.
    pub(crate) fn send(&mut self, sockets: &[Udp]) -> u64 {
        let Self { bytes, sends, order, frames, .. } = self;
        order.clear();
        order.extend(0..sends.len());
        // A single frame goes to each destination once: there are no runs.
        if *frames > 1 {
            let key = |&index: &usize| sends.get(index).map(|send| (send.destination.slot, index));
            order.sort_unstable_by_key(key);
        }
        let (mut lost, mut alone) = (0_u64, Alone::new(bytes));
        let mut rest = &order[..];
        while let Some(send) = rest.first().and_then(|&index| sends.get(index)) {
            let Some(socket) = sockets.get(send.destination.socket) else { break };
            let run = run(rest, sends);
            let (now, later) = rest.split_at_checked(run).unwrap_or((rest, &[]));
            if run > 1 && socket.port.gso.load(Relaxed) && system::send_run(&socket.port, now, sends, bytes) {
                rest = later;
                continue;
            }
            for send in now.iter().filter_map(|&index| sends.get(index)) {
                lost = lost.saturating_add(alone.add(sockets, *send));
            }
            rest = later;
        }
        lost.saturating_add(alone.flush(sockets))
    }
}

/// How many of the sends, from the first one on, are a run, which one call sends: all to one destination, and all as long as the first, but for a
/// last one that may be shorter.
pub(super) fn run(order: &[usize], sends: &[Send]) -> usize {
    let Some(first) = order.first().and_then(|&index| sends.get(index)) else { return 0 };
    let size = first.whole();
    // The most that one call takes.
    let most = BATCH.min(65_507_usize.checked_div(size).unwrap_or(1)).max(1);
    let mut count: usize = 0;
    for send in order.iter().take(most).filter_map(|&index| sends.get(index)) {
        let (one, other) = (&send.destination, &first.destination);
        let same = (one.socket, one.slot, one.to) == (other.socket, other.slot, other.to);
        if !same || send.len > first.len {
            break;
        }
        count = count.saturating_add(1);
        if send.len < first.len {
            break;
        }
    }
    count
}

/// Datagrams to different destinations, gathered for one call.
struct Alone<'b> {
    bytes: &'b [u8],
    gathered: [Option<Send>; BATCH],
    count: usize,
}

impl<'b> Alone<'b> {
    const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, gathered: [None; BATCH], count: 0 }
    }

    fn add(&mut self, sockets: &[Udp], send: Send) -> u64 {
        let other = self.gathered.first().copied().flatten();
        let mut lost = 0;
        let kind = |send: Send| (send.destination.socket, send.destination.to.local);
        if self.count == BATCH || other.is_some_and(|other| kind(other) != kind(send)) {
            lost = self.flush(sockets);
        }
        if let Some(place) = self.gathered.get_mut(self.count) {
            *place = Some(send);
            self.count = self.count.saturating_add(1);
        }
        lost
    }

    fn flush(&mut self, sockets: &[Udp]) -> u64 {
        let count = core::mem::take(&mut self.count);
        let gathered = self.gathered.get(..count).unwrap_or(&[]);
        let socket =
            gathered.first().copied().flatten().and_then(|send| sockets.get(send.destination.socket));
        let lost = socket.map_or(0, |socket| system::send_alone(&socket.port, gathered, self.bytes));
        self.gathered = [None; BATCH];
        lost
    }
}
