//! IO and audio, at a server.

use super::bytes::{AUDIO_HEAD, Format, audio, client, server};
use super::computer::Computer;
use crate::check::{Check, Outcome, Stop};
use crate::layout::Layout;
use core::time::Duration;
use std::collections::BTreeMap;

/// Bytes of a payload, at most.
const MAX_PAYLOAD: usize = 1400;

fn is_audio(datagram: &[u8]) -> bool {
    datagram.first() == Some(&server::AUDIO)
}

/// The formats of the streams that the server sends; at least one.
fn inputs(computer: &Computer) -> Outcome<&[Format]> {
    match &computer.formats.inputs[..] {
        [] => Err(Stop::Skipped("the device sends no stream".into())),
        inputs => Ok(inputs),
    }
}

/// Stream, byte index and payload of an Audio that is as it should be.
fn read<'a>(computer: &Computer, came: &'a [u8]) -> Outcome<(u32, u64, &'a [u8])> {
    let inputs = inputs(computer)?;
    let head = Layout::little().u8("message", server::AUDIO).any("stream index", 4).any("byte index", 8);
    computer.is(&head.any("n_bytes", 4).rest("payload"), came)?;
    let stream = u32::from_le_bytes([came[1], came[2], came[3], came[4]]);
    let mut at = [0; 8];
    at.copy_from_slice(&came[5..13]);
    let at = u64::from_le_bytes(at);
    let payload = &came[AUDIO_HEAD..];
    computer.is(&audio(server::AUDIO, stream, at, payload), came)?;
    let format = usize::try_from(stream).ok().and_then(|stream| inputs.get(stream));
    let Some(format) = format else {
        return Err(computer.udp.fails(format!("there is no stream {stream}"), came));
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(computer.udp.fails("the payload has more than 1400 bytes", came));
    }
    if format.frame() <= MAX_PAYLOAD && !payload.len().is_multiple_of(format.frame()) {
        return Err(computer.udp.fails("the payload is no whole number of frames", came));
    }
    Ok((stream, at, payload))
}

pub(super) const AUDIO: &[Check] = &[
    Check {
        row: "S-08",
        name: "start-stop",
        expected: "StartIO is answered with StartIOSuccess, StopIO with StopIOSuccess, and so again.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let alice = Computer::connected(stage, "alice")?;
            for _ in 0..3 {
                alice.asks(&[client::START_IO], server::START_IO_SUCCESS)?;
                alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)?;
            }
            Ok(())
        },
    },
    Check {
        row: "S-08",
        name: "asked-again",
        expected: "StartIO while IO is active, and StopIO while it is not, are answered with success once more.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let alice = Computer::active(stage, "alice")?;
            alice.asks(&[client::START_IO], server::START_IO_SUCCESS)?;
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)?;
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)
        },
    },
    Check {
        row: "S-08",
        name: "start-accepts",
        expected: "StartIO from a client that holds an offer counts as its acceptance.",
        section: "States of a server",
        needs: &[],
        run: |stage| {
            let alice = Computer::offered(stage, "alice")?;
            alice.asks(&[client::START_IO], server::START_IO_SUCCESS)
        },
    },
    Check {
        row: "S-09",
        name: "none-before-start",
        expected: "No Audio comes before IO is started.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let alice = Computer::connected(stage, "alice")?;
            match alice.next_for(Duration::from_millis(300), true, is_audio)? {
                Some(came) => Err(alice.udp.fails("Audio came before IO was started", &came)),
                None => Ok(()),
            }
        },
    },
    Check {
        row: "S-04",
        name: "audio",
        expected: "Audio names a stream, counts its bytes from 0 without a gap, and has whole frames, 1400 bytes at most.",
        section: "On the wire",
        needs: &["inputs"],
        run: |stage| {
            let alice = Computer::active(stage, "alice")?;
            let mut next = BTreeMap::new();
            for _ in 0..100 {
                let came = alice.next(true, is_audio)?;
                let (stream, at, payload) = read(&alice, &came)?;
                let expected = next.insert(stream, at + payload.len() as u64).unwrap_or(0);
                alice.is(&audio(server::AUDIO, stream, expected, payload), &came)?;
            }
            Ok(())
        },
    },
    Check {
        row: "S-09",
        name: "counts-from-0-again",
        expected: "After StopIO and StartIO bytes are counted from 0 again.",
        section: "On the wire",
        needs: &["inputs"],
        run: |stage| {
            let alice = Computer::active(stage, "alice")?;
            for _ in 0..5 {
                alice.next(true, is_audio)?;
            }
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)?;
            alice.next_for(Duration::from_millis(100), true, |_| false)?;
            alice.asks(&[client::START_IO], server::START_IO_SUCCESS)?;
            let came = alice.next(true, is_audio)?;
            let (stream, _, payload) = read(&alice, &came)?;
            alice.is(&audio(server::AUDIO, stream, 0, payload), &came)
        },
    },
    Check {
        row: "S-09",
        name: "none-after-stop",
        expected: "No Audio comes after StopIOSuccess; what is under way has 100 ms.",
        section: "A session",
        needs: &["inputs"],
        run: |stage| {
            let alice = Computer::active(stage, "alice")?;
            alice.next(true, is_audio)?;
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)?;
            alice.next_for(Duration::from_millis(100), true, |_| false)?;
            match alice.next_for(Duration::from_millis(300), true, is_audio)? {
                Some(came) => Err(alice.udp.fails("Audio came after IO was stopped", &came)),
                None => Ok(()),
            }
        },
    },
    Check {
        row: "S-09",
        name: "takes-any-audio",
        expected: "Audio that is late, doubled, far ahead, of no stream, or cut harms no IO.",
        section: "Decisions, Audio",
        needs: &[],
        run: |stage| {
            let alice = Computer::active(stage, "alice")?;
            let frame = alice.formats.outputs.first().map_or(4, Format::frame);
            let payload = vec![0; frame * (MAX_PAYLOAD / frame).max(1)];
            let length = payload.len() as u64;
            for (stream, at) in
                [(0, 0), (0, length), (0, 0), (0, length), (0, 1 << 60), (77, 0), (u32::MAX, 0)]
            {
                alice.udp.send(&audio(client::AUDIO, stream, at, &payload).encode())?;
            }
            let whole = audio(client::AUDIO, 0, 2 * length, &payload).encode();
            alice.udp.send(&whole[..whole.len() / 2])?;
            alice.udp.send(&whole[..9])?;
            alice.asks(&[client::START_IO], server::START_IO_SUCCESS)?;
            alice.asks(&[client::STOP_IO], server::STOP_IO_SUCCESS)
        },
    },
];
