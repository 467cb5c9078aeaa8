//! The bodies of the fuzz targets: ordinary functions, so that the compiler and the tests keep them alive.

#![allow(clippy::missing_panics_doc, reason = "panicking is how a fuzz body reports")]

mod core_bodies;
mod dissonance;
mod driver;
mod exchange;
mod msgpack;
mod msgpack_session;
mod opcode;
mod pair;
mod syfala;
mod syfala_session;
mod voicelink;

use core::fmt::Debug;
use std::path::{Path, PathBuf};
use voxwire_core::Message;
use voxwire_core::testing::law_frame;

pub use core_bodies::{core_framing, core_list, core_text};
pub use dissonance::{dissonance_message, dissonance_session};
pub use driver::{Driver, START, command};
pub use exchange::exchange;
pub use msgpack::{msgpack_message, msgpack_samples, msgpack_stream};
pub use msgpack_session::msgpack_session;
pub use opcode::{opcode_message, opcode_session, opcode_stream};
pub use pair::{End, Pair, Reached, Sent, Step, pair};
pub use syfala::{syfala_message, syfala_stream};
pub use syfala_session::syfala_session;
pub use voicelink::{voicelink_message, voicelink_session, voicelink_stream};

/// The program of a fuzz target: libFuzzer's where it is built with `--cfg fuzzing`. Elsewhere it sends the files that it is given through
/// the body, and its test does so with the target's corpus.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $body(data);
        });

        #[cfg(not(fuzzing))]
        fn main() {
            std::env::args_os().skip(1).for_each(|path| {
                $body(&$crate::input(path.as_ref()));
            });
        }

        /// C-10: the whole corpus goes through the body, on stable, as an ordinary test.
        #[cfg(test)]
        #[test]
        fn c_10_the_corpus_passes() {
            let corpus = $crate::corpus(env!("CARGO_BIN_NAME"));
            assert!(corpus.len() >= 8, "{} inputs", corpus.len());
            corpus.iter().for_each(|path| {
                $body(&$crate::input(path));
            });
        }
    };
}

/// Any bytes as a message that has one form alone: no panic, what decodes obeys the laws, and encoding it gives the same bytes.
pub fn canonical<M: Message<'static, Wire: Default>>(data: &[u8])
where
    for<'x> M::At<'x>: PartialEq + Debug,
{
    if let Some(again) = law_frame::<M>(data, &M::Wire::default()) {
        assert_eq!(again, data, "there is one form alone");
    }
}

/// Reads one input.
pub fn input(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The inputs of a target that the tree has.
pub fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Reads a script of operations out of fuzzer input; zeros at its end.
#[derive(Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Up to `n` bytes.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Whether it is at its end.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
