//! A network worse than loopback: a proxy that delays, and stalls where a segment would have been lost.

use core::future::Future;
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
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

/// A proxy in front of a server that is reached by TCP and UDP: on an address of its own, and the server's UDP port.
#[derive(Debug)]
pub(crate) struct LanesProxy {
    pub(crate) address: SocketAddr,
}

impl LanesProxy {
    pub(crate) async fn start(server: SocketAddr, impairment: Impairment) -> io::Result<Self> {
        let host = Ipv4Addr::new(127, 0, 0, 2);
        let tcp = TcpListener::bind((host, 0)).await?;
        let address = tcp.local_addr()?;
        let udp = Arc::new(UdpSocket::bind((host, server.port())).await?);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = tcp.accept().await {
                let Ok(mut server) = TcpStream::connect(server).await else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        relay(udp, server, impairment);
        Ok(Self { address })
    }
}

/// A proxy in front of a server that is reached by UDP.
#[derive(Debug)]
pub(crate) struct UdpProxy {
    pub(crate) address: SocketAddr,
}

impl UdpProxy {
    pub(crate) async fn start(server: SocketAddr, impairment: Impairment) -> io::Result<Self> {
        let udp = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = udp.local_addr()?;
        relay(udp, server, impairment);
        Ok(Self { address })
    }
}

/// Carries datagrams between the clients that send to `udp`, and the server.
fn relay(udp: Arc<UdpSocket>, server: SocketAddr, impairment: Impairment) {
    tokio::spawn(async move {
        let mut ways: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut random = fastrand::Rng::with_seed(3);
        let mut datagram = [0; 2048];
        while let Ok((len, client)) = udp.recv_from(&mut datagram).await {
            let way = match ways.get(&client) {
                Some(way) => way.clone(),
                None => {
                    let Ok(way) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await else { continue };
                    if way.connect(server).await.is_err() {
                        continue;
                    }
                    let way = Arc::new(way);
                    ways.insert(client, way.clone());
                    let (back, here, mut random) = (udp.clone(), way.clone(), random.fork());
                    tokio::spawn(async move {
                        let mut datagram = [0; 2048];
                        while let Ok(len) = here.recv(&mut datagram).await {
                            let (back, bytes) = (back.clone(), datagram[..len].to_vec());
                            impairment.apply(&mut random, async move {
                                let _ = back.send_to(&bytes, client).await;
                            });
                        }
                    });
                    way
                }
            };
            let bytes = datagram[..len].to_vec();
            impairment.apply(&mut random, async move {
                let _ = way.send(&bytes).await;
            });
        }
    });
}

impl Impairment {
    /// Does `send` after a while, or never.
    fn apply(&self, random: &mut fastrand::Rng, send: impl Future<Output = ()> + Send + 'static) {
        // Half of the loss each way.
        if random.f64() < self.loss / 2.0 {
            return;
        }
        let at = Instant::now() + self.jitter.mul_f64(random.f64());
        tokio::spawn(async move {
            sleep_until(at).await;
            send.await;
        });
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
