//! Many sources at a time, in a simulated time.

use super::*;

/// A frame that waits, comes in evenly once it has its memory, and ends when as much as it sends has come in.
struct Frame {
    reservation: Reservation,
    of: usize,
    bytes: usize,
    sends: usize,
    takes: u64,
    began: u64,
    granted: Option<u64>,
}

/// What has become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Granted,
    Ended,
    /// It has waited for too long, or has lost its memory.
    Closed,
}

/// Frames of many sources, which are looked at ten times a second.
struct World {
    partials: Partials,
    now: u64,
    frames: Vec<Frame>,
}

impl World {
    fn new() -> Self {
        Self { partials: Partials::new(64 * MIB, WAIT), now: 0, frames: Vec::new() }
    }

    /// The frame of a source begins: of a `bytes` that it may take it `sends` so many, in `takes` milliseconds.
    fn begin(&mut self, of: usize, address: &str, (bytes, sends): (usize, usize), takes: u64) -> bool {
        let (reservation, began) = (reservation(address), self.now);
        let mut frame = Frame { reservation, of, bytes, sends, takes, began, granted: None };
        let granted = frame.ask(&self.partials, began);
        self.frames.push(frame);
        granted
    }

    /// A tenth of a second later: which turns there were, and whose.
    fn step(&mut self) -> Vec<(usize, Turn)> {
        self.now += 100;
        let (now, partials, mut turns) = (self.now, &self.partials, Vec::new());
        self.frames.retain_mut(|frame| {
            let Some(granted) = frame.granted else { return true };
            let passed = now - granted;
            let received =
                usize::try_from(frame.sends as u64 * passed.min(frame.takes) / frame.takes).unwrap();
            let ends = passed >= frame.takes;
            let goes_on = partials.on_received(&frame.reservation, at(now), received)
                && partials.on_idle(&frame.reservation, at(now));
            if ends || !goes_on {
                partials.release(&mut frame.reservation, at(now));
                turns.push((frame.of, if ends { Turn::Ended } else { Turn::Closed }));
            }
            !ends && goes_on
        });
        self.frames.retain_mut(|frame| {
            if frame.granted.is_none() && frame.ask(partials, now) {
                turns.push((frame.of, Turn::Granted));
            }
            let closed = frame.granted.is_none() && now - frame.began >= 30_000;
            if closed {
                partials.release(&mut frame.reservation, at(now));
                turns.push((frame.of, Turn::Closed));
            }
            !closed
        });
        turns
    }

    /// How many frames of each of `sources` are granted memory before one of `of` is.
    fn granted_before(&mut self, of: usize, sources: usize) -> Vec<usize> {
        let mut before = vec![0; sources];
        if self.frames.iter().any(|frame| frame.of == of && frame.granted.is_some()) {
            return before;
        }
        let mut granted = false;
        for (whose, turn) in (0..600).flat_map(|_| self.step()) {
            match turn {
                Turn::Granted if whose == of => {
                    granted = true;
                    break;
                }
                Turn::Granted => before[whose] += 1,
                turn => assert!(whose != of, "{turn:?}"),
            }
        }
        assert!(granted, "not within a minute: {before:?}");
        before
    }
}

impl Frame {
    fn ask(&mut self, partials: &Partials, now: u64) -> bool {
        let progress = FrameProgress { began: at(self.began), received: 0, known: false };
        let granted = partials.ask(&mut self.reservation, at(now), self.bytes, progress, Waker::noop());
        self.granted = granted.then_some(now);
        granted
    }
}

const HONEST: usize = 1000;

/// F-15: sources take turns, however many frames each begins at once: another one's is not behind them all.
#[test]
fn f_15_a_crowd_that_begins_at_once_lets_one_that_begins_later_pass() {
    for (bytes, takes) in
        [(2 * MIB, 5000), (16 * MIB, 12_000), (2 * MIB, 300), (512 * 1024, 2000), (64 * 1024, 200)]
    {
        for later in [0, 1, 30] {
            let mut world = World::new();
            for n in 0..200 {
                world.begin(n % 4, &format!("192.0.2.{}", n % 4), (bytes, bytes), takes);
            }
            (0..later).for_each(|_| drop(world.step()));
            world.begin(HONEST, "198.51.100.7", (bytes, bytes), takes);
            let before = world.granted_before(HONEST, 4);
            assert!(before.iter().all(|granted| *granted <= 2), "{bytes}, {takes}, {later}: {before:?}");
        }
    }
}

/// F-15: nor where one source has a whole site, each frame from another network of it; and those of the site who have had nothing do not
/// pay for those who have.
#[test]
fn f_15_a_crowd_of_one_site_lets_its_neighbours_pass_and_those_elsewhere_first() {
    let mut world = World::new();
    for n in 0..60 {
        world.begin(n % 30, &format!("2001:db8:1:{:x}::1", n % 30), (2 * MIB, 2 * MIB), 5000);
    }
    (0..60).for_each(|_| drop(world.step()));
    world.begin(HONEST - 1, "2001:db8:1:999::1", (2 * MIB, 2 * MIB), 5000);
    world.begin(HONEST, "2001:db8:2::1", (2 * MIB, 2 * MIB), 5000);
    let first = world.granted_before(HONEST, HONEST);
    assert!(first.iter().sum::<usize>() <= 1, "{first:?}");
    let mut world = World::new();
    for n in 0..200 {
        world.begin(n % 4, &format!("2001:db8:1:{}::1", n % 4), (2 * MIB, 2 * MIB), 5000);
    }
    (0..30).for_each(|_| drop(world.step()));
    world.begin(HONEST, "2001:db8:1:999::1", (2 * MIB, 2 * MIB), 5000);
    let before = world.granted_before(HONEST, 4);
    assert!(before.iter().all(|granted| *granted <= 1), "{before:?}");
}

/// F-15: what is held counts, for as long as it is held, whether the frame ends or not: sources that take turns with it, and begin anew
/// without having sent much, keep no other source waiting; nor if each of them begins the next one long before.
#[test]
fn f_15_frames_that_never_end_count_like_those_that_do() {
    for (sources, connections, bytes, sends, takes) in [
        (6, 1, 16 * MIB, MIB - 1, 26_000),
        (6, 2, 16 * MIB, 16 * MIB, 26_000),
        (4, 8, 16 * MIB, MIB - 1, 12_000),
        (10, 2, 16 * MIB, MIB - 1, 5000),
        (20, 2, 2 * MIB, 2 * MIB, 26_000),
    ] {
        let what = format!("{sources} sources with {connections}, {bytes}, {sends}, {takes}");
        let mut world = World::new();
        let (mut since, mut waited) = (None, Vec::new());
        for tick in 1..2400_u64 {
            for (whose, turn) in world.step() {
                match turn {
                    Turn::Granted if whose == HONEST => waited.push(world.now - since.take().unwrap()),
                    turn if whose == HONEST => assert_eq!(turn, Turn::Ended, "{what}: at {tick}, {waited:?}"),
                    _ => {}
                }
            }
            for of in 0..sources {
                let open = world.frames.iter().filter(|frame| frame.of == of).count();
                for _ in open..connections {
                    world.begin(of, &format!("192.0.2.{of}"), (bytes, sends), takes);
                }
            }
            // As one that has come to know it, so soon.
            if tick % 400 == 390 && tick > 700 {
                if world.begin(HONEST, "198.51.100.7", (bytes, bytes), 3000) {
                    waited.push(0);
                } else {
                    since = Some(world.now);
                }
            }
        }
        assert!(
            waited.len() >= 4 && waited.iter().all(|waited| *waited <= takes + 1000),
            "{what}: {waited:?}"
        );
    }
}

/// F-15: who has waited for nothing, or has held a little for long, has no more than its turn.
#[test]
fn f_15_who_is_idle_gathers_nothing() {
    let mut world = World::new();
    world.begin(0, "192.0.2.1", (MIB + 1, MIB + 1), 250_000);
    for n in 0..2000 {
        world.step();
        if n % 20 == 0 {
            world.begin(2 + n % 3, &format!("203.0.113.{}", n % 3), (8 * MIB, 8 * MIB), 6000);
        }
    }
    for _ in 0..50 {
        world.begin(0, "192.0.2.1", (2 * MIB, 2 * MIB), 5000);
    }
    world.step();
    world.begin(HONEST, "198.51.100.7", (2 * MIB, 2 * MIB), 5000);
    let before = world.granted_before(HONEST, 5);
    assert!(before[0] <= 2, "{before:?}");
}

/// F-15: one whose neighbour holds a frame like its own stands where it began, before all that begin later.
#[test]
fn f_15_a_burst_of_those_who_come_later_does_not_come_first() {
    let Neighbours { partials, mut others, mut honest } = Neighbours::new();
    let mut later: Vec<Reservation> =
        (0..200_u64).map(|n| reservation(&format!("198.51.{}.{}", 100 + n / 100, n % 100))).collect();
    assert!(later.iter_mut().all(|later| !ask(&partials, later, 2, 2 * MIB, 0)));
    partials.release(&mut others[1], at(3));
    let first = later.iter_mut().map(|later| ask(&partials, later, 3, 2 * MIB, 0));
    let first = first.filter(|granted| *granted).count();
    assert!(first <= 7, "{first}");
    // They come and go.
    let served = later.iter_mut().position(|later| {
        partials.release(later, at(4));
        ask(&partials, &mut honest, 4, 2 * MIB, 0)
    });
    assert!(served.is_some_and(|served| served < 100), "{served:?}");
}
