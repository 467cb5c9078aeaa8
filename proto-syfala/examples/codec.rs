//! Messages to bytes, and back.
//!
//!     cargo run -p voxwire-syfala --example codec

use std::error::Error;
use voxwire_core::Message;
use voxwire_syfala::{Audio, ClientMessage, Format, Formats, ServerMessage, Wire};

fn main() -> Result<(), Box<dyn Error>> {
    let wire = Wire::DEFAULT;
    let outputs = [Format::STANDARD];
    let offer = ServerMessage::Connect(Formats { inputs: [][..].into(), outputs: outputs[..].into() });
    let mut datagram = Vec::new();
    offer.encode(&wire, &mut datagram)?;
    println!("{datagram:02x?}");
    // The message that comes back borrows from the datagram.
    assert_eq!(ServerMessage::decode(&datagram, &wire)?, offer);

    let audio = ClientMessage::Audio(Audio::new(0, 64, &[7, 8]));
    datagram.clear();
    audio.encode(&wire, &mut datagram)?;
    println!("{datagram:02x?}");
    assert_eq!(ClientMessage::decode(&datagram, &wire)?, audio);

    // An error names the field and its offset.
    let error = ClientMessage::decode(&[9], &wire).expect_err("no message");
    println!("{error}");
    assert_eq!((error.field, error.offset), ("message", 0));
    Ok(())
}
