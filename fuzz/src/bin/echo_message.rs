//! echo's packets: no panic; decoding, encoding and decoding again agree, and encoding gives the bytes that came in.
#![cfg_attr(fuzzing, no_main)]

use voxwire_core::testing::law_frame;
use voxwire_echo::Packet;

fn body(data: &[u8]) {
    if let Some(again) = law_frame::<Packet<'static>>(data, &()) {
        assert_eq!(again, data, "there is one form alone");
    }
}

voxwire_fuzz::target!(body);
