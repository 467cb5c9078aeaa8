//! Messages to bytes, and back.
//!
//!     cargo run -p voxwire-opcode --example codec

use std::error::Error;
use voxwire_core::{Cut, FrameBuf, Message};
use voxwire_opcode::{Packet, Wire};

fn main() -> Result<(), Box<dyn Error>> {
    let wire = Wire::SERVER;
    let mut framing = wire.framing();
    let mut stream = Vec::new();
    for packet in [Packet::Login { name: "alice".into() }, Packet::VoiceData(&[0xfc, 0xff, 0xfe])] {
        packet.encode(&wire, &mut stream)?;
    }
    println!("{stream:02x?}");

    // A framing finds where a packet ends. The codec then borrows from the buffer.
    let mut buffer = FrameBuf::new();
    buffer.spare(stream.len())[..stream.len()].copy_from_slice(&stream);
    buffer.filled(stream.len());
    while let Cut::Frame(range) = buffer.next_frame(&mut framing)? {
        println!("{:?}", Packet::decode(buffer.frame(range), &wire)?);
    }
    assert!(buffer.is_empty());

    // An error names the field and its offset.
    let error = Packet::decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0x55, 0], &wire).expect_err("no message");
    println!("{error}");
    assert_eq!((error.field, error.offset), ("opcode", 8));
    Ok(())
}
