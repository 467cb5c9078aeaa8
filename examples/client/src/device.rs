//! The machine's microphone and loudspeaker, where they were built in.

#[cfg(feature = "device")]
mod list;

use crate::error::Error;
#[cfg(feature = "device")]
pub(crate) use list::list;
#[cfg(feature = "device")]
pub(crate) use voxwire_audio::{Loudspeaker, Microphone};

/// Checks that both are there, before any user is called.
#[cfg(feature = "device")]
pub(crate) fn check(microphone: bool) -> Result<(), Error> {
    if microphone {
        Microphone::open(None, 48_000, 1)?;
    }
    Loudspeaker::open(None, 48_000, 1)?;
    Ok(())
}

#[cfg(not(feature = "device"))]
pub(crate) use without::{Loudspeaker, Microphone, check, list};

#[cfg(not(feature = "device"))]
#[expect(clippy::needless_pass_by_ref_mut, reason = "as the real ones have it")]
mod without {
    use super::Error;
    use crate::report::Report;

    #[derive(Debug)]
    pub(crate) enum Microphone {}

    #[derive(Debug)]
    pub(crate) enum Loudspeaker {}

    pub(crate) fn check(_microphone: bool) -> Result<(), Error> {
        Err(missing("--device"))
    }

    pub(crate) fn list(_report: &Report) -> Result<(), Error> {
        Err(missing("devices"))
    }

    fn missing(what: &str) -> Error {
        Error::Usage(format!("{what} is not built in: build with --features device"))
    }

    impl Microphone {
        pub(crate) fn open(_name: Option<&str>, _rate: u32, _channels: u16) -> Result<Self, Error> {
            Err(missing("--device"))
        }

        pub(crate) fn read(&mut self, _samples: &mut [f32]) -> Result<bool, Error> {
            match *self {}
        }

        pub(crate) fn read_paced(&mut self, _samples: &mut [f32]) -> Result<(), Error> {
            match *self {}
        }
    }

    impl Loudspeaker {
        pub(crate) fn open(_name: Option<&str>, _rate: u32, _channels: u16) -> Result<Self, Error> {
            Err(missing("--device"))
        }

        pub(crate) fn write(&mut self, _samples: &[f32]) -> Result<(), Error> {
            match *self {}
        }
    }
}
