//! C-12: every package that is published says what a registry and its users need to know. (That they can be packaged and
//! built from their packages is `cargo publish --workspace --dry-run`, in `.ci/run`.)
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

#[test]
fn c_12_packages_have_a_description_a_licence_a_readme_and_a_minimum_rust() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members: Vec<&str> =
        members.split(',').map(|member| member.trim().trim_matches('"')).filter(|m| !m.is_empty()).collect();
    assert!(members.contains(&"proto-core") && members.contains(&"transport"), "{members:?}");
    let mut published = 0;
    for member in members.into_iter().chain(["."]) {
        let folder = root.join(member);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        if manifest.contains("publish = false") {
            continue;
        }
        published += 1;
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
    }
    assert_eq!(published, 12);
    assert!(fs::read_to_string(root.join("CHANGELOG.md")).unwrap().contains("## Unreleased"));
}
