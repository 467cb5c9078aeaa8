//! What a network, a server and a machine do to a game, and what is said of it.

use crate::game::{Game, frames, hex, meet, pause, say_all};
use crate::players::{CSharp, Tell};
use crate::proxy::Proxy;
use core::time::Duration;

/// D-19: a name leads to the server, and what is wrong with another one is told.
#[test]
fn d_19_a_name_leads_to_the_server_and_an_unknown_one_is_told() {
    let Some(game) = Game::start() else { return };
    for (host, expected) in [
        ("localhost", "Connected: connected to localhost:"),
        ("voice.invalid", "Failed: the name voice.invalid cannot be found: "),
        ("127.0.0.77", "Failed: cannot connect to 127.0.0.77:"),
    ] {
        let ann = game.c_sharp("ann", &[&format!("host={host}"), "no-reconnect"]);
        let line = ann.lines.until("news").0;
        assert!(line.contains(expected), "{line}");
        ann.quit();
    }
}

/// D-19: a wrong token is told in words, and not tried again.
#[test]
fn d_19_a_wrong_token_is_told_and_a_right_one_is_admitted() {
    let Some(game) = Game::with_token("sesame") else { return };
    for settings in [&["token=wrong"][..], &[]] {
        let ann = game.c_sharp("ann", settings);
        let (line, before) = ann.lines.until("news");
        assert!(
            line.contains("Refused: the server does not admit this client") && before.is_empty(),
            "{line}"
        );
        assert!(ann.lines.within(Duration::from_millis(700)).is_empty());
        ann.quit();
    }
    let ann = game.c_sharp("ann", &["token=sesame"]);
    ann.lines.until("joined");
    ann.quit();
}

/// D-19, D-14: the server goes and comes back: the client says so, connects and joins again.
#[test]
fn d_19_a_client_survives_a_restart_of_its_server() {
    let Some(mut game) = Game::start() else { return };
    let mut ann = game.c_sharp("ann", &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    game.stop();
    ann.lines.until("news Disconnected: the server has closed the connection; trying again in ");
    ann.lines.until("news Disconnected: cannot connect to");
    game.start_again();
    ann.lines.until("news Connected");
    ann.until_udp();
    let ben = game.rust("ben", false);
    meet(&mut ann, &ben);
    ann.tell("say Lobby 0102");
    assert!(ben.lines.until("voice ann").0.ends_with(" 0102"));
    ann.quit();
}

/// D-19, D-09: what the network loses is missing, and nothing else: the rest comes once, in order.
#[test]
fn d_19_what_the_network_loses_is_missing_and_nothing_else() {
    let Some(game) = Game::start() else { return };
    let proxy = Proxy::start(game.address);
    let ben = game.rust("ben", false);
    ben.lines.until("udp Some(true)");
    let mut ann = game.c_sharp_at("ann", proxy.address, &[]);
    ann.tell("join Lobby");
    ann.until_udp();
    meet(&mut ann, &ben);
    proxy.lose_every(7);
    let spoken = frames(105);
    let kept: Vec<_> = spoken.chunks(7).flat_map(|chunk| &chunk[..6]).map(|frame| hex(frame)).collect();
    say_all(&mut ann, &spoken);
    for (n, frame) in kept.iter().enumerate() {
        let line = ben.lines.until("voice ann").0;
        let lost = if n > 0 && n % 6 == 0 { "1" } else { "0" };
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[3], words[4]), (lost, frame.as_str()), "{n}");
    }
    for frame in spoken {
        ben.tell(Tell::Say(frame));
        pause();
    }
    let heard = ann.lines.take("voice ben", kept.len());
    assert_eq!(heard, kept.iter().map(|frame| format!("voice ben {frame}")).collect::<Vec<_>>());
    assert!(ann.lines.within(Duration::from_millis(200)).is_empty());
    ann.quit();
}

/// D-19, D-15: where UDP is blocked the client says so once, voice goes by TCP, and returns to UDP when that gets through again.
#[test]
fn d_19_where_udp_is_blocked_voice_goes_by_tcp_and_comes_back() {
    let Some(game) = Game::start() else { return };
    let proxy = Proxy::start(game.address);
    let ben = game.rust("ben", true);
    proxy.block(true);
    let mut ann = game.c_sharp_at("ann", proxy.address, &[]);
    ann.tell("join Lobby");
    meet(&mut ann, &ben);
    let blocked = "UdpBlocked: UDP is blocked: 127.0.0.1 does not answer by UDP. Voice goes by TCP";
    for round in 0..2 {
        ann.lines.until(blocked);
        // Echoed: both directions go by TCP.
        let frames = frames(20);
        say_all(&mut ann, &frames);
        let heard = ann.lines.take("voice ben", frames.len());
        assert_eq!(heard, frames.iter().map(|frame| format!("voice ben {}", hex(frame))).collect::<Vec<_>>());
        if round == 0 {
            proxy.block(false);
            ann.until_udp();
            ann.tell("say Lobby 77");
            ann.lines.until("voice ben 77");
            ann.tell("counters");
            let counters = ann.lines.until("counters udp 1 1 tcp ").0;
            assert!(counters.ends_with("dropped 0 0"), "{counters}");
            proxy.block(true);
        }
    }
    drop(ben);
    ann.quit();
}

/// D-19: a game that stands still for seconds loses voice, and nothing else: what is reliable waits.
#[test]
fn d_19_a_game_that_stands_still_loses_voice_alone() {
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], false);
    ann.tell("halt");
    let tcp = |ann: &mut CSharp| -> u32 {
        ann.tell("counters");
        let counters = ann.lines.until("counters").0;
        counters.split(' ').nth(6).unwrap().parse().unwrap()
    };
    let before = tcp(&mut ann);
    // More than have room. The server lets some 120 a second through, and 120 at once.
    for n in 0..500_u16 {
        ben.tell(Tell::Say(n.to_be_bytes().to_vec()));
        pause();
    }
    ben.tell(Tell::Text("still there?"));
    while tcp(&mut ann) == before {
        pause();
    }
    ann.tell("go");
    let (_, heard) = ann.lines.until("text ben still there?");
    let heard = heard.iter().filter(|line| line.starts_with("voice ben ")).count();
    // Of 256 places voice leaves 32 free; what is reliable may have taken some before.
    assert!((200..500).contains(&heard), "{heard}");
    ann.tell("counters");
    let counters = ann.lines.until("counters").0;
    assert!(!counters.ends_with(" 0"), "{counters}");
    ben.tell(Tell::Say(b"\x99\x98".to_vec()));
    ann.lines.until("voice ben 9998");
    ann.quit();
}

/// D-19, F-66: a program that was stopped for some time has not asked meanwhile: it does not take UDP for blocked.
#[test]
fn d_19_a_program_that_was_stopped_does_not_take_udp_for_blocked() {
    let Some(game) = Game::start() else { return };
    let (mut ann, ben) = game.lobby(&[], true);
    ann.signal("-STOP");
    std::thread::park_timeout(Duration::from_secs(4));
    ann.signal("-CONT");
    let news = ann.lines.within(Duration::from_secs(2));
    assert!(news.is_empty(), "{news:?}");
    ann.tell("say Lobby 0102");
    ann.lines.until("voice ben 0102");
    ann.tell("counters");
    assert!(ann.lines.until("counters").0.starts_with("counters udp 1 1 tcp "));
    drop(ben);
    ann.quit();
}
