//! Connects to where the session dials, and listens on the ports that the session asks for.

use super::stream;
use crate::grace::within;
use crate::hub::core::DriverRequest;
use crate::hub::peers::Transport;
use crate::hub::quotas::ConnPermit;
use crate::hub::shared::Shared;
use crate::listener::{Bound, Listener};
use crate::socket_options::{connect, prepare_if_possible};
use crate::stream::socket::Stream;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use voxwire_core::{DialId, Input, ListenId, Session, Via};

pub(super) fn run<S>(shared: &Arc<Shared<S>>, request: DriverRequest)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    match request {
        // Datagrams cannot be told apart on a byte stream.
        DriverRequest::Dial { id, .. } if !shared.is_stream => {
            shared.locked(|core, common, now| core.input(common, now, Input::DialFailed(id)));
        }
        DriverRequest::Listen(id) if !shared.is_stream => {
            shared.locked(|core, common, now| core.input(common, now, Input::ListenFailed(id)));
        }
        DriverRequest::Dial { id, host, port } => drop(tokio::spawn(dial(shared.clone(), id, host, port))),
        DriverRequest::Listen(id) => match bind(shared) {
            Ok((listener, port)) => {
                let accepting = tokio::spawn(accept(shared.clone(), listener, id)).abort_handle();
                shared.locked(|core, common, now| {
                    core.ports.insert(id, accepting);
                    core.input(common, now, Input::Listening { id, port });
                });
            }
            Err(error) => {
                crate::log::warn!(%error, "cannot listen on another port");
                shared.locked(|core, common, now| core.input(common, now, Input::ListenFailed(id)));
            }
        },
        DriverRequest::StopListening(id) => {
            let port = shared.locked(|core, _, _| core.ports.remove(&id));
            port.inspect(|port| port.abort());
        }
    }
}

/// Binds one of the ports that may be used, at the address of the first listener, with its gate.
fn bind<S: Session>(shared: &Shared<S>) -> io::Result<(Listener, u16)> {
    let ip = shared.common.home.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (first, end) = shared.common.settings.ports.unwrap_or((0, 0));
    let bound = Listener::bind_first(ip, (first..=end).map(|_| shared.next_port(first, end)));
    bound.map(|(listener, port)| (Listener { gate: shared.common.gate.clone(), ..listener }, port))
}

/// Serves what connects to that port, until the session stops listening.
async fn accept<S>(shared: Arc<Shared<S>>, listener: Listener, id: ListenId)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let Bound::Tcp(socket) = &listener.socket else { return };
    loop {
        match socket.accept().await {
            // Closed as it is dropped.
            Ok((_, from)) if !listener.lets_in(from) => shared.common.counters.refused.count(),
            Ok((stream, from)) => {
                if let Some(permit) = shared.admit(from.ip()) {
                    serve(shared.clone(), stream, (from, Via::AcceptedOn(id)), permit);
                }
            }
            Err(error) => shared.not_accepted(&error).await,
        }
    }
}

async fn dial<S>(shared: Arc<Shared<S>>, id: DialId, host: String, port: u16)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let connecting = connect((host.as_str(), port));
    let error = match within(shared.common.settings.handshake_timeout, "connecting", connecting).await {
        Ok((stream, to)) => match shared.admit(to.ip()) {
            Some(permit) => return serve(shared, stream, (to, Via::Dialled(id)), permit),
            None => None,
        },
        Err(error) => Some(error),
    };
    crate::log::debug!(%host, port, error = error.map(crate::log::display), "cannot connect");
    shared.locked(|core, common, now| core.input(common, now, Input::DialFailed(id)));
}

/// Serves a connection that has a permit.
fn serve<S>(shared: Arc<Shared<S>>, stream: TcpStream, (from, via): (SocketAddr, Via), permit: ConnPermit)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    prepare_if_possible(&stream, shared.common.settings.socket_options(), from);
    stream::serve(shared, Stream::Plain(stream), (from, via), Transport::Tcp, permit);
}
