//! echo: an answer, beside serde's formats.

use super::{Serde, codec};
use criterion::Criterion;
use serde_bytes::Bytes;
use voxwire_echo::Packet;

struct Answer;

impl Serde for Answer {
    type Message<'a> = (bool, u32, &'a Bytes);

    fn of(payload: &[u8]) -> Self::Message<'_> {
        (true, 70_000, Bytes::new(payload))
    }
}

pub(crate) fn packets(criterion: &mut Criterion) {
    codec::<Packet<'static>, Answer>(criterion, "echo", 160, &(), |payload| Packet {
        answer: true,
        sequence: 70_000,
        payload,
    });
}
