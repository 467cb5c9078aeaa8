//! A script for a client and a server of echo: what `exchange` says.
#![cfg_attr(fuzzing, no_main)]

use voxwire_echo::Packet;
use voxwire_fuzz::exchange;

voxwire_fuzz::target!(exchange::<Packet<'static>>);

/// C-10: the seeds do what their names say.
#[cfg(test)]
#[test]
fn c_10_each_seed_reaches_what_its_name_says() {
    use voxwire_echo::ServerStats;
    use voxwire_fuzz::Reached;
    let of = |name: &str| {
        let corpus = voxwire_fuzz::corpus(env!("CARGO_BIN_NAME"));
        let path = corpus.into_iter().find(|path| path.ends_with(name)).expect(name);
        exchange::<Packet<'static>>(&voxwire_fuzz::input(&path))
    };
    let is = |name: &str, expected: Reached, answered: u64| {
        let (reached, ServerStats { answered: counted, over_rate, violations, .. }) = of(name);
        assert_eq!((reached, counted, over_rate, violations), (expected, answered, 0, 0), "{name}");
    };
    let one = || Reached { peers: 1, ..Reached::default() };
    is("answered", Reached { answers: [0, 1], ..one() }, 1);
    is("reliable", Reached { answers: [1, 0], ..one() }, 1);
    is("many", Reached { answers: [0, 40], ..one() }, 40);
    is("late", Reached { lost: 1, ignored: 1, ..one() }, 1);
    is("lost", Reached { lost: 1, peers: 0, ..one() }, 0);
    let (_, stats) = of("over_rate");
    assert!(stats.answered == 200 && stats.over_rate == 20, "{stats:?}");
    // A forged answer to a request that waits is taken, and none to another, nor what the server says to a forged request, an unknown kind, or
    // half a packet.
    let (hostile, stats) = of("hostile");
    assert_eq!((hostile.answers, hostile.ignored, hostile.lost), ([0, 1], 6, 0), "{hostile:?}");
    assert_eq!((stats.answered, stats.violations), (1, 4), "{stats:?}");
    is("idle", Reached { closed: 1, ..one() }, 0);
    // One that asked stays, and those make room that did not.
    let (crowded, _) = of("crowded");
    assert!(crowded.peers == 4 && crowded.closed > 0 && crowded.answers == [0, 2], "{crowded:?}");
    let (full, _) = of("full");
    assert!(full.peers == 4 && full.closed >= 8, "{full:?}");
    // What was asked through a peer that is gone is lost, unless another takes it.
    is("gone", Reached { answers: [0, 1], lost: 1, ..one() }, 1);
}
