//! The name that a caller gave a request, wherever the request goes.
//!
//! A write that reaches a follower is decided by the leader. Within [`Trace::scope`] it carries its
//! caller's name for it there, and the logs of both replicas say under that name what became of it. A
//! request without one carries nothing and costs a look at the task's own memory.
//!
//! The name travels with the task of the call: it does not reach tasks that the caller starts inside.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

tokio::task_local! {
    static CURRENT: Trace;
}

/// A request's name: 1 to 64 printable characters, no spaces, so that it is safe in any log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace(Arc<str>);

impl Trace {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Takes `name` for a request's name; `None` when it is no good one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let sane = (1..=Self::BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs `future`; writes that it makes carry this name.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The name of the request that the calling task serves, if it has one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_that_could_break_a_log_is_none() {
        for bad in ["", "two words", "line\nbreak", "caf\u{e9}", &"x".repeat(65)] {
            assert_eq!(Trace::new(bad), None, "{bad:?}");
        }
        assert_eq!(Trace::new("a-1:/b").unwrap().as_str(), "a-1:/b");
    }

    #[tokio::test]
    async fn a_name_is_current_inside_its_scope_alone() {
        assert_eq!(Trace::current(), None);
        let trace = Trace::new("a").unwrap();
        assert_eq!(trace.clone().scope(async { Trace::current() }).await, Some(trace));
        assert_eq!(Trace::current(), None);
    }
}
