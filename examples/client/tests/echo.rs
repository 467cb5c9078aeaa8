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
    let time: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(time["event"], "time");
    // The same machine's clock.
    assert!(time["ahead_ms"].as_f64().unwrap().abs() < 1000.0, "{time}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn c_08_echoes_come_back_on_either_lane() {
    let server = Server::start(Protocol::named("echo").unwrap());
    for (arguments, sent) in
        [("--count 5 --interval 10 --size 1000", 5), ("--reliable --count 300 --interval 5", 300)]
    {
        let done = done(&server, arguments);
        assert_eq!((&done["event"], &done["sent"]), (&"done".into(), &sent.into()), "{done}");
        assert_eq!(done["back"].as_u64().unwrap() + done["lost"].as_u64().unwrap(), sent);
        assert!(done["rtt_ms"]["min"].as_f64() > Some(0.0), "{done}");
    }
    assert_eq!(server.client("--size 1001").0, Some(2));
}
