//! The handler of a syfala server that sends every client what it sends. Included by path.
#![allow(clippy::unwrap_used)]

use voxwire_core::{Handler, Instant, Session as _};
use voxwire_syfala::{IoResult, Server, ServerCommand, ServerEvent};

/// Sends every client what it sends.
pub(crate) struct Echo;

impl Handler<Server> for Echo {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let command = match event {
            ServerEvent::Audio { client, audio } => {
                ServerCommand::Play { client, stream: 0, samples: audio.payload }
            }
            ServerEvent::StartIo { client } => {
                ServerCommand::StartIoResult { client, result: IoResult::Success }
            }
            _ => return,
        };
        server.handle_command(now, command).unwrap();
    }
}
