//! What a player is told at the start.

use crate::device::OutputDevice;
use crate::sound::Source;
use core::time::Duration;
use std::path::PathBuf;
use voxwire_audio::VoiceSettings;
use voxwire_dissonance::Target;
use voxwire_transport::TcpUdpSettings;

/// What to do, and how.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    /// To listen to.
    pub(crate) rooms: Vec<String>,
    pub(crate) speak_to_rooms: Vec<String>,
    /// Players to speak to.
    pub(crate) to: Vec<String>,
    pub(crate) text: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) record: Option<PathBuf>,
    /// A file for each speaker.
    pub(crate) record_each: Option<PathBuf>,
    /// Play what is heard.
    pub(crate) loudspeaker: Option<OutputDevice>,
    pub(crate) length: Option<Duration>,
    /// How long to wait for a listener before anything is said.
    pub(crate) wait: Duration,
    pub(crate) voice: VoiceSettings,
    /// What is said is multiplied by this.
    pub(crate) gain: f64,
    pub(crate) tcp_udp: TcpUdpSettings,
    pub(crate) quic: bool,
    /// Keep when each frame was said and heard.
    pub(crate) trace: bool,
}

impl Options {
    /// The rooms and players that are spoken to.
    pub(super) fn targets(&self) -> Vec<Target<'_>> {
        let rooms = self.speak_to_rooms.iter().map(|room| Target::Room(room));
        rooms.chain(self.to.iter().map(|player| Target::Player(player))).collect()
    }

    /// A player who only listens, and not yet to any room.
    pub(crate) fn listener(name: String) -> Self {
        Self {
            name,
            rooms: Vec::new(),
            speak_to_rooms: Vec::new(),
            to: Vec::new(),
            text: None,
            source: None,
            record: None,
            record_each: None,
            loudspeaker: None,
            length: None,
            wait: Duration::from_secs(30),
            voice: VoiceSettings::DEFAULT,
            gain: 1.0,
            tcp_udp: TcpUdpSettings::default(),
            quic: false,
            trace: false,
        }
    }
}
