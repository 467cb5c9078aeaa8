#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod clip;
mod compare;
#[cfg(feature = "device")]
mod device;
mod error;
mod file;
mod jitter;
mod opus;
mod pace;
mod pcm;
mod picture;
mod resample;
mod speaker;

#[cfg(feature = "device")]
pub use device::{Loudspeaker, Microphone};
pub use {
    clip::Clip,
    compare::{Comparison, compare},
    error::Error,
    file::{SPEECH, WavRecorder, load, read_flac, read_ogg, read_wav, save_wav},
    jitter::{JitterBuffer, JitterStats, Pull},
    opus::{
        OPUS_RATE, VoiceDecoder, VoiceEncoder, VoiceSettings, packet_samples, voice_decoder, voice_encoder,
    },
    pace::Pacer,
    pcm::{SampleFormat, SampleOrder, decode, encode},
    picture::draw_waveforms,
    resample::resample,
    speaker::{Preprocessor, Speaker, SpeakerFigures, limit, mix_into},
};
