//! Microsoft ADPCM, in blocks: of each channel the number of its predictor, then of each its step, its second sample, its first; and
//! then codes of the channels in turn, of which the first is in the upper half of its byte.

use super::{BlockDecoder, Layout};

/// What the two samples before count, in 256ths. A file repeats these in its header.
const PREDICTORS: [[i32; 2]; 7] =
    [[256, 0], [512, -256], [0, 0], [192, 64], [240, 0], [460, -208], [392, -232]];
/// How a code changes the step, in 256ths.
const CHANGES: [i32; 16] = [230, 230, 230, 230, 307, 409, 512, 614, 768, 614, 512, 409, 307, 230, 230, 230];
const HEAD: usize = 7;

#[derive(Debug)]
pub(super) struct Ms {
    channels: usize,
    /// Frames of a block.
    frames: usize,
}

impl Ms {
    pub(super) fn new(layout: &Layout) -> Result<Self, String> {
        let channels = layout.channels.into();
        let most = layout.codes_behind(HEAD)? / channels + 2;
        Ok(Self { channels, frames: layout.frames(most) })
    }
}

impl BlockDecoder for Ms {
    fn decode(&mut self, block: &[u8], out: &mut Vec<i16>) {
        let (heads, codes) = block.split_at(HEAD * self.channels);
        let (predictors, words) = heads.split_at(self.channels);
        let from = out.len();
        out.resize(from + self.frames.max(2) * self.channels, 0);
        let samples = &mut out[from..];
        for (channel, predictor) in predictors.iter().enumerate() {
            let word = |at: usize| {
                let at = 2 * (at * self.channels + channel);
                i16::from_le_bytes([words[at], words[at + 1]])
            };
            let [newer, older] = PREDICTORS.get(usize::from(*predictor)).copied().unwrap_or(PREDICTORS[0]);
            let mut step = word(0);
            samples[channel] = word(2);
            samples[self.channels + channel] = word(1);
            for at in (2 * self.channels + channel..samples.len()).step_by(self.channels) {
                let code = at - 2 * self.channels;
                let byte = codes.get(code / 2).copied().unwrap_or(0);
                let code = if code.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
                let before = |frames: usize| i32::from(samples[at - frames * self.channels]);
                let predicted = (before(1) * newer + before(2) * older) >> 8;
                let sample = predicted + i32::from((code << 4) as i8 >> 4) * i32::from(step);
                samples[at] = sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                step = (((CHANGES[usize::from(code)] * i32::from(step)) >> 8) as i16).max(16);
            }
        }
        out.truncate(from + self.frames * self.channels);
    }
}
