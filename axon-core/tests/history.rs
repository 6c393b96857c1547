//! Replicas with a budget of history: kept while writes go on, whoever leads, after any restart.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::{History, Origin};
use axon_core::error::ErrorOutcome;
use axon_core::runtime::{self, simulation};
use axon_core::status::{Metrics, Status};
use axon_core::transport::memory::MemNetwork;
use axon_core::{Cluster, Config, Error, Op};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_mins(1);
const BUDGET: u64 = 1 << 20;
const SMALL: History = History::Keep { bytes: BUDGET, age: Duration::from_hours(1) };

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = runtime::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(runtime::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs `test` on one thread with a paused clock, from `seed`.
fn simulate<F: Future>(seed: u64, test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        simulation::begin(seed);
        let output = test.await;
        simulation::end();
        output
    })
}

/// Replicas in memory, by number.
struct Replicas(BTreeMap<u64, Cluster>);

impl Replicas {
    async fn three(history: History) -> Self {
        let network = MemNetwork::default();
        let mut replicas = Self(BTreeMap::new());
        for number in 1..=3 {
            let origin = match number {
                1 => Origin::Init(None),
                _ => Origin::Join(vec!["n1".into()]),
            };
            let config = Config {
                name: format!("node{number}"),
                listen: Some(format!("n{number}")),
                origin,
                history,
                ..Config::default()
            };
            let transport = Arc::new(network.transport(&format!("n{number}")));
            let starting = Cluster::builder().config(config).transport(transport).start();
            let replica = simulation::on_node(number, starting).await.unwrap();
            replicas.0.insert(number, replica);
            until("it votes", || {
                let statuses = replicas.statuses()?;
                let voting = statuses.iter().all(|status| status.voters.len() as u64 == number);
                voting.then_some(())
            })
            .await;
        }
        replicas
    }

    fn statuses(&self) -> Option<Vec<Status>> {
        self.0.values().map(|replica| replica.status().ok()).collect()
    }

    fn metrics(&self) -> Vec<Metrics> {
        self.0.values().map(Cluster::metrics).collect()
    }

    /// The number of the replica that leads.
    async fn leader(&self) -> u64 {
        until("one leads", || {
            let mut all = self.0.iter();
            let leads = |replica: &Cluster| {
                let status = replica.status().ok()?;
                let leader = status.leader.map(|(id, _)| id);
                (status.raft_state.is_leader() && leader == Some(status.node_id)).then_some(())
            };
            all.find(|(_, replica)| leads(replica).is_some()).map(|(number, _)| *number)
        })
        .await
    }

    /// Overwrites 20 keys with values of 1 KiB, through one replica.
    async fn overwrite(&self, through: u64) {
        let store = self.0[&through].store();
        let puts = (0..20).map(|key| store.put(format!("key {key}"), vec![b'v'; 1 << 10]));
        simulation::on_node(through, futures_util::future::join_all(puts)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Waits until all have applied the same, and checks that it made them equal.
    async fn converge(&self) -> Metrics {
        until("all have applied the same", || {
            let statuses = self.statuses()?;
            statuses.windows(2).all(|two| two[0].applied_index == two[1].applied_index).then(|| {
                for status in &statuses {
                    assert_eq!(status.state_hash, statuses[0].state_hash, "{statuses:?}");
                    assert_eq!(status.compacted_revision, statuses[0].compacted_revision);
                }
            })
        })
        .await;
        let metrics = self.metrics();
        for one in &metrics {
            let past = |metrics: &Metrics| (metrics.history_bytes, metrics.swept_revision);
            assert_eq!(past(one), past(&metrics[0]));
        }
        metrics[0].clone()
    }
}

#[test]
fn a_budget_of_bytes_is_kept_while_writes_go_on_and_leaders_change() {
    for seed in 1..=2 {
        simulate(seed, async {
            let mut replicas = Replicas::three(SMALL).await;
            let (mut most, mut killed) = (0, 0);
            let mut swept_by_first = 0;
            for round in 0..240 {
                if round == 120 {
                    killed = replicas.leader().await;
                    swept_by_first = replicas.metrics()[0].swept_revision.0;
                    assert!(swept_by_first > 0, "the first leader sweeps");
                    replicas.0.remove(&killed);
                    simulation::kill(killed);
                    replicas.leader().await;
                }
                let through = if killed == 2 { 3 } else { 2 };
                replicas.overwrite(through).await;
                let bytes = replicas.metrics().into_iter().map(|metrics| metrics.history_bytes);
                most = most.max(bytes.max().unwrap());
            }
            assert!(most > BUDGET, "more was written than the budget holds");
            assert!(most < BUDGET * 3 / 2, "seed {seed}: {most} bytes");
            until("all is swept", || {
                let done = |one: &Metrics| {
                    one.history_bytes <= BUDGET && one.swept_revision == one.compacted_revision
                };
                replicas.metrics().iter().all(done).then_some(())
            })
            .await;
            let metrics = replicas.converge().await;
            assert!(metrics.history_bytes > BUDGET * 8 / 10, "no more went than had to");
            assert!(metrics.swept_revision.0 > swept_by_first, "the next leader goes on");
        });
    }
}

#[test]
fn latest_only_keeps_no_history() {
    simulate(1, async {
        let replicas = Replicas::three(History::LatestOnly).await;
        let mut most = 0;
        for _ in 0..40 {
            replicas.overwrite(2).await;
            let bytes = replicas.metrics().into_iter().map(|metrics| metrics.history_bytes);
            most = most.max(bytes.max().unwrap());
        }
        assert!(most < 400 << 10, "{most} bytes of 800 KiB");
        until("nothing of the past is left", || {
            replicas.metrics().iter().all(|metrics| metrics.history_bytes == 0).then_some(())
        })
        .await;
        let metrics = replicas.converge().await;
        assert_eq!(metrics.swept_revision.0, 800);
    });
}

#[test]
fn history_grows_old_by_cluster_time_while_nothing_is_written() {
    simulate(1, async {
        let age = Duration::from_secs(30);
        let replicas = Replicas::three(History::Keep { bytes: u64::MAX, age }).await;
        let begun = runtime::now();
        replicas.overwrite(2).await;
        replicas.overwrite(2).await;
        let written = runtime::now();
        let mut gone = begun;
        until("it is gone", || {
            let metrics = replicas.metrics();
            assert!(metrics.iter().all(|one| one.compacted_revision.0 <= 40));
            if metrics.iter().any(|one| one.compacted_revision.0 == 40) && gone == begun {
                gone = runtime::now();
            }
            metrics.iter().all(|one| one.history_bytes == 0).then_some(())
        })
        .await;
        assert!(gone.duration_since(begun) >= age, "never early");
        assert!(gone.duration_since(written) < age + Duration::from_secs(2), "nor much too late");
        replicas.converge().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_count_and_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: Some(dir.path().into()),
        origin: Origin::Init(None),
        history: SMALL,
        checkpoint_interval: Duration::from_millis(200),
        ..Config::default()
    };
    let mut kept = None;
    for life in 0..3 {
        let cluster = Cluster::start(config.clone()).await.unwrap();
        cluster.wait_ready(DEADLINE).await.unwrap();
        let metrics = cluster.metrics();
        let found = (metrics.history_bytes, metrics.swept_revision);
        assert_eq!(kept.unwrap_or(found), found);
        let store = cluster.store();
        for _ in 0..40 {
            let puts = (0..50).map(|key| store.put(format!("key {key}"), vec![life; 1 << 10]));
            futures_util::future::try_join_all(puts).await.unwrap();
        }
        let metrics = until("the history is within its budget", || {
            let metrics = cluster.metrics();
            let swept = metrics.swept_revision == metrics.compacted_revision;
            (metrics.history_bytes <= BUDGET && swept).then_some(metrics)
        })
        .await;
        assert!(metrics.history_bytes > BUDGET * 8 / 10, "{metrics:?}");
        cluster.shutdown().await.unwrap();
        kept = Some((metrics.history_bytes, metrics.swept_revision));
    }
}

/// The answer to a repeated transaction is read again, at its revision; that is gone here.
#[test]
fn a_repeated_transaction_whose_reads_are_forgotten_says_so_and_that_it_was_done() {
    simulate(5, async {
        let replicas = Replicas::three(History::LatestOnly).await;
        let store = replicas.0[&replicas.leader().await].store();
        store.put("k", "1").await.unwrap();
        let once = store.with_idempotency_key("a request").unwrap();
        let swap = || once.txn().then([Op::get("k"), Op::put("k", "2")]).commit();
        let done = swap().await.unwrap();
        until("its past is forgotten", || {
            let statuses = replicas.statuses()?;
            let forgotten =
                statuses.iter().all(|status| status.compacted_revision >= done.revision);
            forgotten.then_some(())
        })
        .await;
        let error = swap().await.unwrap_err();
        let (revision, oldest) = (done.revision, done.revision);
        assert_eq!(error, Error::ReadsCompacted { revision, oldest });
        assert_eq!(error.outcome(), ErrorOutcome::Unknown);
        assert_eq!(store.get("k").await.unwrap().unwrap().version, 2, "it was done once");
    });
}
