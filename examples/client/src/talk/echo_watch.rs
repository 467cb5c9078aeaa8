//! Whether the loudspeaker is heard in the microphone.

use crate::report::Report;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;
use voxwire_audio::EchoDetector;

/// Listens to what is played and to what is recorded, until it finds an echo.
#[derive(Debug)]
pub(crate) struct EchoWatch {
    since: Instant,
    /// `None`: it has been found, and said.
    detector: Mutex<Option<EchoDetector>>,
}

impl Default for EchoWatch {
    fn default() -> Self {
        Self { since: Instant::now(), detector: Mutex::new(Some(EchoDetector::new())) }
    }
}

impl EchoWatch {
    /// The loudspeaker plays something.
    pub(crate) fn played(&self, samples: &[f32]) {
        let mut detector = self.detector.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(detector) = &mut *detector {
            detector.played(self.since.elapsed(), samples);
        }
    }

    /// The microphone hears something. Says, once, if that is what the loudspeaker plays.
    pub(crate) fn recorded(&self, samples: &[f32], report: &Report) {
        let mut detector = self.detector.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.since.elapsed();
        if detector.as_mut().is_some_and(|detector| detector.recorded(now, samples)) {
            *detector = None;
            drop(detector);
            report.warning(
                "the microphone hears what the loudspeaker plays: the others hear their own voices. Headphones end that; so does \
                 --push-to-talk while you listen",
            );
        }
    }
}
