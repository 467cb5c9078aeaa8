//! voicelink.

use crate::kit::raw::{connect, handshake, next_packet, packet, registered};
use crate::{closed, serve};
use std::io::Write;

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
