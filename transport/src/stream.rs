//! One byte stream, for hubs and for clients: its bytes over any transport, its frames, and its queue.
//!
//! Hubs and clients differ in this:
//!
//! - A client reads whenever it is polled, into a buffer of its own. A hub asks for memory first (`hub/partial.rs`), and lends buffers to
//!   connections that have something to read (`hub/tasks/stream/read.rs`).
//! - A client is used by one task. In a hub the core pushes into a queue under a lock, and wakes the task of the connection (`hub/conn.rs`). The
//!   batch that is being written lies behind the same lock, so that it can be discarded to make room for others.
//! - A client ends by a timer when its server takes nothing (`connection/stream_conn.rs` `StallTimer`). A hub has the rules for slow consumers
//!   (ARCHITECTURE.md, "When a peer does not keep up").
//! - A client finishes the handshake of its framing before its session learns of the connection. In a hub the session learns of it at once.

pub(crate) mod framing;
pub(crate) mod io;
pub(crate) mod queue;
pub(crate) mod shared_frames;
pub(crate) mod socket;
