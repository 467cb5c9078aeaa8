//! C-03 on the real-time driver: once warm, an audio packet's path allocates nothing, from the sound callback that writes it to the one
//! that reads it, on all threads.
#![cfg(unix)]

#[path = "../../tests/kit/syfala_echo.rs"]
mod syfala_echo;

use std::time::Duration;
use syfala_echo::Echo;
use voxwire_benches::alloc::{Counting, allocations};
use voxwire_benches::studio;
use voxwire_core::{Handler, Instant, PeerId, Session as _};
use voxwire_syfala::{Client, ClientCommand, ClientEvent, ClientSettings, Format, Server};
use voxwire_transport::realtime::{AudioHandler, Driver, Settings, Socket};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl AudioHandler<Server> for Echo {
    fn on_audio(&mut self, _: &mut Server, _: Instant, _: usize, _: &[u8]) {}
}

struct App {
    server: Option<PeerId>,
    to_callback: rtrb::Producer<u8>,
}

impl Handler<Client> for App {
    fn on_event(&mut self, client: &mut Client, now: Instant, event: ClientEvent<'_>) {
        match event {
            ClientEvent::Audio { audio, .. } => self.to_callback.push_entire_slice(audio.payload).unwrap(),
            ClientEvent::Found { server, .. } => {
                client.handle_command(now, ClientCommand::Accept { server }).unwrap();
                client.handle_command(now, ClientCommand::StartIo { server }).unwrap();
            }
            ClientEvent::Started { server } => self.server = Some(server),
            _ => {}
        }
    }
}

impl AudioHandler<Client> for App {
    fn on_audio(&mut self, client: &mut Client, now: Instant, _: usize, samples: &[u8]) {
        if let Some(server) = self.server {
            client.handle_command(now, ClientCommand::Play { server, stream: 0, samples }).unwrap();
        }
    }
}

/// The whole process counts, so this is the only test here.
#[test]
fn c_03_an_audio_packet_on_the_real_time_driver_allocates_nothing() {
    // The thread that has started this one goes on to keep its books, and all threads are counted.
    std::thread::park_timeout(Duration::from_millis(300));
    // Wildcards: the system says of each datagram where it came in. Four datagrams a period: each period goes with one call.
    for (bind, period) in
        [("127.0.0.1:0", 256), ("0.0.0.0:0", 256), ("127.0.0.1:0", 4096), ("0.0.0.0:0", 4096)]
    {
        let bind = bind.parse().unwrap();
        let socket = Socket::bind(bind).unwrap();
        let address = ([127, 0, 0, 1], socket.local_addr().port()).into();
        let device = studio::device(&[Format::STANDARD]);
        let _device = Driver::new(socket, device, Echo, Settings::DEFAULT).unwrap().start().unwrap();
        let (to_callback, mut heard) = rtrb::RingBuffer::new(64 * 1024);
        let socket = Socket::bind(bind).unwrap().with_broadcast(vec![address]).unwrap();
        let app = App { server: None, to_callback };
        let client = Client::new(ClientSettings::DEFAULT);
        let mut driver = Driver::new(socket, client, app, Settings::DEFAULT).unwrap();
        let mut sender = driver.sender(64 * 1024);
        let client = driver.start().unwrap();
        client.call(|client, now| client.handle_command(now, ClientCommand::Discover)).unwrap().unwrap();
        let mut samples = vec![7; period];
        let mut play = || {
            sender.send(&samples).unwrap();
            let mut waited = 0;
            while heard.pop_entire_slice(&mut samples).is_err() {
                std::thread::park_timeout(Duration::from_micros(50));
                waited += 1;
                // Before the stream has started nothing comes back.
                if waited > 100 {
                    return false;
                }
            }
            true
        };
        let mut warm = 0;
        while warm < 2000 {
            warm += usize::from(play());
        }
        let before = allocations();
        let came = (0..5000).filter(|_| play()).count();
        assert_eq!((allocations() - before, came), (0, 5000), "{bind}, {period} bytes");
    }
}
