//! The settings of syfala's device.

use super::{FOLLOW, MOST_DRIFT, start};
use crate::Error;
use crate::config::{Config, millis, set, within};
use crate::memory::Part;
use crate::protocols::{CLEAR, Hosted, Protocol, Section};
use crate::service::{Ports, Service};
use core::net::IpAddr;
use core::time::Duration;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::path::PathBuf;
use voxwire_syfala::{DEFAULT_PORT, MAX_STREAMS, Network, SampleType};

impl Protocol {
    /// Discovery and real-time audio for devices, over UDP: a device made of software.
    pub const SYFALA: Self = Self::of::<Syfala>();
}

/// The settings of syfala: a software device.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
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
    #[serde(deserialize_with = "type_name")]
    pub sample_type: SampleType,
    /// What clients hear.
    pub sound: SyfalaSound,
    /// How much of a client's audio is in store before it is used.
    #[serde(rename = "latency-ms", deserialize_with = "millis")]
    pub latency: Duration,
    /// Up to how many millionths a client's clock may be off the device's and is followed, by resampling: 0 to 100 000, 1000 by
    /// default; 0 follows no host. What is beyond is left out or waited for.
    #[serde(rename = "follow-ppm")]
    pub follow: f64,
    /// Clients at a time.
    pub clients: usize,
    /// The networks that are served; if empty, those that the machine is on.
    #[serde(deserialize_with = "network_list")]
    pub networks: Vec<Network>,
    /// The one host that is served.
    pub pin: Option<IpAddr>,
    /// Tell every host on the network as often as this that the device is there.
    #[serde(rename = "announce-ms", deserialize_with = "some_millis")]
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
    /// What the clients of syfala's device hear: `mix`, each other; `echo`, themselves; or a WAV, FLAC or OGG file [default: mix].
    #[arg(long, value_name = "WHAT")]
    syfala_sound: Option<String>,
}

fn some_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    millis(deserializer).map(Some)
}

fn type_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SampleType, D::Error> {
    sample_type(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A sample type by the document's name, in any case; or by the usual name of the last two, `F32` and `F64`.
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

fn network_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let network =
        |text: &String| text.parse().map_err(|error| D::Error::custom(format!("`{text}`: {error}")));
    Vec::<String>::deserialize(deserializer)?.iter().map(network).collect()
}

impl Hosted for Syfala {
    const NAME: &'static str = "syfala";
    const ABOUT: &'static str =
        "Discovery and real-time audio for devices, over UDP: a device made of software";
    const TRANSPORTS: &'static str = "UDP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = SyfalaFlags;

    fn apply_flags(&mut self, flags: SyfalaFlags) {
        set(&mut self.sound, flags.syfala_sound.map(SyfalaSound::from));
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
        within("latency-ms", self.latency.as_millis(), 0..=2000)?;
        within("clients", self.clients, 1..=1024)?;
        within("buffer", self.buffer, 0..=65_536)?;
        if !FOLLOW.contains(&self.follow) {
            return Err(format!("follow-ppm {}: 0 to 100000 millionths expected", self.follow));
        }
        self.announce.map_or(Ok(()), |period| within("announce-ms", period.as_millis(), 50..=3_600_000))
    }

    fn never_encrypted(&self) -> Option<&'static str> {
        Some("there is no encryption")
    }

    fn clear(&self, _config: &Config) -> Option<&'static str> {
        Some(CLEAR)
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
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
        let (device, address) = start(config, self, ports)?;
        ports.announce(Self::NAME, "udp", address);
        Ok(Box::new(device))
    }
}
