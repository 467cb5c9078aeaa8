//! Files of every kind, read and written.

use std::path::{Path, PathBuf};
use voxwire_audio::{Clip, SampleFormat, compare, draw_waveforms, load, save_wav};

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn c_08_wav_of_every_format_comes_back_as_it_went() {
    for (format, bits) in [
        (SampleFormat::U8, 8),
        (SampleFormat::I8, 8),
        (SampleFormat::I16, 16),
        (SampleFormat::I32, 32),
        (SampleFormat::F32, 24),
    ] {
        // Samples that the format holds exactly.
        let full_scale = f64::from(1_u32 << (bits - 1));
        let tone = Clip::tone(22_050, 3, 300.0, 0.1);
        let samples = tone.samples.iter().map(|sample| (sample * full_scale).round() / full_scale).collect();
        let clip = Clip { samples, ..tone };
        let path = temporary(&format!("{format:?}.wav"));
        save_wav(&path, &clip, format).unwrap();
        assert_eq!(load(&path).unwrap(), clip, "{format:?}");
    }
}

#[test]
fn c_08_flac_and_ogg_are_read() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR"));
    let speech = load(&assets.join("assets/speech.flac")).unwrap();
    assert_eq!((speech.rate, speech.channels, speech.frames()), (16_000, 1, 126_654));
    let ogg = load(&assets.join("tests/tone.ogg")).unwrap();
    assert_eq!((ogg.rate, ogg.channels, ogg.frames()), (44_100, 2, 22_050));
    let tone = Clip::tone(44_100, 2, 440.0, 0.5);
    let comparison = compare(&tone, &ogg).unwrap();
    assert!(comparison.present > 0.95 && comparison.spectral_distance_db < 8.0, "{comparison:?}");
}

#[test]
fn c_08_a_bad_file_is_named_and_described() {
    let missing = load(Path::new("no/such.wav")).unwrap_err().to_string();
    assert!(missing.starts_with("no/such.wav: No such file"), "{missing}");
    for (name, bytes, expected) in [
        ("text.wav", &b"hello, world"[..], "not a WAV, FLAC or Ogg Vorbis file"),
        ("cut.wav", b"RIFF\x24\0\0\0WAVEfmt ", "Failed to read"),
        ("empty.flac", b"", "not a WAV, FLAC or Ogg Vorbis file"),
        ("cut.flac", b"fLaC\0\0\0\x22", ""),
        ("cut.ogg", b"OggS\0", ""),
    ] {
        let path = temporary(name);
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

#[test]
fn c_08_a_picture_shows_what_there_is() {
    let path = temporary("picture.png");
    let (tone, short) = (Clip::tone(8000, 1, 3.0, 2.0), Clip::tone(8000, 1, 3.0, 1.0));
    draw_waveforms(&path, &[("played", &tone), ("heard", &short)]).unwrap();
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (1000, 358));
    let coloured = |colour: [u8; 3], columns: core::ops::Range<usize>| {
        let rows = pixels.chunks(3000);
        rows.flat_map(|row| &row.as_chunks::<3>().0[columns.clone()])
            .filter(|&&pixel| pixel == colour)
            .count()
    };
    let (played, heard) = ([36, 99, 165], [191, 87, 0]);
    assert!(coloured(played, 600..900) > 300 && coloured(heard, 100..400) > 300);
    assert_eq!(coloured(heard, 600..900), 0);
}
