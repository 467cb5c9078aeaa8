//! C-10: the whole corpus goes through the bodies of the targets, on stable, as an ordinary test.

use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        body(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 8, "{target}: {count} inputs");
}

#[test]
fn c_10_core_framing() {
    replay("core_framing", voxwire_fuzz::core_framing);
}

#[test]
fn c_10_core_list() {
    replay("core_list", voxwire_fuzz::core_list);
}

#[test]
fn c_10_core_text() {
    replay("core_text", voxwire_fuzz::core_text);
}

#[test]
fn c_10_voicelink_message() {
    replay("voicelink_message", voxwire_fuzz::voicelink_message);
}

#[test]
fn c_10_voicelink_stream() {
    replay("voicelink_stream", voxwire_fuzz::voicelink_stream);
}

#[test]
fn c_10_voicelink_session() {
    replay("voicelink_session", voxwire_fuzz::voicelink_session);
}

#[test]
fn c_10_dissonance_message() {
    replay("dissonance_message", voxwire_fuzz::dissonance_message);
}

#[test]
fn c_10_dissonance_session() {
    replay("dissonance_session", voxwire_fuzz::dissonance_session);
}

#[test]
fn c_10_opcode_message() {
    replay("opcode_message", voxwire_fuzz::opcode_message);
}

#[test]
fn c_10_opcode_stream() {
    replay("opcode_stream", voxwire_fuzz::opcode_stream);
}

#[test]
fn c_10_opcode_session() {
    replay("opcode_session", voxwire_fuzz::opcode_session);
}

#[test]
fn c_10_msgpack_message() {
    replay("msgpack_message", voxwire_fuzz::msgpack_message);
}

#[test]
fn c_10_msgpack_samples() {
    replay("msgpack_samples", voxwire_fuzz::msgpack_samples);
}

#[test]
fn c_10_msgpack_stream() {
    replay("msgpack_stream", voxwire_fuzz::msgpack_stream);
}

#[test]
fn c_10_msgpack_session() {
    replay("msgpack_session", voxwire_fuzz::msgpack_session);
}

#[test]
fn c_10_syfala_message() {
    replay("syfala_message", voxwire_fuzz::syfala_message);
}

#[test]
fn c_10_syfala_stream() {
    replay("syfala_stream", voxwire_fuzz::syfala_stream);
}

#[test]
fn c_10_syfala_session() {
    replay("syfala_session", voxwire_fuzz::syfala_session);
}
