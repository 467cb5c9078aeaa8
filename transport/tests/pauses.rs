//! A peer that the session does not let be read for some time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use core::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use voxwire_core::testing::TestSession;
use voxwire_core::{Input, Lane, LengthPrefix};
use voxwire_transport::{Hub, HubSettings, Listener};

const FRAMING: LengthPrefix = LengthPrefix { width: 2, little_endian: false, adjust: 2, min: 3, max: 2000 };

/// Pauses the first that came whenever the second says P, has it read again at R, and answers the first.
fn pausing() -> TestSession<(), LengthPrefix> {
    TestSession::new(FRAMING, (), |session, now, input| match input {
        Input::Frame { bytes: [.., b'P'], .. } => {
            session.outbox.pause(session.peers[0], now.saturating_add(Duration::from_secs(60)));
        }
        Input::Frame { bytes: [.., b'R'], .. } => session.outbox.resume(session.peers[0]),
        Input::Frame { peer, bytes, .. } => {
            session.outbox.forward([peer], Lane::Reliable, bytes).unwrap();
        }
        _ => {}
    })
}

/// F-15, F-24: the time in which we do not read is not the peer's: its frame is not late for that.
#[tokio::test]
async fn f_15_a_frame_is_not_late_because_we_do_not_read() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { frame_timeout: Duration::from_millis(1000), ..HubSettings::DEFAULT };
    let hub = Hub::spawn(vec![listener], pausing(), (), settings).unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"\0\x01a").await.unwrap();
    first.read_exact(&mut [0; 3]).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    first.write_all(b"\0\x0a12345").await.unwrap();
    // It has come in, and the pause comes after it.
    sleep(Duration::from_millis(200)).await;
    second.write_all(b"\0\x01P").await.unwrap();
    sleep(Duration::from_millis(2500)).await;
    second.write_all(b"\0\x01R").await.unwrap();
    // It is read again, and goes on a little later.
    sleep(Duration::from_millis(300)).await;
    first.write_all(b"67890").await.unwrap();
    let mut echo = [0; 12];
    timeout(Duration::from_secs(5), first.read_exact(&mut echo)).await.expect("in time").unwrap();
    assert_eq!((&echo, hub.stats().broken), (b"\0\x0a1234567890", 0));
}
