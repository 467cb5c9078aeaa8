//! The terminal: taken, drawn to, read from, and given back however the program ends.

use super::model::Kind;
use super::view::{Theme, draw};
use super::{Screen, State};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;
use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange, Event, KeyCode,
    KeyEvent, KeyEventKind, KeyModifiers, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags,
    PushKeyboardEnhancementFlags, poll, read,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    supports_keyboard_enhancement,
};
use std::io;
use std::sync::{Arc, Mutex, TryLockError};
use tui_input::InputRequest;

/// How often the screen is drawn, if something has changed.
const TICK: Duration = Duration::from_millis(50);
/// How long the end waits for a terminal that takes nothing (Ctrl-S).
const STUCK: Duration = Duration::from_millis(500);

/// Whether the terminal is ours.
#[derive(Debug, Default)]
pub(super) struct Hold {
    held: AtomicBool,
    /// It has been asked to tell when keys are released.
    releases: AtomicBool,
    /// Locked while something is written.
    writing: Mutex<()>,
}

impl Hold {
    pub(super) fn is_held(&self) -> bool {
        self.held.load(SeqCst)
    }

    fn take(&self) -> io::Result<()> {
        enable_raw_mode()?;
        if let Err(error) = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste) {
            let _ = disable_raw_mode();
            return Err(error);
        }
        self.held.store(true, SeqCst);
        if self.releases.load(SeqCst) {
            self.ask_for_releases();
        }
        Ok(())
    }

    /// Has the terminal tell when keys are released; false where it does not know how to. That may take two seconds.
    fn tell_releases(&self) -> bool {
        let able = supports_keyboard_enhancement().unwrap_or(false);
        self.releases.store(able, SeqCst);
        if able {
            self.ask_for_releases();
        }
        able
    }

    fn ask_for_releases(&self) {
        let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
            | KeyboardEnhancementFlags::REPORT_EVENT_TYPES;
        // Without it the key still works, by presses. The release of a key that is held goes to the window with the focus.
        let _ = execute!(io::stdout(), PushKeyboardEnhancementFlags(flags), EnableFocusChange);
    }

    /// Gives it back, once.
    pub(super) fn give_back(&self) {
        if !self.held.swap(false, SeqCst) {
            return;
        }
        // Nothing is drawn behind that; a terminal that takes nothing is not waited for for long.
        let (tries, pause) = (10, STUCK / 10);
        let _writing = (0..tries).find_map(|_| match self.writing.try_lock() {
            Ok(lock) => Some(lock),
            Err(TryLockError::Poisoned(lock)) => Some(lock.into_inner()),
            Err(TryLockError::WouldBlock) => {
                std::thread::park_timeout(pause);
                None
            }
        });
        if self.releases.load(SeqCst) {
            let _ = execute!(io::stdout(), PopKeyboardEnhancementFlags, DisableFocusChange);
        }
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
    }
}

/// Takes the terminal, and starts drawing and reading.
pub(super) fn start(screen: &Arc<Screen>) -> io::Result<()> {
    screen.terminal.take()?;
    if screen.state().model.talk.is_push_to_talk() {
        screen.state().releases = screen.terminal.tell_releases();
    }
    let at_panic = screen.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // What is said of a panic is to be read.
        at_panic.terminal.give_back();
        before(panic);
    }));
    let run = screen.clone();
    let started = std::thread::Builder::new().name("screen".into()).spawn(move || {
        if let Err(error) = show(&run) {
            run.terminal.give_back();
            tracing::error!(%error, "the screen is gone");
            // There is no other way for a person to end the program in order.
            let _ = raise(Signal::SIGHUP);
        }
    });
    started.map(drop).inspect_err(|_| screen.terminal.give_back())
}

/// Draws and reads until the terminal is given back.
fn show(screen: &Screen) -> io::Result<()> {
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut seen = 0;
    while screen.is_held() {
        {
            let _writing = screen.terminal.writing.lock();
            if screen.is_held() && core::mem::take(&mut screen.state().changed) {
                terminal.draw(|frame| seen = draw(frame, &screen.state().model, Theme { colours }))?;
            }
        }
        let mut wait = TICK;
        while poll(wait)? && screen.is_held() {
            let event = read()?;
            let mut next = Next::Nothing;
            screen.change(|state| next = on_event(state, event, seen));
            match next {
                Next::Nothing => {}
                Next::Interrupt => drop(raise(Signal::SIGINT)),
                Next::Stop => {
                    screen.terminal.give_back();
                    let _ = raise(Signal::SIGTSTP);
                    screen.terminal.take()?;
                    terminal.clear()?;
                    screen.change(|_| ());
                }
            }
            wait = Duration::ZERO;
        }
    }
    Ok(())
}

impl Screen {
    fn is_held(&self) -> bool {
        self.terminal.is_held()
    }
}

/// What is to be done about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    Interrupt,
    Stop,
}

fn on_event(state: &mut State, event: Event, seen: usize) -> Next {
    match event {
        Event::Key(key) if key.kind == KeyEventKind::Release => {
            if key.code == KeyCode::Char(' ') {
                state.model.talk.press(false);
            }
            Next::Nothing
        }
        Event::FocusLost if state.releases => {
            state.model.talk.press(false);
            Next::Nothing
        }
        Event::Key(key) => on_key(state, key, seen),
        Event::Paste(text) => {
            state.model.command_line.paste(&text);
            Next::Nothing
        }
        // Any event draws the screen again: the terminal may have another size.
        _ => Next::Nothing,
    }
}

fn on_key(state: &mut State, key: KeyEvent, seen: usize) -> Next {
    let releases = state.releases;
    let model = &mut state.model;
    let line = &mut model.command_line;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    match key.code {
        KeyCode::Char('c') if control => return Next::Interrupt,
        KeyCode::Char('z') if control => {
            model.talk.press(false);
            return Next::Stop;
        }
        KeyCode::Char('d') if control && line.is_empty() => return end_of_lines(state),
        KeyCode::Char('t') if control => model.talk.toggle_mute(),
        KeyCode::Char(' ') if line.is_empty() && model.talk.is_push_to_talk() => match (releases, key.kind) {
            (true, _) => model.talk.press(true),
            (false, KeyEventKind::Press) => model.talk.toggle_press(),
            (false, _) => {}
        },
        KeyCode::Char('p') if control => line.recall(true),
        KeyCode::Char('n') if control => line.recall(false),
        KeyCode::Char(c) => {
            if let Some(request) = request(c, control, alt) {
                line.edit(request);
            } else if !control && !alt {
                line.paste(c.encode_utf8(&mut [0; 4]));
            }
        }
        KeyCode::Enter => return enter(state),
        KeyCode::Tab => line.complete(),
        KeyCode::Up => line.recall(true),
        KeyCode::Down => line.recall(false),
        KeyCode::PageUp => model.scroll(true, seen),
        KeyCode::PageDown => model.scroll(false, seen),
        KeyCode::Backspace if alt || control => line.edit(InputRequest::DeletePrevWord),
        KeyCode::Backspace => line.edit(InputRequest::DeletePrevChar),
        KeyCode::Delete => line.edit(InputRequest::DeleteNextChar),
        KeyCode::Left if control => line.edit(InputRequest::GoToPrevWord),
        KeyCode::Right if control => line.edit(InputRequest::GoToNextWord),
        KeyCode::Left => line.edit(InputRequest::GoToPrevChar),
        KeyCode::Right => line.edit(InputRequest::GoToNextChar),
        KeyCode::Home => line.edit(InputRequest::GoToStart),
        KeyCode::End => line.edit(InputRequest::GoToEnd),
        _ => {}
    }
    Next::Nothing
}

/// What editors of lines do at these keys.
const fn request(c: char, control: bool, alt: bool) -> Option<InputRequest> {
    Some(match c {
        'a' if control => InputRequest::GoToStart,
        'e' if control => InputRequest::GoToEnd,
        'b' if control => InputRequest::GoToPrevChar,
        'f' if control => InputRequest::GoToNextChar,
        'b' if alt => InputRequest::GoToPrevWord,
        'f' if alt => InputRequest::GoToNextWord,
        'd' if control => InputRequest::DeleteNextChar,
        'd' if alt => InputRequest::DeleteNextWord,
        'h' if control => InputRequest::DeletePrevChar,
        'w' if control => InputRequest::DeletePrevWord,
        'k' if control => InputRequest::DeleteTillEnd,
        'u' if control => InputRequest::DeleteFromStart,
        'y' if control => InputRequest::Yank,
        _ => return None,
    })
}

/// A line is typed.
fn enter(state: &mut State) -> Next {
    let line = state.model.command_line.enter();
    if line.trim().is_empty() {
        return Next::Nothing;
    }
    state.model.scrolled = 0;
    state.model.line(Kind::Typed, &format!("> {}", crate::report::plain(&line)));
    if let Some(history) = &mut state.history {
        history.add(&line);
    }
    match &state.lines {
        None if state.model.carry_out(&line) => {}
        None => return Next::Interrupt,
        Some(lines) => {
            if lines.try_send(line).is_err() {
                state.model.line(Kind::Problem, "too much is waiting to be carried out: this line is not");
            }
        }
    }
    Next::Nothing
}

/// Nothing more will be typed.
fn end_of_lines(state: &mut State) -> Next {
    if state.lines.take().is_some() { Next::Nothing } else { Next::Interrupt }
}

#[cfg(all(test, target_os = "linux"))]
#[path = "../../tests/kit/terminal.rs"]
mod pty;

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;
    use tokio::sync::mpsc::channel;

    fn press(state: &mut State, code: KeyCode, modifiers: KeyModifiers) -> Next {
        on_event(state, Event::Key(KeyEvent::new(code, modifiers)), 10)
    }

    fn kind(state: &mut State, text: &str) -> Next {
        for c in text.chars() {
            press(state, KeyCode::Char(c), KeyModifiers::NONE);
        }
        press(state, KeyCode::Enter, KeyModifiers::NONE)
    }

    fn state(lines: Option<tokio::sync::mpsc::Sender<String>>) -> State {
        let complete = Box::new(super::super::model::complete);
        let model = Model::new("", Vec::new(), complete);
        State { model, changed: false, lines, history: None, figures: None, releases: false }
    }

    #[test]
    fn keys_end_the_program_and_its_commands_do() {
        let mut state = state(None);
        assert_eq!(kind(&mut state, "/help"), Next::Nothing);
        assert_eq!(kind(&mut state, "/quit"), Next::Interrupt);
        assert_eq!(press(&mut state, KeyCode::Char('c'), KeyModifiers::CONTROL), Next::Interrupt);
        assert_eq!(press(&mut state, KeyCode::Char('d'), KeyModifiers::CONTROL), Next::Interrupt);
        assert_eq!(press(&mut state, KeyCode::Char('z'), KeyModifiers::CONTROL), Next::Stop);
    }

    /// F-72: nobody is heard because the release of a key went to another window, or while the program is stopped.
    #[test]
    fn f_72_the_key_to_talk_is_not_held_without_the_focus_or_when_stopped() {
        let mut state = state(None);
        state.model.talk.start(true, false);
        state.releases = true;
        let hold = |state: &mut State| {
            press(state, KeyCode::Char(' '), KeyModifiers::NONE);
            assert!(state.model.talk.is_open());
        };
        hold(&mut state);
        on_event(&mut state, Event::FocusLost, 10);
        assert!(!state.model.talk.is_open());
        hold(&mut state);
        assert_eq!(press(&mut state, KeyCode::Char('z'), KeyModifiers::CONTROL), Next::Stop);
        assert!(!state.model.talk.is_open());
        // Where presses take turns, the focus has no say.
        state.releases = false;
        hold(&mut state);
        on_event(&mut state, Event::FocusLost, 10);
        assert!(state.model.talk.is_open());
    }

    #[test]
    fn lines_go_to_who_carries_them_out_and_the_end_does() {
        let (sender, mut lines) = channel(1);
        let mut state = state(Some(sender));
        assert_eq!(kind(&mut state, "/quit"), Next::Nothing);
        assert_eq!(lines.try_recv().unwrap(), "/quit");
        kind(&mut state, "one");
        kind(&mut state, "two");
        assert!(state.model.lines.iter().any(|(kind, _)| *kind == Kind::Problem), "there is no room for two");
        assert_eq!(lines.try_recv().unwrap(), "one");
        assert_eq!(press(&mut state, KeyCode::Char('d'), KeyModifiers::CONTROL), Next::Nothing);
        assert!(lines.try_recv().is_err() && lines.is_closed());
    }

    /// Not a test of its own: the program of the next one, which ends by a panic with the screen open.
    #[test]
    fn panics_for_the_other() {
        let Some(go) = std::env::var_os("VOXWIRE_TEST_PANIC").map(std::path::PathBuf::from) else { return };
        let report = crate::report::Report::new(false, false).with_screen(true);
        super::super::open(&report, "about to panic");
        assert!(report.has_screen(), "there is no screen");
        report.plain("waiting", "all is well");
        while !go.exists() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("this is to be read");
    }

    /// C-23: a panic gives the terminal back, and is read.
    #[test]
    #[cfg(target_os = "linux")]
    fn c_23_a_panic_gives_the_terminal_back_and_is_read() {
        let mut program = std::process::Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "screen::terminal::tests::panics_for_the_other", "--nocapture"]);
        let go = std::env::temp_dir().join(format!("voxwire-panic-{}", std::process::id()));
        let variables = [("VOXWIRE_TEST_PANIC", go.to_str().unwrap()), ("RUST_BACKTRACE", "0")];
        let mut terminal = pty::OnTerminal::start(&program, 100, 24, &variables);
        terminal.until("the screen", pty::OnTerminal::is_full_screen);
        terminal.shows("about to panic");
        terminal.shows("all is well");
        std::fs::write(&go, []).unwrap();
        // The harness ends with 101.
        let left = terminal.ends(101);
        std::fs::remove_file(&go).unwrap();
        assert!(left.contains("panicked at") && left.contains("this is to be read"), "{left}");
    }
}
