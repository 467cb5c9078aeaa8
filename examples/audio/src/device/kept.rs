//! A device that is opened again when it is gone.

use crate::Error;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What has become of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChange {
    /// It is gone, and why. Until it is back, a microphone hears nothing, and what is written to a loudspeaker is dropped.
    Lost(String),
    /// It has been opened again.
    Back,
}

/// How long it is gone before it is tried again, each time.
const PAUSE: Duration = Duration::from_secs(1);

/// One end of a device that a program uses.
pub(super) trait End: Send + 'static {
    /// Why it is of no use any more.
    fn failure(&self) -> Option<String>;
}

pub(super) type Open<T> = Arc<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// A device at work, or one that is being opened again. That, and the end of the old one, may take long: a thread of its own does it.
pub(super) struct Kept<T> {
    open: Open<T>,
    pause: Duration,
    device: Option<T>,
    /// Why it is gone.
    lost: Option<String>,
    /// What was told last.
    told: bool,
    again: Option<Again<T>>,
}

/// A thread that opens a device again, for as long as this is here.
struct Again<T> {
    opened: Receiver<T>,
    _wanted: Arc<()>,
}

impl<T: End> Kept<T> {
    pub(super) fn open(open: Open<T>) -> Result<Self, Error> {
        Ok(Self::new(open()?, open))
    }

    pub(super) const fn new(device: T, open: Open<T>) -> Self {
        Self { open, pause: PAUSE, device: Some(device), lost: None, told: false, again: None }
    }

    #[cfg(test)]
    pub(super) fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The device, where it is there. `lost` sees one that is gone.
    pub(super) fn get(&mut self, lost: impl FnOnce(&T)) -> Option<&mut T> {
        let failure = self.device.as_ref().and_then(End::failure);
        let gone = self.device.take_if(|_| failure.is_some());
        if let Some(gone) = &gone {
            lost(gone);
        }
        self.lost = failure.or_else(|| self.lost.take());
        if self.device.is_none() {
            self.try_again(gone);
        }
        self.device.as_mut()
    }

    /// The device, where it was there when it was last used.
    pub(super) const fn device(&self) -> Option<&T> {
        self.device.as_ref()
    }

    fn try_again(&mut self, gone: Option<T>) {
        match self.again.as_ref().map(|again| again.opened.try_recv()) {
            Some(Err(TryRecvError::Empty)) => {}
            Some(Ok(device)) => (self.device, self.lost, self.again) = (Some(device), None, None),
            None | Some(Err(TryRecvError::Disconnected)) => self.again = Again::start(self, gone),
        }
    }

    /// What has become of it since this was asked last.
    pub(super) fn take_change(&mut self) -> Option<DeviceChange> {
        if self.lost.is_some() == core::mem::replace(&mut self.told, self.lost.is_some()) {
            return None;
        }
        Some(self.lost.clone().map_or(DeviceChange::Back, DeviceChange::Lost))
    }
}

impl<T: End> Again<T> {
    /// `None` where the system has no thread for it: it is tried again.
    fn start(kept: &Kept<T>, gone: Option<T>) -> Option<Self> {
        let (sender, opened) = channel();
        let (open, pause, wanted) = (kept.open.clone(), kept.pause, Arc::new(()));
        let is_wanted = Arc::downgrade(&wanted);
        let work = move || {
            drop(gone);
            while Weak::strong_count(&is_wanted) > 0 {
                std::thread::park_timeout(pause);
                if let Ok(device) = open() {
                    // Nobody may want it any more: it is closed then.
                    return drop(sender.send(device));
                }
            }
        };
        let thread = std::thread::Builder::new().name("sound device".into()).spawn(work);
        thread.ok().map(|_| Self { opened, _wanted: wanted })
    }
}
