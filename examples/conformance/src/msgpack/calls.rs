//! Calls of groups, at a server.

use super::bytes::{GROUP_DOES_NOT_EXIST, NO_MEMBER, SUCCESS, integer, response, string, strings, update};
use super::talk::group;
use super::user::User;
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::stage::Stage;

/// Six samples of every width, some of them in a longer form than they need: 0, -1, 127, 200, -200, 1000.
pub(super) const SAMPLES: &[u8] =
    &[0x96, 0x00, 0xff, 0xcc, 0x7f, 0xcd, 0x00, 0xc8, 0xd1, 0xff, 0x38, 0xcd, 0x03, 0xe8];

fn data(samples: &[u8], head: Layout) -> Layout {
    head.bytes("samples", samples)
}

fn spoken(user: &User, group: &str, samples: &[u8]) -> Layout {
    data(samples, strings(&["update", "call_data", &user.name, &user.token, group]))
}

fn heard(sender: &User, samples: &[u8]) -> Layout {
    data(samples, string(update("call_data"), "sender", &sender.name))
}

fn joins(user: &mut User, group: &str) -> Outcome {
    let asked = user.request("join_call", &[group]);
    user.asks(&asked, &string(response("join_call", SUCCESS), "group_name", group))
}

/// Alice and bob in a call of their group.
fn call(stage: &Stage<'_>) -> Outcome<(User, User, String)> {
    let (mut alice, mut bob, name) = group(stage)?;
    joins(&mut alice, &name)?;
    joins(&mut bob, &name)?;
    Ok((alice, bob, name))
}

pub(super) const CALLS: &[Check] = &[
    Check {
        row: "M-08",
        name: "join-call",
        expected: "join_call is answered 0 and the group, 770 without membership, 768 without the group.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let (mut alice, _, name) = group(stage)?;
            joins(&mut alice, &name)?;
            let mut carol = User::logged_in(stage, "carol")?;
            carol.is_answered("join_call", &[&name], NO_MEMBER)?;
            carol.is_answered("join_call", &[&stage.name("group")], GROUP_DOES_NOT_EXIST)
        },
    },
    Check {
        row: "M-08",
        name: "leave-call",
        expected: "leave_call is answered 0 in a call, 770 otherwise; then no audio of the call comes.",
        section: "Decisions, Messages",
        needs: &["strict"],
        run: |stage| {
            let (mut alice, mut bob, name) = call(stage)?;
            bob.is_answered("leave_call", &[], SUCCESS)?;
            bob.is_answered("leave_call", &[], NO_MEMBER)?;
            alice.send(&spoken(&alice, &name, SAMPLES))?;
            alice.is_answered("leave_call", &[], SUCCESS)?;
            bob.expect_nothing()
        },
    },
    Check {
        row: "M-05",
        name: "relay",
        expected: "call_data reach the others in the call with the samples in the forms in which they came, in order.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob, name) = call(stage)?;
            for number in 0..50 {
                let mut samples = SAMPLES.to_vec();
                samples[1] = number;
                alice.send(&spoken(&alice, &name, &samples))?;
                bob.expect(&heard(&alice, &samples))?;
                bob.send(&spoken(&bob, &name, &samples))?;
                alice.expect(&heard(&bob, &samples))?;
            }
            Ok(())
        },
    },
    Check {
        row: "M-05",
        name: "long",
        expected: "call_data of 4410 samples, in an array 16, reach the others as they are.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob, name) = call(stage)?;
            let mut samples = vec![0xdc, 0x11, 0x3a];
            for sample in 0..4410_u16 {
                let layout = integer(Layout::big(), "sample", sample);
                samples.extend(layout.encode());
            }
            alice.send(&spoken(&alice, &name, &samples))?;
            bob.expect(&heard(&alice, &samples))
        },
    },
    Check {
        row: "M-12",
        name: "never-answered",
        expected: "call_data has no answer, and does not come back to its sender.",
        section: "A session",
        needs: &["strict"],
        run: |stage| {
            let (mut alice, _bob, name) = call(stage)?;
            alice.send(&spoken(&alice, &name, SAMPLES))?;
            alice.is_answered("leave_call", &[], SUCCESS)
        },
    },
    Check {
        row: "M-08",
        name: "not-in-the-call",
        expected: "call_data of a member that is not in the call reaches nobody, and has no answer.",
        section: "Decisions, Groups and calls",
        needs: &["strict"],
        run: |stage| {
            let (mut alice, mut bob, name) = group(stage)?;
            joins(&mut bob, &name)?;
            alice.send(&spoken(&alice, &name, SAMPLES))?;
            alice.expect_nothing()?;
            bob.is_answered("leave_call", &[], SUCCESS)
        },
    },
    Check {
        row: "M-11",
        name: "samples-malformed",
        expected: "call_data whose samples are strings or out of range reach nobody; the call goes on.",
        section: "Limits and rates",
        needs: &["strict"],
        run: |stage| {
            let (mut alice, mut bob, name) = call(stage)?;
            alice.send(&spoken(&alice, &name, b"\x91\xa1x"))?;
            alice.send(&spoken(&alice, &name, &[0x91, 0xcd, 0xff, 0xff]))?;
            alice.send(&spoken(&alice, &name, SAMPLES))?;
            bob.expect(&heard(&alice, SAMPLES))
        },
    },
];
