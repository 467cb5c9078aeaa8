//! What a session wants beside the connections that come in: to listen on more ports, and to connect to others.

use super::link;
use super::shared::{Shared, Side};
use crate::net::{Bound, Listener, Stream, TcpStream, prepare, within};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;
use std::sync::Arc;
use voxwire_core::{DialId, Input, ListenId, Session, Via};

/// Done by the timer task, in order: the session is locked where they come up.
#[derive(Debug)]
pub(super) enum Errand {
    Dial { id: DialId, host: String, port: u16 },
    Listen(ListenId),
    StopListening(ListenId),
}

pub(super) fn run<S>(shared: &Arc<Shared<S>>, errand: Errand)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    match errand {
        Errand::Dial { id, host, port } => drop(tokio::spawn(dial(shared.clone(), id, host, port))),
        Errand::Listen(id) => match bind(shared) {
            Ok((listener, port)) => {
                let accepting = tokio::spawn(accept(shared.clone(), listener, id)).abort_handle();
                shared.locked(|shared, core, now| {
                    core.ports.insert(id, accepting);
                    core.input(shared, now, Input::Listening { id, port });
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen on another port");
                shared.locked(|shared, core, now| core.input(shared, now, Input::ListenFailed(id)));
            }
        },
        Errand::StopListening(id) => {
            let port = shared.locked(|_, core, _| core.ports.remove(&id));
            port.inspect(|port| port.abort());
        }
    }
}

/// A port of those that may be used, where the first listener listens.
fn bind<S: Session>(shared: &Shared<S>) -> io::Result<(Listener, u16)> {
    let ip = shared.home.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut last = io::Error::other("no port is allowed");
    let (first, end) = shared.settings.ports.unwrap_or((0, 0));
    for _ in first..=end {
        let port = shared.next_port(first, end);
        match Listener::bind(SocketAddr::new(ip, port)) {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                return Ok((listener, port));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serves whoever connects, until the session does not want anybody else.
async fn accept<S>(shared: Arc<Shared<S>>, listener: Listener, id: ListenId)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let Bound::Tcp(socket) = listener.socket else { return };
    loop {
        match socket.accept().await {
            Ok((stream, from)) if shared.admit(from.ip()) => {
                serve(shared.clone(), stream, from, Via::AcceptedOn(id));
            }
            Ok(_) => {}
            Err(error) => shared.not_accepted(&error).await,
        }
    }
}

async fn dial<S>(shared: Arc<Shared<S>>, id: DialId, host: String, port: u16)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let to = stream.peer_addr()?;
        Ok((stream, to))
    };
    match within(shared.settings.hello, "connecting", connecting).await {
        Ok((stream, to)) if shared.admit(to.ip()) => serve(shared, stream, to, Via::Dialled(id)),
        failed => {
            tracing::debug!(%host, port, error = failed.err().map(tracing::field::display), "cannot connect");
            shared.locked(|shared, core, now| core.input(shared, now, Input::DialFailed(id)));
        }
    }
}

/// Serves an admitted connection.
fn serve<S>(shared: Arc<Shared<S>>, stream: TcpStream, from: SocketAddr, via: Via)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    if let Err(error) = prepare(&stream, shared.settings.socket_options()) {
        tracing::debug!(%from, %error, "cannot set socket options");
    }
    link::serve(shared, Stream::Plain(stream), from, Side::Stream, via);
}
