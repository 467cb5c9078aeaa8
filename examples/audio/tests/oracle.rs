//! Files of every kind, against what libsndfile reads in them. Needs Python with the package `soundfile`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use voxwire_audio::{Clip, compare, load, resample};

/// F-51: every file that libsndfile reads is read alike.
#[test]
fn files_are_read_as_libsndfile_reads_them() {
    let has = |python: &&str| {
        let output = Command::new(python).args(["-c", "import soundfile, numpy"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(has) else {
        // Past the harness, which would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no Python with the package `soundfile` (Debian: python3-soundfile)"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    std::fs::create_dir_all(&folder).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.py");
    let output = Command::new(python).arg(script).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let (mut files, mut wrong) = (0, Vec::new());
    for line in lines.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let [rate, channels] = [(); 2].map(|()| words.next().unwrap().parse::<u32>().unwrap());
        let bytes = std::fs::read(folder.join(format!("{name}.f64"))).unwrap();
        let samples = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let mut expected = Clip { rate, channels: channels as u16, samples };
        if name.ends_with(".ogg") && channels == 6 {
            // libsndfile leaves the channels in Vorbis' order; here all are in that of a WAV file.
            for frame in expected.samples.as_chunks_mut::<6>().0 {
                *frame = [0, 2, 1, 5, 3, 4].map(|channel| frame[channel]);
            }
        }
        files += 1;
        if let Err(reason) = is_alike(name, &expected, &folder.join(name)) {
            wrong.push(format!("{name}: {reason}"));
        }
    }
    assert!(files > 400, "{files}");
    assert!(wrong.is_empty(), "{} of {files} files are read otherwise:\n{}", wrong.len(), wrong.join("\n"));
    // What libsndfile does not read, or not to its end.
    assert_eq!(load(&folder.join("length-zero.wav")).unwrap().clip.frames(), 4000);
    for kind in ["VORBIS", "OPUS"] {
        let part = |n| load(&folder.join(format!("part-{kind}-{n}.ogg"))).unwrap().clip;
        let chained = load(&folder.join(format!("chained-{kind}.ogg"))).unwrap();
        assert_eq!(chained.clip.samples, [part(0).samples, part(1).samples].concat(), "{kind}");
        assert!(chained.remarks.is_empty());
    }
}

fn is_alike(name: &str, expected: &Clip, path: &Path) -> Result<(), String> {
    let clip = load(path).map_err(|error| error.to_string())?.clip;
    if clip.channels != expected.channels {
        return Err(format!("{} channels, {} expected", clip.channels, expected.channels));
    }
    if name.contains("OPUS") {
        // Opus decodes at 48 kHz here, at what was encoded there.
        let alike = resample(expected, clip.rate).map_err(|error| error.to_string())?;
        let (frames, more) = (alike.frames() as i64, clip.frames() as i64 - alike.frames() as i64);
        if more.abs() > 12 {
            return Err(format!("{more} frames more than {frames}"));
        }
        for channel in 0..clip.channels.into() {
            let only = |clip: &Clip| Clip {
                channels: 1,
                samples: clip.samples.iter().copied().skip(channel).step_by(clip.channels.into()).collect(),
                ..*clip
            };
            let comparison = compare(&only(&alike), &only(&clip)).map_err(|error| error.to_string())?;
            if comparison.snr_db < 15.0 || comparison.offset.abs() > 12 {
                return Err(format!("channel {channel}: {comparison:?}"));
            }
        }
        return Ok(());
    }
    if (clip.rate, clip.samples.len()) != (expected.rate, expected.samples.len()) {
        let (rate, len) = (expected.rate, expected.samples.len());
        return Err(format!("{} Hz, {} samples; {rate}, {len} expected", clip.rate, clip.samples.len()));
    }
    // Only these leave the last bits open.
    let tolerance = if name.contains("VORBIS") || name.contains("MP3") { 1e-4 } else { 0.0 };
    let differ = clip.samples.iter().zip(&expected.samples).position(|(ours, theirs)| {
        let theirs = if theirs.is_finite() { *theirs } else { 0.0 };
        (ours - theirs).abs() > tolerance
    });
    differ.map_or(Ok(()), |at| {
        Err(format!("sample {at} is {}, {} expected", clip.samples[at], expected.samples[at]))
    })
}
