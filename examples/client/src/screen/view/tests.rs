use super::super::model::tests::empty;
use super::*;
use crate::report::{Figures, VoiceFigures};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use tui_input::InputRequest;

fn screen(model: &Model, width: u16, height: u16, colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            draw(frame, model, Theme { colours });
        })
        .unwrap();
    terminal
}

/// The lines of the screen, without blanks at their ends.
fn shown(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = screen(model, width, height, true);
    let cells = terminal.backend().buffer().content();
    let row = |cells: &[ratatui::buffer::Cell]| {
        cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
    };
    cells.chunks(width.into()).map(row).collect()
}

/// A call with somebody who is heard badly, and somebody who is only there.
fn call() -> Model {
    let mut model = empty();
    model.event("established", &json!({ "with": "ann" }), "call with ann is up: 48000 Hz");
    for n in 1..=5 {
        model.progress(Duration::from_secs(63), 0.5, 0.05);
        let ann = VoiceFigures {
            name: "ann".into(),
            level: 0.5,
            packets: 88 * n,
            lost: Some(12 * n),
            jitter: Some(Duration::from_millis(7)),
            buffer: Some(Duration::from_millis(60)),
            recovered: Some(9),
            concealed: Some(3),
        };
        model.figures(Figures {
            round_trip: Some(Duration::from_micros(12_300)),
            sent: Some(1234),
            path: Some("voice goes by UDP"),
            people: Some(vec![("ann".into(), "Lobby".into()), ("bob".into(), "Team".into())]),
            voices: vec![ann],
        });
    }
    model
}

#[test]
fn everything_is_there_in_40_columns() {
    let lines = shown(&call(), 40, 16);
    let expected = [
        " voicelink call bob               01:03",
        "out          ▇▇▇▇▇  in          ▄▄▄▄▄",
        "RTT 12.3 ms  1234 sent  voice goes by U…",
        "── here: 2 ─────────────────────────────",
        "● ann                              ▇▇▇▇▇",
        "  loss 12.0% jit 7ms buf 60ms rec 9",
        "  con 3",
        "  bob Team",
        "── messages ────────────────────────────",
        "call with ann is up: 48000 Hz",
    ];
    assert_eq!(lines[..expected.len()], expected, "{lines:#?}");
    assert_eq!(lines[14..], [">", "TAB  ↑ ↓  PgUp PgDn  Ctrl-C ends"]);
}

#[test]
fn a_table_is_there_in_80_columns() {
    let lines = shown(&call(), 80, 16);
    assert_eq!(lines[2], "RTT 12.3 ms  1234 sent  voice goes by UDP");
    assert!(lines[4].contains("level") && lines[4].ends_with("conc."), "{lines:#?}");
    let ann = &lines[5];
    for figure in ["● ann", "▇▇▇▇▇", "12.0%", "7ms", "60ms", " 9", " 3"] {
        assert!(ann.contains(figure), "{figure:?}: {lines:#?}");
    }
    assert!(lines[6].starts_with("  bob") && lines[6].ends_with("Team"), "{lines:#?}");
    // Heads stand over their figures.
    let at = |line: &str, what: &str| {
        line.chars()
            .collect::<String>()
            .find(what)
            .map(|at| line[..at].chars().count() + what.chars().count())
    };
    assert_eq!(at(&lines[4], "loss"), at(ann, "12.0%"));
    assert_eq!(at(&lines[4], "buffer"), at(ann, "60ms"));
}

#[test]
fn people_and_messages_stand_side_by_side_in_160_columns() {
    let lines = shown(&call(), 160, 16);
    assert!(lines[3].contains("here: 2") && lines[3].contains("messages"), "{lines:#?}");
    let ann = lines.iter().find(|line| line.contains("● ann")).unwrap();
    // The past of loss and jitter, and the room.
    for figure in ["█", "12.0%", "7ms", "▃▃▃▃▃", "60ms", "Lobby"] {
        assert!(ann.contains(figure), "{figure:?}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.ends_with("call with ann is up: 48000 Hz")));
}

/// Any size is drawn, and no line is wider than the screen.
#[test]
fn no_size_is_too_small_or_too_large() {
    let mut model = call();
    for n in 0..200 {
        model.people.enters(&format!("somebody with a long name {n}"));
        model.line(Kind::Message, &format!("{n}: {}", "สวัสดี 👨‍👩‍👧 word ".repeat(n)));
    }
    model.command_line.paste(&"long ".repeat(100));
    for (width, height) in
        [(1, 1), (2, 3), (10, 4), (39, 7), (40, 24), (63, 9), (64, 10), (84, 30), (119, 40), (200, 60)]
    {
        let lines = shown(&model, width, height);
        assert_eq!(lines.len(), usize::from(height));
    }
    let lines = shown(&model, 80, 24);
    assert!(lines.iter().any(|line| line.starts_with("and ") && line.ends_with(" more")), "{lines:#?}");
}

/// A resize loses nothing: what was there comes back.
#[test]
fn a_screen_that_becomes_smaller_and_larger_again_shows_the_same() {
    let model = call();
    let before = shown(&model, 160, 40);
    let mut terminal = screen(&model, 160, 40, true);
    for (width, height) in [(40, 10), (160, 40)] {
        terminal.backend_mut().resize(width, height);
        terminal
            .draw(|frame| {
                draw(frame, &model, Theme { colours: true });
            })
            .unwrap();
    }
    let cells = terminal.backend().buffer().content();
    let after: Vec<String> = cells
        .chunks(160)
        .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned())
        .collect();
    assert_eq!(before, after);
}

#[test]
fn without_colours_there_are_none() {
    let mut model = call();
    model.line(Kind::Problem, "lost");
    model.line(Kind::Message, "eve: hi");
    let coloured = |colours| {
        let terminal = screen(&model, 80, 24, colours);
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(true) && !coloured(false));
}

#[test]
fn long_lines_are_broken_at_blanks() {
    assert_eq!(wrapped("one two three", 8), ["one two ", "three"]);
    assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
    assert_eq!(wrapped("", 4), [""]);
    assert_eq!(wrapped("สวัสดี", 2).concat(), "สวัสดี");
}

/// F-03: text of peers steers no terminal, wherever it is shown.
#[test]
fn nothing_on_the_screen_steers_a_terminal() {
    let mut model = empty();
    let evil = "\x1b]0;x\x07\x1b[2J\u{9b}1m\u{202e}";
    model.figures(Figures {
        people: Some(vec![(evil.into(), evil.into())]),
        voices: vec![VoiceFigures { name: evil.into(), ..VoiceFigures::default() }],
        ..Figures::default()
    });
    model.event("entered", &json!({ "name": evil }), "somebody");
    model.log(evil);
    model.command_line.paste(evil);
    let all = shown(&model, 160, 20).concat();
    assert!(!all.contains(|c: char| c.is_control() || c == '\u{202e}'), "{all:?}");
}

#[test]
fn candidates_and_the_cursor_are_shown() {
    let mut model = empty();
    model.command_line.paste("/");
    model.command_line.complete();
    let lines = shown(&model, 60, 12);
    assert_eq!(lines[10..], ["> /", "/help  /quit  /mute  /unmute  /talk  /volume"]);
    model.command_line.paste("ab");
    model.command_line.edit(InputRequest::GoToPrevChar);
    let mut terminal = screen(&model, 60, 12, true);
    assert_eq!(terminal.get_cursor_position().unwrap(), Position::new(4, 10));
}
