//! How many connections this process may hold, and who gets them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that are kept back: connections to PostgreSQL, files, children, listeners.
const KEPT_BACK: usize = 256;
/// Connections of terminals, at most.
const TERMINALS: usize = 8192;
/// Connections of browsers and programs, at most.
const BROWSERS: usize = 2048;

/// Connections, at most.
#[derive(Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of terminals.
    pub terminals: usize,
    /// Of browsers and programs.
    pub browsers: usize,
}

/// Allows as many open files as the system does (a shell allows 1024), and shares them out.
pub fn share_out() -> Shares {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit on open files stays as it is");
    }
    let limit = getrlimit(Resource::Nofile).current;
    shares(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// A quarter of what is not kept back goes to browsers, so that neither can take the other's.
fn shares(limit: usize) -> Shares {
    let free = limit.saturating_sub(KEPT_BACK);
    Shares { terminals: (free / 4 * 3).clamp(1, TERMINALS), browsers: (free / 4).clamp(1, BROWSERS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_descriptors_that_are_kept_back() {
        assert_eq!(shares(524_288), Shares { terminals: TERMINALS, browsers: BROWSERS });
        for limit in [512, 1024, 4096, 11_000] {
            let Shares { terminals, browsers } = shares(limit);
            assert!(terminals + browsers + KEPT_BACK <= limit, "{limit}");
            assert!(browsers >= 64, "{limit}");
        }
    }
}
