//! Calls of two that the server carries.

use crate::driven::{Driven, Protocol};
use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::MIN_BYTES;
use crate::plan::Plan;
use crate::protocols::{Entry, Frames, Grouping};
use crate::user::live;
use voxwire_core::{Instant, Limits, Rate, Session, Untrusted};
use voxwire_opcode::{Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, MAX_VOICE};
use voxwire_server::{Config, Opcode};
use voxwire_transport::{Connection, Remote};

pub(crate) const ENTRY: Entry = Entry {
    name: "opcode",
    port: DEFAULT_PORT,
    quic_port: None,
    encrypted: true,
    grouping: Grouping::Pairs,
    ordered: true,
    // Beyond 120 packets a second the server pauses reading.
    frames: Some(Frames { rate: 1..=120, bytes: MIN_BYTES..=MAX_VOICE, default_bytes: 240, unit: 1 }),
    ramp: 200,
    descriptors: 2,
    advice: "the server has to carry calls: --opcode-relay ADDRESS, by which this machine reaches it; \
             of one address it carries 128 calls at a time that are not up yet: a lower --ramp needs fewer; \
             a server with `secrets-only` lets none of these users in",
    configure,
    live: |run, user| Box::pin(live::<Driven<Caller>>(run, user)),
};

fn configure(config: &mut Config, _plan: &Plan) {
    let here = config.bind;
    config.of_mut::<Opcode>().relay = vec![here];
}

/// One side of a call: users with even numbers call the next one.
#[derive(Debug)]
pub(crate) struct Caller {
    user: u32,
    callee: String,
    ready: bool,
}

impl Protocol for Caller {
    type Session = Client;

    fn new(plan: &Plan, user: u32) -> Result<(Client, Remote, Self), Cause> {
        let settings = ClientSettings {
            // The server carries the calls: it dials nobody.
            listen: false,
            // The talkers' own rate is not what is measured.
            voice: Rate { per_second: 100_000, burst: 100_000 },
            limits: Limits { max_items: plan.users as usize + 100_000, ..ClientSettings::DEFAULT.limits },
            ..ClientSettings::DEFAULT
        };
        let mut client = Client::new(settings);
        let login = ClientCommand::Login { name: &plan.name(user) };
        let asked = client.handle_command(Instant::ZERO, login);
        asked.map_err(|refusal| cause!("logging in: {refusal}"))?;
        let caller = Self { user, callee: plan.name(user + 1), ready: false };
        Ok((client, plan.remote(Remote::tcp(plan.server()))?, caller))
    }

    fn on_event(
        &mut self,
        session: &mut Client,
        now: Instant,
        event: ClientEvent<'_>,
        listener: &mut Option<&mut Listener>,
    ) -> Result<(), Cause> {
        match event {
            ClientEvent::Voice { packet, .. } => {
                if let Some(listener) = listener {
                    listener.hear(packet);
                }
            }
            ClientEvent::Incoming { call, .. } => {
                let accepted = session.handle_command(now, ClientCommand::Accept { call });
                accepted.map_err(|refusal| cause!("accepting a call: {refusal}"))?;
            }
            ClientEvent::Established { .. } => self.ready = true,
            ClientEvent::LoginFailed { reason } => {
                return Err(cause!("name refused: {}", Untrusted::new(reason.0)));
            }
            ClientEvent::Rejected { what, .. } => {
                return Err(cause!("calling: {}", Untrusted::new(what.0)));
            }
            ClientEvent::Ended { cause: end, .. } => return Err(cause!("call ended: {end}")),
            ClientEvent::Missed { .. } => return Err(cause!("called twice: the names are in use")),
            ClientEvent::Disconnected => return Err(cause!("connection to the server lost")),
            _ => {}
        }
        Ok(())
    }

    fn is_joined(&self, connection: &Connection<Client>) -> bool {
        connection.session().name().is_some()
    }

    fn set_up(&mut self, session: &mut Client, now: Instant) -> Result<bool, Cause> {
        if self.user % 2 == 1 {
            return Ok(false);
        }
        let called = session.handle_command(now, ClientCommand::Call { contact: self.callee.as_bytes() });
        called.map(|()| true).map_err(|refusal| cause!("calling: {refusal}"))
    }

    fn is_ready(&self, _connection: &Connection<Client>) -> bool {
        self.ready
    }

    fn say(&mut self, session: &mut Client, now: Instant, frame: &[u8]) -> Result<(), Cause> {
        let said = session.handle_command(now, ClientCommand::Say { call: None, packet: frame });
        said.map_err(|refusal| cause!("not said: {refusal}"))
    }
}
