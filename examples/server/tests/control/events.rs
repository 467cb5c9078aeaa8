//! Events: as a stream, and as webhooks.

use crate::common::{Controlled, TOKEN};
use crate::kit::raw::{connect, pause, registered};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

/// A stream of events, from now on or from behind an event.
fn stream(control: &Controlled, after: Option<u64>) -> BufReader<TcpStream> {
    let mut stream = control.connect();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let after = after.map_or_else(String::new, |after| format!("Last-Event-ID: {after}\r\n"));
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{after}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with(": events") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    reader
}

fn next(reader: &mut impl BufRead) -> Value {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the stream goes on");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

/// C-34: who comes and goes, and what operators do, is told for longer than a request may take.
#[test]
fn c_34_a_stream_tells_who_comes_and_goes_and_what_is_done() {
    let control = Controlled::start("stream", "only = [\"voicelink\"]\nhttp-seconds = 1");
    let mut events = stream(&control, None);
    pause(2000);
    let alice = registered(connect(control.address("voicelink tcp")), "alice");
    let joined = next(&mut events);
    assert_eq!((&joined["type"], &joined["name"]), (&json!("joined"), &json!("alice")));
    assert!(joined["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{joined}");
    control.act("/api/v1/voicelink/mute", &json!({ "name": "alice", "voice": true }));
    let muted = next(&mut events);
    assert_eq!((&muted["type"], &muted["by"]), (&json!("muted"), &json!("ann")));
    drop(alice);
    assert_eq!(next(&mut events)["type"], "left");
    // One that comes back has what it has missed.
    let mut again = stream(&control, joined["id"].as_u64());
    assert_eq!(next(&mut again)["id"], muted["id"]);
    // As many as there may be.
    let more: Vec<_> = (0..14).map(|_| stream(&control, None)).collect();
    let refused = control.send("GET", "/api/v1/events", Some(TOKEN), "");
    assert_eq!(refused.0, 429, "{}", refused.1);
    drop((more, again));
    for _ in 0..100 {
        control.act("/api/v1/voicelink/mute", &json!({ "name": "alice", "voice": true }));
        let request =
            format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        let mut stream = control.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        if &head == b"HTTP/1.1 200" {
            return;
        }
        pause(100);
    }
    panic!("no place comes back");
}

/// C-34: a webhook is sent what happens, and what it did not take again; the end, too.
#[test]
fn c_34_a_webhook_is_sent_what_happens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://ann:geheim@{}/hook", listener.local_addr().unwrap());
    let (send, got) = mpsc::channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut head, mut length) = (String::new(), String::new(), 0);
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let named = line.to_lowercase();
                head.push_str(&named);
                length = named
                    .strip_prefix("content-length: ")
                    .map_or(length, |text| text.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let signed = head.contains("webhook-signature: v1,") && head.contains("webhook-id: msg_");
            assert!(signed && head.contains("authorization: basic yw5uomdlagvpbq=="), "{head}");
            // The first is not taken.
            let status = if n == 0 { "503 Later" } else { "200 OK" };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
            if send.send(serde_json::from_slice::<Value>(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let more = format!("control-webhooks = [\"{url}\"]\ncontrol-webhook-secret = \"{secret}\"");
    let mut control = Controlled::start_with("hook", "only = [\"voicelink\"]", &more);
    let _alice = registered(connect(control.address("voicelink tcp")), "alice");
    let next = || got.recv_timeout(Duration::from_secs(20)).unwrap();
    let (first, again) = (next(), next());
    assert_eq!(first["events"][0]["name"], "alice");
    assert_eq!((&first["events"][0]["id"], &again["lost"]), (&again["events"][0]["id"], &json!(0)));
    control.server.signal("-TERM");
    let last = next();
    let draining = last["events"].as_array().unwrap().iter().find(|event| event["type"] == "draining");
    assert_eq!(draining.unwrap()["by"], "signal", "{last}");
    assert!(control.server.wait().success());
}
