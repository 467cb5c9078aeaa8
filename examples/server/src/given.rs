//! Settings that are given one by one: by the environment, and by flags. They have the names of the file.

use crate::Error;
use core::fmt;
use serde::de::value::Error as Nothing;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use std::env;
use std::path::PathBuf;
use toml::{Table, Value};

/// What the names of all variables begin with.
const PREFIX: &str = "VOXWIRE_";

/// Settings that hold secrets: they have no flag, as every user of the machine sees those, and no error shows them. A URL may hold one.
const SECRETS: [&str; 5] = ["accounts", "secrets", "token", "control-webhook-secret", "control-webhooks"];

/// What other programs of the family read, and what an orchestrator makes of a service of this name.
const OTHERS: [&str; 11] = [
    "VOXWIRE_ATTACK_",
    "VOXWIRE_CONFIG",
    "VOXWIRE_CONTROL_TOKEN",
    "VOXWIRE_FUZZ_",
    "VOXWIRE_MONO_",
    "VOXWIRE_PASSWORD",
    "VOXWIRE_PORT",
    "VOXWIRE_REQUIRE_",
    "VOXWIRE_SERVICE_",
    "VOXWIRE_SOAK_",
    "VOXWIRE_TEST_",
];

/// Whether a setting holds secrets.
pub(crate) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

/// One setting, as it was given.
#[derive(Clone)]
pub(crate) struct Given {
    /// The protocol's section, if it is in one.
    pub(crate) section: Option<&'static str>,
    pub(crate) key: &'static str,
    /// The flag or the variable.
    origin: String,
    text: String,
}

/// Shows no value: it may be a secret.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Given {
    /// By the flag of the setting.
    pub(crate) fn by_flag(section: &'static str, key: &'static str, text: String) -> Self {
        Self { section: Some(section), key, origin: format!("--{}", flag(section, key)), text }
    }

    /// By the variable of the setting, or, if it holds secrets, by a file that a variable names. `None` if there is neither.
    fn by_environment(section: Option<&'static str>, key: &'static str) -> Result<Option<Self>, Error> {
        let (origin, from_file) = (variable(section, key), format!("{}_FILE", variable(section, key)));
        let file = env::var_os(&from_file).filter(|_| is_secret(key)).map(PathBuf::from);
        let text = match (env::var_os(&origin), file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(Error::Usage(format!("{origin} and {from_file}: one of them expected")));
            }
            (Some(text), None) => {
                text.into_string().map_err(|_| Error::Usage(format!("{origin} is not UTF-8")))?
            }
            (None, Some(path)) => {
                let text = std::fs::read_to_string(&path).map_err(|error| Error::File { path, error })?;
                text.strip_suffix('\n').map(String::from).unwrap_or(text)
            }
        };
        Ok(Some(Self { section, key, origin, text }))
    }

    /// The value that `T`, a section or the file without them, takes for the setting.
    fn value<T: DeserializeOwned>(&self) -> Result<Value, Error> {
        let mut said: Option<String> = None;
        for value in readings(&self.text) {
            let table = Table::from_iter([(self.key.to_owned(), value.clone())]);
            match T::deserialize(table) {
                Ok(_) => return Ok(value),
                Err(error) => {
                    // The reading that has the right type says best what is wrong.
                    let message = error.message().to_owned();
                    let is_type = |said: &String| said.starts_with("invalid type");
                    if said.as_ref().is_none_or(|before| is_type(before) && !is_type(&message)) {
                        said = Some(message);
                    }
                }
            }
        }
        let why = match said {
            _ if is_secret(self.key) => "a text expected, or a table as in { NAME = \"SECRET\" }".to_owned(),
            said => readable(&said.unwrap_or_default()),
        };
        Err(Error::Usage(format!("{}: {why}", self.origin)))
    }
}

/// `table` with what was given in place of what it has.
pub(crate) fn overlay<'g, T: DeserializeOwned>(
    table: &mut Table,
    given: impl Iterator<Item = &'g Given>,
) -> Result<T, Error> {
    for given in given {
        table.insert(given.key.into(), given.value::<T>()?);
    }
    T::deserialize(table.clone()).map_err(|error| Error::Usage(readable(error.message())))
}

/// In the words of a file of settings.
pub(crate) fn readable(message: &str) -> String {
    let numbers = [
        ("u16", "a number from 0 to 65535"),
        ("u32", "a number from 0 to 4294967295"),
        ("u64", "a number that is not negative"),
        ("usize", "a number that is not negative"),
    ];
    numbers.iter().fold(message.trim_end().to_owned(), |message, (name, expected)| {
        message.replace(&format!("expected {name}"), &format!("expected {expected}"))
    })
}

/// What a text can stand for: itself, a value of TOML, a list of those, a list of texts.
fn readings(text: &str) -> impl Iterator<Item = Value> {
    let parse = |text: String| {
        let table: Table = toml::from_str(&format!("value = {text}")).ok()?;
        table.into_iter().next().filter(|(name, _)| name == "value").map(|(_, value)| value)
    };
    let list = text.split(',').map(|part| Value::String(part.trim().into())).collect();
    let one_line = !text.contains(['\n', '\r']);
    let parsed = [text.to_owned(), format!("[{text}]")].into_iter().filter(move |_| one_line);
    [Value::String(text.into())].into_iter().chain(parsed.filter_map(parse)).chain([Value::Array(list)])
}

/// The flag of a setting, without the dashes.
pub(crate) fn flag(section: &str, key: &str) -> String {
    format!("{section}-{key}")
}

/// The variable of a setting.
pub(crate) fn variable(section: Option<&str>, key: &str) -> String {
    let name = section.map_or_else(|| key.to_owned(), |section| flag(section, key));
    format!("{PREFIX}{}", name.replace('-', "_").to_uppercase())
}

/// What the environment says of the settings with these names.
pub(crate) fn environment(
    settings: impl Iterator<Item = (Option<&'static str>, &'static str)>,
) -> Result<Vec<Given>, Error> {
    let given = settings.map(|(section, key)| Given::by_environment(section, key));
    given.filter_map(Result::transpose).collect()
}

/// Variables that look like settings and are none.
pub(crate) fn unknown_variables(
    settings: impl Iterator<Item = (Option<&'static str>, &'static str)>,
) -> Vec<String> {
    let mut known = Vec::new();
    for (section, key) in settings {
        known.push(variable(section, key));
        if is_secret(key) {
            known.push(format!("{}_FILE", variable(section, key)));
        }
    }
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .filter(|name| !OTHERS.iter().any(|other| name.starts_with(other)))
        .collect();
    unknown.sort();
    unknown
}

/// The names of a struct's fields, as its `Deserialize` has them.
pub(crate) fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Ends in an error, as nothing is deserialized.
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

struct Fields<'f>(&'f mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Nothing> {
        *self.0 = fields;
        Err(Nothing::custom("only its fields"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Dissonance, Msgpack, Opcode, Voicelink};

    fn value<T: DeserializeOwned>(key: &'static str, text: &str) -> Result<Value, String> {
        let given = Given { section: None, key, origin: "VOXWIRE_X".into(), text: text.into() };
        given.value::<T>().map_err(|error| error.to_string())
    }

    /// C-07: a variable is read as what its setting is, and a wrong one says what is expected.
    #[test]
    fn c_07_a_text_is_read_as_what_the_setting_is() {
        // A token of digits is a text.
        assert_eq!(value::<Dissonance>("token", "12345"), Ok("12345".into()));
        assert_eq!(value::<Dissonance>("quic", "false"), Ok(false.into()));
        assert_eq!(value::<Dissonance>("port", "4000"), Ok(4000.into()));
        assert_eq!(value::<Dissonance>("rooms", "Lobby, 12"), Ok(vec!["Lobby", "12"].into()));
        assert_eq!(value::<Opcode>("relay-ports", "50000,50100"), Ok(vec![50_000, 50_100].into()));
        assert_eq!(value::<Opcode>("relay", "192.0.2.1,::1"), Ok(vec!["192.0.2.1", "::1"].into()));
        assert!(value::<Voicelink>("secrets", "{ bob = \"correct horse\" }").is_ok());
        for (wrong, expected) in [("x", "a number from 0 to 65535"), ("70000", "a number from 0 to 65535")] {
            let error = value::<Dissonance>("port", wrong).unwrap_err();
            assert!(error.starts_with("VOXWIRE_X: ") && error.contains(expected), "{error}");
        }
        // A value cannot bring other settings with it.
        assert!(value::<Dissonance>("quic", "true\nport = 1").is_err());
        let error = value::<Msgpack>("accounts", "geheim").unwrap_err();
        assert!(!error.contains("geheim") && error.contains("NAME = \"SECRET\""), "{error}");
    }

    #[test]
    fn the_fields_are_those_of_the_file() {
        assert!(fields_of::<Voicelink>().contains(&"idle-call-seconds"));
        assert_eq!(variable(Some("opcode"), "relay-ports"), "VOXWIRE_OPCODE_RELAY_PORTS");
        assert_eq!(variable(None, "http-seconds"), "VOXWIRE_HTTP_SECONDS");
    }
}
