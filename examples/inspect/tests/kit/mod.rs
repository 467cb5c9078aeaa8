//! The program, run as a person would.
#![allow(missing_docs, unreachable_pub)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs it with `input` on its standard input.
pub fn inspect(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_voxwire-inspect"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
