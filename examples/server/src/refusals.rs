//! Refusals: counted by rule, and logged with what an operator can do.

use crate::figure::Figure;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A name that another client has, or that will not do.
    Name,
    /// A secret that is missing or wrong.
    Secret,
    /// A name without a secret, where only others are let in.
    SecretsOnly,
    /// A name that belongs to another address.
    FixedName,
    /// A token that is missing or wrong.
    Token,
    /// A password that is wrong, or of no user.
    Password,
}

impl Rule {
    /// As the metrics and the log have it.
    const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Secret => "secret",
            Self::SecretsOnly => "secrets-only",
            Self::FixedName => "fixed-name",
            Self::Token => "token",
            Self::Password => "password",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Name => "the client has to choose another name, or to wait until the name is free",
            Self::Secret => "the client needs the secret that `secrets` has for the name",
            Self::SecretsOnly => "add the name to `secrets`, or turn `secrets-only` off",
            Self::FixedName => "change `names`, or let the client take another name",
            Self::Token => "the client needs the `token` of the settings",
            Self::Password => "many of one address are an attack: a firewall can block it",
        }
    }
}

/// What a protocol has refused.
#[derive(Debug)]
pub(crate) struct Refusals {
    protocol: &'static str,
    counts: Vec<(Rule, AtomicU64)>,
}

impl Refusals {
    /// For a protocol with these rules.
    pub(crate) fn new(protocol: &'static str, rules: &[Rule]) -> Self {
        Self { protocol, counts: rules.iter().map(|rule| (*rule, AtomicU64::new(0))).collect() }
    }

    /// Counts and logs one. `why` is ours.
    pub(crate) fn note(&self, rule: Rule, from: Option<SocketAddr>, why: &str) {
        if let Some((_, count)) = self.counts.iter().find(|(counted, _)| *counted == rule) {
            count.fetch_add(1, Relaxed);
        }
        let _peer = crate::logging::peer_span(self.protocol, from).entered();
        tracing::info!(rule = rule.name(), why, advice = rule.advice(), "refused");
    }

    /// What has been counted.
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        self.counts.iter().map(|(rule, count)| Figure::refusals(rule.name(), count.load(Relaxed)))
    }
}
