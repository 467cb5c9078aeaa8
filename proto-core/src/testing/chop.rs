use super::Rng;
use crate::{Cut, FrameBuf, FrameError, Framing};
use alloc::vec::Vec;

/// Cuts `stream` into frames, arriving in pieces of the sizes that `piece` returns. Gives the frames, the error that
/// ended the stream if any, and what the framing wanted sent.
pub fn frames<F: Framing>(
    mut framing: F,
    stream: &[u8],
    mut piece: impl FnMut() -> usize,
) -> (Vec<Vec<u8>>, Option<FrameError>, Vec<u8>) {
    let (mut buffer, mut frames, mut pending) = (FrameBuf::new(), Vec::new(), Vec::new());
    let mut left = stream;
    loop {
        let cut = buffer.next_frame(&mut framing);
        framing.take_pending(&mut pending);
        match cut {
            Err(error) => return (frames, Some(error), pending),
            Ok(Cut::Frame(range)) => frames.push(buffer.frame(range).to_vec()),
            Ok(Cut::NeedMore(_)) if left.is_empty() => return (frames, None, pending),
            Ok(Cut::NeedMore(_)) => {
                let (now, later) = left.split_at(piece().clamp(1, left.len()));
                buffer.spare(now.len())[..now.len()].copy_from_slice(now);
                buffer.filled(now.len());
                left = later;
            }
        }
    }
}

/// The law of framings: however a stream is cut into pieces, the frames, the error and the answers are the same; and
/// `NeedMore` never asks past the end of a frame (a driver that reads exactly that much never blocks on a whole frame).
pub fn chop<F: Framing>(make: impl Fn() -> F, stream: &[u8], seed: u64) {
    let whole = frames(make(), stream, || usize::MAX);
    let mut rng = Rng::new(seed);
    for size in [1, 2, 3, 7, 64, 1400] {
        assert_eq!(frames(make(), stream, || size), whole, "in pieces of {size}");
    }
    for _ in 0..4 {
        assert_eq!(frames(make(), stream, || 1 + rng.below(40) as usize), whole, "in random pieces");
    }
    let (mut framing, mut buffer, mut left, mut count) = (make(), FrameBuf::new(), stream, 0);
    while let Ok(cut) = buffer.next_frame(&mut framing) {
        match cut {
            Cut::Frame(_) => {
                count += 1;
                assert!(buffer.is_empty(), "read past the end of frame {count}");
            }
            Cut::NeedMore(n) => {
                let Some((now, later)) = left.split_at_checked(n.get()) else { break };
                buffer.spare(now.len())[..now.len()].copy_from_slice(now);
                buffer.filled(now.len());
                left = later;
            }
        }
    }
    assert_eq!(count, whole.0.len(), "reading exactly what NeedMore asks for");
}
