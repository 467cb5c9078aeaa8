//! The full screen, on a terminal of the system's.
#![cfg(all(target_os = "linux", feature = "screen"))]
#![allow(clippy::disallowed_methods)]

mod kit;
#[path = "kit/terminal.rs"]
mod terminal;

use kit::{Server, temporary};
use std::time::Duration;
use terminal::OnTerminal;
use voxwire_server::Protocol;

#[test]
fn a_call_has_a_screen_that_follows_the_terminals_size_and_ends_at_ctrl_c() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server.command("wait --name bob --keep"), 80, 24, &[]);
    bob.shows("voicelink: bob waits for calls");
    bob.shows("waiting for a call");
    assert!(bob.is_full_screen());
    bob.press("/he\t\r");
    bob.shows("PageUp and PageDown scroll");
    for (width, height) in [(40, 12), (160, 40)] {
        bob.resize(width, height);
        let last = "> /help";
        bob.until("all of it in another size", |bob| {
            let contents = bob.contents();
            ["bob waits for calls", "registered as bob", last, "Ctrl-C ends"]
                .iter()
                .all(|text| contents.contains(text))
                && contents.lines().all(|line| line.chars().count() <= usize::from(width))
        });
    }
    let code = server.client("call bob --name ann --play tone --for 2").0;
    assert_eq!(code, Some(0));
    bob.shows("call over (ann hung up)");
    bob.press("\x03");
    let left = bob.ends(0);
    assert!(left.contains("call with ann is up") && left.contains("call over (ann hung up)"), "{left}");
}

#[test]
fn who_speaks_is_shown_with_figures() {
    let server = Server::start(Protocol::OPCODE);
    let mut bob = OnTerminal::start(&server.command("wait --name bob"), 80, 24, &[]);
    bob.shows("waiting");
    let ann = server.command("call bob --name ann --play tone --for 4").spawn().unwrap();
    let mut ann = kit::Client::running(ann);
    bob.shows("● ann");
    for head in ["level", "jitter", "buffer", "here: 1"] {
        bob.shows(head);
    }
    bob.until("a level", |bob| bob.contents().contains(['▄', '▅', '▆', '▇', '█']));
    bob.until("a jitter", |bob| {
        bob.contents().lines().any(|line| line.contains("● ann") && line.contains("ms"))
    });
    assert!(ann.child.wait().unwrap().success());
    bob.ends(0);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server.command("wait --name bob"), 80, 24, &[]);
    bob.shows("waiting for a call");
    bob.signal("-TERM");
    assert!(bob.ends(0).contains("waiting for a call"));
}

#[test]
fn an_error_gives_the_terminal_back_and_is_read() {
    let server = Server::start(Protocol::VOICELINK);
    let mut ann = OnTerminal::start(&server.command("call nobody --name ann"), 80, 24, &[]);
    let left = ann.ends(1);
    assert!(
        left.contains("calling nobody") && left.contains("the server knows nobody of that name"),
        "{left}"
    );
}

#[test]
fn commands_are_typed_completed_and_remembered() {
    let server = Server::start(Protocol::MSGPACK);
    for user in ["ann", "bob"] {
        assert_eq!(server.client(&format!("register --user {user}")).0, Some(0));
    }
    let history = temporary("screen-history");
    let _ = std::fs::remove_file(&history);
    let chat = format!("chat --user ann --history {}", history.display());
    let mut ann = OnTerminal::start(&server.command(&chat), 60, 20, &[]);
    ann.shows("msgpack: ann chats");
    ann.press("/add bob\r");
    ann.shows("bob is on the list");
    ann.press("/msg b\tgood morning\r");
    ann.shows("> /msg bob good morning");
    assert_eq!(server.client("whisper ann and_to_you --user bob").0, Some(0));
    ann.shows("bob: and_to_you");
    ann.press("/fly\r");
    ann.shows("no such command");
    ann.press("/quit\r");
    ann.ends(0);
    // What was typed is there the next time.
    let mut ann = OnTerminal::start(&server.command(&chat), 60, 20, &[]);
    ann.shows("msgpack: ann chats");
    ann.press("\x1b[A\x1b[A\x1b[A");
    ann.shows("> /msg bob good morning");
    ann.press("\x15\x04");
    ann.ends(0);
}

/// F-72: Ctrl-T mutes, and the screen says so; the space bar talks, where the terminal does not tell of releases from press to press.
#[test]
fn f_72_keys_mute_and_talk() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server.command("wait --name bob --push-to-talk"), 80, 24, &[]);
    bob.shows("SPACE TO TALK");
    bob.press(" ");
    bob.shows("TALKING");
    bob.press(" ");
    bob.shows("SPACE TO TALK");
    bob.press("\x14");
    bob.shows("MUTED");
    bob.press("/unmute\r");
    bob.shows("SPACE TO TALK");
    // In a line that has text a space is a space.
    bob.press("/talk  x\r");
    bob.shows("> /talk  x");
    bob.press("\x03");
    bob.ends(0);
}

/// F-72: where the terminal tells when a key is released, sound is sent while the space bar is held.
#[test]
fn f_72_the_space_bar_is_held_where_the_terminal_tells_of_releases() {
    let server = Server::start(Protocol::VOICELINK);
    let mut bob = OnTerminal::start(&server.command("wait --name bob --push-to-talk"), 80, 24, &[]);
    let said =
        |bob: &OnTerminal, bytes: &[u8]| bob.written().windows(bytes.len()).any(|window| window == bytes);
    // It asks whether the terminal can, and for it.
    bob.until("the question", |bob| said(bob, b"\x1b[?u"));
    bob.press("\x1b[?0u\x1b[?62c");
    bob.until("the request", |bob| said(bob, b"\x1b[>3u"));
    bob.shows("SPACE TO TALK");
    bob.press(" ");
    bob.shows("TALKING");
    bob.press("\x1b[32;1:2u");
    bob.press("\x1b[32;1:3u");
    bob.shows("SPACE TO TALK");
    bob.press("\x1b[32;1:1u");
    bob.shows("TALKING");
    bob.press("\x1b[32;1:3u");
    bob.shows("SPACE TO TALK");
    bob.press("\x1b[99;5u");
    bob.ends(0);
    assert!(said(&bob, b"\x1b[<1u"), "the terminal is as before");
}

#[test]
fn without_a_screen_there_are_lines_as_ever() {
    let server = Server::start(Protocol::VOICELINK);
    for flags in ["--no-screen", "--json", "--quiet"] {
        let mut bob = OnTerminal::start(&server.command(&format!("wait --name bob {flags}")), 80, 24, &[]);
        let (waits, quiet) = ("waiting", flags == "--quiet");
        if quiet {
            std::thread::sleep(Duration::from_secs(1));
        } else {
            bob.shows(waits);
        }
        assert!(!bob.is_full_screen(), "{flags}");
        bob.press("\x03");
        bob.ends(0);
        assert!(!bob.written().windows(8).any(|bytes| bytes == b"\x1b[?1049h"), "{flags}");
    }
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let server = Server::start(Protocol::VOICELINK);
    let coloured = |variables: &[(&str, &str)]| {
        let mut bob = OnTerminal::start(&server.command("wait --name bob"), 80, 24, variables);
        bob.shows("waiting for a call");
        bob.press("nonsense\r");
        bob.shows("nonsense: there is nothing");
        let screen = bob.screen();
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let coloured = cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default);
        bob.press("\x03");
        bob.ends(0);
        coloured
    };
    assert!(coloured(&[]) && !coloured(&[("NO_COLOR", "1")]));
}

/// C-23: the round trip is shown where a protocol has pings, here those of Dissonance by UDP.
#[test]
fn c_23_dissonance_shows_the_round_trip_of_its_pings() {
    let server = Server::start(Protocol::DISSONANCE);
    let mut bob = OnTerminal::start(&server.command("join Lobby --name bob"), 80, 24, &[]);
    bob.until("a round trip", |bob| {
        bob.contents().lines().any(|line| line.contains("RTT ") && line.contains("voice by UDP"))
    });
    bob.press("\x03");
    bob.ends(0);
}

/// C-23: a device has its jitter and what is in store; with `--measure` the round trip is that of the sound.
#[test]
fn c_23_a_device_is_shown_with_jitter_buffer_and_the_round_trip_that_is_measured() {
    let server = Server::start(Protocol::SYFALA);
    let stream = server.command("stream --play tone");
    let mut driver = OnTerminal::start(&stream, 80, 24, &[]);
    driver.until("jitter and buffer", |driver| {
        let contents = driver.contents();
        contents.lines().any(|line| line.contains("the device") && line.matches("ms").count() == 2)
    });
    driver.press("\x03");
    driver.ends(0);

    let serve = server.command("serve --echo --port 0 --for 60");
    let device = kit::Client::start(serve);
    let ready = device.until("device at ");
    let address = ready.split_whitespace().nth(2).unwrap().trim_end_matches(':').parse().unwrap();
    let measure = server.command_to(address, "stream --measure");
    let mut driver = OnTerminal::start(&measure, 80, 24, &[]);
    driver.shows("RTT ");
    driver.press("\x03");
    driver.ends(0);
}

/// C-23: round trips of echoes have a screen with loss and jitter; a call of a protocol without pings has a mark in their place.
#[test]
fn c_23_echoes_have_a_screen_and_no_round_trip_is_made_up() {
    #[cfg(feature = "echo")]
    {
        let server = Server::start(Protocol::named("echo").unwrap());
        let mut ann = OnTerminal::start(&server.command("--count 3000"), 80, 24, &[]);
        ann.shows("echo: round trips to");
        ann.until("figures", |ann| {
            let contents = ann.contents();
            contents
                .lines()
                .any(|line| line.starts_with("RTT ") && line.contains("ms") && line.contains("echoes by UDP"))
                && contents.lines().any(|line| line.contains("the server") && line.contains("0.0%"))
        });
        ann.press("\x03");
        assert!(ann.ends(0).contains("0 lost; round trip"));
    }
    let server = Server::start(Protocol::VOICELINK);
    let _bob = server.spawn("wait --name bob", "waiting");
    let mut ann = OnTerminal::start(&server.command("call bob --name ann --play tone"), 80, 24, &[]);
    ann.until("no round trip", |ann| ann.contents().lines().any(|line| line.starts_with("RTT –  ")));
    ann.press("\x03");
    ann.ends(0);
}

/// F-75: without the screen a bar shows how much of a file has been played.
#[test]
fn f_75_a_bar_shows_how_much_of_a_file_has_been_played() {
    let server = Server::start(Protocol::VOICELINK);
    let file = temporary("screen-speech.flac");
    std::fs::write(&file, voxwire_audio::SPEECH).unwrap();
    let _bob = server.spawn("wait --name bob", "waiting");
    let call = format!("call bob --name ann --no-screen --play {}", file.display());
    let mut ann = OnTerminal::start(&server.command(&call), 80, 24, &[]);
    for filled in ["file [#---", "file [#####---", "file [#########-"] {
        ann.shows(filled);
    }
    ann.ends(0);
}
