//! Whether the settings make sense together, and what an operator should know of them.

use super::Config;
use super::values::within;
use crate::{Error, Protocol, memory};
use core::ops::RangeInclusive;

/// More are of no use to a status page; each may take some 20 KiB.
const HTTP_CONNECTIONS: RangeInclusive<usize> = 1..=4096;
/// An hour, and no deadline that passes at once.
const SECONDS: RangeInclusive<u64> = 1..=3600;
/// Of one address: no more than most machines have cores. 0 is one for each core.
const UDP_SOCKETS: RangeInclusive<usize> = 0..=64;
/// A century, and a pebibyte; 0 for no limit.
const RECORDINGS_DAYS: RangeInclusive<u32> = 0..=36_500;
const RECORDINGS_MIB: RangeInclusive<u64> = 0..=1 << 30;
/// Connections of a protocol, or of an address.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;

impl Config {
    /// Whether every setting is in its range, and all go together.
    pub(super) fn check(&self) -> Result<(), Error> {
        within("http-connections", self.http_connections, HTTP_CONNECTIONS)
            .and_then(|()| within("memory", self.memory, memory::RANGE))
            .and_then(|()| within("http-seconds", self.http_deadline.as_secs(), SECONDS))
            .and_then(|()| within("drain-seconds", self.drain.as_secs(), SECONDS))
            .and_then(|()| within("close-seconds", self.close.as_secs(), SECONDS))
            .and_then(|()| within("connections", self.connections, CONNECTIONS))
            .and_then(|()| within("per-address", self.per_address, CONNECTIONS))
            .and_then(|()| within("recordings-days", self.recording.days, RECORDINGS_DAYS))
            .and_then(|()| within("recordings-mib", self.recording.mib, RECORDINGS_MIB))
            .and_then(|()| within("udp-sockets", self.udp_sockets, UDP_SOCKETS))
            .map_err(Error::Usage)?;
        self.check_control()?;
        for (protocol, section) in self.sections.iter() {
            let name = protocol.name();
            section.check(self).map_err(|why| Error::Usage(format!("{name}: {why}")))?;
        }
        if self.encrypted_only {
            self.check_encrypted()?;
        }
        let plain = !self.bind.is_loopback() && self.tls.is_none() && !self.allow_plain;
        for protocol in self.only.iter().filter(|_| plain) {
            if let Some(what) = self.section(*protocol).secrets() {
                let (name, bind) = (protocol.name(), self.bind);
                let advice = "use --tls-cert and --tls-key, or say --allow-plain";
                return Err(Error::Usage(format!(
                    "{name}: {what} would travel in the clear on {bind}: {advice}"
                )));
            }
        }
        Ok(())
    }

    fn check_control(&self) -> Result<(), Error> {
        self.control.check().map_err(|why| Error::Usage(format!("control: {why}")))?;
        if let Some(host) = self.control.password_in_clear().filter(|_| !self.allow_plain) {
            return Err(Error::Usage(format!(
                "control: the password of a webhook would travel in the clear to {host}: use https, or say --allow-plain"
            )));
        }
        if !self.control.has_tokens() {
            return Ok(());
        }
        match self.http.address() {
            None => Err(Error::Usage(
                "control: the HTTP API is served beside the status page: use http, or only the socket".into(),
            )),
            Some(address) if !address.ip().is_loopback() && !self.allow_plain => Err(Error::Usage(format!(
                "control: the token would travel in the clear on {address}: put a TLS terminator before the status page, \
                 or say --allow-plain"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Whether nothing has to go in the clear.
    fn check_encrypted(&self) -> Result<(), Error> {
        for protocol in &self.only {
            if let Some(why) = self.section(*protocol).never_encrypted() {
                let advice = "leave it out with --only, or do without encrypted-only";
                return Err(Error::Usage(format!("{}: {why}: {advice}", protocol.name())));
            }
        }
        let needs = |protocol: &Protocol| self.section(*protocol).needs_certificate();
        if self.tls.is_none() && self.only.iter().any(needs) {
            return Err(Error::Usage("encrypted-only needs --tls-cert and --tls-key".into()));
        }
        Ok(())
    }

    /// What an operator should know who has bound the server beyond loopback: a line for each protocol of which strangers can hear
    /// something, or where they can simply come in.
    pub fn warnings(&self) -> Vec<String> {
        if self.bind.is_loopback() {
            return Vec::new();
        }
        let warning = |protocol: &Protocol| {
            let section = self.section(*protocol);
            let said: Vec<&str> = section.open().into_iter().chain(section.clear(self)).collect();
            (!said.is_empty()).then(|| format!("{} on {}: {}", protocol.name(), self.bind, said.join("; ")))
        };
        self.only.iter().filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::Profile;
    use crate::{Dissonance, Msgpack, Opcode, Voicelink};
    use std::collections::BTreeMap;

    /// F-13: of two spellings of one name neither takes the other's place without a word.
    #[test]
    fn f_13_two_spellings_of_one_name_are_refused() {
        let table: BTreeMap<String, String> =
            ["Zo\u{eb}", "Zoe\u{308}", "bob"].map(|name| (name.into(), "geheim".into())).into();
        let tls = Some(("cert".into(), "key".into()));
        let good = Config { tls, ..Config::default() };
        assert!(good.check().is_ok());
        let configs = [(); 3].map(|()| good.clone());
        let [mut voicelink, mut opcode, mut msgpack] = configs;
        voicelink.of_mut::<Voicelink>().secrets = table.clone();
        opcode.of_mut::<Opcode>().secrets = table.clone();
        msgpack.of_mut::<Msgpack>().accounts = table;
        for (what, config) in [("voicelink", &voicelink), ("opcode", &opcode), ("msgpack", &msgpack)] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("are one name"), "{error}");
            assert!(error.contains("\\u{eb}") && error.contains("\\u{308}"), "{error}");
        }
        // In the original they are two.
        msgpack.of_mut::<Msgpack>().profile = Some(Profile::Original);
        assert!(msgpack.check().is_ok());
    }

    /// F-14: an operator who binds beyond loopback is told once for each protocol what any client can do.
    #[test]
    fn f_14_beyond_loopback_there_is_a_warning_for_each_protocol_that_is_open_or_in_the_clear() {
        assert!(Config::default().warnings().is_empty());
        let exposed = Config { bind: "0.0.0.0".parse().unwrap(), ..Config::default() };
        let warnings = exposed.warnings();
        assert_eq!(warnings.len(), Protocol::all().count(), "{warnings:?}");
        assert!(warnings.iter().any(|line| line.starts_with("dissonance on 0.0.0.0: any client can join")));
        assert!(warnings.iter().any(|line| line.starts_with("syfala") && line.contains("in the clear")));
        // TLS covers what goes by TCP.
        let tls = Some(("cert".into(), "key".into()));
        let only = vec![Protocol::MSGPACK, Protocol::DISSONANCE];
        let mut covered = Config { tls, only, ..exposed };
        covered.of_mut::<Dissonance>().token = Some("sesame".into());
        let warnings = covered.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("UDP"), "{warnings:?}");
        let encrypted = Config { encrypted_only: true, ..covered };
        assert!(encrypted.warnings().is_empty() && encrypted.check().is_ok());
        // And what cannot be encrypted is refused.
        for config in [
            Config { tls: None, ..encrypted.clone() },
            Config { only: vec![Protocol::OPCODE], ..encrypted.clone() },
            Config { only: vec![Protocol::SYFALA], ..encrypted.clone() },
        ] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("encrypted-only"), "{error}");
        }
    }
}
