//! C-02: the example without a runtime does what it says, against the real server.
#![cfg(all(feature = "voicelink", feature = "transport"))]
#![allow(missing_docs)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use voxwire::core::Session;
use voxwire::transport::{Connection, ConnectionSettings};
use voxwire::voicelink::{Client, ClientCommand, ClientEvent, ClientSettings, Parameters};
use voxwire_server::{Config, Wanted};

/// Examples are built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn c_02_the_example_without_a_runtime_echoes_a_call() {
    let mut config = Config { http: Wanted::No, ..Config::default() };
    config.use_free_ports();
    let server = voxwire_server::start(config).await.unwrap();
    let address = server.address("voicelink", "tcp").unwrap().to_string();
    let mut echo = Command::new(example("sans_io")).arg(&address).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(echo.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "registered as parrot");

    let client = Client::new(ClientSettings::DEFAULT);
    let mut connection = Connection::connect(&address, client, ConnectionSettings::DEFAULT).await.unwrap();
    let talk = async {
        let mut heard = 0;
        while let Some(turn) = connection.next().await {
            let command = match turn.result.unwrap() {
                Some(ClientEvent::Connected) => {
                    ClientCommand::Call { user: b"parrot", parameters: Parameters::DEFAULT, optional: b"" }
                }
                Some(ClientEvent::Established { .. }) => ClientCommand::Say { samples: &[0; 100] },
                Some(ClientEvent::Data { samples }) if heard < 20 => {
                    assert_eq!(samples, [heard; 100]);
                    heard += 1;
                    ClientCommand::Say { samples: &[heard; 100] }
                }
                Some(ClientEvent::Data { .. }) => ClientCommand::Drop { optional: b"bye" },
                other => panic!("{other:?}"),
            };
            let over = matches!(command, ClientCommand::Drop { .. });
            turn.session.handle_command(turn.now, command).unwrap();
            if over {
                break;
            }
        }
        connection.flush().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await.expect("a call within 20 s");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest[0].starts_with("127.0.0.1:") && rest[0].contains("calls: 48000 Hz"), "{rest:?}");
    assert_eq!(rest[1], "Dropped(\"bye\")");
    assert!(echo.wait().unwrap().success());
}
