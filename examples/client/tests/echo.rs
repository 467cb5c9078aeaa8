//! C-08 for echo: the programs, run by hand from two terminals.
#![cfg(feature = "echo")]

mod kit;

use kit::Server;
use serde_json::Value;
use voxwire_server::Protocol;

/// The last line of `echo --json`.
fn done(server: &Server, arguments: &str) -> Value {
    let (code, text, error) = server.client(&format!("--json {arguments}"));
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn c_08_echoes_come_back_on_either_lane() {
    let server = Server::start(Protocol::named("echo").unwrap());
    for (arguments, sent) in [("--count 5", 5), ("--reliable --count 100", 100)] {
        let done = done(&server, arguments);
        assert_eq!((&done["event"], &done["sent"]), (&"done".into(), &sent.into()), "{done}");
        assert_eq!(done["back"].as_u64().unwrap() + done["lost"].as_u64().unwrap(), sent);
        assert!(done["rtt_ms"].as_f64() > Some(0.0), "{done}");
    }
    assert_eq!(server.client("--count 0").0, Some(2));
}
