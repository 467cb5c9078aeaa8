//! Files of every kind, read and written.

use std::path::{Path, PathBuf};
use voxwire_audio::{
    Clip, MAX_SAMPLES, SPEECH, SampleFormat, WavRecorder, compare, draw_waveforms, load, read, save_wav,
};

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
        assert_eq!(load(&path).unwrap().clip, clip, "{format:?}");
    }
}

#[test]
fn c_08_flac_and_ogg_are_read() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR"));
    let speech = load(&assets.join("assets/speech.flac")).unwrap().clip;
    assert_eq!((speech.rate, speech.channels, speech.frames()), (16_000, 1, 126_654));
    let ogg = load(&assets.join("tests/vectors/tone.ogg")).unwrap().clip;
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
        ("text.wav", &b"hello, world"[..], "not a WAV, FLAC or Ogg file"),
        ("song.mp3", b"\xFF\xFB\x90\x64", "MP3 or AAC is not read: convert it"),
        ("tagged.mp3", b"ID3\x04\0\0\0\0\0\x03\0\0\0\xFF\xFB\x90\x64", "MP3 or AAC is not read: convert it"),
        ("song.m4a", b"\0\0\0\x1Cftypmp42", "MP4 is not read"),
        (
            "speech.spx",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x50Speex   1.2",
            "Speex in Ogg is not read: convert",
        ),
        ("picture.webp", b"RIFF\x24\0\0\0WEBPVP8 ", "RIFF, but of another kind"),
        ("cut.wav", b"RIFF\x24\0\0\0WAVEfmt ", "the file ends before its `fmt ` chunk"),
        ("empty.flac", b"", "the file is empty"),
        ("cut.flac", b"fLaC\0\0\0\x22", "the file ends within its header"),
        ("cut.ogg", b"OggS\0", ""),
    ] {
        let path = temporary(name);
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

/// A WAV file that says of itself what it wants to.
fn wav(tag: u16, channels: u16, rate: u32, block: u16, bits: u16, size: u32, samples: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0".to_vec();
    file.extend([tag, channels].map(u16::to_le_bytes).concat());
    file.extend([rate, 0].map(u32::to_le_bytes).concat());
    file.extend([block, bits].map(u16::to_le_bytes).concat());
    file.extend(b"data");
    file.extend(size.to_le_bytes());
    file.extend(samples);
    file
}

/// F-50: nothing that a file says panics, or asks for more memory or time than its samples are worth.
#[test]
fn hostile_files_are_refused_with_words() {
    let tone = [0, 64].repeat(500);
    for (file, expected) in [
        (wav(1, 1, 1, 2, 16, 1000, &tone), "1 frames per second: 1000 to 768000 expected"),
        (wav(1, 1, u32::MAX, 2, 16, 1000, &tone), "4294967295 frames per second: 1000 to 768000"),
        (wav(1, 0, 8000, 2, 16, 1000, &tone), "0 channels: 1 to 64 expected"),
        (wav(1, 65, 8000, 130, 16, 1000, &tone), "65 channels: 1 to 64 expected"),
        (wav(1, 1, 8000, 0, 0, 1000, &tone), "PCM of 0 bits cannot be read"),
        (wav(1, 1, 8000, 8, 64, 1000, &tone), "PCM of 64 bits cannot be read"),
        (wav(3, 1, 8000, 2, 16, 1000, &tone), "floating point of 16 bits cannot be read"),
        (wav(0x50, 1, 8000, 1, 8, 1000, &tone), "MPEG audio in WAV is not read: convert it"),
        (wav(0x55, 1, 8000, 1, 8, 1000, &tone), ""),
        (wav(0x1234, 1, 8000, 1, 8, 1000, &tone), "encoding 0x1234 in WAV is not read"),
        (wav(0xFFFE, 1, 8000, 1, 8, 1000, &tone), "its extensible `fmt ` chunk ends before"),
        (wav(1, 1, 8000, 2, 16, 1000, &[]), "no sound in it"),
        (wav(2, 2, 8000, 0, 4, 1000, &tone), "Microsoft ADPCM in blocks of 0 bytes: 14 or more expected"),
        (wav(2, 1, 8000, 256, 16, 1000, &tone), "Microsoft ADPCM of 16 bits cannot be read"),
        (wav(2, 0, 8000, 256, 4, 1000, &tone), "0 channels: 1 to 64 expected"),
        (wav(0x11, 2, 8000, 1, 4, 1000, &tone), "IMA ADPCM in blocks of 1 bytes: 8 or more expected"),
        (wav(0x11, 1, 8000, 256, 3, 1000, &tone), "IMA ADPCM of 3 bits cannot be read"),
        (wav(0x11, u16::MAX, 8000, u16::MAX, 4, 1000, &tone), "65535 channels: 1 to 64 expected"),
        (wav(0x31, 2, 8000, 65, 0, 1000, &tone), "GSM 6.10 with 2 channels: 1 expected"),
        (
            wav(0x31, 1, 8000, 65, 0, 1000, &tone),
            "GSM 6.10 in blocks of 65 bytes: 65, of 320 samples, expected",
        ),
        (wav(0x40, 2, 8000, 64, 4, 1000, &tone), "G.721 with 2 channels: 1 expected"),
        (wav(0x38, 0, 8000, 82, 4, 1000, &tone), "NMS ADPCM with 0 channels: 1 expected"),
        (wav(0x38, 1, 8000, 0, 4, 1000, &tone), "NMS ADPCM in blocks of 0 bytes: 42, 62 or 82"),
        (wav(0x38, 1, 8000, 102, 5, 1000, &tone), "NMS ADPCM in blocks of 102 bytes: 42, 62 or 82"),
        (wav(0x38, 1, 8000, 42, u16::MAX, 1000, &tone), "NMS ADPCM in blocks of 42 bytes: 42, 62 or 82"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(), "the `data` chunk comes before the `fmt ` chunk"),
    ] {
        let error = read(&file[..]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // Two tags, one behind the other.
    let tagged = [b"ID3\x04\0\0\0\0\0\x64", &[0; 100][..]].concat();
    let file = [&tagged[..], &tagged, &wav(1, 1, 8000, 2, 16, 1000, &tone)].concat();
    assert_eq!(read(&file[..]).unwrap().clip.frames(), 500);
    // Numbers that are none are silent, and what is far too loud is cut.
    let floats = [0.5, f32::NAN, f32::INFINITY, 1e30, -0.25].map(f32::to_le_bytes).concat();
    let loaded = read(&wav(3, 1, 8000, 4, 32, 20, &floats)[..]).unwrap();
    assert_eq!(loaded.clip.samples, [0.5, 0.0, 0.0, 1000.0, -0.25]);
    assert_eq!(loaded.remarks.len(), 2, "{:?}", loaded.remarks);
    assert_eq!(loaded.remarks[0], "2 of 5 samples are no numbers and were silenced");
}

/// F-51: what is not read says what it is, and how to convert it.
#[test]
fn f_51_files_of_other_kinds_are_named() {
    for (head, kind) in [
        (&b"FORM\0\0\0\0AIFFCOMM"[..], "AIFF"),
        (b"FORM\0\0\0\0AIFCFVER", "AIFF"),
        (b"FORM\0\0\0\x008SVXVHDR", "8SVX"),
        (b".snd\0\0\0\x18", "AU"),
        (b"caff\0\x01\0\0desc", "CAF"),
        (b"riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB", "Wave64"),
        (b"\xFF\xFB\x90\0", "MP3 or AAC"),
        (b"\0\0\0\x20ftypM4A ", "MP4"),
        (b"NIST_1A\n   1024\n", "NIST SPHERE"),
        (b"Creative Voice File\x1A", "Creative VOC"),
        (b"\x64\xA3\x01\0", "IRCAM"),
        (b"\0\x01\xA3\x64", "IRCAM"),
        (b"PVF1\n", "PVF"),
        (b"2BIT", "AVR"),
        (b"ALawSoundFile**", "Psion WVE"),
        (b"wvpk\0\0", "WavPack"),
        (b"MAC \x96\x0F", "Monkey's Audio"),
        (b"DSD \x1C\0", "DSD"),
        (b"\x30\x26\xB2\x75\x8E\x66", "Windows Media"),
    ] {
        let error = read(&[head, &[0; 100]].concat()[..]).unwrap_err();
        let expected = format!(
            "{kind} is not read: convert it to WAV, FLAC or Ogg, for instance with `ffmpeg -i FILE FILE.flac`"
        );
        assert_eq!(error, expected);
    }
    for (tag, kind) in [(0x64, "G.72x"), (0x2000, "AC-3"), (0x704F, "Opus"), (0xF1AC, "FLAC")] {
        let error = read(&wav(tag, 1, 8000, 1, 0, 1000, &[0; 1000])[..]).unwrap_err();
        assert!(error.starts_with(&format!("{kind} in WAV is not read: convert it")), "{error}");
    }
}

/// F-51: an ID3v1 tag behind a FLAC file is none of its sound, and its last block is not lost for it; BW64 is RF64 of another name.
#[test]
fn f_51_flac_with_a_tag_behind_it_and_bw64_are_read() {
    let whole = read(SPEECH).unwrap();
    for tag in [[&b"TAG"[..], &[0; 125]].concat(), [&b"TAG"[..], &[b'x'; 125]].concat()] {
        let tagged = read(&[SPEECH, &tag].concat()[..]).unwrap();
        assert!(
            tagged == whole,
            "{} of {} samples, {:?}",
            tagged.clip.samples.len(),
            whole.clip.samples.len(),
            tagged.remarks
        );
    }
    let mut file = wav(1, 1, 8000, 2, 16, u32::MAX, &[0, 64].repeat(500));
    file[..4].copy_from_slice(b"BW64");
    let long = [&b"ds64\x1C\0\0\0"[..], &0_u64.to_le_bytes(), &1000_u64.to_le_bytes(), &[0; 12]].concat();
    file.splice(12..12, long);
    file.extend(b"LIST\x04\0\0\0INFO");
    assert_eq!(read(&file[..]).unwrap().clip.samples, [0.5; 500]);
}

/// F-50: a pipe without an end is not read without an end.
#[test]
fn a_sound_that_does_not_end_is_refused() {
    struct Endless(Vec<u8>, u64);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let head = self.0.len().min(buffer.len());
            buffer[..head].copy_from_slice(&self.0[..head]);
            self.0.drain(..head);
            buffer[head..].fill(1);
            self.1 += buffer.len() as u64;
            Ok(buffer.len())
        }
    }
    let mut endless = Endless(wav(1, 1, 48_000, 1, 8, u32::MAX, &[]), 0);
    let error = read(&mut endless).unwrap_err();
    assert_eq!(error, "longer than the 46 minutes that can be read at this rate");
    assert!(endless.1 < MAX_SAMPLES as u64 + (1 << 20));
    // At a low rate fewer will do, since they become as many at the rate of a call.
    let mut slow = Endless(wav(1, 1, 1000, 1, 8, u32::MAX, &[]), 0);
    assert_eq!(read(&mut slow).unwrap_err(), "longer than the 46 minutes that can be read at this rate");
    assert!(slow.1 < MAX_SAMPLES as u64 / 48 + (1 << 20));
}

/// F-51: what writers of WAV files really write.
#[test]
fn unusual_wav_files_are_read() {
    let samples: Vec<u8> = (0..1000_u16).flat_map(|sample| (sample * 7).to_le_bytes()).collect();
    let plain = read(&wav(1, 2, 8000, 4, 16, 2000, &samples)[..]).unwrap();
    assert_eq!((plain.clip.frames(), plain.remarks.len()), (500, 0));
    let with = |before: &[u8]| {
        let file = wav(1, 2, 8000, 4, 16, 2000, &samples);
        [&file[..12], before, &file[12..]].concat()
    };
    let mut behind = wav(1, 2, 8000, 4, 16, 2000, &samples);
    behind.extend(b"LIST\x04\0\0\0INFO");
    for (name, file) in [
        ("an odd chunk with its padding", with(b"LIST\x05\0\0\0INFO!\0")),
        ("an odd chunk without", with(b"LIST\x05\0\0\0INFO!")),
        ("length unknown", wav(1, 2, 8000, 4, 16, u32::MAX, &samples)),
        ("length of a pipe of sox", wav(1, 2, 8000, 4, 16, 0x7FFF_F000, &samples)),
        ("no length", wav(1, 2, 8000, 4, 16, 0, &samples)),
        ("something behind", behind),
    ] {
        let loaded = read(&file[..]).unwrap();
        assert_eq!(loaded, plain, "{name}");
    }
    let cut = read(&wav(1, 2, 8000, 4, 16, 5000, &samples[..1999])[..]).unwrap();
    assert_eq!(cut.clip.samples, plain.clip.samples[..998], "whole frames only");
    assert_eq!(cut.remarks, ["the file is cut: 3001 bytes of its samples are missing"]);
    // 24 bits at the upper end of 32.
    let wide: Vec<u8> = samples.as_chunks::<2>().0.iter().flat_map(|[a, b]| [0, 0, *a, *b]).collect();
    assert_eq!(read(&wav(1, 2, 8000, 8, 24, 4000, &wide)[..]).unwrap().clip, plain.clip);
    let doubles = plain.clip.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(read(&wav(3, 2, 8000, 16, 64, 8000, &doubles)[..]).unwrap(), plain);
}

/// F-51: FLAC behind an ID3v2 tag, cut, and out of a pipe.
#[test]
fn flac_is_read_behind_a_tag_and_as_far_as_it_goes() {
    let whole = read(SPEECH).unwrap();
    let tagged = [b"ID3\x04\0\0\0\0\x02\x01", &[0; 257][..], SPEECH].concat();
    assert_eq!(read(&tagged[..]).unwrap(), whole);
    let cut = read(&SPEECH[..SPEECH.len() / 2]).unwrap();
    assert!(cut.clip.frames() > 40_000 && whole.clip.samples.starts_with(&cut.clip.samples));
    assert_eq!(cut.remarks, ["the file is cut: its end is missing"]);
}

/// F-51: Ogg with Vorbis and Opus, whole, cut, and one behind the other. The tone is of libvorbis, the others of libopus.
#[test]
fn ogg_files_are_read_to_their_end() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let bytes = |name: &str| std::fs::read(vectors.join(name)).unwrap();
    let vorbis = read(&bytes("tone.ogg")[..]).unwrap().clip;
    let opus = read(&bytes("tone-opus.ogg")[..]).unwrap().clip;
    assert_eq!((opus.rate, opus.channels, opus.frames()), (48_000, 1, 96_000));
    let comparison = compare(&Clip::tone(48_000, 1, 440.0, 2.0), &opus).unwrap();
    assert!(comparison.present > 0.95 && comparison.snr_db > 20.0, "{comparison:?}");
    // 5.1, each channel with a frequency of its own, in the order of a WAV file: left, right, centre, bass, left and right behind.
    let surround = read(&bytes("surround-opus.ogg")[..]).unwrap().clip;
    assert_eq!((surround.channels, surround.frames()), (6, 9600));
    for (channel, hz) in [300.0, 500.0, 700.0, 40.0, 1100.0, 1300.0].into_iter().enumerate() {
        let samples = surround.samples.iter().copied().skip(channel).step_by(6).collect();
        let only = Clip { channels: 1, samples, ..surround };
        let comparison = compare(&Clip::tone(48_000, 1, hz, 0.2), &only).unwrap();
        assert!(comparison.present > 0.9, "channel {channel}: {comparison:?}");
    }
    // A chain, of one kind and of two: the second is converted to the shape of the first.
    let twice = read(&bytes("tone-opus.ogg").repeat(2)[..]).unwrap().clip;
    assert!(twice.samples == opus.samples.repeat(2));
    let both = read(&[bytes("tone.ogg"), bytes("tone-opus.ogg")].concat()[..]).unwrap().clip;
    assert_eq!((both.rate, both.channels, both.frames()), (44_100, 2, 22_050 + 88_200));
    assert!(both.samples[..44_100] == vorbis.samples);
    // Cut within a page: what is before it is heard.
    let cut = bytes("tone-opus.ogg");
    let cut = read(&cut[..cut.len() - 100]).unwrap();
    assert_eq!(cut.remarks, ["the file is cut: its end is missing"]);
    assert!(
        cut.clip.frames() > 40_000 && opus.samples.starts_with(&cut.clip.samples),
        "{}",
        cut.clip.frames()
    );
}

/// F-51: the codecs of WAV give libsndfile's samples: of a sound, and then of bits that no encoder writes.
#[test]
fn f_51_codecs_in_wav_are_decoded_to_the_last_bit() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    // With the bytes and the frames of a block.
    for (name, block, frames) in [
        ("gsm", 65, 320),
        ("g721", 60, 120),
        ("nms-16", 42, 160),
        ("nms-24", 62, 160),
        ("nms-32", 82, 160),
        ("ima", 512, 505),
        ("ms", 512, 500),
    ] {
        let expected = load(&vectors.join(format!("{name}-decoded.wav"))).unwrap().clip;
        let file = std::fs::read(vectors.join(format!("{name}.wav"))).unwrap();
        let whole = read(&file[..]).unwrap();
        let differs =
            whole.clip.samples.iter().zip(&expected.samples).position(|(ours, theirs)| ours != theirs);
        assert_eq!(
            (differs, whole.clip.frames(), whole.remarks.len()),
            (None, expected.frames(), 0),
            "{name}"
        );
        assert_eq!((whole.clip.rate, whole.clip.channels), (8000, expected.channels), "{name}");
        // A file that is cut is read to its end, and what is missing of its last block is made up; Microsoft's is left out.
        let data = file.windows(4).position(|bytes| bytes == b"data").unwrap() + 8;
        for left in [1_usize, block - 1, block, block + 1, 2 * block + 7] {
            let (come, made) = (left / block * frames, left.div_ceil(block) * frames);
            let made = if name == "ms" { come } else { made };
            let cut = match read(&file[..data + left]) {
                Err(reason) if made == 0 => {
                    assert_eq!(reason, "no sound in it");
                    continue;
                }
                cut => cut.unwrap(),
            };
            let come = come * usize::from(cut.clip.channels);
            assert_eq!(cut.clip.samples[..come], expected.samples[..come], "{name}, {left} bytes");
            assert_eq!(cut.clip.frames(), made, "{name}, {left} bytes");
            let missing = file.len() - data - left;
            assert_eq!(cut.remarks, [format!("the file is cut: {missing} bytes of its samples are missing")]);
        }
    }
}

/// F-51: MP3 in WAV is read without the silence that its encoder and decoder put before and behind.
#[test]
fn f_51_mp3_in_wav_is_read() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let expected = load(&vectors.join("mp3-decoded.wav")).unwrap().clip;
    let mp3 = load(&vectors.join("mp3.wav")).unwrap();
    let (ours, theirs) = (&mp3.clip.samples, &expected.samples);
    assert_eq!((mp3.clip.rate, ours.len(), mp3.remarks.len()), (expected.rate, theirs.len(), 0));
    // What is expected was rounded to 16 bits.
    let differs = ours.iter().zip(theirs).position(|(ours, theirs)| (ours - theirs).abs() > 1e-4);
    assert_eq!(differs, None);
}

/// F-50: who looks for a frame in a pipe without an end does not look for ever.
#[test]
fn f_50_a_pipe_without_sound_is_given_up() {
    for start in [wav(0x55, 1, 8000, 1, 0, u32::MAX, &[]), SPEECH[..9000].to_vec(), b"OggS".to_vec()] {
        let endless = std::io::repeat(0);
        let result = read(std::io::Read::chain(&start[..], endless));
        let said = result.map_or_else(|reason| reason, |loaded| loaded.remarks.concat());
        assert!(!said.is_empty());
    }
}

/// F-50: damaged files of every kind end in words or in sound, not in a panic, and in bounded time.
#[test]
fn damaged_files_do_no_harm() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let bytes = |name: &str| std::fs::read(vectors.join(name)).unwrap();
    let samples: Vec<u8> = (0..4000_u16).flat_map(u16::to_le_bytes).collect();
    let files = [
        SPEECH[..20_000].to_vec(),
        bytes("tone.ogg"),
        bytes("tone-opus.ogg"),
        bytes("surround-opus.ogg"),
        wav(1, 2, 8000, 4, 16, 8000, &samples),
        wav(2, 1, 8000, 256, 4, 8000, &samples),
        wav(0x11, 2, 8000, 256, 4, 8000, &samples),
        bytes("mp3.wav"),
        bytes("gsm.wav"),
        bytes("g721.wav"),
        bytes("nms-16.wav"),
        bytes("nms-24.wav"),
        bytes("nms-32.wav"),
    ];
    let mut random = 11_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let rounds = if cfg!(debug_assertions) { 60 } else { 600 };
    for file in files {
        for round in 0..rounds {
            let mut damaged = file.clone();
            // The first bytes say what it is, and the headers how large.
            let within = if round % 2 == 0 { 300.min(damaged.len()) } else { damaged.len() };
            for _ in 0..1 + next(6) {
                let at = next(within);
                damaged[at] = [0, 0xFF, 0x7F, 0x80, next(256) as u8][next(5)];
            }
            damaged.truncate(if round % 3 == 0 { 1 + next(damaged.len()) } else { damaged.len() });
            if let Ok(loaded) = read(&damaged[..]) {
                assert!(loaded.clip.samples.iter().all(|sample| sample.abs() <= 1000.0));
            }
        }
    }
}

/// F-52, F-81: a recording can be played whenever the program ends, has its padding, and others can read it.
#[test]
fn recordings_are_valid_at_every_moment() {
    for (format, channels, bytes) in [
        (SampleFormat::U8, 1, 1),
        (SampleFormat::U8, 3, 3),
        (SampleFormat::I16, 1, 2),
        (SampleFormat::I24, 1, 3),
        (SampleFormat::F32, 2, 8),
        (SampleFormat::I64, 1, 4),
    ] {
        let path = temporary(&format!("moment-{format:?}-{channels}.wav"));
        let mut recorder = WavRecorder::create(&path, 8000, channels, format).unwrap();
        assert!(hound::WavReader::open(&path).unwrap().len() == 0, "{format:?}");
        for writes in 1..=3_u32 {
            recorder.write(&vec![0.5; channels.into()]).unwrap();
            assert_eq!(load(&path).unwrap().clip.samples, vec![0.5; (writes * u32::from(channels)) as usize]);
            assert_eq!(load(&path).unwrap().remarks, [""; 0]);
        }
        // A frame that is not whole is filled up.
        recorder.write(&[0.5][..usize::from(channels > 1)]).unwrap();
        recorder.finish().unwrap();
        let file = std::fs::read(&path).unwrap();
        let frames = 3 + u64::from(channels > 1);
        assert!(file.len().is_multiple_of(2) && file.len() as u64 >= 44 + frames * bytes, "{format:?}");
        let size = u32::from_le_bytes(file[4..8].try_into().unwrap());
        assert_eq!(size as usize + 8, file.len(), "the padding counts for the whole, {format:?}");
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!((reader.duration().into(), reader.spec().channels), (frames, channels));
        match format {
            SampleFormat::F32 => assert!(reader.samples::<f32>().all(|sample| sample.is_ok())),
            _ => assert!(reader.samples::<i32>().all(|sample| sample.is_ok())),
        }
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
