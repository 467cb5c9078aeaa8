//! What is played and recorded, in all protocols.

#![allow(clippy::disallowed_methods)]

mod kit;

use kit::{Server, temporary};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use voxwire_audio::{Clip, SampleFormat, compare, load, save_wav};
use voxwire_server::Protocol;

/// A WAV file of floats at `rate`.
fn floats(name: &str, rate: u32, samples: &[f32]) -> std::path::PathBuf {
    let mut file = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x03\0\x01\0".to_vec();
    file.extend([rate, rate.wrapping_mul(4)].map(u32::to_le_bytes).concat());
    file.extend(b"\x04\0\x20\0data\xFF\xFF\xFF\xFF");
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let path = temporary(name);
    std::fs::write(&path, file).unwrap();
    path
}

/// F-50: a file that cannot be played is known before any user is called: here nobody would answer.
#[test]
fn a_bad_file_is_refused_before_anything_is_connected() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = nobody.local_addr().unwrap().to_string();
    let path = floats("one-hertz.wav", 1, &[0.5; 100]);
    let path = path.display();
    for action in [
        format!("voicelink call bob --name ann --play {path}"),
        format!("opcode --name ann call bob --play {path}"),
        format!("msgpack call room --user ann --play {path}"),
        format!("syfala stream --play {path}"),
        format!("dissonance --name ann join room --play {path}"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        command.args(["--server", &server]).args(action.split_whitespace()).env("VOXWIRE_PASSWORD", "x");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{action}: {errors}");
        assert!(errors.contains("one-hertz.wav: 1 frames per second: 1000 to 768000 expected"), "{errors}");
    }
    nobody.set_nonblocking(true).unwrap();
    assert!(nobody.accept().is_err(), "nobody was disturbed");
}

/// F-50, F-52: what is no number is silenced with a word, the call goes on, and a recording has 16 bits unless others are asked for.
#[test]
fn numbers_that_are_none_are_silenced_and_recordings_have_16_bits() {
    let server = Server::start(Protocol::VOICELINK);
    let mut samples = vec![0.25_f32; 8000];
    samples[44] = f32::NAN;
    samples[45] = f32::NEG_INFINITY;
    let path = floats("not-a-number.wav", 8000, &samples);
    for (flag, bits) in [("", 16), ("--record-as i24", 24), ("--record-as call", 32)] {
        let wait = format!("wait --name bob --record no-number-heard.wav {flag}");
        let bob = server.spawn(&wait, "waiting");
        let call = format!(
            "call bob --name ann --rate 8000 --channels 1 --format float32 --play {}",
            path.display()
        );
        let (code, out, errors) = server.client(&call);
        assert_eq!(code, Some(0), "{out}{errors}");
        assert!(
            out.contains("not-a-number.wav: 2 of 8000 samples are no numbers and were silenced"),
            "{out}"
        );
        assert_eq!(bob.end().0, Some(0));
        let heard = std::fs::read(temporary("no-number-heard.wav")).unwrap();
        assert_eq!(u16::from_le_bytes([heard[34], heard[35]]), bits, "{flag}");
        let heard = load(&temporary("no-number-heard.wav")).unwrap().clip;
        assert_eq!(heard.samples.iter().filter(|sample| **sample == 0.0).count(), 2);
    }
}

/// F-51: `--play -` reads standard input, and a named pipe will do.
#[test]
fn sound_may_come_out_of_a_pipe() {
    let server = Server::start(Protocol::VOICELINK);
    let said = Clip::tone(8000, 1, 440.0, 0.5);
    save_wav(&temporary("piped.wav"), &said, SampleFormat::I16).unwrap();
    let bytes = std::fs::read(temporary("piped.wav")).unwrap();
    let fifo = temporary("fifo.wav");
    let _ = std::fs::remove_file(&fifo);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for play in ["-".to_owned(), fifo.display().to_string()] {
        let bob = server.spawn("wait --name bob --record from-a-pipe.wav", "waiting");
        let call = format!("call bob --name ann --rate 8000 --channels 1 --play {play}");
        let mut ann = server.command(&call);
        let mut ann = ann.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut standard = ann.stdin.take().unwrap();
        match &*play {
            "-" => standard.write_all(&bytes).unwrap(),
            fifo => std::fs::OpenOptions::new().write(true).open(fifo).unwrap().write_all(&bytes).unwrap(),
        }
        drop(standard);
        assert!(ann.wait().unwrap().success());
        assert_eq!(bob.end().0, Some(0));
        let heard = load(&temporary("from-a-pipe.wav")).unwrap().clip;
        assert!(compare(&load(&temporary("piped.wav")).unwrap().clip, &heard).unwrap().exact, "{play}");
    }
}

/// F-81: a recorder that is killed in the middle of a call leaves a file that can be read, with all but the last second of it.
#[test]
fn f_81_a_recorder_that_is_killed_has_recorded_all_but_the_last_second() {
    let calls = [
        (Protocol::VOICELINK, "wait --name bob", "waiting", "call bob --name ann", "is up"),
        (Protocol::OPCODE, "wait --name bob", "waiting", "call bob --name ann", "is up"),
        (Protocol::MSGPACK, "call room --user bob", "in the call", "call room --user ann", "in the call"),
        (Protocol::SYFALA, "stream", "both ways", "stream", "both ways"),
        (Protocol::DISSONANCE, "join Red --name bob", "joined", "join Red --name ann", "joined"),
    ];
    let call = |(protocol, listens, ready, speaks, up): (Protocol, &str, &str, &str, &str)| {
        let server = Server::start(protocol);
        if protocol == Protocol::MSGPACK {
            for request in ["register --user ann", "register --user bob", "create-group room --user ann"] {
                assert_eq!(server.client(request).0, Some(0), "{request}");
            }
            assert_eq!(server.client("join-group room --user bob").0, Some(0));
        }
        let path = temporary(&format!("killed-{protocol:?}.wav"));
        let mut bob = server.spawn(&format!("{listens} --record {}", path.display()), ready);
        let ann = server.spawn(&format!("{speaks} --play tone --for 60"), up);
        let begin = Instant::now();
        // As soon as the file is no more than a second behind. (On a busy machine more is on its way at times.)
        let behind = |path| {
            let recorded = load(path).map_or(0.0, |loaded| loaded.clip.seconds());
            begin.elapsed().as_secs_f64() - recorded
        };
        let mut least = f64::MAX;
        while begin.elapsed() < Duration::from_secs(3) || least > 1.0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "{protocol:?}: {least} s behind");
            std::thread::park_timeout(Duration::from_millis(50));
            let late = begin.elapsed() >= Duration::from_secs(3);
            least = if late { least.min(behind(&path)) } else { least };
        }
        bob.child.kill().unwrap();
        bob.child.wait().unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.remarks, Vec::<String>::new(), "{protocol:?}");
        assert!(loaded.clip.seconds() > 2.0, "{protocol:?}: {} s", loaded.clip.seconds());
        let last =
            Clip { samples: loaded.clip.samples[loaded.clip.samples.len() / 2..].to_vec(), ..loaded.clip };
        assert!(last.level().0 > 0.2, "{protocol:?}: {:?}", last.level());
        drop(ann);
    };
    std::thread::scope(|scope| {
        for each in calls {
            scope.spawn(move || call(each));
        }
    });
}

/// F-50: a file is read as it is played: one of ten hours takes no more memory than one of ten seconds, and no time.
#[test]
fn f_50_ten_hours_of_sound_take_no_more_memory_than_ten_seconds() {
    let server = Server::start(Protocol::VOICELINK);
    let path = temporary("ten-hours.wav");
    save_wav(&path, &Clip::tone(48_000, 1, 440.0, 10.0), SampleFormat::I16).unwrap();
    let mut most = Vec::new();
    for seconds in [10, 36_000_u32] {
        // The rest is a hole.
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(44 + 96_000 * u64::from(seconds)).unwrap();
        file.seek(SeekFrom::Start(40)).unwrap();
        file.write_all(&(96_000 * seconds).to_le_bytes()).unwrap();
        let bob = server.spawn("wait --name bob --record ten-hours-heard.wav", "waiting");
        let call = format!("call bob --name ann --rate 8000 --channels 1 --for 2 --play {}", path.display());
        let ann = server.spawn(&call, "is up");
        std::thread::park_timeout(Duration::from_secs(1));
        let status = std::fs::read_to_string(format!("/proc/{}/status", ann.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        most.push(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
        assert_eq!((ann.end().0, bob.end().0), (Some(0), Some(0)));
        let heard = load(&temporary("ten-hours-heard.wav")).unwrap().clip;
        assert!((1.5..2.5).contains(&heard.seconds()) && heard.level().0 > 0.4, "{}", heard.seconds());
    }
    std::fs::remove_file(&path).unwrap();
    // In KiB: a mebibyte of samples, and what differs from one run to the next.
    assert!(most[1] < most[0] + 8192, "{most:?} KiB");
}

/// F-81: neither a disk that is full nor a pipe that nobody reads ends a call, or keeps a signal from being heard.
#[cfg(target_os = "linux")]
#[test]
fn f_81_nothing_that_takes_no_recording_holds_a_call_up() {
    let calls = [
        (Protocol::VOICELINK, "wait --name bob", "call bob --name ann", "is up"),
        (Protocol::OPCODE, "wait --name bob", "call bob --name ann", "is up"),
        (Protocol::MSGPACK, "call room --user bob", "call room --user ann", "in the call"),
        (Protocol::SYFALA, "stream", "stream", "both ways"),
        (Protocol::DISSONANCE, "join Red --name bob", "join Red --name ann", "joined"),
    ];
    let call = |(protocol, listens, speaks, up): (Protocol, &str, &str, &str)| {
        let server = Server::start(protocol);
        if protocol == Protocol::MSGPACK {
            for request in ["register --user ann", "register --user bob", "create-group room --user ann"] {
                assert_eq!(server.client(request).0, Some(0), "{request}");
            }
            assert_eq!(server.client("join-group room --user bob").0, Some(0));
        }
        let pipe = temporary(&format!("nobody-reads-{protocol:?}.wav"));
        let _ = std::fs::remove_file(&pipe);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let ready = if listens.starts_with("wait") { "waiting" } else { up };
        for (path, said) in [(Path::new("/dev/full"), true), (&pipe, false)] {
            let mut bob = server.spawn(&format!("{listens} --record {}", path.display()), ready);
            let ann = server.spawn(&format!("{speaks} --play tone --for 60"), up);
            if listens.starts_with("wait") {
                bob.until(up);
            }
            if said {
                let line = bob.until("/dev/full");
                assert!(
                    line.contains("No space left") && line.contains("tried again"),
                    "{protocol:?}: {line}"
                );
            }
            // The call goes on.
            std::thread::park_timeout(Duration::from_millis(500));
            assert!(bob.child.try_wait().unwrap().is_none(), "{protocol:?}");
            bob.signal("-TERM");
            let begin = Instant::now();
            while bob.child.try_wait().unwrap().is_none() {
                // Nobody takes anything: that is not waited for.
                let held_up = begin.elapsed() > Duration::from_secs(15);
                assert!(!held_up, "{protocol:?}: held up by {}", path.display());
                std::thread::park_timeout(Duration::from_millis(20));
            }
            let (code, out, errors) = bob.end();
            let about = format!("{protocol:?}, {}: {out}{errors}", path.display());
            assert_eq!(code, Some(1), "{about}");
            assert!(errors.contains("s of what was heard are not in it"), "{about}");
            assert_eq!(out.matches("tried again").count(), 0, "it is said once: {about}");
            drop(ann);
        }
    };
    std::thread::scope(|scope| {
        for each in calls {
            scope.spawn(move || call(each));
        }
    });
}

/// F-81: who waits for call after call ends at a signal, and says with its exit code that a recording is incomplete.
#[cfg(target_os = "linux")]
#[test]
fn f_81_a_recording_that_is_incomplete_does_not_keep_waiting_from_its_end() {
    let call = |protocol, between: bool| {
        let server = Server::start(protocol);
        let mut bob = server.spawn("wait --name bob --keep --record /dev/full", "waiting");
        let ann = server.spawn("call bob --name ann --play tone --for 60", "is up");
        bob.until("is up");
        if between {
            // The recording is given up while the call lasts, and this one ends.
            bob.until("/dev/full");
            ann.signal("-TERM");
            bob.until("are not in it");
            bob.until("waiting");
        } else {
            bob.until("/dev/full");
        }
        bob.signal("-TERM");
        let begin = Instant::now();
        while bob.child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{protocol:?}, {between}: goes on");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let (code, out, errors) = bob.end();
        assert_eq!(code, Some(1), "{protocol:?}, {between}: {out}{errors}");
        assert!(errors.contains("are not in it"), "{protocol:?}, {between}: {out}{errors}");
    };
    std::thread::scope(|scope| {
        for protocol in [Protocol::VOICELINK, Protocol::OPCODE] {
            for between in [false, true] {
                scope.spawn(move || call(protocol, between));
            }
        }
    });
}

/// A server of msgpack with ann and bob in a room.
fn room() -> Server {
    let server = Server::start(Protocol::MSGPACK);
    for request in ["register --user ann", "register --user bob", "create-group room --user ann"] {
        assert_eq!(server.client(request).0, Some(0), "{request}");
    }
    assert_eq!(server.client("join-group room --user bob").0, Some(0));
    server
}

/// F-81: a voice message whose reader has stopped holds up neither what comes behind it nor a signal.
#[cfg(target_os = "linux")]
#[test]
fn f_81_a_voice_message_that_nobody_takes_holds_nothing_up() {
    let server = room();
    let pipe = temporary("voice-message-stopped.wav");
    let _ = std::fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut bob =
        server.spawn(&format!("wait --keep --user bob --record {}", pipe.display()), "waiting for messages");
    // It opens the pipe, and reads nothing.
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::File::open(pipe).unwrap()
    });
    let said = temporary("voice-message-long.wav");
    save_wav(&said, &Clip::tone(44_100, 1, 440.0, 30.0), SampleFormat::I16).unwrap();
    assert_eq!(server.client(&format!("voice-message bob --user ann --play {}", said.display())).0, Some(0));
    assert_eq!(server.client("whisper bob --user ann hello").0, Some(0));
    let reader = reader.join().unwrap();
    bob.until("hello");
    bob.signal("-TERM");
    let begin = Instant::now();
    while bob.child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(10), "held up");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let (code, out, errors) = bob.end();
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(errors.contains("s of what was heard are not in it"), "{out}{errors}");
    drop(reader);
}

/// F-81, F-53: what a group call's recording could not write for a while is in it once it can be written, and nothing is left out.
#[cfg(target_os = "linux")]
#[test]
fn f_81_a_group_call_is_complete_once_the_disk_has_room_again() {
    if !std::process::Command::new("prlimit").arg("--version").output().is_ok_and(|got| got.status.success())
    {
        eprintln!("skipped: no prlimit here");
        return;
    }
    let server = room();
    let path = temporary("room-again.wav");
    let _ = std::fs::remove_file(&path);
    // A file that grows beyond a limit is an error to be told, and no signal to die of.
    let client = server.command(&format!("call room --user bob --record {}", path.display()));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(client.get_program());
    command.args(client.get_args()).env("VOXWIRE_PASSWORD", "geheim");
    let bob = kit::Client::spawn(command, "in the call");
    let limit = |size: &str| {
        let mut command = std::process::Command::new("prlimit");
        command.args(["--pid", &bob.child.id().to_string(), &format!("--fsize={size}:")]);
        assert!(command.status().unwrap().success());
    };
    limit("150000");
    let ann = server.spawn("call room --user ann --play tone --for 60", "in the call");
    let line = bob.until("tried again");
    assert!(line.contains("File too large"), "{line}");
    std::thread::park_timeout(Duration::from_millis(1500));
    limit("unlimited");
    let line = bob.until("can be written again");
    assert!(line.contains("0.0 s are left out"), "{line}");
    std::thread::park_timeout(Duration::from_millis(500));
    bob.signal("-TERM");
    let (code, out, errors) = bob.end();
    assert_eq!(code, Some(0), "{out}{errors}");
    let heard = load(&path).unwrap().clip;
    let begin = heard.samples.iter().position(|sample| *sample != 0.0).unwrap();
    let end = heard.samples.iter().rposition(|sample| *sample != 0.0).unwrap();
    assert!(end - begin > 3 * 44_100, "{}", heard.seconds());
    let quiet =
        heard.samples[begin..end].chunks(441).position(|part| part.iter().all(|one| one.abs() < 0.05));
    assert_eq!(quiet, None, "there is no gap in it");
    drop(ann);
}
