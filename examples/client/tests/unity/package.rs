//! The package as Unity takes it: its assemblies, its files, its sample.

use crate::kit::{self, Server, temporary};
use crate::mono;
use std::io::Write as _;
use std::process::{Command, Stdio};
use voxwire_server::Protocol;

/// D-19: the transport, the sample and the adapter are assemblies of their own in Unity: none uses what another one keeps to itself.
#[test]
fn d_19_the_assemblies_compile_apart() {
    if mono::tests().is_none() {
        return;
    }
    let out = |name: &str| temporary(name).display().to_string();
    let transport = out("Voxwire.Transport.dll");
    mono::compile(&transport, "library", &["Runtime/Transport/*.cs"], &[]);
    mono::compile(&out("console.exe"), "exe", &["Samples~/Console/*.cs"], &[&transport]);
    let stub = out("Dissonance.dll");
    mono::compile(&stub, "library", &["Tests/Stub/*.cs", "Samples~/Console/Packet*.cs"], &[&transport]);
    let adapter = out("Voxwire.Dissonance.dll");
    mono::compile(&adapter, "library", &["Runtime/Dissonance/*.cs"], &[&transport, &stub]);
}

/// D-19, D-18: the console sample, as its README has it: its speech is heard and recorded, every frame, and words can be recognised.
#[test]
fn d_19_speech_of_the_console_sample_is_heard() {
    if mono::tests().is_none() {
        return;
    }
    let server = Server::start(Protocol::DISSONANCE);
    let (console, recording) = (temporary("sample.exe"), temporary("d19-heard.wav"));
    let sources = ["Runtime/Transport/*.cs", "Samples~/Console/*.cs"];
    mono::compile(&console.display().to_string(), "exe", &sources, &[]);
    let bob =
        server.spawn(&format!("join Lobby --name bob --record {}", recording.display()), "voice goes by UDP");
    let mut command = Command::new("mono");
    command.arg(console).arg(server.address.to_string()).args(["ann", "Lobby", "--say"]);
    command.arg(mono::package().join("Samples~/Console/speech.opus-frames")).stdin(Stdio::piped());
    let mut ann = kit::Client::start(command);
    ann.until("says 250 frames");
    // With the end of its input the sample does not end.
    ann.child.stdin.take().unwrap().write_all(b"good night\n").unwrap();
    assert_eq!(bob.until("good night"), "\"ann\" to Lobby: \"good night\"");
    ann.until("has said everything");
    assert_eq!(ann.child.try_wait().unwrap(), None);
    // The last frames are on their way.
    std::thread::park_timeout(core::time::Duration::from_millis(500));
    // Not SIGINT: a test that a shell runs in the background ignores it, and so do the programs that it starts.
    ann.signal("-TERM");
    bob.until("\"ann\" has left");
    assert_eq!(ann.end().0, None);
    bob.signal("-INT");
    let (code, out, error) = bob.end();
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("heard \"ann\": 250 frames, 0 lost"), "{out}");
    // The sample is the first five seconds of this.
    let mut speech =
        voxwire_audio::resample(&voxwire_audio::read(voxwire_audio::SPEECH).unwrap().clip.mono(), 48_000)
            .unwrap();
    speech.samples.truncate(250 * 960);
    let likeness = voxwire_audio::compare(&speech, &voxwire_audio::load(&recording).unwrap().clip).unwrap();
    assert!(likeness.present > 0.5, "{likeness:?}");
}

/// D-19: the console sample runs without an input, as long as it is told, and says what is wrong with its options.
#[test]
fn d_19_the_console_sample_runs_as_long_as_it_is_told() {
    if mono::tests().is_none() {
        return;
    }
    let server = Server::start(Protocol::DISSONANCE);
    let console = temporary("sample-ends.exe");
    let sources = ["Runtime/Transport/*.cs", "Samples~/Console/*.cs"];
    mono::compile(&console.display().to_string(), "exe", &sources, &[]);
    let broken = temporary("d19-broken.pem");
    std::fs::write(&broken, "no certificate").unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new("mono");
        command.arg(&console).arg(server.address.to_string()).args(["ann", "Lobby"]).args(more);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, error)
    };
    let (code, out, error) = run(&["--seconds", "3.5"]);
    assert!(code == Some(0) && out.contains("joined as") && out.ends_with("leaves Lobby\n"), "{out}{error}");
    for seconds in ["soon", "0", "NaN"] {
        let (code, _, error) = run(&["--seconds", seconds]);
        let expected = format!("--seconds {seconds}: a number above 0 is expected");
        assert!(code == Some(2) && error.starts_with(&expected), "{error}");
    }
    let broken = broken.display().to_string();
    for (file, reason) in
        [("no-such-file.pem", "there is no such file, and it is no fingerprint"), (&*broken, "")]
    {
        let (code, _, error) = run(&["--pin", file]);
        let expected = format!("--pin {file}: {reason}");
        assert!(code == Some(2) && error.starts_with(&expected), "{error}");
    }
}

/// D-19: Unity takes a file of a package only with its `.meta`, and every one needs a number of its own.
#[test]
fn d_19_every_file_of_the_package_has_its_meta() {
    let (mut folders, mut numbers) = (vec![mono::package()], std::collections::BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // Unity does not look at these.
            if name.ends_with('~') || name.starts_with('.') {
                continue;
            }
            if let Some(of) = name.strip_suffix(".meta") {
                assert!(path.with_file_name(of).exists(), "{}: of what?", path.display());
                continue;
            }
            let meta = std::fs::read_to_string(path.with_file_name(format!("{name}.meta")));
            let meta = meta.unwrap_or_else(|_| panic!("{} has no .meta", path.display()));
            let guid = meta.lines().find_map(|line| line.strip_prefix("guid: ")).unwrap();
            assert!(guid.len() == 32 && guid.bytes().all(|byte| byte.is_ascii_hexdigit()), "{guid}");
            assert!(numbers.insert(guid.to_owned()), "{}: its number is there twice", path.display());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(numbers.len() > 10, "{numbers:?}");
}
