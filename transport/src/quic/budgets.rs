//! The memory that QUIC may hold for all connections of a hub, and how much of it counts for each.
//!
//! - A connected client counts for the most memory that quinn may keep of it.
//! - A client that has ended can send nothing more. It counts for what it has sent, until quinn has forgotten it. That is three probe timeouts
//!   later (RFC 9000, section 10.2): up to two minutes, if the client acknowledged as late as it may.
//! - An eighth of the memory is set aside for clients that have ended. So a newcomer finds room whatever the client does that it replaces.

use crate::source_counts::SourceCounts;
use core::net::IpAddr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn::{Connection, VarInt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a client may send before it is granted more, in bytes; enough for any hello.
pub(super) const FIRST_WINDOW: u32 = 4 * 1024;
/// Bytes that are counted for each client, even if it sends nothing. quinn keeps the whole packet of a byte that is not read, or that waits for
/// bytes before it. It begins to copy when it keeps 32 KiB more than wait. Measured with packets of one byte each, that takes some 220 KiB.
pub(super) const EACH: usize = 256 * 1024;
/// Bytes of memory for a client that has sent nothing but its handshake, as measured.
const SILENT: usize = 36 * 1024;
/// Bytes of memory that a frame of a stream or of a handshake may need beside its own: its place in quinn's heap, which may be half empty, and the
/// rest of its packet.
const FRAME: usize = 224;
/// The longest packet that is received, in bytes.
const PACKET: usize = 1500;
/// Clients of one source may have an eighth of all that is counted, and clients that have ended another eighth.
const EIGHTH: usize = 8;

/// An eighth of the room for connected clients is kept for sources that have fewer clients than this. Otherwise a few sources with many clients
/// could fill all of it.
const FEW: usize = 2;

/// Counts the memory that QUIC holds for all connections of a hub.
#[derive(Debug, Clone)]
pub(crate) struct QuicBudgets {
    /// Bytes that are queued, on all connections of all kinds.
    pub(crate) queued: Arc<AtomicUsize>,
    /// While more bytes than this are queued, each connection may have only a little in QUIC.
    pub(crate) max_queued_total: usize,
    /// Bytes of memory that all clients may make QUIC keep, those that have ended included.
    pub(crate) grants: usize,
    /// What is counted of `grants`.
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes for clients that are connected or coming in.
    granted: AtomicUsize,
    /// Bytes for clients that have ended.
    ended: AtomicUsize,
    /// Clients, those that have ended included.
    sources: Mutex<SourceCounts>,
}

/// Adds `more` to `sum` where it stays within `most`.
fn add_within(sum: &AtomicUsize, more: usize, most: usize) -> bool {
    let add = |sum: usize| sum.checked_add(more).filter(|all| *all <= most);
    sum.fetch_update(Relaxed, Relaxed, add).is_ok()
}

/// Why there is no room for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Its source has all that one source may have.
    Source,
    /// All together have what there is.
    All,
}

impl QuicBudgets {
    /// Of a hub: what is queued on all its connections is counted in `queued`.
    pub(crate) fn new(queued: Arc<AtomicUsize>, max_queued_total: usize, grants: usize) -> Self {
        Self { queued, max_queued_total, grants, counts: Arc::default() }
    }

    /// For a connection that shares its budgets with no other.
    pub(super) fn alone() -> Self {
        Self::new(Arc::default(), usize::MAX, usize::MAX)
    }

    /// Bytes for clients that have ended.
    const fn for_ended(&self) -> usize {
        self.grants / EIGHTH
    }

    /// Bytes for clients that are connected.
    const fn for_connected(&self) -> usize {
        self.grants.saturating_sub(self.for_ended())
    }

    fn sources(&self) -> MutexGuard<'_, SourceCounts> {
        self.counts.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves what every connection may hold from its first packet on, for the source `payer` if there is one.
    pub(crate) fn reserve(&self, payer: Option<IpAddr>) -> Result<Reserved, NoRoom> {
        let most = (self.grants / EIGHTH / EACH).max(1);
        let mut sources = self.sources();
        if sources.is_full(payer, most) {
            return Err(NoRoom::Source);
        }
        let kept_free = if sources.of(payer) < FEW { 0 } else { self.for_connected() / EIGHTH };
        if !add_within(&self.counts.granted, EACH, self.for_connected().saturating_sub(kept_free)) {
            return Err(NoRoom::All);
        }
        sources.add(payer);
        drop(sources);
        let reservation =
            Reservation { budgets: self.clone(), payer, counted: Mutex::new(Counted::Connected(EACH)) };
        Ok(Reserved { reservation: Arc::new(reservation), connection: None, lent: 0 })
    }
}

/// The reservation of a connection, for as long as the hub has the connection.
#[derive(Debug)]
pub(crate) struct Reserved {
    reservation: Arc<Reservation>,
    /// Known once QUIC has accepted it.
    connection: Option<Connection>,
    /// Bytes that were sent to the client, have not arrived, and do not count as queued any more.
    lent: usize,
}

impl Reserved {
    /// A part of the reservation that QUIC holds for as long as it has the connection.
    pub(super) fn for_quic(&self) -> Reserving {
        Reserving { cubic: Arc::default(), _reservation: self.reservation.clone() }
    }

    /// Sets the connection that this is reserved for.
    pub(crate) fn bind_to(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }

    /// The connection ends with so many bytes that have not arrived. QUIC keeps them as long as the connection.
    pub(super) const fn ends_with(&mut self, lent: usize) {
        self.lent = lent;
    }

    /// Lets the client send more: a fixed part of the room that is left, at most `most` bytes. So something is always left for later clients.
    pub(super) fn grant(&self, most: usize) {
        let Some(connection) = &self.connection else { return };
        let mut counted = self.reservation.counted();
        let Counted::Connected(sum) = &mut *counted else { return };
        let QuicBudgets { counts, .. } = &self.reservation.budgets;
        let for_connected = self.reservation.budgets.for_connected();
        let (first, mut more) = (FIRST_WINDOW as usize, 0_usize);
        let taken = counts.granted.fetch_update(Relaxed, Relaxed, |all| {
            let share = for_connected.saturating_sub(all).checked_div(256).unwrap_or(0).min(most);
            more = share.saturating_sub(first);
            Some(all.saturating_add(more))
        });
        if taken.is_ok() {
            *sum = sum.saturating_add(more);
            connection.set_receive_window(var_int(first.saturating_add(more)));
        }
    }

    /// Bytes that QUIC may keep if the connection ends now.
    pub(crate) fn leaves(&self) -> usize {
        let Some(connection) = &self.connection else { return EACH };
        let frames = connection.stats().frame_rx;
        let frames = usize::try_from(frames.stream.saturating_add(frames.crypto)).unwrap_or(usize::MAX);
        let counted = self.reservation.counted().bytes();
        kept(frames, counted).saturating_add(self.lent).min(counted)
    }
}

/// Bytes that quinn may keep at most of a client that has sent so many frames, where `counted` bytes are counted for it.
fn kept(frames: usize, counted: usize) -> usize {
    let granted = counted.saturating_sub(EACH).saturating_add(FIRST_WINDOW as usize);
    let bytes = frames.saturating_mul(PACKET).min(granted);
    SILENT.saturating_add(frames.saturating_mul(FRAME)).saturating_add(bytes).min(counted)
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.reservation.end(self.leaves());
    }
}

/// Given back once both the hub and QUIC have forgotten the connection.
#[derive(Debug)]
struct Reservation {
    budgets: QuicBudgets,
    payer: Option<IpAddr>,
    counted: Mutex<Counted>,
}

/// The bytes that are counted for a connection, and in which sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Connected(usize),
    /// It has ended, and counts among clients that have ended.
    Ended(usize),
    /// It has ended, and counts among connected clients, because there was no room among the ended ones.
    EndedAmongThem(usize),
}

impl Counted {
    const fn bytes(self) -> usize {
        let (Self::Connected(bytes) | Self::Ended(bytes) | Self::EndedAmongThem(bytes)) = self;
        bytes
    }
}

impl Reservation {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection has ended. QUIC may keep `left` bytes of it.
    fn end(&self, left: usize) {
        let mut counted = self.counted();
        let Counted::Connected(before) = *counted else { return };
        let QuicBudgets { counts, .. } = &self.budgets;
        let left = left.min(before);
        if add_within(&counts.ended, left, self.budgets.for_ended()) {
            *counted = Counted::Ended(left);
            counts.granted.fetch_sub(before, Relaxed);
        } else {
            *counted = Counted::EndedAmongThem(left);
            counts.granted.fetch_sub(before.saturating_sub(left), Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let counts = &self.budgets.counts;
        match *self.counted() {
            Counted::Connected(bytes) | Counted::EndedAmongThem(bytes) => {
                counts.granted.fetch_sub(bytes, Relaxed);
            }
            Counted::Ended(bytes) => {
                counts.ended.fetch_sub(bytes, Relaxed);
            }
        }
        self.budgets.sources().remove(self.payer);
    }
}

/// Builds quinn's default controller. QUIC keeps it as long as the connection, and the reservation with it.
pub(super) struct Reserving {
    cubic: Arc<CubicConfig>,
    _reservation: Arc<Reservation>,
}

impl ControllerFactory for Reserving {
    fn build(self: Arc<Self>, now: std::time::Instant, mtu: u16) -> Box<dyn Controller> {
        self.cubic.clone().build(now, mtu)
    }
}

pub(super) fn var_int(n: usize) -> VarInt {
    u32::try_from(n).map_or(VarInt::MAX, VarInt::from_u32)
}

#[cfg(test)]
mod tests {
    use super::super::{QuicLimits, QuicListener, accept_reserved, connect};
    use super::*;
    use crate::certificates;
    use core::time::Duration;
    use quinn::VarInt;

    impl QuicBudgets {
        fn of(grants: usize) -> Self {
            Self { grants, ..Self::alone() }
        }

        fn counted(&self) -> (usize, usize) {
            (self.counts.granted.load(Relaxed), self.counts.ended.load(Relaxed))
        }
    }

    const fn source(n: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, n)))
    }

    /// F-16, F-19: one source has an eighth of what there is for clients on QUIC, those that have ended included, and what it gives back
    /// is its own.
    #[test]
    fn f_16_one_source_has_an_eighth_of_what_is_there_for_all() {
        let budgets = QuicBudgets::of(80 * EACH);
        let reserve = |n: u8| budgets.reserve(source(n));
        let mut of_one: Vec<Reserved> = (0..20).filter_map(|_| reserve(1).ok()).collect();
        assert_eq!((of_one.len(), reserve(1).err()), (10, Some(NoRoom::Source)));
        of_one.pop();
        of_one.push(reserve(1).unwrap());
        // Those behind an address that stands for many have no source.
        let others: Vec<Reserved> = (0..100).filter_map(|_| budgets.reserve(None).ok()).collect();
        assert_eq!((others.len(), reserve(2).err()), (60, Some(NoRoom::All)));
        // What ends leaves room for others, and counts for its source until QUIC has forgotten it.
        let in_quic = of_one.last().unwrap().for_quic();
        of_one.pop();
        assert_eq!(budgets.counted(), (69 * EACH, EACH));
        assert_eq!(reserve(1).err(), Some(NoRoom::Source));
        let honest = reserve(2).unwrap();
        drop(in_quic);
        assert_eq!((budgets.counted(), reserve(2).err()), ((70 * EACH, 0), Some(NoRoom::All)));
        drop((of_one, others, honest));
        assert!(budgets.counted() == (0, 0) && budgets.sources().is_empty());
    }

    /// F-16, F-19: sources that have many clients, however much these have sent and however late they are forgotten, keep none out who has
    /// none.
    #[test]
    fn f_16_f_19_sources_with_many_clients_do_not_keep_others_out() {
        let budgets = QuicBudgets::of(80 * EACH);
        // Ten have ended and hold all that is there for those; eight sources have all the rest that they can get.
        let mut kept = Vec::new();
        for n in 0..10 {
            let reserved = budgets.reserve(source(n % 8)).unwrap();
            kept.push(reserved.for_quic());
        }
        let mut connected: Vec<Reserved> =
            (0..1000).filter_map(|n| budgets.reserve(source((n % 8) as u8)).ok()).collect();
        assert_eq!((connected.len(), budgets.counted()), (61, (61 * EACH, 10 * EACH)));
        let newcomers: Vec<Reserved> = (100..109).map(|n| budgets.reserve(source(n)).unwrap()).collect();
        assert_eq!(budgets.reserve(source(109)).err(), Some(NoRoom::All));
        // One that ends beyond the room for those counts for what it has sent.
        let evicted = connected.pop().unwrap();
        kept.push(evicted.for_quic());
        evicted.reservation.end(super::kept(12, EACH));
        drop(evicted);
        assert!(budgets.counted().0 < 70 * EACH - EACH / 2);
        drop((connected, newcomers, kept));
        assert!(budgets.counted() == (0, 0) && budgets.sources().is_empty());
    }

    /// F-16, F-43: what all are granted beside what is counted for each takes nothing from the room for those that have ended, and
    /// what was sent to one that has ended and has not arrived counts with it.
    #[tokio::test]
    async fn f_16_f_43_all_that_quic_keeps_is_counted() {
        let budgets = QuicBudgets::of(16 * EACH);
        let limits = QuicLimits { silence: None, send: 1 << 16, receive: 1 << 16 };
        let mut others: Vec<Reserved> = (0..12).map(|_| budgets.reserve(None).unwrap()).collect();
        let (connection, mut reserved, _client) = connected(&budgets, &limits).await;
        for _ in 0..100 {
            reserved.grant(1 << 20);
        }
        assert!((13 * EACH..=14 * EACH).contains(&budgets.counted().0), "{:?}", budgets.counted());
        let left = reserved.leaves();
        reserved.ends_with(20_000);
        assert_eq!(reserved.leaves(), left + 20_000);
        others.clear();
        drop((connection, reserved));
        assert_eq!(budgets.counted(), (0, left + 20_000));
    }

    /// F-16: what is left of a client that has ended follows from what it has sent, and is never more than was counted for it.
    #[test]
    fn f_16_what_is_left_of_a_client_follows_from_what_it_has_sent() {
        let left: Vec<usize> = [0, 3, 100, 2048, usize::MAX].map(|frames| kept(frames, EACH)).into();
        assert!(left[0] == SILENT && left.is_sorted() && left[1] < EACH / 4, "{left:?}");
        assert_eq!(left[3..], [EACH; 2]);
        // What it may have sent in long packets, too.
        assert!(kept(20, EACH + 28 * 1024) >= kept(20, EACH) + 25 * 1024);
    }

    /// F-16, F-46: a connection that has ended counts for as long as QUIC keeps it.
    #[tokio::test]
    async fn f_16_a_connection_counts_until_quic_has_forgotten_it() {
        let limits = QuicLimits { silence: None, send: 1 << 16, receive: 1 << 16 };
        let budgets = QuicBudgets::of(80 * EACH);
        let (connection, reserved, _client) = connected(&budgets, &limits).await;
        assert_eq!(budgets.counted(), (EACH, 0));
        let left = reserved.leaves();
        assert!((SILENT..SILENT + EACH / 4).contains(&left), "{left}");
        connection.close(VarInt::from_u32(0), b"");
        drop((connection, reserved));
        assert_eq!(budgets.counted(), (0, left), "it waits for what is on the way");
        let forgotten = async {
            while budgets.counted().1 > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), forgotten).await.unwrap();
    }

    /// A connection that has come in, its reservation, and what keeps the two ends.
    async fn connected(budgets: &QuicBudgets, limits: &QuicLimits) -> (Connection, Reserved, impl Sized) {
        let (config, client) = certificates::pair();
        let mut listener = QuicListener::bind("127.0.0.1:0".parse().unwrap(), &config).unwrap();
        listener.limit(limits).unwrap();
        let address = listener.endpoint.local_addr().unwrap().to_string();
        let serve = async {
            let incoming = listener.accept().await.unwrap();
            let mut reserved = budgets.reserve(None).unwrap();
            let (connection, done) =
                accept_reserved(incoming, listener.config(), limits, &mut reserved).unwrap();
            done.await;
            (connection, reserved)
        };
        let ((connection, reserved), client) =
            tokio::join!(serve, connect(&address, certificates::NAME, &client, limits));
        (connection, reserved, (listener, client.unwrap()))
    }
}
