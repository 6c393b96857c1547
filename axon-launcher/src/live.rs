//! The cluster as it is now, for whoever watches it: one picture, kept up by tasks of their own,
//! whether one watches or sixty.
//!
//! Hides where a picture comes from: the nodes' tasks and what the nodes say ([`roster`], [`health`]),
//! a second's work out of the nodes' counters ([`samples`](crate::samples)), events and operations. It
//! all runs into the [`Ring`], which readers follow at their own pace. Invariants:
//!
//! * nothing is computed for a reader: the cost is the same with none and with many, but that
//!   looks are rarer while there is none;
//! * what is remembered is of the launcher's own time: who voted last, since when the health is so.

pub mod ring;

use crate::events::NewEvent;
use crate::gather::{LEADER_ELECTED, QUORUM_BACK, QUORUM_LOST, is_told};
use crate::health::{self, Members};
use crate::node::{self, View};
use crate::report::{Words, millis};
use crate::roster;
use crate::samples::{Counters, Disks, Look, Samples};
use crate::supervisor::Supervisor;
use crate::wire::{Cluster, Health, Node, Severity};
use crate::{gather, proc};
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Method;
use ring::{EVENTS_MAX, Ring};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

/// Readers of the stream.
pub const READERS_MAX: usize = 64;

/// Followers of logs.
pub const FOLLOWERS_MAX: usize = 32;

/// Time between two looks while somebody reads the stream, and while nobody does.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY_UNWATCHED: Duration = Duration::from_millis(500);

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How long a node may take to hand out its page of metrics.
const PAGE_WITHIN: Duration = Duration::from_millis(800);

/// How long readers may take to read good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

/// When a reader may come back after good-bye.
const COME_BACK: Duration = Duration::from_secs(1);

/// What is remembered of the cluster.
#[derive(Debug)]
pub struct Live {
    /// The stream's messages.
    pub ring: Arc<Ring>,
    /// A turn for each reader of the stream.
    pub readers: Arc<Semaphore>,
    /// A turn for each follower of a log.
    pub followers: Arc<Semaphore>,
    /// Whether any node tells of its own events.
    pub(crate) nodes_tell: AtomicBool,
    looking: Mutex<()>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    members: Members,
    health: Option<(Health, u64)>,
    quorum_was_lost: bool,
    samples: Samples,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            ring: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            nodes_tell: AtomicBool::new(false),
            looking: Mutex::default(),
            memory: Mutex::default(),
        }
    }
}

impl Live {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_watched(&self) -> bool {
        self.readers.available_permits() < READERS_MAX
    }
}

impl Supervisor {
    /// All nodes, as `/api/v1` shows them, in the order of the manifest.
    pub fn nodes_v1(&self) -> Vec<Node> {
        self.picture().1
    }

    /// The cluster, as `/api/v1` shows it.
    pub fn cluster_v1(&self) -> Cluster {
        self.picture().0
    }

    fn picture(&self) -> (Cluster, Vec<Node>) {
        let named = |node: node::Node| (node.name().to_string(), node.view());
        let views: BTreeMap<String, View> = self.nodes().into_iter().map(named).collect();
        let manifest = self.manifest();
        let mut memory = self.0.live.lock();
        if let Some(heard) = Members::heard(Words::of(&views)) {
            memory.members = heard;
        }
        let mut cluster = health::cluster(&manifest, &views, &memory.members);
        cluster.since = match memory.health {
            Some((health, since)) if health == cluster.health => since,
            _ => millis(SystemTime::now()),
        };
        memory.health = Some((cluster.health, cluster.since));
        (cluster, roster::nodes(&manifest, &views, &memory.samples.usage))
    }

    /// Takes in how everything is now, and tells whoever watches what has changed.
    pub fn publish(&self) {
        // One at a time: an older look must not be told after a newer one.
        let looking = &self.0.live.looking;
        let _looking = looking.lock().unwrap_or_else(PoisonError::into_inner);
        let (cluster, nodes) = self.picture();
        // While the launcher stops its nodes, a lost quorum is no news.
        if self.check_open().is_ok() {
            self.note_leader(&cluster, &nodes);
            self.note_quorum(&cluster);
        }
        self.0.live.ring.look(tokio::time::Instant::now(), cluster, nodes);
    }

    /// Notes an election that no node tells of.
    fn note_leader(&self, cluster: &Cluster, nodes: &[Node]) {
        if self.0.live.nodes_tell.load(Ordering::Relaxed) {
            return;
        }
        let leads = |node: &&Node| Some(&node.id) == cluster.leader.as_ref();
        let Some(leader) = nodes.iter().find(leads) else { return };
        let Some(term) = leader.term else { return };
        let text = format!("{} leads in term {term}", leader.id);
        let new = NewEvent::new(Severity::Info, LEADER_ELECTED, text).node(&leader.id);
        self.note_once(NewEvent { term: Some(term), ..new });
    }

    fn note_quorum(&self, cluster: &Cluster) {
        let lost = cluster.health == Health::NoQuorum;
        let mut memory = self.0.live.lock();
        // A cluster that is being started has not lost anything yet.
        let had = self.0.live.ring.health().is_some_and(|was| was != Health::NoQuorum);
        if lost == memory.quorum_was_lost || lost && !had {
            return;
        }
        memory.quorum_was_lost = lost;
        drop(memory);
        let (severity, kind) =
            if lost { (Severity::Error, QUORUM_LOST) } else { (Severity::Info, QUORUM_BACK) };
        self.note_once(NewEvent::new(severity, kind, &cluster.sentence));
    }

    fn note_once(&self, new: NewEvent) {
        let events = &self.0.events;
        if !is_told(&new, millis(SystemTime::now()), events) {
            events.record(new);
        }
    }

    /// Says good-bye to whoever watches, and sees to it that what happened is on disk.
    pub async fn farewell(&self) {
        let live = &self.0.live;
        self.publish();
        let rest = self.0.events.latest(live.ring.last_event(), usize::MAX);
        for event in rest {
            live.ring.event(event);
        }
        live.ring.close("the launcher is stopping", COME_BACK);
        let all = u32::try_from(READERS_MAX).expect("a small number");
        // Whoever does not read now is not waited for.
        tokio::time::timeout(FAREWELL, live.readers.acquire_many(all)).await.ok();
        let supervisor = self.clone();
        tokio::task::spawn_blocking(move || supervisor.0.events.flush()).await.ok();
    }
}

/// Starts the tasks that keep the picture up.
pub(crate) fn start(supervisor: &Supervisor) {
    tokio::spawn(show(supervisor.clone()));
    tokio::spawn(sample(supervisor.clone()));
    tokio::spawn(gather::run(supervisor.clone()));
}

/// Brings looks, events and operations into the ring, until good-bye is said.
async fn show(supervisor: Supervisor) {
    let (live, events) = (&supervisor.0.live, &supervisor.0.events);
    let operations = &supervisor.0.operations;
    // First the ears, then what was said before: nothing falls between.
    let (mut happened, mut worked) = (events.subscribe(), operations.subscribe());
    let now = tokio::time::Instant::now;
    let catch_up_events = || {
        let missed = events.latest(live.ring.last_event(), usize::MAX);
        for event in missed {
            live.ring.event(event);
        }
    };
    let catch_up_operations = || {
        let all = operations.list().into_iter().rev();
        for operation in all {
            live.ring.operation(now(), operation);
        }
    };
    for event in events.latest(0, EVENTS_MAX) {
        live.ring.event(event);
    }
    catch_up_operations();
    let mut clock = tokio::time::interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    supervisor.publish();
    while !live.ring.is_closed() {
        tokio::select! {
            _ = clock.tick() => {
                if live.is_watched() || looked.elapsed() >= LOOK_EVERY_UNWATCHED {
                    supervisor.publish();
                    looked = Instant::now();
                }
            }
            event = happened.recv() => match event {
                Ok(event) => live.ring.event(event),
                Err(RecvError::Lagged(_)) => catch_up_events(),
                Err(RecvError::Closed) => return,
            },
            operation = worked.recv() => match operation {
                Ok(operation) => live.ring.operation(now(), operation),
                Err(RecvError::Lagged(_)) => catch_up_operations(),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Looks into every node's counters once a second, until good-bye is said.
async fn sample(supervisor: Supervisor) {
    let mut clock = tokio::time::interval(SAMPLE_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut disks = Disks::default();
    let live = &supervisor.0.live;
    while !live.ring.is_closed() {
        clock.tick().await;
        let nodes = supervisor.nodes();
        let looks = nodes.iter().map(|node| async {
            let (view, name) = (node.view(), node.name().to_string());
            let page = async {
                view.status()?;
                let (client, port) = (&supervisor.0.client, node.place.api_port);
                let asked =
                    client.send(Method::GET, port, "/metrics", Bytes::new(), PAGE_WITHIN).await;
                let page = asked.ok().filter(|answer| answer.status.is_success())?;
                Some(Counters::parse(&String::from_utf8_lossy(&page.body)))
            };
            let counters = page.await;
            let used = view.pid.and_then(proc::usage);
            (name, Look { at: Instant::now(), pid: view.pid, counters, used })
        });
        let looks: BTreeMap<String, Look> = join_all(looks).await.into_iter().collect();
        let places: Vec<_> =
            nodes.iter().map(|n| (n.name().to_string(), n.place.replica.clone())).collect();
        let measured = tokio::task::spawn_blocking(move || {
            let bytes = disks.bytes(&places).clone();
            (disks, bytes)
        });
        let Ok((back, bytes)) = measured.await else { return };
        disks = back;

        let t = millis(SystemTime::now());
        let mut tick = {
            let mut memory = live.lock();
            let tick = memory.samples.take(t, looks);
            for (name, usage) in &mut memory.samples.usage {
                usage.disk = bytes.get(name).copied().flatten();
            }
            tick
        };
        for node in supervisor.nodes_v1() {
            if let Some(tick) = tick.nodes.get_mut(&node.id) {
                tick.lag = node.lag;
            }
        }
        live.ring.tick(tick);
    }
}
