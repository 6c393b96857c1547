//! Who may hand this replica a snapshot now.
//!
//! A snapshot is loaded beside the state and then takes its place. There is room for one: of two at a
//! time, one would be put in place under the other's name, half made. And two come: a leader that was
//! deposed while it sent one goes on until it hears of it, and its successor begins. So receptions
//! take turns, and one of a newer leader, or a second one of the same, has the one under way give up.

use super::Vote;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// A reception's number, and who sends.
type Announced = Option<(u64, Vote)>;

/// The receptions of a replica.
pub(crate) struct Receptions {
    turn: Arc<Mutex<()>>,
    newest: watch::Sender<Announced>,
}

/// The right to receive. Whatever is loaded must be gone before it is: it goes where that goes.
pub(crate) struct Turn {
    number: u64,
    newest: watch::Receiver<Announced>,
    _held: OwnedMutexGuard<()>,
}

impl Receptions {
    pub(crate) fn new() -> Self {
        Self { turn: Arc::default(), newest: watch::Sender::new(None) }
    }

    /// Waits until the one before has given up or is in place; `None` when a newer leader sends.
    ///
    /// Cancel safe.
    pub(crate) async fn begin(&self, vote: Vote) -> Option<Turn> {
        let mut number = 0;
        let admitted = self.newest.send_if_modified(|newest| {
            if newest.as_ref().is_some_and(|(_, known)| *known > vote) {
                return false;
            }
            number = newest.as_ref().map_or(0, |(last, _)| last + 1);
            *newest = Some((number, vote));
            true
        });
        if !admitted {
            return None;
        }
        let newest = self.newest.subscribe();
        Some(Turn { number, newest, _held: self.turn.clone().lock_owned().await })
    }
}

impl Turn {
    /// Ends when another reception waits for this one to give up.
    pub(crate) async fn overtaken(&mut self) {
        let number = self.number;
        let another = |newest: &Announced| newest.as_ref().is_some_and(|(last, _)| *last > number);
        if self.newest.wait_for(another).await.is_err() {
            // The replica is gone, and with it whoever could wait.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures_util::FutureExt;

    fn vote(term: u64) -> Vote {
        Vote::new_committed(term, 1)
    }

    #[test]
    fn the_one_under_way_gives_up_before_the_next_begins() {
        let receptions = Receptions::new();
        let mut first = receptions.begin(vote(1)).now_or_never().unwrap().unwrap();
        assert!(first.overtaken().now_or_never().is_none());
        for term in [1, 2] {
            let mut next = Box::pin(receptions.begin(vote(term)));
            assert!(next.as_mut().now_or_never().is_none(), "the first still has its file");
            assert!(first.overtaken().now_or_never().is_some());
            drop(first);
            first = next.now_or_never().unwrap().unwrap();
            assert!(first.overtaken().now_or_never().is_none());
        }
    }

    #[test]
    fn a_deposed_leader_overtakes_nobody() {
        let receptions = Receptions::new();
        let mut newer = receptions.begin(vote(2)).now_or_never().unwrap().unwrap();
        assert!(receptions.begin(vote(1)).now_or_never().unwrap().is_none());
        assert!(newer.overtaken().now_or_never().is_none());
        drop(newer);
        assert!(receptions.begin(vote(1)).now_or_never().unwrap().is_none());
    }
}
