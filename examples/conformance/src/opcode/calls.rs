//! Calls through a server.

use super::bytes::{CALL_REFUSED, ERROR_RESPONSE, call_request, with_string};
use super::user::User;
use crate::check::{Check, Outcome};
use crate::stage::Stage;

/// The address that the server sees of a client.
fn host(user: &User) -> Outcome<String> {
    let address = user.tcp.stream.local_addr();
    address
        .map(|address| address.ip().to_string())
        .map_err(|error| user.tcp.fails(format!("no address of one's own: {error}"), &[]))
}

/// Alice and bob, whom she calls.
fn ringing(stage: &Stage<'_>) -> Outcome<(User, User)> {
    let (mut alice, mut bob) = (User::log_in(stage, "alice")?, User::log_in(stage, "bob")?);
    alice.tcp.send(&call_request(&bob.name, "", 50_000))?;
    bob.expect(&call_request(&alice.name, &host(&alice)?, 50_000))?;
    Ok((alice, bob))
}

pub(super) const CALLS: &[Check] = &[
    Check {
        row: "O-06",
        name: "call-request",
        expected: "The callee is sent the CallRequest with the caller's name, address and port.",
        section: "A session",
        needs: &["direct"],
        run: |stage| ringing(stage).map(drop),
    },
    Check {
        row: "O-06",
        name: "host-ignored",
        expected: "The callee is told the address that the server sees, not the host that the caller names.",
        section: "Decisions, Calls",
        needs: &["direct"],
        run: |stage| {
            let (mut alice, mut bob) = (User::log_in(stage, "alice")?, User::log_in(stage, "bob")?);
            alice.tcp.send(&call_request(&bob.name, "192.0.2.7", 50_001))?;
            bob.expect(&call_request(&alice.name, &host(&alice)?, 50_001))
        },
    },
    Check {
        row: "O-06",
        name: "refused",
        expected: "CallRefused reaches the caller with the callee's name.",
        section: "A session",
        needs: &["direct"],
        run: |stage| {
            let (mut alice, mut bob) = ringing(stage)?;
            bob.tcp.send(&with_string(CALL_REFUSED, "contact", &alice.name))?;
            alice.expect(&with_string(CALL_REFUSED, "contact", &bob.name))
        },
    },
    Check {
        row: "O-06",
        name: "refusal-of-no-call",
        expected: "A CallRefused that answers no CallRequest is dropped.",
        section: "Decisions, Calls",
        needs: &["names"],
        run: |stage| {
            let (mut alice, mut bob) = (User::log_in(stage, "alice")?, User::log_in(stage, "bob")?);
            bob.tcp.send(&with_string(CALL_REFUSED, "contact", &alice.name))?;
            // Behind it on bob's connection: when this is answered, the refusal has been taken.
            bob.tcp.send(&call_request("nobody", "", 50_000))?;
            bob.expect_reason(ERROR_RESPONSE)?;
            alice.tcp.send(&call_request("nobody", "", 50_000))?;
            alice.expect_reason(ERROR_RESPONSE)
        },
    },
    Check {
        row: "O-06",
        name: "unknown-callee",
        expected: "A call to an unknown name is answered with ErrorResponse.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::log_in(stage, "alice")?;
            alice.tcp.send(&call_request(&stage.name("nobody"), "", 50_000))?;
            alice.expect_reason(ERROR_RESPONSE)
        },
    },
    Check {
        row: "O-06",
        name: "low-port",
        expected: "A call with a port below 1024 is answered with ErrorResponse, and rings nobody.",
        section: "Decisions, Calls",
        needs: &["names"],
        run: |stage| {
            let (mut alice, mut bob) = (User::log_in(stage, "alice")?, User::log_in(stage, "bob")?);
            alice.tcp.send(&call_request(&bob.name, "", 80))?;
            alice.expect_reason(ERROR_RESPONSE)?;
            bob.tcp.send(&call_request("nobody", "", 50_000))?;
            bob.expect_reason(ERROR_RESPONSE)
        },
    },
    Check {
        row: "O-06",
        name: "crossing-calls",
        expected: "Two clients may call each other at once: each is sent the other's CallRequest.",
        section: "A session",
        needs: &["direct"],
        run: |stage| {
            let (mut alice, mut bob) = ringing(stage)?;
            bob.tcp.send(&call_request(&alice.name, "", 50_002))?;
            alice.expect(&call_request(&bob.name, &host(&bob)?, 50_002))
        },
    },
];
