//! Requests of those who may not ask, and of those who ask what makes no sense.

use crate::common::{Controlled, TOKEN};
use crate::kit::raw::pause;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Instant;

/// C-32: nothing is answered without a token, not even whether a route exists.
#[test]
fn c_32_nothing_is_answered_without_a_token() {
    let control = Controlled::start("token", "only = [\"voicelink\"]");
    let wrong = [
        None,
        Some(""),
        Some("x"),
        Some("0123456789-token-of-ben"),
        Some(&TOKEN[1..]),
        Some("0123456789-token-of-ann0"),
    ];
    for token in wrong {
        for (method, path) in [
            ("GET", "/api/v1/protocols"),
            ("GET", "/api/v1/openapi.json"),
            ("GET", "/api/v1/nothing"),
            ("POST", "/api/v1/drain"),
            ("GET", "/api/v1/events"),
            ("DELETE", "/api/v1/bans/1"),
            ("PATCH", "/api/v1/bans"),
        ] {
            let (status, body) = control.send(method, path, token, "");
            assert_eq!(status, 401, "{method} {path} {token:?}: {body}");
            assert!(!body.contains("0123456789"), "{body}");
        }
    }
    for header in ["Basic YW5uOng=", TOKEN, &format!("Bearer: {TOKEN}"), &format!("Token {TOKEN}")] {
        let request = format!("GET /api/v1/protocols HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n");
        assert_eq!(control.raw(&request).0, 401, "{header}");
    }
    // The status page needs none.
    assert_eq!(control.send("GET", "/healthz", None, "").0, 200);
    assert_eq!(control.get("/api/v1/protocols")["items"][0]["name"], "voicelink");
}

/// C-32: what makes no sense is refused with what was expected, and does nothing.
#[test]
fn c_32_what_makes_no_sense_is_refused() {
    let control = Controlled::start(
        "nonsense",
        "only = [\"voicelink\", \"dissonance\"]\n[dissonance]\nport = 0\nquic = false",
    );
    let send = |method: &str, path: &str, body: &str| control.send(method, path, Some(TOKEN), body);
    for (method, path, body, expected) in [
        ("GET", "/api/v1/nothing/members", "", 404),
        ("GET", "/api/v1/opcode/members", "", 404),
        ("GET", "/api/v1/voicelink/nothing", "", 404),
        ("GET", "/api/v1/voicelink/members/", "", 404),
        ("GET", "/api/v1/../healthz", "", 404),
        ("GET", "/api/v1/%2e%2e/healthz", "", 404),
        ("GET", "/api/v1/voicelink%2fmembers", "", 404),
        ("GET", "/api/v1//voicelink/members", "", 404),
        ("GET", "/api/v1/%00/members", "", 404),
        ("GET", "/api/v1/%ff/members", "", 400),
        ("PUT", "/api/v1/drain", "", 405),
        ("GET", "/api/v1/voicelink/kick", "", 405),
        ("GET", "/api/v1/voicelink/members?limit=0", "", 400),
        ("GET", "/api/v1/voicelink/members?limit=1001", "", 400),
        ("GET", "/api/v1/voicelink/members?offset=-1", "", 400),
        ("GET", "/api/v1/voicelink/members?page=1", "", 400),
        ("GET", "/api/v1/voicelink/members?offset=4294967295&limit=1000", "", 200),
        ("POST", "/api/v1/voicelink/kick", "", 400),
        ("POST", "/api/v1/voicelink/kick", "{}", 400),
        ("POST", "/api/v1/voicelink/kick", "[]", 400),
        ("POST", "/api/v1/voicelink/kick", "{\"name\":1}", 400),
        ("POST", "/api/v1/voicelink/kick", "{\"name\":\"a\",\"peer\":\"0.0\"}", 400),
        ("POST", "/api/v1/voicelink/kick", "{\"name\":\"nobody\"}", 404),
        ("POST", "/api/v1/voicelink/kick", "{\"peer\":\"9.9\"}", 404),
        ("POST", "/api/v1/voicelink/kick", "{\"peer\":\"4294967295.4294967295\"}", 404),
        ("POST", "/api/v1/voicelink/kick", "{\"peer\":\"99999999999.0\"}", 400),
        ("POST", "/api/v1/voicelink/kick", "{\"peer\":\"+1.0\"}", 400),
        ("POST", "/api/v1/voicelink/mute", "{\"name\":\"a\"}", 400),
        ("POST", "/api/v1/voicelink/mute", "{\"name\":\"\",\"voice\":true}", 400),
        ("PUT", "/api/v1/dissonance/hearing", "{\"others\":\"some\"}", 400),
        ("PUT", "/api/v1/dissonance/hearing", "{\"listener\":{}}", 400),
        ("POST", "/api/v1/dissonance/move", "{\"name\":\"a\"}", 400),
        ("POST", "/api/v1/bans", "{}", 400),
        ("POST", "/api/v1/bans", "{\"address\":\"0.0.0.0/0\"}", 400),
        ("POST", "/api/v1/bans", "{\"address\":\"::/0\"}", 400),
        ("POST", "/api/v1/bans", "{\"address\":\"localhost\"}", 400),
        ("POST", "/api/v1/bans", "{\"name\":\"\"}", 400),
        ("POST", "/api/v1/bans", "{\"name\":\"a\",\"address\":\"192.0.2.1\"}", 400),
        ("POST", "/api/v1/bans", "{\"name\":\"a\",\"seconds\":0}", 400),
        ("POST", "/api/v1/bans", "{\"name\":\"a\",\"seconds\":99999999999}", 400),
        ("POST", "/api/v1/bans", "{\"name\":\"a\",\"until\":1}", 400),
        ("DELETE", "/api/v1/bans/0", "", 404),
        ("DELETE", "/api/v1/bans/-1", "", 404),
        ("DELETE", "/api/v1/bans/1%20OR%201=1", "", 404),
        ("DELETE", "/api/v1/bans/99999999999999999999", "", 404),
    ] {
        let (status, answer) = send(method, path, body);
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        if status >= 400 {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
            assert!(
                answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()),
                "{answer}"
            );
        }
    }
    assert_eq!(control.get("/api/v1/bans")["total"], 0);
    assert_eq!(control.get("/api/v1/actions")["total"], 0);
    // A deep document is refused, not followed.
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(send("POST", "/api/v1/bans", &deep).0, 400);
    let request = format!(
        "POST /api/v1/bans HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(control.raw(&request).0, 415);
}

/// C-32: a body that is too large, or too slow, ends the request and costs no other one.
#[test]
fn c_32_large_and_slow_bodies_end_the_request() {
    let control = Controlled::start("bodies", "only = [\"voicelink\"]\nhttp-seconds = 2");
    let head = |token: &str, length: usize| {
        format!(
            "POST /api/v1/bans HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let large = 64 * 1024 + 1;
    assert_eq!(control.raw(&(head(TOKEN, large) + &"x".repeat(large))).0, 413);
    // Without a token it is not even waited for.
    assert_eq!(control.raw(&head("x", 1000)).0, 401);
    let head = head(TOKEN, 1000);
    let begun = Instant::now();
    let mut slow = control.connect();
    slow.write_all(head.as_bytes()).unwrap();
    let mut bytes = 0;
    while begun.elapsed().as_secs() < 9 && slow.write_all(b" ").is_ok() {
        assert_eq!(control.send("GET", "/api/v1/protocols", Some(TOKEN), "").0, 200);
        bytes += 1;
        pause(100);
    }
    assert!(bytes < 80, "{bytes} bytes were taken, one by one");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert_eq!(control.get("/api/v1/bans")["total"], 0);
}

/// C-32: a list is read in parts, and each ban is in one of them.
#[test]
fn c_32_lists_are_read_in_parts() {
    let control = Controlled::start("pages", "only = [\"voicelink\"]");
    for n in 1..=7 {
        control.act("/api/v1/bans", &json!({ "name": format!("name {n}") }));
    }
    let mut seen = Vec::new();
    for offset in [0, 3, 6, 9] {
        let part = control.get(&format!("/api/v1/bans?offset={offset}&limit=3"));
        assert_eq!(part["total"], 7);
        seen.extend(part["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    let actions = control.get("/api/v1/actions?limit=2");
    assert_eq!((&actions["total"], &actions["items"][0]["by"]), (&json!(7), &json!("ann")));
    assert_eq!(actions["items"][0]["details"]["ban"]["name"], "name 7");
}
