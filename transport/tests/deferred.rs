//! Point 8 of the contract of `Session`: a session gets back what it has put off.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic
)]

use core::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use voxwire_core::{Deferred, FrameError, Input, Instant, LengthPrefix, Outbox, Session};
use voxwire_transport::{Connection, ConnectionSettings, Hub, HubSettings, Listener};

/// A client's connection, and the server's end of it.
async fn connected<S: Session>(session: S) -> (Connection<S>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connecting = Connection::connect(&address, session, ConnectionSettings::DEFAULT);
    let (connection, accepted) = tokio::join!(connecting, listener.accept());
    (connection.unwrap(), accepted.unwrap().0)
}

/// Puts frames off that begin with 1, until one comes that begins with 2, or until a time-out.
#[derive(Debug)]
struct PutsOff {
    waiting: Vec<Deferred>,
    released: usize,
    due: Option<Instant>,
    heard: Vec<u8>,
    outbox: Outbox,
}

impl PutsOff {
    fn new() -> Self {
        Self { waiting: vec![], released: 0, due: None, heard: vec![], outbox: Outbox::new(1 << 10) }
    }
}

impl Session for PutsOff {
    type Framing = LengthPrefix;
    type Command<'a> = ();
    type Event<'a> = &'a [u8];
    type Violation = FrameError;
    type Refusal = FrameError;

    fn framing(&self) -> LengthPrefix {
        LengthPrefix { width: 1, little_endian: false, adjust: 0, min: 1, max: 9 }
    }

    fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>) -> Result<Option<&'a [u8]>, FrameError> {
        let Input::Frame { peer, lane, bytes } = input else { return Ok(None) };
        match bytes[1] {
            1 if self.released == 0 => {
                self.waiting.push(Deferred { peer, lane, bytes: bytes.to_vec() });
                self.due = Some(now.saturating_add(Duration::from_millis(300)));
                return Ok(None);
            }
            1 => self.released -= 1,
            2 => self.released = self.waiting.len(),
            _ => {}
        }
        self.heard.push(bytes[1]);
        Ok(Some(&bytes[1..]))
    }

    fn handle_command(&mut self, _now: Instant, _command: ()) -> Result<(), FrameError> {
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, _now: Instant) -> Option<Self::Event<'a>> {
        (self.due, self.released) = (None, self.waiting.len());
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn take_deferred(&mut self) -> Option<Deferred> {
        (self.released > 0 && !self.waiting.is_empty()).then(|| self.waiting.remove(0))
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {}
}

/// F-71: what a client's session puts off is handed to it again, as the hub does for a server's (F-25).
#[tokio::test]
async fn f_71_a_client_gets_back_what_it_has_put_off_before_the_next_frame_and_after_a_timeout() {
    let (mut connection, mut server) = connected(PutsOff::new()).await;
    // The last two wait for the time-out.
    server.write_all(&[3, 1, 10, 3, 1, 11, 3, 3, 12, 3, 2, 13, 3, 3, 14, 3, 1, 15, 3, 1, 16]).await.unwrap();
    let mut heard = Vec::new();
    let hear = async {
        while heard.len() < 7 {
            if let Ok(Some(bytes)) = connection.next().await.expect("it goes on").result {
                heard.push(bytes[1]);
            }
        }
    };
    let all = timeout(Duration::from_secs(5), hear).await;
    assert!(all.is_ok() && heard == [12, 13, 10, 11, 14, 15, 16], "{heard:?}");
}

/// F-25: what a call of the application releases is handed in by that call.
#[tokio::test]
async fn f_25_a_call_hands_in_what_it_has_released() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let hub = Hub::spawn(vec![listener], PutsOff::new(), (), HubSettings::DEFAULT).unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&[2, 1, 9]).await.unwrap();
    while hub.call(|session, _| session.waiting.is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.call(|session, _| (session.due, session.released) = (None, 1));
    assert_eq!(hub.call(|session, _| session.heard.clone()), [1]);
}

/// Has something to tell of each byte of a frame.
#[derive(Debug)]
struct Tells {
    waiting: u8,
    outbox: Outbox,
}

impl Session for Tells {
    type Framing = LengthPrefix;
    type Command<'a> = ();
    type Event<'a> = u8;
    type Violation = FrameError;
    type Refusal = FrameError;

    fn framing(&self) -> LengthPrefix {
        LengthPrefix { width: 1, little_endian: false, adjust: 0, min: 1, max: 255 }
    }

    fn handle_input<'a>(&mut self, _now: Instant, input: Input<'a>) -> Result<Option<u8>, FrameError> {
        if let Input::Frame { bytes, .. } = input {
            self.waiting += u8::try_from(bytes.len() - 1).unwrap();
        }
        Ok(None)
    }

    fn handle_command(&mut self, _now: Instant, _command: ()) -> Result<(), FrameError> {
        Ok(())
    }

    fn handle_timeout<'a>(&mut self, _now: Instant) -> Option<Self::Event<'a>> {
        self.waiting -= 1;
        Some(self.waiting)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (self.waiting > 0).then_some(Instant::ZERO)
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {}
}

/// F-24: an event that waits is no timer which is late: a client that learns of 200 others at once learns of them now.
#[tokio::test]
async fn f_24_events_that_wait_are_not_held_back_as_late_timers_are() {
    let (mut connection, mut server) = connected(Tells { waiting: 0, outbox: Outbox::new(1 << 10) }).await;
    // A clock that has run for longer than timers may be late.
    tokio::time::sleep(Duration::from_millis(80)).await;
    let mut frame = [7; 201];
    frame[0] = 201;
    server.write_all(&frame).await.unwrap();
    let hear = async { while !matches!(connection.next().await.expect("it goes on").result, Ok(Some(0))) {} };
    // They took 20 s.
    timeout(Duration::from_secs(10), hear).await.expect("all of them");
}
