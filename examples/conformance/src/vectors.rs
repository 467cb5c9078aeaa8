//! Whether the bytes written by hand are those of the vectors that the protocol crates publish.

use crate::layout::Layout;
use std::fs;
use std::path::Path;

/// Every layout is in a file of the repository, as hex digits.
#[track_caller]
pub(crate) fn has(file: &str, layouts: &[Layout]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there; it is in the repository", path.display());
        return;
    };
    for layout in layouts {
        let digits = layout.hex();
        let is_whole = text.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word == digits);
        assert!(is_whole, "{file} does not have {digits}");
    }
}
