//! Control from outside: an HTTP API with a token, a local socket, and what both do. See `docs/control.md`.

mod api;
mod auth;
mod bans;
mod command;
mod decisions;
mod events;
mod handler;
mod known;
mod realm;
mod settings;
mod socket;
mod store;
mod time;
mod webhook;

use crate::config::Config;
use crate::recording::Recorder;
use crate::service::Service;
use crate::{Error, Protocol};
use bans::{Ban, Bans};
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use realm::Realm;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use store::Store;
use tokio::sync::{Notify, Semaphore};

pub(crate) use api::routes;
pub(crate) use auth::Access;
pub use command::Ctl;
pub(crate) use events::Events;
pub(crate) use handler::Controlled;
pub(crate) use realm::{Moderator, text};
pub use settings::ControlSettings;
pub(crate) use socket::{Socket, SocketFile, serve as serve_socket};
pub(crate) use webhook::spawn as spawn_webhooks;

/// What a client that is kept out is told, where the protocol has a word for it.
const BANNED: &str = "banned";

/// Event streams at a time.
const STREAMS: usize = 16;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is none of that name.
    NotFound(String),
    /// The protocol has no such thing: why.
    Unsupported(&'static str),
    /// The request makes no sense.
    Invalid(String),
    /// The session refuses.
    Refused(String),
    /// The server cannot do it now.
    Unavailable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(why) => f.write_str(why),
            Self::NotFound(what) | Self::Invalid(what) | Self::Refused(what) | Self::Unavailable(what) => {
                f.write_str(what)
            }
        }
    }
}

/// Control of a server.
pub(crate) struct Control {
    bans: Bans,
    store: Mutex<Store>,
    events: Arc<Events>,
    realms: BTreeMap<&'static str, Realm>,
    services: OnceLock<Arc<[Box<dyn Service>]>>,
    recorder: OnceLock<Arc<Recorder>>,
    end: Notify,
    /// Which operator ends the server.
    ended_by: OnceLock<String>,
    streams: Arc<Semaphore>,
    /// Who texts of operators come from.
    say_as: String,
    /// How long an answer may take.
    deadline: Duration,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Opens what is stored. `None` where control is off, and nothing was ever stored.
    pub(crate) fn open(config: &Config) -> Result<Option<Arc<Self>>, Error> {
        if !config.control.is_on() && !config.data.join(store::FILE).exists() {
            return Ok(None);
        }
        let store = Store::open(&config.data)?;
        let bans = Bans::default();
        bans.load(&store).map_err(|error| Error::Database {
            path: config.data.join(store::FILE),
            error: error.to_string(),
        })?;
        Ok(Some(Arc::new(Self {
            bans,
            store: Mutex::new(store),
            events: Arc::new(Events::new()),
            realms: Protocol::all().map(|protocol| (protocol.name(), Realm::default())).collect(),
            services: OnceLock::new(),
            recorder: OnceLock::new(),
            end: Notify::new(),
            ended_by: OnceLock::new(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            say_as: config.control.say_as.clone(),
            deadline: config.http_deadline,
        })))
    }

    /// The protocols are served.
    pub(crate) fn serves(&self, services: Arc<[Box<dyn Service>]>) {
        let _ = self.services.set(services);
    }

    /// What clients say is recorded by this.
    pub(crate) fn records(&self, recorder: Arc<Recorder>) {
        let _ = self.recorder.set(recorder);
    }

    fn recorder(&self) -> Result<&Recorder, Failure> {
        let recorder = self.recorder.get().map(|recorder| &**recorder);
        recorder.ok_or_else(|| Failure::Unavailable("the server is starting".into()))
    }

    /// Where what happens is told.
    pub(crate) fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    fn services(&self) -> &[Box<dyn Service>] {
        self.services.get().map_or(&[], |services| services)
    }

    fn realm(&self, protocol: &str) -> Option<&Realm> {
        self.realms.get(protocol)
    }

    /// Whether an address may come in.
    pub(crate) fn lets_in(&self, address: IpAddr) -> bool {
        self.bans.lets_in(address)
    }

    /// Whether a client may have a name.
    fn allows(&self, name: &str) -> bool {
        self.bans.allows(name)
    }

    /// Waits until an operator ends the server.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    /// An operator ends the server.
    fn end(&self, by: String) {
        let _ = self.ended_by.set(by);
        self.end.notify_one();
    }

    /// The server ends, by an operator or a signal.
    pub(crate) fn draining(&self) {
        let by = self.ended_by.get().map_or("signal", |by| by);
        self.tell("draining", fields([("by", by.into())]));
    }

    /// Waits until streams and webhooks have the newest event, which is their last one.
    pub(crate) async fn finish_events(&self) {
        self.events.finish().await;
    }

    fn tell(&self, kind: &'static str, fields: Map<String, Value>) {
        self.events.add(kind, fields);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a ban, and disconnects those that it keeps out. Returns the ban, and how many connections.
    fn ban(&self, mut ban: Ban) -> Result<(Ban, usize), Failure> {
        let store = self.store();
        let id = store.add_ban(time::now(), &ban).map_err(unavailable)?;
        ban.id = id.ok_or_else(|| Failure::Invalid(format!("bans: at most {}", bans::MOST)))?;
        let subject =
            bans::subject(&ban).ok_or_else(|| Failure::Invalid("an address or a name expected".into()))?;
        self.bans.add(&subject, ban.until);
        drop(store);
        let moderators = self.services().iter().filter_map(|service| service.moderator());
        Ok((ban, moderators.map(|moderator| moderator.kick_banned(&subject)).sum()))
    }

    fn unban(&self, id: i64) -> Result<Ban, Failure> {
        let store = self.store();
        let removed = store.remove_ban(id).map_err(unavailable)?;
        let removed = removed.ok_or_else(|| Failure::NotFound(format!("there is no ban {id}")))?;
        if let Some(subject) = bans::subject(&removed) {
            let rest = store.ends(time::now(), &removed).map_err(unavailable)?;
            self.bans.remove(&subject, &rest);
        }
        Ok(removed)
    }

    /// Takes note of what was done, by whom.
    fn note(&self, by: &str, action: &str, details: &Value) {
        // Each action is in the log, however many there are.
        tracing::info!(target: crate::logging::AUDIT, by, action, %details, "control");
        if let Err(error) = self.store().note(time::now(), by, action, &details.to_string()) {
            tracing::error!(%error, "an action cannot be stored");
        }
    }
}

fn unavailable(error: impl fmt::Display) -> Failure {
    tracing::error!(%error, "control: the database fails");
    Failure::Unavailable(format!("the database fails: {error}"))
}

/// An object of these fields.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}
