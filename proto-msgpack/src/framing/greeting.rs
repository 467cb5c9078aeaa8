//! The greeting of ZMTP: which dialect and version a peer speaks, and which socket it is.

use super::{Framing, Scan, State, skip};
use crate::zmtp::{self, GREETING_LEN, MAX_IDENTITY, SECURITY_LEN, SIGNATURE_LEN, UnitHead, Version};
use voxwire_core::{FrameError, Progress};

impl Framing {
    /// Goes by the first bytes, of which `Err` are missing.
    pub(super) fn undecided(&mut self, unread: &[u8]) -> Result<(), usize> {
        let first = unread.first().copied().ok_or(1_usize)?;
        if first == zmtp::SIGNATURE {
            self.state = State::Signature { sent: false };
            return Ok(());
        }
        if self.passive && zmtp::is_inside(unread)? {
            self.state = State::Traffic;
            return Ok(());
        }
        if !zmtp::is_version_1(unread)? {
            self.state = State::Plain(Scan::new(self.socket));
            return Ok(());
        }
        self.version = Version::V1;
        self.state = State::Identity;
        if !self.passive {
            // Ours, which is empty.
            zmtp::put_unit_head(Version::V1, false, 0, &mut self.pending);
        }
        Ok(())
    }

    /// The first ten bytes of a peer that knows of other versions, or those of an identity of 1.0 with a long length.
    pub(super) fn signature(&mut self, unread: &[u8], sent: bool) -> Result<Option<Progress>, FrameError> {
        match unread {
            [] => {}
            [zmtp::SIGNATURE, ..] => {
                // The peer may wait for our signature before it sends the rest of its own.
                if !sent && !self.passive {
                    zmtp::put_signature(&mut self.pending);
                }
            }
            [_] => return Ok(Some(Progress::need(1))),
            // A peer of 1.0, to which our signature is an identity.
            [1..=0xfe, 0, ..] => {
                (self.version, self.state) = (Version::V1, State::Identity);
                return Ok(None);
            }
            _ => return Err(FrameError::Handshake("the signature of ZMTP")),
        }
        self.state = State::Signature { sent: sent || !unread.is_empty() };
        let Some(last) = unread.get(SIGNATURE_LEN.saturating_sub(1)) else {
            return Ok(Some(Progress::need(SIGNATURE_LEN.saturating_sub(unread.len()))));
        };
        if last & 1 == 0 {
            (self.version, self.state) = (Version::V1, State::Identity);
            return Ok(None);
        }
        self.state = State::Revision;
        if !self.passive {
            zmtp::put_revision(&mut self.pending);
        }
        // A greeting that is there as a whole is looked at as a whole.
        if unread.get(..GREETING_LEN).is_some_and(|greeting| zmtp::check_greeting(greeting).is_ok()) {
            let after = unread.get(SIGNATURE_LEN..).unwrap_or(&[]);
            self.revision(after);
            let security = after.get(1..).unwrap_or(&[]);
            self.security(security)?;
            return Ok(Some(skip(GREETING_LEN)));
        }
        Ok(Some(skip(SIGNATURE_LEN)))
    }

    pub(super) fn revision(&mut self, unread: &[u8]) -> Progress {
        let Some(&revision) = unread.first() else { return Progress::need(1) };
        self.version = Version::of(revision);
        self.state = if self.version == Version::V3 { State::Security } else { State::SocketType };
        match self.version {
            _ if self.passive => {}
            Version::V3 => zmtp::put_security(self.socket, &mut self.pending),
            old => zmtp::put_old_greeting(self.socket, old, &mut self.pending),
        }
        skip(1)
    }

    pub(super) fn security(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let security = unread.get(..SECURITY_LEN.min(unread.len())).unwrap_or(&[]);
        zmtp::check_security(security)?;
        if security.len() < SECURITY_LEN {
            return Ok(Progress::need(SECURITY_LEN.saturating_sub(security.len())));
        }
        // PING came with 3.1.
        self.pongs = security.first().is_some_and(|minor| *minor > 0);
        self.state = if self.passive { State::Traffic } else { State::Handshake };
        if !self.passive {
            zmtp::put_ready(self.socket, &mut self.pending);
        }
        Ok(skip(SECURITY_LEN))
    }

    pub(super) fn socket_type(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let Some(&number) = unread.first() else { return Ok(Progress::need(1)) };
        if !self.passive {
            self.socket.check_number(number)?;
        }
        self.answers_only = number == zmtp::REQ_NUMBER;
        self.state = State::Identity;
        Ok(skip(1))
    }

    /// The identity of a peer of 2.0 or 1.0, which does not matter to us: it would be authority that any user can claim.
    pub(super) fn identity(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let head = match UnitHead::read_as(self.version, unread)? {
            Ok(head) => head,
            Err(missing) => return Ok(Progress::need(missing)),
        };
        let len = usize::try_from(head.len).ok().filter(|len| *len <= MAX_IDENTITY && !head.more);
        let len = len.ok_or(FrameError::Handshake("an identity of at most 255 bytes"))?;
        let end = head.head.saturating_add(len);
        if unread.len() < end {
            return Ok(Progress::need(end.saturating_sub(unread.len())));
        }
        self.state = State::Traffic;
        Ok(skip(end))
    }
}
