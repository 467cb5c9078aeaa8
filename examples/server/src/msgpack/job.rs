//! What the thread that writes to the database is asked to do.

use super::store::{Keeping, Outcome, Store};
use super::undeleted::Undeleted;
use voxwire_core::{Instant, PeerId};
use voxwire_msgpack::Ticket;

/// Something for the database.
pub(super) enum Job {
    Register {
        ticket: Ticket,
        username: Box<[u8]>,
        password: String,
    },
    /// Name and password are right.
    Admit {
        ticket: Ticket,
        peer: PeerId,
        username: Box<[u8]>,
    },
    /// The same password, hashed anew.
    Rehash {
        username: Box<[u8]>,
        password: String,
    },
    AddContact {
        ticket: Ticket,
        username: Box<[u8]>,
        contact: Box<[u8]>,
        store: bool,
    },
    CreateGroup {
        ticket: Ticket,
        group_name: Box<[u8]>,
        owner: Box<[u8]>,
    },
    JoinGroup {
        ticket: Ticket,
        group_name: Box<[u8]>,
        username: Box<[u8]>,
    },
    ForgetGroup {
        group_name: Box<[u8]>,
    },
    /// A group is used today.
    UseGroup {
        group_name: Box<[u8]>,
    },
    Keep {
        ticket: Ticket,
        sender: Box<[u8]>,
        /// Who pays for it: a network.
        source: Option<Box<[u8]>>,
        recipients: Vec<Box<[u8]>>,
        body: Vec<u8>,
        /// When its sender has been told that it is not kept.
        until: Instant,
    },
    /// These have arrived; the next ones can be delivered, and maybe without those that were delivered before: they have been read.
    Received {
        peer: PeerId,
        username: Box<[u8]>,
        messages: Vec<i64>,
        next: bool,
    },
    /// These have arrived, and more have that are not deleted yet.
    Delete {
        username: Box<[u8]>,
        messages: Vec<i64>,
    },
    /// What was delivered so far has been read; the next ones can be delivered.
    Next {
        peer: PeerId,
        username: Box<[u8]>,
    },
}

/// What came of a job within its transaction.
pub(super) enum Done {
    Outcome(Outcome),
    Message(Keeping),
}

/// Does one job within a transaction.
pub(super) fn perform(store: &Store, job: &Job, undeleted: &Undeleted) -> rusqlite::Result<Done> {
    Ok(match job {
        Job::Register { username, password, .. } => Done::Outcome(store.register(username, password)?),
        Job::Rehash { username, password } => Done::Outcome(store.rehash(username, password)?),
        Job::AddContact { username, contact, store: keep, .. } => {
            Done::Outcome(store.add_contact(username, contact, *keep)?)
        }
        Job::CreateGroup { group_name, owner, .. } => {
            if undeleted.groups.contains(group_name) {
                store.forget_group(group_name)?;
            }
            Done::Outcome(store.create_group(group_name, owner)?)
        }
        Job::JoinGroup { group_name, username, .. } => Done::Outcome(store.join_group(group_name, username)?),
        Job::ForgetGroup { group_name } => Done::Outcome(store.forget_group(group_name)?),
        Job::UseGroup { group_name } => Done::Outcome(store.use_group(group_name)?),
        Job::Keep { sender, source, recipients, body, .. } => {
            Done::Message(store.keep(sender, source.as_deref(), recipients, body)?)
        }
        Job::Received { username, messages, .. } => {
            let all = messages.iter().chain(undeleted.of(username));
            all.into_iter().try_for_each(|message| store.received(username, *message))?;
            Done::Outcome(Outcome::Done)
        }
        Job::Delete { username, messages } => {
            messages.iter().try_for_each(|message| store.received(username, *message))?;
            Done::Outcome(Outcome::Done)
        }
        // Kept messages are read when it is done.
        Job::Admit { .. } | Job::Next { .. } => Done::Outcome(Outcome::Done),
    })
}

impl Job {
    /// What it costs to do it: 1 for each message that is stored or deleted, and for 512 bytes that are held meanwhile; a request 1.
    pub(super) fn cost(&self) -> u64 {
        let cost = match self {
            Self::Keep { recipients, body, .. } => {
                let names = recipients.iter().map(|name| name.len().saturating_add(size_of::<Box<[u8]>>()));
                let bytes = names.fold(size_of::<Self>(), usize::saturating_add).saturating_add(body.len());
                recipients.len().saturating_add(bytes.div_ceil(512))
            }
            Self::Received { messages, .. } | Self::Delete { messages, .. } => messages.len().max(1),
            _ => 1,
        };
        cost as u64
    }

    /// Whether it is a message to be kept.
    pub(super) const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep { .. })
    }

    /// Whether less is stored afterwards.
    pub(super) const fn makes_room(&self) -> bool {
        matches!(self, Self::Received { .. } | Self::Delete { .. } | Self::ForgetGroup { .. })
    }

    /// Which question it answers.
    pub(super) const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Register { ticket, .. }
            | Self::Admit { ticket, .. }
            | Self::AddContact { ticket, .. }
            | Self::CreateGroup { ticket, .. }
            | Self::JoinGroup { ticket, .. }
            | Self::Keep { ticket, .. } => Some(*ticket),
            Self::Rehash { .. }
            | Self::Received { .. }
            | Self::Delete { .. }
            | Self::Next { .. }
            | Self::ForgetGroup { .. }
            | Self::UseGroup { .. } => None,
        }
    }
}
