//! UDP sockets that receive and send many datagrams with one call, where the system can.

use crate::tcp_udp::HEAD;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, ready};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use tokio::net::UdpSocket;
use voxwire_core::FrameId;

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
    /// Bound to a wildcard: the system tells at which of our addresses a datagram came in, and answers leave from there. Without
    /// that (Linux and Android have it) they leave from the address that the system chooses, which may be another one.
    wildcard: bool,
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
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            system::tell_addresses(&socket, address.is_ipv6())?;
        }
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, wildcard, plain: false, broadcast: Vec::new(), gso })
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

    /// Whether a datagram waits to be received, as the system sees it.
    pub(crate) fn has_waiting(&self) -> bool {
        SockRef::from(&self.socket).peek(&mut [core::mem::MaybeUninit::uninit()]).is_ok()
    }

    /// Waits for datagrams; fills `received` with at least one.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, received: &mut Received) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            match system::recv(self, received) {
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

/// Both ends of a datagram's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    /// Our address, where the socket has more than one and the system tells which.
    pub(crate) local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// Datagrams received by one call.
pub(crate) struct Received {
    /// As many as one call fetches, one behind the other.
    buffers: Box<[u8]>,
    size: usize,
    /// Length of those that hold something, and where they come from.
    filled: Vec<(usize, Path)>,
}

impl Received {
    pub(crate) fn new(socket: &Udp) -> Self {
        let size = if socket.plain { PLAIN_SIZE } else { SIZE };
        Self { buffers: vec![0; size.saturating_mul(BATCH)].into(), size, filled: Vec::with_capacity(BATCH) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Path)> {
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
    /// The frame appended last that others may be sent, too, and where it lies.
    last: Option<(FrameId, usize)>,
    frames: usize,
    /// Indices into `sends`, by destination.
    order: Vec<usize>,
}

/// Where datagrams to one connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Index of the socket.
    pub(crate) socket: usize,
    /// Tells connections apart.
    pub(crate) slot: u32,
    pub(crate) to: Path,
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
        self.last = None;
        self.frames = 0;
    }

    /// Adds a datagram that has one destination.
    pub(crate) fn push(&mut self, destination: Destination, frame: &[u8]) {
        let start = self.append(frame);
        self.sends.push(Send { destination, start, len: frame.len() });
    }

    /// Adds a datagram. A frame with the same id as that of the call before is not copied again.
    pub(crate) fn push_shared(&mut self, destination: Destination, id: FrameId, frame: &[u8]) {
        let start = match self.last {
            Some((last, start)) if last == id => start,
            _ => self.append(frame),
        };
        self.last = Some((id, start));
        self.sends.push(Send { destination, start, len: frame.len() });
    }

    /// Copies a frame. Returns where it lies.
    fn append(&mut self, frame: &[u8]) -> usize {
        if self.bytes.capacity() == 0 {
            // So that it does not grow whenever more comes together than ever before.
            self.bytes.reserve(ROOM);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.frames = self.frames.saturating_add(1);
        start
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
        let kind = |send: Send| (send.destination.socket, send.destination.to.local);
        if self.count == BATCH || other.is_some_and(|other| kind(other) != kind(send)) {
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
    use super::{BATCH, Path, Received, Send, Udp};
    use core::cell::RefCell;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
    use core::sync::atomic::Ordering::Relaxed;
    use nix::cmsg_space;
    use nix::errno::Errno;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
        getsockopt, recvmmsg, sendmmsg, sendmsg, setsockopt, sockopt,
    };
    use socket2::{MsgHdr, SockAddr, SockRef, Socket};
    use std::io::{self, IoSlice, IoSliceMut};
    use std::os::fd::{AsRawFd, RawFd};
    use tokio::io::Interest;

    const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

    // One for each family, direction and thread, and for sockets of one address and of many: they hold pointers and lengths between
    // calls, and forget to reset them.
    thread_local! {
        static RECV_4_ANY: RefCell<MultiHeaders<SockaddrIn>> =
            RefCell::new(MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))));
        static RECV_6_ANY: RefCell<MultiHeaders<SockaddrIn6>> =
            RefCell::new(MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo))));
        static SEND_4_FROM: RefCell<MultiHeaders<SockaddrIn>> =
            RefCell::new(MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))));
        static SEND_6_FROM: RefCell<MultiHeaders<SockaddrIn6>> =
            RefCell::new(MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo))));
        static RECV_4: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static RECV_6: RefCell<MultiHeaders<SockaddrIn6>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static SEND_4: RefCell<MultiHeaders<SockaddrIn>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
        static SEND_6: RefCell<MultiHeaders<SockaddrIn6>> = RefCell::new(MultiHeaders::preallocate(BATCH, None));
    }

    /// Kernels before 4.18 would send one large datagram.
    pub(super) fn can_segment(socket: &Socket) -> bool {
        getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
    }

    /// Has the system say with each datagram at which address it came in.
    pub(super) fn tell_addresses(socket: &Socket, v6: bool) -> io::Result<()> {
        let set = if v6 {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)
        } else {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)
        };
        set.map_err(io::Error::from)
    }

    pub(super) fn recv(udp: &Udp, received: &mut Received) -> io::Result<()> {
        udp.socket.try_io(Interest::READABLE, || {
            let fd = udp.socket.as_raw_fd();
            let result = match (udp.local.is_ipv6(), udp.wildcard) {
                (true, true) => RECV_6_ANY.with_borrow_mut(|headers| recv_as(fd, headers, received)),
                (true, false) => RECV_6.with_borrow_mut(|headers| recv_as(fd, headers, received)),
                (false, true) => RECV_4_ANY.with_borrow_mut(|headers| recv_as(fd, headers, received)),
                (false, false) => RECV_4.with_borrow_mut(|headers| recv_as(fd, headers, received)),
            };
            result.map_err(io::Error::from)
        })
    }

    /// Our address in what the system says with a datagram: never one of a group.
    fn our_address(message: &ControlMessageOwned) -> Option<IpAddr> {
        let address = match message {
            // For a broadcast the address that its interface has.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                IpAddr::from(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            // IPv4 on a socket for both: a mapped address.
            ControlMessageOwned::Ipv6PacketInfo(info) => Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
            _ => return None,
        };
        let plain = address.to_canonical();
        let group = plain.is_multicast() || plain == IpAddr::from(Ipv4Addr::BROADCAST);
        (!group && !plain.is_unspecified()).then_some(address)
    }

    /// What tells the system to send from `local`, in a socket's own family.
    enum Origin {
        V4(in_pktinfo),
        V6(in6_pktinfo),
    }

    impl Origin {
        fn new(local: IpAddr, v6: bool) -> Self {
            match (local, v6) {
                (IpAddr::V4(v4), false) => {
                    let address = in_addr { s_addr: u32::from_ne_bytes(v4.octets()) };
                    let any = in_addr { s_addr: 0 };
                    Self::V4(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any })
                }
                (local, _) => {
                    let v6 = match local {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    let address = in6_addr { s6_addr: v6.octets() };
                    Self::V6(in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 })
                }
            }
        }

        const fn message(&self) -> ControlMessage<'_> {
            match self {
                Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
                Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
            }
        }
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
            let remote = message.address.map_or(NOWHERE, SocketAddr::from);
            let local = message.cmsgs().ok().and_then(|mut said| said.find_map(|said| our_address(&said)));
            filled.push((len, Path { remote, local }));
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
        let to = SockAddr::from(first.destination.to.remote);
        let mut control = [0; SEGMENT + PKTINFO];
        let len = run_control(&mut control, size, first.destination.to.local, socket.local.is_ipv6());
        let control = control.get(..len).unwrap_or(&[]);
        let message = MsgHdr::new().with_addr(&to).with_buffers(slices).with_control(control);
        let sent =
            socket.socket.try_io(Interest::WRITABLE, || SockRef::from(&socket.socket).sendmsg(&message, 0));
        match sent {
            Ok(_) => true,
            // Some routes cannot; there is no telling before.
            Err(error) if matches!(error.raw_os_error(), Some(EIO | EINVAL)) => {
                // Or the address to send from is not ours any more.
                if first.destination.to.local.is_none() || error.raw_os_error() == Some(EIO) {
                    socket.gso.store(false, Relaxed);
                }
                false
            }
            Err(_) => false,
        }
    }

    const EIO: i32 = Errno::EIO as i32;
    const EINVAL: i32 = Errno::EINVAL as i32;

    const WORD: usize = size_of::<usize>();
    /// `CMSG_SPACE(2)`.
    const SEGMENT: usize = 2 * WORD + 8;
    /// `CMSG_SPACE(20)`, which has room for `CMSG_SPACE(12)`.
    const PKTINFO: usize = WORD + 8 + 24;

    /// The control message UDP_SEGMENT, and IP_PKTINFO or IPV6_PKTINFO where there is an address to send from: length, level, type, and
    /// what it says. Returns how long they are.
    fn run_control(
        control: &mut [u8; SEGMENT + PKTINFO],
        size: u16,
        local: Option<IpAddr>,
        v6: bool,
    ) -> usize {
        let mut put = |at: usize, (level, kind): (i32, i32), parts: [&[u8]; 2]| {
            let said = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
            let head = [
                &(WORD + 8).saturating_add(said).to_ne_bytes()[..],
                &level.to_ne_bytes(),
                &kind.to_ne_bytes(),
            ];
            let bytes = head.into_iter().chain(parts).flatten();
            control.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
            at.saturating_add(WORD + 8).saturating_add(said.next_multiple_of(WORD))
        };
        let len = put(0, (17, 103), [&size.to_ne_bytes(), &[]]);
        match (local, v6) {
            (None, _) => len,
            // The interface is any; the address to send from; the last one is for receiving.
            (Some(IpAddr::V4(v4)), false) => {
                put(len, (0, 8), [&[0; 4], &[&v4.octets()[..], &[0; 4]].concat()])
            }
            (Some(local), _) => {
                let v6 = match local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                put(len, (41, 50), [&v6.octets(), &[0; 4]])
            }
        }
    }

    /// Sends datagrams, each to its own destination, with one call. Returns how many could not be sent.
    pub(super) fn send_alone(socket: &Udp, sends: &[Option<Send>], bytes: &[u8]) -> u64 {
        let fd = socket.socket.as_raw_fd();
        let sent = socket.socket.try_io(Interest::WRITABLE, || {
            let is_v6 = socket.local.is_ipv6();
            let first = sends.first().copied().flatten();
            let from =
                first.and_then(|send| send.destination.to.local).map(|local| Origin::new(local, is_v6));
            let from = from.as_ref().map(Origin::message);
            let from = from.as_slice();
            Ok(match (is_v6, from.is_empty()) {
                (true, true) => {
                    SEND_6.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v6, from))
                }
                (true, false) => {
                    SEND_6_FROM.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v6, from))
                }
                (false, true) => {
                    SEND_4.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v4, from))
                }
                (false, false) => {
                    SEND_4_FROM.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v4, from))
                }
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
        from: &[ControlMessage<'_>],
    ) -> u64 {
        let mut slices = [[IoSlice::new(&[]); 2]; BATCH];
        let mut addresses = [const { None }; BATCH];
        let mut count: usize = 0;
        let mut lost = 0_u64;
        for send in sends.iter().flatten() {
            let (Some(slot), Some(to), Some(known)) =
                (slices.get_mut(count), addresses.get_mut(count), address(send.destination.to.remote))
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
            match sendmmsg(fd, headers, slices, addresses, from, MsgFlags::MSG_DONTWAIT) {
                Ok(sent) => done = done.saturating_add(sent.count().max(1)),
                Err(Errno::EINTR) => {}
                // Voice that cannot go now is late.
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    lost = lost.saturating_add(count.saturating_sub(done) as u64);
                    break;
                }
                // Not from that address, which is none of ours any more, or a broadcast's.
                Err(_) if !from.is_empty() => {
                    let [slices, ..] = slices else { break };
                    let to = addresses.first().copied().flatten();
                    let sent = sendmsg(fd, slices, &[], MsgFlags::MSG_DONTWAIT, to.as_ref());
                    lost = lost.saturating_add(sent.is_err().into());
                    done = done.saturating_add(1);
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

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) const fn tell_addresses(_socket: &Socket, _v6: bool) -> io::Result<()> {
        Ok(())
    }

    pub(super) const fn can_segment(_socket: &Socket) -> bool {
        false
    }

    pub(super) fn recv(udp: &Udp, received: &mut Received) -> io::Result<()> {
        received.filled.clear();
        for buffer in received.buffers.chunks_mut(received.size).take(BATCH) {
            match udp.socket.try_recv_from(buffer) {
                // One that fills the buffer may have been cut.
                Ok((len, from)) => {
                    received.filled.push((if len < buffer.len() { len } else { 0 }, from.into()));
                }
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
            lost += u64::from(socket.socket.try_send_to(&datagram, send.destination.to.remote).is_err());
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
                        let to = receiver.local_addr().into();
                        let id = FrameId::new(n.into());
                        batch.push_shared(Destination { socket: 0, slot, to, head }, id, &frame);
                        let head = head.as_ref().map_or(&[][..], |head| head);
                        expected[usize::try_from(slot).unwrap()].push([head, &frame].concat());
                    }
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
        let to = Path::from(SocketAddr::from(([127, 0, 0, 1], 1)));
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
        for (slot, to) in ["127.0.0.1:0", "[::1]:9"]
            .into_iter()
            .zip([1, 2])
            .map(|(to, slot)| (slot, to.parse::<SocketAddr>().unwrap().into()))
        {
            batch.push(Destination { socket: 0, slot, to, head: Some([0; 8]) }, b"lost");
        }
        batch.push(
            Destination { socket: 0, slot: 3, to: receiver.local_addr().into(), head: Some([1; 8]) },
            b"found",
        );
        assert_eq!(batch.send(&sender), 2);
        assert_eq!(receive(&receiver, 1).await, [b"\x01\x01\x01\x01\x01\x01\x01\x01found"]);
    }

    /// F-22: what is said in answer to a datagram leaves from the address that the datagram came to; one by one, and as a run.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn f_22_a_socket_of_many_addresses_answers_from_the_one_that_was_asked() {
        for (bind, ask, peer) in [
            ("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"),
            ("[::]:0", "127.0.0.5", "127.0.0.1:0"),
            ("[::]:0", "::1", "[::1]:0"),
        ] {
            let ask: IpAddr = ask.parse().unwrap();
            let server = vec![Udp::bind(bind.parse().unwrap()).unwrap()];
            let peer = Udp::bind(peer.parse().unwrap()).unwrap();
            let question = SocketAddr::new(ask, server[0].local_addr().port());
            peer.socket.send_to(b"?", question).await.unwrap();
            let mut received = Received::new(&server[0]);
            poll_fn(|cx| server[0].poll_recv(cx, &mut received)).await.unwrap();
            let (_, path) = received.iter().next().unwrap();
            assert_eq!(path.local.map(|local| local.to_canonical()), Some(ask), "{bind} asked at {ask}");
            poll_fn(|cx| server[0].socket.poll_send_ready(cx)).await.unwrap();
            let mut batch = Batch::default();
            for (slot, frame) in [(1, b"alone"), (2, b"run 1"), (2, b"run 2"), (2, b"run 3")] {
                batch.push(Destination { socket: 0, slot, to: path, head: None }, frame);
            }
            assert_eq!(batch.send(&server), 0);
            let (mut received, mut count) = (Received::new(&peer), 0);
            while count < 4 {
                poll_fn(|cx| peer.poll_recv(cx, &mut received)).await.unwrap();
                for (answer, path) in received.iter() {
                    assert_eq!(path.remote, question, "{answer:?} from {bind} asked at {ask}");
                    count += 1;
                }
            }
            // From an address that is none of ours (any more) it goes as the system thinks best.
            let foreign = Path { local: Some(IpAddr::from([192, 0, 2, 77])), ..path };
            if !ask.is_ipv6() {
                batch.clear();
                batch.push(Destination { socket: 0, slot: 1, to: foreign, head: None }, b"anyway");
                assert_eq!(batch.send(&server), 0);
                assert_eq!(receive(&peer, 1).await, [b"anyway"]);
            }
        }
    }
}
