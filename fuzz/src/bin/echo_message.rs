//! echo's packets: no panic; decoding, encoding and decoding again agree, and encoding gives the bytes that came in.
#![cfg_attr(fuzzing, no_main)]

voxwire_fuzz::target!(voxwire_fuzz::canonical::<voxwire_echo::Packet<'static>>);
