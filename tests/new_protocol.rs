//! C-21: what a small protocol takes, counted for echo, the one that "Adding a protocol" in CONTRIBUTING.md follows.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// The protocol's own files and folders, under the root.
const OWN: [&str; 8] = [
    "examples/echo/src",
    "examples/server/src/echo.rs",
    "examples/client/src/echo.rs",
    "examples/client/src/echo",
    "examples/inspect/src/echo.rs",
    "benches/codec/echo.rs",
    "fuzz/src/bin/echo_message.rs",
    "fuzz/src/bin/echo_session.rs",
];

/// Where sources are that may have lines about it.
const ELSEWHERE: [&str; 11] = [
    "benches",
    "fuzz/src",
    "src",
    "transport/src",
    "proto-core/src",
    "examples/audio/src",
    "examples/client/src",
    "examples/conformance/src",
    "examples/inspect/src",
    "examples/load/src",
    "examples/server/src",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder, those in folders of it included, or the file itself, that end in `extension`.
fn files(path: PathBuf, extension: &str) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(&path).unwrap();
        return entries.flat_map(|entry| files(entry.unwrap().path(), extension)).collect();
    }
    let wanted = path.is_file() && path.extension().is_some_and(|found| found == extension);
    wanted.then_some(path).into_iter().collect()
}

/// The lines of code of a file: neither blank, nor of comments, nor of the tests at its end.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(str::trim).take_while(|line| *line != "#[cfg(test)]");
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    lines.filter(is_code).map(str::to_owned).collect()
}

/// C-21
#[test]
fn c_21_a_small_protocol_takes_less_than_300_lines() {
    let own: Vec<PathBuf> = OWN.iter().flat_map(|path| files(root().join(path), "rs")).collect();
    let counts: Vec<(usize, &PathBuf)> = own.iter().map(|path| (code(path).len(), path)).collect();
    let total: usize = counts.iter().map(|(lines, _)| lines).sum();
    assert!(own.len() >= 8 && total > 100, "files have moved: {counts:#?}");
    assert!(total < 300, "{total} lines: {counts:#?}");
    let said = format!("echo has {total} lines of code");
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    assert!(page.contains(&said), "CONTRIBUTING.md does not say: {said}");
}

/// C-21
#[test]
fn c_21_a_small_protocol_touches_less_than_ten_lines_of_other_sources() {
    let is_own = |path: &PathBuf| OWN.iter().any(|own| path.starts_with(root().join(own)));
    let about = ["mod echo;", "\"echo\"", "echo::", "voxwire_echo"];
    let mut touched = Vec::new();
    for path in ELSEWHERE.iter().flat_map(|path| files(root().join(path), "rs")) {
        if !is_own(&path) {
            let lines = code(&path).into_iter().filter(|line| about.iter().any(|word| line.contains(word)));
            touched.extend(lines.map(|line| (path.clone(), line)));
        }
    }
    // syfala's device has a sound of that name, and the client a flag.
    touched.retain(|(path, _)| !path.to_str().unwrap().contains("syfala"));
    assert!((5..10).contains(&touched.len()), "{touched:#?}");
}
