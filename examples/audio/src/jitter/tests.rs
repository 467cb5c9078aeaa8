use super::*;

const FRAME: Duration = Duration::from_millis(20);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Plays a speech whose packet `n` comes in `delays[n]` milliseconds after it is spoken, or never. Returns what each
/// pull gave, with the number that is in the packet.
fn play(buffer: &mut JitterBuffer, from: u64, delays: &[Option<u64>], frames: u64) -> Vec<String> {
    let mut arrivals: Vec<(u64, u32)> = delays
        .iter()
        .zip(0..)
        .filter_map(|(delay, n)| Some((from + u64::from(n) * 20 + (*delay)?, n)))
        .collect();
    arrivals.sort();
    buffer.start();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut heard = Vec::new();
    for pull in 0..frames {
        let now = from + pull * 20;
        while let Some((at, n)) = arrivals.next_if(|(at, _)| *at <= now) {
            buffer.insert(ms(at), n, &[n as u8], n as usize == delays.len() - 1);
        }
        heard.push(match buffer.pull(ms(now)) {
            Pull::Packet { packet } => packet[0].to_string(),
            Pull::Recover { next } => format!("r{}", next[0]),
            Pull::Conceal { .. } => "c".into(),
            Pull::Silence => "-".into(),
        });
    }
    heard
}

#[test]
fn packets_that_come_in_order_go_out_in_order_after_the_shortest_delay() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    let heard = play(&mut buffer, 1000, &[Some(0); 8], 14);
    assert_eq!(heard.join(" "), "- - 0 1 2 3 4 5 6 7 - - - -");
    let stats = buffer.stats();
    assert_eq!((stats.received, stats.played, stats.lost, stats.underruns), (8, 8, 0, 0));
    // Another speech, soon after.
    let heard = play(&mut buffer, 2000, &[Some(0); 3], 8);
    assert_eq!(heard.join(" "), "- - 0 1 2 - - -");
    assert_eq!(buffer.stats().speeches, 2);
}

#[test]
fn a_lost_packet_is_recovered_from_the_next_and_two_are_concealed_and_recovered() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    let some = Some(0);
    let heard = play(&mut buffer, 1000, &[some, some, None, some, None, None, some, some], 12);
    assert_eq!(heard.join(" "), "- - 0 1 r3 3 c r6 6 7 - -");
    let stats = buffer.stats();
    assert_eq!((stats.lost, stats.recoverable), (3, 2));
}

/// F-53: a packet that was made up for before anybody could tell that it was lost is not made up for again.
#[test]
fn a_lost_packet_is_made_up_for_once() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    buffer.start();
    for n in 0..2 {
        buffer.insert(ms(0), n, &[n as u8], false);
    }
    for now in [40, 60] {
        assert!(matches!(buffer.pull(ms(now)), Pull::Packet { .. }));
    }
    assert!(matches!(buffer.pull(ms(80)), Pull::Conceal { .. }));
    buffer.insert(ms(90), 3, &[3], false);
    assert_eq!(buffer.pull(ms(100)), Pull::Packet { packet: &[3] });
    assert_eq!((buffer.stats().lost, buffer.stats().underruns), (0, 1));
}

#[test]
fn reordered_packets_are_put_right_and_duplicates_and_late_ones_are_dropped() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    buffer.start();
    for (at, n) in [(0, 0), (20, 2), (30, 1), (30, 2), (60, 3)] {
        buffer.insert(ms(at), n, &[n as u8], false);
    }
    for (now, expected) in (60..).step_by(20).zip(0..4_u8) {
        assert!(matches!(buffer.pull(ms(now)), Pull::Packet { packet } if packet == [expected]));
    }
    buffer.insert(ms(150), 1, &[1], false);
    let stats = buffer.stats();
    assert_eq!((stats.reordered, stats.duplicate, stats.late), (1, 1, 1));
}

#[test]
fn a_speech_that_breaks_off_fades_and_ends() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    buffer.start();
    for n in 0..3 {
        buffer.insert(ms(0), n, &[0], false);
    }
    let mut gains = Vec::new();
    for pull in 3..20 {
        match buffer.pull(ms(pull * 20)) {
            Pull::Conceal { gain } => gains.push(gain),
            Pull::Silence => break,
            _ => {}
        }
    }
    assert!(gains.len() == 5 && gains.is_sorted_by(|a, b| a > b), "{gains:?}");
    // What then comes in is played, after the delay.
    buffer.insert(ms(500), 9, &[9], false);
    assert_eq!(buffer.pull(ms(500)), Pull::Silence);
    assert!(matches!(buffer.pull(ms(820)), Pull::Packet { packet: [9] }));
}

/// F-54: what was spoken first and comes in second is played first, as long as nothing has been played.
#[test]
fn a_packet_from_before_the_first_arrival_is_in_time_until_playing_begins() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    buffer.start();
    for n in [2, 1, 0, 3] {
        buffer.insert(ms(0), n, &[n as u8], false);
    }
    let mut played = Vec::new();
    for pull in 0..10 {
        if let Pull::Packet { packet } = buffer.pull(ms(pull * 20)) {
            played.push(packet[0]);
        }
    }
    assert_eq!(played, [0, 1, 2, 3]);
    assert_eq!((buffer.stats().late, buffer.stats().lost), (0, 0));
    // Interrupted, and going on: what was played before is not played again.
    for pull in 10..20 {
        buffer.pull(ms(pull * 20));
    }
    buffer.insert(ms(400), 16, &[16], false);
    buffer.insert(ms(401), 3, &[3], false);
    buffer.insert(ms(401), 15, &[15], false);
    let mut played = Vec::new();
    for pull in 20..45 {
        if let Pull::Packet { packet } = buffer.pull(ms(pull * 20)) {
            played.push(packet[0]);
        }
    }
    assert_eq!((played, buffer.stats().late), (vec![15, 16], 1));
}

/// F-54: what the first packet of a speech overtook is played before it, and the speech before it to its end; what the last packet
/// overtook is played before that.
#[test]
fn packets_that_overtake_each_other_at_the_ends_of_a_speech_are_put_right() {
    for apart in [0, 400_u64] {
        let mut buffer = JitterBuffer::for_frame(FRAME);
        buffer.start();
        // The first speech counts from 64 on, with packets from before; its last one comes before the last but one.
        let first = [(0, 64, 2), (5, 63, 1), (6, 62, 0), (40, 65, 3), (65, 67, 5), (66, 66, 4)];
        // The second one, from its third packet on.
        let second = [(120, 64, 8), (125, 62, 6), (130, 63, 7), (140, 65, 9)];
        let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
        let mut played = Vec::new();
        for now in (0..1000).step_by(20) {
            while let Some((at, sequence, name)) = first.next_if(|(at, ..)| *at <= now) {
                buffer.insert(ms(at), sequence, &[name], sequence == 67);
            }
            while let Some((at, sequence, name)) = second.next_if(|(at, ..)| at + apart <= now) {
                if name == 8 {
                    buffer.start();
                }
                buffer.insert(ms(at + apart), sequence, &[name], sequence == 65);
            }
            match buffer.pull(ms(now)) {
                Pull::Packet { packet } => played.push(packet[0]),
                Pull::Silence => {}
                other => panic!("{now}: {other:?}"),
            }
        }
        assert_eq!(played, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{apart}");
        let stats = buffer.stats();
        assert_eq!((stats.lost, stats.late, stats.overflow, stats.underruns), (0, 0, 0, 0));
    }
}

#[test]
fn the_delay_follows_what_the_network_does() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    let mut random = 1_u64;
    let mut delays = |most: u64| -> Vec<Option<u64>> {
        (0..1500)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Some((random >> 33) % most.max(1))
            })
            .collect()
    };
    let calm = delays(2);
    play(&mut buffer, 0, &calm, 1600);
    let calm = buffer.stats();
    assert_eq!(calm.target, ms(27));
    let wild = delays(100);
    play(&mut buffer, 100_000, &wild, 1600);
    let wild = buffer.stats();
    assert!((ms(100)..ms(140)).contains(&wild.target), "{wild:?}");
    let again = delays(100);
    play(&mut buffer, 200_000, &again, 1600);
    let missed = buffer.stats().lost + buffer.stats().underruns - wild.lost - wild.underruns;
    assert!(missed < 60, "{missed} of 1500 were not in time");
}

/// F-53, T-A1: a way that becomes longer, or shorter again, is no jitter: the delay aimed at is what it was as soon as there is
/// something to compare with, and does not rise when everything has been seen.
#[test]
fn a_way_that_becomes_longer_is_no_jitter() {
    for jitter in [2_u64, 20] {
        let mut delays = Delays::new();
        let mut random = 1_u64;
        let mut usual = None;
        for n in 0..3000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Longer after 20 s, shorter after 40 s.
            let way = if (1000..2000).contains(&n) { 80 } else { 0 };
            let at = ms(n * 20 + way + (random >> 33) % (jitter + 1));
            delays.observe(at, n as f64 * 0.02);
            if n == 990 {
                usual = Some(delays.quantile());
            }
            let longest = delays.quantile();
            if let Some(usual) = usual {
                assert!(longest <= usual + ms(5), "{jitter} ms, {n}: {longest:?}, {usual:?} before");
                let quickest = delays.quickest().unwrap();
                let away = quickest - (if (1000..2000).contains(&n) { 0.08 } else { 0.0 });
                // Half a second after it has become longer, and at once when it has become shorter.
                assert!(
                    away.abs() < 0.006 || (1000..1030).contains(&n) || (2000..2004).contains(&n),
                    "{n}: {away}"
                );
            }
        }
    }
}

/// F-53: what is a little too much is played faster, what is far too much is left out, the oldest first.
#[test]
fn too_much_in_store_is_played_faster_or_left_out() {
    let mut buffer = JitterBuffer::for_frame(FRAME);
    buffer.start();
    for n in 0..14 {
        buffer.insert(ms(0), n, &[n as u8], false);
    }
    assert_eq!(buffer.pace(ms(20), ms(0), FRAME), Pace::MuchFaster);
    assert_eq!(buffer.pull(ms(20)), Pull::Packet { packet: &[0] });
    // What is left out is not ahead any more.
    assert_eq!(buffer.pace(ms(20), FRAME, FRAME), Pace::MuchFaster);
    buffer.skip_to(12);
    assert_eq!(buffer.pace(ms(20), FRAME, FRAME), Pace::Faster);
    assert_eq!(buffer.pace(ms(20), ms(5), FRAME), Pace::Even);
    // A stall of five seconds: all of it comes at once.
    for n in 14..250 {
        buffer.insert(ms(5000), n, &[n as u8], false);
    }
    assert!(buffer.stats().stored < ms(1280), "{:?}", buffer.stats());
    buffer.pace(ms(5000), ms(0), FRAME);
    let stored = buffer.stats().stored;
    assert!(stored <= buffer.stats().target + FRAME * 2, "{stored:?}");
    assert!(matches!(buffer.pull(ms(5000)), Pull::Packet { packet: [newest] } if *newest > 240));
    assert!(buffer.stats().overflow > 230 && buffer.stats().lost == 0);
}
