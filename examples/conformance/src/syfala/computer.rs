//! A client that the runner plays, and its heartbeats.

use super::bytes::{Formats, client, formats, message, server};
use crate::check::{Failure, Outcome};
use crate::datagrams::Datagrams;
use crate::layout::Layout;
use crate::peer::Pause;
use crate::stage::Stage;
use core::time::Duration;
use std::cell::RefCell;

/// Between two Heartbeats, and between two requests.
const PERIOD: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Computer {
    pub(super) udp: Datagrams,
    pub(super) formats: Formats,
    /// The Connect.
    pub(super) offer: Vec<u8>,
    next_beat: RefCell<Pause>,
    timeout: Duration,
}

impl Computer {
    /// A socket that has said nothing yet.
    pub(super) fn new(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let udp = stage.datagrams(who, stage.target.address.port())?;
        let next_beat = RefCell::new(Pause::new(PERIOD));
        let timeout = stage.target.timeout;
        Ok(Self { udp, formats: Formats::default(), offer: Vec::new(), next_beat, timeout })
    }

    /// One that holds an offer.
    pub(super) fn offered(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut computer = Self::new(stage, who)?;
        computer.discover()?;
        Ok(computer)
    }

    /// One that is connected: it has accepted, and the server was heard.
    pub(super) fn connected(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let computer = Self::offered(stage, who)?;
        computer.udp.send(&[client::CONNECTION_SUCCESS])?;
        computer.next(true, |datagram| datagram.first() != Some(&server::CONNECT))?;
        Ok(computer)
    }

    /// One whose IO is active.
    pub(super) fn active(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let computer = Self::connected(stage, who)?;
        computer.asks(&[client::START_IO], server::START_IO_SUCCESS)?;
        Ok(computer)
    }

    /// Asks for an offer, four times a second, and reads it.
    pub(super) fn discover(&mut self) -> Outcome {
        let late = Pause::new(self.timeout);
        while !late.is_over() {
            self.udp.send(&[client::DISCOVERY])?;
            let soon = Pause::new(Duration::from_millis(250));
            while !soon.is_over() {
                let Some(offer) = self.udp.next_within(soon.left())? else { break };
                if offer.first() != Some(&server::CONNECT) {
                    continue;
                }
                self.formats = formats(&offer).map_err(|(at, field)| {
                    self.udp.fails(format!("Connect is malformed at offset {at}: {field}"), &offer)
                })?;
                self.offer = offer;
                return Ok(());
            }
        }
        let layout = message(server::CONNECT).rest("formats");
        let what = format!("no Connect came within {} s", self.timeout.as_secs_f32());
        Err(Failure::missing(&self.udp.log, self.udp.name, &layout, self.udp.fails(what, &[])))
    }

    /// The next datagram of interest that comes for `wait`, while heartbeats go out.
    pub(super) fn next_for(
        &self,
        wait: Duration,
        beats: bool,
        is_of_interest: impl Fn(&[u8]) -> bool,
    ) -> Outcome<Option<Vec<u8>>> {
        let late = Pause::new(wait);
        while !late.is_over() {
            if beats && self.next_beat.borrow().is_over() {
                self.udp.send(&[client::HEARTBEAT])?;
                *self.next_beat.borrow_mut() = Pause::new(PERIOD);
            }
            let until_beat = self.next_beat.borrow().left().max(Duration::from_millis(1));
            let wait = if beats { late.left().min(until_beat) } else { late.left() };
            if let Some(came) = self.udp.next_within(wait)?
                && is_of_interest(&came)
            {
                return Ok(Some(came));
            }
        }
        Ok(None)
    }

    pub(super) fn next(&self, beats: bool, is_of_interest: impl Fn(&[u8]) -> bool) -> Outcome<Vec<u8>> {
        let came = self.next_for(self.timeout, beats, is_of_interest)?;
        let seconds = self.timeout.as_secs_f32();
        came.ok_or_else(|| self.udp.fails(format!("nothing of that kind came within {seconds} s"), &[]))
    }

    /// Asks every 100 ms until the answer comes, which has to be `answer`. "Failed" is asked again.
    pub(super) fn asks(&self, question: &[u8], answer: u8) -> Outcome {
        let late = Pause::new(self.timeout);
        while !late.is_over() {
            self.udp.send(question)?;
            let is_answer = |datagram: &[u8]| {
                datagram.first().is_some_and(|it| (server::START_IO_FAILED..server::AUDIO).contains(it))
            };
            if let Some(came) = self.next_for(PERIOD, true, is_answer)? {
                let is_failed = came.first().is_some_and(|it| *it == server::START_IO_FAILED || *it == 4);
                if !is_failed {
                    return self.is(&message(answer), &came);
                }
            }
        }
        let what = format!("no answer came within {} s", self.timeout.as_secs_f32());
        Err(Failure::missing(&self.udp.log, self.udp.name, &message(answer), self.udp.fails(what, &[])))
    }

    pub(super) fn is(&self, layout: &Layout, came: &[u8]) -> Outcome {
        Failure::differs(&self.udp.log, self.udp.name, layout, came).map_or(Ok(()), Err)
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        // So that the server has room for the next check's.
        let _ = self.udp.send(&[client::DISCONNECT]);
    }
}
