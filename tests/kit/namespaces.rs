//! Networks of a test's own: Linux namespaces, for every test that needs one. Included by path.
//!
//! A test that cannot have them says so on the terminal, past the harness's capture, and ends. With
//! `VOXWIRE_REQUIRE_NAMESPACES=1` that is a failure: the continuous integration sets it where namespaces can be had.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::panic)]

use std::io::Write as _;
use std::process::Command;

/// Arguments of `unshare` for a user, network, mount and process namespace of one's own.
pub const UNSHARE: [&str; 2] = ["-rnmp", "--fork"];

/// Whether the system gives us namespaces. If not, says that the test is skipped, or fails where it must not be.
///
/// ```text
/// if !namespaces::available() { return }
/// ```
pub fn available() -> bool {
    let output = match Command::new("unshare").args(UNSHARE).arg("true").output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    skipped(&format!("no namespaces here ({output})"));
    false
}

/// A network test cannot run, and `why`: a failure where `VOXWIRE_REQUIRE_NAMESPACES` is 1.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(!must_run(std::env::var_os("VOXWIRE_REQUIRE_NAMESPACES").as_deref()), "not skipped: {why}");
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    // Not by `eprintln!`: the harness would keep it to itself.
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {why}");
}

/// Whether a skip is a failure.
pub fn must_run(required: Option<&std::ffi::OsStr>) -> bool {
    required.is_some_and(|value| !value.is_empty() && value != "0")
}
