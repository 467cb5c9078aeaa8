//! Events for the log: those of `tracing`, or nothing without that feature.

#[cfg(feature = "tracing")]
pub(crate) use tracing::{debug, field::display, info, trace, warn};

#[cfg(not(feature = "tracing"))]
mod nothing {
    macro_rules! nothing {
        ($($fields:tt)*) => {
            ()
        };
    }
    pub(crate) use {nothing as debug, nothing as info, nothing as trace, nothing as warn};
}
#[cfg(not(feature = "tracing"))]
pub(crate) use nothing::{debug, info, trace, warn};
