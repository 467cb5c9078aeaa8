//! A voice that says when it was spoken: how late it is heard when the network or the listener stands still, and when clocks differ.

use super::super::*;

/// A voice whose packets say which of its frames they are: a tone without an end, so that what is heard says when it was spoken.
struct Counted {
    next: u64,
}

const HZ: f64 = 217.0;

impl Counted {
    fn go_on(&mut self, from: u64, samples: &mut [f32]) {
        for (at, sample) in (from..).zip(&mut *samples) {
            *sample = ((at as f64 / 48_000.0 * HZ * core::f64::consts::TAU).sin() * 0.5) as f32;
        }
        self.next = from + samples.len() as u64;
    }
}

impl VoiceDecoder for Counted {
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
        let number = u32::from_le_bytes(packet.try_into().map_err(Error::codec)?);
        self.go_on(u64::from(number) * 960, samples);
        Ok(samples.len())
    }

    fn recover(&mut self, _: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
        self.conceal(samples).map(|()| false)
    }

    fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        self.go_on(self.next, samples);
        Ok(())
    }
}

/// What a listener has, as time goes by: how long after it was spoken the newest of each frame is heard, and the largest step
/// between two samples.
struct Heard {
    delays: Vec<f64>,
    steepest: f32,
    figures: SpeakerFigures,
}

/// Hears a voice for `seconds`, spoken by a clock that is `ppm` faster, whose packets come after `delay` of when they were
/// spoken, in seconds; nothing is heard before `away` or rendered until its end.
fn hear(seconds: f64, ppm: f64, delay: impl Fn(f64) -> f64, away: core::ops::Range<f64>) -> Heard {
    let frame = Duration::from_millis(20);
    let mut speaker = Speaker::with_decoder(frame, 1, Box::new(Counted { next: 0 }));
    let spoken = |number: u32| f64::from(number) * 0.02 / (1.0 + ppm / 1e6);
    let (mut sent, mut delays, mut steepest, mut before) = (0_u32, Vec::new(), 0.0_f32, 0.0);
    // A stream, as TCP carries it: what comes later waits for what was sent before.
    let mut stream = 0.0_f64;
    let rounds = (seconds / 0.02) as u32;
    for round in 0..rounds {
        let now = f64::from(round) * 0.02;
        loop {
            let arrival = stream.max(spoken(sent) + delay(spoken(sent)));
            if arrival > now {
                break;
            }
            stream = arrival;
            let start = sent == 0;
            speaker.insert(Duration::from_secs_f64(arrival), sent, &sent.to_le_bytes(), start, false);
            sent += 1;
        }
        // A listener that stands still renders all of it afterwards, as a sound card asks for.
        if away.contains(&now) {
            continue;
        }
        let heard = speaker.render(Duration::from_secs_f64(now));
        let is_heard = heard.is_some();
        for sample in heard.unwrap_or(&[0.0; 960]) {
            steepest = steepest.max((sample - before).abs());
            before = *sample;
        }
        if !is_heard {
            continue;
        }
        let stats = speaker.figures().jitter;
        let ahead = (speaker.ready.len() - speaker.played) as f64 / 48_000.0;
        // From the frame that is decoded next backwards.
        let next = f64::from(sent) * 0.02 - stats.stored.as_secs_f64() - ahead;
        delays.push(now - next / (1.0 + ppm / 1e6));
    }
    Heard { delays, steepest, figures: speaker.figures() }
}

/// A sine's own steepest step, and -40 dB of full scale: a louder one is a click.
const NO_CLICK: f32 = 0.5 * (HZ as f32 / 48_000.0) * core::f32::consts::TAU + 0.01;

/// F-53: after a stall of the network or of the listener, of any length, the delay is back within two seconds, and nothing clicks.
#[test]
fn the_delay_is_back_within_two_seconds_of_any_stall() {
    for stall in [0.2, 0.5, 1.0, 1.5, 3.0, 5.0] {
        // Of the network, as TCP has it.
        let network = |spoken: f64| {
            if (10.0..10.0 + stall).contains(&spoken) { 10.0 + stall - spoken } else { 0.0 }
        };
        for (name, heard) in [
            ("network", hear(10.0 + stall + 8.0, 0.0, network, 0.0..0.0)),
            ("listener", hear(10.0 + stall + 8.0, 0.0, |_| 0.0, 10.0..10.0 + stall)),
        ] {
            let usual = heard.delays[400];
            let end = heard.delays.len();
            let after = &heard.delays[end - 300..];
            let worst = after.iter().copied().fold(0.0, f64::max);
            assert!(usual < 0.07, "{name}: {usual}");
            assert!(worst < usual + 0.06, "{name}, {stall} s: {worst} s, {usual} before");
            // Also where it breaks off, begins again, and something is left out.
            assert!(heard.steepest < NO_CLICK, "{name}, {stall} s: {} of {NO_CLICK}", heard.steepest);
        }
    }
}

/// F-53: when the way becomes 80 ms longer, a voice is 80 ms later, and not 160; when it becomes shorter, it is as soon as before. Two
/// seconds are enough for either, beside jitter, too.
#[test]
fn the_delay_follows_the_way_within_two_seconds() {
    for jitter in [0.0, 0.02] {
        let way = |spoken: f64| {
            let random = (spoken * 7919.0).sin().abs();
            random * jitter + if (10.0..20.0).contains(&spoken) { 0.08 } else { 0.0 }
        };
        let heard = hear(30.0, 0.0, way, 0.0..0.0);
        let worst =
            |from: usize, to: usize| heard.delays[from * 50..to * 50].iter().copied().fold(0.0, f64::max);
        let usual = worst(6, 9);
        assert!((0.07..0.125).contains(&(worst(12, 19) - usual)), "{jitter}: {} {usual}", worst(12, 19));
        assert!(worst(22, 29) < usual + 0.045, "{jitter}: {} {usual}", worst(22, 29));
        assert!(heard.steepest < NO_CLICK, "{jitter}: {} of {NO_CLICK}", heard.steepest);
    }
}

/// F-53: clocks that run 500 millionths apart are followed for hours, without a lost frame or a click.
#[test]
fn clocks_that_run_apart_are_followed_for_hours() {
    let seconds = if cfg!(debug_assertions) { 1800.0 } else { 7200.0 };
    for ppm in [-500.0, -200.0, 200.0, 500.0] {
        let heard = hear(seconds, ppm, |_| 0.0, 0.0..0.0);
        let jitter = heard.figures.jitter;
        let most = heard.delays.iter().copied().fold(0.0, f64::max);
        assert!(most < 0.12, "{ppm}: {most} {jitter:?}");
        assert_eq!(
            (jitter.lost, jitter.overflow, jitter.late, jitter.underruns),
            (0, 0, 0, 0),
            "{ppm}: {jitter:?}"
        );
        assert!(heard.steepest < NO_CLICK, "{ppm}: {} of {NO_CLICK}", heard.steepest);
        let moved = heard.figures.shortened as f64 - heard.figures.lengthened as f64;
        let drift = seconds * ppm / 1e6 * 48_000.0;
        assert!((moved - drift).abs() < 2400.0, "{ppm}: {moved} for {drift}");
    }
}
