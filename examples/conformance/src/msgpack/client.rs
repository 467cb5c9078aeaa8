//! What the runner, as the server, expects of a client.

use super::bytes::{any_greeting, cut, greeting, ping, pong, response, string, unit, update};
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::peer::Peer;
use crate::stage::Stage;

/// The token that the runner gives out.
const TOKEN: &str = "01234567-89ab-4cde-8f01-23456789abcd";

/// A client whose greeting and READY have come; its own have been answered.
fn greeted(stage: &Stage<'_>) -> Outcome<Peer> {
    let mut client = stage.accept("client", cut)?;
    client.send(&greeting(0, "NULL"))?;
    client.expect_bytes(&any_greeting())?;
    client.send(&router())?;
    takes_ready(&mut client)?;
    Ok(client)
}

/// READY of a ROUTER.
fn router() -> Layout {
    let property = Layout::big().u8("property length", 11).bytes("property", b"Socket-Type");
    let property = property.u32("value length", 6).bytes("value", b"ROUTER");
    let length = u8::try_from(6 + property.len()).unwrap_or(u8::MAX);
    let head = Layout::big().u8("flags", 4).u8("length", length).u8("name length", 5);
    head.bytes("name", b"READY").then(property)
}

fn takes_ready(client: &mut Peer) -> Outcome {
    let came = client.frame()?;
    let head = Layout::big().u8("flags", 4).any("length", 1).u8("name length", 5).bytes("name", b"READY");
    client.same_as(&head.rest("properties"), &came)?;
    let is = |kind: &[u8]| {
        let property =
            [&b"\x0bSocket-Type\0\0\0"[..], &[u8::try_from(kind.len()).unwrap_or(0)], kind].concat();
        came.windows(property.len()).any(|some| some == property)
    };
    if is(b"DEALER") || is(b"ROUTER") || is(b"REQ") {
        return Ok(());
    }
    Err(client.fails("READY has no property Socket-Type of DEALER, ROUTER or REQ", &came))
}

/// The next message, and where it begins in its unit. A PING on the way is answered.
fn message(client: &mut Peer) -> Outcome<(Vec<u8>, usize)> {
    loop {
        let frame = client.frame()?;
        let head = if frame[0] & 2 == 0 { 2 } else { 9 };
        if frame[0] & 4 == 0 {
            return Ok((frame, head));
        }
        let is_ping = frame.get(head..head + 5) == Some(b"\x04PING");
        if is_ping {
            client.send(&pong(frame.get(head + 7..).unwrap_or_default()))?;
        }
    }
}

/// A unit of any length, with a message that begins so.
fn begins(head: usize, frame: &[u8], start: Layout) -> Layout {
    let fixed = if head == 2 {
        Layout::big().u8("flags", 0).any("length", 1)
    } else {
        Layout::big().u8("flags", 2).any("length", 8)
    };
    debug_assert!(frame.len() >= head, "a whole unit");
    fixed.then(start).rest("the rest")
}

/// Two strings in front.
fn of(kind: &'static str, action: &str) -> Layout {
    string(string(Layout::big(), "type", kind), "action", action)
}

/// Reads a string at `at`: where it ends, and its bytes.
fn text(bytes: &[u8], at: usize) -> Option<(usize, Vec<u8>)> {
    let (start, length) = match *bytes.get(at)? {
        head @ 0xa0..=0xbf => (at + 1, usize::from(head & 0x1f)),
        0xd9 | 0xc4 => (at + 2, usize::from(*bytes.get(at + 1)?)),
        _ => return None,
    };
    Some((start + length, bytes.get(start..start + length)?.to_vec()))
}

/// The name of the client, which has asked for its log-in.
fn asks_to_log_in(client: &mut Peer) -> Outcome<String> {
    let (frame, head) = message(client)?;
    let start = of("request", "login");
    let at = head + start.len();
    client.same_as(&begins(head, &frame, start), &frame)?;
    let name = text(&frame, at).and_then(|(end, name)| text(&frame, end).map(|_| name));
    let Some(name) = name else {
        return Err(client.fails("login has a username and a password, both strings", &frame));
    };
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn logged_in(stage: &Stage<'_>) -> Outcome<(Peer, String)> {
    let mut client = greeted(stage)?;
    let name = asks_to_log_in(&mut client)?;
    client.send(&unit(welcome(&name)))?;
    Ok((client, name))
}

fn welcome(name: &str) -> Layout {
    string(string(response("login", 0), "username", name), "token", TOKEN)
}

/// The next request is `action` with name, token and `arguments`.
fn expect_request(client: &mut Peer, name: &str, action: &str, arguments: &[&str]) -> Outcome {
    let (frame, head) = message(client)?;
    let start = string(string(of("request", action), "username", name), "token", TOKEN);
    let start = arguments.iter().fold(start, |layout, it| string(layout, "argument", it));
    client.same_as(&begins(head, &frame, start), &frame)
}

pub(super) const CLIENT: &[Check] = &[
    Check {
        row: "M-09",
        name: "greeting",
        expected: "A client greets with ZMTP 3 and NULL, then sends READY of a DEALER, ROUTER or REQ.",
        section: "ZMTP",
        needs: &["listener"],
        run: |stage| greeted(stage).map(drop),
    },
    Check {
        row: "M-09",
        name: "byte-by-byte",
        expected: "Greeting, READY and a response that arrive byte by byte are taken as ones that arrive whole.",
        section: "ZMTP",
        needs: &["whisperer"],
        run: |stage| {
            let mut client = stage.accept("client", cut)?;
            let start = greeting(0, "NULL").then(router()).encode();
            client.send_split(&start, 1..start.len())?;
            client.expect_bytes(&any_greeting())?;
            takes_ready(&mut client)?;
            let name = asks_to_log_in(&mut client)?;
            let answer = unit(welcome(&name)).encode();
            client.send_split(&answer, 1..answer.len())?;
            expect_request(&mut client, &name, "whisper", &["bob"])
        },
    },
    Check {
        row: "M-10",
        name: "logs-in",
        expected: "A client sends login with a username and a password, as one unit.",
        section: "On the wire",
        needs: &["listener"],
        run: |stage| logged_in(stage).map(drop),
    },
    Check {
        row: "M-09",
        name: "ping",
        expected: "PING is answered with PONG and the context of the PING.",
        section: "ZMTP",
        needs: &["listener"],
        run: |stage| {
            let (mut client, _) = logged_in(stage)?;
            client.send(&ping(0, b"context"))?;
            client.expect(&pong(b"context")).map(drop)
        },
    },
    Check {
        row: "M-10",
        name: "takes-updates",
        expected: "A client takes texts and recordings, unknown updates among them, and stays connected.",
        section: "On the wire",
        needs: &["listener"],
        run: |stage| {
            let (mut client, _) = logged_in(stage)?;
            let whisper = string(string(update("whisper"), "sender", "alice"), "content", "hello");
            let recording = string(update("voice_msg"), "sender", "alice").bytes("channels", [1]);
            let recording =
                recording.bytes("sample_rate", [0xcd, 0xac, 0x44]).bytes("samples", super::calls::SAMPLES);
            let unknown = string(update("no_such_update"), "sender", "alice");
            for it in [whisper, recording, unknown] {
                client.send(&unit(it))?;
            }
            client.send(&ping(0, b"still there"))?;
            client.expect(&pong(b"still there")).map(drop)
        },
    },
    Check {
        row: "M-10",
        name: "whispers",
        expected: "A client sends whisper with its name, the token of its log-in, the recipient and the text.",
        section: "On the wire",
        needs: &["whisperer"],
        run: |stage| {
            let (mut client, name) = logged_in(stage)?;
            expect_request(&mut client, &name, "whisper", &["bob"])?;
            client.send(&unit(response("whisper", 0)))
        },
    },
    Check {
        row: "M-04",
        name: "speaks",
        expected: "A client in a call sends call_data with name, token, group, and samples as integers.",
        section: "On the wire",
        needs: &["talker"],
        run: |stage| {
            let (mut client, name) = logged_in(stage)?;
            expect_request(&mut client, &name, "join_call", &["readers"])?;
            client.send(&unit(string(response("join_call", 0), "group_name", "readers")))?;
            for _ in 0..10 {
                let (frame, head) = message(&mut client)?;
                let start = string(string(of("update", "call_data"), "username", &name), "token", TOKEN);
                let start = string(start, "group_name", "readers");
                let samples_at = head + start.len();
                client.same_as(&begins(head, &frame, start), &frame)?;
                if let Some((at, why)) = samples_fault(&frame[samples_at..]) {
                    return Err(client.fails(format!("{why} at offset {}", samples_at + at), &frame));
                }
            }
            Ok(())
        },
    },
];

/// What is wrong with a list of samples: each in its shortest form, from -32 768 to 32 767.
fn samples_fault(bytes: &[u8]) -> Option<(usize, &'static str)> {
    let (mut at, count) = match *bytes {
        [head @ 0x90..=0x9f, ..] => (1, usize::from(head & 0xf)),
        [0xdc, high, low, ..] => (3, usize::from(u16::from_be_bytes([high, low]))),
        [0xdd, 0, a, b, c, ..] => {
            (5, usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX))
        }
        _ => return Some((0, "the samples are no array")),
    };
    for _ in 0..count {
        let signed = |bytes: [u8; 2]| i16::from_be_bytes(bytes);
        let length = match *bytes.get(at..).unwrap_or_default() {
            [0x00..=0x7f | 0xe0..=0xff, ..] => 1,
            [0xcc, 0x80..=0xff, ..] => 2,
            [0xcd, 1..=0x7f, _, ..] => 3,
            [0xd0, 0x80..=0xdf, ..] => 2,
            [0xd1, high, low, ..] if signed([high, low]) < -128 => 3,
            [] => return Some((at, "there are fewer samples than the array says")),
            _ => return Some((at, "this is no sample in its shortest form")),
        };
        at += length;
    }
    (at != bytes.len()).then_some((at, "bytes are behind the samples"))
}

#[cfg(test)]
mod tests {
    use super::samples_fault;

    #[test]
    fn m_05_samples_have_their_shortest_form() {
        let right = b"\x98\x00\x7f\xff\xcc\x80\xcd\x01\x00\xd0\xdf\xd1\xff\x7f\xcd\x7f\xff";
        assert_eq!(samples_fault(right), None);
        for (wrong, at) in [
            (&b"\x91\xcc\x7f"[..], 1),
            (b"\x91\xcd\x00\x80", 1),
            (b"\x91\xcd\x80\x00", 1),
            (b"\x91\xd1\xff\x80", 1),
            (b"\x92\x00", 2),
            (b"\x91\x00\x00", 2),
            (b"\xc4\x01\x00", 0),
        ] {
            assert_eq!(samples_fault(wrong).map(|it| it.0), Some(at), "{wrong:02x?}");
        }
    }
}
