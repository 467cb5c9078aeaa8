//! The demonstration as a user sees it.
#![allow(missing_docs, clippy::unwrap_used)]

mod kit;

use kit::{Client, temporary};
use std::process::Command;

/// F-61: the first signal ends it, in the middle of a call.
#[test]
fn f_61_a_signal_ends_the_demonstration_at_once() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    command.args(["demo", "--only", "voicelink,opcode", "--out"]).arg(temporary("demo-interrupted"));
    let demo = Client::spawn(command, "voicelink ..");
    demo.signal("-INT");
    let (code, out, errors) = demo.end();
    assert_eq!(code, Some(1));
    assert!(errors.contains("interrupted while demonstrating"), "{errors}");
    assert!(!out.contains("opcode ..") && !out.contains("NOT HEARD"), "{out}");
}
