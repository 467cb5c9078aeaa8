//! C-12, F-70: a program in a folder of its own depends on the packages as a registry has them: with `std`, without it, and for WebAssembly.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The facade, what it depends on, and the transports.
const PACKAGES: [&str; 8] = [
    "voxwire",
    "voxwire-core",
    "voxwire-dissonance",
    "voxwire-msgpack",
    "voxwire-opcode",
    "voxwire-syfala",
    "voxwire-transport",
    "voxwire-voicelink",
];

const PROGRAM: &str = r#"
use voxwire::core::{DialId, Input, Instant, Message, PeerId, Session, Via};

fn opened<S: Session>(mut session: S) -> Option<usize> {
    let peer = PeerId { slot: 0, generation: 0 };
    let opened = Input::Opened { peer, via: Via::Dialled(DialId::FIRST), from: None };
    session.handle_input(Instant::ZERO, opened).ok()?;
    Some(session.outputs().count())
}

pub fn sessions() -> Option<usize> {
    let packet = voxwire::voicelink::Packet::decode(&[0, 0, 0, 8, 0, 6, 1, 2], &Default::default()).ok()?;
    assert_eq!(packet, voxwire::voicelink::Packet::Data(&[1, 2]));
    Some(
        opened(voxwire::voicelink::Client::new(Default::default()))?
            + opened(voxwire::opcode::Client::new(Default::default()))?
            + opened(voxwire::msgpack::Client::new(Default::default()))?
            + opened(voxwire::syfala::Client::new(Default::default()))?
            + opened(voxwire::dissonance::Client::new("alice", Default::default()).ok()?)?,
    )
}
"#;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{out}{err}");
}

/// Packs the packages, and unpacks them into `folder`.
fn unpack(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let target = folder.join("target");
    let mut package = Command::new(env!("CARGO"));
    package
        .args(["package", "--no-verify", "--allow-dirty", "--offline", "--quiet", "--target-dir"])
        .arg(&target);
    for name in PACKAGES {
        package.args(["--package", name]);
    }
    run(package.current_dir(env!("CARGO_MANIFEST_DIR")));
    for name in PACKAGES {
        let file = target.join(format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        run(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(folder));
        let package = folder.join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
        if !matches!(name, "voxwire" | "voxwire-core" | "voxwire-transport") {
            // C-17
            for part in ["PROTOCOL.md", "vectors", "examples/codec.rs", "examples/session.rs"] {
                assert!(package.join(part).exists(), "{name} has no {part}");
            }
        }
    }
}

/// A package in a folder of its own, which knows of the unpacked ones what a registry would tell.
fn user(folder: &Path, name: &str, dependency: &str, files: &[(&str, &str)]) -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nvoxwire = {{ version = \"{version}\", {dependency} }}\n\n[patch.crates-io]\n"
    );
    for name in PACKAGES {
        manifest.push_str(&format!("{name} = {{ path = \"../{name}-{version}\" }}\n"));
    }
    let user = folder.join(name);
    fs::create_dir_all(user.join("src")).unwrap();
    fs::write(user.join("Cargo.toml"), manifest).unwrap();
    // The versions that are here already.
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), user.join("Cargo.lock")).unwrap();
    for (file, text) in files {
        fs::write(user.join("src").join(file), text).unwrap();
    }
    user
}

/// Cargo in the folder of a user. Nothing is linked but for `run`.
fn cargo(user: &Path, arguments: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--offline", "--quiet"]).current_dir(user);
    run(cargo.env("CARGO_TARGET_DIR", user.join("../users")).env("CARGO_PROFILE_DEV_DEBUG", "0"));
}

/// Whether the libraries for a target are installed.
fn has(target: &str) -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let has = Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir();
    if !has {
        println!("skipped: {target} is not installed (rustup target add {target})");
    }
    has
}

#[test]
fn c_12_f_70_programs_depend_on_the_packages_with_std_without_it_and_in_webassembly() {
    const PROTOCOLS: &str = r#"features = ["dissonance", "msgpack", "opcode", "syfala", "voicelink"]"#;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("published");
    unpack(&folder);

    let main = "mod sessions;\n\nfn main() {\n    assert!(sessions::sessions().is_some_and(|outputs| outputs > 0));\n}\n";
    let files = [("main.rs", main), ("sessions.rs", PROGRAM)];
    let with_std = user(&folder, "with-std", PROTOCOLS, &files);
    cargo(&with_std, &["run"]);
    if has("wasm32-unknown-unknown") {
        cargo(&with_std, &["check", "--target", "wasm32-unknown-unknown"]);
    }

    let without = format!("default-features = false, {PROTOCOLS}");
    let library = format!("#![no_std]\n{PROGRAM}");
    let without_std = user(&folder, "without-std", &without, &[("lib.rs", &library)]);
    match has("thumbv7em-none-eabihf") {
        true => cargo(&without_std, &["check", "--target", "thumbv7em-none-eabihf"]),
        false => cargo(&without_std, &["check"]),
    }

    // Resolved, and not built: tests of this package build the same sources.
    let all = r#"features = ["quic", "transport"]"#;
    let with_transport = user(&folder, "with-transport", all, &[("lib.rs", "")]);
    cargo(&with_transport, &["tree"]);
}
