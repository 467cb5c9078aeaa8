//! C-12: every package that is published says what a registry and its users need to know. (That they can be packaged and
//! built from their packages is `cargo publish --workspace --dry-run`, in `.ci/run`.)
#![allow(missing_docs)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What `cargo metadata` says about the workspace's packages.
fn metadata() -> String {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    String::from_utf8(metadata.stdout).unwrap()
}

/// A list in the metadata.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Whether the default features of a package enable its optional dependency `name`.
fn is_default(package: &Value, name: &str) -> bool {
    let (mut enabled, mut at) = (vec!["default"], 0);
    while let Some(feature) = enabled.get(at) {
        for one in list(&package["features"], feature).iter().filter_map(Value::as_str) {
            if !enabled.contains(&one) {
                enabled.push(one);
            }
        }
        at += 1;
    }
    enabled.iter().any(|one| {
        one.strip_prefix("dep:") == Some(name)
            || one.split_once('/').is_some_and(|(package, _)| package == name)
    })
}

#[test]
fn c_12_packages_need_a_rust_that_is_new_enough_for_the_packages_they_depend_on() {
    let metadata: Value = serde_json::from_str(&metadata()).unwrap();
    let rust = |package: &Value| -> Option<Vec<u32>> {
        Some(package["rust_version"].as_str()?.split('.').map(|part| part.parse().unwrap()).collect())
    };
    let packages = list(&metadata, "packages");
    let known: BTreeMap<_, _> =
        packages.iter().filter_map(|package| Some((package["name"].as_str()?, rust(package)?))).collect();
    let mut compared = 0;
    for package in packages {
        // Without one, a package is not published.
        let Some(rust) = rust(package) else { continue };
        for dependency in list(package, "dependencies") {
            let name = dependency["name"].as_str().unwrap();
            let is_dev = dependency["kind"] == "dev";
            let is_off = dependency["optional"] == true && !is_default(package, name);
            let (false, false, Some(needed)) = (is_dev, is_off, known.get(name)) else { continue };
            assert!(rust >= *needed, "{}: Rust {rust:?}, but {name} needs {needed:?}", package["name"]);
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} dependencies");
}

/// The packages that a registry takes and that have a library.
fn libraries(metadata: &Value) -> Vec<&Value> {
    let is_library = |target: &Value| list(target, "kind").iter().any(|kind| kind == "lib");
    let packages = list(metadata, "packages").iter().filter(|package| package["publish"].is_null());
    packages.filter(|package| list(package, "targets").iter().any(is_library)).collect()
}

/// The folder of a package.
fn folder(package: &Value) -> &Path {
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap()
}

#[test]
fn f_70_docs_rs_builds_every_library_with_its_features_and_says_which_an_item_needs() {
    let metadata: Value = serde_json::from_str(&metadata()).unwrap();
    let mut seen = 0;
    for package in libraries(&metadata) {
        let (name, docs) = (&package["name"], &package["metadata"]["docs"]["rs"]);
        assert!(docs["all-features"] == true || !list(docs, "features").is_empty(), "{name}: {docs}");
        assert_eq!(list(docs, "rustdoc-args"), ["--cfg", "docsrs"], "{name}");
        let source = fs::read_to_string(folder(package).join("src/lib.rs")).unwrap();
        let gated = source.contains("#[cfg(feature") || source.contains("#[cfg(any(feature");
        assert!(!gated || source.contains("cfg_attr(docsrs, feature(doc_cfg))"), "{name}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen} libraries");
}

/// The lines of a `##` section.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let head = format!("\n## {title}\n");
    let rest = text.split_once(&head).unwrap_or_else(|| panic!("no section {title}")).1;
    rest.split("\n## ").next().unwrap()
}

/// All protocol crates answer the same questions in the same order, the first example is short, and what the README says of the wire
/// stands in PROTOCOL.md.
#[test]
fn f_70_the_readmes_of_the_protocols_have_one_shape() {
    const SECTIONS: [&str; 11] = [
        "Installation",
        "Example",
        "A session",
        "On the wire",
        "States",
        "Limits",
        "Errors",
        "Transport",
        "Slow peers",
        "Testing",
        "Rust version",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(protocol) = fs::read_to_string(folder.join("PROTOCOL.md")) else { continue };
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for link in protocol.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(link.starts_with("https://") || link.starts_with('#'), "{name}: {link}");
        }
        if !name.starts_with("proto-") {
            continue;
        }
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        let titles: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, SECTIONS, "{name}");
        let example = section(&readme, "Example").split("```").nth(1).unwrap();
        assert!(example.trim().lines().count() < 15, "{name}");
        let link = format!("https://github.com/voxwire/voxwire/blob/main/{name}/PROTOCOL.md#");
        let wire = section(&readme, "On the wire").replace(&link, "#");
        for row in wire.lines().filter(|line| line.starts_with('|')) {
            assert!(protocol.contains(row), "{name}: not in PROTOCOL.md: {row}");
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
    for name in ["proto-core", "transport"] {
        let readme = fs::read_to_string(root.join(name).join("README.md")).unwrap();
        let titles: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        for title in ["Installation", "Example", "Limits", "Errors", "Slow peers", "Testing", "Rust version"]
        {
            assert!(titles.contains(&title), "{name}: no section {title}");
        }
    }
}

#[test]
fn f_70_dependency_lines_and_documents_name_the_versions_of_the_packages() {
    let metadata: Value = serde_json::from_str(&metadata()).unwrap();
    let mut lines = 0;
    for package in libraries(&metadata) {
        let name = package["name"].as_str().unwrap();
        let version = package["version"].as_str().unwrap().rsplit_once('.').unwrap().0;
        let readme = fs::read_to_string(folder(package).join("README.md")).unwrap();
        if readme.contains("\n## Rust version\n") {
            let rust = format!("Rust {}.", package["rust_version"].as_str().unwrap());
            assert!(section(&readme, "Rust version").trim().starts_with(&rust), "{name}: {rust}");
        }
        for line in readme.lines().filter(|line| line.starts_with("voxwire") && line.contains(" = ")) {
            let is_git = line.contains("git = \"https://github.com/voxwire/voxwire\"");
            assert!(is_git || line.contains(&format!("\"{version}\"")), "{name}: {line}");
            lines += 1;
        }
    }
    assert!(lines >= 20, "{lines} lines");
    let unity = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/unity/package.json");
    let unity: Value = serde_json::from_str(&fs::read_to_string(unity).unwrap()).unwrap();
    assert_eq!(unity["version"], env!("CARGO_PKG_VERSION"));
}

/// The table of features in the README of the facade has each of them, whether it is on by default, and what the manifest says of it.
#[test]
fn f_70_the_readme_names_each_feature_of_the_facade() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let features = manifest.split("\n[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let default = features.lines().find_map(|line| line.strip_prefix("default = ")).unwrap();
    let mut expected = Vec::new();
    let mut about = "";
    for line in features.lines() {
        if let Some(doc) = line.strip_prefix("## ") {
            about = doc;
        } else if let Some((feature, _)) = line.split_once(" = ").filter(|(feature, _)| *feature != "default")
        {
            let on = if default.contains(&format!("\"{feature}\"")) { "on" } else { "off" };
            expected.push(format!("| `{feature}` | {on} | {} |", about.trim_end_matches('.')).to_lowercase());
        }
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("| feature | default | adds |\n| --- | --- | --- |\n").nth(1).unwrap();
    let rows: Vec<String> =
        table.lines().take_while(|line| line.starts_with('|')).map(str::to_lowercase).collect();
    assert_eq!(rows, expected);
    assert!(rows.len() > 8);
}

/// What the commands of the documents make is no change of the tree.
#[test]
fn f_69_the_commands_of_the_documents_leave_no_untracked_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().collect();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut files = 0;
    for file in readme.split("--record ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        assert!(file.ends_with(".wav") && !file.contains('/') && ignored.contains(&"/*.wav"), "{file}");
        files += 1;
    }
    assert!(files >= 4, "{files} recordings");
    assert!(ignored.contains(&"/*.pem") && ignored.contains(&"/target"));
    // libFuzzer writes what it finds to the first folder.
    let fuzz = fs::read_to_string(root.join("fuzz/README.md")).unwrap();
    let mut runs = 0;
    for run in fuzz.split("cargo fuzz run ").skip(1) {
        let (first, corpus) = (run.find("target/fuzz/corpus/").unwrap(), run.find("fuzz/corpus/").unwrap());
        assert!(first < corpus, "{run}");
        runs += 1;
    }
    assert_eq!(runs, 2);
    assert!(ignored.contains(&"/fuzz/artifacts"));
}

/// docs.rs shows the README of a crate, and a relative link leads nowhere there. (That of the facade is shown where such links work.)
#[test]
fn c_12_links_of_readmes_are_absolute_and_lead_into_this_repository() {
    const REPOSITORY: &str = "https://github.com/voxwire/voxwire/";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metadata: Value = serde_json::from_str(&metadata()).unwrap();
    let mut links = 0;
    for package in list(&metadata, "packages") {
        let Some(readme) = package["readme"].as_str().filter(|_| package["name"] != "voxwire") else {
            continue;
        };
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let text = fs::read_to_string(folder.join(readme)).unwrap();
        let name = package["name"].as_str().unwrap();
        // F-70: who connects has dialled.
        let accepted = text.lines().find(|line| line.contains("client.") && line.contains("Via::Accepted"));
        assert_eq!(accepted, None, "{name}");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some(path) = link.strip_prefix(REPOSITORY) else {
                assert!(link.starts_with("https://") || link.starts_with('#'), "{name}: {link}");
                continue;
            };
            let path = path.strip_prefix("blob/main/").or_else(|| path.strip_prefix("raw/main/")).unwrap();
            let file = path.split('#').next().unwrap();
            assert!(root.join(file).is_file(), "{name}: {link}");
            links += 1;
        }
    }
    assert!(links > 10, "{links} links");
}

#[test]
fn c_12_packages_have_a_description_a_licence_a_readme_and_a_minimum_rust() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metadata = metadata();
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

/// Where the tests of a package are one binary, a file that is no module of it would not run.
#[test]
fn every_file_of_tests_runs() {
    let metadata: Value = serde_json::from_str(&metadata()).unwrap();
    let mut merged = 0;
    for package in list(&metadata, "packages") {
        let tests = folder(package).join("tests");
        let Ok(all) = fs::read_to_string(tests.join("all.rs")) else { continue };
        let targets: Vec<&str> =
            list(package, "targets").iter().filter_map(|target| target["name"].as_str()).collect();
        for entry in fs::read_dir(&tests).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_stem().unwrap().to_str().unwrap();
            let is_source = entry.extension().is_some_and(|extension| extension == "rs");
            let runs = targets.contains(&name) || all.lines().any(|line| line == format!("mod {name};"));
            assert!(!is_source || runs, "{} is in no test binary", entry.display());
        }
        merged += 1;
    }
    assert!(merged >= 6, "{merged} packages");
}
