//! What an operator decides about clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::harness;

use harness::{Answer, Harness};
use voxwire_core::testing::Net;
use voxwire_core::{Moderation as _, Mute};
use voxwire_syfala::{ClientCommand, Format, Refusal};

const STEREO: [Format; 1] = [Format::STANDARD];

/// C-30: audio of a muted client is not told of; and who is kicked is gone, as the application hears.
#[test]
fn c_30_a_muted_client_is_not_heard_and_a_kicked_one_is_gone() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    let user = lan.user(Answer::Accept, true);
    lan.run(500);
    let (server, client) = (lan.servers(user)[0].0, lan.clients(device)[0].0);
    let listed = lan.sim.with(device, |server, _, _| server.members().map(|it| it.peer).collect::<Vec<_>>());
    assert_eq!(listed, [client]);
    let play = |lan: &mut Harness, byte: u8| {
        lan.command(user, ClientCommand::Play { server, stream: 0, samples: &[byte; 16] });
        lan.run(5);
        let received = lan.sim.with(device, |server, _, _| server.stats().messages_received);
        let heard = lan
            .sim
            .with(device, |_, device, _| device.heard.get(&(client, 0)).map_or(0, |heard| heard.1.len()));
        (received, heard)
    };
    assert_eq!(play(&mut lan, 1), (1, 16));
    let muted = Mute { voice: true, text: false };
    lan.sim.with(device, |server, _, _| server.mute(client, muted)).unwrap();
    assert_eq!(play(&mut lan, 2), (1, 16));
    assert_eq!(lan.sim.with(device, |server, _, _| server.stats().muted), 1);
    let text = Mute { voice: false, text: true };
    let refused = lan.sim.with(device, |server, _, _| server.mute(client, text));
    assert!(matches!(refused, Err(Refusal::Unsupported(_))));
    lan.sim.with(device, |server, _, now| server.kick(now, client, "")).unwrap();
    lan.run(50);
    assert!(lan.device_events(device).iter().any(|event| event.starts_with("Gone")));
    assert!(!lan.clients(device).iter().any(|(peer, _)| *peer == client));
    let gone = lan.sim.with(device, |server, _, now| server.kick(now, client, ""));
    assert_eq!(gone, Err(Refusal::UnknownPeer));
}
