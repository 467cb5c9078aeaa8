//! Messages to bytes, and back.
//!
//!     cargo run -p voxwire-voicelink --example codec

use std::error::Error;
use voxwire_core::{Cut, FrameBuf, Message};
use voxwire_voicelink::{ByteOrder, Framing, Handshake, MAX_DATA, Packet, Parameters, Wire};

fn main() -> Result<(), Box<dyn Error>> {
    let (wire, mut framing) = (Wire::default(), Framing::client(ByteOrder::BigEndian, MAX_DATA));
    let call = Handshake { parameters: Parameters::DEFAULT, user_name: b"bob", optional: b"" };
    let mut stream = Vec::new();
    for packet in [Packet::Handshake(call), Packet::Data(&[1, 2, 3, 4])] {
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
    let error = Packet::decode(&[0, 0, 0, 6, 0, 9], &wire).expect_err("no message");
    println!("{error}");
    assert_eq!((error.field, error.offset), ("Message Type", 4));
    Ok(())
}
