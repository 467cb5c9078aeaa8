//! The settings of Dissonance.

use super::start;
use crate::Error;
use crate::config::{Config, Profile, set, within};
use crate::memory::Part;
use crate::protocols::{CLEAR, Hosted, Protocol, Section};
use crate::service::{Ports, Service};
use serde::Deserialize;
use voxwire_core::canonical_name;
use voxwire_dissonance::{DEFAULT_PORT, ECHO, ServerSettings};
use voxwire_transport::TcpUdpSettings;

/// Dissonance over QUIC.
pub const DEFAULT_QUIC_PORT: u16 = 4245;

impl Protocol {
    /// Voice chat for games: rooms and direct speech, over TCP and UDP.
    pub const DISSONANCE: Self = Self::of::<Dissonance>();
}

/// The settings of Dissonance.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dissonance {
    /// Whether to serve TCP and UDP.
    pub tcp: bool,
    /// TCP and UDP port.
    pub port: u16,
    /// Safe, or as the originals; `None` for what [`Config::profile`] says.
    pub profile: Option<Profile>,
    /// Whether to serve QUIC, too.
    pub quic: bool,
    /// UDP port for QUIC.
    pub quic_port: u16,
    /// Rooms whose numbers are kept for them, so that no other name can take their place.
    pub rooms: Vec<String>,
    /// Whether there are no other rooms.
    pub rooms_only: bool,
    /// How many rooms one client may listen to.
    pub max_rooms: usize,
    /// Whether players hear themselves in the room `echo`; no player gets that name then.
    pub echo: bool,
    /// Rooms in which all that is said is recorded.
    pub record_rooms: Vec<String>,
    /// What a client has to show before anything else.
    pub token: Option<String>,
}

impl Default for Dissonance {
    fn default() -> Self {
        Self {
            tcp: true,
            port: DEFAULT_PORT,
            profile: None,
            quic: true,
            quic_port: DEFAULT_QUIC_PORT,
            rooms: Vec::new(),
            rooms_only: false,
            max_rooms: ServerSettings::DEFAULT.max_rooms,
            echo: true,
            record_rooms: Vec::new(),
            token: None,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DissonanceFlags {
    /// UDP port for dissonance over QUIC; 0 takes any that is free [default: 4245].
    #[arg(long, value_name = "N")]
    dissonance_quic_port: Option<u16>,
    /// Do without QUIC.
    #[arg(long, conflicts_with = "dissonance_quic_port")]
    no_quic: bool,
}

impl Hosted for Dissonance {
    const NAME: &'static str = "dissonance";
    const ABOUT: &'static str = "Voice chat for games: rooms and direct speech, over TCP and UDP";
    const TRANSPORTS: &'static str = "TCP and UDP";
    const DEFAULT_PORT: u16 = DEFAULT_PORT;
    type Flags = DissonanceFlags;

    fn apply_flags(&mut self, flags: DissonanceFlags) {
        // A port on the command line turns QUIC on, even where the file turns it off.
        self.quic = (self.quic || flags.dissonance_quic_port.is_some()) && !flags.no_quic;
        set(&mut self.quic_port, flags.dissonance_quic_port);
    }
}

impl Section for Dissonance {
    fn check(&self, config: &Config) -> Result<(), String> {
        if !self.tcp && !self.quic {
            return Err("tcp and quic are false: one of them has to be true".into());
        }
        let (len, most) = (self.token.as_ref().map_or(0, String::len), TcpUdpSettings::MAX_TOKEN);
        if len > most {
            return Err(format!("token has {len} bytes, and clients can show {most} at most"));
        }
        if self.echo && config.control.is_on() && canonical_name(&config.control.say_as) == ECHO {
            let advice = "players hear themselves under that name: choose another one, or set echo = false";
            return Err(format!("control-say-as \"echo\" will not do: {advice}"));
        }
        within("max-rooms", self.max_rooms, 1..=65_536)
    }

    fn needs_certificate(&self) -> bool {
        // QUIC has one of its own.
        self.tcp
    }

    fn profile(&self) -> Option<Profile> {
        self.profile
    }

    fn forget_profile(&mut self) {
        self.profile = None;
    }

    fn secrets(&self) -> Option<&'static str> {
        // On QUIC it is encrypted.
        (self.token.is_some() && self.tcp).then_some("the token")
    }

    fn open(&self) -> Option<&'static str> {
        self.token.is_none().then_some("any client can join, as no token is set")
    }

    fn clear(&self, config: &Config) -> Option<&'static str> {
        if !self.tcp {
            return None;
        }
        let udp = "voice that goes by UDP is in the clear (encrypted-only refuses it)";
        if config.tls.is_some() { (!config.encrypted_only).then_some(udp) } else { Some(CLEAR) }
    }

    fn port(&mut self) -> &mut u16 {
        &mut self.port
    }

    fn use_free_ports(&mut self) {
        (self.port, self.quic_port) = (0, 0);
    }

    fn memory(&self) -> Part {
        let quic = if self.quic { 84 } else { 0 };
        Part { queued: 24, partial: 16, pooled: 5, quic }
    }

    fn start(&self, config: &Config, ports: &mut Ports<'_>) -> Result<Box<dyn Service>, Error> {
        let mut listeners = Vec::new();
        if self.tcp {
            listeners.push(ports.lanes(Self::NAME, self.port)?);
        }
        if self.quic {
            listeners.push(ports.quic(Self::NAME, self.quic_port)?);
        }
        Ok(Box::new(start(config, self, listeners, ports.control(), ports.tap(Protocol::DISSONANCE))?))
    }
}
