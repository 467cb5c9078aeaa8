//! One connection of a client: its bytes and frames, both ways.

use super::direct::DirectEvent;
use super::settings::ConnectionSettings;
use super::udp_side::{UdpEvent, UdpSide};
use crate::Error;
use crate::stream::framing::{Kind, StreamFraming};
use crate::stream::io::{READ, is_tls_alert, poll_discard, poll_fill, poll_write};
use crate::stream::queue::{Queue, WriteBatch};
use crate::stream::socket::Stream;
use crate::tcp_udp::{Control, MAX_UNIT, Nonce, control_unit};
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use tokio::time::Sleep;
use voxwire_core::{Cut, FrameBuf, FrameError, Framing, Instant, Lane, PeerIds, Progress};

/// What belongs to one connection.
pub(super) struct StreamConn<F> {
    pub(super) stream: Stream,
    pub(super) framing: StreamFraming<F>,
    pub(super) buffer: FrameBuf,
    /// The stream is in the clear, and no frame has come in yet: the other side may turn out to speak TLS.
    may_be_tls: bool,
    pub(super) queue: Queue,
    /// What is being written.
    batch: WriteBatch,
    /// Ends the connection if the other side takes nothing of what is queued for too long.
    pub(super) stall: StallTimer,
    /// Our side is closed, or being closed.
    pub(super) shut: bool,
    pub(super) paused_until: Option<Instant>,
    pub(super) udp: Option<UdpSide>,
    #[cfg(feature = "quic")]
    pub(super) quic: Option<crate::quic::Inbox>,
    /// The state of the UDP side has changed, and the application has not had a turn for that.
    pub(super) changed: bool,
    /// Set once a reliable frame cannot be sent.
    pub(super) failed: Option<Failed>,
    /// Control messages of the UDP side for the stream. They are queued when the queue is empty: of each kind only the newest.
    controls: PendingControls,
}

/// Control messages of the UDP side for the stream, in this order. DOWN voids a CONFIRM from before.
#[derive(Debug, Default)]
pub(super) struct PendingControls {
    down: bool,
    confirm: Option<Nonce>,
}

/// Why a reliable frame cannot be sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failed {
    /// Too much is queued already.
    Overflow,
    /// The frame does not fit into a unit.
    TooLong(usize),
    /// The other side has taken nothing for too long.
    Stalled,
}

/// Measures for how long the other side has taken nothing.
pub(super) struct StallTimer {
    limit: Duration,
    /// Kept after its first use.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    running: bool,
}

impl StallTimer {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// The other side takes nothing now. True if it has taken nothing for the limit; otherwise the task is woken at the limit.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.running {
            self.running = true;
            // No instant is so late: the timer never fires.
            if let Some(at) = tokio::time::Instant::now().checked_add(limit) {
                timer.as_mut().reset(at);
            }
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// The other side has taken something, or nothing waits for it.
    const fn stop(&mut self) {
        self.running = false;
    }
}

/// Something happened on a connection.
pub(super) enum ConnEvent {
    /// A frame was received on the stream.
    Frame(Lane, Range<usize>),
    /// A frame was received in a datagram.
    Datagram(Range<usize>),
    /// Something happened on a direct path.
    Direct(DirectEvent),
    /// Something has changed of which the session need not know.
    Changed,
}

/// A frame or a control message, and where it lies in the buffer.
type Unit = (Kind, Range<usize>);

impl<F: Framing> StreamConn<F> {
    /// A connection over `stream` alone.
    pub(super) fn new(stream: Stream, framing: StreamFraming<F>, settings: ConnectionSettings) -> Self {
        let may_be_tls = matches!((&stream, &framing), (Stream::Plain(_), StreamFraming::Session(_)));
        Self {
            stream,
            framing,
            buffer: FrameBuf::new(),
            may_be_tls,
            queue: Queue::with_limits(settings.droppable_budget, settings.max_queued),
            batch: WriteBatch::default(),
            stall: StallTimer::new(settings.write_timeout),
            shut: false,
            paused_until: None,
            udp: None,
            #[cfg(feature = "quic")]
            quic: None,
            changed: false,
            failed: None,
            controls: PendingControls::default(),
        }
    }

    /// Sends a droppable frame in a datagram, where there are any; queues every other frame. A reliable frame ends the connection if there is no
    /// room for it, or if a unit of TCP + UDP cannot hold it. One that the session's framing does not take is dropped.
    pub(super) fn push(&mut self, lane: Lane, frame: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        #[cfg(feature = "quic")]
        if let (Lane::Droppable, Some(quic)) = (lane, &self.quic) {
            if let Some(dropped) = quic.datagrams.send(frame) {
                self.queue.dropped = self.queue.dropped.saturating_add(dropped);
                return;
            }
        }
        if let (Lane::Droppable, Some(udp)) = (lane, &mut self.udp) {
            if udp.is_up() {
                udp.send(frame);
                return;
            }
            if !udp.fallback {
                udp.dropped = udp.dropped.saturating_add(1);
                return;
            }
        }
        if !self.framing.fits(frame) {
            if lane == Lane::Reliable && matches!(self.framing, StreamFraming::Units { .. }) {
                self.failed = Some(Failed::TooLong(frame.len()));
            } else {
                self.queue.dropped = self.queue.dropped.saturating_add(1);
            }
        } else if self.queue.push(&self.framing, lane, frame, 0, Vec::new).is_err() {
            self.failed = Some(Failed::Overflow);
        }
    }

    /// The error of a connection on which nothing more can be sent.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.failed {
            None => Ok(()),
            Some(Failed::TooLong(len)) => Err(Error::Unsendable { len, max: MAX_UNIT }),
            Some(Failed::Overflow) => {
                let (queued, max) = self.queue.reliable();
                Err(Error::Untaken { queued, max })
            }
            Some(Failed::Stalled) => {
                let queued = self.queue.len().saturating_add(self.batch.len());
                Err(Error::Stalled { queued, after: self.stall.limit })
            }
        }
    }

    /// The frame of the last datagram.
    pub(super) fn datagram(&self, range: Range<usize>) -> &[u8] {
        #[cfg(feature = "quic")]
        if let Some(quic) = &self.quic {
            return &quic.last;
        }
        self.udp.as_ref().map_or(&[], |udp| udp.frame(range))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped.saturating_add(self.udp.as_ref().map_or(0, |udp| udp.dropped))
    }

    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.udp.as_ref().map(UdpSide::next_probe)
    }

    pub(super) fn is_written(&self) -> bool {
        self.queue.is_empty()
            && self.batch.is_empty()
            && !self.controls.down
            && self.controls.confirm.is_none()
    }

    fn queue_control(&mut self, control: Control) {
        match control {
            Control::Confirm(nonce) => self.controls.confirm = Some(nonce),
            Control::Down => self.controls = PendingControls { down: true, confirm: None },
            _ => {}
        }
    }

    /// Queues the control messages of the UDP side. Called when the queue is empty, so a server that takes nothing gets no more of them.
    fn push_controls(&mut self) {
        let PendingControls { down, confirm } = core::mem::take(&mut self.controls);
        let down = down.then_some(Control::Down);
        for control in down.into_iter().chain(confirm.map(Control::Confirm)) {
            if self.queue.push_raw(&control_unit(control)).is_err() {
                self.failed = Some(Failed::Overflow);
            }
        }
    }

    /// Writes, reads, and polls the UDP side. `Ok(None)` at the end of the stream; on a connection that is `closing`, once all is written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        closing: bool,
        ids: &mut PeerIds,
    ) -> Poll<Result<Option<ConnEvent>, Error>> {
        self.check()?;
        if closing {
            // The session has closed the connection: nothing is read.
            self.write(cx)?;
            return self.poll_shutdown(cx).map_ok(|()| None);
        }
        if let Poll::Ready(step) = self.poll_datagrams(cx, now, ids) {
            return Poll::Ready(Ok(Some(step)));
        }
        self.write(cx)?;
        if core::mem::take(&mut self.changed) {
            return Poll::Ready(Ok(Some(ConnEvent::Changed)));
        }
        if self.paused_until.is_some_and(|until| until > now) {
            return Poll::Pending;
        }
        self.paused_until = None;
        let read = self.poll_frame(cx, now, ids)?;
        if read.is_pending() {
            // The framing may have to answer what has been read, before more comes.
            self.write(cx)?;
        }
        read.map(Ok)
    }

    /// Shuts our side once all is written. Does not wait for the peer to close its side.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.is_written() {
            return Poll::Pending;
        }
        self.shut = true;
        if self.stream.poll_shutdown(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.stalls(cx)?;
        Poll::Pending
    }

    /// The next datagram, by UDP or by QUIC.
    fn poll_datagrams(&mut self, cx: &mut Context<'_>, now: Instant, ids: &mut PeerIds) -> Poll<ConnEvent> {
        #[cfg(feature = "quic")]
        if let Some(quic) = &mut self.quic {
            if quic.poll(cx).is_ready() {
                return Poll::Ready(ConnEvent::Datagram(0..quic.last.len()));
            }
        }
        while let Some(udp) = &mut self.udp {
            match ready!(udp.poll(cx, now, ids)) {
                UdpEvent::Frame(range) => return Poll::Ready(ConnEvent::Datagram(range)),
                UdpEvent::Direct(event) => return Poll::Ready(ConnEvent::Direct(event)),
                UdpEvent::Control(control) => self.queue_control(control),
                UdpEvent::Down => {
                    crate::log::warn!(server = %udp.server(), "no answer by UDP any more: it is blocked on the way");
                    self.queue_control(Control::Down);
                    self.changed = true;
                }
                UdpEvent::Unanswered => {
                    let server = udp.server();
                    crate::log::warn!(%server, "no answer by UDP: a firewall on the way has to let it through to that port");
                    self.changed = true;
                }
            }
        }
        Poll::Pending
    }

    /// The next frame of the stream; `None` at its end.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        ids: &mut PeerIds,
    ) -> Result<Poll<Option<ConnEvent>>, Error> {
        loop {
            let unit = match self.read(cx)? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(unit) => unit,
            };
            let range = match unit {
                None => return Ok(Poll::Ready(None)),
                Some((Kind::Frame(lane), range)) => {
                    return Ok(Poll::Ready(Some(ConnEvent::Frame(lane, range))));
                }
                Some((Kind::Control, range)) => range,
            };
            let control = Control::read(self.buffer.frame(range));
            let (Some(control), Some(udp)) = (control, &mut self.udp) else { continue };
            if control == Control::Bound {
                if udp.bound(now) {
                    return Ok(Poll::Ready(Some(ConnEvent::Changed)));
                }
            } else if let Some(peer) = udp.introduced(control, now) {
                ids.retire(peer);
                return Ok(Poll::Ready(Some(ConnEvent::Direct(DirectEvent::Down(peer)))));
            }
            // A new path is probed as soon as it is polled.
            cx.waker().wake_by_ref();
        }
    }

    /// Writes what is queued, shuts our side, and waits for the peer to close its own. Bytes that still come in are discarded: unread bytes would
    /// make the system reset the connection, and lose our final frames.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.write(cx).is_err() {
            return Poll::Ready(());
        }
        if self.is_written() && !self.shut {
            match self.stream.poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.shut = true,
            }
        }
        poll_discard(&mut self.stream, cx, &mut self.buffer)
    }

    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            let mut taken = false;
            let written = poll_write(&mut self.stream, cx, &mut self.batch, &mut taken);
            if taken {
                self.stall.stop();
            }
            match written {
                Poll::Pending => return self.stalls(cx),
                Poll::Ready(written) => written?,
            }
            if self.queue.push_pending(&mut self.framing).is_err() {
                self.failed = Some(Failed::Overflow);
            }
            self.push_controls();
            if self.queue.is_empty() {
                match self.stream.poll_flush(cx) {
                    Poll::Ready(Err(error)) => return Err(error.into()),
                    Poll::Ready(Ok(())) if self.shut => {}
                    Poll::Ready(Ok(())) => self.stall.stop(),
                    Poll::Pending => return self.stalls(cx),
                }
                return Ok(());
            }
            self.batch = self.next_batch();
        }
    }

    /// Takes all that is queued. The queue gets the memory of the batch before.
    fn next_batch(&mut self) -> WriteBatch {
        let mut spent = core::mem::take(&mut self.batch).into_memory();
        spent.clear();
        let batch = self.queue.take_next(usize::MAX, || core::mem::take(&mut spent));
        self.queue.lend(spent);
        batch
    }

    /// The other side takes nothing now. An error if it has taken nothing for too long.
    fn stalls(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.stall.is_over(cx) {
            self.failed = Some(Failed::Stalled);
            return self.check();
        }
        Ok(())
    }

    /// Does the framing's handshake, before the session hears of the connection.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.write(cx)?;
            if self.framing.is_ready() {
                return Poll::Ready(Ok(()));
            }
            match self.framing.next_frame(self.buffer.unread()).map_err(|error| self.cause(error.into()))? {
                Progress::Skip(n) => self.buffer.consume(n.get()),
                Progress::Frame { .. } => {
                    let expected = "the end of the handshake before any message";
                    return Poll::Ready(Err(FrameError::Handshake(expected).into()));
                }
                Progress::NeedMore(needed) => {
                    // The framing may have to answer the bytes so far.
                    self.write(cx)?;
                    if ready!(self.fill(cx, needed.get()))? == 0 {
                        return Poll::Ready(Err(self.cause(Error::Closed)));
                    }
                }
            }
        }
    }

    /// Reads once, where `needed` bytes are missing. Returns how many bytes came in: 0 at the end of the stream.
    fn fill(&mut self, cx: &mut Context<'_>, needed: usize) -> Poll<Result<usize, Error>> {
        let filled = ready!(poll_fill(&mut self.stream, cx, &mut self.buffer, needed, usize::MAX));
        Poll::Ready(filled.map_err(|error| self.cause(error.into())))
    }

    /// Why a connection ended that has failed with `error`: the other side may speak TLS.
    fn cause(&self, error: Error) -> Error {
        if self.may_be_tls && is_tls_alert(self.buffer.unread()) { Error::SpeaksTls } else { error }
    }

    /// The next whole frame; `None` at the end of the stream.
    pub(super) fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Unit>, Error>> {
        loop {
            let cut = self.buffer.next_frame(&mut self.framing);
            let needed = match cut.map_err(|error| self.cause(error.into()))? {
                Cut::Frame(range) => {
                    self.may_be_tls = false;
                    return Poll::Ready(Ok(Some((self.framing.kind(), range))));
                }
                Cut::NeedMore(_) if self.buffer.is_empty() => READ,
                Cut::NeedMore(needed) => needed.get(),
            };
            if ready!(self.fill(cx, needed))? == 0 {
                return Poll::Ready(match self.cause(Error::Closed) {
                    Error::Closed => Ok(None),
                    error => Err(error),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use voxwire_core::Datagram;

    /// F-35: a server that sends one CHALLENGE after the other and takes no CONFIRM is answered for the newest of them, once.
    #[tokio::test]
    async fn f_35_a_server_that_challenges_without_end_and_never_reads_is_not_queued_for_without_bound() {
        let (here, mut there) = tokio::io::duplex(64);
        let settings =
            ConnectionSettings { droppable_budget: 1000, max_queued: 1000, ..ConnectionSettings::DEFAULT };
        let framing = StreamFraming::units(Datagram { max: 1000 });
        let mut conn = StreamConn::new(Stream::Inside(here), framing, settings);
        conn.push(Lane::Reliable, &[7; 200]);
        for n in 0..10_000_u64 {
            if n % 100 == 0 {
                conn.queue_control(Control::Down);
            }
            conn.queue_control(Control::Confirm(n.to_be_bytes()));
            core::future::poll_fn(|cx| Poll::Ready(conn.write(cx))).await.unwrap();
            assert!(conn.queue.len() <= 17 && conn.batch.len() <= 220 && conn.failed.is_none());
        }
        assert!(!conn.is_written());
        let mut all = Vec::new();
        while !conn.is_written() {
            core::future::poll_fn(|cx| Poll::Ready(conn.write(cx))).await.unwrap();
            let mut some = [0; 64];
            let n = there.read(&mut some).await.unwrap();
            all.extend_from_slice(&some[..n]);
        }
        drop(conn);
        there.read_to_end(&mut all).await.unwrap();
        let both = |n: u64| [&[0, 2, 2, 2, 0, 10, 2, 1][..], &n.to_be_bytes()].concat();
        assert_eq!(all.get(203..), Some(&[both(0), both(9999)].concat()[..]));
    }
}
