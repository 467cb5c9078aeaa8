//! Relays under load, in processor time of the server's thread per packet or copy; closed loops.
#![allow(missing_docs)]

use criterion::{criterion_group, criterion_main};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::runtime::Builder;

#[path = "relay/held.rs"]
mod held;
#[path = "relay/syfala.rs"]
mod syfala;
#[path = "relay/tcp.rs"]
mod tcp;
#[path = "relay/udp.rs"]
mod udp;

/// A server on a thread of its own, and how much processor time that thread has used.
struct Served {
    address: SocketAddr,
    ask: Sender<()>,
    used: Receiver<Duration>,
}

impl Served {
    fn start<F: Future<Output = SocketAddr> + 'static>(serve: impl FnOnce() -> F + Send + 'static) -> Self {
        let ((ask, asked), (tell, used), (here, there)) = (channel(), channel(), channel());
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                here.send(serve().await).unwrap();
                loop {
                    match asked.try_recv() {
                        Ok(()) => {
                            let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
                            let micros = (usage.user_time() + usage.system_time()).num_microseconds();
                            let _ = tell.send(Duration::from_micros(micros as u64));
                        }
                        Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                        Err(_) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        Self { address: there.recv().unwrap(), ask, used }
    }

    fn used(&self) -> Duration {
        self.ask.send(()).unwrap();
        self.used.recv().unwrap()
    }
}

criterion_group!(relay, udp::relay, udp::lock, udp::latency, tcp::relay, syfala::latency);
criterion_main!(relay);
