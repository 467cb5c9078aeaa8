//! F-53: once warm, playout allocates nothing: under jitter, loss and stalls.

use core::time::Duration;
use voxwire_audio::{Clip, Error, PcmSpeaker, Speaker, VoiceDecoder};
use voxwire_benches::alloc::{Counting, allocations};
use voxwire_core::testing::Rng;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAME: Duration = Duration::from_millis(20);
const SECONDS: u32 = 60;

/// Frames in the order in which they come in: each later by chance, one in twenty lost, and some seconds in which none comes. At first more
/// of them, so that every place for a packet has had one.
fn arrivals(rng: &mut Rng) -> Vec<(Duration, u32)> {
    let mut arrivals = Vec::new();
    for n in 0..SECONDS * 50 {
        let until = [400, 800, 1450, 2950].into_iter().find(|until| (until - 150..*until).contains(&n));
        let until = until.filter(|until| n < SECONDS * 25 || until - n < 50);
        let stall = until.map_or(Duration::ZERO, |until| FRAME * (until - n));
        if rng.below(20) > 0 {
            arrivals.push((FRAME * n + stall + Duration::from_millis(rng.below(60)), n));
        }
    }
    arrivals.sort_unstable();
    arrivals
}

/// Allocations while the second half is played.
fn play(mut insert: impl FnMut(Duration, u32), mut render: impl FnMut(Duration) -> bool) -> (u64, u32) {
    let (mut rng, mut before, mut heard) = (Rng::new(3), 0, 0);
    let mut arrivals = arrivals(&mut rng).into_iter().peekable();
    for round in 0..SECONDS * 100 {
        let now = FRAME / 2 * round;
        if round == SECONDS * 50 {
            (before, heard) = (allocations(), 0);
        }
        while let Some((at, n)) = arrivals.next_if(|(at, _)| *at <= now) {
            insert(at, n);
        }
        heard += u32::from(render(now));
    }
    (allocations() - before, heard)
}

/// A codec without state, whose packets are all alike: what a real one allocates is its own.
struct Tone(&'static [f32]);

impl VoiceDecoder for Tone {
    fn decode(&mut self, _packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
        samples.copy_from_slice(self.0);
        Ok(samples.len())
    }

    fn recover(&mut self, _next: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
        samples.copy_from_slice(self.0);
        Ok(true)
    }

    fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        samples.copy_from_slice(&self.0[..samples.len()]);
        Ok(())
    }
}

/// The whole process counts, so this is the only test here.
#[test]
fn f_53_warm_playout_allocates_nothing() {
    assert_ne!(
        {
            let before = allocations();
            drop(vec![1]);
            allocations() - before
        },
        0,
        "the counter counts"
    );
    let voice = Clip::tone(48_000, 1, 440.0, 0.02);
    let samples: Vec<f32> = voice.samples.iter().map(|sample| *sample as f32).collect();
    // Samples, whose frames say which they are.
    let speaker = core::cell::RefCell::new(PcmSpeaker::new(48_000, 1));
    let insert = |now, _| speaker.borrow_mut().append(now, samples.iter().copied());
    let (allocated, heard) = play(insert, |now| speaker.borrow_mut().render(now).is_some());
    assert!(allocated == 0 && heard > SECONDS * 40, "samples: {allocated} allocations, {heard} rounds");
    // Packets with numbers.
    let tone = Tone(samples.leak());
    let speaker = core::cell::RefCell::new(Speaker::with_decoder(FRAME, 1, Box::new(tone)));
    let insert = |now, n: u32| speaker.borrow_mut().insert(now, n, &[7; 80], n == 0, false);
    let (allocated, heard) = play(insert, |now| speaker.borrow_mut().render_samples(now, 480).is_some());
    assert!(allocated == 0 && heard > SECONDS * 40, "packets: {allocated} allocations, {heard} rounds");
}
