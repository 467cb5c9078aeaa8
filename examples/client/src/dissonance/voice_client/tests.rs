//! The end of a connection.
use super::*;
use crate::demo::serve;
use crate::playout::tests::memory_sink;
use voxwire_audio::{Clip, VoiceSettings, voice_decoder, voice_encoder};
use voxwire_dissonance::Priority;
use voxwire_server::{Config, Dissonance, Protocol};

/// C-14: when the connection is gone, all that has come in is heard, and what the loudspeaker holds of it.
#[tokio::test]
async fn c_14_what_has_come_in_is_heard_when_the_connection_is_gone() {
    let without_quic = |config: &mut Config| config.of_mut::<Dissonance>().quic = false;
    let (server, address) = serve(Protocol::DISSONANCE, without_quic).await.unwrap();
    let link = Link::to(address);
    let (_sender, signals) = Signals::sent();
    let options = Options::listener("bob".into());
    let mut bob = VoiceClient::connect(&link, options, Report::silent(), signals).await.unwrap();
    bob.settle().await.unwrap();
    let (mut sink, heard) = memory_sink();
    let settings = VoiceSettings::DEFAULT;
    let codec = CodecSettings { codec: Codec::OPUS, frame_size: 960, sample_rate: OPUS_RATE };
    let (mut encoder, mut decoder) = (voice_encoder(settings).unwrap(), voice_decoder(1).unwrap());
    let mut said = Vec::new();
    for sequence in 0..10 {
        let tone = Clip::tone_from(OPUS_RATE, 1, 440.0, u64::from(sequence) * 960, 960);
        let mut samples: Vec<f32> = tone.samples.iter().map(|sample| *sample as f32).collect();
        let mut packet = Vec::new();
        encoder.encode(&samples, &mut packet).unwrap();
        decoder.decode(&packet, &mut samples).unwrap();
        said.extend(samples.iter().map(|sample| f64::from(*sample)));
        let frame = Frame {
            sequence,
            start: sequence == 0,
            end: false,
            volume: 1.0,
            priority: Priority::default(),
            packet: &packet,
        };
        let now = Duration::from_millis(u64::from(sequence) * 20);
        assert!(bob.voices.hear(now, ClientId::new(7), "ann", codec, &frame).unwrap());
        for ms in [5, 10, 15, 20] {
            sink(&bob.voices.render(now + Duration::from_millis(ms))).unwrap();
        }
    }
    bob.loudspeaker = Some(sink);
    bob.started = Instant::now() - Duration::from_millis(200);
    bob.play_out().await.unwrap();
    bob.close().await;
    server.drain(Duration::from_secs(1)).await;
    let heard = heard.lock().unwrap();
    let end = &said[said.len() - 480..];
    let last = heard.windows(480).rposition(|part| part == end).expect("the end is heard");
    assert!(heard.len() - last >= OPUS_RATE as usize / 1000 * 350);
}
