//! Messages to bytes, and back.
//!
//!     cargo run -p voxwire-dissonance --example codec

use std::error::Error;
use voxwire_core::Message;
use voxwire_dissonance::{ClientId, DeltaClientState, Packet, Wire};

fn main() -> Result<(), Box<dyn Error>> {
    let wire = Wire::default();
    let (session, client) = (0x1234_5678, ClientId::new(7));
    let joins = DeltaClientState { session, joined: true, client, room: "Lobby".into() };
    for packet in [Packet::DeltaClientState(joins), Packet::RemoveClient { session, client }] {
        let mut frame = Vec::new();
        packet.encode(&wire, &mut frame)?;
        println!("{frame:02x?}");
        // The packet that comes back borrows from the frame.
        let again = Packet::decode(&frame, &wire)?;
        println!("{again:?}");
        assert_eq!(again, packet);
    }

    // An error names the field and its offset.
    let error = Packet::decode(&[0x8b, 0xc7, 12, 0, 0, 0, 0], &wire).expect_err("no message");
    println!("{error}");
    assert_eq!((error.field, error.offset), ("type", 2));
    Ok(())
}
