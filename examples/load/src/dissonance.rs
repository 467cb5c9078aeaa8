//! Rooms, over TCP and UDP or over QUIC.

use crate::driven::{Driven, Protocol};
use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::MIN_BYTES;
use crate::plan::Plan;
use crate::protocols::{Entry, Frames, Grouping};
use crate::user::live;
use voxwire_core::{Instant, Limits, Session};
use voxwire_dissonance::{
    Client, ClientCommand, ClientEvent, ClientSettings, DEFAULT_PORT, SessionState, Speech, Target,
};
use voxwire_server::{Config, DEFAULT_QUIC_PORT, Dissonance};
use voxwire_transport::{Connection, Remote, TcpUdpSettings};

pub(crate) const ENTRY: Entry = Entry {
    name: "dissonance",
    port: DEFAULT_PORT,
    quic_port: Some(DEFAULT_QUIC_PORT),
    encrypted: true,
    grouping: Grouping::Groups,
    ordered: false,
    // Beyond 120 frames a second the server drops them.
    frames: Some(Frames { rate: 1..=120, bytes: MIN_BYTES..=900, default_bytes: 80, unit: 1 }),
    ramp: 500,
    descriptors: 2,
    advice: "each user that joins is described to all others: a lower --ramp gives the server time; \
             voice goes by UDP, which firewalls have to let through to the server's port; \
             of one address the server takes 1920 voice frames a second, and 10 handshakes",
    configure: |config: &mut Config, plan| {
        let settings = config.of_mut::<Dissonance>();
        (settings.quic, settings.tcp) = (plan.is_quic(), !plan.is_quic());
    },
    live: |run, user| Box::pin(live::<Driven<Player>>(run, user)),
};

/// A player in one room.
#[derive(Debug)]
pub(crate) struct Player {
    room: String,
    talks: bool,
    quic: bool,
    /// Others are to listen, too.
    has_company: bool,
}

impl Protocol for Player {
    type Session = Client;

    fn new(plan: &Plan, user: u32) -> Result<(Client, Remote, Self), Cause> {
        let group = plan.group(user);
        let same =
            |other: Option<u32>| other.is_some_and(|other| other < plan.users && plan.group(other) == group);
        let player = Self {
            room: format!("{}-room-{group}", plan.prefix),
            talks: plan.talks(user),
            quic: plan.is_quic(),
            has_company: same(user.checked_sub(1)) || same(user.checked_add(1)),
        };
        let limits = Limits { max_peers: usize::from(u16::MAX), ..ClientSettings::DEFAULT.limits };
        let settings = ClientSettings { limits, seed: user.into(), ..ClientSettings::DEFAULT };
        let client = Client::new(&plan.name(user), settings).and_then(|mut client| {
            client.handle_command(Instant::ZERO, ClientCommand::Join { room: &player.room })?;
            Ok(client)
        });
        let remote =
            Remote::tcp_udp(plan.server(), TcpUdpSettings { fallback: false, ..TcpUdpSettings::default() });
        Ok((client.map_err(|refusal| cause!("joining: {refusal}"))?, plan.remote(remote)?, player))
    }

    fn on_event(
        &mut self,
        _session: &mut Client,
        _now: Instant,
        event: ClientEvent<'_>,
        listener: &mut Option<&mut Listener>,
    ) -> Result<(), Cause> {
        match event {
            ClientEvent::Voice(voice) => {
                if let Some(listener) = listener {
                    listener.hear(voice.frame);
                }
            }
            ClientEvent::NoAnswer { asked } if asked >= 3 => {
                return Err(cause!(
                    "joining: the server does not answer; perhaps the names are in use (--prefix)"
                ));
            }
            ClientEvent::Disconnected { cause: lost, .. } => return Err(cause!("disconnected: {lost}")),
            _ => {}
        }
        Ok(())
    }

    fn is_joined(&self, connection: &Connection<Client>) -> bool {
        connection.session().state() == SessionState::Connected
            && (self.quic || connection.udp() == Some(true))
    }

    fn set_up(&mut self, session: &mut Client, now: Instant) -> Result<bool, Cause> {
        if self.talks {
            let open = ClientCommand::Open { to: Target::Room(&self.room), as_: Speech::DEFAULT };
            session.handle_command(now, open).map_err(|refusal| cause!("opening a channel: {refusal}"))?;
        }
        Ok(true)
    }

    /// A client says nothing into a room of which it knows no other listener.
    fn is_ready(&self, connection: &Connection<Client>) -> bool {
        let client = connection.session();
        let mut rooms = client.rooms().filter(|(room, _)| *room == self.room);
        let others = rooms.any(|(_, listeners)| listeners.iter().any(|id| Some(*id) != client.id()));
        !self.talks || !self.has_company || others
    }

    fn say(&mut self, session: &mut Client, now: Instant, frame: &[u8]) -> Result<(), Cause> {
        let said = session.handle_command(now, ClientCommand::Say { frame });
        said.map_err(|refusal| cause!("not said: {refusal}"))
    }
}
