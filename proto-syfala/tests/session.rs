//! Servers and clients in the simulator: discovery, IO, audio, time-outs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic
)]

use crate::harness;

use core::num::NonZeroU32;
use harness::{Answer, Harness, UserNode};
use std::time::Duration;
use voxwire_core::testing::Net;
use voxwire_core::{PeerId, Session as _};
use voxwire_syfala::{
    ClientCommand, ClientSettings, Format, IoResult, IoState, Refusal, Resource, SampleType, ServerCommand,
    ServerSettings,
};

const STEREO: [Format; 1] = [Format::STANDARD];

/// A device and a client whose IO is active.
fn active(
    net: Net,
    inputs: &[Format],
    outputs: &[Format],
) -> (Harness, harness::DeviceNode, UserNode, PeerId, PeerId) {
    let mut lan = Harness::new(net, 1);
    let device = lan.device(inputs, outputs);
    let user = lan.user(Answer::Accept, true);
    lan.run(500);
    let (server, client) = (lan.servers(user)[0].0, lan.clients(device)[0].0);
    assert_eq!(lan.servers(user), [(server, Some(IoState::Active))]);
    assert_eq!(lan.clients(device), [(client, IoState::Active)]);
    lan.command(user, ClientCommand::StopDiscovery);
    lan.run(50);
    lan.events(user);
    lan.device_events(device);
    (lan, device, user, server, client)
}

#[test]
fn s_05_discovery_accept_refuse_and_fail() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    let [happy, busy, unable] =
        [Answer::Accept, Answer::Fail, Answer::Refuse].map(|answer| lan.user(answer, false));
    lan.run(2990);
    assert_eq!(lan.events(happy), ["Found(10.0.0.1:50000, 1+1)"]);
    assert_eq!(lan.servers(happy)[0].1, Some(IoState::Inactive));
    // Who cannot now is asked again, who cannot at all is not: for half a minute.
    assert!((5..=12).contains(&lan.events(busy).len()));
    assert_eq!(lan.events(unable), ["Found(10.0.0.1:50000, 1+1)"]);
    let told = lan.device_events(device);
    assert_eq!(told.iter().filter(|event| *event == "Connected").count(), 1);
    assert!(told.iter().filter(|event| *event == "Declined").count() > 5);
    assert_eq!(lan.clients(device).len(), 1);
    lan.run(30_000);
    assert_eq!(lan.events(unable).len(), 1);
}

#[test]
fn s_05_a_server_announces_itself_where_an_operator_asks_for_it() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let settings =
        ServerSettings { announce_interval: Some(Duration::from_secs(1)), ..ServerSettings::DEFAULT };
    let device = lan.device_with(&STEREO, &STEREO, settings);
    let user = lan.user(Answer::Accept, false);
    lan.command(user, ClientCommand::StopDiscovery);
    lan.run(1100);
    assert_eq!(lan.events(user), ["Found(10.0.0.1:50000, 1+1)"]);
    assert_eq!(lan.clients(device).len(), 1);
    // What is announced again means nothing to who is connected.
    lan.run(10_000);
    assert_eq!((lan.events(user).len(), lan.device_events(device)), (0, vec!["Connected".to_owned()]));
}

#[test]
fn s_05_servers_that_announce_themselves_do_not_answer_each_other() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let settings =
        ServerSettings { announce_interval: Some(Duration::from_millis(100)), ..ServerSettings::DEFAULT };
    let devices = [(); 3].map(|()| lan.device_with(&STEREO, &STEREO, settings));
    lan.run(5000);
    for device in devices {
        assert_eq!(lan.sim.with(device, |server, _, _| server.stats().offers), 0);
    }
}

#[test]
fn s_07_an_acceptance_that_is_lost_is_said_again() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    let user = lan.user(Answer::Wait, false);
    lan.run(10);
    lan.command(user, ClientCommand::StopDiscovery);
    let server = lan.servers(user)[0].0;
    lan.sim.set_net(Net { loss: 1.0, ..Net::PERFECT });
    lan.command(user, ClientCommand::Accept { server });
    lan.command(user, ClientCommand::StartIo { server });
    lan.sim.set_net(Net::PERFECT);
    lan.run(300);
    assert_eq!(lan.servers(user), [(server, Some(IoState::Active))]);
    assert_eq!(lan.clients(device).len(), 1);
}

#[test]
fn s_08_what_cannot_be_stopped_and_was_never_heard_to_start_has_started() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    lan.sim.with(device, |_, device, _| device.stops = vec![IoResult::Refused]);
    let user = lan.user(Answer::Accept, true);
    // Connect takes 2 ms, StartIO one more; its answer is lost.
    lan.sim.run_for(Duration::from_micros(3500));
    assert_eq!(lan.device_events(device), ["Connected", "StartIo"]);
    let server = lan.servers(user)[0].0;
    lan.command(user, ClientCommand::StopIo { server });
    lan.run(500);
    assert_eq!(lan.events(user)[1..], ["Started"]);
    assert_eq!(lan.servers(user), [(server, Some(IoState::Active))]);
}

#[test]
fn s_05_only_networks_that_are_served_are_answered() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    lan.device_command(device, ServerCommand::Serve { networks: &["10.0.0.2".parse().unwrap()] });
    let (pinned, other) = (lan.user(Answer::Accept, false), lan.user(Answer::Accept, false));
    lan.run(1000);
    assert_eq!((lan.events(pinned).len(), lan.events(other).len()), (1, 0));
    let stats = lan.sim.with(device, |server, _, _| server.stats());
    assert!(stats.off_link >= 4 && stats.offers == 1, "{stats:?}");
}

#[test]
fn s_06_formats_are_fixed_and_a_server_with_others_is_another() {
    let (mut lan, device, user, server, _) = active(Net::PERFECT, &STEREO, &STEREO);
    let formats =
        lan.sim.with(user, |client, _, _| client.formats(server).map(|(i, o)| (i.to_vec(), o.to_vec())));
    assert_eq!(formats, Some((STEREO.to_vec(), STEREO.to_vec())));
    lan.command(user, ClientCommand::StopIo { server });
    lan.command(user, ClientCommand::Discover);
    lan.run(100);
    // The device comes back with other streams, at once.
    let mono = Format { channels: NonZeroU32::MIN, ..Format::STANDARD };
    lan.sim.replace(device, harness::server(&[mono], &[mono; 2], ServerSettings::DEFAULT, 2));
    lan.run(500);
    assert_eq!(lan.events(user), ["Stopped", "Lost", "Found(10.0.0.1:50000, 1+2)", "Started"]);
    assert_eq!(lan.clients(device).len(), 1);
}

#[test]
fn s_07_heartbeats_keep_a_connection_and_silence_ends_it_on_both_sides() {
    let (mut lan, device, user, server, _) = active(Net::PERFECT, &STEREO, &STEREO);
    lan.command(user, ClientCommand::StopIo { server });
    lan.run(60_000);
    assert_eq!((lan.events(user).len(), lan.clients(device).len()), (1, 1));
    lan.device_events(device);
    lan.sim.set_down(device, true);
    lan.run(490);
    assert_eq!((lan.servers(user).len(), lan.clients(device).len()), (1, 1));
    lan.run(120);
    assert_eq!((lan.events(user), lan.device_events(device)), (vec!["Lost".into()], vec!["Gone".into()]));
    assert_eq!((lan.servers(user), lan.clients(device)), (vec![], vec![]));
}

#[test]
fn s_07_disconnect_is_said_by_either_side_and_by_shutdown() {
    let (mut lan, device, user, server, _) = active(Net::PERFECT, &STEREO, &STEREO);
    lan.command(user, ClientCommand::Disconnect { server });
    lan.run(5);
    assert_eq!((lan.device_events(device), lan.events(user)), (vec!["Gone".into()], vec![]));
    assert_eq!(lan.sim.with(device, |_, device, _| device.prepared.len()), 0);

    let (mut lan, device, user, _, client) = active(Net::PERFECT, &STEREO, &STEREO);
    lan.device_command(device, ServerCommand::Disconnect { client });
    lan.run(5);
    assert_eq!((lan.events(user), lan.device_events(device)), (vec!["Lost".into()], vec![]));

    for who in 0..2 {
        let (mut lan, device, user, ..) = active(Net::PERFECT, &STEREO, &STEREO);
        if who == 0 {
            lan.sim.with(user, |client, _, now| client.shutdown(now));
        } else {
            lan.sim.with(device, |server, _, now| server.shutdown(now));
        }
        lan.run(5);
        assert_eq!((lan.servers(user), lan.clients(device)), (vec![], vec![]));
        assert_eq!(lan.sim.with(user, |client, _, _| client.poll_timeout()), None);
        assert_eq!(lan.sim.with(device, |server, _, _| server.poll_timeout()), None);
    }
}

#[test]
fn s_08_the_server_prepares_before_success_and_is_asked_again_until_then() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    lan.sim.with(device, |_, device, _| device.slow = true);
    let user = lan.user(Answer::Accept, true);
    lan.run(1000);
    // One request, however often it was sent.
    assert_eq!(lan.device_events(device), ["Connected", "StartIo"]);
    let (server, client) = (lan.servers(user)[0], lan.clients(device)[0]);
    assert_eq!((server.1, client.1), (Some(IoState::StartPending), IoState::StartPending));
    let early = ServerCommand::Play { client: client.0, stream: 0, samples: &[0; 8] };
    let refused = lan.sim.with(device, |server, _, now| server.handle_command(now, early));
    assert_eq!(refused, Err(Refusal::Unexpected { state: "IO is being started", command: "play" }));
    assert!(lan.sim.with(user, |client, _, _| client.stats().repeated) >= 8);
    let result = IoResult::Success;
    lan.sim.with(device, |server, device, now| {
        device.prepare(server, client.0);
        server.handle_command(now, ServerCommand::StartIoResult { client: client.0, result }).unwrap();
        // Ready at that instant.
        let first = ServerCommand::Play { client: client.0, stream: 0, samples: &[7; 8] };
        server.handle_command(now, first).unwrap();
        let again = server.handle_command(now, ServerCommand::StartIoResult { client: client.0, result });
        assert_eq!(again, Err(Refusal::Unexpected { state: "IO is active", command: "answer a StartIO" }));
    });
    lan.run(5);
    assert_eq!(lan.events(user).last().unwrap(), "Started");
    assert_eq!(lan.sim.with(user, |_, user, _| user.heard[&(server.0, 0)].1.clone()), [7; 8]);
}

#[test]
fn s_08_failures_are_retried_and_refusals_are_final_and_the_connection_stays() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    let device = lan.device(&STEREO, &STEREO);
    lan.sim.with(device, |_, device, _| {
        device.starts = vec![IoResult::Failed, IoResult::Failed, IoResult::Success, IoResult::Refused];
        device.stops = vec![IoResult::Refused, IoResult::Failed];
    });
    let user = lan.user(Answer::Accept, true);
    lan.run(1000);
    assert_eq!(lan.events(user)[1..], ["StartFailed", "StartFailed", "Started"]);
    let server = lan.servers(user)[0].0;
    for _ in 0..2 {
        lan.command(user, ClientCommand::StopIo { server });
        lan.run(500);
    }
    assert_eq!(lan.events(user), ["StopRefused", "StopFailed", "Stopped"]);
    lan.command(user, ClientCommand::StartIo { server });
    lan.run(500);
    assert_eq!(lan.events(user), ["StartRefused"]);
    // Start, stop, start again.
    for (command, event) in [
        (ClientCommand::StartIo { server }, "Started"),
        (ClientCommand::StopIo { server }, "Stopped"),
        (ClientCommand::StartIo { server }, "Started"),
    ] {
        lan.command(user, command);
        lan.run(50);
        assert_eq!(lan.events(user), [event]);
    }
    // Changing one's mind before there is an answer.
    lan.command(user, ClientCommand::StopIo { server });
    lan.command(user, ClientCommand::StartIo { server });
    lan.run(500);
    assert_eq!(lan.events(user), ["Started"]);
    assert_eq!(lan.clients(device)[0].1, IoState::Active);
    assert_eq!(lan.sim.with(device, |_, device, _| device.log.events.last().unwrap().1.clone()), "StartIo");
}

#[test]
fn s_09_audio_counts_only_while_io_is_active() {
    let (mut lan, device, user, server, client) = active(Net::PERFECT, &STEREO, &STEREO);
    lan.command(user, ClientCommand::Play { server, stream: 0, samples: &[1; 16] });
    lan.device_command(device, ServerCommand::Play { client, stream: 0, samples: &[2; 16] });
    lan.run(5);
    assert_eq!(lan.sim.with(device, |_, device, _| device.heard[&(client, 0)].1.clone()), [1; 16]);
    assert_eq!(lan.sim.with(user, |_, user, _| user.heard[&(server, 0)].1.clone()), [2; 16]);
    let unknown = ClientCommand::Play { server, stream: 1, samples: &[1; 16] };
    let refused = lan.sim.with(user, |client, _, now| client.handle_command(now, unknown));
    assert_eq!(refused, Err(Refusal::UnknownStream(1)));
    // On its way when the stop is asked for: too late.
    lan.device_command(device, ServerCommand::Play { client, stream: 0, samples: &[3; 16] });
    lan.command(user, ClientCommand::StopIo { server });
    let late = ClientCommand::Play { server, stream: 0, samples: &[1; 16] };
    let refused = lan.sim.with(user, |client, _, now| client.handle_command(now, late));
    assert_eq!(refused, Err(Refusal::Unexpected { state: "IO is being stopped", command: "play" }));
    lan.run(50);
    assert_eq!(lan.sim.with(user, |client, _, _| client.stats().untimely), 1);
    assert_eq!(lan.sim.with(user, |_, user, _| user.heard[&(server, 0)].1.len()), 16);
}

#[test]
fn s_10_several_servers_several_clients_several_streams() {
    let mono = Format { channels: NonZeroU32::MIN, ..Format::STANDARD };
    let wide = Format { channels: NonZeroU32::new(8).unwrap(), sample_type: SampleType::I24, ..mono };
    let mut lan = Harness::new(Net { jitter: Duration::from_millis(2), ..Net::PERFECT }, 3);
    let devices = [lan.device(&[mono, wide], &[wide, mono, mono]), lan.device(&[wide], &[mono])];
    let users = [(); 3].map(|()| lan.user(Answer::Accept, true));
    lan.run(2000);
    for user in users {
        assert_eq!(lan.servers(user).len(), 2);
        assert!(lan.servers(user).iter().all(|(_, io)| *io == Some(IoState::Active)));
    }
    // Each sends to every output, something of its own for each; each device to every input of each.
    for (n, user) in (1..).zip(users) {
        for (server, _) in lan.servers(user) {
            let outputs = lan.sim.with(user, |client, _, _| client.formats(server).unwrap().1.len());
            for stream in 0..outputs as u32 {
                let samples = [n * 10 + stream as u8; 2400];
                lan.command(user, ClientCommand::Play { server, stream, samples: &samples });
            }
        }
    }
    for device in devices {
        for (n, (client, io)) in (1..).zip(lan.clients(device)) {
            assert_eq!(io, IoState::Active);
            let inputs = lan.sim.with(device, |server, _, _| server.formats().0.len());
            for stream in 0..inputs as u32 {
                let samples = [100 + n * 10 + stream as u8; 2400];
                lan.device_command(device, ServerCommand::Play { client, stream, samples: &samples });
            }
        }
    }
    lan.run(100);
    for (device, outputs) in devices.into_iter().zip([3, 1]) {
        assert_eq!(lan.clients(device).len(), 3);
        let heard = lan.sim.with(device, |_, device, _| {
            device.heard.values().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
        });
        assert_eq!(heard.len(), 3 * outputs);
        let mut said: Vec<u8> = heard.iter().map(|bytes| bytes[0]).collect();
        assert!(heard.iter().all(|bytes| bytes.len() == 2400 && bytes.iter().all(|byte| *byte == bytes[0])));
        said.sort_unstable();
        said.dedup();
        assert_eq!(said.len(), 3 * outputs, "nothing is mixed up: {said:?}");
    }
    for user in users {
        let heard = lan.sim.with(user, |_, user, _| {
            user.heard.iter().map(|(key, (_, bytes))| (*key, bytes.clone())).collect::<Vec<_>>()
        });
        assert_eq!(heard.len(), 3);
        for ((_, stream), bytes) in heard {
            assert!(bytes.len() == 2400 && u32::from(bytes[0] % 10) == stream, "{stream}: {}", bytes[0]);
        }
    }
}

#[test]
fn c_04_candidates_are_bounded_and_those_heard_of_least_recently_go() {
    let mut lan = Harness::new(Net::PERFECT, 1);
    for _ in 0..5 {
        lan.device(&STEREO, &[]);
    }
    let settings = ClientSettings { max_candidates: 3, max_servers: 1, ..ClientSettings::DEFAULT };
    let user = lan.user_with(Answer::Wait, false, settings);
    lan.command(user, ClientCommand::StopDiscovery);
    lan.run(10);
    let events = lan.events(user);
    assert_eq!(events.iter().filter(|event| event.starts_with("Found")).count(), 5, "{events:?}");
    assert_eq!(events.iter().filter(|event| *event == "Lost").count(), 2);
    let servers = lan.servers(user);
    assert_eq!(servers.len(), 3);
    lan.command(user, ClientCommand::Accept { server: servers[0].0 });
    let second = ClientCommand::Accept { server: servers[1].0 };
    let refused = lan.sim.with(user, |client, _, now| client.handle_command(now, second));
    assert_eq!(refused, Err(Refusal::Full { what: Resource::Servers, max: 1 }));
    // Those that are not accepted are forgotten after a while; the one that is stays.
    lan.run(3500);
    assert_eq!(lan.servers(user), [(servers[0].0, Some(IoState::Inactive))]);
}
