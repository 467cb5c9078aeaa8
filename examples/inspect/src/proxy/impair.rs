//! A worse network: loss, delay and jitter, the same again for the same seed.

use core::time::Duration;

/// How long a segment of TCP that is lost is missing: what a sender waits at least before it sends again.
pub(super) const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What to do to what is forwarded.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Impairment {
    /// Drop so many of a hundred datagrams. On TCP, where nothing is lost, so many segments come 200 ms late, and all behind them.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Delay everything by so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    delay: u64,
    /// Delay each packet by up to so many milliseconds more. Datagrams overtake each other then.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    jitter: u64,
    /// The number that loss and jitter follow from; without it they differ each time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".into()),
    }
}

/// Numbers for one direction of one conversation.
#[derive(Debug)]
pub(super) struct Random(fastrand::Rng);

impl Random {
    /// Of its own, for another direction.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }
}

impl Impairment {
    pub(super) fn random(&self) -> Random {
        Random(self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed))
    }

    /// Whether the next packet is lost, and how late it comes otherwise.
    pub(super) fn next(&self, random: &mut Random) -> (bool, Duration) {
        let is_lost = self.loss > 0.0 && random.0.f64() * 100.0 < self.loss;
        let jitter = if self.jitter > 0 { random.0.u64(0..=self.jitter * 1000) } else { 0 };
        (is_lost, Duration::from_millis(self.delay) + Duration::from_micros(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f_60_a_seed_makes_the_same_losses_and_delays_again() {
        let impairment = Impairment { loss: 10.0, delay: 20, jitter: 30, seed: Some(7) };
        let run = |impairment: &Impairment| {
            let mut random = impairment.random();
            (0..1000).map(|_| impairment.next(&mut random)).collect::<Vec<_>>()
        };
        let fates = run(&impairment);
        assert_eq!(fates, run(&impairment));
        assert!(fates != run(&Impairment { seed: Some(8), ..impairment }));
        let lost = fates.iter().filter(|(is_lost, _)| *is_lost).count();
        assert!((70..130).contains(&lost), "{lost}");
        let range = Duration::from_millis(20)..=Duration::from_millis(50);
        assert!(fates.iter().all(|(_, late)| range.contains(late)));
        let none = Impairment { loss: 0.0, delay: 0, jitter: 0, seed: None };
        assert!(run(&none).iter().all(|fate| *fate == (false, Duration::ZERO)));
    }
}
