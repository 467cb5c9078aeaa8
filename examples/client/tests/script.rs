//! `--script`: commands, waits and checks.
#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Server, temporary};
use std::fs::write;
use voxwire_server::Protocol;

fn script(name: &str, text: &str) -> String {
    let path = temporary(name);
    write(&path, text).unwrap();
    format!("--script {}", path.display())
}

#[test]
fn a_script_chats_and_checks_what_comes() {
    let server = Server::start(Protocol::MSGPACK);
    for user in ["ann", "bob"] {
        assert_eq!(server.client(&format!("register --user {user}")).0, Some(0));
    }
    let bob = script("script-bob", "expect ann: good morning within 15s\n/msg ann good evening\n");
    let bob = server.spawn(&format!("chat --user bob {bob}"), "/help");
    let ann = "# greets\n/msg bob good morning\nexpect bob: good evening within 15s\nwait 100ms\n/quit\n";
    let ann = script("script-ann", ann);
    let (code, output, errors) = server.client(&format!("chat --user ann {ann}"));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    assert!(output.contains("bob: good evening"), "{output}");
    let (code, output, errors) = bob.end();
    assert_eq!(code, Some(0), "{output} {errors}");
}

#[test]
fn a_check_that_fails_names_its_line() {
    let server = Server::start(Protocol::VOICELINK);
    let flags = script("script-fails", "expect waiting\n\nexpect bob calls within 200ms\nwait 10s\n");
    let (code, _, errors) = server.client(&format!("wait --name ann {flags}"));
    assert_eq!(code, Some(1));
    assert!(errors.contains("line 3: \"bob calls\" expected: it did not come within 200ms"), "{errors}");
}

#[test]
fn a_program_that_ends_before_a_check_fails_it() {
    let server = Server::start(Protocol::VOICELINK);
    let flags = script("script-ends", "expect registered\nexpect never within 1000s\n");
    let bob = server.spawn("wait --name bob", "waiting");
    let (code, _, errors) = server.client(&format!("call bob --name ann --play tone --for 0.5 {flags}"));
    assert_eq!(code, Some(1));
    assert!(errors.contains("line 2") && errors.contains("ended before"), "{errors}");
    drop(bob);
}

#[test]
fn quit_ends_a_call_in_order() {
    let server = Server::start(Protocol::VOICELINK);
    let flags =
        script("script-quits", "expect call with ann is up within 15s\nwait 300ms\n/quit\nexpect hung up\n");
    let bob = server.command(&format!("wait --name bob {flags}"));
    let bob = kit::Client::spawn(bob, "waiting");
    let (code, output, _) = server.client("call bob --name ann --play tone");
    assert_eq!(code, Some(0));
    assert!(output.contains("bob hung up"), "{output}");
    let (code, _, errors) = bob.end();
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_script_that_makes_no_sense_is_refused_before_anything_is_done() {
    let server = Server::start(Protocol::VOICELINK);
    for (text, problem) in [
        ("\nwait soon\n", "line 2: wait soon: a time up to 24 h expected"),
        ("expect\n", "line 1: expect: a text expected"),
        ("/msg bob hi\n", "line 1: only `chat` carries out commands"),
    ] {
        let flags = script("script-senseless", text);
        let (code, output, errors) = server.client(&format!("wait --name ann {flags}"));
        assert_eq!((code, output.as_str()), (Some(2), ""), "{text}");
        assert!(errors.contains(problem), "{errors}");
    }
    let (code, _, errors) = server.client("wait --script no-such-file");
    assert_eq!(code, Some(2));
    assert!(errors.contains("no-such-file"), "{errors}");
}
