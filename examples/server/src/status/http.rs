//! HTTP for all routes: what `axum::serve` leaves open, a deadline, sizes and a cap.

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::map_request;
use axum::{Extension, Router};
use core::future::ready;
use core::net::IpAddr;
use core::time::Duration;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use voxwire_core::source;

/// Bytes of a request's head, and of an answer's part that waits to be taken: hyper's least.
const BUFFER: usize = 8 * 1024;
/// Bytes of a request's body, where a route reads one.
const BODY: usize = 64 * 1024;
/// How long to wait after an accept that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is said that no client can be accepted.
const MINUTE: Duration = Duration::from_secs(60);

/// What strangers may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time, and as many descriptors; for one more, the oldest goes of the address that has most.
    pub(crate) connections: usize,
    /// How long a connection may last: a request and its answer.
    pub(crate) deadline: Duration,
}

/// The requests that are not answered to the end yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exchanges {
    /// Those whose answer does not last.
    short: watch::Sender<()>,
    lasting: watch::Sender<()>,
}

impl Exchanges {
    /// Waits until all are answered but those whose answer lasts.
    pub(crate) async fn finish_short(&self) {
        self.short.closed().await;
    }

    /// Waits until the answers that last have been sent to their end.
    pub(crate) async fn finish_lasting(&self) {
        self.lasting.closed().await;
    }
}

/// Serves `routes` until the runtime ends. The limits hold for all of them.
pub(crate) async fn serve(listener: TcpListener, routes: Router, limits: Limits, exchanges: Exchanges) {
    let app = routes.layer(DefaultBodyLimit::max(BODY));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut told: Option<Instant> = None;
    // In the order in which they came.
    let mut connections: Vec<(IpAddr, AbortHandle)> = Vec::with_capacity(limits.connections);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors are left: those held here are given back first.
                if told.is_none_or(|told| told.elapsed() >= MINUTE) {
                    tracing::warn!(%error, "the status page cannot accept (said once a minute at most)");
                    told = Some(Instant::now());
                }
                evict(&mut connections);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        connections.retain(|(_, connection)| !connection.is_finished());
        if slots.available_permits() == 0 {
            evict(&mut connections);
        }
        // An evicted connection gives its place, and the descriptor, back before any other client is accepted.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let task = tokio::spawn(exchange(stream, app.clone(), limits.deadline, slot, &exchanges));
        connections.push((source(from.ip()), task.abort_handle()));
    }
}

/// The request of a connection. Its answer may be one that lasts, and is not held to the deadline: a stream of events.
#[derive(Debug, Clone)]
pub(crate) struct RequestState {
    exchanges: Exchanges,
    state: Arc<Mutex<Progress>>,
}

/// How far a request is. It is one of [`Exchanges`] while it has a receiver of one of these.
#[derive(Debug, Default)]
enum Progress {
    #[default]
    None,
    Short(#[allow(dead_code, reason = "it counts until it is dropped")] watch::Receiver<()>),
    Lasting(#[allow(dead_code, reason = "it counts until it is dropped")] watch::Receiver<()>),
}

impl RequestState {
    fn new(exchanges: &Exchanges) -> Self {
        Self { exchanges: exchanges.clone(), state: Arc::default() }
    }

    /// The head of the request has come in.
    fn begin(&self) {
        self.set_progress(Progress::Short(self.exchanges.short.subscribe()));
    }

    /// From now on the answer lasts.
    pub(crate) fn set_lasting(&self) {
        self.set_progress(Progress::Lasting(self.exchanges.lasting.subscribe()));
    }

    fn is_lasting(&self) -> bool {
        matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), Progress::Lasting(_))
    }

    fn set_progress(&self, progress: Progress) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// One request and its answer.
pub(crate) fn exchange<T>(
    stream: T,
    app: Router,
    deadline: Duration,
    slot: OwnedSemaphorePermit,
    exchanges: &Exchanges,
) -> impl Future<Output = ()> + Send + use<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = RequestState::new(exchanges);
    async move {
        answer(stream, app, deadline, request).await;
        drop(slot);
    }
}

async fn answer<T>(stream: T, app: Router, deadline: Duration, request: RequestState)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    // Without keep-alive no client is idle.
    http.timer(TokioTimer::new()).header_read_timeout(deadline).max_buf_size(BUFFER).keep_alive(false);
    let begun = request.clone();
    let begin = map_request(move |asked: Request| {
        begun.begin();
        ready(asked)
    });
    let app = app.layer(Extension(request.clone())).layer(begin);
    let exchange = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(exchange);
    let mut done = timeout(deadline, &mut exchange).await;
    if done.is_err() && request.is_lasting() {
        done = Ok(exchange.await);
    }
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "status page"),
        Err(_) => tracing::debug!("status page: deadline"),
    }
}

/// Ends the oldest connection of the address that has most.
fn evict(connections: &mut Vec<(IpAddr, AbortHandle)>) {
    let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (from, _) in connections.iter() {
        *held.entry(*from).or_default() += 1;
    }
    let most = connections.iter().map(|(from, _)| held.get(from).copied().unwrap_or_default()).max();
    let oldest = connections.iter().position(|(from, _)| held.get(from).copied() == most);
    if let Some(at) = oldest {
        let (_, connection) = connections.remove(at);
        connection.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;

    /// F-17: a route that reads a body reads 64 KiB at most, and no longer than the deadline.
    #[tokio::test]
    async fn f_17_bodies_have_a_size_and_a_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/length", post(async |body: String| body.len().to_string()));
        let limits = Limits { connections: 4, deadline: Duration::from_secs(1) };
        let server = tokio::spawn(serve(listener, routes, limits, Exchanges::default()));
        let ask = async |length: usize, sent: usize| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; sent]].concat()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        assert!(ask(BODY, BODY).await.ends_with("\r\n65536"));
        assert!(ask(BODY + 1, BODY + 1).await.starts_with("HTTP/1.1 413"));
        // A body that never ends.
        assert_eq!(ask(2, 1).await, "");
        server.abort();
    }

    /// C-34: the end of a server waits for requests that are carried out, and not for connections that ask for nothing; an answer that lasts
    /// is waited for apart.
    #[tokio::test]
    async fn c_34_only_requests_that_are_carried_out_are_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let wait = {
            let (begun, end) = (begun.clone(), end.clone());
            async move |lasts: Option<Extension<RequestState>>| {
                lasts.inspect(|Extension(request)| request.set_lasting());
                begun.notify_one();
                end.notified().await;
            }
        };
        let short = wait.clone();
        let routes =
            Router::new().route("/lasting", get(wait)).route("/short", get(async move || short(None).await));
        let exchanges = Exchanges::default();
        let limits = Limits { connections: 4, deadline: Duration::from_secs(60) };
        let server = tokio::spawn(serve(listener, routes, limits, exchanges.clone()));
        let _silent = TcpStream::connect(address).await.unwrap();
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            begun.notified().await;
            stream
        };
        let soon = Duration::from_millis(100);
        let lasting = ask("/lasting").await;
        timeout(Duration::from_secs(10), exchanges.finish_short()).await.expect("none is short");
        let short = ask("/short").await;
        assert!(timeout(soon, exchanges.finish_short()).await.is_err());
        assert!(timeout(soon, exchanges.finish_lasting()).await.is_err());
        end.notify_waiters();
        for mut stream in [lasting, short] {
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
        let both = async { tokio::join!(exchanges.finish_short(), exchanges.finish_lasting()) };
        timeout(Duration::from_secs(10), both).await.expect("all are answered");
        server.abort();
    }
}
