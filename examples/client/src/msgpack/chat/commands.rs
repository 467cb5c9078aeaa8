//! What can be typed.

use std::path::PathBuf;

pub(super) const HELP: &str = "\
/msg USER TEXT     a text for a user           /send GROUP TEXT   a text for a group
/add USER          onto the contact list       /contacts          users seen so far
/create GROUP      make a group                /join GROUP        become a member
/groups            groups seen so far          /voice USER FILE   send a recording
/recordings        those received              /play [N]          hear one
/save [N] FILE     keep one                    /call GROUP        take part in a call
/say FILE          play it into the call       /level             how the call goes
/hangup            leave the call              /quit              end
/mute, /unmute     send no sound, or again     /talk              begin or end to talk (--push-to-talk)
/volume USER PERCENT  how loud a speaker is heard
text without a command goes where the last one went; TAB completes commands and names";

/// The names that are completed, the original client's among them.
pub(super) const NAMES: [&str; 23] = [
    "/help",
    "/quit",
    "/exit",
    "/msg",
    "/send",
    "/msg_group",
    "/add",
    "/contacts",
    "/create",
    "/create_group",
    "/join",
    "/join_group",
    "/groups",
    "/voice",
    "/recordings",
    "/play",
    "/save",
    "/call",
    "/join_call",
    "/say",
    "/level",
    "/hangup",
    "/leave_call",
];

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Quit,
    Text(String),
    Msg(String, String),
    Send(String, String),
    Add(String),
    Contacts,
    Create(String),
    Join(String),
    Groups,
    Voice(String, PathBuf),
    Recordings,
    Play(Option<usize>),
    Save(Option<usize>, PathBuf),
    Call(String),
    Say(PathBuf),
    Level,
    Hangup,
}

impl Command {
    /// `Ok(None)` for an empty line; `Err` says what was expected.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        // Two slashes are one at the beginning of a text.
        if !line.starts_with('/') || line.starts_with("//") {
            return Ok(Some(Self::Text(line.strip_prefix('/').unwrap_or(line).into())));
        }
        let (name, rest) = split(line);
        let usage = |what: &str| format!("{name} {what}");
        let one = |what: &str| if rest.is_empty() { Err(usage(what)) } else { Ok(rest.to_owned()) };
        let two = |what: &str| match split(rest) {
            (first, second) if !first.is_empty() && !second.is_empty() => {
                Ok((first.to_owned(), second.to_owned()))
            }
            _ => Err(usage(what)),
        };
        Ok(Some(match name {
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            "/contacts" => Self::Contacts,
            "/groups" => Self::Groups,
            "/recordings" => Self::Recordings,
            "/level" => Self::Level,
            "/hangup" | "/leave_call" => Self::Hangup,
            "/msg" => two("USER TEXT").map(|(user, text)| Self::Msg(user, text))?,
            "/send" | "/msg_group" => two("GROUP TEXT").map(|(group, text)| Self::Send(group, text))?,
            "/voice" => two("USER FILE").map(|(user, path)| Self::Voice(user, path.into()))?,
            "/add" => Self::Add(one("USER")?),
            "/create" | "/create_group" => Self::Create(one("GROUP")?),
            "/join" | "/join_group" => Self::Join(one("GROUP")?),
            "/call" | "/join_call" => Self::Call(one("GROUP")?),
            "/say" => Self::Say(one("FILE")?.into()),
            "/play" if rest.is_empty() => Self::Play(None),
            "/play" => Self::Play(Some(rest.parse().map_err(|_| usage("[NUMBER]"))?)),
            "/save" => match split(rest) {
                ("", _) => return Err(usage("[NUMBER] FILE")),
                (path, "") => Self::Save(None, path.into()),
                (n, path) => Self::Save(Some(n.parse().map_err(|_| usage("[NUMBER] FILE"))?), path.into()),
            },
            _ => return Err(format!("{name}: no such command; /help lists them")),
        }))
    }
}

/// The first word, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_texts() {
        let parse = |line: &str| Command::parse(line).unwrap();
        assert_eq!(parse("  "), None);
        assert_eq!(parse(" hello there "), Some(Command::Text("hello there".into())));
        assert_eq!(parse("//me waves"), Some(Command::Text("/me waves".into())));
        assert_eq!(parse("/msg bob  two  words"), Some(Command::Msg("bob".into(), "two  words".into())));
        assert_eq!(parse("/msg_group room hi"), Some(Command::Send("room".into(), "hi".into())));
        assert_eq!(parse("/play"), Some(Command::Play(None)));
        assert_eq!(parse("/save 2 a b.wav"), Some(Command::Save(Some(2), "a b.wav".into())));
        assert_eq!(parse("/save b.wav"), Some(Command::Save(None, "b.wav".into())));
        assert_eq!(Command::parse("/msg bob"), Err("/msg USER TEXT".into()));
        assert_eq!(Command::parse("/fly"), Err("/fly: no such command; /help lists them".into()));
    }

    #[test]
    fn every_name_that_is_completed_is_a_command() {
        for name in NAMES {
            let with = |arguments: &str| Command::parse(&format!("{name} {arguments}"));
            assert!(with("").is_ok() || with("1").is_ok() || with("a b").is_ok(), "{name}");
        }
    }
}
