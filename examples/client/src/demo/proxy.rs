//! A network worse than loopback: a proxy that delays, and stalls where a segment would have been lost.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// What a lost segment costs before it is sent again.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Bytes of one segment.
const SEGMENT: usize = 1400;

/// What to do to traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Impairment {
    /// Probability that a segment is lost, 0 to 1.
    pub(crate) loss: f64,
    /// The most that a segment is delayed.
    pub(crate) jitter: Duration,
}

impl Impairment {
    pub(crate) const fn is_none(&self) -> bool {
        self.loss <= 0.0 && self.jitter.is_zero()
    }
}

/// A TCP proxy in front of a server.
#[derive(Debug)]
pub(crate) struct TcpProxy {
    pub(crate) address: SocketAddr,
    stalls: Arc<AtomicU64>,
}

impl TcpProxy {
    pub(crate) async fn start(server: SocketAddr, impairment: Impairment) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stalls = Arc::new(AtomicU64::new(0));
        let counter = stalls.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, impairment, 1, counter.clone()));
                tokio::spawn(carry(from_server, to_client, impairment, 2, counter.clone()));
            }
        });
        Ok(Self { address, stalls })
    }

    /// Segments that were lost, and came late instead.
    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.load(Relaxed)
    }
}

/// Carries one direction. Segments keep their order, so one that is late holds up all behind it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    Impairment { loss, jitter }: Impairment,
    seed: u64,
    stalls: Arc<AtomicU64>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        while let Some((at, bytes)) = receiver.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut last = Instant::now();
    let mut segment = vec![0; SEGMENT];
    while let Ok(n @ 1..) = from.read(&mut segment).await {
        let mut at = Instant::now() + jitter.mul_f64(random.f64());
        while random.f64() < loss {
            stalls.fetch_add(1, Relaxed);
            at += RETRANSMISSION;
        }
        last = last.max(at);
        if sender.send((last, segment[..n].to_vec())).await.is_err() {
            return;
        }
    }
}
