//! Many datagrams with one call of the system.

use super::datagram::{BATCH, Path, Port, Received, Send};
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
use std::os::fd::{AsFd, AsRawFd, RawFd};
use tokio::io::Interest;

const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

// One for each address family, direction, kind of socket (one address or a wildcard) and thread. They keep pointers and lengths between calls, and
// do not reset them.
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

/// Whether the system cuts one send into datagrams. Kernels before 4.18 would send one large datagram.
pub(crate) fn can_segment(socket: &Socket) -> bool {
    getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
}

/// Has the system say with each datagram at which address it came in.
pub(crate) fn tell_addresses(socket: &Socket, v6: bool) -> io::Result<()> {
    let set = if v6 {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)
    } else {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)
    };
    set.map_err(io::Error::from)
}

pub(super) fn recv(port: &Port, received: &mut Received) -> io::Result<()> {
    let kind = (port.local.is_ipv6(), port.wildcard);
    port.socket.try_io(Interest::READABLE, || fetch(&port.socket, kind, received))
}

/// Receives what waits on a socket: of IPv6 or not, of a wildcard address or not.
pub(crate) fn fetch(
    socket: &impl AsRawFd,
    (v6, wildcard): (bool, bool),
    received: &mut Received,
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let result = match (v6, wildcard) {
        (true, true) => RECV_6_ANY.with_borrow_mut(|headers| recv_as(fd, headers, received)),
        (true, false) => RECV_6.with_borrow_mut(|headers| recv_as(fd, headers, received)),
        (false, true) => RECV_4_ANY.with_borrow_mut(|headers| recv_as(fd, headers, received)),
        (false, false) => RECV_4.with_borrow_mut(|headers| recv_as(fd, headers, received)),
    };
    result.map_err(io::Error::from)
}

/// The local address that the system tells with a datagram; never a multicast or broadcast address.
fn our_address(message: &ControlMessageOwned) -> Option<IpAddr> {
    let address = match message {
        // For a broadcast, the address of the interface.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            IpAddr::from(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        // For IPv4 on a socket for both families, a mapped address.
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
pub(super) fn send_run(socket: &Port, run: &[usize], sends: &[Send], bytes: &[u8]) -> bool {
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
    let sent = socket.socket.try_io(Interest::WRITABLE, || {
        send_slices(&socket.socket, slices, Some(size), first.destination.to, socket.local.is_ipv6())
    });
    match sent {
        Ok(()) => true,
        // Some routes cannot; there is no telling before.
        Err(error) => {
            if cannot_segment(&error, first.destination.to) {
                socket.gso.store(false, Relaxed);
            }
            false
        }
    }
}

/// Whether the error says that the system cannot cut sends on this route. The other cause of `EINVAL` is a local address that is not ours any more.
pub(crate) fn cannot_segment(error: &io::Error, to: Path) -> bool {
    match error.raw_os_error() {
        Some(EIO) => true,
        Some(EINVAL) => to.local.is_none(),
        _ => false,
    }
}

/// Sends one datagram. With `segment` the system cuts the bytes into datagrams of that length; the last one may be shorter.
pub(crate) fn send_slices(
    socket: &impl AsFd,
    slices: &[IoSlice<'_>],
    segment: Option<u16>,
    to: Path,
    v6: bool,
) -> io::Result<()> {
    let remote = SockAddr::from(to.remote);
    let mut control = [0; SEGMENT + PKTINFO];
    let len = control_messages(&mut control, segment, to.local, v6);
    let control = control.get(..len).unwrap_or(&[]);
    let message = MsgHdr::new().with_addr(&remote).with_buffers(slices).with_control(control);
    SockRef::from(socket).sendmsg(&message, 0).map(|_| ())
}

const EIO: i32 = Errno::EIO as i32;
const EINVAL: i32 = Errno::EINVAL as i32;

const WORD: usize = size_of::<usize>();
/// `CMSG_SPACE(2)`.
const SEGMENT: usize = 2 * WORD + 8;
/// `CMSG_SPACE(20)`, which has room for `CMSG_SPACE(12)`.
const PKTINFO: usize = WORD + 8 + 24;

/// Writes control messages: UDP_SEGMENT if there is a `segment`, and IP_PKTINFO or IPV6_PKTINFO if there is a local address to send from. Each is a
/// length, a level, a type and its data. Returns the length of all of them.
fn control_messages(
    control: &mut [u8; SEGMENT + PKTINFO],
    segment: Option<u16>,
    local: Option<IpAddr>,
    v6: bool,
) -> usize {
    let mut put = |at: usize, (level, kind): (i32, i32), parts: [&[u8]; 3]| {
        let said = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let head =
            [&(WORD + 8).saturating_add(said).to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes()];
        let bytes = head.into_iter().chain(parts).flatten();
        control.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        at.saturating_add(WORD + 8).saturating_add(said.next_multiple_of(WORD))
    };
    let len = segment.map_or(0, |size| put(0, (17, 103), [&size.to_ne_bytes(), &[], &[]]));
    match (local, v6) {
        (None, _) => len,
        // The interface is any; the address to send from; the last one is for receiving.
        (Some(IpAddr::V4(v4)), false) => put(len, (0, 8), [&[0; 4], &v4.octets(), &[0; 4]]),
        (Some(local), _) => {
            let v6 = match local {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            put(len, (41, 50), [&v6.octets(), &[0; 4], &[]])
        }
    }
}

/// Sends datagrams, each to its own destination, with one call. Returns how many could not be sent.
pub(super) fn send_alone(socket: &Port, sends: &[Option<Send>], bytes: &[u8]) -> u64 {
    let fd = socket.socket.as_raw_fd();
    let sent = socket.socket.try_io(Interest::WRITABLE, || {
        let is_v6 = socket.local.is_ipv6();
        let first = sends.first().copied().flatten();
        let from = first.and_then(|send| send.destination.to.local).map(|local| Origin::new(local, is_v6));
        let from = from.as_ref().map(Origin::message);
        let from = from.as_slice();
        Ok(match (is_v6, from.is_empty()) {
            (true, true) => SEND_6.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v6, from)),
            (true, false) => {
                SEND_6_FROM.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v6, from))
            }
            (false, true) => SEND_4.with_borrow_mut(|headers| send_as(fd, headers, sends, bytes, v4, from)),
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
        let (Some(slices), Some(addresses)) = (slices.get(done..count), addresses.get(done..count)) else {
            break;
        };
        match sendmmsg(fd, headers, slices, addresses, from, MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => done = done.saturating_add(sent.count().max(1)),
            Err(Errno::EINTR) => {}
            // Droppable frames that cannot be sent now are dropped.
            Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                lost = lost.saturating_add(count.saturating_sub(done) as u64);
                break;
            }
            // The local address is not ours any more, or is a broadcast address: sent from any address.
            Err(_) if !from.is_empty() => {
                let [slices, ..] = slices else { break };
                let to = addresses.first().copied().flatten();
                let sent = sendmsg(fd, slices, &[], MsgFlags::MSG_DONTWAIT, to.as_ref());
                lost = lost.saturating_add(sent.is_err().into());
                done = done.saturating_add(1);
            }
            // The first datagram cannot be sent; the others may.
            Err(_) => {
                lost = lost.saturating_add(1);
                done = done.saturating_add(1);
            }
        }
    }
    lost
}
