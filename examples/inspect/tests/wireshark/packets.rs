//! What the list of packets says: its columns, and where one datagram ends.

use crate::capture::Side::{Client, Server};
use crate::capture::{Capture, Cut};
use crate::transport::datagram;
use crate::tshark::{columns, dissect, is_here, messages};
use crate::vectors;

#[test]
fn c_09_the_columns_say_what_happens() {
    if !is_here() {
        return;
    }
    let mut capture = Capture::default();
    let hex = |digits: &str| hex::decode(digits.replace(' ', "")).unwrap();
    let mut voicelink = vec![(Client, hex("00000016 0000 0000ac44 0001 02 00000400 0003 626f62"))];
    voicelink.push((Server, hex("00000006 0004")));
    voicelink.push((Client, [hex("000006f6 0006"), vec![0; 0x6f0]].concat()));
    voicelink.push((Server, hex("0000000a 0005 62757379")));
    voicelink.push((Client, hex("00000017 0000 0000ac44 0001 02 00000400 0000 626f62 00")));
    capture.tcp(20_000, 4240, &voicelink, Cut::Whole);
    let call = [hex("a6 757064617465 a9 63616c6c5f64617461 a3 616e6e dc 03c0"), vec![1; 960]].concat();
    capture.tcp(20_001, 4242, &[(Server, vectors::unit(3, false, &call))], Cut::Whole);
    let secret = "a772657175657374a56c6f67696ea3616e6ea6736563726574";
    capture.tcp(20_002, 4242, &[(Client, vectors::unit(3, false, &hex(secret)))], Cut::Whole);
    let login = hex("0d00000000000000 0200 0300000000000000 626f62");
    let voice = hex("0d00000000000000 0700 0300000000000000 fcfffe");
    capture.tcp(20_003, 4241, &[(Client, login), (Server, voice)], Cut::Whole);
    let connect = hex("00 01 000000000070e740 02 20 0a 00");
    let audio =
        |index: u8| [&[7, 0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0][..], &[0; 16]].concat();
    for data in [connect, audio(0), audio(48)] {
        capture.udp(Server, 6910, 6911, &data);
    }
    let steering = hex("0e00000000000000 0400 0400000000000000 1b5b316d");
    capture.tcp(20_004, 4241, &[(Server, steering)], Cut::Whole);
    let expected = [
        "voicelink Handshake: calls bob (44100 Hz, 1 channel, int16)",
        "voicelink Accept",
        "voicelink Data, 888 frames int16, 20.14 ms",
        "voicelink Drop: busy",
        "voicelink Handshake: registers bob (44100 Hz, 1 channel, int16)",
        "msgpack call_data from ann, 960 samples i16",
        "msgpack login from ann",
        "opcode Login as bob",
        "opcode VoiceData, 3 bytes, Opus CELT fullband stereo, 1 frame of 20 ms",
        "syfala Connect: offers 1 input (48000 Hz x 2 IEEF32), 0 outputs",
        "syfala Audio of input 0, 2 frames x 2 IEEF32 from byte 0",
        "syfala Audio of input 0, 2 frames x 2 IEEF32 from byte 48, 32 bytes missing before",
        "opcode LoginFailed: .[1m",
    ];
    assert_eq!(columns("columns", &capture, &[]), expected);
}

#[test]
fn c_09_datagrams_that_the_sender_has_not_cut_yet_are_told_apart() {
    if !is_here() {
        return;
    }
    let audio = |stream: u8, index: u8, n: u8| {
        let head = [7, stream, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, n, 0, 0, 0];
        [&head[..], &vec![7; usize::from(n)]].concat()
    };
    let voice: Vec<u8> = vectors::dissonance().find(|vector| vector.name == "voice_player").unwrap().bytes;
    let mut capture = Capture::default();
    capture.udp(Server, 6910, 6911, &[audio(0, 0, 24), audio(1, 0, 24), audio(0, 24, 16)].concat());
    capture.udp(Server, 20_000, 4244, &datagram(3, 1, &voice).repeat(3));
    // The last one is shorter, or is no packet.
    capture.udp(Server, 20_001, 4244, &[datagram(3, 1, &voice).repeat(2), datagram(3, 1, b"")].concat());
    // Only one, in which the tag occurs once more.
    let once = datagram(3, 1, &[&[0; 30][..], &datagram(3, 1, &[0; 3])].concat());
    capture.udp(Server, 20_002, 4244, &[once, vec![0; 60]].concat());
    let packets = dissect("offload", &capture, &[]);
    let count = |protocol, port| messages(&packets, protocol, port, Server).len();
    assert_eq!(count("syfala", 6910), 3);
    assert!(
        messages(&packets, "syfala", 6910, Server).iter().all(|node| node.find("vox.syfala.note").is_none())
    );
    assert_eq!((count("transport", 20_000), count("dissonance", 20_000)), (3, 3));
    assert_eq!((count("transport", 20_001), count("dissonance", 20_001)), (3, 2));
    assert_eq!(count("transport", 20_002), 1);
}
