//! Objects, requests and responses, accounts, at a server.

use super::bytes::{
    ALREADY_CONNECTED, PASSWORD, REQUEST_INVALID, SUCCESS, USER_ALREADY_EXIST, USER_DOES_NOT_EXIST,
    USER_NOT_CONNECTED, WRONG_PASSWORD, request, response, string, strings, unit,
};
use super::user::User;
use crate::check::Check;
use crate::layout::Layout;

pub(super) const REQUESTS: &[Check] = &[
    Check {
        row: "M-02",
        name: "register",
        expected: "register is answered 0, and 513 for a name that there is.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::registered(stage, "alice")?;
            let again = request("register", &[&alice.name, PASSWORD]);
            alice.asks(&again, &response("register", USER_ALREADY_EXIST))
        },
    },
    Check {
        row: "M-03",
        name: "log-in",
        expected: "login is answered 0, the name and a token; 515 for a wrong password.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::registered(stage, "alice")?;
            let wrong = request("login", &[&alice.name, "wrong"]);
            alice.asks(&wrong, &response("login", WRONG_PASSWORD))?;
            alice.log_in()
        },
    },
    Check {
        row: "M-07",
        name: "token",
        expected: "A token is a version 4 UUID, and another one for each log-in.",
        section: "Decisions, Names, users and tokens",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::logged_in(stage, "alice")?;
            let first = alice.token.clone();
            let is_uuid = first.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                14 => c == '4',
                19 => matches!(c, '8' | '9' | 'a' | 'b'),
                _ => matches!(c, '0'..='9' | 'a'..='f'),
            });
            if !is_uuid {
                return Err(alice.tcp.fails("the token is no UUID of version 4", first.as_bytes()));
            }
            alice.asks(&request("logout", &[&alice.name]), &response("logout", SUCCESS))?;
            alice.log_in()?;
            if alice.token == first {
                return Err(alice.tcp.fails("the token is that of the log-in before", first.as_bytes()));
            }
            Ok(())
        },
    },
    Check {
        row: "M-07",
        name: "account-private",
        expected: "login with an unknown name is answered as a wrong password is: 515.",
        section: "Decisions, Names, users and tokens",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let unknown = request("login", &[&alice.name, PASSWORD]);
            alice.asks(&unknown, &response("login", WRONG_PASSWORD))
        },
    },
    Check {
        row: "M-07",
        name: "invalid-name",
        expected: "register with an invisible name is answered 1023.",
        section: "Decisions, Names, users and tokens",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let invisible = request("register", &["al\u{200b}ice", PASSWORD]);
            alice.asks(&invisible, &response("register", REQUEST_INVALID))
        },
    },
    Check {
        row: "M-03",
        name: "log-out",
        expected: "logout is answered 0, 256 where no log-in was, 512 for a user who is not connected.",
        section: "Decisions, Names, users and tokens",
        needs: &[],
        run: |stage| {
            let mut alice = User::logged_in(stage, "alice")?;
            let nobody = request("logout", &[&stage.name("nobody")]);
            alice.asks(&nobody, &response("logout", USER_NOT_CONNECTED))?;
            let own = request("logout", &[&alice.name]);
            alice.asks(&own, &response("logout", SUCCESS))?;
            alice.asks(&own, &response("logout", ALREADY_CONNECTED))
        },
    },
    Check {
        row: "M-01",
        name: "wide-forms",
        expected: "Strings in str 8, 16 and 32, and in bin, are read.",
        section: "On the wire",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let length = u8::try_from(alice.name.len()).unwrap_or(u8::MAX);
            let wide = Layout::big()
                .bytes("str 16", [0xda, 0, 7])
                .bytes("type", b"request")
                .bytes("str 8", [0xd9, 8])
                .bytes("action", b"register")
                .bytes("str 32", [0xdb, 0, 0, 0, length])
                .bytes("username", &alice.name)
                .bytes("bin 8", [0xc4, 6])
                .bytes("password", PASSWORD);
            alice.asks(&wide, &response("register", SUCCESS))?;
            alice.log_in()
        },
    },
    Check {
        row: "M-06",
        name: "without-request",
        expected: "add_contact is answered with and without \"request\" in front, and 514 for an unknown contact.",
        section: "Decisions, Messages",
        needs: &[],
        run: |stage| {
            let bob = User::registered(stage, "bob")?;
            let mut alice = User::logged_in(stage, "alice")?;
            let answer = response("add_contact", SUCCESS);
            alice.asks(&strings(&["add_contact", &alice.name, &alice.token, &bob.name]), &answer)?;
            alice.asks(&alice.request("add_contact", &[&bob.name]), &answer)?;
            alice.is_answered("add_contact", &[&stage.name("nobody")], USER_DOES_NOT_EXIST)
        },
    },
    Check {
        row: "M-06",
        name: "missing-arguments",
        expected: "Arguments that are missing, of another type or cut short are answered 1023.",
        section: "Decisions, Messages",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let answer = response("register", REQUEST_INVALID);
            alice.asks(&request("register", &["alice"]), &answer)?;
            alice.asks(&request("register", &["alice"]).bytes("password", [0xcd, 1, 2]), &answer)?;
            alice.asks(&request("register", &["alice"]).bytes("password", b"\xa6ab"), &answer)
        },
    },
    Check {
        row: "M-06",
        name: "trailing-objects",
        expected: "Objects behind the last argument are ignored.",
        section: "Decisions, Messages",
        needs: &[],
        run: |stage| {
            let mut alice = User::connect(stage, "alice")?;
            let more =
                request("register", &[&alice.name, PASSWORD, "more"]).bytes("nested", [0x92, 0xc0, 0x80]);
            alice.asks(&more, &response("register", SUCCESS))
        },
    },
    Check {
        row: "M-12",
        name: "unknown-action",
        expected: "Unknown actions and types are answered 1023, and the connection stays.",
        section: "Decisions, Messages",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::logged_in(stage, "alice")?;
            alice.asks(&request("no_such_action", &[]), &response("no_such_action", REQUEST_INVALID))?;
            alice.send(&string(Layout::big(), "type", "no_such_type"))?;
            let came = alice.tcp.frame()?;
            let head = Layout::big().u8("flags", 0).any("length", 1);
            let answer = string(head, "type", "response").rest("action, code");
            alice.tcp.same_as(&answer, &came)?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "M-12",
        name: "in-order",
        expected: "Requests in one piece are answered once each, in order.",
        section: "A session",
        needs: &[],
        run: |stage| {
            let mut alice = User::registered(stage, "alice")?;
            let asked = [
                request("login", &[&alice.name, "wrong"]),
                request("register", &[&alice.name, PASSWORD]),
                request("logout", &[&alice.name]),
            ];
            let together: Vec<u8> = asked.into_iter().flat_map(|it| unit(it).encode()).collect();
            alice.tcp.send_bytes(&together)?;
            alice.expect(&response("login", WRONG_PASSWORD))?;
            alice.expect(&response("register", USER_ALREADY_EXIST))?;
            alice.expect(&response("logout", ALREADY_CONNECTED))
        },
    },
    Check {
        row: "M-11",
        name: "several-frames",
        expected: "A message of two frames is answered 1023 without an action, and what follows is read.",
        section: "Messages that are too large",
        needs: &["strict"],
        run: |stage| {
            let mut alice = User::logged_in(stage, "alice")?;
            let part = alice.request("leave_call", &[]);
            let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
            let first = Layout::big().u8("flags", 1).u8("length", length).then(part.clone());
            alice.tcp.send(&first.then(unit(part)))?;
            alice.expect(&response("", REQUEST_INVALID))?;
            alice.expect_nothing()
        },
    },
    Check {
        row: "M-11",
        name: "deeply-nested",
        expected: "Arrays nested a thousand deep cost that message alone; other users are answered.",
        section: "Decisions, Messages",
        needs: &["strict"],
        run: |stage| {
            let mut bob = User::logged_in(stage, "bob")?;
            let mut alice = User::logged_in(stage, "alice")?;
            let nested = request("register", &["alice"]).bytes("password", [0x91; 1000]);
            alice.asks(&nested, &response("register", REQUEST_INVALID))?;
            alice.expect_nothing()?;
            bob.expect_nothing()
        },
    },
];
