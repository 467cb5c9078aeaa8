//! The settings of syfala's device.

use super::{FOLLOW, MOST_DRIFT, start};
use crate::Error;
use crate::config::{Config, set};
use crate::memory::Part;
use crate::protocols::{CLEAR, Hosted, Protocol, Section};
use crate::service::{Ports, Service};
use core::net::IpAddr;
use core::time::Duration;
use serde::Deserialize;
use std::path::PathBuf;
use voxwire_syfala::{DEFAULT_PORT, MAX_STREAMS, Network, SampleType};

impl Protocol {
    /// Discovery and real-time audio for devices, over UDP: a device made of software.
    pub const SYFALA: Self = Self::of::<Syfala>();
}

/// The settings of syfala: a software device.
#[derive(Debug, Clone)]
pub struct Syfala {
    /// UDP port.
    pub port: u16,
    /// Streams that the device sends.
    pub inputs: usize,
    /// Streams that it is sent.
    pub outputs: usize,
    /// Frames a second, of all streams.
    pub rate: u32,
    /// Channels of each stream.
    pub channels: u32,
    /// Frames of one message; 0 for no hint.
    pub buffer: u32,
    /// How samples are stored.
    pub sample_type: SampleType,
    /// What clients hear.
    pub sound: SyfalaSound,
    /// How much of a client's audio is in store before it is used.
    pub latency: Duration,
    /// Up to how many millionths a client's clock may be off the device's and is followed, by resampling: 0 to 100 000, 1000 by
    /// default; 0 follows nobody. What is beyond is left out or waited for.
    pub follow: f64,
    /// Clients at a time.
    pub clients: usize,
    /// Who is served; nobody in particular for the networks that the machine is on.
    pub networks: Vec<Network>,
    /// The one host that is served.
    pub pin: Option<IpAddr>,
    /// Tell everybody on the network as often as this that the device is there.
    pub announce: Option<Duration>,
}

/// What the clients of syfala's device hear.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum SyfalaSound {
    /// Each other.
    Mix,
    /// Themselves.
    Echo,
    /// A recording: WAV, FLAC or OGG.
    File(PathBuf),
}

impl From<String> for SyfalaSound {
    fn from(text: String) -> Self {
        match text.as_str() {
            "mix" => Self::Mix,
            "echo" => Self::Echo,
            _ => Self::File(text.into()),
        }
    }
}

impl Default for Syfala {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            inputs: 1,
            outputs: 1,
            rate: 48_000,
            channels: 2,
            buffer: 32,
            sample_type: SampleType::Ieef32,
            sound: SyfalaSound::Mix,
            latency: Duration::from_millis(20),
            follow: MOST_DRIFT,
            clients: 16,
            networks: Vec::new(),
            pin: None,
            announce: None,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SyfalaFlags {
    /// UDP port for syfala; 0 takes any free one [default: 6911].
    #[arg(long, value_name = "N")]
    syfala_port: Option<u16>,
    /// What the clients of syfala's device hear: `mix`, each other; `echo`, themselves; or a WAV, FLAC or OGG file [default: mix].
    #[arg(long, value_name = "WHAT")]
    syfala_sound: Option<String>,
}

/// The file's section. Every entry is optional, unknown ones are errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SyfalaFile {
    port: Option<u16>,
    inputs: Option<usize>,
    outputs: Option<usize>,
    rate: Option<u32>,
    channels: Option<u32>,
    buffer: Option<u32>,
    sample_type: Option<TypeName>,
    sound: Option<SyfalaSound>,
    latency_ms: Option<u64>,
    follow_ppm: Option<f64>,
    clients: Option<usize>,
    networks: Option<Vec<NetworkText>>,
    pin: Option<IpAddr>,
    announce_ms: Option<u64>,
}

/// A sample type by the document's name, in any case; or as everybody else calls the last two.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct TypeName(SampleType);

impl TryFrom<String> for TypeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        sample_type(&text).map(Self)
    }
}

/// A sample type by its name.
///
/// # Errors
/// What is expected instead.
pub fn sample_type(text: &str) -> Result<SampleType, String> {
    let name = match text.to_ascii_uppercase().as_str() {
        "F32" => "IEEF32".to_owned(),
        "F64" => "IEEF64".to_owned(),
        name => name.to_owned(),
    };
    SampleType::from_name(&name).ok_or_else(|| {
        let all = SampleType::ALL.map(SampleType::name).join(", ");
        format!("`{text}` is no sample type: {all}, F32 or F64 expected")
    })
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct NetworkText(Network);

impl TryFrom<String> for NetworkText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("`{text}`: {error}"))
    }
}

impl Hosted for Syfala {
    const NAME: &'static str = "syfala";
    const ABOUT: &'static str =
        "Discovery and real-time audio for devices, over UDP: a device made of software";
    type Flags = SyfalaFlags;
    type File = SyfalaFile;

    fn apply_flags(&mut self, flags: SyfalaFlags) {
        set(&mut self.port, flags.syfala_port);
        set(&mut self.sound, flags.syfala_sound.map(SyfalaSound::from));
    }

    fn apply_file(&mut self, file: SyfalaFile) {
        let millis = |millis: Option<u64>| millis.map(Duration::from_millis);
        set(&mut self.port, file.port);
        set(&mut self.inputs, file.inputs);
        set(&mut self.outputs, file.outputs);
        set(&mut self.rate, file.rate);
        set(&mut self.channels, file.channels);
        set(&mut self.buffer, file.buffer);
        set(&mut self.sample_type, file.sample_type.map(|TypeName(sample_type)| sample_type));
        set(&mut self.sound, file.sound);
        set(&mut self.latency, millis(file.latency_ms));
        set(&mut self.follow, file.follow_ppm);
        set(&mut self.clients, file.clients);
        let networks = file.networks.map(|all| all.into_iter().map(|NetworkText(network)| network).collect());
        set(&mut self.networks, networks);
        self.pin = file.pin.or(self.pin);
        self.announce = millis(file.announce_ms).or(self.announce);
    }
}

impl Section for Syfala {
    fn check(&self, _config: &Config) -> Result<(), String> {
        if self.inputs.max(self.outputs) > MAX_STREAMS || self.inputs + self.outputs == 0 {
            return Err(format!("{} inputs and {} outputs: 1 to 64 expected", self.inputs, self.outputs));
        }
        if !(1..=768_000).contains(&self.rate) {
            return Err(format!("rate {}: 1 to 768000 Hz expected", self.rate));
        }
        if !(1..=1024).contains(&self.channels) {
            return Err(format!("channels {}: 1 to 1024 expected", self.channels));
        }
        if self.latency > Duration::from_secs(2) {
            return Err("latency-ms: at most 2000 expected".into());
        }
        if !FOLLOW.contains(&self.follow) {
            return Err(format!("follow-ppm {}: 0 to 100000 millionths expected", self.follow));
        }
        if self.announce.is_some_and(|period| period < Duration::from_millis(50)) {
            return Err("announce-ms: at least 50 expected".into());
        }
        Ok(())
    }

    fn never_encrypted(&self) -> Option<&'static str> {
        Some("there is no encryption")
    }

    fn clear(&self, _config: &Config) -> Option<&'static str> {
        Some(CLEAR)
    }

    fn use_free_ports(&mut self) {
        self.port = 0;
    }

    fn memory(&self) -> Part {
        // All of it goes by datagrams.
        Part { queued: 1, partial: 1, pooled: 1, quic: 0 }
    }

    fn descriptors(&self) -> usize {
        // One socket for all clients.
        0
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let (device, address) = start(config, self)?;
        ports.announce(Self::NAME, "udp", address);
        Ok(Box::new(device))
    }
}
