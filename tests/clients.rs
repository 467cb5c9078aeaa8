//! C-01: the clients of the protocols answer the same questions by the same names.
#![cfg(all(
    feature = "dissonance",
    feature = "msgpack",
    feature = "opcode",
    feature = "syfala",
    feature = "voicelink"
))]

use voxwire::core::{DialId, Input, Instant, Lane, PeerId, Session, Via};
use voxwire::{dissonance, msgpack, opcode, syfala, voicelink};

const NOW: Instant = Instant::ZERO;
const SERVER: PeerId = PeerId { slot: 0, generation: 0 };
const OPENED: Input<'_> = Input::Opened { peer: SERVER, via: Via::Dialled(DialId::FIRST), from: None };

/// C-01
#[test]
fn c_01_a_client_says_whether_it_is_connected_and_how_far_it_is() {
    macro_rules! check {
        ($client:expr, $before:literal, $after:literal) => {
            let mut client = $client;
            assert_eq!((client.is_connected(), client.state().name()), (false, $before));
            client.handle_input(NOW, OPENED).unwrap();
            assert_eq!((client.is_connected(), client.state().name()), (true, $after));
            client.handle_input(NOW, Input::Closed { peer: SERVER }).unwrap();
            assert_eq!((client.is_connected(), client.state().name()), (false, $before));
        };
    }
    check!(voicelink::Client::new(voicelink::ClientSettings::DEFAULT), "idle", "idle");
    check!(
        opcode::Client::new(opcode::ClientSettings::DEFAULT),
        "disconnected",
        "waiting for the server's hello"
    );
    check!(msgpack::Client::new(msgpack::ClientSettings::DEFAULT), "disconnected", "not logged in");
    let player = dissonance::Client::new("ann", dissonance::ClientSettings::DEFAULT).unwrap();
    assert_eq!(player.name(), "ann");
    check!(player, "disconnected", "negotiating");
    // A client of syfala has any number of servers, each with a state of its own.
    let driver = syfala::Client::new(syfala::ClientSettings::DEFAULT);
    assert_eq!(driver.state(SERVER), None);
}

/// C-01: a name is the client's from the server's consent until the connection ends.
#[test]
fn c_01_a_client_tells_the_name_that_the_server_has_granted() {
    let frame = |bytes| Input::Frame { peer: SERVER, lane: Lane::Reliable, bytes };
    let mut client = voicelink::Client::new(voicelink::ClientSettings::DEFAULT);
    client.handle_input(NOW, OPENED).unwrap();
    let (preferred, samples) = (voicelink::Parameters::DEFAULT, voicelink::ByteOrder::BigEndian);
    let register = |name| voicelink::ClientCommand::Register { name, secret: None, preferred, samples };
    client.handle_command(NOW, register("ann")).unwrap();
    assert_eq!(client.name(), None);
    client.handle_input(NOW, frame(&[0, 0, 0, 6, 0, 4])).unwrap();
    assert_eq!(client.name(), Some("ann"));
    // A registration that is refused leaves the one before it.
    client.handle_command(NOW, register("bob")).unwrap();
    client.handle_input(NOW, frame(&[0, 0, 0, 6, 0, 5])).unwrap();
    assert_eq!(client.name(), Some("ann"));
    client.handle_input(NOW, Input::Closed { peer: SERVER }).unwrap();
    assert_eq!(client.name(), None);

    let mut client = opcode::Client::new(opcode::ClientSettings::DEFAULT);
    client.handle_command(NOW, opcode::ClientCommand::Login { name: "ann" }).unwrap();
    client.handle_input(NOW, OPENED).unwrap();
    client.handle_input(NOW, frame(&[2, 0, 0, 0, 0, 0, 0, 0, 0x01, 0])).unwrap();
    assert_eq!((client.name(), client.state()), (None, opcode::SessionState::LoggingIn));
    client.handle_input(NOW, frame(&[2, 0, 0, 0, 0, 0, 0, 0, 0x03, 0])).unwrap();
    assert_eq!((client.name(), client.state()), (Some("ann"), opcode::SessionState::LoggedIn));
    client.handle_input(NOW, Input::Closed { peer: SERVER }).unwrap();
    assert_eq!(client.name(), None);
}
