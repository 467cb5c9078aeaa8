//! Users whose session a connection drives: those of all protocols but syfala.

use crate::error::{Cause, cause};
use crate::listener::Listener;
use crate::payload::Stamp;
use crate::plan::Plan;
use crate::user::Member;
use core::time::Duration;
use tokio::time::timeout;
use voxwire_core::{Instant, Session};
use voxwire_transport::{Connection, ConnectionSettings, Remote};

/// How long a goodbye may take to be written.
const GOODBYE: Duration = Duration::from_secs(2);

/// What one user of a protocol does with its session.
pub(crate) trait Protocol: Sized {
    type Session: Session;

    /// The session, where to, and the user's state.
    fn new(plan: &Plan, user: u32) -> Result<(Self::Session, Remote, Self), Cause>;

    /// Handles an event. `listener`: where frames go that are heard.
    fn on_event(
        &mut self,
        session: &mut Self::Session,
        now: Instant,
        event: <Self::Session as Session>::Event<'_>,
        listener: &mut Option<&mut Listener>,
    ) -> Result<(), Cause>;

    /// Whether the server has let it in.
    fn is_joined(&self, connection: &Connection<Self::Session>) -> bool;

    /// As [`Member::set_up`].
    fn set_up(&mut self, session: &mut Self::Session, now: Instant) -> Result<bool, Cause>;

    /// As [`Member::is_ready`].
    fn is_ready(&self, connection: &Connection<Self::Session>) -> bool;

    /// As [`Member::say`].
    fn say(&mut self, session: &mut Self::Session, now: Instant, frame: &[u8]) -> Result<(), Cause>;
}

/// A user with its connection.
pub(crate) struct Driven<P: Protocol> {
    protocol: P,
    connection: Connection<P::Session>,
    frame: Vec<u8>,
}

impl<P: Protocol> Driven<P> {
    async fn turn(&mut self, mut listener: Option<&mut Listener>) -> Result<(), Cause> {
        let Self { protocol, connection, .. } = self;
        let Some(turn) = connection.next().await else { return Err(self.lost()) };
        match turn.result {
            Ok(Some(event)) => protocol.on_event(turn.session, turn.now, event, &mut listener),
            Ok(None) => Ok(()),
            Err(violation) => {
                let cause = cause!("the server sent what it may not: {violation}");
                let Some(listener) = listener else { return Err(cause) };
                listener.error(cause);
                Ok(())
            }
        }
    }

    fn lost(&self) -> Cause {
        let what = if self.connection.has_received() { "lost" } else { "lost before the server answered" };
        match self.connection.error() {
            Some(error) => cause!("connection {what}: {error}"),
            None => cause!("connection {what}"),
        }
    }
}

impl<P: Protocol> Member for Driven<P> {
    async fn join(plan: &Plan, user: u32) -> Result<Self, Cause> {
        let (session, remote, protocol) = P::new(plan, user)?;
        let settings = ConnectionSettings {
            // As long as a user may take: who waits for longer is told so there.
            connect: Duration::from_secs(u64::from(plan.timeout) + 1),
            ..ConnectionSettings::DEFAULT
        };
        let connection = Connection::connect(remote, session, settings).await;
        let connection = connection.map_err(|error| cause!("connecting: {error}"))?;
        let mut member = Self { protocol, connection, frame: vec![0; plan.bytes] };
        while !member.protocol.is_joined(&member.connection) {
            member.turn(None).await?;
        }
        Ok(member)
    }

    fn set_up(&mut self) -> Result<bool, Cause> {
        let Self { protocol, connection, .. } = self;
        connection.call(|session, now| protocol.set_up(session, now))
    }

    fn is_ready(&self) -> bool {
        self.protocol.is_ready(&self.connection)
    }

    fn rate(&self, plan: &Plan) -> f64 {
        plan.rate.into()
    }

    async fn next(&mut self, listener: &mut Listener) -> Result<(), Cause> {
        self.turn(Some(listener)).await
    }

    fn say(&mut self, stamp: Stamp) -> Result<(), Cause> {
        let Self { protocol, connection, frame } = self;
        stamp.write(frame);
        connection.call(|session, now| protocol.say(session, now, frame))
    }

    async fn leave(mut self) {
        self.connection.shutdown();
        let rest = async { while self.connection.next().await.is_some() {} };
        let _ = timeout(GOODBYE, rest).await;
    }
}
