//! Calls of two by way of the server, raw samples over TCP.

use crate::driven::{Driven, Protocol};
use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::MIN_BYTES;
use crate::plan::Plan;
use crate::protocols::{Entry, Frames, Grouping};
use crate::user::live;
use voxwire_core::{Instant, Session, Untrusted};
use voxwire_transport::{Connection, Remote};
use voxwire_voicelink::{
    ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, Format, Parameters, Ranges,
};

pub(crate) const ENTRY: Entry = Entry {
    name: "voicelink",
    port: DEFAULT_PORT,
    quic_port: None,
    encrypted: true,
    grouping: Grouping::Pairs,
    ordered: true,
    // Beyond 1000 packets a second the server pauses reading.
    frames: Some(Frames { rate: 1..=1000, bytes: MIN_BYTES..=1 << 16, default_bytes: 640, unit: 1 }),
    ramp: 500,
    descriptors: 1,
    advice: "a server with `secrets-only` lets none of these users in",
    configure: |_, _| {},
    live: |run, user| Box::pin(live::<Driven<Caller>>(run, user)),
};

/// One side of a call: users with even numbers call the next one.
#[derive(Debug)]
pub(crate) struct Caller {
    user: u32,
    callee: String,
    name: String,
    parameters: Parameters,
    joined: bool,
    ready: bool,
}

/// 8 bits a sample, so that a frame may have any length; as many samples a second as are sent, which the server's queue goes by.
fn parameters(plan: &Plan) -> Parameters {
    let bytes = u32::try_from(plan.bytes).unwrap_or(u32::MAX);
    let rate = bytes.saturating_mul(plan.rate).clamp(1000, Ranges::DEFAULT.max_sample_rate);
    Parameters { sample_rate: rate, channels: 1, format: Format::U8, chunk_size: bytes }
}

impl Protocol for Caller {
    type Session = Client;

    fn new(plan: &Plan, user: u32) -> Result<(Client, Remote, Self), Cause> {
        let caller = Self {
            user,
            callee: plan.name(user + 1),
            name: plan.name(user),
            parameters: parameters(plan),
            joined: false,
            ready: false,
        };
        Ok((Client::new(ClientSettings::DEFAULT), plan.remote(Remote::tcp(plan.server()))?, caller))
    }

    fn on_event(
        &mut self,
        session: &mut Client,
        now: Instant,
        event: ClientEvent<'_>,
        listener: &mut Option<&mut Listener>,
    ) -> Result<(), Cause> {
        let mut tell = |command| {
            session.handle_command(now, command).map_err(|refusal| cause!("not possible here: {refusal}"))
        };
        match event {
            ClientEvent::Data { samples } => {
                if let Some(listener) = listener {
                    listener.hear(samples);
                }
            }
            ClientEvent::Connected => tell(ClientCommand::Register {
                name: &self.name,
                secret: None,
                preferred: self.parameters,
                samples: ByteOrder::BigEndian,
            })?,
            ClientEvent::Registered => self.joined = true,
            ClientEvent::Incoming { .. } => {
                tell(ClientCommand::Accept { optional: b"" })?;
                self.ready = true;
            }
            ClientEvent::Established { .. } => self.ready = true,
            ClientEvent::RegistrationRefused { reason } => {
                return Err(cause!("name refused: {}", Untrusted::new(reason)));
            }
            ClientEvent::NotFound => return Err(cause!("calling: the server does not know the callee")),
            ClientEvent::Dropped { optional } => {
                return Err(cause!("call dropped: {}", Untrusted::new(optional)));
            }
            ClientEvent::NoAnswer { request } => return Err(cause!("no answer: {request:?}")),
            ClientEvent::Disconnected { .. } => return Ok(()),
            other => return Err(cause!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn is_joined(&self, _connection: &Connection<Client>) -> bool {
        self.joined
    }

    fn set_up(&mut self, session: &mut Client, now: Instant) -> Result<bool, Cause> {
        if self.user % 2 == 1 {
            return Ok(false);
        }
        let (user, parameters) = (self.callee.as_bytes(), self.parameters);
        let called = session.handle_command(now, ClientCommand::Call { user, parameters, optional: b"" });
        called.map(|()| true).map_err(|refusal| cause!("calling: {refusal}"))
    }

    fn is_ready(&self, _connection: &Connection<Client>) -> bool {
        self.ready
    }

    fn say(&mut self, session: &mut Client, now: Instant, frame: &[u8]) -> Result<(), Cause> {
        let said = session.handle_command(now, ClientCommand::Say { samples: frame });
        said.map_err(|refusal| cause!("not said: {refusal}"))
    }
}
