//! Sound that says which frame it is: all samples of a frame are its number, so that a device may move it in time.

use crate::listener::Listener;
use crate::payload::Stamp;
use core::time::Duration;
use voxwire_audio::{SampleOrder, decode_into, encode};
use voxwire_server::syfala::sample_format;
use voxwire_syfala::Format;

/// Numbers repeat after so many; 0 stands for silence.
const NUMBERS: u32 = 32_767;
/// What a sample is multiplied with to be a number.
const SCALE: f64 = 32_768.0;
/// How far a sample may be off its number: what is further off is between two, as where a device fades.
const TOLERANCE: f64 = 0.25;

/// What is sent at once: a message of the device's size.
#[derive(Debug)]
pub(crate) struct Block {
    output: Format,
    input: Format,
    frames: usize,
    samples: Vec<f64>,
    bytes: Vec<u8>,
}

impl Block {
    /// For the first streams of a device.
    pub(crate) fn new(input: Option<Format>, output: Option<Format>) -> Result<Self, String> {
        let (Some(input), Some(output)) = (input, output) else {
            return Err("the device has no input or no output".into());
        };
        if [input, output].iter().any(|format| format.sample_type.size() < 2) {
            return Err("the device's samples have 8 bits, and 16 are needed".into());
        }
        if input.sample_rate != output.sample_rate {
            return Err("the device's streams have different sample rates".into());
        }
        let thousandth = (output.sample_rate.get() / 1000.0).ceil() as usize;
        let hint = output.buffer_size.map_or(thousandth, |frames| frames.get() as usize);
        let frames = hint.clamp(1, thousandth.max(1) * 100);
        Ok(Self { input, output, frames, samples: Vec::new(), bytes: Vec::new() })
    }

    /// How long it is.
    pub(crate) fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.frames as f64 / self.output.sample_rate.get())
    }

    /// Its bytes, as `number` all over.
    pub(crate) fn of(&mut self, number: u32) -> &[u8] {
        let samples = self.frames * self.output.channels.get() as usize;
        self.samples.clear();
        self.samples.resize(samples, f64::from(number) / SCALE);
        self.bytes.clear();
        encode(&self.samples, sample_format(self.output.sample_type), SampleOrder::Little, &mut self.bytes);
        &self.bytes
    }

    /// Reads what comes back.
    pub(crate) fn runs(&self) -> Runs {
        Runs { input: self.input, samples: Vec::new() }
    }
}

/// Finds numbers in what comes back.
#[derive(Debug)]
pub(crate) struct Runs {
    input: Format,
    samples: Vec<f64>,
}

impl Runs {
    /// Tells each number in `payload`, in turn, and in how many samples it is.
    pub(crate) fn read(&mut self, payload: &[u8], mut tell: impl FnMut(u32, usize)) {
        self.samples.clear();
        let format = sample_format(self.input.sample_type);
        decode_into(payload, format, SampleOrder::Little, &mut self.samples);
        for run in self.samples.chunk_by(|one, other| number(*one) == number(*other)) {
            if let Some(number) = run.first().and_then(|sample| number(*sample)) {
                tell(number, run.len());
            }
        }
    }
}

/// The number that a sample stands for, if it does.
fn number(sample: f64) -> Option<u32> {
    let number = (sample * SCALE).round();
    let is_number = (1.0..=f64::from(NUMBERS)).contains(&number);
    (is_number && (sample * SCALE - number).abs() <= TOLERANCE).then_some(number as u32)
}

/// What a user has said, and hears again.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Samples of a frame that have to come back before it counts as heard: half of them.
    enough: usize,
    /// All that was said, by its sequence number.
    said: Vec<Stamp>,
    /// Which frame is coming in, and how much of it has.
    current: Option<(usize, usize)>,
}

impl Numbers {
    pub(crate) fn new(block: &Block) -> Self {
        let samples = block.frames * block.input.channels.get() as usize;
        Self { enough: samples.div_ceil(2), said: Vec::new(), current: None }
    }

    /// The number of a frame.
    pub(crate) fn say(&mut self, stamp: Stamp) -> u32 {
        self.said.push(stamp);
        stamp.sequence % NUMBERS + 1
    }

    /// So many samples of a number have come in.
    pub(crate) fn hear(&mut self, number: u32, samples: usize, at: u64, listener: &mut Listener) {
        // The newest frame of that number.
        let newest = self.said.last().map_or(0, |stamp| stamp.sequence);
        let back = (newest % NUMBERS + 1 + NUMBERS - number) % NUMBERS;
        let sequence = newest.checked_sub(back).map(|sequence| sequence as usize);
        let Some((sequence, stamp)) = sequence.and_then(|n| Some((n, self.said.get(n)?))) else {
            return listener.wrong();
        };
        let before =
            self.current.filter(|(current, _)| *current == sequence).map_or(0, |(_, samples)| samples);
        self.current = Some((sequence, before + samples));
        if before < self.enough && before + samples >= self.enough {
            listener.take(stamp, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::plan::Plan;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn frames_come_back_by_their_numbers_also_once_these_repeat() {
        let mut block = Block::new(Some(Format::STANDARD), Some(Format::STANDARD)).unwrap();
        let (mut runs, mut numbers) = (block.runs(), Numbers::new(&block));
        let rate = 1.0 / block.lasts().as_secs_f64();
        let plan = Plan {
            protocol: "syfala".into(),
            server: None,
            encryption: None,
            users: 1,
            talkers: 1,
            groups: 1,
            rate: 0,
            bytes: 0,
            seconds: 60,
            ramp: 1,
            timeout: 1,
            prefix: "load".into(),
            part: 0..1,
        };
        let figures = Rc::new(RefCell::new(Figures::default()));
        let mut listener = Listener::new(Rc::new(plan), 0, figures.clone());
        listener.begin(0, rate);
        let mut heard = 0;
        for sequence in 0..NUMBERS + 1000 {
            let number = numbers.say(Stamp { due: 0, sent: 0, speaker: 0, sequence });
            let bytes = block.of(number).to_vec();
            // Every hundredth is lost, and every other one comes in two pieces.
            if sequence % 100 == 7 {
                continue;
            }
            heard += 1;
            let (one, two) = bytes.split_at(if sequence % 2 == 0 { 0 } else { bytes.len() / 4 });
            for part in [one, two] {
                runs.read(part, |number, samples| numbers.hear(number, samples, 1, &mut listener));
            }
        }
        // Silence and fades are no numbers; a number that was not said is wrong.
        runs.read(block.of(0), |_, _| panic!("silence"));
        assert_eq!(number(1.5 / SCALE), None);
        let counts = figures.borrow().counts;
        assert_eq!((counts.heard, counts.duplicated, counts.reordered, counts.wrong), (heard, 0, 0, 0));
        let mut fresh = Numbers::new(&block);
        fresh.hear(9, 64, 1, &mut listener);
        assert_eq!(figures.borrow().counts.wrong, 1);
    }
}
