//! Who is signed in, and how often a wrong token may be tried.
//!
//! Kept in memory only: a launcher that starts again knows nobody, and asks for the token again.
//! What is kept of a session is its digest, so that what could be read here opens nothing. Invariants:
//!
//! * at most [`SESSIONS_MAX`] sessions; one more ends the oldest. Each ends after [`SESSION_TIME`];
//! * wrong tokens are counted for all callers together, since whoever tries many has many addresses:
//!   [`TRIES_MAX`] at once, then one a second. While there is none left, no token is looked at, a right
//!   one neither, or trying would still tell. Sessions go on meanwhile.

use crate::secret::{Seal, draw, seal};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sessions that are known at once.
const SESSIONS_MAX: usize = 64;

/// How long a session lasts.
pub(crate) const SESSION_TIME: Duration = Duration::from_hours(12);

/// Wrong tokens that are looked at without a pause.
const TRIES_MAX: u32 = 10;

/// How long it takes until one more is.
pub(crate) const TRY_EVERY: Duration = Duration::from_secs(1);

/// How often it is told that tokens were wrong.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The sessions that are open, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions(VecDeque<(Seal, Instant)>);

impl Sessions {
    /// Opens a session and returns its id, which is known to nobody else.
    pub(crate) fn open(&mut self, now: Instant) -> String {
        let id = draw();
        if self.0.len() == SESSIONS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((seal(id.as_bytes()), now));
        id
    }

    /// Reports whether `id` is an open session.
    pub(crate) fn knows(&mut self, id: &str, now: Instant) -> bool {
        self.0.retain(|(_, opened)| now.duration_since(*opened) < SESSION_TIME);
        let seal = seal(id.as_bytes());
        self.0.iter().any(|(known, _)| *known == seal)
    }

    /// Closes a session.
    pub(crate) fn close(&mut self, id: &str) {
        let seal = seal(id.as_bytes());
        self.0.retain(|(known, _)| *known != seal);
    }
}

/// The wrong tokens of late.
#[derive(Debug)]
pub(crate) struct Tries {
    left: u32,
    counted: Instant,
    told: Option<Instant>,
    untold: u64,
}

impl Tries {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: TRIES_MAX, counted: now, told: None, untold: 0 }
    }

    /// Reports whether a token may be looked at.
    pub(crate) fn may(&mut self, now: Instant) -> bool {
        while self.left < TRIES_MAX && now.duration_since(self.counted) >= TRY_EVERY {
            self.left += 1;
            self.counted += TRY_EVERY;
        }
        if self.left == TRIES_MAX {
            self.counted = now;
        }
        self.left > 0
    }

    /// Counts a wrong one. Returns how many there were since the last time it was told, if it is time
    /// to tell it again.
    pub(crate) fn wrong(&mut self, now: Instant) -> Option<u64> {
        self.left = self.left.saturating_sub(1);
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_until_it_is_closed_or_old() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (one, two) = (sessions.open(now), sessions.open(now));
        assert_ne!(one, two);
        assert!(sessions.knows(&one, now) && sessions.knows(&two, now));
        assert!(!sessions.knows("", now) && !sessions.knows(&one[1..], now));
        sessions.close(&one);
        assert!(!sessions.knows(&one, now));
        assert!(sessions.knows(&two, now + Duration::from_hours(11)));
        assert!(!sessions.knows(&two, now + SESSION_TIME));
        assert!(sessions.0.is_empty(), "an old session takes no room");
    }

    #[test]
    fn one_session_too_many_ends_the_oldest() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let ids: Vec<_> = (0..=SESSIONS_MAX).map(|_| sessions.open(now)).collect();
        assert!(!sessions.knows(&ids[0], now));
        assert!(ids[1..].iter().all(|id| sessions.knows(id, now)));
    }

    #[test]
    fn wrong_tokens_run_out_and_come_back_one_a_second() {
        let now = Instant::now();
        let mut tries = Tries::new(now);
        for _ in 0..TRIES_MAX {
            assert!(tries.may(now));
            tries.wrong(now);
        }
        assert!(!tries.may(now));
        assert!(!tries.may(now + Duration::from_millis(999)));
        assert!(tries.may(now + TRY_EVERY));
        tries.wrong(now + TRY_EVERY);
        assert!(!tries.may(now + TRY_EVERY));
        let later = now + TRY_EVERY * 1000;
        for _ in 0..TRIES_MAX {
            assert!(tries.may(later));
            tries.wrong(later);
        }
        assert!(!tries.may(later), "a long pause saves up no more than there were");
    }

    #[test]
    fn wrong_tokens_are_told_once_a_minute_with_their_number() {
        let now = Instant::now();
        let mut tries = Tries::new(now);
        assert_eq!(tries.wrong(now), Some(1));
        assert_eq!(tries.wrong(now), None);
        assert_eq!(tries.wrong(now + Duration::from_secs(59)), None);
        assert_eq!(tries.wrong(now + TELL_EVERY), Some(3));
    }
}
