//! Direct ways to other clients, through the socket of the UDP side; `PROTOCOL.md`, section 6.

use crate::lanes::{HEAD, PathKey, Tag, datagram, head, path_tag};
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use tokio::net::UdpSocket;
use voxwire_core::{Instant, Lane, PeerId, PeerIds};

/// How often a way is knocked at.
const BEAT: Duration = Duration::from_millis(250);
/// A way without an answer for so long is none: less than a second, or the voice on it would be missed.
const SILENCE: Duration = Duration::from_millis(800);
/// How soon somebody is knocked at who has just knocked.
const SOON: Duration = Duration::from_millis(50);
/// How often in all a way is knocked at that never answers, before it is only now and then.
const HOPEFUL: u32 = 20;
const NOW_AND_THEN: Duration = Duration::from_secs(2);
/// How long a way that the session does not want is left alone; twice as long each time, up to the longest.
const REFUSED: Duration = Duration::from_secs(5);
const REFUSED_LONGEST: Duration = Duration::from_secs(60);
/// Who came of its own accord, and is gone, is forgotten after that.
const FORGET: Duration = Duration::from_secs(10);
/// Ways at once.
const WAYS: usize = 32;
/// Frames that must arrive and have not yet, on one way.
const INSISTING: usize = 64;

/// What a knock says: the rest of the key, the epoch, and as much room as the answer takes.
const KNOCK: usize = 17;

/// Which other clients to reach without the server. By default none.
#[derive(Debug, Clone, Default)]
pub struct DirectSettings {
    /// Have the server tell others our address, and us theirs; only those who want that, too.
    pub announce: bool,
    /// The local UDP port, or 0 for any.
    pub port: u16,
    /// What those show each other who know each other's addresses without a server.
    pub key: Option<[u8; 16]>,
    /// Those addresses; who knocks with the right key from another one is answered, too.
    pub addresses: Vec<SocketAddr>,
}

impl DirectSettings {
    pub(super) const fn is_wanted(&self) -> bool {
        self.announce || self.key.is_some()
    }
}

/// All direct ways of a client.
#[derive(Debug, Default)]
pub(super) struct Direct {
    key: Option<PathKey>,
    ways: Vec<Way>,
    out: Vec<u8>,
}

/// What happened on a way.
pub(super) enum DirectNews {
    Up(PeerId, SocketAddr),
    Down(PeerId),
    /// A frame, and where in the datagram it is.
    Frame(PeerId, Lane, Range<usize>),
}

#[derive(Debug)]
struct Way {
    key: PathKey,
    to: SocketAddr,
    /// We have been told of it, and knock whether it answers or not.
    known: bool,
    /// Which of our ways to there this is: the other side sees from it that we have lost the one before.
    epoch: u32,
    /// The other side's.
    theirs: Option<u32>,
    /// While both sides hear each other.
    peer: Option<PeerId>,
    /// The session does not want it for now; it may another time.
    refused_until: Option<Instant>,
    refusals: u32,
    answered: Instant,
    knocks: u32,
    next_knock: Instant,
    /// What must arrive, the first of it under the number `sent`.
    insisting: VecDeque<Vec<u8>>,
    sent: u16,
    next_send: Instant,
    /// How much of what must arrive has come in.
    taken: u16,
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

    /// The server says where somebody is.
    pub(super) fn add(&mut self, key: PathKey, to: SocketAddr, known: bool, now: Instant) {
        if self.ways.iter().any(|way| way.key == key && way.to == to) {
            return;
        }
        if known && self.ways.len() >= WAYS {
            // What came of its own accord, and is not up, gives way.
            let index = self.ways.iter().position(|way| !way.known && way.peer.is_none());
            index.into_iter().for_each(|index| drop(self.ways.swap_remove(index)));
        }
        if self.ways.len() < WAYS {
            self.ways.push(Way::new(key, to, known, now));
        }
    }

    /// The server says that somebody is not there any more.
    pub(super) fn remove(&mut self, key: PathKey) -> Option<PeerId> {
        // Whoever is known by the user's own key is none of the server's business.
        let index = self.ways.iter().position(|way| way.key == key && Some(key) != self.key)?;
        self.ways.swap_remove(index).peer
    }

    /// Whose ways are up.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.ways.iter().filter_map(|way| way.peer)
    }

    /// Sends a frame, or loses it.
    pub(super) fn send(&mut self, now: Instant, socket: &UdpSocket, to: PeerId, lane: Lane, frame: &[u8]) {
        let Some(way) = self.ways.iter_mut().find(|way| way.peer == Some(to)) else { return };
        if lane == Lane::Droppable {
            self.out.clear();
            self.out.extend(head(datagram::DIRECT, path_tag(way.key)));
            self.out.extend_from_slice(frame);
            let _ = socket.try_send_to(&self.out, way.to);
        } else if way.insisting.len() < INSISTING {
            way.insisting.push_back(frame.to_vec());
            if way.insisting.len() == 1 {
                way.insist(now, socket);
            }
        }
    }

    /// The session does not want this way.
    pub(super) fn refuse(&mut self, peer: PeerId, ids: &mut PeerIds, now: Instant) {
        if let Some(way) = self.ways.iter_mut().find(|way| way.peer == Some(peer)) {
            way.lose(ids, now);
            let times = 1_u32.checked_shl(way.refusals).unwrap_or(u32::MAX);
            way.refusals = way.refusals.saturating_add(1);
            let until = now.saturating_add(REFUSED.saturating_mul(times).min(REFUSED_LONGEST));
            (way.refused_until, way.next_knock) = (Some(until), until);
        }
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.ways.iter().filter_map(Way::next).min()
    }

    /// Does what is due: knocks, repeats, notices silence.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        socket: &UdpSocket,
        ids: &mut PeerIds,
    ) -> Option<DirectNews> {
        self.ways.retain(|way| way.known || way.peer.is_some() || !way.is_forgotten(now));
        for way in &mut self.ways {
            if way.peer.is_some() && now.saturating_duration_since(way.answered) >= SILENCE {
                return way.lose(ids, now).map(DirectNews::Down);
            }
            if way.next_knock <= now {
                way.knock(now, socket);
            }
            if way.next_send <= now && !way.insisting.is_empty() {
                way.insist(now, socket);
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
    ) -> Option<DirectNews> {
        if kind == datagram::KNOCK {
            return self.knocked(now, socket, ids, tag, body, from);
        }
        let mut ways = self.ways.iter_mut();
        let way = ways.find(|way| way.to == from && path_tag(way.key) == tag && !way.is_refused(now))?;
        match kind {
            datagram::ANSWER => way.answered(now, ids, body),
            datagram::DIRECT => {
                let whole = HEAD..HEAD.saturating_add(body.len());
                Some(DirectNews::Frame(way.peer?, Lane::Droppable, whole))
            }
            datagram::INSIST => way.insisted(socket, body),
            datagram::TAKEN => {
                way.taken(now, socket, body);
                None
            }
            _ => None,
        }
    }

    fn knocked(
        &mut self,
        now: Instant,
        socket: &UdpSocket,
        ids: &mut PeerIds,
        tag: Tag,
        body: &[u8],
        from: SocketAddr,
    ) -> Option<DirectNews> {
        let (rest, body) = body.split_first_chunk::<9>()?;
        let (epoch, padding) = body.split_first_chunk::<4>()?;
        // An answer is no longer than the question.
        if padding.len() < 4 {
            return None;
        }
        let mut key = PathKey::default();
        key.iter_mut().zip(tag.iter().chain(rest)).for_each(|(to, from)| *to = *from);
        let exact = self.ways.iter().position(|way| way.key == key && way.to == from);
        let index = exact.or_else(|| {
            if self.key == Some(key) {
                self.add(key, from, false, now);
                return self.ways.iter().position(|way| way.key == key && way.to == from);
            }
            // The server has said where it is; a NAT may have given it another port since.
            let index = self.ways.iter().position(|way| way.key == key && way.peer.is_none())?;
            self.ways.get_mut(index)?.to = from;
            Some(index)
        })?;
        let way = self.ways.get_mut(index).filter(|way| !way.is_refused(now))?;
        let epoch = u32::from_be_bytes(*epoch);
        let lost = if way.theirs.is_some_and(|theirs| theirs != epoch) { way.lose(ids, now) } else { None };
        way.theirs = Some(epoch);
        let answer = [&rest[..], &epoch.to_be_bytes(), &way.epoch.to_be_bytes()].concat();
        way.say(socket, datagram::ANSWER, &answer);
        if way.peer.is_none() {
            way.next_knock = way.next_knock.min(now.saturating_add(SOON));
        }
        lost.map(DirectNews::Down)
    }
}

impl Way {
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
            answered: now,
            knocks: 0,
            next_knock: now,
            insisting: VecDeque::new(),
            sent: 0,
            next_send: now,
            taken: 0,
        }
    }

    fn next(&self) -> Option<Instant> {
        let silent = self.peer.map(|_| self.answered.saturating_add(SILENCE));
        let send = (!self.insisting.is_empty()).then_some(self.next_send);
        [Some(self.next_knock), silent, send].into_iter().flatten().min()
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    /// Nothing has been heard of it for long. While it is refused nothing is to be heard, and how often it has been refused counts on.
    fn is_forgotten(&self, now: Instant) -> bool {
        let last = self.answered.max(self.refused_until.unwrap_or(self.answered));
        now >= last.saturating_add(FORGET)
    }

    fn say(&self, socket: &UdpSocket, kind: u8, body: &[u8]) {
        let _ = socket.try_send_to(&[&head(kind, path_tag(self.key))[..], body].concat(), self.to);
    }

    fn knock(&mut self, now: Instant, socket: &UdpSocket) {
        self.knocks = self.knocks.saturating_add(1);
        let hopeless = self.peer.is_none() && self.knocks > HOPEFUL;
        self.next_knock = now.saturating_add(if hopeless { NOW_AND_THEN } else { BEAT });
        let mut body = [0; KNOCK];
        let parts = [self.key.get(7..).unwrap_or(&[]), &self.epoch.to_be_bytes()];
        body.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        self.say(socket, datagram::KNOCK, &body);
    }

    fn answered(&mut self, now: Instant, ids: &mut PeerIds, body: &[u8]) -> Option<DirectNews> {
        let (rest, body) = body.split_first_chunk::<9>()?;
        let (ours, theirs) = body.split_first_chunk::<4>()?;
        let theirs = u32::from_be_bytes(*theirs.first_chunk()?);
        if self.key.get(7..) != Some(&rest[..]) || u32::from_be_bytes(*ours) != self.epoch {
            return None;
        }
        if self.peer.is_some() && self.theirs != Some(theirs) {
            let lost = self.lose(ids, now);
            self.theirs = Some(theirs);
            return lost.map(DirectNews::Down);
        }
        (self.theirs, self.answered) = (Some(theirs), now);
        if self.peer.is_some() {
            return None;
        }
        self.peer = ids.mint();
        self.knocks = 0;
        Some(DirectNews::Up(self.peer?, self.to))
    }

    /// Not there any more; the other side will notice by the epoch.
    fn lose(&mut self, ids: &mut PeerIds, now: Instant) -> Option<PeerId> {
        let peer = self.peer.take();
        peer.into_iter().for_each(|peer| ids.retire(peer));
        self.epoch = epoch(now);
        self.theirs = None;
        self.insisting.clear();
        (self.sent, self.taken, self.knocks, self.next_knock) = (0, 0, 0, now);
        peer
    }

    /// Sends the first of what must arrive.
    fn insist(&mut self, now: Instant, socket: &UdpSocket) {
        self.next_send = now.saturating_add(BEAT);
        if let Some(frame) = self.insisting.front() {
            let number = [&self.epoch.to_be_bytes()[..], &self.sent.to_be_bytes(), frame].concat();
            self.say(socket, datagram::INSIST, &number);
        }
    }

    /// Takes what must arrive, once, and says so.
    fn insisted(&mut self, socket: &UdpSocket, body: &[u8]) -> Option<DirectNews> {
        let (number, frame) = body.split_first_chunk::<6>()?;
        let (epoch, sequence) = number.split_first_chunk::<4>()?;
        let sequence = u16::from_be_bytes(*sequence.first_chunk()?);
        let peer = self.peer.filter(|_| self.theirs == Some(u32::from_be_bytes(*epoch)))?;
        let new = sequence == self.taken;
        // What has come in before is said again: the first time may have been lost.
        if !new && self.taken.wrapping_sub(sequence) > u16::MAX / 2 {
            return None;
        }
        self.say(socket, datagram::TAKEN, number);
        if !new {
            return None;
        }
        self.taken = self.taken.wrapping_add(1);
        let start = HEAD.saturating_add(6);
        Some(DirectNews::Frame(peer, Lane::Reliable, start..start.saturating_add(frame.len())))
    }

    fn taken(&mut self, now: Instant, socket: &UdpSocket, body: &[u8]) {
        let expected = [&self.epoch.to_be_bytes()[..], &self.sent.to_be_bytes()].concat();
        if body == expected && self.insisting.pop_front().is_some() {
            self.sent = self.sent.wrapping_add(1);
            self.insist(now, socket);
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
            let knock = received(&there).pop().unwrap();
            let (tag, epoch) = (knock[1..8].try_into().unwrap(), &knock[17..21]);
            let answer = [&KEY[7..], epoch, &[9; 4]].concat();
            let up = direct.receive(at(now), &here, &mut ids, (datagram::ANSWER, tag, &answer), to);
            assert!(matches!(up, Some(DirectNews::Up(..))));
            let peer = direct.peers().next().unwrap();
            direct.refuse(peer, &mut ids, at(now));
            // Meanwhile it neither knocks nor answers.
            let asked = [&KEY[7..], &[9; 8]].concat();
            assert!(direct.receive(at(now), &here, &mut ids, (datagram::KNOCK, tag, &asked), to).is_none());
            assert!(direct.expire(at(now), &here, &mut ids).is_none() && received(&there).is_empty());
            let due = direct.next().unwrap();
            waits.push(due.saturating_duration_since(at(now)).as_secs());
            now += waits.last().unwrap();
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    /// F-21, F-34: who comes of its own accord, and is refused, is not forgotten before its time is over, and has not got less to wait
    /// for when it comes again; those whom the server names find room all the same.
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
            // It knocks every second, and is answered once it is not refused any more.
            while received(&there).is_empty() {
                now += 1;
                assert!(now < began + 100);
                direct.expire(at(now), &here, &mut ids);
                assert!(
                    direct.receive(at(now), &here, &mut ids, (datagram::KNOCK, tag, &asked), to).is_none()
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waits.push(now - began);
            let way = &direct.ways[0];
            let answer = [&KEY[7..], &way.epoch.to_be_bytes(), &[9; 4]].concat();
            let up = direct.receive(at(now), &here, &mut ids, (datagram::ANSWER, tag, &answer), to);
            assert!(matches!(up, Some(DirectNews::Up(..))));
            let peer = direct.peers().next().unwrap();
            direct.refuse(peer, &mut ids, at(now));
            tokio::time::sleep(Duration::from_millis(2)).await;
            received(&there);
        }
        assert_eq!(waits[1..], [5, 10, 20, 40, 60]);
        assert!(!direct.ways[0].is_forgotten(at(now + 69)) && direct.ways[0].is_forgotten(at(now + 70)));
        for port in 0..100 {
            direct.add(KEY, SocketAddr::from(([192, 0, 2, 1], port)), false, at(now));
        }
        assert_eq!(direct.ways.len(), WAYS);
        direct.add([7; 16], SocketAddr::from(([192, 0, 2, 2], 7)), true, at(now));
        assert!(direct.ways.len() == WAYS && direct.ways.iter().any(|way| way.known));
    }
}
