//! opcode's part of the demonstration: alice calls bob, both speak at once; straight, and then carried by the server.

use crate::demo::{Conditions, Likeness, Outcome, draw, judge_opus, serve};
use crate::error::Error;
use crate::link::Link;
use crate::opcode::{CallClient, Heard, Options, Summary, voice_settings};
use crate::report::Report;
use crate::signals::Signals;
use crate::sound::Source;
use crate::waiting::Callee as _;
use core::net::IpAddr;
use core::time::Duration;
use std::path::Path;
use voxwire_audio::{Clip, OPUS_RATE, SampleFormat, load, resample, save_wav};
use voxwire_server::{Opcode, Protocol};

/// How long bob goes on behind his last word: alice's may be longer.
const TAIL: Duration = Duration::from_secs(1);

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let Conditions { speech, out, signals, .. } = *conditions;
    let alices = resample(&speech.mono(), OPUS_RATE)?;
    // Bob is slower, and lower.
    let rate = (f64::from(speech.rate) * 0.8).round() as u32;
    let bobs = resample(&Clip { rate, ..speech.mono() }, OPUS_RATE)?;
    save_wav(&out.join("opcode-alice-said.wav"), &alices, SampleFormat::I16)?;
    save_wav(&out.join("opcode-bob-said.wav"), &bobs, SampleFormat::I16)?;
    let names = ["opcode: alice to bob", "opcode: bob to alice"];
    let carried = ["opcode carried: alice to bob", "opcode carried: bob to alice"];
    // Both at once, with a server each.
    let (straight, carried) = tokio::join!(
        way(&alices, &bobs, false, out, names, signals),
        way(&alices, &bobs, true, out, carried, signals)
    );
    let (straight, carried) = (straight?, carried?);
    Ok(straight.into_iter().chain(carried).collect())
}

/// One call, both ways.
async fn way(
    alices: &Clip,
    bobs: &Clip,
    carried: bool,
    out: &Path,
    names: [&'static str; 2],
    signals: &Signals,
) -> Result<[Outcome; 2], Error> {
    let relay = carried.then_some(IpAddr::from([127, 0, 0, 1])).into_iter().collect();
    let (server, address) = serve(Protocol::OPCODE, |config| config.of_mut::<Opcode>().relay = relay).await?;
    let link = Link::to(address);
    let label = if carried { "opcode-carried" } else { "opcode" };
    let record = |name: &str| out.join(format!("{label}-{name}-heard.wav"));
    let length = Duration::from_secs_f64(bobs.seconds()) + TAIL;
    let options = |name: &str, clip: &Clip| Options {
        source: Some(Source::Clip(clip.clone())),
        record: Some(record(name)),
        length: Some(length),
        trace: true,
        ..Options::listener(name.into())
    };
    let mut bob = CallClient::connect(&link, options("bob", bobs), Report::silent(), signals.clone()).await?;
    // Where the server carries the call no user has to listen.
    let alice = Options { listen: !carried, ..options("alice", alices) };
    let mut alice = CallClient::connect(&link, alice, Report::silent(), signals.clone()).await?;
    let callees = ["bob".to_owned()];
    let (bobs_call, alices_call) = tokio::join!(bob.wait(false), alice.call(&callees));
    let (bobs_call, alices_call) = (bobs_call?, alices_call?);
    for client in [alice, bob] {
        client.close().await.end(&mut signals.clone()).await?;
    }
    server.drain(Duration::from_secs(2)).await;
    let to_bob = judge(names[0], "alice", "bob", alices, (&alices_call, &bobs_call), &record("bob"), out)?;
    let to_alice = judge(names[1], "bob", "alice", bobs, (&bobs_call, &alices_call), &record("alice"), out)?;
    Ok([to_bob, Outcome { set_up: alices_call.set_up, ..to_alice }])
}

fn judge(
    label: &'static str,
    speaker: &str,
    listener: &str,
    voice: &Clip,
    (said, heard): (&Summary, &Summary),
    recording: &Path,
    out: &Path,
) -> Result<Outcome, Error> {
    let nothing = Heard::default();
    let heard = heard.heard.get(speaker).unwrap_or(&nothing);
    // A stream keeps its order.
    let pairs = heard.packets.kept().iter().zip(said.said.kept());
    let latencies = pairs.map(|(heard, said)| heard.saturating_duration_since(*said)).collect();
    let recorded = load(recording).map(|loaded| loaded.clip);
    let settings = voice_settings(Options::listener(String::new()).bitrate);
    let judged = match &recorded {
        Ok(recorded) => judge_opus(voice, recorded, settings, 0.0, &heard.figures),
        Err(error) => Err(error.to_string()),
    };
    let silence = Clip::empty(voice.rate, 1);
    draw(out, label, speaker, listener, voice, recorded.as_ref().unwrap_or(&silence))?;
    let (sent, got) = (said.said.count(), heard.packets.count());
    Ok(Outcome {
        protocol: label,
        set_up: said.set_up,
        sent,
        heard: got,
        latencies,
        stalls: heard.figures.jitter.underruns,
        // Nothing is lost on a stream, but for what is on its way at the end.
        passed: got + 10 >= sent && judged.as_ref().is_ok_and(|(_, passed)| *passed),
        likeness: judged.map(|(comparison, _)| Likeness::Sound(comparison)),
    })
}
