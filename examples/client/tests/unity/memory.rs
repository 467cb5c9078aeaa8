//! What the client allocates, and that it does not grow.

use crate::game::Game;
use core::time::Duration;

/// D-19: once it is warm, no thread of the client allocates anything for voice, either way.
#[test]
fn d_19_the_steady_state_allocates_nothing() {
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], true);
    // A machine that stands still for seconds makes UDP look blocked, and the words for that are allocated: not three times in a row.
    let mut measured = String::new();
    for _ in 0..3 {
        ann.tell("measure 2 Lobby");
        measured = ann.lines.until("allocated").0;
        let heard: u32 = measured.rsplit(' ').next().unwrap().parse().unwrap();
        if measured.starts_with("allocated here 0 network 0 ") && heard > 0 {
            drop(ben);
            return ann.quit();
        }
    }
    panic!("{measured}");
}

/// D-19: for an hour, with `VOXWIRE_SOAK_SECONDS=3600`, or for some seconds: 50 packets a second both ways, and the program does not grow.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test harness leaves no other way in")]
fn d_19_the_client_does_not_grow() {
    let seconds: u64 = std::env::var("VOXWIRE_SOAK_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], true);
    ann.tell(&format!("measure {seconds} Lobby"));
    let measured = ann.lines.until_within("allocated", Duration::from_secs(seconds + 30)).0;
    println!("{measured}");
    let after = |word: &str, at: usize| -> u64 {
        measured.split(' ').skip_while(|other| *other != word).nth(at).unwrap().parse().unwrap()
    };
    // What may be allocated are words: of a machine that stands still for seconds, and of UDP that seems blocked then.
    assert!(after("here", 1) + after("network", 1) < 65_536, "{measured}");
    assert!(after("resident_kib", 2) < after("resident_kib", 1) + 4096, "{measured}");
    assert!(after("heard", 1) > 0, "{measured}");
    drop(ben);
    ann.quit();
}
