//! F-50, F-16: what sound takes in memory does not depend on the rates and channels that others choose.

use voxwire_audio::{
    Clip, ClipStream, READ_AHEAD, SampleFormat, SoundFile, StreamResampler, resample, save_wav,
};
use voxwire_benches::alloc::{Counting, peak_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: u64 = 1 << 20;

/// One after the other: what is counted is the whole process's.
#[test]
fn f_50_sound_takes_little_memory_at_any_rates_and_channels_that_others_choose() {
    converting();
    playing_a_file();
    playing_a_recording();
}

/// Rates without a common measure, and rates that are far apart.
fn converting() {
    for (from, to, channels) in [
        (48_000, 767_999, 64),
        (767_999, 48_000, 64),
        (1_000, 768_000, 64),
        (768_000, 1_000, 64),
        (44_100, 48_000, 64),
        (44_101, 48_000, 1024),
        (44_100, 48_000, 1024),
    ] {
        let ((), peak) = peak_bytes(|| {
            let mut resampler = StreamResampler::new(from, to, channels).unwrap();
            let samples = vec![0.5; usize::from(channels) * 16];
            let mut out = Vec::new();
            for _ in 0..40 {
                resampler.feed(&samples);
                while resampler.pull(&mut out).unwrap() {
                    out.clear();
                }
            }
        });
        // A block of at most 4096 frames, and its like behind it and before it.
        let most = 8 * MIB + u64::from(channels) * MIB / 2;
        assert!(peak < most, "{from} Hz to {to} Hz, {channels} channels: {peak} bytes");
    }
}

/// A file of one shape in a call of another, in parts of 20 ms.
fn playing_a_file() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (n, (rate, channels, to, to_channels)) in [
        (44_100, 1, 767_999, 64),
        (48_000, 2, 96_001, 1024),
        (767_999, 64, 8_000, 1),
        (1_000, 64, 192_000, 64),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.join(format!("memory-{n}.wav"));
        save_wav(&path, &Clip::tone(rate, channels, 100.0, 0.3), SampleFormat::I16).unwrap();
        let part = to as usize / 50;
        let (frames, peak) = peak_bytes(|| {
            let mut stream = SoundFile::open(&path).unwrap().play(to, to_channels).unwrap();
            stream.wait();
            let (mut samples, mut frames) = (Vec::new(), 0);
            while !stream.is_over() {
                samples.clear();
                frames += stream.take(part, &mut samples);
            }
            frames
        });
        assert!(frames.abs_diff(to as usize * 3 / 10) <= 1 + to as usize / 500, "{to}: {frames}");
        // What is read ahead, blocks, and what is asked for at once: in store, in hand, and as both grow.
        let asked = (part * usize::from(to_channels) * 8) as u64;
        let most = 4 * READ_AHEAD as u64 * 8 + 40 * MIB + 4 * asked;
        assert!(peak < most, "{rate} Hz, {channels} to {to} Hz, {to_channels}: {peak} bytes");
    }
}

/// F-16: a recording of 1000 Hz that is as long as one may be is played at 48 kHz.
fn playing_a_recording() {
    let clip = Clip { rate: 1_000, channels: 1, samples: vec![0.25; 5_292_000] };
    let error = resample(&Clip { rate: 1_000, channels: 1, samples: vec![0.25; 4_000_000] }, 48_000);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("192000000 samples would come out: at most 134217728 expected"), "{text}");
    let (frames, peak) = peak_bytes(|| {
        let mut stream = ClipStream::new(clip, 48_000, 1).unwrap();
        let (mut samples, mut frames) = (Vec::new(), 0);
        while frames < 480_000 {
            samples.clear();
            frames += stream.take(960, &mut samples).unwrap();
        }
        frames
    });
    assert!(frames == 480_000 && peak < 4 * MIB, "{frames} frames: {peak} bytes");
}
