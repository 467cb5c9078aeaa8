//! IMA ADPCM (IMA Digital Audio Doc-Pac, 1992), in blocks as in Microsoft's WAV: for each channel a sample and the index of its step in
//! four bytes, and then codes, in turn eight of each channel, of which the first is in the lower half of its byte.

use super::{BlockDecoder, Layout};

const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88,
    97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658,
    724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660,
    4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493, 10_442, 11_487, 12_635, 13_899, 15_289,
    16_818, 18_500, 20_350, 22_385, 24_623, 27_086, 29_794, 32_767,
];
const CHANGES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];
const HEAD: usize = 4;

#[derive(Debug)]
pub(super) struct Ima {
    channels: usize,
    /// Frames of a block.
    frames: usize,
}

impl Ima {
    pub(super) fn new(layout: &Layout) -> Result<Self, String> {
        let channels = layout.channels.into();
        let most = layout.codes_behind(HEAD)? / channels + 1;
        Ok(Self { channels, frames: layout.frames(most) })
    }
}

impl BlockDecoder for Ima {
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>) {
        let (heads, codes) = block.split_at(HEAD * self.channels);
        let from = out.len();
        out.resize(from + self.frames * self.channels, 0);
        let out = &mut out[from..];
        for (channel, head) in heads.as_chunks::<HEAD>().0.iter().enumerate() {
            let mut sample = i32::from(i16::from_le_bytes([head[0], head[1]]));
            let mut index = i32::from(head[2]).min(88);
            out[channel] = sample as i16;
            for frame in 1..self.frames {
                let at = frame - 1;
                let byte = (at / 8 * self.channels + channel) * 4 + at % 8 / 2;
                let byte = codes.get(byte).copied().unwrap_or(0);
                let code = byte >> (at % 2 * 4) & 15;
                let step = STEPS[index as usize];
                let bits = [(1, step >> 2), (2, step >> 1), (4, step)];
                let size = step >> 3;
                let size =
                    bits.iter().filter(|(bit, _)| code & bit != 0).fold(size, |size, (_, add)| size + add);
                sample += if code & 8 != 0 { -size } else { size };
                sample = sample.clamp(i16::MIN.into(), i16::MAX.into());
                index = (index + CHANGES[usize::from(code & 7)]).clamp(0, 88);
                out[frame * self.channels + channel] = sample as i16;
            }
        }
    }
}
