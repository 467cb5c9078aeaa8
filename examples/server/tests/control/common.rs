//! A server under control, and its clients.

use crate::kit::raw::connect;
use crate::kit::{Server, file, folder};
use core::net::SocketAddr;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

pub const TOKEN: &str = "0123456789-token-of-ann";

/// All protocols, at ports that are free: QUIC would have its own.
pub const ALL: &str = "[dissonance]\nport = 0\nquic = false";

/// A server and its data.
pub struct Controlled {
    pub server: Server,
    pub data: PathBuf,
    pub socket: PathBuf,
}

impl Drop for Controlled {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Controlled {
    /// With these settings beside those of control.
    pub fn start(name: &str, settings: &str) -> Self {
        Self::start_with(name, settings, "")
    }

    /// With these settings, and more of those of control.
    pub fn start_with(name: &str, settings: &str, more: &str) -> Self {
        let data = folder(&format!("control-{name}"));
        let server = serve(name, settings, more, &data);
        Self { server, socket: data.join("control.sock"), data }
    }

    pub fn address(&self, what: &str) -> SocketAddr {
        self.server.address(what)
    }

    /// Asks with the token.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.send(method, path, Some(TOKEN), &body.to_string());
        (answer.0, serde_json::from_str(&answer.1).unwrap_or_else(|_| panic!("{method} {path}: {answer:?}")))
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Has something done.
    #[track_caller]
    pub fn act(&self, path: &str, body: &Value) -> Value {
        let method = if path.ends_with("/hearing") { "PUT" } else { "POST" };
        let (status, answer) = self.ask(method, path, body);
        assert!((200..300).contains(&status), "{path} {body}: {status} {answer}");
        answer
    }

    /// Why something is not done.
    #[track_caller]
    pub fn refuses(&self, path: &str, body: &Value) -> (u16, String, String) {
        let method = if path.ends_with("/hearing") { "PUT" } else { "POST" };
        let (status, answer) = self.ask(method, path, body);
        let text =
            |name: &str| answer["error"][name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (status, text("code"), text("message"))
    }

    /// The names of a protocol's clients.
    pub fn names(&self, protocol: &str) -> Vec<String> {
        let members = self.get(&format!("/api/v1/{protocol}/members"));
        let items = members["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap_or("?").to_owned()).collect()
    }

    /// Waits until a protocol has so many clients.
    #[track_caller]
    pub fn until(&self, protocol: &str, clients: usize) {
        for _ in 0..500 {
            if self.names(protocol).len() == clients {
                return;
            }
            crate::kit::raw::pause(10);
        }
        panic!("{clients} clients expected: {:?}", self.names(protocol));
    }

    /// A request as it is written; the status and the body of the answer.
    pub fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let length = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// The status of an answer that may not end.
    pub fn send_head(&self, method: &str, path: &str) -> u16 {
        let mut stream = self.connect();
        let token = format!("Authorization: Bearer {TOKEN}");
        stream
            .write_all(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{token}\r\n\r\n").as_bytes())
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head[9..]).parse().unwrap()
    }

    pub fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A body that is not read ends the connection with a reset.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }

    /// Every event of a kind since the start.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let mut stream = self.connect();
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nLast-Event-ID: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_read_timeout(Some(core::time::Duration::from_millis(500))).unwrap();
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while let Ok(len @ 1..) = stream.read(&mut part) {
            text.push_str(&String::from_utf8_lossy(&part[..len]));
        }
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = events.map(|data| serde_json::from_str::<Value>(data).unwrap());
        events.filter(|event| event["type"] == kind).collect()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.server.address("http tcp"))
    }
}

/// Starts a server on `data`, with control.
pub fn serve(name: &str, settings: &str, more: &str, data: &Path) -> Server {
    let tokens = file(&format!("control-{name}.token"), &format!("ann {TOKEN}\n"));
    let (tokens, socket) = (tokens.display(), data.join("control.sock"));
    let control =
        format!("control-token-file = \"{tokens}\"\ncontrol-socket = \"{}\"\n{more}", socket.display());
    let settings = format!("{control}\n{settings}\n");
    let config = file(&format!("control-{name}.toml"), &settings);
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    Server::start(&["--config", config, "--data", data, "--http", "127.0.0.1:0"])
}
