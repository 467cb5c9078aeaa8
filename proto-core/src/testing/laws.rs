use crate::{EncodeError, Message};
use alloc::{vec, vec::Vec};
use core::fmt::Debug;

/// The laws of a message that can be encoded: it decodes to itself, its length is exact, a buffer one byte short is
/// refused and left alone, and every proper prefix of its frame is an error. Returns the frame, which is in `scratch`.
pub fn law_message<'x, M>(message: &M, wire: &M::Wire, scratch: &'x mut Vec<u8>) -> &'x [u8]
where
    M: Message<'x> + PartialEq,
{
    scratch.clear();
    let len = message.encode(wire, scratch).expect("a message that can be encoded");
    assert_eq!(Ok(len), message.encoded_len(wire), "encoded_len of {message:?}");
    assert_eq!(len, scratch.len(), "bytes written for {message:?}");
    let frame: &'x [u8] = scratch;
    match M::decode(frame, wire) {
        Ok(again) => assert!(again == *message, "{message:?} came back as {again:?}"),
        Err(error) => panic!("{message:?} came back as an error: {error}"),
    }
    for cut in 0..len {
        assert!(M::decode(&frame[..cut], wire).is_err(), "the first {cut} bytes of {message:?} decode");
    }
    let mut short = vec![0xa5; len.saturating_sub(1)];
    if len > 0 {
        let refused = message.encode(wire, &mut &mut short[..]);
        assert_eq!(refused, Err(EncodeError::NoRoom { needed: len, available: len - 1 }), "{message:?}");
        assert!(short.iter().all(|&byte| byte == 0xa5), "{message:?} was written into a buffer too short");
    }
    frame
}

/// The laws of any bytes at all: decoding them does not panic, and what decodes can be encoded and decodes to the same
/// message again. Returns the canonical encoding if the bytes decode; for canonical bytes that is the bytes themselves.
pub fn law_frame<M>(frame: &[u8], wire: &M::Wire) -> Option<Vec<u8>>
where
    M: Message<'static>,
    for<'x> M::At<'x>: PartialEq + Debug,
{
    fn same<'x, M: Message<'x> + PartialEq>(frame: &'x [u8], again: &'x [u8], wire: &M::Wire) {
        let (one, two) = (M::decode(frame, wire), M::decode(again, wire));
        assert!(one == two, "{frame:02x?} is {one:?}, encoded and decoded {two:?}");
    }
    let message = M::At::decode(frame, wire).ok()?;
    let mut again = Vec::new();
    message.encode(wire, &mut again).expect("what decodes can be encoded");
    same::<M::At<'_>>(frame, &again, wire);
    Some(again)
}

/// What a hostile peer can make of a frame: every prefix, and every byte changed to every other value, obeys [`law_frame`].
pub fn law_hostile<M>(frame: &[u8], wire: &M::Wire)
where
    M: Message<'static>,
    for<'x> M::At<'x>: PartialEq + Debug,
{
    for cut in 0..=frame.len() {
        law_frame::<M>(&frame[..cut], wire);
    }
    let mut changed = frame.to_vec();
    for at in 0..frame.len() {
        for _ in 0..255 {
            changed[at] = changed[at].wrapping_add(1);
            law_frame::<M>(&changed, wire);
        }
        changed[at] = frame[at];
    }
}
