//! S-11: the codec and both sessions in a program without std, with an allocator of its own and 96 KiB of memory, linked and run.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn cargo(arguments: &[&str]) -> (bool, String, String) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firmware/Cargo.toml");
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).arg("--manifest-path").arg(manifest).args(["--target-dir"]).arg(target());
    // Flags for the tests, as of a coverage or fuzzing run, are not for a program without std.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware")
}

#[test]
#[cfg(target_os = "linux")]
fn s_11_a_program_without_std_discovers_starts_and_hears() {
    let (done, _, error) = cargo(&["build", "--quiet"]);
    assert!(done, "{error}");
    let mut program = Command::new(target().join("debug/firmware")).spawn().unwrap();
    // One that panics can do no more than wait for ever.
    let ended = (0..600).find_map(|_| {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        program.try_wait().unwrap()
    });
    program.kill().unwrap();
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "it panics, or has not heard everything");
    // std's own runtime is not in it.
    let program = std::fs::read(target().join("debug/firmware")).unwrap();
    let holds = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    assert!(holds(b"voxwire_syfala") && !holds(b"std::rt") && !holds(b"std2rt"), "std is linked");
}

#[test]
fn s_11_no_package_that_is_linked_asks_for_std() {
    // With the features that each package is built with.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firmware/Cargo.toml");
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--edges", "normal,no-proc-macro", "--format", "{p} [{f}]", "--prefix", "none"]);
    let output = command.arg("--manifest-path").arg(manifest).output().unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("voxwire-syfala") && tree.contains("postcard"), "{tree}");
    for line in tree.lines() {
        let features = line.rsplit_once('[').map_or("", |(_, features)| features.trim_end_matches(']'));
        assert!(features.split(',').all(|feature| feature != "std"), "{line}");
    }
}
