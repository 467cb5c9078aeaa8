//! What happens to connections where too much is queued.

use super::*;
use crate::hub::HubSettings;
use crate::tcp_udp::Control;
use core::time::Duration;
use voxwire_core::Datagram;

const UNITS: Transport = Transport::TcpUdp { udp: None, direct: false };

/// Peers of a hub where `limit` bytes may be queued.
struct Hub {
    common: Common,
    peers: Peers<Datagram>,
    pushed: u64,
}

type Opened = (PeerId, Arc<Conn<Datagram>>);

impl Hub {
    fn new(settings: HubSettings) -> Self {
        let common = Common::new(settings, Vec::new(), (None, None));
        let peers = Peers::new(&common);
        Self { common, peers, pushed: 0 }
    }

    fn open(&mut self, transport: Transport) -> Opened {
        let permit = self.common.quotas.permit(None).unwrap();
        self.peers.open(&self.common, Datagram { max: 1 << 20 }, transport, permit).unwrap()
    }

    /// Queues a reliable frame, even over the limit.
    fn push(&mut self, conn: &Conn<Datagram>, frame: &[u8]) {
        let Peers { frames, wakers, .. } = &mut self.peers;
        let frame = (Lane::Reliable, FrameId::new(self.pushed), frame);
        self.pushed += 1;
        let limit = core::mem::replace(&mut self.common.settings.max_queued_total, usize::MAX);
        let pushed = conn.push(&self.common, frame, true, frames, wakers);
        self.common.settings.max_queued_total = limit;
        assert_eq!(pushed, Ok(0));
    }

    fn queued(&self) -> usize {
        self.common.queued.load(Relaxed)
    }

    fn reset_largest(&mut self) -> Vec<PeerId> {
        self.peers.reset_largest(&self.common, self.common.clock.now());
        self.peers.overflowed.clone()
    }
}

/// A hub where each of `frames` is queued for a connection of its own.
fn crowded(limit: usize, frames: &[Vec<u8>]) -> (Hub, Vec<Opened>) {
    let mut hub =
        Hub::new(HubSettings { max_queued_total: limit, max_queued: 4 << 20, ..HubSettings::DEFAULT });
    let open = |hub: &mut Hub, frame: &Vec<u8>| {
        let opened = hub.open(UNITS);
        for (n, part) in frame.chunks(50_000).enumerate() {
            hub.push(&opened.1, &[&[u8::try_from(n).unwrap()], part].concat());
        }
        opened
    };
    let opened = frames.iter().map(|frame| open(&mut hub, frame)).collect();
    (hub, opened)
}

/// F-43: a client that provokes BOUND, PEER and GONE, and never reads, is not queued for without bound.
#[test]
fn f_43_what_the_transport_says_to_a_client_that_never_reads_is_bounded() {
    let mut hub = Hub::new(HubSettings::DEFAULT);
    let (peer, _) = hub.open(UNITS);
    for _ in 0..100_000 {
        hub.peers.send_control(&hub.common, peer, Control::Bound);
    }
    assert!(hub.queued() < 1024 && !hub.peers.has_overflowed(), "{} bytes are queued", hub.queued());
    let mut taken = 0;
    while !hub.peers.has_overflowed() {
        hub.peers.send_control(&hub.common, peer, Control::Gone([7; 16]));
        taken += 1;
    }
    assert!((100..10_000).contains(&taken) && hub.queued() < 256 * 1024, "{taken} taken");
    assert_eq!(hub.peers.take_overflowed(), [peer]);
    hub.peers.remove_and_reset(&hub.common, peer);
    assert_eq!((hub.queued(), hub.common.quotas.all()), (0, 0));
}

/// F-46: a shared frame is free only once all its connections are reset: as many are reset as it takes, and one that holds little stays.
#[test]
fn f_46_room_is_made_until_it_is_there() {
    let mut frames = vec![vec![7; 400_000]; 20];
    frames.push(vec![8; 10_000]);
    let (mut hub, opened) = crowded(400_000, &frames);
    assert!(hub.queued() > 400_000);
    let gone = hub.reset_largest();
    assert!(hub.queued() < 350_000, "{} bytes are queued", hub.queued());
    assert_eq!((gone.len(), gone.contains(&opened[20].0)), (20, false));
    // They are on their way: no other goes for them, and nothing is queued for them.
    hub.common.queued.fetch_add(400_000, Relaxed);
    hub.peers.overload.look_again = Instant::ZERO;
    let before = hub.queued();
    hub.push(&opened[0].1, &[9; 2000]);
    assert_eq!(hub.queued(), before);
    // Where that is not enough, the next look has to wait, or each frame would look anew.
    let gone = hub.reset_largest();
    assert_eq!(gone.iter().filter(|peer| **peer == opened[0].0).count(), 1);
    assert!(hub.peers.overload.look_again > hub.common.clock.now());
}

/// F-43: what connections that are reset hold is free only when their tasks have run. Until then no more is queued than an eighth over
/// the limit, however much is sent.
#[test]
fn f_43_until_what_was_freed_is_free_an_eighth_more_is_queued_at_most() {
    const LIMIT: usize = 400_000;
    let (mut hub, opened) = crowded(LIMIT, &[vec![7; 50_000]]);
    // Its task is writing more than all may have.
    let writing = &opened[0].1;
    (writing.lock().writing, writing.lock().writing_memory) = (LIMIT, LIMIT);
    hub.common.queued.fetch_add(LIMIT, Relaxed);
    let silent = (0..100).map(|_| {
        let (peer, conn) = hub.open(UNITS);
        conn.block(Instant::ZERO);
        peer
    });
    let silent: Vec<PeerId> = silent.collect();
    let round = |hub: &mut Hub, n: u8| {
        for (at, &peer) in (0_u8..).zip(&silent) {
            let frame: Vec<u8> = [n, at].into_iter().cycle().take(1000).collect();
            hub.pushed += 1;
            let frame = (Lane::Reliable, FrameId::new(hub.pushed), &frame[..]);
            hub.peers.send(&hub.common, peer, frame, &mut None);
        }
    };
    round(&mut hub, 0);
    assert!(hub.peers.overflowed.contains(&opened[0].0), "it goes first");
    hub.peers.overload.look_again = hub.common.clock.now().saturating_add(Duration::from_secs(3600));
    (1..50).for_each(|n| round(&mut hub, n));
    assert!(hub.queued() < LIMIT + LIMIT / 8 + 2000, "{} bytes are queued", hub.queued());
}

/// F-43, F-46: those for which many small frames are queued hold what these take, and no other goes for them.
#[test]
fn f_46_those_that_hoard_what_is_small_go_before_one_for_which_something_is_queued() {
    let settings = HubSettings { max_queued_total: 400_000, max_connections: 100, ..HubSettings::DEFAULT };
    let mut hub = Hub::new(settings);
    let open = |hub: &mut Hub, times: usize, len: usize| {
        let (peer, conn) = hub.open(Transport::Tcp);
        for _ in 0..times {
            conn.block(hub.common.clock.now());
            hub.push(&conn, &[7; 300][..len]);
        }
        (peer, conn)
    };
    let (honest, _) = open(&mut hub, 30, 200);
    let (little, _) = open(&mut hub, 1, 200);
    for _ in 0..40 {
        let (_, conn) = open(&mut hub, 585, 3);
        assert!(conn.lock().queue.len() < 4096, "{}", conn.lock().queue.len());
    }
    assert!(hub.queued() > 400_000, "{}", hub.queued());
    let gone = hub.reset_largest();
    assert!(!gone.is_empty() && !gone.contains(&honest) && !gone.contains(&little), "{gone:?}");
    assert!(hub.queued() < 350_000, "{} bytes are queued", hub.queued());
}

/// F-37: a reliable frame that a unit cannot hold is counted, as its peer misses it; a droppable one is dropped like any other.
#[test]
fn f_37_frames_that_cannot_be_sent_are_counted() {
    let mut hub = Hub::new(HubSettings { max_queued: 1 << 20, ..HubSettings::DEFAULT });
    let (peer, _) = hub.open(UNITS);
    for (lane, len) in [(Lane::Reliable, 65_534), (Lane::Reliable, 65_535), (Lane::Droppable, 65_535)] {
        let frame = (lane, FrameId::new(0), &vec![7; len][..]);
        hub.peers.send(&hub.common, peer, frame, &mut None);
    }
    let stats = hub.common.stats();
    assert_eq!((stats.unsendable_frames, stats.dropped_frames), (1, 1));
    assert!(!hub.peers.has_overflowed() && hub.queued() > 65_534);
}

/// F-46: a client for which the transport has a control message is not reset because other connections hold much.
#[test]
fn f_46_a_client_is_not_closed_for_what_others_hold_when_the_transport_tells_it_something() {
    let (mut hub, opened) = crowded(400_000, &[vec![7; 100_000], vec![8; 400_000]]);
    hub.peers.send_control(&hub.common, opened[0].0, Control::Gone([7; 16]));
    assert_eq!(hub.peers.take_overflowed(), [opened[1].0]);
    hub.peers.remove_and_reset(&hub.common, opened[1].0);
    assert!(hub.peers.contains(opened[0].0) && !hub.peers.contains(opened[1].0));
    assert!(hub.queued() < 150_000);
}
