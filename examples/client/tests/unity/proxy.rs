//! What stands between a client and its server, and loses datagrams.
#![allow(unreachable_pub)]

use std::collections::HashMap;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

/// The kind of datagrams that hold packets.
const DATA: u8 = 3;

/// Passes TCP and UDP on, on an address of its own.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    udp_port: u16,
    loss: Arc<Loss>,
}

#[derive(Default)]
struct Loss {
    /// Nothing gets through.
    blocked: AtomicBool,
    /// Of how many DATA one is lost, in each direction; 0: none.
    every: AtomicU64,
    /// DATA so far, to the server and from it.
    counted: [AtomicU64; 2],
}

impl Loss {
    fn takes(&self, datagram: &[u8], direction: usize) -> bool {
        if datagram.first() == Some(&DATA) {
            let every = self.every.load(Relaxed);
            if every > 0 && (self.counted[direction].fetch_add(1, Relaxed) + 1).is_multiple_of(every) {
                return false;
            }
        }
        !self.blocked.load(Relaxed)
    }
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, udp_port) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap().port());
        let proxy = Self { address, udp_port, loss: Arc::default() };
        let (relaying, forwarding) = (proxy.clone(), proxy.clone());
        thread::spawn(move || {
            while let Ok((near, _)) = tcp.accept() {
                let Ok(far) = TcpStream::connect(server) else { continue };
                relaying.relay(near, far);
            }
        });
        thread::spawn(move || forwarding.forward(&Arc::new(udp), server));
        proxy
    }

    /// Loses one in so many DATA from now on, in each direction.
    pub fn lose_every(&self, every: u64) {
        self.loss.every.store(every, Relaxed);
    }

    /// Lets no datagram through.
    pub fn block(&self, blocked: bool) {
        self.loss.blocked.store(blocked, Relaxed);
    }

    /// Passes the TCP side on. The server's hello names its UDP port: the proxy's is told instead.
    fn relay(&self, near: TcpStream, far: TcpStream) {
        let (from_client, to_server) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let port = self.udp_port;
        thread::spawn(move || pass_on(from_client, to_server));
        thread::spawn(move || {
            let (mut far, mut near, mut hello) = (far, near, [0; 32]);
            if far.read_exact(&mut hello).is_ok() {
                hello[6..8].copy_from_slice(&port.to_be_bytes());
                if near.write_all(&hello).is_ok() {
                    pass_on(far, near);
                }
            }
        });
    }

    fn forward(&self, udp: &Arc<UdpSocket>, server: SocketAddr) {
        let mut fars: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let far = fars.entry(from).or_insert_with(|| {
                let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                far.connect(server).unwrap();
                let (receiving, near, loss) = (far.try_clone().unwrap(), udp.clone(), self.loss.clone());
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    loop {
                        // An error tells of a server that was not there for a moment.
                        let Ok(len) = receiving.recv(&mut buffer) else { continue };
                        if loss.takes(&buffer[..len], 1) {
                            let _ = near.send_to(&buffer[..len], from);
                        }
                    }
                });
                far
            });
            if self.loss.takes(&buffer[..len], 0) {
                let _ = far.send(&buffer[..len]);
            }
        }
    }
}

/// The end of either side is the end of both.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
