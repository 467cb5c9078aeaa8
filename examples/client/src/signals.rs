//! Signals that end the program, counted for its whole run.

use crate::error::{Error, failed};
use core::future::pending;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// SIGINT, SIGTERM and SIGHUP. The first ends calls in order: the others hear of it, and recordings are completed. The second ends at
/// once what is still waited for.
///
/// All copies count the same signals: none is lost between two of them, and none counts twice.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    count: watch::Receiver<u32>,
    /// The one that is waited for.
    wanted: u32,
}

impl Signals {
    /// Catches signals from now on: once for a run, and before anything that blocks.
    pub(crate) fn catch() -> Result<Self, Error> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let (mut interrupt, mut terminate, mut hang_up) = (interrupt?, terminate?, hang_up?);
        let (sender, count) = watch::channel(0_u32);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                sender.send_modify(|count| *count = count.saturating_add(1));
            }
        });
        Ok(Self { count, wanted: 1 })
    }

    /// Waits for the first signal, or behind [`end`](Self::end) for the second. A signal that has come stays.
    pub(crate) async fn recv(&mut self) {
        let wanted = self.wanted;
        if self.count.wait_for(|count| *count >= wanted).await.is_err() {
            // Nothing counts any more: the runtime ends.
            pending().await
        }
    }

    /// Whether [`recv`](Self::recv) would return at once.
    pub(crate) fn came(&self) -> bool {
        *self.count.borrow() >= self.wanted
    }

    /// The end has begun, and is waited for: from now on the second signal matters here.
    pub(crate) fn end(&mut self) {
        self.wanted = 2;
    }

    /// What `work` comes to; a signal ends it before.
    ///
    /// # Errors
    /// Those of `work`, and that it was interrupted.
    pub(crate) async fn interrupt<T>(
        &mut self,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let result = tokio::select! {
            result = work => Some(result),
            () = self.recv() => None,
        };
        // `work` may end in its own way at the same signal.
        result.filter(|_| !self.came()).unwrap_or_else(|| Err(failed!("interrupted while {doing}")))
    }

    /// What `work` comes to, which blocks: it has a thread of its own. A signal ends it before; its thread ends with the program.
    ///
    /// # Errors
    /// Those of `work`, and that it was interrupted.
    pub(crate) async fn interrupt_blocking<T: Send + 'static>(
        &mut self,
        doing: &str,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("blocking".into());
        thread.spawn(move || drop(sender.send(work())))?;
        let done = async { done.await.unwrap_or_else(|_| Err(failed!("{doing} failed"))) };
        self.interrupt(doing, done).await
    }

    /// Signals that a test sends, by their number.
    #[cfg(test)]
    pub(crate) fn sent() -> (watch::Sender<u32>, Self) {
        let (sender, count) = watch::channel(0);
        (sender, Self { count, wanted: 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    async fn comes(signals: &mut Signals) -> bool {
        timeout(core::time::Duration::ZERO, signals.recv()).await.is_ok()
    }

    /// F-81: a signal stays for all who ask later, and a second one is the second for everybody.
    #[tokio::test]
    async fn f_81_signals_are_counted_for_the_whole_run() {
        let (sender, mut signals) = Signals::sent();
        let mut ending = signals.clone();
        ending.end();
        assert!(!comes(&mut signals).await && !signals.came());
        sender.send_replace(1);
        let mut later = signals.clone();
        for signals in [&mut signals, &mut later] {
            assert!(comes(signals).await && comes(signals).await && signals.came());
        }
        assert!(!comes(&mut ending).await && !ending.came());
        sender.send_replace(2);
        assert!(comes(&mut ending).await && comes(&mut later).await);
        // Nobody counts any more.
        drop(sender);
        let mut end = later.clone();
        end.wanted = 3;
        assert!(!comes(&mut end).await);
    }
}
