//! Texts, recordings and groups, at a server.

use super::bytes::{
    ALREADY_MEMBER, GROUP_ALREADY_EXIST, GROUP_DOES_NOT_EXIST, INCORRECT_TOKEN, NO_MEMBER, SUCCESS, integer,
    response, string, update,
};
use super::user::User;
use crate::check::{Check, Outcome};
use crate::layout::Layout;
use crate::stage::Stage;

fn whisper(sender: &str, content: &str) -> Layout {
    string(string(update("whisper"), "sender", sender), "content", content)
}

fn group_message(group: &str, sender: &str, content: &str) -> Layout {
    let head = string(string(update("msg_group"), "group_name", group), "sender", sender);
    string(head, "content", content)
}

/// Alice and bob in a group of hers.
pub(super) fn group(stage: &Stage<'_>) -> Outcome<(User, User, String)> {
    let (mut alice, mut bob) = (User::logged_in(stage, "alice")?, User::logged_in(stage, "bob")?);
    let name = stage.name("group");
    alice.is_answered("create_group", &[&name], SUCCESS)?;
    bob.is_answered("join_group", &[&name], SUCCESS)?;
    Ok((alice, bob, name))
}

pub(super) const TALK: &[Check] = &[
    Check {
        row: "M-04",
        name: "whisper",
        expected: "A whisper of any length and script reaches its recipient byte for byte; the answer is 0.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob) = (User::logged_in(stage, "alice")?, User::logged_in(stage, "bob")?);
            for said in ["", "hello", &"x".repeat(300), "gr\u{fc}\u{df} dich \u{1f600}"] {
                alice.is_answered("whisper", &[&bob.name, said], SUCCESS)?;
                bob.expect(&whisper(&alice.name, said))?;
            }
            Ok(())
        },
    },
    Check {
        row: "M-08",
        name: "update-first",
        expected: "An update precedes the response to the request that caused it.",
        section: "Decisions, Messages",
        needs: &[],
        run: |stage| {
            let (mut alice, _, name) = group(stage)?;
            alice.send(&alice.request("msg_group", &[&name, "hello"]))?;
            alice.expect(&group_message(&name, &alice.name, "hello"))?;
            alice.expect(&response("msg_group", SUCCESS))
        },
    },
    Check {
        row: "M-08",
        name: "kept",
        expected: "A whisper to a user who is away is delivered before the next log-in is answered.",
        section: "Decisions, Messages for users who are away",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::logged_in(stage, "alice")?;
            let mut bob = User::registered(stage, "bob")?;
            alice.is_answered("whisper", &[&bob.name, "later"], SUCCESS)?;
            bob.send(&super::bytes::request("login", &[&bob.name, super::bytes::PASSWORD]))?;
            bob.expect(&whisper(&alice.name, "later"))
        },
    },
    Check {
        row: "M-07",
        name: "wrong-token",
        expected: "A request with another token is answered 517, and does nothing.",
        section: "Decisions, Names, users and tokens",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob) = (User::logged_in(stage, "alice")?, User::logged_in(stage, "bob")?);
            let token = std::mem::replace(&mut alice.token, "0".repeat(36));
            alice.is_answered("whisper", &[&bob.name, "forged"], INCORRECT_TOKEN)?;
            alice.token = token;
            alice.is_answered("whisper", &[&bob.name, "own"], SUCCESS)?;
            bob.expect(&whisper(&alice.name, "own"))
        },
    },
    Check {
        row: "M-08",
        name: "groups",
        expected: "create_group, join_group and msg_group are answered 0, 767, 768, 769 and 770, as the table has it.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob, name) = group(stage)?;
            let other = stage.name("group");
            alice.is_answered("create_group", &[&name], GROUP_ALREADY_EXIST)?;
            bob.is_answered("join_group", &[&other], GROUP_DOES_NOT_EXIST)?;
            bob.is_answered("join_group", &[&name], ALREADY_MEMBER)?;
            bob.is_answered("msg_group", &[&other, "hello"], GROUP_DOES_NOT_EXIST)?;
            alice.is_answered("create_group", &[&other], SUCCESS)?;
            bob.is_answered("msg_group", &[&other, "hello"], NO_MEMBER)
        },
    },
    Check {
        row: "M-08",
        name: "group-message",
        expected: "A group message reaches all members, the sender included.",
        section: "Decisions, Groups and calls",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob, name) = group(stage)?;
            bob.send(&bob.request("msg_group", &[&name, "hi all"]))?;
            let said = group_message(&name, &bob.name, "hi all");
            alice.expect(&said)?;
            bob.expect(&said)?;
            bob.expect(&response("msg_group", SUCCESS))
        },
    },
    Check {
        row: "M-04",
        name: "recording",
        expected: "A recording reaches its recipient with its channels, rate and samples as they were sent.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let (mut alice, mut bob) = (User::logged_in(stage, "alice")?, User::logged_in(stage, "bob")?);
            let samples = Layout::big().bytes("samples", super::calls::SAMPLES);
            let of = |head: Layout| {
                integer(integer(head, "channels", 2), "sample_rate", 48_000).then(samples.clone())
            };
            let asked = of(alice.request("voice_msg", &[&bob.name]));
            alice.asks(&asked, &response("voice_msg", SUCCESS))?;
            bob.expect(&of(string(update("voice_msg"), "sender", &alice.name)))
        },
    },
];
