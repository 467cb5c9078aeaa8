//! Those who are heard: each at its own pace, mixed.

use super::voice_client::{TICK, TICK_SAMPLES};
use crate::error::Error;
use crate::recordings::{RecordFile, TrackFiles, Tracks};
use crate::report::{Meter, VoiceFigures};
use crate::talk::Talk;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;
use voxwire_audio::{OPUS_RATE, Speaker, SpeakerFigures, limit, mix_into};
use voxwire_dissonance::{ClientId, Codec, CodecSettings, Priority};

/// The players who speak to us, and those who are gone, until all that came in is heard.
#[derive(Debug, Default)]
pub(super) struct Voices {
    voices: BTreeMap<ClientId, Voice>,
    /// Since when they are gone.
    rest: Vec<(Voice, Duration)>,
    /// Who is gone and heard to the end, and how that was.
    over: Vec<(String, SpeakerFigures)>,
    talk: Arc<Talk>,
    /// Where each is recorded.
    tracks: Option<Tracks>,
}

/// A frame of a player's speech.
pub(super) struct Frame<'a> {
    pub(super) sequence: u32,
    pub(super) start: bool,
    pub(super) end: bool,
    pub(super) volume: f32,
    pub(super) priority: Priority,
    pub(super) packet: &'a [u8],
}

/// A remote voice, and what of it is rendered and not yet mixed.
#[derive(Debug)]
struct Voice {
    name: String,
    speaker: Speaker,
    meter: Meter,
    /// How long a frame is.
    frame: Duration,
    rendered: [f32; TICK_SAMPLES],
    /// As the channels say by which it comes.
    volume: f32,
    priority: Priority,
    /// It is heard in the samples to come.
    speaks: bool,
    /// How loud it was last.
    gain: f32,
}

/// So long is played of a player who is gone. A jitter buffer of 64 frames may hold more where they last 40 ms or 60 ms.
const REST: Duration = Duration::from_secs(2);
/// Of so many at a time.
const MOST_RESTS: usize = 64;

impl Voices {
    /// `talk` says how loud each is heard.
    pub(super) fn new(talk: Arc<Talk>) -> Self {
        Self { talk, ..Self::default() }
    }

    /// Records each from now on.
    pub(super) fn record(&mut self, files: TrackFiles) {
        self.tracks = Some(Tracks::new(files));
    }

    /// The recordings, which are to be completed.
    pub(super) fn take_tracks(&mut self) -> impl Iterator<Item = RecordFile> + use<> {
        self.tracks.take().into_iter().flat_map(Tracks::into_files)
    }

    /// A frame has come in. False if it cannot be played.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        from: ClientId,
        name: &str,
        codec: CodecSettings,
        frame: &Frame<'_>,
    ) -> Result<bool, Error> {
        let &Frame { sequence, start, end, volume, priority, packet } = frame;
        let voice = match self.voices.get_mut(&from) {
            Some(voice) => voice,
            None => {
                let frame = Duration::from_micros(
                    u64::from(codec.frame_size) * 1_000_000 / u64::from(codec.sample_rate.max(1)),
                );
                if codec.codec != Codec::OPUS
                    || codec.sample_rate != OPUS_RATE
                    || !(2..=120).contains(&frame.as_millis())
                {
                    return Ok(false);
                }
                let voice = Voice {
                    name: name.into(),
                    speaker: Speaker::new(frame, 1)?,
                    meter: Meter::default(),
                    frame,
                    rendered: [0.0; TICK_SAMPLES],
                    volume,
                    priority,
                    speaks: false,
                    gain: volume,
                };
                self.voices.entry(from).or_insert(voice)
            }
        };
        (voice.volume, voice.priority) = (volume, priority);
        voice.meter.arrives(now, voice.frame.saturating_mul(sequence));
        voice.speaker.insert(now, sequence, packet, start, end);
        Ok(true)
    }

    /// A player's speech has ended without a last frame.
    pub(super) fn stop(&mut self, from: ClientId) {
        if let Some(voice) = self.voices.get_mut(&from) {
            voice.speaker.stop();
        }
    }

    /// A player is gone: what has come in is played to its end.
    pub(super) fn leaves(&mut self, now: Duration, from: ClientId) {
        let Some(mut voice) = self.voices.remove(&from) else { return };
        voice.speaker.stop();
        if voice.speaker.is_idle() || self.rest.len() >= MOST_RESTS {
            self.over.push((voice.name, voice.speaker.figures()));
        } else {
            self.rest.push((voice, now));
        }
    }

    /// All players are gone.
    pub(super) fn all_leave(&mut self, now: Duration) {
        let all: Vec<ClientId> = self.voices.keys().copied().collect();
        all.into_iter().for_each(|id| self.leaves(now, id));
    }

    /// Whether nothing is to be heard of those who are gone.
    pub(super) fn are_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// Those who are gone and heard to the end, and how they were heard: each told once.
    pub(super) fn take_over(&mut self) -> Vec<(String, SpeakerFigures)> {
        core::mem::take(&mut self.over)
    }

    /// How those are heard who are there. `lossy`: what they say can be lost.
    pub(super) fn figures(&mut self, lossy: bool) -> Vec<VoiceFigures> {
        let voices = self.voices.values_mut();
        voices
            .map(|voice| VoiceFigures::of(&voice.name, &voice.speaker.figures(), &mut voice.meter, lossy))
            .collect()
    }

    /// What is heard in one tick.
    pub(super) fn render(&mut self, now: Duration) -> [f32; TICK_SAMPLES] {
        let mut mix = [0.0; TICK_SAMPLES];
        let Self { voices, rest, over, talk, tracks } = self;
        let mut all: Vec<&mut Voice> =
            voices.values_mut().chain(rest.iter_mut().map(|(voice, _)| voice)).collect();
        for voice in &mut all {
            let samples = voice.speaker.render_samples(now, TICK_SAMPLES);
            voice.speaks = samples.is_some();
            voice.rendered.fill(0.0);
            voice.rendered.iter_mut().zip(samples.unwrap_or_default()).for_each(|(to, from)| *to = *from);
            voice
                .meter
                .hears(voice.rendered.iter().fold(0.0, |peak, sample| peak.max(f64::from(sample.abs()))));
        }
        // As Dissonance plays them: while a voice speaks, those of a lower priority are silent.
        let speaking = all.iter().filter(|voice| voice.speaks && voice.volume > 0.0);
        let highest = speaking.map(|voice| voice.priority).max().unwrap_or_default();
        let mut loud = 0;
        for voice in all {
            let wanted = voice.volume * talk.volume_of(&voice.name);
            let gain = if voice.priority < highest { 0.0 } else { wanted };
            mix_into(&mut mix, &voice.rendered, [voice.gain, gain]);
            if let Some(tracks) = tracks.as_mut().filter(|_| voice.speaks) {
                tracks.put(&voice.name, &voice.rendered);
            }
            // One alone, and no louder, is played as it came.
            loud += if gain.max(voice.gain) > 1.0 { 2 } else { u32::from(voice.speaks) };
            voice.gain = gain;
        }
        tracks.iter_mut().for_each(|tracks| tracks.advance(TICK_SAMPLES));
        if loud > 1 {
            limit(&mut mix);
        }
        let gone = rest.extract_if(.., |(voice, since)| voice.speaker.is_idle() || now >= *since + REST);
        over.extend(gone.map(|(voice, _)| (voice.name, voice.speaker.figures())));
        mix
    }

    /// What is still to be heard when we leave: all of it at once.
    pub(super) fn rest(&mut self, mut now: Duration, mut sink: impl FnMut(&[f32])) {
        self.all_leave(now);
        while !self.are_over() {
            now += TICK;
            sink(&self.render(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxwire_audio::{Clip, SPEECH, VoiceSettings, compare, read, resample, voice_decoder, voice_encoder};
    use voxwire_core::{DialId, Input, Instant, List, PeerId, Session, Via};
    use voxwire_dissonance::{
        Channel, Client, ClientEvent, ClientInfo, ClientSettings, HandshakeResponse, Options, Packet,
        Profile, Recipient, VoiceData,
    };

    const FRAMES: usize = 60;
    const HALF: usize = FRAMES / 2;
    const SPEAKER: ClientId = ClientId::new(1);

    /// Speech as packets, and as they are decoded.
    fn speech() -> (Vec<Vec<u8>>, Clip) {
        let clip = resample(&read(SPEECH).unwrap().clip.mono(), OPUS_RATE).unwrap();
        let start = clip.samples.iter().position(|sample| sample.abs() > 0.05).unwrap();
        let mut encoder = voice_encoder(VoiceSettings::DEFAULT).unwrap();
        let mut decoder = voice_decoder(1).unwrap();
        let (mut packets, mut decoded) = (Vec::new(), Vec::new());
        for frame in clip.samples[start..].chunks(960).take(FRAMES) {
            let mut samples: Vec<f32> = frame.iter().map(|sample| *sample as f32).collect();
            let mut packet = Vec::new();
            encoder.encode(&samples, &mut packet).unwrap();
            decoder.decode(&packet, &mut samples).unwrap();
            decoded.extend(samples.iter().map(|sample| f64::from(*sample)));
            packets.push(packet);
        }
        (packets, Clip { samples: decoded, ..clip })
    }

    struct Listener {
        voices: Voices,
        heard: Vec<f64>,
        starts: usize,
        figures: Vec<SpeakerFigures>,
    }

    /// A client in a session with ann, its server, and its own number.
    fn joined() -> (Client, PeerId, ClientId) {
        let mut client = Client::new("ben", ClientSettings::DEFAULT).unwrap();
        let server = PeerId { slot: 3, generation: 0 };
        let via = Via::Dialled(DialId::FIRST);
        client.handle_input(Instant::ZERO, Input::Opened { peer: server, via, from: None }).unwrap();
        let info = |name: &'static str, id| {
            let codec = CodecSettings::DEFAULT;
            ClientInfo { name: name.into(), id: ClientId::new(id), codec }
        };
        let (own, infos) = (ClientId::new(0), [info("ben", 0), info("ann", 1)]);
        let response = HandshakeResponse {
            session: 77,
            client: own,
            clients: List::from(&infos[..]),
            rooms: List::from(&[][..]),
            channels: List::from(&[][..]),
        };
        client.receive(Instant::ZERO, server, Packet::HandshakeResponse(response)).unwrap();
        (client, server, own)
    }

    /// What a client hears of two speeches that follow each other, whose packets are late by as many milliseconds; he hears them until
    /// `leaves`.
    fn listen(packets: &[Vec<u8>], late: impl Fn(usize) -> u64, leaves: Option<u64>) -> Listener {
        let (mut client, server, own) = joined();
        let mut arrivals: Vec<(u64, usize)> =
            (0..packets.len()).map(|n| ((n as u64 + 1) * 20 + late(n), n)).collect();
        arrivals.sort();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut listener =
            Listener { voices: Voices::default(), heard: Vec::new(), starts: 0, figures: Vec::new() };
        for ms in (0..2000).step_by(5) {
            let now = Duration::from_millis(ms);
            if leaves.is_some_and(|leaves| ms == leaves) {
                listener.voices.leaves(now, SPEAKER);
            }
            while let Some((at, n)) =
                arrivals.next_if(|(at, _)| *at <= ms && leaves.is_none_or(|leaves| *at < leaves))
            {
                let closing = n == HALF - 1 || n == packets.len() - 1;
                let channels = [Channel::new(Recipient::Player(own)).with_closing(closing)];
                let options = Options::new(u8::from(n >= HALF), Profile::Later);
                let packet = VoiceData {
                    session: 77,
                    sender: SPEAKER,
                    options,
                    sequence: n as u16,
                    channels: &channels,
                    frame: &packets[n],
                };
                let event = client.receive(Instant::ZERO, server, Packet::VoiceData(packet)).unwrap();
                let Some(ClientEvent::Voice(voice)) = event else { continue };
                listener.starts += usize::from(voice.start);
                let frame = Frame {
                    sequence: voice.sequence,
                    start: voice.start,
                    end: voice.end,
                    volume: voice.volume,
                    priority: voice.priority,
                    packet: voice.frame,
                };
                let (at, codec) = (Duration::from_millis(at), client.codec_of(SPEAKER).unwrap());
                assert!(listener.voices.hear(at, SPEAKER, "ann", codec, &frame).unwrap());
            }
            listener.heard.extend(listener.voices.render(now).iter().map(|sample| f64::from(*sample)));
        }
        listener.voices.rest(Duration::from_secs(2), |_| {});
        listener.figures = listener.voices.take_over().into_iter().map(|(_, figures)| figures).collect();
        listener
    }

    /// How much of a part of what was said is heard.
    fn present(said: &Clip, frames: core::ops::Range<usize>, heard: &[f64]) -> f64 {
        let said =
            Clip { samples: said.samples[frames.start * 960..frames.end * 960].to_vec(), ..said.clone() };
        compare(&said, &Clip { samples: heard.to_vec(), ..said.clone() }).unwrap().present
    }

    /// C-14, F-54: packets that overtake each other at the beginning or the end of a speech lose no word, and make no other speech.
    #[test]
    fn c_14_nothing_is_lost_where_packets_overtake_each_other() {
        let (packets, said) = speech();
        for (what, late) in [
            ("in order", &[][..]),
            ("first words", &[(0, 45), (1, 30), (HALF, 25)]),
            ("the end of the speech", &[(HALF - 2, 25), (FRAMES - 2, 22)]),
        ] {
            let late = |n| late.iter().find(|(late, _)| *late == n).map_or(0, |(_, ms)| *ms);
            let listener = listen(&packets, late, None);
            assert_eq!(listener.starts, 2, "{what}");
            let figures = listener.figures[0];
            let jitter = figures.jitter;
            assert_eq!((jitter.lost, jitter.late, jitter.overflow), (0, 0, 0), "{what}: {figures:?}");
            assert_eq!((jitter.received, jitter.played), (60, 60), "{what}: {figures:?}");
            let first = present(&said, 0..8, &listener.heard);
            let all = present(&said, 0..FRAMES, &listener.heard);
            // (Where some are late, others are played slower.)
            let least = if what == "in order" { 0.99 } else { 0.85 };
            assert!(first > least && all > least, "{what}: {first} {all} {figures:?}");
        }
    }

    /// F-54: the end of a speech that comes after the beginning of the next one makes no speech of its own.
    #[test]
    fn f_54_the_end_of_a_speech_behind_the_next_one_is_no_other_speech() {
        let (packets, said) = speech();
        let listener = listen(&packets, |n| if (HALF - 2..HALF).contains(&n) { 50 } else { 0 }, None);
        assert_eq!(listener.starts, 2);
        let jitter = listener.figures[0].jitter;
        assert_eq!((jitter.received, jitter.played), (58, 58), "{jitter:?}");
        assert!(present(&said, HALF..FRAMES, &listener.heard) > 0.98);
    }

    /// C-14: of a player who leaves all is heard that has come in, and it does not end in a click.
    #[test]
    fn c_14_who_leaves_is_heard_to_the_end() {
        let (packets, said) = speech();
        for leaves in (405..430).step_by(5) {
            // A packet every 20 ms from 20 ms on; the last one has just come, or some time ago.
            let listener = listen(&packets, |_| 0, Some(leaves));
            let came = ((leaves - 1) / 20) as usize;
            let jitter = listener.figures[0].jitter;
            assert_eq!((jitter.received, jitter.played), (came as u64, came as u64), "{leaves}");
            let last = present(&said, came - 6..came, &listener.heard);
            assert!(last > 0.99, "{leaves}: {last}");
            // (It fades.)
            let end = listener.heard.iter().rposition(|sample| *sample != 0.0).unwrap();
            assert!(listener.heard[end].abs() < 0.01, "{leaves}: {}", listener.heard[end]);
        }
    }
}
