//! C-05, C-06: the codec and both sessions of the protocol that shows how one is added.
#![allow(missing_docs)]

use core::net::SocketAddr;
use core::time::Duration;
use proptest::prelude::*;
use voxwire_core::testing::{Log, Net, Sim, Transport, law_frame, law_hostile, law_timers};
use voxwire_core::{
    DecodeErrorKind, DialId, Handler, Input, Instant, Lane, Message, NoPlace, Output, PeerId, Session, Via,
};
use voxwire_echo::{Ask, Client, ClientEvent, Error, MAX_PAYLOAD, Packet, Server, ServerSettings};

fn peer(slot: u32) -> PeerId {
    PeerId { slot, generation: 0 }
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn opened(slot: u32) -> Input<'static> {
    let from = Some(SocketAddr::from(([192, 0, 2, 7], 4000)));
    Input::Opened { peer: peer(slot), via: Via::Accepted, from }
}

fn dialled(slot: u32) -> Input<'static> {
    Input::Opened { peer: peer(slot), via: Via::Dialled(DialId::FIRST), from: None }
}

fn frame(slot: u32, bytes: &[u8]) -> Input<'_> {
    Input::Frame { peer: peer(slot), lane: Lane::Droppable, bytes }
}

fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&(), &mut bytes).unwrap();
    bytes
}

type Sent = (PeerId, Lane, Vec<u8>);

/// What a session has sent, and to whom; whom it has closed.
fn drain(session: &mut impl Session) -> (Vec<Sent>, Vec<PeerId>) {
    let (mut sent, mut closed) = (Vec::new(), Vec::new());
    let mut count = 0;
    for output in session.outputs() {
        count += 1;
        match output {
            Output::Send { to, lane, frame, .. } => sent.push((to, lane, frame.to_vec())),
            Output::Close { peer } => closed.push(peer),
            other => panic!("{other:?}"),
        }
    }
    session.advance(count);
    (sent, closed)
}

proptest! {
    #[test]
    fn every_packet_decodes_to_itself_and_to_nothing_else(
        answer: bool, sequence: u32, payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut scratch = Vec::new();
        let sent = Packet { answer, sequence, payload: &payload };
        sent.encode(&(), &mut scratch).unwrap();
        prop_assert_eq!(Packet::decode(&scratch, &()), Ok(sent));
        prop_assert_eq!(Ok(scratch.len()), sent.encoded_len(&()));
        law_hostile::<Packet<'static>>(&scratch, &());
        prop_assert_eq!(law_frame::<Packet<'static>>(&scratch, &()), Some(scratch.clone()));
    }
}

#[test]
fn errors_name_the_field_and_the_offset() {
    let good = [0, 0, 0, 0, 7, b'h', b'i'];
    let expected = Packet { answer: false, sequence: 7, payload: b"hi" };
    assert_eq!(Packet::decode(&good, &()), Ok(expected));
    let large = [0; MAX_PAYLOAD + 6];
    for (bytes, field, offset) in
        [(&b"\x02"[..], "Kind", 0), (&good[..4], "Sequence", 1), (&large, "Payload", 5)]
    {
        let error = Packet::decode(bytes, &()).unwrap_err();
        assert_eq!((error.field, error.offset), (field, offset), "{error}");
    }
    let long = [0; MAX_PAYLOAD + 1];
    assert!(Packet { payload: &long, ..expected }.encode(&(), &mut Vec::new()).is_err());
    let error = Packet::decode(&[9], &()).unwrap_err();
    assert!(matches!(error.kind, DecodeErrorKind::Tag { got: 9, .. }));
}

#[test]
fn an_answer_has_the_payload_and_the_lane_of_its_request() {
    let mut server = Server::new(ServerSettings::DEFAULT);
    let mut client = Client::new(Duration::from_secs(1));
    assert_eq!(client.handle_command(at(0), Ask(Lane::Reliable, b"")), Err(Error::UnknownPeer));
    assert_eq!(client.handle_input(at(0), dialled(0)), Ok(Some(ClientEvent::Connected)));
    assert_eq!(server.handle_input(at(0), opened(3)), Ok(None));
    for (sequence, lane) in [(0, Lane::Reliable), (1, Lane::Droppable)] {
        client.handle_command(at(1000), Ask(lane, b"hello")).unwrap();
        let (sent, _) = drain(&mut client);
        assert_eq!((sent.len(), sent[0].1), (1, lane));
        let input = Input::Frame { peer: peer(3), lane, bytes: &sent[0].2 };
        assert_eq!(server.handle_input(at(1500), input), Ok(None));
        let (answers, _) = drain(&mut server);
        assert_eq!((answers[0].0, answers[0].1, answers[0].2.len()), (peer(3), lane, sent[0].2.len()));
        let event = client.handle_input(at(1040), frame(0, &answers[0].2)).unwrap();
        let rtt = Duration::from_millis(40);
        assert_eq!(
            event,
            Some(ClientEvent::Answer {
                sequence,
                rtt,
                answer: Packet { answer: true, sequence, payload: b"hello" }
            })
        );
        // Once is enough.
        assert_eq!(client.handle_input(at(1041), frame(0, &answers[0].2)), Err(Error::Unexpected));
    }
    assert_eq!(server.stats().answered, 2);
}

#[test]
fn what_does_not_come_back_is_lost_after_the_timeout() {
    let mut client = Client::new(Duration::from_millis(300));
    client.handle_input(at(0), dialled(0)).unwrap();
    client.handle_command(at(10), Ask(Lane::Droppable, b"a")).unwrap();
    client.handle_command(at(20), Ask(Lane::Droppable, b"b")).unwrap();
    assert_eq!((client.poll_timeout(), client.handle_timeout(at(309))), (Some(at(310)), None));
    assert_eq!(client.handle_timeout(at(310)), Some(ClientEvent::Lost(0)));
    let late = packet(&Packet { answer: true, sequence: 0, payload: b"a" });
    assert_eq!(client.handle_input(at(311), frame(0, &late)), Err(Error::Unexpected));
    let gone = client.handle_input(at(312), Input::Closed { peer: peer(0) });
    assert_eq!((gone, client.poll_timeout()), (Ok(Some(ClientEvent::Disconnected)), None));
}

#[test]
fn packets_of_the_wrong_side_and_of_strangers_change_nothing() {
    let (mut server, mut client) =
        (Server::new(ServerSettings::DEFAULT), Client::new(Duration::from_secs(1)));
    server.handle_input(at(0), opened(0)).unwrap();
    client.handle_input(at(0), dialled(0)).unwrap();
    let request = packet(&Packet { answer: false, sequence: 0, payload: b"" });
    let answer = packet(&Packet { answer: true, sequence: 0, payload: b"" });
    assert_eq!(server.handle_input(at(1), frame(0, &answer)), Err(Error::Unexpected));
    assert_eq!(server.handle_input(at(1), frame(5, &request)), Err(Error::UnknownPeer));
    assert_eq!(client.handle_input(at(1), frame(0, &request)), Err(Error::Unexpected));
    assert_eq!(client.handle_input(at(1), frame(5, &answer)), Err(Error::UnknownPeer));
    assert!(matches!(server.handle_input(at(1), frame(0, b"?")), Err(Error::Decode(_))));
    // No other peer takes the server's place.
    for (slot, input) in [(1, opened(1)), (2, dialled(2))] {
        assert_eq!(client.handle_input(at(1), input), Err(Error::NoPlace(NoPlace)));
        assert_eq!(drain(&mut client), (vec![], vec![peer(slot)]));
    }
    client.handle_command(at(1), Ask(Lane::Reliable, b"")).unwrap();
    assert_eq!(drain(&mut client).0[0].0, peer(0));
    assert_eq!((drain(&mut server), server.stats().violations), ((vec![], vec![]), 3));
}

#[test]
fn requests_over_the_bounds_are_refused() {
    let mut server = Server::new(ServerSettings::DEFAULT);
    server.handle_input(at(0), opened(0)).unwrap();
    server.handle_input(at(0), opened(1)).unwrap();
    let request = packet(&Packet { answer: false, sequence: 0, payload: &[7; MAX_PAYLOAD] });
    let results = (0..500).map(|_| server.handle_input(at(1), frame(0, &request)));
    assert_eq!(results.filter(|result| *result == Err(Error::OverRate)).count(), 300);
    assert_eq!((drain(&mut server).0.len(), server.stats().over_rate), (200, 300));
    // Its neighbour does not pay, and it pays for a second at most.
    assert_eq!(server.handle_input(at(2), frame(1, &request)), Ok(None));
    assert_eq!(server.handle_input(at(1001), frame(0, &request)), Ok(None));
    // What nobody drains is bounded.
    let mut greedy = Server::new(ServerSettings {
        rate: voxwire_core::Rate { per_second: 1, burst: 10_000 },
        ..ServerSettings::DEFAULT
    });
    greedy.handle_input(at(0), opened(0)).unwrap();
    let refused = (0..2000).map(|_| greedy.handle_input(at(1), frame(0, &request))).find(Result::is_err);
    assert!(matches!(refused, Some(Err(Error::Encode(_)))), "{refused:?}");
    // What is refused for lack of room is not counted: it can be handed in again.
    let answered = drain(&mut greedy).0.len();
    assert_eq!(greedy.handle_input(at(1), frame(0, &request)), Ok(None));
    assert_eq!((greedy.stats().answered, greedy.stats().violations), (answered as u64 + 1, 0));

    let mut client = Client::new(Duration::from_secs(1));
    client.handle_input(at(0), dialled(0)).unwrap();
    let asked = (0..300).map(|_| client.handle_command(at(1), Ask(Lane::Droppable, b"")));
    assert_eq!(asked.filter(|result| *result == Err(Error::OverRate)).count(), 44);
    let long = client.handle_command(at(1), Ask(Lane::Reliable, &[0; MAX_PAYLOAD + 1]));
    assert_eq!(long, Err(Error::OverRate));
    law_timers(&mut client, at(2000), |_, event| assert!(matches!(event, Some(ClientEvent::Lost(_)))));
    let long = client.handle_command(at(2000), Ask(Lane::Reliable, &[0; MAX_PAYLOAD + 1]));
    assert!(matches!(long, Err(Error::Encode(_))), "{long:?}");
}

/// F-19: where all places are taken, a silent client is closed for a new one, the oldest first; and none that has asked something.
#[test]
fn f_19_silent_clients_are_closed_and_make_room() {
    let mut server = Server::new(ServerSettings { max_peers: 3, ..ServerSettings::DEFAULT });
    for slot in 0..3 {
        server.handle_input(at(slot.into()), opened(slot)).unwrap();
    }
    let request = packet(&Packet { answer: false, sequence: 0, payload: b"" });
    server.handle_input(at(4), frame(0, &request)).unwrap();
    drain(&mut server);
    assert_eq!(server.evictable().collect::<Vec<_>>(), [peer(1), peer(2)]);
    server.handle_input(at(5), opened(3)).unwrap();
    assert_eq!(drain(&mut server).1, [peer(1)]);
    // A driver that needs a place closes the first by itself.
    server.handle_input(at(6), Input::Closed { peer: peer(2) }).unwrap();
    server.handle_input(at(7), frame(3, &request)).unwrap();
    server.handle_input(at(8), opened(4)).unwrap();
    server.handle_input(at(9), frame(4, &request)).unwrap();
    drain(&mut server);
    assert_eq!(
        server.handle_input(at(10), opened(5)),
        Err(Error::NoPlace(NoPlace)),
        "all have asked something"
    );
    assert_eq!(drain(&mut server).1, [peer(5)]);
    assert_eq!(server.poll_timeout(), Some(at(60_004)));
    for (ms, slot) in [(60_004, 0), (60_007, 3)] {
        server.handle_timeout(at(ms));
        assert_eq!(drain(&mut server).1, [peer(slot)]);
    }
    assert_eq!(server.evictable().next(), None);
    server.shutdown(at(60_004));
    assert_eq!((drain(&mut server).1, server.poll_timeout()), (vec![peer(4)], None));
}

/// Asks again with every answer and every loss, fifty times in all.
#[derive(Debug, Clone, Copy, Default)]
struct Asking {
    asked: u32,
    answered: u32,
    lost: u32,
}

impl Handler<Client> for Asking {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Answer { .. } => self.answered += 1,
            ClientEvent::Lost(_) => self.lost += 1,
            _ => {}
        }
        if self.asked < 50 && event != ClientEvent::Disconnected {
            client.handle_command(now, Ask(Lane::Droppable, b"how late is it?")).unwrap();
            self.asked += 1;
        }
    }
}

#[test]
fn sessions_over_a_bad_network_agree_on_what_was_lost() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        let net = Net { loss: 0.2, jitter: Duration::from_millis(50), ..Net::PERFECT };
        let server = sim.add(Server::new(ServerSettings::DEFAULT), Log::default());
        let client = sim.add(Client::new(Duration::from_millis(500)), Asking::default());
        sim.connect(client, server, Transport::Both, net);
        sim.run_for(Duration::from_secs(60));
        let Asking { asked, answered, lost: missing } = sim.with(client, |_, asking, _| *asking);
        assert_eq!((asked, answered + missing), (50, 50));
        assert!(u64::from(answered) <= sim.with(server, |server, _, _| server.stats().answered));
        lost += missing;
    }
    // A fifth of each way: 36 % of a thousand.
    assert!((300..420).contains(&lost), "{lost}");
}
