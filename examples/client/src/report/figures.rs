//! How a call goes, in figures: what a screen shows beside lines.

use crate::trace::speaker;
use core::time::Duration;
use std::collections::BTreeMap;
use voxwire_audio::SpeakerFigures;

/// Everybody who is there, and the connection.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Figures {
    /// From a message until its answer, where that is measured.
    pub(crate) round_trip: Option<Duration>,
    /// Messages with sound that were sent.
    pub(crate) sent: Option<u64>,
    /// The way that voice takes, in a few words.
    pub(crate) path: Option<&'static str>,
    /// Everybody who is there, and what is to be said of each; `None` where only those are known who are heard.
    pub(crate) people: Option<Vec<(String, String)>>,
    /// Those who are heard.
    pub(crate) voices: Vec<VoiceFigures>,
}

/// How one person is heard. Counters count from the beginning of the call.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct VoiceFigures {
    pub(crate) name: String,
    /// The loudest sample since the last figures, 0 to 1.
    pub(crate) level: f64,
    /// Packets that came in.
    pub(crate) packets: u64,
    /// Packets that did not; `None` where the transport loses none.
    pub(crate) lost: Option<u64>,
    /// How much arrival times vary.
    pub(crate) jitter: Option<Duration>,
    /// What is in store, to be played.
    pub(crate) buffer: Option<Duration>,
    /// Lost packets that the next one carried.
    pub(crate) recovered: Option<u64>,
    /// Packets' lengths made up from what was heard before.
    pub(crate) concealed: Option<u64>,
}

impl VoiceFigures {
    /// Somebody who is heard by way of a jitter buffer. `lossy`: packets can be lost.
    pub(crate) fn of(name: &str, figures: &SpeakerFigures, meter: &mut Meter, lossy: bool) -> Self {
        let jitter = figures.jitter;
        Self {
            name: name.into(),
            level: meter.take_level(),
            packets: jitter.received,
            lost: lossy.then_some(jitter.lost),
            jitter: meter.jitter(),
            buffer: Some(jitter.stored),
            recovered: lossy.then_some(figures.recovered),
            concealed: Some(figures.concealed),
        }
    }

    /// Somebody whose messages come by a stream that loses none.
    pub(crate) fn of_stream(name: &str, packets: u64, meter: &mut Meter) -> Self {
        let (level, jitter) = (meter.take_level(), meter.jitter());
        Self { name: name.into(), level, packets, jitter, ..Self::default() }
    }
}

/// How loud somebody is, and how evenly what they say arrives.
#[derive(Debug, Default, Clone)]
pub(crate) struct Meter {
    level: f64,
    /// When the last message came, and where in the sound it begins.
    last: Option<(Duration, Duration)>,
    /// Where in the sound the next message begins, if nothing is lost.
    at: Duration,
    jitter: Option<f64>,
}

/// Sound that is so much later or earlier is another speech.
const ANOTHER: Duration = Duration::from_millis(1000);

impl Meter {
    /// A message that begins at `position` of the sound came in at `now`.
    pub(crate) fn arrives(&mut self, now: Duration, position: Duration) {
        if let Some((then, before)) = self.last.replace((now, position)) {
            let late =
                now.saturating_sub(then).as_secs_f64() - (position.as_secs_f64() - before.as_secs_f64());
            if late.abs() > ANOTHER.as_secs_f64() {
                return;
            }
            // RFC 3550, 6.4.1.
            let jitter = self.jitter.unwrap_or_default();
            self.jitter = Some(jitter + (late.abs() - jitter) / 16.0);
        }
    }

    /// A message of this length came in at `now`, behind the last one.
    pub(crate) fn arrives_next(&mut self, now: Duration, length: Duration) {
        self.arrives(now, self.at);
        self.at += length;
    }

    /// Something so loud was heard.
    pub(crate) fn hears(&mut self, peak: f64) {
        self.level = self.level.max(peak);
    }

    fn take_level(&mut self) -> f64 {
        core::mem::take(&mut self.level)
    }

    pub(crate) fn jitter(&self) -> Option<Duration> {
        self.jitter.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

/// Those who speak in a call by a stream that loses nothing, of whom each message says who said it.
#[derive(Debug, Default)]
pub(crate) struct Speakers(BTreeMap<String, (u64, Meter)>);

impl Speakers {
    /// So much of what somebody says came in at `now`.
    pub(crate) fn hear(&mut self, now: Duration, who: &str, length: Duration, peak: f64) {
        if let Some((packets, meter)) = speaker(&mut self.0, who, Default::default) {
            *packets += 1;
            meter.arrives_next(now, length);
            meter.hears(peak);
        }
    }

    pub(crate) fn figures(&mut self) -> Vec<VoiceFigures> {
        let all = self.0.iter_mut();
        all.map(|(name, (packets, meter))| VoiceFigures::of_stream(name, *packets, meter)).collect()
    }
}

/// Questions to a server, and how they were answered.
#[allow(dead_code, reason = "for protocols of which none may be built in")]
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    /// How long it took to connect.
    pub(crate) set_up: Duration,
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    /// In the order in which the answers came.
    pub(crate) times: Vec<Duration>,
    meter: Meter,
}

#[allow(dead_code, reason = "for protocols of which none may be built in")]
impl RoundTrips {
    pub(crate) fn new(set_up: Duration) -> Self {
        Self { set_up, ..Self::default() }
    }

    /// At `now` an answer came to what was asked at `position`.
    pub(crate) fn back(&mut self, now: Duration, position: Duration, time: Duration) {
        self.times.push(time);
        self.meter.arrives(now, position);
    }

    /// How many are answered, or lost.
    pub(crate) fn known(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap_or(u32::MAX).saturating_add(self.lost)
    }

    pub(crate) fn median(&self) -> Option<Duration> {
        let mut sorted = self.times.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied()
    }

    /// `path`: the way that they take, in a few words.
    pub(crate) fn figures(&self, path: &'static str) -> Figures {
        let server = VoiceFigures {
            name: "the server".into(),
            packets: self.times.len() as u64,
            lost: Some(self.lost.into()),
            jitter: self.meter.jitter(),
            ..VoiceFigures::default()
        };
        Figures {
            round_trip: self.times.last().copied(),
            sent: Some(self.sent.into()),
            path: Some(path),
            voices: vec![server],
            ..Figures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(late: impl Fn(u64) -> u64) -> f64 {
        let mut meter = Meter::default();
        for n in 0..500 {
            meter.arrives_next(Duration::from_millis(n * 20 + late(n)), Duration::from_millis(20));
        }
        meter.jitter().unwrap().as_secs_f64() * 1e3
    }

    #[test]
    fn jitter_is_how_much_arrival_times_vary() {
        assert!(after(|_| 70) < 0.01, "a delay alone is none");
        let varying = after(|n| if n % 2 == 0 { 10 } else { 0 });
        assert!((9.0..=10.0).contains(&varying), "{varying}");
        // A pause between two speeches is none.
        assert!(after(|n| if n < 250 { 0 } else { 5000 }) < 0.01);
    }

    #[test]
    fn a_level_is_the_loudest_since_it_was_asked_for() {
        let mut meter = Meter::default();
        meter.hears(0.2);
        meter.hears(0.1);
        assert_eq!([meter.take_level(), meter.take_level()], [0.2, 0.0]);
    }
}
