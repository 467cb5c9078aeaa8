use crate::RoomId;

/// The number that stands for a room's name on the wire: the document's `ToRoomId`.
///
/// 32-bit FNV-1a over the UTF-16 code units of the name, the high byte of each first, folded to 16 bits. Upper and lower
/// case differ; nothing is trimmed or normalised. Two names can have one number: with 302 rooms it is as likely as not
/// that some do, and a name with a given number is found in about 65 000 tries.
///
/// ```
/// use voxwire_dissonance::room_id;
/// assert_eq!(room_id("Global").get(), 29_976);
/// ```
pub fn room_id(name: &str) -> RoomId {
    let hash = name
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    RoomId::new(high.wrapping_mul(5791).wrapping_add(low.wrapping_mul(7639)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_03_names_have_the_numbers_of_the_original() {
        let table = [
            ("", 27_095),
            ("a", 23_679),
            ("A", 14_144),
            ("b", 50_186),
            ("Global", 29_976),
            ("global", 18_094),
            ("TeamBlue", 19_385),
            ("TeamRed", 63_475),
            ("Lobby", 22_028),
            ("Room1", 18_077),
            ("Proximity", 35_935),
            ("\u{65e5}\u{672c}\u{8a9e}", 52_198),
            ("\u{1f600}", 43_639),
            (crate::SERVER_ONLY_ROOM, 44_546),
        ];
        for (name, number) in table {
            assert_eq!(room_id(name).get(), number, "{name}");
        }
    }
}
