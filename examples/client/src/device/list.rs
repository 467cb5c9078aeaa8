//! `devices`: lists what there is to hear and to speak with.

use crate::error::{Error, failed};
use crate::report::{Report, plain};
use serde_json::json;
use voxwire_audio::{DeviceDirection, DeviceInfo, devices};

/// More than this is no rate of a device, but a plug-in's that converts all rates.
const HIGHEST_RATE: u32 = 768_000;

/// Prints the devices of this machine.
pub(crate) fn list(report: &Report) -> Result<(), Error> {
    let (count, text) = found(report)?;
    if count == 0 {
        return Err(failed!(
            "this machine has no input and no output device that can be opened: its sound system knows no sound card"
        ));
    }
    report.block("done", json!({ "devices": count }), &text);
    Ok(())
}

/// The devices of this machine, or why there are none, as a part of something else.
pub(crate) fn shown(report: &Report) -> String {
    match found(report) {
        Ok((_, text)) => format!("sound {}", text.replace("\noutputs:", "\nsound outputs:")),
        Err(error) => format!("sound devices: {}", plain(&error.to_string())),
    }
}

/// How many devices there are, and a text that lists them. Each has an event.
fn found(report: &Report) -> Result<(usize, String), Error> {
    let (mut count, mut blocks) = (0, Vec::new());
    for (name, title, direction) in
        [("input", "inputs", DeviceDirection::Input), ("output", "outputs", DeviceDirection::Output)]
    {
        let found = devices(direction)?;
        for device in &found {
            report.event("sound_device", fields(name, device), "");
        }
        count += found.len();
        let shown = found.iter().map(described);
        let shown = if found.is_empty() { "  none".into() } else { shown.collect::<Vec<_>>().join("\n") };
        blocks.push(format!("{title}:\n{shown}"));
    }
    Ok((count, blocks.join("\n")))
}

fn fields(direction: &str, device: &DeviceInfo) -> serde_json::Value {
    let mut fields = json!({
        "direction": direction, "name": device.name, "description": device.description,
        "default": device.is_default, "rates": device.rates, "channels": device.channels, "formats": device.formats,
    });
    if let Some(problem) = &device.problem {
        fields["problem"] = problem.as_str().into();
    }
    fields
}

/// A device in two lines, of 80 columns where its names permit.
fn described(device: &DeviceInfo) -> String {
    let DeviceInfo { name, description, is_default, rates, channels, formats, problem, .. } = device;
    let mut text = format!("  {}", plain(name));
    if description != name {
        text += &format!("  ({})", plain(description));
    }
    if *is_default {
        text += "  default";
    }
    if let Some(problem) = problem {
        return text + &format!("\n      cannot be used now: {}", plain(problem));
    }
    let rates: Vec<String> = rates.iter().map(|rate| shown_rates(*rate)).collect();
    let channels = shown_channels(channels);
    text + &format!("\n      {} Hz; channels {channels}; {}", rates.join(", "), formats.join(", "))
}

fn shown_rates((lowest, highest): (u32, u32)) -> String {
    match highest {
        _ if lowest == highest => lowest.to_string(),
        highest if highest > HIGHEST_RATE => format!("{lowest} and more"),
        highest => format!("{lowest}–{highest}"),
    }
}

/// Numbers in a row are a range.
fn shown_channels(channels: &[u16]) -> String {
    let rows = channels.chunk_by(|before, next| next - before == 1);
    let shown = rows.filter_map(|row| match *row {
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}–{last}")),
        [] => None,
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_short() {
        assert_eq!(shown_channels(&[1, 2, 4, 6, 7, 8]), "1–2, 4, 6–8");
        assert_eq!(
            [(44_100, 44_100), (8000, 192_000), (1, u32::MAX)].map(shown_rates),
            ["44100", "8000–192000", "1 and more"]
        );
    }
}
