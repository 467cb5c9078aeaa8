//! Standard output and the meter's terminal, written by a thread of its own.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use indicatif::TermLike;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines and drawings that may wait for their reader.
const WAITING: usize = 4096;
/// How long the end of a call waits for the reader.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Where lines and the meter go. A reader that stops (a full pipe, Ctrl-S on a terminal) stops no call: during one, 4096 lines wait
/// for it, more are lost, and how many is told as soon as lines are read again. Without a call the program waits.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pieces: SyncSender<Piece>,
    lost: Arc<AtomicUsize>,
    /// There is, or was, a call.
    live: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Piece {
    Line(String),
    /// For standard error.
    Error(String),
    /// Everything before it has been written.
    End(Sender<()>),
}

impl Output {
    /// `None` where there can be no thread.
    pub(super) fn start() -> Option<Self> {
        let (pieces, written) = sync_channel(WAITING);
        let output = Self { pieces, lost: Arc::default(), live: Arc::default() };
        let lost = output.lost.clone();
        let thread = std::thread::Builder::new().name("output".into());
        thread.spawn(move || write(&written, &lost)).is_ok().then_some(output)
    }

    /// Nothing waits for a reader from now on.
    pub(super) fn live(&self) {
        self.live.store(true, Relaxed);
    }

    pub(super) fn line(&self, line: String) {
        if !self.live.load(Relaxed) {
            let _ = self.pieces.send(Piece::Line(line));
        } else if self.pieces.try_send(Piece::Line(line)).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// A line for standard error: lost where its reader takes nothing.
    pub(super) fn error(&self, line: &str) {
        let _ = self.pieces.try_send(Piece::Error(format!("{line}\n")));
    }

    /// Waits until everything so far is written, for two seconds at most.
    #[cfg_attr(not(feature = "screen"), expect(dead_code, reason = "there is no screen"))]
    pub(super) fn flush(&self) {
        let _ = self.written().map(|wait| wait.recv_timeout(LAST_LINES));
    }

    /// Tells when everything so far is written; `None` where nothing can tell.
    fn written(&self) -> Option<Receiver<()>> {
        let (done, wait) = channel();
        let pieces = self.pieces.clone();
        let ending = std::thread::Builder::new().spawn(move || pieces.send(Piece::End(done)));
        ending.is_ok().then_some(wait)
    }

    /// Waits until everything is written; if there was a call, for two seconds at most.
    pub(super) fn end(&self) {
        let Some(wait) = self.written() else { return };
        if self.live.load(Relaxed) {
            let _ = wait.recv_timeout(LAST_LINES);
        } else {
            let _ = wait.recv();
        }
    }
}

/// What the thread does.
fn write(pieces: &Receiver<Piece>, lost: &AtomicUsize) {
    for piece in pieces {
        // The reader may be gone; the call goes on.
        match piece {
            Piece::Line(line) => {
                let mut out = io::stdout().lock();
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }
            Piece::Error(text) => {
                let _ = io::stderr().lock().write_all(text.as_bytes());
            }
            Piece::End(done) => drop(done.send(())),
        }
        let count = lost.swap(0, Relaxed);
        if count > 0 {
            tracing::error!(count, "lines lost, standard output was not read in time");
        }
    }
}

/// The meter's terminal: standard error, by way of the thread.
#[derive(Debug)]
pub(super) struct MeterTerminal {
    output: Output,
    drawing: Mutex<String>,
}

impl MeterTerminal {
    pub(super) const fn new(output: Output) -> Self {
        Self { output, drawing: Mutex::new(String::new()) }
    }

    fn draw(&self, part: core::fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        drawing.write_fmt(part).map_err(io::Error::other)
    }

    fn cursor(&self, n: usize, to: char) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.draw(format_args!("\x1b[{n}{to}")) }
    }
}

impl TermLike for MeterTerminal {
    fn width(&self) -> u16 {
        console::Term::stderr().size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawing = core::mem::take(&mut *self.drawing.lock().unwrap_or_else(PoisonError::into_inner));
        // One that finds no room is drawn over soon.
        let _ = self.output.pieces.try_send(Piece::Error(drawing));
        Ok(())
    }
}
