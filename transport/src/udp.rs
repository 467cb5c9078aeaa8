//! UDP sockets that receive and send many datagrams with one call, where the system can.

use crate::lanes::HEAD;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, ready};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use tokio::net::UdpSocket;

/// Datagrams of one call.
pub(crate) const BATCH: usize = 64;
/// Largest datagram of TCP + UDP received; longer ones are cut, and then no packets.
const SIZE: usize = 2048;
/// Largest datagram received where there is nothing but UDP: what jumbo frames carry.
const PLAIN_SIZE: usize = 9 * 1024;
/// What is asked of the system for its buffers; it may give less.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Binds `address`, on one interface alone if it is named.
pub(crate) fn bind(address: SocketAddr, device: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Bursts of many speakers come faster than they are fetched. Less than asked for is no error.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    if let Some(name) = device {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.bind_device(Some(name.as_bytes()))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot bind to {name}")));
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
    /// Nothing but the session's own datagrams.
    plain: bool,
    /// Where the session's broadcasts go.
    pub(crate) broadcast: Vec<SocketAddr>,
    /// The system cuts one send into datagrams.
    gso: AtomicBool,
}

impl Udp {
    /// Binds `address`.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_on(address, None)
    }

    /// Binds `address`, on one interface alone if it is named: before that nothing is heard.
    fn bind_on(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let socket = bind(address, device)?;
        let gso = AtomicBool::new(system::can_segment(&socket));
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, plain: false, broadcast: Vec::new(), gso })
    }

    /// Binds `address` for a session's own datagrams.
    pub(crate) fn bind_plain(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        Ok(Self { plain: true, ..Self::bind_on(address, device)? })
    }

    /// Sends what the session broadcasts to these.
    pub(crate) fn set_broadcast(&mut self, to: Vec<SocketAddr>) -> io::Result<()> {
        self.socket.set_broadcast(true)?;
        self.broadcast = to;
        Ok(())
    }

    pub(crate) const fn is_plain(&self) -> bool {
        self.plain
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until something can be sent: a fresh socket takes nothing before.
    pub(crate) fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }

    /// Waits for datagrams; fills `received` with at least one.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, received: &mut Received) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            match system::recv(&self.socket, self.local.is_ipv6(), received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the system says of datagrams sent earlier concerns none received.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Datagrams received by one call.
pub(crate) struct Received {
    /// As many as one call fetches, one behind the other.
    buffers: Box<[u8]>,
    size: usize,
    /// Length and source of those that hold something.
    filled: Vec<(usize, SocketAddr)>,
}

impl Received {
    pub(crate) fn new(socket: &Udp) -> Self {
        let size = if socket.plain { PLAIN_SIZE } else { SIZE };
        Self { buffers: vec![0; size.saturating_mul(BATCH)].into(), size, filled: Vec::with_capacity(BATCH) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.filled
            .iter()
            .zip(self.buffers.chunks(self.size))
            .map(|((len, from), buffer)| (buffer.get(..*len).unwrap_or(&[]), *from))
    }
}

/// Bytes that a batch has room for from the start.
const ROOM: usize = 4096;

/// Datagrams to be sent, each with a head of its own; many share their bytes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    sends: Vec<Send>,
    /// The frame appended last: where it came from and where it lies.
    last: Option<(usize, usize, usize)>,
    frames: usize,
    /// Indices into `sends`, by destination.
    order: Vec<usize>,
}

/// Where datagrams to one connection go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    /// Index of the socket.
    pub(crate) socket: usize,
    /// Tells connections apart.
    pub(crate) slot: u32,
    pub(crate) to: SocketAddr,
    /// Before the frame, except where the session's datagrams are sent as they are.
    pub(crate) head: Option<[u8; HEAD]>,
}

impl Destination {
    fn head(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |head| head)
    }
}

#[derive(Debug, Clone, Copy)]
struct Send {
    destination: Destination,
    start: usize,
    len: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.sends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sends.clear();
        self.forget();
        self.frames = 0;
    }

    /// Adds a datagram. A frame that is the very slice of the call before is not copied again.
    pub(crate) fn push(&mut self, destination: Destination, frame: &[u8]) {
        // Compared and never followed.
        let address = frame.as_ptr().addr();
        let start = match self.last {
            Some((last, len, start)) if (last, len) == (address, frame.len()) => start,
            _ => {
                if self.bytes.capacity() == 0 {
                    // So that it does not grow whenever more comes together than ever before.
                    self.bytes.reserve(ROOM);
                }
                let start = self.bytes.len();
                self.bytes.extend_from_slice(frame);
                self.last = Some((address, frame.len(), start));
                self.frames = self.frames.saturating_add(1);
                start
            }
        };
        self.sends.push(Send { destination, start, len: frame.len() });
    }

    /// What frames lay where before may be something else now.
    pub(crate) const fn forget(&mut self) {
        self.last = None;
    }

    /// Sends everything. Returns how many datagrams could not be.
    pub(crate) fn send(&mut self, sockets: &[Udp]) -> u64 {
        let Self { bytes, sends, order, frames, .. } = self;
        order.clear();
        order.extend(0..sends.len());
        // One frame goes to each destination once: there is nothing to put together.
        if *frames > 1 {
            let key = |&index: &usize| sends.get(index).map(|send| (send.destination.slot, index));
            order.sort_unstable_by_key(key);
        }
        let (mut lost, mut alone) = (0_u64, Alone::new(bytes));
        let mut rest = &order[..];
        while let Some(send) = rest.first().and_then(|&index| sends.get(index)) {
            let Some(socket) = sockets.get(send.destination.socket) else { break };
            let run = run(rest, sends);
            let (now, later) = rest.split_at_checked(run).unwrap_or((rest, &[]));
            if run > 1 && socket.gso.load(Relaxed) && system::send_run(socket, now, sends, bytes) {
                rest = later;
                continue;
            }
            for send in now.iter().filter_map(|&index| sends.get(index)) {
                lost = lost.saturating_add(alone.add(sockets, *send));
            }
            rest = later;
        }
        lost.saturating_add(alone.flush(sockets))
    }
}

/// How many of the sends, from the first one on, can go as one: to one destination, all as long as the first, but for a
/// last one that may be shorter.
fn run(order: &[usize], sends: &[Send]) -> usize {
    let Some(first) = order.first().and_then(|&index| sends.get(index)) else { return 0 };
    let size = first.whole();
    // What one call takes.
    let most = BATCH.min(65_507_usize.checked_div(size).unwrap_or(1)).max(1);
    let mut count: usize = 0;
    for send in order.iter().take(most).filter_map(|&index| sends.get(index)) {
        let (one, other) = (&send.destination, &first.destination);
        let same = (one.socket, one.slot, one.to) == (other.socket, other.slot, other.to);
        if !same || send.len > first.len {
            break;
        }
        count = count.saturating_add(1);
        if send.len < first.len {
            break;
        }
    }
    count
}

/// Datagrams to as many destinations, gathered for one call.
struct Alone<'b> {
    bytes: &'b [u8],
    waiting: [Option<Send>; BATCH],
    count: usize,
}

impl<'b> Alone<'b> {
    const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, waiting: [None; BATCH], count: 0 }
    }

    fn add(&mut self, sockets: &[Udp], send: Send) -> u64 {
        let other = self.waiting.first().copied().flatten();
        let mut lost = 0;
        if self.count == BATCH
            || other.is_some_and(|other| other.destination.socket != send.destination.socket)
        {
            lost = self.flush(sockets);
        }
        if let Some(place) = self.waiting.get_mut(self.count) {
            *place = Some(send);
            self.count = self.count.saturating_add(1);
        }
        lost
    }

    fn flush(&mut self, sockets: &[Udp]) -> u64 {
        let count = core::mem::take(&mut self.count);
        let waiting = self.waiting.get(..count).unwrap_or(&[]);
        let socket = waiting.first().copied().flatten().and_then(|send| sockets.get(send.destination.socket));
        let lost = socket.map_or(0, |socket| system::send_alone(socket, waiting, self.bytes));
        self.waiting = [None; BATCH];
        lost
    }
}

impl Send {
    /// Bytes of the datagram.
    fn whole(&self) -> usize {
        self.len.saturating_add(self.destination.head().len())
    }

    fn frame<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.start..self.start.saturating_add(self.len)).unwrap_or(&[])
    }
}

/// Many datagrams with one call of the system.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::{BATCH, Received, Send, Udp};
    use core::cell::RefCell;
    use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use core::sync::atomic::Ordering::Relaxed;
    use nix::errno::Errno;
    use nix::sys::socket::{
        MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, getsockopt, recvmmsg, sendmmsg,
        sockopt,
    };
    use socket2::{MsgHdr, SockAddr, SockRef, Socket};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::os::fd::{AsRawFd, RawFd};
    use tokio::io::Interest;
    use tokio::net::UdpSocket;

    const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

    // One for each family, direction and thread: they hold pointers between calls, and forget to reset them.
    thread_local! {
        static RECV_4: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static RECV_6: RefCell<MultiHeaders<SockaddrIn6>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static SEND_4: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static SEND_6: RefCell<MultiHeaders<SockaddrIn6>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
    }

    /// Kernels before 4.18 would send one large datagram.
    pub(super) fn can_segment(socket: &Socket) -> bool {
        getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
    }

    pub(super) fn recv(socket: &UdpSocket, v6: bool, received: &mut Received) -> io::Result<()> {
        socket.try_io(Interest::READABLE, || {
            let fd = socket.as_raw_fd();
            let result = if v6 {
                RECV_6.with_borrow_mut(|headers| recv_as(fd, headers, received))
            } else {
                RECV_4.with_borrow_mut(|headers| recv_as(fd, headers, received))
            };
            result.map_err(io::Error::from)
        })
    }

    fn recv_as<S: SockaddrLike + Copy>(
        fd: RawFd,
        headers: &mut MultiHeaders<S>,
        received: &mut Received,
    ) -> nix::Result<()>
    where
        SocketAddr: From<S>,
    {
        let Received { buffers, size, filled } = received;
        filled.clear();
        let mut buffers = buffers.chunks_mut(*size);
        let mut slices: [_; BATCH] =
            core::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or(&mut []))]);
        for message in recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
            // A datagram that was cut is none of ours; it stays in its place, as nothing.
            let len = if message.flags.contains(MsgFlags::MSG_TRUNC) { 0 } else { message.bytes };
            let from = message.address.map(SocketAddr::from);
            filled.push((len, from.unwrap_or(NOWHERE)));
        }
        Ok(())
    }

    /// Sends datagrams to one destination with one call; false if they have to go one by one.
    pub(super) fn send_run(socket: &Udp, run: &[usize], sends: &[Send], bytes: &[u8]) -> bool {
        let mut slices = [IoSlice::new(&[]); 2 * BATCH];
        let mut count: usize = 0;
        let mut first = None;
        for send in run.iter().filter_map(|&index| sends.get(index)) {
            first.get_or_insert(send);
            if let Some([head, frame]) = slices.get_mut(count..).and_then(<[_]>::first_chunk_mut::<2>) {
                *head = IoSlice::new(send.destination.head());
                *frame = IoSlice::new(send.frame(bytes));
                count = count.saturating_add(2);
            }
        }
        let (Some(first), Some(slices)) = (first, slices.get(..count)) else { return true };
        let Ok(size) = u16::try_from(first.whole()) else { return false };
        let to = SockAddr::from(first.destination.to);
        let control = segment_control(size);
        let message = MsgHdr::new().with_addr(&to).with_buffers(slices).with_control(&control);
        let sent =
            socket.socket.try_io(Interest::WRITABLE, || SockRef::from(&socket.socket).sendmsg(&message, 0));
        match sent {
            Ok(_) => true,
            // Some routes cannot; there is no telling before.
            Err(error) if matches!(error.raw_os_error(), Some(EIO | EINVAL)) => {
                socket.gso.store(false, Relaxed);
                false
            }
            Err(_) => false,
        }
    }

    const EIO: i32 = Errno::EIO as i32;
    const EINVAL: i32 = Errno::EINVAL as i32;

    const WORD: usize = size_of::<usize>();
    /// `CMSG_SPACE(2)`.
    const CONTROL: usize = 2 * WORD + 8;

    /// The control message UDP_SEGMENT: length, SOL_UDP, UDP_SEGMENT, the size.
    fn segment_control(size: u16) -> [u8; CONTROL] {
        let mut control = [0; CONTROL];
        let parts = [
            &(WORD + 8 + 2).to_ne_bytes()[..],
            &17_i32.to_ne_bytes(),
            &103_i32.to_ne_bytes(),
            &size.to_ne_bytes(),
        ];
        for (to, from) in control.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        control
    }

    /// Sends datagrams, each to its own destination, with one call. Returns how many could not be sent.
    pub(super) fn send_alone(socket: &Udp, sends: &[Option<Send>], bytes: &[u8]) -> u64 {
        let fd = socket.socket.as_raw_fd();
        let sent = socket.socket.try_io(Interest::WRITABLE, || {
            Ok(if socket.local.is_ipv6() {
                SEND_6.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v6))
            } else {
                SEND_4.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v4))
            })
        });
        sent.unwrap_or(sends.len() as u64)
    }

    fn v4(address: SocketAddr) -> Option<SockaddrIn> {
        if let SocketAddr::V4(v4) = address { Some(v4.into()) } else { None }
    }

    fn v6(address: SocketAddr) -> Option<SockaddrIn6> {
        Some(match address {
            SocketAddr::V6(v6) => v6.into(),
            // As a socket of IPv6 sees it, if it serves both.
            SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        })
    }

    fn send_as<S: SockaddrLike + Copy>(
        fd: RawFd,
        headers: &mut MultiHeaders<S>,
        sends: &[Option<Send>],
        bytes: &[u8],
        address: fn(SocketAddr) -> Option<S>,
    ) -> u64 {
        let mut slices = [[IoSlice::new(&[]); 2]; BATCH];
        let mut addresses = [const { None }; BATCH];
        let mut count: usize = 0;
        let mut lost = 0_u64;
        for send in sends.iter().flatten() {
            let (Some(slot), Some(to), Some(known)) =
                (slices.get_mut(count), addresses.get_mut(count), address(send.destination.to))
            else {
                lost = lost.saturating_add(1);
                continue;
            };
            *slot = [IoSlice::new(send.destination.head()), IoSlice::new(send.frame(bytes))];
            *to = Some(known);
            count = count.saturating_add(1);
        }
        let mut done: usize = 0;
        while done < count {
            let (Some(slices), Some(addresses)) = (slices.get(done..count), addresses.get(done..count))
            else {
                break;
            };
            match sendmmsg(fd, headers, slices, addresses, [], MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => done = done.saturating_add(sent.count().max(1)),
                Err(Errno::EINTR) => {}
                // Voice that cannot go now is late.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    lost = lost.saturating_add(count.saturating_sub(done) as u64);
                    break;
                }
                // The first one cannot be sent at all: the others may.
                Err(_) => {
                    lost = lost.saturating_add(1);
                    done = done.saturating_add(1);
                }
            }
        }
        lost
    }
}

/// One datagram at a time.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use super::{BATCH, Received, SIZE, Send, Udp};
    use socket2::Socket;
    use std::io;
    use tokio::net::UdpSocket;

    pub(super) const fn can_segment(_socket: &Socket) -> bool {
        false
    }

    pub(super) fn recv(socket: &UdpSocket, _v6: bool, received: &mut Received) -> io::Result<()> {
        received.filled.clear();
        for buffer in received.buffers.chunks_mut(received.size).take(BATCH) {
            match socket.try_recv_from(buffer) {
                // One that fills the buffer may have been cut.
                Ok((len, from)) => received.filled.push((if len < buffer.len() { len } else { 0 }, from)),
                Err(_) if !received.filled.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) const fn send_run(_socket: &Udp, _run: &[usize], _sends: &[Send], _bytes: &[u8]) -> bool {
        false
    }

    pub(super) fn send_alone(socket: &Udp, sends: &[Option<Send>], bytes: &[u8]) -> u64 {
        let mut lost = 0;
        let mut datagram = Vec::with_capacity(SIZE);
        for send in sends.iter().flatten() {
            datagram.clear();
            datagram.extend_from_slice(send.destination.head());
            datagram.extend_from_slice(send.frame(bytes));
            lost += u64::from(socket.socket.try_send_to(&datagram, send.destination.to).is_err());
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::poll_fn;

    async fn receive(socket: &Udp, count: usize) -> Vec<Vec<u8>> {
        let (mut received, mut got) = (Received::new(socket), Vec::new());
        while got.len() < count {
            let some = poll_fn(|cx| socket.poll_recv(cx, &mut received));
            tokio::time::timeout(core::time::Duration::from_secs(5), some)
                .await
                .expect("within 5 s")
                .unwrap();
            got.extend(received.iter().map(|(datagram, _)| datagram.to_vec()));
        }
        got
    }

    #[tokio::test]
    async fn many_datagrams_reach_their_destinations_whole_however_they_are_put_together() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let sender = vec![Udp::bind(address).unwrap()];
            let receivers: Vec<Udp> = (0..3).map(|_| Udp::bind(address).unwrap()).collect();
            poll_fn(|cx| sender[0].socket.poll_send_ready(cx)).await.unwrap();
            for (gso, plain) in [(true, false), (true, true), (false, false), (false, true)] {
                if !gso {
                    sender[0].gso.store(false, Relaxed);
                }
                let mut batch = Batch::default();
                let mut expected = vec![Vec::new(); 3];
                // Of several lengths, so that runs end; and each to all, but for some.
                for n in 0..150_u8 {
                    let frame = vec![n; 20 + usize::from(n / 40)];
                    for (slot, receiver) in (0..).zip(&receivers) {
                        if u32::from(n) % 7 == slot {
                            continue;
                        }
                        let head = [n, 0, 0, 0, 0, 0, 0, u8::try_from(slot).unwrap()];
                        // Half of them without.
                        let head = plain.then_some(()).map_or(Some(head), |()| None);
                        let to = receiver.local_addr();
                        batch.push(Destination { socket: 0, slot, to, head }, &frame);
                        let head = head.as_ref().map_or(&[][..], |head| head);
                        expected[usize::try_from(slot).unwrap()].push([head, &frame].concat());
                    }
                    batch.forget();
                }
                assert_eq!(batch.frames, 150);
                assert_eq!(batch.send(&sender), 0);
                for (receiver, expected) in receivers.iter().zip(&mut expected) {
                    let mut got = receive(receiver, expected.len()).await;
                    got.sort();
                    expected.sort();
                    assert_eq!(&got, expected, "{address} gso {gso}");
                }
                batch.clear();
                assert!(batch.is_empty());
            }
        }
    }

    #[test]
    fn a_run_is_of_one_destination_and_one_length_but_for_its_last() {
        let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let send = |slot, len| Send {
            destination: Destination { socket: 0, slot, to, head: Some([0; 8]) },
            start: 0,
            len,
        };
        let count = |sends: &[Send]| run(&(0..sends.len()).collect::<Vec<_>>(), sends);
        assert_eq!(count(&[send(1, 9), send(1, 9), send(1, 8), send(1, 8)]), 3);
        assert_eq!(count(&[send(1, 9), send(1, 10)]), 1);
        assert_eq!(count(&[send(1, 9), send(2, 9)]), 1);
        let elsewhere = Destination { socket: 1, ..send(1, 9).destination };
        assert_eq!(count(&[send(1, 9), Send { destination: elsewhere, ..send(1, 9) }]), 1);
        assert_eq!(count(&[send(1, 9); 100]), 64);
        assert_eq!(count(&[send(1, 2000); 100]), 32);
    }

    #[tokio::test]
    async fn a_destination_that_cannot_be_reached_does_not_stop_the_others() {
        let sender = vec![Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap()];
        let receiver = Udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poll_fn(|cx| sender[0].socket.poll_send_ready(cx)).await.unwrap();
        let mut batch = Batch::default();
        for (slot, to) in
            ["127.0.0.1:0", "[::1]:9"].into_iter().zip([1, 2]).map(|(to, slot)| (slot, to.parse().unwrap()))
        {
            batch.push(Destination { socket: 0, slot, to, head: Some([0; 8]) }, b"lost");
        }
        batch.push(
            Destination { socket: 0, slot: 3, to: receiver.local_addr(), head: Some([1; 8]) },
            b"found",
        );
        assert_eq!(batch.send(&sender), 2);
        assert_eq!(receive(&receiver, 1).await, [b"\x01\x01\x01\x01\x01\x01\x01\x01found"]);
    }
}
