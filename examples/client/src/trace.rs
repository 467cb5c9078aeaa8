//! When things happened.

use std::collections::BTreeMap;

/// Counts what happens in a call, however long that is; and keeps each time of it for those who want to look at it, as the demonstration
/// does: the first 65 536.
#[derive(Debug, Clone)]
pub(crate) struct Trace<T> {
    count: u64,
    kept: Option<Vec<T>>,
}

const MOST: usize = 1 << 16;
/// Speakers of a call of whom it is known how they were heard.
const SPEAKERS: usize = 1000;

impl<T> Default for Trace<T> {
    fn default() -> Self {
        Self { count: 0, kept: None }
    }
}

impl<T> Trace<T> {
    /// Nothing has happened; it is to be kept, or counted alone.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { count: 0, kept: keeps.then(Vec::new) }
    }

    pub(crate) fn push(&mut self, what: T) {
        self.count += 1;
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.len() < MOST) {
            kept.push(what);
        }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn kept(&self) -> &[T] {
        self.kept.as_deref().unwrap_or_default()
    }
}

/// What is known of a speaker; none, where too many have been heard before.
pub(crate) fn speaker<'a, T>(
    heard: &'a mut BTreeMap<String, T>,
    name: &str,
    new: impl FnOnce() -> T,
) -> Option<&'a mut T> {
    if !heard.contains_key(name) {
        if heard.len() >= SPEAKERS {
            return None;
        }
        heard.insert(name.into(), new());
    }
    heard.get_mut(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-53: hours of a call, and any number of speakers, take no more memory than minutes and some.
    #[test]
    fn a_long_call_is_counted_and_not_kept() {
        let (mut counted, mut kept) = (Trace::new(false), Trace::new(true));
        for n in 0..1_000_000_u64 {
            counted.push(n);
            kept.push(n);
        }
        assert_eq!((counted.count(), counted.kept().len()), (1_000_000, 0));
        assert_eq!((kept.count(), kept.kept().len()), (1_000_000, MOST));
        let mut heard = BTreeMap::new();
        for n in 0..5000 {
            if let Some(count) = speaker(&mut heard, &n.to_string(), || 0) {
                *count += 1;
            }
        }
        assert_eq!(heard.len(), SPEAKERS);
        assert!(speaker(&mut heard, "7", || 0).is_some_and(|count| *count == 1));
    }
}
