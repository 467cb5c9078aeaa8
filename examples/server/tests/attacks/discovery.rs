//! Questions who is there, of more senders than may be answered.

use crate::common::{Flood, Honest, Victim, length};
use crate::namespaces;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Set for the part that runs in namespaces of its own.
const INSIDE: &str = "VOXWIRE_ATTACK_INSIDE";
const DONE: &str = "newcomers found the device";

/// What clients of syfala say, by their first byte.
const DISCOVERY: [u8; 1] = [0];
const CONNECTION_SUCCESS: [u8; 1] = [1];
const HEARTBEAT: [u8; 1] = [8];
/// What the device says to who asks.
const CONNECT: u8 = 0;

/// F-47: any client on the link asks, once or again and again; who keeps asking finds the device in time, and who knows it already goes on.
/// In a network of its own, where the device has an address that is not loopback's.
#[test]
fn forged_discoveries_keep_no_newcomer_out() {
    if !namespaces::available() {
        return;
    }
    let output = Command::new("unshare")
        .args(namespaces::UNSHARE)
        .arg("--kill-child")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "discovery::inside", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success() && out.contains(DONE), "{out}{err}");
}

fn socket(address: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((address, 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    socket
}

/// Asks each 250 ms, as clients do; returns how long it took until the device answered.
fn find(socket: &UdpSocket, device: SocketAddr) -> Duration {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(30), "not found in 30 s");
        let asked = Instant::now();
        socket.send_to(&DISCOVERY, device).unwrap();
        let mut answer = [0; 2000];
        while let Some(rest) =
            Duration::from_millis(250).checked_sub(asked.elapsed()).filter(|rest| !rest.is_zero())
        {
            socket.set_read_timeout(Some(rest)).unwrap();
            if socket.recv(&mut answer).is_ok_and(|len| len > 0 && answer[0] == CONNECT) {
                return start.elapsed();
            }
        }
    }
}

/// Finds the device and connects.
fn join(socket: &UdpSocket, device: SocketAddr) {
    find(socket, device);
    socket.send_to(&CONNECTION_SUCCESS, device).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
}

/// A client that is connected: how often it has heard nothing for a second, until it is to stop.
fn stay(socket: &UdpSocket, device: SocketAddr, stop: &AtomicBool) -> u32 {
    let (mut heard, mut silent, mut late) = (Instant::now(), 0, false);
    while !stop.load(Relaxed) {
        let said = Instant::now();
        socket.send_to(&HEARTBEAT, device).unwrap();
        while said.elapsed() < Duration::from_millis(50) {
            if socket.recv(&mut [0; 2000]).is_ok() {
                (heard, late) = (Instant::now(), false);
            }
        }
        // The device is to blame only where we have said in time that we are there.
        late |= said.elapsed() > Duration::from_millis(300);
        if heard.elapsed() > Duration::from_secs(1) {
            silent += u32::from(!late);
            join(socket, device);
            (heard, late) = (Instant::now(), false);
        }
    }
    silent
}

/// Not a test of its own: what the one above runs in namespaces.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let network = "mount -t proc proc /proc && ip link set lo up && ip addr add 10.0.0.1/8 dev lo";
    assert!(Command::new("sh").args(["-c", network]).status().unwrap().success(), "{network}");
    let flags = ["--bind", "10.0.0.1", "--allow-plain"];
    let victim = Victim::start_with("discovery", &flags, "", |_| {});
    let device = victim.address("syfala udp");
    let honest = Honest::call(&victim);
    let known = socket([10, 1, 2, 3]);
    join(&known, device);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let known = std::thread::spawn(move || stay(&known, device, &stopped));
    // A hundred who keep asking, and others who are never heard of again.
    let keen: Vec<UdpSocket> = (0..100).map(|n| socket([10, 100, n, 7])).collect();
    let mut count = 0_usize;
    let flood = Flood::start(move || {
        count += 1;
        if count.is_multiple_of(10) {
            return keen[count / 10 % keen.len()].send_to(&DISCOVERY, device).is_ok();
        }
        let [a, b, c, ..] = count.to_le_bytes();
        let forged = UdpSocket::bind(SocketAddr::from(([10, 110 + c % 100, b, a.clamp(1, 254)], 0)));
        forged.is_ok_and(|forged| forged.send_to(&DISCOVERY, device).is_ok())
    });
    crate::common::pause(Duration::from_secs(1));
    let start = Instant::now();
    let (mut newcomers, mut slowest) = (0_u8, Duration::ZERO);
    while newcomers < 3 || start.elapsed() < length() && newcomers < 250 {
        newcomers += 1;
        slowest = slowest.max(find(&socket([10, 250, newcomers, 9]), device));
    }
    let rate = flood.stop();
    stop.store(true, Relaxed);
    let silent = known.join().unwrap();
    println!("{rate} questions a second; {newcomers} {DONE} in {slowest:?} at most");
    assert!(rate > 1000, "no flood: {rate} a second");
    assert_eq!(silent, 0, "a client that is connected heard nothing for a second");
    victim.unharmed(honest);
}
