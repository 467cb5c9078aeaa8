//! A call that we are in: what is said and heard in it, and when.

use super::call_client::{BLOCK, SHAPE, length_of, to_i16};
use super::mixer::Mixer;
use crate::call_timers::{CallTimers, Due, Levels};
use crate::error::Error;
use crate::report::Report;
use crate::sound::{Player, peak};
use crate::talk::Passed;
use core::time::Duration;
use tokio::time::Instant;

pub(super) struct LiveCall {
    player: Option<Player>,
    pub(super) mixer: Mixer,
    pub(super) timers: CallTimers,
    pub(super) levels: Levels,
}

/// What is to be said next.
pub(super) enum Block {
    Samples(Vec<i16>),
    /// Nothing, for as long as a block.
    Silence,
    /// All has been said.
    End,
}

impl LiveCall {
    /// A call that began at `start`, and ends after `length` by itself.
    pub(super) fn new(
        start: Instant,
        player: Option<Player>,
        mixer: Mixer,
        length: Option<Duration>,
    ) -> Self {
        let timers = CallTimers::new(start, SHAPE.rate, length);
        Self { player, mixer, timers, levels: Levels::default() }
    }

    /// Says something else from now on.
    pub(super) fn say_anew(&mut self, player: Player) {
        self.player = Some(player);
        self.timers.say_anew();
    }

    /// Waits until something is due.
    pub(super) async fn next(&mut self) -> Due {
        self.timers.next(self.player.is_some(), self.mixer.due()).await
    }

    /// What `sender` says, as loud as the report wants it.
    pub(super) fn hear(&mut self, report: &Report, sender: &str, mut samples: Vec<i16>) {
        report.talk().adjust(sender, &mut samples);
        let now = self.timers.elapsed();
        let peak = self.mixer.hear(now, sender.as_bytes(), &samples);
        self.levels.hear(now, sender, length_of(&samples), peak);
    }

    /// Plays what is due.
    pub(super) fn play(&mut self) -> Result<(), Error> {
        self.mixer.play(self.timers.elapsed())
    }

    /// Nothing more comes in: plays the rest to its end.
    pub(super) async fn play_out(&mut self) -> Result<(), Error> {
        self.mixer.play_out(self.timers.start()).await
    }

    /// What is to be said now.
    pub(super) fn next_block(&mut self) -> Result<Block, Error> {
        let Some(player) = &mut self.player else { return Ok(Block::Silence) };
        let Some(samples) = player.next_samples(BLOCK)? else {
            self.player = None;
            return Ok(Block::End);
        };
        self.levels.say(peak(&samples));
        self.timers.said(samples.len());
        Ok(match player.passed() {
            Passed::Closed => Block::Silence,
            _ => Block::Samples(to_i16(&samples)),
        })
    }
}
