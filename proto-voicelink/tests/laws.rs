//! The law kit over every message, with random contents.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use voxwire_core::testing::{chop, law_frame, law_message};
use voxwire_core::{EncodeError, Message};
use voxwire_voicelink::{ByteOrder, Format, Framing, Handshake, Packet, Parameters, Wire, voice};

fn parameters() -> impl Strategy<Value = Parameters> {
    (any::<u32>(), any::<u16>(), 0..5_usize, any::<u32>()).prop_map(
        |(sample_rate, channels, format, chunk_size)| Parameters {
            sample_rate,
            channels,
            format: Format::ALL[format],
            chunk_size,
        },
    )
}

fn wire() -> impl Strategy<Value = Wire> {
    (any::<bool>(), any::<bool>()).prop_map(|(little, type_0_not_found)| Wire {
        type_0_not_found,
        ..Wire::new(if little { ByteOrder::LittleEndian } else { ByteOrder::BigEndian })
    })
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

/// Every message type, made of the given parts.
fn packets<'a>(parameters: Parameters, user_name: &'a [u8], optional: &'a [u8]) -> [Packet<'a>; 7] {
    [
        Packet::Handshake(Handshake { parameters, user_name, optional }),
        Packet::UserNotFound,
        Packet::Parameters { parameters, optional },
        Packet::Close { optional },
        Packet::Accept { optional },
        Packet::Drop { optional },
        Packet::Data(optional),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn c_13_every_message_obeys_the_laws(
        parameters in parameters(), name in bytes(256), optional in bytes(400), wire in wire(),
    ) {
        for packet in packets(parameters, &name, &optional) {
            let mut scratch = Vec::new();
            let frame = law_message(&packet, &wire, &mut scratch).to_vec();
            let canonical = law_frame::<Packet<'static>>(&frame, &wire);
            prop_assert_eq!(canonical.as_ref(), Some(&frame));
            let data = matches!(packet, Packet::Data(_)).then_some(&optional[..]);
            prop_assert_eq!(voice::data(&frame, wire.order), data);
        }
    }

    #[test]
    fn any_bytes_obey_the_laws(frame in bytes(64), wire in wire()) {
        law_frame::<Packet<'static>>(&frame, &wire);
    }

    #[test]
    fn v_01_any_split_of_a_stream_gives_the_same_packets(
        parameters in parameters(), name in bytes(20), optional in bytes(60), wire in wire(), tail in bytes(12), seed: u64,
    ) {
        let mut stream = Vec::new();
        for packet in packets(parameters, &name, &optional) {
            packet.encode(&wire, &mut stream).unwrap();
        }
        stream.extend(tail);
        chop(|| Framing::server(wire.limits.max_frame), &stream, seed);
        chop(|| Framing::client(wire.order, wire.limits.max_frame), &stream, seed);
    }

    #[test]
    fn v_14_swapping_samples_twice_changes_nothing(data in bytes(64), format in 0..5_usize) {
        let format = Format::ALL[format];
        let mut swapped = data.clone();
        voice::swap_samples(&mut swapped, format);
        for (a, b) in data.chunks_exact(format.sample_size()).zip(swapped.chunks_exact(format.sample_size())) {
            prop_assert!(a.iter().eq(b.iter().rev()));
        }
        voice::swap_samples(&mut swapped, format);
        prop_assert_eq!(swapped, data);
    }
}

#[test]
fn c_04_what_does_not_fit_is_refused_by_name() {
    let wire = Wire::default();
    let handshake = |user_name| {
        Packet::Handshake(Handshake { parameters: Parameters::DEFAULT, user_name, optional: &[] })
    };
    assert_eq!(
        handshake(&[b'a'; 256]).encoded_len(&wire),
        Err(EncodeError::TooLong { field: "Username", len: 256, max: 255 })
    );
    // The field itself ends at 65 535, for any limit.
    let mut generous = wire;
    generous.limits.max_text = usize::MAX;
    let long = vec![b'a'; 65_536];
    assert!(handshake(&long[..65_535]).encoded_len(&generous).is_ok());
    assert_eq!(
        handshake(&long).encoded_len(&generous),
        Err(EncodeError::TooLong { field: "Username", len: 65_536, max: 65_535 })
    );
    let data = vec![0; 1024 * 1024 - 5];
    assert!(Packet::Data(&data[1..]).encoded_len(&wire).is_ok());
    assert_eq!(
        Packet::Data(&data).encoded_len(&wire),
        Err(EncodeError::TooLong { field: "Data", len: 1_048_571, max: 1_048_570 })
    );
}
