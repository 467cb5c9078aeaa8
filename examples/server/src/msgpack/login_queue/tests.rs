use super::*;
use std::collections::HashMap;
use voxwire_core::testing::Rng;

const ANY: usize = 20_000;

fn attempt(slot: u32, name: &str) -> Attempt {
    Attempt {
        ticket: Ticket(slot.into()),
        peer: PeerId { slot, generation: 0 },
        register: false,
        username: name.as_bytes().into(),
        password: Zeroizing::new(Vec::new()),
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn source(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

const LOOPBACK: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

/// Looks at the next one, with this result, and returns its number.
fn next(state: &mut State, now: Instant, verdict: Verdict) -> Option<u32> {
    let (line, attempt) = state.take(now).ok()?;
    state.done(line, verdict, now);
    Some(attempt.peer.slot)
}

/// Guesses, waiting where it has to, and returns when the last guess was looked at.
fn guess(state: &mut State, from: IpAddr, name: &str, times: u32, mut now: Instant) -> Instant {
    for _ in 0..times {
        assert!(state.add(from, attempt(9999, name), now).is_none());
        while next(state, now, Verdict::Wrong).is_none() {
            now = now.saturating_add(Duration::from_millis(10));
        }
    }
    now
}

fn let_in(state: &mut State, from: IpAddr, name: &str, now: Instant) {
    assert!(state.add(from, attempt(9998, name), now).is_none());
    assert_eq!(next(state, now, Verdict::LetIn), Some(9998));
}

/// F-06
#[test]
fn wrong_guesses_hold_up_their_name_at_their_address_and_no_other() {
    for from in [source(1), LOOPBACK, "2001:db8::1".parse().unwrap()] {
        let mut state = State::new(ANY, &[]);
        let now = guess(&mut state, from, "eve", 8, at(0));
        // Another name from there, the same name from elsewhere.
        state.add(from, attempt(1, "ann"), now);
        assert_eq!(next(&mut state, now, Verdict::LetIn), Some(1));
        state.add(source(2), attempt(2, "eve"), now);
        assert_eq!(next(&mut state, now, Verdict::LetIn), Some(2));
        state.add(from, attempt(3, "eve"), now);
        let wait = state.take(now).unwrap_err().unwrap().saturating_duration_since(now);
        // Where many people share the address, a user of that name among them waits for a second.
        let expected = if from.is_loopback() { 1000 } else { 4000 };
        assert_eq!(wait.as_millis(), expected, "{from}");
    }
}

/// F-06
#[test]
fn each_failure_doubles_the_wait_and_time_forgets_them() {
    let mut state = State::new(ANY, &[]);
    let (mut now, mut waits) = (at(0), Vec::new());
    for _ in 0..12 {
        now = guess(&mut state, source(1), "ann", 1, now);
        let name = state.hasher.hash_one(&attempt(0, "ann").username);
        waits.push(state.failed[&(source(1), Some(name))].ready.saturating_duration_since(now).as_millis());
    }
    assert_eq!(waits, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
    // Nine are left after ninety seconds, and what is right holds nobody up.
    now = now.saturating_add(Duration::from_secs(95));
    let name = state.hasher.hash_one(&attempt(0, "ann").username);
    assert_eq!(state.failed[&(source(1), Some(name))].left(now), 9);
    let_in(&mut state, source(1), "ann", now);
    // From now on it is known there, and waits for a second at most.
    guess(&mut state, source(1), "ann", 1, now);
    assert_eq!(state.failed[&(source(1), Some(name))].ready.saturating_duration_since(now).as_millis(), 1000);
}

/// F-06: an address shared with an attacker, which asks for as many made-up names as it has connections.
#[test]
fn users_let_in_from_there_before_are_served_first_and_newcomers_in_time() {
    for from in [source(1), LOOPBACK] {
        let mut state = State::new(ANY, &[]);
        let_in(&mut state, from, "ann", at(0));
        let mut now = at(10_000);
        for n in 0..255 {
            state.add(from, attempt(n, &format!("made up {n}")), now);
        }
        // Ten guesses were looked at before, so that its pace is what it is.
        for _ in 0..40 {
            next(&mut state, now, Verdict::Wrong).unwrap();
        }
        state.add(from, attempt(1000, "ann"), now);
        state.add(from, attempt(1001, "bob"), now);
        let (mut ann, mut bob) = (None, None);
        for n in 0_u32.. {
            let looked_at = next(&mut state, now, Verdict::Wrong);
            ann = ann.or_else(|| (looked_at == Some(1000)).then_some(now));
            bob = bob.or_else(|| (looked_at == Some(1001)).then_some(now));
            if ann.is_some() && bob.is_some() {
                break;
            }
            // Each that is answered comes again with another name.
            if let Some(slot) = looked_at {
                state.add(from, attempt(slot, &format!("again {n}")), now);
            }
            now = now.saturating_add(Duration::from_millis(11));
        }
        let waited = |then: Option<Instant>| then.unwrap().saturating_duration_since(at(10_000));
        assert!(waited(ann) < Duration::from_millis(300), "{from}: {:?}", waited(ann));
        assert!(waited(bob) < LONGEST, "{from}: {:?}", waited(bob));
    }
}

/// F-84
#[test]
fn all_who_come_at_once_are_served_and_none_is_refused() {
    for from in [|_| LOOPBACK, |n| IpAddr::from([10, 0, (n >> 8) as u8, n as u8])] {
        let mut state = State::new(ANY, &[]);
        for n in 0..2000_u32 {
            assert!(state.add(from(n), attempt(n, &format!("user {n}")), at(0)).is_none());
        }
        // In the order in which they came.
        for n in 0..2000_u32 {
            let now = at(u64::from(n) * 11);
            assert!(state.expire(now).is_empty());
            assert_eq!(next(&mut state, now, Verdict::LetIn), Some(n));
        }
        assert!(state.lines.is_empty() && state.turns.is_empty() && state.later.is_empty());
        assert!(state.ages.is_empty() && state.peers.is_empty() && state.by_pair.is_empty());
    }
}

#[test]
fn sources_take_turns_however_much_they_bring_and_a_48_is_one_of_them() {
    let mut state = State::new(ANY, &[]);
    for n in 0..30_u32 {
        let from: IpAddr = format!("2001:db8:0:{n:x}::1").parse().unwrap();
        state.add(from, attempt(n, &format!("a{n}")), at(0));
    }
    state.add("2001:db8:1::1".parse().unwrap(), attempt(100, "ann"), at(0));
    state.add(source(1), attempt(101, "bob"), at(0));
    let order: Vec<u32> = (0..4).map(|_| next(&mut state, at(0), Verdict::LetIn).unwrap()).collect();
    assert_eq!(order, [0, 100, 101, 1]);
}

#[test]
fn classes_have_their_shares_and_none_of_them_all() {
    let mut state = State::new(ANY, &[]);
    for n in 0..100_u8 {
        let_in(&mut state, source(n), &format!("known {n}"), at(0));
        guess(&mut state, [198, 51, 100, n].into(), "x", 4, at(0));
    }
    for n in 0..100_u8 {
        let slot = u32::from(n);
        state.add(source(n), attempt(slot, &format!("known {n}")), at(10_000));
        state.add([203, 0, 113, n].into(), attempt(100 + slot, "stranger"), at(10_000));
        state.add([198, 51, 100, n].into(), attempt(200 + slot, "guess"), at(10_000));
        let from = [100, 64, 0, n].into();
        state.add(from, Attempt { register: true, ..attempt(300 + slot, "new") }, at(10_000));
    }
    let mut shares = [0; 4];
    for _ in 0..150 {
        let slot = next(&mut state, at(10_000), Verdict::Neither).unwrap();
        shares[slot as usize / 100] += 1;
    }
    assert_eq!(shares, [80, 40, 20, 10]);
}

#[test]
fn one_address_is_looked_at_ten_times_a_second_and_others_meanwhile() {
    let mut state = State::new(ANY, &[]);
    for n in 0..256 {
        state.add(source(1), attempt(n, &format!("a{n}")), at(0));
    }
    let served = |state: &mut State, now| core::iter::from_fn(|| next(state, now, Verdict::Neither)).count();
    assert_eq!(served(&mut state, at(0)), 40);
    assert_eq!(state.take(at(0)).unwrap_err(), Some(at(100)));
    state.add(source(2), attempt(1000, "ann"), at(50));
    assert_eq!(next(&mut state, at(50), Verdict::Neither), Some(1000));
    assert_eq!(served(&mut state, at(1000)), 10);
    // All are looked at in time.
    let all: usize = (1..220).map(|n| served(&mut state, at(1000 + n * 100))).sum();
    assert_eq!(all, 206);
}

#[test]
fn a_client_that_is_gone_or_has_waited_for_too_long_takes_no_place() {
    let mut state = State::new(3, &[]);
    for n in 0..3 {
        assert!(state.add(source(1), attempt(n, "a"), at(0)).is_none());
    }
    assert!(state.add(source(2), attempt(5, "b"), at(0)).is_some(), "each connection has one");
    state.forget(PeerId { slot: 1, generation: 0 });
    assert!(state.add(source(2), attempt(5, "b"), at(20_000)).is_none());
    assert!(state.expire(at(34_999)).is_empty());
    let refused: Vec<u32> = state.expire(at(35_000)).iter().map(|attempt| attempt.peer.slot).collect();
    assert_eq!(refused, [0, 2]);
    assert_eq!(state.take(at(36_000)).map(|(_, attempt)| attempt.peer.slot).unwrap(), 5);
    assert!(state.forget(PeerId { slot: 5, generation: 0 }).is_none(), "it is being looked at");
}

/// F-06: guessers stand at the honest user's name and address, each on a connection of its own, and come again at once.
#[test]
fn a_connection_that_has_not_failed_is_served_before_those_that_have() {
    for from in [source(1), LOOPBACK] {
        let mut state = State::new(ANY, &[]);
        let_in(&mut state, from, "ann", at(0));
        let mut now = at(0);
        for n in 0..40 {
            assert!(state.add(from, attempt(n, "ann"), now).is_none());
        }
        for came in [60_u64, 90, 120].map(|seconds| at(seconds * 1000)) {
            while now < came {
                state.expire(now);
                if let Some(slot) = next(&mut state, now, Verdict::Wrong) {
                    for n in core::iter::once(slot).chain(0..40) {
                        if !state.peers.contains_key(&PeerId { slot: n, generation: 0 }) {
                            assert!(state.add(from, attempt(n, "ann"), now).is_none());
                        }
                    }
                }
                now = now.saturating_add(Duration::from_millis(50));
            }
            assert_eq!(state.peers.len(), 40, "each has its place");
            let ann = 1000 + u32::try_from(came.as_nanos() / 1_000_000_000).unwrap();
            assert!(state.add(from, attempt(ann, "ann"), now).is_none());
            let served = loop {
                now = now.saturating_add(Duration::from_millis(50));
                if let Some(slot) = next(&mut state, now, Verdict::LetIn) {
                    break slot;
                }
            };
            assert_eq!(served, ann, "{from}");
            assert!(now.saturating_duration_since(came) < Duration::from_millis(1500), "{from}");
            // Behind it the line goes on, and what a connection did is forgotten with it.
            state.gone(PeerId { slot: ann, generation: 0 });
        }
        (0..40).for_each(|slot| state.gone(PeerId { slot, generation: 0 }));
        assert!(state.guesses.is_empty() && state.in_work.is_empty() && state.lines.is_empty());
    }
}

/// F-06, F-84: guessers at the honest user's name and address, each of which connects anew for each guess, so that none of their
/// connections has failed: the user is served in time, also if it has mistyped its password, and nobody is refused.
#[test]
fn guessers_who_connect_anew_keep_nobody_out() {
    for (from, guessers) in [(source(1), 16), (source(1), 40), (source(1), 255), (LOOPBACK, 255)] {
        let mut state = State::new(ANY, &[]);
        let_in(&mut state, from, "ann", at(0));
        let (mut slot, mut now, mut looked_at) = (0, at(0), 0);
        for _ in 0..guessers {
            slot += 1;
            assert!(state.add(from, attempt(slot, "ann"), now).is_none());
        }
        let mut typo = None;
        for (came, ann) in [(60, 100_001), (120, 100_002), (180, 100_003)] {
            let (came, mut served) = (at(came * 1000), None);
            while now < came.saturating_add(LONGEST) {
                if now == came {
                    // One that has failed before, and fresh ones.
                    let ann = typo.unwrap_or(ann);
                    assert!(state.add(from, attempt(ann, "ann"), now).is_none(), "{from}: {guessers}");
                }
                for attempt in state.expire(now) {
                    assert!(attempt.peer.slot < 100_000, "{from}: {guessers}");
                }
                if let Some(next) = next(&mut state, now, Verdict::Wrong) {
                    looked_at += 1;
                    if next > 100_000 {
                        (served, typo) = (Some(now), Some(next));
                    } else {
                        state.gone(PeerId { slot: next, generation: 0 });
                        slot += 1;
                        assert!(state.add(from, attempt(slot, "ann"), now).is_none());
                    }
                }
                now = now.saturating_add(Duration::from_millis(10));
            }
            let waited = served.unwrap().saturating_duration_since(came);
            assert!(waited < LONGEST, "{from}: {guessers}: {waited:?}");
            // Many that wait bring on more guesses, and no more than any address has.
            if typo == Some(100_001) && ann != 100_001 {
                assert!(waited < Duration::from_secs(8), "{from}: {guessers}: {waited:?} after a slip");
            }
        }
        let seconds = u32::try_from(now.as_nanos() / 1_000_000_000).unwrap();
        assert!(looked_at <= seconds * PACE.per_second + PACE.burst, "{looked_at} in {seconds} s");
        assert!(guessers > 16 || looked_at <= seconds + 16, "{looked_at} in {seconds} s");
    }
}

/// F-06, F-84: the pace of an address is shared by all names there. A source that stands in many lines, or has a long one, keeps nobody
/// out: the attempt that came first is next.
#[test]
fn many_lines_at_one_address_keep_nobody_of_it_out() {
    // The attackers' own accounts that log in there over and over, guesses at ann's name, guesses at eve's, and ever new names.
    for (known, accounts, at_ann, at_eve, made_up) in [
        (true, 200, 30, 0, 0),
        (true, 32, 30, 190, 0),
        (false, 0, 0, 240, 15),
        (true, 0, 240, 0, 15),
        (true, 0, 30, 210, 15),
    ] {
        let from = source(1);
        let mut state = State::new(ANY, &[]);
        if known {
            for n in 0..16 {
                let_in(&mut state, from, &format!("own {n}"), at(n * 1000));
            }
            for name in ["ann", "eve"] {
                let_in(&mut state, from, name, at(16_000));
            }
        }
        let name = |n: u32, again: u32| match n {
            _ if n < accounts => format!("own {}", n % 16),
            _ if n < accounts + at_ann => "ann".to_string(),
            _ if n < accounts + at_ann + at_eve => "eve".to_string(),
            _ => format!("made up {again}"),
        };
        let all = accounts + at_ann + at_eve + made_up;
        let mut now = at(20_000);
        // Whose of the attackers' connections each is: all but their own accounts connect anew for each guess.
        let mut roles: HashMap<u32, u32> = HashMap::new();
        let mut slot = 0;
        for n in 0..all {
            slot += 1;
            roles.insert(slot, n);
            assert!(state.add(from, attempt(slot, &name(n, slot)), now).is_none());
        }
        for came in [60_u64, 110, 160].map(|seconds| at(seconds * 1000)) {
            let (ann, mut served) = (u32::MAX, None);
            while served.is_none() && now < came.saturating_add(LONGEST) {
                if now == came {
                    assert!(state.add(from, attempt(ann, "ann"), now).is_none());
                }
                let mut answered: Vec<u32> =
                    state.expire(now).iter().map(|attempt| attempt.peer.slot).collect();
                if let Ok((line, attempt)) = state.take(now) {
                    let next = attempt.peer.slot;
                    let own = roles.get(&next).is_some_and(|n| *n < accounts);
                    let verdict = if own || next == ann { Verdict::LetIn } else { Verdict::Wrong };
                    state.done(line, if known || own { verdict } else { Verdict::Wrong }, now);
                    answered.push(next);
                }
                for before in answered {
                    if before == ann {
                        served = Some(now);
                        continue;
                    }
                    state.gone(PeerId { slot: before, generation: 0 });
                    let n = roles.remove(&before).unwrap();
                    slot += 1;
                    roles.insert(slot, n);
                    assert!(state.add(from, attempt(slot, &name(n, slot)), now).is_none());
                }
                now = now.saturating_add(Duration::from_millis(10));
            }
            state.gone(PeerId { slot: ann, generation: 0 });
            let case = (known, accounts, at_ann, at_eve, made_up);
            let waited = served.map(|then: Instant| then.saturating_duration_since(came));
            assert!(waited.is_some_and(|waited| waited < LONGEST), "{case:?}: {waited:?}");
        }
    }
}

/// F-06
#[test]
fn floods_displace_their_own_entries() {
    let mut state = State::new(ANY, &[]);
    let mut now = guess(&mut state, source(1), "ann", 12, at(0));
    let ann = state.hasher.hash_one(&attempt(0, "ann").username);
    let_in(&mut state, source(1), "bob", now);
    // One account from everywhere, and failures of one address at everything.
    for n in 0..20_000_u32 {
        now = now.saturating_add(Duration::from_millis(1));
        let from = IpAddr::from([10, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        let_in(&mut state, from, "eve", now);
        state.fail(source(9), Some(n.into()), 0, now);
    }
    assert!(state.known.len() <= KNOWN_OF_ONE + 1);
    assert!(state.known.contains_key(&(state.hasher.hash_one(&attempt(0, "bob").username), source(1))));
    assert!(state.failed.len() <= FAILED);
    assert!(state.failed[&(source(1), Some(ann))].left(now) > 8);
    assert!(state.paces.len() < 1000, "{}", state.paces.len());
    // Accounts beyond number, each from one address: the oldest goes.
    for n in 0..KNOWN as u64 {
        state.remember(source(1), n);
    }
    assert!((KNOWN - AT_A_TIME..=KNOWN).contains(&state.known.len()), "{}", state.known.len());
}

/// No matter what one source does, another's log-in is looked at within the seventh turn (two classes that have nothing to do with it,
/// and its own), and an attempt is answered once or forgotten.
#[test]
fn no_order_of_attempts_keeps_others_waiting() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut state = State::new(ANY, &[]);
        let mut now = at(0);
        let (mut waiting, mut in_work): (HashMap<u32, Instant>, Vec<(u64, u32)>) = Default::default();
        let mut honest: Option<u32> = None;
        for step in 0..4000_u32 {
            match rng.below(8) {
                0..4 => {
                    // One /48, one address of it at a time, any name, again with the same connection or another.
                    let from = format!("2001:db8:0:{:x}::{:x}", rng.below(300), rng.below(9));
                    let slot = rng.below(600) as u32;
                    let busy = in_work.iter().any(|(_, other)| *other == slot);
                    if !waiting.contains_key(&slot) && !busy {
                        let register = rng.below(4) == 0;
                        let name = format!("n{}", rng.below(50));
                        let attempt = Attempt { register, ..attempt(slot, &name) };
                        assert!(state.add(from.parse().unwrap(), attempt, now).is_none());
                        waiting.insert(slot, now);
                    }
                }
                4 => {
                    let slot = rng.below(600) as u32;
                    if state.forget(PeerId { slot, generation: 0 }).is_some() {
                        waiting.remove(&slot);
                    }
                }
                5 if in_work.len() == 2 => {
                    let (line, slot) = in_work.remove(rng.below(2) as usize);
                    let verdict = [Verdict::Wrong, Verdict::LetIn, Verdict::Neither][rng.below(3) as usize];
                    state.done(line, if slot >= 1000 { Verdict::LetIn } else { verdict }, now);
                }
                6 if honest.is_none() => {
                    let name = format!("honest {step}");
                    assert!(state.add(source(1), attempt(1000 + step, &name), now).is_none());
                    honest = Some(0);
                }
                _ if in_work.len() < 2 => {
                    for attempt in state.expire(now) {
                        assert!(waiting.remove(&attempt.peer.slot).is_some());
                    }
                    if let Ok((line, attempt)) = state.take(now) {
                        let slot = attempt.peer.slot;
                        in_work.push((line, slot));
                        match slot {
                            1000.. => honest = None,
                            _ => {
                                assert!(waiting.remove(&slot).is_some());
                                honest = honest.map(|turns| turns + 1);
                            }
                        }
                        assert!(honest.is_none_or(|turns| turns <= 7), "{honest:?} at step {step} of {seed}");
                    }
                }
                _ => now = now.saturating_add(Duration::from_millis(rng.below(200))),
            }
            assert_eq!(state.ages.len(), state.peers.len());
            assert_eq!(state.ages.len(), waiting.len() + usize::from(honest.is_some()));
        }
    }
}
