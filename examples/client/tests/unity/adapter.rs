//! The adapter for Dissonance, on a stub of its API.

use crate::game::Game;
use crate::players::Tell;

/// D-19: the adapter, on a stub of Dissonance's public API, from its start to its end: joining, voice both ways, a server that goes and
/// comes back, a stop and another start.
#[test]
fn d_19_the_adapter_follows_the_life_cycle_of_dissonance() {
    let Some(mut game) = Game::start() else { return };
    let mut ann = game.adapter("ann", "", &[]);
    ann.lines.until("voice goes by UDP");
    for round in 0..2 {
        let ben = game.rust("ben", false);
        ann.until_state("Client joined 1 others, 0 direct");
        ben.lines.until("listeners 2");
        ann.tell("say 0102030405");
        assert!(ben.lines.until("voice ann").0.ends_with(" 0 0102030405"));
        ben.tell(Tell::Say(vec![9, 8, 7]));
        assert_eq!(ann.lines.until("voice").0, "voice ben 090807");
        if round == 0 {
            ann.tell("disconnect");
            ben.lines.until("Left");
            ann.until_state("None no client");
            ann.tell("connect");
            ben.lines.until("listeners 2");
            ann.until_state("Client joined 1 others, 0 direct");
            drop(ben);
            game.stop();
            ann.lines.until("fatal the server has closed the connection");
            ann.lines.until("warning Voxwire: cannot connect to");
            game.start_again();
            ann.lines.until("voice goes by UDP");
        }
    }
    ann.quit();
}

/// D-19: the adapter gives up where the server does not admit it, and connects once it has the right token.
#[test]
fn d_19_the_adapter_gives_up_where_it_is_not_admitted() {
    let Some(game) = Game::with_token("sesame") else { return };
    let mut ann = game.adapter("ann", "wrong", &[]);
    ann.lines.until("error Voxwire: the server does not admit this client");
    ann.until_state("None no client");
    ann.tell("token sesame");
    ann.tell("connect");
    ann.until_state("Client joined 0 others, 0 direct");
    ann.quit();
}

/// D-19, D-08: adapters reach each other directly; without the path, voice goes by the server.
#[test]
fn d_19_adapters_speak_directly() {
    let Some(game) = Game::start() else { return };
    let mut ann = game.adapter("ann", "", &["direct"]);
    let mut ben = game.adapter("ben", "", &["direct"]);
    let eve = game.rust("eve", false);
    for adapter in [&mut ann, &mut ben] {
        adapter.until_state("Client joined 2 others, 1 direct");
    }
    eve.lines.until("listeners 3");
    ann.tell("say 0102");
    assert_eq!(ben.lines.until("voice").0, "voice ann 0102");
    assert!(eve.lines.until("voice ann").0.ends_with(" 0102"));
    ben.quit();
    ann.lines.until("is not reached directly any more");
    ann.until_state("Client joined 1 others, 0 direct");
    ann.tell("say 0304");
    assert!(eve.lines.until("voice ann").0.ends_with(" 0304"));
    ann.quit();
}
