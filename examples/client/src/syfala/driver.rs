//! A client session on the network, its events in a queue, and its audio in order.

use crate::error::{Error, failed};
use crate::report::{Meter, VoiceFigures};
use crate::syfala::Spread;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use voxwire_core::{Handler, Instant, PeerId, Rate, Session as _};
use voxwire_server::syfala::networks;
use voxwire_syfala::stream::{Drift, DriftEstimate, Receiving, StreamSettings, StreamStats, Taken};
use voxwire_syfala::{
    Audio, CLIENT_PORT, Cause, Client, ClientCommand, ClientEvent, ClientSettings, Format, Network, Refusal,
    Violation,
};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

/// What has happened, but for audio.
#[derive(Debug)]
pub(crate) enum Event {
    Found { server: PeerId, from: Option<SocketAddr>, inputs: Vec<Format>, outputs: Vec<Format> },
    Started,
    Failed(&'static str),
    Refused(&'static str),
    Stopped,
    Interrupted,
    Lost { server: PeerId, cause: Cause },
}

/// A client at work.
pub(crate) struct Driver {
    hub: Handle<Client>,
    events: UnboundedReceiver<Event>,
    input_stream: Arc<Mutex<InputStream>>,
}

/// What has been heard of one stream.
pub(crate) struct InputStream {
    /// Which of the inputs.
    input: u32,
    format: Format,
    receiving: Receiving,
    bytes: Vec<u8>,
    drift: Drift,
    /// How evenly messages come.
    meter: Meter,
    /// The end of what has come in, as a byte index; and the most that was in store since the last figures, in bytes.
    end: u64,
    stored: u64,
    /// When messages came, beside when they were due: in seconds, by the nominal rate.
    pub(crate) arrivals: Spread,
    /// The byte index of each message, and when it came in; if that is asked for.
    pub(crate) log: Option<Vec<(u64, tokio::time::Instant)>>,
    /// Told of each message's payload.
    pub(crate) measure: Option<Measure>,
}

pub(crate) type Measure = Box<dyn FnMut(Instant, &[u8]) + Send>;

impl Driver {
    /// Looks for servers at these addresses, and will hear of the input of that number.
    pub(crate) fn start(to: &[SocketAddr], input: u32) -> Result<Self, Error> {
        // Where devices announce themselves, if no other host listens there.
        let listener = match to.first() {
            Some(address) if address.is_ipv6() => {
                Listener::bind_udp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?
            }
            _ => Listener::bind_udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)))
                .or_else(|_| Listener::bind_udp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))?,
        };
        let listener = listener.with_broadcast(to.to_vec())?;
        let mut client = Client::new(ClientSettings::DEFAULT);
        let networks = around(to)?;
        // Neither is refused: there is room for a byte.
        let _ = client.handle_command(Instant::ZERO, ClientCommand::Seek { networks: &networks });
        let _ = client.handle_command(Instant::ZERO, ClientCommand::Discover);
        let (sender, events) = unbounded_channel();
        let input_stream = Arc::new(Mutex::new(InputStream::new(input)));
        let handler = EventSender { sender, input_stream: input_stream.clone() };
        // As many as the widest streams with the shortest buffers take.
        let datagrams = Rate { per_second: 200_000, burst: 200_000 };
        let settings = HubSettings { datagrams, ..HubSettings::DEFAULT };
        let hub =
            Hub::spawn(vec![listener], client, handler, settings).map_err(|error| failed!("{error}"))?;
        Ok(Self { hub, events, input_stream })
    }

    /// What happens next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // The hub holds the other end for as long as we hold the hub.
            None => core::future::pending().await,
        }
    }

    pub(crate) fn command(&self, command: ClientCommand<'_>) -> Result<(), Refusal> {
        self.hub.call(|client, now| client.handle_command(now, command))
    }

    /// The session's clock.
    pub(crate) fn now(&self) -> Instant {
        self.hub.call(|_, now| now)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.hub.call(|client, _| client.stats().messages_sent)
    }

    /// What has been heard. Holds up the session: nothing else of the driver is to be called meanwhile.
    pub(crate) fn input_stream(&self) -> MutexGuard<'_, InputStream> {
        lock(&self.input_stream)
    }

    /// Says goodbye.
    pub(crate) async fn end(&self) {
        self.hub.drain(Duration::from_secs(1)).await;
    }
}

/// The networks of these addresses, as far as this machine is on them; and the addresses.
fn around(to: &[SocketAddr]) -> Result<Vec<Network>, Error> {
    let ours = networks(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    let near = |network: &&Network| to.iter().any(|address| network.contains(address.ip()));
    let near = ours.iter().filter(near).copied();
    let themselves = to.iter().map(|address| Network::host(address.ip()));
    Ok(near.chain(themselves).collect())
}

fn lock(input_stream: &Mutex<InputStream>) -> MutexGuard<'_, InputStream> {
    input_stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InputStream {
    fn new(input: u32) -> Self {
        Self {
            input,
            format: Format::STANDARD,
            receiving: Receiving::new(&Format::STANDARD, StreamSettings::DEFAULT),
            bytes: Vec::new(),
            drift: Drift::new(&Format::STANDARD),
            meter: Meter::default(),
            end: 0,
            stored: 0,
            arrivals: Spread::default(),
            log: None,
            measure: None,
        }
    }

    /// What is heard from now on has this format.
    pub(crate) fn open(&mut self, format: Format) {
        // A second, so that a hitch of ours loses nothing.
        let second = usize::try_from(format.bytes(format.sample_rate.get() as u64)).unwrap_or(usize::MAX);
        let buffer = second.clamp(256 * 1024, 16 << 20);
        self.receiving = Receiving::new(&format, StreamSettings { buffer, ..StreamSettings::DEFAULT });
        self.drift = Drift::new(&format);
        self.format = format;
    }

    fn restart(&mut self) {
        self.cut();
        self.receiving.restart();
        self.drift.restart();
        (self.end, self.stored) = (0, 0);
        self.arrivals = Spread::default();
    }

    fn hear(&mut self, now: Instant, audio: &Audio<'_>) {
        if audio.stream != self.input {
            return;
        }
        if let Some(measure) = &mut self.measure {
            measure(now, audio.payload);
        }
        if let Some(log) = &mut self.log {
            log.push((audio.byte_index, tokio::time::Instant::now()));
        }
        match self.receiving.insert(now, audio) {
            Taken::Stored => {
                let end = audio.byte_index.saturating_add(audio.payload.len() as u64);
                self.drift.observe(now, end);
                self.end = self.end.max(end);
                let waiting = self.end.saturating_sub(self.receiving.byte_index());
                self.stored = self.stored.max(waiting.saturating_add(self.bytes.len() as u64));
                self.meter.arrives(Duration::from_nanos(now.as_nanos()), self.lasts(audio.byte_index));
                self.arrivals.add(now.as_nanos() as f64 * 1e-9 - self.lasts(audio.byte_index).as_secs_f64());
            }
            // Where it goes on says nothing about when it came before.
            Taken::Jumped => {
                self.cut();
                self.drift.restart();
                self.end = 0;
                self.arrivals = Spread::default();
            }
            _ => {}
        }
        self.take();
    }

    /// Takes what is in order.
    fn take(&mut self) {
        let mut part = [0; 4096];
        loop {
            match self.receiving.read(&mut part) {
                0 => return,
                n => self.bytes.extend_from_slice(&part[..n]),
            }
        }
    }

    /// What follows begins with the first channel of a frame: one that is not whole is none.
    fn cut(&mut self) {
        let frame = self.format.frame_size().max(1);
        self.bytes.truncate(self.bytes.len() - self.bytes.len() % frame);
    }

    /// What has come since the last call, in order and without gaps: whole frames.
    pub(crate) fn heard(&mut self, now: Instant) -> Vec<u8> {
        self.receiving.give_up(now);
        self.take();
        let whole = self.bytes.len() - self.bytes.len() % self.format.frame_size().max(1);
        let rest = self.bytes.split_off(whole);
        core::mem::replace(&mut self.bytes, rest)
    }

    /// What has come of the last frame, if no more comes: whole samples.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }

    /// How long so many bytes of the stream last.
    fn lasts(&self, bytes: u64) -> Duration {
        let rate = self.format.sample_rate.get() * self.format.frame_size() as f64;
        Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or_default()
    }

    /// How the device is heard.
    pub(crate) fn figures(&mut self, level: f64) -> VoiceFigures {
        let stats = self.stats();
        // In messages of the usual length.
        let length = stats.received.checked_div(stats.messages).unwrap_or_default();
        let lost = (stats.silence.saturating_add(stats.jumped)).checked_div(length).unwrap_or_default();
        let stored = core::mem::take(&mut self.stored);
        VoiceFigures {
            name: "the device".into(),
            level,
            packets: stats.messages,
            lost: Some(lost),
            jitter: self.meter.jitter(),
            buffer: (stats.messages > 0).then(|| self.lasts(stored)),
            ..VoiceFigures::default()
        }
    }

    pub(crate) fn stats(&self) -> StreamStats {
        self.receiving.stats()
    }

    /// How far the device's clock is off ours, as soon as that is known.
    pub(crate) fn drift(&self) -> Option<DriftEstimate> {
        self.drift.estimate()
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }
}

struct EventSender {
    sender: UnboundedSender<Event>,
    input_stream: Arc<Mutex<InputStream>>,
}

impl Handler<Client> for EventSender {
    fn on_event(&mut self, _client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        let event = match event {
            ClientEvent::Audio { audio, .. } => return lock(&self.input_stream).hear(now, &audio),
            ClientEvent::Found { server, from, formats } => Event::Found {
                server,
                from,
                inputs: formats.inputs.iter().collect(),
                outputs: formats.outputs.iter().collect(),
            },
            ClientEvent::Started { .. } => {
                lock(&self.input_stream).restart();
                Event::Started
            }
            ClientEvent::StartFailed { .. } => Event::Failed("start"),
            ClientEvent::StopFailed { .. } => Event::Failed("stop"),
            ClientEvent::StartRefused { .. } => Event::Refused("start"),
            ClientEvent::StopRefused { .. } => Event::Refused("stop"),
            ClientEvent::Stopped { .. } => Event::Stopped,
            ClientEvent::Interrupted { .. } => Event::Interrupted,
            ClientEvent::Lost { server, cause } => Event::Lost { server, cause },
            _ => return,
        };
        let _ = self.sender.send(event);
    }

    fn on_violation(&mut self, _now: Instant, peer: PeerId, violation: Violation) {
        tracing::debug!(%peer, %violation, "ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-55: after a jump, and when IO begins anew, in the middle of a frame each channel is still where it was.
    #[test]
    fn f_55_channels_stay_where_they_are_when_a_stream_breaks_off_within_a_frame() {
        let frame = Format::STANDARD.frame_size();
        // The first channel is 1, the others are 2.
        let sample = Format::STANDARD.sample_type.size();
        let sound: Vec<u8> = (0..40 * frame).map(|at| if at % frame < sample { 1 } else { 2 }).collect();
        let mut input_stream = InputStream::new(0);
        input_stream.open(Format::STANDARD);
        let mut heard = Vec::new();
        let mut at = 0;
        let mut say = |input_stream: &mut InputStream, index: u64, frames: usize, more: usize| {
            at += 1_000_000;
            let now = Instant::from_nanos(at);
            input_stream.hear(now, &Audio::new(0, index, &sound[..frames * frame + more]));
            heard.extend(input_stream.heard(now));
        };
        say(&mut input_stream, 0, 4, sample);
        // Far away, and believed with the third.
        for n in 0..5 {
            say(&mut input_stream, (1 << 30) * frame as u64 + n * 4 * frame as u64, 4, 0);
        }
        say(&mut input_stream, (1 << 30) * frame as u64 + 20 * frame as u64, 1, sample);
        input_stream.restart();
        say(&mut input_stream, 0, 4, sample);
        assert_eq!(input_stream.rest(), [1].repeat(sample));
        assert!(heard.len() >= 16 * frame, "{}", heard.len());
        for (n, frame) in heard.chunks(frame).enumerate() {
            assert_eq!(frame, &sound[..frame.len()], "{n}");
        }
        assert_eq!(heard.len() % frame, 0);
    }

    /// F-55: half a second that is lost is counted as such, and is not said to be the clock's.
    #[test]
    fn f_55_what_a_device_passes_over_is_lost_and_not_drift() {
        let mut input_stream = InputStream::new(0);
        input_stream.open(Format::STANDARD);
        let mut hear = |from: u64, to: u64, skipped: u64| {
            for n in from..to {
                let now = Instant::from_nanos((n + 1) * 1_000_000);
                input_stream.hear(now, &Audio::new(0, (n + skipped) * 384, &[1; 384]));
                input_stream.heard(now);
            }
            (input_stream.stats(), input_stream.drift())
        };
        let (_, drift) = hear(0, 20_000, 0);
        assert!(drift.is_some_and(|drift| drift.ppm.abs() <= drift.uncertainty), "{drift:?}");
        let (stats, drift) = hear(20_000, 20_500, 600);
        // Two more are not believed at first.
        assert_eq!((stats.jumped, drift), (602 * 384, None));
        let (_, drift) = hear(20_500, 40_000, 600);
        assert!(drift.is_some_and(|drift| drift.ppm.abs() <= drift.uncertainty), "{drift:?}");
        // One message that lies, and one from the beginning, change nothing.
        hear(4_000_000_000, 4_000_000_001, 0);
        let (stats, drift) = hear(40_000, 40_100, 600);
        assert_eq!(stats.jumped, 602 * 384);
        assert!(drift.is_some_and(|drift| drift.ppm.abs() <= drift.uncertainty), "{drift:?}");
    }
}
