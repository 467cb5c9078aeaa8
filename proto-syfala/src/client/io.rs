//! Starting and stopping IO, and staying of one mind with a server about whether it is active.
//!
//! Requests and answers carry no number, and a network may lose, repeat and delay them. So each side that sees from the
//! other's messages that the two disagree says so: it repeats the request, or the answer, that puts things right.

use super::{Client, Server};
use crate::stream::{Sending, play};
use crate::timing::Timer;
use crate::{ClientEvent, ClientMessage, IoState, Refusal, ServerMessage};
use voxwire_core::{Instant, PeerId};

impl Client {
    pub(super) fn start_io(&mut self, now: Instant, peer: PeerId) -> Result<(), Refusal> {
        match self.connected(peer, "start IO")? {
            IoState::Inactive => {
                self.send(peer, &ClientMessage::StartIo)?;
                self.enter(now, peer, IoState::StartPending);
            }
            IoState::StopPending => self.set_again(peer, true),
            IoState::StartPending | IoState::Active => {}
        }
        Ok(())
    }

    pub(super) fn stop_io(&mut self, now: Instant, peer: PeerId) -> Result<(), Refusal> {
        match self.connected(peer, "stop IO")? {
            IoState::StartPending | IoState::Active => {
                self.send(peer, &ClientMessage::StopIo)?;
                self.enter(now, peer, IoState::StopPending);
            }
            IoState::StopPending => self.set_again(peer, false),
            IoState::Inactive => {}
        }
        Ok(())
    }

    pub(super) fn play(&mut self, peer: PeerId, stream: u32, samples: &[u8]) -> Result<(), Refusal> {
        let Self { peers, outbox, wire, stats, .. } = self;
        let server = peers.get_mut(peer).and_then(|known| known.server.as_mut());
        let server = server.ok_or(Refusal::UnknownPeer)?;
        if server.io != Some(IoState::Active) {
            let state = server.io.map_or("not accepted", IoState::name);
            return Err(Refusal::Unexpected { state, command: "play" });
        }
        let sent = play(&mut server.sending, (outbox, wire), (peer, stream), samples, ClientMessage::Audio)?;
        stats.messages_sent = stats.messages_sent.saturating_add(sent);
        Ok(())
    }

    /// What a connected server says, but for Connect, Disconnect and Audio in time.
    pub(super) fn control<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        io: IoState,
        message: ServerMessage<'a>,
    ) -> Option<ClientEvent<'a>> {
        use IoState::{Active, Inactive, StartPending, StopPending};
        let server = peer;
        match (io, message) {
            (StartPending, ServerMessage::StartIoSuccess) => self.begin(now, peer),
            // The next time the timer asks again.
            (StartPending, ServerMessage::StartIoFailed) => Some(ClientEvent::StartFailed { server }),
            (StopPending, ServerMessage::StopIoFailed) => Some(ClientEvent::StopFailed { server }),
            (StartPending, ServerMessage::StartIoRefused) => {
                self.enter(now, peer, Inactive);
                Some(ClientEvent::StartRefused { server })
            }
            (StopPending, ServerMessage::StopIoRefused) => {
                if !self.server(peer)?.started {
                    // That it had started was never heard.
                    return self.begin(now, peer);
                }
                self.enter(now, peer, Active);
                Some(ClientEvent::StopRefused { server })
            }
            (StopPending, ServerMessage::StopIoSuccess) if self.server(peer)?.again => {
                self.ask_to_start(now, peer);
                None
            }
            (StopPending, ServerMessage::StopIoSuccess) => {
                self.enter(now, peer, Inactive);
                Some(ClientEvent::Stopped { server })
            }
            // It is not active there, though it was not asked to be: an old StopIO has come late.
            (Active, ServerMessage::StopIoSuccess) => {
                self.ask_to_start(now, peer);
                Some(ClientEvent::Interrupted { server })
            }
            // It has been asked whether it knows that IO is active, and does not want that.
            (Active, ServerMessage::StartIoRefused) => {
                self.enter(now, peer, Inactive);
                Some(ClientEvent::StartRefused { server })
            }
            // It is active there, and should not be: an old StartIO has come late, or a StopIoSuccess was not this one's.
            (Inactive, ServerMessage::StartIoSuccess | ServerMessage::Audio(_)) => {
                self.untimely(&message);
                let timing = self.settings.timing;
                if self.server_mut(peer)?.moments.tell(now, &timing) {
                    self.repeat(peer, &ClientMessage::StopIo);
                }
                None
            }
            (_, message) => {
                self.untimely(&message);
                None
            }
        }
    }

    /// IO is active, from the first byte on.
    fn begin(&mut self, now: Instant, peer: PeerId) -> Option<ClientEvent<'static>> {
        self.enter(now, peer, IoState::Active);
        let server = self.server_mut(peer)?;
        server.started = true;
        server.sending.iter_mut().for_each(Sending::restart);
        Some(ClientEvent::Started { server: peer })
    }

    fn untimely(&mut self, message: &ServerMessage<'_>) {
        let late = u64::from(matches!(message, ServerMessage::Audio(_)));
        self.stats.untimely = self.stats.untimely.saturating_add(late);
    }

    /// A Heartbeat, and a question if IO is active and nothing is heard.
    pub(super) fn beat(&mut self, now: Instant, peer: PeerId) {
        let timing = self.settings.timing;
        let Some(server) = self.server_mut(peer) else { return };
        // A server that sends nothing by itself has nothing to be missed.
        let wonders = server.io == Some(IoState::Active)
            && !server.inputs.is_empty()
            && server.moments.wonder(now, &timing);
        // A server that says nothing may not have heard that we accepted. What does not fit now is sent another time.
        let beat = if server.confirmed { ClientMessage::Heartbeat } else { ClientMessage::ConnectionSuccess };
        let _ = self.send(peer, &beat);
        if wonders {
            self.repeat(peer, &ClientMessage::StartIo);
        }
        self.timers.set((peer, Timer::Beat), now.saturating_add(timing.heartbeat));
    }

    /// A request that has had no answer.
    pub(super) fn retry(&mut self, now: Instant, peer: PeerId) {
        match self.state(peer) {
            Some(IoState::StartPending) => self.repeat(peer, &ClientMessage::StartIo),
            Some(IoState::StopPending) => self.repeat(peer, &ClientMessage::StopIo),
            _ => return,
        }
        self.timers.set((peer, Timer::Retry), now.saturating_add(self.settings.timing.retry));
    }

    fn repeat(&mut self, peer: PeerId, request: &ClientMessage<'_>) {
        let _ = self.send(peer, request);
        self.stats.repeated = self.stats.repeated.saturating_add(1);
    }

    fn ask_to_start(&mut self, now: Instant, peer: PeerId) {
        let _ = self.send(peer, &ClientMessage::StartIo);
        self.enter(now, peer, IoState::StartPending);
    }

    fn enter(&mut self, now: Instant, peer: PeerId, io: IoState) {
        let retry = self.settings.timing.retry;
        let Some(server) = self.server_mut(peer) else { return };
        server.io = Some(io);
        (server.moments.since, server.moments.audio) = (now, now);
        server.started &= io != IoState::StartPending;
        server.again = false;
        match io {
            IoState::StartPending | IoState::StopPending => {
                self.timers.set((peer, Timer::Retry), now.saturating_add(retry));
            }
            IoState::Inactive | IoState::Active => self.timers.clear((peer, Timer::Retry)),
        }
    }

    fn set_again(&mut self, peer: PeerId, again: bool) {
        if let Some(server) = self.server_mut(peer) {
            server.again = again;
        }
    }

    fn connected(&self, peer: PeerId, command: &'static str) -> Result<IoState, Refusal> {
        let Server { io, .. } = self.server(peer).ok_or(Refusal::UnknownPeer)?;
        io.ok_or(Refusal::Unexpected { state: "not accepted", command })
    }
}
