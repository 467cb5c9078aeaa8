//! What happens, for streams and webhooks: the newest events, by number. Each reader has a place of its own; one that is too slow loses
//! the oldest, and is told how many.

use super::time::now;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Events that are kept for readers.
const KEPT: usize = 1024;

/// An event, as readers see it.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    /// Counts from 1 since the server's start.
    pub(super) id: u64,
    /// Seconds since 1970.
    at: i64,
    /// Which kind.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// The newest events.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<Arc<Event>>>,
    newest: watch::Sender<Newest>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    /// The number of the newest event.
    id: u64,
    /// Readers end behind it.
    is_last: bool,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), newest: watch::Sender::default() }
    }

    pub(crate) fn add(&self, kind: &'static str, fields: Map<String, Value>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.newest.borrow().id.saturating_add(1);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::new(Event { id, at: now(), kind, fields }));
        self.newest.send_modify(|newest| newest.id = id);
    }

    /// Waits until all readers have the newest event, which is their last one.
    pub(super) async fn finish(&self) {
        self.newest.send_modify(|newest| newest.is_last = true);
        self.newest.closed().await;
    }

    /// A reader of what comes from now on; or from behind an event that it has had, as far as those are kept. Of one of another start of the
    /// server, whose numbers are higher, all that are kept.
    pub(super) fn reader(self: &Arc<Self>, after: Option<u64>) -> Reader {
        let watch = self.newest.subscribe();
        let newest = watch.borrow().id;
        let had = after.map_or(newest, |after| if after > newest { 0 } else { after });
        Reader { events: self.clone(), watch, had }
    }
}

/// A place among the events.
#[derive(Debug)]
pub(super) struct Reader {
    events: Arc<Events>,
    watch: watch::Receiver<Newest>,
    had: u64,
}

impl Reader {
    /// Waits for events: at most `most`, and how many are lost before them. `None` behind the last one.
    pub(super) async fn next(&mut self, most: usize) -> Option<(Vec<Arc<Event>>, u64)> {
        loop {
            let newest = *self.watch.borrow_and_update();
            let taken = self.take(most);
            if !taken.0.is_empty() {
                return Some(taken);
            }
            if newest.is_last {
                return None;
            }
            // The sender lives as long as the events do.
            let _ = self.watch.changed().await;
        }
    }

    fn take(&mut self, most: usize) -> (Vec<Arc<Event>>, u64) {
        let kept = self.events.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.partition_point(|event| event.id <= self.had);
        let events: Vec<Arc<Event>> = kept.iter().skip(first).take(most).cloned().collect();
        let lost = events.first().map_or(0, |first| first.id.saturating_sub(self.had).saturating_sub(1));
        self.had = events.last().map_or(self.had, |last| last.id);
        (events, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-34: a reader that is too slow loses the oldest, and is told how many.
    #[tokio::test]
    async fn c_34_a_slow_reader_loses_the_oldest_events() {
        let events = Arc::new(Events::new());
        let mut reader = events.reader(None);
        for _ in 0..KEPT + 10 {
            events.add("joined", Map::new());
        }
        let (first, lost) = reader.next(5).await.unwrap();
        assert_eq!((first.iter().map(|it| it.id).collect::<Vec<_>>(), lost), ((11..16).collect(), 10));
        let (rest, lost) = reader.next(usize::MAX).await.unwrap();
        assert_eq!((rest.len(), lost), (KEPT - 5, 0));
        // One that comes back goes on behind what it has had.
        let (again, lost) = events.reader(Some(KEPT as u64 + 8)).next(9).await.unwrap();
        assert_eq!((again.len(), lost), (2, 0));
        assert_eq!(events.reader(Some(u64::MAX)).next(9).await.unwrap().1, 10);
    }

    /// C-34: a reader has every event before it ends.
    #[tokio::test]
    async fn c_34_readers_end_behind_the_last_event() {
        let events = Arc::new(Events::new());
        let mut reader = events.reader(None);
        events.add("draining", Map::new());
        let read = async move {
            assert_eq!(reader.next(9).await.unwrap().0.len(), 1);
            assert!(reader.next(9).await.is_none());
        };
        tokio::join!(events.finish(), read);
    }
}
