//! One byte stream, as a hub and a client have it: its bytes over any transport, its frames, and what is queued for it.
//!
//! Both sides use all of this. What differs is left to each:
//!
//! - A client reads whenever it is polled, and its own buffer holds what is incomplete. A hub asks for memory first (`hub/partial.rs`), and
//!   lends buffers to connections that have something to read (`hub/tasks/stream/read.rs`).
//! - A client is used by one task. In a hub the session's side pushes into a queue under a lock, and wakes the task of the connection
//!   (`hub/conn.rs`); what is being written lies there as well, so that it can be discarded for others.
//! - A client has one server, and ends by a timer of its own when that takes nothing (`connection/stream_conn.rs` `StallTimer`). A hub has the
//!   rules for slow consumers (ARCHITECTURE.md, "When a listener does not keep up").
//! - A client finishes the handshake of a framing before its session learns of the connection; in a hub the session learns of it at once.

pub(crate) mod framing;
pub(crate) mod held;
pub(crate) mod io;
pub(crate) mod queue;
pub(crate) mod socket;
