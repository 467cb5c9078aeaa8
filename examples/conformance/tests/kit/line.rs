//! Lines with faults, between a client and a server.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

/// Whose bytes a line changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Client,
    Server,
}

/// A line to `target` that puts `put` for `wanted`, wherever one side says it.
pub fn faulty(target: SocketAddr, of: Of, wanted: &'static [u8], put: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, Ok(server)) = (client.unwrap(), TcpStream::connect(target)) else { continue };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (client_says, server_says) =
                if of == Of::Client { (wanted, &b""[..]) } else { (&b""[..], wanted) };
            std::thread::spawn(move || copy(from, to, client_says, put));
            std::thread::spawn(move || copy(server, client, server_says, put));
        }
    });
    address
}

fn copy(mut from: TcpStream, mut to: TcpStream, wanted: &[u8], put: &[u8]) {
    let _ = to.set_nodelay(true);
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let came = replaced(&buffer[..length], wanted, put);
        if to.write_all(&came).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// `bytes` with `put` for each `wanted`.
pub fn replaced(bytes: &[u8], wanted: &[u8], put: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !wanted.is_empty() && bytes[at..].starts_with(wanted) {
            out.extend(put);
            at += wanted.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// A line for datagrams to `target` that loses those of one side that `loses` is about.
pub fn lossy(target: SocketAddr, of: Of, loses: fn(&[u8]) -> bool) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = near.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut far = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
        let mut buffer = [0; 65_536];
        loop {
            let Ok((length, from)) = near.recv_from(&mut buffer) else { continue };
            let socket = far.entry(from).or_insert_with(|| {
                let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
                socket.connect(target).unwrap();
                let (near, answers) = (near.clone(), socket.clone());
                std::thread::spawn(move || {
                    let mut buffer = [0; 65_536];
                    loop {
                        // A port that nobody listens on is reported here.
                        let Ok(length) = answers.recv(&mut buffer) else { continue };
                        if of == Of::Client || !loses(&buffer[..length]) {
                            let _ = near.send_to(&buffer[..length], from);
                        }
                    }
                });
                socket
            });
            if of == Of::Server || !loses(&buffer[..length]) {
                let _ = socket.send(&buffer[..length]);
            }
        }
    });
    address
}
