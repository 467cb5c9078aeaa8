//! voicelink.

use crate::kit::raw::{connect, handshake, next_packet, packet, registered};
use crate::{closed, serve};
use std::io::{Read as _, Write};

#[test]
fn f_71_voicelink_idle_times() {
    let settings = "only = [\"voicelink\"]\n[voicelink]\nidle-seconds = 1\nidle-call-seconds = 1\n";
    let server = serve("idle", settings);
    let address = server.address("voicelink tcp");
    let mut silent = connect(address);
    // A call in which nobody says anything; names are not idle.
    let (mut alice, mut bob) = (registered(connect(address), "alice"), registered(connect(address), "bob"));
    alice.write_all(&handshake("bob")).unwrap();
    assert_eq!(next_packet(&mut bob), 0);
    bob.write_all(&packet(4, b"")).unwrap();
    assert_eq!(next_packet(&mut alice), 4);
    assert_eq!(next_packet(&mut alice), 5, "the call is over");
    assert_eq!(next_packet(&mut bob), 5);
    assert!(closed(&mut silent));
    alice.write_all(&handshake("nobody")).unwrap();
    assert_eq!(next_packet(&mut alice), 1, "who has a name stays");
}

/// V-15: `echo`, which no client has as its name.
#[test]
fn v_15_who_calls_echo_hears_itself() {
    for (name, setting, answer) in [("echo", "", 4), ("echo-off", "echo = false\n", 1)] {
        let server = serve(name, &format!("only = [\"voicelink\"]\n[voicelink]\n{setting}"));
        let address = server.address("voicelink tcp");
        let mut alice = registered(connect(address), "alice");
        alice.write_all(&handshake("echo")).unwrap();
        assert_eq!(next_packet(&mut alice), answer);
        let mut other = connect(address);
        let body = [&[0, 0, 0xbb, 0x80, 0, 1, 2, 0, 0, 3, 0xc0, 0, 0][..], b"echo"].concat();
        other.write_all(&packet(0, &body)).unwrap();
        if answer == 1 {
            assert_eq!(next_packet(&mut other), 4, "a name like others");
            continue;
        }
        assert_eq!(next_packet(&mut other), 5, "it is taken");
        let said = packet(6, &[7; 640]);
        alice.write_all(&said).unwrap();
        let mut heard = vec![0; said.len()];
        alice.read_exact(&mut heard).unwrap();
        assert_eq!(heard, said);
    }
}
