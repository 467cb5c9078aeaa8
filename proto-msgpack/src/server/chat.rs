//! Texts and recordings for one user.

use super::users::User;
use super::{Answer, Server, ServerEvent, ServerMessage, What};
use crate::{
    Action, Code, MAX_RECORDING, MAX_VOICE_SAMPLES, MIN_KEPT_COST, RECORDING_CHANNELS, RECORDING_RATES,
    Secret, ServerSettings, Text,
};
use alloc::vec::Vec;
use voxwire_core::{Instant, Lane, Message, PeerId, source};

impl Server {
    /// Hands `update`, a whisper or a recording, on to `recipient`.
    pub(super) fn message<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        recipient: Text<'a>,
        update: ServerMessage<'a>,
    ) -> Answer<'a> {
        // The original looks for both users before it looks at the token, whose log-in may have to be taken up first.
        let authorized = self.authorize(now, peer, username, token);
        if authorized == Err(Code::USER_NOT_CONNECTED) {
            return Err(Code::USER_NOT_CONNECTED);
        }
        let connections = self.users.get(recipient.0).map(|user| user.connections.clone());
        if connections.is_none() && !self.settings.keep {
            return Err(Code::USER_NOT_CONNECTED);
        }
        authorized?;
        let action = match update {
            ServerMessage::VoiceMsg { channels, sample_rate, samples, .. } => {
                self.check_recording(username)?;
                if !is_sound(channels, sample_rate, samples.len(), &self.settings) {
                    return Err(Code::REQUEST_INVALID);
                }
                Action::VoiceMsg
            }
            _ => {
                self.check_text(username)?;
                Action::Whisper
            }
        };
        let len = update.encoded_len(&self.wire).unwrap_or(usize::MAX);
        self.charge_message(now, peer, (username, recipient), len, connections.as_ref().map(Vec::len))?;
        let Some(connections) = connections else {
            let ticket = self.ask(now, peer, action, What::Keep { delivered: false });
            let recipients = Vec::from([self.users.key(recipient.0).into()]);
            return Ok(Some(ServerEvent::Keeping { ticket, peer, recipients, update }));
        };
        if self.outbox.send(connections, Lane::Reliable, &update, &self.wire).is_err() {
            return Err(Code::SERVER_UNAVAILABLE);
        }
        self.count(action);
        // The update goes before the answer, as the original has it.
        self.respond(peer, action, Code::SUCCESS);
        Ok(None)
    }

    /// Takes a message of `len` bytes, with as many `copies` as the recipient has connections, out of what its sender may send and its
    /// recipient be sent. More than that would close the recipient's connection, not the sender's; and there is room for so much only.
    fn charge_message(
        &mut self,
        now: Instant,
        peer: PeerId,
        (username, recipient): (Text<'_>, Text<'_>),
        len: usize,
        copies: Option<usize>,
    ) -> Result<(), Code> {
        let rate = self.settings.messages;
        let cost = copies.map_or_else(|| len.max(MIN_KEPT_COST), |copies| len.saturating_mul(copies));
        // An exempt address is asked for before it becomes its network: `::1` is loopback, its /64 is not.
        let address = self.creations.limited(self.peers.ip(peer)).map(source);
        let sender = self.users.key(username.0);
        // No user pays for what is not sent: the recipient, whom others write to as well, is asked last.
        if !self.users.could_send(now, rate, username.0, cost) {
            return Err(Code::REQUEST_OVER_LIMIT);
        }
        if copies.is_some() && self.outbox.check_capacity(len, 1).is_err() {
            return Err(Code::SERVER_UNAVAILABLE);
        }
        let over = |user: &mut User| !user.may_receive(now, rate, &sender, address, len);
        if self.users.get_mut(recipient.0).is_some_and(over)
            || !self.users.may_send(now, rate, username.0, cost)
        {
            return Err(Code::REQUEST_OVER_LIMIT);
        }
        Ok(())
    }

    /// Counts a message that is handed on or kept.
    pub(super) const fn count(&mut self, action: Action) {
        let counter = match action {
            Action::VoiceMsg => &mut self.stats.recordings,
            _ => &mut self.stats.texts,
        };
        *counter = counter.saturating_add(1);
    }
}

/// Whether an update is a message that can be kept.
pub(super) const fn is_kept(update: &ServerMessage<'_>) -> bool {
    matches!(
        update,
        ServerMessage::Whisper { .. } | ServerMessage::MsgGroup { .. } | ServerMessage::VoiceMsg { .. }
    )
}

/// Whether a recording is one that programs can play.
fn is_sound(channels: u64, sample_rate: u64, samples: usize, settings: &ServerSettings) -> bool {
    if settings.lenient {
        return true;
    }
    let longest = channels.saturating_mul(sample_rate).saturating_mul(MAX_RECORDING);
    RECORDING_CHANNELS.contains(&channels)
        && RECORDING_RATES.contains(&sample_rate)
        && (samples as u64).checked_rem(channels) == Some(0)
        && samples as u64 <= longest
        && samples <= MAX_VOICE_SAMPLES
}
