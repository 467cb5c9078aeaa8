//! What others say, on the machine's loudspeaker: as soon as the network allows, also after a stall of either side.

use crate::device::OutputDevice;
use crate::error::Error;
use core::time::Duration;
use tokio::time::{Instant, sleep_until};
use voxwire_audio::{Pacer, PcmMixer};

pub(crate) type Sink = Box<dyn FnMut(&[f32]) -> Result<(), Error> + Send>;

/// A loudspeaker of the machine.
pub(crate) fn loudspeaker(output: &OutputDevice, rate: u32, channels: u16) -> Result<Sink, Error> {
    let mut loudspeaker = output.open(rate, channels)?;
    Ok(Box::new(move |samples| loudspeaker.write(samples)))
}

/// Plays voices of raw samples, each held back for as long as its messages vary, and faster or slower where that is needed.
pub(crate) struct Playout {
    mixer: PcmMixer,
    channels: usize,
    pacer: Pacer,
    sink: Sink,
}

/// Who stood still for longer does not play what was due meanwhile.
const STOOD_STILL: Duration = Duration::from_millis(200);
/// How long what has come in is played behind the end of a call: as much as a voice may hold.
const REST: Duration = Duration::from_millis(2500);
/// So much of it a loudspeaker may hold still, with its store and its own buffers: silence pushes that out.
pub(crate) const LOUDSPEAKER_DELAY: Duration = Duration::from_millis(400);

impl Playout {
    /// On a loudspeaker of the machine.
    pub(crate) fn open(output: &OutputDevice, rate: u32, channels: u16) -> Result<Self, Error> {
        Ok(Self::new(rate, channels, loudspeaker(output, rate, channels)?))
    }

    /// Wherever `sink` puts it.
    pub(crate) fn new(rate: u32, channels: u16, sink: Sink) -> Self {
        let mixer = PcmMixer::new(rate, channels);
        Self { mixer, channels: channels.max(1).into(), pacer: Pacer::new(rate), sink }
    }

    /// A message of somebody's has come in; times count from the beginning of the call.
    pub(crate) fn hear(&mut self, now: Duration, who: &[u8], samples: impl ExactSizeIterator<Item = f32>) {
        if !self.mixer.hear(now, who, samples) {
            tracing::debug!("too many voices at once: one is not heard");
        }
    }

    /// When there is something to play next.
    pub(crate) fn due(&self) -> Duration {
        self.pacer.due()
    }

    /// Plays what is due.
    pub(crate) fn advance(&mut self, now: Duration) -> Result<(), Error> {
        let frames = self.mixer.frame_samples() / self.channels;
        if now > self.pacer.due() + STOOD_STILL {
            while self.pacer.due() <= now {
                self.pacer.sent(frames);
            }
        }
        while self.pacer.due() <= now {
            self.pacer.sent(frames);
            (self.sink)(self.mixer.render(now))?;
        }
        Ok(())
    }

    /// The other side is gone from the call that began at `start`: plays what has come in to its end.
    pub(crate) async fn finish(&mut self, start: Instant) -> Result<(), Error> {
        let end = self.due() + REST;
        while !self.mixer.is_idle() && self.due() < end {
            self.play_next(start).await?;
        }
        let end = self.due() + LOUDSPEAKER_DELAY;
        while self.due() < end {
            self.play_next(start).await?;
        }
        Ok(())
    }

    /// Plays a frame when it is due. Nothing more comes in, with which it would have to keep up: a busy machine cuts nothing out of it.
    async fn play_next(&mut self, start: Instant) -> Result<(), Error> {
        let due = self.due();
        sleep_until(start + due).await;
        self.advance(due)
    }
}

impl core::fmt::Debug for Playout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Playout").field("mixer", &self.mixer).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use voxwire_audio::{Clip, SPEECH, compare, read, resample};

    /// A loudspeaker, and what it plays.
    pub(crate) fn memory_sink() -> (Sink, Arc<Mutex<Vec<f64>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        let keep = move |samples: &[f32]| {
            kept.lock().unwrap().extend(samples.iter().map(|sample| f64::from(*sample)));
            Ok(())
        };
        (Box::new(keep), heard)
    }

    /// A playout, and what it plays.
    pub(crate) fn listening(rate: u32) -> (Playout, Arc<Mutex<Vec<f64>>>) {
        listening_in(rate, 1)
    }

    pub(crate) fn listening_in(rate: u32, channels: u16) -> (Playout, Arc<Mutex<Vec<f64>>>) {
        let (sink, heard) = memory_sink();
        (Playout::new(rate, channels, sink), heard)
    }

    /// Speech of so many seconds, in whole samples of 16 bits.
    pub(crate) fn speech(rate: u32, seconds: usize) -> Clip {
        let clip = resample(&read(SPEECH).unwrap().clip.mono(), rate).unwrap();
        let samples = clip.samples.iter().cycle().take(seconds * rate as usize);
        Clip { samples: samples.map(|sample| (sample * 16_384.0).round() / 32_768.0).collect(), ..clip }
    }

    /// How late the end of what was said is heard, in seconds: it was said with the last sample that was heard.
    pub(crate) fn lateness(said: &Clip, heard: &[f64]) -> f64 {
        let rate = said.rate as usize;
        let tail = |samples: &[f64], from: usize, to: usize| Clip {
            samples: samples[samples.len() - from..samples.len() - to].to_vec(),
            ..said.clone()
        };
        let found = compare(&tail(&said.samples, 2 * rate, rate), &tail(heard, 3 * rate, 0)).unwrap();
        found.offset as f64 / f64::from(said.rate) - 1.0
    }

    /// C-14: when the other side hangs up, all that has come in is played to its end.
    #[tokio::test]
    async fn c_14_what_has_come_in_is_played_when_the_other_side_is_gone() {
        let (mut playout, heard) = listening(16_000);
        let said: Vec<f32> = (1..=3200_u16).map(|n| f32::from(n) / 32_768.0).collect();
        for (n, message) in (1_u64..).zip(said.chunks(320)) {
            let now = Duration::from_millis(n * 20);
            playout.advance(now).unwrap();
            playout.hear(now, b"ann", message.iter().copied());
        }
        playout.finish(Instant::now() - Duration::from_millis(200)).await.unwrap();
        let heard = heard.lock().unwrap();
        let start = heard.iter().position(|sample| *sample != 0.0).unwrap();
        assert!(said.iter().zip(&heard[start..]).all(|(said, heard)| f64::from(*said) == *heard));
        // What a loudspeaker holds of it comes out, too.
        assert!(heard.len() - start >= said.len() + 16 * 350);
    }
}
