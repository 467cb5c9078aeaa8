#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod clip;
mod compare;
mod error;
mod file;
mod pace;
mod pcm;
mod picture;
mod resample;

pub use {
    clip::Clip,
    compare::{Comparison, compare},
    error::Error,
    file::{SPEECH, WavRecorder, load, read_flac, read_ogg, read_wav, save_wav},
    pace::Pacer,
    pcm::{SampleFormat, SampleOrder, decode, encode},
    picture::draw_waveforms,
    resample::resample,
};
