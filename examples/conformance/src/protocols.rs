//! The protocols: one row each.

use crate::check::Check;

/// What the runner knows of a protocol.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) name: &'static str,
    /// Whether it is spoken by datagrams alone.
    pub(crate) is_udp: bool,
    /// What not every server can do, and what that is.
    pub(crate) abilities: &'static [(&'static str, &'static str)],
    pub(crate) server: &'static [&'static [Check]],
    /// What a client can be told to do, and what that is.
    pub(crate) roles: &'static [(&'static str, &'static str)],
    pub(crate) client: &'static [&'static [Check]],
}

pub(crate) const PROTOCOLS: &[Protocol] = &[
    // In the order of `--help`.
    crate::voicelink::PROTOCOL,
    crate::opcode::PROTOCOL,
    crate::msgpack::PROTOCOL,
    crate::syfala::PROTOCOL,
    crate::dissonance::PROTOCOL,
];

/// The need of checks that hold only where many peers share an address.
pub(crate) const LOOPBACK: &str = "loopback";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn checks_have_one_name_each_and_needs_that_exist() {
        for protocol in PROTOCOLS {
            for (checks, needs) in [(protocol.server, protocol.abilities), (protocol.client, protocol.roles)]
            {
                let checks: Vec<&Check> = checks.iter().copied().flatten().collect();
                let names: BTreeSet<_> = checks.iter().map(|check| (check.row, check.name)).collect();
                assert_eq!(names.len(), checks.len(), "{}: two checks of one name", protocol.name);
                for check in checks {
                    let known = |need: &str| need == LOOPBACK || needs.iter().any(|(name, _)| *name == need);
                    assert!(check.needs.iter().all(|need| known(need)), "{}: {:?}", check.name, check.needs);
                    assert!(check.row.len() == 4 && check.name.len() <= 22, "{} {}", check.row, check.name);
                    assert!(check.expected.ends_with('.') && !check.section.is_empty(), "{}", check.name);
                }
            }
        }
    }

    #[test]
    fn the_readme_lists_the_rows_and_the_roles() {
        let readme = include_str!("../README.md");
        let rows = |checks: &[&[Check]]| {
            let rows: BTreeSet<_> = checks.iter().copied().flatten().map(|check| check.row).collect();
            rows.into_iter().collect::<Vec<_>>().join(", ")
        };
        for protocol in PROTOCOLS {
            let line =
                format!("| {} | {} | {} |", protocol.name, rows(protocol.server), rows(protocol.client));
            assert!(readme.contains(&line), "no line {line}");
            for (role, what) in protocol.roles {
                let line = format!("| {} | `{role}` | {what} |", protocol.name);
                assert!(readme.contains(&line), "no line {line}");
            }
        }
    }
}
