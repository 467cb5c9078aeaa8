//! Descriptors: silent connections where there are few.

use crate::common::{Honest, Victim, connect_from, descriptors, length, log_in, pause};
use core::time::Duration;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

/// F-19: at `ulimit -n 1024`, soft and hard, two addresses hold all the silent connections that they can get; an honest log-in works.
#[test]
fn silent_connections_at_1024_descriptors_keep_nobody_out() {
    let room = descriptors().min(4000);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 1024 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_voxwire-server")]);
    let mut victim = Victim::start_by(limited, "descriptors", &[], "", |command| {
        command.stderr(Stdio::piped());
    });
    let mut stderr = victim.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap());
    let honest = Honest::call(&victim);
    let doors =
        ["voicelink tcp", "opcode tcp", "msgpack zmtp", "dissonance tcp"].map(|door| victim.address(door));
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut silent = |count: usize| {
        for (index, &door) in doors.iter().cycle().take(count).enumerate() {
            let from = [127, 0, 0, if (index / doors.len()) % 2 == 0 { 2 } else { 3 }];
            if streams.len() < room {
                streams.extend(connect_from(from, door));
            }
        }
        streams.len()
    };
    // Three hundred at each door, from two addresses.
    silent(1200);
    pause(Duration::from_secs(3));
    let end = Instant::now() + length();
    let (mut guests, mut held) = (0_u32, 0);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        held = silent(8);
        slowest = slowest.max(log_in(doors[0], &format!("guest{guests}")));
        guests += 1;
        assert!(victim.page("/healthz").0.ends_with("ok\n"), "the status page has descriptors of its own");
        assert!(victim.open_files() < 1000, "{} descriptors", victim.open_files());
        pause(Duration::from_millis(500));
    }
    println!("{} silent connections; {guests} log-ins, {slowest:?} the slowest", held);
    victim.unharmed(honest);
    let log = log.join().unwrap();
    // Once a minute for each door, where those who were sent away are not quite gone.
    let cannot = log.lines().filter(|line| line.contains("cannot accept")).count();
    assert!(
        cannot <= 5 * (1 + length().as_secs() as usize / 60)
            && log.contains("fewer connections than set, for all protocols together"),
        "{log}"
    );
}

/// F-19: the soft limit alone is raised to the hard one.
#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let mut limited = Command::new("sh");
    let script = "ulimit -S -n 256 && exec \"$0\" \"$@\"";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_voxwire-server")]);
    let victim = Victim::start_by(limited, "soft-limit", &[], "", |_| {});
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", victim.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
}
