//! Lets through what is to be sent.

use super::Talk;
use crate::error::Error;
use crate::report::Report;
use core::time::Duration;
use std::sync::Arc;
use voxwire_audio::{Preprocessor, VoiceActivity};

/// How long sound is sent behind the last voice.
const HANGOVER: Duration = Duration::from_millis(400);
/// How long a fade takes where sending begins or ends, in seconds.
const FADE: f64 = 0.005;

/// What becomes of a block of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It is sent as it is.
    Open,
    /// It is the last one that is sent, and fades out.
    Closing,
    /// It is silent, and need not be sent.
    Closed,
}

/// Between what is said and what is sent.
#[derive(Debug)]
pub(crate) struct Gate {
    talk: Arc<Talk>,
    preprocessor: Preprocessor,
    activity: Option<VoiceActivity>,
    channels: usize,
    /// Frames of a fade.
    fade: usize,
    open: bool,
}

impl Gate {
    /// For samples at `rate`, interleaved, which are multiplied by `gain`.
    pub(crate) fn new(report: &Report, rate: u32, channels: u16, gain: f64) -> Result<Self, Error> {
        let talk = report.talk().clone();
        let preprocessor = talk.preprocessor(rate, channels, gain)?;
        let activity = || VoiceActivity::new(rate, channels, HANGOVER);
        let activity = talk.is_voice_activated().then(activity).transpose()?;
        let open = talk.is_open() && activity.is_none();
        let fade = ((f64::from(rate) * FADE) as usize).max(1);
        Ok(Self { talk, preprocessor, activity, channels: channels.max(1).into(), fade, open })
    }

    /// Takes the next block, prepares it, and makes it silent where it is not to be sent.
    pub(crate) fn pass(&mut self, samples: &mut [f64]) -> Result<Passed, Error> {
        self.preprocessor.process(samples)?;
        let speaks = self.activity.as_mut().map_or(Ok(true), |activity| activity.hears(samples))?;
        let was_open = core::mem::replace(&mut self.open, speaks && self.talk.is_open());
        let frames = samples.len() / self.channels;
        let fade = self.fade.min(frames);
        let faded = |frame: &mut [f64], gain: f64| frame.iter_mut().for_each(|sample| *sample *= gain);
        Ok(match (was_open, self.open) {
            (true, true) => Passed::Open,
            (false, true) => {
                for (n, frame) in samples.chunks_mut(self.channels).take(fade).enumerate() {
                    faded(frame, n as f64 / fade as f64);
                }
                Passed::Open
            }
            (true, false) => {
                for (n, frame) in samples.chunks_mut(self.channels).enumerate() {
                    faded(frame, 1.0 - (n as f64 / fade as f64).min(1.0));
                }
                Passed::Closing
            }
            (false, false) => {
                samples.fill(0.0);
                Passed::Closed
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-72: an open gate changes nothing, a closed one is silent, and between the two nothing clicks.
    #[test]
    fn f_72_a_gate_opens_and_closes_without_a_click() {
        let report = Report::silent();
        let mut gate = Gate::new(&report, 8000, 2, 1.0).unwrap();
        let mut pass = |muted: bool| {
            report.talk().mute(muted);
            let mut block = [0.5; 320];
            (gate.pass(&mut block).unwrap(), block)
        };
        assert_eq!(pass(false), (Passed::Open, [0.5; 320]));
        let (closing, block) = pass(true);
        assert_eq!((closing, block[0], block[319]), (Passed::Closing, 0.5, 0.0));
        let steps = |block: &[f64]| block.windows(3).all(|three| (three[2] - three[0]).abs() < 0.02);
        assert!(steps(&block));
        assert_eq!(pass(true), (Passed::Closed, [0.0; 320]));
        let (opening, block) = pass(false);
        assert_eq!((opening, block[0], block[319]), (Passed::Open, 0.0, 0.5));
        assert!(steps(&block));
        assert_eq!(pass(false), (Passed::Open, [0.5; 320]));
    }
}
