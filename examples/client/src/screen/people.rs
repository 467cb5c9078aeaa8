//! Who is there, and how they are heard.

use crate::report::{VoiceFigures, plain};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// People of whom the screen knows.
const MOST: usize = 500;
/// Values of the past that are kept of each figure: 24 s.
const PAST: usize = 120;
/// Somebody who is louder speaks.
const SPEAKS: f64 = 0.003;

/// The past of a figure, the newest value last.
#[derive(Debug, Default, Clone)]
pub(super) struct Past(VecDeque<f64>);

impl Past {
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() >= PAST {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The last `width` values as bars, up to `most`.
    pub(super) fn bars(&self, width: usize, most: f64) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let values = self.0.iter().skip(self.0.len().saturating_sub(width));
        let bar = |value: &f64| {
            let eighths = (value / most.max(1e-9) * 8.0).clamp(0.0, 8.0);
            // What is not nothing is seen.
            BARS.get(eighths.ceil() as usize).copied().unwrap_or(' ')
        };
        let bars: String = values.map(bar).collect();
        format!("{bars:>width$}")
    }

    /// The greatest value, and `least` at least.
    pub(super) fn most(&self, least: f64) -> f64 {
        self.0.iter().copied().fold(least, f64::max)
    }
}

/// How full a bar is for a peak from 0 to 1: 48 dB below full scale is empty.
pub(super) fn loudness(peak: f64) -> f64 {
    (20.0 * peak.max(1e-9).log10() / 48.0 + 1.0).clamp(0.0, 1.0)
}

/// Somebody who is there, or is heard.
#[derive(Debug, Default, Clone)]
pub(super) struct Person {
    /// What is to be said beside the name.
    pub(super) note: String,
    pub(super) speaks: bool,
    pub(super) voice: Option<VoiceFigures>,
    pub(super) levels: Past,
    /// Packets lost from one look to the next.
    pub(super) losses: Past,
    /// In milliseconds.
    pub(super) jitters: Past,
}

impl Person {
    /// Of a hundred packets, how many were lost.
    pub(super) fn loss(&self) -> Option<f64> {
        let voice = self.voice.as_ref()?;
        let lost = voice.lost?;
        Some(lost as f64 * 100.0 / (lost.saturating_add(voice.packets)).max(1) as f64)
    }

    fn hears(&mut self, figures: VoiceFigures) {
        let before = self.voice.as_ref().and_then(|voice| voice.lost).unwrap_or_default();
        self.losses.push(figures.lost.unwrap_or_default().saturating_sub(before) as f64);
        self.levels.push(loudness(figures.level));
        self.jitters.push(figures.jitter.unwrap_or(Duration::ZERO).as_secs_f64() * 1e3);
        self.speaks = figures.level > SPEAKS;
        self.voice = Some(figures);
    }

    fn falls_silent(&mut self) {
        self.speaks = false;
        self.levels.push(0.0);
    }
}

/// All of them, by name; names have been made [`plain`].
#[derive(Debug, Default)]
pub(super) struct People(BTreeMap<String, Person>);

impl People {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those who speak first.
    pub(super) fn sorted(&self) -> Vec<(&str, &Person)> {
        let mut all: Vec<(&str, &Person)> =
            self.0.iter().map(|(name, person)| (name.as_str(), person)).collect();
        all.sort_by_key(|(_, person)| !person.speaks);
        all
    }

    fn at(&mut self, name: &str) -> Option<&mut Person> {
        let name = plain(name);
        if !self.0.contains_key(&name) && self.0.len() >= MOST {
            return None;
        }
        Some(self.0.entry(name).or_default())
    }

    pub(super) fn enters(&mut self, name: &str) {
        let _ = self.at(name);
    }

    pub(super) fn leaves(&mut self, name: &str) {
        self.0.remove(&plain(name));
    }

    /// These are there, and no others.
    pub(super) fn are(&mut self, people: Vec<(String, String)>) {
        let known = core::mem::take(&mut self.0);
        for (name, note) in people {
            let name = plain(&name);
            if self.0.len() >= MOST {
                break;
            }
            let before = known.get(&name).cloned().unwrap_or_default();
            self.0.insert(name, Person { note: plain(&note), ..before });
        }
    }

    /// How those are heard who are; all others are silent.
    pub(super) fn hear(&mut self, voices: Vec<VoiceFigures>) {
        let heard: Vec<String> = voices.iter().map(|voice| plain(&voice.name)).collect();
        for (name, person) in &mut self.0 {
            if !heard.contains(name) {
                person.falls_silent();
            }
        }
        for voice in voices {
            if let Some(person) = self.at(&voice.name.clone()) {
                person.hears(voice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(name: &str, packets: u64, lost: u64, level: f64) -> VoiceFigures {
        VoiceFigures { name: name.into(), packets, lost: Some(lost), level, ..VoiceFigures::default() }
    }

    #[test]
    fn who_speaks_stands_first_and_falls_silent_again() {
        let mut people = People::default();
        people.are(vec![("ann".into(), "Lobby".into()), ("bob".into(), String::new())]);
        people.hear(vec![voice("bob", 90, 10, 0.5)]);
        let names =
            |people: &People| people.sorted().iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&people), ["bob", "ann"]);
        assert_eq!(people.sorted()[0].1.loss(), Some(10.0));
        people.hear(vec![]);
        assert_eq!(names(&people), ["ann", "bob"]);
        // What is known of them stays when the list comes again.
        people.are(vec![("bob".into(), "Team".into())]);
        let [(_, bob)] = people.sorted()[..] else { panic!("bob alone is there") };
        assert_eq!((bob.note.as_str(), bob.loss()), ("Team", Some(10.0)));
    }

    #[test]
    fn names_steer_no_terminal_and_have_a_limit() {
        let mut people = People::default();
        people.enters("eve\x1b[2J");
        assert_eq!(people.sorted()[0].0, r"eve\u{1b}[2J");
        people.leaves("eve\x1b[2J");
        assert_eq!(people.len(), 0);
        (0..10_000).for_each(|n| people.enters(&n.to_string()));
        people.hear((0..10_000).map(|n| voice(&n.to_string(), 1, 0, 1.0)).collect());
        assert_eq!(people.len(), MOST);
    }

    #[test]
    fn the_past_is_drawn_as_bars() {
        let mut past = Past::default();
        for n in 0..=200 {
            past.push(f64::from(n % 9));
        }
        assert_eq!(past.bars(3, 8.0).chars().count(), 3);
        assert_eq!(past.0.len(), PAST);
        let mut past = Past::default();
        [0.0, 0.01, 0.5, 1.0, 7.0].into_iter().for_each(|value| past.push(value));
        assert_eq!(past.bars(6, 1.0), "  ▁▄██");
    }
}
