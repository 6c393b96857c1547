//! The stream's messages: the latest of them in a ring, with the picture that they add up to.
//!
//! Every message changes the picture, under one lock with its number. So a snapshot is exactly what
//! the messages up to its number made, and whoever goes on behind it misses nothing. Invariants:
//!
//! * readers hold nothing here: each asks for what follows a number, and one that asks for what has
//!   fallen out gets a snapshot instead;
//! * at most [`MESSAGES_MAX`] messages and [`BYTES_MAX`] bytes are kept;
//! * figures of a node, and of the cluster, are told at most twice a second; what people act on (a
//!   state, a role, a leader) at once.

use crate::report::millis;
use crate::wire::{Cluster, Event, Health, Node, Operation, Snapshot, Tick};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// Messages that are kept.
pub const MESSAGES_MAX: usize = 4_096;

/// Bytes of messages that are kept.
pub const BYTES_MAX: usize = 16 << 20;

/// Messages that a reader gets at once.
const READ_MAX: usize = 64;

/// Ticks in the picture: 15 minutes.
const TICKS_MAX: usize = 900;

/// Events in the picture.
pub const EVENTS_MAX: usize = 100;

/// Operations in the picture.
const OPERATIONS_MAX: usize = 100;

/// Least time between two messages with figures of the same node.
const FIGURES_EVERY: Duration = Duration::from_millis(500);

/// Least time between two messages of an operation that goes on.
const OPERATION_EVERY: Duration = Duration::from_millis(250);

/// One message of the stream.
#[derive(Debug)]
pub struct Message {
    /// Its number.
    pub seq: u64,
    /// Its kind.
    pub event: &'static str,
    /// What it carries: an object, on one line.
    pub data: String,
}

/// What follows a number.
#[derive(Debug)]
pub enum Following {
    /// These messages; none: nothing has followed yet.
    Messages(Vec<Arc<Message>>),
    /// It has fallen out, or was never given here.
    Unknown,
}

/// The ring.
#[derive(Debug)]
pub struct Ring {
    /// Tells starts of the launcher apart.
    pub epoch: u64,
    inner: Mutex<Inner>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    seq: u64,
    bytes: usize,
    messages: VecDeque<Arc<Message>>,
    closed: bool,
    cluster: Option<(Cluster, Option<Instant>)>,
    nodes: Vec<(Node, Option<Instant>)>,
    operations: Vec<(Operation, Option<Instant>)>,
    /// What is to be said of operations that were spoken of a moment ago.
    held_back: BTreeMap<u64, Operation>,
    events: VecDeque<Event>,
    ticks: VecDeque<Tick>,
}

impl Default for Ring {
    fn default() -> Self {
        let epoch = millis(SystemTime::now());
        Self { epoch, inner: Mutex::default(), last: watch::channel(0).0 }
    }
}

impl Ring {
    /// Takes in how everything is now, and tells what has changed.
    pub fn look(&self, now: Instant, cluster: Cluster, nodes: Vec<Node>) {
        self.change(|inner| {
            inner.show_cluster(now, cluster);
            inner.show_nodes(now, nodes);
            let held = std::mem::take(&mut inner.held_back);
            for operation in held.into_values() {
                inner.show_operation(now, operation);
            }
        });
    }

    /// Tells of a second of work.
    pub fn tick(&self, tick: Tick) {
        self.change(|inner| {
            inner.push("tick", &tick);
            inner.ticks.push_back(tick);
            if inner.ticks.len() > TICKS_MAX {
                inner.ticks.pop_front();
            }
        });
    }

    /// Tells of an event, unless it was told already.
    pub fn event(&self, event: Event) {
        self.change(|inner| {
            if inner.events.back().is_some_and(|last| last.id >= event.id) {
                return;
            }
            inner.push("event", &event);
            inner.events.push_back(event);
            if inner.events.len() > EVENTS_MAX {
                inner.events.pop_front();
            }
        });
    }

    /// The number of the last event that was told.
    pub fn last_event(&self) -> u64 {
        self.lock().events.back().map_or(0, |event| event.id)
    }

    /// Tells how far an operation is.
    pub fn operation(&self, now: Instant, operation: Operation) {
        self.change(|inner| inner.show_operation(now, operation));
    }

    /// Says good-bye; nothing follows it.
    pub fn close(&self, reason: &str, retry: Duration) {
        self.change(|inner| {
            let retry = retry.as_millis() as u64;
            inner.push("bye", &json!({ "reason": reason, "retry_ms": retry }));
            inner.closed = true;
        });
    }

    /// Reports whether good-bye was said.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Everything as it is, and the number of the last message in it; `None` before the first look.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let inner = self.lock();
        let (cluster, _) = inner.cluster.as_ref()?;
        Some(Snapshot {
            epoch: self.epoch,
            seq: inner.seq,
            now: millis(SystemTime::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: cluster.clone(),
            nodes: inner.nodes.iter().map(|(node, _)| node.clone()).collect(),
            operations: inner.operations.iter().map(|(operation, _)| operation.clone()).collect(),
            events: inner.events.iter().cloned().collect(),
            ticks: inner.ticks.iter().cloned().collect(),
        })
    }

    /// How the cluster was when it was last looked at.
    pub fn health(&self) -> Option<Health> {
        self.lock().cluster.as_ref().map(|(cluster, _)| cluster.health)
    }

    /// What follows the message numbered `seq`.
    pub fn following(&self, seq: u64) -> Following {
        let inner = self.lock();
        let first = inner.messages.front().map_or(inner.seq + 1, |message| message.seq);
        if seq > inner.seq || seq + 1 < first {
            return Following::Unknown;
        }
        let known = (seq + 1 - first) as usize;
        Following::Messages(inner.messages.iter().skip(known).take(READ_MAX).cloned().collect())
    }

    /// Waits until something follows the message numbered `seq`.
    pub async fn until_after(&self, seq: u64) {
        let mut last = self.last.subscribe();
        // Fails only when the ring is gone, which whoever waits here keeps alive.
        last.wait_for(|last| *last > seq).await.ok();
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        if !inner.closed {
            change(&mut inner);
            self.last.send_if_modified(|last| std::mem::replace(last, inner.seq) != inner.seq);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, event: &'static str, data: &impl Serialize) {
        self.seq += 1;
        let data = serde_json::to_string(data).expect("every shape of the API is JSON");
        self.bytes += data.len();
        self.messages.push_back(Arc::new(Message { seq: self.seq, event, data }));
        while self.messages.len() > MESSAGES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.data.len();
        }
    }

    fn show_cluster(&mut self, now: Instant, cluster: Cluster) {
        if let Some((shown, at)) = &self.cluster {
            let figures_only =
                Cluster { term: shown.term, committed: shown.committed, ..cluster.clone() }
                    == *shown;
            if *shown == cluster || figures_only && is_recent(*at, now) {
                return;
            }
        }
        self.push("cluster", &cluster);
        self.cluster = Some((cluster, Some(now)));
    }

    fn show_nodes(&mut self, now: Instant, nodes: Vec<Node>) {
        let gone = |(shown, _): &(Node, _)| nodes.iter().all(|node| node.id != shown.id);
        for gone in self.nodes.extract_if(.., |shown| gone(shown)).collect::<Vec<_>>() {
            self.push("node", &json!({ "id": gone.0.id, "gone": true }));
        }
        for (place, node) in nodes.into_iter().enumerate() {
            let Some(at) = self.nodes.iter().position(|(shown, _)| shown.id == node.id) else {
                self.push("node", &node);
                self.nodes.insert(place.min(self.nodes.len()), (node, Some(now)));
                continue;
            };
            let (shown, told) = &self.nodes[at];
            let figures_only = without_figures(shown) == without_figures(&node);
            if *shown == node || figures_only && is_recent(*told, now) {
                continue;
            }
            let patch = patch(shown, &node);
            self.push("node", &patch);
            self.nodes[at] = (node, Some(now));
        }
    }

    fn show_operation(&mut self, now: Instant, operation: Operation) {
        let at = self.operations.iter().position(|(shown, _)| shown.id == operation.id);
        if let Some(at) = at {
            let (shown, told) = &self.operations[at];
            if *shown == operation {
                return;
            }
            if shown.state == operation.state && is_recent_for(*told, now, OPERATION_EVERY) {
                self.held_back.insert(operation.id, operation);
                return;
            }
            self.operations.remove(at);
        }
        self.held_back.remove(&operation.id);
        self.push("operation", &operation);
        // Newest first, as the list of operations has them.
        let at = self.operations.partition_point(|(shown, _)| shown.id > operation.id);
        self.operations.insert(at, (operation, Some(now)));
        self.operations.truncate(OPERATIONS_MAX);
    }
}

fn is_recent(told: Option<Instant>, now: Instant) -> bool {
    is_recent_for(told, now, FIGURES_EVERY)
}

fn is_recent_for(told: Option<Instant>, now: Instant, time: Duration) -> bool {
    told.is_some_and(|told| now < told + time)
}

/// The node without what changes all the time.
fn without_figures(node: &Node) -> Node {
    Node {
        last_log: None,
        committed: None,
        applied: None,
        matched: None,
        lag: None,
        snapshot: None,
        purged: None,
        quorum_ack_age_ms: None,
        probe_rtt_ms: None,
        sync_p99_ms: None,
        cpu: None,
        rss: None,
        disk: None,
        disk_free: None,
        ..node.clone()
    }
}

/// The fields that differ, with the id.
fn patch(before: &Node, after: &Node) -> Map<String, Value> {
    let fields = |node: &Node| match serde_json::to_value(node) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let before = fields(before);
    let mut patch = fields(after);
    patch.retain(|field, value| field == "id" || before.get(field) != Some(value));
    patch
}

#[cfg(test)]
mod tests;
