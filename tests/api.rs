//! F-70: the listings of public items in `api/` are those of the sources. Names are compared here; `.ci/api --check` compares signatures,
//! too, and needs a nightly toolchain.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The libraries: folder and package.
const LIBRARIES: [(&str, &str); 8] = [
    (".", "voxwire"),
    ("proto-core", "voxwire-core"),
    ("proto-dissonance", "voxwire-dissonance"),
    ("proto-msgpack", "voxwire-msgpack"),
    ("proto-opcode", "voxwire-opcode"),
    ("proto-syfala", "voxwire-syfala"),
    ("proto-voicelink", "voxwire-voicelink"),
    ("transport", "voxwire-transport"),
];

fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap();
        // The test kits are outside of semver.
        if ["testing", "tests"].contains(&name) {
            continue;
        }
        if entry.is_dir() {
            read(&entry, sources);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            sources.push_str(text.split("\n#[cfg(test)]\nmod ").next().unwrap());
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What the line of a source makes public. (`unreachable_pub` sees to it that what is `pub` is public.)
fn public(line: &str) -> Option<&str> {
    let item = line.trim_start().strip_prefix("pub ")?;
    let kit = item.starts_with("mod testing");
    if item.starts_with("use ") || kit || item.contains('$') {
        return None;
    }
    let keywords = ["async", "const", "enum", "fn", "mod", "struct", "trait", "type"];
    words(item).find(|word| !keywords.contains(word))
}

#[test]
fn f_70_the_listings_name_what_is_public_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, package) in LIBRARIES {
        let listing = fs::read_to_string(root.join(format!("api/{package}.txt"))).unwrap();
        let mut sources = String::new();
        read(&root.join(folder).join("src"), &mut sources);
        let listed: BTreeSet<&str> = words(&listing).collect();
        let missing: BTreeSet<&str> =
            sources.lines().filter_map(public).filter(|name| !listed.contains(name)).collect();
        assert!(missing.is_empty(), "api/{package}.txt lacks {missing:?}: .ci/api writes it");
        let known: BTreeSet<&str> = words(&sources).collect();
        for line in listing.lines() {
            let Some(item) = line.strip_prefix("pub fn ") else { continue };
            let Some(name) = item.split('(').next().and_then(|path| words(path).last()) else { continue };
            // Of `derive`.
            let is_derived = ["arbitrary_take_rest", "size_hint", "try_size_hint"].contains(&name);
            assert!(
                is_derived || known.contains(name),
                "{line:?} is in no source: .ci/api writes the listing"
            );
        }
    }
}
