//! A TCP relay: our hub with voicelink on it, beside the usual way of writing one (`tokio_util`'s `Framed`, a channel per
//! connection, `send` per message). 100 connections in 50 calls, 320 bytes of audio, 8 packets in flight on each.

use super::Served;
use bytes::Bytes;
use criterion::Criterion;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use voxwire_benches::{UNLIMITED, encoded, payloads, settings};
use voxwire_transport::{Hub, HubSettings, Listener};
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server};

const CONNECTIONS: usize = 100;
const IN_FLIGHT: usize = 8;
const FRAME: usize = 326;

async fn hub() -> SocketAddr {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let settings_of_hub = HubSettings { frames: UNLIMITED, max_queued: 1 << 20, ..HubSettings::DEFAULT };
    let mut settings = settings();
    settings.droppable_budget = Duration::from_secs(60);
    Hub::spawn(vec![listener], Server::new(settings, 1), (), settings_of_hub).unwrap();
    address
}

/// Connection 2n talks to connection 2n + 1, in the order in which they come.
async fn framed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut sinks, mut streams) = (vec![], vec![]);
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let codec =
                    LengthDelimitedCodec::builder().length_field_length(4).length_adjustment(-4).new_codec();
                let (sink, stream) = Framed::new(stream, codec).split();
                sinks.push(sink);
                streams.push(stream);
            }
            for mut stream in streams {
                let mut sink = sinks.pop().unwrap();
                let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(64);
                tokio::spawn(async move {
                    while let Some(Ok(frame)) = stream.next().await {
                        let _ = sender.send(frame.freeze()).await;
                    }
                });
                tokio::spawn(async move {
                    while let Some(frame) = receiver.recv().await {
                        if sink.send(frame).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    address
}

/// Sends and receives until `total` packets have arrived in all.
async fn load(streams: &mut [TcpStream], frame: &[u8], total: usize) {
    let each = total / streams.len();
    let work = streams.iter_mut().map(|stream| async move {
        let mut buffer = vec![0; 64 * 1024];
        let (mut received, mut sent, mut rest) = (0, IN_FLIGHT.min(each), 0);
        stream.write_all(&frame.repeat(sent)).await.unwrap();
        while received < each {
            let n = stream.read(&mut buffer).await.unwrap();
            let whole = (rest + n) / FRAME;
            rest = (rest + n) % FRAME;
            received += whole;
            // Each side sends as much as the other waits for, and a new packet for each one received until then.
            let more = whole.min(each - sent);
            if more > 0 {
                sent += more;
                stream.write_all(&frame.repeat(more)).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(work).await;
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn exchange(stream: &mut TcpStream, packet: &Packet<'_>, answer: usize) {
    stream.write_all(&encoded(packet, ByteOrder::BigEndian)).await.unwrap();
    stream.read_exact(&mut vec![0; answer]).await.unwrap();
}

/// 50 calls through our server.
async fn in_calls(address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = vec![];
    let parameters = Parameters::DEFAULT;
    for n in 0..CONNECTIONS {
        let mut stream = connect(address).await;
        let name = format!("{n:03}");
        let register = Packet::Handshake(Handshake { parameters, user_name: b"", optional: name.as_bytes() });
        exchange(&mut stream, &register, 6).await;
        streams.push(stream);
    }
    for n in (0..CONNECTIONS).step_by(2) {
        let name = format!("{:03}", n + 1);
        let call = encoded(
            &Packet::Handshake(Handshake { parameters, user_name: name.as_bytes(), optional: b"" }),
            ByteOrder::BigEndian,
        );
        streams[n].write_all(&call).await.unwrap();
        streams[n + 1].read_exact(&mut [0; 22]).await.unwrap();
        streams[n + 1].write_all(&[0, 0, 0, 6, 0, 4]).await.unwrap();
        streams[n].read_exact(&mut [0; 6]).await.unwrap();
    }
    streams
}

async fn plain(address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = vec![];
    for _ in 0..CONNECTIONS {
        streams.push(connect(address).await);
    }
    streams
}

pub(crate) fn relay(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let frame = encoded(&Packet::Data(&payloads(320)[0]), ByteOrder::BigEndian);
    let mut group = criterion.benchmark_group("relay/tcp/100x8x320");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    let ours = Served::start(hub);
    let theirs = Served::start(framed);
    let mut ours = (runtime.block_on(in_calls(ours.address)), ours);
    let mut theirs = (runtime.block_on(plain(theirs.address)), theirs);
    for (name, (streams, served)) in [("voxwire hub", &mut ours), ("tokio_util Framed", &mut theirs)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                // A round is a packet; too few of them would measure the clock.
                let total = (rounds as usize).max(1).next_multiple_of(CONNECTIONS).max(20_000);
                let before = served.used();
                runtime.block_on(load(streams, &frame, total));
                (served.used() - before).mul_f64(rounds as f64 / total as f64)
            });
        });
    }
    group.finish();
}
