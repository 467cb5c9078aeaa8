//! Clients in the process of their server, without a socket.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use core::time::Duration;
use tokio::time::timeout;
use voxwire_core::{Handler, Instant, Session};
use voxwire_msgpack::{self as msgpack, Dialect, ServerCommand, ServerEvent};
use voxwire_transport::{Connection, Handle, Hub, HubSettings};
use voxwire_voicelink as voicelink;

/// Admits every user.
struct Door;

impl Handler<msgpack::Server> for Door {
    fn on_event(&mut self, server: &mut msgpack::Server, now: Instant, event: ServerEvent<'_>) {
        let token = "00000000-0000-4000-8000-000000000000".into();
        if let ServerEvent::LoggingIn { ticket, .. } = event {
            server.handle_command(now, ServerCommand::Admit { ticket, token }).unwrap();
        }
    }
}

/// The next event that is not about progress, as text: its beginning.
async fn hear<C: Session>(connection: &mut Connection<C>) -> String
where
    for<'a> C::Event<'a>: core::fmt::Debug,
{
    let next = async {
        loop {
            let Some(turn) = connection.next().await else { return "end".into() };
            if let Some(event) = turn.result.unwrap() {
                let mut event = format!("{event:?}");
                event.truncate(60);
                return event;
            }
        }
    };
    timeout(Duration::from_secs(10), next).await.expect("an event within 10 s")
}

fn hub() -> Handle<msgpack::Server> {
    let server = msgpack::Server::new(msgpack::ServerSettings::DEFAULT, 1, |_| [7; 32]);
    let settings = HubSettings { max_queued: 4 << 20, ..HubSettings::DEFAULT };
    Hub::spawn(Vec::new(), server, Door, settings).unwrap()
}

/// D-07: a host has a client without a socket, in any protocol: its frames lie in the stream as they do in TCP, large ones too.
#[tokio::test]
async fn d_07_a_client_inside_speaks_the_framing_of_its_protocol() {
    for dialect in [Dialect::Zmtp, Dialect::Plain] {
        let hub = hub();
        let settings = msgpack::ClientSettings { dialect, ..msgpack::ClientSettings::DEFAULT };
        let mut ann = hub.connect(msgpack::Client::new(settings)).await.unwrap();
        assert_eq!(hear(&mut ann).await, "Connected", "{dialect:?}");
        let login = msgpack::ClientCommand::Login { username: "ann".into(), password: "x".into() };
        ann.call(|client, now| client.handle_command(now, login)).unwrap();
        let answer = hear(&mut ann).await;
        assert!(answer.starts_with("LoggedIn"), "{dialect:?}: {answer}");
        // 1.2 MB.
        let samples = vec![30_000_i16; 400_000];
        let recording = msgpack::ClientCommand::VoiceMsg {
            recipient: "ann".into(),
            channels: 1,
            sample_rate: 44_100,
            samples: samples[..].into(),
        };
        ann.call(|client, now| client.handle_command(now, recording)).unwrap();
        let heard = [hear(&mut ann).await, hear(&mut ann).await];
        assert!(heard[0].starts_with("VoiceMsg"), "{dialect:?}: {heard:?}");
        assert!(heard[1].contains("SUCCESS"), "{dialect:?}: {heard:?}");
        assert_eq!((hub.stats().connections, hub.stats().broken), (1, 0));
    }
    let server = voicelink::Server::new(voicelink::ServerSettings::DEFAULT, 1);
    let hub = Hub::spawn(Vec::new(), server, (), HubSettings::DEFAULT).unwrap();
    let mut bob = hub.connect(voicelink::Client::new(voicelink::ClientSettings::DEFAULT)).await.unwrap();
    assert_eq!(hear(&mut bob).await, "Connected");
    let register = voicelink::ClientCommand::Register {
        name: "bob",
        secret: None,
        preferred: voicelink::Parameters::DEFAULT,
        samples: voicelink::ByteOrder::BigEndian,
    };
    bob.call(|client, now| client.handle_command(now, register)).unwrap();
    assert_eq!(hear(&mut bob).await, "Registered");
}
