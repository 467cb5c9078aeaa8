//! One protocol under control, the same for all sessions: what the API asks of it.

use super::Failure;
use super::bans::Subject;
use super::decisions::{Decisions, Muted, Set};
use super::known::Known;
use crate::recording::{Recorded, Tap, What};
use core::fmt::Display;
use core::net::SocketAddr;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use voxwire_core::{Ability, Member, Moderation, Mute, PeerId, Unsupported, canonical_name};
use voxwire_transport::Handle;

/// What is known of the clients of one protocol, and what was decided about them. Locked after the session, always.
#[derive(Debug, Default)]
pub(crate) struct Realm {
    decisions: Mutex<Decisions>,
    pub(super) known: Known,
}

impl Realm {
    fn lock(&self) -> MutexGuard<'_, Decisions> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has spoken within this time speaks.
const SPEAKS: Duration = Duration::from_millis(600);

/// A client, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    /// Its connection.
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    muted_voice: bool,
    muted_text: bool,
    /// Whether it has spoken just now, as far as the server sees it.
    speaking: bool,
    /// Whether it is decided whom it hears.
    hearing_set: bool,
    /// Rooms, groups or calls that it is in.
    rooms: Vec<String>,
}

/// Whom an action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    Name(String),
    Peer(PeerId),
}

/// How many there are in all, and some of them.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) total: usize,
    pub(crate) items: Vec<T>,
}

/// Who hears whom, as the API is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HearingUpdate {
    /// Whom listeners without a set hear.
    #[serde(default)]
    pub(crate) others: Option<Others>,
    /// Whom each listener hears; `null` for what holds for listeners without a set.
    #[serde(default)]
    pub(crate) listeners: BTreeMap<String, Option<Vec<String>>>,
}

/// Whom listeners without a set hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Others {
    Everyone,
    Nobody,
}

/// Who hears whom, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct HearingPage {
    others: Others,
    #[serde(flatten)]
    sets: Page<Set>,
}

/// A protocol under control.
pub(crate) trait Moderator: Send + Sync {
    /// Why the protocol cannot do something, if it cannot.
    fn lacks(&self, ability: Ability) -> Option<&'static str>;
    fn members(&self, offset: usize, limit: usize) -> Page<Listed>;
    /// Disconnects. Returns how many connections.
    fn kick(&self, whom: &Whom, reason: &str) -> Result<usize, Failure>;
    /// Disconnects those that a ban of this subject keeps out. Returns how many connections.
    fn kick_banned(&self, subject: &Subject) -> usize;
    /// Returns how many connections it holds for already.
    fn mute(&self, realm: &Realm, whom: &Whom, mute: Mute) -> Result<usize, Failure>;
    fn muted(&self, realm: &Realm, offset: usize, limit: usize) -> Page<Muted>;
    fn set_hearing(&self, realm: &Realm, update: &HearingUpdate) -> Result<usize, Failure>;
    fn hearing(&self, realm: &Realm, offset: usize, limit: usize) -> HearingPage;
    fn move_client(&self, whom: &Whom, from: Option<&str>, to: Option<&str>) -> Result<usize, Failure>;
    fn say(&self, room: &str, sender: &str, text: &str) -> Result<usize, Failure>;
    /// Begins a recording.
    fn record(&self, tap: &Tap, what: What, by: &str) -> Result<Recorded, Failure>;
    /// Ends it.
    fn stop_recording(&self, tap: &Tap, id: u64, by: &str) -> Result<Recorded, Failure>;
}

impl<S: Moderation<Framing: Send> + Send + 'static> Moderator for Handle<S> {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        self.call(|session, _| session.lacks(ability))
    }

    fn members(&self, offset: usize, limit: usize) -> Page<Listed> {
        self.call(|session, now| {
            let speaking = |peer| {
                let last = session.last_voice(peer);
                last.is_some_and(|last| now.saturating_duration_since(last) < SPEAKS)
            };
            let (mut total, mut items) = (0_usize, Vec::new());
            for member in session.members() {
                if (offset..offset.saturating_add(limit)).contains(&total) {
                    items.push(Listed {
                        peer: member.peer.to_string(),
                        name: name_of(&member),
                        address: member.address.map(|address| address.to_string()),
                        muted_voice: member.muted.voice,
                        muted_text: member.muted.text,
                        speaking: speaking(member.peer),
                        hearing_set: member.hearing_set,
                        rooms: session.rooms_joined(member.peer).map(text).collect(),
                    });
                }
                total += 1;
            }
            Page { total, items }
        })
    }

    fn kick(&self, whom: &Whom, reason: &str) -> Result<usize, Failure> {
        self.call(|session, now| on_each(session, whom, |session, peer| session.kick(now, peer, reason)))
    }

    fn kick_banned(&self, subject: &Subject) -> usize {
        self.call(|session, now| {
            let banned: Vec<PeerId> = match subject {
                Subject::Name(banned) => {
                    let is_banned = |name: &[u8]| *canonical_name(&String::from_utf8_lossy(name)) == **banned;
                    let named = session.members().filter(|member| member.name.is_some_and(is_banned));
                    named.map(|member| member.peer).collect()
                }
                Subject::Address(network) => {
                    let from = session.connections_from();
                    let is_banned = |address: SocketAddr| network.contains(address.ip());
                    from.filter(|(_, from)| from.is_some_and(is_banned)).map(|(peer, _)| peer).collect()
                }
            };
            banned.into_iter().filter(|peer| session.kick(now, *peer, super::BANNED).is_ok()).count()
        })
    }

    fn mute(&self, realm: &Realm, whom: &Whom, mute: Mute) -> Result<usize, Failure> {
        self.call(|session, _| {
            needs(session, mute.voice, Ability::MuteVoice)?;
            needs(session, mute.text, Ability::MuteText)?;
            let name = match whom {
                Whom::Name(name) => Some(name.clone()),
                Whom::Peer(peer) => session.member(*peer).and_then(|member| name_of(&member)),
            };
            if let Some(name) = &name {
                realm.lock().mute(name, mute).map_err(|limit| Failure::Invalid(limit.0))?;
            }
            let done = match on_each(session, whom, |session, peer| session.mute(peer, mute)) {
                // It holds as soon as it comes.
                Err(Failure::NotFound(_)) if matches!(whom, Whom::Name(_)) => 0,
                done => done?,
            };
            if let Some(name) = name.filter(|_| mute.is_nothing()) {
                session.unmute(&name);
            }
            Ok(done)
        })
    }

    fn muted(&self, realm: &Realm, offset: usize, limit: usize) -> Page<Muted> {
        let (total, items) = realm.lock().list_muted(offset, limit);
        Page { total, items }
    }

    fn set_hearing(&self, realm: &Realm, update: &HearingUpdate) -> Result<usize, Failure> {
        self.call(|session, _| {
            needs(session, true, Ability::Hearing)?;
            let mut decisions = realm.lock();
            // All of it, or nothing.
            let sets = decisions.check(&update.listeners).map_err(|limit| Failure::Invalid(limit.0))?;
            let listeners: Vec<String> = sets.listeners().map(str::to_owned).collect();
            decisions.apply(sets);
            if let Some(others) = update.others {
                decisions.closed = others == Others::Nobody;
                session.close_hearing(decisions.closed);
            }
            let mut found = Found::new();
            let done = listeners
                .iter()
                .map(|listener| apply_hearing(session, &decisions, listener, &mut found).map_err(refused));
            done.sum()
        })
    }

    fn hearing(&self, realm: &Realm, offset: usize, limit: usize) -> HearingPage {
        let decisions = realm.lock();
        let (total, items) = decisions.list_hearing(offset, limit);
        let others = if decisions.closed { Others::Nobody } else { Others::Everyone };
        HearingPage { others, sets: Page { total, items } }
    }

    fn move_client(&self, whom: &Whom, from: Option<&str>, to: Option<&str>) -> Result<usize, Failure> {
        self.call(|session, now| {
            if from.is_none() && to.is_none() {
                return Err(Failure::Invalid("from, the room to leave, expected".into()));
            }
            needs(session, to.is_some(), Ability::Enter)?;
            needs(session, from.is_some(), Ability::Leave)?;
            on_each(session, whom, |session, peer| session.move_client(now, peer, from, to))
        })
    }

    fn say(&self, room: &str, sender: &str, text: &str) -> Result<usize, Failure> {
        self.call(|session, now| {
            needs(session, true, Ability::Say)?;
            session.say(now, room, sender, text).map_err(refused)
        })
    }

    fn record(&self, tap: &Tap, what: What, by: &str) -> Result<Recorded, Failure> {
        self.call(|session, now| tap.start(session, now, what, by))
    }

    fn stop_recording(&self, tap: &Tap, id: u64, by: &str) -> Result<Recorded, Failure> {
        self.call(|session, now| tap.stop(session, now, id, by))
    }
}

/// What was decided about a client that has come, or has another name now, holds for it from now on.
pub(super) fn apply<S: Moderation>(session: &mut S, realm: &Realm, peer: PeerId, name: &str) {
    let decisions = realm.lock();
    let applied = decisions.muted(name).map_or(Ok(()), |mute| session.mute(peer, mute)).and_then(|()| {
        if session.lacks(Ability::Hearing).is_some() {
            return Ok(());
        }
        let mut found = Found::new();
        if decisions.hears(name).is_some() {
            apply_hearing(session, &decisions, name, &mut found)?;
        }
        let mut listeners = decisions.listeners_of(name);
        listeners.try_for_each(|listener| apply_hearing(session, &decisions, listener, &mut found).map(drop))
    });
    if let Err(error) = applied {
        tracing::warn!(%peer, %error, "what was decided about a client does not hold for it");
    }
}

/// The connections of speakers, each looked up once: many sets may name it.
struct Found<'d>(BTreeMap<&'d str, Vec<PeerId>>);

impl<'d> Found<'d> {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn peers<S: Moderation>(&mut self, session: &S, speaker: &'d str) -> &[PeerId] {
        self.0.entry(speaker).or_insert_with(|| session.named(speaker))
    }
}

/// Tells the session whom a listener hears. Returns how many connections it has.
fn apply_hearing<'d, S: Moderation>(
    session: &mut S,
    decisions: &'d Decisions,
    listener: &str,
    found: &mut Found<'d>,
) -> Result<usize, S::Refusal> {
    let peers = session.named(listener);
    if peers.is_empty() {
        return Ok(0);
    }
    let speakers: Option<Vec<PeerId>> = decisions
        .hears(listener)
        .map(|hears| hears.iter().flat_map(|speaker| found.peers(session, speaker).to_vec()).collect());
    peers.iter().try_for_each(|peer| session.set_hearing(*peer, speakers.as_deref()))?;
    Ok(peers.len())
}

/// Does something with each connection of a client. Returns how many there are.
fn on_each<S: Moderation>(
    session: &mut S,
    whom: &Whom,
    mut act: impl FnMut(&mut S, PeerId) -> Result<(), S::Refusal>,
) -> Result<usize, Failure> {
    let peers = match whom {
        Whom::Name(name) => {
            needs(session, true, Ability::Names)?;
            session.named(name)
        }
        Whom::Peer(peer) if session.member(*peer).is_some() => vec![*peer],
        Whom::Peer(_) => Vec::new(),
    };
    if peers.is_empty() {
        return Err(Failure::NotFound(match whom {
            Whom::Name(name) => format!("no client is named {name:?}"),
            Whom::Peer(peer) => format!("no client is peer {peer}"),
        }));
    }
    for peer in &peers {
        act(session, *peer).map_err(refused)?;
    }
    Ok(peers.len())
}

fn needs<S: Moderation>(session: &S, wanted: bool, ability: Ability) -> Result<(), Failure> {
    if !wanted {
        return Ok(());
    }
    session.check_ability(ability).map_err(|Unsupported { why, .. }| Failure::Unsupported(why))
}

/// The name of a client, as the API shows it.
pub(super) fn name_of(member: &Member<'_>) -> Option<String> {
    member.name.map(text)
}

/// A name as text.
pub(crate) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn refused(refusal: impl Display) -> Failure {
    Failure::Refused(refusal.to_string())
}
