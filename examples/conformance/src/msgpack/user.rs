//! A user that the runner plays.

use super::bytes::{PASSWORD, SUCCESS, any_greeting, cut, greeting, ready, request, response, string, unit};
use crate::check::Outcome;
use crate::layout::Layout;
use crate::peer::Peer;
use crate::stage::Stage;

/// Bytes of a token: a UUID as text.
const TOKEN: usize = 36;

/// A connection over ZMTP 3.0; logged in where it has a token.
#[derive(Debug)]
pub(super) struct User {
    pub(super) tcp: Peer,
    pub(super) name: String,
    pub(super) token: String,
}

/// Greetings and READY of both sides have been.
pub(super) fn shake_hands(tcp: &mut Peer) -> Outcome {
    tcp.send(&greeting(0, "NULL"))?;
    tcp.expect_bytes(&any_greeting())?;
    tcp.send(&ready())?;
    let came = tcp.frame()?;
    let head = Layout::big().u8("flags", 4).any("length", 1).u8("name length", 5).bytes("name", b"READY");
    tcp.same_as(&head.rest("properties"), &came)?;
    let property = b"\x0bSocket-Type\0\0\0\x06ROUTER";
    if !came.windows(property.len()).any(|some| some == property) {
        return Err(tcp.fails("READY has no property Socket-Type of ROUTER", &came));
    }
    Ok(())
}

impl User {
    /// A connection without an account.
    pub(super) fn connect(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut tcp = stage.connect(who, cut)?;
        shake_hands(&mut tcp)?;
        Ok(Self { tcp, name: stage.name(who), token: String::new() })
    }

    /// A new account.
    pub(super) fn registered(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut user = Self::connect(stage, who)?;
        user.asks(&request("register", &[&user.name, PASSWORD]), &response("register", SUCCESS))?;
        Ok(user)
    }

    /// A new account that is logged in.
    pub(super) fn logged_in(stage: &Stage<'_>, who: &'static str) -> Outcome<Self> {
        let mut user = Self::registered(stage, who)?;
        user.log_in()?;
        Ok(user)
    }

    pub(super) fn log_in(&mut self) -> Outcome {
        self.send(&request("login", &[&self.name, PASSWORD]))?;
        let answer = string(response("login", SUCCESS), "username", &self.name);
        let answer = answer.u8("str 8", 0xd9).u8("length", 36).any("token", TOKEN);
        let came = self.tcp.expect(&unit(answer))?;
        self.token = String::from_utf8_lossy(&came[came.len() - TOKEN..]).into_owned();
        Ok(())
    }

    pub(super) fn send(&mut self, message: &Layout) -> Outcome {
        self.tcp.send(&unit(message.clone()))
    }

    pub(super) fn expect(&mut self, message: &Layout) -> Outcome {
        self.tcp.expect(&unit(message.clone())).map(drop)
    }

    pub(super) fn asks(&mut self, message: &Layout, answer: &Layout) -> Outcome {
        self.send(message)?;
        self.expect(answer)
    }

    /// A request that shows the token.
    pub(super) fn request(&self, action: &str, arguments: &[&str]) -> Layout {
        request(action, &[&[&*self.name, &*self.token], arguments].concat())
    }

    /// The answer to such a request is `code`.
    pub(super) fn is_answered(&mut self, action: &str, arguments: &[&str], code: u16) -> Outcome {
        self.asks(&self.request(action, arguments), &response(action, code))
    }

    /// Nothing else is under way: the answer to a question is the next that comes.
    pub(super) fn expect_nothing(&mut self) -> Outcome {
        self.is_answered("leave_call", &[], super::bytes::NO_MEMBER)
    }
}
