use super::*;

const A: PeerId = PeerId { slot: 0, generation: 0 };
const B: PeerId = PeerId { slot: 1, generation: 0 };

#[derive(Debug)]
struct Word<'a>(&'a [u8]);

impl<'a> Message<'a> for Word<'a> {
    type Wire = ();
    type At<'b> = Word<'b>;

    fn decode(frame: &'a [u8], (): &()) -> Result<Self, crate::DecodeError> {
        Ok(Self(frame))
    }

    fn encoded_len(&self, (): &()) -> Result<usize, EncodeError> {
        Ok(self.0.len())
    }

    fn write_unchecked(&self, (): &(), out: &mut impl bytes::BufMut) {
        out.put_slice(self.0);
    }
}

fn frames(outbox: &Outbox) -> Vec<(PeerId, &[u8])> {
    outbox
        .outputs()
        .filter_map(|output| match output {
            Output::Send { to, frame, .. } => Some((to, frame)),
            _ => None,
        })
        .collect()
}

#[test]
fn one_copy_serves_all_addressees() {
    let mut outbox = Outbox::new(1000);
    outbox.forward([A, B], Lane::Droppable, b"hello").unwrap();
    outbox.close(A);
    assert_eq!(frames(&outbox), [(A, &b"hello"[..]), (B, b"hello")]);
    assert_eq!(outbox.bytes.len(), 5);
    assert_eq!(outbox.outputs().last(), Some(Output::Close { peer: A }));
    outbox.forward([], Lane::Droppable, b"nobody").unwrap();
    assert_eq!(outbox.bytes.len(), 5);
    let mut full = Outbox::new(0);
    full.send_all_over_limit([A, B], Lane::Reliable, &Word(b"now"), &()).unwrap();
    full.send_all_over_limit([], Lane::Reliable, &Word(b"nobody"), &()).unwrap();
    assert_eq!(frames(&full), [(A, &b"now"[..]), (B, b"now")]);
    assert_eq!(full.bytes.len(), 3);
}

fn capacity(outbox: &Outbox) -> [usize; 3] {
    [outbox.bytes.capacity(), outbox.queue.capacity(), outbox.listed.capacity()]
}

/// G-M2
#[test]
fn what_one_burst_needed_is_given_back_and_what_is_needed_again_is_kept() {
    let mut outbox = Outbox::new(1 << 20);
    let burst = |outbox: &mut Outbox, frames: u32| {
        (0..frames).for_each(|_| _ = outbox.forward([A, B], Lane::Reliable, &[7; 100]).unwrap());
        outbox.advance(usize::MAX);
        capacity(outbox)
    };
    let full = burst(&mut outbox, 1000);
    assert!((1..ROUNDS).all(|_| burst(&mut outbox, 10) == full));
    let warm = burst(&mut outbox, 10);
    (0..ROUNDS).for_each(|_| _ = burst(&mut outbox, 10));
    let rest = burst(&mut outbox, 10);
    let [bytes, entries, listed] = [2 * KEPT.bytes, 2 * KEPT.entries, 2 * KEPT.listed];
    assert!(full[0] >= 100_000 && full[1] >= 1000 && full[2] >= 2000, "{full:?}");
    assert!(rest[0] <= bytes && rest[1] <= entries && rest[2] <= listed, "{full:?} {warm:?} {rest:?}");
    assert!((0..3 * ROUNDS).all(|_| burst(&mut outbox, 10) == rest));
}

/// C-03: inputs that are answered by nothing, and small answers, take no memory from what comes after them.
#[test]
fn c_03_rounds_without_outputs_or_with_small_ones_give_nothing_back_that_a_frame_needs() {
    let mut outbox = Outbox::new(1 << 20);
    let relay = |outbox: &mut Outbox, listeners: usize| {
        outbox.forward(core::iter::repeat_n(A, listeners), Lane::Droppable, &[7; 1000]).unwrap();
        outbox.advance(usize::MAX);
    };
    relay(&mut outbox, 1000);
    let many = capacity(&outbox);
    (0..3 * ROUNDS).for_each(|_| outbox.advance(0));
    assert_eq!(capacity(&outbox), many);
    (0..3 * ROUNDS).for_each(|_| _ = (outbox.close(A), outbox.advance(1)));
    let small = capacity(&outbox);
    assert!(small[2] < many[2], "{small:?} of {many:?}");
    relay(&mut outbox, KEPT.listed);
    assert_eq!(capacity(&outbox), small);
}

#[test]
fn an_id_is_that_of_one_frame_for_all_its_addressees() {
    let mut outbox = Outbox::new(10_000);
    let mut ids = Vec::new();
    for _ in 0..3 {
        outbox.forward([A, B], Lane::Reliable, b"").unwrap();
        outbox.forward([A, B], Lane::Reliable, b"same").unwrap();
        outbox.send_over_limit(A, Lane::Reliable, &Word(b""), &()).unwrap();
        outbox.send_all_over_limit([A, B], Lane::Reliable, &Word(b"same"), &()).unwrap();
        assert_eq!(frames(&outbox)[4..], [(A, &b""[..]), (A, b"same"), (B, b"same")]);
        ids.extend(outbox.outputs().filter_map(|output| match output {
            Output::Send { id, .. } => Some(id),
            _ => None,
        }));
        outbox.advance(7);
        outbox.shrink();
    }
    ids.dedup();
    let distinct: std::collections::HashSet<FrameId> = ids.iter().copied().collect();
    assert_eq!((ids.len(), distinct.len()), (12, 12));
}

#[test]
fn over_the_limit_nothing_is_queued() {
    let mut outbox = Outbox::new(200);
    assert_eq!(outbox.forward([A], Lane::Reliable, &[0; 300]).unwrap_err().available, 200);
    let many = [A; 50];
    assert!(outbox.forward(many, Lane::Reliable, &[0; 10]).is_err());
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes.len(), 0);
    outbox.forward([A], Lane::Reliable, &[0; 10]).unwrap();
}

#[test]
fn partial_draining_keeps_order_and_gives_memory_back() {
    let mut outbox = Outbox::new(100_000);
    for n in 0..100_u8 {
        outbox.forward([A], Lane::Reliable, &[n; 10]).unwrap();
    }
    for n in 0..100_u8 {
        assert_eq!(frames(&outbox).first(), Some(&(A, &[n; 10][..])));
        outbox.advance(1);
        outbox.forward([B], Lane::Reliable, &[n; 10]).unwrap();
        assert!(outbox.bytes.len() <= 2020);
    }
    assert_eq!(frames(&outbox).len(), 100);
    outbox.advance(1000);
    assert!(outbox.is_empty() && outbox.bytes.is_empty());
    outbox.shrink();
    assert_eq!(outbox.bytes.capacity(), 0);
}

/// The model is a list of outputs, one for each addressee. An outbox gives the same outputs after each send and each partial drain.
#[test]
fn draining_is_in_order_wherever_it_stops_among_the_addressees_of_a_frame() {
    let mut rng = crate::testing::Rng::new(1);
    let mut outbox = Outbox::new(1 << 20);
    let mut model: Vec<(u32, Option<u8>)> = Vec::new();
    let mut most = 0;
    for step in 0..20_000_u32 {
        let to: Vec<PeerId> =
            (0..rng.below(12)).zip(step..).map(|(_, slot)| PeerId { slot, generation: 0 }).collect();
        let byte = step.to_le_bytes()[0];
        match rng.below(4) {
            0 => {
                outbox.forward(to.iter().copied(), Lane::Reliable, &[byte; 30]).unwrap();
                model.extend(to.iter().map(|to| (to.slot, Some(byte))));
            }
            1 => {
                let some = to.iter().copied().filter(|to| to.slot % 2 == 0);
                outbox.forward(some.clone(), Lane::Reliable, &[byte; 3]).unwrap();
                model.extend(some.map(|to| (to.slot, Some(byte))));
            }
            2 => {
                outbox.close(PeerId { slot: step, generation: 0 });
                model.push((step, None));
            }
            _ => {
                let n = usize::try_from(rng.below(if step % 1000 < 900 { 12 } else { 60 })).unwrap();
                outbox.advance(n);
                model.drain(..n.min(model.len()));
            }
        }
        most = most.max(model.len());
        assert_eq!((outbox.len(), outbox.is_empty()), (model.len(), model.is_empty()));
        let short = |output: Output<'_>| match output {
            Output::Send { to, frame, .. } => Some((to.slot, frame.first().copied())),
            Output::Close { peer } => Some((peer.slot, None)),
            _ => None,
        };
        // Both ways to walk over them, and a walk that goes on after a while.
        let some = usize::try_from(rng.below(20)).unwrap();
        assert!(outbox.outputs().take(some).map(short).eq(model.iter().copied().map(Some).take(some)));
        let mut outputs = outbox.outputs();
        let mut all: Vec<_> = outputs.by_ref().take(some).map(short).collect();
        outputs.for_each(|output| all.push(short(output)));
        assert!(all.iter().copied().eq(model.iter().copied().map(Some)));
        let [bytes, queue, listed] = [outbox.bytes.len(), outbox.queue.len(), outbox.listed.len()];
        assert!(bytes <= 60 * (most + 1) && queue <= 2 * (most + 1) && listed <= 2 * (most + 12));
    }
    assert!(most > 50, "{most}");
}

#[test]
fn a_frame_can_be_edited_in_place() {
    let mut outbox = Outbox::new(1000);
    outbox.forward([A], Lane::Droppable, &[1, 2]).unwrap();
    outbox.forward([B], Lane::Droppable, &[3, 4]).unwrap().reverse();
    assert!(outbox.forward([], Lane::Droppable, &[5, 6]).unwrap().is_empty());
    assert_eq!(frames(&outbox), [(A, &[1, 2][..]), (B, &[4, 3])]);
}
