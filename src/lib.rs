//! **voxwire**: voice and chat protocols as sans-IO Rust crates. This package re-exports the family, one feature each.
#![no_std]
#![forbid(unsafe_code)]

/// The traits and tools that all protocols share.
pub use voxwire_core as core;
