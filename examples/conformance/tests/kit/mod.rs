//! Our own server inside the test, the runner as a program, and a faulty line between them.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod line;
#[path = "../../../../tests/kit/server.rs"]
mod server;

use serde_json::Value;
pub use server::Server;
use std::net::SocketAddr;
use std::process::{Command, Output};

/// Runs the runner: its exit code, standard output, standard error.
pub fn runner(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_voxwire-conformance")).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The report about a server.
pub fn report(protocol: &str, address: SocketAddr, more: &[&str]) -> (Option<i32>, Value) {
    let address = address.to_string();
    let (code, out, err) =
        runner(&[&[protocol, "server", &address, "--json", "--timeout", "30"], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

/// Row and name of the checks with this result.
pub fn with_result(report: &Value, result: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == result);
    checks
        .map(|check| format!("{}/{}", check["row"].as_str().unwrap(), check["check"].as_str().unwrap()))
        .collect()
}

/// Every check that ran has passed, and `skipped` alone did not run.
#[track_caller]
pub fn all_pass(protocol: &str, address: SocketAddr, more: &[&str], skipped: &[&str]) {
    let (code, report) = report(protocol, address, more);
    assert_eq!(with_result(&report, "fail"), [""; 0], "{report:#}");
    assert_eq!(with_result(&report, "skipped"), skipped, "{report:#}");
    assert!(!with_result(&report, "pass").is_empty() && code == Some(0));
}

/// `check` alone fails, in `field` of what came, at `offset` if it does not depend on the length of names.
#[track_caller]
pub fn alone_fails(
    protocol: &str,
    address: SocketAddr,
    more: &[&str],
    check: &str,
    offset: Option<u64>,
    field: Option<&str>,
) -> Value {
    let (code, report) = report(protocol, address, more);
    assert_eq!((with_result(&report, "fail"), code), (vec![check.to_owned()], Some(1)), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let failure = &checks.iter().find(|check| check["result"] == "fail").unwrap()["failure"];
    assert_eq!(failure["field"].as_str(), field, "{failure:#}");
    assert!(offset.is_none() || failure["offset"].as_u64() == offset, "{failure:#}");
    assert!(!failure["conversation"].as_array().unwrap().is_empty(), "{failure:#}");
    failure.clone()
}
