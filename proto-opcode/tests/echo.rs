//! The contact that sends back what it hears.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness::{CLOSED, Harness, peer, request};
use std::time::Duration;
use voxwire_core::{DialId, Input, ListenId, Moderation as _, Mute, Via};
use voxwire_opcode::{Packet, RelayAddress, ServerSettings, reason};

const ECHOING: ServerSettings = ServerSettings { echo: true, ..ServerSettings::DEFAULT };
const TAKEN: &str = r#"LoginFailed { reason: "username already used" }"#;

fn error(what: &str) -> String {
    format!("ErrorResponse {{ what: {what:?} }}")
}

fn dialled(slot: u32, id: u32) -> Input<'static> {
    Input::Opened { peer: peer(slot), via: Via::Dialled(DialId::new(id)), from: None }
}

/// O-12: echo is a contact of everybody, and nobody's name.
#[test]
fn o_12_echo_is_a_contact_of_everybody_and_nobodys_name() {
    let mut hall = Harness::new(ECHOING);
    hall.open(0);
    hall.login(0, "echo").unwrap();
    hall.login(0, "alice").unwrap();
    let contacts = r#"AddContact { contacts: ["echo"] }"#;
    assert_eq!(hall.said(0), ["HelloConnect", TAKEN, "LoginSuccess", contacts]);
    hall.open(1);
    hall.login(1, "bob").unwrap();
    assert_eq!(hall.said(1)[2..], [r#"AddContact { contacts: ["echo", "alice"] }"#]);
    let mut asking = Harness::new(ServerSettings { ask: true, ..ECHOING });
    asking.open(0);
    asking.login(0, "echo:secret").unwrap();
    asking.admit(0, "echo");
    assert_eq!(asking.said(0), ["HelloConnect", TAKEN]);
    // Without the setting it is a name as any other.
    let mut plain = Harness::new(ServerSettings::DEFAULT);
    plain.join(0, "echo");
    assert_eq!(plain.server.find(b"echo"), Some(peer(0)));
}

/// O-12: the server connects to where a caller of echo listens, at the address that it sees, and sends its sound back.
#[test]
fn o_12_who_calls_echo_hears_itself() {
    let mut hall = Harness::new(ECHOING);
    hall.join(0, "alice");
    hall.send(0, &request("echo", "192.0.2.66", 4001)).unwrap();
    assert_eq!(hall.wants, [r#"Dial { id: DialId(1), host: "10.0.0.0", port: 4001 }"#]);
    assert_eq!(hall.input(dialled(20, 1)), Ok(Some("Established(0.0 -> 0.0)".into())));
    hall.send(20, &Packet::ConnectionEstablished).unwrap();
    hall.send(20, &Packet::VoiceData(b"hello")).unwrap();
    assert_eq!(hall.said(20), ["VoiceData { len: 5 }"]);
    assert_eq!(hall.server.parties_of(peer(20)), Some([&b"alice"[..], b"echo"]));
    hall.server.mute(peer(0), Mute { voice: false, text: false }).unwrap();
    hall.input(Input::Closed { peer: peer(20) }).unwrap();
    let stats = hall.server.stats();
    assert_eq!((stats.calls, stats.established, stats.packets, hall.server.relays()), (1, 1, 1, 0));
    // Anything else ends the call, as in any other.
    hall.send(0, &request("echo", "", 4001)).unwrap();
    hall.input(dialled(21, 2)).unwrap();
    assert!(hall.send(21, &Packet::CallRefused { contact: "alice".into() }).is_err());
    assert_eq!((hall.said(21), hall.server.relays()), (vec![CLOSED.into()], 0));
}

/// O-12: a caller that does not listen gets a port of the server's, where the server has an address to tell.
#[test]
fn o_12_a_caller_of_echo_that_does_not_listen_comes_to_the_server() {
    let mut hall = Harness::new(ECHOING);
    hall.join(0, "alice");
    hall.send(0, &request("echo", "", 0)).unwrap();
    hall.send(0, &request("echo", "", 80)).unwrap();
    assert_eq!(hall.said(0), [error(reason::NOT_RELAYED), error(reason::PORT)]);
    let relay = Some(RelayAddress { v4: Some([10, 9, 9, 9].into()), v6: None });
    let mut hall = Harness::new(ServerSettings { relay, ..ECHOING });
    hall.join(0, "alice");
    hall.send(0, &request("echo", "", 0)).unwrap();
    assert_eq!(hall.wants, ["Listen { id: ListenId(1) }"]);
    hall.input(Input::Listening { id: ListenId::new(1), port: 60_000 }).unwrap();
    assert_eq!(hall.said(0), [r#"CallRequest { contact: "echo", host: "relay 10.9.9.9", port: 60000 }"#]);
    let from = Some(([10, 0, 0, 0], 5).into());
    let arrive = Input::Opened { peer: peer(20), via: Via::AcceptedOn(ListenId::new(1)), from };
    assert_eq!(hall.input(arrive), Ok(Some("Established(0.0 -> 0.0)".into())));
    hall.send(20, &Packet::VoiceData(b"hello")).unwrap();
    assert_eq!(hall.said(20), ["ConnectionEstablished", "VoiceData { len: 5 }"]);
}

/// O-12: calls of echo that do not come up end, and are bounded as those that are carried are.
#[test]
fn o_12_calls_of_echo_that_do_not_come_up_end() {
    let mut hall = Harness::new(ServerSettings { max_source_relays: 1, ..ECHOING });
    hall.join(0, "alice");
    hall.send(0, &request("echo", "", 4001)).unwrap();
    hall.input(Input::DialFailed(DialId::new(1))).unwrap();
    assert_eq!((hall.said(0), hall.server.relays()), (vec![error(reason::UNREACHABLE)], 0));
    hall.send(0, &request("echo", "", 4001)).unwrap();
    assert_eq!(hall.server.relays(), 1);
    // Called again: the call before is given up.
    hall.send(0, &request("echo", "", 4002)).unwrap();
    assert_eq!(hall.server.relays(), 1);
    hall.input(dialled(20, 3)).unwrap();
    hall.send(0, &request("echo", "", 4003)).unwrap();
    assert_eq!(hall.said(0), [error(reason::NO_RELAY)]);
    hall.input(Input::Closed { peer: peer(20) }).unwrap();
    hall.send(0, &request("echo", "", 4003)).unwrap();
    let ended = hall.run_for(Duration::from_secs(61));
    assert!(ended.iter().any(|event| event.contains("Caller")), "{ended:?}");
    assert_eq!(hall.server.relays(), 0);
    hall.send(0, &request("echo", "", 4003)).unwrap();
    hall.input(Input::Closed { peer: peer(0) }).unwrap();
    assert_eq!((hall.server.relays(), hall.server.peers()), (0, 0));
    // Who has no name has no echo either.
    hall.open(1);
    assert!(hall.send(1, &request("echo", "", 4003)).is_err());
}

/// O-12: the server connects to no gateway, be it on its own machine: any of its clients could make the server knock at that one's ports.
#[test]
fn o_12_no_gateway_is_called_for_its_clients() {
    let here = [127, 0, 0, 1];
    for (gateways, at, refused) in [
        (&[][..], here, false),
        (&[here.into()][..], here, true),
        (&[[192, 0, 2, 7].into()][..], [192, 0, 2, 7], true),
    ] {
        let mut hall = Harness::new(ECHOING);
        hall.server.exempt(gateways);
        hall.open_from(0, at).unwrap();
        hall.login(0, "alice").unwrap();
        hall.said(0);
        let _ = hall.send(0, &request("echo", "", 4001));
        assert_eq!(hall.said(0), if refused { vec![error(reason::PORT)] } else { vec![] }, "{at:?}");
    }
}
