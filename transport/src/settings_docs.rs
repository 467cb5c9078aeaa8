//! For tests: the docs of settings say their defaults.

use core::fmt::Display;
use core::time::Duration;

/// A count, its thousands apart from 10 000 on.
pub(crate) fn count(count: impl TryInto<u64>) -> String {
    let count = count.try_into().ok().unwrap();
    if count < 10_000 { count.to_string() } else { format!("{} {:03}", count / 1000, count % 1000) }
}

pub(crate) fn bytes(bytes: impl TryInto<u64>) -> String {
    match bytes.try_into().ok().unwrap() {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % 1024 == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

pub(crate) fn time(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// In `source`, the doc of each field says `DEFAULT by default`.
pub(crate) fn assert_defaults(source: &str, defaults: &[(&str, impl Display)]) {
    for (field, default) in defaults {
        let (before, _) = source.split_once(&format!("\n    pub {field}: ")).unwrap();
        let doc: Vec<_> = before.lines().rev().map_while(|line| line.trim().strip_prefix("///")).collect();
        let doc = doc.into_iter().rev().collect::<String>();
        assert!(doc.contains(&format!(" {default} by default")), "{field}: {default}, but\n{doc}");
    }
}
