//! Framing, log-ins and contact lists, at a server.

use super::bytes::{
    ADD_CONTACT, BODY_AT, DEL_CONTACT, ERROR_RESPONSE, HELLO_CONNECT, LOGIN, LOGIN_FAILED, LOGIN_SUCCESS,
    call_request, cut, empty, packet, with_string,
};
use super::user::{User, login};
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::stage::Stage;

/// A question that has an answer at once: a call to a client that is not there.
fn question() -> Layout {
    call_request("nobody", "", 50_000)
}

pub(super) const LOG_IN: &[Check] = &[
    Check {
        row: "O-04",
        name: "hello-first",
        expected: "The server sends HelloConnect before anything else.",
        section: "On the wire",
        needs: &[],
        run: |stage| stage.connect("alice", cut)?.expect(&empty(HELLO_CONNECT)).map(drop),
    },
    Check {
        row: "O-04",
        name: "log-in",
        expected: "Login with a free name is answered with LoginSuccess.",
        section: "A session",
        needs: &[],
        run: |stage| User::log_in(stage, "alice").map(drop),
    },
    Check {
        row: "O-04",
        name: "taken",
        expected: "Login with a name that a client has is answered with LoginFailed and a reason.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let alice = User::log_in(stage, "alice")?;
            let mut other = User::connect(stage, "mallory")?;
            other.tcp.send(&login(stage, &alice.name))?;
            other.expect_reason(LOGIN_FAILED)
        },
    },
    Check {
        row: "O-04",
        name: "empty-name",
        expected: "Login with an empty name is answered with LoginFailed; then another name is taken.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            alice.tcp.send(&with_string(LOGIN, "name", ""))?;
            alice.expect_reason(LOGIN_FAILED)?;
            alice.tcp.send(&login(stage, &alice.name))?;
            alice.expect(&empty(LOGIN_SUCCESS))
        },
    },
    Check {
        row: "O-04",
        name: "invalid-name",
        expected: "Login with an invisible name is answered with LoginFailed and a reason.",
        section: "Decisions, Log-ins and contact lists",
        needs: &["names"],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            alice.tcp.send(&with_string(LOGIN, "name", "al\u{200b}ice"))?;
            alice.expect_reason(LOGIN_FAILED)
        },
    },
    Check {
        row: "O-04",
        name: "second-log-in",
        expected: "Login with another name, on a connection that has one, has no answer.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            alice.tcp.send(&login(stage, &stage.name("alicia")))?;
            alice.tcp.send(&question())?;
            alice.expect_reason(ERROR_RESPONSE)
        },
    },
    Check {
        row: "O-02",
        name: "byte-by-byte",
        expected: "A packet that arrives byte by byte is one packet.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let bytes = login(stage, &alice.name).encode();
            alice.tcp.send_split(&bytes, 1..bytes.len())?;
            alice.expect(&empty(LOGIN_SUCCESS))
        },
    },
    Check {
        row: "O-02",
        name: "every-split",
        expected: "A packet in two pieces, wherever it is cut, is one packet.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            let bytes = question().encode();
            for cut in 1..bytes.len() {
                alice.tcp.send_split(&bytes, [cut])?;
                alice.expect_reason(ERROR_RESPONSE)?;
            }
            Ok(())
        },
    },
    Check {
        row: "O-02",
        name: "coalesced",
        expected: "Packets that arrive in one piece are taken one by one, and bytes behind the last field ignored.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let mut body = login(stage, &alice.name).encode();
            body.drain(..BODY_AT);
            let padded = packet(LOGIN, Layout::little().bytes("name", body).bytes("behind", b"more"));
            alice.tcp.send(&padded.then(question()).then(question()))?;
            alice.expect(&empty(LOGIN_SUCCESS))?;
            alice.expect_reason(ERROR_RESPONSE)?;
            alice.expect_reason(ERROR_RESPONSE)
        },
    },
    Check {
        row: "O-01",
        name: "text",
        expected: "A name of other letters is told to others as the bytes of its log-in.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            let mut bob = User::connect(stage, "bob")?;
            let name = stage.name("Zoe\u{308}-\u{416}");
            bob.tcp.send(&login(stage, &name))?;
            bob.expect(&empty(LOGIN_SUCCESS))?;
            alice.expect_contact(ADD_CONTACT, &name)
        },
    },
    Check {
        row: "O-05",
        name: "roster",
        expected: "A newcomer is told who is there, the others are told of the newcomer.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            let mut bob = User::log_in(stage, "bob")?;
            bob.expect_contact(ADD_CONTACT, &alice.name)?;
            alice.expect_contact(ADD_CONTACT, &bob.name)
        },
    },
    Check {
        row: "O-05",
        name: "leaves",
        expected: "DelContact tells the others when a connection ends.",
        section: "Decisions, Log-ins and contact lists",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            let bob = User::log_in(stage, "bob")?;
            let name = bob.name.clone();
            // A client that comes and goes between two lists is in neither.
            alice.expect_contact(ADD_CONTACT, &name)?;
            drop(bob);
            alice.expect_contact(DEL_CONTACT, &name)
        },
    },
    Check {
        row: "O-05",
        name: "unnamed-unlisted",
        expected: "A connection without a name is in nobody's list.",
        section: "Decisions, Log-ins and contact lists",
        needs: &["names"],
        run: |stage| {
            let unnamed = User::connect(stage, "carol")?;
            let mut alice = User::log_in(stage, "alice")?;
            let seen = alice.contacts_until_an_answer(&question(), ERROR_RESPONSE)?;
            drop(unnamed);
            if seen.iter().any(Vec::is_empty) {
                return Err(alice.tcp.fails("an empty name is in the list", &[]));
            }
            Ok(())
        },
    },
    Check {
        row: "O-11",
        name: "unknown-opcode",
        expected: "An unknown opcode closes its connection, and no other.",
        section: "Decisions, Calls",
        needs: &[],
        run: |stage| ends(stage, &empty(0x77).encode()),
    },
    Check {
        row: "O-11",
        name: "body-overruns",
        expected: "A count of more bytes than the packet has closes its connection, and no other.",
        section: "Decisions, Calls",
        needs: &[],
        run: |stage| {
            let overrun = packet(LOGIN, Layout::little().u64("count", 1 << 40).bytes("name", b"bob"));
            ends(stage, &overrun.encode())
        },
    },
    Check {
        row: "O-11",
        name: "length-too-large",
        expected: "A length above the limit closes its connection before so many bytes have come, and no other.",
        section: "Limits and rates",
        needs: &[],
        run: |stage| ends(stage, &Layout::little().u64("length", u64::MAX).u16("opcode", LOGIN).encode()),
    },
    Check {
        row: "O-11",
        name: "length-too-small",
        expected: "A length below 2 closes its connection, and no other.",
        section: "On the wire",
        needs: &[],
        run: |stage| ends(stage, &Layout::little().u64("length", 1).u16("opcode", LOGIN).encode()),
    },
    Check {
        row: "O-11",
        name: "voice-to-server",
        expected: "VoiceData to the server closes its connection, and no other.",
        section: "Decisions, Calls",
        needs: &[],
        run: |stage| {
            let data = Layout::little().u64("count", 3).bytes("data", [0xf8, 0xff, 0xfe]);
            ends(stage, &packet(super::bytes::VOICE_DATA, data).encode())
        },
    },
];

/// `bytes` end their connection; another client is answered as before.
fn ends(stage: &Stage<'_>, bytes: &[u8]) -> Outcome {
    let mut alice = User::log_in(stage, "alice")?;
    let mut other = User::log_in(stage, "mallory")?;
    alice.expect_contact(ADD_CONTACT, &other.name)?;
    other.tcp.send_bytes(bytes)?;
    other.tcp.expect_closed()?;
    alice.expect_contact(DEL_CONTACT, &other.name)?;
    alice.tcp.send(&question())?;
    alice.expect_reason(ERROR_RESPONSE)
}
