//! The C# package of `examples/unity`, built by Mono's compiler and run by its runtime.
#![allow(dead_code, unreachable_pub)]

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
    compile_tests(&out, "");
    Some(out)
}

/// Compiles the program, with further options.
#[track_caller]
pub fn compile_tests(out: &Path, more: &str) {
    let sources = FOLDERS.map(|folder| format!("{folder}/*.cs"));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let target = format!("exe -main:Voxwire.Tests.Program {more}");
    compile(&out.display().to_string(), target.trim_end(), &sources, &[]);
}

/// Compiles sources of the package, as C# 7.2: what Unity 2021.3 and Mono 6.8 both compile.
#[track_caller]
pub fn compile(out: &str, target: &str, sources: &[&str], references: &[&str]) {
    let output = Command::new("mcs")
        .args(["-langversion:7.2", "-warn:4", "-warnaserror", "-optimize"])
        .args(format!("-target:{target}").split(' '))
        .arg(format!("-out:{out}"))
        .args(references.iter().map(|reference| format!("-r:{reference}")))
        .args(sources.iter().map(|source| package().join(source)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
