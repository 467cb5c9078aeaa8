//! What the clients of all protocols do with their connection to the server in the same way.

use crate::error::{Error, failed};
use crate::link::advice::{OTHER_PORT, SPEAK_TLS, on_silence};
use crate::link::{Link, close};
use crate::recordings::Recordings;
use crate::report::Report;
use crate::signals::Signals;
use core::future::Future;
use core::time::Duration;
use std::path::PathBuf;
use tokio::time::Instant;
use tracing::warn;
use voxwire_core::Session;
use voxwire_transport::Connection;

/// A client's connection to its server, and what goes on beside it.
pub(crate) struct Dialogue<S: Session> {
    /// The protocol's name.
    protocol: &'static str,
    pub(crate) connection: Connection<S>,
    pub(crate) recordings: Recordings,
    pub(crate) signals: Signals,
    /// When there was a connection.
    since: Instant,
    tls: bool,
}

/// Who has answered for so long does not speak another protocol.
const BEGINNING: Duration = Duration::from_secs(15);

impl<S: Session> Dialogue<S> {
    /// Connects, unless a signal comes. `record`: where what is heard is recorded.
    pub(crate) async fn open(
        protocol: &'static str,
        link: &Link,
        connecting: impl Future<Output = Result<Connection<S>, Error>>,
        record: Option<PathBuf>,
        report: &Report,
        mut signals: Signals,
    ) -> Result<Self, Error> {
        let mut connection = signals.interrupt("connecting", connecting).await?;
        // The first turn is the connection itself.
        if connection.next().await.is_none() {
            return Err(failed!("the server closed the connection"));
        }
        let recordings = Recordings::new(record, report);
        let (since, tls) = (Instant::now(), link.trust.is_some());
        Ok(Self { protocol, connection, recordings, signals, since, tls })
    }

    /// What it most probably means that the server says nothing.
    pub(crate) const fn on_silence(&self) -> &'static str {
        on_silence(self.tls)
    }

    /// Why the connection ended on its own: the network's fault, or what came in was not of this protocol.
    pub(crate) fn lost(&self, doing: &str) -> Error {
        let lost = format!("the connection to the server was lost while {doing}");
        let lost = match self.connection.error() {
            None | Some(voxwire_transport::Error::Closed) => lost,
            Some(voxwire_transport::Error::Frame(error)) => {
                let protocol = self.protocol;
                return failed!(
                    "what the server sent while {doing} is not {protocol}: {error}: {OTHER_PORT}"
                );
            }
            Some(error @ voxwire_transport::Error::SpeaksTls) => return failed!("{error}: {SPEAK_TLS}"),
            Some(error) => format!("{lost}: {error}"),
        };
        if self.connection.has_received() || self.since.elapsed() > BEGINNING {
            return Error::Failed(lost);
        }
        failed!("{lost}: {}", self.on_silence())
    }

    /// Has a command carried out.
    pub(crate) fn tell(&mut self, command: S::Command<'_>) -> Result<(), Error> {
        let told = self.connection.call(|session, now| session.handle_command(now, command));
        told.map_err(|refusal| failed!("{refusal}"))
    }

    /// The next event that `of` takes, or violation that `violation` does; `None` for a signal.
    pub(crate) async fn next_event<T>(
        &mut self,
        mut of: impl FnMut(S::Event<'_>) -> Option<T>,
        mut violation: impl FnMut(&S::Violation) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        loop {
            let turn = tokio::select! {
                turn = self.connection.next() => turn,
                () = self.recordings.next_ended() => continue,
                () = self.signals.recv() => return Ok(None),
            };
            let Some(turn) = turn else { break };
            let found = match turn.result {
                Ok(event) => event.and_then(&mut of),
                Err(error) => violation(&error).or_else(|| {
                    warn!(violation = %error, "ignored");
                    None
                }),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Err(self.lost("waiting for an answer"))
    }

    /// Says goodbye, and waits a moment until that is written. What it records is still to be [ended](Recordings::end).
    pub(crate) async fn close(mut self) -> Recordings {
        close(&mut self.connection).await;
        self.recordings
    }
}
