//! Which addresses a listener lets in.

use core::fmt;
use core::net::IpAddr;
use std::sync::Arc;

/// Whether an address may come in.
#[derive(Clone)]
pub(crate) struct Gate(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Gate {
    pub(crate) fn new(lets_in: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(lets_in))
    }

    pub(crate) fn lets_in(&self, address: IpAddr) -> bool {
        (self.0)(address.to_canonical())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}
