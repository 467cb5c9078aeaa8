//! Starting and stopping IO as clients ask for it, and staying of one mind with them about whether it is active; see the
//! client's side for why that takes more than one message.

use super::{Place, Server, Timer};
use crate::stream::{Sending, play};
use crate::{Cause, ClientMessage, IoResult, IoState, Refusal, ServerEvent, ServerMessage};
use voxwire_core::{Instant, Lane, PeerId};

impl Server {
    /// The application has prepared everything, or has not.
    pub(super) fn started(&mut self, now: Instant, client: PeerId, result: IoResult) -> Result<(), Refusal> {
        self.pending(client, IoState::StartPending, "answer a StartIO")?;
        let (message, io) = match result {
            IoResult::Success => (ServerMessage::StartIoSuccess, IoState::Active),
            IoResult::Failed => (ServerMessage::StartIoFailed, IoState::Inactive),
            IoResult::Refused => (ServerMessage::StartIoRefused, IoState::Inactive),
        };
        self.send_over_limit(client, &message);
        self.enter(now, client, io);
        if let Some(client) = self.client_mut(client) {
            client.sending.iter_mut().for_each(Sending::restart);
        }
        Ok(())
    }

    /// The application has freed everything, or has not.
    pub(super) fn stopped(&mut self, now: Instant, client: PeerId, result: IoResult) -> Result<(), Refusal> {
        self.pending(client, IoState::StopPending, "answer a StopIO")?;
        let (message, io) = match result {
            IoResult::Success => (ServerMessage::StopIoSuccess, IoState::Inactive),
            IoResult::Failed => (ServerMessage::StopIoFailed, IoState::Active),
            IoResult::Refused => (ServerMessage::StopIoRefused, IoState::Active),
        };
        self.send_over_limit(client, &message);
        self.enter(now, client, io);
        Ok(())
    }

    /// Sends the answer to a request beyond the outbox's limit: nothing else leaves the pending state. One byte for each client, as no
    /// request is taken while there is no room.
    fn send_over_limit(&mut self, client: PeerId, message: &ServerMessage<'_>) {
        // It has no fields that could fail.
        let _ = self.outbox.send_over_limit(client, Lane::Reliable, message, &self.wire);
    }

    pub(super) fn play(&mut self, peer: PeerId, stream: u32, samples: &[u8]) -> Result<(), Refusal> {
        let state = self.state(peer).ok_or(Refusal::UnknownPeer)?;
        if state != IoState::Active {
            return Err(Refusal::Unexpected { state: state.name(), command: "play" });
        }
        let Self { peers, outbox, wire, stats, .. } = self;
        let Some(Place::Client(client)) = peers.get_mut(peer).map(|known| &mut known.place) else {
            return Err(Refusal::UnknownPeer);
        };
        let sent = play(&mut client.sending, (outbox, wire), (peer, stream), samples, ServerMessage::Audio)?;
        stats.messages_sent = stats.messages_sent.saturating_add(sent);
        Ok(())
    }

    /// What a client says, but for Discovery and Audio in time.
    pub(super) fn control<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        io: IoState,
        message: ClientMessage<'a>,
    ) -> Option<ServerEvent<'a>> {
        let client = peer;
        match (io, message) {
            (_, ClientMessage::Disconnect) => {
                let io = self.forget(peer)?;
                Some(ServerEvent::Gone { client, cause: Cause::Disconnected, io })
            }
            (IoState::Inactive, ClientMessage::StartIo) => {
                self.enter(now, peer, IoState::StartPending);
                Some(ServerEvent::StartIo { client })
            }
            (IoState::Active, ClientMessage::StopIo) => {
                self.enter(now, peer, IoState::StopPending);
                Some(ServerEvent::StopIo { client })
            }
            // Our answer was lost. While the application is at it, it gives the answer.
            (IoState::Active, ClientMessage::StartIo) => self.answer(peer, &ServerMessage::StartIoSuccess),
            (IoState::Inactive, ClientMessage::StopIo) => self.answer(peer, &ServerMessage::StopIoSuccess),
            (state, ClientMessage::Audio(_)) => {
                self.stats.untimely = self.stats.untimely.saturating_add(1);
                // It thinks that IO is active: an old StopIO has come late.
                let timing = self.settings.timing;
                if state == IoState::Inactive && self.client_mut(peer)?.moments.tell(now, &timing) {
                    return self.answer(peer, &ServerMessage::StopIoSuccess);
                }
                None
            }
            _ => None,
        }
    }

    /// What does not fit now is asked for again.
    fn answer(&mut self, client: PeerId, message: &ServerMessage<'_>) -> Option<ServerEvent<'static>> {
        let _ = self.send(client, message);
        None
    }

    /// A Heartbeat, and a question if IO is active and nothing is heard.
    pub(super) fn beat(&mut self, now: Instant, peer: PeerId) {
        let timing = self.settings.timing;
        let Some(client) = self.client_mut(peer) else { return };
        let wonders = client.io == IoState::Active && client.moments.wonder(now, &timing);
        let _ = self.send(peer, &ServerMessage::Heartbeat);
        if wonders {
            // Who knows it ignores this, who does not asks for the end.
            let _ = self.send(peer, &ServerMessage::StartIoSuccess);
        }
        self.timers.set((peer, Timer::Beat), now.saturating_add(timing.heartbeat));
    }

    fn enter(&mut self, now: Instant, peer: PeerId, io: IoState) {
        // What was asked before is not to be answered any more.
        self.later.retain(|event| !matches!(event, ServerEvent::StartIo { client } if *client == peer));
        if let Some(client) = self.client_mut(peer) {
            client.io = io;
            (client.moments.since, client.moments.audio) = (now, now);
        }
    }

    fn pending(&self, client: PeerId, expected: IoState, command: &'static str) -> Result<(), Refusal> {
        match self.state(client).ok_or(Refusal::UnknownPeer)? {
            state if state == expected => Ok(()),
            state => Err(Refusal::Unexpected { state: state.name(), command }),
        }
    }
}
