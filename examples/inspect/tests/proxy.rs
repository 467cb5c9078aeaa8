//! F-60: `proxy` forwards, shows, records and impairs; `vector` makes vectors of what was recorded.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod kit;

use kit::inspect;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A running proxy.
struct Proxy {
    child: Child,
    output: BufReader<ChildStdout>,
    tcp: Option<SocketAddr>,
    udp: Option<SocketAddr>,
}

impl Proxy {
    fn start(target: SocketAddr, flags: &[&str], listeners: usize) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_voxwire-inspect"))
            .args(["proxy", "--json", "127.0.0.1:0", &target.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut proxy = Self { child, output, tcp: None, udp: None };
        for _ in 0..listeners {
            let line = proxy.line();
            let address = line["address"].as_str().unwrap().parse().unwrap();
            if line["listening"] == "tcp" { proxy.tcp = Some(address) } else { proxy.udp = Some(address) }
        }
        proxy
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Ends it by a signal. Returns what else it has printed.
    fn end(mut self) -> Vec<Value> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A login and its answer, as opcode has them.
const LOGIN: &str = "0f0000000000000002000500000000000000616c696365";
const SUCCESS: &str = "02000000000000000300";

fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

/// One request and one answer through the proxy. Returns how long that took.
fn log_in(proxy: &Proxy, server: &TcpListener) -> Duration {
    let start = Instant::now();
    let mut client = TcpStream::connect(proxy.tcp.unwrap()).unwrap();
    client.write_all(&bytes(LOGIN)).unwrap();
    let (mut other, _) = server.accept().unwrap();
    let mut buffer = vec![0; LOGIN.len() / 2];
    other.read_exact(&mut buffer).unwrap();
    assert_eq!(hex::encode(&buffer), LOGIN);
    other.write_all(&bytes(SUCCESS)).unwrap();
    drop(other);
    let mut all = Vec::new();
    // The end is forwarded, too.
    client.read_to_end(&mut all).unwrap();
    assert_eq!(hex::encode(&all), SUCCESS);
    start.elapsed()
}

#[test]
fn f_60_tcp_is_forwarded_shown_and_recorded() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = scratch("proxy-tcp.pcapng");
    let target = server.local_addr().unwrap();
    let mut proxy = Proxy::start(target, &["--protocol", "opcode", "--record", path.to_str().unwrap()], 1);
    log_in(&proxy, &server);
    let login = proxy.line();
    assert_eq!((login["message"].as_str(), login["from"].as_str()), (Some("Login"), Some("client")));
    assert_eq!((proxy.line()["message"].as_str(), proxy.udp), (Some("LoginSuccess"), None));
    let rest = proxy.end();
    assert_eq!(
        (rest[0]["user"].as_str(), rest[0]["server"].as_str()),
        (Some("alice"), Some(&*target.to_string()))
    );
    assert_eq!(rest[1]["summary"]["messages"], 2);
    // The same from the recording.
    let output = inspect(&["capture", "--json", path.to_str().unwrap()], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().map(String::from))
        .collect();
    assert_eq!(names, ["Login", "LoginSuccess"]);
    // And as vectors, in both forms.
    let lines = inspect(&["vector", path.to_str().unwrap()], "");
    let text = String::from_utf8(lines.stdout).unwrap();
    assert_eq!(
        text,
        format!(
            "opcode_c2s_login_1 {LOGIN} {{\"message\":\"Login\",\"name\":\"alice\"}}\n\
             opcode_s2c_login_success_1 {SUCCESS} {{\"message\":\"LoginSuccess\"}}\n"
        )
    );
    let array = inspect(&["vector", "--json", "--each", "1", "--longest", "20", path.to_str().unwrap()], "");
    let array: Value = serde_json::from_slice(&array.stdout).unwrap();
    assert_eq!(
        array,
        serde_json::json!([{
            "name": "opcode_s2c_login_success_1", "source": "recorded in proxy-tcp.pcapng", "from": "server",
            "hex": SUCCESS, "fields": { "message": "LoginSuccess" },
        }])
    );
}

#[test]
fn f_60_udp_is_forwarded_shown_and_recorded() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = scratch("proxy-udp.pcapng");
    let flags = ["--protocol", "syfala", "--record", path.to_str().unwrap()];
    let proxy = Proxy::start(server.local_addr().unwrap(), &flags, 1);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&[0], proxy.udp.unwrap()).unwrap();
    let mut buffer = [0; 100];
    let (len, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..len], [0]);
    let connect = bytes("000001000000000070e740022000");
    server.send_to(&connect, from).unwrap();
    let (len, _) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..len], connect);
    let rest = proxy.end();
    let names: Vec<_> = rest.iter().filter_map(|object| object["message"].as_str()).collect();
    assert_eq!(names, ["Discovery", "Connect"], "{rest:?}");
    let output = inspect(&["capture", "--json", path.to_str().unwrap()], "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"message\":\"Connect\""));
}

/// A server's hello names its UDP port. Clients have to send to the proxy's instead.
#[test]
fn f_60_the_udp_port_in_a_hello_is_that_of_the_proxy() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap(), &["--protocol", "dissonance"], 2);
    let mut client = TcpStream::connect(proxy.tcp.unwrap()).unwrap();
    client.write_all(&bytes("564f584c01010000")).unwrap();
    let (mut other, _) = server.accept().unwrap();
    let [high, low] = udp.local_addr().unwrap().port().to_be_bytes();
    let mut hello = bytes("564f584c0100000001020304050607");
    (hello[6], hello[7]) = (high, low);
    hello.resize(32, 9);
    // In two pieces.
    other.set_nodelay(true).unwrap();
    other.write_all(&hello[..10]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    other.write_all(&hello[10..]).unwrap();
    let mut got = [0; 32];
    client.read_exact(&mut got).unwrap();
    let port = proxy.udp.unwrap().port();
    assert_eq!((&got[..6], &got[6..8], &got[8..]), (&hello[..6], &port.to_be_bytes()[..], &hello[8..]));
    // And it forwards to the one that was named.
    let bind = bytes("01010203040506071112131415161718191a1b1c1d1e1f20");
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&bind, proxy.udp.unwrap()).unwrap();
    let mut buffer = [0; 100];
    let len = udp.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..len], bind);
    let rest = proxy.end();
    assert!(rest.iter().any(|object| object["message"] == "BIND"), "{rest:?}");
}

/// The numbers of those that arrive, of a hundred.
fn survivors(flags: &[&str]) -> Vec<u8> {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let all = [&["--protocol", "syfala", "--messages", "0"], flags].concat();
    let proxy = Proxy::start(server.local_addr().unwrap(), &all, 1);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..100 {
        client.send_to(&[8, number], proxy.udp.unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let (mut buffer, mut numbers) = ([0; 10], Vec::new());
    while server.recv(&mut buffer).is_ok() {
        numbers.push(buffer[1]);
    }
    let rest = proxy.end();
    assert!(rest.iter().all(|object| object.get("message").is_none()));
    assert_eq!(rest.last().unwrap()["proxy"]["lost"], 100 - numbers.len());
    numbers
}

#[test]
fn f_60_loss_and_jitter_follow_from_the_seed() {
    let once = survivors(&["--loss", "20", "--seed", "5"]);
    assert!((60..95).contains(&once.len()), "{}", once.len());
    assert_eq!(once, survivors(&["--loss", "20", "--seed", "5"]));
    assert!(once != survivors(&["--loss", "20", "--seed", "6"]));
    assert!(survivors(&["--loss", "100"]).is_empty());
    // They overtake each other, and all arrive.
    let mut mixed = survivors(&["--jitter", "40", "--seed", "5"]);
    assert!(!mixed.is_sorted());
    mixed.sort_unstable();
    assert!(mixed.into_iter().eq(0..100));
}

#[test]
fn f_60_delay_holds_up_both_directions_of_tcp() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    let proxy = Proxy::start(target, &["--protocol", "opcode", "--delay", "100"], 1);
    assert!(log_in(&proxy, &server) >= Duration::from_millis(200));
    // Nothing is lost on TCP: it comes later.
    let proxy = Proxy::start(target, &["--protocol", "opcode", "--loss", "100"], 1);
    assert!(log_in(&proxy, &server) >= Duration::from_millis(400));
    let rest = proxy.end();
    assert!(rest.last().unwrap()["proxy"]["stalled"].as_u64().unwrap() >= 2);
}

#[test]
fn f_60_what_cannot_work_is_refused_with_a_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |arguments: &[&str]| {
        let output = inspect(&[&["proxy"], arguments].concat(), "");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&[&address, "127.0.0.1:1", "--protocol", "opcode"]);
    assert!(code == Some(1) && error.contains(&format!("cannot listen on {address}")), "{error}");
    let (code, error) = run(&["127.0.0.1:0", "127.0.0.1:1", "--record", "/nonexistent/x.pcapng"]);
    assert!(code == Some(1) && error.contains("cannot record to /nonexistent/x.pcapng"), "{error}");
    for flags in [["--loss", "101"], ["--delay", "10001"], ["--jitter", "x"]] {
        assert_eq!(run(&["127.0.0.1:0", "127.0.0.1:1", flags[0], flags[1]]).0, Some(2), "{flags:?}");
    }
}
