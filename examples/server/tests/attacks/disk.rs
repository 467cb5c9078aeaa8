//! The disk: one that hangs, and one that is full.

use crate::common::{Honest, Victim, log_in, pause};
use crate::user::{User, runtime};
use core::time::Duration;
use std::path::PathBuf;
use std::process::Command;
use voxwire_msgpack::{ClientCommand, Dialect};

/// While the file `HANG_WHEN` exists, nothing is ever on the disk.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static void hang(void) {
    const char *when = getenv("HANG_WHEN");
    while (when && access(when, F_OK) == 0) pause();
}
int fsync(int fd) { hang(); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { hang(); return syscall(SYS_fdatasync, fd); }
"#;

/// The shim, if there is a C compiler.
fn shim(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    std::fs::write(&source, SHIM).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    match compiled {
        Ok(status) if status.success() => Some(library),
        outcome => {
            println!("skipped: no C compiler: {outcome:?}");
            None
        }
    }
}

/// A server whose disk hangs, with a log-in that waits for it.
fn hanging(name: &str, seconds: u64) -> Option<(Victim, tokio::runtime::Runtime, User)> {
    let shim = shim(name)?;
    let switch = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&switch);
    let settings = format!("drain-seconds = {seconds}\n");
    let victim = Victim::start_with(name, &[], &settings, |command| {
        command.env("LD_PRELOAD", shim).env("HANG_WHEN", &switch);
    });
    let runtime = runtime();
    let mut user = runtime.block_on(User::connect(victim.address("msgpack zmtp"), Dialect::Zmtp));
    runtime.block_on(user.log_in("ann"));
    std::fs::write(&switch, "").unwrap();
    user.send(ClientCommand::CreateGroup { group_name: "stuck".into() });
    runtime.block_on(user.0.flush()).unwrap();
    pause(Duration::from_millis(300));
    Some((victim, runtime, user))
}

/// F-41: with the disk stuck everything else goes on; the first signal ends the server by the deadline, and says that something
/// is not written.
#[test]
fn a_disk_that_hangs_delays_the_end_by_drain_seconds_at_most() {
    let Some((mut victim, _runtime, _user)) = hanging("disk-hangs", 3) else { return };
    let honest = Honest::call(&victim);
    log_in(victim.address("voicelink tcp"), "guest");
    pause(Duration::from_secs(1));
    honest.lost_nothing();
    victim.signal("-TERM");
    let (status, took) = victim.ends(Duration::from_secs(10));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(status.code(), Some(1), "something was not written");
}

/// F-41: the second signal ends it at once.
#[test]
fn a_second_signal_ends_the_server_also_where_something_blocks() {
    for signals in [["-TERM", "-TERM"], ["-INT", "-TERM"]] {
        let Some((mut victim, _runtime, _user)) = hanging("disk-hangs-twice", 60) else { return };
        victim.signal(signals[0]);
        pause(Duration::from_secs(1));
        assert!(victim.child.try_wait().unwrap().is_none(), "it waits for the disk");
        victim.signal(signals[1]);
        let (status, took) = victim.ends(Duration::from_secs(10));
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(status.code(), Some(1));
    }
}
/// A disk of 4 MiB that kept messages fill: senders are told, everything else goes on, log-ins too.
#[test]
fn a_full_disk_harms_only_what_needs_it() {
    let mount = "mount -t tmpfs -o size=4m,mode=0700 tmpfs";
    let try_it = format!("{mount} /mnt");
    let possible = Command::new("unshare").args(["-r", "-m", "sh", "-c", &try_it]).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system of one's own can be mounted: {possible:?}");
        return;
    }
    let script = format!("{mount} \"$DATA\" && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_voxwire-server")]);
    let victim = Victim::start_by(command, "disk-full", &[], "", |_| {});
    let honest = Honest::call(&victim);
    let runtime = runtime();
    let address = victim.address("msgpack zmtp");
    runtime.block_on(async {
        let mut ann = User::connect(address, Dialect::Zmtp).await;
        ann.log_in("ann").await;
        let mut senders = Vec::new();
        for n in 0..6 {
            let mut sender = User::connect(address, Dialect::Zmtp).await;
            sender.log_in(&format!("sender{n}")).await;
            senders.push(sender);
        }
        for name in ["away0", "away1"] {
            let mut away = User::connect(address, Dialect::Zmtp).await;
            away.log_in(name).await;
        }
        let content = "x".repeat(60_000);
        let mut refused = 0;
        for round in 0..40 {
            for sender in &mut senders {
                let recipient = ["away0", "away1"][round % 2].into();
                let answer =
                    sender.ask(ClientCommand::Whisper { recipient, content: content.as_str().into() });
                refused += u32::from(!answer.await.contains("SUCCESS"));
            }
        }
        assert!(refused > 0, "the disk never filled");
        println!("{refused} of 240 messages refused");
        // Who has an account is still let in, and can talk to who is there.
        let mut ben = User::connect(address, Dialect::Zmtp).await;
        let (username, password) = ("sender0".into(), "geheim".into());
        drop(senders);
        let answer = ben.ask(ClientCommand::Login { username, password }).await;
        assert!(answer.starts_with("LoggedIn"), "{answer}");
        let whisper = ClientCommand::Whisper { recipient: "ann".into(), content: "hello".into() };
        ben.send(whisper);
        let (answer, heard) = tokio::join!(ben.hear(), ann.hear());
        assert!(heard.contains("hello"), "{answer}, {heard}");
    });
    victim.unharmed(honest);
}
