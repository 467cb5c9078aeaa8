//! What happens, for streams and webhooks: the newest events, by number. Each reader has a place of its own; one that is too slow loses
//! the oldest, and is told how many.

use super::time::now;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Events that are kept for readers, and bytes of them.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 4 << 20;
/// Bytes of events that a reader takes at once: one event, or so many.
const PART_BYTES: usize = 128 << 10;

/// An event.
#[derive(Debug)]
pub(super) struct Event {
    /// Counts from 1 since the server's start.
    pub(super) id: u64,
    /// Which kind.
    pub(super) kind: &'static str,
    /// As readers see it, in JSON.
    pub(super) text: String,
}

/// Those that are kept.
#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// The newest events.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<Kept>,
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

    pub(crate) fn add(&self, kind: &'static str, mut fields: Map<String, Value>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.newest.borrow().id.saturating_add(1);
        fields.extend([("id".into(), id.into()), ("at".into(), now().into()), ("type".into(), kind.into())]);
        let text = Value::Object(fields).to_string();
        kept.bytes = kept.bytes.saturating_add(text.len());
        while kept.events.len() >= KEPT || (kept.bytes > KEPT_BYTES && !kept.events.is_empty()) {
            let oldest = kept.events.pop_front().map_or(0, |oldest| oldest.text.len());
            kept.bytes = kept.bytes.saturating_sub(oldest);
        }
        kept.events.push_back(Arc::new(Event { id, kind, text }));
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
        let first = kept.events.partition_point(|event| event.id <= self.had);
        let mut bytes: usize = 0;
        let fits = |event: &&Arc<Event>| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(event.text.len());
            is_first || bytes <= PART_BYTES
        };
        let events: Vec<Arc<Event>> =
            kept.events.iter().skip(first).take(most).take_while(fits).cloned().collect();
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
        // Large ones are counted by their bytes.
        let mut reader = events.reader(None);
        let large = || Map::from_iter([("text".to_owned(), Value::from("x".repeat(64 << 10)))]);
        (0..100).for_each(|_| events.add("said", large()));
        let (first, lost) = reader.next(usize::MAX).await.unwrap();
        assert_eq!((first.len(), lost), (1, 100 - 63));
        assert!(events.kept.lock().unwrap().bytes <= KEPT_BYTES);
        // One that comes back goes on behind what it has had.
        let newest = first[0].id + 62;
        let (again, lost) = events.reader(Some(newest - 1)).next(9).await.unwrap();
        assert_eq!((again.len(), again[0].id, lost), (1, newest, 0));
        assert_eq!(events.reader(Some(u64::MAX)).next(9).await.unwrap().1, first[0].id - 1);
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
