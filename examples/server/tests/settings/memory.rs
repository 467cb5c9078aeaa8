//! Memory for what peers send and are sent.

use crate::FREE;
use crate::kit::user::runtime;
use crate::kit::{Server, fails, file, folder};

/// F-43: with less memory fewer clients fit on QUIC, of which each counts 256 KiB; and what nothing fits in is refused.
#[test]
fn f_43_memory_is_what_all_protocols_share() {
    use voxwire_dissonance::{Client, ClientSettings, SessionState};
    use voxwire_transport::{Connection, ConnectionSettings, Remote, tls};
    let (path, data) = (file("settings-memory.toml", "memory = 320\n"), folder("settings-memory"));
    let own = ["--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let server = Server::start(&[&own[..], &FREE].concat());
    let address = server.address("dissonance quic").to_string();
    let certificate = data.join("quic-cert.pem");
    let joined = runtime().block_on(async {
        let config = tls::client_config(&certificate).unwrap();
        let mut players = Vec::new();
        while players.len() < 200 {
            let client = Client::new(&format!("player {}", players.len()), ClientSettings::DEFAULT).unwrap();
            let host = "localhost".try_into().unwrap();
            let settings = ConnectionSettings::DEFAULT;
            let connected =
                Connection::connect(Remote::quic(&address, host, config.clone()), client, settings);
            let Ok(mut player) = connected.await else { break };
            while player.session().state() != SessionState::Connected {
                player.next().await.expect("the connection goes on");
            }
            players.push(player);
        }
        players.len()
    });
    assert!((60..=99).contains(&joined), "{joined} have joined");
    for (name, memory) in [("less", 319), ("more", 1_048_577)] {
        let path = file(&format!("settings-memory-{name}.toml"), &format!("memory = {memory}\n"));
        let (code, error) = fails(&["--config", path.to_str().unwrap()]);
        let expected = format!("memory {memory}: 320 to 1048576 expected");
        assert!(code == Some(2) && error.contains(&expected), "{error}");
    }
}
