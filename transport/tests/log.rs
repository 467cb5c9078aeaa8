//! The feature `log`: a program without a subscriber of tracing gets the transports' events as records. One test, because a logger is the
//! whole process's.
#![allow(clippy::unwrap_used)]

use log::{LevelFilter, Log, Metadata, Record};
use std::io::Read;
use std::net::TcpStream;
use std::sync::Mutex;
use voxwire_transport::{Hub, HubSettings, Listener};
use voxwire_voicelink::{Server, ServerSettings};

/// Keeps what is logged.
struct Kept(Mutex<Vec<String>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(format!("{} {} {}", record.level(), record.target(), record.args()));
    }

    fn flush(&self) {}
}

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_are_records_without_a_subscriber() {
    log::set_logger(&KEPT).unwrap();
    log::set_max_level(LevelFilter::Info);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings = HubSettings { max_connections: 0, ..HubSettings::DEFAULT };
    let _hub = Hub::spawn(vec![listener], Server::new(ServerSettings::DEFAULT, 1), (), settings).unwrap();
    // The hub closes it, or resets it: that it is over is enough.
    let mut byte = [0];
    let read = tokio::task::spawn_blocking(move || TcpStream::connect(address).unwrap().read(&mut byte));
    assert_eq!(read.await.unwrap().unwrap_or(0), 0);
    let kept = KEPT.0.lock().unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].starts_with("INFO voxwire_transport::hub::quotas a connection is refused"), "{kept:?}");
    assert!(kept[0].contains("address=127.0.0.1 rule=\"connections\""), "{kept:?}");
}
