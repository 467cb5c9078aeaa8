//! C-16: `docs/dependencies.md` has a row for every package that a manifest names, and explains every package that is twice in the lock file.
#![allow(missing_docs)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dependencies.md")).unwrap()
}

/// The rows of a part of the page: their cells.
fn rows(part: &str) -> Vec<Vec<String>> {
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The names in backquotes of a cell.
fn names(cell: &str) -> impl Iterator<Item = String> + '_ {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn c_16_every_dependency_has_a_row_that_says_why_it_is_there() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let dependencies = packages.iter().flat_map(|package| package["dependencies"].as_array().unwrap());
    let foreign = dependencies.filter(|dependency| !dependency["source"].is_null());
    let named: BTreeSet<String> = foreign.map(|one| one["name"].as_str().unwrap().to_owned()).collect();

    let page = page();
    let (_, tables) = page.split_once("\n## Libraries\n").unwrap();
    let (tables, _) = tables.split_once("\n## Behind\n").unwrap();
    let rows = rows(tables);
    let described: BTreeSet<String> =
        rows.iter().flat_map(|row| names(&row[0]).collect::<Vec<_>>()).collect();
    assert_eq!(described, named);
    for row in &rows {
        assert_eq!(row.len(), 8, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

#[test]
fn c_16_every_package_that_is_twice_in_the_lock_file_is_explained() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let mut versions = BTreeMap::<&str, Vec<&str>>::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("name = ") {
            let version = lines.next().unwrap().strip_prefix("version = ").unwrap();
            versions.entry(name.trim_matches('"')).or_default().push(version.trim_matches('"'));
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    let page = page();
    let (_, part) = page.split_once("\n## Twice in the lock file\n").unwrap();
    let mut explained = BTreeSet::new();
    for row in rows(part) {
        for name in names(&row[0]) {
            let versions = &versions[name.as_str()];
            assert!(versions.iter().all(|version| row[1].contains(version)), "{name}: {versions:?}");
            explained.insert(name);
        }
    }
    assert_eq!(explained, versions.keys().map(|&name| name.to_owned()).collect());
}
