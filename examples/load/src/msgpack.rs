//! Group calls, and the accounts and groups that they need.

use crate::driven::{Driven, Protocol};
use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::MIN_BYTES;
use crate::plan::Plan;
use crate::protocols::{Entry, Frames, Grouping};
use crate::user::live;
use voxwire_core::{Instant, Session};
use voxwire_msgpack::{
    Action, Client, ClientCommand, ClientEvent, ClientSettings, Code, DEFAULT_PORT, Samples,
};
use voxwire_transport::{Connection, Remote};

pub(crate) const ENTRY: Entry = Entry {
    name: "msgpack",
    port: DEFAULT_PORT,
    quic_port: None,
    encrypted: true,
    grouping: Grouping::Groups,
    ordered: true,
    // Beyond 120 messages a second the server pauses reading.
    frames: Some(Frames { rate: 1..=120, bytes: MIN_BYTES..=1 << 16, default_bytes: 1764, unit: 2 }),
    // Hashing a password takes some 30 ms.
    ramp: 20,
    descriptors: 1,
    advice: "each log-in costs the server a hash of a password: a lower --ramp or a longer --timeout gives it time; \
             accounts are made where `register` allows it, `max-accounts` bounds them",
    configure: |_, _| {},
    live: |run, user| Box::pin(live::<Driven<Participant>>(run, user)),
};

/// The password of all accounts that this program makes.
const PASSWORD: &str = "voxwire-load";

/// A user who takes part in the call of its group.
#[derive(Debug)]
pub(crate) struct Participant {
    name: String,
    group: String,
    /// The first of a group makes it.
    makes_group: bool,
    joined: bool,
    ready: bool,
    samples: Vec<i16>,
    bytes: Vec<u8>,
}

impl Participant {
    /// Goes on after the answer to a request.
    fn answered(
        &mut self,
        session: &mut Client,
        now: Instant,
        action: Action,
        code: Code,
    ) -> Result<(), Cause> {
        let (username, password) = (self.name.as_str().into(), PASSWORD.into());
        let group_name = self.group.as_str().into();
        let next = match (action, code) {
            // There is no such account yet.
            (Action::Login, Code::USER_WRONG_PASSWORD) => ClientCommand::Register { username, password },
            (Action::Register, Code::SUCCESS) => ClientCommand::Login { username, password },
            (Action::CreateGroup, Code::SUCCESS | Code::GROUP_ALREADY_EXIST) => {
                self.joined = true;
                return Ok(());
            }
            (Action::JoinGroup, Code::SUCCESS | Code::GROUP_MEMBER_ALREADY_EXIST) => {
                ClientCommand::JoinCall { group_name }
            }
            (Action::Register, Code::USER_ALREADY_EXIST) => {
                return Err(cause!(
                    "logging in: the account has another password (--prefix chooses other accounts)"
                ));
            }
            (action, code) => return Err(cause!("{}: {code}", action.name())),
        };
        tell(session, now, next)
    }
}

fn tell(session: &mut Client, now: Instant, command: ClientCommand<'_>) -> Result<(), Cause> {
    session.handle_command(now, command).map_err(|refusal| cause!("not possible here: {refusal}"))
}

impl Protocol for Participant {
    type Session = Client;

    fn new(plan: &Plan, user: u32) -> Result<(Client, Remote, Self), Cause> {
        let group = plan.group(user);
        let participant = Self {
            name: plan.name(user),
            group: format!("{}-group-{group}", plan.prefix),
            makes_group: plan.talkers > 0 && (user == 0 || plan.group(user - 1) != group),
            joined: false,
            ready: false,
            samples: Vec::new(),
            bytes: Vec::new(),
        };
        // Who is lost stays lost, and is counted.
        let settings = ClientSettings { reconnect: None, ..ClientSettings::DEFAULT };
        Ok((Client::new(settings), plan.remote(Remote::tcp(plan.server()))?, participant))
    }

    fn on_event(
        &mut self,
        session: &mut Client,
        now: Instant,
        event: ClientEvent<'_>,
        listener: &mut Option<&mut Listener>,
    ) -> Result<(), Cause> {
        match event {
            ClientEvent::CallData { samples, .. } => {
                self.samples.clear();
                samples.append_to(&mut self.samples);
                self.bytes.clear();
                self.bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
                if let Some(listener) = listener {
                    listener.hear(&self.bytes);
                }
                Ok(())
            }
            ClientEvent::Connected => {
                let (username, password) = (self.name.as_str().into(), PASSWORD.into());
                tell(session, now, ClientCommand::Login { username, password })
            }
            ClientEvent::LoggedIn { .. } if self.makes_group => {
                tell(session, now, ClientCommand::CreateGroup { group_name: self.group.as_str().into() })
            }
            ClientEvent::LoggedIn { .. } => {
                self.joined = true;
                Ok(())
            }
            ClientEvent::Response { action, code, .. } => self.answered(session, now, action, code),
            ClientEvent::CallJoined { .. } => {
                self.ready = true;
                Ok(())
            }
            ClientEvent::NoAnswer { action } => Err(cause!("{}: no answer", action.name())),
            ClientEvent::Skipped => Err(cause!("the server sent a message that is too large")),
            _ => Ok(()),
        }
    }

    fn is_joined(&self, _connection: &Connection<Client>) -> bool {
        self.joined
    }

    fn set_up(&mut self, session: &mut Client, now: Instant) -> Result<bool, Cause> {
        let group_name = self.group.as_str().into();
        tell(session, now, ClientCommand::JoinGroup { group_name }).map(|()| true)
    }

    fn is_ready(&self, _connection: &Connection<Client>) -> bool {
        self.ready
    }

    fn say(&mut self, session: &mut Client, now: Instant, frame: &[u8]) -> Result<(), Cause> {
        self.samples.clear();
        self.samples.extend(frame.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes)));
        let said = session.handle_command(now, ClientCommand::Say { samples: Samples::from(&*self.samples) });
        said.map_err(|refusal| cause!("not said: {refusal}"))
    }
}
