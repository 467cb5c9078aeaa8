//! syfala's part of the demonstration: a driver finds a device by broadcast; each plays to the other, at once.

use crate::demo::proxy::UdpProxy;
use crate::demo::{Conditions, Likeness, Outcome, draw};
use crate::error::{Error, failed};
use crate::report::Report;
use crate::sound::{RecordAs, Source};
use crate::syfala::{Options, stream};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use voxwire_audio::{Clip, SampleFormat, compare, load, resample, save_wav};
use voxwire_server::syfala::{DeviceEvent, DeviceSettings, Serve, SoftDevice, Sound, bind};
use voxwire_syfala::ServerSettings;
use voxwire_transport::HubSettings;

/// What the device has in store: more than a busy machine is late, so that every sample can be compared.
const LATENCY: Duration = Duration::from_millis(500);
/// What goes on behind the last word.
const TAIL: Duration = Duration::from_secs(1);

/// Byte indices, and when they went by.
type Times = Vec<(u64, Instant)>;

pub(super) async fn call(conditions: &Conditions<'_>) -> Result<Vec<Outcome>, Error> {
    let Conditions { speech, out, signals, .. } = *conditions;
    let impairment = conditions.impairment(0.0);
    // As a stream of `f32` has them.
    let stereo = |clip: &Clip| -> Result<Clip, Error> {
        let mut clip = resample(&clip.mix(2), 48_000)?;
        clip.samples.iter_mut().for_each(|sample| *sample = f64::from(*sample as f32));
        Ok(clip)
    };
    let drivers = stereo(speech)?;
    // The device speaks more slowly, and lower.
    let devices = stereo(&Clip { rate: (f64::from(speech.rate) * 0.8).round() as u32, ..speech.clone() })?;
    save_wav(&out.join("syfala-driver-said.wav"), &drivers, SampleFormat::F32)?;
    save_wav(&out.join("syfala-device-said.wav"), &devices, SampleFormat::F32)?;
    let (at_device, at_driver) = (out.join("syfala-device-heard.wav"), out.join("syfala-driver-heard.wav"));

    let traced: Arc<Mutex<(Times, Times)>> = Arc::default();
    let (device, address) = start_device(&devices, &at_device, traced.clone())?;
    // By broadcast on the loopback network; on a bad network through a proxy, which has one address.
    let to = if impairment.is_none() {
        SocketAddr::from(([127, 255, 255, 255], address.port()))
    } else {
        UdpProxy::start(address, impairment).await?.address
    };
    let options = Options {
        source: Some(Source::Clip(drivers.clone())),
        record: Some(at_driver.clone()),
        record_as: RecordAs::Call,
        loudspeaker: None,
        length: Some(Duration::from_secs_f64(devices.seconds()) + TAIL),
        output: None,
        input: 0,
        measure: false,
        trace: true,
        retry: Duration::ZERO,
    };
    let summary = stream(&[to], options, &Report::silent(), signals.clone()).await?;
    device.drain(Duration::from_secs(2)).await;
    let (heard, played) = core::mem::take(&mut *traced.lock().unwrap_or_else(PoisonError::into_inner));

    let exact = impairment.is_none();
    let to_device =
        judge("syfala: driver to device", &drivers, &at_device, (&summary.said, &heard), exact, out)?;
    let to_driver =
        judge("syfala: device to driver", &devices, &at_driver, (&played, &summary.came), exact, out)?;
    let set_up = summary.set_up;
    Ok(vec![Outcome { set_up, ..to_device }, Outcome { set_up, ..to_driver }])
}

/// A device on the loopback network that says `clip` once, records, and notes what goes by.
fn start_device(
    clip: &Clip,
    record: &Path,
    trace: Arc<Mutex<(Times, Times)>>,
) -> Result<(SoftDevice, SocketAddr), Error> {
    let listening = Arc::new(move |event| {
        let (heard, played) = &mut *trace.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            DeviceEvent::Heard(_, 0, at) => heard.push((at, Instant::now())),
            DeviceEvent::Played(_, 0, at) => played.push((at, Instant::now())),
            _ => {}
        }
    });
    let settings = DeviceSettings {
        sound: Sound::Clip { clip: clip.clone(), repeat: false },
        latency: LATENCY,
        record: Some(record.into()),
        record_as: None,
        trace: true,
        ..DeviceSettings::standard()
    };
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (listener, address) = bind(loopback, 0)?;
    let (session, serve) = (ServerSettings::DEFAULT, Serve::OnLink(loopback));
    let device = SoftDevice::start(listener, settings, session, serve, HubSettings::DEFAULT, listening)?;
    Ok((device, address))
}

fn judge(
    label: &'static str,
    voice: &Clip,
    recording: &Path,
    (said, heard): (&Times, &Times),
    exact: bool,
    out: &Path,
) -> Result<Outcome, Error> {
    let sent: HashMap<u64, Instant> = said.iter().copied().collect();
    let latencies =
        heard.iter().filter_map(|(at, came)| Some(came.saturating_duration_since(*sent.get(at)?)));
    let recorded = load(recording).map(|loaded| loaded.clip);
    let comparison = match &recorded {
        Ok(recorded) => compare(voice, recorded).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let silence = Clip::empty(voice.rate, 2);
    let (speaker, listener) = label
        .trim_start_matches("syfala: ")
        .split_once(" to ")
        .ok_or_else(|| failed!("{label}: a speaker and a listener expected"))?;
    draw(out, label, speaker, listener, voice, recorded.as_ref().unwrap_or(&silence))?;
    Ok(Outcome {
        protocol: label,
        set_up: Duration::ZERO,
        sent: said.len() as u64,
        heard: heard.len() as u64,
        latencies: latencies.collect(),
        stalls: 0,
        // Every sample, or it does not count; where something is lost, most of them.
        passed: comparison
            .as_ref()
            .is_ok_and(|comparison| if exact { comparison.exact } else { comparison.present > 0.5 }),
        likeness: comparison.map(Likeness::Sound),
    })
}
