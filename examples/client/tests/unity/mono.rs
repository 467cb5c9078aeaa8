//! The C# package of `examples/unity`, built by Mono's compiler and run by its runtime.
#![allow(unreachable_pub)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The Debian packages that the tests need.
const PACKAGES: &str = "mono-mcs and mono-runtime";

/// Whose sources make the program of the tests.
const FOLDERS: [&str; 5] =
    ["Runtime/Transport", "Runtime/Dissonance", "Samples~/Console", "Tests", "Tests/Stub"];

/// Where the package is.
pub fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../unity")
}

/// The program of the package's tests. `None` where there is no Mono: then this says that the test is skipped.
pub fn tests() -> Option<&'static Path> {
    static TESTS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = TESTS.get_or_init(build);
    if built.is_none() {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        // Not by `eprintln!`: the harness would keep it to itself.
        let _ = writeln!(std::io::stderr(), "{test}: skipped: no Mono here (packages {PACKAGES})");
    }
    built.as_deref()
}

/// Compiles the program. `None` where there is no compiler, or no runtime.
fn build() -> Option<PathBuf> {
    for tool in ["mcs", "mono"] {
        Command::new(tool).arg("--version").output().ok().filter(|output| output.status.success())?;
    }
    // Several test programs build it, perhaps at the same time.
    let name = format!("{}.exe", std::env::current_exe().unwrap().file_stem().unwrap().to_str().unwrap());
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let sources = FOLDERS.iter().map(|folder| package().join(folder).join("*.cs"));
    // C# 7.2: what Unity 2021.3 and Mono 6.8 both compile.
    let output = Command::new("mcs")
        .args(["-langversion:7.2", "-warn:4", "-warnaserror", "-optimize", "-main:Voxwire.Tests.Program"])
        .arg(format!("-out:{}", out.display()))
        .args(sources)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(out)
}
