//! A ring for blocks of samples from a sound callback. Blocks come out whole and in order, and neither side waits.

use rtrb::{Consumer, Producer, RingBuffer};

/// Bytes before each block: its length.
const HEAD: usize = 4;

/// Where a sound callback writes.
#[derive(Debug)]
pub(super) struct RingWriter(Producer<u8>);

/// The other end.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: Consumer<u8>,
    /// The length of a block whose bytes have not been read.
    block: Option<usize>,
}

/// A ring that holds one block of `capacity` bytes, or more that are shorter: each takes four bytes beside its own.
pub(super) fn ring(capacity: usize) -> (RingWriter, Ring) {
    let (writer, bytes) = RingBuffer::new(capacity.saturating_add(HEAD));
    (RingWriter(writer), Ring { bytes, block: None })
}

impl RingWriter {
    /// Writes a block. False if there is no room for all of it; nothing is written then.
    pub(super) fn write(&mut self, block: &[u8]) -> bool {
        let Ok(len) = u32::try_from(block.len()) else { return false };
        self.0.slots() >= block.len().saturating_add(HEAD)
            && self.0.push_entire_slice(&len.to_ne_bytes()).is_ok()
            && self.0.push_entire_slice(block).is_ok()
    }
}

impl Ring {
    /// The next block, if it is whole, read into `into`, which is as long as the longest.
    pub(super) fn next<'b>(&mut self, into: &'b mut [u8]) -> Option<&'b [u8]> {
        let len = match self.block {
            Some(len) => len,
            None => {
                let mut head = [0; HEAD];
                self.bytes.pop_entire_slice(&mut head).ok()?;
                usize::try_from(u32::from_ne_bytes(head)).ok()?
            }
        };
        self.block = Some(len);
        let into = into.get_mut(..len)?;
        self.bytes.pop_entire_slice(into).ok()?;
        self.block = None;
        Some(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_whole_and_in_order_and_one_that_does_not_fit_is_refused_whole() {
        let (mut writer, mut ring) = ring(100);
        let mut into = [0; 100];
        assert_eq!(ring.next(&mut into), None);
        for n in 0..50_u8 {
            assert!(writer.write(&[n; 60]) && writer.write(&[n, 1]) && writer.write(&[]));
            assert!(!writer.write(&[n; 60]));
            assert_eq!(ring.next(&mut into), Some(&[n; 60][..]));
            assert_eq!(ring.next(&mut into), Some(&[n, 1][..]));
            assert_eq!(ring.next(&mut into), Some(&[][..]));
            assert_eq!(ring.next(&mut into), None);
        }
        assert!(writer.write(&[7; 100]) && !writer.write(&[]));
        assert_eq!(ring.next(&mut into), Some(&[7; 100][..]));
    }
}
