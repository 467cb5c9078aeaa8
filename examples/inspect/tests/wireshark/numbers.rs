//! Numbers that look random.

/// xorshift: the same numbers on every machine.
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    /// Some bytes changed, put in, left out or repeated.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len().max(1));
            let interesting = [0, 1, 2, 4, 0x7f, 0x80, 0xc1, 0xdd, 0xdf, 0xff];
            let byte = match self.below(2) {
                0 => interesting[self.below(interesting.len())],
                _ => u8::try_from(self.below(256)).unwrap(),
            };
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 => bytes.extend_from_within(at.min(bytes.len())..),
                _ => {
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
            }
            bytes.truncate(2000);
        }
    }
}
