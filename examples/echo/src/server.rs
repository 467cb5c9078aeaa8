use crate::{Error, LIMITS, Packet};
use core::{convert::Infallible, time::Duration};
use voxwire_core::{Bucket, Connections, Datagram, Deadlines, EncodeError, Input, Instant, Lane, Message};
use voxwire_core::{Outbox, PeerId, Rate, Session};

/// Settings of a [`Server`].
#[derive(Debug, Clone, Copy)]
pub struct ServerSettings {
    /// Clients at a time. Default: 1024. For one more, the oldest is closed that has never sent a request.
    pub max_peers: usize,
    /// Requests of one client that are answered; further ones are ignored. Default: 100 a second, 200 at once.
    pub rate: Rate,
    /// How long a client may send no request before it is closed. Default: 60 s.
    pub idle: Duration,
}

impl ServerSettings {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        max_peers: LIMITS.max_peers,
        rate: Rate { per_second: 100, burst: 200 },
        idle: Duration::from_secs(60),
    };
}

/// Counters of a server, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Requests answered.
    pub answered: u64,
    /// Requests that were not answered because of the rate.
    pub over_rate: u64,
    /// Other packets that were ignored.
    pub violations: u64,
}

/// A server, which answers what it is asked.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    /// Each with its rate; evictable until it has asked something.
    peers: Connections<Bucket>,
    /// When each has said nothing for too long.
    idle: Deadlines<PeerId>,
    outbox: Outbox,
    stats: ServerStats,
}

impl Server {
    /// Without clients.
    pub fn new(settings: ServerSettings) -> Self {
        let (peers, outbox) = (Connections::new(settings.max_peers), Outbox::new(LIMITS.max_outbox));
        Self { settings, peers, idle: Deadlines::new(), outbox, stats: ServerStats::default() }
    }

    /// What has been counted.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    fn forget(&mut self, peer: PeerId) {
        self.idle.clear(peer);
        self.peers.remove(peer);
    }

    fn close(&mut self, peer: PeerId) {
        self.outbox.close(peer);
        self.forget(peer);
    }

    fn request(&mut self, now: Instant, peer: PeerId, lane: Lane, bytes: &[u8]) -> Result<(), Error> {
        let bucket = self.peers.get_mut(peer).ok_or(Error::NoPeer)?;
        // Before anything is counted: what is refused for lack of room can be handed in again.
        self.outbox.check_capacity(bytes.len(), 1).map_err(EncodeError::from)?;
        bucket.take(now, self.settings.rate, 1).map_err(|_| Error::OverRate)?;
        let request = Packet::decode(bytes, &())?;
        let request = Some(request).filter(|request| !request.answer).ok_or(Error::Unexpected)?;
        self.outbox.send([peer], lane, &Packet { answer: true, ..request }, &())?;
        self.peers.keep(peer);
        self.idle.set(peer, now.saturating_add(self.settings.idle));
        Ok(())
    }
}

impl Session for Server {
    type Framing = Datagram;
    type Command<'a> = Infallible;
    type Event<'a> = Infallible;
    type Violation = Error;
    type Refusal = Infallible;

    fn framing(&self) -> Datagram {
        Datagram { max: LIMITS.max_frame }
    }

    fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Result<Option<Infallible>, Error> {
        match input {
            Input::Opened { peer, from, .. } => {
                if let Some(silent) = self.peers.to_evict() {
                    self.close(silent);
                }
                if !self.peers.open(now, peer, from, Bucket::default()) {
                    self.outbox.close(peer);
                    return Err(Error::NoPeer);
                }
                self.idle.set(peer, now.saturating_add(self.settings.idle));
            }
            Input::Frame { peer, lane, bytes } => {
                let result = self.request(now, peer, lane, bytes);
                let count = match result {
                    Ok(()) => &mut self.stats.answered,
                    Err(Error::OverRate) => &mut self.stats.over_rate,
                    Err(_) => &mut self.stats.violations,
                };
                *count = count.saturating_add(1);
                result?;
            }
            Input::Closed { peer } => self.forget(peer),
            _ => {}
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: Instant, command: Infallible) -> Result<(), Infallible> {
        match command {}
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<Self::Event<'a>> {
        let peer = self.idle.pop(now)?;
        self.close(peer);
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.idle.next()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {
        while let Some((_, peer)) = self.idle.first() {
            self.close(peer);
        }
    }
}
