//! What goes in at one end of a stream comes out at the other, over any network.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use core::num::NonZeroU32;
use voxwire_core::Instant;
use voxwire_core::testing::Rng;
use voxwire_syfala::stream::{Drift, Receiving, Sending, StreamSettings, Taken};
use voxwire_syfala::{Audio, Format, SampleType};

fn format(sample_type: SampleType, channels: u32) -> Format {
    Format { sample_type, channels: NonZeroU32::new(channels).unwrap(), ..Format::STANDARD }
}

/// Bytes that are never silence.
fn sound(bytes: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..bytes).map(|_| 1 + rng.below(126) as u8).collect()
}

fn at(microseconds: u64) -> Instant {
    Instant::from_nanos(microseconds * 1000)
}

fn all(receiving: &mut Receiving) -> Vec<u8> {
    let mut out = vec![0; receiving.readable() + 3];
    let n = receiving.read(&mut out);
    out.truncate(n);
    out
}

#[test]
fn s_09_what_is_played_is_recorded_bit_for_bit_in_every_type_and_width() {
    for sample_type in SampleType::ALL {
        for channels in [1, 2, 3, 8, 31, 64] {
            let format = format(sample_type, channels);
            let sound = sound(format.frame_size() * 480, u64::from(channels));
            let (mut sending, mut receiving) =
                (Sending::new(&format), Receiving::new(&format, StreamSettings::DEFAULT));
            let mut heard = Vec::new();
            for (index, payload) in sending.cut(&sound) {
                assert_eq!(receiving.insert(at(index), &Audio::new(0, index, payload)), Taken::Stored);
                heard.extend(all(&mut receiving));
            }
            assert_eq!(heard, sound, "{format}");
        }
    }
}

#[test]
fn s_09_loss_is_silence_and_length_and_alignment_stay_exact() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let sample_type = SampleType::ALL[rng.below(12) as usize];
        let format = format(sample_type, 1 + rng.below(8) as u32);
        let size = sample_type.size();
        let sound = sound(format.frame_size() * 2000, seed);
        // Payloads of any length, samples cut in two.
        let mut messages = Vec::new();
        let mut index = 0;
        while index < sound.len() {
            let len = (1 + rng.below(900) as usize).min(sound.len() - index);
            messages.push((index, index + len));
            index += len;
        }
        // The last few come, so that what is missing before them shows.
        let safe = messages.len().saturating_sub(6);
        let mut sent: Vec<(u64, (usize, usize))> = Vec::new();
        for (n, message) in messages.iter().enumerate() {
            let lost = n < safe && n > 0 && rng.chance(0.15);
            let late = if rng.chance(0.2) && n < safe { rng.below(2500) } else { 0 };
            if !lost {
                sent.push((n as u64 * 1000 + late, *message));
                if rng.chance(0.1) {
                    sent.push((n as u64 * 1000 + late + rng.below(3000), *message));
                }
            }
        }
        sent.sort();
        let mut receiving = Receiving::new(&format, StreamSettings::DEFAULT);
        let mut heard = Vec::new();
        for (time, (start, end)) in sent {
            receiving.insert(at(time), &Audio::new(0, start as u64, &sound[start..end]));
            heard.extend(all(&mut receiving));
            assert_eq!(heard.len() % size, 0);
        }
        receiving.give_up(at(u64::MAX / 2000));
        heard.extend(all(&mut receiving));
        assert_eq!(heard.len(), sound.len(), "seed {seed}: {:?}", receiving.stats());
        for (heard, said) in heard.chunks(size).zip(sound.chunks(size)) {
            assert!(heard == said || heard == sample_type.silence(), "seed {seed}: {heard:?} for {said:?}");
        }
        let stats = receiving.stats();
        assert_eq!(stats.received + stats.silence, sound.len() as u64, "seed {seed}: {stats:?}");
    }
}

#[test]
fn s_09_reordering_within_the_window_is_restored_and_late_and_duplicate_bytes_are_discarded() {
    let format = format(SampleType::I16, 1);
    let mut receiving = Receiving::new(&format, StreamSettings::DEFAULT);
    let piece = |n: u8| [n; 100];
    let insert = |receiving: &mut Receiving, time, n: u8| {
        receiving.insert(at(time), &Audio::new(0, u64::from(n) * 100, &piece(n)))
    };
    assert_eq!(insert(&mut receiving, 0, 0), Taken::Stored);
    for n in [2, 1, 4, 3] {
        assert_eq!(insert(&mut receiving, 1000, n), Taken::Stored);
    }
    assert_eq!(all(&mut receiving), [0, 1, 2, 3, 4].map(piece).concat());
    for n in [4, 0] {
        assert_eq!(insert(&mut receiving, 2000, n), Taken::Late);
    }
    // Four wait; the fifth is one too many: 5 counts as lost, and comes too late then.
    for n in [6, 7, 8, 9] {
        assert_eq!(insert(&mut receiving, 3000, n), Taken::Stored);
        assert_eq!(insert(&mut receiving, 3000, n), Taken::Late, "twice");
    }
    assert_eq!(receiving.readable(), 0);
    assert_eq!(insert(&mut receiving, 3000, 10), Taken::Stored);
    assert_eq!(insert(&mut receiving, 3000, 5), Taken::Late);
    assert_eq!(all(&mut receiving), [0, 6, 7, 8, 9, 10].map(piece).concat());
    // Ten milliseconds are as good.
    insert(&mut receiving, 5000, 12);
    assert_eq!(receiving.poll_timeout(), Some(at(15_000)));
    receiving.give_up(at(14_999));
    assert_eq!(receiving.readable(), 0);
    receiving.give_up(at(15_000));
    assert_eq!(all(&mut receiving), [0, 12].map(piece).concat());
    assert_eq!(receiving.poll_timeout(), None);
}

#[test]
fn s_09_a_jump_is_believed_after_three_that_agree_and_never_asks_for_much() {
    let format = format(SampleType::I24, 2);
    let mut receiving = Receiving::new(&format, StreamSettings::DEFAULT);
    let insert = |receiving: &mut Receiving, index, payload: &[u8]| {
        receiving.insert(Instant::ZERO, &Audio::new(0, index, payload))
    };
    assert_eq!(insert(&mut receiving, 0, &[9; 60]), Taken::Stored);
    // Forged, one far ahead after the other: the stream goes on.
    for index in [1 << 61, u64::MAX - 100, 1 << 40] {
        assert_eq!(insert(&mut receiving, index, &[1; 60]), Taken::Doubted);
    }
    assert_eq!(insert(&mut receiving, u64::MAX, &[1; 60]), Taken::Invalid);
    assert_eq!(insert(&mut receiving, 60, &[9; 60]), Taken::Stored);
    assert_eq!(all(&mut receiving), [9; 120]);
    // The other side has started anew, somewhere within a frame.
    let begin = (1 << 40) + 1;
    for n in 0..2 {
        assert_eq!(insert(&mut receiving, begin + 60 * n, &[5; 60]), Taken::Doubted);
    }
    assert_eq!(insert(&mut receiving, begin + 120, &[5; 60]), Taken::Jumped);
    assert_eq!(receiving.byte_index() % 6, 0, "at the start of a frame");
    assert_eq!(insert(&mut receiving, begin + 180, &[5; 60]), Taken::Stored);
    let heard = all(&mut receiving);
    assert!(heard.iter().all(|byte| *byte == 5) && heard.len() > 100, "{heard:?}");
}

#[test]
fn s_09_a_stream_that_begins_anew_is_heard_again_and_what_is_only_late_is_not() {
    let format = format(SampleType::U8, 1);
    let mut receiving = Receiving::new(&format, StreamSettings::DEFAULT);
    let mut out = vec![0; 64_000];
    let mut insert = |receiving: &mut Receiving, n: u64, byte: u8| {
        let taken = receiving.insert(Instant::ZERO, &Audio::new(0, n * 1000, &[byte; 1000]));
        (taken, receiving.read(&mut out))
    };
    for n in 0..20 {
        assert_eq!(insert(&mut receiving, n, 1), (Taken::Stored, 1000));
    }
    // A quarter of a second is late, however many agree: 12 000 bytes.
    for n in 8..14 {
        assert_eq!(insert(&mut receiving, n, 2), (Taken::Late, 0));
    }
    // From the beginning: an old one alone is not believed, nor three between others.
    for n in 0..3 {
        assert_eq!(insert(&mut receiving, n, 2), (Taken::Doubted, 0));
        assert_eq!(insert(&mut receiving, 20 + n, 1), (Taken::Stored, 1000));
    }
    assert_eq!(
        [0, 1, 2, 3].map(|n| insert(&mut receiving, n, 2).0),
        [Taken::Doubted, Taken::Doubted, Taken::Jumped, Taken::Stored]
    );
    assert_eq!(receiving.byte_index(), 4000);
    // Or when one knows it.
    receiving.restart();
    assert_eq!(insert(&mut receiving, 0, 3), (Taken::Stored, 1000));
}

#[test]
fn s_09_who_does_not_read_loses_what_is_new_and_who_lies_about_lengths_is_ignored() {
    let format = format(SampleType::U8, 1);
    let settings = StreamSettings { buffer: 5000, ..StreamSettings::DEFAULT };
    let mut receiving = Receiving::new(&format, settings);
    for n in 0..6 {
        let taken = receiving.insert(Instant::ZERO, &Audio::new(0, n * 1000, &[7; 1000]));
        assert_eq!(taken, if n < 5 { Taken::Stored } else { Taken::Overflow });
    }
    assert_eq!(all(&mut receiving).len(), 5000);
    assert_eq!(receiving.insert(Instant::ZERO, &Audio::new(0, 6000, &[7; 1000])), Taken::Stored);
    receiving.give_up(at(10_000));
    let heard = all(&mut receiving);
    assert_eq!((heard[0], heard[999], heard[1000]), (0x80, 0x80, 7));
    let lying = Audio { n_bytes: 4, ..Audio::new(0, 7000, &[7; 1000]) };
    assert_eq!(receiving.insert(at(20_000), &lying), Taken::Invalid);
    // Legal, and nothing.
    assert_eq!(receiving.insert(at(20_000), &Audio::new(0, 8000, &[])), Taken::Stored);
    assert_eq!(receiving.poll_timeout(), None);
}

#[test]
fn s_09_a_sample_of_which_a_part_is_lost_is_silent_whenever_the_rest_comes() {
    let format = format(SampleType::I24, 1);
    let mut receiving = Receiving::new(&format, StreamSettings::DEFAULT);
    let mut insert = |time, index, payload: &[u8]| {
        receiving.insert(at(time), &Audio::new(0, index, payload));
        all(&mut receiving)
    };
    assert_eq!(insert(0, 0, &[1, 2, 3, 4]), [1, 2, 3]);
    // Byte 4 is lost; byte 5 comes behind it, 6 to 8 later.
    assert_eq!(insert(0, 5, &[6]), [0_u8; 0]);
    assert_eq!(insert(20_000, 6, &[7, 8, 9]), [0, 0, 0, 7, 8, 9]);
    // 9 is lost, 10 comes, and 11 only when 9 has been given up.
    assert_eq!(insert(20_000, 10, &[11]), [0_u8; 0]);
    assert_eq!(insert(40_000, 11, &[12, 13, 14, 15]), [0, 0, 0, 13, 14, 15]);
}

/// Sends a stream for `seconds`, by a clock `ppm` fast, in messages of 32 frames that come `late` of their number after they were
/// sent, in seconds.
fn measure(drift: &mut Drift, seconds: f64, ppm: f64, mut late: impl FnMut(f64) -> Option<f64>) {
    let messages = (seconds * 1500.0) as u64;
    let mut came = 0.0_f64;
    for n in 1..=messages {
        let sent = n as f64 * 32.0 / 48_000.0 / (1.0 + ppm * 1e-6);
        let Some(late) = late(sent) else { continue };
        came = came.max(sent + late);
        drift.observe(Instant::from_nanos((came * 1e9) as u64), n * 256);
    }
}

/// F-55: near 0 ppm, too, the estimate is as often high as low, and its uncertainty holds in 19 cases of 20.
#[test]
fn s_09_drift_is_measured_with_its_uncertainty() {
    // A quiet network; a machine that looks once in a millisecond; one that is busy now and then.
    let quiet = |rng: &mut Rng| f64::from(rng.below(50) as u32) * 1e-6;
    let looks = |rng: &mut Rng| f64::from(rng.below(1000) as u32) * 1e-6;
    let busy = |rng: &mut Rng| {
        let hitch = if rng.below(200) == 0 { 0.02 } else { 0.0 };
        hitch + f64::from(rng.below(400) as u32) * 1e-6
    };
    for (name, network) in [("quiet", quiet as fn(&mut Rng) -> f64), ("looks", looks), ("busy", busy)] {
        for (seconds, most) in [(2.5, 500.0), (10.0, 40.0), (60.0, 5.0)] {
            let (mut outside, mut sum, mut widest, mut cases) = (0, 0.0, 0.0_f64, 0);
            for seed in 0..50 {
                let ppm = [-1000.0, -12.0, 0.0, 3.0, 400.0][seed as usize % 5];
                let mut rng = Rng::new(seed);
                let mut drift = Drift::new(&Format::STANDARD);
                measure(&mut drift, seconds, ppm, |_| Some(0.003 + network(&mut rng)));
                let estimate = drift.estimate().unwrap();
                outside += u32::from((estimate.ppm - ppm).abs() > estimate.uncertainty);
                sum += (estimate.ppm - ppm) / estimate.uncertainty;
                widest = widest.max(estimate.uncertainty);
                cases += 1;
            }
            assert!(outside <= 4, "{name}, {seconds} s: {outside} of {cases} further off than they say");
            assert!((sum / 50.0_f64).abs() < 0.25, "{name}, {seconds} s: {} on the average", sum / 50.0);
            assert!(widest < most, "{name}, {seconds} s: ± {widest}");
        }
    }
}

/// F-55: nothing is said before it is known.
#[test]
fn s_09_drift_is_not_known_before_it_can_be() {
    let mut drift = Drift::new(&Format::STANDARD);
    assert_eq!(drift.estimate(), None);
    measure(&mut drift, 1.0, 50.0, |_| Some(0.0));
    assert_eq!(drift.estimate(), None);
    // Where every message may be anything up to 50 ms late, two seconds are not enough.
    let mut rng = Rng::new(1);
    let mut drift = Drift::new(&Format::STANDARD);
    measure(&mut drift, 2.5, 0.0, |_| Some(0.05 * f64::from(rng.below(1000) as u32) / 1000.0));
    let estimate = drift.estimate();
    assert!(estimate.is_none_or(|estimate| estimate.uncertainty > 20.0), "{estimate:?}");
    assert_eq!(
        format!("{}", {
            let mut drift = Drift::new(&Format::STANDARD);
            measure(&mut drift, 200.0, 12.3, |_| Some(0.0));
            drift.estimate().unwrap()
        }),
        "+12.3 ± 0.1 ppm"
    );
}

/// F-55: a stream that goes on elsewhere is measured anew, and never said to be off by what it jumped.
#[test]
fn s_09_a_jump_begins_the_measurement_anew() {
    // Half a second of the stream is gone; or the way has become 20 ms longer or shorter; or a clock changes.
    for jump in [0.5, 0.02, -0.02, -3.0] {
        let mut drift = Drift::new(&Format::STANDARD);
        let mut rng = Rng::new(2);
        let mut worst = 0.0_f64;
        let mut shadow = 0;
        for n in 1..=300_000_u64 {
            let sent = n as f64 * 32.0 / 48_000.0 / (1.0 + 30e-6);
            let late = 4.0 + f64::from(rng.below(300) as u32) * 1e-6 + if sent > 100.0 { jump } else { 0.0 };
            drift.observe(Instant::from_nanos(((sent + late) * 1e9) as u64), n * 256);
            let estimate = drift.estimate();
            worst = worst.max(estimate.map_or(0.0, |e| (e.ppm - 30.0).abs() - e.uncertainty));
            shadow += u32::from(estimate.is_none());
        }
        assert!(worst < 30.0, "{jump}: {worst} off");
        // Two seconds at the beginning, and two after the jump.
        assert!(shadow > 4500 && shadow < 12_000, "{jump}: {shadow}");
        let estimate = drift.estimate().unwrap();
        assert!(
            (estimate.ppm - 30.0).abs() < estimate.uncertainty && estimate.uncertainty < 2.0,
            "{estimate}"
        );
    }
}

/// F-55: a clock that warms up is followed.
#[test]
fn s_09_drift_that_changes_is_followed() {
    let mut drift = Drift::new(&Format::STANDARD);
    let (mut index, mut rng) = (0.0, Rng::new(5));
    for n in 0..900_000_u32 {
        let now = f64::from(n) / 1500.0;
        let ppm = 10.0 + now / 60.0;
        index += 256.0 * (1.0 + ppm * 1e-6);
        let late = f64::from(rng.below(200) as u32) * 1e-6;
        drift.observe(Instant::from_nanos(((now + late) * 1e9) as u64), index as u64);
    }
    let estimate = drift.estimate().unwrap();
    assert!((estimate.ppm - 20.0).abs() < 2.0, "{estimate}");
}
