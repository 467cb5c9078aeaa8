//! F-42: whether the time that a log-in takes tells names that exist from names that do not. Not asserted: a busy machine decides.
//!
//! ```text
//! cargo bench -p voxwire-server --bench log_in_timing            # 2000 pairs, two minutes
//! cargo bench -p voxwire-server --bench log_in_timing -- 10000
//! ```
//!
//! Each pair is a wrong password of a user and one for an unknown name, in an order by chance, over loopback. Prints means, standard deviations
//! and Welch's t; under 4.5 the two cannot be told apart.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "../tests/kit/mod.rs"]
mod kit;

use kit::{Server, file, folder};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;
use voxwire_core::testing::Rng;

/// So many that no name is guessed at more often than what costs nothing.
const ACCOUNTS: u64 = 1000;
/// So many that none has to wait for its rate.
const CONNECTIONS: usize = 8;

fn main() {
    let pairs: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2000);
    let mut settings = String::from("[msgpack.accounts]\n");
    for n in 0..ACCOUNTS {
        settings.push_str(&format!("user{n:05} = \"geheim\"\n"));
    }
    let (config, data) = (file("timing.toml", &settings), folder("timing"));
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    println!("making {ACCOUNTS} accounts");
    let server = Server::start(&[
        "--only",
        "msgpack",
        "--msgpack-port",
        "0",
        "--http",
        "off",
        "--data",
        data,
        "--config",
        config,
        "--log",
        "off",
    ]);
    let address = server.address("msgpack zmtp");
    let mut streams: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    streams.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
    let mut rng = Rng::new(7);
    let mut times: [Vec<f64>; 2] = Default::default();
    for pair in 0..pairs {
        let first = rng.below(2) as usize;
        for kind in [first, 1 - first] {
            // Names of the same length.
            let name = match kind {
                0 => format!("user{:05}", (pair as u64) % ACCOUNTS),
                _ => format!("none{:05}", pair % 100_000),
            };
            let request = [b"\xa7request\xa5login\xa9", name.as_bytes(), b"\xa6falsch"].concat();
            let stream = &mut streams[pair % CONNECTIONS];
            let started = Instant::now();
            stream.write_all(&request).unwrap();
            let mut answer = [0; 9 + 6 + 3];
            stream.read_exact(&mut answer).unwrap();
            let time = started.elapsed().as_secs_f64() * 1000.0;
            assert_eq!(answer[15..], [0xcd, 0x02, 0x03], "a wrong password");
            // The first ones warm everything up.
            if pair >= 20 {
                times[kind].push(time);
            }
        }
    }
    report("all", &times);
    // What others on this machine did in between is no property of the server: without the slowest tenth of each.
    for times in &mut times {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
    }
    report("fastest nine tenths", &times);
}

fn report(what: &str, times: &[Vec<f64>; 2]) {
    let moments = times.each_ref().map(|times| {
        let n = times.len() as f64;
        let mean = times.iter().sum::<f64>() / n;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (n, mean, variance)
    });
    for (name, (n, mean, variance)) in ["wrong password", "unknown name"].iter().zip(moments) {
        println!("{what}: {name}: {n} times, {mean:.4} ms, standard deviation {:.4} ms", variance.sqrt());
    }
    let [(n, mean, variance), (m, other, other_variance)] = moments;
    let t = (mean - other) / (variance / n + other_variance / m).sqrt();
    println!("{what}: Welch's t = {t:.2}");
}
