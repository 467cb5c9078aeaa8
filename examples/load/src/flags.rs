//! The command line.

use crate::encryption::Encryption;
use crate::error::Error;
use crate::payload::MIN_BYTES;
use crate::plan::Plan;
use crate::protocols::{DEFAULT_RATE, Entry, Grouping};
use clap::{Parser, value_parser};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit code 0: done; 1: users failed, or what they heard was not what was said, or a limit of --max-loss or --max-p99 \
was passed; the reason is on standard error; 2: usage error.

All users log in under names that begin with --prefix. Accounts that msgpack needs are made, with one password for all: \
use a server that is for tests.";

/// Puts load on a server of any of voxwire's protocols, checks every frame, and measures latency.
///
/// Users join, set up calls or groups, and talk: each frame carries who says it, its number, and when it was due. Each copy that is heard is
/// compared with what was said.
#[derive(Debug, Parser)]
#[command(name = "voxwire-load", version, after_help = AFTER_HELP)]
pub(crate) struct Flags {
    /// What to speak. voicelink, opcode: users call each other in pairs, and the server carries the calls; msgpack: calls of groups;
    /// dissonance: rooms, by UDP; syfala: streams that the device echoes.
    #[arg(value_name = "PROTOCOL", value_parser = Entry::parser())]
    protocol: &'static Entry,
    /// The server; without a port, the protocol's own. Without --server the program starts one of its own, on loopback, with what the
    /// users need.
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// dissonance: come by QUIC. A server that is named with --server needs --tls-ca, too.
    #[arg(long)]
    quic: bool,
    /// Trust the certificates in this file, and speak TLS, or QUIC with --quic.
    #[arg(long, value_name = "FILE", requires = "server")]
    tls_ca: Option<PathBuf>,
    /// The name that the server's certificate is for [default: the server's address].
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// Users.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Users that talk; 0: all users join and stay idle [default: all; msgpack and dissonance: one in each group].
    #[arg(long, value_name = "N")]
    talkers: Option<u32>,
    /// Frames a second of each talker [default: 50]. A syfala device says it itself.
    #[arg(long, value_name = "FRAMES")]
    rate: Option<u32>,
    /// Bytes of a frame; of msgpack, as samples of 16 bits [default: voicelink 640, opcode 240, msgpack 1764, dissonance 80]. A syfala
    /// device says it itself.
    #[arg(long, value_name = "BYTES")]
    bytes: Option<usize>,
    /// How long the talkers talk.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// msgpack's groups or dissonance's rooms, over which the users are spread evenly [default: 1].
    #[arg(long, value_name = "N")]
    groups: Option<u32>,
    /// Users a second that join, and that set up their calls afterwards [default: voicelink and dissonance 500/s, opcode 200/s,
    /// syfala 100/s, msgpack 20/s].
    #[arg(long, value_name = "N/s", value_parser = per_second)]
    ramp: Option<u32>,
    /// Share the users out to this many processes, of one thread each.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    processes: u32,
    /// How long a user may take to join, and to set up its call.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u32).range(1..=3600))]
    timeout: u32,
    /// What the names of users, groups and rooms begin with.
    #[arg(long, value_name = "NAME", default_value = "load", value_parser = prefix)]
    prefix: String,
    /// The server's process on this machine: its time on the cores and its memory are measured (Linux). A server that the program has
    /// started is measured without it.
    #[arg(long, value_name = "PID", requires = "server", value_parser = value_parser!(u32).range(1..))]
    server_pid: Option<u32>,
    /// Fail if more copies than this are lost.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_loss: Option<f64>,
    /// Fail if the 99th percentile of the latency is longer.
    #[arg(long, value_name = "MS", value_parser = millis)]
    max_p99: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) plan: Plan,
    pub(crate) processes: u32,
    pub(crate) server_pid: Option<u32>,
    pub(crate) limits: Limits,
    pub(crate) json: bool,
}

/// What may not be passed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// In percent.
    pub(crate) loss: Option<f64>,
    /// In milliseconds.
    pub(crate) p99: Option<f64>,
}

fn per_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    number.filter(|n| (1..=100_000).contains(n)).ok_or_else(|| "1/s to 100000/s expected".into())
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| text.into()).ok_or_else(|| "1 to 32 letters and digits of ASCII expected".into())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a percentage from 0 to 100 expected".into())
}

fn millis(text: &str) -> Result<f64, String> {
    let millis = text.parse().ok().filter(|millis| (0.0..=600_000.0).contains(millis));
    millis.ok_or_else(|| "milliseconds from 0 to 600000 expected".into())
}

/// An error of the command line.
fn usage(text: impl Into<String>) -> Error {
    Error::Usage(text.into())
}

/// Whether a flag's value is within its range.
fn check<T: PartialOrd + Display + Copy>(flag: &str, value: T, least: T, most: T) -> Result<T, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(usage(format!("{flag} {value}: {least} to {most} expected")))
}

impl Flags {
    /// What they ask for, checked.
    pub(crate) fn wanted(self) -> Result<Wanted, Error> {
        let (entry, users) = (self.protocol, self.users);
        let (groups, units) = self.grouping()?;
        let (rate, bytes) = self.frames()?;
        let encryption = self.encryption()?;
        let port = if self.quic { entry.quic_port.unwrap_or(entry.port) } else { entry.port };
        let talkers = self.talkers.unwrap_or(if entry.grouping == Grouping::Groups { groups } else { users });
        let plan = Plan {
            protocol: entry.name.into(),
            server: self.server.as_deref().map(|server| resolve(server, port)).transpose()?,
            encryption,
            users,
            talkers: check("--talkers", talkers, 0, users)?,
            groups,
            rate,
            bytes,
            seconds: self.seconds,
            ramp: self.ramp.unwrap_or(entry.ramp),
            timeout: self.timeout,
            prefix: self.prefix,
            part: 0..users,
        };
        Ok(Wanted {
            processes: check("--processes", self.processes, 1, units)?,
            server_pid: self.server_pid,
            limits: Limits { loss: self.max_loss, p99: self.max_p99 },
            json: self.json,
            plan,
        })
    }

    /// How the server is reached; `None`: in the clear.
    fn encryption(&self) -> Result<Option<Encryption>, Error> {
        let entry = self.protocol;
        if self.quic && entry.quic_port.is_none() {
            return Err(usage(format!("--quic: {} is not spoken over QUIC; leave it out", entry.name)));
        }
        if self.tls_ca.is_some() && !entry.encrypted {
            return Err(usage(format!("--tls-ca: {} has no encryption; leave it out", entry.name)));
        }
        if self.quic && self.server.is_some() && self.tls_ca.is_none() {
            return Err(usage("--quic: --tls-ca FILE is missing, the certificate to trust"));
        }
        let trusted = self.tls_ca.clone().or_else(|| self.quic.then(PathBuf::default));
        Ok(trusted.map(|trusted| Encryption::new(self.quic, trusted, self.tls_name.clone())))
    }

    /// The groups, and how many processes the users can be shared out to.
    fn grouping(&self) -> Result<(u32, u32), Error> {
        let (name, users) = (self.protocol.name, self.users);
        let none = |what: &str| match self.groups {
            Some(_) => Err(usage(format!("--groups: {what}; leave it out"))),
            None => Ok(1),
        };
        match self.protocol.grouping {
            Grouping::Pairs if !users.is_multiple_of(2) => Err(usage(format!(
                "--users {users}: {name} calls have two users each: an even number expected"
            ))),
            Grouping::Pairs => Ok((none(&format!("{name} calls have two users each"))?, users / 2)),
            Grouping::Alone => Ok((none(&format!("a user of {name} hears itself"))?, users)),
            Grouping::Groups => Ok((check("--groups", self.groups.unwrap_or(1), 1, users)?, users)),
        }
    }

    /// Frames a second and bytes of each; 0 where the server says them.
    fn frames(&self) -> Result<(u32, usize), Error> {
        let name = self.protocol.name;
        let Some(frames) = &self.protocol.frames else {
            return match (self.rate, self.bytes) {
                (None, None) => Ok((0, 0)),
                _ => Err(usage(format!("--rate and --bytes: the {name} device says them; leave them out"))),
            };
        };
        let (least, most) = (*frames.rate.start(), *frames.rate.end());
        let rate = check("--rate", self.rate.unwrap_or(DEFAULT_RATE), least, most)?;
        let bytes = self.bytes.unwrap_or(frames.default_bytes);
        let bytes = check("--bytes", bytes, MIN_BYTES, *frames.bytes.end())?;
        if !bytes.is_multiple_of(frames.unit) {
            return Err(usage(format!(
                "--bytes {bytes}: {name} sends samples of 16 bits: an even number expected"
            )));
        }
        Ok((rate, bytes))
    }
}

/// The address of `HOST[:PORT]`.
fn resolve(server: &str, port: u16) -> Result<SocketAddr, Error> {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let found = match server.contains(':') {
        true => server.to_socket_addrs(),
        false => (server, port).to_socket_addrs(),
    };
    let found = found.map_err(|error| usage(format!("--server {server}: {error}")))?.next();
    found.ok_or_else(|| usage(format!("--server {server}: no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> Result<Wanted, String> {
        let words = ["voxwire-load"].into_iter().chain(line.split_whitespace());
        let flags = Flags::try_parse_from(words).map_err(|error| error.to_string())?;
        flags.wanted().map_err(|error| error.to_string())
    }

    #[test]
    fn each_protocol_has_defaults_that_work() {
        for entry in crate::protocols::PROTOCOLS {
            let Wanted { plan, processes, .. } = wanted(entry.name).unwrap();
            assert_eq!((plan.users, plan.server, processes, plan.seconds), (10, None, 1, 10));
            assert_eq!(plan.talkers, if entry.grouping == Grouping::Groups { 1 } else { 10 });
            assert_eq!((plan.rate > 0, plan.bytes > 0), (entry.frames.is_some(), entry.frames.is_some()));
        }
        let wanted = wanted("dissonance --server ::1 --users 6 --groups 3 --ramp 7/s --max-loss 1%").unwrap();
        assert_eq!(wanted.plan.server, Some("[::1]:4244".parse().unwrap()));
        assert_eq!((wanted.plan.talkers, wanted.plan.ramp, wanted.limits.loss), (3, 7, Some(1.0)));
    }

    #[test]
    fn quic_has_a_port_of_its_own() {
        let server = |line| wanted(line).unwrap().plan.server.unwrap().port();
        assert_eq!(server("dissonance --quic --tls-ca x.pem --server ::1"), 4245);
        assert_eq!(server("dissonance --tls-ca x.pem --server ::1"), 4244);
    }

    /// Each error names the flag, what was given, and what is expected.
    #[test]
    fn a_command_line_that_makes_no_sense_is_refused_and_says_what_is_expected() {
        for (line, expected) in [
            ("", "PROTOCOL"),
            ("skype", "possible values: voicelink, opcode, msgpack, dissonance, syfala"),
            ("voicelink --users 0", "0 is not in 1..=1000000"),
            (
                "voicelink --users 3",
                "--users 3: voicelink calls have two users each: an even number expected",
            ),
            ("opcode --groups 2", "--groups: opcode calls have two users each; leave it out"),
            ("syfala --groups 2", "--groups: a user of syfala hears itself; leave it out"),
            ("syfala --bytes 80", "the syfala device says them; leave them out"),
            ("dissonance --groups 11", "--groups 11: 1 to 10 expected"),
            ("dissonance --talkers 11", "--talkers 11: 0 to 10 expected"),
            ("dissonance --bytes 31", "--bytes 31: 32 to 900 expected"),
            ("msgpack --bytes 33", "--bytes 33: msgpack sends samples of 16 bits: an even number expected"),
            ("opcode --rate 121", "--rate 121: 1 to 120 expected"),
            ("opcode --processes 6", "--processes 6: 1 to 5 expected"),
            ("opcode --ramp 0", "1/s to 100000/s expected"),
            ("opcode --seconds 86401", "86401 is not in 1..=86400"),
            ("opcode --max-loss 101", "a percentage from 0 to 100 expected"),
            ("opcode --max-p99 x", "milliseconds from 0 to 600000 expected"),
            ("opcode --prefix a:b", "letters and digits"),
            ("opcode --server-pid 1", "--server"),
            ("opcode --quic", "--quic: opcode is not spoken over QUIC; leave it out"),
            ("syfala --server ::1 --tls-ca x.pem", "--tls-ca: syfala has no encryption; leave it out"),
            ("dissonance --quic --server ::1", "--quic: --tls-ca FILE is missing"),
            ("opcode --tls-ca x.pem", "--server"),
            ("opcode --server ::1 --tls-name x", "--tls-ca"),
            ("opcode --server 127.0.0.1:x", "--server 127.0.0.1:x: "),
        ] {
            let error = wanted(line).map(drop).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    /// What `--help` says of each protocol is what its row says.
    #[test]
    fn the_help_tells_the_defaults_of_the_table() {
        use clap::CommandFactory as _;
        let help = Flags::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for entry in crate::protocols::PROTOCOLS {
            if let Some(frames) = &entry.frames {
                assert!(help.contains(&format!("{} {}", entry.name, frames.default_bytes)), "{help}");
            }
            assert!(help.contains(&format!("{}/s", entry.ramp)), "{help}");
        }
    }
}
