#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod automatic_gain;
#[cfg(feature = "device")]
mod bridge;
mod clip;
mod compare;
mod compressed;
#[cfg(feature = "device")]
mod device;
mod echo_detector;
mod error;
mod file;
mod follow;
mod jitter;
mod mix;
mod noise_suppression;
mod ogg;
mod opus;
mod pace;
mod pcm;
mod pcm_voice;
mod picture;
mod preprocess;
mod record;
mod recording;
mod resample;
mod sound_file;
mod speaker;
mod stretch;
mod voice_activity;
mod wav;

#[cfg(feature = "device")]
pub use device::{DeviceChange, DeviceDirection, DeviceInfo, Loudspeaker, Microphone, devices};
pub use {
    clip::Clip,
    compare::{Comparison, compare},
    echo_detector::EchoDetector,
    error::Error,
    file::{Loaded, MAX_SAMPLES, SPEECH, load, load_at_most, read},
    follow::{AdaptiveResampler, ClockFollower, FollowState},
    jitter::{JitterBuffer, JitterStats, Pace, Pull},
    mix::{limit, mix_into},
    opus::{
        OPUS_RATE, VoiceDecoder, VoiceEncoder, VoiceSettings, packet_samples, through_codec, voice_decoder,
        voice_encoder,
    },
    pace::Pacer,
    pcm::{SampleFormat, SampleOrder, decode, decode_into, encode},
    pcm_voice::{PcmMixer, PcmSpeaker},
    picture::draw_waveforms,
    preprocess::{Preprocessor, PreprocessorSettings},
    record::{WavRecorder, save_wav, wav_header},
    recording::{Recording, RecordingAbort},
    resample::{ClipStream, StreamResampler, resample},
    sound_file::{READ_AHEAD, SoundFile, SoundStream},
    speaker::{Speaker, SpeakerFigures},
    stretch::{lengthen, shorten},
    voice_activity::VoiceActivity,
};
