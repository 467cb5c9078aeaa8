//! C-12: every package that is published says what a registry and its users need to know. (That they can be packaged and
//! built from their packages is `cargo publish --workspace --dry-run`, in `.ci/run`.)
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn c_12_packages_have_a_description_a_licence_a_readme_and_a_minimum_rust() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata = String::from_utf8(metadata.stdout).unwrap();
    // Text enough: a path in it that needed escapes would not be found below.
    let manifests: Vec<&str> =
        metadata.split("\"manifest_path\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut published = Vec::new();
    for manifest in manifests {
        let folder = Path::new(manifest).parent().unwrap();
        let member = folder.strip_prefix(root).unwrap().display().to_string();
        let manifest = fs::read_to_string(manifest).unwrap();
        if manifest.contains("publish = false") {
            continue;
        }
        for key in [
            "description = ",
            "license.workspace = true",
            "rust-version",
            "readme = \"README.md\"",
            "keywords",
        ] {
            assert!(manifest.contains(key), "{member}: no {key}");
        }
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(file).is_file(), "{member}: no {file}");
        }
        published.push(member);
    }
    for some in ["", "proto-core", "transport", "examples/server"] {
        assert!(published.iter().any(|member| member == some), "{some:?} is not among {published:?}");
    }
    assert!(fs::read_to_string(root.join("CHANGELOG.md")).unwrap().contains("## Unreleased"));
}
