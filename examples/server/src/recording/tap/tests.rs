//! Who is told of a recording, in a session of Dissonance without a network.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::Config;
use crate::recording::Recorder;
use std::path::PathBuf;
use voxwire_core::{Input, Lane, List, Message as _, Output, Session as _, Via};
use voxwire_dissonance::{
    ClientInfo, ClientState, CodecSettings, HandshakeRequest, Packet, Server, ServerSettings, Text, Wire,
};

const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// A session, and the recordings of it.
struct Stage {
    server: Server,
    tap: Arc<Tap>,
    recorder: Recorder,
    data: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.recorder.finish(Duration::from_secs(60));
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Stage {
    /// With a recording of the room `Lobby`, which is number 1.
    fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("voxwire-tap-{name}-{}", std::process::id()));
        let recorder = Recorder::open(&Config { data: data.clone(), ..Config::default() }, None);
        let tap = recorder.tap("dissonance").unwrap().clone();
        let mut server = Server::new(ServerSettings::DEFAULT, 1);
        tap.start(&mut server, NOW, What::Room("Lobby".into()), "ann").unwrap();
        Self { server, tap, recorder, data }
    }

    fn send(&mut self, peer: PeerId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&Wire::default(), &mut bytes).unwrap();
        let _ = self.server.handle_input(NOW, Input::Frame { peer, lane: Lane::Reliable, bytes: &bytes });
    }

    /// A client that listens to these rooms.
    fn join(&mut self, slot: u32, name: &str, rooms: &[Text<'_>]) -> PeerId {
        let peer = PeerId { slot, generation: 0 };
        let _ = self.server.handle_input(NOW, Input::Opened { peer, via: Via::Accepted, from: None });
        let codec = CodecSettings::DEFAULT;
        self.send(peer, &Packet::HandshakeRequest(HandshakeRequest { codec, name: name.into() }));
        let (session, id) = (self.server.session(), self.server.client_of(peer).unwrap());
        let client = ClientInfo { name: name.into(), id, codec };
        self.send(peer, &Packet::ClientState(ClientState { session, client, rooms: List::from(rooms) }));
        self.tap.moved(&mut self.server, NOW, peer);
        peer
    }

    fn leave(&mut self, peer: PeerId) {
        let _ = self.server.handle_input(NOW, Input::Closed { peer });
        self.tap.gone(peer);
    }

    fn says(&mut self, now: Instant, peer: PeerId) {
        let speaker = Speaker { peer: Some(peer), name: "ann", with: None };
        let said = Said::Opus { packet: &[0], channels: 1, sequence: None };
        self.tap.said(&mut self.server, now, speaker, |_, room| room == "Lobby", said);
    }

    /// The texts that were sent since.
    fn told(&mut self) -> Vec<(PeerId, String)> {
        let (mut told, mut done) = (Vec::new(), 0);
        for output in self.server.outputs() {
            done += 1;
            let Output::Send { to, frame, .. } = output else { continue };
            if let Ok(Packet::TextData(text)) = Packet::decode(frame, &Wire::default()) {
                told.push((to, text.text.as_str().unwrap().to_owned()));
            }
        }
        self.server.advance(done);
        told
    }
}

/// C-45: who could not be told is told later, and once.
#[test]
fn c_45_who_could_not_be_told_of_a_recording_is_told_later() {
    let mut stage = Stage::new("later");
    let thief = stage.join(0, "server", &[]);
    let ben = stage.join(1, "ben", &["Lobby".into()]);
    assert_eq!(stage.told(), [], "no text is sent under a client's name");
    stage.leave(thief);
    let ann = stage.join(2, "ann", &["Lobby".into()]);
    let notice = "What is said in this room is being recorded.";
    assert_eq!(stage.told(), [(ann, notice.to_owned())]);
    // Not at each packet, and also where it is another one that speaks.
    stage.says(NOW, ann);
    assert_eq!(stage.told(), []);
    stage.says(NOW.saturating_add(AGAIN), ann);
    assert_eq!(stage.told(), [(ben, notice.to_owned())]);
    stage.says(NOW.saturating_add(AGAIN * 3), ann);
    assert_eq!(stage.told(), []);
}

/// C-45: who speaks to a room without listening to it is told by itself, once, and also of the end.
#[test]
fn c_45_who_speaks_without_listening_is_told_of_the_recording() {
    let mut stage = Stage::new("speaker");
    let ann = stage.join(0, "ann", &[]);
    assert_eq!(stage.told(), []);
    stage.says(NOW, ann);
    assert_eq!(stage.told(), [(ann, "What you say to Lobby is being recorded.".to_owned())]);
    stage.tap.moved(&mut stage.server, NOW, ann);
    stage.says(NOW, ann);
    assert_eq!(stage.told(), []);
    stage.tap.stop(&mut stage.server, NOW, 1, "ann").unwrap();
    assert_eq!(stage.told(), [(ann, "What you say to Lobby is no longer recorded.".to_owned())]);
}

/// Whether the second recording is refused, as one of the same.
fn is_same<S: Moderation>(mut server: S, protocol: &str, of: fn(String) -> What) -> bool {
    let data = std::env::temp_dir().join(format!("voxwire-tap-names-{}", std::process::id()));
    let recorder = Recorder::open(&Config { data, ..Config::default() }, None);
    let tap = recorder.tap(protocol).unwrap();
    let mut start = |name: &str| tap.start(&mut server, NOW, of(name.into()), "ann");
    assert!(start("Jos\u{e9}").is_ok());
    start("Jose\u{301}").is_err_and(|failure| matches!(failure, Failure::Refused(_)))
}

/// C-45: what the session takes for one name is recorded once.
#[test]
fn c_45_names_of_recordings_are_compared_as_the_session_does() {
    use voxwire_msgpack as msgpack;
    let dissonance = |settings| Server::new(settings, 1);
    assert!(is_same(dissonance(ServerSettings::DEFAULT), "dissonance", What::Name));
    assert!(!is_same(dissonance(ServerSettings::ORIGINAL), "dissonance", What::Name));
    // A room of Dissonance is the hash of its name.
    assert!(!is_same(dissonance(ServerSettings::DEFAULT), "dissonance", What::Room));
    let msgpack = |settings| msgpack::Server::new(settings, 1, |_| [0; 32]);
    assert!(is_same(msgpack(msgpack::ServerSettings::DEFAULT), "msgpack", What::Room));
    assert!(!is_same(msgpack(msgpack::ServerSettings::ORIGINAL), "msgpack", What::Room));
}
