//! How loud one speaker is heard.

use core::str::FromStr;
use std::collections::BTreeMap;

/// `--volume NAME=PERCENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) percent: u16,
}

/// The loudest that is taken, in percent.
const LOUDEST: u16 = 400;
/// Speakers whose volume is kept.
const SPEAKERS: usize = 1024;

impl Volume {
    /// `percent` may end in a percent sign.
    pub(super) fn new(name: &str, percent: &str) -> Result<Self, String> {
        let number = percent.strip_suffix('%').unwrap_or(percent).parse();
        match number {
            Ok(percent @ 0..=LOUDEST) if !name.is_empty() => Ok(Self { name: name.into(), percent }),
            _ => Err(format!("a name and 0 to {LOUDEST} percent expected, not {name:?} and {percent:?}")),
        }
    }

    pub(super) fn put_into(&self, volumes: &mut BTreeMap<String, f32>) -> Result<(), String> {
        if volumes.len() >= SPEAKERS && !volumes.contains_key(&self.name) {
            return Err(format!("the volumes of {SPEAKERS} speakers are kept, and no more"));
        }
        volumes.insert(self.name.clone(), f32::from(self.percent) / 100.0);
        Ok(())
    }
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, percent) = text.rsplit_once('=').ok_or("NAME=PERCENT expected, for example bob=50")?;
        Self::new(name, percent)
    }
}
