//! Who may not come in.

use crate::common::{ALL, Controlled, serve};
use crate::kit::raw::{connect, connect_from, join, log_in, packet, pause, registered};
use crate::kit::user::{User, runtime};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use voxwire_msgpack::{ClientCommand, Dialect};

/// Whether a connection is closed.
fn is_closed(mut stream: TcpStream) -> bool {
    let ended = stream.read_to_end(&mut Vec::new());
    ended.map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true)
}

/// C-31: a ban ends what is there, keeps out what comes, and outlives the server that is killed.
#[test]
fn c_31_a_banned_address_is_kept_out_also_after_kill_9() {
    let mut control = Controlled::start("ban-address", ALL);
    let from = [127, 0, 9, 7];
    let address = control.address("voicelink tcp");
    let mallory = registered(connect_from(from, address), "mallory");
    control.until("voicelink", 1);
    let made = control.act("/api/v1/bans", &json!({ "address": "127.0.9.0/24", "reason": "floods" }));
    assert_eq!((&made["connections"], &made["ban"]["address"]), (&json!(1), &json!("127.0.9.0/24")));
    assert_eq!(made["ban"]["by"], "ann");
    assert!(is_closed(mallory));
    let everywhere = |control: &Controlled| {
        for name in ["voicelink tcp", "opcode tcp", "msgpack zmtp", "dissonance tcp"] {
            assert!(is_closed(connect_from(from, control.address(name))), "{name}");
        }
        let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.send_to(&[0], control.address("syfala udp")).unwrap();
        assert!(socket.recv(&mut [0; 64]).is_err());
        // Neighbours come in.
        drop(registered(connect_from([127, 0, 8, 7], control.address("voicelink tcp")), "neighbour"));
    };
    everywhere(&control);
    control.server.signal("-KILL");
    control.server.wait();
    control.server = serve("ban-address", ALL, "", &control.data);
    everywhere(&control);
    assert_eq!(control.get("/api/v1/bans")["items"][0]["reason"], "floods");
    // And it ends when an operator says so.
    let id = made["ban"]["id"].as_i64().unwrap();
    let (status, ended) = control.ask("DELETE", &format!("/api/v1/bans/{id}"), &json!({}));
    assert_eq!((status, &ended["address"]), (200, &json!("127.0.9.0/24")));
    assert_eq!(control.ask("DELETE", &format!("/api/v1/bans/{id}"), &json!({})).0, 404);
    drop(registered(connect_from(from, control.address("voicelink tcp")), "mallory"));
}

/// C-31: a ban is over when its time is.
#[test]
fn c_31_a_ban_ends_with_its_time() {
    let control = Controlled::start("ban-time", "only = [\"voicelink\"]");
    control.act("/api/v1/bans", &json!({ "address": "127.0.9.8", "seconds": 2 }));
    let address = control.address("voicelink tcp");
    assert!(is_closed(connect_from([127, 0, 9, 8], address)));
    for _ in 0..200 {
        let mut stream = connect_from([127, 0, 9, 8], address);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(&packet(9, b""));
        // One that is let in waits for words.
        if stream.read(&mut [0; 8]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
            assert_eq!(control.get("/api/v1/bans")["total"], 0);
            return;
        }
        pause(50);
    }
    panic!("the ban has not ended");
}

/// C-31: a banned name is kept out in each protocol that has names, in each of its spellings.
#[test]
fn c_31_a_banned_name_is_kept_out_in_every_protocol() {
    let control = Controlled::start("ban-name", ALL);
    let mut here = registered(connect(control.address("voicelink tcp")), "eve");
    control.until("voicelink", 1);
    assert_eq!(control.act("/api/v1/bans", &json!({ "name": "eve" }))["connections"], 1);
    assert!(std::io::copy(&mut here, &mut std::io::sink()).is_ok());
    let ends = |mut stream: TcpStream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    };
    ends(registered(connect(control.address("voicelink tcp")), "eve"));
    ends(log_in(connect(control.address("opcode tcp")), "eve"));
    ends(join(control.address("dissonance tcp"), b"eve").0);
    runtime().block_on(async {
        let mut eve = User::connect(control.address("msgpack zmtp"), Dialect::Zmtp).await;
        let (username, password) = ("eve".into(), "geheim".into());
        eve.ask(ClientCommand::Register { username, password }).await;
        eve.send(ClientCommand::Login { username, password });
        while eve.hear_or_end().await.is_some() {}
    });
    for protocol in ["voicelink", "opcode", "msgpack", "dissonance"] {
        control.until(protocol, 0);
    }
    drop(log_in(connect(control.address("opcode tcp")), "adam"));
}
