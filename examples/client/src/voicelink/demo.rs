//! voicelink's part of the demonstration: alice calls bob and reads to him.

use crate::demo::proxy::TcpProxy;
use crate::demo::{Conditions, Likeness, Outcome, draw, serve};
use crate::error::Error;
use crate::link::Link;
use crate::report::Report;
use crate::sound::{RecordAs, Source};
use crate::voicelink::{Answer, CallClient, Options, Summary, Tap};
use crate::waiting::Callee as _;
use core::time::Duration;
use tokio::time::Instant;
use voxwire_audio::{Clip, SampleFormat, compare, load, save_wav};
use voxwire_server::Protocol;
use voxwire_voicelink::{ByteOrder, Format, Parameters};

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let Conditions { speech, out, signals, .. } = *conditions;
    let impairment = conditions.impairment(0.0);
    let (server, address) = serve(Protocol::VOICELINK, |_| {}).await?;
    // Bob's network is the bad one.
    let proxy = if impairment.is_none() { None } else { Some(TcpProxy::start(address, impairment).await?) };
    let bobs_way = proxy.as_ref().map_or(address, |proxy| proxy.address);

    // The file as it is, so that every sample can be compared.
    let parameters = Parameters {
        sample_rate: speech.rate,
        channels: speech.channels,
        format: Format::I16,
        chunk_size: speech.rate / 50,
    };
    let (played_path, heard_path) = (out.join("voicelink-played.wav"), out.join("voicelink-heard.wav"));
    save_wav(&played_path, speech, SampleFormat::I16)?;
    // They do not even agree on the byte order.
    let little = options("bob", parameters, ByteOrder::LittleEndian);
    let bob = Options { record: Some(heard_path.clone()), ..little };
    let source = Some(Source::Clip(speech.clone()));
    let alice = Options { source, ..options("alice", parameters, ByteOrder::BigEndian) };
    let mut bob = CallClient::connect(&Link::to(bobs_way), bob, Report::silent(), signals.clone()).await?;
    let mut alice = CallClient::connect(&Link::to(address), alice, Report::silent(), signals.clone()).await?;

    let (mut said, mut heard) = (Times::default(), Times::default());
    let waiting = bob.wait(Answer::Accept, &mut heard);
    let calling = alice.call("bob", true, &mut said);
    let (bobs, alices): (Result<Summary, Error>, Result<Summary, Error>) = tokio::join!(waiting, calling);
    let (bobs, alices) = (bobs?, alices?);
    for client in [alice, bob] {
        client.close().await.end(&mut signals.clone()).await?;
    }
    server.drain(Duration::from_secs(2)).await;

    let recording = load(&heard_path).map(|loaded| loaded.clip);
    let comparison = match &recording {
        Ok(recording) => compare(speech, recording).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let nothing = Clip::empty(speech.rate, 1);
    draw(out, "voicelink", "alice", "bob", speech, recording.as_ref().unwrap_or(&nothing))?;
    Ok(vec![Outcome {
        protocol: "voicelink",
        set_up: alices.set_up,
        sent: alices.packets_sent,
        heard: bobs.packets_heard,
        latencies: heard.since(&said),
        stalls: proxy.map_or(0, |proxy| proxy.stalls()),
        // PCM over TCP: every sample, or it does not count.
        passed: comparison.as_ref().is_ok_and(|comparison| comparison.exact),
        likeness: comparison.map(Likeness::Sound),
    }])
}

fn options(name: &str, parameters: Parameters, order: ByteOrder) -> Options {
    Options {
        name: Some(name.into()),
        secret: None,
        parameters,
        order,
        samples: order,
        source: None,
        record: None,
        record_as: RecordAs::Call,
        loudspeaker: None,
        length: None,
    }
}

/// When how many bytes had gone by.
#[derive(Debug, Default)]
struct Times {
    bytes: usize,
    marks: Vec<(usize, Instant)>,
}

impl Times {
    fn mark(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.marks.push((self.bytes, Instant::now()));
    }

    /// How much later than in `other` the same bytes went by.
    fn since(&self, other: &Self) -> Vec<Duration> {
        let pairs = self.marks.iter().filter_map(|(bytes, at)| {
            let before = other.marks.iter().find(|(sent, _)| sent == bytes)?;
            Some(at.saturating_duration_since(before.1))
        });
        pairs.collect()
    }
}

impl Tap for Times {
    fn sent(&mut self, bytes: &[u8]) {
        self.mark(bytes);
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.mark(bytes);
    }
}
