//! A run: the endpoint of the command line, and each of its checks in turn.

use crate::check::{Check, Stop};
use crate::flags::{Flags, Side};
use crate::protocols::{LOOPBACK, Protocol};
use crate::report::{Checked, Report, Verdict};
use crate::stage::{Listening, Socket, Stage, Target};
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};

/// The command line asks for what there is not.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for UsageError {}

fn usage<T>(text: String) -> Result<T, UsageError> {
    Err(UsageError(text))
}

/// Runs the checks that `flags` ask for. `say` is told where the runner listens.
///
/// # Errors
///
/// The address cannot be resolved or listened on, or there is no such ability, role or row.
pub fn run(flags: &Flags, say: &dyn Fn(&str)) -> Result<Report, UsageError> {
    let protocol = flags.protocol;
    let (target, checks, side) = match &flags.side {
        Side::Server(server) => {
            named(&server.without, protocol.abilities, "ability")?;
            let address = resolve(&server.address)?;
            let secret = server.secret.clone();
            let target = Target { address, timeout: flags.timeout(), secret, listening: None };
            (target, protocol.server, "server")
        }
        Side::Client(client) => {
            named(client.role.as_slice(), protocol.roles, "role")?;
            let socket = listen(resolve(&client.listen)?, protocol)?;
            let address = match &socket {
                Socket::Tcp(listener) => listener.local_addr(),
                Socket::Udp(socket) => socket.local_addr(),
            };
            let address = address.map_err(|error| UsageError(format!("{}: {error}", client.listen)))?;
            say(&format!("listening {} {address}", protocol.name));
            let wait = Duration::from_secs_f64(client.wait);
            let listening = Some(Listening { socket, command: client.command.clone(), wait });
            let target = Target { address, timeout: flags.timeout(), secret: String::new(), listening };
            (target, protocol.client, "client")
        }
    };
    let wanted = wanted(checks, &flags.common().only)?;
    let mut report = Report::new(protocol.name, side, target.address);
    for check in wanted {
        let verdict = match unmet(check, flags, target.address) {
            Some(why) => Verdict::Skipped(why),
            None => {
                if target.listening.as_ref().is_some_and(|listening| listening.command.is_empty()) {
                    say(&format!("start a client for {}/{}: {}", check.row, check.name, check.expected));
                }
                match (check.run)(&Stage::new(&target)) {
                    Ok(()) => Verdict::Passed,
                    Err(Stop::Failed(failure)) => Verdict::Failed(failure),
                    Err(Stop::Skipped(why)) => Verdict::Skipped(why),
                }
            }
        };
        report.checks.push(Checked { check, verdict });
    }
    Ok(report)
}

fn named(
    names: &[String],
    known: &[(&'static str, &'static str)],
    what: &'static str,
) -> Result<(), UsageError> {
    match names.iter().find(|name| !known.iter().any(|(one, _)| one == name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<String> = known.iter().map(|(name, means)| format!("{name} ({means})")).collect();
            usage(format!("no such {what}: {name:?}; this protocol has: {}", known.join(", ")))
        }
    }
}

/// The checks of the rows and names in `only`; all of them if it is empty.
fn wanted(groups: &'static [&'static [Check]], only: &[String]) -> Result<Vec<&'static Check>, UsageError> {
    let checks: Vec<&'static Check> = groups.iter().copied().flatten().collect();
    let is = |check: &Check, wanted: &str| match wanted.split_once('/') {
        Some((row, name)) => check.row == row && check.name == name,
        None => check.row == wanted,
    };
    if let Some(none) = only.iter().find(|wanted| !checks.iter().any(|check| is(check, wanted))) {
        return usage(format!(
            "no check of {none:?} for this protocol and side: give a row (V-06) or a check (V-06/relay)"
        ));
    }
    let chosen = |check: &&Check| only.is_empty() || only.iter().any(|wanted| is(check, wanted));
    Ok(checks.into_iter().filter(chosen).collect())
}

/// Why a check is not for this endpoint.
fn unmet(check: &Check, flags: &Flags, address: SocketAddr) -> Option<String> {
    let unmet = |need: &&str| match &flags.side {
        _ if *need == LOOPBACK => !address.ip().is_loopback(),
        Side::Server(server) => server.without.iter().any(|ability| ability == need),
        Side::Client(client) => client.role.as_deref() != Some(need),
    };
    let need = check.needs.iter().copied().find(|need| unmet(need))?;
    Some(match &flags.side {
        _ if need == LOOPBACK => "only on loopback".into(),
        Side::Server(_) => format!("--without {need}"),
        Side::Client(_) => format!("needs --as {need}"),
    })
}

fn resolve(address: &str) -> Result<SocketAddr, UsageError> {
    let error = |why: String| UsageError(format!("{address:?} is no HOST:PORT that can be reached: {why}"));
    let mut found = address.to_socket_addrs().map_err(|why| error(why.to_string()))?;
    found.next().ok_or_else(|| error("the name has no address".into()))
}

fn listen(address: SocketAddr, protocol: &Protocol) -> Result<Socket, UsageError> {
    let socket = if protocol.is_udp {
        UdpSocket::bind(address).map(Socket::Udp)
    } else {
        TcpListener::bind(address).map(Socket::Tcp)
    };
    socket.map_err(|error| UsageError(format!("listening on {address} failed: {error}")))
}
