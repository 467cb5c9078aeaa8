//! Whether what is said is sent: mute, push-to-talk and voice activation.

mod gate;

use crate::error::Error;
use crate::report::Report;
use clap::Args;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
pub(crate) use gate::{Gate, Passed};
use serde_json::json;

/// When sound is sent.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TalkFlags {
    /// Send sound only while the space bar is held or, on terminals that do not tell when a key is released, from one press to the next.
    #[arg(long, global = true)]
    push_to_talk: bool,
    /// Send sound only while somebody speaks.
    #[arg(long, global = true)]
    voice_activation: bool,
}

impl TalkFlags {
    /// `commands`: lines are read while it runs.
    ///
    /// # Errors
    /// There is nothing to push.
    pub(crate) fn apply(self, report: &Report, commands: bool) -> Result<(), Error> {
        if self.push_to_talk && !commands && !report.is_interactive() && !report.has_script() {
            return Err(Error::Usage(
                "--push-to-talk: there is no key without a screen: a terminal is needed, without --no-screen, --json and --quiet".into(),
            ));
        }
        let talk = report.talk();
        talk.push_to_talk.store(self.push_to_talk, Relaxed);
        talk.voice_activation.store(self.voice_activation, Relaxed);
        Ok(())
    }
}

/// The switches between what is said and what is sent, which keys and commands turn.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    muted: AtomicBool,
    push_to_talk: AtomicBool,
    pressed: AtomicBool,
    voice_activation: AtomicBool,
}

/// The commands, for completion.
pub(crate) const COMMANDS: [&str; 3] = ["/mute", "/unmute", "/talk"];

impl Talk {
    /// Whether what is said may be sent.
    pub(crate) fn is_open(&self) -> bool {
        !self.muted.load(Relaxed) && (!self.is_push_to_talk() || self.pressed.load(Relaxed))
    }

    pub(crate) fn is_push_to_talk(&self) -> bool {
        self.push_to_talk.load(Relaxed)
    }

    fn is_voice_activated(&self) -> bool {
        self.voice_activation.load(Relaxed)
    }

    pub(crate) fn mute(&self, muted: bool) {
        self.muted.store(muted, Relaxed);
    }

    pub(crate) fn toggle_mute(&self) {
        self.muted.fetch_xor(true, Relaxed);
    }

    /// The key to talk is down, or not.
    pub(crate) fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Relaxed);
    }

    /// The key to talk, where it is not known when it is released.
    pub(crate) fn toggle_press(&self) {
        self.pressed.fetch_xor(true, Relaxed);
    }

    /// What a person has to know, if anything.
    pub(crate) fn state(&self) -> Option<&'static str> {
        match (self.muted.load(Relaxed), self.is_push_to_talk(), self.pressed.load(Relaxed)) {
            (true, ..) => Some("muted"),
            (_, true, true) => Some("talking"),
            (_, true, false) => Some("space to talk"),
            (_, false, _) => None,
        }
    }

    /// Carries out a line that is one of the commands; returns what to say about it.
    pub(crate) fn carry_out(&self, line: &str) -> Option<Result<String, String>> {
        let said = match line.trim() {
            "/mute" => {
                self.mute(true);
                "muted: no sound is sent until /unmute"
            }
            "/unmute" => {
                self.mute(false);
                "sound is sent again"
            }
            "/talk" if !self.is_push_to_talk() => return Some(Err("/talk: only with --push-to-talk".into())),
            "/talk" => {
                self.toggle_press();
                if self.pressed.load(Relaxed) { "talking, until the next /talk" } else { "not talking" }
            }
            _ => return None,
        };
        Some(Ok(said.into()))
    }
}

/// Carries out a line that is one of the commands of sound, and reports it; false where it is none.
pub(crate) fn carry_out(report: &Report, line: &str) -> Result<bool, Error> {
    let talk = report.talk();
    match talk.carry_out(line) {
        None => Ok(false),
        Some(Err(problem)) => Err(Error::Failed(problem)),
        Some(Ok(text)) => {
            report.event("sending", json!({ "open": talk.is_open() }), &text);
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-72: mute goes before the key to talk.
    #[test]
    fn f_72_commands_and_keys_open_and_close() {
        let talk = Talk::default();
        assert!(talk.is_open() && talk.state().is_none());
        assert!(talk.carry_out("/mute").unwrap().is_ok());
        assert_eq!((talk.is_open(), talk.state()), (false, Some("muted")));
        assert!(talk.carry_out(" /unmute ").unwrap().is_ok() && talk.is_open());
        assert!(talk.carry_out("/talk").unwrap().is_err());
        assert_eq!(talk.carry_out("/msg ann hi"), None);
        talk.push_to_talk.store(true, Relaxed);
        assert_eq!((talk.is_open(), talk.state()), (false, Some("space to talk")));
        talk.press(true);
        assert_eq!((talk.is_open(), talk.state()), (true, Some("talking")));
        talk.toggle_mute();
        assert!(!talk.is_open());
        for command in COMMANDS {
            assert!(talk.carry_out(command).is_some(), "{command}");
        }
    }
}
