//! A script for a client and a server of echo: answers go to live peers only, on the lane of their request; every request is answered
//! or lost, once; what is ignored changes nothing; nothing waits for ever.
#![cfg_attr(fuzzing, no_main)]

use core::time::Duration;
use std::collections::BTreeSet;
use voxwire_core::testing::law_timers;
use voxwire_core::{Input, Lane, Message, Output, PeerId, PeerIds, Session, Via};
use voxwire_echo::{Ask, Client, ClientEvent, Packet, Server, ServerSettings};
use voxwire_fuzz::{START, Script};

fn opened(peer: PeerId) -> Input<'static> {
    Input::Opened { peer, via: Via::Accepted, from: None }
}

/// What is sent; peers that are closed go from `alive`.
fn drain(session: &mut impl Session, alive: &mut BTreeSet<PeerId>) -> Vec<(Lane, Vec<u8>)> {
    let (mut sent, mut count) = (Vec::new(), 0);
    for output in session.outputs() {
        count += 1;
        match output {
            Output::Send { to, lane, frame, .. } => {
                assert!(alive.contains(&to), "sent to nobody");
                Packet::decode(frame, &()).expect("what is sent is a packet");
                sent.push((lane, frame.to_vec()));
            }
            Output::Close { peer } => assert!(alive.remove(&peer), "closed twice, or nobody"),
            other => panic!("{other:?}"),
        }
    }
    session.advance(count);
    sent
}

fn body(data: &[u8]) {
    let mut script = Script(data);
    let mut server = Server::new(ServerSettings { max_peers: 4, ..ServerSettings::DEFAULT });
    let mut client = Client::new(Duration::from_millis(100));
    let (mut now, mut ids) = (START, PeerIds::new());
    let here = PeerId { slot: 0, generation: 0 };
    let (mut alive, mut there) = (BTreeSet::new(), BTreeSet::from([here]));
    client.handle_input(now, opened(here)).unwrap();
    // What waits for an answer, and what is on its way.
    let (mut waiting, mut requests, mut answers) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut asked = 0;
    while !script.is_empty() {
        let (operation, choice) = (script.byte() % 8, script.byte());
        let who = alive.iter().nth(usize::from(choice) % alive.len().max(1)).copied();
        let before = server.stats().answered;
        match (operation, who) {
            (0, _) => {
                let Some(peer) = ids.mint() else { return };
                alive.insert(peer);
                let _ = server.handle_input(now, opened(peer));
            }
            (1, Some(peer)) => {
                alive.remove(&peer);
                let _ = server.handle_input(now, Input::Closed { peer });
            }
            (2, _) => {
                // The driver needs a place.
                let Some(peer) = server.evictable().next() else { continue };
                assert!(alive.remove(&peer), "nobody's place");
                assert!(matches!(server.handle_input(now, Input::Closed { peer }), Ok(Some(_))));
            }
            (3, _) => {
                let lane = if choice & 1 == 0 { Lane::Reliable } else { Lane::Droppable };
                if client.handle_command(now, Ask(lane, script.bytes(usize::from(choice)))).is_ok() {
                    assert!(waiting.insert(asked));
                    asked += 1;
                }
                requests.extend(drain(&mut client, &mut there));
            }
            // The network loses what it likes.
            (4, Some(peer)) if !requests.is_empty() => {
                let (lane, bytes) = requests.swap_remove(usize::from(choice) % requests.len());
                let result = server.handle_input(now, Input::Frame { peer, lane, bytes: &bytes });
                let sent = drain(&mut server, &mut alive);
                assert_eq!(sent.len(), usize::from(result.is_ok()));
                assert!(sent.iter().all(|(back, answer)| *back == lane && answer.len() == bytes.len()));
                answers.extend(sent);
            }
            (5, _) if !answers.is_empty() => {
                let (lane, bytes) = answers.swap_remove(usize::from(choice) % answers.len());
                let input = Input::Frame { peer: here, lane, bytes: &bytes };
                match client.handle_input(now, input) {
                    Ok(Some(ClientEvent::Answer { sequence, .. })) => assert!(waiting.remove(&sequence)),
                    other => assert!(other.is_err(), "{other:?}"),
                }
            }
            (6, Some(peer)) => {
                let bytes = script.bytes(usize::from(choice));
                let _ = server.handle_input(now, Input::Frame { peer, lane: Lane::Droppable, bytes });
                let hostile = Input::Frame { peer: here, lane: Lane::Droppable, bytes };
                if let Ok(Some(ClientEvent::Answer { sequence, .. })) = client.handle_input(now, hostile) {
                    assert!(waiting.remove(&sequence));
                }
            }
            _ => now = now.saturating_add(Duration::from_millis(u64::from(choice) * 20)),
        }
        law_timers(&mut client, now, |_, event| match event {
            Some(ClientEvent::Lost(sequence)) => assert!(waiting.remove(&sequence)),
            other => panic!("{other:?}"),
        });
        law_timers(&mut server, now, |_, _| {});
        let sent = drain(&mut server, &mut alive);
        assert!(server.stats().answered - before <= 1 && sent.len() <= 1);
        answers.extend(sent);
    }
    now = now.saturating_add(Duration::from_secs(100));
    law_timers(&mut client, now, |_, event| match event {
        Some(ClientEvent::Lost(sequence)) => assert!(waiting.remove(&sequence)),
        other => panic!("{other:?}"),
    });
    assert!(waiting.is_empty(), "neither answered nor lost");
    law_timers(&mut server, now, |_, _| {});
    drain(&mut server, &mut alive);
    assert!(alive.is_empty(), "a silent client stays for ever");
}

voxwire_fuzz::target!(body);
