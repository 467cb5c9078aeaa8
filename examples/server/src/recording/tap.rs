//! The recordings of one protocol: what is said goes from its handler to the writer.

use super::names::readable;
use super::queue::{Begin, Job, Piece};
use super::{Count, Said, Shared, Stats, What};
use crate::control::{Failure, fields, text};
use crate::figure::Figure;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use voxwire_core::{Ability, Instant, Moderation, PeerId, Unsupported, Watched};

/// Recordings at a time, of all protocols together.
const MOST: u64 = 64;

/// Bytes of a room's or a client's name.
const LONGEST: usize = 1024;

/// How long after a client could not be told of a recording it is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is recorded of one protocol. Locked after the session, always.
#[derive(Debug)]
pub(crate) struct Tap {
    protocol: &'static str,
    shared: Arc<Shared>,
    active: Mutex<Vec<Active>>,
    /// Of all recordings since the start.
    stats: Arc<Stats>,
    begun: AtomicU64,
}

/// A recording under way.
#[derive(Debug)]
struct Active {
    id: u64,
    what: What,
    /// What the session knows the room or the client by.
    key: String,
    by: String,
    started: SystemTime,
    /// On the session's time line.
    begun: Instant,
    stats: Arc<Stats>,
    /// Who has been told, and whether the client was in the room.
    told: BTreeMap<PeerId, bool>,
    /// Who could not be told, and when that is tried again.
    untold: BTreeMap<PeerId, Instant>,
}

/// Who says something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker<'a> {
    /// Whom to tell that it is recorded; `None` where the protocol has no texts.
    pub(crate) peer: Option<PeerId>,
    pub(crate) name: &'a str,
    /// The other client of a call.
    pub(crate) with: Option<&'a str>,
}

/// A recording, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Recorded {
    pub(crate) id: u64,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    by: String,
    started: String,
    /// Files so far.
    files: u64,
    bytes: u64,
    /// Pieces of sound that are in no file.
    lost: u64,
}

impl Active {
    fn shown(&self, protocol: &'static str) -> Recorded {
        let (room, name) = match &self.what {
            What::Room(room) => (Some(room.clone()), None),
            What::Name(name) => (None, Some(name.clone())),
        };
        Recorded {
            id: self.id,
            protocol,
            room,
            name,
            by: self.by.clone(),
            started: readable(self.started),
            files: self.stats.get(Count::Files),
            bytes: self.stats.get(Count::Bytes),
            lost: self.stats.lost(),
        }
    }

    fn event(&self, protocol: &'static str, state: &str, by: &str) -> Map<String, Value> {
        fields([
            ("state", state.into()),
            ("recording", self.id.into()),
            ("protocol", protocol.into()),
            (self.what.field(), self.what.name().into()),
            ("by", by.into()),
        ])
    }

    /// Forgets what a client has been told.
    fn forget(&mut self, peer: PeerId) {
        self.told.remove(&peer);
        self.untold.remove(&peer);
    }

    /// What those that are recorded are told.
    fn notice(&self, begins: bool) -> &'static str {
        match (&self.what, begins) {
            (What::Room(_), true) => "What is said in this room is being recorded.",
            (What::Room(_), false) => "What is said in this room is no longer recorded.",
            (What::Name(_), true) => "What you say is being recorded.",
            (What::Name(_), false) => "What you say is no longer recorded.",
        }
    }

    /// The same, for a client that is told by itself.
    fn notice_to_one(&self, begins: bool) -> Cow<'static, str> {
        match (&self.what, begins) {
            (What::Room(room), true) => format!("What you say to {room} is being recorded.").into(),
            (What::Room(room), false) => format!("What you say to {room} is no longer recorded.").into(),
            (What::Name(_), _) => self.notice(begins).into(),
        }
    }

    /// Whether the recording is of a room, and a client is in that.
    fn is_in<S: Moderation>(&self, session: &S, peer: PeerId) -> bool {
        match &self.what {
            What::Room(_) => session.rooms_joined(peer).any(|joined| joined == self.key.as_bytes()),
            What::Name(_) => false,
        }
    }
}

impl Tap {
    pub(super) fn new(protocol: &'static str, shared: Arc<Shared>) -> Self {
        let (active, stats) = (Mutex::default(), Arc::default());
        Self { protocol, shared, active, stats, begun: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a recording.
    #[allow(clippy::disallowed_methods, reason = "files are named by the clock on the wall")]
    pub(crate) fn start<S: Moderation>(
        &self,
        session: &mut S,
        now: Instant,
        what: What,
        by: &str,
    ) -> Result<Recorded, Failure> {
        let unsupported = |Unsupported { why, .. }| Failure::Unsupported(why);
        session.check_ability(Ability::Record).map_err(unsupported)?;
        if what.name().is_empty() || what.name().len() > LONGEST {
            return Err(Failure::Invalid(format!("a name of 1 to {LONGEST} bytes expected")));
        }
        let key = match &what {
            What::Room(room) => session.room_key(room),
            What::Name(name) => session.name_key(name),
        };
        let key = key.into_owned();
        let mut active = self.lock();
        let is_same = |other: &&Active| other.what.field() == what.field() && other.key == key;
        if let Some(other) = active.iter().find(is_same) {
            return Err(Failure::Refused(format!("recording {} is of the same", other.id)));
        }
        watch(session, &what, &key, true)?;
        if self.shared.recordings.fetch_add(1, Relaxed) >= MOST {
            self.shared.recordings.fetch_sub(1, Relaxed);
            let _ = watch(session, &what, &key, false);
            return Err(Failure::Refused(format!("recordings: at most {MOST} at a time")));
        }
        let id = self.shared.newest.fetch_add(1, Relaxed) + 1;
        let (started, stats) = (SystemTime::now(), Arc::new(Stats::of(&self.stats)));
        let begin = Begin {
            id,
            protocol: self.protocol,
            what: what.clone(),
            started,
            begun: self.shared.clock.now(),
            stats: stats.clone(),
        };
        self.shared.run();
        self.shared.queue.insist(Job::Begin(begin));
        self.begun.fetch_add(1, Relaxed);
        let (told, untold) = (BTreeMap::new(), BTreeMap::new());
        let mut new = Active { id, what, key, by: by.into(), started, begun: now, stats, told, untold };
        tracing::info!(protocol = self.protocol, id, by, "a recording begins");
        self.shared.tell(new.event(self.protocol, "started", by));
        let peers = concerned(session, &new);
        for peer in peers {
            self.announce(session, now, &mut new, peer);
        }
        let shown = new.shown(self.protocol);
        active.push(new);
        Ok(shown)
    }

    /// Ends a recording.
    pub(crate) fn stop<S: Moderation>(
        &self,
        session: &mut S,
        now: Instant,
        id: u64,
        by: &str,
    ) -> Result<Recorded, Failure> {
        let mut active = self.lock();
        let place = active.iter().position(|it| it.id == id);
        let place = place.ok_or_else(|| Failure::NotFound(format!("there is no recording {id}")))?;
        let mut ended = active.remove(place);
        drop(active);
        self.shared.recordings.fetch_sub(1, Relaxed);
        let _ = watch(session, &ended.what, &ended.key, false);
        let at = now.saturating_duration_since(ended.begun);
        self.shared.queue.insist(Job::End { id, at });
        for (peer, is_in) in core::mem::take(&mut ended.told) {
            if let Err(error) = self.tell(session, now, &ended, (peer, is_in), false) {
                tracing::warn!(%peer, %error, "a client is not told that a recording has ended");
            }
        }
        tracing::info!(protocol = self.protocol, id, by, "a recording ends");
        self.shared.tell(ended.event(self.protocol, "stopped", by));
        Ok(ended.shown(self.protocol))
    }

    /// Something was said: in a call with another client, or to a room, as `is_said_to` tells.
    pub(crate) fn said<S: Moderation>(
        &self,
        session: &mut S,
        now: Instant,
        speaker: Speaker<'_>,
        is_said_to: impl Fn(&S, &str) -> bool,
        said: Said<'_>,
    ) {
        let mut active = self.lock();
        for recording in active.iter_mut() {
            let is_meant = match &recording.what {
                What::Room(_) => is_said_to(session, &recording.key),
                What::Name(_) => {
                    let is_name = |party: &str| recording.key == session.name_key(party);
                    is_name(speaker.name) || speaker.with.is_some_and(is_name)
                }
            };
            if !is_meant {
                continue;
            }
            if let Some(peer) = speaker.peer {
                self.announce(session, now, recording, peer);
            }
            self.announce_again(session, now, recording);
            let at = now.saturating_duration_since(recording.begun);
            let piece = Piece { id: recording.id, at, speaker: speaker.name.into(), sound: said.into() };
            if !self.shared.queue.push(piece) {
                recording.stats.add(Count::LostQueue, 1);
                self.shared.failing("the disk does not take what is said in time");
            }
        }
    }

    /// A client has a name now: what is recorded of it is, again.
    pub(crate) fn came<S: Moderation>(&self, session: &mut S, now: Instant, peer: PeerId) {
        let mut active = self.lock();
        if active.is_empty() {
            return;
        }
        let Some(name) = session.member(peer).and_then(|member| member.name).map(text) else { return };
        let name = session.name_key(&name);
        let is_its =
            |recording: &&mut Active| matches!(recording.what, What::Name(_)) && recording.key == name;
        for recording in active.iter_mut().filter(is_its) {
            if let Err(failure) = watch(session, &recording.what, &recording.key, true) {
                tracing::warn!(%peer, ?failure, "a client that is to be recorded is not");
            }
            self.announce(session, now, recording, peer);
        }
    }

    /// A client is in other rooms than before.
    pub(crate) fn moved<S: Moderation>(&self, session: &mut S, now: Instant, peer: PeerId) {
        let mut active = self.lock();
        for recording in active.iter_mut().filter(|it| matches!(it.what, What::Room(_))) {
            if recording.is_in(session, peer) {
                if let Some(is_in) = recording.told.get_mut(&peer) {
                    *is_in = true;
                }
                self.announce(session, now, recording, peer);
            } else if recording.told.get(&peer) != Some(&false) {
                // It is told again when it comes back.
                recording.forget(peer);
            }
        }
    }

    /// A client is gone.
    pub(crate) fn gone(&self, peer: PeerId) {
        for recording in self.lock().iter_mut() {
            recording.forget(peer);
        }
    }

    /// Whether texts of recordings come from that name: no client can have it, because the session sends none under a client's name.
    pub(crate) fn is_sender(&self, is_it: impl Fn(&str) -> bool) -> bool {
        is_it(&self.shared.say_as)
    }

    /// Tells a client that it is recorded, unless it has been told.
    fn announce<S: Moderation>(&self, session: &mut S, now: Instant, recording: &mut Active, peer: PeerId) {
        let waits = recording.untold.get(&peer).is_some_and(|again| now < *again);
        if waits || recording.told.contains_key(&peer) {
            return;
        }
        let is_in = recording.is_in(session, peer);
        match self.tell(session, now, recording, (peer, is_in), true) {
            Ok(()) => {
                recording.untold.remove(&peer);
                recording.told.insert(peer, is_in);
            }
            Err(error) => {
                let again = now.saturating_add(AGAIN);
                if recording.untold.insert(peer, again).is_none() {
                    tracing::warn!(%peer, %error, "a client is not told of a recording yet");
                }
            }
        }
    }

    /// Tells those that could not be told before.
    fn announce_again<S: Moderation>(&self, session: &mut S, now: Instant, recording: &mut Active) {
        let due = recording.untold.iter().filter(|(_, again)| now >= **again);
        for peer in due.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.announce(session, now, recording, peer);
        }
    }

    /// Tells a client that it is recorded, or is no longer: in the room where that can be, or else by itself.
    fn tell<S: Moderation>(
        &self,
        session: &mut S,
        now: Instant,
        recording: &Active,
        (peer, is_in): (PeerId, bool),
        begins: bool,
    ) -> Result<(), S::Refusal> {
        if !self.shared.settings.announce || session.lacks(Ability::Say).is_some() {
            return Ok(());
        }
        let say_as = &self.shared.say_as;
        if is_in && session.tell(now, peer, Some(&recording.key), say_as, recording.notice(begins)).is_ok() {
            return Ok(());
        }
        session.tell(now, peer, None, say_as, &recording.notice_to_one(begins))
    }

    /// Of which protocol.
    pub(crate) const fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// The recordings under way.
    pub(super) fn list(&self) -> Vec<Recorded> {
        self.lock().iter().map(|recording| recording.shown(self.protocol)).collect()
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.lock().iter().any(|recording| recording.id == id)
    }

    /// What is counted.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let get = |count| self.stats.get(count);
        vec![
            Figure::gauge("active_recordings", "Recordings under way", self.lock().len() as u64),
            Figure::counter("recordings_begun", "Recordings that have begun", self.begun.load(Relaxed)),
            Figure::counter("recorded_files", "Files of recordings", get(Count::Files)),
            Figure::counter("recorded_bytes", "Bytes written to recordings", get(Count::Bytes)),
            Figure::unrecorded("queue", get(Count::LostQueue)),
            Figure::unrecorded("disk", get(Count::LostDisk)),
            Figure::unrecorded("unusable", get(Count::LostUnusable)),
        ]
    }
}

/// Has the session tell what is recorded, or no longer. A client need not be there.
fn watch<S: Moderation>(session: &mut S, what: &What, key: &str, on: bool) -> Result<(), Failure> {
    let watched = match what {
        What::Room(_) => Watched::Room(key),
        What::Name(_) if on && session.named(key).is_empty() => return Ok(()),
        What::Name(_) => Watched::Name(key),
    };
    session.watch(watched, on).map_err(|refusal| Failure::Refused(refusal.to_string()))
}

/// Whom a recording is of.
fn concerned<S: Moderation>(session: &S, recording: &Active) -> Vec<PeerId> {
    match recording.what {
        What::Name(_) => session.named(&recording.key),
        What::Room(_) => {
            let peers = session.members().map(|member| member.peer);
            peers.filter(|peer| recording.is_in(session, *peer)).collect()
        }
    }
}

#[cfg(test)]
mod tests;
