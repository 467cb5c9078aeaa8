use crate::Script;
use voxwire_core::Instant;
use voxwire_core::testing::law_frame;
use voxwire_syfala::stream::{Receiving, StreamSettings, Taken};
use voxwire_syfala::{Audio, ClientMessage, Format, SampleType, ServerMessage, Wire};

/// Any bytes, from either side: no panic, what decodes obeys the laws, and postcard reads the same number.
pub fn syfala_message(data: &[u8]) {
    let client = law_frame::<ClientMessage<'static>>(data, &Wire::DEFAULT);
    let server = law_frame::<ServerMessage<'static>>(data, &Wire::DEFAULT);
    let number = postcard::take_from_bytes::<u32>(data).map(|(number, _)| number).ok();
    for (canonical, last) in [(client, 8), (server, 9)] {
        if let Some(canonical) = canonical {
            assert_eq!(
                number.filter(|number| *number <= last),
                canonical.first().map(|first| (*first).into())
            );
        }
    }
}

/// A script of messages and time for one stream: what comes out is what went in at its place, or silence.
pub fn syfala_stream(data: &[u8]) {
    let mut script = Script(data);
    let sample_type = SampleType::ALL[usize::from(script.byte()) % 12];
    let format = Format { sample_type, ..Format::STANDARD };
    let settings = StreamSettings { buffer: 5000, ..StreamSettings::DEFAULT };
    let mut receiving = Receiving::new(&format, settings);
    // What a byte of the stream is: never part of a silent sample.
    let said = |at: u64| (at % 100) as u8 + 1;
    let (mut now, mut base) = (0_u64, 0_u64);
    let mut out = [0; 512];
    while !script.is_empty() {
        let (operation, far) = (script.byte(), script.byte());
        now += u64::from(operation >> 4) * 1_000_000;
        let start = match operation % 16 {
            0..=9 => base.wrapping_add(u64::from(far)),
            10 | 11 => base.wrapping_sub(u64::from(far)),
            12 => base.wrapping_add(u64::from(far) << 8),
            13 => base.wrapping_add(u64::from(far) << 40),
            14 => u64::MAX - u64::from(far),
            _ => {
                receiving.give_up(Instant::from_nanos(now));
                continue;
            }
        };
        let len = usize::from(script.byte());
        let payload: Vec<u8> = (0..len as u64).map(|n| said(start.wrapping_add(n))).collect();
        let taken = receiving.insert(Instant::from_nanos(now), &Audio::new(0, start, &payload));
        if matches!(taken, Taken::Stored | Taken::Jumped) {
            base = start.wrapping_add(len as u64);
        }
        let mut at = receiving.byte_index();
        let n = receiving.read(&mut out);
        let size = sample_type.size();
        assert_eq!(n % size, 0);
        for sample in out[..n].chunks(size) {
            let whole = sample.iter().zip(at..).all(|(byte, at)| *byte == said(at));
            assert!(whole || sample == sample_type.silence(), "{sample:?} at {at}");
            at += size as u64;
        }
        assert_eq!(receiving.byte_index(), at);
    }
}
