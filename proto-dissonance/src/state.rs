//! A client's state in packets, which may be more than fits one.

use crate::{ClientInfo, ClientState, DeltaClientState, Packet, Text, Wire};
use voxwire_core::{EncodeError, List, Message as _};

/// Describes a client by packets that `send` sends: as much as fits one packet, then one packet for each further room.
pub(crate) fn send_state(
    session: u32,
    client: ClientInfo<'_>,
    rooms: &[Text<'_>],
    wire: &Wire,
    mut send: impl FnMut(&Packet<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let state = |rooms| Packet::ClientState(ClientState { session, client, rooms: List::from(rooms) });
    let fits =
        |count: &usize| rooms.get(..*count).is_some_and(|rooms| state(rooms).encoded_len(wire).is_ok());
    let count =
        if fits(&rooms.len()) { rooms.len() } else { (0..rooms.len()).take_while(fits).last().unwrap_or(0) };
    let (first, rest) = rooms.split_at_checked(count).unwrap_or((&[], rooms));
    send(&state(first))?;
    for &room in rest {
        let delta = DeltaClientState { session, joined: true, client: client.id, room };
        send(&Packet::DeltaClientState(delta))?;
    }
    Ok(())
}
