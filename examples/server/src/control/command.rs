//! `voxwire-server ctl ..`: the API by the local socket.

use crate::Error;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use voxwire_core::OneLine;

/// Asks a running server of this machine, by its local socket. Answers are JSON.
#[derive(Debug, Clone, Args)]
pub struct Ctl {
    /// The socket that the server was told to make.
    #[arg(long, value_name = "PATH", default_value = "voxwire-data/control.sock")]
    socket: PathBuf,
    #[command(subcommand)]
    action: Action,
}

/// Whom an action is about.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Client {
    /// By name.
    #[arg(long)]
    name: Option<String>,
    /// By connection, as `list` shows it.
    #[arg(long, value_name = "ID")]
    peer: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// What each protocol can do.
    Protocols,
    /// The clients of a protocol.
    List {
        protocol: String,
        /// Leave out so many.
        #[arg(long, default_value_t = 0)]
        offset: u32,
        /// Show so many at most: 1 to 1000.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Disconnect a client.
    Kick {
        protocol: String,
        #[command(flatten)]
        client: Client,
        /// Why: it is told where the protocol has a word for it.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Hand on no voice of a client, and with --text no texts.
    Mute {
        protocol: String,
        #[command(flatten)]
        client: Client,
        /// Its texts, too.
        #[arg(long)]
        text: bool,
    },
    /// Hand on all of a client again.
    Unmute {
        protocol: String,
        #[command(flatten)]
        client: Client,
    },
    /// Who is muted.
    Mutes { protocol: String },
    /// Keep an address, a network or a name out.
    Ban {
        #[command(flatten)]
        subject: BanSubject,
        /// For so many seconds; for ever without it.
        #[arg(long)]
        seconds: Option<u32>,
        /// Why, for the list.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a ban, by its number.
    Unban { id: i64 },
    /// All bans.
    Bans,
    /// Take a client out of a room.
    Leave {
        protocol: String,
        #[command(flatten)]
        client: Client,
        room: String,
    },
    /// Send a room a text.
    Say { protocol: String, room: String, text: String },
    /// Decide whom a listener hears: speakers by name; none of them without any.
    Hear {
        protocol: String,
        listener: String,
        speakers: Vec<String>,
        /// What holds for listeners without a set again.
        #[arg(long, conflicts_with = "speakers")]
        reset: bool,
    },
    /// Decide whom listeners without a set hear: `everyone` or `nobody`.
    Others {
        protocol: String,
        #[arg(value_parser = ["everyone", "nobody"])]
        hear: String,
    },
    /// Record what is said to a room, or by a client.
    Record {
        protocol: String,
        #[command(flatten)]
        what: RecordWhat,
    },
    /// End a recording, by its number.
    Unrecord { id: u64 },
    /// The recordings under way.
    Recordings,
    /// What operators have done, the newest first.
    Actions,
    /// Show events as they happen, until the server ends.
    Events,
    /// End the server, as SIGTERM does.
    Drain,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct BanSubject {
    /// An address, or a network such as 192.0.2.0/24.
    #[arg(long)]
    address: Option<String>,
    /// A name, in every protocol.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct RecordWhat {
    /// A room, or a group of msgpack.
    #[arg(long)]
    room: Option<String>,
    /// A client, by its name.
    #[arg(long)]
    name: Option<String>,
}

/// Bytes of a line of an answer.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// A method, a path below the API's, and a body.
type Question = (&'static str, String, Option<Value>);

impl Ctl {
    /// Asks, and writes the answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub fn run(&self, out: &mut impl Write) -> Result<(), Error> {
        let (method, path, body) = self.action.question();
        let wrong = |error| Error::File { path: self.socket.clone(), error };
        let mut stream = UnixStream::connect(&self.socket).map_err(wrong)?;
        let body = body.map_or_else(String::new, |body| body.to_string());
        // HTTP/1.0: the answer ends with the connection, and is in one piece.
        let length = body.len();
        write!(
            stream,
            "{method} /api/v1{path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .map_err(wrong)?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
            if stream.read(&mut byte).map_err(wrong)? == 0 {
                break;
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('2') {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            // A part of a longer line is a line: nobody's memory is the server's to fill.
            while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(wrong)? > 0 {
                print(out, &line)?;
                out.flush()?;
                line.clear();
            }
            return Ok(writeln!(out)?);
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(wrong)?;
        let error = serde_json::from_str::<Value>(&answer).unwrap_or_default();
        let message = error.pointer("/error/message").and_then(Value::as_str);
        Err(Error::Refused(message.map_or_else(|| format!("the server answers {status}"), str::to_owned)))
    }
}

/// Prints a line of an answer, with its end if it has one.
fn print(out: &mut impl Write, line: &[u8]) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(line);
    let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
    write!(out, "{}{end}", OneLine::new(text))
}

/// A name or a protocol as a part of a path.
fn escaped(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// An object of the fields that are there.
fn body(client: &Client, more: &[(&str, Option<Value>)]) -> Option<Value> {
    let fields =
        [("name", client.name.clone().map(Value::from)), ("peer", client.peer.clone().map(Value::from))];
    let all = fields.into_iter().chain(more.iter().cloned());
    let all = all.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Some(Value::Object(all.collect::<Map<_, _>>()))
}

impl Action {
    fn question(&self) -> Question {
        let of = |protocol: &str, what: &str| format!("/{}/{what}", escaped(protocol));
        match self {
            Self::Protocols => ("GET", "/protocols".into(), None),
            Self::List { protocol, offset, limit } => {
                ("GET", of(protocol, &format!("members?offset={offset}&limit={limit}")), None)
            }
            Self::Kick { protocol, client, reason } => {
                let reason = reason.clone().map(Value::from);
                ("POST", of(protocol, "kick"), body(client, &[("reason", reason)]))
            }
            Self::Mute { protocol, client, text } => {
                let more = [("voice", Some(true.into())), ("text", Some((*text).into()))];
                ("POST", of(protocol, "mute"), body(client, &more))
            }
            Self::Unmute { protocol, client } => {
                ("POST", of(protocol, "mute"), body(client, &[("voice", Some(false.into()))]))
            }
            Self::Mutes { protocol } => ("GET", of(protocol, "mutes?limit=1000"), None),
            Self::Ban { subject: BanSubject { address, name }, seconds, reason } => {
                let ban = json!({ "address": address, "name": name, "seconds": seconds, "reason": reason });
                ("POST", "/bans".into(), Some(ban))
            }
            Self::Unban { id } => ("DELETE", format!("/bans/{id}"), None),
            Self::Bans => ("GET", "/bans?limit=1000".into(), None),
            Self::Leave { protocol, client, room } => {
                ("POST", of(protocol, "move"), body(client, &[("from", Some(room.clone().into()))]))
            }
            Self::Say { protocol, room, text } => {
                ("POST", of(protocol, "say"), Some(json!({ "room": room, "text": text })))
            }
            Self::Hear { protocol, listener, speakers, reset } => {
                let hears = if *reset { Value::Null } else { json!(speakers) };
                ("PUT", of(protocol, "hearing"), Some(json!({ "listeners": { listener.as_str(): hears } })))
            }
            Self::Others { protocol, hear } => {
                ("PUT", of(protocol, "hearing"), Some(json!({ "others": hear })))
            }
            Self::Record { protocol, what: RecordWhat { room, name } } => {
                let what = match (room, name) {
                    (Some(room), _) => json!({ "room": room }),
                    (None, name) => json!({ "name": name }),
                };
                ("POST", of(protocol, "recordings"), Some(what))
            }
            Self::Unrecord { id } => ("DELETE", format!("/recordings/{id}"), None),
            Self::Recordings => ("GET", "/recordings?limit=1000".into(), None),
            Self::Actions => ("GET", "/actions".into(), None),
            Self::Events => ("GET", "/events".into(), None),
            Self::Drain => ("POST", "/drain".into(), Some(json!({}))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::print;

    /// F-03: what names and rooms hold steers no terminal.
    #[test]
    fn f_03_answers_steer_no_terminal() {
        let mut printed = Vec::new();
        print(&mut printed, "{\"name\": \"\u{9b}2Jbob\u{202e}\", \"room\": \"ไทย\"}\n".as_bytes()).unwrap();
        assert_eq!(printed, "{\"name\": \"\\u009b2Jbob\\u202e\", \"room\": \"ไทย\"}\n".as_bytes());
    }
}
