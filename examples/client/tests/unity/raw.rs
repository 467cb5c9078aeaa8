//! What raw tests share: a hello by hand, a connection that is filled, and a valve in front of a server.
#![allow(unreachable_pub)]

use crate::players::CSharp;
use core::time::Duration;
use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

/// Takes a connection and admits it, without UDP.
pub fn admit(listener: &TcpListener) -> TcpStream {
    let mut stream = listener.accept().unwrap().0;
    stream.read_exact(&mut [0; 8]).unwrap();
    stream.write_all(&[&b"VOXL\x01\x00"[..], &[0; 26]].concat()).unwrap();
    stream
}

/// Sends reliable packets of 1000 bytes until nothing more is taken. Returns how many were.
#[track_caller]
pub fn fill(ann: &mut CSharp) -> u32 {
    let (mut sent, mut refused) = (0, 0);
    for _ in 0..2000 {
        ann.tell("reliable 100 1000");
        let taken: u32 = ann.lines.until("sent ").0[5..].parse().unwrap();
        sent += taken;
        // The system may be taking some at the moment, or the machine may be slow.
        refused = if taken == 0 { refused + 1 } else { 0 };
        if refused == 50 {
            return sent;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    panic!("{sent} packets, and still more are taken");
}

/// Stands before a server, and passes TCP on until it is closed.
pub struct Valve {
    pub address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Valve {
    pub fn start(server: SocketAddr) -> Self {
        Self::with(server, None)
    }

    /// Ends each connection after this time.
    pub fn cutting(server: SocketAddr, after: Duration) -> Self {
        Self::with(server, Some(after))
    }

    fn with(server: SocketAddr, after: Option<Duration>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let valve = Self { address: listener.local_addr().unwrap(), closed: Arc::default() };
        let closed = valve.closed.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(server) else { continue };
                let (to_far, to_near, cut) = (copy(&near), copy(&far), copy(&near));
                for (from, to) in [(to_far, copy(&far)), (to_near, near)] {
                    let closed = closed.clone();
                    thread::spawn(move || pass(from, to, &closed));
                }
                if let Some(after) = after {
                    thread::spawn(move || {
                        thread::park_timeout(after);
                        let _ = cut.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        valve
    }

    /// Takes nothing more, from either side.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().unwrap()
}

fn pass(mut from: TcpStream, mut to: TcpStream, closed: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(len) = from.read(&mut buffer) {
        while closed.load(Relaxed) {
            thread::park_timeout(Duration::from_millis(50));
        }
        if len == 0 || to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
