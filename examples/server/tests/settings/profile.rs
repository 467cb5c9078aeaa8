//! Safe, or as the original programs.

use crate::kit::raw::{connect, join, pause};
use crate::kit::user::{User, runtime};
use crate::kit::{Server, fails, file, folder};
use crate::{FREE, closed, serve};
use std::io::Write;
use voxwire_msgpack::{ClientCommand, Dialect};

/// F-39: in the file, for all protocols or for one; in the flags for all.
#[test]
fn f_39_the_profile_can_be_set_for_one_protocol() {
    // The original's users are there on loopback, in its profile.
    let edoren = |server: &Server| {
        let runtime = runtime();
        runtime.block_on(async {
            let mut user = User::connect(server.address("msgpack zmtp"), Dialect::Zmtp).await;
            let (username, password) = ("edoren".into(), "123".into());
            user.ask(ClientCommand::Login { username, password }).await.starts_with("LoggedIn")
        })
    };
    // In the profile `original` the newest has the name.
    let newest = |server: &Server| {
        let (mut first, ..) = join(server.address("dissonance tcp"), b"ann");
        pause(200);
        let mut second = connect(server.address("dissonance tcp"));
        second.write_all(b"VOXL\x01\x00\x00\x00").unwrap();
        second.write_all(b"\x00\x12\x00\x8b\xc7\x04\x01\x00\x00\x03\xc0\x00\x00\xbb\x80\x00\x04ann").unwrap();
        closed(&mut first)
    };
    for (name, settings, msgpack, dissonance) in [
        ("safe", "", false, false),
        ("original", "profile = \"original\"\n", true, true),
        ("msgpack", "[msgpack]\nprofile = \"original\"\n", true, false),
        ("dissonance", "[dissonance]\nprofile = \"original\"\n", false, true),
        ("not-msgpack", "profile = \"original\"\n[msgpack]\nprofile = \"safe\"\n", false, true),
        ("opcode", "[opcode]\nprofile = \"original\"\n", false, false),
    ] {
        let server = serve(&format!("profile-{name}"), settings);
        assert_eq!((edoren(&server), newest(&server)), (msgpack, dissonance), "{name}");
    }
    let path = file("settings-profile-flag.toml", "[msgpack]\nprofile = \"safe\"\n");
    let data = folder("settings-profile-flag");
    let flags =
        ["--profile", "original", "--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&[&flags[..], &FREE[..]].concat());
    assert!(edoren(&server), "the flag is for all of them");
    let path = file("settings-profile-none.toml", "[voicelink]\nprofile = \"original\"\n");
    let (code, error) = fails(&["--config", path.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("unknown field `profile`"), "voicelink has none: {error}");
}
