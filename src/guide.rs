//! Chapters on uses that the crates' own pages do not cover. The programs in them are compiled, and run where they need no other machine.

/// Connect a session to a transport of your own.
#[doc = include_str!("guide/driver.md")]
pub mod driver {}

/// A session in a program that has a loop and no runtime.
#[doc = include_str!("guide/embedding.md")]
pub mod embedding {}

/// syfala on a microcontroller.
#[doc = include_str!("guide/firmware.md")]
pub mod firmware {}

/// The crates in WebAssembly.
#[doc = include_str!("guide/browser.md")]
pub mod browser {}

/// Server and client, or two protocols, in one program.
#[doc = include_str!("guide/side_by_side.md")]
pub mod side_by_side {}

/// What the crates defend against, and what is left to a program.
#[doc = include_str!("guide/threat_model.md")]
pub mod threat_model {}
