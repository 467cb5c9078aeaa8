use crate::ByteOrder;
use alloc::vec::Vec;
use core::fmt;
use voxwire_core::{EncodeError, NameError, Untrusted, check_name, is_address_like};

/// The Optional Data of a registration: a Handshake whose Username is empty, by which a client names itself.
///
/// The name, then optionally a NUL and a secret, then optionally a NUL and `le` or `be`, the order of the client's
/// samples. An order without a secret follows an empty secret; `name NUL le` alone is read as both, so a secret that
/// reads `le` or `be` does no harm where no secret is asked for, and none where one is.
///
/// ```
/// use voxwire_voicelink::{ByteOrder, Registration};
/// let ours = Registration { name: b"bob", secret: None, samples: Some(ByteOrder::LittleEndian) };
/// let bytes = ours.to_bytes()?;
/// assert_eq!(bytes, b"bob\0\0le");
/// assert_eq!(Registration::parse(&bytes), ours);
/// # Ok::<(), voxwire_core::EncodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Registration<'a> {
    /// The name that the client wants to be called by.
    pub name: &'a [u8],
    /// What shows that the name is its own, where the server asks for it.
    pub secret: Option<&'a [u8]>,
    /// The order of its samples, if it says so.
    pub samples: Option<ByteOrder>,
}

impl<'a> Registration<'a> {
    /// Reads Optional Data. Everything can be read; whether the name will do is [`check`](Self::check)'s question.
    pub fn parse(optional: &'a [u8]) -> Self {
        let mut parts = optional.splitn(3, |&byte| byte == 0);
        let name = parts.next().unwrap_or(&[]);
        let secret = parts.next();
        let order = parts.next().or(secret);
        Self {
            name,
            secret: secret.filter(|secret| !secret.is_empty()),
            samples: order.and_then(ByteOrder::from_tag),
        }
    }

    /// The name as text if it will do: one that [`check_name`] takes, and that does not read like a network address, by which
    /// callers are shown that have no name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<&'a str, NameError> {
        match check_name(self.name)? {
            name if is_address_like(name) => Err(NameError::Address),
            name => Ok(name),
        }
    }

    /// The Optional Data to send.
    ///
    /// # Errors
    /// `Value` for a name that is not valid, or a secret that is empty or holds a NUL.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        if let Err(error) = self.check() {
            return Err(EncodeError::Value { field: "name", expected: error.expected() });
        }
        if self.secret.is_some_and(|secret| secret.is_empty() || secret.contains(&0)) {
            return Err(EncodeError::Value { field: "secret", expected: "at least one byte, and no NUL" });
        }
        let mut bytes = Vec::from(self.name);
        if self.secret.is_some() || self.samples.is_some() {
            bytes.push(0);
            bytes.extend_from_slice(self.secret.unwrap_or(&[]));
        }
        if let Some(order) = self.samples {
            bytes.push(0);
            bytes.extend_from_slice(order.tag().as_bytes());
        }
        Ok(bytes)
    }
}

/// Never shows the secret.
impl fmt::Debug for Registration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, secret, samples } = self;
        let secret = secret.map(|_| "***");
        f.debug_struct("Registration")
            .field("name", &Untrusted::new(name))
            .field("secret", &secret)
            .field("samples", samples)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_13_every_form_of_a_registration() {
        let parse = |bytes: &'static [u8]| {
            let Registration { name, secret, samples } = Registration::parse(bytes);
            (name, secret, samples)
        };
        let le = Some(ByteOrder::LittleEndian);
        assert_eq!(parse(b"bob"), (&b"bob"[..], None, None));
        assert_eq!(parse(b"bob\0hush"), (&b"bob"[..], Some(&b"hush"[..]), None));
        assert_eq!(parse(b"bob\0hush\0le"), (&b"bob"[..], Some(&b"hush"[..]), le));
        assert_eq!(parse(b"bob\0\0le"), (&b"bob"[..], None, le));
        assert_eq!(parse(b"bob\0le"), (&b"bob"[..], Some(&b"le"[..]), le));
        assert_eq!(parse(b"bob\0\0xx"), (&b"bob"[..], None, None));
        assert_eq!(parse(b""), (&b""[..], None, None));
    }

    #[test]
    fn what_cannot_be_registered_is_not_encoded() {
        for name in [&b""[..], b"a\nb", b" bob", &[b'a'; 256]] {
            assert!(Registration { name, secret: None, samples: None }.to_bytes().is_err());
        }
        assert!(Registration { name: b"a", secret: Some(b"\0"), samples: None }.to_bytes().is_err());
    }
}
