//! What the client allocates, and that it does not grow.

use crate::game::Game;
use crate::kit::temporary;
use crate::mono;
use crate::players::CSharp;
use core::time::Duration;
use std::process::Command;

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

/// D-19: nor does a direct path, for voice and for what is reliable, either way, at both ends.
#[test]
fn d_19_a_direct_path_allocates_nothing() {
    let Some(game) = Game::start() else { return };
    let mut players = direct(&game);
    // As above, and a path that is down is another one when it comes back.
    let mut measured = Vec::new();
    for path in 1..=3 {
        measured = players
            .each_mut()
            .map(|player| player.tell(&format!("measure 2 Lobby {path}")))
            .into_iter()
            .zip(&players)
            .map(|((), player)| player.lines.until("allocated").0)
            .collect();
        let nothing = |line: &String| line.starts_with("allocated here 0 network 0 ");
        if measured.iter().all(nothing) {
            for mut player in players {
                player.tell("counters");
                // Voice and what is reliable, two seconds of each.
                let counters = player.lines.until("counters").0;
                let directly: u32 = after(&counters, "direct", 1).min(after(&counters, "direct", 2)) as u32;
                assert!(counters.starts_with("counters udp 0 0 tcp ") && directly > 200, "{counters}");
                player.quit();
            }
            return;
        }
    }
    panic!("{measured:#?}");
}

/// D-19: the system's `recvfrom` is used where it shows who has sent a datagram, and never with IL2CPP, whose handles are no descriptors.
#[test]
fn d_19_the_sender_of_a_datagram_is_asked_for_where_that_is_safe() {
    let Some(tests) = mono::tests() else { return };
    let il2cpp = temporary("d19-il2cpp.exe");
    mono::compile_tests(&il2cpp, "-d:ENABLE_IL2CPP");
    for (program, way) in [(tests, "System"), (&il2cpp, "Runtime")] {
        let output = Command::new("mono").arg(program).args(["direct", way]).output().unwrap();
        assert!(output.status.success(), "{way}: {output:?}");
    }
}

/// Ann and Ben in C#, whose voice goes directly.
fn direct(game: &Game) -> [CSharp; 2] {
    let mut players = ["ann", "ben"].map(|name| game.c_sharp(name, &["direct"]));
    for player in &mut players {
        player.tell("join Lobby");
    }
    for player in &mut players {
        player.lines.until("goes directly");
        player.until_listeners("Lobby", 1);
    }
    players
}

/// The number that comes so many words behind this one.
fn after(line: &str, word: &str, at: usize) -> u64 {
    line.split(' ').skip_while(|other| *other != word).nth(at).unwrap().parse().unwrap()
}

/// D-19: for an hour, with `VOXWIRE_SOAK_SECONDS=3600`, or for some seconds: 50 packets a second both ways, and the program does not grow.
#[test]
fn d_19_the_client_does_not_grow() {
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], true);
    ann.tell(&format!("measure {} Lobby", soak()));
    check_growth(&ann);
    drop(ben);
    ann.quit();
}

/// D-19: likewise on a direct path.
#[test]
fn d_19_the_client_does_not_grow_on_a_direct_path() {
    let Some(game) = Game::start() else { return };
    let mut players = direct(&game);
    for player in &mut players {
        player.tell(&format!("measure {} Lobby 1", soak()));
    }
    for player in players {
        check_growth(&player);
        player.quit();
    }
}

/// How long the client is measured, in seconds.
#[expect(clippy::disallowed_methods, reason = "the test harness leaves no other way in")]
fn soak() -> u64 {
    std::env::var("VOXWIRE_SOAK_SECONDS").map_or(5, |seconds| seconds.parse().unwrap())
}

#[track_caller]
fn check_growth(player: &CSharp) {
    let measured = player.lines.until_within("allocated", Duration::from_secs(soak() + 30)).0;
    println!("{measured}");
    let after = |word, at| after(&measured, word, at);
    // What may be allocated are words: of a machine that stands still for seconds, and of UDP that seems blocked then.
    assert!(after("here", 1) + after("network", 1) < 65_536, "{measured}");
    let resident = [1, 2, 3].map(|at| after("resident_kib", at));
    assert!(resident[1] < resident[0] + 4096 && resident[2] < resident[1] + 4096, "{measured}");
    // Two seconds at most until it is noticed that UDP, or a path, is gone.
    let (said, heard) = (after("said", 1), after("heard", 1));
    assert!(heard <= said && said - heard <= 100 + said / 100 && heard > 0, "{measured}");
}
