//! How a conversation went.

use crate::report::{Report, quoted};
use crate::trace::Trace;
use core::time::Duration;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::time::Instant;
use voxwire_audio::SpeakerFigures;

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// From connecting until the session was joined.
    pub(crate) set_up: Duration,
    /// When each frame was sent.
    pub(crate) said: Trace<Instant>,
    /// Who was heard, and how.
    pub(crate) heard: BTreeMap<String, Heard>,
}

/// One speaker, as it was heard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// Frames that came in: the number in the speech, and when.
    pub(crate) frames: Trace<(u32, Instant)>,
    pub(crate) figures: SpeakerFigures,
    /// The last one, and the longest time between two of the same speech.
    last: Option<(u32, Instant)>,
    gap: Duration,
}

impl Heard {
    /// Nothing yet. `keeps`: each frame, and not their number alone.
    pub(super) fn new(keeps: bool) -> Self {
        Self { frames: Trace::new(keeps), ..Self::default() }
    }

    pub(super) fn push(&mut self, sequence: u32, start: bool, at: Instant) {
        if let Some((before, then)) = self.last.replace((sequence, at)).filter(|_| !start)
            && before < sequence
        {
            self.gap = self.gap.max(at.saturating_duration_since(then));
        }
        self.frames.push((sequence, at));
    }

    fn report(&self, name: &str, report: &Report) {
        let Self { frames, figures, gap, .. } = self;
        let SpeakerFigures { jitter, recovered, concealed, invalid, .. } = figures;
        let fields = json!({
            "name": name, "frames": frames.count(), "lost": jitter.lost, "recovered": recovered, "concealed": concealed,
            "late": jitter.late, "duplicate": jitter.duplicate, "underruns": jitter.underruns, "invalid": invalid,
            "delay_ms": jitter.target.as_millis(), "gap_ms": gap.as_millis(),
        });
        let text = format!(
            "heard {}: {} frames, {} lost, {recovered} of them recovered, {} late; held back for {} ms, longest gap {} ms",
            quoted(name),
            frames.count(),
            jitter.lost,
            jitter.late,
            jitter.target.as_millis(),
            gap.as_millis()
        );
        report.event("heard", fields, &text);
    }
}

impl Summary {
    /// Says how much was said, and how each speaker was heard.
    pub(super) fn report(&self, report: &Report) {
        let said = self.said.count();
        report.event("said", json!({ "frames": said }), &format!("said {said} frames"));
        for (name, heard) in &self.heard {
            heard.report(name, report);
        }
    }
}
