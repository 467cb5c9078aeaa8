use crate::Script;
use voxwire_core::bytes::BufMut;
use voxwire_core::testing::chop;
use voxwire_core::{DecodeError, Element, EncodeError, LengthPrefix, List, Reader};

/// Any length prefix over any stream: the same frames however it is cut.
pub fn core_framing(data: &[u8]) {
    let mut script = Script(data);
    let framing = LengthPrefix {
        width: script.byte() % 8 + 1,
        little_endian: script.byte() % 2 == 1,
        adjust: usize::from(script.byte() % 16),
        min: usize::from(script.byte() % 16),
        max: usize::from(script.byte()) * 16,
    };
    chop(|| framing, script.0, 1);
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Name<'a>(&'a str);

impl<'a> Element<'a> for Name<'a> {
    const MIN_LEN: usize = 2;

    fn read(reader: &mut Reader<'a>, _max_text: usize) -> Result<Self, DecodeError> {
        let length = reader.u16_be("length")?;
        reader.str("name", length.into()).map(Self)
    }

    fn encoded_len(&self, _max_text: usize) -> Result<usize, EncodeError> {
        Ok(2 + self.0.len())
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_u16(self.0.len() as u16);
        out.put_slice(self.0.as_bytes());
    }
}

/// Any list of strings: what decodes has as many elements as it says, and encodes to the same bytes.
pub fn core_list(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(count) = reader.u64_le("count") else { return };
    let Ok(list) = List::<Name<'_>>::read(&mut reader, 255, "names", count, 1000) else { return };
    assert_eq!((list.iter().count(), list.len() as u64), (list.len(), count));
    let mut again = Vec::new();
    list.write(&mut again);
    assert_eq!(Some(again.as_slice()), data.get(8..reader.offset()));
    assert_eq!(list.encoded_len(255), Ok(again.len()));
    let items: Vec<_> = list.iter().collect();
    assert!(List::from(&items[..]) == list);
}
