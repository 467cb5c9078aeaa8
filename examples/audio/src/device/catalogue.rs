//! The devices of this machine: listed, and found by name.

use super::about;
use crate::Error;
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, ErrorKind, Host, SupportedStreamConfigRange};

/// Which way sound goes through a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceDirection {
    /// Sound comes in: a microphone.
    Input,
    /// Sound goes out: a loudspeaker.
    Output,
}

/// A device of this machine, in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What [`Microphone::open`](crate::Microphone::open) and [`Loudspeaker::open`](crate::Loudspeaker::open) take.
    pub name: String,
    /// What the system calls it, for people; taken as a name, too, where no other device has it.
    pub description: String,
    /// It is used where no name is given.
    pub is_default: bool,
    /// Frames per second: the lowest and the highest of each range.
    pub rates: Vec<(u32, u32)>,
    /// Numbers of channels.
    pub channels: Vec<u16>,
    /// Sample formats, `i16` for example.
    pub formats: Vec<String>,
    /// Why it cannot be used now, and nothing is known of it: another program has it, for example.
    pub problem: Option<String>,
}

/// Lists the devices of this machine, the default first. Each is opened for a moment.
///
/// # Errors
/// The system's sound is not there.
pub fn devices(direction: DeviceDirection) -> Result<Vec<DeviceInfo>, Error> {
    let host = host(direction)?;
    let default = default_device(&host, direction).and_then(|device| device.id().ok());
    let all = candidates(&host, direction)?;
    let info = |device: &Device| info(device, direction, device.id().ok() == default);
    let mut infos: Vec<DeviceInfo> = all.iter().filter_map(info).collect();
    infos.sort_by_key(|info| !info.is_default);
    Ok(infos)
}

/// The device of that name, or the default.
pub(super) fn find(direction: DeviceDirection, name: Option<&str>) -> Result<Device, Error> {
    let (host, about) = (host(direction)?, about(direction));
    let Some(name) = name else {
        return default_device(&host, direction).ok_or_else(|| about("there is none".into()));
    };
    let all = candidates(&host, direction)?;
    let named: Vec<(String, String)> = all.iter().map(names).collect();
    choose(&named, name).map(|at| all[at].clone()).map_err(about)
}

/// Which of these names and descriptions is meant.
pub(super) fn choose(all: &[(String, String)], name: &str) -> Result<usize, String> {
    if let Some(at) = all.iter().position(|(known, _)| known == name) {
        return Ok(at);
    }
    let described: Vec<usize> = (0..all.len()).filter(|at| all[*at].1 == name).collect();
    let listed =
        |of: &[usize]| of.iter().map(|at| format!("{:?}", all[*at].0)).collect::<Vec<_>>().join(", ");
    match described[..] {
        [at] => Ok(at),
        [] if all.is_empty() => Err(format!("no device has the name {name:?}: there is none at all")),
        [] => {
            let every: Vec<usize> = (0..all.len()).collect();
            Err(format!("no device has the name {name:?}; there are {}", listed(&every)))
        }
        ref several => {
            Err(format!("several devices have the name {name:?}: name one of {}", listed(several)))
        }
    }
}

/// Keeps ALSA, on this thread, from writing to standard error what its errors say, too: a screen may be there, or a pipe that is full.
/// What was written in place of that is forgotten.
pub(super) fn quiet() {
    #[cfg(target_os = "linux")]
    let _ = alsa::Output::local_error_handler();
}

/// The system's sound. (`cpal::default_host` panics where there is none.)
fn host(direction: DeviceDirection) -> Result<Host, Error> {
    quiet();
    let about = about(direction);
    let first = cpal::available_hosts().into_iter().next();
    let first = first.ok_or_else(|| about("the system has no sound".into()))?;
    cpal::host_from_id(first).map_err(|error| about(error.to_string()))
}

fn default_device(host: &Host, direction: DeviceDirection) -> Option<Device> {
    match direction {
        DeviceDirection::Input => host.default_input_device(),
        DeviceDirection::Output => host.default_output_device(),
    }
}

/// The devices that may have this direction, each once, and the default.
fn candidates(host: &Host, direction: DeviceDirection) -> Result<Vec<Device>, Error> {
    let all = host.devices().map_err(|error| about(direction)(error.to_string()))?;
    let mut found: Vec<Device> = Vec::new();
    let fitting = all.filter(|device| match direction {
        DeviceDirection::Input => device.supports_input(),
        DeviceDirection::Output => device.supports_output(),
    });
    // ALSA's default need not be in its list.
    for device in fitting.chain(default_device(host, direction)) {
        if !found.contains(&device) {
            found.push(device);
        }
    }
    Ok(found)
}

fn names(device: &Device) -> (String, String) {
    let name = device.id().map_or_else(|_| device.to_string(), |id| id.id().to_owned());
    let description =
        device.description().map_or_else(|_| name.clone(), |described| described.name().to_owned());
    (name, description)
}

/// What the device can do; `None` where it turns out not to have this direction.
fn info(device: &Device, direction: DeviceDirection, is_default: bool) -> Option<DeviceInfo> {
    let (name, description) = names(device);
    let configs: Result<Vec<SupportedStreamConfigRange>, _> = match direction {
        DeviceDirection::Input => device.supported_input_configs().map(Iterator::collect),
        DeviceDirection::Output => device.supported_output_configs().map(Iterator::collect),
    };
    let (configs, problem) = match configs {
        Ok(configs) if configs.is_empty() => return None,
        Ok(configs) => (configs, None),
        Err(error) if [ErrorKind::DeviceBusy, ErrorKind::PermissionDenied].contains(&error.kind()) => {
            (Vec::new(), Some(error.to_string()))
        }
        Err(_) => return None,
    };
    let mut rates: Vec<_> =
        configs.iter().map(|config| (config.min_sample_rate(), config.max_sample_rate())).collect();
    let mut channels: Vec<_> = configs.iter().map(SupportedStreamConfigRange::channels).collect();
    let mut formats: Vec<String> = Vec::new();
    for config in &configs {
        let format = config.sample_format().to_string();
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    rates.sort_unstable();
    rates.dedup();
    channels.sort_unstable();
    channels.dedup();
    Some(DeviceInfo { name, description, is_default, rates, channels, formats, problem })
}
