//! Who looks at all replicas, all the time, for what must never be seen on any of them.
//!
//! * One leader a term.
//! * Replicas that have applied as far have the same state: what each log says up to there is the same.
//! * What is applied and committed never goes back while a replica lives, nor does its term.
//! * An id belongs to one replica for ever.
//! * A replica halts only when its disk was told to fail.

use crate::world::{Life, World};
use axon_core::Error;
use axon_core::status::Status;
use axon_core::types::{NodeId, Revision};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(3);
/// How many looks there are to one at the counters.
const COUNTED_EVERY: u64 = 32;

/// What was seen, on all replicas since the beginning.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<u64, NodeId>,
    states: BTreeMap<u64, (u128, Revision, u64)>,
    owners: BTreeMap<NodeId, u64>,
    /// By life: term, committed, applied.
    standing: BTreeMap<u64, (u64, u64, u64)>,
    /// By life: snapshots installed, checkpoints written, history compacted.
    counters: BTreeMap<u64, [u64; 3]>,
}

/// How much there was to see.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coverage {
    /// Terms that had a leader.
    pub terms: usize,
    /// Places of the log at which states were compared.
    pub states: usize,
    /// Snapshots that were installed.
    pub snapshots: u64,
    pub checkpoints: u64,
    /// The highest compacted revision.
    pub compacted: u64,
}

#[derive(Clone)]
pub struct Observer {
    world: Arc<World>,
    seen: Arc<Mutex<Seen>>,
}

/// A replica that has voted in a term in which it had not.
#[derive(Debug, Clone, Copy)]
pub struct Voted {
    pub number: u64,
}

impl Observer {
    pub fn new(world: Arc<World>) -> Self {
        Self { world, seen: Arc::default() }
    }

    /// Looks until something is wrong; says who has voted.
    pub async fn run(self, voted: mpsc::UnboundedSender<Voted>) {
        for round in 0_u64.. {
            if self.world.is_wrong() {
                return;
            }
            for life in self.world.running() {
                self.look(&life, &voted);
                if round.is_multiple_of(COUNTED_EVERY) {
                    self.count(&life);
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, life: &Life) {
        let metrics = life.cluster.metrics();
        let compacted = metrics.compacted_revision.0;
        let counters = [metrics.snapshots_installed, metrics.checkpoints, compacted];
        self.seen().counters.insert(life.node, counters);
    }

    pub fn coverage(&self) -> Coverage {
        let seen = self.seen();
        let all = |at: usize| seen.counters.values().map(move |counters| counters[at]);
        Coverage {
            terms: seen.leaders.len(),
            states: seen.states.len(),
            snapshots: all(0).sum(),
            checkpoints: all(1).sum(),
            compacted: all(2).max().unwrap_or(0),
        }
    }

    fn look(&self, life: &Life, voted: &mpsc::UnboundedSender<Voted>) {
        match life.cluster.status() {
            Ok(status) => self.take(life, &status, voted),
            Err(Error::NotReady { .. } | Error::ShutDown) => {}
            Err(Error::Removed { id }) => self.removed(life, id),
            Err(error) => self.halted(life.number, &error.to_string()),
        }
    }

    fn removed(&self, life: &Life, id: NodeId) {
        if !self.world.with(life.number, |replica| replica.leaving) {
            let text = format!("n{} says that it (id {id}) was removed", life.number);
            self.world.wrong("membership", text);
        }
    }

    fn halted(&self, number: u64, cause: &str) {
        let expected = self.world.with(number, |replica| replica.spoiled || replica.rotten);
        if !expected {
            self.world.wrong("halt", format!("n{number} halts: {cause}"));
        }
    }

    fn take(&self, life: &Life, status: &Status, voted: &mpsc::UnboundedSender<Voted>) {
        let number = life.number;
        if let Some(cause) = &status.halted {
            return self.halted(number, cause);
        }
        let wrong = |check, text: String| self.world.wrong(check, format!("n{number}: {text}"));
        let mut seen = self.seen();
        let (id, term) = (status.node_id, status.term);
        let owner = *seen.owners.entry(id).or_insert(number);
        if owner != number {
            wrong("node id", format!("it has the id {id}, which was n{owner}'s"));
        }
        self.world.with(number, |replica| replica.id = Some(id));
        if status.raft_state.is_leader() {
            if !seen.leaders.contains_key(&term) {
                self.world.trace.note(format!("n{number} (id {id}) leads in term {term}"));
            }
            let leader = *seen.leaders.entry(term).or_insert(id);
            if leader != id {
                wrong("one leader", format!("it leads in term {term}, and so did id {leader}"));
            }
        }
        let (applied, committed) = (status.applied_index.0, status.committed_index.0);
        let state = (status.state_hash, status.revision, number);
        let known = *seen.states.entry(applied).or_insert(state);
        if (known.0, known.1) != (state.0, state.1) {
            let (revision, other) = (known.1, known.2);
            let text = format!(
                "applied up to entry {applied} it is at revision {}, n{other} was at {revision}: \
                 state hashes {:x} and {:x}",
                state.1, state.0, known.0
            );
            wrong("equal states", text);
        }
        let before = seen.standing.insert(life.node, (term, committed, applied));
        if let Some((old_term, old_committed, old_applied)) = before {
            if term < old_term || committed < old_committed || applied < old_applied {
                let text = format!(
                    "term {old_term}, committed {old_committed}, applied {old_applied} go back to \
                     {term}, {committed}, {applied}"
                );
                wrong("monotonic", text);
            }
            if term > old_term && status.vote.is_some() {
                let _ = voted.send(Voted { number });
            }
        }
    }
}
