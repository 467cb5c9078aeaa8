//! Opus behind two small traits: in pure Rust by default, libopus with the feature `libopus`.

use crate::{Clip, Error, resample};
use core::time::Duration;

/// Frames per second of everything here: Opus' own.
pub const OPUS_RATE: u32 = 48_000;

/// How speech is encoded, at 48 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceSettings {
    /// 10, 20, 40 or 60 ms.
    pub frame: Duration,
    /// 1 or 2, whose samples alternate then.
    pub channels: u16,
    /// Bits per second.
    pub bitrate: u32,
    /// The loss to prepare for, in percent: each packet then carries the one before once more, coarsely. From 6 on at
    /// usual bitrates.
    pub expected_loss: u8,
}

impl VoiceSettings {
    /// 20 ms, mono, 32 kbit/s, prepared for 10 % loss.
    pub const DEFAULT: Self =
        Self { frame: Duration::from_millis(20), channels: 1, bitrate: 32_000, expected_loss: 10 };

    /// Samples of one frame, of each channel.
    pub fn samples(&self) -> usize {
        usize::try_from(self.frame.as_micros() * u128::from(OPUS_RATE) / 1_000_000).unwrap_or(0)
    }
}

impl Default for VoiceSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Encodes speech.
pub trait VoiceEncoder: Send {
    /// Encodes one frame of samples from -1 to 1, of all channels; `packet` is replaced.
    ///
    /// # Errors
    /// The frame has another length than was agreed.
    fn encode(&mut self, samples: &[f32], packet: &mut Vec<u8>) -> Result<(), Error>;
}

/// Decodes speech.
pub trait VoiceDecoder: Send {
    /// Decodes one packet; `samples` has to be as long as its frame, of all channels. Returns how many there were.
    ///
    /// # Errors
    /// The packet is not Opus, or its frame is longer.
    fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error>;

    /// Makes up for a lost packet from the one behind it, as far as that carries it. True if it did.
    ///
    /// # Errors
    /// The packet is not Opus.
    fn recover(&mut self, next: &[u8], samples: &mut [f32]) -> Result<bool, Error>;

    /// Makes up for a lost packet from what was heard before.
    ///
    /// # Errors
    /// `samples` is no multiple of 2.5 ms.
    fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error>;
}

/// The encoder of this build.
///
/// # Errors
/// Settings that Opus does not have.
pub fn voice_encoder(settings: VoiceSettings) -> Result<Box<dyn VoiceEncoder>, Error> {
    if !matches!(settings.frame.as_millis(), 10 | 20 | 40 | 60) {
        return Err(Error::Codec(format!("frames of {:?}: 10, 20, 40 or 60 ms expected", settings.frame)));
    }
    check_channels(settings.channels)?;
    #[cfg(feature = "libopus")]
    return reference::encoder(settings);
    #[cfg(not(feature = "libopus"))]
    pure::encoder(settings)
}

/// The decoder of this build, for 1 or 2 channels, whatever the packets have.
///
/// # Errors
/// The codec's own.
pub fn voice_decoder(channels: u16) -> Result<Box<dyn VoiceDecoder>, Error> {
    check_channels(channels)?;
    #[cfg(feature = "libopus")]
    return reference::decoder(channels);
    #[cfg(not(feature = "libopus"))]
    pure::decoder(channels)
}

/// What Opus makes of a recording, without a network: encoded with `settings`, frame by frame, and decoded at once. In mono; it begins
/// as much later as the codec needs, and fills its last frame up.
///
/// # Errors
/// The codec's own.
pub fn through_codec(clip: &Clip, settings: VoiceSettings) -> Result<Clip, Error> {
    let (mut encoder, mut decoder) = (voice_encoder(settings)?, voice_decoder(settings.channels)?);
    let channels = usize::from(settings.channels);
    let (mut packet, mut heard) = (Vec::new(), Clip::empty(OPUS_RATE, settings.channels));
    let mut samples = vec![0.0; settings.samples() * channels];
    for frame in resample(&clip.mono(), OPUS_RATE)?.samples.chunks(settings.samples()) {
        samples.fill(0.0);
        for (to, from) in samples.chunks_exact_mut(channels).zip(frame) {
            to.fill(*from as f32);
        }
        encoder.encode(&samples, &mut packet)?;
        decoder.decode(&packet, &mut samples)?;
        heard.samples.extend(samples.iter().map(|sample| f64::from(*sample)));
    }
    Ok(heard.mono())
}

fn check_channels(channels: u16) -> Result<(), Error> {
    match channels {
        1 | 2 => Ok(()),
        _ => Err(Error::Codec(format!("{channels} channels: 1 or 2 expected"))),
    }
}

/// Samples of a packet's frames at 48 kHz; `None` for what is no packet. An empty one would be taken for a lost one.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let count = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 63),
    };
    let samples = match first >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880][usize::from(config % 4)],
        config @ 12..16 => [480, 960][usize::from(config % 2)],
        config => [120, 240, 480, 960][usize::from(config % 4)],
    } * count;
    (1..=5760).contains(&samples).then_some(samples)
}

#[cfg(any(not(feature = "libopus"), test))]
mod pure {
    use super::{OPUS_RATE, VoiceDecoder, VoiceEncoder, VoiceSettings};
    use crate::Error;
    use ropus::{Application, Bitrate, Channels, DecodeMode, Decoder, Encoder, InbandFec, Signal};

    /// With its number of channels.
    struct Pure<T>(T, usize);

    const fn layout(channels: u16) -> Channels {
        if channels == 2 { Channels::Stereo } else { Channels::Mono }
    }

    pub(super) fn encoder(settings: VoiceSettings) -> Result<Box<dyn VoiceEncoder>, Error> {
        let encoder = Encoder::builder(OPUS_RATE, layout(settings.channels), Application::Voip)
            .bitrate(Bitrate::Bits(settings.bitrate))
            .signal(Signal::Voice)
            .complexity(5)
            .inband_fec(if settings.expected_loss > 0 { InbandFec::Enabled } else { InbandFec::Disabled })
            .packet_loss_perc(settings.expected_loss.min(100))
            .build()
            .map_err(Error::codec)?;
        Ok(Box::new(Pure(encoder, settings.channels.into())))
    }

    pub(super) fn decoder(channels: u16) -> Result<Box<dyn VoiceDecoder>, Error> {
        let decoder = Decoder::new(OPUS_RATE, layout(channels)).map_err(Error::codec)?;
        Ok(Box::new(Pure(decoder, channels.into())))
    }

    impl VoiceEncoder for Pure<Encoder> {
        fn encode(&mut self, samples: &[f32], packet: &mut Vec<u8>) -> Result<(), Error> {
            packet.resize(1275, 0);
            let len = self.0.encode_float(samples, packet).map_err(Error::codec)?;
            packet.truncate(len);
            Ok(())
        }
    }

    impl VoiceDecoder for Pure<Decoder> {
        fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
            super::check(packet, samples.len() / self.1)?;
            let frames = self.0.decode_float(packet, samples, DecodeMode::Normal).map_err(Error::codec)?;
            Ok(frames * self.1)
        }

        fn recover(&mut self, next: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
            super::check(next, samples.len() / self.1)?;
            let carries = super::carries_fec(next);
            self.0.decode_float(next, samples, DecodeMode::Fec).map_err(Error::codec)?;
            Ok(carries)
        }

        fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
            self.0.decode_float(&[], samples, DecodeMode::Normal).map(|_| ()).map_err(Error::codec)
        }
    }
}

#[cfg(feature = "libopus")]
mod reference {
    use super::{OPUS_RATE, VoiceDecoder, VoiceEncoder, VoiceSettings};
    use crate::Error;
    use opus::{Application, Bitrate, Channels, Decoder, Encoder, Signal};

    /// With its number of channels.
    struct Reference<T>(T, usize);

    const fn layout(channels: u16) -> Channels {
        if channels == 2 { Channels::Stereo } else { Channels::Mono }
    }

    pub(super) fn encoder(settings: VoiceSettings) -> Result<Box<dyn VoiceEncoder>, Error> {
        let make = || {
            let mut encoder = Encoder::new(OPUS_RATE, layout(settings.channels), Application::Voip)?;
            encoder.set_bitrate(Bitrate::Bits(i32::try_from(settings.bitrate).unwrap_or(i32::MAX)))?;
            encoder.set_signal(Signal::Voice)?;
            encoder.set_complexity(5)?;
            encoder.set_inband_fec(settings.expected_loss > 0)?;
            encoder.set_packet_loss_perc(settings.expected_loss.min(100).into())?;
            Ok(encoder)
        };
        let encoder = make().map_err(|error: opus::Error| Error::codec(error))?;
        Ok(Box::new(Reference(encoder, settings.channels.into())))
    }

    pub(super) fn decoder(channels: u16) -> Result<Box<dyn VoiceDecoder>, Error> {
        let decoder = Decoder::new(OPUS_RATE, layout(channels)).map_err(Error::codec)?;
        Ok(Box::new(Reference(decoder, channels.into())))
    }

    impl VoiceEncoder for Reference<Encoder> {
        fn encode(&mut self, samples: &[f32], packet: &mut Vec<u8>) -> Result<(), Error> {
            packet.resize(1275, 0);
            let len = self.0.encode_float(samples, packet).map_err(Error::codec)?;
            packet.truncate(len);
            Ok(())
        }
    }

    impl VoiceDecoder for Reference<Decoder> {
        fn decode(&mut self, packet: &[u8], samples: &mut [f32]) -> Result<usize, Error> {
            super::check(packet, samples.len() / self.1)?;
            let frames = self.0.decode_float(packet, samples, false).map_err(Error::codec)?;
            Ok(frames * self.1)
        }

        fn recover(&mut self, next: &[u8], samples: &mut [f32]) -> Result<bool, Error> {
            super::check(next, samples.len() / self.1)?;
            self.0.decode_float(next, samples, true).map_err(Error::codec)?;
            Ok(super::carries_fec(next))
        }

        fn conceal(&mut self, samples: &mut [f32]) -> Result<(), Error> {
            self.0.decode_float(&[], samples, false).map(|_| ()).map_err(Error::codec)
        }
    }
}

/// Refuses what no decoder should see.
fn check(packet: &[u8], room: usize) -> Result<(), Error> {
    match packet_samples(packet) {
        None => Err(Error::Codec("not an Opus packet".into())),
        Some(samples) if samples > room => {
            Err(Error::Codec(format!("a frame of {samples} samples, at most {room} expected")))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a packet carries the one before it: the flag behind the first frame's voice activity flags, RFC 6716 section
/// 4.2.4.
fn carries_fec(packet: &[u8]) -> bool {
    let Some(&first) = packet.first() else { return false };
    // CELT has none; only packets of one frame are looked into.
    if first & 0x80 != 0 || first & 3 != 0 {
        return false;
    }
    let frames = match packet_samples(packet) {
        Some(samples) if first >> 3 < 12 => (samples / 960).max(1),
        _ => 1,
    };
    let flags = packet.get(1).copied().unwrap_or(0);
    frames < 8 && (flags >> (7 - frames)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SPEECH, compare, read};

    fn speech() -> Clip {
        resample(&read(SPEECH).unwrap().clip.mono(), OPUS_RATE).unwrap()
    }

    /// Encodes and decodes speech, losing every `nth` packet and making up for it. Returns it, and how many were recovered.
    fn through(
        settings: VoiceSettings,
        encoder: &mut dyn VoiceEncoder,
        decoder: &mut dyn VoiceDecoder,
        nth: usize,
    ) -> (Clip, usize, usize) {
        let (mut heard, mut recovered, mut bytes) = (Clip::empty(OPUS_RATE, 1), 0, 0);
        let mut packets = Vec::new();
        for frame in speech().samples.chunks_exact(settings.samples()) {
            let frame: Vec<f32> = frame.iter().map(|sample| *sample as f32).collect();
            let mut packet = Vec::new();
            encoder.encode(&frame, &mut packet).unwrap();
            assert_eq!(packet_samples(&packet), Some(settings.samples()));
            bytes += packet.len();
            packets.push(packet);
        }
        let mut samples = vec![0.0; settings.samples()];
        for (n, packet) in packets.iter().enumerate() {
            if nth > 0 && n % nth == nth - 1 {
                match packets.get(n + 1) {
                    Some(next) => recovered += usize::from(decoder.recover(next, &mut samples).unwrap()),
                    None => decoder.conceal(&mut samples).unwrap(),
                }
            } else {
                assert_eq!(decoder.decode(packet, &mut samples).unwrap(), settings.samples());
            }
            heard.samples.extend(samples.iter().map(|sample| f64::from(*sample)));
        }
        (heard, recovered, bytes)
    }

    #[test]
    fn d_18_speech_survives_opus_at_every_frame_length() {
        for milliseconds in [10, 20, 40, 60] {
            let settings =
                VoiceSettings { frame: Duration::from_millis(milliseconds), ..VoiceSettings::DEFAULT };
            let (heard, ..) =
                through(settings, &mut *pure::encoder(settings).unwrap(), &mut *pure::decoder(1).unwrap(), 0);
            let comparison = compare(&speech(), &heard).unwrap();
            assert!(comparison.present > 0.8, "{milliseconds} ms: {comparison:?}");
        }
        assert!(
            voice_encoder(VoiceSettings { frame: Duration::from_millis(30), ..VoiceSettings::DEFAULT })
                .is_err()
        );
    }

    #[test]
    fn d_18_lost_packets_are_recovered_from_those_behind_them() {
        let settings = VoiceSettings::DEFAULT;
        let (heard, recovered, bytes) =
            through(settings, &mut *pure::encoder(settings).unwrap(), &mut *pure::decoder(1).unwrap(), 10);
        let lost = speech().frames() / 9600;
        assert!(recovered * 2 > lost, "{recovered} of {lost}");
        let present = compare(&speech(), &heard).unwrap().present;
        assert!(present > 0.75, "{present}");
        let kilobits = bytes as f64 * 8.0 / speech().seconds() / 1000.0;
        assert!((20.0..40.0).contains(&kilobits), "{kilobits} kbit/s");
    }

    #[cfg(feature = "libopus")]
    #[test]
    fn d_18_both_codecs_understand_each_other() {
        let settings = VoiceSettings::DEFAULT;
        type Make<S, T> = fn(S) -> Result<Box<T>, Error>;
        let encoders: [Make<VoiceSettings, dyn VoiceEncoder>; 2] = [pure::encoder, reference::encoder];
        let decoders: [fn(u16) -> _; 2] = [pure::decoder, reference::decoder];
        for encoder in encoders {
            for decoder in decoders {
                let (heard, recovered, _) =
                    through(settings, &mut *encoder(settings).unwrap(), &mut *decoder(1).unwrap(), 10);
                let present = compare(&speech(), &heard).unwrap().present;
                assert!(present > 0.75 && recovered > 10, "{present} {recovered}");
            }
        }
    }

    #[test]
    fn o_09_two_channels_stay_apart() {
        let settings =
            VoiceSettings { channels: 2, bitrate: 96_000, expected_loss: 0, ..VoiceSettings::DEFAULT };
        let (mut encoder, mut decoder) = (voice_encoder(settings).unwrap(), voice_decoder(2).unwrap());
        let left = Clip::tone(OPUS_RATE, 1, 440.0, 1.0);
        let (mut packet, mut samples, mut heard) = (Vec::new(), vec![0.0; 1920], Vec::new());
        for frame in left.samples.chunks_exact(960) {
            // The right one is silent.
            let stereo: Vec<f32> = frame.iter().flat_map(|sample| [*sample as f32, 0.0]).collect();
            encoder.encode(&stereo, &mut packet).unwrap();
            assert_eq!(packet_samples(&packet), Some(960));
            assert_eq!(decoder.decode(&packet, &mut samples).unwrap(), 1920);
            heard.extend_from_slice(&samples);
        }
        let power = |channel: usize| heard.iter().skip(channel).step_by(2).map(|s| s * s).sum::<f32>();
        assert!(power(0) > 100.0 * power(1), "{} and {}", power(0), power(1));
        assert!(voice_decoder(3).is_err() && voice_decoder(0).is_err());
        assert!(voice_encoder(VoiceSettings { channels: 6, ..settings }).is_err());
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut decoder = pure::decoder(1).unwrap();
        let mut samples = [0.0; 960];
        for packet in [&[][..], &[3], &[0xff, 0], &[0xff, 63], &[0x18; 3]] {
            assert!(decoder.decode(packet, &mut samples).is_err(), "{packet:?}");
        }
        assert!(decoder.conceal(&mut samples).is_ok());
    }
}
