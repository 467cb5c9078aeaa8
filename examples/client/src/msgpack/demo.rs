//! msgpack's part of the demonstration: three users make a group, alice and bob talk in its call at once, carol hears both; and
//! bob sends carol a recording.

use crate::demo::proxy::TcpProxy;
use crate::demo::{Conditions, Likeness, Outcome, draw, serve};
use crate::error::Error;
use crate::link::Link;
use crate::msgpack::{CallClient, Options, Summary};
use crate::report::Report;
use crate::signals::Signals;
use crate::sound::Source;
use crate::trace::Trace;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};
use tokio::time::Instant;
use voxwire_audio::{Clip, SampleFormat, compare, load, resample, save_wav};
use voxwire_msgpack::{ClientCommand, Dialect, SAMPLE_RATE};
use voxwire_server::Protocol;

/// No user says anything until all are in the call.
const LEAD: Duration = Duration::from_millis(500);
/// How long all stay behind the last word.
const TAIL: Duration = Duration::from_secs(1);
const GROUP: &str = "readers";

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let Conditions { speech, out, signals, .. } = *conditions;
    let impairment = conditions.impairment(0.0);
    let data = out.join("msgpack-data");
    // Accounts of an earlier demonstration have other passwords.
    let _ = std::fs::remove_dir_all(&data);
    let (server, address) = serve(Protocol::MSGPACK, |config| config.data = data.clone()).await?;
    // Carol's network is the bad one.
    let proxy = if impairment.is_none() { None } else { Some(TcpProxy::start(address, impairment).await?) };
    let carols_way = proxy.as_ref().map_or(address, |proxy| proxy.address);

    let alices = voice(speech, 1.0)?;
    // Bob is slower, and lower.
    let bobs = voice(speech, 0.8)?;
    let message =
        Clip { samples: alices.samples.iter().copied().take(3 * 44_100).collect(), ..alices.clone() };
    for (name, clip) in [("alice-said", &alices), ("bob-said", &bobs), ("message-sent", &message)] {
        save_wav(&out.join(format!("msgpack-{name}.wav")), clip, SampleFormat::I16)?;
    }
    let length = LEAD + Duration::from_secs_f64(bobs.seconds()) + TAIL;

    let mut alice = user(address, "alice", signals).await?;
    let mut bob = user(address, "bob", signals).await?;
    let mut carol = user(carols_way, "carol", signals).await?;
    alice.ask(ClientCommand::CreateGroup { group_name: GROUP.into() }).await?;
    for client in [&mut bob, &mut carol] {
        client.ask(ClientCommand::JoinGroup { group_name: GROUP.into() }).await?;
    }

    let recording = send_recording(&mut bob, &mut carol, &message, out).await?;
    for (client, name, clip) in
        [(&mut alice, "alice", Some(&alices)), (&mut bob, "bob", Some(&bobs)), (&mut carol, "carol", None)]
    {
        client.options.source = clip.map(|clip| Source::Clip(with_lead(clip)));
        client.dialogue.recordings.name(recorded(out, name));
        client.options.length = Some(length);
    }
    let calls = tokio::join!(alice.call(GROUP), bob.call(GROUP), carol.call(GROUP));
    let (alices_call, bobs_call, carols_call) = (calls.0?, calls.1?, calls.2?);
    for client in [alice, bob, carol] {
        client.close().await?;
    }
    server.drain(Duration::from_secs(2)).await;
    let _ = std::fs::remove_dir_all(&data);

    let stalls = proxy.map_or(0, |proxy| proxy.stalls());
    let mut outcomes = judge_calls([&alices, &bobs], [&alices_call, &bobs_call, &carols_call], stalls, out)?;
    outcomes.push(recording);
    Ok(outcomes)
}

/// Where what one of them hears is recorded.
fn recorded(out: &Path, name: &str) -> PathBuf {
    out.join(format!("msgpack-{name}-heard.wav"))
}

/// Bob sends carol a recording.
async fn send_recording(
    bob: &mut CallClient,
    carol: &mut CallClient,
    message: &Clip,
    out: &Path,
) -> Result<Outcome, Error> {
    bob.options.source = Some(Source::Clip(message.clone()));
    let path = recorded(out, "message");
    carol.dialogue.recordings.name(path.clone());
    let sent = Instant::now();
    let (waited, said) = tokio::join!(carol.wait(false), bob.voice_message("carol"));
    waited?;
    said?;
    let figures = Heard { said: &[sent], heard: &[Instant::now()], set_up: sent.elapsed(), stalls: 0 };
    judge("msgpack: message to carol", ["bob", "carol"], message, figures, &path, out)
}

/// How the call went: of alice and bob with each other, and for carol, who hears both.
fn judge_calls(
    [alices, bobs]: [&Clip; 2],
    [alices_call, bobs_call, carols_call]: [&Summary; 3],
    stalls: u64,
    out: &Path,
) -> Result<Vec<Outcome>, Error> {
    let way = |said: &Summary, heard: &Summary, speaker: &str| {
        let times = heard.heard.get(speaker).map_or(&[][..], Trace::kept);
        (said.said.kept().to_vec(), times.to_vec(), heard.set_up)
    };
    let mut outcomes = Vec::new();
    for (label, names, clip, (said, times, set_up)) in [
        ("msgpack: alice to bob", ["alice", "bob"], alices, way(alices_call, bobs_call, "alice")),
        ("msgpack: bob to alice", ["bob", "alice"], bobs, way(bobs_call, alices_call, "bob")),
    ] {
        let figures = Heard { said: &said, heard: &times, set_up, stalls: 0 };
        outcomes.push(judge(label, names, clip, figures, &recorded(out, names[1]), out)?);
    }
    // Carol hears the sum of both, however far apart they began.
    let path = recorded(out, "carol");
    let carols = load(&path).map_err(Error::from);
    let both = carols.and_then(|carols| sum(alices, bobs, &carols.clip));
    let both = both.unwrap_or_else(|_| alices.clone());
    let ways = [way(alices_call, carols_call, "alice"), way(bobs_call, carols_call, "bob")];
    let said = [&ways[0].0[..], &ways[1].0].concat();
    let times = [&ways[0].1[..], &ways[1].1].concat();
    let figures = Heard { said: &said, heard: &times, set_up: carols_call.set_up, stalls };
    let names = ["alice and bob", "carol"];
    outcomes.push(judge("msgpack: both to carol", names, &both, figures, &path, out)?);
    Ok(outcomes)
}

/// A client with an account, logged in.
async fn user(address: SocketAddr, name: &str, signals: &Signals) -> Result<CallClient, Error> {
    let options = Options {
        source: None,
        record: None,
        record_each: None,
        loudspeaker: None,
        length: None,
        dialect: Dialect::Zmtp,
        reconnect: false,
        trace: true,
    };
    let mut client =
        CallClient::connect(&Link::to(address), options, Report::silent(), signals.clone()).await?;
    let password = "correct horse".into();
    client.ask(ClientCommand::Register { username: name.into(), password }).await?;
    client.log_in(name, password, false).await?;
    Ok(client)
}

/// The speech at the rate of a call, at `pace`, half as loud, so that two fit on top of each other; in whole samples.
fn voice(speech: &Clip, pace: f64) -> Result<Clip, Error> {
    let rate = (f64::from(speech.rate) * pace).round() as u32;
    let clip = resample(&Clip { rate, ..speech.mono() }, SAMPLE_RATE)?;
    let samples = clip.samples.iter().map(|sample| (sample * 16_384.0).round() / 32_768.0).collect();
    Ok(Clip { samples, ..clip })
}

fn with_lead(clip: &Clip) -> Clip {
    let lead = vec![0.0; (LEAD.as_secs_f64() * f64::from(clip.rate)) as usize];
    Clip { samples: [lead, clip.samples.clone()].concat(), ..clip.clone() }
}

/// The two voices on top of each other, as far apart as they are in `heard`.
fn sum(one: &Clip, other: &Clip, heard: &Clip) -> Result<Clip, Error> {
    let offsets = [compare(one, heard)?.offset, compare(other, heard)?.offset];
    let first = offsets[0].min(offsets[1]);
    let [one_at, other_at] = offsets.map(|offset| usize::try_from(offset - first).unwrap_or(0));
    let length = (one_at + one.samples.len()).max(other_at + other.samples.len());
    let mut samples = vec![0.0; length];
    for (clip, at) in [(one, one_at), (other, other_at)] {
        samples[at..].iter_mut().zip(&clip.samples).for_each(|(sum, sample)| *sum += sample);
    }
    Ok(Clip { samples, ..one.clone() })
}

/// What was counted and timed.
struct Heard<'a> {
    said: &'a [Instant],
    heard: &'a [Instant],
    set_up: Duration,
    stalls: u64,
}

fn judge(
    label: &'static str,
    [speaker, listener]: [&str; 2],
    voice: &Clip,
    figures: Heard<'_>,
    recording: &Path,
    out: &Path,
) -> Result<Outcome, Error> {
    let Heard { said, heard, set_up, stalls } = figures;
    // Those who join while the others are silent have missed nothing but silence: from the end backwards.
    let pairs = heard.iter().rev().zip(said.iter().rev());
    let latencies = pairs.map(|(heard, said)| heard.saturating_duration_since(*said)).collect();
    let recorded = load(recording).map(|loaded| loaded.clip);
    let comparison = match &recorded {
        Ok(recorded) => compare(voice, recorded).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let silence = Clip::empty(voice.rate, 1);
    draw(out, label, speaker, listener, voice, recorded.as_ref().unwrap_or(&silence))?;
    Ok(Outcome {
        protocol: label,
        set_up,
        sent: said.len() as u64,
        heard: heard.len() as u64,
        latencies,
        stalls,
        // PCM over TCP: every sample, or it does not count.
        passed: comparison.as_ref().is_ok_and(|comparison| comparison.exact),
        likeness: comparison.map(Likeness::Sound),
    })
}
