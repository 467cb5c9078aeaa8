//! A script for a client and a server of echo: every request is answered or lost, once; nothing waits for ever.
#![cfg_attr(fuzzing, no_main)]

use core::time::Duration;
use voxwire_core::{DialId, Lane, Output, Via};
use voxwire_echo::{Ask, Client, ClientEvent, Server, ServerSettings};
use voxwire_fuzz::{Driver, Script};

/// Takes down what is sent.
fn sent(frames: &mut Vec<Vec<u8>>) -> impl FnMut(Output<'_>) {
    |output: Output<'_>| {
        if let Output::Send { frame, .. } = output {
            frames.push(frame.to_vec());
        }
    }
}

fn body(data: &[u8]) {
    let (mut script, mut here, mut there) = (Script(data), Driver::default(), Driver::default());
    let mut server = Server::new(ServerSettings { max_peers: 4, ..ServerSettings::DEFAULT });
    let mut client = Client::new(Duration::from_millis(100));
    here.open(&mut client, Via::Dialled(DialId::FIRST), None).unwrap();
    let (mut requests, mut answers) = (Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new());
    let (mut asked, mut settled) = (0, 0);
    while !script.is_empty() {
        let operation = script.byte();
        match (operation % 16, there.peer(operation)) {
            (0..=4, _) => {
                there.step(&mut server, operation, &mut script, Duration::from_millis(20), |_| 0);
            }
            (5..=7, _) => {
                let ask = Ask(Lane::Reliable, script.bytes(operation.into()));
                asked += usize::from(here.command(&mut client, ask).is_ok());
            }
            (8..=11, Some(peer)) => {
                let request = requests.pop().unwrap_or_default();
                let _ = there.frame(&mut server, peer, &request);
            }
            _ => {
                let answer = answers.pop().unwrap_or_default();
                let event = here.frame(&mut client, here.alive[0], &answer);
                settled += usize::from(matches!(event, Ok(Some(ClientEvent::Answer { .. }))));
            }
        }
        if script.is_empty() {
            there.pass(Duration::from_secs(100));
        }
        here.now = there.now;
        here.timers(&mut client, |_, event| {
            settled += usize::from(matches!(event, Some(ClientEvent::Lost(_))))
        });
        there.timers(&mut server, |_, _| {});
        here.obey(&mut client, sent(&mut requests));
        there.obey(&mut server, sent(&mut answers));
    }
    assert_eq!(asked, settled, "neither answered nor lost, or both");
    assert!(there.alive.is_empty(), "a silent client stays for ever");
}

voxwire_fuzz::target!(body);
