mod crowds;

use super::super::HubSettings;
use super::super::quotas::Quotas;
use super::*;
use core::net::Ipv6Addr;
use std::collections::VecDeque;

const MIB: usize = 1024 * 1024;
const WAIT: Duration = Duration::from_secs(30);
/// 2001:db8::7.
const PROXY: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 7))];

fn at(millis: u64) -> Instant {
    Instant::ZERO.saturating_add(Duration::from_millis(millis))
}

/// Comes in at `per_second` since `began`.
fn progress(began: u64, received: usize) -> FrameProgress {
    FrameProgress { began: at(began), received, known: true }
}

fn reservation(address: &str) -> Reservation {
    let settings = HubSettings { exempt: &PROXY, ..HubSettings::DEFAULT };
    Reservation::new(Quotas::new(&settings).payer(address.parse().unwrap()))
}

/// Gives back what it holds, at the time at which the books were last looked into.
fn end(partials: &Partials, reservation: &mut Reservation) {
    let now = partials.books().turns.iter().map(Turns::seen).max().unwrap();
    partials.release(reservation, now);
}

fn ask(partials: &Partials, reservation: &mut Reservation, now: u64, bytes: usize, received: usize) -> bool {
    partials.ask(reservation, at(now), bytes, progress(now, received), Waker::noop())
}

/// A source that waits for a frame of 2 MiB, all memory for large ones taken: 14 and 16 MiB by two `others`, 2 MiB by a neighbour at its own
/// address.
struct Neighbours {
    partials: Partials,
    others: [Reservation; 2],
    honest: Reservation,
}

impl Neighbours {
    fn new() -> Self {
        let partials = Partials::new(64 * MIB, WAIT);
        let mut neighbour = [reservation("192.0.2.1"), reservation("192.0.2.1")];
        assert!(ask(&partials, &mut neighbour[0], 0, 3000, 2048));
        assert!(ask(&partials, &mut neighbour[1], 0, 2 * MIB, 0));
        let (mut others, mut honest) =
            (["192.0.2.2", "192.0.2.3"].map(reservation), reservation("192.0.2.1"));
        assert!(ask(&partials, &mut others[0], 0, 16 * MIB, 0));
        assert!(ask(&partials, &mut others[1], 0, 14 * MIB, 0));
        assert!(!ask(&partials, &mut honest, 1, 2 * MIB, 0));
        Self { partials, others, honest }
    }
}

#[test]
fn f_15_c_06_m_11_each_kind_has_its_part_and_one_address_a_quarter() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut large = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(reservation);
    assert!(ask(&partials, &mut large[0], 0, 16 * MIB, 0));
    assert!(ask(&partials, &mut large[1], 0, 16 * MIB, 0));
    assert!(!ask(&partials, &mut large[2], 0, 16 * MIB, 0), "the large ones have half");
    // One address has its quarter of each class; loopback is exempt.
    let mut more = reservation("192.0.2.1");
    assert!(!ask(&partials, &mut more, 0, 2 * MIB, 0));
    assert!(ask(&partials, &mut more, 0, 4096, 0));
    end(&partials, &mut more);
    let mut medium: Vec<Reservation> = (0..17).map(|_| reservation("127.0.0.1")).collect();
    let mut granted = 0;
    for reservation in &mut medium {
        granted += usize::from(partials.ask(reservation, at(0), MIB, progress(0, 0), Waker::noop()));
    }
    assert_eq!(granted, 16);
    let mut small = reservation("::1");
    assert!(ask(&partials, &mut small, 0, 4096, 0));
    // What is given back is there again: first for the one that waits.
    end(&partials, &mut large[0]);
    let mut late = reservation("192.0.2.9");
    assert!(!ask(&partials, &mut late, 1, 16 * MIB, 0), "another was there before");
    assert!(ask(&partials, &mut large[2], 1, 16 * MIB, 0));
    large
        .iter_mut()
        .chain(&mut medium)
        .chain([&mut small, &mut more, &mut late])
        .for_each(|reservation| end(&partials, reservation));
    assert_eq!(partials.used(), 0);
    let books = partials.books();
    assert!(books.held.is_empty() && books.turns.iter().all(Turns::is_empty));
}

/// F-15: who has had its turn waits behind all that wait already, however long it has been connected.
#[test]
fn f_15_those_who_have_waited_longest_come_first_and_not_those_who_have_been_there_longest() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut early = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(reservation);
    let large = |reservation: &mut Reservation, now| ask(&partials, reservation, now, 16 * MIB, 0);
    assert_eq!(early.each_mut().map(|reservation| large(reservation, 0)), [true, true, false, false]);
    let mut late = ["198.51.100.1", "198.51.100.2", "198.51.100.3"].map(reservation);
    // Each of the early ones begins its next frame as soon as it has sent one, and all of them ask more often than the late ones.
    let mut turns = Vec::new();
    for step in 1..9 {
        assert!(late.iter_mut().all(|reservation| reservation.granted > 0 || !large(reservation, step)));
        if let Some(holder) = early.iter_mut().find(|reservation| reservation.granted > 0) {
            end(&partials, holder);
        }
        for reservation in &mut early {
            let _ = reservation.granted > 0 || large(reservation, step);
        }
        let next =
            late.iter_mut().position(|reservation| reservation.granted == 0 && large(reservation, step));
        turns.extend(next);
    }
    assert_eq!(turns, [0, 1], "they hold the large ones by now");
    end(&partials, &mut late[1]);
    assert!(early.iter_mut().all(|reservation| !large(reservation, 10)));
    assert!(large(&mut late[2], 10), "before those who have had theirs");
}

/// F-06, F-15: what those behind an IPv6 proxy hold is not its neighbours' in the /64, and puts none of them behind others.
#[test]
fn f_06_what_is_held_behind_an_ipv6_proxy_is_not_its_neighbours() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut behind: Vec<Reservation> = (0..8).map(|_| reservation("2001:db8::7")).collect();
    for reservation in &mut behind {
        assert!(ask(&partials, reservation, 0, MIB, 0));
    }
    // The neighbours have their quarter of the medium ones, and no more, even once the others are gone.
    let mut near: Vec<Reservation> = (0..5).map(|_| reservation("2001:db8::8")).collect();
    let granted: Vec<bool> =
        near.iter_mut().map(|reservation| ask(&partials, reservation, 0, MIB, 0)).collect();
    assert_eq!(granted, [true, true, true, true, false]);
    behind.iter_mut().for_each(|reservation| end(&partials, reservation));
    assert!(!ask(&partials, &mut near[4], 0, MIB, 0));
    near.iter_mut().for_each(|reservation| end(&partials, reservation));
    assert!(
        partials.used() == 0
            && partials.books().turns.iter().all(|turns| turns.is_empty() && turns.remembers() == 0)
    );
}

#[test]
fn f_15_the_first_may_be_as_large_as_all_there_is() {
    let partials = Partials::new(16 * MIB, WAIT);
    let (mut first, mut second) = (reservation("192.0.2.1"), reservation("192.0.2.2"));
    assert!(ask(&partials, &mut first, 0, 16 * MIB, 0));
    assert!(!ask(&partials, &mut second, 0, 15 * MIB, 0));
    end(&partials, &mut first);
    assert!(!ask(&partials, &mut first, 0, 16 * MIB + 1, 0));
    assert!(ask(&partials, &mut second, 0, 15 * MIB, 0));
}

#[test]
fn f_15_a_silent_or_slow_frame_gives_way_to_one_that_comes_in() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut holders = [reservation("127.0.0.1"), reservation("127.0.0.1")];
    for holder in &mut holders {
        assert!(ask(&partials, holder, 0, 16 * MIB, 100_000));
        assert!(partials.on_idle(holder, at(1)));
    }
    let [mut slow, mut fast] = holders;
    let mut honest = reservation("127.0.0.1");
    let again = |honest: &mut Reservation, now| {
        partials.ask(honest, at(now), 16 * MIB, progress(390, 100_000), Waker::noop())
    };
    assert!(!again(&mut honest, 900), "none has been silent for long");
    // We have not looked for long: there was something to read, and no peer is to blame.
    assert!(!again(&mut honest, 2000));
    for holder in [&slow, &fast] {
        assert!(partials.on_received(holder, at(2000), 3 * MIB) && partials.on_idle(holder, at(2001)));
    }
    assert!(!again(&mut honest, 2900));
    // The first falls silent.
    assert!(partials.on_received(&fast, at(2900), 4 * MIB));
    assert!(!again(&mut honest, 3100));
    // Its task may run before the system has told of what there is to read.
    assert!(partials.on_idle(&slow, at(3101)) && partials.on_idle(&fast, at(3101)));
    assert!(!again(&mut honest, 3200));
    assert!(!partials.on_idle(&slow, at(3201)) && partials.on_idle(&fast, at(3201)));
    end(&partials, &mut slow);
    assert!(again(&mut honest, 3202));
    assert_eq!(partials.used(), 32 * MIB);
    // The second trickles, and the third comes in.
    let mut third = reservation("127.0.0.1");
    for step in 33..100 {
        assert!(
            partials.on_received(&fast, at(step * 100), 4 * MIB + 100)
                && partials.on_idle(&fast, at(step * 100 + 1))
        );
    }
    let mut again =
        |now| partials.ask(&mut third, at(now), 16 * MIB, progress(9900, 4_000_000), Waker::noop());
    // There may be something to read of which we do not know yet.
    assert!(!again(9950) && partials.is_held(&fast));
    assert!(partials.on_received(&fast, at(9990), 4 * MIB + 200) && partials.on_idle(&fast, at(9991)));
    assert!(again(10_050));
    assert!(!partials.is_held(&fast) && partials.is_held(&honest));
    assert!(!partials.on_received(&fast, at(10_051), 4 * MIB + 300));
    // What was taken from it is not given back twice.
    end(&partials, &mut fast);
    assert_eq!(partials.used(), 32 * MIB);
}

/// F-15: two that come in at 300 KiB a second would hold all of the large half for 55 s, and one that waits is closed after 30.
#[test]
fn f_15_a_holder_that_would_not_end_in_the_time_that_others_wait_loses_its_place() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut holders = [reservation("192.0.2.1"), reservation("192.0.2.2")];
    for holder in &mut holders {
        assert!(ask(&partials, holder, 0, 16 * MIB, 100_000) && partials.on_idle(holder, at(1)));
    }
    let mut honest = reservation("198.51.100.7");
    let (mut received, mut served) = (100_000, None);
    for step in 1..300 {
        received += 30 * 1024;
        for holder in &mut holders {
            if !partials.on_received(holder, at(step * 100), received)
                || !partials.on_idle(holder, at(step * 100 + 1))
            {
                end(&partials, holder);
            }
        }
        let progress = progress(0, 50_000);
        if partials.ask(&mut honest, at(step * 100 + 50), 16 * MIB, progress, Waker::noop()) {
            served = Some(step * 100);
            break;
        }
    }
    assert!(served.is_some_and(|ms| ms < 5000), "served after {served:?} ms");
    // One who has sent nearly all of it at once, and then very little, has 27 s.
    let mut burst = reservation("203.0.113.1");
    end(&partials, &mut honest);
    holders.iter_mut().for_each(|holder| end(&partials, holder));
    let mut other = reservation("203.0.113.2");
    for holder in [&mut burst, &mut other] {
        assert!(ask(&partials, holder, 40_000, 16 * MIB, 15 * MIB) && partials.on_idle(holder, at(40_000)));
    }
    let mut waits = reservation("198.51.100.8");
    let mut served = None;
    for step in 1..300 {
        let now = 40_000 + step * 100;
        for holder in [&mut burst, &mut other] {
            if partials.is_held(holder)
                && (!partials.on_received(holder, at(now), 15 * MIB)
                    || !partials.on_idle(holder, at(now + 1)))
            {
                end(&partials, holder);
            }
        }
        if partials.ask(&mut waits, at(now + 50), 16 * MIB, progress(40_000, 5 * MIB), Waker::noop()) {
            served = Some(step * 100);
            break;
        }
    }
    assert!(served.is_some_and(|ms| ms < 28_000), "served after {served:?} ms");
}

#[test]
fn f_15_two_that_come_in_equally_well_do_not_displace_each_other() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut holders = [reservation("127.0.0.1"), reservation("127.0.0.1")];
    for holder in &mut holders {
        assert!(ask(&partials, holder, 0, 16 * MIB, 100_000) && partials.on_idle(holder, at(1)));
    }
    let mut third = reservation("127.0.0.1");
    let mut received = 100_000;
    for step in 1..100 {
        received += 80_000;
        for holder in &holders {
            assert!(
                partials.on_received(holder, at(step * 100), received)
                    && partials.on_idle(holder, at(step * 100 + 1))
            );
        }
        let progress = progress(0, 2_000_000);
        assert!(!partials.ask(&mut third, at(step * 100 + 50), 16 * MIB, progress, Waker::noop()));
    }
    end(&partials, &mut holders[0]);
    assert!(partials.ask(&mut third, at(10_000), 16 * MIB, progress(0, 2_000_000), Waker::noop()));
}

#[test]
fn f_15_of_those_who_wait_the_sources_that_have_least_come_first() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut held: Vec<Reservation> = (0..8).map(|n| reservation(&format!("192.0.2.{}", n % 2))).collect();
    for reservation in &mut held {
        assert!(partials.ask(reservation, at(0), 4 * MIB, progress(0, MIB), Waker::noop()));
    }
    let mut crowd: Vec<Reservation> = (2..50).map(|n| reservation(&format!("192.0.2.{}", n % 2))).collect();
    for reservation in &mut crowd {
        assert!(!partials.ask(reservation, at(1), 4 * MIB, progress(0, MIB), Waker::noop()));
    }
    let mut honest = reservation("198.51.100.7");
    assert!(!ask(&partials, &mut honest, 2, 4 * MIB, 0));
    end(&partials, &mut held[0]);
    assert!(!partials.ask(&mut crowd[0], at(3), 4 * MIB, progress(0, MIB), Waker::noop()));
    assert!(ask(&partials, &mut honest, 3, 4 * MIB, 0));
}

/// F-15: one whose source holds small frames, a neighbour's, is not behind all that come later, without end.
#[test]
fn f_15_those_who_come_later_do_not_all_come_first() {
    let Neighbours { partials, mut others, mut honest } = Neighbours::new();
    // Others come without end: each time that one has been served another one waits.
    let mut later: VecDeque<Reservation> = VecDeque::new();
    let mut served = 0;
    end(&partials, &mut others[1]);
    for n in 0..400_u64 {
        if ask(&partials, &mut honest, 4, 2 * MIB, 0) {
            break;
        }
        let mut next = reservation(&format!("198.51.{}.{}", 100 + n / 100, n % 100));
        let _ = ask(&partials, &mut next, 3, 2 * MIB, 0);
        later.push_back(next);
        if later.len() > 20 {
            let mut done = later.pop_front().unwrap();
            assert!(done.granted > 0);
            end(&partials, &mut done);
            served += 1;
            for later in &mut later {
                let _ = ask(&partials, later, 5, 2 * MIB, 0);
            }
        }
    }
    assert!(served < 100, "{served}");
}

/// F-15: sources that take turns with large frames, each fast enough to keep what it has, let others pass.
#[test]
fn f_15_sources_that_take_turns_with_large_frames_let_others_pass() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut ring: Vec<(Reservation, usize)> =
        (1..7).map(|n| (reservation(&format!("192.0.2.{n}")), 0)).collect();
    let large =
        |reservation: &mut Reservation, second: u64| ask(&partials, reservation, second * 1000, 16 * MIB, 0);
    let (mut waited, mut honest) = (Vec::new(), None);
    for second in 0..600_u64 {
        // Others who come and go, without waiting, and those whose frame has only begun.
        for n in 0..100 {
            let mut passing = reservation(&format!("203.0.113.{n}"));
            assert!(ask(&partials, &mut passing, second * 1000, 3000, 2048));
            end(&partials, &mut passing);
        }
        // 26 s is what a frame may take while others wait.
        for (reservation, received) in &mut ring {
            if reservation.granted == 0 {
                continue;
            }
            *received += 16 * MIB / 26;
            if *received < 16 * MIB {
                assert!(partials.on_received(reservation, at(second * 1000), *received));
                assert!(partials.on_idle(reservation, at(second * 1000 + 1)));
            } else {
                end(&partials, reservation);
                *received = 0;
            }
        }
        for (reservation, _) in &mut ring {
            let _ = reservation.granted > 0 || large(reservation, second);
        }
        if second % 60 == 30 {
            honest = Some((reservation(&format!("198.51.100.{}", second / 60)), second));
        }
        if let Some((mut reservation, since)) = honest.take() {
            if large(&mut reservation, second) {
                end(&partials, &mut reservation);
                waited.push(second - since);
            } else {
                honest = Some((reservation, since));
            }
        }
    }
    assert!(waited.len() == 10 && waited[1..].iter().all(|waited| *waited <= 27), "{waited:?}");
}

/// F-15, F-06: large frames that have only begun do not count against those behind the same address, and of others only a few do.
#[test]
fn f_06_frames_that_end_at_once_do_not_put_their_neighbours_back() {
    let partials = Partials::new(64 * MIB, WAIT);
    let mut now = 0;
    let mut have = |address: &str, bytes, takes| {
        let mut reservation = reservation(address);
        assert!(ask(&partials, &mut reservation, now, bytes, 2048));
        now += takes;
        partials.release(&mut reservation, at(now));
    };
    (0..2000).for_each(|_| have("192.0.2.1", 2 * MIB, 0));
    (0..200).for_each(|_| have("203.0.113.1", 16 * MIB, 100));
    let had = |address: &str| partials.books().turns[2].had(address.parse().unwrap());
    assert_eq!(had("192.0.2.1"), 0);
    // The clock shows a quarter of it.
    assert_eq!(had("203.0.113.1"), 240 << 20);
    // Half of it is forgotten.
    let mut other = reservation("198.51.100.1");
    assert!(ask(&partials, &mut other, 120_000, 2 * MIB, 2048));
    assert_eq!(had("203.0.113.1"), 120 << 20);
    assert!(ask(&partials, &mut other, 6_000_000, 4 * MIB, 2048));
    assert_eq!((had("203.0.113.1"), partials.books().turns[2].remembers()), (0, 1));
}

#[test]
fn f_15_many_small_ones_of_one_source_keep_no_other_source_waiting() {
    let partials = Partials::new(MIB, WAIT);
    let mut crowd: Vec<Reservation> = (0..64).map(|_| reservation("192.0.2.1")).collect();
    for reservation in &mut crowd {
        // They have come in with other things.
        partials.record(reservation, at(0), 4096, progress(0, 3000), false, Waker::noop());
        assert!(partials.on_idle(reservation, at(0)));
    }
    let mut honest = reservation("198.51.100.7");
    assert!(!ask(&partials, &mut honest, 1, 4096, 2048));
    assert!(!ask(&partials, &mut honest, 101, 4096, 2048));
    let gone = crowd.iter_mut().filter(|reservation| !partials.on_idle(reservation, at(101)));
    let gone: Vec<_> = gone.map(|reservation| end(&partials, reservation)).collect();
    assert_eq!(gone.len(), 1, "no more than it takes");
    assert!(ask(&partials, &mut honest, 102, 4096, 2048));
}

#[test]
fn f_15_a_frame_of_unknown_length_asks_for_all_of_its_kind() {
    let partials = Partials::new(64 * MIB, WAIT);
    let demand = |total, known| partials.demand(total, known, 20 * MIB);
    assert_eq!([3000, 70_000, 2 * MIB].map(|total| demand(total, true)), [3000, 70_000, 2 * MIB]);
    assert_eq!([3000, 70_000, 2 * MIB].map(|total| demand(total, false)), [64 * 1024, MIB, 20 * MIB]);
    assert_eq!(partials.demand(2 * MIB, false, usize::MAX), 16 * MIB);
    assert_eq!(partials.demand(17 * MIB, false, usize::MAX), 64 * MIB);
    assert_eq!(partials.demand(65 * MIB, false, usize::MAX), 65 * MIB);
    // A recording may be longer than other messages, and it is not known yet that it is one.
    let demand = |total| partials.demand(total, false, 512 * 1024);
    assert_eq!([300 * 1024, 600 * 1024, 2 * MIB].map(demand), [MIB, MIB, 16 * MIB]);
    assert_eq!(partials.demand(3000, false, 8192), 8192);
}

#[test]
fn f_15_what_is_held_already_is_entered_and_makes_others_careful() {
    let partials = Partials::new(MIB, WAIT);
    let mut reservations: Vec<Reservation> = (0..20).map(|_| reservation("127.0.0.1")).collect();
    for reservation in &mut reservations {
        partials.record(reservation, at(0), 16 * 1024, progress(0, 16 * 1024), false, Waker::noop());
    }
    assert_eq!((partials.used(), partials.is_scarce()), (320 * 1024, true));
    reservations.iter_mut().for_each(|reservation| end(&partials, reservation));
    assert_eq!((partials.used(), partials.is_scarce()), (0, false));
}

/// F-15: a connection that we do not read (its rate is used up, or it waits for its log-in) is not sent away for that at once.
#[test]
fn f_15_whom_we_do_not_read_is_not_to_blame() {
    let partials = Partials::new(64 * 1024, WAIT);
    let mut paused = reservation("192.0.2.1");
    partials.record(&mut paused, at(0), 4096, progress(0, 0), true, Waker::noop());
    let mut attackers: Vec<Reservation> = (2..5).map(|n| reservation(&format!("192.0.2.{n}"))).collect();
    for attacker in &mut attackers {
        assert!(ask(&partials, attacker, 0, 4096, 4096));
        partials.on_idle(attacker, at(0));
    }
    let mut honest = reservation("192.0.2.9");
    for now in [2000, 2100] {
        assert!(!ask(&partials, &mut honest, now, 4096, 1 << 20), "the silent are asked first");
    }
    assert!(partials.on_idle(&paused, at(2100)) && partials.is_held(&paused));
    assert!(attackers.iter().any(|attacker| !partials.on_idle(attacker, at(2100))), "one of them is asked");
    // It is not spared for ever, nor again and again, even if frames end meanwhile.
    partials.record(&mut paused, at(4000), 8192, progress(0, 0), true, Waker::noop());
    assert!(partials.books().held[&paused.id].spared == at(5000));
    end(&partials, &mut paused);
    partials.record(&mut paused, at(4500), 8192, progress(4500, 0), true, Waker::noop());
    assert!(partials.books().held[&paused.id].spared == at(5000));
    end(&partials, &mut paused);
    partials.record(&mut paused, at(65_000), 8192, progress(65_000, 0), true, Waker::noop());
    assert!(partials.books().held[&paused.id].spared == at(70_000), "it was long ago");
}

/// Asks every 100 ms from `from` on. Returns when it is granted.
fn served(partials: &Partials, reservation: &mut Reservation, from: u64, bytes: usize) -> Option<u64> {
    (from..from + 30_000).step_by(100).find(|now| ask(partials, reservation, *now, bytes, bytes / 2))
}

/// F-15: those that we do not read hold what others need no longer than some seconds, though they cannot look themselves whether
/// there is something to read; be it that they were paused with a frame, or while one was coming in.
#[test]
fn f_15_whom_we_do_not_read_holds_memory_that_others_need_for_some_seconds_only() {
    let partials = Partials::new(64 * 1024, WAIT);
    let mut paused: Vec<Reservation> = (2..6).map(|n| reservation(&format!("192.0.2.{n}"))).collect();
    for reservation in &mut paused {
        partials.record(reservation, at(0), 4096, progress(0, 4000), true, Waker::noop());
    }
    let mut honest = reservation("198.51.100.7");
    let when = served(&partials, &mut honest, 1000, 4096);
    assert!(when.is_some_and(|ms| (5000..8000).contains(&ms)), "{when:?}");
    assert_eq!(paused.iter().filter(|reservation| !partials.is_held(reservation)).count(), 1);
    end(&partials, &mut honest);
    paused.iter_mut().for_each(|reservation| end(&partials, reservation));

    for reservation in &mut paused {
        assert!(
            ask(&partials, reservation, 100_000, 4096, 3000) && partials.on_idle(reservation, at(100_001))
        );
        partials.on_pause(reservation, at(100_002));
    }
    let when = served(&partials, &mut honest, 100_100, 4096);
    assert!(when.is_some_and(|ms| (105_000..108_000).contains(&ms)), "{when:?}");
    assert_eq!(paused.iter().filter(|reservation| !partials.is_held(reservation)).count(), 1);
}

/// F-15: the time in which we did not read counts against no peer once we read again.
#[test]
fn f_15_whom_we_read_again_has_not_been_slow_meanwhile() {
    let partials = Partials::new(64 * 1024, WAIT);
    let mut paused: Vec<Reservation> = (2..6).map(|n| reservation(&format!("192.0.2.{n}"))).collect();
    for reservation in &mut paused {
        assert!(ask(&partials, reservation, 0, 4096, 3000) && partials.on_idle(reservation, at(1)));
        partials.on_pause(reservation, at(2));
        partials.on_pause(reservation, at(30_000));
    }
    for reservation in &paused {
        assert!(partials.on_idle(reservation, at(36_000)));
        assert!(
            partials.on_received(reservation, at(36_010), 3500) && partials.on_idle(reservation, at(36_020))
        );
    }
    let mut honest = reservation("198.51.100.7");
    for now in [36_100, 36_200, 36_300] {
        let progress = progress(35_000, 3000);
        assert!(!partials.ask(&mut honest, at(now), 4096, progress, Waker::noop()));
    }
    assert!(paused.iter().all(|reservation| partials.on_idle(reservation, at(36_400))));
}

/// F-15: one that had paused, goes on, and has to wait then, is not silent because of that.
#[test]
fn f_15_one_that_waits_for_more_with_something_to_read_is_not_silent() {
    let partials = Partials::new(4 * MIB, WAIT);
    let [mut ann, mut bob, mut cat] = ["127.0.0.1"; 3].map(reservation);
    assert!(ask(&partials, &mut ann, 0, 4 * MIB, MIB));
    assert!(ask(&partials, &mut bob, 0, MIB, MIB) && partials.on_idle(&bob, at(1)));
    assert!(!ask(&partials, &mut cat, 200, MIB, MIB / 2));
    // More of it comes in, for which there is no room.
    assert!(!ask(&partials, &mut bob, 500, 4 * MIB, MIB));
    for now in (600..5000).step_by(100) {
        assert!(partials.on_received(&ann, at(now), MIB + 1000) && partials.on_idle(&ann, at(now)));
        assert!(!ask(&partials, &mut bob, now, 4 * MIB, 0) && partials.on_idle(&bob, at(now)), "{now}");
        assert!(!ask(&partials, &mut cat, now, MIB, MIB / 2), "{now}");
    }
}

/// F-15: of a frame of unknown length 16 MiB are set aside, and so much of it is not expected.
#[test]
fn f_15_a_frame_of_unknown_length_need_not_come_in_as_fast_as_the_longest() {
    let partials = Partials::new(64 * MIB, WAIT);
    let unknown = |began, received| FrameProgress { known: false, ..progress(began, received) };
    let mut holders = [reservation("192.0.2.1"), reservation("192.0.2.2")];
    let mut received = MIB + MIB / 8;
    for holder in &mut holders {
        assert!(partials.ask(holder, at(0), 16 * MIB, unknown(0, received), Waker::noop()));
        assert!(partials.on_idle(holder, at(1)));
    }
    let mut waits = reservation("198.51.100.7");
    let mut at_the_end = None;
    for step in 1..300 {
        received += 30 * 1024;
        for holder in &mut holders {
            if !partials.on_received(holder, at(step * 100), received)
                || !partials.on_idle(holder, at(step * 100 + 1))
            {
                end(&partials, holder);
            }
        }
        let progress = unknown(0, 2 * MIB);
        if partials.ask(&mut waits, at(step * 100 + 50), 16 * MIB, progress, Waker::noop()) {
            at_the_end = Some(step * 100);
            break;
        }
    }
    // One that waits is served in time all the same.
    assert!(at_the_end.is_some_and(|ms| (25_000..29_000).contains(&ms)), "{at_the_end:?}");
}

/// F-15: what is held against a frame ends with those that wait.
#[test]
fn f_15_no_frame_gives_way_to_one_that_does_not_wait_any_more() {
    let partials = Partials::new(64 * 1024, WAIT);
    let mut holders: Vec<Reservation> = (2..6).map(|n| reservation(&format!("192.0.2.{n}"))).collect();
    for holder in &mut holders {
        assert!(ask(&partials, holder, 0, 4096, 3000) && partials.on_idle(holder, at(1)));
    }
    let mut waits = reservation("198.51.100.7");
    assert!(!ask(&partials, &mut waits, 1000, 4096, 1 << 20));
    assert!(partials.books().held.values().any(|held| held.called.is_some()));
    end(&partials, &mut waits);
    assert!(holders.iter().all(|holder| partials.on_idle(holder, at(2000))));
    // Slow, as it was seen to be long ago, and now for the first time.
    let received = |step| 3000 + 10 * usize::try_from(step).unwrap();
    let mut go_on = |step: u64| {
        holders.iter().all(|holder| {
            partials.on_received(holder, at(step * 100), received(step))
                && partials.on_idle(holder, at(step * 100 + 1))
        })
    };
    assert!((20..50).all(&mut go_on));
    assert!(!ask(&partials, &mut waits, 4950, 4096, 1 << 20));
    assert!(partials.books().held.values().any(|held| held.slow_since.is_some()));
    end(&partials, &mut waits);
    assert!((50..90).all(&mut go_on));
    assert!(!ask(&partials, &mut waits, 8950, 4096, 1 << 20), "they are looked at once more");
    assert!((90..91).all(&mut go_on));
}
