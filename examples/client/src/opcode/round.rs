//! The calls that go on at one time, and their sound.

use crate::error::Error;
use crate::recordings::RecordFile;
use crate::report::{Figures, Meter, VoiceFigures};
use crate::sound::{Player, Ready, Recorder, Shape, peak};
use crate::trace::Trace;
use core::time::Duration;
use std::collections::BTreeMap;
use tokio::time::Instant;
use voxwire_audio::{
    OPUS_RATE, SampleFormat, SampleOrder, Speaker, SpeakerFigures, VoiceEncoder, VoiceSettings, limit,
    mix_into,
};
use voxwire_opcode::CallId;

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// From asking for the first call until it was up; for the caller.
    pub(crate) set_up: Duration,
    /// When each packet was sent, silence included.
    pub(crate) said: Trace<Instant>,
    /// Who was heard, and how.
    pub(crate) heard: BTreeMap<String, Heard>,
}

/// The other side of a call, as it was heard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    /// When each packet came in.
    pub(crate) packets: Trace<Instant>,
    pub(crate) figures: SpeakerFigures,
}

/// One packet: what originals send, and can play.
pub(super) const FRAME: Duration = Duration::from_millis(20);
const FRAME_SAMPLES: usize = 960;
/// What is heard at once, and its samples of both channels.
pub(super) const ROUND: Duration = Duration::from_millis(10);
const ROUND_SAMPLES: usize = FRAME_SAMPLES / 2 * CHANNELS as usize;
pub(super) const CHANNELS: u16 = 2;
pub(super) const SHAPE: Shape =
    Shape { rate: OPUS_RATE, channels: CHANNELS, format: SampleFormat::I16, order: SampleOrder::Little };

/// How a call is encoded.
pub(crate) const fn voice_settings(bitrate: u32) -> VoiceSettings {
    VoiceSettings { frame: FRAME, channels: CHANNELS, bitrate, expected_loss: 0 }
}

/// How long what has come in before the end of a call may be played behind it.
const REST: Duration = Duration::from_secs(2);

/// One call that is up.
pub(super) struct ActiveCall {
    pub(super) name: String,
    pub(super) speaker: Speaker,
    pub(super) meter: Meter,
}

/// What is going on until all calls are over.
pub(super) struct Round {
    /// Whom we have called, or are called by, and who has not answered.
    pub(super) asked: BTreeMap<CallId, String>,
    pub(super) active: BTreeMap<CallId, ActiveCall>,
    /// Calls that are over, of which there is still something to be heard; since when.
    pub(super) rest: Vec<(Speaker, Duration)>,
    pub(super) calling: bool,
    pub(super) refuse: bool,
    pub(super) started: Instant,
    /// The first call came up then.
    pub(super) up: Option<Instant>,
    /// What there is to say, at the rate of a call.
    pub(super) ready: Option<Ready>,
    pub(super) player: Option<Player>,
    pub(super) encoder: Box<dyn VoiceEncoder>,
    pub(super) recorder: Option<Recorder>,
    /// Why the last call did not come up.
    pub(super) failure: Option<String>,
    /// The first half of a frame was heard, and what is said in one frame's time was said.
    pub(super) half: bool,
    /// All that was to be said is said.
    pub(super) played: bool,
    /// Who called was refused, as is wanted.
    pub(super) refused: bool,
    pub(super) summary: Summary,
    pub(super) levels: (f64, f64),
}

impl Round {
    /// Nobody is called, and who calls is answered.
    pub(super) fn new(encoder: Box<dyn VoiceEncoder>) -> Self {
        Self {
            asked: BTreeMap::new(),
            active: BTreeMap::new(),
            rest: Vec::new(),
            calling: false,
            refuse: false,
            started: Instant::now(),
            up: None,
            ready: None,
            player: None,
            encoder,
            recorder: None,
            failure: None,
            half: false,
            played: false,
            refused: false,
            summary: Summary::default(),
            levels: (0.0, 0.0),
        }
    }

    pub(super) fn hear(&mut self, call: CallId, packet: &[u8]) {
        let Some(active) = self.active.get_mut(&call) else { return };
        active.speaker.append(self.started.elapsed(), packet);
        active.meter.arrives_next(self.started.elapsed(), FRAME);
        self.summary.heard.entry(active.name.clone()).or_default().packets.push(Instant::now());
    }

    pub(super) fn figures(&mut self) -> Figures {
        let people = self.active.values().map(|active| (active.name.clone(), String::new())).collect();
        let voices = self.active.values_mut();
        let voices = voices.map(|ActiveCall { name, speaker, meter }| {
            VoiceFigures::of(name, &speaker.figures(), meter, false)
        });
        Figures {
            sent: Some(self.summary.said.count()),
            people: Some(people),
            voices: voices.collect(),
            ..Figures::default()
        }
    }

    /// Somebody is gone: what has come in is still played, to its end.
    pub(super) fn lingers(&mut self, speaker: Option<Speaker>) {
        let now = self.started.elapsed();
        self.rest.extend(speaker.map(|mut speaker| {
            speaker.stop();
            (speaker, now)
        }));
    }

    /// Mixes what is heard in one round.
    pub(super) fn render(&mut self) -> Result<(), Error> {
        let mix = self.mix(self.started.elapsed());
        let samples: Vec<f64> = mix.iter().map(|sample| f64::from(*sample)).collect();
        self.levels.1 = (self.levels.1 * 0.95).max(peak(&samples));
        self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.hear_samples(&samples))
    }

    fn mix(&mut self, now: Duration) -> [f32; ROUND_SAMPLES] {
        let mut mix = [0.0_f32; ROUND_SAMPLES];
        let mut voices = 0;
        let speakers = self.active.values_mut().map(|active| (&mut active.speaker, Some(&mut active.meter)));
        for (speaker, meter) in speakers.chain(self.rest.iter_mut().map(|(speaker, _)| (speaker, None))) {
            if let Some(samples) = speaker.render_samples(now, ROUND_SAMPLES) {
                if let Some(meter) = meter {
                    meter.hears(samples.iter().fold(0.0, |peak, sample| peak.max(f64::from(sample.abs()))));
                }
                mix_into(&mut mix, samples, [1.0; 2]);
                voices += 1;
            }
        }
        self.rest.retain(|(speaker, since)| !speaker.is_idle() && now < *since + REST);
        // One alone is played as it came.
        if voices > 1 {
            limit(&mut mix);
        }
        mix
    }

    /// Everybody is gone: what has come in is recorded at once, and the recording completed.
    pub(super) fn finish(&mut self) -> Option<RecordFile> {
        let mut recorder = self.recorder.take()?;
        let mut now = self.started.elapsed();
        while !self.rest.is_empty() {
            now += ROUND;
            let mix = self.mix(now);
            recorder.keep(&mix.iter().map(|sample| f64::from(*sample)).collect::<Vec<_>>());
        }
        recorder.into_file()
    }

    /// What is said in one frame's time: silence, where there is nothing to say, as originals do.
    pub(super) fn next_packet(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.active.is_empty() {
            return Ok(None);
        }
        let next = match self.player.as_mut() {
            Some(player) => player.next_samples(FRAME_SAMPLES)?,
            None => None,
        };
        if next.is_none() && self.player.take().is_some() {
            self.played = true;
        }
        let mut samples: Vec<f32> =
            next.unwrap_or_default().into_iter().map(|sample| sample as f32).collect();
        samples.resize(FRAME_SAMPLES * usize::from(CHANNELS), 0.0);
        self.levels.0 = samples.iter().fold(0.0_f64, |peak, sample| peak.max(f64::from(sample.abs())));
        let mut packet = Vec::new();
        self.encoder.encode(&samples, &mut packet)?;
        Ok(Some(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use voxwire_audio::{Clip, compare, load, voice_decoder, voice_encoder};

    /// C-14: when a call is over, all that has come in is heard, no matter which side ended it, and is in the recording.
    #[test]
    fn c_14_a_call_is_heard_and_recorded_to_its_end() {
        const PACKETS: u64 = 25;
        let settings = voice_settings(96_000);
        let (mut encoder, mut decoder) = (voice_encoder(settings).unwrap(), voice_decoder(CHANNELS).unwrap());
        let tone = Clip::tone(OPUS_RATE, CHANNELS, 440.0, PACKETS as f64 * 0.02);
        let (mut packets, mut said) = (Vec::new(), Vec::new());
        for frame in tone.samples.chunks(FRAME_SAMPLES * 2) {
            let mut samples: Vec<f32> = frame.iter().map(|sample| *sample as f32).collect();
            let mut packet = Vec::new();
            encoder.encode(&samples, &mut packet).unwrap();
            decoder.decode(&packet, &mut samples).unwrap();
            said.extend(samples.iter().map(|sample| f64::from(*sample)));
            packets.push(packet);
        }
        for (who, ms) in [("they", 0), ("they", 10), ("we", 0), ("we", 10)] {
            let path =
                std::env::temp_dir().join(format!("voxwire-opcode-{who}-{ms}-{}.wav", std::process::id()));
            let file =
                RecordFile::create(&path, OPUS_RATE, CHANNELS, SampleFormat::F32, &Report::silent()).unwrap();
            let recorder = Recorder::new(Some(file), None, SHAPE).unwrap();
            let encoder = voice_encoder(settings).unwrap();
            let mut round = Round { recorder: Some(recorder), ..Round::new(encoder) };
            let mut speaker = Speaker::new(FRAME, CHANNELS).unwrap();
            let end = PACKETS * 20 + ms;
            for now in (0..=end).step_by(10) {
                if now > 0 && now % 20 == 0 {
                    speaker.append(Duration::from_millis(now), &packets[now as usize / 20 - 1]);
                }
                let samples = speaker.render_samples(Duration::from_millis(now), ROUND_SAMPLES);
                let samples: Vec<f64> =
                    samples.unwrap_or_default().iter().map(|sample| f64::from(*sample)).collect();
                round.recorder.as_mut().unwrap().hear_samples(&samples).unwrap();
            }
            round.started = Instant::now() - Duration::from_millis(end);
            round.lingers(Some(speaker));
            // The others' hang-up is waited for, ours is not.
            for now in (end + 10..end + 3000).step_by(10).take_while(|_| who == "they") {
                round.started = Instant::now() - Duration::from_millis(now);
                round.render().unwrap();
            }
            assert_eq!(round.rest.is_empty(), who == "they");
            round.finish().unwrap().finish().unwrap();
            let heard = load(&path).unwrap().clip;
            std::fs::remove_file(&path).unwrap();
            let said = Clip { rate: OPUS_RATE, channels: CHANNELS, samples: said.clone() };
            let found = compare(&said, &heard).unwrap();
            assert!(found.missing == 0 && found.exact, "{who}, {ms}: {found:?}");
        }
    }
}
