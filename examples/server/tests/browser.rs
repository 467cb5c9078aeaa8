//! C-36: the status page in a browser: headless Chromium, by chromedriver. Debian has both (`chromium`, `chromium-driver`).

#![allow(clippy::disallowed_methods)]

mod kit;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::net::SocketAddr;
use core::time::Duration;
use kit::raw::{encode, join, pause, unit};
use kit::{Server, command, folder};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use voxwire_core::List;
use voxwire_dissonance::{
    Channel, ClientInfo, ClientState, CodecSettings, Options, Packet, Profile, Recipient, ServerRelay,
    VoiceData, room_id,
};

const TOKEN: &str = "0123456789-token-of-ann";

/// A browser. It ends with this.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts one, or says why there is none.
    fn start() -> Result<Self, String> {
        let driver =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = driver.map_err(|error| format!("chromedriver: {error}"))?;
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = |line: String| line.rsplit_once("on port ")?.1.trim_end_matches('.').parse::<u16>().ok();
        // The first line says that of port 0, which was asked for.
        let port = lines.filter_map(said).find(|port| *port != 0);
        let mut browser = Self { driver, port: port.unwrap_or(0), session: String::new() };
        if port.is_none() {
            return Err("chromedriver does not say where it listens".into());
        }
        // As root there is no sandbox; the page is ours.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let options = json!({ "goog:chromeOptions": { "args": arguments } });
        let wanted = json!({ "capabilities": { "alwaysMatch": options } });
        let session = browser.ask("POST", "/session", &wanted)?;
        browser.session = session["sessionId"].as_str().ok_or("no session")?.to_owned();
        Ok(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let (mut reader, mut line, mut length) = (BufReader::new(stream), String::new(), 0);
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).map_err(|error| error.to_string())?;
            let lower = line.to_lowercase();
            let said = lower.strip_prefix("content-length:");
            length = said.map_or(length, |text| text.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(_) => Err(answer["value"]["message"].as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].clone()),
        }
    }

    fn act(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{path}", self.session), body).unwrap()
    }

    fn run(&self, script: &str) -> Value {
        self.act("execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn command(&self, name: &str, parameters: &Value) -> Value {
        self.act("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Waits until a script says so.
    #[track_caller]
    fn until(&self, script: &str) {
        for _ in 0..200 {
            if self.run(script) == true {
                return;
            }
            pause(100);
        }
        panic!("not so after 20 s: {script}; {}", self.run("return document.body.innerText"));
    }
}

/// Two players in the Lobby, of whom Ann speaks until told otherwise.
fn talk(address: SocketAddr, is_over: Arc<AtomicBool>) {
    let (mut ann, session, ann_is) = join(address, b"ann");
    let (mut ben, _, ben_is) = join(address, b"ben");
    for (stream, name, id) in [(&mut ann, "ann", ann_is), (&mut ben, "ben", ben_is)] {
        let rooms = ["Lobby".into()];
        let client = ClientInfo { name: name.into(), id, codec: CodecSettings::DEFAULT };
        let state = ClientState { session, client, rooms: List::from(&rooms[..]) };
        stream.write_all(&unit(&Packet::ClientState(state))).unwrap();
    }
    let drain = std::thread::spawn(move || std::io::copy(&mut ben, &mut std::io::sink()));
    for sequence in (0..u16::MAX).take_while(|_| !is_over.load(Relaxed)) {
        let (options, channels) =
            (Options::new(0, Profile::Later), &[Channel::new(Recipient::Room(room_id("Lobby")))]);
        let voice = VoiceData { session, sender: ann_is, options, sequence, channels, frame: b"voice" };
        let payload = encode(&Packet::VoiceData(voice));
        let relay = ServerRelay { session, destinations: &[ben_is], payload: &payload };
        if ann.write_all(&unit(&Packet::ServerRelayUnreliable(relay))).is_err() {
            break;
        }
        pause(20);
    }
    drop(ann);
    drop(drain);
}

/// C-36: on a phone and on a screen, by day and by night, the page fits, shows who is there to those with a token, and who speaks.
#[test]
fn the_page_fits_and_shows_who_is_there() {
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return println!("skipped: {why}"),
    };
    let data = folder("browser");
    let arguments = ["--only", "voicelink,dissonance", "--no-quic", "--http", "127.0.0.1:0"];
    let mut command = command(&[&arguments[..], &["--data", data.to_str().unwrap()]].concat());
    let server = Server::spawn(command.env("VOXWIRE_CONTROL_TOKEN", TOKEN).stderr(Stdio::null()));
    let (http, dissonance) = (server.address("http tcp"), server.address("dissonance tcp"));
    let is_over = Arc::new(AtomicBool::new(false));
    let talking = std::thread::spawn({
        let is_over = is_over.clone();
        move || talk(dissonance, is_over)
    });
    let mut grounds = Vec::new();
    for (width, height) in [(390, 844), (1400, 900)] {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        browser.command("Emulation.setDeviceMetricsOverride", &size);
        for mode in ["light", "dark"] {
            let feature = json!({ "name": "prefers-color-scheme", "value": mode });
            browser.command("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
            browser.act("url", &json!({ "url": "about:blank" }));
            browser.act("url", &json!({ "url": format!("http://{http}/#token={TOKEN}") }));
            browser.until("return document.getElementById('state').dataset.state === 'live'");
            browser.until("return [...document.querySelectorAll('.person[data-speaking] bdi')].some((it) => it.textContent === 'ann')");
            browser.until("return document.querySelector('.room h3 bdi').textContent === 'Lobby' && document.querySelectorAll('.person').length === 2");
            // What is hidden is not there.
            assert_eq!(browser.run("return document.getElementById('entry').offsetHeight"), 0);
            // The token is gone from the address, and nothing is wider than the window.
            assert_eq!(browser.run("return location.hash"), "");
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width, "{wide} of {width}");
            grounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
            let shot = browser
                .ask("GET", &format!("/session/{}/screenshot", browser.session), &Value::Null)
                .unwrap();
            let picture = BASE64_STANDARD.decode(shot.as_str().unwrap()).unwrap();
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{width}-{mode}.png"));
            std::fs::write(path, picture).unwrap();
        }
    }
    assert!(grounds[0] == grounds[2] && grounds[1] == grounds[3] && grounds[0] != grounds[1], "{grounds:?}");
    // Without the token nobody is shown; a wrong one is told.
    browser.run("document.getElementById('leave').click()");
    assert_eq!(browser.run("return document.querySelectorAll('.person').length"), 0);
    browser.run("document.getElementById('token').value = 'guess-guess-guess'; document.querySelector('#entry button').click()");
    browser.until(
        "return document.getElementById('people-state').textContent === 'this is no token of the server'",
    );
    is_over.store(true, Relaxed);
    talking.join().unwrap();
    drop((browser, server));
    let _ = std::fs::remove_dir_all(data);
}
