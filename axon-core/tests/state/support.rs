//! A state under test: entries made by the dozen, a log that is durable on demand, a spying store.

use axon_core::codec;
use axon_core::command::{Command, Op, Outcome};
use axon_core::error::StorageError;
use axon_core::runtime::simulation;
use axon_core::state::{Position, State, StateConfig, StateEntry, StateReader, View};
use axon_core::storage::memory::MemState;
use axon_core::storage::{Replacement, Result, RowChange, Space, StateStore, StateView};
use axon_core::types::{ClusterId, LogIndex, NodeId, RequestId, SessionId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

pub const CLUSTER: ClusterId = ClusterId(0xa40);

/// Runs `test` on one thread with a paused clock, where workers are tasks: what can happen, happens
/// while the test sleeps.
pub fn simulate<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        simulation::begin(7);
        let output = test.await;
        simulation::end();
        output
    })
}

/// Lets everything that can go on, go on.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A store that notes how far the log was durable at each commit, and fails on demand.
#[derive(Clone, Default)]
pub struct Spy {
    pub store: MemState,
    pub seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub struct Seen {
    pub durable: Option<watch::Receiver<LogIndex>>,
    /// How far the log was durable when each commit came.
    pub commits: Vec<LogIndex>,
    pub fail: bool,
}

impl StateStore for Spy {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        self.store.view()
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        let changes: Vec<_> = changes.collect();
        let places: Vec<_> = changes.iter().map(|change| (change.space, &change.key)).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "sorted, each key once");
        let mut seen = self.seen.lock().unwrap();
        let durable = seen.durable.as_ref().map(|durable| *durable.borrow());
        seen.commits.extend(durable);
        if seen.fail {
            return Err(StorageError::Mismatch { path: "spy".into(), reason: "told to".into() });
        }
        self.store.commit(&mut changes.into_iter())
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        self.store.replace()
    }

    fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }
}

/// A state with a log that is as durable as the test says.
pub struct Replica {
    pub state: State,
    pub durable: watch::Sender<LogIndex>,
    pub next: u64,
}

pub fn position(index: u64) -> Position {
    Position {
        index: LogIndex(index),
        log_id: Bytes::from(format!("log id {index}")),
        membership: Bytes::from_static(b"members"),
    }
}

pub fn config() -> StateConfig {
    StateConfig {
        checkpoint_bytes: 64 << 10,
        overlay_bytes_max: 128 << 10,
        ..StateConfig::default()
    }
}

impl Replica {
    pub fn open(store: impl StateStore) -> Result<Self> {
        Self::open_with(Arc::new(store), config())
    }

    pub fn open_with(store: Arc<dyn StateStore>, config: StateConfig) -> Result<Self> {
        let (durable, receiver) = watch::channel(LogIndex(u64::MAX));
        let state = State::open(store, receiver, config)?;
        let next = state.position().index.0 + 1;
        Ok(Self { state, durable, next })
    }

    pub fn try_apply(&mut self, commands: &[Command]) -> Result<Vec<Outcome>> {
        let entries: Vec<_> = (self.next..)
            .zip(commands)
            .map(|(index, command)| StateEntry {
                index: LogIndex(index),
                stamp_millis: index * 300,
                command: Some(codec::encode(command)),
            })
            .collect();
        let last = self.next + commands.len() as u64 - 1;
        let outcomes = self.state.apply(&entries, position(last))?;
        self.next = last + 1;
        Ok(outcomes)
    }

    pub fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        self.try_apply(commands).unwrap()
    }

    pub fn reader(&self) -> StateReader {
        self.state.reader()
    }

    pub async fn checkpoint(&self) -> Position {
        self.state.checkpointer().checkpoint_now().await.unwrap()
    }
}

pub fn anyone(op: Op) -> Command {
    Command { request: None, op }
}

pub fn put(key: &str, value: &str) -> Command {
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    anyone(Op::Put { key: copy(key), value: copy(value) })
}

pub fn delete(key: &str) -> Command {
    anyone(Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) })
}

pub fn found() -> Command {
    anyone(Op::Found { cluster_id: CLUSTER, last_node_id: NodeId(3) })
}

/// A few kilobytes of everything: puts, overwrites, deletes, a session with outcomes, a joiner.
pub fn story(rounds: u64) -> Vec<Command> {
    let mut commands = vec![found(), anyone(Op::OpenSession)];
    let session = SessionId(2);
    for round in 0..rounds {
        let mut command = match round % 7 {
            6 => delete(&format!("key-{}", round % 11)),
            _ => put(&format!("key-{}", round % 23), &format!("{round}").repeat(20)),
        };
        let lowest_unacknowledged = (round + 1).saturating_sub(20);
        command.request = Some(RequestId { session, sequence: round + 1, lowest_unacknowledged });
        commands.push(command);
    }
    commands.push(anyone(Op::AllocateNode { nonce: 5, member: <_>::default() }));
    commands
}

pub type Map = BTreeMap<(Space, Bytes), Bytes>;

/// Every row that a view shows.
pub fn rows(view: &View) -> Result<Map> {
    let mut map = Map::new();
    for space in [Space::Kv, Space::History, Space::Changes, Space::Sessions] {
        for row in view.rows(space, Bound::Unbounded, Bound::Unbounded)? {
            let (key, row) = row?;
            let found = view.row(space, &key)?;
            assert!(found.as_ref() == Some(&row), "a point read agrees with a scan");
            map.insert((space, key), row);
        }
    }
    Ok(map)
}
