//! What a device sends to one user.

use super::numbers::{Block, Runs};
use crate::clock;
use core::net::SocketAddr;
use tokio::sync::mpsc::Sender;
use voxwire_core::{Handler, Instant, PeerId};
use voxwire_syfala::{Cause, Client, ClientEvent};

/// What has happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A device, and what can be sent to it; or why not.
    Found {
        server: PeerId,
        from: Option<SocketAddr>,
        block: Result<Block, String>,
    },
    Started,
    Refused,
    Interrupted,
    Lost(Cause),
    /// So many samples with a number have come in.
    Heard {
        number: u32,
        samples: usize,
        at: u64,
    },
    /// Something before this was left out, as too much waited to be looked at.
    Missed,
}

/// Hands on what comes in.
#[derive(Debug)]
pub(crate) struct Incoming {
    sender: Sender<Happening>,
    runs: Option<Runs>,
    missed: bool,
}

impl Incoming {
    pub(crate) const fn new(sender: Sender<Happening>) -> Self {
        Self { sender, runs: None, missed: false }
    }

    fn send(&mut self, happening: Happening) {
        if self.missed && self.sender.try_send(Happening::Missed).is_ok() {
            self.missed = false;
        }
        self.missed |= self.sender.try_send(happening).is_err();
    }
}

impl Handler<Client> for Incoming {
    fn on_event(&mut self, _client: &mut Client, _now: Instant, event: ClientEvent<'_>) {
        let happening = match event {
            ClientEvent::Audio { audio, .. } => {
                let at = clock::now();
                if let Some(mut runs) = self.runs.take().filter(|_| audio.stream == 0) {
                    runs.read(audio.payload, |number, samples| {
                        self.send(Happening::Heard { number, samples, at });
                    });
                    self.runs = Some(runs);
                }
                return;
            }
            ClientEvent::Found { server, from, formats } => {
                let block = Block::new(formats.inputs.iter().next(), formats.outputs.iter().next());
                self.runs = block.as_ref().ok().map(Block::runs);
                Happening::Found { server, from, block }
            }
            ClientEvent::Started { .. } => Happening::Started,
            ClientEvent::StartRefused { .. } => Happening::Refused,
            ClientEvent::Interrupted { .. } => Happening::Interrupted,
            ClientEvent::Lost { cause, .. } => Happening::Lost(cause),
            _ => return,
        };
        self.send(happening);
    }
}
