//! A UDP socket towards the endpoint.

use crate::check::{Failure, Outcome, Stop};
use crate::layout::Layout;
use crate::log::Log;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use std::net::UdpSocket;
use voxwire_core::{Clock, Instant};

/// A part of a conversation by datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) name: &'static str,
    pub(crate) socket: UdpSocket,
    pub(crate) log: Log,
    /// Where to; what comes from elsewhere is not of the conversation.
    pub(crate) to: SocketAddr,
    clock: Clock,
    timeout: Duration,
}

impl Datagrams {
    pub(crate) fn new(
        name: &'static str,
        socket: UdpSocket,
        to: SocketAddr,
        timeout: Duration,
        log: Log,
    ) -> Self {
        Self { name, socket, log, to, clock: Clock::start(), timeout }
    }

    pub(crate) fn fails(&self, what: impl Into<String>, received: &[u8]) -> Stop {
        Failure::stop(&self.log, self.name, what.into(), received)
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Outcome {
        self.log.add(self.name, true, bytes);
        // A port that nobody listens on yet is reported with a later call.
        match self.socket.send_to(bytes, self.to) {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => {
                Err(self.fails(format!("sending failed: {error}"), &[]))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.clock.now().saturating_add(self.timeout)
    }

    /// The next datagram until `end`, if one comes.
    pub(crate) fn next_until(&self, end: Instant) -> Outcome<Option<Vec<u8>>> {
        let mut buffer = [0; 65_536];
        loop {
            let left = end.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                return Ok(None);
            }
            let _ = self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.to => {
                    self.log.add(self.name, false, &buffer[..length]);
                    return Ok(Some(buffer[..length].to_vec()));
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock
                    | ErrorKind::TimedOut
                    | ErrorKind::Interrupted
                    | ErrorKind::ConnectionRefused
                    | ErrorKind::ConnectionReset => {}
                    _ => return Err(self.fails(format!("receiving failed: {error}"), &[])),
                },
            }
        }
    }

    /// The next datagram for `wait`, if one comes.
    pub(crate) fn next_within(&self, wait: Duration) -> Outcome<Option<Vec<u8>>> {
        self.next_until(self.clock.now().saturating_add(wait))
    }

    /// The next datagram that `is_of_interest` has to be `layout`.
    pub(crate) fn expect(&self, layout: &Layout, is_of_interest: impl Fn(&[u8]) -> bool) -> Outcome<Vec<u8>> {
        let end = self.deadline();
        while let Some(datagram) = self.next_until(end)? {
            if is_of_interest(&datagram) {
                return match Failure::differs(&self.log, self.name, layout, &datagram) {
                    Some(stop) => Err(stop),
                    None => Ok(datagram),
                };
            }
        }
        let what = format!("no such datagram came within {} s", self.timeout.as_secs_f32());
        Err(Failure::missing(&self.log, self.name, layout, self.fails(what, &[])))
    }
}
