//! Dissonance's part of the demonstration: three players, two rooms, and one who speaks to another directly.

use crate::demo::{Conditions, Likeness, Outcome, draw, judge_opus, serve_by_proxy};
use crate::dissonance::{Heard, Options, Summary, VoiceClient};
use crate::error::{Error, failed};
use crate::report::Report;
use crate::sound::Source;
use core::time::Duration;
use std::path::Path;
use tokio::time::Instant;
use voxwire_audio::{Clip, SampleFormat, VoiceSettings, load, resample, save_wav};
use voxwire_server::{Config, Dissonance, Protocol};

/// Who says what to whom, and who is to hear it.
struct Part {
    name: &'static str,
    /// Listens to this room.
    listens: &'static [&'static str],
    /// Speaks to this room, or to this player.
    room: Option<&'static str>,
    player: Option<&'static str>,
    /// Who is to hear it; no other player is.
    heard_by: &'static str,
    label: &'static str,
    /// How much higher the voice is, so that the three can be told apart.
    pitch: f64,
}

const PARTS: [Part; 3] = [
    Part {
        name: "alice",
        listens: &[],
        room: Some("Red"),
        player: None,
        heard_by: "bob",
        label: "dissonance: alice to room Red",
        pitch: 1.0,
    },
    Part {
        name: "bob",
        listens: &["Red"],
        room: Some("Blue"),
        player: None,
        heard_by: "carol",
        label: "dissonance: bob to room Blue",
        pitch: 0.8,
    },
    Part {
        name: "carol",
        listens: &["Blue"],
        room: None,
        player: Some("alice"),
        heard_by: "alice",
        label: "dissonance: carol to alice",
        pitch: 1.25,
    },
];

/// How long every player stays behind the longest speech.
const TAIL: Duration = Duration::from_secs(2);

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let Conditions { speech, out, signals, .. } = *conditions;
    let impairment = conditions.impairment(5.0);
    let without_quic = |config: &mut Config| config.of_mut::<Dissonance>().quic = false;
    // A game's network, between every player and the server.
    let (server, link) = serve_by_proxy(Protocol::DISSONANCE, without_quic, impairment).await?;
    let recording = |name: &str| out.join(format!("dissonance-{name}-heard.wav"));
    let (mut clients, mut voices) = (Vec::new(), Vec::new());
    let longest = Duration::from_secs_f64(speech.seconds() / 0.8);
    for part in &PARTS {
        // Played faster or slower.
        let rate = (f64::from(speech.rate) * part.pitch).round() as u32;
        let voice = resample(&Clip { rate, ..speech.mono() }, voxwire_audio::OPUS_RATE)?;
        save_wav(&out.join(format!("dissonance-{}-said.wav", part.name)), &voice, SampleFormat::I16)?;
        let options = Options {
            rooms: part.listens.iter().map(|room| (*room).to_owned()).collect(),
            speak_to_rooms: part.room.iter().map(|room| (*room).to_owned()).collect(),
            to: part.player.iter().map(|player| (*player).to_owned()).collect(),
            source: Some(Source::Clip(voice.clone())),
            record: Some(recording(part.name)),
            length: Some(longest + TAIL),
            trace: true,
            ..Options::listener(part.name.into())
        };
        clients.push(tokio::spawn(
            VoiceClient::connect(&link, options, Report::silent(), signals.clone()).await?.run(),
        ));
        voices.push(voice);
    }
    let mut summaries = Vec::new();
    for client in clients {
        let summary = client.await.map_err(|error| failed!("a player gave up: {error}"))?;
        summaries.push(summary?);
    }
    server.drain(Duration::from_secs(2)).await;
    let mut outcomes = Vec::new();
    for (index, part) in PARTS.iter().enumerate() {
        let listener = PARTS.iter().position(|other| other.name == part.heard_by).unwrap_or(0);
        outcomes.push(judge(
            part,
            &voices[index],
            &summaries[index],
            &summaries[listener],
            &recording(part.heard_by),
            impairment.loss,
            out,
        )?);
    }
    fail_who_heard_others(&mut outcomes, &summaries);
    Ok(outcomes)
}

/// No player hears any other player than the one whom it is to hear.
fn fail_who_heard_others(outcomes: &mut [Outcome], summaries: &[Summary]) {
    for (part, summary) in PARTS.iter().zip(summaries) {
        let expected = PARTS.iter().find(|other| other.heard_by == part.name).map_or("", |other| other.name);
        for stranger in summary.heard.keys().filter(|name| *name != expected) {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.protocol.contains(part.name)) {
                outcome.likeness = Err(format!("{} heard {stranger}", part.name));
                outcome.passed = false;
            }
        }
    }
}

fn judge(
    part: &Part,
    voice: &Clip,
    speaker: &Summary,
    listener: &Summary,
    recording: &Path,
    loss: f64,
    out: &Path,
) -> Result<Outcome, Error> {
    let nothing = Heard::default();
    let heard = listener.heard.get(part.name).unwrap_or(&nothing);
    // One speech, whose first frame may have been overtaken.
    let first = heard.frames.kept().iter().map(|(sequence, _)| *sequence).min().unwrap_or(0);
    let latency = |(sequence, at): &(u32, Instant)| {
        let said = speaker.said.kept().get(usize::try_from(*sequence - first).ok()?)?;
        Some(at.saturating_duration_since(*said))
    };
    let recorded = load(recording).map(|loaded| loaded.clip);
    let silence = Clip::empty(voice.rate, 1);
    let judged = match &recorded {
        Ok(recorded) => judge_opus(voice, recorded, VoiceSettings::DEFAULT, loss, &heard.figures),
        Err(error) => Err(error.to_string()),
    };
    draw(out, part.label, part.name, part.heard_by, voice, recorded.as_ref().unwrap_or(&silence))?;
    let said = speaker.said.count();
    let frames = heard.frames.count();
    Ok(Outcome {
        protocol: part.label,
        set_up: speaker.set_up,
        sent: said,
        heard: frames,
        latencies: heard.frames.kept().iter().filter_map(latency).collect(),
        stalls: heard.figures.recovered,
        // Opus over a network that loses packets: the words, not the samples.
        passed: said > 0
            && frames as f64 >= said as f64 * (1.0 - 2.0 * loss).min(0.99)
            && judged.as_ref().is_ok_and(|(_, passed)| *passed),
        likeness: judged.map(|(comparison, _)| Likeness::Sound(comparison)),
    })
}
