//! syfala.

use crate::kit::raw::pause;
use crate::kit::{Server, command, fails, file};
use crate::serve;
use core::time::Duration;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// C-07: `networks`: nobody else is answered.
#[test]
fn f_71_syfala_networks_are_those_that_are_served() {
    let server = serve("networks", "only = [\"syfala\"]\n[syfala]\nnetworks = [\"127.0.0.8/29\"]\n");
    for (host, served) in [("127.0.0.9", true), ("127.0.0.7", false), ("127.0.0.16", false)] {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.connect(server.address("syfala udp")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(if served { 5000 } else { 300 }))).unwrap();
        socket.send(&[0]).unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).is_ok(), served, "{host}");
    }
}

#[test]
fn f_71_syfala_latency_is_what_is_in_store_and_announce_tells_all_hosts() {
    // Half a second in store: twenty milliseconds of sound do not come back yet. (In `cli.rs`, with 5 ms, they do.)
    let syfala = "only = [\"syfala\"]\n[syfala]\nchannels = 1\nsample-type = \"i16\"\nsound = \"echo\"\n";
    let server = serve("latency", &format!("{syfala}latency-ms = 500\n"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address("syfala udp")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 5000];
    for (question, first) in [(0, 0), (1, 8), (4, 3)] {
        socket.send(&[question]).unwrap();
        if first != 8 {
            while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != first {}
        }
    }
    let audio = [&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &1920_u32.to_le_bytes(), &[1; 1920]].concat();
    socket.send(&audio).unwrap();
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let length = socket.recv(&mut answer).unwrap();
        assert!(answer[0] != 7 || answer[17..length].iter().all(|byte| *byte == 0), "too early");
    }
    drop(server);
    let Ok(listener) = UdpSocket::bind("0.0.0.0:6910") else {
        println!("skipped: port 6910 is in use");
        return;
    };
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let server = serve("announce", &format!("{syfala}announce-ms = 100\n"));
    let mut from = Vec::new();
    while from.len() < 3 {
        let (_, sender) = listener.recv_from(&mut answer).unwrap();
        assert_eq!(answer[0], 0, "what the device offers");
        from.push(sender.port());
    }
    assert_eq!(from, [server.address("syfala udp").port(); 3]);
}

/// F-55: a client whose clock is three hundredths fast is too fast, unless that may be followed.
#[test]
fn f_55_f_71_syfala_follow_is_how_far_off_a_clock_may_be() {
    let settings = "only = [\"syfala\"]\n[syfala]\nrate = 8000\nchannels = 1\nsample-type = \"i16\"\n";
    // What is no range is refused, with the range.
    for wrong in ["-1", "100001", "nan"] {
        let path = file("settings-follow-wrong.toml", &format!("{settings}follow-ppm = {wrong}\n"));
        let (code, errors) = fails(&["--config", path.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("0 to 100000 millionths expected"), "{errors}");
    }
    let start = |name: &str, follow: &str| {
        let path = file(&format!("settings-follow-{name}.toml"), &format!("{settings}{follow}"));
        let log = file(&format!("settings-follow-{name}.log"), "");
        let arguments = ["--config", path.to_str().unwrap(), "--syfala-port", "0", "--http", "off"];
        let mut command = command(&arguments);
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()))
            .map(|line| line.unwrap());
        let lines = lines.by_ref().take_while(|line| line != "ready").collect();
        let server = Server { child, lines };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.address("syfala udp")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = [0; 5000];
        socket.send(&[0]).unwrap();
        socket.recv(&mut answer).unwrap();
        socket.send(&[1]).unwrap();
        socket.send(&[4]).unwrap();
        while socket.recv(&mut answer).map(|_| answer[0]).unwrap() != 3 {}
        (server, socket, log)
    };
    let servers = [start("default", ""), start("wide", "follow-ppm = 50000\n")];
    let told = |log: &Path| std::fs::read_to_string(log).unwrap().contains("too fast to be followed");
    let (begin, mut sent) = (Instant::now(), 0_u64);
    while !told(&servers[0].2) {
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing was said of a clock that is too fast");
        // Messages of a millisecond.
        let due = (begin.elapsed().as_secs_f64() * 1030.0) as u64;
        for n in core::mem::replace(&mut sent, due)..due {
            let head = [&[6, 0, 0, 0, 0][..], &(n * 16).to_le_bytes(), &16_u32.to_le_bytes()].concat();
            for (_, socket, _) in &servers {
                socket.send(&[&head[..], &[1; 16]].concat()).unwrap();
            }
        }
        pause(1);
    }
    assert!(!told(&servers[1].2));
}
