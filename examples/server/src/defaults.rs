//! The default settings as a file: those that the README shows.

use crate::Protocol;
use core::fmt::Write as _;

const README: &str = include_str!("../README.md");
const EXAMPLE: &str = "# example";

/// Every setting with its default, in TOML; what the README marks as an example is commented out.
pub fn default_config() -> String {
    let mut text =
        String::from("# The defaults of voxwire-server. Lines that are commented out are examples.\n");
    let blocks = README.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    for (block, _) in blocks.filter(|(block, _)| is_known(block)) {
        let mut in_example = false;
        text.push('\n');
        for line in block.lines() {
            // A table is an example as a whole.
            in_example = if line.starts_with('[') { line.contains(EXAMPLE) } else { in_example };
            let is_example = in_example || line.contains(EXAMPLE);
            let mark = if is_example && !line.is_empty() { "# " } else { "" };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

/// What the README says of a setting of a protocol, with its default: for `--help`.
pub(crate) fn describe(section: &str, key: &str) -> String {
    let blocks = README.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let (head, table) = (format!("[{section}]"), format!("[{section}.{key}]"));
    let block = blocks.map(|(block, _)| block).find(|block| block.starts_with(&head)).unwrap_or_default();
    let line = block.lines().find_map(|line| {
        let (name, rest) = line.split_once(" = ").unwrap_or((line, ""));
        let is_table = line.split_once(']').is_some_and(|(name, _)| table.strip_suffix(']') == Some(name));
        (name == key || is_table).then_some(if is_table { line } else { rest })
    });
    let line = line.unwrap_or_default();
    let (value, comment) =
        line.split_once('#').map_or((line, ""), |(value, comment)| (value.trim(), comment.trim()));
    match comment.strip_prefix("example: ") {
        Some(comment) if value.starts_with(&head[..head.len() - 1]) => format!("{comment} [a table of TOML]"),
        Some(comment) => format!("{comment} [for example {value}]"),
        None => format!("{comment} [default: {value}]"),
    }
}

/// Whether this program has the section that a block is about.
fn is_known(block: &str) -> bool {
    let section = block.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    section.is_none_or(|(name, _)| Protocol::all().any(|protocol| protocol.name() == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::path::Path;

    /// C-07: the file that is printed changes nothing, and each of its examples is understood.
    #[test]
    fn the_printed_settings_are_the_defaults() {
        let text = default_config();
        assert!(text.contains("\nbind = \"127.0.0.1\"") && text.contains("\n# tls-cert = "), "{text}");
        let mut read = Config::default();
        read.read(&text, Path::new("defaults")).unwrap();
        assert_eq!(format!("{read:#?}"), format!("{:#?}", Config::default()));
        let examples = text.lines().filter_map(|line| line.strip_prefix("# ")).count();
        assert!(examples >= 20, "{examples}");
    }
}
