//! The devices of this machine: which are wanted, and microphone and loudspeaker where they were built in.

#[cfg(feature = "device")]
mod list;

use crate::error::Error;
use crate::report::Report;
#[cfg(feature = "device")]
use crate::report::quoted;
use clap::Args;
#[cfg(feature = "device")]
pub(crate) use list::{list, shown};
#[cfg(feature = "device")]
use serde_json::json;
#[cfg(feature = "device")]
use voxwire_audio as audio;
#[cfg(not(feature = "device"))]
use without as audio;
#[cfg(not(feature = "device"))]
pub(crate) use without::{list, shown};

/// `--device`, `--input` and `--output`: what hears and speaks.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceFlags {
    /// Hear with the machine's loudspeaker; without --play, speak into its microphone.
    #[arg(long, global = true)]
    device: bool,
    /// Speak into this input of the machine (`voxwire-client devices` lists them), instead of --play.
    #[arg(long, global = true, value_name = "NAME", visible_alias = "input-device", conflicts_with = "play")]
    input: Option<String>,
    /// Hear with this output of the machine (`voxwire-client devices` lists them).
    #[arg(long, global = true, value_name = "NAME", visible_alias = "output-device")]
    output: Option<String>,
}

impl DeviceFlags {
    pub(crate) fn choose(&self, report: &Report) -> Devices {
        Devices::choose(self.device, (self.input.clone(), self.output.clone()), report)
    }

    /// Whether a microphone is wanted.
    pub(crate) const fn speaks(&self) -> bool {
        self.device || self.input.is_some()
    }
}

/// The devices that are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    pub(crate) input: Option<InputDevice>,
    pub(crate) output: Option<OutputDevice>,
}

impl Devices {
    /// `defaults`: both, those without a name being the machine's defaults.
    pub(crate) fn choose(
        defaults: bool,
        (input, output): (Option<String>, Option<String>),
        report: &Report,
    ) -> Self {
        let chosen = |name: Option<String>| {
            let wanted = defaults || name.is_some();
            wanted.then(|| Chosen { name, report: report.clone() })
        };
        Self { input: chosen(input).map(InputDevice), output: chosen(output).map(OutputDevice) }
    }
}

/// A device by its name, or the machine's default.
#[derive(Debug, Clone)]
struct Chosen {
    name: Option<String>,
    report: Report,
}

impl Chosen {
    /// Says that it is gone, or back.
    #[cfg(feature = "device")]
    fn report_change(&self, device: &str, change: Option<audio::DeviceChange>) {
        let shown = self.name.as_deref().map_or_else(String::new, |name| format!(" {}", quoted(name)));
        match change {
            Some(audio::DeviceChange::Lost(reason)) => {
                let text = format!(
                    "the {device}{shown} is gone: {reason} The call goes on without it until it is back"
                );
                let fields = json!({ "device": device, "name": self.name, "reason": reason });
                self.report.event("sound_device_lost", fields, &text);
            }
            Some(_) => {
                let fields = json!({ "device": device, "name": self.name });
                self.report.event("sound_device_back", fields, &format!("the {device}{shown} is back"));
            }
            None => {}
        }
    }

    #[cfg(not(feature = "device"))]
    fn report_change(&self, _device: &str, change: Option<core::convert::Infallible>) {
        let (None, _) = (change, &self.report);
    }
}

/// An input of the machine.
#[derive(Debug, Clone)]
pub(crate) struct InputDevice(Chosen);

impl InputDevice {
    /// Checks that it can be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.open(48_000, 1).map(drop)
    }

    pub(crate) fn open(&self, rate: u32, channels: u16) -> Result<Microphone, Error> {
        let device = audio::Microphone::open(self.0.name.as_deref(), rate, channels)?;
        Ok(Microphone { device, chosen: self.0.clone() })
    }
}

/// An output of the machine.
#[derive(Debug, Clone)]
pub(crate) struct OutputDevice(Chosen);

impl OutputDevice {
    /// The machine's default.
    pub(crate) fn default_of(report: &Report) -> Self {
        Self(Chosen { name: None, report: report.clone() })
    }

    /// Checks that it can be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.open(48_000, 1).map(drop)
    }

    pub(crate) fn open(&self, rate: u32, channels: u16) -> Result<Loudspeaker, Error> {
        let device = audio::Loudspeaker::open(self.0.name.as_deref(), rate, channels)?;
        Ok(Loudspeaker { device, chosen: self.0.clone() })
    }
}

/// An input at work.
#[derive(Debug)]
pub(crate) struct Microphone {
    device: audio::Microphone,
    chosen: Chosen,
}

impl Microphone {
    /// Fills `samples`, if as much has come in by the device's clock; false, and nothing is taken, if not.
    pub(crate) fn read(&mut self, samples: &mut [f32]) -> Result<bool, Error> {
        let filled = self.device.read(samples)?;
        if filled {
            self.hears(samples);
        }
        self.chosen.report_change("microphone", self.device.take_change());
        Ok(filled)
    }

    /// Fills `samples` with what is due by the caller's clock; with silence while the device is gone.
    pub(crate) fn read_paced(&mut self, samples: &mut [f32]) -> Result<(), Error> {
        self.device.read_paced(samples)?;
        self.hears(samples);
        self.chosen.report_change("microphone", self.device.take_change());
        Ok(())
    }

    fn hears(&self, samples: &[f32]) {
        let report = &self.chosen.report;
        report.talk().echo().recorded(samples, report);
    }
}

/// An output at work.
#[derive(Debug)]
pub(crate) struct Loudspeaker {
    device: audio::Loudspeaker,
    chosen: Chosen,
}

impl Loudspeaker {
    /// Plays `samples` after what waits; drops them while the device is gone.
    pub(crate) fn write(&mut self, samples: &[f32]) -> Result<(), Error> {
        self.device.write(samples)?;
        self.chosen.report.talk().echo().played(samples);
        self.chosen.report_change("loudspeaker", self.device.take_change());
        Ok(())
    }
}

#[cfg(not(feature = "device"))]
#[expect(clippy::needless_pass_by_ref_mut, reason = "as the real ones have it")]
mod without {
    use super::{Error, Report};

    #[derive(Debug)]
    pub(crate) enum Microphone {}

    #[derive(Debug)]
    pub(crate) enum Loudspeaker {}

    pub(crate) fn list(_report: &Report) -> Result<(), Error> {
        Err(missing("devices"))
    }

    pub(crate) fn shown(_report: &Report) -> String {
        "sound devices: not built in (feature `device`)".into()
    }

    fn missing(what: &str) -> Error {
        Error::Usage(format!("{what} is not built in: build with --features device"))
    }

    impl Microphone {
        pub(crate) fn open(name: Option<&str>, _rate: u32, _channels: u16) -> Result<Self, Error> {
            Err(missing(name.map_or("--device", |_| "--input")))
        }

        pub(crate) fn read(&mut self, _samples: &mut [f32]) -> Result<bool, Error> {
            match *self {}
        }

        pub(crate) fn read_paced(&mut self, _samples: &mut [f32]) -> Result<(), Error> {
            match *self {}
        }

        pub(crate) fn take_change(&mut self) -> Option<core::convert::Infallible> {
            match *self {}
        }
    }

    impl Loudspeaker {
        pub(crate) fn open(name: Option<&str>, _rate: u32, _channels: u16) -> Result<Self, Error> {
            Err(missing(name.map_or("--device", |_| "--output")))
        }

        pub(crate) fn write(&mut self, _samples: &[f32]) -> Result<(), Error> {
            match *self {}
        }

        pub(crate) fn take_change(&mut self) -> Option<core::convert::Infallible> {
            match *self {}
        }
    }
}
