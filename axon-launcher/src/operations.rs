//! What takes a while: who asked for it, its steps, how far it has come.
//!
//! Hides *how operations are kept and told of*. It knows nothing of nodes: whoever carries an
//! operation out holds its [`Run`], moves it from step to step, and ends it.
//!
//! Invariants:
//! * one operation a node at a time; one on the whole cluster stands alone. Stopping and killing are
//!   always let in, beside what runs;
//! * an operation is cancelled only between steps, or in a step that only waits: nothing is left half done;
//! * a [`Run`] that is dropped ends its operation: none runs for ever;
//! * all that run are kept, and the latest [`ENDED_MAX`] that ended;
//! * a subscriber is told of each change, but of one operation not more often than each
//!   [`TELL_EVERY`]; the last state is always told.
//!
//! Operations do not outlive the launcher, and their numbers begin anew with it. What must be
//! finished is in the manifest.

use crate::supervisor::ControlError;
use crate::wire::{Operation, Progress, Step};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Operations that are kept after they ended.
pub const ENDED_MAX: usize = 200;

/// The least time between two messages about one operation.
pub const TELL_EVERY: Duration = Duration::from_millis(250);

/// Messages that a subscriber may be behind.
const TOLD_MAX: usize = 1024;

/// The operations that run, and the latest that ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    told: broadcast::Sender<Operation>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    operation: Operation,
    began: Instant,
    step_began: Instant,
    /// Whether it only waits for something that happens without it.
    waits: bool,
    /// Set when it should end; touched whenever a step begins or the operation ends.
    cancel: watch::Sender<bool>,
    told_at: Option<Instant>,
    telling: bool,
}

/// Why an operation was not begun or not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// Another one is at it.
    #[error("operation {id} ({kind}) is under way{on}; wait until it has ended, or cancel it", on = on(.node.as_deref()))]
    Busy {
        /// Its number.
        id: u64,
        /// What it does.
        kind: String,
        /// To which node.
        node: Option<String>,
        /// Whether it only waits, so that nothing is lost by cancelling it.
        waits: bool,
    },
    /// There is none of that number.
    #[error(
        "there is no operation {0}; the launcher keeps those that run and the latest {ENDED_MAX}"
    )]
    Unknown(u64),
    /// It has ended.
    #[error("operation {0} has ended already")]
    Ended(u64),
    /// Stopping now would leave something half done.
    #[error("operation {0} cannot be cancelled in this step without harm; try again after it")]
    NotNow(u64),
}

fn on(node: Option<&str>) -> String {
    node.map_or_else(|| " on the whole cluster".to_owned(), |node| format!(" on {node}"))
}

/// An operation about to begin.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What is done, in a word.
    pub kind: &'static str,
    /// To which node; nothing: to the whole cluster.
    pub node: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Its steps, in words.
    pub steps: Vec<String>,
}

impl Draft {
    fn is_let_in(&self) -> bool {
        matches!(self.kind, "stop" | "kill")
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self(Arc::new(Shared { told: broadcast::channel(TOLD_MAX).0, kept: Mutex::default() }))
    }
}

impl Operations {
    /// The operations that run, and the latest that ended, newest first.
    pub fn list(&self) -> Vec<Operation> {
        self.kept().entries.values().rev().map(Entry::now).collect()
    }

    /// An operation by its number.
    pub fn find(&self, id: u64) -> Option<Operation> {
        self.kept().entries.get(&id).map(Entry::now)
    }

    /// Every change of an operation from now on, as it is after it.
    pub fn subscribe(&self) -> broadcast::Receiver<Operation> {
        self.0.told.subscribe()
    }

    /// Begins an operation, unless another one is at the same node.
    ///
    /// One that stops or kills cancels what runs there, where that does no harm, and does not wait
    /// for it; of the same kind there is one a node at most.
    ///
    /// # Errors
    /// [`OperationError::Busy`] with the one that is under way.
    pub fn begin(&self, draft: Draft) -> Result<Run, OperationError> {
        let mut kept = self.kept();
        let mut in_the_way = Vec::new();
        for (id, entry) in kept.running() {
            let Operation { kind, node, .. } = &entry.operation;
            let meets = node.is_none() || draft.node.is_none() || *node == draft.node;
            let same = *kind == draft.kind && *node == draft.node;
            let beside = matches!(kind.as_str(), "stop" | "kill") && draft.is_let_in();
            if meets && (same || !draft.is_let_in()) {
                let (kind, node, waits) = (kind.clone(), node.clone(), entry.waits);
                return Err(OperationError::Busy { id, kind, node, waits });
            }
            if meets && !beside {
                in_the_way.push(id);
            }
        }
        for id in in_the_way {
            // In a step that must not be cut short the mark stands until the step is done.
            kept.entries[&id].cancel.send_replace(true);
        }
        kept.last_id += 1;
        let id = kept.last_id;
        let (cancel, cancelled) = watch::channel(false);
        kept.entries.insert(id, Entry::new(id, draft, cancel));
        kept.forget_old();
        drop(kept);
        self.tell(id);
        Ok(Run { operations: self.clone(), id, cancelled, ended: false })
    }

    /// The operation on the whole cluster that is under way, as what it is to others.
    pub fn on_all(&self) -> Option<OperationError> {
        let kept = self.kept();
        let mut running = kept.running();
        let (id, entry) = running.find(|(_, entry)| entry.operation.node.is_none())?;
        let kind = entry.operation.kind.clone();
        Some(OperationError::Busy { id, kind, node: None, waits: entry.waits })
    }

    /// Asks an operation to end before it is done.
    ///
    /// # Errors
    /// When there is no such operation, when it has ended, or when its step must not be cut short.
    pub fn cancel(&self, id: u64) -> Result<Operation, OperationError> {
        let kept = self.kept();
        let entry = kept.entries.get(&id).ok_or(OperationError::Unknown(id))?;
        if entry.operation.state != Progress::Running {
            return Err(OperationError::Ended(id));
        }
        if !entry.operation.can_cancel {
            return Err(OperationError::NotNow(id));
        }
        entry.cancel.send_replace(true);
        Ok(entry.now())
    }

    /// Waits until an operation has ended, no longer than `deadline`, and returns it as it is then.
    pub async fn until_ended(&self, id: u64, deadline: Duration) -> Option<Operation> {
        self.until(id, deadline, |entry| entry.operation.state != Progress::Running).await;
        self.find(id)
    }

    /// Waits until an operation only waits for what happens without it, or has ended.
    pub async fn until_waits(&self, id: u64, deadline: Duration) {
        self.until(id, deadline, |entry| entry.waits || entry.operation.state != Progress::Running)
            .await;
    }

    async fn until(&self, id: u64, deadline: Duration, wanted: impl Fn(&Entry) -> bool) {
        let changes = self.kept().entries.get(&id).map(|entry| entry.cancel.subscribe());
        let Some(mut changes) = changes else { return };
        let waiting = async {
            // The sender goes away with the entry.
            while self.kept().entries.get(&id).is_some_and(|entry| !wanted(entry))
                && changes.changed().await.is_ok()
            {}
        };
        tokio::time::timeout(deadline, waiting).await.ok();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.kept().entries.get_mut(&id) {
            change(entry);
        }
        self.tell(id);
    }

    /// Tells of an operation now, or as soon as it may be told of again.
    fn tell(&self, id: u64) {
        let mut kept = self.kept();
        let Some(entry) = kept.entries.get_mut(&id) else { return };
        let due = entry.told_at.map_or_else(Instant::now, |told| told + TELL_EVERY);
        if due <= Instant::now() {
            entry.told_at = Some(Instant::now());
            // Nobody may be listening.
            self.0.told.send(entry.now()).ok();
        } else if !entry.telling {
            entry.telling = true;
            let operations = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                if let Some(entry) = operations.kept().entries.get_mut(&id) {
                    entry.telling = false;
                }
                operations.tell(id);
            });
        }
    }
}

impl Kept {
    fn running(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let running = |entry: &&Entry| entry.operation.state == Progress::Running;
        self.entries.values().filter(running).map(|entry| (entry.operation.id, entry))
    }

    fn forget_old(&mut self) {
        let ended = |entry: &&Entry| entry.operation.state != Progress::Running;
        let old: Vec<u64> =
            self.entries.values().filter(ended).map(|entry| entry.operation.id).collect();
        for id in &old[..old.len().saturating_sub(ENDED_MAX)] {
            self.entries.remove(id);
        }
    }
}

impl Entry {
    fn new(id: u64, draft: Draft, cancel: watch::Sender<bool>) -> Self {
        let Draft { kind, node, actor, steps } = draft;
        let step = |name| Step { name, state: Progress::Pending, ms: 0, note: None };
        let operation = Operation {
            id,
            kind: kind.to_owned(),
            node,
            actor,
            state: Progress::Running,
            steps: steps.into_iter().map(step).collect(),
            started: now_millis(),
            ended: None,
            error: None,
            can_cancel: true,
        };
        let began = Instant::now();
        let (told_at, telling, waits) = (None, false, false);
        Self { operation, began, step_began: began, waits, cancel, told_at, telling }
    }

    /// The operation with the time of its running step.
    fn now(&self) -> Operation {
        let mut operation = self.operation.clone();
        if let Some(step) = operation.steps.iter_mut().find(|s| s.state == Progress::Running) {
            step.ms = self.step_began.elapsed().as_millis() as u64;
        }
        operation
    }

    /// Ends the running step, and counts the next one's time from now.
    fn end_step(&mut self, state: Progress) {
        let ms = self.step_began.elapsed().as_millis() as u64;
        self.step_began = Instant::now();
        if let Some(step) = self.running_step() {
            (step.state, step.ms) = (state, ms);
        }
    }

    fn running_step(&mut self) -> Option<&mut Step> {
        self.operation.steps.iter_mut().find(|step| step.state == Progress::Running)
    }
}

/// When a step may be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Not while it lasts, and not right after it: something would be left half done.
    No,
    /// While it lasts; the operation ends before the next step.
    AfterStep,
    /// At once: it only waits for what happens without it.
    Now,
}

/// An operation that was cancelled before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cancelled")]
pub struct Cancelled;

/// An operation in the hands of whoever carries it out.
#[derive(Debug)]
pub struct Run {
    operations: Operations,
    id: u64,
    cancelled: watch::Receiver<bool>,
    ended: bool,
}

impl Run {
    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How it is now.
    pub fn operation(&self) -> Option<Operation> {
        self.operations.find(self.id)
    }

    /// Goes on to the next step. This is a place to cancel.
    ///
    /// # Errors
    /// When it was cancelled: the step is not begun.
    pub fn next(&self, cancel: Cancel) -> Result<(), Cancelled> {
        if *self.cancelled.borrow() {
            return Err(Cancelled);
        }
        self.go_on(cancel);
        Ok(())
    }

    /// Goes on to the next step, which must follow now: nobody can cancel before it.
    pub fn go_on(&self, cancel: Cancel) {
        self.operations.change(self.id, |entry| {
            entry.end_step(Progress::Done);
            entry.waits = cancel == Cancel::Now;
            entry.operation.can_cancel = cancel != Cancel::No;
            let steps = &mut entry.operation.steps;
            if let Some(step) = steps.iter_mut().find(|step| step.state == Progress::Pending) {
                step.state = Progress::Running;
            }
            // Wakes whoever waits for it to only wait.
            entry.cancel.send_modify(|_| {});
        });
    }

    /// Says what is waited for or was found in the running step.
    pub fn note(&self, text: impl Into<String>) {
        let text = text.into();
        self.operations.change(self.id, |entry| {
            if let Some(step) = entry.running_step() {
                step.note = Some(text);
            }
        });
    }

    /// Waits for something that happens without us, until it has or the operation is cancelled.
    ///
    /// # Errors
    /// When it was cancelled.
    pub async fn wait<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Cancelled> {
        let mut cancelled = self.cancelled.clone();
        tokio::select! {
            biased;
            Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Err(Cancelled),
            done = waiting => Ok(done),
        }
    }

    /// Ends it.
    pub fn end(mut self, outcome: &Result<(), ControlError>) {
        let (state, error) = match outcome {
            Ok(()) => (Progress::Done, None),
            Err(ControlError::Cancelled) => (Progress::Cancelled, None),
            Err(error) => (Progress::Failed, Some(error.to_string())),
        };
        self.finish(state, error);
    }

    fn finish(&mut self, state: Progress, error: Option<String>) {
        self.ended = true;
        self.operations.change(self.id, |entry| {
            entry.end_step(state);
            let operation = &mut entry.operation;
            for step in operation.steps.iter_mut().filter(|s| s.state == Progress::Pending) {
                step.state = Progress::Cancelled;
            }
            (operation.state, operation.error) = (state, error);
            operation.can_cancel = false;
            // By the clock that does not jump, so that it never ends before it began.
            let took = entry.began.elapsed().as_millis() as u64;
            operation.ended = Some(operation.started + took);
            // Wakes whoever waits for the end.
            entry.cancel.send_modify(|_| {});
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.ended {
            let error = "the launcher gave it up; look at its log".to_owned();
            self.finish(Progress::Failed, Some(error));
        }
    }
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
