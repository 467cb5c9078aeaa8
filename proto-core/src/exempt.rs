use crate::Instant;
use alloc::vec::Vec;
use core::{net::IpAddr, time::Duration};

/// Addresses that stand for many people: loopback, and those of TLS terminators and gateways. They are exempt from limits by address, and
/// they prove no claim.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    /// Those beside loopback.
    addresses: Vec<IpAddr>,
}

impl Exempt {
    /// Loopback alone.
    pub const fn new() -> Self {
        Self { addresses: Vec::new() }
    }

    /// Adds addresses.
    pub fn add(&mut self, addresses: &[IpAddr]) {
        self.addresses.extend(addresses.iter().map(IpAddr::to_canonical));
    }

    /// Whether an address stands for many people. It is that address alone: others in its /64 do not.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.addresses.contains(&address)
    }

    /// Whether an address was added: that of a terminator or a gateway, behind which no client listens. Loopback is none unless it was added.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }

    /// The address, if limits by address hold for it: `None` where it stands for many people.
    pub fn limited(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.filter(|address| !self.covers(*address))
    }

    /// Whether two addresses show that they are those of one user: they are the same, and do not stand for many people.
    pub fn is_one_user(&self, one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
        one == other && self.limited(one).is_some()
    }

    /// Until when the name of a lost connection is kept for its address: for `quarantine`, or not at all where the address stands for many
    /// people and nothing would show whose name it was.
    pub fn name_kept_until(&self, now: Instant, address: Option<IpAddr>, quarantine: Duration) -> Instant {
        match address {
            Some(address) if self.covers(address) => now,
            _ => now.saturating_add(quarantine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-06: an address that stands for many people shows nothing about one of them.
    #[test]
    fn f_06_loopback_and_proxies_stand_for_many_people_and_prove_no_claim() {
        let [here, proxy, mapped, user]: [IpAddr; 4] =
            ["::1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let mut exempt = Exempt::new();
        assert!(exempt.covers(here) && !exempt.is_gateway(here) && !exempt.covers(proxy));
        exempt.add(&[mapped]);
        let (now, quarantine) = (Instant::from_nanos(5), Duration::from_nanos(30));
        for many in [here, proxy, mapped] {
            assert!(exempt.covers(many) && exempt.limited(Some(many)).is_none(), "{many}");
            assert!(!exempt.is_one_user(Some(many), Some(many)), "{many}");
            assert_eq!(exempt.name_kept_until(now, Some(many), quarantine), now, "{many}");
        }
        let user = Some(user);
        assert_eq!(exempt.limited(user), user);
        assert!(exempt.is_one_user(user, user) && !exempt.is_one_user(user, Some(proxy)));
        // Where no address is known, nothing shows who is who.
        assert!(!exempt.is_one_user(None, None));
        for address in [user, None] {
            assert_eq!(exempt.name_kept_until(now, address, quarantine), Instant::from_nanos(35));
        }
    }
}
