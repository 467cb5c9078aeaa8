//! What the clients of all protocols do with their connection to the server in the same way.

use crate::error::{Error, failed};
use crate::link::advice::{OTHER_PORT, SPEAK_TLS};
use crate::recordings::Recordings;
use crate::signals::Signals;
use tracing::warn;
use voxwire_core::Session;
use voxwire_transport::Connection;

/// A client with a connection to a server.
pub(crate) trait Dialogue {
    type Session: Session;
    /// The protocol's name.
    const PROTOCOL: &'static str;

    /// What it waits for: the server, recordings to be complete, and signals.
    fn parts(&mut self) -> (&mut Connection<Self::Session>, &mut Recordings, &mut Signals);

    /// Why the connection ended on its own: the network's fault, or what came in was not of this protocol.
    fn lost(&mut self, doing: &str) -> Error {
        match self.parts().0.error() {
            None | Some(voxwire_transport::Error::Closed) => {
                failed!("the connection to the server was lost while {doing}")
            }
            Some(voxwire_transport::Error::Frame(error)) => {
                failed!("what the server sent while {doing} is not {}: {error}: {OTHER_PORT}", Self::PROTOCOL)
            }
            Some(error @ voxwire_transport::Error::SpeaksTls) => failed!("{error}: {SPEAK_TLS}"),
            Some(error) => failed!("the connection to the server was lost while {doing}: {error}"),
        }
    }

    /// Has a command carried out.
    fn tell(&mut self, command: <Self::Session as Session>::Command<'_>) -> Result<(), Error> {
        let told = self.parts().0.call(|session, now| session.handle_command(now, command));
        told.map_err(|refusal| failed!("{refusal}"))
    }

    /// The next event that `of` takes, or violation that `violation` does; `None` for a signal.
    async fn next_event<T>(
        &mut self,
        mut of: impl FnMut(<Self::Session as Session>::Event<'_>) -> Option<T>,
        mut violation: impl FnMut(&<Self::Session as Session>::Violation) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let (connection, recordings, signals) = self.parts();
        loop {
            let turn = tokio::select! {
                turn = connection.next() => turn,
                () = recordings.next_ended() => continue,
                () = signals.recv() => return Ok(None),
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
}
