use crate::{EncodeError, Instant, Message, Session};
use alloc::{vec, vec::Vec};
use core::fmt::Debug;

/// The laws of a session's timers (points 2 and 9 of the contract): those that are due at `now` fire one after the other, and not for ever;
/// and where [`poll_timeout`](Session::poll_timeout) says that an event waits, there is one. `seen` gets what each gives.
pub fn law_timers<S: Session>(session: &mut S, now: Instant, mut seen: impl FnMut(&S, Option<S::Event<'_>>)) {
    for turn in 0.. {
        assert!(turn < 10_000, "timers fire for ever");
        let Some(due) = session.poll_timeout().filter(|at| *at <= now) else { return };
        let event = session.handle_timeout(now);
        // At the origin of the time line a timer may be due then.
        assert!(
            due > Instant::ZERO || now == Instant::ZERO || event.is_some(),
            "an event was said to wait, and there is none"
        );
        seen(session, event);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Datagram, Input, Outbox};

    /// Says that an event waits, and has `events`.
    struct Queue {
        events: u32,
        says: u32,
        outbox: Outbox,
    }

    impl Session for Queue {
        type Framing = Datagram;
        type Command<'a> = ();
        type Event<'a> = u32;
        type Violation = EncodeError;
        type Refusal = EncodeError;

        fn framing(&self) -> Datagram {
            Datagram { max: 0 }
        }

        fn handle_input<'a>(
            &mut self,
            _: Instant,
            _: Input<'a>,
        ) -> Result<Option<Self::Event<'a>>, EncodeError> {
            Ok(None)
        }

        fn handle_command(&mut self, _: Instant, (): ()) -> Result<(), EncodeError> {
            Ok(())
        }

        fn handle_timeout<'a>(&mut self, _: Instant) -> Option<Self::Event<'a>> {
            self.says = self.says.saturating_sub(1);
            self.events = self.events.checked_sub(1)?;
            Some(self.events)
        }

        fn poll_timeout(&self) -> Option<Instant> {
            (self.says > 0).then_some(Instant::ZERO)
        }

        fn outbox(&mut self) -> &mut Outbox {
            &mut self.outbox
        }

        fn shutdown(&mut self, _: Instant) {}
    }

    #[test]
    fn c_01_a_session_that_says_that_an_event_waits_has_one() {
        let mut heard = Vec::new();
        let mut honest = Queue { events: 3, says: 3, outbox: Outbox::new(0) };
        law_timers(&mut honest, Instant::from_nanos(1), |_, event| heard.extend(event));
        assert_eq!(heard, [2, 1, 0]);
    }

    #[test]
    #[should_panic(expected = "an event was said to wait")]
    fn c_01_the_law_fails_for_a_session_that_says_so_and_has_none() {
        law_timers(
            &mut Queue { events: 1, says: 2, outbox: Outbox::new(0) },
            Instant::from_nanos(1),
            |_, _| {},
        );
    }
}
