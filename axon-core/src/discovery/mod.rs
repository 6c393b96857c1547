//! Who else is there: what replicas tell each other of themselves, with or without a leader.
//!
//! Hides chitchat, a gossip protocol (Scuttlebutt reconciliation, phi accrual failure detection), which
//! is named nowhere else. A few times a second each replica compares notes with some of those it knows;
//! so all learn of each, of what it says of itself and of whether it is alive. Messages go
//! over the control lane like any other request ([`Host::send`]); there is no port of its own. Invariants:
//!
//! * nothing is decided by what was heard, except where to dial; and a dial names the id that it expects;
//! * what others say fills neither memory nor time: a message, the nodes in all messages, what a node
//!   says of itself and what is taken in between two ticks are bounded ([`wire`]), and a node
//!   that nobody hears is forgotten after [`FORGOTTEN_AFTER`] intervals;
//! * each start has a generation above all before it: the wall clock's time, and when others still
//!   know this replica under a later one (its clock was set back), one above that;
//! * a protocol that falls over is begun anew; the replica does not notice.
//!
//! It is off under simulation: chitchat draws random numbers and starts tasks of its own, and a seed
//! would no longer tell what happens.

mod wire;

use crate::runtime;
use crate::types::{ClusterId, LogIndex, NodeId};
use bytes::Bytes;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, Heartbeat,
    NodeState, spawn_chitchat,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use wire::MESSAGE_BYTES_MAX;

/// Messages that may wait to be read.
const INBOX_MAX: usize = 64;
/// Silence, in times the usual pause between two signs of life, after which a node counts as dead. A
/// node gives several signs an interval, directly and through others: some four to eight intervals.
const PHI_THRESHOLD: f64 = 16.0;
/// Pauses that are remembered to know the usual one.
const SAMPLES: usize = 64;
/// Intervals after which a dead node is forgotten; after half of them it is no longer told of.
const FORGOTTEN_AFTER: u32 = 240;
/// Addresses of nobody that is heard, to which a replica introduces itself each interval.
const GREETINGS_MAX: usize = 3;
/// An applied index this far ahead of the one that was told is told at once.
const INDEX_STEP: u64 = 1_000;
/// Intervals after which a smaller difference is told.
const INDEX_PATIENCE: u32 = 10;
/// What a node may say of itself.
const FACTS_MAX: usize = 16;
const FACTS_BYTES_MAX: usize = 4 << 10;
/// The longest thing that this replica says of itself.
const FACT_BYTES_MAX: usize = 512;
/// How long a protocol that fell over stays down.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

const NAME: &str = "name";
const ADDRESS: &str = "address";
const VERSION: &str = "version";
const VOCABULARY: &str = "vocabulary";
const RAFT_STATE: &str = "raft_state";
const APPLIED_INDEX: &str = "applied_index";

/// Who this replica is, as it tells the others.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) cluster_id: ClusterId,
    pub(crate) id: NodeId,
    pub(crate) name: String,
    /// Where its API answers.
    pub(crate) address: String,
    pub(crate) peer_address: String,
    /// The commands it understands.
    pub(crate) vocabulary: u16,
    /// How often it compares notes.
    pub(crate) interval: Duration,
}

/// What changes of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) raft_state: &'static str,
    pub(crate) applied_index: LogIndex,
}

/// What discovery asks of the replica that it runs in.
pub(crate) trait Host: Send + Sync + 'static {
    /// Sends a message to whoever listens on `address`. Never waits; what cannot be sent is dropped.
    fn send(&self, address: &str, message: Bytes);
    /// What the replica says of itself now.
    fn facts(&self) -> Facts;
    /// Where members are, or were: where to begin.
    fn addresses(&self) -> Vec<String>;
    /// Takes note of who was seen.
    fn saw(&self, seen: &[Sighting]);
}

/// A message from the replica that is reached at `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gossip {
    pub(crate) from: String,
    pub(crate) message: Bytes,
}

/// A replica, by what it said of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) id: NodeId,
    /// Which start of it this is: greater is later.
    pub(crate) generation: u64,
    pub(crate) peer_address: String,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) version: Option<String>,
    pub(crate) raft_state: Option<String>,
    pub(crate) applied_index: Option<LogIndex>,
    pub(crate) alive: bool,
    /// The last sign of life, its own or through others; `None` when there was none since it was
    /// first told of.
    pub(crate) heard: Option<Instant>,
}

/// What one replica knows of the others by hearsay.
pub(crate) struct Discovery {
    me: Speaker,
    seen: Mutex<Vec<Sighting>>,
    inbox: mpsc::Sender<Gossip>,
    retired: watch::Sender<bool>,
}

impl Discovery {
    /// Makes one, and the queue of what arrives, for [`run`](Self::run).
    pub(crate) fn new(me: Speaker) -> (Arc<Self>, mpsc::Receiver<Gossip>) {
        let (inbox, queue) = mpsc::channel(INBOX_MAX);
        let (seen, retired) = (Mutex::default(), watch::channel(false).0);
        (Arc::new(Self { me, seen, inbox, retired }), queue)
    }

    /// Where what arrives is put. Full, it is dropped: the next message says the same again.
    pub(crate) fn inbox(&self) -> mpsc::Sender<Gossip> {
        self.inbox.clone()
    }

    /// Who was seen, this replica included: one entry an id, its latest start.
    pub(crate) fn seen(&self) -> Vec<Sighting> {
        self.table().clone()
    }

    /// Ends [`run`](Self::run): this replica belongs no more.
    pub(crate) fn retire(&self) {
        self.retired.send_replace(true);
    }

    fn table(&self) -> MutexGuard<'_, Vec<Sighting>> {
        self.seen.lock().expect("no holder of the table's lock panics")
    }

    /// Compares notes, until retired.
    pub(crate) async fn run(self: Arc<Self>, queue: mpsc::Receiver<Gossip>, host: Arc<dyn Host>) {
        self.run_from(runtime::wall_clock_millis(), queue, host).await;
    }

    async fn run_from(&self, generation: u64, queue: mpsc::Receiver<Gossip>, host: Arc<dyn Host>) {
        let mut retired = self.retired.subscribe();
        tokio::select! {
            _ = retired.wait_for(|retired| *retired) => {}
            () = self.talk_for_ever(generation, queue, host) => {}
        }
    }

    async fn talk_for_ever(
        &self,
        mut generation: u64,
        queue: mpsc::Receiver<Gossip>,
        host: Arc<dyn Host>,
    ) {
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        loop {
            let wire = wire::Wire::new(host.clone(), queue.clone());
            let config = self.config(generation);
            let Ok(handle) = spawn_chitchat(config, self.first_facts(), &wire).await else {
                // Opening a wire of our own cannot fail.
                return;
            };
            let mut talk = Talk::new(&self.me, generation, &*host, wire.book(), &handle);
            let end = tokio::select! {
                end = talk.go_on(&self.seen) => end,
                _ = handle.termination_watcher() => End::Broken,
            };
            let _ = handle.shutdown().await;
            generation = match end {
                End::Outlived(by) => by + 1,
                End::Broken => {
                    tracing::warn!("gossip stopped, and begins anew");
                    generation.max(runtime::wall_clock_millis()) + 1
                }
            };
            tokio::time::sleep(RECOVERY_PAUSE).await;
        }
    }

    fn config(&self, generation: u64) -> ChitchatConfig {
        let Speaker { cluster_id, id, peer_address, interval, .. } = &self.me;
        let chitchat_id = wire::chitchat_id(*id, generation, peer_address);
        ChitchatConfig {
            listen_addr: chitchat_id.gossip_advertise_addr,
            chitchat_id,
            cluster_id: cluster_id.to_string(),
            gossip_interval: *interval,
            // Whoever is worth a greeting is greeted by `Talk`: the membership changes, seeds do not.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI_THRESHOLD,
                sampling_window_size: SAMPLES,
                max_interval: *interval * 20,
                initial_interval: *interval,
                dead_node_grace_period: *interval * FORGOTTEN_AFTER,
            },
            // Nothing is ever taken back.
            marked_for_deletion_grace_period: *interval * FORGOTTEN_AFTER,
            catchup_callback: None,
            extra_liveness_predicate: None,
        }
    }

    fn first_facts(&self) -> Vec<(String, String)> {
        let Speaker { name, address, vocabulary, .. } = &self.me;
        let vocabulary = vocabulary.to_string();
        let facts = [
            (NAME, name.as_str()),
            (ADDRESS, address),
            (VERSION, env!("CARGO_PKG_VERSION")),
            (VOCABULARY, &vocabulary),
        ];
        let short = facts.into_iter().filter(|(_, fact)| fact.len() <= FACT_BYTES_MAX);
        short.map(|(key, fact)| (key.to_owned(), fact.to_owned())).collect()
    }
}

/// Why a talk is begun anew.
enum End {
    /// Others know this replica under this later generation.
    Outlived(u64),
    /// It fell over, or was told too much.
    Broken,
}

/// One run of the protocol, under one generation.
struct Talk<'a> {
    me: &'a Speaker,
    generation: u64,
    host: &'a dyn Host,
    book: &'a wire::SharedBook,
    handle: &'a ChitchatHandle,
    /// The last count of each node's signs of life, and when it grew.
    signs: BTreeMap<ChitchatId, (Heartbeat, Option<Instant>)>,
    /// Whom to greet next.
    greetings: VecDeque<String>,
    told_index: Option<(LogIndex, Instant)>,
}

impl<'a> Talk<'a> {
    fn new(
        me: &'a Speaker,
        generation: u64,
        host: &'a dyn Host,
        book: &'a wire::SharedBook,
        handle: &'a ChitchatHandle,
    ) -> Self {
        let (signs, greetings) = (BTreeMap::new(), VecDeque::new());
        Self { me, generation, host, book, handle, signs, greetings, told_index: None }
    }

    async fn go_on(&mut self, seen: &Mutex<Vec<Sighting>>) -> End {
        let mut ticks = tokio::time::interval(self.me.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sightings = {
                let chitchat = self.handle.chitchat();
                let mut chitchat = chitchat.lock().await;
                self.say(chitchat.self_node_state());
                if chitchat.node_states().values().any(says_too_much) {
                    return End::Broken;
                }
                self.look(&chitchat)
            };
            let myself = sightings.iter().find(|seen| seen.id == self.me.id);
            if let Some(later) = myself.filter(|seen| seen.generation > self.generation) {
                return End::Outlived(later.generation);
            }
            self.greet(&sightings);
            self.host.saw(&sightings);
            *seen.lock().expect("no holder of the table's lock panics") = sightings;
        }
    }

    /// Tells what has changed here.
    fn say(&mut self, state: &mut NodeState) {
        let Facts { raft_state, applied_index } = self.host.facts();
        // One that is the same is not told again.
        state.set(RAFT_STATE, raft_state);
        let due = self.told_index.is_none_or(|(told, at)| {
            let ahead = applied_index.0.saturating_sub(told.0);
            let patience = self.me.interval * INDEX_PATIENCE;
            ahead >= INDEX_STEP || (ahead > 0 && at.elapsed() >= patience)
        });
        if due {
            state.set(APPLIED_INDEX, applied_index.0);
            self.told_index = Some((applied_index, runtime::now()));
        }
    }

    /// Takes down who there is: of each id the latest start.
    fn look(&mut self, chitchat: &Chitchat) -> Vec<Sighting> {
        let states = chitchat.node_states();
        self.signs.retain(|id, _| states.contains_key(id));
        self.book.turn_over(states.keys());
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
        let mut latest: BTreeMap<NodeId, Sighting> = BTreeMap::new();
        for (chitchat_id, state) in states {
            let Some((id, peer_address)) = wire::who(chitchat_id) else { continue };
            let count = state.heartbeat();
            let signs = self.signs.entry(chitchat_id.clone()).or_insert((count, None));
            if count > signs.0 {
                *signs = (count, Some(runtime::now()));
            }
            let said = |key| state.get(key).map(str::to_owned);
            let sighting = Sighting {
                id,
                generation: chitchat_id.generation_id,
                peer_address: peer_address.to_owned(),
                name: said(NAME).unwrap_or_default(),
                address: said(ADDRESS).unwrap_or_default(),
                version: said(VERSION),
                raft_state: said(RAFT_STATE),
                applied_index: state.get(APPLIED_INDEX).and_then(|x| x.parse().ok()).map(LogIndex),
                alive: live.contains(chitchat_id),
                heard: signs.1,
            };
            let known = latest.get(&id);
            if known.is_none_or(|known| known.generation < sighting.generation) {
                latest.insert(id, sighting);
            }
        }
        latest.into_values().collect()
    }

    /// Introduces this replica where members may be of whom nothing is heard.
    fn greet(&mut self, seen: &[Sighting]) {
        if self.greetings.is_empty() {
            self.greetings.extend(self.host.addresses());
        }
        let heard = |address: &str| {
            address == self.me.peer_address
                || seen.iter().any(|seen| seen.alive && seen.peer_address == address)
        };
        for _ in 0..GREETINGS_MAX {
            let Some(address) = self.greetings.pop_front() else { break };
            if address.is_empty() || heard(&address) {
                continue;
            }
            let _ = self.handle.gossip(self.book.learn(&address));
        }
    }
}

fn says_too_much(state: &NodeState) -> bool {
    let sizes =
        state.key_values_including_deleted().map(|(key, fact)| key.len() + fact.value.len());
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    count > FACTS_MAX || bytes > FACTS_BYTES_MAX
}

#[cfg(test)]
mod tests;
