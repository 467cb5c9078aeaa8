//! Descriptors: one or two for each user.

use crate::error::{Error, failed};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the runtime and the processes of a run take.
const OTHERS: u64 = 64;

/// Raises the soft limit to the hard one, and returns it.
pub(crate) fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return soft;
    }
    hard
}

/// Whether a process with `users` fits, each of which takes `each`.
pub(crate) fn check(users: u64, each: u64, limit: u64) -> Result<(), Error> {
    let needed = users * each + OTHERS;
    if needed <= limit {
        return Ok(());
    }
    let fits = (limit.saturating_sub(OTHERS) / each.max(1)).max(1);
    Err(failed!(
        "{users} users in one process need {needed} descriptors, and the limit is {limit} (ulimit -Hn): \
         with --processes each may have {fits} users"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_do_not_fit_are_refused_with_what_mends_it() {
        assert!(check(9_900, 2, 20_000).is_ok());
        let error = check(19_000, 2, 20_000).unwrap_err().to_string();
        assert!(error.contains("--processes") && error.contains("9968 users"), "{error}");
    }
}
