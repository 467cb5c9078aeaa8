//! ZMTP on real sockets, with libzmq at the other end: what is not in the program's own hands, a hub of its own stands for.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use core::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use voxwire_core::{Handler, Instant, Session as _};
use voxwire_msgpack::{Server, ServerCommand, ServerEvent, Settings, Ticket};
use voxwire_transport::{Handle, Hub, HubSettings, Listener};

/// A Python that has zmq, Debian's if there is one; without it the test says that it is skipped.
fn python(mode: &str, address: SocketAddr) -> Option<Output> {
    for python in ["/usr/bin/python3", "python3"] {
        let works = Command::new(python).args(["-c", "import zmq"]).stderr(Stdio::null()).status();
        if works.is_ok_and(|status| status.success()) {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zmtp.py");
            let mut command = Command::new(python);
            command.args(["-B", script, mode, &address.to_string()]);
            return Some(command.output().unwrap());
        }
    }
    println!("skipped: no Python with zmq here; install the Debian package python3-zmq");
    None
}

fn all_is_well(output: Option<Output>) {
    let Some(output) = output else { return };
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), out.trim()), (Some(0), "all is well"), "{errors}");
}

/// Lets everybody in, after a while.
struct SlowDesk {
    tickets: tokio::sync::mpsc::UnboundedSender<Ticket>,
}

impl Handler<Server> for SlowDesk {
    fn on_event(&mut self, server: &mut Server, now: Instant, event: ServerEvent<'_>) {
        match event {
            ServerEvent::LoggingIn { ticket, .. } => self.tickets.send(ticket).unwrap(),
            ServerEvent::Registering { ticket, .. } => {
                server.handle_command(now, ServerCommand::Allow { ticket }).unwrap();
            }
            _ => {}
        }
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    token.iter().enumerate().for_each(|(at, byte)| digest[at % 32] ^= byte);
    digest
}

/// A hub whose log-ins take `delay`.
fn slow_hub(runtime: &tokio::runtime::Runtime, delay: Duration) -> (Handle<Server>, SocketAddr) {
    let _inside = runtime.enter();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (tickets, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let desk = SlowDesk { tickets };
    let hub =
        Hub::spawn(vec![listener], Server::new(Settings::DEFAULT, 1, digest), desk, HubSettings::DEFAULT);
    let door = hub.clone();
    runtime.spawn(async move {
        while let Some(ticket) = asked.recv().await {
            tokio::time::sleep(delay).await;
            let token = b"00000000-0000-4000-8000-000000000001"[..].into();
            door.call(|server, now| server.handle_command(now, ServerCommand::Admit { ticket, token }))
                .unwrap();
        }
    });
    (hub, address)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// F-25: a peer whose heartbeats wait for less than its log-in takes keeps its connection, and has its answers in order.
#[test]
fn f_25_heartbeats_are_answered_while_a_log_in_is_in_work() {
    let runtime = runtime();
    let (_hub, address) = slow_hub(&runtime, Duration::from_millis(2500));
    all_is_well(python("slow", address));
}
