//! C-17: the vectors for other languages follow the schema in `docs/vectors.md`, which names every file.
#![allow(missing_docs)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const MEMBERS: [&str; 9] =
    ["name", "source", "hex", "fields", "error", "from", "wire", "canonical", "lenient"];

/// Panics with the name of a vector that breaks the schema.
fn check(vector: &Value) {
    let object = vector.as_object().unwrap();
    for member in object.keys() {
        assert!(MEMBERS.contains(&&**member), "{vector}: {member}");
    }
    for member in ["name", "source"] {
        assert!(vector[member].as_str().is_some_and(|text| !text.is_empty()), "{vector}: {member}");
    }
    let hex = vector["hex"].as_str().unwrap();
    assert!(hex.len() % 2 == 0 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{vector}");
    assert!(object.contains_key("fields") != object.contains_key("error"), "{vector}");
    if let Some(fields) = object.get("fields") {
        assert!(fields["message"].is_string() || fields["objects"].is_array(), "{vector}");
    }
    if let Some(error) = object.get("error") {
        assert!(error["field"].is_string() && error["offset"].is_u64(), "{vector}");
    }
}

#[test]
fn c_17_the_vectors_for_other_languages_follow_their_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/vectors.md")).unwrap();
    let mut files = 0;
    for folder in fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("proto-") || name == "proto-core" {
            continue;
        }
        let file = fs::read_dir(folder.join("vectors")).unwrap().next().unwrap().unwrap().path();
        let shown = format!("{name}/vectors/{}", file.file_name().unwrap().to_str().unwrap());
        assert!(page.contains(&format!("](../{shown})")), "docs/vectors.md does not name {shown}");
        let vectors: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let vectors = vectors.as_array().unwrap();
        assert!(vectors.len() >= 20, "{shown}");
        vectors.iter().for_each(check);
        let names: BTreeSet<&str> = vectors.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), vectors.len(), "{shown}: a name is there twice");
        files += 1;
    }
    assert_eq!(files, 5);
}
