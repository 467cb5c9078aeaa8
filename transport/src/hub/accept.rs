//! Accepting connections: caps first, TLS second, then a link.

use super::{link, shared::Shared};
use crate::net::{Listener, Stream, TcpStream, prepare};
use core::net::SocketAddr;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::Arc;
use voxwire_core::Session;

pub(super) async fn accept<S>(shared: Arc<Shared<S>>, listener: Listener)
where
    S: Session + Send + 'static,
    S::Framing: Send + 'static,
{
    let drain = shared.drain.notified();
    tokio::pin!(drain);
    loop {
        // Registered before the flag is looked at, so that no notification is missed.
        drain.as_mut().enable();
        if shared.draining.load(Relaxed) {
            return;
        }
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = &mut drain => return,
        };
        match accepted {
            Ok((stream, from)) => {
                if shared.admit(from.ip()) {
                    #[cfg(feature = "tls")]
                    tokio::spawn(serve(shared.clone(), stream, from, listener.tls.clone()));
                    #[cfg(not(feature = "tls"))]
                    tokio::spawn(serve(shared.clone(), stream, from));
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: those who are here go on, and somebody will leave.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One connection, from its first byte to its last.
async fn serve<S: Session>(
    shared: Arc<Shared<S>>,
    stream: TcpStream,
    from: SocketAddr,
    #[cfg(feature = "tls")] tls: Option<tokio_rustls::TlsAcceptor>,
) {
    if let Err(error) = prepare(&stream, shared.settings.socket_options()) {
        tracing::debug!(%from, %error, "cannot set socket options");
    }
    #[cfg(feature = "tls")]
    let stream = match tls {
        None => Some(Stream::Plain(stream)),
        Some(tls) => {
            // On the heap: the handshake's state would otherwise be part of every connection's task for good.
            let handshake =
                Box::pin(crate::net::within(shared.settings.hello, "TLS handshake", tls.accept(stream)));
            match handshake.await {
                Ok(stream) => Some(Stream::Tls(Box::new(stream.into()))),
                Err(error) => {
                    tracing::debug!(%from, %error, "TLS handshake failed");
                    super::shared::count(&shared.counters.broken);
                    None
                }
            }
        }
    };
    #[cfg(not(feature = "tls"))]
    let stream = Some(Stream::Plain(stream));
    if let Some(stream) = stream {
        link::run(&shared, stream, from).await;
    }
    shared.dismiss(from.ip());
}
