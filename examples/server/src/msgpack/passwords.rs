//! Passwords: hashed with Argon2id, in memory that is there once for each thread that hashes.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// Threads that hash. One hash takes a core for tens of milliseconds.
pub(super) const THREADS: usize = 2;

/// How passwords are hashed now.
#[derive(Debug)]
pub(super) struct Hasher {
    argon2: Argon2<'static>,
    /// Of a password that no user knows: checked where there is no user, so that it takes as long.
    dummy: String,
}

/// The memory in which one thread hashes: 19 MiB with today's parameters. It is the same for all hashes, whosever they are, so that
/// no page of it is new for one and warm for another.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// Hashes `password`.
    fn hash(&mut self, argon2: &Argon2<'_>, password: &[u8], salt: &[u8]) -> Result<Output, String> {
        let blocks = argon2.params().block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        let mut out = [0; Output::MAX_LENGTH];
        let len = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let out = out.get_mut(..len).ok_or("the output is too long")?;
        let memory = self.0.get_mut(..blocks).unwrap_or_default();
        argon2
            .hash_password_into_with_memory(password, salt, out, memory)
            .map_err(|error| error.to_string())?;
        Output::new(out).map_err(|error| error.to_string())
    }

    /// Gives back what hashes with today's parameters do not need.
    fn shrink(&mut self, hasher: &Hasher) {
        self.0.truncate(hasher.argon2.params().block_count());
        self.0.shrink_to_fit();
    }
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    Wrong,
    Right,
    /// Right, and to be stored anew: parameters have changed.
    Outdated(String),
}

impl Hasher {
    pub(super) fn new(memory: &mut Memory) -> Result<Self, String> {
        let argon2 = Argon2::default();
        let unknown = Zeroizing::new(uuid::Uuid::new_v4().into_bytes());
        let dummy = hash_with(&argon2, memory, &unknown[..])?;
        Ok(Self { argon2, dummy })
    }

    pub(super) fn hash(&self, memory: &mut Memory, password: &[u8]) -> Result<String, String> {
        hash_with(&self.argon2, memory, password)
    }

    /// Checks a password against a user's hash, or takes as long without one.
    pub(super) fn check(&self, memory: &mut Memory, password: &[u8], stored: Option<&str>) -> Check {
        let exists = stored.is_some();
        let right = verify(memory, password, stored.unwrap_or(&self.dummy));
        let params = match right {
            Ok(Some(params)) if exists => params,
            _ => return Check::Wrong,
        };
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        if cost(&params) == cost(self.argon2.params()) {
            return Check::Right;
        }
        memory.shrink(self);
        self.hash(memory, password).map_or(Check::Right, Check::Outdated)
    }
}

/// The parameters of `stored`, if `password` is what was hashed.
fn verify(memory: &mut Memory, password: &[u8], stored: &str) -> Result<Option<Params>, String> {
    let hash = PasswordHash::new(stored).map_err(|error| error.to_string())?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|error| error.to_string())?;
    let version = hash.version.map_or_else(|| Ok(Version::default()), Version::try_from);
    let version = version.map_err(|error| error.to_string())?;
    let params = Params::try_from(&hash).map_err(|error| error.to_string())?;
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(None) };
    let computed = memory.hash(&Argon2::new(algorithm, version, params.clone()), password, &salt)?;
    // Compares in constant time.
    Ok((computed == expected).then_some(params))
}

fn hash_with(argon2: &Argon2<'_>, memory: &mut Memory, password: &[u8]) -> Result<String, String> {
    let salt = Salt::generate();
    let output = memory.hash(argon2, password, &salt)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(|error| error.to_string())?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_07_passwords_are_hashed_with_a_salt_and_checked() {
        let mut memory = Memory::default();
        let hasher = Hasher::new(&mut memory).unwrap();
        let hashes = [0, 1].map(|_| hasher.hash(&mut memory, b"geheim").unwrap());
        let [one, two] = &hashes;
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two);
        for (password, stored, expected) in [
            ("geheim", Some(&one[..]), Check::Right),
            ("geheim", Some(two), Check::Right),
            ("Geheim", Some(one), Check::Wrong),
            ("geheim", None, Check::Wrong),
            ("geheim", Some("geheim"), Check::Wrong),
            ("geheim", Some("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ"), Check::Wrong),
        ] {
            assert_eq!(hasher.check(&mut memory, password.as_bytes(), stored), expected, "{stored:?}");
        }
        // Others read what we store.
        use argon2::password_hash::PasswordVerifier as _;
        assert!(Argon2::default().verify_password(b"geheim", one.as_str()).is_ok());
    }

    #[test]
    fn m_07_hashes_with_other_parameters_are_made_anew() {
        let mut memory = Memory::default();
        let hasher = Hasher::new(&mut memory).unwrap();
        for (kib, passes) in [(8192, 1), (32_768, 1)] {
            let params = Params::new(kib, passes, 1, None).unwrap();
            let other = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let old = hash_with(&other, &mut memory, b"geheim").unwrap();
            let Check::Outdated(new) = hasher.check(&mut memory, b"geheim", Some(&old)) else {
                panic!("outdated")
            };
            assert_eq!(hasher.check(&mut memory, b"geheim", Some(&new)), Check::Right);
            assert_eq!(hasher.check(&mut memory, b"falsch", Some(&old)), Check::Wrong);
        }
    }

    /// F-40, F-42: the hash is made in the same memory, no matter which name is looked up.
    #[test]
    fn m_07_all_hashes_are_made_in_the_same_memory() {
        let mut memory = Memory::default();
        let hasher = Hasher::new(&mut memory).unwrap();
        let stored = hasher.hash(&mut memory, b"geheim").unwrap();
        let place = |memory: &Memory| (memory.0.as_ptr() as usize, memory.0.capacity());
        let before = place(&memory);
        for n in 0..6 {
            hasher.check(&mut memory, b"falsch", Some(&*stored).filter(|_| n % 2 == 0));
            assert_eq!(place(&memory), before);
        }
        assert_eq!(memory.0.len(), 19_456);
    }
}
