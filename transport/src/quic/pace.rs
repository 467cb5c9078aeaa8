//! Keeps a QUIC socket from being read faster than its connections process what has been read.
//!
//! quinn hands received packets to one task per connection, through queues without a bound. A client that sends faster than these tasks decrypt
//! would fill the memory. Congestion control would not notice, because nothing is lost. So the socket is read in rounds: after some datagrams it
//! rests until every task that was woken before has run. Meanwhile only the system's buffer can fill up, and packets that do not fit are lost,
//! as senders expect.
//!
//! First packets of connections wait in one queue for the accepting task. Packets with a token and packets without one have places of their own in
//! it, so that invented tokens take no place from clients that ask for a token. A first packet is dropped, before anything is computed for it,
//! if there is no place, or if its address has sent more than a few in this second. An honest client sends it again.
//!
//! Each datagram is received by itself. quinn would keep datagrams together that the system has coalesced: one byte that waits for bytes before
//! it would keep the memory of 64 datagrams.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, Waker, ready};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Instant;
use voxwire_core::Clock;

/// Datagrams per round. A connection's task processes at least as many each time it runs: tokio lets it take 128.
const ROUND: i64 = 64;
/// Places for first packets without a token, and for those with one, in the queue of the accepting task. All places are free again once that task
/// has emptied the queue, and in each new second: the task is not woken for packets that quinn drops. Both together are fewer than quinn's own
/// limit, beyond which quinn would drop first packets of any client.
const NEW_CLIENTS: u32 = 256;
const RETURNING: u32 = 512;
/// A smaller datagram with a first packet is discarded (RFC 9000, 14.1).
const MIN_FIRST: usize = 1200;
/// First packets without a token from one address and port, in a second. A client that gets no answer sends two or three.
const PER_FLOW: u32 = 8;
/// The same with a token. A client that has a token puts it into all of its Initial packets, acknowledgements included.
const PER_FLOW_RETURNING: u32 = 32;
/// Places in which first packets are counted by address. Addresses in one place share its number. In each second an address shares its place with
/// others, so a client that shares one with a flood gets another place when it sends again.
const FLOWS: usize = 4096;

/// The state that the socket, the connections' tasks and the accepting task of one endpoint share.
pub(crate) struct Pace {
    state: Mutex<State>,
    hasher: RandomState,
    clock: Clock,
    /// Whether the task that reads the socket has been spawned. All tasks after it are of connections.
    reading: AtomicBool,
}

struct State {
    /// Datagrams that may be read before the next rest.
    credits: i64,
    /// The round of tasks that are woken now; there are two, in turn.
    round: bool,
    /// Tasks of each round that have been woken and have not run.
    woken_odd: usize,
    woken_even: usize,
    /// Whether the socket rests, until all tasks of the other round have run.
    resting: bool,
    reader: Option<Waker>,
    /// Free places for first packets without a token and with one, and the second in which all of them were freed last.
    new_clients: u32,
    returning: u32,
    refilled: u32,
    /// Second, and count in it, of first packets, by address and whether they have a token.
    flows: Box<[(u32, u32)]>,
    dropped: u64,
}

impl State {
    /// Frees all places for first packets.
    const fn refill(&mut self) {
        (self.new_clients, self.returning) = (NEW_CLIENTS, RETURNING);
    }

    const fn woken(&mut self, round: bool) -> &mut usize {
        if round { &mut self.woken_odd } else { &mut self.woken_even }
    }

    /// Lets the socket rest until all tasks that have been woken have run.
    fn rest(&mut self) {
        loop {
            self.resting = true;
            self.round = !self.round;
            let before = !self.round;
            if *self.woken(before) > 0 {
                return;
            }
            self.end_rest();
            if self.credits > 0 {
                return;
            }
        }
    }

    /// So many datagrams have been read.
    fn spend(&mut self, count: i64) {
        self.credits = self.credits.saturating_sub(count);
        if self.credits <= 0 && !self.resting {
            self.rest();
        }
    }

    fn end_rest(&mut self) {
        self.resting = false;
        // While no task is to run, all queues are empty.
        let idle = self.woken_odd == 0 && self.woken_even == 0;
        self.credits = if idle { ROUND } else { self.credits.saturating_add(ROUND) };
    }
}

impl Pace {
    pub(crate) fn new() -> Self {
        let state = State {
            credits: ROUND,
            round: false,
            woken_odd: 0,
            woken_even: 0,
            resting: false,
            reader: None,
            new_clients: NEW_CLIENTS,
            returning: RETURNING,
            refilled: 0,
            flows: vec![(0, 0); FLOWS].into(),
            dropped: 0,
        };
        Self {
            state: Mutex::new(state),
            hasher: RandomState::new(),
            clock: Clock::start(),
            reading: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accepting task has taken all first packets.
    pub(crate) fn caught_up(&self) {
        self.lock().refill();
    }

    /// First packets dropped so far.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A task has been woken. Returns its round.
    fn woke(&self) -> bool {
        let mut state = self.lock();
        let round = state.round;
        let woken = state.woken(round);
        *woken = woken.saturating_add(1);
        round
    }

    /// A task that was woken in `round` runs.
    fn ran(&self, round: bool) {
        let mut state = self.lock();
        let woken = state.woken(round);
        *woken = woken.saturating_sub(1);
        if *woken > 0 || !state.resting || round == state.round {
            return;
        }
        state.end_rest();
        if state.credits <= 0 {
            state.rest();
        }
        let reader = if state.resting { None } else { state.reader.take() };
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Whether the socket may be read. If not, its task is woken when it may be.
    fn may_read(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.resting {
            state.reader = Some(cx.waker().clone());
        }
        !state.resting
    }

    /// Seconds since this was made.
    fn second(&self) -> u32 {
        let now = self.clock.now().saturating_duration_since(voxwire_core::Instant::ZERO);
        u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
    }

    /// Removes first packets for which there is no place from `buffer`, whose datagrams `meta` describes. Returns how many datagrams are left.
    fn admit(&self, state: &mut State, second: u32, buffer: &mut [u8], meta: &mut RecvMeta) -> i64 {
        let (stride, len) = (meta.stride.max(1), meta.len.min(buffer.len()));
        let (mut kept, mut count, mut at) = (0_usize, 0_i64, 0_usize);
        while at < len {
            let end = at.saturating_add(stride).min(len);
            let datagram = buffer.get(at..end).unwrap_or(&[]);
            let admitted = match first(datagram) {
                None => true,
                Some(First::Invalid) => false,
                Some(_) if datagram.len() < MIN_FIRST => false,
                Some(first) => self.has_room(state, second, meta.addr, first == First::Returning),
            };
            if !admitted {
                state.dropped = state.dropped.saturating_add(1);
            } else {
                if kept != at {
                    buffer.copy_within(at..end, kept);
                }
                kept = kept.saturating_add(end.saturating_sub(at));
                count = count.saturating_add(1);
            }
            at = end;
        }
        meta.len = kept;
        count
    }

    fn place(&self, second: u32, from: SocketAddr, returning: bool) -> usize {
        let place = self.hasher.hash_one((second, from, returning)).checked_rem(FLOWS as u64);
        place.and_then(|place| usize::try_from(place).ok()).unwrap_or(0)
    }

    fn has_room(&self, state: &mut State, second: u32, from: SocketAddr, returning: bool) -> bool {
        let place = self.place(second, from, returning);
        if state.refilled != second {
            state.refilled = second;
            state.refill();
        }
        let State { new_clients, returning: tokens, flows, .. } = state;
        let (room, per_flow) = if returning { (tokens, PER_FLOW_RETURNING) } else { (new_clients, PER_FLOW) };
        let Some(left) = room.checked_sub(1) else { return false };
        let Some(flow) = flows.get_mut(place) else { return false };
        if flow.0 != second {
            *flow = (second, 0);
        }
        flow.1 = flow.1.saturating_add(1);
        if flow.1 > per_flow {
            return false;
        }
        *room = left;
        true
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

/// An Initial packet (RFC 9000, 17.2.2) of version 1 at the beginning of a datagram. No other packet begins a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    NewClient,
    /// With a token, valid or not.
    Returning,
    /// Cut off, or without the fixed bit, which no client of this server may leave out.
    Invalid,
}

fn first(datagram: &[u8]) -> Option<First> {
    let ([first, version @ ..], rest) = datagram.split_first_chunk::<5>()?;
    if first & 0xb0 != 0x80 || *version != [0, 0, 0, 1] {
        return None;
    }
    // Both connection identifiers, each behind its length.
    let token = behind_length(rest).and_then(behind_length).and_then(<[u8]>::first);
    Some(match token.filter(|_| first & 0x40 != 0) {
        None => First::Invalid,
        Some(0) => First::NewClient,
        Some(_) => First::Returning,
    })
}

/// The bytes behind a field whose length is in the first byte.
fn behind_length(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first()?;
    rest.get(usize::from(*len)..)
}

/// Tokio, for an endpoint whose socket is paced.
#[derive(Debug)]
pub(crate) struct Paced(pub(crate) Arc<Pace>);

impl Runtime for Paced {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // An endpoint spawns the task that reads its socket before any other.
        if !self.0.reading.swap(true, Relaxed) {
            return TokioRuntime.spawn(future);
        }
        let wakeup = Arc::new(Wakeup {
            pace: self.0.clone(),
            state: Mutex::new(WakeState { round: None, done: false, task: None }),
        });
        let waker = wakeup.clone().into();
        TokioRuntime.spawn(Box::pin(Task { future, wakeup, waker }));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let same = socket.try_clone()?;
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let segments = if receive_singly(&same) { 1 } else { inner.max_receive_segments() };
        Ok(Arc::new(PacedSocket { inner, pace: self.0.clone(), segments }))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// Turns off coalescing of received datagrams, which quinn has turned on. False if the system does not allow that.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_singly(socket: &std::net::UdpSocket) -> bool {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::UdpGroSegment, &false).is_ok()
}

/// On other systems quinn does not turn coalescing on.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn receive_singly(_socket: &std::net::UdpSocket) -> bool {
    false
}

/// The task of a connection. It tells the pace when it is woken and when it runs.
struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

struct Wakeup {
    pace: Arc<Pace>,
    state: Mutex<WakeState>,
}

struct WakeState {
    /// The round in which it was woken, if it has not run since.
    round: Option<bool>,
    /// The task will not run again.
    done: bool,
    task: Option<Waker>,
}

impl Wakeup {
    fn lock(&self) -> MutexGuard<'_, WakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.done || state.round.is_some() {
            return;
        }
        state.round = Some(self.pace.woke());
        let task = state.task.clone();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { future, wakeup, waker } = self.get_mut();
        let mut state = wakeup.lock();
        if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        let round = state.round.take();
        drop(state);
        round.inspect(|round| wakeup.pace.ran(*round));
        future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = self.wakeup.lock();
        state.done = true;
        let round = state.round.take();
        drop(state);
        round.inspect(|round| self.wakeup.pace.ran(*round));
    }
}

#[derive(Debug)]
struct PacedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    pace: Arc<Pace>,
    /// How many datagrams the system may coalesce.
    segments: usize,
}

impl AsyncUdpSocket for PacedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if !self.pace.may_read(cx) {
            return Poll::Pending;
        }
        let got = ready!(self.inner.poll_recv(cx, buffers, meta))?;
        let second = self.pace.second();
        let mut state = self.pace.lock();
        let mut count = 0_i64;
        for (buffer, meta) in buffers.iter_mut().zip(meta).take(got) {
            count = count.saturating_add(self.pace.admit(&mut state, second, buffer, meta));
        }
        state.spend(count);
        Poll::Ready(Ok(got))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.segments
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::Waker;

    fn may_read(pace: &Pace) -> bool {
        pace.may_read(&Context::from_waker(Waker::noop()))
    }

    /// F-16: what has been read waits in queues without a bound until its connection's task runs.
    #[test]
    fn f_16_the_socket_rests_until_all_tasks_that_were_woken_have_run() {
        let pace = Pace::new();
        pace.lock().spend(1000);
        assert!(may_read(&pace), "no source has been woken: nothing waits");
        let (one, other) = (pace.woke(), pace.woke());
        pace.lock().spend(ROUND);
        assert!(!may_read(&pace));
        // A task that is woken during the rest is none of those that it waits for.
        let late = pace.woke();
        pace.ran(one);
        assert!(!may_read(&pace));
        pace.ran(other);
        assert!(may_read(&pace));
        // What one call has read beyond a round is made up for by as many rounds.
        pace.lock().spend(10 * ROUND);
        let mut busy = late;
        for round in 0..10 {
            assert!(!may_read(&pace), "{round}");
            let next = pace.woke();
            pace.ran(busy);
            busy = next;
        }
        assert!(may_read(&pace));
        pace.ran(busy);
    }

    #[tokio::test]
    async fn f_16_a_task_that_ends_is_waited_for_no_longer() {
        let pace = Arc::new(Pace::new());
        let runtime = Paced(pace.clone());
        runtime.spawn(Box::pin(core::future::pending()));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        runtime.spawn(Box::pin(async move { drop(stopped.await) }));
        tokio::task::yield_now().await;
        stop.send(()).unwrap();
        pace.lock().spend(ROUND);
        assert!(!may_read(&pace), "it has been woken");
        while !may_read(&pace) {
            tokio::task::yield_now().await;
        }
        let state = pace.lock();
        assert_eq!((state.woken_odd, state.woken_even), (0, 0));
    }

    /// An Initial of 1200 bytes that begins like this.
    fn initial(token: &[u8]) -> Vec<u8> {
        let len = u8::try_from(token.len()).unwrap();
        let mut bytes = [&[0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 2, 9, 9, len][..], token].concat();
        bytes.resize(1200, 7);
        bytes
    }

    #[test]
    fn f_47_first_packets_without_a_token_are_told_from_everything_else() {
        assert_eq!(first(&initial(b"")), Some(First::NewClient));
        assert_eq!(first(&initial(b"token")), Some(First::Returning));
        // Handshake, 0-RTT, a version that is not spoken, a short header.
        for (at, byte) in [(0, 0xe3), (0, 0xd3), (4, 2), (0, 0x43)] {
            let mut other = initial(b"");
            other[at] = byte;
            assert_eq!(first(&other), None, "{at} {byte:x}");
        }
        // Without the fixed bit, which quinn would overlook, and cut off.
        let mut greased = initial(b"");
        greased[0] = 0x83;
        assert_eq!(first(&greased), Some(First::Invalid));
        let whole = initial(b"");
        assert!((0..5).all(|len| first(&whole[..len]).is_none()));
        assert!((5..18).all(|len| first(&whole[..len]) == Some(First::Invalid)));
    }

    /// F-47: a token that is made up takes the place of others that show one, and of none that asks for one.
    #[test]
    fn f_47_first_packets_with_a_token_have_room_of_their_own_and_no_more_than_that() {
        let pace = Pace::new();
        let one = |n: u32, token: &[u8], byte: u8| {
            let mut buffer = initial(token);
            buffer[0] = byte;
            let from = (n.to_be_bytes(), 7).into();
            let mut meta = RecvMeta { addr: from, stride: 1200, len: 1200, ..RecvMeta::default() };
            // (Another address may have had its place.)
            pace.lock().flows.fill((0, 0));
            pace.admit(&mut pace.lock(), 1, &mut buffer, &mut meta) == 1
        };
        let some = |token, byte| u32::try_from((0..2000).filter(|n| one(*n, token, byte)).count()).unwrap();
        assert_eq!((some(b"!", 0xc3), some(b"!", 0xc3)), (RETURNING, 0));
        assert_eq!((some(b"", 0x83), some(b"!", 0x83)), (0, 0), "quinn does not take them");
        assert_eq!((some(b"", 0xc3), some(b"", 0xc3)), (NEW_CLIENTS, 0));
        assert!(NEW_CLIENTS + RETURNING < u32::try_from(super::super::MAX_INCOMING).unwrap());
        pace.caught_up();
        assert!(one(1, b"!", 0xc3) && one(1, b"", 0xc3));
        // All Initial packets of one client have the token, and none is in the way of another client's.
        let pace = Pace::new();
        let mut buffer = initial(b"!").repeat(50);
        let mut meta = RecvMeta {
            addr: ([192, 0, 2, 1], 7).into(),
            stride: 1200,
            len: buffer.len(),
            ..RecvMeta::default()
        };
        let kept = pace.admit(&mut pace.lock(), 1, &mut buffer, &mut meta);
        assert_eq!(kept, i64::from(PER_FLOW_RETURNING));
    }

    /// F-16: one byte that waits in a stream for those before it holds one datagram, and not all that came in with it.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn f_16_each_datagram_is_received_by_itself() {
        use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (here, there) = (bind(), bind());
        if setsockopt(&there, UdpGsoSegment, &1000).is_err() {
            println!("skipped: the system sends no datagrams in one piece");
            return;
        }
        let address = here.local_addr().unwrap();
        let socket = Paced(Arc::new(Pace::new())).wrap_udp_socket(here).unwrap();
        there.send_to(&[0x43; 20_000], address).unwrap();
        let mut room = vec![[0; 2000]; 32];
        let mut count = 0;
        while count < 20 {
            let mut buffers: Vec<_> = room.iter_mut().map(|room| IoSliceMut::new(room)).collect();
            let mut metas = [RecvMeta::default(); 32];
            let received = core::future::poll_fn(|cx| socket.poll_recv(cx, &mut buffers, &mut metas));
            let n =
                tokio::time::timeout(core::time::Duration::from_secs(5), received).await.unwrap().unwrap();
            assert!(metas[..n].iter().all(|meta| (meta.len, meta.stride) == (1000, 1000)), "{metas:?}");
            count += n;
        }
        assert_eq!(socket.max_receive_segments(), 1);
    }

    /// F-47: addresses that share a place do not share the next one.
    #[test]
    fn f_47_no_source_shares_a_flood_s_place_twice() {
        let pace = Pace::new();
        let address = |n: u16| SocketAddr::from(([192, 0, 2, 1], n));
        let shared =
            |second, n| pace.place(second, address(n), false) == pace.place(second, address(0), false);
        let neighbours: Vec<u16> = (1..=u16::MAX).filter(|n| shared(1, *n)).collect();
        let again = neighbours.iter().filter(|n| shared(2, **n)).count();
        assert!(!neighbours.is_empty() && again < 4, "{again} of {}", neighbours.len());
    }

    /// F-47: one address has its share and no more, and all of them as many as the queue has room for.
    #[test]
    fn f_47_floods_of_first_packets_are_dropped_before_anything_is_computed() {
        let pace = Pace::new();
        let count = |second: u32, from: [u8; 4], packets: usize| {
            let mut buffer = initial(b"").repeat(packets);
            // The last one belongs to a connection.
            buffer.extend([0x43; 100]);
            let mut meta =
                RecvMeta { addr: (from, 7).into(), stride: 1200, len: buffer.len(), ..RecvMeta::default() };
            let kept = pace.admit(&mut pace.lock(), second, &mut buffer, &mut meta);
            assert!(buffer[..meta.len].ends_with(&[0x43; 100]));
            assert_eq!(meta.len, usize::try_from(kept - 1).unwrap() * 1200 + 100);
            kept - 1
        };
        assert_eq!(count(1, [192, 0, 2, 1], 60), i64::from(PER_FLOW));
        let all: i64 = (0..=255).map(|n| count(1, [198, 51, 100, n], 8)).sum();
        assert_eq!(all, i64::from(NEW_CLIENTS - PER_FLOW));
        assert_eq!(count(1, [203, 0, 113, 1], 1), 0, "there is no room");
        pace.caught_up();
        // (Another address may have had its place.)
        pace.lock().flows.fill((0, 0));
        assert_eq!(count(1, [203, 0, 113, 1], 1), 1);
        assert!(pace.dropped() > 1000);
        // The accepting task is not woken for what quinn drops: there is room again with the next second.
        pace.lock().new_clients = 0;
        assert_eq!(count(1, [203, 0, 113, 2], 1), 0);
        assert_eq!(count(2, [203, 0, 113, 2], 1), 1);
        // What is smaller than a first packet has to be takes no room.
        let before = pace.lock().new_clients;
        let mut small = initial(b"")[..1199].to_vec();
        let mut meta =
            RecvMeta { addr: ([203, 0, 113, 3], 7).into(), stride: 1199, len: 1199, ..RecvMeta::default() };
        assert_eq!((pace.admit(&mut pace.lock(), 2, &mut small, &mut meta), meta.len), (0, 0));
        assert_eq!(pace.lock().new_clients, before);
    }
}
