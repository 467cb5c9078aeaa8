//! Sleeping until the socket has something, somebody has something for the thread, or a timer is due.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Wakes the thread from its sleep.
#[derive(Debug)]
pub(super) struct Waker {
    sleeper: UnixStream,
    waker: UnixStream,
    woken: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let (sleeper, waker) = UnixStream::pair()?;
        sleeper.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        Ok(Self { sleeper, waker, woken: AtomicBool::new(false) })
    }

    /// Wakes the thread, or has it not fall asleep. Never waits.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, SeqCst) {
            // It cannot be full: there is one byte in it at most.
            let _ = (&self.waker).write(&[0]);
        }
    }

    /// Sleeps until `socket` has something to read, or `wake` has been called, or for so long at most.
    pub(super) fn sleep(&self, socket: &impl AsFd, longest: Option<Duration>) -> io::Result<()> {
        let millis = longest.map(|longest| longest.as_nanos().div_ceil(1_000_000));
        let timeout = millis
            .map_or(PollTimeout::NONE, |millis| PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX));
        let mut both = [&socket.as_fd(), &self.sleeper.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
        match poll(&mut both, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, woken] = both;
        if woken.any().unwrap_or(true) {
            // Before what it was woken for is looked at.
            self.woken.store(false, SeqCst);
            let _ = (&self.sleeper).read(&mut [0; 8]);
        }
        Ok(())
    }
}
