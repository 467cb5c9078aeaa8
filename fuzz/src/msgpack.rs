use crate::Script;
use rmpv::Value;
use voxwire_core::Framing as _;
use voxwire_core::testing::{frames, law_frame};
use voxwire_msgpack::voice::testing::{law_float_samples, law_floats, law_ints, law_samples};
use voxwire_msgpack::{ClientMessage, Dialect, Framing, ServerMessage, Wire};

/// Any bytes, from either side and in every dialect: no panic, what decodes obeys the laws, and an independent decoder finds
/// the same objects in it.
pub fn msgpack_message(data: &[u8]) {
    for wire in [Wire::SERVER, Wire::CLIENT, Wire::ORIGINAL] {
        let canonical = [
            law_frame::<ClientMessage<'static>>(data, &wire),
            law_frame::<ServerMessage<'static>>(data, &wire),
        ];
        // What is missing is no object.
        if wire.missing_is_empty {
            continue;
        }
        for canonical in canonical.into_iter().flatten() {
            let expected = objects(&canonical, usize::MAX);
            // As the document draws them: without "request".
            let naked = [&b"add_contact"[..], b"join_group"].contains(&&objects(data, 1)[0][..]);
            let skipped = usize::from(naked);
            assert_eq!(objects(data, expected.len() - skipped), expected[skipped..]);
        }
    }
}

/// The first objects of a message, as rmpv reads them; bytes and text alike, floats as wide as ours.
fn objects(mut bytes: &[u8], most: usize) -> Vec<Vec<u8>> {
    fn word(value: &Value) -> Vec<u8> {
        match value {
            Value::String(text) => text.as_bytes().to_vec(),
            Value::Binary(bytes) => bytes.clone(),
            Value::F64(number) => format!("{:?}", *number as f32).into_bytes(),
            Value::F32(number) => format!("{number:?}").into_bytes(),
            Value::Array(values) => values.iter().flat_map(|value| [word(value), vec![0]].concat()).collect(),
            other => other.to_string().into_bytes(),
        }
    }
    let mut words = Vec::new();
    while !bytes.is_empty() && words.len() < most {
        let value =
            rmpv::decode::read_value_with_max_depth(&mut bytes, 16).expect("an object, as ours found it");
        words.push(word(&value));
    }
    words
}

/// Any bytes as a stream, of either side and in either dialect: the same messages, errors and answers in any pieces.
pub fn msgpack_stream(data: &[u8]) {
    let mut script = Script(data);
    let (choice, size) = (script.byte(), usize::from(script.byte()) + 1);
    let make = || {
        let mut framing = match choice % 3 {
            0 => Framing::server(&Wire::SERVER),
            1 => Framing::client(&Wire::CLIENT, Dialect::Zmtp),
            _ => Framing::client(&Wire::CLIENT, Dialect::Plain),
        };
        if choice & 4 == 0 {
            framing.set_max(2000);
        }
        framing
    };
    // The fuzzer need not find out about greetings.
    let mut greeted = Vec::new();
    // Or about older versions.
    match choice >> 4 {
        0 => greeted.extend([1, 0]),
        1 => greeted.extend(b"\x04\0bob"),
        2 => greeted.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 5, 0, 0]),
        3 => greeted.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0, 6, 1, 0]),
        _ => {}
    }
    if choice & 8 == 0 && greeted.is_empty() {
        voxwire_msgpack::zmtp::put_greeting(&mut greeted);
        let socket = match choice % 3 {
            0 => voxwire_msgpack::zmtp::SocketType::Dealer,
            _ => voxwire_msgpack::zmtp::SocketType::Router,
        };
        voxwire_msgpack::zmtp::put_ready(socket, &mut greeted);
    }
    let stream = [&greeted, script.bytes(usize::MAX)].concat();
    let whole = frames(make(), &stream, || usize::MAX);
    assert_eq!(frames(make(), &stream, || size), whole);
    let total: usize = whole.0.iter().map(Vec::len).sum();
    assert!(total <= stream.len());
}

/// Any bytes as a list of samples, any samples as bytes: the same with each kind of register that the machine has.
pub fn msgpack_samples(data: &[u8]) {
    let mut script = Script(data);
    let choice = script.byte();
    match choice % 5 {
        kind @ 0..=2 => {
            let count = usize::from(u16::from_be_bytes([script.byte(), script.byte()]));
            let law = if kind == 2 { law_floats } else { law_ints };
            let bytes = if kind == 1 { runs(script) } else { script.bytes(usize::MAX).to_vec() };
            let good = law(&bytes, if count == 0 { usize::MAX } else { count });
            law(&bytes, good);
        }
        3 => {
            // Louder or quieter.
            let shift = choice >> 4;
            let pairs = script.bytes(usize::MAX).chunks_exact(2);
            let samples: Vec<i16> =
                pairs.map(|pair| i16::from_be_bytes([pair[0], pair[1]]) >> shift).collect();
            law_samples(&samples);
        }
        _ => {
            let words = script.bytes(usize::MAX).chunks_exact(4);
            let samples: Vec<f32> =
                words.map(|word| f32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
            law_float_samples(&samples);
        }
    }
}

/// Long runs of elements of one byte each, with others between them: what a fuzzer hardly makes by itself.
fn runs(mut script: Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !script.is_empty() && bytes.len() < 1 << 14 {
        let marker = script.byte();
        match marker {
            0xcc | 0xd0 => bytes.extend([marker, script.byte()]),
            0xcd | 0xd1 => bytes.extend([marker, script.byte(), script.byte()]),
            0xc0..=0xdf => bytes.push(marker),
            n => bytes.resize(bytes.len() + usize::from(n), script.byte()),
        }
    }
    bytes
}
