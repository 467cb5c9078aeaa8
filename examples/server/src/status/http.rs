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
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_io_timeout::TimeoutStream;
use voxwire_core::source;

/// Bytes of a request's head, and of an answer's part that waits to be taken: hyper's least.
const BUFFER: usize = 8 * 1024;
/// Bytes of a request's body, where a route reads one.
const BODY: usize = 64 * 1024;
/// Bytes that the system may hold of an answer.
const SEND_BUFFER: usize = 64 * 1024;
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

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source(pub(crate) IpAddr);

/// A connection that is answered.
struct Connection {
    from: IpAddr,
    /// Gone with the task: what has ended is waited for no longer.
    progress: Weak<Mutex<Progress>>,
    task: AbortHandle,
}

impl Connection {
    fn is_lasting(&self) -> bool {
        self.progress.upgrade().is_some_and(|progress| is_lasting(&progress))
    }
}

/// Serves `routes` until the runtime ends. The limits hold for all of them.
pub(crate) async fn serve(listener: TcpListener, routes: Router, limits: Limits, exchanges: Exchanges) {
    let app = routes.layer(DefaultBodyLimit::max(BODY));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut told: Option<Instant> = None;
    // In the order in which they came.
    let mut connections: Vec<Connection> = Vec::with_capacity(limits.connections);
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
        connections.retain(|connection| !connection.task.is_finished());
        if slots.available_permits() == 0 {
            evict(&mut connections);
        }
        // An evicted connection gives its place, and the descriptor, back before any other client is accepted.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let request = RequestState::new(&exchanges);
        let progress = Arc::downgrade(&request.state);
        bound(&stream, limits.deadline);
        let app = app.clone().layer(Extension(Source(from.ip())));
        let task = tokio::spawn(exchange(stream, app, limits.deadline, slot, request));
        connections.push(Connection { from: source(from.ip()), progress, task: task.abort_handle() });
    }
}

/// Bounds what the system holds for a client that takes nothing, and for how long it does that for one that has vanished.
fn bound(stream: &TcpStream, deadline: Duration) {
    let socket = socket2::SockRef::from(stream);
    let bounded = socket.set_send_buffer_size(SEND_BUFFER);
    #[cfg(target_os = "linux")]
    let bounded = bounded.and_then(|()| socket.set_tcp_user_timeout(Some(deadline)));
    #[cfg(not(target_os = "linux"))]
    let _ = deadline;
    if let Err(error) = bounded {
        tracing::debug!(%error, "status page");
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
    pub(crate) fn new(exchanges: &Exchanges) -> Self {
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
        is_lasting(&self.state)
    }

    fn set_progress(&self, progress: Progress) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

fn is_lasting(progress: &Mutex<Progress>) -> bool {
    matches!(*progress.lock().unwrap_or_else(PoisonError::into_inner), Progress::Lasting(_))
}

/// One request and its answer. A client that takes nothing of it for `deadline` is given up.
pub(crate) async fn exchange<T>(
    stream: T,
    app: Router,
    deadline: Duration,
    slot: OwnedSemaphorePermit,
    request: RequestState,
) where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(deadline));
    let mut http = http1::Builder::new();
    // Without keep-alive no client is idle.
    http.timer(TokioTimer::new()).header_read_timeout(deadline).max_buf_size(BUFFER).keep_alive(false);
    let begun = request.clone();
    let begin = map_request(move |asked: Request| {
        begun.begin();
        ready(asked)
    });
    let app = app.layer(Extension(request.clone())).layer(begin);
    let exchange = http.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(app));
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
    drop(slot);
}

/// Ends the oldest connection of the address that has most. Answers that last are those of operators: they are ended where there is nothing
/// else.
fn evict(connections: &mut Vec<Connection>) {
    let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let lasts: Vec<bool> = connections.iter().map(Connection::is_lasting).collect();
    let all_last = lasts.iter().all(|lasts| *lasts);
    let may_end = |at: usize| all_last || lasts.get(at) == Some(&false);
    for (_, connection) in connections.iter().enumerate().filter(|(at, _)| may_end(*at)) {
        *held.entry(connection.from).or_default() += 1;
    }
    let most = held.values().copied().max();
    let mut ends = connections.iter().enumerate().filter(|(at, _)| may_end(*at));
    let oldest = ends.find(|(_, connection)| held.get(&connection.from).copied() == most).map(|(at, _)| at);
    if let Some(at) = oldest {
        connections.remove(at).task.abort();
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
