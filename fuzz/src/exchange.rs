//! The law of a protocol of requests and answers.

use crate::{End, Pair, Reached, Step, pair};
use core::fmt::Debug;
use core::marker::PhantomData;
use core::time::Duration;
use voxwire_core::{
    Ask, Exchange, Lane, Requester, RequesterEvent, Responder, ResponderSettings, ResponderStats, Session,
};

/// The sessions of a protocol of requests and answers, with few places.
struct Sessions<M>(PhantomData<M>);

impl<M: Exchange> Pair for Sessions<M>
where
    for<'x> M::At<'x>: PartialEq + Debug,
{
    type Client = Requester<M>;
    type Server = Responder<M>;
    const PLACES: usize = 4;
    const COMMANDS_END: bool = true;

    fn client() -> Requester<M> {
        Requester::new(Duration::from_millis(100))
    }

    fn server() -> Responder<M> {
        Responder::new(ResponderSettings { max_peers: Self::PLACES, ..ResponderSettings::DEFAULT })
    }

    fn command(lane: Lane, bytes: &[u8]) -> Ask<'_> {
        Ask(lane, bytes)
    }

    fn ended(event: &<Requester<M> as Session>::Event<'_>) -> Option<(u32, End)> {
        match *event {
            RequesterEvent::Answer { sequence, .. } => Some((sequence, End::Answered)),
            RequesterEvent::Lost(sequence) => Some((sequence, End::Lost)),
            _ => panic!("{event:?}: the server stays connected"),
        }
    }

    fn law(server: &Responder<M>, step: &Step<'_>) {
        assert_eq!(step.sent.len(), usize::from(step.accepted), "one for each, and nothing unasked");
        assert!(step.is_client || server.stats().answered == step.total as u64);
        for (lane, frame) in step.sent {
            assert_eq!(*lane, step.lane);
            if step.is_client {
                sent::<M>(step.total, step.bytes, frame);
            } else {
                answered::<M>(step, frame);
            }
        }
    }
}

/// A request says what the command says, and has the next number.
fn sent<M: Exchange>(total: usize, payload: &[u8], frame: &[u8])
where
    for<'x> M::At<'x>: PartialEq + Debug,
{
    fn same<'x, M: Exchange>(payload: &'x [u8], number: u32, frame: &'x [u8])
    where
        M::At<'x>: PartialEq + Debug,
    {
        let sent = <M::At<'x> as voxwire_core::Message<'x>>::decode(frame, &M::Wire::default());
        assert_eq!(sent, Ok(M::request(number, payload)));
    }
    same::<M>(payload, total as u32 - 1, frame);
}

/// An answer is that of the protocol, and no longer than its request.
fn answered<M: Exchange>(step: &Step<'_>, frame: &[u8])
where
    for<'x> M::At<'x>: PartialEq + Debug,
{
    fn same<'x, M: Exchange>(step: &'x Step<'_>, frame: &'x [u8])
    where
        M::At<'x>: PartialEq + Debug,
    {
        let decode =
            |bytes: &'x [u8]| <M::At<'x> as voxwire_core::Message<'x>>::decode(bytes, &M::Wire::default());
        let request = decode(step.bytes).expect("what is answered is a packet");
        assert_eq!(decode(frame).ok(), M::answer(step.now, request));
    }
    assert!(frame.len() <= step.bytes.len(), "a server sends no more than was sent to it");
    same::<M>(step, frame);
}

/// A script for a client and a server of a protocol of requests and answers. Besides what [`pair`] says:
///
/// - each request is sent once, and answered or lost, once;
/// - an answer goes out on the lane of its request, is what the protocol says, and no longer;
/// - nothing is sent unasked.
pub fn exchange<M: Exchange>(data: &[u8]) -> (Reached, ResponderStats)
where
    for<'x> M::At<'x>: PartialEq + Debug,
{
    let (reached, server) = pair::<Sessions<M>>(data);
    (reached, server.stats())
}
