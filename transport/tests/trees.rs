//! C-06: what depends on what, as cargo sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

/// The packages that a package needs to be built and used, itself first; `None` outside the repository.
fn tree(package: &str, features: &[&str]) -> Option<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !root.join("proto-core").is_dir() {
        // A published package has no neighbours.
        println!("skipped: not in the repository");
        return None;
    }
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let names = lines.lines().filter_map(|line| line.split_whitespace().next());
    Some(names.map(str::to_owned).collect())
}

#[test]
fn c_06_f_71_no_protocol_crate_has_tokio_in_its_tree_with_any_features() {
    for package in [
        "voxwire-core",
        "voxwire-voicelink",
        "voxwire-opcode",
        "voxwire-msgpack",
        "voxwire-syfala",
        "voxwire-dissonance",
    ] {
        let Some(tree) = tree(package, &["--all-features"]) else { return };
        assert_eq!(tree.first().map(String::as_str), Some(package));
        let runtime = |name: &&String| {
            ["tokio", "mio", "socket2", "async-", "quinn", "futures"].iter().any(|bad| name.starts_with(bad))
        };
        assert_eq!(tree.iter().find(runtime), None, "{package}");
    }
}

#[test]
fn c_06_f_71_tls_and_quic_are_off_unless_asked_for() {
    let has = |tree: &[String], name: &str| tree.iter().any(|package| package == name);
    let Some(default) = tree("voxwire-transport", &[]) else { return };
    assert!(has(&default, "tokio") && !has(&default, "rustls") && !has(&default, "quinn"));
    let tls = tree("voxwire-transport", &["--features", "tls"]).unwrap();
    assert!(has(&tls, "rustls") && !has(&tls, "quinn"));
    let quic = tree("voxwire-transport", &["--features", "quic"]).unwrap();
    assert!(has(&quic, "rustls") && has(&quic, "quinn"));
}
