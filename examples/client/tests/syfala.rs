//! C-08 and what syfala's issue asks to be seen: the programs, run by hand from several terminals: devices found, audio both ways,
//! mixed, echoed, lost and found again.

mod kit;

use core::time::Duration;
use kit::{Client, Server, temporary};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use voxwire_audio::{Clip, SPEECH, SampleFormat, compare, load, read, resample, save_wav};
use voxwire_server::{Protocol, Syfala, SyfalaSound};

fn server(sound: SyfalaSound) -> Server {
    Server::with(Protocol::SYFALA, |config| {
        config.of_mut::<Syfala>().sound = sound;
        // More than a busy machine is late.
        config.of_mut::<Syfala>().latency = Duration::from_millis(500);
    })
}

/// Two seconds of speech, as a stereo file in the format of the streams.
fn speech(name: &str) -> (Clip, std::path::PathBuf) {
    let mut clip = resample(&read(SPEECH).unwrap().clip.mix(2), 48_000).unwrap();
    clip.samples.drain(..48_000);
    clip.samples.truncate(2 * 2 * 48_000);
    clip.samples.iter_mut().for_each(|sample| *sample = f64::from(*sample as f32));
    let path = temporary(name);
    save_wav(&path, &clip, SampleFormat::F32).unwrap();
    (clip, path)
}

fn client(server: SocketAddr, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    command.args(["--server", &server.to_string(), "syfala"]).args(arguments.split_whitespace());
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A device of its own process, and where it is.
/// One test at a time: a device that does not get a processor for 600 ms is taken for gone.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(arguments: &str) -> (Client, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
    command.args(["--json", "syfala", "serve"]).args(arguments.split_whitespace());
    if !arguments.contains("--port") {
        command.args(["--port", "0"]);
    }
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["event"], "ready");
    (Client::running(child), ready["address"].as_str().unwrap().parse().unwrap())
}

fn likeness(said: &Clip, heard: &Path) -> voxwire_audio::Comparison {
    compare(said, &load(heard).unwrap().clip).unwrap()
}

#[test]
fn s_05_c_08_discover_shows_what_answers_a_broadcast() {
    let _alone = alone();
    let server = Server::with(Protocol::SYFALA, |config| {
        (config.of_mut::<Syfala>().inputs, config.of_mut::<Syfala>().channels) = (2, 8)
    });
    let broadcast = SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), server.address.port()));
    let output = client(broadcast, "discover --for 1").output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(
        out.contains(&format!(
            "{}\n  sends    2 x 48000 Hz, 8 channels, F32, 32 frames at a time\n  is sent  48000 Hz, 8 channels, F32",
            server.address
        )),
        "{out}"
    );
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let (code, out, _) = server.client("--json discover --for 1");
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len(), lines[0]["event"].as_str()), (Some(0), 2, Some("device")));
    assert_eq!(
        (lines[0]["inputs"].as_array().unwrap().len(), &lines[0]["outputs"][0]["channels"]),
        (2, &8.into())
    );
    // Nobody is there.
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = client(nowhere, "discover --for 0.3").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("no device answers at 127.0.0.1"), "{error}");
}

#[test]
fn s_08_s_09_c_14_an_echo_comes_back_sample_by_sample() {
    let _alone = alone();
    let (clip, said) = speech("s08-said.wav");
    let server = server(SyfalaSound::Echo);
    let heard = temporary("s08-heard.wav");
    let arguments =
        format!("stream --for 3.5 --play {} --record-as call --record {}", said.display(), heard.display());
    let (code, out, error) = server.client(&arguments);
    assert_eq!(code, Some(0), "{out}{error}");
    for line in ["1 input, 1 output", "audio goes both ways", "audio stopped", "0 bytes lost"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(likeness(&clip, &heard).exact, "{:?}", likeness(&clip, &heard));
    // How long that takes is what the device has in store, and little more.
    let (code, out, _) = server.client("--json stream --measure --for 2");
    let summary: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let median = summary["round_trip_ms"]["p50"].as_f64().unwrap();
    assert!(code == Some(0) && (400.0..700.0).contains(&median), "{out}");
}

#[test]
fn s_10_c_14_each_hears_the_others_mixed_and_nobody_himself() {
    let _alone = alone();
    let (clip, said) = speech("s10-said.wav");
    let server = server(SyfalaSound::Mix);
    let (bobs, carols) = (temporary("s10-bob.wav"), temporary("s10-carol.wav"));
    let bob = server
        .spawn(&format!("stream --for 6 --record-as call --record {}", bobs.display()), "goes both ways");
    let tone =
        format!("stream --for 6 --output 0 --play tone:1000 --record-as call --record {}", carols.display());
    let alices = temporary("s10-alice.wav");
    // With bob alone in the room everything arrives as it is.
    let arguments =
        format!("stream --for 3 --play {} --record-as call --record {}", said.display(), alices.display());
    let (code, _, error) = server.client(&arguments);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        load(&alices).unwrap().clip.level().0 == 0.0,
        "bob says nothing, and alice does not hear herself"
    );
    let (code, out, error) = bob.end();
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(likeness(&clip, &bobs).exact, "{:?}", likeness(&clip, &bobs));
    // With another host at it both are heard.
    let carol = server.spawn(&tone, "goes both ways");
    let bob = server
        .spawn(&format!("stream --for 5 --record-as call --record {}", bobs.display()), "goes both ways");
    let (code, _, error) = server.client(&format!("stream --for 3 --play {}", said.display()));
    assert_eq!(code, Some(0), "{error}");
    assert_eq!((bob.end().0, carol.end().0), (Some(0), Some(0)));
    let mixed = likeness(&clip, &bobs);
    assert!(!mixed.exact && mixed.snr_db < 10.0, "the tone is over it: {mixed:?}");
    assert!(likeness(&clip, &carols).exact, "carol hears the one who speaks, and not herself");
}

#[test]
fn s_03_s_08_a_device_of_every_sample_type_plays_and_records() {
    let _alone = alone();
    let tone = Clip::tone(8000, 2, 500.0, 0.5);
    let (file, mine) = (temporary("s03-device.wav"), temporary("s03-mine.wav"));
    save_wav(&file, &tone, SampleFormat::I16).unwrap();
    save_wav(&mine, &Clip::tone(8000, 2, 800.0, 1.0), SampleFormat::I16).unwrap();
    let work: Vec<_> = ["U8", "U16", "U24", "U32", "U64", "I8", "I16", "I24", "I32", "I64", "f32", "F64"]
        .into_iter()
        .map(|sample_type| {
            let (file, mine) = (file.display().to_string(), mine.display().to_string());
            std::thread::spawn(move || {
                let (here, there) =
                    (temporary(&format!("s03-{sample_type}-here.wav")), temporary(&format!("s03-{sample_type}-there.wav")));
                let arguments = format!(
                    "--rate 8000 --channels 2 --buffer 64 --latency 500 --sample-type {sample_type} --play {file} --record-as call --record {}",
                    there.display()
                );
                let (device, address) = serve(&arguments);
                let stream = format!("stream --for 2.5 --play {mine} --record-as call --record {}", here.display());
                let output = client(address, &stream).output().unwrap();
                let error = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(0), "{sample_type}: {error}");
                device.signal("-TERM");
                assert_eq!(device.end().0, Some(0));
                let bound = if sample_type.ends_with('8') { 30.0 } else { 60.0 };
                let heard = likeness(&Clip::tone(8000, 2, 500.0, 0.5), &here);
                assert!(heard.snr_db > bound, "{sample_type}: {heard:?}");
                let heard = likeness(&Clip::tone(8000, 2, 800.0, 1.0), &there);
                assert!(heard.snr_db > bound, "{sample_type}: {heard:?}");
            })
        })
        .collect();
    work.into_iter().for_each(|work| work.join().unwrap());
}

#[test]
fn s_06_s_07_c_08_what_cannot_be_served_is_refused_and_a_device_that_goes_is_noticed() {
    let _alone = alone();
    let (device, address) = serve("--inputs 0 --outputs 1");
    for (arguments, reason) in [
        ("stream --record-as call --record nothing.wav", "the device has no such input: it has 0"),
        ("stream --play tone --output 1 --for 1", "the device has no such output: it has 1"),
    ] {
        let output = client(address, arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(reason), "{error}");
    }
    device.signal("-TERM");
    assert_eq!(device.end().0, Some(0));
    // Killed, without a word.
    let (mut device, address) = serve("");
    let heard = temporary("s07-heard.wav");
    let stream = Client::spawn(
        client(address, &format!("stream --retry 0 --record-as call --record {}", heard.display())),
        "goes both ways",
    );
    std::thread::park_timeout(Duration::from_millis(500));
    device.child.kill().unwrap();
    let (code, _, error) = stream.end();
    assert!(code == Some(1) && error.contains("the device is gone: nothing has been heard of it"), "{error}");
    assert!(load(&heard).is_ok(), "what had been heard is kept");
    // With a goodbye.
    let (device, address) = serve("--for 1.5");
    let (code, _, error) = Client::spawn(client(address, "stream --retry 0"), "goes both ways").end();
    assert!(code == Some(1) && error.contains("the device is gone: disconnected"), "{error}");
    assert_eq!(device.end().0, Some(0));
}

/// F-31: audio goes on when the device is back, and what is recorded goes on in the same file.
#[test]
fn f_31_a_stream_outlasts_a_device_that_restarts() {
    let _alone = alone();
    let (mut device, address) = serve("--echo");
    let heard = temporary("f31-heard.wav");
    let arguments = format!("stream --play tone --record-as call --record {}", heard.display());
    let stream = Client::spawn(client(address, &arguments), "goes both ways");
    std::thread::park_timeout(Duration::from_millis(500));
    device.child.kill().unwrap();
    stream.until("looking for it again");
    drop(device);
    std::thread::park_timeout(Duration::from_millis(500));
    let (device, _) = serve(&format!("--echo --port {}", address.port()));
    stream.until("both ways again");
    std::thread::park_timeout(Duration::from_millis(500));
    stream.signal("-INT");
    let (code, out, error) = stream.end();
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(load(&heard).unwrap().clip.frames() > 24_000, "a second, less what starting took");
    device.signal("-TERM");
    // One that does not come back.
    let (mut device, address) = serve("");
    let stream = Client::spawn(client(address, "stream --retry 1"), "goes both ways");
    device.child.kill().unwrap();
    let (code, _, error) = stream.end();
    assert!(code == Some(1) && error.contains("the device is gone"), "{error}");
    assert!(error.contains("not back within 1 s"), "{error}");
}

/// F-89: outputs of different rates, each at its own.
#[test]
fn f_89_outputs_may_differ_in_rate() {
    let _alone = alone();
    use std::sync::{Arc, Mutex};
    use voxwire_core::{Handler, Instant, Session as _};
    use voxwire_syfala::{IoResult, SampleType, ServerCommand, ServerEvent, ServerSettings};
    /// A device that says yes, and counts.
    struct Counter(Arc<Mutex<[usize; 2]>>);
    impl Handler<voxwire_syfala::Server> for Counter {
        fn on_event(&mut self, server: &mut voxwire_syfala::Server, now: Instant, event: ServerEvent<'_>) {
            let result = IoResult::Success;
            let command = match event {
                ServerEvent::StartIo { client } => ServerCommand::StartIoResult { client, result },
                ServerEvent::StopIo { client } => ServerCommand::StopIoResult { client, result },
                ServerEvent::Audio { audio, .. } => {
                    self.0.lock().unwrap()[audio.stream as usize] += audio.payload.len();
                    return;
                }
                _ => return,
            };
            server.handle_command(now, command).unwrap();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let of_rate = |rate| voxwire_server::syfala::format(rate, 1, 0, SampleType::I16).unwrap();
    let outputs = [of_rate(48_000), of_rate(16_000)];
    let mut server = voxwire_syfala::Server::new(&[], &outputs, ServerSettings::DEFAULT, 1).unwrap();
    let networks = voxwire_syfala::Network::LOOPBACK;
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &networks }).unwrap();
    let (listener, address) = voxwire_server::syfala::bind(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let counts = Arc::new(Mutex::new([0; 2]));
    let settings = voxwire_transport::HubSettings::DEFAULT;
    let _hub =
        voxwire_transport::Hub::spawn(vec![listener], server, Counter(counts.clone()), settings).unwrap();
    for output in ["", "--output 0", "--output 1"] {
        *counts.lock().unwrap() = [0; 2];
        let done = client(address, &format!("stream --play tone --for 1 {output}")).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{output}: {}", String::from_utf8_lossy(&done.stderr));
        let [fast, slow] = *counts.lock().unwrap();
        // Each by its own rate, also where the machine did not keep up.
        let ratio = fast as f64 / slow as f64;
        assert!(slow > 16_000 && (2.5..3.5).contains(&ratio), "{output}: {fast} and {slow} bytes");
    }
}

#[test]
fn s_08_what_a_client_has_said_is_used_up_before_the_device_says_that_it_has_stopped() {
    let _alone = alone();
    let (clip, said) = speech("s08-end-said.wav");
    let heard = temporary("s08-end-heard.wav");
    let (device, address) = serve(&format!("--latency 1500 --record-as call --record {}", heard.display()));
    let output = client(address, &format!("stream --play {}", said.display())).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    device.signal("-TERM");
    assert_eq!(device.end().0, Some(0));
    assert!(likeness(&clip, &heard).exact, "{:?}", likeness(&clip, &heard));
    // Nobody echoes here.
    let (_device, address) = serve("");
    let output = client(address, "stream --measure --for 1").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.contains("does not echo"), "{error}");
}

/// S-08: what clients have said when a device is ended is in its recording, though it was not its turn yet.
#[test]
fn s_08_what_is_in_store_is_recorded_when_a_device_is_ended() {
    let _alone = alone();
    let (clip, said) = speech("s08-store-said.wav");
    let heard = temporary("s08-store-heard.wav");
    let (device, address) = serve(&format!("--latency 3000 --record-as call --record {}", heard.display()));
    let _stream =
        Client::spawn(client(address, &format!("stream --play {}", said.display())), "goes both ways");
    std::thread::park_timeout(Duration::from_millis(2000));
    device.signal("-TERM");
    assert_eq!(device.end().0, Some(0));
    let second = clip.rate as usize * usize::from(clip.channels);
    let clip = Clip { samples: clip.samples[..second].to_vec(), ..clip };
    assert!(likeness(&clip, &heard).exact, "{:?}", likeness(&clip, &heard));
}

#[test]
fn c_08_usage_errors_say_what_is_expected() {
    for (arguments, reason) in [
        (&["syfala", "serve", "--inputs", "65"][..], "1 to 64"),
        (&["syfala", "serve", "--channels", "0"], "above 0"),
        (&["syfala", "serve", "--sample-type", "X9"], "F32 or F64 expected"),
        (&["syfala", "serve", "--port", "0", "--channels", "2000"], "at most 1024 channels"),
        (&["syfala", "serve", "--port", "0", "--ppm", "inf"], "at most 100000 expected"),
        (&["syfala", "serve", "--port", "0", "--latency", "99999"], "more than a stream"),
        (&["syfala", "serve", "--announce", "0"], "at least 50 ms"),
        (&["syfala", "discover", "--for", "1e19"], "at most 3000000000"),
        (&["syfala", "stream", "--measure", "--play", "tone"], "cannot be used with"),
        (&["--tls-ca", "x.pem", "syfala", "discover"], "without TLS"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxwire-client"));
        let output = command.args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(reason), "{arguments:?}: {error}");
    }
}

/// F-81: neither a full disk nor a pipe that nobody reads keeps a device from its clients, or from ending.
#[cfg(target_os = "linux")]
#[test]
fn f_81_a_device_serves_clients_while_its_recording_is_not_taken() {
    let _alone = alone();
    let pipe = temporary("device-pipe.wav");
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [Path::new("/dev/full"), &pipe] {
        let (device, address) = serve(&format!("--record {}", path.display()));
        let output = client(address, "stream --play tone --for 1").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}: {error}", path.display());
        device.signal("-TERM");
        assert_eq!(device.end().0, Some(1), "{}: the recording is not complete", path.display());
    }
}
