//! Direct paths to other clients, through the socket of the UDP side; `PROTOCOL.md`, section 6.

use crate::tcp_udp::{HEAD, PathKey, Tag, datagram, head, path_tag};
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use tokio::net::UdpSocket;
use voxwire_core::{Instant, Lane, PeerId, PeerIds};

/// How often a path is probed.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// A path without a probe ack for so long is down. It is less than a second, because voice on the path is lost meanwhile.
const PATH_TIMEOUT: Duration = Duration::from_millis(800);
/// How soon a path is probed after a probe has come in from its other side.
const SOON: Duration = Duration::from_millis(50);
/// Probes at `PROBE_INTERVAL` without any ack, before they come at `SLOW_PROBE_INTERVAL`.
const PROBES_IN_A_ROW: u32 = 20;
const SLOW_PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a path that the session refuses is left alone. The time doubles with each refusal, up to the longest.
const REFUSED: Duration = Duration::from_secs(5);
const REFUSED_LONGEST: Duration = Duration::from_secs(60);
/// A path that the other side began is forgotten after it has been down for so long.
const FORGET: Duration = Duration::from_secs(10);
/// The number of paths at a time.
const MAX_PATHS: usize = 32;
/// The number of reliable frames on one path that may be unacknowledged.
const MAX_UNACKED: usize = 64;

/// Body of a probe, in bytes: the rest of the key, the epoch, and padding, so that a probe is as long as its ack.
const PROBE_LEN: usize = 17;

/// Which other clients to reach without the server. By default none.
#[derive(Debug, Clone, Default)]
pub struct DirectSettings {
    /// Have the server introduce this client to others: it tells each of two clients the other's UDP address. Only clients that ask for this are
    /// introduced.
    pub announce: bool,
    /// The local UDP port; 0 for any that is free.
    pub port: u16,
    /// The key of clients that know each other's addresses without a server. All of them have the same.
    pub key: Option<[u8; 16]>,
    /// The addresses of those clients. A client that probes with the right key from another address is answered, too.
    pub addresses: Vec<SocketAddr>,
}

impl DirectSettings {
    pub(super) const fn is_wanted(&self) -> bool {
        self.announce || self.key.is_some()
    }
}

/// All direct paths of a client.
#[derive(Debug, Default)]
pub(super) struct Direct {
    key: Option<PathKey>,
    paths: Vec<DirectPath>,
    out: Vec<u8>,
}

/// What happened on a path.
pub(super) enum DirectEvent {
    Up(PeerId, SocketAddr),
    Down(PeerId),
    /// A frame, and where it lies in the datagram.
    Frame(PeerId, Lane, Range<usize>),
}

#[derive(Debug)]
struct DirectPath {
    key: PathKey,
    to: SocketAddr,
    /// The server or the user has named it. It is probed whether it answers or not.
    known: bool,
    /// Tells this path from those before it, so that the other side notices when a path was lost here.
    epoch: u32,
    /// The epoch of the other side.
    theirs: Option<u32>,
    /// Set while the path is up: both sides hear each other.
    peer: Option<PeerId>,
    /// The session has refused the path. It is tried again after that.
    refused_until: Option<Instant>,
    refusals: u32,
    acked_at: Instant,
    probes: u32,
    next_probe: Instant,
    /// Reliable frames that have not been acknowledged. The first one has the number `sent`.
    unacked: VecDeque<Vec<u8>>,
    sent: u16,
    next_send: Instant,
    /// The number that the next reliable frame of the other side has.
    received: u16,
}

impl Direct {
    pub(super) fn new(settings: &DirectSettings, now: Instant) -> Self {
        let mut direct = Self { key: settings.key, ..Self::default() };
        if let Some(key) = settings.key {
            for &to in &settings.addresses {
                direct.add(key, to, true, now);
            }
        }
        direct
    }

    /// The server tells the address of another client.
    pub(super) fn add(&mut self, key: PathKey, to: SocketAddr, known: bool, now: Instant) {
        if self.paths.iter().any(|path| path.key == key && path.to == to) {
            return;
        }
        if known && self.paths.len() >= MAX_PATHS {
            // A path that the other side began, and that is not up, gives way.
            let index = self.paths.iter().position(|path| !path.known && path.peer.is_none());
            index.into_iter().for_each(|index| drop(self.paths.swap_remove(index)));
        }
        if self.paths.len() < MAX_PATHS {
            self.paths.push(DirectPath::new(key, to, known, now));
        }
    }

    /// The server says that another client has gone.
    pub(super) fn remove(&mut self, key: PathKey) -> Option<PeerId> {
        // The server has no say over clients that are known by the user's own key.
        let index = self.paths.iter().position(|path| path.key == key && Some(key) != self.key)?;
        self.paths.swap_remove(index).peer
    }

    /// The peers whose paths are up.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.paths.iter().filter_map(|path| path.peer)
    }

    /// Sends a frame, or drops it.
    pub(super) fn send(&mut self, now: Instant, socket: &UdpSocket, to: PeerId, lane: Lane, frame: &[u8]) {
        let Some(path) = self.paths.iter_mut().find(|path| path.peer == Some(to)) else { return };
        if lane == Lane::Droppable {
            self.out.clear();
            self.out.extend(head(datagram::DROPPABLE, path_tag(path.key)));
            self.out.extend_from_slice(frame);
            let _ = socket.try_send_to(&self.out, path.to);
        } else if path.unacked.len() < MAX_UNACKED {
            path.unacked.push_back(frame.to_vec());
            if path.unacked.len() == 1 {
                path.send_reliable(now, socket);
            }
        }
    }

    /// The session refuses this path.
    pub(super) fn refuse(&mut self, peer: PeerId, ids: &mut PeerIds, now: Instant) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.peer == Some(peer)) {
            path.reset(ids, now);
            let times = 1_u32.checked_shl(path.refusals).unwrap_or(u32::MAX);
            path.refusals = path.refusals.saturating_add(1);
            let until = now.saturating_add(REFUSED.saturating_mul(times).min(REFUSED_LONGEST));
            (path.refused_until, path.next_probe) = (Some(until), until);
        }
    }

    /// When `expire` has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.paths.iter().filter_map(DirectPath::next).min()
    }

    /// Sends probes that are due, repeats reliable frames, and returns a path that is down.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        socket: &UdpSocket,
        ids: &mut PeerIds,
    ) -> Option<DirectEvent> {
        self.paths.retain(|path| path.known || path.peer.is_some() || !path.is_forgotten(now));
        for path in &mut self.paths {
            if path.peer.is_some() && now.saturating_duration_since(path.acked_at) >= PATH_TIMEOUT {
                return path.reset(ids, now).map(DirectEvent::Down);
            }
            if path.next_probe <= now {
                path.probe(now, socket);
            }
            if path.next_send <= now && !path.unacked.is_empty() {
                path.send_reliable(now, socket);
            }
        }
        None
    }

    /// A datagram that does not come from the server.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        socket: &UdpSocket,
        ids: &mut PeerIds,
        (kind, tag, body): (u8, Tag, &[u8]),
        from: SocketAddr,
    ) -> Option<DirectEvent> {
        if kind == datagram::PROBE {
            return self.on_probe(now, socket, ids, tag, body, from);
        }
        let mut paths = self.paths.iter_mut();
        let path =
            paths.find(|path| path.to == from && path_tag(path.key) == tag && !path.is_refused(now))?;
        match kind {
            datagram::PROBE_ACK => path.on_probe_ack(now, ids, body),
            datagram::DROPPABLE => {
                let whole = HEAD..HEAD.saturating_add(body.len());
                Some(DirectEvent::Frame(path.peer?, Lane::Droppable, whole))
            }
            datagram::RELIABLE => path.on_reliable(socket, body),
            datagram::RELIABLE_ACK => {
                path.on_ack(now, socket, body);
                None
            }
            _ => None,
        }
    }

    fn on_probe(
        &mut self,
        now: Instant,
        socket: &UdpSocket,
        ids: &mut PeerIds,
        tag: Tag,
        body: &[u8],
        from: SocketAddr,
    ) -> Option<DirectEvent> {
        let (rest, body) = body.split_first_chunk::<9>()?;
        let (epoch, padding) = body.split_first_chunk::<4>()?;
        // The ack is no longer than the probe.
        if padding.len() < 4 {
            return None;
        }
        let mut key = PathKey::default();
        key.iter_mut().zip(tag.iter().chain(rest)).for_each(|(to, from)| *to = *from);
        let exact = self.paths.iter().position(|path| path.key == key && path.to == from);
        let index = exact.or_else(|| {
            if self.key == Some(key) {
                self.add(key, from, false, now);
                return self.paths.iter().position(|path| path.key == key && path.to == from);
            }
            // The server has told its address. A NAT may have given it another port since.
            let index = self.paths.iter().position(|path| path.key == key && path.peer.is_none())?;
            self.paths.get_mut(index)?.to = from;
            Some(index)
        })?;
        let path = self.paths.get_mut(index).filter(|path| !path.is_refused(now))?;
        let epoch = u32::from_be_bytes(*epoch);
        let lost =
            if path.theirs.is_some_and(|theirs| theirs != epoch) { path.reset(ids, now) } else { None };
        path.theirs = Some(epoch);
        let ack = [&rest[..], &epoch.to_be_bytes(), &path.epoch.to_be_bytes()].concat();
        path.send(socket, datagram::PROBE_ACK, &ack);
        if path.peer.is_none() {
            path.next_probe = path.next_probe.min(now.saturating_add(SOON));
        }
        lost.map(DirectEvent::Down)
    }
}

impl DirectPath {
    fn new(key: PathKey, to: SocketAddr, known: bool, now: Instant) -> Self {
        Self {
            key,
            to,
            known,
            epoch: epoch(now),
            theirs: None,
            peer: None,
            refused_until: None,
            refusals: 0,
            acked_at: now,
            probes: 0,
            next_probe: now,
            unacked: VecDeque::new(),
            sent: 0,
            next_send: now,
            received: 0,
        }
    }

    fn next(&self) -> Option<Instant> {
        let silent = self.peer.map(|_| self.acked_at.saturating_add(PATH_TIMEOUT));
        let send = (!self.unacked.is_empty()).then_some(self.next_send);
        [Some(self.next_probe), silent, send].into_iter().flatten().min()
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    /// Whether nothing has been heard of it for long. Time in which it is refused does not count, so the number of refusals is not forgotten
    /// early.
    fn is_forgotten(&self, now: Instant) -> bool {
        let last = self.acked_at.max(self.refused_until.unwrap_or(self.acked_at));
        now >= last.saturating_add(FORGET)
    }

    fn send(&self, socket: &UdpSocket, kind: u8, body: &[u8]) {
        let _ = socket.try_send_to(&[&head(kind, path_tag(self.key))[..], body].concat(), self.to);
    }

    fn probe(&mut self, now: Instant, socket: &UdpSocket) {
        self.probes = self.probes.saturating_add(1);
        let slow = self.peer.is_none() && self.probes > PROBES_IN_A_ROW;
        self.next_probe = now.saturating_add(if slow { SLOW_PROBE_INTERVAL } else { PROBE_INTERVAL });
        let mut body = [0; PROBE_LEN];
        let parts = [self.key.get(7..).unwrap_or(&[]), &self.epoch.to_be_bytes()];
        body.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        self.send(socket, datagram::PROBE, &body);
    }

    fn on_probe_ack(&mut self, now: Instant, ids: &mut PeerIds, body: &[u8]) -> Option<DirectEvent> {
        let (rest, body) = body.split_first_chunk::<9>()?;
        let (ours, theirs) = body.split_first_chunk::<4>()?;
        let theirs = u32::from_be_bytes(*theirs.first_chunk()?);
        if self.key.get(7..) != Some(&rest[..]) || u32::from_be_bytes(*ours) != self.epoch {
            return None;
        }
        if self.peer.is_some() && self.theirs != Some(theirs) {
            let lost = self.reset(ids, now);
            self.theirs = Some(theirs);
            return lost.map(DirectEvent::Down);
        }
        (self.theirs, self.acked_at) = (Some(theirs), now);
        if self.peer.is_some() {
            return None;
        }
        self.peer = ids.mint();
        self.probes = 0;
        Some(DirectEvent::Up(self.peer?, self.to))
    }

    /// The path is down. The other side notices that by the new epoch.
    fn reset(&mut self, ids: &mut PeerIds, now: Instant) -> Option<PeerId> {
        let peer = self.peer.take();
        peer.into_iter().for_each(|peer| ids.retire(peer));
        self.epoch = epoch(now);
        self.theirs = None;
        self.unacked.clear();
        (self.sent, self.received, self.probes, self.next_probe) = (0, 0, 0, now);
        peer
    }

    /// Sends the first reliable frame that has not been acknowledged.
    fn send_reliable(&mut self, now: Instant, socket: &UdpSocket) {
        self.next_send = now.saturating_add(PROBE_INTERVAL);
        if let Some(frame) = self.unacked.front() {
            let number = [&self.epoch.to_be_bytes()[..], &self.sent.to_be_bytes(), frame].concat();
            self.send(socket, datagram::RELIABLE, &number);
        }
    }

    /// Takes each reliable frame once, and acknowledges it.
    fn on_reliable(&mut self, socket: &UdpSocket, body: &[u8]) -> Option<DirectEvent> {
        let (number, frame) = body.split_first_chunk::<6>()?;
        let (epoch, sequence) = number.split_first_chunk::<4>()?;
        let sequence = u16::from_be_bytes(*sequence.first_chunk()?);
        let peer = self.peer.filter(|_| self.theirs == Some(u32::from_be_bytes(*epoch)))?;
        let new = sequence == self.received;
        // A frame that has come in before is acknowledged again: the first ack may have been lost.
        if !new && self.received.wrapping_sub(sequence) > u16::MAX / 2 {
            return None;
        }
        self.send(socket, datagram::RELIABLE_ACK, number);
        if !new {
            return None;
        }
        self.received = self.received.wrapping_add(1);
        let start = HEAD.saturating_add(6);
        Some(DirectEvent::Frame(peer, Lane::Reliable, start..start.saturating_add(frame.len())))
    }

    fn on_ack(&mut self, now: Instant, socket: &UdpSocket, body: &[u8]) {
        let expected = [&self.epoch.to_be_bytes()[..], &self.sent.to_be_bytes()].concat();
        if body == expected && self.unacked.pop_front().is_some() {
            self.sent = self.sent.wrapping_add(1);
            self.send_reliable(now, socket);
        }
    }
}

/// Another one than before.
fn epoch(now: Instant) -> u32 {
    // Without randomness the time has to do: it need not be secret.
    #[expect(clippy::cast_possible_truncation, reason = "any bits do")]
    getrandom::u32().unwrap_or(now.as_nanos() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PathKey = *b"sixteen bytes ok";

    /// What has come in by now.
    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let (mut all, mut one) = (Vec::new(), [0; 100]);
        while let Ok((n, _)) = socket.try_recv_from(&mut one) {
            all.push(one[..n].to_vec());
        }
        all
    }

    /// F-21: what a session does not want now it may want later.
    #[tokio::test]
    async fn f_21_a_way_that_was_refused_is_left_alone_for_longer_and_longer_and_then_tried_again() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        here.writable().await.unwrap();
        let to = there.local_addr().unwrap();
        let at = |seconds| Instant::ZERO.saturating_add(Duration::from_secs(seconds));
        let settings = DirectSettings { key: Some(KEY), addresses: vec![to], ..DirectSettings::default() };
        let (mut direct, mut ids) = (Direct::new(&settings, at(0)), PeerIds::new());
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..6 {
            assert!(direct.expire(at(now), &here, &mut ids).is_none());
            there.readable().await.unwrap();
            let probe = received(&there).pop().unwrap();
            let (tag, epoch) = (probe[1..8].try_into().unwrap(), &probe[17..21]);
            let answer = [&KEY[7..], epoch, &[9; 4]].concat();
            let up = direct.receive(at(now), &here, &mut ids, (datagram::PROBE_ACK, tag, &answer), to);
            assert!(matches!(up, Some(DirectEvent::Up(..))));
            let peer = direct.peers().next().unwrap();
            direct.refuse(peer, &mut ids, at(now));
            // Meanwhile it neither probes nor answers.
            let asked = [&KEY[7..], &[9; 8]].concat();
            assert!(direct.receive(at(now), &here, &mut ids, (datagram::PROBE, tag, &asked), to).is_none());
            assert!(direct.expire(at(now), &here, &mut ids).is_none() && received(&there).is_empty());
            let due = direct.next().unwrap();
            waits.push(due.saturating_duration_since(at(now)).as_secs());
            now += waits.last().unwrap();
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    /// F-21, F-34: a client that begins a path and is refused is not forgotten before its time is over, and waits no less when it
    /// comes again; clients that the server names find room all the same.
    #[tokio::test]
    async fn f_21_a_stranger_that_is_refused_is_left_alone_for_longer_each_time_as_well() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        here.writable().await.unwrap();
        let to = there.local_addr().unwrap();
        let at = |seconds| Instant::ZERO.saturating_add(Duration::from_secs(seconds));
        let settings = DirectSettings { key: Some(KEY), ..DirectSettings::default() };
        let (mut direct, mut ids) = (Direct::new(&settings, at(0)), PeerIds::new());
        let tag = path_tag(KEY);
        let asked = [&KEY[7..], &[9; 8]].concat();
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..6 {
            let began = now;
            // It probes every second, and is answered once it is not refused any more.
            while received(&there).is_empty() {
                now += 1;
                assert!(now < began + 100);
                direct.expire(at(now), &here, &mut ids);
                assert!(
                    direct.receive(at(now), &here, &mut ids, (datagram::PROBE, tag, &asked), to).is_none()
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waits.push(now - began);
            let path = &direct.paths[0];
            let answer = [&KEY[7..], &path.epoch.to_be_bytes(), &[9; 4]].concat();
            let up = direct.receive(at(now), &here, &mut ids, (datagram::PROBE_ACK, tag, &answer), to);
            assert!(matches!(up, Some(DirectEvent::Up(..))));
            let peer = direct.peers().next().unwrap();
            direct.refuse(peer, &mut ids, at(now));
            tokio::time::sleep(Duration::from_millis(2)).await;
            received(&there);
        }
        assert_eq!(waits[1..], [5, 10, 20, 40, 60]);
        assert!(!direct.paths[0].is_forgotten(at(now + 69)) && direct.paths[0].is_forgotten(at(now + 70)));
        for port in 0..100 {
            direct.add(KEY, SocketAddr::from(([192, 0, 2, 1], port)), false, at(now));
        }
        assert_eq!(direct.paths.len(), MAX_PATHS);
        direct.add([7; 16], SocketAddr::from(([192, 0, 2, 2], 7)), true, at(now));
        assert!(direct.paths.len() == MAX_PATHS && direct.paths.iter().any(|path| path.known));
    }
}
