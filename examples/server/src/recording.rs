//! Recordings of what clients say. A task of its own writes them, and no call waits for it: see `docs/control.md`.

mod file;
mod names;
mod ogg;
mod queue;
mod retention;
mod settings;
mod sound;
mod tap;
mod track;
mod writer;

use crate::Protocol;
use crate::config::Config;
use crate::control::{Events, fields};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use queue::Queue;
use serde_json::{Map, Value};
pub use settings::RecordingSettings;
pub(crate) use sound::{Pcm, Said};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
pub(crate) use tap::{Recorded, Speaker, Tap};
use voxwire_core::{Clock, Instant};

/// Where recordings are, in the folder of what is stored.
pub(crate) const FOLDER: &str = "recordings";

/// How long nothing is lost before operators are told that recordings are written again.
const CLEAN: Duration = Duration::from_secs(5);

/// Whose voice is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// What is said to a room or group.
    Room(String),
    /// What a client says; in protocols of calls, its calls.
    Name(String),
}

impl What {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Room(name) | Self::Name(name) => name,
        }
    }

    /// What it is, as the API has it.
    const fn field(&self) -> &'static str {
        match self {
            Self::Room(_) => "room",
            Self::Name(_) => "name",
        }
    }
}

/// What is counted of a recording, and of all recordings of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Files,
    Bytes,
    /// Pieces of sound for which there was no room in the queue.
    LostQueue,
    /// The disk did not take them.
    LostDisk,
    /// They are no sound, or too much of it.
    LostUnusable,
}

/// Its numbers.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: [AtomicU64; 5],
    /// Those of the protocol.
    all: Option<Arc<Self>>,
}

impl Stats {
    fn of(all: &Arc<Self>) -> Self {
        Self { all: Some(all.clone()), ..Self::default() }
    }

    fn add(&self, count: Count, more: u64) {
        if let Some(number) = self.counts.get(count as usize) {
            number.fetch_add(more, Relaxed);
        }
        if let Some(all) = &self.all {
            all.add(count, more);
        }
    }

    fn get(&self, count: Count) -> u64 {
        self.counts.get(count as usize).map_or(0, |number| number.load(Relaxed))
    }

    fn lost(&self) -> u64 {
        [Count::LostQueue, Count::LostDisk, Count::LostUnusable].map(|count| self.get(count)).iter().sum()
    }
}

/// All recordings of a server.
#[derive(Debug)]
pub(crate) struct Recorder {
    taps: BTreeMap<&'static str, Arc<Tap>>,
    shared: Arc<Shared>,
}

/// What the taps and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    folder: PathBuf,
    settings: RecordingSettings,
    /// Who tells those that are recorded.
    say_as: String,
    clock: Clock,
    queue: Queue,
    events: Option<Arc<Events>>,
    newest: AtomicU64,
    recordings: AtomicU64,
    is_running: Mutex<bool>,
    /// The writer has failed since it last looked back; it has written something; and it is known to fail.
    fails: AtomicBool,
    writes: AtomicBool,
    is_failing: AtomicBool,
}

impl Recorder {
    /// Looks at what was recorded before.
    pub(crate) fn open(config: &Config, events: Option<Arc<Events>>) -> Self {
        let folder = config.data.join(FOLDER);
        // A number that a file has is not used again: nothing is written over.
        let newest = retention::highest(&folder).unwrap_or_else(|error| {
            tracing::warn!(folder = %folder.display(), %error, "former recordings cannot be listed");
            0
        });
        let is_there = folder.exists();
        let shared = Arc::new(Shared {
            folder,
            settings: config.recording,
            say_as: config.control.say_as.clone(),
            clock: Clock::start(),
            queue: Queue::default(),
            events,
            newest: AtomicU64::new(newest),
            recordings: AtomicU64::new(0),
            is_running: Mutex::new(false),
            fails: AtomicBool::new(false),
            writes: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
        });
        if is_there {
            // Old files are removed, also where nothing is recorded any more.
            shared.run();
        }
        let tap = |protocol: Protocol| (protocol.name(), Arc::new(Tap::new(protocol.name(), shared.clone())));
        Self { taps: Protocol::all().map(tap).collect(), shared }
    }

    /// The recordings of one protocol.
    pub(crate) fn tap(&self, protocol: &str) -> Option<&Arc<Tap>> {
        self.taps.get(protocol)
    }

    /// All recordings under way.
    pub(crate) fn list(&self) -> Vec<Recorded> {
        let mut all: Vec<Recorded> = self.taps.values().flat_map(|tap| tap.list()).collect();
        all.sort_by_key(|recorded| recorded.id);
        all
    }

    /// The protocol that a recording is of.
    pub(crate) fn find(&self, id: u64) -> Option<&Arc<Tap>> {
        self.taps.values().find(|tap| tap.has(id))
    }

    /// Ends all recordings, and waits for the disk, for so long at most. False if it has not taken everything.
    pub(crate) fn finish(&self, timeout: Duration) -> bool {
        let is_running = *self.shared.is_running.lock().unwrap_or_else(PoisonError::into_inner);
        !is_running || self.shared.queue.finish(timeout)
    }
}

impl Shared {
    /// Starts the writer, unless it runs.
    fn run(self: &Arc<Self>) {
        let mut is_running = self.is_running.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_running {
            return;
        }
        let shared = self.clone();
        let started =
            std::thread::Builder::new().name("recording".into()).spawn(move || writer::run(&shared));
        match started {
            Ok(_) => *is_running = true,
            Err(error) => self.failing(&error.to_string()),
        }
    }

    fn tell(&self, fields: Map<String, Value>) {
        if let Some(events) = &self.events {
            events.add("recording", fields);
        }
    }

    /// Something cannot be written: told once, until it can be.
    fn failing(&self, why: &str) {
        self.fails.store(true, Relaxed);
        if !self.is_failing.swap(true, Relaxed) {
            tracing::error!(why, "recordings lose what is said");
            self.tell(fields([("state", "failing".into()), ("why", why.into())]));
        }
    }

    /// The writer has been through everything. It works again once nothing was lost for a while, which `clean` remembers.
    fn look_back(&self, now: Instant, is_full: bool, clean: &mut Option<Instant>) {
        if self.fails.swap(false, Relaxed) || is_full {
            *clean = None;
            self.writes.store(false, Relaxed);
            return;
        }
        let since = *clean.get_or_insert(now);
        let is_clean = now.saturating_duration_since(since) >= CLEAN && self.writes.swap(false, Relaxed);
        if is_clean && self.is_failing.swap(false, Relaxed) {
            tracing::info!("recordings are written again");
            self.tell(fields([("state", "written-again".into())]));
        }
    }
}
