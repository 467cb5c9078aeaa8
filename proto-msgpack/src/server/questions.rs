//! What the application is asked, and its answers.

use super::Server;
use crate::{Action, Code, Refusal, Ticket};
use alloc::boxed::Box;
use core::time::Duration;
use voxwire_core::{Instant, PeerId};

/// What the application has been asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: PeerId,
    action: Action,
    pub(super) what: What,
    /// The client has been told that it took too long.
    late: bool,
}

#[derive(Debug)]
pub(super) enum What {
    Register,
    Login {
        username: Box<[u8]>,
        requests_only: bool,
    },
    /// The code for those who have not shown who they are.
    AddContact {
        otherwise: Code,
    },
    CreateGroup {
        group_name: Box<[u8]>,
        owner: Box<[u8]>,
    },
    JoinGroup {
        group_name: Box<[u8]>,
        username: Box<[u8]>,
    },
    /// Whether a user has it already.
    Keep {
        delivered: bool,
    },
}

impl Server {
    /// Asks the application; the next requests of `peer` wait for its answer.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerId, action: Action, what: What) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        let time = match what {
            What::Register | What::Login { .. } => self.settings.admission_timeout,
            _ => self.settings.answer_timeout,
        };
        let until = now.saturating_add(time);
        self.asked.insert(ticket, Asked { peer, action, what, late: false });
        match self.peers.get_mut(peer) {
            Some(state) if state.gone.is_none() => {
                state.in_work = Some(ticket);
                self.answers.set(ticket, until);
                if state.queued.full {
                    // Longer than the answer may take, after which the next request has its turn.
                    self.outbox.pause(peer, until.saturating_add(Duration::from_secs(1)));
                }
            }
            _ => self.wait_no_longer(ticket),
        }
        ticket
    }

    /// `peer` has the answer that it has been waiting for: its next request has its turn.
    pub(super) fn resume(&mut self, now: Instant, peer: PeerId, ticket: Ticket) {
        self.answers.clear(ticket);
        let state = self.peers.get_mut(peer).filter(|state| state.in_work == Some(ticket));
        let Some(state) = state else { return };
        state.in_work = None;
        self.arrange_turn(now, peer);
    }

    /// The application's answer.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        ticket: Ticket,
        verdict: Result<(), Code>,
    ) -> Result<(), Refusal> {
        let asked = self.asked.get(&ticket).ok_or(Refusal::UnknownTicket)?;
        if matches!(asked.what, What::Login { .. }) && verdict.is_ok() {
            return Err(Refusal::Unexpected { state: "a user logs in", command: "allow it: admit" });
        }
        let Some(Asked { peer, action, what, late }) = self.asked.remove(&ticket) else { return Ok(()) };
        let code = match verdict {
            Ok(()) => Code::SUCCESS,
            Err(code) => code,
        };
        let keeps = matches!(what, What::Keep { .. });
        let code = match what {
            What::Register | What::Login { .. } => {
                self.stats.refused = self.stats.refused.saturating_add(u64::from(!code.is_success()));
                code
            }
            What::AddContact { otherwise } if code.is_success() => otherwise,
            What::AddContact { .. } => code,
            What::CreateGroup { group_name, owner } => {
                self.groups.created(
                    now,
                    &group_name,
                    &owner,
                    self.settings.lone_group_lifetime,
                    code.is_success(),
                );
                code
            }
            What::JoinGroup { group_name, username } => {
                self.groups.joined(&group_name, &username, code.is_success());
                code
            }
            What::Keep { delivered: true } => Code::SUCCESS,
            What::Keep { .. } => code,
        };
        if keeps && code.is_success() {
            self.count(action);
        }
        if !late && self.peers.get(peer).is_some() {
            self.respond(peer, action, code);
        }
        self.resume(now, peer, ticket);
        Ok(())
    }

    /// The application takes too long.
    pub(super) fn give_up(&mut self, now: Instant, ticket: Ticket) {
        let Some(&Asked { peer, action, ref what, .. }) = self.asked.get(&ticket) else { return };
        let code = match what {
            // It must not be sent to them again.
            What::Keep { delivered: true } => Code::SUCCESS,
            _ => Code::SERVER_UNAVAILABLE,
        };
        self.respond(peer, action, code);
        self.wait_no_longer(ticket);
        self.resume(now, peer, ticket);
    }

    /// No user waits for that answer any more. It still counts where it says what there is.
    pub(super) fn wait_no_longer(&mut self, ticket: Ticket) {
        self.answers.clear(ticket);
        match self.asked.get_mut(&ticket) {
            Some(Asked {
                what: What::CreateGroup { .. } | What::JoinGroup { .. } | What::Keep { .. },
                late,
                ..
            }) => *late = true,
            _ => drop(self.asked.remove(&ticket)),
        }
    }
}
