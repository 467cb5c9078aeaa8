//! ZMTP of all versions, and plain objects, at a server.

use super::bytes::{
    ALREADY_CONNECTED, PASSWORD, REQUEST_INVALID, SUCCESS, any_greeting, cut, greeting, ping, pong, ready,
    request, response, unit,
};
use super::user::{User, shake_hands};
use crate::check::Check;
use crate::layout::Layout;

/// A question that anyone may ask.
fn question() -> Layout {
    request("logout", &["nobody"])
}

fn answer() -> Layout {
    response("logout", ALREADY_CONNECTED)
}

pub(super) const ZMTP: &[Check] = &[
    Check {
        row: "M-09",
        name: "greeting",
        expected: "A greeting of 3.0 is answered with 64 bytes of version 3 and NULL, then READY of a ROUTER.",
        section: "ZMTP",
        needs: &[],
        run: |stage| User::connect(stage, "alice").map(drop),
    },
    Check {
        row: "M-09",
        name: "byte-by-byte",
        expected: "Greeting, READY and a request that arrive byte by byte are taken as ones that arrive whole.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            let all = greeting(1, "NULL").then(ready()).then(unit(question())).encode();
            alice.send_split(&all, 1..all.len())?;
            alice.expect_bytes(&any_greeting())?;
            alice.frame()?;
            alice.expect(&unit(answer())).map(drop)
        },
    },
    Check {
        row: "M-09",
        name: "every-split",
        expected: "A unit in two pieces, wherever it is cut, is one unit.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let bytes = unit(question()).encode();
            for cut in 1..bytes.len() {
                alice.tcp.send_split(&bytes, [cut])?;
                alice.expect(&answer())?;
            }
            Ok(())
        },
    },
    Check {
        row: "M-09",
        name: "long-unit",
        expected: "A short message in a unit with a length of 8 bytes is taken.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let long = Layout::big().u8("flags", 2).u64("length", question().len() as u64).then(question());
            alice.tcp.send(&long)?;
            alice.expect(&answer())
        },
    },
    Check {
        row: "M-09",
        name: "ping",
        expected: "PING is answered with PONG and the context of the PING.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            for context in [&b""[..], b"x", b"sixteen bytes it"] {
                alice.tcp.send(&ping(0, context))?;
                alice.tcp.expect(&pong(context))?;
            }
            Ok(())
        },
    },
    Check {
        row: "M-09",
        name: "unknown-command",
        expected: "An unknown command is skipped.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let unknown = Layout::big().u8("flags", 4).u8("length", 5).u8("name length", 3);
            alice.tcp.send(&unknown.bytes("name", b"FOO").bytes("data", b"x"))?;
            alice.asks(&question(), &answer())
        },
    },
    Check {
        row: "M-09",
        name: "other-mechanism",
        expected: "A greeting with another mechanism than NULL closes its connection, and no other.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut bob = User::connect(stage, "bob")?;
            let mut alice = stage.connect("alice", cut)?;
            alice.send(&greeting(0, "PLAIN"))?;
            alice.expect_closed()?;
            bob.asks(&question(), &answer())
        },
    },
    Check {
        row: "M-09",
        name: "empty-frame-in-front",
        expected: "A request behind an empty frame, as a REQ socket sends it, has a response behind one.",
        section: "ZMTP",
        needs: &[],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            shake_hands(&mut alice)?;
            let empty = || Layout::big().u8("flags", 1).u8("length", 0);
            alice.send(&empty().then(unit(question())))?;
            alice.expect(&empty())?;
            alice.expect(&unit(answer())).map(drop)
        },
    },
    Check {
        row: "M-09",
        name: "version-2",
        expected: "A peer of ZMTP 2.0 is answered as 2.0: version 1, a socket type, an empty identity.",
        section: "ZMTP, Older versions",
        needs: &["zmtp-2"],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            let signature = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];
            // A DEALER, and an identity without bytes.
            alice.send_bytes(&[&signature[..], &[1, 5, 0, 0]].concat())?;
            let head = Layout::big().u8("signature", 0xff).any("signature", 8).u8("signature", 0x7f);
            // Only that the revision is not below 1 can be told: a peer of 3 says 3 here.
            let came = alice.expect_bytes(&head.any("revision", 1))?;
            if came[10] == 0 {
                return Err(alice.fails("the revision is 0", &came));
            }
            alice.expect_bytes(&Layout::big().u8("socket type", 6).bytes("identity", [0, 0]))?;
            alice.send(&unit(question()))?;
            alice.expect(&unit(answer())).map(drop)
        },
    },
    Check {
        row: "M-09",
        name: "version-1",
        expected: "A peer of ZMTP 1.0 is answered as 1.0: an empty identity, and lengths that count the flags.",
        section: "ZMTP, Older versions",
        needs: &["zmtp-1"],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            let old = |message: Layout| {
                let length = u8::try_from(1 + message.len()).unwrap_or(u8::MAX);
                Layout::big().u8("length", length).u8("flags", 0).then(message)
            };
            alice.send(&Layout::big().bytes("identity", [1, 0]).then(old(question())))?;
            alice.expect_bytes(&Layout::big().bytes("identity", [1, 0]).then(old(answer()))).map(drop)
        },
    },
    Check {
        row: "M-09",
        name: "plain-objects",
        expected: "Objects without framing are answered without framing, also where they are cut anywhere.",
        section: "Plain objects",
        needs: &["plain"],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            let bytes = question().encode();
            for cut in 1..bytes.len() {
                alice.send_split(&bytes, [cut])?;
                alice.expect_bytes(&answer())?;
            }
            let three =
                question().then(request("register", &[&stage.name("alice"), PASSWORD])).then(question());
            alice.send(&three)?;
            alice.expect_bytes(&answer().then(response("register", SUCCESS)).then(answer())).map(drop)
        },
    },
    Check {
        row: "M-11",
        name: "plain-unknown",
        expected: "Plain objects whose end cannot be found are answered, and close their connection.",
        section: "Plain objects",
        needs: &["plain"],
        run: |stage| {
            let mut alice = stage.connect("alice", cut)?;
            alice.send(&request("no_such_action", &[]))?;
            alice.expect_bytes(&response("no_such_action", REQUEST_INVALID))?;
            alice.expect_closed()
        },
    },
    Check {
        row: "M-11",
        name: "huge-before-log-in",
        expected: "A unit that is too large before the log-in is answered 1023, and harms no other connection.",
        section: "Messages that are too large",
        needs: &["strict"],
        run: |stage| {
            let mut bob = User::connect(stage, "bob")?;
            let mut alice = User::connect(stage, "alice")?;
            let start = Layout::big().u8("flags", 2).u64("length", 1 << 40);
            alice.tcp.send(&start.then(request("register", &["alice"])))?;
            // It is closed then, unless it may be about to resume a lost log-in.
            alice.expect(&response("", REQUEST_INVALID))?;
            bob.asks(&question(), &answer())
        },
    },
];
