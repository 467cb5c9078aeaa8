use crate::{Instant, PeerId};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};
use core::net::IpAddr;

/// Who holds which name, and the names of lost connections that are kept for their address for a while.
///
/// A name is bytes: whether it is text, and which, is the protocol's business.
#[derive(Debug)]
pub struct Names {
    holders: BTreeMap<Box<[u8]>, PeerId>,
    /// Names of lost connections: whose they were, until when.
    released: BTreeMap<Box<[u8]>, (Option<IpAddr>, Instant)>,
    /// The same, in the order in which they end: all are kept equally long.
    expiry: VecDeque<(Instant, Box<[u8]>)>,
    max_released: usize,
}

impl Names {
    /// No name taken. At most `max_released` names are kept after their connections are lost.
    pub const fn new(max_released: usize) -> Self {
        Self { holders: BTreeMap::new(), released: BTreeMap::new(), expiry: VecDeque::new(), max_released }
    }

    /// Who holds `name`.
    pub fn find(&self, name: &[u8]) -> Option<PeerId> {
        self.holders.get(name).copied()
    }

    /// Number of names held.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether nobody holds a name.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Gives `name` to `peer`, whoever held it, or whomever it was kept for.
    pub fn take(&mut self, name: &[u8], peer: PeerId) {
        self.released.remove(name);
        self.holders.insert(name.into(), peer);
    }

    /// A lost connection gives its name up; until `until` only its own address may have it.
    pub fn release(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>, until: Instant) {
        self.holders.remove(name);
        self.expire(now);
        // Full: those who came first stay kept.
        if until > now && self.expiry.len() < self.max_released {
            self.released.insert(name.into(), (address, until));
            self.expiry.push_back((until, name.into()));
        }
    }

    /// Whether `name` is kept for another address.
    pub fn is_kept(&mut self, now: Instant, name: &[u8], address: Option<IpAddr>) -> bool {
        self.expire(now);
        self.released.get(name).is_some_and(|(owner, _)| owner.is_none() || *owner != address)
    }

    fn expire(&mut self, now: Instant) {
        while self.expiry.front().is_some_and(|(until, _)| *until <= now) {
            let Some((end, name)) = self.expiry.pop_front() else { return };
            // The name may have been taken and released again since.
            if self.released.get(&name).is_some_and(|(_, until)| *until == end) {
                self.released.remove(&name);
            }
        }
    }
}

/// The name as text if it will do: 1 to 255 bytes of UTF-8, without control characters, invisible ones, or blanks at its
/// ends; so no two names look the same for want of something to see. For protocols whose names people read.
pub fn valid_name(name: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(name).ok()?;
    let plain = !text.is_empty() && text.len() <= 255 && text.trim().len() == text.len();
    (plain && !text.chars().any(|c| c.is_control() || is_invisible(c))).then_some(text)
}

/// Format characters and separators that show nothing, or turn the direction of what follows.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId { slot: 0, generation: 0 };
    const B: PeerId = PeerId { slot: 1, generation: 0 };

    #[test]
    fn a_released_name_is_kept_for_its_address_until_it_is_taken_or_the_time_is_over() {
        let (home, away) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        let at = Instant::from_nanos;
        let mut names = Names::new(1);
        names.take(b"ann", A);
        names.take(b"bob", B);
        names.release(at(0), b"ann", home, at(10));
        assert_eq!((names.find(b"ann"), names.len()), (None, 1));
        assert!(!names.is_kept(at(5), b"ann", home) && names.is_kept(at(5), b"ann", away));
        // There is room for one only.
        names.release(at(5), b"bob", home, at(15));
        assert!(!names.is_kept(at(5), b"bob", away));
        assert!(!names.is_kept(at(10), b"ann", away));
        names.take(b"ann", B);
        names.release(at(10), b"ann", None, at(20));
        assert!(names.is_kept(at(11), b"ann", None), "nobody's: nobody can show that it is his");
        names.take(b"ann", A);
        assert!(!names.is_kept(at(11), b"ann", away));
    }

    #[test]
    fn names_that_will_not_do() {
        let invisible =
            ["bell\u{7}", "\u{202e}evil", "hb\u{200b}", "\u{200b}", "\u{2028}", " ", " bob", "bob "]
                .map(str::as_bytes);
        for name in [&b""[..], b"a\nb", b"\xff", &[b'a'; 256]].into_iter().chain(invisible) {
            assert_eq!(valid_name(name), None);
        }
        assert_eq!(valid_name("Zoë 🎧".as_bytes()), Some("Zoë 🎧"));
    }
}
