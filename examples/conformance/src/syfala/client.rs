//! What the runner, as the device, expects of a client.

use super::bytes::{audio, client, message, server};
use crate::check::{Check, Failure, Outcome};
use crate::datagrams::Datagrams;
use crate::layout::Layout;
use crate::peer::Pause;
use crate::stage::{Socket, Stage};
use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Two outputs, I16 and IEEF32, of one channel and 48 kHz; one input, I16.
const CONNECT: &[u8] = b"\x00\x01\0\0\0\0\0\x70\xe7\x40\x01\x40\x06\x02\0\0\0\0\0\x70\xe7\x40\x01\x40\x06\0\0\0\0\0\x70\xe7\x40\x01\x40\x0a";
/// Bytes of a sample of each output.
const WIDTHS: [usize; 2] = [2, 4];
const PERIOD: Duration = Duration::from_millis(100);

/// The runner's device, and the client that has found it.
struct Device {
    udp: Datagrams,
    next_beat: RefCell<Pause>,
    timeout: Duration,
}

impl Device {
    /// A client that has asked who is there.
    fn discovered(stage: &Stage<'_>) -> Outcome<Self> {
        stage.start()?;
        let fails = |what: &str, bytes: &[u8]| Failure::stop(&stage.log, "client", what.into(), bytes);
        let Some(Socket::Udp(socket)) = stage.target.listening.as_ref().map(|it| &it.socket) else {
            return Err(fails("the runner does not listen by UDP", &[]));
        };
        let socket = socket.try_clone().map_err(|error| fails(&error.to_string(), &[]))?;
        let late = Pause::new(stage.patience()?);
        let mut buffer = [0; 2048];
        while !late.is_over() {
            let _ = socket.set_read_timeout(Some(late.left().max(Duration::from_millis(1))));
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let came = &buffer[..length];
            // The client of the check before may still be saying goodbye.
            if matches!(came, [client::HEARTBEAT | client::DISCONNECT | client::AUDIO, ..]) {
                continue;
            }
            stage.log.add("client", false, came);
            if let Some(stop) = Failure::differs(&stage.log, "client", &message(client::DISCOVERY), came) {
                return Err(stop);
            }
            let timeout = stage.target.timeout;
            let udp = Datagrams::new("client", socket, from, timeout, stage.log.clone());
            return Ok(Self { udp, next_beat: RefCell::new(Pause::new(PERIOD)), timeout });
        }
        Err(Failure::missing(
            &stage.log,
            "client",
            &message(client::DISCOVERY),
            fails("no client asked who is there", &[]),
        ))
    }

    /// A client that has accepted the formats.
    fn connected(stage: &Stage<'_>) -> Outcome<Self> {
        let device = Self::discovered(stage)?;
        device.udp.send(CONNECT)?;
        let success = message(client::CONNECTION_SUCCESS);
        device.udp.expect(&success, |datagram| datagram != [client::DISCOVERY])?;
        Ok(device)
    }

    /// A client whose IO is active.
    fn active(stage: &Stage<'_>) -> Outcome<Self> {
        let device = Self::connected(stage)?;
        device.expect(&message(client::START_IO), &[])?;
        device.udp.send(&[server::START_IO_SUCCESS])?;
        Ok(device)
    }

    /// The next datagram that is none of `passed`, nor said for the sake of time, while heartbeats go out.
    fn next(&self, passed: &[u8]) -> Outcome<Vec<u8>> {
        let late = Pause::new(self.timeout);
        while !late.is_over() {
            if self.next_beat.borrow().is_over() {
                self.udp.send(&[server::HEARTBEAT])?;
                *self.next_beat.borrow_mut() = Pause::new(PERIOD);
            }
            let wait = self.next_beat.borrow().left().max(Duration::from_millis(1));
            let Some(came) = self.udp.next_within(wait)? else { continue };
            let kind = came.first().copied().unwrap_or(u8::MAX);
            let of_time = [client::HEARTBEAT, client::CONNECTION_SUCCESS, client::DISCOVERY];
            if !of_time.contains(&kind) && !passed.contains(&kind) {
                return Ok(came);
            }
        }
        Err(self.udp.fails(format!("nothing of interest came within {} s", self.timeout.as_secs_f32()), &[]))
    }

    fn expect(&self, layout: &Layout, passed: &[u8]) -> Outcome<Vec<u8>> {
        let came =
            self.next(passed).map_err(|why| Failure::missing(&self.udp.log, self.udp.name, layout, why))?;
        match Failure::differs(&self.udp.log, self.udp.name, layout, &came) {
            Some(stop) => Err(stop),
            None => Ok(came),
        }
    }
}

pub(super) const CLIENT: &[Check] = &[
    Check {
        row: "S-05",
        name: "discovery",
        expected: "A client asks with Discovery, which is one byte of zero.",
        section: "On the wire",
        needs: &["streamer"],
        run: |stage| Device::discovered(stage).map(drop),
    },
    Check {
        row: "S-05",
        name: "accepts",
        expected: "A client that can serve every stream answers Connect with ConnectionSuccess.",
        section: "A session",
        needs: &["streamer"],
        run: |stage| Device::connected(stage).map(drop),
    },
    Check {
        row: "S-07",
        name: "heartbeats",
        expected: "A connected client sends Heartbeats, less than 600 ms apart.",
        section: "A session",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::connected(stage)?;
            for _ in 0..5 {
                device.udp.send(&[server::HEARTBEAT])?;
                let soon = Pause::new(Duration::from_millis(600));
                loop {
                    match device.udp.next_within(soon.left())? {
                        Some(came) if came == [client::HEARTBEAT] => break,
                        Some(_) => {}
                        None => return Err(device.udp.fails("no Heartbeat came for 600 ms", &[])),
                    }
                }
            }
            Ok(())
        },
    },
    Check {
        row: "S-08",
        name: "starts",
        expected: "A client asks for IO with StartIO, again and again until it is answered.",
        section: "A session",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::connected(stage)?;
            for _ in 0..3 {
                device.expect(&message(client::START_IO), &[])?;
            }
            Ok(())
        },
    },
    Check {
        row: "S-08",
        name: "failed-again",
        expected: "After StartIOFailed a client asks again.",
        section: "States of a client",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::connected(stage)?;
            device.expect(&message(client::START_IO), &[])?;
            device.udp.send(&[server::START_IO_FAILED])?;
            device.expect(&message(client::START_IO), &[]).map(drop)
        },
    },
    Check {
        row: "S-04",
        name: "audio",
        expected: "Audio for each output counts its bytes from 0 without a gap, in whole frames, 1400 bytes at most.",
        section: "On the wire",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::active(stage)?;
            let mut next = BTreeMap::<u32, u64>::new();
            for number in 0..100_u64 {
                // The input's, so that the client is not left without: 10 ms.
                let silence = audio(server::AUDIO, 0, number * 960, &[0; 960]);
                device.udp.send(&silence.encode())?;
                let came = device.next(&[client::START_IO])?;
                let head = Layout::little().u8("message", client::AUDIO).any("stream index", 4);
                let head = head.any("byte index", 8).any("n_bytes", 4).rest("payload");
                if let Some(stop) = Failure::differs(&stage.log, "client", &head, &came) {
                    return Err(stop);
                }
                let stream = u32::from_le_bytes([came[1], came[2], came[3], came[4]]);
                let payload = &came[super::bytes::AUDIO_HEAD..];
                let at = *next.get(&stream).unwrap_or(&0);
                next.insert(stream, at + payload.len() as u64);
                let whole = audio(client::AUDIO, stream, at, payload);
                if let Some(stop) = Failure::differs(&stage.log, "client", &whole, &came) {
                    return Err(stop);
                }
                let width = usize::try_from(stream).ok().and_then(|stream| WIDTHS.get(stream));
                if !width.is_some_and(|width| payload.len() % width == 0 && payload.len() <= 1400) {
                    return Err(device
                        .udp
                        .fails("no such stream, parts of frames, or more than 1400 bytes", &came));
                }
            }
            if next.len() != WIDTHS.len() {
                return Err(device.udp.fails("not every output has audio", &[]));
            }
            Ok(())
        },
    },
    Check {
        row: "S-12",
        name: "malformed",
        expected: "Empty, unknown and cut datagrams have no answer, and IO goes on.",
        section: "On the wire",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::active(stage)?;
            for bytes in [&b""[..], b"\x0b", b"\x80", b"\xff\xff\xff\xff\xff", b"\x07\0\0", &[0; 2000]] {
                device.udp.send(bytes)?;
            }
            for _ in 0..20 {
                let layout = Layout::little().u8("message", client::AUDIO).rest("the rest");
                device.expect(&layout, &[client::START_IO])?;
            }
            Ok(())
        },
    },
    Check {
        row: "S-07",
        name: "silent-server",
        expected: "A server that says nothing for 600 ms is gone: the client stops sending to it, or asks anew.",
        section: "States of a client",
        needs: &["streamer"],
        run: |stage| {
            let device = Device::active(stage)?;
            device.next(&[client::START_IO])?;
            let gone = Pause::new(Duration::from_millis(1200));
            while !gone.is_over() {
                device.udp.next_within(gone.left())?;
            }
            let shortly = Pause::new(Duration::from_millis(300));
            while !shortly.is_over() {
                let came = device.udp.next_within(shortly.left())?;
                if let Some(came) = came.filter(|it| it.first() == Some(&client::AUDIO)) {
                    return Err(device.udp.fails("audio still comes", &came));
                }
            }
            Ok(())
        },
    },
];
