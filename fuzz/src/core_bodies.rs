use crate::Script;
use voxwire_core::bytes::BufMut;
use voxwire_core::testing::chop;
use voxwire_core::{
    DecodeError, Element, EncodeError, LengthPrefix, List, Reader, Untrusted, canonical_name, check_label,
    check_name, is_address_like, name_key,
};

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

/// Any bytes as text that a peer chose, and as a name: what is shown steers nothing and is shown the same again; a name is
/// accepted in its canonical form if it is at all, and then all of it shows.
pub fn core_text(data: &[u8]) {
    let shown = Untrusted::new(data).to_string();
    assert!(!shown.contains(char::is_control));
    assert_eq!(Untrusted::new(&shown).to_string(), shown);
    let quoted = format!("{:?}", Untrusted::new(data));
    let inside =
        quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("between quotation marks");
    assert!(!inside.replace("\\\\", "").replace("\\\"", "").contains('"'), "they end it");
    let _ = check_label(data);
    let key = name_key(data);
    assert_eq!(name_key(&key), key);
    if let Ok(name) = check_name(data) {
        assert_eq!(name.as_bytes(), data);
        let canonical = canonical_name(name);
        assert!(check_name(canonical.as_bytes()).is_ok());
        assert_eq!(Untrusted::new(&*canonical).to_string(), canonical);
        assert_eq!(is_address_like(name), is_address_like(&canonical));
    }
}
