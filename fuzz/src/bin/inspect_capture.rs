//! See the body of the same name.
#![cfg_attr(fuzzing, no_main)]

voxwire_fuzz::target!(voxwire_inspect::capture_bytes);
