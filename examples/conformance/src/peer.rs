//! A TCP connection to the endpoint: bytes out in any pieces, frames in, each within a deadline.

use crate::check::{Failure, Outcome, Stop};
use crate::layout::Layout;
use crate::log::Log;
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use voxwire_core::{Clock, Instant};

/// The length of the first frame, once it can be told.
pub(crate) type Cutter = fn(&[u8]) -> Option<usize>;

/// Bytes of one frame that the runner takes.
const MAX_FRAME: usize = 2 << 20;

/// A part of a conversation.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) stream: TcpStream,
    pub(crate) log: Log,
    cutter: Cutter,
    timeout: Duration,
    buffer: Vec<u8>,
}

/// What a read brought.
enum Came {
    Bytes,
    End,
    Nothing,
}

impl Peer {
    pub(crate) fn new(
        name: &'static str,
        stream: TcpStream,
        cutter: Cutter,
        timeout: Duration,
        log: Log,
    ) -> Self {
        // Pieces have to leave as they are written. Without it a check is weaker, not wrong.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(timeout));
        Self { name, stream, log, cutter, timeout, buffer: Vec::new() }
    }

    pub(crate) fn fails(&self, what: impl Into<String>, received: &[u8]) -> Stop {
        Failure::stop(&self.log, self.name, what.into(), received)
    }

    pub(crate) fn send(&mut self, layout: &Layout) -> Outcome {
        self.send_bytes(&layout.encode())
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.log.add(self.name, true, bytes);
        self.write(bytes)
    }

    /// Sends `bytes` in pieces that end at `ends`, with a pause between them.
    pub(crate) fn send_split(&mut self, bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Outcome {
        self.log.add(self.name, true, bytes);
        let mut start = 0;
        for end in ends.into_iter().chain([bytes.len()]) {
            if start < end {
                self.write(&bytes[start..end])?;
                pause(Duration::from_millis(2));
            }
            start = end;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.write_all(bytes).map_err(|error| self.fails(format!("sending failed: {error}"), &[]))
    }

    fn read(&mut self, wait: Duration) -> Outcome<Came> {
        let mut piece = [0; 16 * 1024];
        // Zero would mean to wait for ever.
        let _ = self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))));
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(Came::End),
            Ok(length) => {
                self.buffer.extend(&piece[..length]);
                Ok(Came::Bytes)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(Came::Nothing),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                    Ok(Came::End)
                }
                _ => Err(self.fails(format!("reading failed: {error}"), &self.buffer)),
            },
        }
    }

    /// Reads until `enough` says how many bytes of the buffer are wanted; `None` once the connection has ended.
    fn take(&mut self, wait: Duration, enough: impl Fn(&[u8]) -> Option<usize>) -> Outcome<Option<Vec<u8>>> {
        let late = Pause::new(wait);
        loop {
            if let Some(length) = enough(&self.buffer) {
                if length > MAX_FRAME {
                    return Err(self.fails(format!("a frame of {length} bytes"), &self.buffer));
                }
                if length <= self.buffer.len() {
                    let frame: Vec<u8> = self.buffer.drain(..length).collect();
                    self.log.add(self.name, false, &frame);
                    return Ok(Some(frame));
                }
            }
            if late.is_over() {
                let seconds = wait.as_secs_f32();
                return Err(self.fails(format!("nothing complete came within {seconds} s"), &self.buffer));
            }
            if matches!(self.read(late.left())?, Came::End) {
                return Ok(None);
            }
        }
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Outcome<Vec<u8>> {
        let cutter = self.cutter;
        match self.take(self.timeout, cutter)? {
            Some(frame) => Ok(frame),
            None => Err(self.fails("the connection was closed", &self.buffer)),
        }
    }

    /// The next frame that comes for `wait`; `None` where none comes, or where the connection has ended.
    pub(crate) fn frame_within(&mut self, wait: Duration) -> Outcome<Option<Vec<u8>>> {
        let cutter = self.cutter;
        let late = Pause::new(wait);
        loop {
            let whole = cutter(&self.buffer).is_some_and(|length| length <= self.buffer.len());
            if whole {
                return self.frame().map(Some);
            }
            if late.is_over() || matches!(self.read(late.left())?, Came::End) {
                return Ok(None);
            }
        }
    }

    /// The connection has not ended. Bytes may have come.
    pub(crate) fn expect_open(&mut self) -> Outcome {
        match self.read(Duration::from_millis(50))? {
            Came::End => Err(self.fails("the connection was closed; it should be open", &self.buffer)),
            _ => Ok(()),
        }
    }

    /// The next frame has to be `layout`.
    pub(crate) fn expect(&mut self, layout: &Layout) -> Outcome<Vec<u8>> {
        let frame = self.frame().map_err(|why| Failure::missing(&self.log, self.name, layout, why))?;
        self.same_as(layout, &frame)?;
        Ok(frame)
    }

    /// The next bytes, however they are framed, have to be `layout`.
    pub(crate) fn expect_bytes(&mut self, layout: &Layout) -> Outcome<Vec<u8>> {
        let length = layout.len();
        let came = self
            .take(self.timeout, |_| Some(length))
            .and_then(|came| came.ok_or_else(|| self.fails("the connection was closed", &self.buffer)));
        let bytes = came.map_err(|why| {
            // What came says more than that too little came.
            Failure::differs(&self.log, self.name, layout, &self.buffer)
                .filter(|_| !self.buffer.is_empty())
                .unwrap_or_else(|| Failure::missing(&self.log, self.name, layout, why))
        })?;
        self.same_as(layout, &bytes)?;
        Ok(bytes)
    }

    /// `came` has to be `layout`.
    pub(crate) fn same_as(&self, layout: &Layout, came: &[u8]) -> Outcome {
        Failure::differs(&self.log, self.name, layout, came).map_or(Ok(()), Err)
    }

    /// The endpoint closes this connection. It may send bytes before.
    pub(crate) fn expect_closed(&mut self) -> Outcome {
        let late = Pause::new(self.timeout);
        loop {
            if late.is_over() {
                return Err(
                    self.fails("the connection is still open; it should have been closed", &self.buffer)
                );
            }
            match self.read(late.left())? {
                Came::End => return Ok(()),
                _ if self.buffer.len() > MAX_FRAME => self.buffer.clear(),
                _ => {}
            }
        }
    }

    /// The endpoint sends nothing for `wait`, and leaves the connection open.
    pub(crate) fn expect_silence(&mut self, wait: Duration) -> Outcome {
        if self.buffer.is_empty() {
            match self.read(wait)? {
                Came::Nothing => return Ok(()),
                Came::End => {
                    return Err(self.fails("the connection was closed; it should be open and silent", &[]));
                }
                Came::Bytes => {}
            }
        }
        Err(self.fails("something came where nothing may come", &self.buffer))
    }
}

/// A time from now on.
#[derive(Debug)]
pub(crate) struct Pause(Clock, Instant);

impl Pause {
    pub(crate) fn new(time: Duration) -> Self {
        let clock = Clock::start();
        Self(clock, clock.now().saturating_add(time))
    }

    pub(crate) fn left(&self) -> Duration {
        self.1.saturating_duration_since(self.0.now())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// Waits.
pub(crate) fn pause(time: Duration) {
    let pause = Pause::new(time);
    while !pause.is_over() {
        std::thread::park_timeout(pause.left());
    }
}
