//! F-18: what the client writes and nobody reads stops neither a call nor a signal.

mod kit;

use kit::Server;
use nix::pty::openpty;
use nix::sys::termios::{FlowArg, tcflow};
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use voxwire_server::Protocol;

/// A pipe that takes nothing more, and what keeps it open.
fn full() -> (Stdio, impl Drop) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    (writer.into(), Open(reader))
}

struct Open(#[expect(dead_code, reason = "held")] std::io::PipeReader);

impl Drop for Open {
    fn drop(&mut self) {}
}

fn ends(child: &mut Child) -> ExitStatus {
    for _ in 0..400 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("still running after 8 s");
}

/// The client speaks to bob for three seconds with these outputs, is told to end by a signal, and does, with 0.
fn speaks(what: &str, outputs: impl FnOnce(&mut Command) -> &mut Command) {
    let server = Server::start(Protocol::DISSONANCE);
    let bob = server.spawn("join Red --name bob", "joined");
    let mut command = server.command("join Red --name alice --play tone --log trace");
    let mut alice = outputs(&mut command).spawn().unwrap();
    // It keeps what is another's no longer than it runs.
    drop(command);
    bob.until("\"alice\" speaks");
    std::thread::park_timeout(Duration::from_secs(3));
    assert!(Command::new("kill").args(["-TERM", &alice.id().to_string()]).status().unwrap().success());
    let status = ends(&mut alice);
    assert_eq!(status.code(), Some(0), "{what}");
    bob.until("\"alice\" has left");
    bob.signal("-INT");
    let (_, out, _) = bob.end();
    let heard =
        out.lines().find(|line| line.starts_with("heard \"alice\"")).unwrap_or_else(|| panic!("{out}"));
    let mut numbers =
        heard.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u32>().ok());
    let (frames, gap) = (numbers.next().unwrap(), numbers.next_back().unwrap());
    assert!(frames >= 130 && gap < 500, "{what}: {heard}");
}

/// F-18: nobody reads the pipe that is standard error, nor the one that is standard output.
#[test]
fn f_18_full_pipes_stop_no_call() {
    let ((error, _error), (out, _out)) = (full(), full());
    speaks("standard error", |command| command.stdout(Stdio::null()).stderr(error));
    speaks("standard output", |command| command.stdout(out).stderr(Stdio::null()));
}

/// F-18: Ctrl-S on the terminal, where the meter is drawn as well.
#[test]
fn f_18_a_terminal_that_is_stopped_stops_no_call() {
    let terminal = openpty(None, None).unwrap();
    tcflow(&terminal.slave, FlowArg::TCOOFF).unwrap();
    let stdio = || Stdio::from(terminal.slave.try_clone().unwrap());
    speaks("a terminal", |command| command.stdout(stdio()).stderr(stdio()));
}

/// F-18: the exit code is right all the same.
#[test]
fn f_18_full_pipes_change_no_exit_code() {
    let server = Server::start(Protocol::DISSONANCE);
    for (arguments, code) in
        [("--server 127.0.0.1:1 join Red", 1), ("join", 2), ("join Red --for 0.3 --log trace", 0)]
    {
        let ((error, _error), (out, _out)) = (full(), full());
        let mut child = server.command(arguments).stdout(out).stderr(error).spawn().unwrap();
        assert_eq!(ends(&mut child).code(), Some(code), "{arguments}");
    }
}
