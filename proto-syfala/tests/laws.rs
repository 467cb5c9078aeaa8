//! The law kit over every message, with random contents; and the reference's own encoding beside ours.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use core::num::NonZeroU32;
use proptest::prelude::*;
use voxwire_core::testing::{law_frame, law_message};
use voxwire_core::{EncodeError, Message};
use voxwire_syfala::{
    Audio, ClientMessage, Format, Formats, MAX_STREAMS, SampleRate, SampleType, ServerMessage, Wire, voice,
};

const WIRE: Wire = Wire::DEFAULT;

fn format() -> impl Strategy<Value = Format> {
    (1.0..1e6_f64, 1..u32::MAX, any::<u32>(), 0..12_usize).prop_map(
        |(rate, channels, buffer, sample_type)| Format {
            sample_rate: SampleRate::new(rate).unwrap(),
            channels: NonZeroU32::new(channels).unwrap(),
            buffer_size: NonZeroU32::new(buffer),
            sample_type: SampleType::ALL[sample_type],
        },
    )
}

fn formats() -> impl Strategy<Value = Vec<Format>> {
    proptest::collection::vec(format(), 0..5)
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

fn from_client(audio: Audio<'_>) -> [ClientMessage<'_>; 9] {
    [
        ClientMessage::Discovery,
        ClientMessage::ConnectionSuccess,
        ClientMessage::ConnectionFailed,
        ClientMessage::ConnectionRefused,
        ClientMessage::StartIo,
        ClientMessage::StopIo,
        ClientMessage::Audio(audio),
        ClientMessage::Disconnect,
        ClientMessage::Heartbeat,
    ]
}

fn from_server<'a>(audio: Audio<'a>, formats: Formats<'a>) -> [ServerMessage<'a>; 10] {
    [
        ServerMessage::Connect(formats),
        ServerMessage::StartIoFailed,
        ServerMessage::StartIoRefused,
        ServerMessage::StartIoSuccess,
        ServerMessage::StopIoFailed,
        ServerMessage::StopIoRefused,
        ServerMessage::StopIoSuccess,
        ServerMessage::Audio(audio),
        ServerMessage::Disconnect,
        ServerMessage::Heartbeat,
    ]
}

/// As long as Audio's payload runs to the end of the datagram, a cut one is whole by itself: those laws have their own test.
fn obeys<'x, M: Message<'x, Wire = Wire> + PartialEq>(
    message: &M,
    scratch: &'x mut Vec<u8>,
    audio: bool,
) -> &'x [u8] {
    if !audio {
        return law_message(message, &WIRE, scratch);
    }
    scratch.clear();
    let len = message.encode(&WIRE, scratch).unwrap();
    assert_eq!((Ok(len), len), (message.encoded_len(&WIRE), scratch.len()));
    assert!(M::decode(scratch, &WIRE).unwrap() == *message);
    let mut short = vec![0xa5; len - 1];
    let refused = message.encode(&WIRE, &mut &mut short[..]);
    assert_eq!(refused, Err(EncodeError::NoRoom { needed: len, available: len - 1 }));
    assert!(short.iter().all(|byte| *byte == 0xa5));
    scratch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn s_04_c_13_every_message_obeys_the_laws(
        stream: u32, byte_index: u64, n_bytes: u32, payload in bytes(1500), inputs in formats(), outputs in formats(),
    ) {
        let audio_of = Audio { stream, byte_index, n_bytes, payload: &payload };
        let mut scratches: [Vec<u8>; 19] = Default::default();
        let (client, server) = scratches.split_at_mut(9);
        for (message, scratch) in from_client(audio_of).into_iter().zip(client) {
            let said = matches!(message, ClientMessage::Audio(_));
            let frame = obeys(&message, scratch, said).to_vec();
            let canonical = law_frame::<ClientMessage<'static>>(&frame, &WIRE);
            prop_assert_eq!(canonical.as_ref(), Some(&frame));
            prop_assert_eq!(voice::audio(&frame, voice::Sender::Client), said.then_some(audio_of));
        }
        let formats = Formats { inputs: inputs[..].into(), outputs: outputs[..].into() };
        for (message, scratch) in from_server(audio_of, formats).into_iter().zip(server) {
            let said = matches!(message, ServerMessage::Audio(_));
            let frame = obeys(&message, scratch, said).to_vec();
            let canonical = law_frame::<ServerMessage<'static>>(&frame, &WIRE);
            prop_assert_eq!(canonical.as_ref(), Some(&frame));
            prop_assert_eq!(voice::audio(&frame, voice::Sender::Server), said.then_some(audio_of));
        }
    }

    #[test]
    fn s_12_any_bytes_obey_the_laws(frame in bytes(80), first in 0..11_u8) {
        let mut frame = frame;
        if let Some(byte) = frame.first_mut() {
            *byte = first;
        }
        law_frame::<ClientMessage<'static>>(&frame, &WIRE);
        law_frame::<ServerMessage<'static>>(&frame, &WIRE);
    }
}

#[test]
fn c_04_what_does_not_fit_is_refused_by_name() {
    let many = [Format::STANDARD; MAX_STREAMS + 1];
    let connect = |inputs: usize, outputs: usize| {
        let formats = Formats { inputs: many[..inputs].into(), outputs: many[..outputs].into() };
        ServerMessage::Connect(formats).encoded_len(&WIRE)
    };
    assert_eq!(connect(MAX_STREAMS, MAX_STREAMS), Ok(3 + 2 * 64 * 11));
    assert_eq!(connect(0, 65), Err(EncodeError::TooLong { field: "outputs", len: 65, max: 64 }));
    let payload = vec![0; 5000 - 17 + 1];
    let audio = |payload| ClientMessage::Audio(Audio::new(0, 0, payload)).encoded_len(&WIRE);
    assert_eq!(audio(&payload[1..]), Ok(5000));
    assert_eq!(audio(&payload), Err(EncodeError::TooLong { field: "audio", len: 4984, max: 4983 }));
}
