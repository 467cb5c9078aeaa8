//! Carries bytes between clients and the target. Every queue is bounded.

use super::Shared;
use super::impair::{RETRANSMISSION, Random};
use super::record::Carrier;
use crate::tcp_udp;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Duration, Instant, sleep_until};

/// Connections, and clients by UDP, at a time.
const MAX_CONNECTIONS: usize = 256;
const MAX_CLIENTS: usize = 256;

/// Bytes that are read at once, and how many such pieces wait in one direction.
const PIECE: usize = 16 << 10;
const MAX_PIECES: usize = 256;

/// Datagrams that wait, of all clients.
const MAX_DATAGRAMS: usize = 8192;

/// How long a client by UDP may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// Accepts connections.
pub(super) async fn tcp(shared: Rc<Shared>, listener: TcpListener, udp_port: Option<u16>) {
    let open = Rc::new(Cell::new(0));
    loop {
        let Ok((client, address)) = listener.accept().await else {
            // No descriptors are left, for instance.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if open.get() >= MAX_CONNECTIONS {
            shared.watch.borrow_mut().figures.refused += 1;
            continue;
        }
        open.set(open.get() + 1);
        let (shared, open) = (shared.clone(), open.clone());
        spawn_local(async move {
            match TcpStream::connect(shared.target).await {
                Ok(server) => connection(&shared, client, server, address, udp_port).await,
                Err(error) => eprintln!("voxwire-inspect: {} does not answer: {error}", shared.target),
            }
            open.set(open.get() - 1);
        });
    }
}

/// Both directions, until both have ended or one has failed.
async fn connection(
    shared: &Rc<Shared>,
    client: TcpStream,
    server: TcpStream,
    address: SocketAddr,
    udp_port: Option<u16>,
) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (carrier, opening) = Carrier::tcp(address, shared.target);
    for packet in opening {
        shared.watch.borrow_mut().opened(&packet);
    }
    let carrier = Rc::new(RefCell::new(carrier));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there =
        Direction { shared: shared.clone(), carrier: carrier.clone(), from_client: true, udp_port: None };
    let back = Direction { shared: shared.clone(), carrier, from_client: false, udp_port };
    let _ = tokio::try_join!(there.run(from_client, to_server), back.run(from_server, to_client));
}

/// One direction of a connection.
struct Direction {
    shared: Rc<Shared>,
    carrier: Rc<RefCell<Carrier>>,
    from_client: bool,
    /// To which the server's hello is to send clients.
    udp_port: Option<u16>,
}

impl Direction {
    async fn run(self, from: OwnedReadHalf, to: OwnedWriteHalf) -> std::io::Result<()> {
        let (sender, receiver) = mpsc::channel(MAX_PIECES);
        let random = self.shared.random.borrow_mut().fork();
        tokio::try_join!(self.read(from, sender, random), self.write(to, receiver))?;
        Ok(())
    }

    /// Decides when each piece goes on; pieces stay in order.
    async fn read(
        &self,
        mut from: OwnedReadHalf,
        sender: mpsc::Sender<(Instant, Vec<u8>)>,
        mut random: Random,
    ) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut is_first = true;
        let mut last = Instant::now();
        loop {
            let mut len = from.read(&mut piece).await?;
            if len == 0 {
                return Ok(());
            }
            if core::mem::take(&mut is_first)
                && let Some(port) = self.udp_port
            {
                // A hello may come in two pieces.
                while tcp_udp::is_part_of_hello(&piece[..len]) {
                    match from.read(&mut piece[len..]).await? {
                        0 => break,
                        more => len += more,
                    }
                }
                if let Some(named) = tcp_udp::set_udp_port(&mut piece[..len], port) {
                    self.shared.udp_port.set(named);
                }
            }
            let (is_lost, mut late) = self.shared.impairment.next(&mut random);
            if is_lost {
                self.shared.watch.borrow_mut().figures.stalled += 1;
                late += RETRANSMISSION;
            }
            last = last.max(Instant::now() + late);
            if sender.send((last, piece[..len].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn write(
        &self,
        mut to: OwnedWriteHalf,
        mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>,
    ) -> std::io::Result<()> {
        while let Some((at, piece)) = receiver.recv().await {
            sleep_until(at).await;
            self.shared.watch.borrow_mut().forwarded(
                &mut self.carrier.borrow_mut(),
                self.from_client,
                &piece,
            );
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    }
}

/// A client by UDP.
struct Client {
    way: Rc<UdpSocket>,
    carrier: Rc<RefCell<Carrier>>,
    random: Random,
    heard: Instant,
    back: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.back.abort();
    }
}

/// Carries datagrams.
pub(super) async fn udp(shared: Rc<Shared>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let waiting = Rc::new(Cell::new(0));
    let mut datagram = vec![0; 65_536];
    // As for the sockets to the target.
    let _ = socket.writable().await;
    loop {
        let Ok((len, address)) = socket.recv_from(&mut datagram).await else {
            // What the system says of a datagram sent earlier, or that it has no memory.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let now = Instant::now();
        if !clients.contains_key(&address) {
            clients.retain(|_, client| now.duration_since(client.heard) < IDLE);
            if clients.len() >= MAX_CLIENTS {
                shared.watch.borrow_mut().figures.refused += 1;
                continue;
            }
            match client(&shared, &socket, address, &waiting).await {
                Ok(client) => drop(clients.insert(address, client)),
                Err(error) => {
                    eprintln!("voxwire-inspect: no way to {}: {error}", shared.target);
                    continue;
                }
            }
        }
        let Some(client) = clients.get_mut(&address) else { continue };
        client.heard = now;
        let (way, carrier) = (client.way.clone(), client.carrier.clone());
        let bytes = datagram[..len].to_vec();
        later(&shared, &waiting, &mut client.random, async move |shared| {
            shared.watch.borrow_mut().forwarded(&mut carrier.borrow_mut(), true, &bytes);
            let _ = way.send(&bytes).await;
        });
    }
}

/// A socket of its own to the target, and a task that carries back.
async fn client(
    shared: &Rc<Shared>,
    socket: &Rc<UdpSocket>,
    address: SocketAddr,
    waiting: &Rc<Cell<usize>>,
) -> std::io::Result<Client> {
    let target = SocketAddr::new(shared.target.ip(), shared.udp_port.get());
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let way = UdpSocket::bind(any).await?;
    way.connect(target).await?;
    // Or those who wait for the first readiness would send in any order.
    way.writable().await?;
    let (way, carrier) = (Rc::new(way), Rc::new(RefCell::new(Carrier::udp(address, target))));
    let random = shared.random.borrow_mut().fork();
    let mut of_back = shared.random.borrow_mut().fork();
    let (shared, socket, waiting) = (shared.clone(), socket.clone(), waiting.clone());
    let (from, of_client) = (way.clone(), carrier.clone());
    let back = spawn_local(async move {
        let mut datagram = vec![0; 65_536];
        loop {
            let Ok(len) = from.recv(&mut datagram).await else {
                // Nobody listens there, at the moment.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (socket, carrier, bytes) = (socket.clone(), of_client.clone(), datagram[..len].to_vec());
            later(&shared, &waiting, &mut of_back, async move |shared| {
                shared.watch.borrow_mut().forwarded(&mut carrier.borrow_mut(), false, &bytes);
                let _ = socket.send_to(&bytes, address).await;
            });
        }
    });
    Ok(Client { way, carrier, random, heard: Instant::now(), back })
}

/// Sends a datagram after its delay, unless it is lost.
fn later<F: AsyncFnOnce(Rc<Shared>) + 'static>(
    shared: &Rc<Shared>,
    waiting: &Rc<Cell<usize>>,
    random: &mut Random,
    send: F,
) {
    let (is_lost, late) = shared.impairment.next(random);
    if is_lost {
        shared.watch.borrow_mut().figures.lost += 1;
        return;
    }
    if waiting.get() >= MAX_DATAGRAMS {
        shared.watch.borrow_mut().figures.refused += 1;
        return;
    }
    waiting.set(waiting.get() + 1);
    let (shared, waiting, at) = (shared.clone(), waiting.clone(), Instant::now() + late);
    spawn_local(async move {
        if !late.is_zero() {
            sleep_until(at).await;
        }
        send(shared).await;
        waiting.set(waiting.get() - 1);
    });
}
