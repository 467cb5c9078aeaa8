//! A player that the runner plays.

use super::bytes::{
    CLIENT_STATE, CONTROL, DELTA_CLIENT_STATE, DROPPABLE, RELIABLE, REMOVE_CLIENT, UNIT_HEAD, admitted,
    client_info, client_state, cut_unit, delta, handshake_request, handshake_response, hello, unit,
};
use crate::check::{Failure, Outcome};
use crate::datagrams::Datagrams;
use crate::layout::Layout;
use crate::peer::{Pause, Peer};
use crate::stage::Stage;
use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

/// The players of one check. The session may have others, and those of the check before are leaving.
#[derive(Debug, Clone, Default)]
pub(super) struct Players(Rc<RefCell<Vec<u16>>>);

/// One of them, in the session.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) tcp: Peer,
    pub(super) name: String,
    pub(super) session: [u8; 4],
    pub(super) id: u16,
    /// The HandshakeResponse.
    pub(super) response: Vec<u8>,
    players: Players,
}

/// A connection whose hello was answered, and the answer.
pub(super) fn greeted(stage: &Stage<'_>, who: &'static str, flags: u8) -> Outcome<(Peer, Vec<u8>)> {
    let mut tcp = stage.connect(who, cut_unit)?;
    tcp.send(&hello(flags, &stage.target.secret))?;
    let answer = tcp.expect_bytes(&admitted())?;
    Ok((tcp, answer))
}

impl Players {
    /// A player that has joined and listens to nothing. Those of `others` have seen it.
    pub(super) fn join(
        &self,
        stage: &Stage<'_>,
        who: &'static str,
        others: &mut [&mut Player],
    ) -> Outcome<Player> {
        let name = stage.name(who);
        let (tcp, _) = greeted(stage, who, 0)?;
        let mut player = self.handshake(tcp, name)?;
        let state = unit(RELIABLE, client_state(player.session, &player.name, player.id, &[]));
        player.tcp.send(&state)?;
        player.expect(&state)?;
        for other in others {
            other.expect(&state)?;
        }
        Ok(player)
    }

    /// A player that has had its HandshakeResponse.
    pub(super) fn handshake(&self, mut tcp: Peer, name: String) -> Outcome<Player> {
        tcp.send(&unit(RELIABLE, handshake_request(&name)))?;
        let response = tcp.frame()?;
        let head = Layout::big().any("unit length", 2).u8("unit kind", RELIABLE);
        tcp.same_as(&head.then(handshake_response()), &response)?;
        let packet = &response[UNIT_HEAD..];
        let mut session = [0; 4];
        session.copy_from_slice(&packet[3..7]);
        let id = u16::from_be_bytes([packet[7], packet[8]]);
        let own = client_info(Layout::big(), &name, id).encode();
        let is_empty = packet[9..11] == [0, 0];
        if !is_empty && !packet.windows(own.len()).any(|some| some == own) {
            return Err(tcp.fails("the list of clients is without the newcomer", &response));
        }
        self.0.borrow_mut().push(id);
        let response = packet.to_vec();
        Ok(Player { tcp, name, session, id, response, players: self.clone() })
    }
}

impl Player {
    pub(super) fn send(&mut self, kind: u8, packet: Layout) -> Outcome {
        self.tcp.send(&unit(kind, packet))
    }

    /// Whether a unit is about a client that is not of this check.
    fn is_of_others(&self, frame: &[u8]) -> bool {
        let packet = frame.get(UNIT_HEAD..).unwrap_or_default();
        let id_at = match packet.get(2) {
            // Behind the name.
            Some(&CLIENT_STATE) => {
                let length = packet.get(7..9).map_or(1, |it| usize::from(u16::from_be_bytes([it[0], it[1]])));
                9 + length.max(1) - 1
            }
            Some(&DELTA_CLIENT_STATE) => 8,
            Some(&REMOVE_CLIENT) => 7,
            _ => return false,
        };
        let id = packet.get(id_at..id_at + 2).map(|id| u16::from_be_bytes([id[0], id[1]]));
        frame.get(2) == Some(&RELIABLE) && id.is_some_and(|id| !self.players.0.borrow().contains(&id))
    }

    /// The next unit that is of this check.
    pub(super) fn frame(&mut self) -> Outcome<Vec<u8>> {
        loop {
            let frame = self.tcp.frame()?;
            if !self.is_of_others(&frame) {
                return Ok(frame);
            }
        }
    }

    /// The next unit that is of this check has to be `layout`.
    pub(super) fn expect(&mut self, layout: &Layout) -> Outcome {
        let frame =
            self.frame().map_err(|why| Failure::missing(&self.tcp.log, self.tcp.name, layout, why))?;
        self.tcp.same_as(layout, &frame)
    }

    /// Nothing of this check is under way to this player: its own change of rooms is the next that it is told.
    pub(super) fn expect_nothing(&mut self) -> Outcome {
        for joined in [true, false] {
            let change = unit(RELIABLE, delta(self.session, joined, self.id, "conformance-fence"));
            self.tcp.send(&change)?;
            self.expect(&change)?;
        }
        Ok(())
    }

    /// Binds UDP, as the transport's PROTOCOL.md has it.
    pub(super) fn bind(stage: &Stage<'_>, tcp: &mut Peer, answer: &[u8]) -> Outcome<Bound> {
        let port = u16::from_be_bytes([answer[6], answer[7]]);
        if port == 0 {
            return Err(
                tcp.fails("the server offers no UDP port; give --without udp where that is meant", answer)
            );
        }
        let udp = stage.datagrams("alice by UDP", port)?;
        let bound = Bound { udp, tag: answer[8..15].to_vec() };
        let bind = bound.datagram(1, &answer[15..31]);
        let challenge = Layout::big().u8("kind", 2).bytes("tag", &bound.tag).any("challenge", 8);
        let all = Pause::new(stage.target.timeout);
        let came = loop {
            bound.udp.send(&bind)?;
            match bound.udp.next_within(Duration::from_millis(500))? {
                Some(came) => break came,
                None if all.is_over() => {
                    return Err(bound.udp.fails("no CHALLENGE answers BIND", &[]));
                }
                None => {}
            }
        };
        if let Some(stop) = Failure::differs(&tcp.log, bound.udp.name, &challenge, &came) {
            return Err(stop);
        }
        let confirm = Layout::big().u8("control", 1).bytes("challenge", &came[8..]);
        tcp.send(&unit(CONTROL, confirm))?;
        tcp.expect(&unit(CONTROL, Layout::big().u8("control", 3)))?;
        Ok(bound)
    }
}

/// A UDP socket that is bound to a connection.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) udp: Datagrams,
    tag: Vec<u8>,
}

impl Bound {
    pub(super) fn datagram(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &self.tag, body].concat()
    }

    pub(super) fn layout(&self, kind: u8, body: Layout) -> Layout {
        Layout::big().u8("kind", kind).bytes("tag", &self.tag).then(body)
    }
}

/// Voice and texts come as droppable or reliable units.
pub(super) fn droppable(packet: Layout) -> Layout {
    unit(DROPPABLE, packet)
}
