//! What tests of owned messages share.

use core::fmt::Debug;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// In a format for people and one for machines, and back.
pub(crate) fn over_serde<T: Serialize + DeserializeOwned + PartialEq + Debug>(owned: &T) -> String {
    let json = serde_json::to_string(owned).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), owned, "{json}");
    let bytes = postcard::to_allocvec(owned).unwrap();
    assert_eq!(&postcard::from_bytes::<T>(&bytes).unwrap(), owned, "{json}");
    json
}

/// Numbers that are the same each time.
#[cfg(feature = "arbitrary")]
pub(crate) fn unstructured(seed: u64) -> Vec<u8> {
    let mut rng = voxwire_core::testing::Rng::new(seed);
    (0..600).map(|_| rng.below(256) as u8).collect()
}
