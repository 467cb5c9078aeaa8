//! Whether what is said is sent: mute, push-to-talk and voice activation; what is done to it before; and how loud each speaker is heard.

mod echo_watch;
mod gate;
mod volume;

use crate::error::Error;
use crate::recordings::check_writable;
use crate::report::{Report, plain};
use clap::Args;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use echo_watch::EchoWatch;
pub(crate) use gate::{Gate, Passed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
pub(crate) use volume::Volume;
use voxwire_audio::{Preprocessor, PreprocessorSettings};

/// When sound is sent, and what is done to it before.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TalkFlags {
    /// Send sound only while the space bar is held or, on terminals that do not tell when a key is released, from one press to the next.
    #[arg(long, global = true)]
    push_to_talk: bool,
    /// Send sound only while somebody speaks.
    #[arg(long, global = true)]
    voice_activation: bool,
    /// Take noise away from what is said.
    #[arg(long, global = true)]
    denoise: bool,
    /// Make a voice louder or quieter before it is sent, until its mean level is -20 dB of full scale.
    #[arg(long, global = true)]
    automatic_gain: bool,
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
        report.talk().start(self.push_to_talk, self.voice_activation);
        report.talk().start_preprocessing(self.denoise, self.automatic_gain);
        Ok(())
    }
}

/// How each speaker is heard and recorded.
#[derive(Debug, Args)]
pub(crate) struct SpeakerFlags {
    /// Record each speaker to a file of its own, beside this name: call.wav leads to call-ann.wav.
    #[arg(long, global = true, value_name = "FILE.wav")]
    pub(crate) record_each: Option<PathBuf>,
    /// How loud a speaker is heard, in percent of how it comes: 0 to 400; can be given several times.
    #[arg(long, global = true, value_name = "NAME=PERCENT")]
    volume: Vec<Volume>,
}

impl SpeakerFlags {
    /// Sets the volumes.
    ///
    /// # Errors
    /// Too many volumes, or nothing can be recorded there.
    pub(crate) fn apply(&self, report: &Report) -> Result<(), Error> {
        report.talk().start_volumes(&self.volume)?;
        self.record_each.as_deref().map_or(Ok(()), check_writable)
    }
}

/// The switches between what is said and what is sent, which keys and commands turn.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    muted: AtomicBool,
    push_to_talk: AtomicBool,
    pressed: AtomicBool,
    voice_activation: AtomicBool,
    denoise: AtomicBool,
    automatic_gain: AtomicBool,
    echo: EchoWatch,
    /// How loud a speaker is heard; `None` where speakers are not told apart.
    volumes: Mutex<Option<BTreeMap<String, f32>>>,
}

/// The commands, for completion.
pub(crate) const COMMANDS: [&str; 4] = ["/mute", "/unmute", "/talk", "/volume"];

/// Whether a line is one of them.
pub(crate) fn is_command(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| COMMANDS.contains(&word))
}

/// An event, its fields, and what it is for people.
pub(crate) type Done = (&'static str, Value, String);

impl Talk {
    /// What decides, from now on.
    pub(crate) fn start(&self, push_to_talk: bool, voice_activation: bool) {
        self.push_to_talk.store(push_to_talk, Relaxed);
        self.voice_activation.store(voice_activation, Relaxed);
    }

    fn start_preprocessing(&self, denoise: bool, automatic_gain: bool) {
        self.denoise.store(denoise, Relaxed);
        self.automatic_gain.store(automatic_gain, Relaxed);
    }

    /// What is done to what is said before it is sent, beside multiplying it by `gain`.
    pub(crate) fn preprocessor(&self, rate: u32, channels: u16, gain: f64) -> Result<Preprocessor, Error> {
        let (denoise, automatic_gain) = (self.denoise.load(Relaxed), self.automatic_gain.load(Relaxed));
        let settings = PreprocessorSettings { denoise, gain, automatic_gain };
        Ok(Preprocessor::new(rate, channels, settings)?)
    }

    /// What listens to loudspeaker and microphone.
    pub(crate) const fn echo(&self) -> &EchoWatch {
        &self.echo
    }

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

    #[cfg(any(test, feature = "screen"))]
    pub(crate) fn toggle_mute(&self) {
        self.muted.fetch_xor(true, Relaxed);
    }

    /// The key to talk is down, or not.
    #[cfg(any(test, feature = "screen"))]
    pub(crate) fn press(&self, pressed: bool) {
        self.pressed.store(pressed, Relaxed);
    }

    /// The key to talk, where it is not known when it is released.
    pub(crate) fn toggle_press(&self) {
        self.pressed.fetch_xor(true, Relaxed);
    }

    /// What a person has to know, if anything.
    #[cfg(any(test, feature = "screen"))]
    pub(crate) fn state(&self) -> Option<&'static str> {
        match (self.muted.load(Relaxed), self.is_push_to_talk(), self.pressed.load(Relaxed)) {
            (true, ..) => Some("muted"),
            (_, true, true) => Some("talking"),
            (_, true, false) => Some("space to talk"),
            (_, false, _) => None,
        }
    }

    /// Carries out a line that is one of the commands; returns what to say about it.
    pub(crate) fn carry_out(&self, line: &str) -> Option<Result<Done, String>> {
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
            line => {
                let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                return (word == "/volume").then(|| self.set_volume(rest));
            }
        };
        Some(Ok(("sending", json!({ "open": self.is_open() }), said.into())))
    }

    fn set_volume(&self, arguments: &str) -> Result<Done, String> {
        let split = arguments.trim().rsplit_once(char::is_whitespace);
        let (name, percent) = split.ok_or("/volume NAME PERCENT, as in /volume bob 50")?;
        let volume =
            Volume::new(name.trim_end(), percent).map_err(|problem| format!("/volume: {problem}"))?;
        let mut volumes = self.volumes();
        let Some(volumes) = &mut *volumes else {
            return Err("/volume: speakers are not told apart here".into());
        };
        volume.put_into(volumes)?;
        let Volume { name, percent } = volume;
        let text = format!("{} is heard at {percent} %", plain(&name));
        Ok(("volume", json!({ "name": name, "percent": percent }), text))
    }

    /// Speakers are told apart, and are heard so.
    pub(crate) fn start_volumes(&self, volumes: &[Volume]) -> Result<(), Error> {
        let mut all = BTreeMap::new();
        volumes.iter().try_for_each(|volume| volume.put_into(&mut all)).map_err(Error::Usage)?;
        *self.volumes() = Some(all);
        Ok(())
    }

    fn volumes(&self) -> MutexGuard<'_, Option<BTreeMap<String, f32>>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How loud a speaker is heard, 1 as it comes.
    pub(crate) fn volume_of(&self, name: &str) -> f32 {
        self.volumes().as_ref().and_then(|volumes| volumes.get(name)).copied().unwrap_or(1.0)
    }

    /// Makes samples of a speaker as loud as they are to be heard.
    pub(crate) fn adjust(&self, name: &str, samples: &mut [i16]) {
        let volume = self.volume_of(name);
        if volume != 1.0 {
            // A cast keeps within what there is.
            samples.iter_mut().for_each(|sample| *sample = (f32::from(*sample) * volume).round() as i16);
        }
    }
}

/// Carries out a line that is one of the commands of sound, and reports it; false where it is none.
pub(crate) fn carry_out(report: &Report, line: &str) -> Result<bool, Error> {
    let talk = report.talk();
    match talk.carry_out(line) {
        None => Ok(false),
        Some(Err(problem)) => Err(Error::Failed(problem)),
        Some(Ok((event, fields, text))) => {
            report.event(event, fields, &text);
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
        assert!(talk.carry_out("/msg ann hi").is_none() && !is_command("/msg ann hi"));
        talk.start(true, false);
        assert_eq!((talk.is_open(), talk.state()), (false, Some("space to talk")));
        talk.press(true);
        assert_eq!((talk.is_open(), talk.state()), (true, Some("talking")));
        talk.toggle_mute();
        assert!(!talk.is_open());
        for command in COMMANDS {
            assert!(talk.carry_out(command).is_some() && is_command(command), "{command}");
        }
    }

    /// F-73: a speaker is as loud as was said last, also by a name with blanks.
    #[test]
    fn f_73_a_speaker_is_as_loud_as_was_said() {
        let talk = Talk::default();
        assert!(talk.carry_out("/volume bob 50").unwrap().unwrap_err().contains("not told apart"));
        talk.start_volumes(&["bob=50".parse().unwrap()]).unwrap();
        let heard = |name: &str| {
            let mut samples = [100, -32_768, 32_767];
            talk.adjust(name, &mut samples);
            samples
        };
        assert_eq!((heard("bob"), heard("ann")), ([50, -16_384, 16_384], [100, -32_768, 32_767]));
        let (event, fields, text) = talk.carry_out("/volume the whole choir 200%").unwrap().unwrap();
        assert_eq!(
            (event, fields["percent"].as_u64(), text.as_str()),
            ("volume", Some(200), "the whole choir is heard at 200 %")
        );
        assert_eq!(heard("the whole choir"), [200, -32_768, 32_767]);
        for wrong in ["/volume", "/volume bob", "/volume bob loud", "/volume bob 401", "/volume bob -1"] {
            assert!(talk.carry_out(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
