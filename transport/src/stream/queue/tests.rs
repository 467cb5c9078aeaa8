use super::*;
use std::io::IoSlice;
use voxwire_core::Datagram;

const FRAMING: StreamFraming<Datagram> = StreamFraming::Session(Datagram { max: 0 });

fn push(queue: &mut Queue, lane: Lane, frame: &[u8]) -> Result<(), Overflow> {
    queue.push(&FRAMING, lane, frame, 0, Vec::new)
}

#[test]
fn c_06_over_the_budget_the_oldest_droppable_frame_goes_first() {
    let mut queue = Queue::new(100);
    queue.set_budget(7, 100);
    push(&mut queue, Lane::Reliable, b"rr").unwrap();
    for frame in [b"aaa", b"bbb", b"ccc"] {
        push(&mut queue, Lane::Droppable, frame).unwrap();
    }
    push(&mut queue, Lane::Reliable, b"RR").unwrap();
    assert_eq!(queue.take(), b"rrbbbcccRR");
    assert_eq!(queue.dropped, 1);
    assert!(queue.is_empty());
    // What has been taken counts no more.
    queue.set_budget(100, 100);
    for n in 0..12 {
        push(&mut queue, Lane::Droppable, &[n; 10]).unwrap();
    }
    assert_eq!((queue.take().len(), queue.dropped), (100, 3));
}

#[test]
fn c_06_reliable_frames_are_not_held_to_the_budget_of_audio_and_overflow_at_their_own() {
    let mut queue = Queue::new(20);
    queue.set_budget(1, 100);
    push(&mut queue, Lane::Droppable, b"dd").unwrap();
    push(&mut queue, Lane::Reliable, &[b'r'; 10]).unwrap();
    push(&mut queue, Lane::Reliable, &[b's'; 10]).unwrap();
    assert_eq!(push(&mut queue, Lane::Reliable, b"t"), Err(Overflow));
    assert_eq!(queue.dropped, 0);
}

#[test]
fn c_06_one_frame_is_admitted_however_large() {
    for lane in [Lane::Reliable, Lane::Droppable] {
        let mut queue = Queue::new(5);
        push(&mut queue, lane, &[1; 100]).unwrap();
        assert_eq!(queue.take(), [1; 100]);
    }
    // And the next droppable one takes the place of the first.
    let mut queue = Queue::new(5);
    push(&mut queue, Lane::Droppable, &[1; 100]).unwrap();
    push(&mut queue, Lane::Droppable, &[2; 100]).unwrap();
    assert_eq!((queue.take(), queue.dropped), (vec![2; 100], 1));
}

#[test]
fn c_06_a_burst_for_a_peer_that_takes_everything_is_kept() {
    let mut queue = Queue::new(100);
    for n in 0..200 {
        queue.push(&FRAMING, Lane::Droppable, &[n; 1000], 1024 * 1024, Vec::new).unwrap();
    }
    assert_eq!((queue.len(), queue.dropped), (200_000, 0));
    // It turns out to be slow.
    queue.push(&FRAMING, Lane::Droppable, &[7; 1000], 0, Vec::new).unwrap();
    assert_eq!((queue.take(), queue.dropped), (vec![7; 1000], 200));
}

/// F-46: the room that frames had is counted for as long as it is there, and does not stay when they have been dropped.
#[test]
fn f_46_the_room_of_many_small_frames_is_counted_and_given_back() {
    let room = |queue: &Queue| {
        let spots = queue.drops.as_ref().unwrap().spots.capacity() * size_of::<Spot>();
        queue.bytes.capacity() + queue.frames.capacity() * size_of::<Frame>() + spots
    };
    let mut queue = Queue::new(100);
    for _ in 0..10_000 {
        queue.push(&FRAMING, Lane::Droppable, b"d", 1024 * 1024, Vec::new).unwrap();
    }
    assert!(queue.memory() >= room(&queue));
    // It turns out to be slow, and never takes anything.
    push(&mut queue, Lane::Droppable, b"d").unwrap();
    assert_eq!((queue.len(), queue.dropped), (100, 9901));
    let (frames, spots) = (queue.frames.capacity(), queue.drops.as_ref().unwrap().spots.capacity());
    assert!(frames < 500 && spots < 500, "room for {frames} frames, {spots} spots");
    assert!(queue.memory() >= room(&queue));
    // What an empty queue keeps is little.
    queue.take();
    assert!(queue.memory() == 0 && queue.frames.capacity() <= KEPT_FRAMES);
}

/// What is written with one call.
fn own(batch: WriteBatch) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let all = batch.pieces(&mut slices).iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
    assert_eq!(all.len(), batch.len());
    all
}

/// F-46
#[test]
fn frames_that_others_wait_for_keep_their_place_and_count() {
    let total = Arc::default();
    let mut frames = crate::stream::shared_frames::SharedFrames::default();
    let mut queue = Queue::new(1000);
    queue.set_budget(300, 100);
    for n in 0..3 {
        push(&mut queue, Lane::Droppable, &[n; 100]).unwrap();
    }
    push(&mut queue, Lane::Reliable, b"rr").unwrap();
    let memory = queue.memory();
    queue.push_shared(&FRAMING, frames.share_bytes(&[7; 500], &total)).unwrap();
    queue.push_shared(&FRAMING, frames.share_bytes(&[8; 200], &total)).unwrap();
    // Room for four frames more.
    assert_eq!(queue.memory(), memory + 4 * 16);
    push(&mut queue, Lane::Droppable, &[9; 100]).unwrap();
    assert_eq!((queue.dropped, queue.len(), queue.reliable().0, queue.part()), (1, 1002, 702, 700));
    let mut written = Vec::new();
    while !queue.is_empty() {
        written.push(own(queue.take_next(400, Vec::new)));
    }
    let first = [&[1; 100][..], &[2; 100], b"rr"].concat();
    assert_eq!(written, [first, vec![7; 500], [&[8; 200][..], &[9; 100]].concat()]);
    assert_eq!((queue.len(), queue.memory(), queue.reliable().0), (0, 0, 0));
    assert_eq!(total.load(core::sync::atomic::Ordering::Relaxed), 0);
    // Over its own limit a connection is closed, also where others wait for the same.
    let same = frames.share_bytes(&[7; 800], &total);
    queue.push_shared(&FRAMING, same.clone()).unwrap();
    assert_eq!(queue.push_shared(&FRAMING, same), Err(Overflow));
}

/// F-46: a head is no frame of its own, wherever the framing has one: one frame is admitted however large.
#[test]
fn f_46_one_shared_frame_behind_a_head_is_admitted_however_large() {
    const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    let mut queue = Queue::new(1000);
    let frame = frames.share_bytes(&[7; 60_000], &total);
    assert_eq!(queue.push_shared(&UNITS, frame.clone()), Ok(()));
    assert_eq!(queue.reliable().0, 60_003);
    assert_eq!(queue.push_shared(&UNITS, frame.clone()), Err(Overflow));
    queue.take();
    // Also when what is being written now was another one.
    for _ in 0..2 {
        assert_eq!(queue.push_shared(&UNITS, frame.clone()), Ok(()));
        assert_eq!(queue.take_next(10, Vec::new).len(), 60_003);
    }
}

/// F-46: what waits is taken out with work in proportion to it, and head and frame are written together.
#[test]
fn f_46_a_long_queue_of_shared_frames_is_taken_out_in_linear_time() {
    const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
    const FRAMES: usize = 32 * 1024;
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    for own in [false, true] {
        let mut queue = Queue::new(usize::MAX);
        let frame = frames.share_bytes(&[7; 64], &total);
        for _ in 0..FRAMES {
            queue.push_shared(&UNITS, frame.clone()).unwrap();
            if own {
                queue.push(&UNITS, Lane::Reliable, &[8; 64], 0, Vec::new).unwrap();
            }
        }
        let (bytes, mut calls, mut all) = (queue.bytes.len(), 0, Vec::new());
        while !queue.is_empty() {
            all.extend(own_and_advanced(queue.take_next(64 * 1024, Vec::new)));
            calls += 1;
        }
        assert!(calls <= FRAMES / SHARED_AT_ONCE + 1, "{calls} calls");
        assert!(queue.moved <= 2 * bytes, "{} of {bytes} bytes moved", queue.moved);
        let unit = |n: u8| [&[0, 65, 0][..], &[n; 64]].concat();
        let each = if own { [unit(7), unit(8)].concat() } else { unit(7) };
        assert!(all == each.repeat(FRAMES));
    }
}

/// The same, where each write takes only a part.
fn own_and_advanced(mut batch: WriteBatch) -> Vec<u8> {
    let (mut all, mut n) = (Vec::new(), 1);
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let pieces = batch.pieces(&mut slices).iter().flat_map(|piece| piece.iter().copied());
        let some: Vec<u8> = pieces.take(n).collect();
        assert_eq!(some.len(), n.min(batch.len()));
        batch.advance(some.len());
        all.extend(some);
        n = (n * 7 + 13) % 2000 + 1;
    }
    assert!(batch.shared.is_empty());
    all
}

#[test]
fn what_is_left_of_a_batch_gets_no_more_memory_than_it_needs() {
    const UNITS: StreamFraming<Datagram> = StreamFraming::units(Datagram { max: 0 });
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    let mut queue = Queue::new(usize::MAX);
    queue.push_shared(&UNITS, frames.share_bytes(&[7; 50_000], &total)).unwrap();
    push(&mut queue, Lane::Reliable, b"behind").unwrap();
    let mut batch = queue.take_next(64 * 1024, Vec::new);
    batch.advance(20_000);
    assert!(batch.shrink(4096, 40_000).is_none());
    batch.advance(20_000);
    // Below `large` a shared frame is kept.
    assert!(batch.shrink(4096, 60_000).is_none());
    assert!(batch.shrink(4096, 40_000).is_some());
    assert_eq!((batch.len(), batch.memory()), (10_009, 10_009));
    assert_eq!(batch.one_piece(), Some(&[&[7; 10_003][..], b"behind"].concat()[..]));
    batch.advance(10_000);
    assert!(batch.shrink(4096, 40_000).is_some());
    assert_eq!(own_and_advanced(batch), [&[7; 3][..], b"behind"].concat());
    assert_eq!(total.load(core::sync::atomic::Ordering::Relaxed), 0);
}

/// F-46: what many share is not copied for each of them where the copies would take more than it does.
#[test]
fn f_46_what_is_left_of_a_shared_frame_is_not_copied_for_each_who_waits_for_it() {
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    let mut batches: Vec<WriteBatch> = (0..10)
        .map(|_| {
            let mut queue = Queue::new(usize::MAX);
            queue.push_shared(&FRAMING, frames.share_bytes(&[7; 100_000], &total)).unwrap();
            queue.take_next(64 * 1024, Vec::new)
        })
        .collect();
    batches.iter_mut().for_each(|batch| batch.advance(60_000));
    let shrink = |batch: &mut WriteBatch| batch.shrink(4096, 64 * 1024).is_some();
    assert!(batches.iter_mut().all(|batch| !shrink(batch)));
    batches.iter_mut().for_each(|batch| batch.advance(31_000));
    assert!(batches.iter_mut().all(shrink), "nine tenths of it have gone");
    assert_eq!(total.load(core::sync::atomic::Ordering::Relaxed), 0);
    // The last one who waits for it needs no more than is left for it.
    let mut queue = Queue::new(usize::MAX);
    queue.push_shared(&FRAMING, frames.share_bytes(&[7; 100_000], &total)).unwrap();
    let mut last = queue.take_next(64 * 1024, Vec::new);
    last.advance(50_000);
    assert!(shrink(&mut last));
}

/// C-06: droppable frames go wherever they are, and nothing else.
#[test]
fn c_06_droppable_frames_go_from_between_others() {
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    let mut queue = Queue::new(1000);
    for n in 0..3 {
        push(&mut queue, Lane::Droppable, &[n; 10]).unwrap();
        push(&mut queue, Lane::Reliable, &[n; 5]).unwrap();
        queue.push_shared(&FRAMING, frames.share_bytes(&[n; 7], &total)).unwrap();
    }
    queue.drop_droppable();
    assert_eq!((queue.dropped, queue.droppable(), queue.len()), (3, 0, 36));
    assert_eq!(own(queue.take_next(100, Vec::new)), [[0; 12], [1; 12], [2; 12]].concat());
}

/// F-43: the work of dropping is in proportion to the dropped bytes, however much waits before them and between them.
#[test]
fn f_43_what_is_dropped_costs_in_proportion_to_itself() {
    const FRAMES: usize = 20_000;
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    let shared = frames.share_bytes(&[7; 300], &total);
    for (before, between) in [(0, usize::MAX), (1, usize::MAX), (10_000, usize::MAX), (1, 3), (10_000, 50)] {
        let mut queue = Queue::with_limits(64 * 1024, usize::MAX);
        for n in 0..before {
            if n % 2 == 0 {
                push(&mut queue, Lane::Reliable, &[1; 100]).unwrap();
            } else {
                queue.push_shared(&FRAMING, shared.clone()).unwrap();
            }
        }
        let mut reliable = queue.len();
        for n in 0..FRAMES {
            push(&mut queue, Lane::Droppable, &[2; 100]).unwrap();
            if n % between == between - 1 {
                push(&mut queue, Lane::Reliable, &[3; 100]).unwrap();
                reliable += 100;
            }
        }
        assert!(queue.moved <= 4 * FRAMES * (100 + size_of::<Frame>()), "{} moved", queue.moved);
        assert_eq!((queue.droppable(), queue.reliable().0), (65_500, reliable));
        assert_eq!(queue.dropped, u64::try_from(FRAMES - 655).unwrap());
        // Nor do gaps take more than what waits.
        let most = 4 * (reliable + 65_500 + 40 * queue.frames.len());
        assert!(queue.memory() <= most, "{} bytes for {}", queue.memory(), queue.len());
    }
}

/// C-06, F-43: random operations give the same as a plain queue that is searched each time.
#[test]
fn c_06_frames_keep_their_order_through_pushes_drops_and_takes() {
    let (total, mut frames) = (Arc::default(), crate::stream::shared_frames::SharedFrames::default());
    for seed in 1..=60_u64 {
        let mut state = seed;
        let mut chance = |of: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % of).unwrap()
        };
        let budget = 50 + chance(1000);
        let mut queue = Queue::with_limits(budget, usize::MAX);
        let mut model: VecDeque<(Lane, Vec<u8>)> = VecDeque::new();
        let droppable = |model: &VecDeque<(Lane, Vec<u8>)>| {
            let those = model.iter().filter(|(lane, _)| *lane == Lane::Droppable);
            those.fold((0, 0), |(n, sum), (_, frame)| (n + 1, sum + frame.len()))
        };
        for n in 0..500_usize {
            let frame = vec![n.to_le_bytes()[0]; chance(80)];
            match chance(20) {
                0..=9 => {
                    push(&mut queue, Lane::Droppable, &frame).unwrap();
                    model.push_back((Lane::Droppable, frame));
                    while let (2.., sum) = droppable(&model) {
                        if sum <= budget {
                            break;
                        }
                        let oldest = model.iter().position(|(lane, _)| *lane == Lane::Droppable);
                        model.remove(oldest.unwrap());
                    }
                }
                10..=13 => {
                    push(&mut queue, Lane::Reliable, &frame).unwrap();
                    model.push_back((Lane::Reliable, frame));
                }
                14..=16 => {
                    queue.push_shared(&FRAMING, frames.share_bytes(&frame, &total)).unwrap();
                    model.push_back((Lane::Reliable, frame));
                }
                17 if chance(5) == 0 => {
                    queue.drop_droppable();
                    model.retain(|(lane, _)| *lane == Lane::Reliable);
                }
                17 if chance(20) == 0 => {
                    queue.take();
                    model.clear();
                }
                _ => {
                    let most = chance(400);
                    let mut expected = Vec::new();
                    let mut count = 0;
                    while let Some((_, frame)) = model.front() {
                        let shared = count >= SHARED_AT_ONCE;
                        if !expected.is_empty() && (expected.len() + frame.len() > most || shared) {
                            break;
                        }
                        expected.extend(model.pop_front().unwrap().1);
                        count += 1;
                    }
                    assert_eq!(own(queue.take_next(most, Vec::new)), expected, "seed {seed}, step {n}");
                }
            }
            let all = model.iter().fold(0, |sum, (_, frame)| sum + frame.len());
            assert_eq!((queue.len(), queue.droppable()), (all, droppable(&model).1), "seed {seed}, step {n}");
            assert_eq!(queue.is_empty(), model.is_empty(), "seed {seed}, step {n}");
        }
    }
}

#[test]
fn f_43_what_is_not_being_written_can_still_be_dropped() {
    let mut queue = Queue::new(1000);
    for n in 0..5 {
        push(&mut queue, if n == 3 { Lane::Reliable } else { Lane::Droppable }, &[n; 100]).unwrap();
    }
    assert_eq!(own(queue.take_next(250, Vec::new)), [[0; 100], [1; 100]].concat());
    assert_eq!((queue.len(), queue.droppable()), (300, 200));
    queue.set_budget(50, 100);
    push(&mut queue, Lane::Droppable, &[5; 100]).unwrap();
    assert_eq!(queue.dropped, 2);
    // One frame, however large.
    assert_eq!(own(queue.take_next(1, Vec::new)), [3; 100]);
    assert_eq!(own(queue.take_next(100, Vec::new)), [5; 100]);
    assert_eq!((queue.len(), queue.memory(), queue.is_empty()), (0, 0, true));
}

/// F-35, F-43: what the transport itself says has the same budget as reliable frames.
#[test]
fn f_43_what_the_transport_says_is_bounded_and_some_of_it_does_not_wait_twice() {
    let mut queue = Queue::new(10);
    push(&mut queue, Lane::Droppable, b"dd").unwrap();
    queue.push_once(b"bound").unwrap();
    push(&mut queue, Lane::Droppable, b"eeee").unwrap();
    for _ in 0..100 {
        queue.push_once(b"bound").unwrap();
    }
    queue.drop_droppable();
    assert_eq!(queue.len(), 5);
    push(&mut queue, Lane::Droppable, b"f").unwrap();
    queue.push_once(b"bound").unwrap();
    assert_eq!(own(queue.take_next(5, Vec::new)), b"bound");
    queue.push_once(b"bound").unwrap();
    assert_eq!(own(queue.take_next(1, Vec::new)), b"f");
    queue.push_once(b"bound").unwrap();
    assert_eq!((queue.take(), queue.push_once(b"bound")), (b"bound".to_vec(), Ok(())));
    assert_eq!((queue.push_raw(b"gone!"), queue.push_raw(b"gone!")), (Ok(()), Err(Overflow)));
}

#[test]
fn memory_comes_from_the_pool_and_goes_with_the_bytes() {
    let mut queue = Queue::new(100);
    queue.push(&FRAMING, Lane::Reliable, b"x", 0, || Vec::with_capacity(77)).unwrap();
    let taken = queue.take();
    assert!(taken.capacity() >= 77 && queue.bytes.capacity() == 0);
}
