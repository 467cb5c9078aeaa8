//! postcard's unsigned integers of variable length: seven bits in each byte, lowest first, the highest bit set in all but the last.

use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, Reader};

/// Reads a u32 as postcard does: overlong forms of up to 5 bytes are taken.
pub(crate) fn u32(reader: &mut Reader<'_>, field: &'static str) -> Result<u32, DecodeError> {
    let rest = rest_of(reader);
    read(reader, field, rest, postcard::take_from_bytes(rest))
}

/// Reads a count, of up to 10 bytes.
pub(crate) fn u64(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let rest = rest_of(reader);
    read(reader, field, rest, postcard::take_from_bytes(rest))
}

fn rest_of<'a>(reader: &Reader<'a>) -> &'a [u8] {
    let mut ahead = *reader;
    ahead.rest()
}

fn read<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    rest: &[u8],
    result: postcard::Result<(T, &[u8])>,
) -> Result<T, DecodeError> {
    match result {
        Ok((value, left)) => {
            reader.take(field, rest.len().saturating_sub(left.len()))?;
            Ok(value)
        }
        Err(postcard::Error::DeserializeUnexpectedEnd) => {
            Err(reader.error(field, DecodeErrorKind::Truncated { missing: 1 }))
        }
        Err(_) => {
            let first = rest.first().copied().unwrap_or(0);
            Err(reader.error(
                field,
                DecodeErrorKind::Value { got: first.into(), expected: "a varint of its width" },
            ))
        }
    }
}

/// The length of the shortest form.
pub(crate) const fn len(value: u64) -> usize {
    // Seven bits in each byte, at least one.
    match (64_u32.saturating_sub(value.leading_zeros())).div_ceil(7) {
        0 => 1,
        bytes => bytes as usize,
    }
}

/// Writes the shortest form.
pub(crate) fn put(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}
