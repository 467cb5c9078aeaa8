//! syfala: a software device on the network, and what goes into the log.

mod device;
mod lan;
mod output;
mod settings;

use crate::Error;
use crate::config::Config;
use crate::control::{Control, Controlled, Moderator};
use crate::figure::Figure;
use crate::logging::{Address, EventName, LogViolations, peer_span};
use crate::protocols::{Hosted as _, Protocol};
use crate::service::{Ports, Service, for_goodbyes, hub_settings};
use core::fmt;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::time::Duration;
use device::Device;
use device::FOLLOW;
pub use device::{DeviceFigures, DeviceSettings, MOST_DRIFT, Sound, format, sample_format};
pub use lan::{bind, broadcast_addresses, networks};
pub use settings::{Syfala, SyfalaSound, sample_type};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};
use voxwire_audio::{FollowState, RecordingAbort, SoundFile};
use voxwire_core::{Handler, Instant, PeerId, Rate, Session};
use voxwire_syfala::stream::DriftEstimate;
use voxwire_syfala::{
    CLIENT_PORT, Cause, IoResult, IoState, Network, Server, ServerCommand, ServerEvent, ServerSettings,
    ServerStats,
};
use voxwire_transport::{Drained, Handle, Hub, HubSettings, Listener};

/// How often the device's clock is looked at.
const TICK: Duration = Duration::from_millis(1);
/// How often the machine's networks are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Starts the device that the settings describe. Returns the address by which it is to be known, too.
fn start(config: &Config, settings: &Syfala, ports: &Ports<'_>) -> Result<(SoftDevice, SocketAddr), Error> {
    let wanted = SocketAddr::new(config.bind, settings.port);
    let (listener, address) = bind(config.bind, settings.port).map_err(|error| Error::Listen {
        what: "syfala",
        address: wanted,
        error,
    })?;
    let listener = ports.with_gate(listener);
    let listener = match settings.announce {
        None => listener,
        Some(_) => listener.with_broadcast(broadcast_addresses(config.bind, CLIENT_PORT)?)?,
    };
    let format = format(settings.rate, settings.channels, settings.buffer, settings.sample_type)
        .ok_or_else(|| Error::Usage("syfala: a rate and a number of channels above 0 expected".into()))?;
    let sound = match &settings.sound {
        SyfalaSound::Mix => Sound::Mix,
        SyfalaSound::Echo => Sound::Echo,
        SyfalaSound::File(path) => {
            repeated(path, &mut |remark| tracing::warn!("{}: {remark}", path.display()))
                .map_err(|error| Error::Usage(format!("syfala: {error}")))?
        }
    };
    let device = DeviceSettings {
        inputs: vec![format; settings.inputs],
        outputs: vec![format; settings.outputs],
        sound,
        latency: settings.latency,
        ppm: 0.0,
        follow: settings.follow,
        record: None,
        record_as: None,
        trace: false,
    };
    let session = ServerSettings {
        max_clients: config.connections.min(settings.clients),
        announce_interval: settings.announce,
        ..ServerSettings::DEFAULT
    };
    let serve = match (settings.pin, settings.networks.is_empty()) {
        (Some(host), _) => Serve::These(vec![Network::host(host)]),
        (None, false) => Serve::These(settings.networks.clone()),
        (None, true) => Serve::OnLink(config.bind),
    };
    let hub = hub_settings(config, Protocol::SYFALA);
    let control = ports.control();
    let device = SoftDevice::begin(listener, device, session, (serve, hub), Arc::new(|_| {}), control)?;
    Ok((device, address))
}

/// Samples of a pipe, of all channels, that are kept in memory to be heard again: 128 MiB, or 5.8 minutes of 48 kHz mono. At lower rates
/// there are as many fewer.
const PIPE: usize = 1 << 24;

/// A file, to be heard again and again; what is wrong with it is told. What comes out of a pipe comes once, and is kept in memory: at most
/// 16 777 216 samples, of all channels, and at rates below 48 kHz as many fewer.
///
/// # Errors
/// It cannot be read, or a pipe brings more.
pub fn repeated(path: &Path, remark: &mut dyn FnMut(&str)) -> Result<Sound, voxwire_audio::Error> {
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let loaded = voxwire_audio::load_at_most(path, PIPE).map_err(|error| match error {
            voxwire_audio::Error::File { path, reason } => {
                let reason = format!("{reason}; a pipe is kept in memory to be heard again, a file is not");
                voxwire_audio::Error::File { path, reason }
            }
            other => other,
        })?;
        loaded.remarks.iter().for_each(|text| remark(text));
        return Ok(Sound::Clip { clip: loaded.clip, repeat: true });
    }
    let file = SoundFile::open(path)?;
    file.remarks().iter().for_each(|text| remark(text));
    Ok(Sound::File(file.into()))
}

/// Who is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serve {
    /// Clients on the networks of the interface with this address, or of all interfaces, as they are at the time.
    OnLink(IpAddr),
    /// These networks.
    These(Vec<Network>),
}

/// What a device has to tell.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// A client is connected.
    Connected(PeerId, Option<SocketAddr>),
    /// Audio goes to and from it.
    Started(PeerId),
    /// Audio has ended.
    Stopped(PeerId),
    /// It is gone.
    Gone(PeerId, Cause),
    /// Its clock has come to be too far off to be followed, or no longer is; and how far off it is.
    Clock(PeerId, FollowState, Option<DriftEstimate>),
    /// A message of its has come in: its output, and the byte index.
    Heard(PeerId, u32, u64),
    /// A message is being sent to it: the input, and the byte index.
    Played(PeerId, u32, u64),
}

/// Told of events, with everything locked: to be quick.
type Listening = Arc<dyn Fn(DeviceEvent) + Send + Sync>;

/// A device at work.
pub struct SoftDevice {
    hub: Handle<Server>,
    device: Arc<Mutex<Device>>,
    recording: Option<RecordingAbort>,
    tasks: [AbortHandle; 2],
}

impl SoftDevice {
    /// Starts a device on `listener`, on the current tokio runtime.
    ///
    /// # Errors
    /// Formats that it cannot have, sound that cannot be loaded or recorded, too many streams; the system's.
    pub fn start(
        listener: Listener,
        settings: DeviceSettings,
        session: ServerSettings,
        serve: Serve,
        hub: HubSettings,
        listening: Arc<dyn Fn(DeviceEvent) + Send + Sync>,
    ) -> Result<Self, Error> {
        Self::begin(listener, settings, session, (serve, hub), listening, None)
    }

    fn begin(
        listener: Listener,
        settings: DeviceSettings,
        session: ServerSettings,
        (serve, hub): (Serve, HubSettings),
        listening: Listening,
        control: Option<Arc<Control>>,
    ) -> Result<Self, Error> {
        let seed = getrandom::u64().unwrap_or_default();
        let mut server = Server::new(&settings.inputs, &settings.outputs, session, seed)
            .map_err(|error| Error::Usage(format!("syfala: {error}")))?;
        let networks = serve.networks()?;
        // Refuses nothing.
        let _ = server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &networks });
        let mut device = Device::new(settings).map_err(|error| Error::Usage(format!("syfala: {error}")))?;
        let (told, played) = (listening.clone(), listening.clone());
        device.trace(Box::new(move |client, input, at| played(DeviceEvent::Played(client, input, at))));
        let recording = device.recording();
        let device = Arc::new(Mutex::new(device));
        let wake = Arc::new(Notify::new());
        let handler = DeviceHandler { device: device.clone(), wake: wake.clone(), listening };
        let handler = Controlled::new(handler, Syfala::NAME, control);
        let handler = LogViolations::new(Syfala::NAME, handler);
        // As many as the widest streams with the shortest buffers take.
        let datagrams = Rate { per_second: 200_000, burst: 200_000 };
        let hub = Hub::spawn(vec![listener], server, handler, HubSettings { datagrams, ..hub })?;
        let clock = tokio::spawn(run(hub.clone(), device.clone(), wake, told)).abort_handle();
        let look = tokio::spawn(look(hub.clone(), serve)).abort_handle();
        Ok(Self { hub, device, recording, tasks: [clock, look] })
    }

    /// What has been counted.
    pub fn figures(&self) -> DeviceFigures {
        lock(&self.device).figures()
    }

    /// What went wrong while it could not be reported: a recording that could not go on.
    pub fn problem(&self) -> Option<String> {
        lock(&self.device).problem()
    }

    /// Ends the wait for the recording to be complete: what has not been written is lost, and counted.
    pub fn abort_recording(&self) {
        if let Some(recording) = &self.recording {
            recording.abort();
        }
    }

    /// Says goodbye to every client, and completes what is recorded.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let clients = self.hub.call(|server, _| {
            lock(&self.device).end_all();
            server.clients().count()
        });
        let Drained { cut_off, .. } = self.hub.drain(deadline).await;
        self.tasks.iter().for_each(AbortHandle::abort);
        self.use_up().await;
        let recording = lock(&self.device).take_recording();
        // A disk may take its time: others go on meanwhile.
        let finished = match recording {
            Some(recording) => tokio::task::spawn_blocking(|| Device::finish(recording)).await.ok().flatten(),
            None => None,
        };
        if let Some(problem) = finished {
            lock(&self.device).set_problem(problem);
        }
        Drained { told: clients, cut_off }
    }

    /// Records what clients have said and was not due yet, as if its time had come, without waiting.
    async fn use_up(&self) {
        let (mut later, most) = {
            let device = lock(&self.device);
            (Duration::ZERO, device.latency().saturating_add(Duration::from_secs(1)))
        };
        while later < most && !lock(&self.device).is_idle() {
            later += TICK;
            self.hub.call(|server, now| {
                let mut device = lock(&self.device);
                device.turn(now.saturating_add(later), server);
                // They are told goodbye already.
                drop(device.ended());
            });
            tokio::task::yield_now().await;
        }
    }
}

impl fmt::Debug for SoftDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftDevice").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Service for SoftDevice {
    fn protocol(&self) -> &'static str {
        Syfala::NAME
    }

    fn moderator(&self) -> Option<&dyn Moderator> {
        Some(&self.hub)
    }

    fn figures(&self) -> Vec<Figure> {
        let stats: ServerStats = self.hub.call(|server, _| server.stats());
        let DeviceFigures { active, underruns, passed_over, resynchronised, silence, jumped, unsent } =
            Self::figures(self);
        let own = vec![
            Figure::sessions(active as u64),
            Figure::sessions_begun(stats.connected),
            Figure::answers(stats.offers),
            Figure::refusals("rate", stats.over_budget),
            Figure::refusals("network", stats.off_link),
            Figure::voice_packets(stats.messages_received),
            Figure::voice_copies(stats.messages_sent),
            Figure::dropped("stopped", stats.untimely),
            Figure::dropped("unsent", unsent),
            Figure::counter("silence_bytes", "Bytes of silence in place of lost audio", silence),
            Figure::counter("underrun_frames", "Frames that were due and had not come", underruns),
            Figure::counter(
                "passed_over_frames",
                "Frames passed over, because too many had come",
                passed_over,
            ),
            Figure::counter(
                "resynchronisations",
                "Times that frames were passed over or waited for because clocks are too far apart",
                resynchronised,
            ),
            Figure::counter("jumped_bytes", "Bytes lost because clients went on elsewhere", jumped),
        ];
        Figure::of_hub(&self.hub.stats(), own)
    }

    fn drain(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send + '_>> {
        Box::pin(Self::drain(self, for_goodbyes(deadline)))
    }
}

impl Serve {
    fn networks(&self) -> Result<Vec<Network>, Error> {
        match self {
            Self::OnLink(bind) => Ok(networks(*bind)?),
            Self::These(networks) => Ok(networks.clone()),
        }
    }
}

/// The device's clock: runs while a client's audio does.
async fn run(hub: Handle<Server>, device: Arc<Mutex<Device>>, wake: Arc<Notify>, listening: Listening) {
    loop {
        wake.notified().await;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !lock(&device).is_idle() {
            ticks.tick().await;
            hub.call(|server, now| {
                let mut device = lock(&device);
                device.turn(now, server);
                for (client, state, drift) in device.changes() {
                    tell(client, state, drift);
                    listening(DeviceEvent::Clock(client, state, drift));
                }
                for client in device.ended() {
                    // All that it had said has been used.
                    let result = IoResult::Success;
                    let command = ServerCommand::StopIoResult { client, result };
                    if server.handle_command(now, command).is_ok() {
                        listening(DeviceEvent::Stopped(client));
                    }
                }
            });
        }
    }
}

/// A clock that cannot be followed is logged, so that its owner can mend it.
fn tell(client: PeerId, state: FollowState, drift: Option<DriftEstimate>) {
    let drift = drift.map_or_else(|| "not known".into(), |drift| drift.to_string());
    match state {
        FollowState::WithinRange => tracing::info!(%client, drift, "its clock can be followed again"),
        FollowState::TooFast => {
            tracing::warn!(%client, drift, "its clock is too fast to be followed: now and then audio is left out");
        }
        FollowState::TooSlow => {
            tracing::warn!(%client, drift, "its clock is too slow to be followed: now and then audio is waited for");
        }
    }
}

/// Networks come and go.
async fn look(hub: Handle<Server>, serve: Serve) {
    let Serve::OnLink(_) = serve else { return };
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        match serve.networks() {
            Ok(networks) => {
                let _ = hub.call(|server, now| {
                    server.handle_command(now, ServerCommand::Serve { networks: &networks })
                });
            }
            Err(error) => tracing::warn!(%error, "cannot look at the networks"),
        }
    }
}

fn lock(device: &Mutex<Device>) -> MutexGuard<'_, Device> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the session has to tell, and what the device does about it. Locked after the session, always.
struct DeviceHandler {
    device: Arc<Mutex<Device>>,
    wake: Arc<Notify>,
    listening: Listening,
}

impl Handler<Server> for DeviceHandler {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        let result = IoResult::Success;
        match event {
            ServerEvent::Audio { client, audio } => {
                let mut device = lock(&self.device);
                device.hear(now, client, &audio);
                if device.is_traced() {
                    (self.listening)(DeviceEvent::Heard(client, audio.stream, audio.byte_index));
                }
            }
            ServerEvent::Connected { client, from } => {
                let _peer = peer_span(Syfala::NAME, from).entered();
                tracing::info!(%client, "connected");
                (self.listening)(DeviceEvent::Connected(client, from));
            }
            ServerEvent::StartIo { client } => {
                lock(&self.device).start(now, client);
                self.wake.notify_one();
                tracing::info!(%client, "IO started");
                // Refused only if there is no room for a byte: then it is asked for again.
                if server.handle_command(now, ServerCommand::StartIoResult { client, result }).is_ok() {
                    (self.listening)(DeviceEvent::Started(client));
                }
            }
            ServerEvent::StopIo { client } => {
                // What is in store is used first; then the client has its answer.
                lock(&self.device).end(client, true);
                tracing::info!(%client, "IO stops");
            }
            ServerEvent::Gone { client, cause, io } => {
                if io != IoState::Inactive {
                    lock(&self.device).end(client, false);
                }
                tracing::info!(%client, %cause, "gone");
                (self.listening)(DeviceEvent::Gone(client, cause));
            }
            ServerEvent::Declined { from, permanent } => {
                tracing::info!(from = %Address(from), permanent, "declined")
            }
            event => tracing::debug!(event = %EventName(&event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-50: a pipe that brings more than is kept in memory is refused with what mends it.
    #[cfg(unix)]
    #[test]
    fn f_50_a_pipe_is_not_read_into_memory_without_end() {
        use std::io::Write as _;
        let path = std::env::temp_dir().join(format!("voxwire-pipe-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let theirs = path.clone();
        let writer = std::thread::spawn(move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(theirs).unwrap();
            // 1000 Hz, 8 bits, of unknown length.
            let head = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x01\0\xE8\x03\0\0\xE8\x03\0\0\x01\0\x08\0data\xFF\xFF\xFF\xFF";
            let _ = pipe.write_all(head);
            let mut written = 0_u64;
            while pipe.write_all(&[100; 4096]).is_ok() && written < 1 << 30 {
                written += 4096;
            }
            written
        });
        let error = repeated(&path, &mut |_| {}).unwrap_err().to_string();
        let expected = "longer than the 5 minutes that can be read at this rate; a pipe is kept in memory";
        assert!(error.contains(expected), "{error}");
        assert!(writer.join().unwrap() < 1 << 20);
        std::fs::remove_file(&path).unwrap();
    }
}
