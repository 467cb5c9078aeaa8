//! A client that the runner plays.

use super::bytes::{
    ADD_CONTACT, DEL_CONTACT, HELLO_CONNECT, LOGIN, LOGIN_SUCCESS, contacts, cut, empty, names, opcode_of,
    with_any, with_string,
};
use crate::check::{Failure, Outcome};
use crate::layout::Layout;
use crate::peer::Peer;
use crate::stage::Stage;

/// A connection whose HelloConnect has come.
#[derive(Debug)]
pub(super) struct User {
    pub(super) tcp: Peer,
    pub(super) name: String,
}

impl User {
    pub(super) fn connect(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut tcp = stage.connect(who, cut)?;
        tcp.expect(&empty(HELLO_CONNECT))?;
        Ok(Self { tcp, name: stage.name(who) })
    }

    pub(super) fn log_in(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut user = Self::connect(stage, who)?;
        user.tcp.send(&login(stage, &user.name))?;
        user.expect(&empty(LOGIN_SUCCESS))?;
        Ok(user)
    }

    /// The next packet that is no change of the contact list: others come and go as they like.
    pub(super) fn frame(&mut self) -> Outcome<Vec<u8>> {
        loop {
            let frame = self.tcp.frame()?;
            if !matches!(opcode_of(&frame), ADD_CONTACT | DEL_CONTACT) {
                return Ok(frame);
            }
        }
    }

    /// That packet has to be `layout`.
    pub(super) fn expect(&mut self, layout: &Layout) -> Outcome {
        let frame =
            self.frame().map_err(|why| Failure::missing(&self.tcp.log, self.tcp.name, layout, why))?;
        self.tcp.same_as(layout, &frame)
    }

    /// That packet has to be of `opcode`, with one string.
    pub(super) fn expect_reason(&mut self, opcode: u16) -> Outcome {
        let frame = self.frame().map_err(|why| {
            Failure::missing(&self.tcp.log, self.tcp.name, &with_any(opcode, 0).rest("reason"), why)
        })?;
        self.tcp.same_as(&with_any(opcode, frame.len()), &frame)
    }

    /// An AddContact or a DelContact comes that has `name`.
    pub(super) fn expect_contact(&mut self, opcode: u16, name: &str) -> Outcome {
        let layout = contacts(opcode, name);
        loop {
            let frame = self
                .tcp
                .frame()
                .map_err(|why| Failure::missing(&self.tcp.log, self.tcp.name, &layout, why))?;
            let is_change = matches!(opcode_of(&frame), ADD_CONTACT | DEL_CONTACT);
            let Some(names) = names(&frame).filter(|_| is_change) else {
                return self.tcp.same_as(&layout, &frame);
            };
            if opcode_of(&frame) == opcode && names.iter().any(|it| it == name.as_bytes()) {
                return Ok(());
            }
        }
    }

    /// The names of all changes that come until the answer to an own question.
    pub(super) fn contacts_until_an_answer(
        &mut self,
        question: &Layout,
        answer: u16,
    ) -> Outcome<Vec<Vec<u8>>> {
        self.tcp.send(question)?;
        let mut seen = Vec::new();
        loop {
            let frame = self.tcp.frame()?;
            if opcode_of(&frame) == answer {
                return Ok(seen);
            }
            seen.extend(names(&frame).unwrap_or_default());
        }
    }
}

pub(super) fn login(stage: &Stage<'_>, name: &str) -> Layout {
    let secret = &stage.target.secret;
    let name = if secret.is_empty() { name.to_owned() } else { format!("{name}:{secret}") };
    with_string(LOGIN, "name", &name)
}
