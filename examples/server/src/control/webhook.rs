//! Events as webhooks: each URL is sent what happens, in order, a part at a time; one that does not answer is asked again. Requests are signed
//! as in Standard Webhooks (<https://www.standardwebhooks.com>).

use super::events::{Event, Reader};
use super::{Control, ControlSettings, time};
use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use ring::hmac;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use voxwire_transport::tls::rustls::{ClientConfig, RootCertStore, pki_types::ServerName};

/// Events sent at once.
const PART: usize = 64;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long to wait before the second attempt; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Attempts for one part: it is dropped then, and counted as lost.
const ATTEMPTS: u32 = 8;

/// What the text of a signing secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a signing secret.
const SECRET_BYTES: core::ops::RangeInclusive<usize> = 24..=64;

/// Where a webhook is. Shows neither its path nor its user, which may be secrets.
#[derive(Clone)]
pub(super) struct Target {
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
    /// The user and the password of the URL.
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        // The URL may hold a secret.
        let wrong = || "webhooks: http://HOST[:PORT]/PATH or https://.. expected".to_owned();
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authorization = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
        let authorization = authorization.map(|(user, _)| basic(user).ok_or_else(wrong)).transpose()?;
        Ok(Self { host, port, tls, uri, authorization })
    }

    /// Where a password would travel in the clear; `None` if it does not.
    pub(super) fn password_in_clear(&self) -> Option<&str> {
        let here = self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (self.authorization.is_some() && !self.tls && !here).then_some(&*self.host)
    }
}

/// The user of a URL, as `user:password`, as a header.
fn basic(user: &str) -> Option<HeaderValue> {
    let user = if user.contains(':') { user.to_owned() } else { format!("{user}:") };
    let decoded: Vec<u8> = percent_decode_str(&user).collect();
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(decoded))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What requests are signed with. Shown to no reader.
#[derive(Clone)]
pub(super) struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Reads a secret: base64, behind `whsec_` or alone.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let secret = BASE64_STANDARD.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).ok();
        match secret.filter(|secret| SECRET_BYTES.contains(&secret.len())) {
            Some(secret) => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))),
            None => Err("webhook-secret: 24 to 64 bytes in base64 expected: openssl rand -base64 32".into()),
        }
    }

    /// The signature of a message.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// A part of the events, as it is sent.
#[derive(Clone)]
struct Message {
    /// The same for each attempt.
    id: String,
    body: Bytes,
}

/// Sends events to each of the URLs, for as long as the runtime lives.
pub(crate) fn spawn(control: &Arc<Control>, settings: &ControlSettings) {
    let targets: Vec<Target> = settings.webhooks.iter().filter_map(|url| Target::parse(url).ok()).collect();
    if targets.is_empty() {
        return;
    }
    let tls = targets.iter().any(|target| target.tls).then(tls_settings).map(Arc::new);
    let key = settings.webhook_secret.as_ref().and_then(|secret| SigningKey::parse(secret).ok());
    for target in targets {
        let reader = control.events.reader(None);
        tokio::spawn(send_all(target, reader, (tls.clone(), key.clone()), FIRST_PAUSE));
    }
}

/// TLS with the roots of the system.
fn tls_settings() -> ClientConfig {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no certificates of authorities: no webhook with https can be reached");
    }
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// TLS, and what requests are signed with.
type Security = (Option<Arc<ClientConfig>>, Option<SigningKey>);

async fn send_all(target: Target, mut reader: Reader, security: Security, first_pause: Duration) {
    let mut lost = 0_u64;
    while let Some((events, missed)) = reader.next(PART).await {
        lost = lost.saturating_add(missed);
        let message =
            Message { id: format!("msg_{}", uuid::Uuid::new_v4().simple()), body: body(&events, lost) };
        let (mut pause, mut attempt) = (first_pause, 1);
        loop {
            let sent = tokio::time::timeout(ATTEMPT, send(&target, &security, message.clone())).await;
            let error = match sent {
                Ok(Ok(())) => {
                    lost = 0;
                    break;
                }
                Ok(Err(error)) => error,
                Err(_) => "no answer in time".into(),
            };
            let (host, port) = (&target.host, target.port);
            if attempt >= ATTEMPTS {
                lost = lost.saturating_add(events.len() as u64);
                tracing::warn!(
                    host,
                    port,
                    error,
                    events = events.len(),
                    "a webhook does not take events: they are lost"
                );
                break;
            }
            tracing::info!(host, port, error, attempt, ?pause, "a webhook does not take events: tried again");
            tokio::time::sleep(pause).await;
            (pause, attempt) = (pause.saturating_mul(2).min(LONGEST_PAUSE), attempt + 1);
        }
    }
}

fn body(events: &[Arc<Event>], lost: u64) -> Bytes {
    let events: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    format!("{{\"events\":[{}],\"lost\":{lost}}}", events.join(",")).into()
}

/// Sends one part. Only success as an answer is success: redirections are not followed.
async fn send(target: &Target, (tls, key): &Security, message: Message) -> Result<(), String> {
    let tcp =
        TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| error.to_string())?;
    let key = key.as_ref();
    match tls.clone().filter(|_| target.tls) {
        None => exchange(target, tcp, key, message).await,
        Some(tls) => {
            let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
            let connector = tokio_rustls::TlsConnector::from(tls);
            let stream = connector.connect(name, tcp).await.map_err(|error| error.to_string())?;
            exchange(target, stream, key, message).await
        }
    }
}

async fn exchange<T>(
    target: &Target,
    stream: T,
    key: Option<&SigningKey>,
    Message { id, body }: Message,
) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = target.uri.authority().map_or("", |authority| authority.as_str());
    // Without a user and a password, which the authority may hold.
    let host = host.rsplit('@').next().unwrap_or(host);
    let timestamp = time::now();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, concat!("voxwire-server/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp);
    if let Some(key) = key {
        request = request.header("webhook-signature", key.sign(&id, timestamp, &body));
    }
    if let Some(authorization) = &target.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => {
                Err("a redirection, which is not followed".into())
            }
            status => Err(format!("answer {status}")),
        }
    };
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // The body of the answer is not read: the connection ends here.
    answer.await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::control::events::Events;
    use serde_json::{Map, Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[test]
    fn c_34_a_url_is_http_or_https() {
        let target = |url| Target::parse(url).map(|it| (it.host, it.port, it.tls));
        assert_eq!(target("http://127.0.0.1:9000/x?y"), Ok(("127.0.0.1".into(), 9000, false)));
        assert_eq!(target("https://[::1]/x"), Ok(("::1".into(), 443, true)));
        for url in ["", "x", "ftp://x/", "http://", "//x/", "https:///x"] {
            assert!(target(url).is_err(), "{url}");
        }
    }

    /// C-34: the user of a URL is sent, and what may be secret is not shown.
    #[test]
    fn c_34_a_user_in_the_url_is_sent_and_not_shown() {
        let target = Target::parse("https://ann:ge%2fheim@game.example/hook?key=1").unwrap();
        // ann:ge/heim
        assert_eq!(target.authorization.as_ref().unwrap(), "Basic YW5uOmdlL2hlaW0=");
        assert_eq!((&*target.host, target.port), ("game.example", 443));
        let shown = format!("{target:?} {:?}", target.authorization);
        assert!(!shown.contains("heim") && !shown.contains("key") && !shown.contains("YW5u"), "{shown}");
        assert_eq!(Target::parse("http://game.example/").unwrap().authorization, None);
    }

    /// C-34: the password of a URL goes through no network in the clear.
    #[test]
    fn c_34_a_password_in_the_clear_is_seen() {
        let clear = |url| Target::parse(url).unwrap().password_in_clear().map(str::to_owned);
        assert_eq!(clear("http://ann:x@game.example/"), Some("game.example".into()));
        for url in [
            "https://ann:x@game.example/",
            "http://ann:x@[::1]/",
            "http://ann:x@localhost/",
            "http://game.example/",
        ] {
            assert_eq!(clear(url), None, "{url}");
        }
    }

    /// C-34: the signature of the example of Standard Webhooks.
    #[test]
    fn c_34_requests_are_signed_as_in_standard_webhooks() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(SigningKey::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_ok());
        for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%"] {
            let error = SigningKey::parse(wrong).unwrap_err();
            assert!(error.contains("base64") && !error.contains("c2hv"), "{error}");
        }
    }

    /// A request's body, which is answered with `status`.
    async fn take(listener: &TcpListener, status: &str) -> Value {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = Vec::new();
        loop {
            let mut part = [0; 4096];
            let len = stream.read(&mut part).await.unwrap();
            assert_ne!(len, 0);
            got.extend_from_slice(&part[..len]);
            let text = String::from_utf8_lossy(&got);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                assert!(head.starts_with("POST /hook?key=1 HTTP/1.1"), "{head}");
                return serde_json::from_str(body).unwrap();
            }
        }
    }

    /// C-34: what a webhook does not take is sent again, and after some attempts it is lost and counted.
    #[tokio::test]
    async fn c_34_a_webhook_is_tried_again_and_told_what_it_has_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let events = Arc::new(Events::new());
        let target = Target::parse(&url).unwrap();
        let task =
            tokio::spawn(send_all(target, events.reader(None), (None, None), Duration::from_millis(1)));
        events.add("joined", Map::new());
        assert_eq!(take(&listener, "500 Oops").await["events"][0]["id"], 1);
        let again = take(&listener, "204 No Content").await;
        assert_eq!((&again["events"][0]["type"], &again["lost"]), (&json!("joined"), &json!(0)));
        events.add("left", Map::new());
        for _ in 0..ATTEMPTS {
            assert_eq!(take(&listener, "302 Found").await["events"][0]["id"], 2);
        }
        events.add("joined", Map::new());
        let next = take(&listener, "200 OK").await;
        assert_eq!((&next["events"][0]["id"], &next["lost"]), (&json!(3), &json!(1)));
        task.abort();
    }
}
