//! Dissonance.

use crate::kit::raw::{connect, encode, join, metrics, next_of, pause, sample, unit};
use crate::serve;
use core::time::Duration;
use std::io::{Read, Write};
use voxwire_core::{List, Message as _};
use voxwire_dissonance::{
    Channel, ClientInfo, ClientState, CodecSettings, DeltaClientState, Options, Packet, Profile, Recipient,
    ServerRelay, VoiceData, Wire, room_id,
};

const REFUSED_ROOMS: &str = "refusals_total{rule=\"room\"}";

/// A name that has the number of `Lobby`.
fn collision() -> String {
    let lobby = room_id("Lobby");
    (0_u32..).map(|n| format!("room{n}")).find(|name| room_id(name) == lobby).unwrap()
}

#[test]
fn f_71_dissonance_rooms_keep_their_numbers_and_max_rooms_is_a_limit() {
    let only = "only = [\"dissonance\"]\n[dissonance]\nquic = false\n";
    for (settings, refused) in [("", 0), ("rooms = [\"Lobby\"]\n", 1), ("max-rooms = 1\n", 1)] {
        let server = serve("rooms", &format!("{only}{settings}"));
        assert!(server.lines.iter().all(|line| !line.contains("quic")), "quic = false");
        let (mut eve, session, client) = join(server.address("dissonance tcp"), b"eve");
        let names = match settings {
            "max-rooms = 1\n" => vec!["one".to_owned(), "two".to_owned()],
            _ => vec!["one".to_owned(), collision()],
        };
        for room in &names {
            let room = room.as_str().into();
            let delta = DeltaClientState { session, joined: true, client, room };
            eve.write_all(&unit(&Packet::DeltaClientState(delta))).unwrap();
        }
        let count = |name: &str| metrics(server.address("http tcp"))[&sample("dissonance", name)].clone();
        for _ in 0..200 {
            if count("rooms") == (2 - refused).to_string() && count(REFUSED_ROOMS) == refused.to_string() {
                break;
            }
            pause(20);
        }
        assert_eq!(count(REFUSED_ROOMS), refused.to_string(), "{settings}");
        assert_eq!(count("rooms"), (2 - refused).to_string(), "{settings}");
    }
}

#[test]
fn f_71_dissonance_token_is_shown_before_anything_else() {
    let server = serve("token", "only = [\"dissonance\"]\n[dissonance]\ntoken = \"sesame\"\n");
    for (token, admitted) in [("sesame", true), ("simsim", false), ("", false)] {
        let mut stream = connect(server.address("dissonance tcp"));
        let length = u16::try_from(token.len()).unwrap().to_be_bytes();
        stream.write_all(&[b"VOXL\x01\x00", &length[..], token.as_bytes()].concat()).unwrap();
        let mut hello = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        let _ = stream.read_to_end(&mut hello);
        assert!(hello.len() == 32 && (hello[5] == 0) == admitted, "{token:?}: {hello:02x?}");
    }
}

/// C-07: `rooms-only`: a client that asks for another room is told that it is not there.
#[test]
fn f_71_dissonance_rooms_only_are_the_rooms_there_are() {
    let settings = "only = [\"dissonance\"]\n[dissonance]\nquic = false\nrooms = [\"Lobby\"]\n";
    for (name, only) in [("rooms-any", false), ("rooms-only", true)] {
        let server = serve(name, &format!("{settings}rooms-only = {only}\n"));
        let (mut eve, session, client) = join(server.address("dissonance tcp"), b"eve");
        for room in ["Attic", "Lobby"] {
            let delta = DeltaClientState { session, joined: true, client, room: room.into() };
            eve.write_all(&unit(&Packet::DeltaClientState(delta))).unwrap();
        }
        let count = || {
            let all = metrics(server.address("http tcp"));
            ["rooms", REFUSED_ROOMS].map(|name| all[&sample("dissonance", name)].clone())
        };
        let expected = if only { ["1", "1"] } else { ["2", "0"] };
        for _ in 0..200 {
            if count() == expected {
                break;
            }
            pause(20);
        }
        assert_eq!(count(), expected, "rooms-only = {only}");
    }
}

/// D-20: the room `echo`, in which a player hears itself under the number of a player of that name.
#[test]
fn d_20_who_speaks_to_echo_hears_itself() {
    for (name, setting, is_there) in [("echo", "", true), ("echo-off", "echo = false\n", false)] {
        let server = serve(name, &format!("only = [\"dissonance\"]\n[dissonance]\nquic = false\n{setting}"));
        let (mut eve, session, client) = join(server.address("dissonance tcp"), b"eve");
        let info = ClientInfo { name: "eve".into(), id: client, codec: CodecSettings::DEFAULT };
        let rooms = ["echo".into()];
        let state = ClientState { session, client: info, rooms: List::from(&rooms[..]) };
        eve.write_all(&unit(&Packet::ClientState(state))).unwrap();
        let mut echo = None;
        // Her own states come first.
        for _ in 0..if is_there { 4 } else { 2 } {
            let told = next_of(&mut eve, &["ClientState", "DeltaClientState"]);
            if let Packet::ClientState(told) = Packet::decode(&told, &Wire::default()).unwrap() {
                echo = Some(told.client.id).filter(|id| *id != client).or(echo);
            }
        }
        assert_eq!(echo.is_some(), is_there);
        let Some(echo) = echo else { continue };
        let (options, channels) =
            (Options::new(0, Profile::Later), &[Channel::new(Recipient::Room(room_id("echo")))]);
        let voice = VoiceData { session, sender: client, options, sequence: 7, channels, frame: b"a frame" };
        let payload = encode(&Packet::VoiceData(voice));
        let relay = ServerRelay { session, destinations: &[echo], payload: &payload };
        eve.write_all(&unit(&Packet::ServerRelayUnreliable(relay))).unwrap();
        let heard = next_of(&mut eve, &["VoiceData"]);
        let Packet::VoiceData(heard) = Packet::decode(&heard, &Wire::default()).unwrap() else {
            unreachable!()
        };
        assert_eq!((heard.sender, heard.sequence, heard.frame), (echo, 7, &b"a frame"[..]));
    }
}
