//! The rows of `docs/requirements.md` and the ids that tests and comments name are the same.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rows that no test names, and what shows them instead.
const WITHOUT_A_TEST: [(&str, &str); 11] = [
    ("C-11", "the benchmarks themselves; `.ci/run` runs each once"),
    ("G-C3", "measured by `cargo bench codec`"),
    ("G-C4", "measured by `cargo bench codec`"),
    ("G-C5", "measured by `cargo bench codec`"),
    ("G-C6", "measured by `cargo bench codec`"),
    ("G-C7", "measured by `cargo bench codec`"),
    ("G-C8", "measured by `cargo bench codec`"),
    ("G-S1", "measured by `cargo bench session`"),
    ("G-U1", "measured by `cargo bench relay`"),
    ("G-U2", "measured by `cargo bench relay`"),
    ("G-U5", "measured by `cargo bench relay`"),
];

/// `F-15` or `T-S5`.
fn is_id(word: &str) -> bool {
    let Some((kind, number)) = word.split_once('-') else { return false };
    let digits = number.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "V" | "O" | "M" | "S" | "D" | "C" | "F" => number.len() == 2 && digits.len() == 2 && all_digits,
        "T" | "G" => digits.len() < number.len() && all_digits,
        _ => false,
    }
}

/// The ids in prose.
fn in_text(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    words.map(|word| word.trim_matches('-')).filter(|word| is_id(word)).map(str::to_owned)
}

/// The ids in the name of a function: `f_15_..`, `.._t_s5`.
fn in_name(name: &str) -> impl Iterator<Item = String> + '_ {
    let parts: Vec<&str> = name.split('_').collect();
    let pairs: Vec<String> = parts.windows(2).map(|pair| pair.join("-")).collect();
    let lower = |id: &String| !id.bytes().any(|byte| byte.is_ascii_uppercase());
    pairs.into_iter().filter(lower).map(|id| id.to_ascii_uppercase()).filter(|id| is_id(id))
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_head = before.split_whitespace().all(|word| {
        matches!(word, "async" | "const" | "extern" | "pub" | "unsafe") || word.starts_with("pub(")
    });
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (is_head && end > 0).then(|| &after[..end])
}

/// What a source file names, and what of it in the name, the comment or the body of a test.
fn in_source(source: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut named, mut proved, mut about_the_file) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let (mut comment, mut marked, mut in_test, mut has_tests) = (Vec::new(), false, false, false);
    for line in source.lines().map(str::trim_start) {
        named.extend(in_text(line));
        if line.starts_with("//!") {
            about_the_file.extend(in_text(line));
        } else if line.starts_with("//") {
            comment.extend(in_text(line));
        } else if line.starts_with("#[") {
            marked |= line.contains("test]") || line.contains("::test(");
        } else {
            if let Some(name) = function(line) {
                named.extend(in_name(name));
                comment.extend(in_name(name));
                in_test = marked;
                has_tests |= marked;
            }
            if in_test {
                proved.extend(comment.drain(..));
            }
            comment.clear();
            marked = false;
        }
    }
    if has_tests {
        proved.extend(about_the_file);
    }
    (named, proved)
}

/// All sources and documents but this test, its table and what is generated.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() {
            let is_ours = name == ".ci" || !name.starts_with('.');
            if is_ours && !matches!(name, "target" | "corpus" | "artifacts") {
                files(&path, found);
            }
        } else if name != "requirements.rs" && name != "requirements.md" {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("rs" | "md" | "py" | "sh" | "toml")) || folder == root().join(".ci") {
                found.push(path);
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each row, and what it says.
fn rows() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in fs::read_to_string(root().join("docs/requirements.md")).unwrap().lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, says, ""] = cells[..] else { continue };
        if is_id(id) {
            assert!(says.ends_with('.'), "{id} says nothing whole: {says:?}");
            assert_eq!(rows.insert(id.to_owned(), says.to_owned()), None, "{id} is there twice");
        }
    }
    rows
}

/// What the tree names, and where; and what its tests name.
fn names() -> (BTreeMap<String, Vec<PathBuf>>, BTreeSet<String>) {
    let (mut found, mut named, mut proved) = (Vec::new(), BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
    files(root(), &mut found);
    for path in found {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let ids = if path.extension().is_some_and(|extension| extension == "rs") {
            let (ids, by_tests) = in_source(&text);
            proved.extend(by_tests);
            ids
        } else {
            in_text(&text).collect()
        };
        for id in ids {
            named.entry(id).or_default().push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    (named, proved)
}

#[test]
fn every_id_that_is_named_is_a_row() {
    let rows = rows();
    let (mut named, _) = names();
    named.retain(|id, _| !rows.contains_key(id));
    assert!(named.is_empty(), "docs/requirements.md has no row for {named:#?}");
}

#[test]
fn every_row_is_named_by_a_test() {
    let (_, proved) = names();
    let mut left: BTreeSet<String> = rows().into_keys().filter(|id| !proved.contains(id)).collect();
    for (id, why) in WITHOUT_A_TEST {
        assert!(left.remove(id), "{id} ({why}): it has no row, or a test names it");
    }
    assert!(left.is_empty(), "no test names {left:?}");
}

#[test]
fn ids_are_found_in_prose_names_and_tests_alone() {
    assert_eq!(
        in_text("F-15, V-06/V-12 (T-S5); UTF-16, F-1, F-155, G-7, X-01").collect::<Vec<_>>(),
        ["F-15", "V-06", "V-12", "T-S5"]
    );
    let names = "f_15_c_06_at_44_1_khz_t_s5_is_of_2018_m_x";
    assert_eq!(in_name(names).collect::<Vec<_>>(), ["F-15", "C-06", "T-S5"]);
    let source = "//! V-01\n/// V-02\nfn helper() {}\n/// V-03\n#[test]\nfn v_04_is_so() {\n    // V-05\n    so();\n}\n";
    let (named, proved) = in_source(source);
    assert_eq!(named.len(), 5);
    assert_eq!(proved.into_iter().collect::<Vec<_>>(), ["V-01", "V-03", "V-04", "V-05"]);
    assert_eq!(in_source("//! V-01\nfn v_02() {}\n").1.len(), 0);
}
