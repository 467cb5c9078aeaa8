//! The law kit over every message, against independent encoders, and the framing over any division of a stream.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::kit;

use kit::{client_fields, objects, server_fields};
use proptest::prelude::*;
use voxwire_core::testing::{chop, frames, law_frame, law_message, unhex, vectors};
use voxwire_core::{EncodeError, Framing as _, Message};
use voxwire_msgpack::zmtp::{self, SocketType};
use voxwire_msgpack::{
    Action, ClientMessage, Code, Dialect, Framing, MAX_CALL_SAMPLES, SampleKind, Samples, Secret,
    ServerMessage, Text, Wire,
};

#[derive(Debug, Clone)]
struct Parts {
    texts: Vec<Vec<u8>>,
    content: Vec<u8>,
    numbers: (u64, u64),
    ints: Vec<i16>,
    floats: Vec<f32>,
    is_float: bool,
}

impl Parts {
    fn samples(&self) -> Samples<'_> {
        if self.is_float { self.floats[..].into() } else { self.ints[..].into() }
    }

    fn client(&self) -> Vec<ClientMessage<'_>> {
        let [username, token, name] = [0, 1, 2].map(|at| &self.texts[at][..]);
        let (username, token, group_name) = (Text(username), Secret(token), Text(name));
        let (recipient, contact, content) = (group_name, group_name, Text(&self.content));
        let (channels, sample_rate) = self.numbers;
        let samples = self.samples();
        vec![
            ClientMessage::Register { username, password: token },
            ClientMessage::Login { username, password: token },
            ClientMessage::Logout { username },
            ClientMessage::AddContact { username, token, contact },
            ClientMessage::Whisper { username, token, recipient, content },
            ClientMessage::CreateGroup { username, token, group_name },
            ClientMessage::JoinGroup { username, token, group_name },
            ClientMessage::MsgGroup { username, token, group_name, content },
            ClientMessage::VoiceMsg { username, token, recipient, channels, sample_rate, samples },
            ClientMessage::JoinCall { username, token, group_name },
            ClientMessage::LeaveCall { username, token },
            ClientMessage::CallData { username, token, group_name, samples },
        ]
    }

    fn server(&self) -> Vec<ServerMessage<'_>> {
        let [sender, token, name] = [0, 1, 2].map(|at| &self.texts[at][..]);
        let (sender, token, group_name) = (Text(sender), Secret(token), Text(name));
        let content = Text(&self.content);
        let (channels, sample_rate) = self.numbers;
        let samples = self.samples();
        vec![
            ServerMessage::Response { action: group_name, code: Code(channels) },
            ServerMessage::Response { action: "logout".into(), code: Code::SUCCESS },
            ServerMessage::LoggedIn { username: sender, token },
            ServerMessage::CallJoined { group_name },
            ServerMessage::Whisper { sender, content },
            ServerMessage::MsgGroup { group_name, sender, content },
            ServerMessage::VoiceMsg { sender, channels, sample_rate, samples },
            ServerMessage::CallData { sender, samples },
        ]
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = |len| prop::collection::vec(any::<u8>(), len);
    let text = move || prop_oneof![bytes(0..40_usize), bytes(250..256)];
    let int = || prop_oneof![-40..140_i16, -200..300_i16, any::<i16>()];
    let float = prop_oneof![-1.0..1.0_f32, prop::num::f32::NORMAL, Just(0.0_f32)];
    (
        prop::collection::vec(text(), 3),
        prop_oneof![bytes(0..40), bytes(250..300)],
        (prop_oneof![0..300_u64, any::<u64>()], any::<u64>()),
        prop_oneof![prop::collection::vec(int(), 0..20), prop::collection::vec(int(), 100..200)],
        prop::collection::vec(float, 0..20),
        any::<bool>(),
    )
        .prop_map(|(texts, content, numbers, ints, floats, is_float)| Parts {
            texts,
            content,
            numbers,
            ints,
            floats,
            is_float,
        })
}

/// Samples and forms of one, two and three bytes, as [`put`] takes them: silent, quiet, loud, mixed, and one number over and over.
fn plain() -> impl Strategy<Value = Vec<(i16, u8)>> {
    let len = 32..=700_usize;
    let width = || prop_oneof![4 => Just(8_u8), 1 => prop::sample::select(vec![0, 3, 4, 5])];
    let one = any::<i16>().prop_map(|number| (number & 31, 8));
    let quiet = (-140..270_i16, width());
    let loud = (any::<i16>(), prop::sample::select(vec![0, 5]));
    let any = (prop_oneof![-40..140_i16, -200..300_i16, any::<i16>()], width());
    prop_oneof![
        prop::collection::vec(one, len.clone()),
        prop::collection::vec(quiet, len.clone()),
        prop::collection::vec(loud, len.clone()),
        prop::collection::vec(any.clone(), len.clone()),
        (any, len).prop_map(|(number, len)| vec![number; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn m_01_m_05_c_13_every_message_obeys_the_laws_and_is_what_others_read(parts in parts()) {
        let wire = Wire::CLIENT;
        for message in parts.client() {
            let mut scratch = Vec::new();
            let frame = law_message(&message, &wire, &mut scratch);
            prop_assert_eq!(objects(frame), client_fields(&message));
        }
        for message in parts.server() {
            let mut scratch = Vec::new();
            let frame = law_message(&message, &wire, &mut scratch);
            prop_assert_eq!(objects(frame), server_fields(&message));
        }
    }

    #[test]
    fn m_01_the_shortest_form_is_that_of_rmp(text in prop::collection::vec(any::<u8>(), 0..300), number: u64, ints in prop::collection::vec(any::<i16>(), 0..300)) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut theirs = Vec::new();
        for word in ["update", "voice_msg"] {
            rmp::encode::write_str(&mut theirs, word).unwrap();
        }
        let sender: String = text.chars().take(60).collect();
        rmp::encode::write_str(&mut theirs, &sender).unwrap();
        rmp::encode::write_uint(&mut theirs, number).unwrap();
        rmp::encode::write_uint(&mut theirs, number >> 40).unwrap();
        rmp::encode::write_array_len(&mut theirs, ints.len() as u32).unwrap();
        for sample in &ints {
            rmp::encode::write_sint(&mut theirs, (*sample).into()).unwrap();
        }
        let message = ServerMessage::VoiceMsg {
            sender: Text(sender.as_bytes()),
            channels: number,
            sample_rate: number >> 40,
            samples: ints[..].into(),
        };
        let mut ours = Vec::new();
        message.encode(&Wire::CLIENT, &mut ours).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn m_01_m_05_samples_of_any_width_are_read_and_handed_on_as_they_came(numbers in prop::collection::vec((any::<i16>(), 0..12_u8), 0..80)) {
        let mut list = Vec::new();
        for (number, width) in &numbers {
            put(&mut list, *number, *width);
        }
        let mut bytes = b"\xa6update\xa9call_data\xa3ann".to_vec();
        rmp::encode::write_array_len(&mut bytes, numbers.len() as u32).unwrap();
        bytes.extend(&list);
        let Ok(ServerMessage::CallData { samples, .. }) = ServerMessage::decode(&bytes, &Wire::SERVER) else {
            return Err(TestCaseError::fail("it decodes"));
        };
        let expected: Vec<i16> = numbers.iter().map(|(number, _)| *number).collect();
        let mut got = vec![7];
        samples.append_to(&mut got);
        prop_assert_eq!(&got[1..], &expected[..]);
        // Into a buffer that is too short, as many as fit.
        let mut few = [0; 10];
        let n = samples.copy_to_i16(&mut few);
        prop_assert_eq!(&few[..n], &expected[..expected.len().min(10)]);
        let mut floats = vec![0.0; samples.len()];
        samples.copy_to_f32(&mut floats);
        prop_assert!(floats.iter().zip(&expected).all(|(float, int)| *float == f32::from(*int) / 32_768.0));
        prop_assert_eq!(samples, Samples::from(&expected[..]));
        let mut again = Vec::new();
        ServerMessage::CallData { sender: "ann".into(), samples }.encode(&Wire::SERVER, &mut again).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn m_05_long_lists_of_short_elements_are_copied_as_far_as_there_is_room(numbers in plain(), rooms in prop::collection::vec(0..700_usize, 4)) {
        let mut bytes = b"\xa6update\xa9call_data\xa3ann".to_vec();
        rmp::encode::write_array_len(&mut bytes, numbers.len() as u32).unwrap();
        for (number, width) in &numbers {
            put(&mut bytes, *number, *width);
        }
        let Ok(ServerMessage::CallData { samples, .. }) = ServerMessage::decode(&bytes, &Wire::SERVER) else {
            return Err(TestCaseError::fail("it decodes"));
        };
        let expected: Vec<i16> = numbers.iter().map(|(number, _)| *number).collect();
        let expected_floats: Vec<f32> = expected.iter().map(|int| f32::from(*int) / 32_768.0).collect();
        for room in rooms.into_iter().map(|room| room % expected.len()).chain([expected.len()]) {
            // Nothing is written behind the room.
            let (mut ints, mut floats) = (vec![77; room + 80], vec![7.5; room + 80]);
            prop_assert_eq!(samples.copy_to_i16(&mut ints[..room]), room);
            prop_assert_eq!(samples.copy_to_f32(&mut floats[..room]), room);
            prop_assert_eq!(&ints[..room], &expected[..room]);
            prop_assert_eq!(&floats[..room], &expected_floats[..room]);
            prop_assert!(ints[room..].iter().all(|int| *int == 77) && floats[room..].iter().all(|float| *float == 7.5));
        }
        prop_assert_eq!(samples, Samples::from(&expected[..]));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60), request: bool) {
        let mut frame = if request { b"\xa7request\xa9voice_msg".to_vec() } else { b"\xa6update\xa9call_data".to_vec() };
        frame.extend(bytes);
        for wire in [Wire::SERVER, Wire::CLIENT, Wire::ORIGINAL] {
            law_frame::<ClientMessage<'static>>(&frame, &wire);
            law_frame::<ServerMessage<'static>>(&frame, &wire);
        }
    }

    #[test]
    fn m_09_both_dialects_are_cut_alike_however_they_arrive(parts in parts(), seed: u64) {
        let parts = Parts { is_float: false, ..parts };
        let wire = Wire::CLIENT;
        let (mut plain, mut units, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        zmtp::put_greeting(&mut units);
        zmtp::put_ready(SocketType::Dealer, &mut units);
        for message in parts.client() {
            let mut body = Vec::new();
            message.encode(&wire, &mut body).unwrap();
            zmtp::put_message_head(body.len(), &mut units);
            units.extend(&body);
            units.extend(unhex("0407" ).iter().chain(b"\x04PING\0\x09"));
            plain.extend(&body);
            bodies.push(body);
        }
        let server = || { let mut framing = Framing::server(&wire); framing.set_max(wire.limits.max_frame); framing };
        prop_assert_eq!(&frames(server(), &plain, || usize::MAX).0, &bodies);
        prop_assert_eq!(&frames(server(), &units, || usize::MAX).0, &bodies);
        chop(server, &plain, seed);
        chop(server, &units, seed);
        let (mut plain, mut bodies) = (Vec::new(), Vec::new());
        for message in parts.server() {
            let mut body = Vec::new();
            message.encode(&wire, &mut body).unwrap();
            plain.extend(&body);
            bodies.push(body);
        }
        let client = || Framing::client(&wire, Dialect::Plain);
        prop_assert_eq!(&frames(client(), &plain, || usize::MAX).0, &bodies);
        chop(client, &plain, seed);
        // All bytes come to the same end.
        let mut broken = plain;
        let at = (seed % broken.len() as u64) as usize;
        broken[at] = broken[at].wrapping_add((seed >> 32) as u8);
        for size in [1, 7, 64] {
            prop_assert_eq!(frames(client(), &broken, || size), frames(client(), &broken, || usize::MAX));
            prop_assert_eq!(frames(server(), &broken, || size), frames(server(), &broken, || usize::MAX));
        }
    }
}

/// Writes a number in one of the forms that can hold it.
fn put(out: &mut Vec<u8>, number: i16, width: u8) {
    match width {
        0 if number >= 0 => {
            out.push(0xcd);
            out.extend(number.to_be_bytes());
        }
        1 if number >= 0 => {
            out.push(0xce);
            out.extend(i32::from(number).to_be_bytes());
        }
        2 if number >= 0 => {
            out.push(0xcf);
            out.extend(i64::from(number).to_be_bytes());
        }
        3 if (0..256).contains(&number) => out.extend([0xcc, number as u8]),
        4 if (-128..128).contains(&number) => out.extend([0xd0, number as u8]),
        5 => {
            out.push(0xd1);
            out.extend(number.to_be_bytes());
        }
        6 => {
            out.push(0xd2);
            out.extend(i32::from(number).to_be_bytes());
        }
        7 => {
            out.push(0xd3);
            out.extend(i64::from(number).to_be_bytes());
        }
        _ => {
            rmp::encode::write_sint(out, number.into()).unwrap();
        }
    }
}

#[test]
fn m_05_every_sample_there_is_and_never_as_bin() {
    let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    let message = ServerMessage::VoiceMsg {
        sender: "ann".into(),
        channels: 1,
        sample_rate: 44_100,
        samples: all[..].into(),
    };
    let mut bytes = Vec::new();
    message.encode(&Wire::CLIENT, &mut bytes).unwrap();
    assert_eq!(objects(&bytes), server_fields(&message));
    let ServerMessage::VoiceMsg { samples, .. } = ServerMessage::decode(&bytes, &Wire::CLIENT).unwrap()
    else {
        panic!("a recording")
    };
    let mut again = Vec::new();
    samples.append_to(&mut again);
    assert_eq!((samples.kind(), again), (SampleKind::Int, all));
    // A list of bytes is no list of samples, and a list in a list none either.
    for (list, error) in [
        (&b"\xc4\x02\x01\x02"[..], "samples at offset 21: unknown tag 196, expected a list of samples"),
        (b"\x91\x90", "samples at offset 22: unknown tag 144, expected an integer"),
        (b"\x92\x01\xc0", "samples at offset 23: unknown tag 192, expected an integer"),
        (b"\x91\xcd\x80\x00", "samples at offset 22: 32768 found, expected a sample from -32768 to 32767"),
        (
            b"\x91\xd2\xff\xff\x7f\xff",
            "samples at offset 22: 32769 found, expected a sample from -32768 to 32767",
        ),
        (b"\x91\xca\x3f\x00\x00\x00", "samples at offset 22: unknown tag 202, expected an integer"),
        (b"\x93\x01", "samples at offset 21: 2 more bytes expected before the end of the frame"),
        (b"\xdd\xff\xff\xff\xff", "samples at offset 21: 4294967295 announced, at most 131072 allowed"),
    ] {
        let bytes = [b"\xa6update\xa9call_data\xa3ann", list].concat();
        assert_eq!(ServerMessage::decode(&bytes, &Wire::SERVER).unwrap_err().to_string(), error);
    }
}

#[test]
fn m_05_floats_where_they_are_allowed_are_scaled_and_clipped() {
    let read = |list: &[u8], wire: &Wire| -> Result<(Vec<i16>, Vec<f32>), String> {
        let bytes = [b"\xa6update\xa9call_data\xa3ann", list].concat();
        match ServerMessage::decode(&bytes, wire) {
            Ok(ServerMessage::CallData { samples, .. }) => {
                let (mut ints, mut floats) = (Vec::new(), vec![0.0; samples.len()]);
                samples.append_to(&mut ints);
                samples.copy_to_f32(&mut floats);
                Ok((ints, floats))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let mut list = vec![0x94];
    for value in [0.5_f32, -1.0, 2.0] {
        list.push(0xca);
        list.extend(value.to_be_bytes());
    }
    list.push(0xcb);
    list.extend(0.25_f64.to_be_bytes());
    assert_eq!(
        read(&list, &Wire::CLIENT),
        Ok((vec![16_384, -32_768, 32_767, 8192], vec![0.5, -1.0, 2.0, 0.25]))
    );
    assert!(read(&list, &Wire::SERVER).is_err());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let list = [&[0x91, 0xca][..], &bad.to_be_bytes()].concat();
        assert!(read(&list, &Wire::CLIENT).unwrap_err().ends_with("expected a finite float"), "{bad}");
        let samples = [bad];
        let message = ServerMessage::CallData { sender: "ann".into(), samples: samples[..].into() };
        let refused = EncodeError::Value { field: "samples", expected: "finite floats" };
        assert_eq!(message.encoded_len(&Wire::CLIENT), Err(refused));
    }
    // Too large for an f32, and a mixture.
    assert!(read(&[&[0x91, 0xcb][..], &1e300_f64.to_be_bytes()].concat(), &Wire::CLIENT).is_err());
    assert!(read(b"\x92\xca\0\0\0\0\x01", &Wire::CLIENT).is_err());
    assert!(read(b"\x92\x01\xca\0\0\0\0", &Wire::CLIENT).is_err());
}

#[test]
fn c_04_what_is_over_the_limits_is_not_encoded() {
    let wire = Wire::CLIENT;
    let long = vec![b'a'; 65_537];
    let samples = vec![0; MAX_CALL_SAMPLES + 1];
    let too_long = |field, len, max| Err(EncodeError::TooLong { field, len, max });
    let logout = |n: usize| ClientMessage::Logout { username: Text(&long[..n]) }.encoded_len(&wire);
    assert!(logout(255).is_ok());
    assert_eq!(logout(256), too_long("username", 256, 255));
    let whisper = |n: usize| ServerMessage::Whisper { sender: "a".into(), content: Text(&long[..n]) };
    assert!(whisper(65_536).encoded_len(&wire).is_ok());
    assert_eq!(whisper(65_537).encoded_len(&wire), too_long("content", 65_537, 65_536));
    let data = |n: usize| ServerMessage::CallData { sender: "a".into(), samples: samples[..n].into() };
    assert!(data(131_072).encoded_len(&wire).is_ok());
    assert_eq!(data(131_073).encoded_len(&wire), too_long("samples", 131_073, 131_072));
    // What needs data is not said without.
    for action in ["login", "join_call"] {
        let message = ServerMessage::Response { action: action.into(), code: Code::SUCCESS };
        assert!(matches!(message.encoded_len(&wire), Err(EncodeError::Value { field: "code", .. })));
    }
}

#[test]
fn every_changed_vector_obeys_the_laws() {
    for vector in vectors(include_str!("vectors/messages.txt")) {
        let Some(bytes) = vector.expect.contains(' ').then_some(&vector.bytes) else { continue };
        if bytes.len() > 60 {
            continue;
        }
        for wire in [Wire::CLIENT, Wire::ORIGINAL] {
            voxwire_core::testing::law_hostile::<ClientMessage<'static>>(bytes, &wire);
            voxwire_core::testing::law_hostile::<ServerMessage<'static>>(bytes, &wire);
        }
    }
}

#[test]
fn m_02_f_70_all_actions_have_names() {
    for action in Action::ALL {
        assert_eq!(action.to_string(), action.name());
        assert_eq!(Action::from_name(action.name().as_bytes()), Some(action));
    }
    assert_eq!(Action::from_name(b"fly"), None);
}
