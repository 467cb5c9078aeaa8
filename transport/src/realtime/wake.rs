//! The thread's sleep: until a datagram comes in, another thread wakes it, or a timer is due.

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

    /// Wakes the thread, or keeps it from falling asleep. Never waits.
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
            // In this order: a wake between the two lines writes no byte, and the thread looks now for what it is to do. In the other order the
            // byte of such a wake would be read here, and no later wake would write another.
            let _ = (&self.sleeper).read(&mut [0; 8]);
            self.woken.store(false, SeqCst);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::sync::Arc;

    /// A wake that comes while the one before is being taken ends the next sleep.
    #[test]
    fn no_wake_is_lost_between_two_sleeps() {
        const WAKES: usize = 20_000;
        let (waker, taken) = (Arc::new(Waker::new().unwrap()), Arc::new(AtomicUsize::new(0)));
        let wanted = Arc::new(AtomicUsize::new(0));
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn({
            let (waker, taken, wanted) = (waker.clone(), taken.clone(), wanted.clone());
            move || {
                let (silent, _other) = UnixStream::pair().unwrap();
                while taken.load(SeqCst) < WAKES {
                    waker.sleep(&silent, None).unwrap();
                    taken.store(wanted.load(SeqCst), SeqCst);
                }
                done.send(()).unwrap();
            }
        });
        std::thread::spawn(move || {
            for wake in 1..=WAKES {
                wanted.store(wake, SeqCst);
                waker.wake();
                while wake % 7 == 0 && taken.load(SeqCst) < wake {
                    std::hint::spin_loop();
                }
            }
        });
        ended.recv_timeout(Duration::from_secs(120)).expect("a wake is lost");
    }
}
