//! What a client's voice packets say about the beginning, the order and the end of speech.

use crate::voice::wrapped_difference;
use crate::{Channel, Order, Priority, Recipient, Voice, VoiceData};
use alloc::vec::Vec;
use voxwire_core::Instant;

/// The number of the frame of a speech that comes in first: it may have overtaken so many.
pub(crate) const FIRST: u32 = 64;

/// What is known of one client's speech.
#[derive(Debug, Default)]
pub(super) struct Speaker {
    /// Speech is open.
    open: bool,
    /// The channel session of the last speech; `None` before the first packet, and after a long silence.
    session: Option<u8>,
    /// A packet has come in since the session was learned.
    known: bool,
    /// The sequence number of the newest packet, also of one for others.
    remote: u16,
    /// Its place in this speech, or counted on from the last one.
    local: u32,
    /// The last place that belongs to a speech that has ended.
    end: u32,
    window: Window,
    /// There has been a speech since the session was learned.
    spoken: bool,
    /// The first frame of the speech that has come in, and the first one that there can be: what is before that is the speech before.
    first: u32,
    floor: u32,
    /// The channel sessions of the channels that reach us.
    channels: Vec<(Recipient, u8)>,
    /// When the last packet was accepted.
    pub(super) heard: Instant,
    /// Its silence is being looked at.
    pub(super) watched: bool,
    pub(super) stats: SpeakerStats,
}

/// Counters of one client's voice, as it reached us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeakerStats {
    /// Speeches begun.
    pub speeches: u64,
    /// Frames handed on, late and repeated ones included.
    pub received: u64,
    /// Frames missing between those that came in.
    pub lost: u64,
    /// Frames that came in after a newer one.
    pub late: u64,
    /// Frames that came in once more.
    pub duplicate: u64,
    /// Packets of an older channel session, or from before the beginning of a speech.
    pub stale: u64,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// The speech has ended; the frame is not for us.
    Ended,
    Frame(Frame),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) start: bool,
    pub(super) restart: bool,
    pub(super) end: bool,
    pub(super) sequence: u32,
    pub(super) lost: u32,
    pub(super) order: Order,
    pub(super) positional: bool,
    pub(super) volume: f32,
    pub(super) priority: Priority,
}

/// The channels of a packet that reach us, taken together.
struct Reach {
    any: bool,
    positional: bool,
    closing: bool,
    /// A channel was closed and opened again.
    reset: bool,
    volume: f32,
    priority: Option<Priority>,
}

impl Reach {
    /// A frame within a speech.
    fn frame(self, sequence: u32, order: Order) -> Frame {
        let Self { positional, volume, priority, .. } = self;
        let (start, restart, end, lost) = (false, false, false, 0);
        let priority = priority.unwrap_or_default();
        Frame { start, restart, end, sequence, lost, order, positional, volume, priority }
    }
}

impl Frame {
    /// What the application is told of it.
    pub(super) const fn voice<'a>(self, data: &VoiceData<'a>) -> Voice<'a> {
        let Self { start, restart, end, sequence, lost, order, positional, volume, priority } = self;
        let &VoiceData { sender: from, channels, frame, .. } = data;
        Voice {
            from,
            start,
            restart,
            end,
            sequence,
            lost,
            order,
            positional,
            volume,
            priority,
            channels,
            frame,
        }
    }
}

impl Speaker {
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Too long a silence: speech ends.
    pub(super) const fn stop(&mut self) -> bool {
        if self.open {
            self.end = self.local;
        }
        core::mem::replace(&mut self.open, false)
    }

    /// A very long silence: the next packet is a first one.
    pub(super) const fn forget(&mut self) {
        (self.session, self.known, self.spoken) = (None, false, false);
    }

    /// Takes a voice packet; `for_us` says which recipients we are.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        voice: &VoiceData<'_>,
        for_us: impl Fn(Recipient) -> bool,
    ) -> Heard {
        let (session, bits) = (voice.options.session(), voice.options.session_bits());
        let current = *self.session.get_or_insert_with(|| {
            self.heard = now;
            session
        });
        // An old sender's two bits are compared with as many of ours.
        let newer = wrapped_difference(current.into(), session.into(), bits);
        if newer < 0 {
            return self.stale();
        }
        let ahead = wrapped_difference(self.remote, voice.sequence, 16);
        // What comes in behind a newer packet belongs to the speech of that, and neither begins nor ends one.
        if self.known && newer == 0 && ahead <= 0 {
            let far = !self.open && ahead.unsigned_abs() > FIRST;
            return if !self.spoken || far {
                self.stale()
            } else {
                self.hear_late(now, voice, ahead, for_us)
            };
        }
        let reach = self.reach(voice.channels, true, for_us);
        if !reach.any {
            return self.hear_for_others(voice.sequence, ahead);
        }
        let restart = self.open && (reach.reset || newer > 0);
        if restart {
            self.stop();
        }
        // The last packet of a short speech may have overtaken all others of it.
        let start = !self.open && (!reach.closing || newer > 0);
        let (order, lost) = if start {
            self.begin(session, ahead)
        } else if self.open {
            self.local = self.local.saturating_add_signed(ahead);
            self.window.place(self.local)
        } else {
            // The last frame of a speech whose others did not reach us.
            self.pass(voice.sequence, ahead);
            return if restart { Heard::Ended } else { Heard::Nothing };
        };
        (self.remote, self.heard) = (voice.sequence, now);
        let stats = &mut self.stats;
        stats.received = stats.received.saturating_add(1);
        stats.lost = stats.lost.saturating_add(lost.into());
        let end = reach.closing;
        if end {
            self.stop();
        }
        Heard::Frame(Frame { start, restart, end, lost, ..reach.frame(self.local, order) })
    }

    /// The first frame of a speech, `ahead` of the newest packet before.
    fn begin(&mut self, session: u8, ahead: i32) -> (Order, u32) {
        self.floor = match u32::try_from(ahead) {
            Ok(ahead) if self.spoken => FIRST.saturating_sub(ahead.saturating_sub(1)),
            _ => 0,
        };
        (self.open, self.known, self.spoken, self.session) = (true, true, true, Some(session));
        (self.local, self.first, self.window) = (FIRST, FIRST, Window::default());
        self.stats.speeches = self.stats.speeches.saturating_add(1);
        self.window.place(FIRST)
    }

    /// Nothing for us is as good as all closed: speech that was open has ended then, and its frame is not ours.
    fn hear_for_others(&mut self, sequence: u16, ahead: i32) -> Heard {
        let ended = self.open;
        let lost = self.pass(sequence, ahead);
        if ended {
            // What is missing before it may be of that speech still.
            self.stats.lost = self.stats.lost.saturating_add(lost.into());
            self.stop();
        }
        if ended { Heard::Ended } else { Heard::Nothing }
    }

    /// A packet that is `ahead` of the newest one and of no speech of ours: what comes in behind it is late. Returns how many are missing
    /// before it.
    fn pass(&mut self, sequence: u16, ahead: i32) -> u32 {
        if !core::mem::replace(&mut self.known, true) {
            self.remote = sequence;
        } else if ahead > 0 {
            (self.remote, self.local) = (sequence, self.local.saturating_add_signed(ahead));
            return self.window.place(self.local).1;
        }
        0
    }

    /// Takes a packet that is `ahead` of the newest one: not at all.
    fn hear_late(
        &mut self,
        now: Instant,
        voice: &VoiceData<'_>,
        ahead: i32,
        for_us: impl Fn(Recipient) -> bool,
    ) -> Heard {
        let reach = self.reach(voice.channels, false, for_us);
        let last = if self.open { u32::MAX } else { self.end };
        let local = self.local.checked_add_signed(ahead).filter(|local| (self.floor..=last).contains(local));
        // Before a channel was reopened there was another speech.
        let Some(local) = local.filter(|_| reach.any && !reach.reset) else { return self.stale() };
        let (order, _) = self.window.place(local);
        let stats = &mut self.stats;
        if order == Order::Late {
            stats.late = stats.late.saturating_add(1);
            // Between this one and what came first there may be others.
            match self.first.checked_sub(local) {
                Some(before @ 1..) => {
                    stats.lost = stats.lost.saturating_add(u64::from(before).saturating_sub(1));
                    self.first = local;
                }
                _ => stats.lost = stats.lost.saturating_sub(1),
            }
        } else {
            stats.duplicate = stats.duplicate.saturating_add(1);
            if !self.open {
                return Heard::Nothing;
            }
        }
        stats.received = stats.received.saturating_add(1);
        self.heard = now;
        Heard::Frame(reach.frame(local, order))
    }

    const fn stale(&mut self) -> Heard {
        self.stats.stale = self.stats.stale.saturating_add(1);
        Heard::Nothing
    }

    /// Finds the channels that reach us, and keeps their channel sessions, if that is wanted; those of others are forgotten then.
    fn reach(&mut self, channels: &[Channel], keep: bool, for_us: impl Fn(Recipient) -> bool) -> Reach {
        let mut reach =
            Reach { any: false, positional: true, closing: true, reset: true, volume: 0.0, priority: None };
        let mut kept: usize = 0;
        for channel in channels {
            let recipient = channel.recipient();
            if !for_us(recipient) {
                continue;
            }
            reach.any = true;
            reach.positional &= channel.is_positional();
            reach.closing &= channel.is_closing();
            reach.volume = reach.volume.max(channel.volume());
            reach.priority = reach.priority.max(Some(channel.priority()));
            let session = channel.session();
            let known = self.channels.iter().position(|(known, _)| *known == recipient);
            let before = known.and_then(|at| self.channels.get(at)).map(|(_, session)| *session);
            reach.reset &= before.is_some_and(|before| before != session);
            if !keep {
                continue;
            }
            // Those of this packet are moved to the front.
            let at = known.unwrap_or_else(|| {
                self.channels.push((recipient, session));
                self.channels.len().saturating_sub(1)
            });
            if let Some(entry) = self.channels.get_mut(at) {
                entry.1 = session;
            }
            if at >= kept {
                self.channels.swap(at, kept);
                kept = kept.saturating_add(1);
            }
        }
        if keep {
            self.channels.truncate(kept);
        }
        reach
    }
}

/// The newest frame of a speech, and which of the 64 before it have come in.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// `None` before the first frame.
    newest: Option<u32>,
    /// Bit `n`: the frame `n + 1` before the newest.
    seen: u64,
}

impl Window {
    /// How a frame comes in, and how many are missing before it.
    fn place(&mut self, sequence: u32) -> (Order, u32) {
        let Some(newest) = self.newest else {
            self.newest = Some(sequence);
            return (Order::Newest, 0);
        };
        if let Some(ahead) = sequence.checked_sub(newest).filter(|&ahead| ahead > 0) {
            let shifted = self.seen.checked_shl(ahead).unwrap_or(0);
            let previous = 1_u64.checked_shl(ahead.saturating_sub(1)).unwrap_or(0);
            (self.newest, self.seen) = (Some(sequence), shifted | previous);
            return (Order::Newest, ahead.saturating_sub(1));
        }
        let behind = newest.saturating_sub(sequence);
        match behind.checked_sub(1).and_then(|bit| 1_u64.checked_shl(bit)) {
            Some(bit) if self.seen & bit == 0 => {
                self.seen |= bit;
                (Order::Late, 0)
            }
            _ => (Order::Duplicate, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, Options, Profile, RoomId};

    const ROOM: Recipient = Recipient::Room(RoomId::new(1));
    const OTHER: Recipient = Recipient::Room(RoomId::new(2));

    fn hear(speaker: &mut Speaker, sequence: u16, options: Options, channels: &[Channel]) -> Heard {
        let sender = ClientId::new(3);
        let voice = VoiceData { session: 1, sender, options, sequence, channels, frame: b"x" };
        speaker.hear(Instant::ZERO, &voice, |recipient| recipient == ROOM)
    }

    fn later(session: u8) -> Options {
        Options::new(session, Profile::Later)
    }

    /// Start, restart, end, sequence.
    #[track_caller]
    fn frame(heard: Heard) -> (bool, bool, bool, u32) {
        let frame = whole(heard).expect("a frame");
        (frame.start, frame.restart, frame.end, frame.sequence)
    }

    const fn whole(heard: Heard) -> Option<Frame> {
        if let Heard::Frame(frame) = heard { Some(frame) } else { None }
    }

    #[test]
    fn d_09_a_speech_from_its_first_frame_to_its_closing_one() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        assert_eq!(frame(hear(&mut speaker, 65_535, later(5), &open)), (true, false, false, FIRST));
        assert_eq!(frame(hear(&mut speaker, 0, later(5), &open)), (false, false, false, FIRST + 1));
        let closing = [Channel::new(ROOM).with_closing(true)];
        assert_eq!(frame(hear(&mut speaker, 1, later(5), &closing)), (false, false, true, FIRST + 2));
        assert_eq!(hear(&mut speaker, 2, later(5), &closing), Heard::Nothing);
        assert_eq!(frame(hear(&mut speaker, 9, later(6), &open)), (true, false, false, FIRST));
        assert_eq!(speaker.stats.speeches, 2);
    }

    #[test]
    fn d_09_another_channel_session_is_another_speech_and_an_older_one_is_stale() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        hear(&mut speaker, 0, later(127), &open);
        assert_eq!(frame(hear(&mut speaker, 7, later(0), &open)), (true, true, false, FIRST));
        assert_eq!(hear(&mut speaker, 1, later(127), &open), Heard::Nothing);
        assert_eq!(speaker.stats.stale, 1);
        // A sender of 2018 has two bits.
        let mut speaker = Speaker::default();
        hear(&mut speaker, 0, Options::new(3, Profile::Era2018), &open);
        assert_eq!(
            frame(hear(&mut speaker, 1, Options::new(4, Profile::Era2018), &open)),
            (true, true, false, FIRST)
        );
        assert_eq!(hear(&mut speaker, 2, Options::new(3, Profile::Era2018), &open), Heard::Nothing);
    }

    #[test]
    fn d_09_a_channel_that_was_reopened_restarts_the_speech() {
        let mut speaker = Speaker::default();
        hear(&mut speaker, 0, later(0), &[Channel::new(ROOM)]);
        let reopened = [Channel::new(ROOM).with_session(1)];
        assert_eq!(frame(hear(&mut speaker, 1, later(0), &reopened)), (true, true, false, FIRST));
        assert_eq!(frame(hear(&mut speaker, 2, later(0), &reopened)), (false, false, false, FIRST + 1));
        // One that is not for us does not count.
        let both = [reopened[0], Channel::new(OTHER).with_session(2)];
        assert_eq!(frame(hear(&mut speaker, 3, later(0), &both)), (false, false, false, FIRST + 2));
    }

    #[test]
    fn d_09_speech_that_is_not_for_us_any_more_ends_and_its_frame_is_lost() {
        let mut speaker = Speaker::default();
        hear(&mut speaker, 0, later(0), &[Channel::new(ROOM)]);
        assert_eq!(hear(&mut speaker, 1, later(0), &[Channel::new(OTHER)]), Heard::Ended);
        assert_eq!(hear(&mut speaker, 2, later(0), &[Channel::new(OTHER)]), Heard::Nothing);
    }

    #[test]
    fn d_09_loss_and_order_are_counted() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        let mut orders = Vec::new();
        for sequence in [10, 11, 14, 12, 12, 15, 8] {
            if let Heard::Frame(frame) = hear(&mut speaker, sequence, later(0), &open) {
                orders.push((frame.sequence, frame.order, frame.lost));
            }
        }
        assert_eq!(
            orders,
            [
                (64, Order::Newest, 0),
                (65, Order::Newest, 0),
                (68, Order::Newest, 2),
                (66, Order::Late, 0),
                (66, Order::Duplicate, 0),
                (69, Order::Newest, 0),
                (62, Order::Late, 0)
            ]
        );
        let stats = speaker.stats;
        assert_eq!((stats.lost, stats.late, stats.duplicate, stats.stale), (2, 2, 1, 0));
    }

    /// D-09, F-54: frames that overtake each other at the beginning of a speech find their place, and begin no other one.
    #[test]
    fn d_09_what_the_first_packet_overtook_belongs_to_the_speech() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        assert_eq!(frame(hear(&mut speaker, 0, later(5), &open)), (true, false, false, FIRST));
        for (sequence, place) in [(65_535, 63), (65_533, 61), (1, 65), (65_534, 62)] {
            assert_eq!(frame(hear(&mut speaker, sequence, later(5), &open)), (false, false, false, place));
        }
        // The last one of the next speech overtakes the rest of it.
        let closing = [Channel::new(ROOM).with_closing(true)];
        assert_eq!(frame(hear(&mut speaker, 4, later(6), &closing)), (true, true, true, FIRST));
        assert_eq!(frame(hear(&mut speaker, 3, later(6), &open)), (false, false, false, 63));
        assert!(!speaker.is_open());
        assert_eq!((speaker.stats.speeches, speaker.stats.stale, speaker.stats.lost), (2, 0, 0));
    }

    /// D-09, F-54: what the last packet of a speech overtook belongs to it; it makes no other speech, neither at once nor once there is
    /// another one.
    #[test]
    fn d_09_what_the_last_packet_overtook_is_no_speech() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        let closing = [Channel::new(ROOM).with_closing(true)];
        hear(&mut speaker, 0, later(5), &open);
        assert_eq!(frame(hear(&mut speaker, 4, later(5), &closing)), (false, false, true, FIRST + 4));
        assert_eq!(frame(hear(&mut speaker, 2, later(5), &open)), (false, false, false, FIRST + 2));
        // Once more, and once there is another speech.
        assert_eq!(hear(&mut speaker, 2, later(5), &open), Heard::Nothing);
        assert!(!speaker.is_open());
        assert_eq!(frame(hear(&mut speaker, 6, later(6), &open)), (true, false, false, FIRST));
        assert_eq!(hear(&mut speaker, 3, later(5), &open), Heard::Nothing);
        assert_eq!(frame(hear(&mut speaker, 5, later(6), &open)), (false, false, false, 63));
        assert_eq!((speaker.stats.speeches, speaker.stats.stale), (2, 1));
    }

    /// D-09, F-54: a channel that was closed and opened again while others stayed open keeps the session of the speech; what is late
    /// belongs to the speech before, and does not restart this one.
    #[test]
    fn d_09_what_is_late_does_not_restart_a_speech() {
        for session in [0, 1] {
            let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
            hear(&mut speaker, 0, later(5), &open);
            hear(&mut speaker, 3, later(5), &[Channel::new(ROOM).with_closing(true)]);
            assert_eq!(hear(&mut speaker, 4, later(5), &[Channel::new(OTHER)]), Heard::Nothing);
            let again = [Channel::new(ROOM).with_session(session)];
            assert_eq!(frame(hear(&mut speaker, 7, later(5), &again)), (true, false, false, FIRST));
            assert_eq!(hear(&mut speaker, 2, later(5), &open), Heard::Nothing, "{session}");
            // One that was not for us does not end it.
            assert_eq!(hear(&mut speaker, 4, later(5), &[Channel::new(OTHER)]), Heard::Nothing);
            assert_eq!(frame(hear(&mut speaker, 6, later(5), &again)), (false, false, false, 63));
            assert_eq!(frame(hear(&mut speaker, 8, later(5), &again)), (false, false, false, FIRST + 1));
        }
    }

    /// D-09, F-54: behind the end of a speech nothing of the same session that is older begins another one, however far behind it is,
    /// until the session is learned anew.
    #[test]
    fn d_09_what_is_far_behind_a_closed_speech_is_stale() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        for sequence in 0..100 {
            hear(&mut speaker, sequence, later(5), &open);
        }
        hear(&mut speaker, 100, later(5), &[Channel::new(ROOM).with_closing(true)]);
        for sequence in [10, 35, 65_500] {
            assert_eq!(hear(&mut speaker, sequence, later(5), &open), Heard::Nothing, "{sequence}");
        }
        assert_eq!((speaker.stats.speeches, speaker.stats.stale), (1, 3));
        assert_eq!(frame(hear(&mut speaker, 101, later(5), &open)), (true, false, false, FIRST));
        speaker.stop();
        speaker.forget();
        assert_eq!(frame(hear(&mut speaker, 10, later(5), &open)), (true, false, false, FIRST));
    }

    /// D-09, F-54: what comes in behind a packet that is not for us belongs to the speech that this has ended.
    #[test]
    fn d_09_what_a_packet_for_others_overtook_is_no_speech() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        let others = [Channel::new(OTHER)];
        hear(&mut speaker, 0, later(5), &open);
        assert_eq!(hear(&mut speaker, 2, later(5), &others), Heard::Ended);
        assert_eq!(speaker.stats.lost, 1);
        assert_eq!(frame(hear(&mut speaker, 1, later(5), &open)), (false, false, false, FIRST + 1));
        assert!(!speaker.is_open());
        assert_eq!((speaker.stats.speeches, speaker.stats.lost, speaker.stats.late), (1, 0, 1));
        // What is between two packets for others is of no speech that we have heard.
        assert_eq!(hear(&mut speaker, 6, later(5), &others), Heard::Nothing);
        assert_eq!(hear(&mut speaker, 4, later(5), &open), Heard::Nothing);
        assert_eq!(frame(hear(&mut speaker, 7, later(5), &open)), (true, false, false, FIRST));
        assert_eq!(frame(hear(&mut speaker, 8, later(5), &open)), (false, false, false, FIRST + 1));
        // Nor is what is behind the first packet of all.
        let mut speaker = Speaker::default();
        assert_eq!(hear(&mut speaker, 6, later(5), &others), Heard::Nothing);
        assert_eq!(hear(&mut speaker, 4, later(5), &open), Heard::Nothing);
        assert_eq!(frame(hear(&mut speaker, 7, later(5), &open)), (true, false, false, FIRST));
    }

    /// D-09, F-54: who hears a client's last packet first hears no speech, as with originals, and none in what it overtook.
    #[test]
    fn d_09_the_last_packet_of_a_speech_is_none_where_nothing_was_heard_before() {
        let (mut speaker, open) = (Speaker::default(), [Channel::new(ROOM)]);
        let closing = [Channel::new(ROOM).with_closing(true)];
        assert_eq!(hear(&mut speaker, 4, later(5), &closing), Heard::Nothing);
        assert_eq!(hear(&mut speaker, 3, later(5), &open), Heard::Nothing);
        assert_eq!(speaker.stats.speeches, 0);
        assert_eq!(frame(hear(&mut speaker, 9, later(6), &open)), (true, false, false, FIRST));
    }

    #[test]
    fn d_09_channels_are_taken_together() {
        let mut speaker = Speaker::default();
        let channels = [
            Channel::new(ROOM).with_positional(true).with_volume(0.5).with_priority(Priority::High),
            Channel::new(ROOM).with_closing(true).with_volume(2.0),
            Channel::new(OTHER).with_positional(false),
        ];
        let frame = whole(hear(&mut speaker, 0, later(0), &channels)).unwrap();
        assert_eq!((frame.end, frame.positional, frame.priority), (false, false, Priority::High));
        assert!((frame.volume - 2.0).abs() < 1e-6);
    }

    /// F-56: what is of low priority is less than what is of none.
    #[test]
    fn priorities_are_ordered_as_dissonance_orders_them() {
        use Priority::{Default, High, Low, Medium};
        assert!(Low < Default && Default < Medium && Medium < High);
        for (channels, expected) in
            [(&[Low][..], Low), (&[Low, Default], Default), (&[Default, Medium, Low], Medium), (&[], Default)]
        {
            let channels: Vec<Channel> =
                channels.iter().map(|priority| Channel::new(ROOM).with_priority(*priority)).collect();
            let mut speaker = Speaker::default();
            let for_us = |_| true;
            assert_eq!(speaker.reach(&channels, true, for_us).priority.unwrap_or_default(), expected);
        }
    }

    #[test]
    fn a_window_far_behind_calls_everything_a_duplicate() {
        let mut window = Window::default();
        window.place(0);
        assert_eq!(window.place(100), (Order::Newest, 99));
        assert_eq!(window.place(36), (Order::Late, 0));
        assert_eq!(window.place(35), (Order::Duplicate, 0));
    }
}
