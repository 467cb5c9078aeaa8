//! Receives datagrams: on a socket of many peers, and those of one connection on QUIC.

use crate::hub::shared::Shared;
use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;
use voxwire_core::Session;
#[cfg(feature = "quic")]
use voxwire_core::{Bucket, PeerId};

/// Receives on one socket for as long as the hub lives.
pub(in crate::hub) async fn receive<S: Session>(shared: Arc<Shared<S>>, socket: usize) {
    let common = &shared.common;
    let Some(udp) = common.sockets.get(socket) else { return };
    let mut received = udp.buffers();
    if poll_fn(|cx| udp.poll_send_ready(cx)).await.is_ok() {
        // Sends what the session had to send before it was spawned.
        shared.call(|_, _| ());
    }
    loop {
        let released = common.quotas.released();
        tokio::pin!(released);
        released.as_mut().enable();
        let drain = shared.drain.notified();
        tokio::pin!(drain);
        drain.as_mut().enable();
        if common.quotas.is_draining() && common.quotas.live() == 0 {
            return;
        }
        let got = tokio::select! {
            got = poll_fn(|cx| udp.poll_recv(cx, &mut received)) => got,
            () = released => continue,
            // The hub may drain without having had a connection.
            () = drain => continue,
        };
        match got {
            Ok(()) => shared.datagrams(socket, &received),
            Err(error) => {
                crate::log::warn!(%error, "cannot receive datagrams");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        // Other tasks get their turn between bursts.
        tokio::task::yield_now().await;
    }
}

/// Receives a connection's own datagrams until it ends.
#[cfg(feature = "quic")]
pub(super) async fn receive_quic<S: Session>(
    shared: &Shared<S>,
    peer: PeerId,
    datagrams: crate::quic::Datagrams,
) {
    let mut ingress = Bucket::default();
    while let Some(frame) = datagrams.receive().await {
        let common = &shared.common;
        if ingress.take(common.clock.now(), common.settings.frames, 1).is_err() {
            common.counters.over_rate_frames.count();
            continue;
        }
        shared.locked(|core, common, now| core.datagram(common, now, peer, &frame));
    }
}
