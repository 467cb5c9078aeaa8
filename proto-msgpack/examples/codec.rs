//! Messages to bytes, and back.
//!
//!     cargo run -p voxwire-msgpack --example codec

use std::error::Error;
use voxwire_core::{Cut, FrameBuf, Message};
use voxwire_msgpack::{ClientMessage, Framing, Wire};

fn main() -> Result<(), Box<dyn Error>> {
    let wire = Wire::SERVER;
    // A server takes ZMTP and, as here, plain objects.
    let mut framing = Framing::server(&wire);
    let mut stream = Vec::new();
    let login = ClientMessage::Login { username: "ann".into(), password: "secret".into() };
    for message in [login, ClientMessage::Logout { username: "ann".into() }] {
        message.encode(&wire, &mut stream)?;
    }
    println!("{}", stream.escape_ascii());

    // A framing finds where a message ends. The codec then borrows from the buffer.
    let mut buffer = FrameBuf::new();
    buffer.spare(stream.len())[..stream.len()].copy_from_slice(&stream);
    buffer.filled(stream.len());
    while let Cut::Frame(range) = buffer.next_frame(&mut framing)? {
        println!("{:?}", ClientMessage::decode(buffer.frame(range), &wire)?);
    }
    assert!(buffer.is_empty());

    // An error names the field and its offset.
    let error = ClientMessage::decode(b"\xa7request\xa4fly!", &wire).expect_err("no message");
    println!("{error}");
    assert_eq!((error.field, error.offset), ("action", 8));
    Ok(())
}
