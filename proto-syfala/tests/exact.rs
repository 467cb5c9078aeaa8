//! Sound through both sessions and streams, in every format: bit for bit without loss, in step with loss.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

use crate::harness;

use core::num::NonZeroU32;
use harness::{Answer, Harness};
use std::time::Duration;
use voxwire_core::testing::{Net, Rng};
use voxwire_syfala::{ClientCommand, Format, SampleType, ServerCommand};

/// Both ways, ten blocks of different length; returns what was played and what was heard, client to server and back.
fn through(net: Net, format: Format, seed: u64) -> [(Vec<u8>, Vec<u8>); 2] {
    let mut lan = Harness::new(Net::PERFECT, seed);
    let device = lan.device(&[format], &[format]);
    let user = lan.user(Answer::Accept, true);
    lan.run(50);
    lan.sim.set_net(net);
    let (server, client) = (lan.servers(user)[0].0, lan.clients(device)[0].0);
    let mut rng = Rng::new(seed);
    let mut played = [Vec::new(), Vec::new()];
    for _ in 0..10 {
        for (n, played) in played.iter_mut().enumerate() {
            let frames = 1 + rng.below(96) as usize;
            let samples: Vec<u8> = (0..frames * format.frame_size()).map(|_| rng.below(256) as u8).collect();
            played.extend_from_slice(&samples);
            match n {
                0 => lan.command(user, ClientCommand::Play { server, stream: 0, samples: &samples }),
                _ => lan.device_command(device, ServerCommand::Play { client, stream: 0, samples: &samples }),
            }
        }
        lan.run(2);
    }
    // Something that ends what is still waited for.
    lan.sim.set_net(Net::PERFECT);
    lan.run(50);
    let end: Vec<u8> = [0].repeat(format.frame_size());
    for _ in 0..2 {
        lan.command(user, ClientCommand::Play { server, stream: 0, samples: &end });
        lan.device_command(device, ServerCommand::Play { client, stream: 0, samples: &end });
        lan.run(20);
    }
    let now = lan.sim.now();
    let there = lan.sim.with(device, |_, device, _| {
        let (receiving, bytes) = device.heard.get_mut(&(client, 0)).unwrap();
        receiving.give_up(now);
        harness::drain(receiving, bytes);
        bytes.clone()
    });
    let back = lan.sim.with(user, |_, user, _| {
        let (receiving, bytes) = user.heard.get_mut(&(server, 0)).unwrap();
        receiving.give_up(now);
        harness::drain(receiving, bytes);
        bytes.clone()
    });
    let [out, home] = played;
    [(out, there), (home, back)]
}

#[test]
fn s_04_s_09_every_type_of_one_to_64_channels_is_heard_bit_for_bit() {
    let net = Net { duplicate: 0.1, ..Net::PERFECT };
    for sample_type in SampleType::ALL {
        for channels in 1..=64 {
            let channels = NonZeroU32::new(channels).unwrap();
            let format = Format { sample_type, channels, buffer_size: None, ..Format::STANDARD };
            for (played, heard) in through(net, format, u64::from(channels.get())) {
                assert_eq!(heard.len(), played.len() + 2 * format.frame_size(), "{format}");
                assert!(heard.starts_with(&played), "{format}");
            }
        }
    }
}

#[test]
fn s_09_with_loss_length_and_alignment_are_exact_and_gaps_are_silence() {
    let net = Net { jitter: Duration::from_millis(3), duplicate: 0.1, loss: 0.2, ..Net::PERFECT };
    let (mut silent, mut total) = (0, 0);
    for (seed, sample_type) in (0..240).zip(SampleType::ALL.into_iter().cycle()) {
        let channels = NonZeroU32::new(1 + seed as u32 % 64).unwrap();
        let format = Format { sample_type, channels, buffer_size: None, ..Format::STANDARD };
        for (played, heard) in through(net, format, seed) {
            assert_eq!(heard.len(), played.len() + 2 * format.frame_size(), "seed {seed}, {format}");
            let size = sample_type.size();
            for (heard, played) in heard.chunks(size).zip(played.chunks(size)) {
                assert!(heard == played || heard == sample_type.silence(), "seed {seed}, {format}");
                silent += usize::from(heard != played);
                total += 1;
            }
        }
    }
    let lost = silent as f64 / total as f64;
    assert!((0.1..0.5).contains(&lost), "{lost}");
}
