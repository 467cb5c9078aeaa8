//! How long a connection that the session has closed has for what is queued for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use crate::harness::shouting;

use core::time::Duration;
use shouting::{ShoutingOnStream, shouting_on_stream};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use voxwire_core::testing::TestSession;
use voxwire_core::{Input, Lane, LengthPrefix};
use voxwire_transport::{Drained, Handle, Hub, HubSettings, Listener};

const SOON: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3600);
const FRAMES: usize = 2000;
const FRAME: [u8; 1000] = [7; 1000];

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect(what);
}

/// A hub that has closed its only connection, for which more is queued than the system holds.
async fn closed(settings: HubSettings) -> (Handle<ShoutingOnStream>, TcpStream) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings {
        send_buffer: Some(8 * 1024),
        max_queued: 4 << 20,
        unacknowledged: None,
        linger: HOUR,
        ..settings
    };
    let hub = Hub::spawn(vec![listener], shouting_on_stream(), (), settings).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    until("the connection is up", || hub.call(|session, _| !session.peers.is_empty())).await;
    hub.call(|session, _| {
        (0..FRAMES).for_each(|_| session.say(Lane::Reliable, &FRAME));
        session.outbox.close(session.peers[0]);
    });
    assert_eq!((hub.stats().connections, hub.stats().closing), (0, 1));
    (hub, stream)
}

/// C-06: a session may leave its peers open when it is shut down. The hub closes them itself, and those that do not close their side are cut
/// off at the deadline of the drain.
#[tokio::test]
async fn c_06_a_drain_ends_where_the_session_closes_no_peer() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let framing = LengthPrefix { width: 4, little_endian: false, adjust: 0, min: 4, max: 100 };
    // It forgets its peers, so that it has none to close.
    let session = TestSession::new(framing, 0_usize, |session, _, input| {
        session.state += usize::from(matches!(input, Input::Opened { .. }));
        session.peers.clear();
    });
    let settings = HubSettings { linger: HOUR, close_timeout: HOUR, ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], session, (), settings).unwrap();
    let (mut polite, mut idle) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    until("both are up", || hub.call(|session, _| session.state == 2)).await;
    let drain = timeout(Duration::from_secs(30), hub.drain(SOON));
    let closes = async {
        polite.read_to_end(&mut Vec::new()).await.unwrap();
        drop(polite);
    };
    let (drained, ()) = tokio::join!(drain, closes);
    assert_eq!(drained.expect("it ends"), Drained { told: 1, cut_off: 1 });
    until("both have ended", || (hub.stats().connections, hub.stats().closing) == (0, 0)).await;
    timeout(Duration::from_secs(30), idle.read_to_end(&mut Vec::new())).await.expect("it is cut off").ok();
}

/// C-06: a peer that does not take what is queued for it is reset once `close_timeout` is over.
#[tokio::test]
async fn c_06_a_closed_connection_is_reset_at_its_deadline() {
    let settings = HubSettings { close_timeout: SOON, frame_timeout: HOUR, ..HubSettings::DEFAULT };
    let (hub, mut stream) = closed(settings).await;
    until("it has ended", || hub.stats().closing == 0).await;
    assert_eq!((hub.stats().broken, hub.stats().queued), (1, 0));
    let read = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// C-06: until then it gets all that was queued, however little time a frame has that comes in.
#[tokio::test]
async fn c_06_a_closed_connection_is_not_held_to_the_deadline_of_frames() {
    let settings = HubSettings { close_timeout: HOUR, frame_timeout: SOON, ..HubSettings::DEFAULT };
    let (hub, mut stream) = closed(settings).await;
    // Deadlines are looked at once a second.
    sleep(Duration::from_millis(2500)).await;
    let mut all = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut all))
        .await
        .expect("is closed")
        .expect("no reset");
    assert_eq!(all.len(), FRAMES * FRAME.len());
    drop(stream);
    until("it has ended", || hub.stats().closing == 0).await;
    assert_eq!(hub.stats().broken, 0);
}
