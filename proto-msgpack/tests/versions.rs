//! ZMTP's older versions, delimiters, what is too large, and times to live: the bytes of such peers, by the public specifications
//! (13/ZMTP 1.0, 15/ZMTP 2.0, 23 and 37/ZMTP 3.x).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::time::Duration;
use voxwire_core::testing::{chop, frames};
use voxwire_core::{FrameError, Framing as _};
use voxwire_msgpack::zmtp::{SocketType, Version};
use voxwire_msgpack::{Dialect, Framing, Wire, zmtp};

const LOGOUT: &[u8] = b"\xa7request\xa6logout\xa1a";
const ANSWER: &[u8] = b"\xa8response\xa6logout\x00";
const UPDATE: &[u8] = b"\xa6update\xa7whisper\xa1a\xa1b";
const SIGNATURE: &[u8] = &[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];

fn server() -> Framing {
    Framing::server(&Wire::SERVER)
}

fn client() -> Framing {
    Framing::client(&Wire::CLIENT, Dialect::Zmtp)
}

/// Frames, and what was sent; the stream goes on.
fn taken(make: impl Fn() -> Framing, stream: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    chop(&make, stream, 1);
    let (got, error, pending) = frames(make(), stream, || 5);
    assert_eq!(error, None, "{stream:02x?}");
    (got, pending)
}

/// What is written for `frame` after `stream` has come in.
fn written(mut framing: Framing, stream: &[u8], frame: &[u8]) -> Vec<u8> {
    let mut at = 0;
    loop {
        match framing.next_frame(&stream[at..]).unwrap() {
            voxwire_core::Progress::Skip(n) => at += n.get(),
            voxwire_core::Progress::Frame { header, body } => at += header + body,
            voxwire_core::Progress::NeedMore(_) => break,
        }
    }
    assert!(framing.is_ready(), "the handshake is over");
    let mut out = Vec::new();
    framing.put_header(frame, &mut out);
    out
}

/// Whether `frame` is sent after `stream` has come in.
fn takes(stream: &[u8], frame: &[u8]) -> bool {
    let (mut framing, mut at) = (server(), 0);
    loop {
        match framing.next_frame(&stream[at..]).unwrap() {
            voxwire_core::Progress::Skip(n) => at += n.get(),
            voxwire_core::Progress::Frame { header, body } => at += header + body,
            voxwire_core::Progress::NeedMore(_) => return framing.takes(frame),
        }
    }
}

fn old(more: bool, body: &[u8]) -> Vec<u8> {
    let mut unit = Vec::new();
    zmtp::put_unit_head(Version::V1, more, body.len(), &mut unit);
    [unit, body.to_vec()].concat()
}

fn new(more: bool, body: &[u8]) -> Vec<u8> {
    let mut unit = Vec::new();
    zmtp::put_unit_head(Version::V2, more, body.len(), &mut unit);
    [unit, body.to_vec()].concat()
}

/// F-83: libzmq 2.2.1 begins with an identity, which is empty unless it was set, and counts the flags as part of a frame.
#[test]
fn f_83_zmtp_1_0_peers_are_served_anonymous_and_named_with_short_and_long_frames() {
    // Byte by byte, as 13/ZMTP draws it.
    let (got, pending) = taken(server, &[&[0x01, 0x00, 0x12, 0x00][..], LOGOUT].concat());
    assert_eq!((got, &pending[..]), (vec![LOGOUT.to_vec()], &[1, 0][..]));
    assert_eq!(written(server(), &[1, 0], ANSWER), [ANSWER.len() as u8 + 1, 0]);
    let long = [&[0xff, 0, 0, 0, 0, 0, 0, 1, 0x2d, 0][..], &[0xa1; 300]].concat();
    let identities = [
        (vec![1, 0], &[1, 0][..]),
        (b"\x04\x00bob".to_vec(), &[1, 0]),
        // An identity whose length is that of a short text, or a text's marker.
        (old(false, &[b'x'; 0xa6]), &[1, 0]),
        (old(false, &[b'x'; 0xd9]), &[1, 0]),
        (old(false, &[b'x'; 0xda]), &[1, 0]),
        // The longest, whose length has ten bytes: our own signature is the answer.
        (old(false, &[b'x'; 255]), SIGNATURE),
        // Old releases leave bits of the flags as they are.
        (b"\xff\x00\x00\x00\x00\x00\x00\x00\x04\x02bob".to_vec(), SIGNATURE),
    ];
    for (identity, answer) in identities {
        let stream = [&identity[..], &old(false, LOGOUT), &long, &[0x12, 0xfe], LOGOUT].concat();
        let (got, pending) = taken(server, &stream);
        assert_eq!(got, [LOGOUT.to_vec(), vec![0xa1; 300], LOGOUT.to_vec()], "{identity:02x?}");
        assert_eq!(pending, answer, "{identity:02x?}");
    }
    assert_eq!(written(server(), &[1, 0], &[0xa1; 300]), [0xff, 0, 0, 0, 0, 0, 0, 1, 0x2d, 0]);
    assert_eq!(written(server(), &[1, 0], &[0xa1; 253]), [0xfe, 0]);
    assert_eq!(written(server(), &[1, 0], &[0xa1; 254]), [0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0]);
    for (what, bytes) in [
        ("a length of zero behind it", &[1, 0, 0, 0][..]),
        ("an identity of 256 bytes", &[0xff, 0, 0, 0, 0, 0, 0, 1, 1, 0]),
        ("an identity of several frames", &[0xff, 0, 0, 0, 0, 0, 0, 0, 4, 0x7e & 0xfe | 0x04, 1]),
    ] {
        let (got, error, _) = frames(server(), bytes, || 1);
        assert!(got.is_empty());
        assert_eq!(error.is_some(), what != "an identity of several frames", "{what}: {error:?}");
    }
}

/// F-83: requests in plain objects are not taken for a length and flags, for any form of their first text.
#[test]
fn f_83_plain_objects_are_told_from_zmtp_1_0() {
    let rest = b"\xa6logout\xa1a";
    for first in [
        &b"\xa7request"[..],
        b"\xd9\x07request",
        b"\xda\x00\x07request",
        b"\xdb\x00\x00\x00\x07request",
        b"\xc4\x07request",
        b"\xc5\x00\x07request",
        b"\xc6\x00\x00\x00\x07request",
    ] {
        let stream = [first, rest].concat();
        let (got, pending) = taken(server, &stream);
        assert_eq!((got, pending), (vec![stream.clone()], vec![]));
    }
    let naked = b"\xda\x00\x0badd_contact\xa1a\xa1b\xa1c";
    assert_eq!(taken(server, naked).0, [naked.to_vec()]);
}

/// F-83: libzmq 3.2.6 sends a signature, and waits for ours and our revision before it says its own and its socket type.
#[test]
fn f_83_zmtp_2_0_peers_are_served_and_hear_ten_bytes_first() {
    let (_, pending) = taken(server, &SIGNATURE[..1]);
    assert_eq!(pending, SIGNATURE, "ten bytes, which an older one can read, too");
    let (_, pending) = taken(server, SIGNATURE);
    assert_eq!(pending, [SIGNATURE, &[3]].concat(), "and the revision");
    for (socket, name) in [(3, "REQ"), (5, "DEALER"), (6, "ROUTER")] {
        for identity in [&b""[..], b"bob"] {
            let greeting = [SIGNATURE, &[1, socket, 0, identity.len() as u8], identity].concat();
            let stream = [&greeting, &new(false, LOGOUT)[..], &new(false, &[0xa1; 300])].concat();
            let (got, pending) = taken(server, &stream);
            assert_eq!(got, [LOGOUT.to_vec(), vec![0xa1; 300]], "{name}");
            // ROUTER, and an empty identity.
            assert_eq!(pending, [SIGNATURE, &[3, 6, 0, 0]].concat(), "{name}");
            assert_eq!(written(server(), &greeting, ANSWER), [0, ANSWER.len() as u8]);
            assert_eq!(written(server(), &greeting, &[0xa1; 300])[..2], [2, 0]);
        }
    }
    // Revision 2 is as good; 0 has the frames of 1.0.
    let (got, _) = taken(server, &[SIGNATURE, &[2, 5, 0, 0], &new(false, LOGOUT)[..]].concat());
    assert_eq!(got, [LOGOUT]);
    let (got, pending) = taken(server, &[SIGNATURE, &[0, 5, 1, 0], &old(false, LOGOUT)[..]].concat());
    assert_eq!((got, pending), (vec![LOGOUT.to_vec()], [SIGNATURE, &[3, 6, 1, 0]].concat()));
    for (bytes, expected) in [
        (&[1, 2][..], "socket type 3 (REQ), 5 (DEALER) or 6 (ROUTER)"),
        (&[1, 5, 0, 0, 4, 0], "flags of ZMTP 2.0: 00 to 03"),
        (&[1, 5, 1, 0], "an identity of at most 255 bytes"),
    ] {
        let (_, error, _) = frames(server(), &[SIGNATURE, bytes].concat(), || 1);
        assert_eq!(error, Some(FrameError::Handshake(expected)));
    }
}

/// F-83: a peer of 3.x gets what it always got, whether its greeting comes at once or in the steps of libzmq.
#[test]
fn f_83_zmtp_3_peers_hear_the_same_in_any_steps() {
    let mut greeted = Vec::new();
    zmtp::put_greeting(&mut greeted);
    zmtp::put_ready(SocketType::Dealer, &mut greeted);
    let (got, pending) = taken(server, &[&greeted[..], &new(false, LOGOUT)].concat());
    let mut ours = Vec::new();
    zmtp::put_greeting(&mut ours);
    zmtp::put_ready(SocketType::Router, &mut ours);
    assert_eq!((got, pending), (vec![LOGOUT.to_vec()], ours));
}

/// F-83: our client goes by its server's version in the same way.
#[test]
fn f_83_our_client_speaks_to_servers_of_all_versions() {
    let mut framing = client();
    let mut pending = Vec::new();
    framing.take_pending(&mut pending);
    assert_eq!(pending, SIGNATURE, "ten bytes, and no more before the server's version is known");
    // libzmq 2: what has been sent is a whole identity.
    for identity in [vec![1, 0], old(false, b"server"), old(false, &[7; 255])] {
        let (got, pending) = taken(client, &[&identity[..], &old(false, ANSWER)].concat());
        assert_eq!((got, &pending[..]), (vec![ANSWER.to_vec()], SIGNATURE));
        assert_eq!(written(client(), &identity, LOGOUT), [LOGOUT.len() as u8 + 1, 0]);
    }
    // libzmq 3: DEALER, and an empty identity.
    let greeting = [SIGNATURE, &[1, 6, 0, 0]].concat();
    let (got, pending) = taken(client, &[&greeting[..], &new(false, ANSWER)].concat());
    assert_eq!((got, pending), (vec![ANSWER.to_vec()], [SIGNATURE, &[3, 5, 0, 0]].concat()));
    let (_, error, _) = frames(client(), &[SIGNATURE, &[1, 4]].concat(), || 1);
    assert_eq!(
        error,
        Some(FrameError::Handshake("socket type 5 (DEALER) or 6 (ROUTER)")),
        "a REP wants delimiters"
    );
    // It is no ZMTP.
    let (_, error, _) = frames(client(), b"HTTP/1.1 400 Bad Request", || 3);
    assert!(error.is_some());
}

/// Makes a frame, of which more follow or not.
type Unit = fn(bool, &[u8]) -> Vec<u8>;

/// F-38: requests with an empty frame in front, as REQ sockets send them, have responses with one, in every version; updates, which a
/// REQ socket would take for an answer, have none.
#[test]
fn f_38_the_empty_delimiter_of_a_request_is_echoed() {
    let mut greeted = Vec::new();
    zmtp::put_greeting(&mut greeted);
    zmtp::put_ready(SocketType::Dealer, &mut greeted);
    let second = [SIGNATURE, &[1, 3, 0, 0]].concat();
    let cases: [(&[u8], Unit); 3] = [(&greeted, new), (&second, new), (&[1, 0], old)];
    for (greeting, unit) in cases {
        let asked = [unit(true, b""), unit(false, LOGOUT)].concat();
        let (got, _) = taken(server, &[greeting, &asked, &asked].concat());
        assert_eq!(got, [LOGOUT, LOGOUT]);
        let delimiter = unit(true, b"");
        let head = |frame: &[u8]| unit(false, frame)[..2].to_vec();
        let stream = [greeting, &asked].concat();
        assert_eq!(written(server(), &stream, ANSWER), [delimiter.clone(), head(ANSWER)].concat());
        assert_eq!(written(server(), &stream, UPDATE), head(UPDATE));
        // What a REQ socket would end its connection at, it is not sent.
        assert_eq!(takes(&stream, UPDATE), greeting == greeted, "only a DEALER takes it");
        assert!(takes(&stream, ANSWER));
        // A client that sends the next one without gets the answer without.
        let stream = [&stream, &unit(false, LOGOUT)[..]].concat();
        assert_eq!(written(server(), &stream, ANSWER), head(ANSWER));
        // More than one frame behind it is no message of this protocol, and answered all the same.
        let three = [delimiter.clone(), unit(true, b"x"), unit(false, LOGOUT)].concat();
        let (got, _) = taken(server, &[greeting, &three, &asked].concat());
        assert_eq!(got, [b"", LOGOUT]);
        assert_eq!(
            written(server(), &[greeting, &three].concat(), ANSWER),
            [delimiter, head(ANSWER)].concat()
        );
    }
}

/// F-80: a message that is too large is passed over as it comes in from a client that is logged in, in every version. What follows is heard.
#[test]
fn f_80_a_recording_that_is_too_large_is_passed_over_in_zmtp() {
    let body = [&b"\xa7request\xa9voice_msg"[..], &[0x11; 20_000_000]].concat();
    let mut greeted = Vec::new();
    zmtp::put_greeting(&mut greeted);
    zmtp::put_ready(SocketType::Dealer, &mut greeted);
    let second = [SIGNATURE, &[1, 5, 0, 0]].concat();
    let cases: [(&[u8], Unit); 3] = [(&greeted, new), (&second, new), (&[1, 0], old)];
    for (greeting, unit) in cases {
        let several = [unit(true, b"x"), unit(true, &body), unit(false, &body)].concat();
        let stream =
            [greeting, &unit(false, &body), &unit(false, LOGOUT), &several, &unit(false, LOGOUT)].concat();
        let mut framing = server();
        framing.set_max(512 * 1024);
        let (got, error, _) = frames(framing, &stream, || 65_536);
        assert_eq!(error, None);
        assert_eq!(got, [b"", LOGOUT, b"", LOGOUT]);
        // Before the log-in a client that waits for an answer has it, and is closed.
        let (got, error, _) = frames(server(), &stream, || 65_536);
        assert_eq!(got, [b""]);
        let len = body.len() as u64;
        assert_eq!(error, Some(FrameError::TooLarge { len, max: 4096 }));
    }
}

/// F-80: the same in plain objects, where the end of a list has to be looked for.
#[test]
fn f_80_a_recording_that_is_too_large_is_passed_over_in_plain_objects() {
    let head = b"\xa7request\xa9voice_msg\xa3ann\xa1t\xa3bob\x01\xcd\xac\x44\xdd";
    let count = 6_000_000_u32;
    let elements: Vec<u8> = (0..count).flat_map(|n| [0xcd, 0x7f, n as u8]).collect();
    let recording = [&head[..], &count.to_be_bytes(), &elements].concat();
    let text =
        [&b"\xa7request\xa7whisper\xa3ann\xa1t\xa3bob\xdb"[..], &700_000_u32.to_be_bytes(), &[b'x'; 700_000]]
            .concat();
    let audio =
        [&b"\xa6update\xa9call_data\xa3ann\xa1t\xa1g\xdd"[..], &600_000_u32.to_be_bytes(), &[5; 600_000]]
            .concat();
    for piece in [1_000, 65_536] {
        let mut framing = server();
        framing.set_max(512 * 1024);
        let stream = [&recording[..], LOGOUT, &text, LOGOUT, &audio, LOGOUT].concat();
        let (got, error, _) = frames(framing, &stream, || piece);
        assert_eq!(error, None);
        assert_eq!(got, [b"", LOGOUT, b"", LOGOUT, LOGOUT], "in pieces of {piece}");
    }
    // What does not belong there leaves no place to go on from.
    let mut framing = server();
    framing.set_max(512 * 1024);
    let bad = [&text[..20], b"\xdb\x00\x0a\xae\x60", &text[25..], b"\xc0"].concat();
    let (_, error, _) = frames(framing, &bad, || 999);
    assert!(error.is_some());
}

/// F-88: a peer says in its PINGs how long it may be silent; not less than three seconds, and nothing where it says nothing.
#[test]
fn f_88_the_time_to_live_of_a_peer_is_known() {
    for (ttl, silence) in [
        (0_u16, None),
        (1, Some(Duration::from_secs(3))),
        (50, Some(Duration::from_secs(5))),
        (u16::MAX, Some(Duration::from_millis(6_553_500))),
    ] {
        let mut bytes = Vec::new();
        zmtp::put_greeting(&mut bytes);
        zmtp::put_ready(SocketType::Dealer, &mut bytes);
        let mut framing = server();
        bytes.extend([4, 7]);
        bytes.extend(b"\x04PING");
        bytes.extend(ttl.to_be_bytes());
        let mut at = 0;
        while let voxwire_core::Progress::Skip(n) = framing.next_frame(&bytes[at..]).unwrap() {
            at += n.get();
            if at == bytes.len() {
                break;
            }
            assert_eq!(framing.silence(), None);
        }
        assert_eq!(framing.silence(), silence);
    }
}
