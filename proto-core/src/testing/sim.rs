mod hosted;

use super::Rng;
use crate::{DialId, Handler, Input, Instant, Lane, ListenId, PeerId, Session, Via};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};
use core::{
    fmt,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use hosted::{Hosted, Node, Sent, Stop};

/// A network of sessions in virtual time: any number and mix of them, reproducible from one seed.
///
/// Every node has the address 10.0.x.y. Streams are cut into random pieces and stall where a segment would have been
/// retransmitted; datagrams are lost, duplicated and reordered. A session that dials [`DialId::FIRST`] is connected once
/// more to where it was connected first. Nodes of the local network ([`Sim::join`]) send each other datagrams without being
/// connected: who has one from a node that it does not know hears of a new peer first, as with a socket of UDP.
pub struct Sim {
    now: Instant,
    rng: Rng,
    nodes: Vec<Box<dyn Node>>,
    links: Vec<Link>,
    /// What happens when; the second part keeps things scheduled for one moment in order.
    agenda: BTreeMap<(Instant, u64), Happening>,
    scheduled: u64,
    /// Which node listens on which port, for which of its wishes.
    listening: BTreeMap<(usize, u16), ListenId>,
    /// Where a node was connected to, for when it wants to be again.
    first: BTreeMap<usize, (usize, Transport, Net)>,
    /// Nodes that no peer can connect to for now.
    down: BTreeSet<usize>,
    /// The nodes of the local network.
    local: BTreeSet<usize>,
    /// What the first node calls the second.
    neighbours: BTreeMap<(usize, usize), PeerId>,
    net: Net,
}

/// How a link behaves.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    /// Time on the way.
    pub latency: Duration,
    /// Up to this much more, at random. Reorders datagrams.
    pub jitter: Duration,
    /// Probability that a datagram, or a stream's segment, is lost; a stream stalls for 200 ms then.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// A stream's bytes arrive in random pieces of at most this size; 0 for whole frames.
    pub piece: usize,
}

impl Net {
    /// 1 ms, nothing lost, whole frames.
    pub const PERFECT: Self = Self {
        latency: Duration::from_millis(1),
        jitter: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
        piece: 0,
    };
}

/// What kind of connection a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A byte stream, cut into frames by the session's framing.
    Stream,
    /// Datagrams, on both lanes.
    Datagram,
    /// Whole frames: reliable ones in order, droppable ones as datagrams.
    Both,
}

/// Names a node and knows the types of its session and its handler.
pub struct NodeId<S, H>(usize, PhantomData<fn() -> (S, H)>);

/// Names a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkId(usize);

/// A handler that writes down every event and violation as its `Debug` text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Log {
    /// The events, oldest first.
    pub events: Vec<(Instant, String)>,
    /// The violations, oldest first.
    pub violations: Vec<(Instant, String)>,
}

struct Link {
    ends: [End; 2],
    transport: Transport,
    net: Net,
    open: bool,
    /// Cut off: everything sent is lost, or for a stream waits.
    partitioned: bool,
}

#[derive(Clone, Copy)]
struct End {
    node: usize,
    peer: PeerId,
    /// When the last ordered bytes towards this end arrive.
    last: Instant,
}

enum Happening {
    Opened { link: usize, end: usize, via: Via },
    Bytes { link: usize, end: usize, bytes: Vec<u8> },
    Frame { link: usize, end: usize, lane: Lane, bytes: Vec<u8> },
    Closed { link: usize, end: usize },
    DialFailed { node: usize, id: DialId },
    Datagram { from: usize, to: usize, bytes: Vec<u8> },
}

impl Sim {
    /// An empty network. Everything that happens in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            rng: Rng::new(seed),
            nodes: Vec::new(),
            links: Vec::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            listening: BTreeMap::new(),
            first: BTreeMap::new(),
            down: BTreeSet::new(),
            local: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            net: Net::PERFECT,
        }
    }

    /// The virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Adds a session and the application on top of it.
    pub fn add<S: Session + 'static, H: Handler<S> + 'static>(
        &mut self,
        session: S,
        handler: H,
    ) -> NodeId<S, H> {
        self.nodes.push(Box::new(Hosted::new(session, handler)));
        NodeId(self.nodes.len() - 1, PhantomData)
    }

    /// Connects `from` to `to`; both learn of it after the link's latency.
    pub fn connect<S, H, T, I>(
        &mut self,
        from: NodeId<S, H>,
        to: NodeId<T, I>,
        transport: Transport,
        net: Net,
    ) -> LinkId {
        self.first.insert(from.0, (to.0, transport, net));
        LinkId(self.link(from.0, to.0, transport, net, Via::Dialled(DialId::FIRST), Via::Accepted))
    }

    /// Gives two nodes a way to each other that neither has dialled.
    pub fn introduce<S, H, T, I>(
        &mut self,
        one: NodeId<S, H>,
        other: NodeId<T, I>,
        transport: Transport,
        net: Net,
    ) -> LinkId {
        LinkId(self.link(one.0, other.0, transport, net, Via::Accepted, Via::Accepted))
    }

    /// Puts a node on the local network, whose behaviour [`set_net`](Self::set_net) says.
    pub fn join<S, H>(&mut self, node: NodeId<S, H>) {
        self.local.insert(node.0);
    }

    /// Starts another session on a node of the local network. The one before has not said a word, and no peer is known to the
    /// new one.
    pub fn replace<S: Session + 'static, H: Handler<S> + 'static>(&mut self, node: NodeId<S, H>, session: S) {
        self.hosted(node).replace(session);
        self.neighbours.retain(|(here, _), _| *here != node.0);
    }

    /// How links behave that sessions make themselves, by `Dial`, and the local network.
    pub fn set_net(&mut self, net: Net) {
        self.net = net;
    }

    /// How a link behaves from now on, and those that replace it.
    pub fn set_link(&mut self, link: LinkId, net: Net) {
        self.links[link.0].net = net;
        let from = self.links[link.0].ends[0].node;
        if let Some((_, _, first)) = self.first.get_mut(&from) {
            *first = net;
        }
    }

    /// The connection between two nodes that is up, the newest if there are several.
    pub fn link_between<S, H, T, I>(&self, one: NodeId<S, H>, other: NodeId<T, I>) -> Option<LinkId> {
        let ends = |link: &Link| link.ends.map(|end| end.node);
        let pair = |link: &Link| ends(link) == [one.0, other.0] || ends(link) == [other.0, one.0];
        self.links.iter().rposition(|link| link.open && pair(link)).map(LinkId)
    }

    /// Ends all connections of a node; no peer can connect to it, and no datagram comes or goes, until it is up again.
    pub fn set_down<S, H>(&mut self, node: NodeId<S, H>, down: bool) {
        if !down {
            self.down.remove(&node.0);
            return;
        }
        self.down.insert(node.0);
        for link in 0..self.links.len() {
            if self.links[link].open && self.links[link].ends.iter().any(|end| end.node == node.0) {
                self.disconnect(LinkId(link));
            }
        }
    }

    /// Lets nothing through a link until it is healed. Streams keep what was sent, datagrams are lost.
    pub fn partition(&mut self, link: LinkId, cut: bool) {
        self.links[link.0].partitioned = cut;
    }

    /// Ends a connection; both sides learn of it.
    pub fn disconnect(&mut self, link: LinkId) {
        for end in 0..2 {
            self.close(link.0, end);
        }
        self.links[link.0].open = false;
    }

    /// Whether a link is still up.
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links[link.0].open
    }

    /// The peers at the two ends of a link, as the first and the second node know each other.
    pub fn peers(&self, link: LinkId) -> [PeerId; 2] {
        self.links[link.0].ends.map(|end| end.peer)
    }

    /// Access to a node's session and handler; what the session wants done is done afterwards.
    pub fn with<S: Session + 'static, H: Handler<S> + 'static, R>(
        &mut self,
        node: NodeId<S, H>,
        f: impl FnOnce(&mut S, &mut H, Instant) -> R,
    ) -> R {
        let now = self.now;
        let hosted = self.hosted(node);
        let result = f(&mut hosted.session, &mut hosted.handler, now);
        let mut sent = Vec::new();
        self.nodes[node.0].drain(&mut sent);
        self.nodes[node.0].written(now, &mut sent);
        self.act(node.0, sent);
        result
    }

    fn hosted<S: Session + 'static, H: Handler<S> + 'static>(
        &mut self,
        node: NodeId<S, H>,
    ) -> &mut Hosted<S, H> {
        self.nodes[node.0].any().downcast_mut().expect("the node's own types")
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now.saturating_add(duration);
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until nothing is on the way any more and no timer is due within `quiet`.
    pub fn run_until_quiet(&mut self, quiet: Duration) {
        while self.step(self.now.saturating_add(quiet)) {}
    }

    /// Does the next thing that happens up to `until`; false if there is none.
    fn step(&mut self, until: Instant) -> bool {
        let timer =
            self.nodes.iter().enumerate().filter_map(|(node, n)| Some((n.poll_timeout()?, node))).min();
        let next = self.agenda.first_key_value().map(|(&key, _)| key);
        match (next, timer) {
            (Some((at, _)), timer) if at <= until && timer.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let (key, happening) = self.agenda.pop_first().expect("peeked");
                self.happen(key.1, happening);
                true
            }
            (_, Some((due, node))) if due <= until => {
                self.now = self.now.max(due);
                let before = self.nodes[node].poll_timeout();
                for turn in 0.. {
                    assert!(turn < 100_000, "timers of node {node} fire for ever at {before:?}");
                    if self.nodes[node].poll_timeout().is_none_or(|at| at > self.now) {
                        break;
                    }
                    let mut sent = Vec::new();
                    self.nodes[node].timeout(self.now, &mut sent);
                    self.act(node, sent);
                }
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, order: u64, happening: Happening) {
        let mut sent = Vec::new();
        let now = self.now;
        let node = match happening {
            Happening::DialFailed { node, id } => {
                self.nodes[node].input(now, Input::DialFailed(id), &mut sent);
                node
            }
            Happening::Datagram { from, to, bytes } => {
                if self.down.contains(&to) {
                    return;
                }
                let peer = self.neighbour(to, from, &mut sent);
                if self.nodes[to].knows(peer) {
                    let frame = Input::Frame { peer, lane: Lane::Droppable, bytes: &bytes };
                    self.nodes[to].input(now, frame, &mut sent);
                }
                to
            }
            Happening::Opened { link, end, via } => {
                let (here, there) = (self.links[link].ends[end], self.links[link].ends[1 - end]);
                if self.nodes[here.node].link_of(here.peer).is_none_or(|at| at.is_none()) {
                    return;
                }
                let from = SocketAddr::new(address(there.node), 50_000);
                if self.links[link].transport == Transport::Stream {
                    self.nodes[here.node].open(now, here.peer, via, from, &mut sent);
                } else {
                    let from = Some(from);
                    self.nodes[here.node].input(now, Input::Opened { peer: here.peer, via, from }, &mut sent);
                }
                here.node
            }
            Happening::Closed { link, end } => {
                self.closed(order, (link, end), &mut sent);
                self.links[link].ends[end].node
            }
            Happening::Bytes { link, end, bytes } => {
                let here = self.links[link].ends[end];
                if self.nodes[here.node].link_of(here.peer).is_none_or(|at| at.is_none()) {
                    return;
                }
                self.bytes(order, (link, end), &bytes, &mut sent);
                here.node
            }
            Happening::Frame { link, end, lane, bytes } => {
                let here = self.links[link].ends[end];
                if self.nodes[here.node].link_of(here.peer).is_none_or(|at| at.is_none()) {
                    return;
                }
                self.nodes[here.node].input(
                    now,
                    Input::Frame { peer: here.peer, lane, bytes: &bytes },
                    &mut sent,
                );
                here.node
            }
        };
        self.act(node, sent);
    }

    /// The end of a connection has come to one of its ends.
    fn closed(&mut self, order: u64, (link, end): (usize, usize), sent: &mut Vec<Sent>) {
        let (now, here) = (self.now, self.links[link].ends[end]);
        // A driver that does not read does not see the end, either.
        if let Some(until) = self.nodes[here.node].paused(here.peer).filter(|until| *until > now) {
            self.agenda.insert((until, order), Happening::Closed { link, end });
        } else if self.nodes[here.node].link_of(here.peer).is_some_and(|at| at.take().is_some()) {
            self.nodes[here.node].input(now, Input::Closed { peer: here.peer }, sent);
        }
    }

    /// Bytes have come to one end of a connection.
    fn bytes(&mut self, order: u64, (link, end): (usize, usize), bytes: &[u8], sent: &mut Vec<Sent>) {
        let (now, here) = (self.now, self.links[link].ends[end]);
        match self.nodes[here.node].bytes(now, here.peer, bytes, sent) {
            Ok(()) => {}
            // What has come in waits in its buffer.
            Err(Stop::Paused(until)) => {
                self.agenda.insert((until, order), Happening::Bytes { link, end, bytes: Vec::new() });
            }
            Err(Stop::Broken) => {
                self.act(here.node, core::mem::take(sent));
                self.links[link].open = false;
                self.close(link, 1 - end);
                self.nodes[here.node].input(now, Input::Closed { peer: here.peer }, sent);
            }
        }
    }

    /// Does what the session of `node` wants.
    fn act(&mut self, node: usize, sent: Vec<Sent>) {
        for sent in sent {
            match sent {
                Sent::Frame(link, peer, lane, header, frame) => {
                    self.transmit(link, node, peer, lane, header, frame)
                }
                Sent::Close(link, peer) => {
                    let end = self.end_of(link, node, peer);
                    self.links[link].open = false;
                    self.close(link, 1 - end);
                }
                Sent::Resume(link, peer) => {
                    let end = self.end_of(link, node, peer);
                    self.schedule(self.now, Happening::Bytes { link, end, bytes: Vec::new() });
                }
                Sent::Dial(DialId::FIRST, ..) => {
                    let first = self.first.get(&node).copied();
                    match first.filter(|(to, ..)| !self.down.contains(to)) {
                        Some((to, transport, net)) => {
                            let dialled = Via::Dialled(DialId::FIRST);
                            self.link(node, to, transport, net, dialled, Via::Accepted);
                        }
                        None => {
                            let at = self.now.saturating_add(self.net.latency);
                            self.schedule(at, Happening::DialFailed { node, id: DialId::FIRST });
                        }
                    }
                }
                Sent::Dial(id, host, port) => {
                    let to = (0..self.nodes.len()).find(|&to| format!("{}", address(to)) == host);
                    match to.and_then(|to| Some((to, *self.listening.get(&(to, port))?))) {
                        Some((to, listen)) => {
                            let (dialled, accepted) = (Via::Dialled(id), Via::AcceptedOn(listen));
                            self.link(node, to, Transport::Stream, self.net, dialled, accepted);
                        }
                        None => self.schedule(
                            self.now.saturating_add(self.net.latency),
                            Happening::DialFailed { node, id },
                        ),
                    }
                }
                Sent::Datagram(to, frame) => {
                    let others = self.local.iter().copied().filter(|other| *other != node);
                    let to: Vec<usize> = others.filter(|other| to.is_none_or(|to| to == *other)).collect();
                    to.into_iter().for_each(|to| self.send_to(node, to, &frame));
                }
                Sent::Listen(id) => {
                    let port = self.nodes[node].port();
                    self.listening.insert((node, port), id);
                    let mut sent = Vec::new();
                    self.nodes[node].input(self.now, Input::Listening { id, port }, &mut sent);
                    self.act(node, sent);
                }
                Sent::StopListening(id) => {
                    self.listening.retain(|&(at, _), listen| at != node || *listen != id)
                }
            }
        }
    }

    /// What `here` calls `other`, of which it hears now if it does not know it.
    fn neighbour(&mut self, here: usize, other: usize, sent: &mut Vec<Sent>) -> PeerId {
        let known = self.neighbours.get(&(here, other)).copied();
        if let Some(peer) = known.filter(|peer| self.nodes[here].knows(*peer)) {
            return peer;
        }
        let peer = self.nodes[here].neighbour(other);
        self.neighbours.insert((here, other), peer);
        let from = Some(SocketAddr::new(address(other), 50_000));
        self.nodes[here].input(self.now, Input::Opened { peer, via: Via::Accepted, from }, sent);
        peer
    }

    fn send_to(&mut self, from: usize, to: usize, frame: &[u8]) {
        if self.down.contains(&from) || !self.local.contains(&from) || self.rng.chance(self.net.loss) {
            return;
        }
        let copies = if self.rng.chance(self.net.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let at = self.now.saturating_add(self.net.latency).saturating_add(self.jitter(self.net));
            self.schedule(at, Happening::Datagram { from, to, bytes: frame.to_vec() });
        }
    }

    fn link(
        &mut self,
        from: usize,
        to: usize,
        transport: Transport,
        net: Net,
        opened: Via,
        accepted: Via,
    ) -> usize {
        let link = self.links.len();
        let ends = [from, to].map(|node| {
            let peer = self.nodes[node].mint();
            *self.nodes[node].link_of(peer).expect("just minted") = Some(link);
            End { node, peer, last: self.now.saturating_add(net.latency) }
        });
        self.links.push(Link { ends, transport, net, open: true, partitioned: false });
        let at = self.now.saturating_add(net.latency);
        self.schedule(at, Happening::Opened { link, end: 0, via: opened });
        self.schedule(at, Happening::Opened { link, end: 1, via: accepted });
        link
    }

    fn end_of(&self, link: usize, node: usize, peer: PeerId) -> usize {
        usize::from(self.links[link].ends[0].node != node || self.links[link].ends[0].peer != peer)
    }

    fn close(&mut self, link: usize, end: usize) {
        let at = self.links[link].ends[end].last.max(self.now.saturating_add(self.links[link].net.latency));
        self.schedule(at, Happening::Closed { link, end });
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), happening);
    }

    fn transmit(
        &mut self,
        link: usize,
        node: usize,
        peer: PeerId,
        lane: Lane,
        header: Vec<u8>,
        frame: Vec<u8>,
    ) {
        let end = 1 - self.end_of(link, node, peer);
        let (net, transport, cut) =
            (self.links[link].net, self.links[link].transport, self.links[link].partitioned);
        match transport {
            Transport::Stream => {
                let bytes = [header, frame].concat();
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let piece = if net.piece == 0 {
                        left.len()
                    } else {
                        1 + self.rng.below(net.piece as u64) as usize
                    };
                    let (now, later) = left.split_at(piece.min(left.len()));
                    let at = self.in_order(link, end, net, cut);
                    self.schedule(at, Happening::Bytes { link, end, bytes: now.to_vec() });
                    left = later;
                }
            }
            Transport::Both if lane == Lane::Reliable => {
                let at = self.in_order(link, end, net, cut);
                self.schedule(at, Happening::Frame { link, end, lane, bytes: frame });
            }
            Transport::Both | Transport::Datagram => {
                if cut || self.rng.chance(net.loss) {
                    return;
                }
                let copies = if self.rng.chance(net.duplicate) { 2 } else { 1 };
                for _ in 0..copies {
                    let at = self.now.saturating_add(net.latency).saturating_add(self.jitter(net));
                    self.schedule(at, Happening::Frame { link, end, lane, bytes: frame.clone() });
                }
            }
        }
    }

    /// When bytes sent now arrive that may not overtake each other.
    fn in_order(&mut self, link: usize, end: usize, net: Net, cut: bool) -> Instant {
        let mut delay = net.latency.saturating_add(self.jitter(net));
        while self.rng.chance(net.loss.min(0.9)) {
            delay = delay.saturating_add(Duration::from_millis(200));
        }
        if cut {
            delay = delay.saturating_add(Duration::from_secs(3));
        }
        let at = self.now.saturating_add(delay).max(self.links[link].ends[end].last);
        self.links[link].ends[end].last = at;
        at
    }

    fn jitter(&mut self, net: Net) -> Duration {
        Duration::from_nanos(self.rng.below(net.jitter.as_nanos() as u64))
    }
}

impl Log {
    /// Takes the texts of the events so far.
    pub fn take(&mut self) -> Vec<String> {
        core::mem::take(&mut self.events).into_iter().map(|(_, event)| event).collect()
    }
}

impl<S: Session> Handler<S> for Log {
    fn on_event(&mut self, _session: &mut S, now: Instant, event: S::Event<'_>) {
        self.events.push((now, format!("{event:?}")));
    }

    fn on_violation(&mut self, now: Instant, _peer: PeerId, violation: S::Violation) {
        self.violations.push((now, format!("{violation}")));
    }
}

fn address(node: usize) -> IpAddr {
    let low = u32::try_from(node).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from(0x0a00_0001_u32.wrapping_add(low)))
}

impl<S, H> Clone for NodeId<S, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, H> Copy for NodeId<S, H> {}

impl<S, H> fmt::Debug for NodeId<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0)
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut open = vec![];
        open.extend(self.links.iter().enumerate().filter(|(_, link)| link.open).map(|(at, _)| at));
        f.debug_struct("Sim")
            .field("now", &self.now)
            .field("nodes", &self.nodes.len())
            .field("open", &open)
            .finish()
    }
}
