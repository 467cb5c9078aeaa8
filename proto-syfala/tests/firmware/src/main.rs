//! A device and a driver, wired to each other: discovery, IO, audio both ways, and a goodbye. Exit code 0 if everything was heard.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use voxwire_core::{Input, Instant, Lane, Output, PeerId, Session, Via};
use voxwire_syfala::stream::{Receiving, StreamSettings, Taken};
use voxwire_syfala::{
    Client, ClientCommand, ClientEvent, ClientSettings, Format, IoResult, Network, Server, ServerCommand,
    ServerEvent, ServerSettings,
};

/// As much memory as a small microcontroller has.
#[global_allocator]
static ALLOCATOR: emballoc::Allocator<{ 96 * 1024 }> = emballoc::Allocator::new();

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // There is nobody to be told: the test gives up.
    loop {
        core::hint::spin_loop();
    }
}

const OTHER: PeerId = PeerId { slot: 0, generation: 0 };

/// Moves what one session sends to the other.
fn wire<A: Session, B: Session>(
    from: &mut A,
    to: &mut B,
    now: Instant,
    mut seen: impl FnMut(&mut B, B::Event<'_>),
) {
    let frames: Vec<Vec<u8>> = from
        .outputs()
        .filter_map(|output| match output {
            Output::Send { frame, .. } | Output::Broadcast { frame } => Some(frame.into()),
            _ => None,
        })
        .collect();
    from.advance(usize::MAX);
    for bytes in &frames {
        let input = Input::Frame { peer: OTHER, lane: Lane::Droppable, bytes };
        if let Ok(Some(event)) = to.handle_input(now, input) {
            seen(to, event);
        }
    }
}

fn talk() -> Option<()> {
    let mut now = Instant::ZERO;
    // Three buffers of stereo: what a microcontroller can spare.
    let settings = StreamSettings { buffer: 5000, ..StreamSettings::DEFAULT };
    let formats = [Format::STANDARD];
    let mut limits = voxwire_syfala::LIMITS;
    (limits.max_peers, limits.max_outbox) = (8, 4096);
    let mut server = Server::new(&formats, &formats, ServerSettings { limits, ..ServerSettings::DEFAULT }, 1).ok()?;
    server.handle_command(now, ServerCommand::Serve { networks: &Network::LOOPBACK }).ok()?;
    let mut client = Client::new(ClientSettings { limits, ..ClientSettings::DEFAULT });
    let from = Some(([127, 0, 0, 1], 6911).into());
    let opened = Input::Opened { peer: OTHER, via: Via::Accepted, from };
    server.handle_input(now, opened).ok()?;
    client.handle_input(now, opened).ok()?;
    client.handle_command(now, ClientCommand::Discover).ok()?;
    let (mut started, mut heard) = (false, [0_usize; 2]);
    let mut streams = [(); 2].map(|()| Receiving::new(&formats[0], settings));
    for turn in 0..2000_u32 {
        now = Instant::from_nanos(u64::from(turn) * 1_000_000);
        while client.poll_timeout().is_some_and(|at| at <= now) {
            client.handle_timeout(now);
        }
        while server.poll_timeout().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
        }
        if started {
            let samples = [turn as u8; 48 * 8];
            client
                .handle_command(now, ClientCommand::Play { server: OTHER, stream: 0, samples: &samples })
                .ok()?;
            server
                .handle_command(now, ServerCommand::Play { client: OTHER, stream: 0, samples: &samples })
                .ok()?;
        }
        let [there, back] = &mut streams;
        wire(&mut client, &mut server, now, |server, event| match event {
            ServerEvent::StartIo { client } => {
                let result = IoResult::Success;
                let _ = server.handle_command(now, ServerCommand::StartIoResult { client, result });
            }
            ServerEvent::Audio { audio, .. } if there.insert(now, &audio) == Taken::Stored => {
                heard[0] += there.read(&mut [0; 2048]);
            }
            _ => {}
        });
        wire(&mut server, &mut client, now, |client, event| match event {
            ClientEvent::Found { server, .. } => {
                let _ = client.handle_command(now, ClientCommand::Accept { server });
                let _ = client.handle_command(now, ClientCommand::StopDiscovery);
                let _ = client.handle_command(now, ClientCommand::StartIo { server });
            }
            ClientEvent::Started { .. } => started = true,
            ClientEvent::Audio { audio, .. } if back.insert(now, &audio) == Taken::Stored => {
                heard[1] += back.read(&mut [0; 2048]);
            }
            _ => {}
        });
    }
    client.shutdown(now);
    wire(&mut client, &mut server, now, |_, _| {});
    let all = heard.iter().all(|bytes| *bytes > 1900 * 48 * 8);
    (started && all && server.clients().count() == 0).then_some(())
}

/// Named by the unwinding tables of `alloc`, which is compiled already; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Called by the start-up code.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    if talk().is_some() { 0 } else { 1 }
}
