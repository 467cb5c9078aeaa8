//! C-36: the status page shows what the server counts, live, and loads nothing from elsewhere.

#![allow(clippy::disallowed_methods)]

mod kit;

use core::net::SocketAddr;
use kit::Server;
use kit::raw::{connect, registered};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

fn ask(http: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(http).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

/// The head and the body of an answer.
fn answer(http: SocketAddr, path: &str) -> (String, String) {
    let mut text = String::new();
    ask(http, path).read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.into())
}

/// The snapshots of one answer, as they come.
fn snapshots(http: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    let lines = BufReader::new(ask(http, "/events")).lines().map_while(Result::ok);
    lines.filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap()))
}

fn started(more: &[&str]) -> Server {
    Server::start(
        &[&["--only", "voicelink", "--voicelink-port", "0", "--http", "127.0.0.1:0"], more].concat(),
    )
}

/// C-36: each file that the page names is served, and the page may load nothing else.
#[test]
fn the_page_is_whole_and_its_own() {
    let server = started(&[]);
    let http = server.address("http tcp");
    let (head, page) = answer(http, "/");
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    for attribute in ["href=\"", "src=\""] {
        let targets = page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        for target in targets.filter(|target| !target.starts_with(['#']) && *target != "data:,") {
            let path = format!("/{}", target.trim_start_matches('/'));
            assert!(answer(http, &path).0.starts_with("http/1.1 200"), "{target}");
        }
    }
}

/// C-36: the page is told at once, and then each second, what is connected and where the server listens.
#[test]
fn the_page_is_told_what_changes() {
    let server = started(&[]);
    let (http, voicelink) = (server.address("http tcp"), server.address("voicelink tcp"));
    let mut snapshots = snapshots(http);
    let first = snapshots.next().unwrap();
    let protocol = &first["protocols"][0];
    assert_eq!((&protocol["name"], &protocol["clients"]), (&"voicelink".into(), &0.into()), "{first}");
    assert_eq!(protocol["listeners"][0], format!("tcp {voicelink}"), "{first}");
    assert!(first["unready"].is_null() && first["uptime"].as_f64().unwrap() < 60.0, "{first}");
    let _alice = registered(connect(voicelink), "alice");
    let seen = snapshots.find(|snapshot| snapshot["protocols"][0]["clients"] == 1).unwrap();
    let protocol = &seen["protocols"][0];
    assert_eq!(protocol["gauges"][0], serde_json::json!(["sessions", 1]), "{seen}");
    assert!(protocol["received_packets"].as_u64() > Some(0), "{seen}");
    let text = seen.to_string();
    assert!(!text.contains("alice"), "what a peer chose is on the page: {text}");
}

/// C-36: an answer to the page ends in time, whole, for the limit that all answers have.
#[test]
fn what_the_page_is_told_ends_in_time() {
    let server = started(&["--http-seconds", "4"]);
    let mut text = String::new();
    ask(server.address("http tcp"), "/events").read_to_string(&mut text).unwrap();
    let events = text.matches("event: snapshot").count();
    assert!((2..=4).contains(&events) && text.ends_with("0\r\n\r\n"), "{events}: {text}");
}
