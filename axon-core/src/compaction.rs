//! Keeps the history within its budget: what the leader asks of the machine, and when.
//!
//! Every replica runs the task; it acts only while it leads. Forgetting is two commands: one raises
//! the compacted revision, then steps of a few hundred revisions take the rows away, until there are
//! none left. Invariants:
//!
//! * it remembers nothing that matters: what is compacted and what is swept is in the state, so that
//!   after a change of leader the next one goes on where this one stopped;
//! * one step at a time, each waits for the one before: writes pass in between, and what a step costs
//!   is bounded by the machine;
//! * nothing is forgotten before its age. Age is cluster time: the stamps of the log, and beyond the
//!   last of them the leader's monotonic clock. No wall clock has a part in it;
//! * a budget of bytes is overdrawn before anything goes, then the oldest revisions go until the
//!   history is a tenth below it. How many that takes is estimated from their average size; since
//!   the oldest may be larger than that, at most [`BITE_REVISIONS`] go before it looks again.
//!
//! Its commands carry no request id: done twice, they do no harm. An error is no more than a reason to
//! wait, be it an election or a member that is too old for these commands.

use crate::command::{Command, Op};
use crate::config::History;
use crate::error::Error;
use crate::machine::clock::ClusterClock;
use crate::machine::compact::SWEEP_REVISIONS_MAX;
use crate::raft::engine::Engine;
use crate::runtime;
use crate::state::View;
use crate::types::Revision;
use std::sync::Arc;
use std::time::Duration;

/// How often the history is compared with its budget.
const INTERVAL: Duration = Duration::from_millis(250);
/// The same where only the latest versions are kept.
const LATEST_ONLY_INTERVAL: Duration = Duration::from_millis(100);
/// The longest pause after an error; it doubles up to here.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// Revisions swept in one step. A put that arrives behind a step waits for all of it: some hundreds
/// are a millisecond or two of apply, and a hundred steps a second are more than a disk's writes.
const STEP_REVISIONS: u64 = 250;
/// Revisions compacted at once for their bytes.
const BITE_REVISIONS: u64 = 1_000;
/// With more than this to sweep, or a sixteenth over its bytes, it falls behind: steps are larger.
const BACKLOG_MAX: u64 = 50_000;

/// Keeps the history within `history` while this replica leads, until the engine stops.
pub(crate) async fn run(engine: Arc<Engine>, history: History) {
    let interval = match history {
        History::Keep { .. } => INTERVAL,
        History::LatestOnly => LATEST_ONLY_INTERVAL,
    };
    let mut pause = interval;
    let mut draining = false;
    loop {
        tokio::time::sleep(pause).await;
        match round(&engine, history, &mut draining).await {
            Ok(()) => pause = interval,
            Err(error) => {
                tracing::debug!("history is not compacted now: {error}");
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Compacts and sweeps until there is nothing left to do, or this replica does not lead.
async fn round(engine: &Engine, history: History, draining: &mut bool) -> Result<(), Error> {
    if !engine.leads() {
        return Ok(());
    }
    let due = due(engine, history).await;
    while engine.leads() {
        let past = Past::of(&engine.reader.view());
        let Some(op) = past.next(due, history, draining) else { break };
        engine.propose(&Command { request: None, op }, STEP_DEADLINE).await?;
    }
    Ok(())
}

/// Up to where the history may go, whatever its size.
async fn due(engine: &Engine, history: History) -> Revision {
    match history {
        History::LatestOnly => engine.reader.view().revision(),
        History::Keep { age, .. } => {
            let now = ClusterClock::at(engine.route.clock.now_millis());
            let reader = engine.reader.clone();
            let old = runtime::blocking(move || reader.older_than(age, now)).await;
            old.unwrap_or_default()
        }
    }
}

/// What the state says of its past.
#[derive(Debug, Clone, Copy)]
struct Past {
    revision: Revision,
    compacted: Revision,
    swept: Revision,
    bytes: u64,
}

impl Past {
    fn of(view: &View) -> Self {
        Self {
            revision: view.revision(),
            compacted: view.compacted_revision(),
            swept: view.swept_revision(),
            bytes: view.totals().history_bytes(),
        }
    }

    /// The next command; `None` when all is as it should be. `draining` says that the history was
    /// over its bytes, and is not yet as far below as it should get.
    fn next(self, due: Revision, history: History, draining: &mut bool) -> Option<Op> {
        let Self { compacted, swept, bytes, .. } = self;
        let budget = match history {
            History::Keep { bytes, .. } => bytes,
            History::LatestOnly => u64::MAX,
        };
        let backlog = compacted.0 - swept.0;
        if backlog > 0 {
            let behind = backlog > BACKLOG_MAX || bytes > budget.saturating_add(budget / 16);
            let limit = if behind { SWEEP_REVISIONS_MAX } else { STEP_REVISIONS };
            return Some(Op::Sweep { limit });
        }
        let target = budget - budget / 10;
        *draining = bytes > if *draining { target } else { budget };
        let too_many = if *draining { self.oldest(bytes - target) } else { Revision(0) };
        let upto = due.max(too_many);
        (upto > compacted).then_some(Op::Compact { upto })
    }

    /// The last of the oldest revisions that hold about `bytes`, or of the first bite of them.
    fn oldest(self, bytes: u64) -> Revision {
        let revisions = u128::from(self.revision.0 - self.swept.0);
        let average_share = (u128::from(bytes) * revisions).div_ceil(u128::from(self.bytes.max(1)));
        Revision(self.swept.0 + (average_share as u64).min(BITE_REVISIONS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: History = History::Keep { bytes: 1_000_000, age: Duration::from_secs(1) };

    fn past(revision: u64, compacted: u64, swept: u64, bytes: u64) -> Past {
        let (revision, compacted, swept) =
            (Revision(revision), Revision(compacted), Revision(swept));
        Past { revision, compacted, swept, bytes }
    }

    fn compact(upto: u64) -> Op {
        Op::Compact { upto: Revision(upto) }
    }

    #[test]
    fn what_is_compacted_is_swept_first_in_larger_steps_when_it_falls_behind() {
        let next = |past: Past| past.next(Revision(900), BUDGET, &mut false);
        let steps = Some(Op::Sweep { limit: STEP_REVISIONS });
        let large_steps = Some(Op::Sweep { limit: SWEEP_REVISIONS_MAX });
        assert_eq!(next(past(1_000, 500, 499, 5)), steps);
        assert_eq!(next(past(1_000, 500, 0, 1_062_500)), steps);
        assert_eq!(next(past(1_000, 500, 0, 1_062_501)), large_steps);
        assert_eq!(next(past(100_000, BACKLOG_MAX + 1, 0, 5)), large_steps);
        assert_eq!(next(past(1_000, 500, 500, 5)), Some(compact(900)));
        assert_eq!(next(past(1_000, 900, 900, 5)), None);
    }

    #[test]
    fn a_budget_of_bytes_is_overdrawn_and_then_left_a_tenth_below() {
        let mut draining = false;
        let mut next = |past: Past| past.next(Revision(0), BUDGET, &mut draining);
        assert_eq!(next(past(5_000, 0, 0, 1_000_000)), None);
        // 101 KB too many, of 200.2 B a revision: 505 revisions.
        assert_eq!(next(past(5_000, 0, 0, 1_001_000)), Some(compact(505)));
        assert_eq!(next(past(5_000, 505, 505, 950_000)), Some(compact(505 + 237)));
        assert_eq!(next(past(5_000, 742, 742, 900_000)), None);
        assert_eq!(next(past(5_000, 742, 742, 950_000)), None, "over the target, not the budget");
    }

    #[test]
    fn the_oldest_revisions_may_be_the_largest_so_it_looks_again_after_a_bite() {
        let tiny = past(1_000_000, 10, 10, 2_000_000);
        assert_eq!(tiny.next(Revision(0), BUDGET, &mut false), Some(compact(10 + BITE_REVISIONS)));
        let huge = past(12, 10, 10, u64::MAX);
        assert_eq!(huge.next(Revision(0), BUDGET, &mut false), Some(compact(12)));
    }

    #[test]
    fn latest_only_knows_no_bytes() {
        let next = |past: Past, due| past.next(Revision(due), History::LatestOnly, &mut false);
        assert_eq!(next(past(100, 90, 90, u64::MAX), 100), Some(compact(100)));
        assert_eq!(next(past(100, 100, 100, 0), 100), None);
        assert_eq!(next(past(100, 100, 90, 5), 100), Some(Op::Sweep { limit: STEP_REVISIONS }));
    }
}
