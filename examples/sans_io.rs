//! voicelink on a blocking `std::net::TcpStream`, without any runtime: registers, answers one call, and sends back what
//! it hears.
//!
//!     cargo run --features voicelink --example sans_io -- 127.0.0.1:4240 parrot

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use voxwire::core::{Clock, Cut, DialId, FrameBuf, Input, Lane, Output, PeerIds, Session, Via};
use voxwire::voicelink::{ByteOrder, Client, ClientCommand, ClientEvent, ClientSettings, Parameters};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:4240".into());
    let name = arguments.next().unwrap_or_else(|| "parrot".into());
    let mut stream = TcpStream::connect(&server)?;
    let (clock, peer) = (Clock::start(), PeerIds::new().mint().ok_or("no peer id")?);
    let mut client = Client::new(ClientSettings::DEFAULT);
    let (mut framing, mut buffer) = (client.framing(), FrameBuf::new());

    let opened = Input::Opened { peer, via: Via::Dialled(DialId::FIRST), from: None };
    client.handle_input(clock.now(), opened)?;
    let (preferred, samples) = (Parameters::DEFAULT, ByteOrder::BigEndian);
    client.handle_command(
        clock.now(),
        ClientCommand::Register { name: &name, secret: None, preferred, samples },
    )?;

    let mut over = false;
    loop {
        // What the session wants sent goes out before anything is waited for.
        let mut done = 0;
        for output in client.outputs() {
            done += 1;
            if let Output::Send { frame, .. } = output {
                stream.write_all(frame)?;
            }
        }
        client.advance(done);
        if over {
            return Ok(());
        }

        // A whole packet that is here already, or a wait for bytes that ends when the session's next timer is due.
        let now = clock.now();
        let result = match buffer.next_frame(&mut framing)? {
            Cut::Frame(range) => client
                .handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes: buffer.frame(range) }),
            Cut::NeedMore(_) if client.poll_timeout().is_some_and(|at| at <= now) => {
                Ok(client.handle_timeout(now))
            }
            Cut::NeedMore(needed) => {
                let wait = client.poll_timeout().map(|at| at.saturating_duration_since(now));
                stream.set_read_timeout(wait.map(|wait| wait.max(Duration::from_millis(1))))?;
                match stream.read(buffer.spare(needed.get())) {
                    Ok(0) => return Err("the server closed the connection".into()),
                    Ok(n) => buffer.filled(n),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
        };

        // The event borrows from the buffer alone: the session takes commands while it is held.
        match result {
            Ok(Some(ClientEvent::Registered)) => println!("registered as {name}"),
            Ok(Some(ClientEvent::Incoming { caller, parameters, .. })) => {
                println!("{} calls: {parameters}", caller.escape_ascii());
                client.handle_command(now, ClientCommand::Accept { optional: b"" })?;
            }
            Ok(Some(ClientEvent::Data { samples })) => {
                client.handle_command(now, ClientCommand::Say { samples })?
            }
            Ok(Some(event)) => {
                println!("{event:?}");
                over = true;
            }
            Ok(None) => {}
            Err(violation) => eprintln!("ignored: {violation}"),
        }
    }
}
