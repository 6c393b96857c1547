//! Writes that must happen once, whatever becomes of their answers: three replicas in memory, on a
//! network whose channels keep breaking, in simulated time.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::{Config, Origin};
use axon_core::runtime::{self, simulation};
use axon_core::status::Status;
use axon_core::store::{Expect, OpResult, Store, Swap, Transaction, TxnResult};
use axon_core::transport::memory::{Faults, MemNetwork};
use axon_core::txn::{Compare, Op, Relation};
use axon_core::types::{KeyRange, Revision};
use axon_core::{Cluster, Error};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_mins(10);

/// Three replicas and what lies between them.
struct World {
    network: MemNetwork,
    cluster: Vec<Cluster>,
}

/// Plays `story` from a seed, or from as many as `SEEDS` says.
fn simulate<F: Future<Output = ()>>(first: u64, story: impl Fn(World) -> F) {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            simulation::begin(seed);
            let world = World::make().await;
            story(world).await;
            simulation::end();
        });
    }
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = runtime::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(runtime::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl World {
    async fn make() -> Self {
        let network = MemNetwork::new();
        let mut cluster = Vec::new();
        for number in 1..=3_u64 {
            let address = format!("n{number}");
            let join = Origin::Join(vec!["n1".into()]);
            let config = Config {
                name: format!("node{number}"),
                listen: Some(address.clone()),
                origin: if number == 1 { Origin::Init(None) } else { join },
                request_timeout: DEADLINE,
                ..Config::default()
            };
            let transport = Arc::new(network.transport(&address));
            let starting = Cluster::builder().config(config).transport(transport).start();
            let replica = simulation::on_node(number, starting).await.unwrap();
            replica.wait_ready(DEADLINE).await.unwrap();
            cluster.push(replica);
        }
        let world = Self { network, cluster };
        until("three voters", || {
            let mut statuses = world.cluster.iter().map(Cluster::status);
            let all = statuses.all(|status| status.is_ok_and(|status| status.voters.len() == 3));
            all.then_some(())
        })
        .await;
        world
    }

    /// From here on about one frame in `frames` breaks its channel, and whatever was under way.
    fn break_channels(&self, frames: f64) {
        let (delay_min, delay_max) = (Duration::from_micros(50), Duration::from_millis(2));
        let break_probability = 1.0 / frames;
        self.network.set_all_faults(Faults {
            delay_min,
            delay_max,
            break_probability,
            ..Faults::default()
        });
    }

    fn store(&self, number: usize) -> Store {
        self.cluster[number - 1].store()
    }

    /// Ends all faults; waits until all have applied the same, and checks that they are equal.
    async fn converge(&self) -> Status {
        self.network.heal();
        let statuses = until("all have applied the same", || {
            let statuses: Result<Vec<Status>, Error> =
                self.cluster.iter().map(Cluster::status).collect();
            let statuses = statuses.ok()?;
            let equal = statuses.windows(2).all(|two| two[0].applied_index == two[1].applied_index);
            equal.then_some(statuses)
        })
        .await;
        for status in &statuses {
            assert_eq!(status.state_hash, statuses[0].state_hash, "{statuses:?}");
        }
        statuses[0].clone()
    }

    /// How many entries were applied for how many writes: more, when some were sent again.
    fn applied(&self) -> u64 {
        self.cluster[0].metrics().applied_entries
    }
}

fn number(value: &Bytes) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Adds one, once: a lost compare is tried again, an error is none that was waited out.
async fn increment(store: &Store, key: &'static str) {
    let mut found = store.get(key).await.unwrap();
    loop {
        let (expected, value) = match &found {
            None => (Expect::Absent, 1),
            Some(pair) => (Expect::ModRevision(pair.mod_revision), number(&pair.value) + 1),
        };
        match store.put_if(key, expected, value.to_string()).await.unwrap() {
            Swap::Done(_) => return,
            Swap::Conflict(there) => found = there,
        }
    }
}

#[test]
fn two_clients_count_by_compare_and_swap() {
    simulate(1, async |world| {
        world.break_channels(300.0);
        let clients = [2, 3].map(|client| {
            let store = world.store(client);
            async move {
                for _ in 0..1_000 {
                    increment(&store, "counter").await;
                }
            }
        });
        join_all(clients).await;
        world.network.heal();
        let found = world.store(1).get("counter").await.unwrap().unwrap();
        assert_eq!((number(&found.value), found.version), (2_000, 2_000));
        assert_eq!(world.converge().await.revision, Revision(2_000));
    });
}

/// Adds one to both keys, or to none.
async fn increment_both(store: &Store) {
    loop {
        let snapshot = store.snapshot().await.unwrap();
        let [left, right] = ["left", "right"].map(|key| snapshot.get(key.as_bytes()).unwrap());
        assert_eq!(
            left.as_ref().map(|pair| &pair.value),
            right.as_ref().map(|pair| &pair.value),
            "out of step"
        );
        let next = left.as_ref().map_or(1, |pair| number(&pair.value) + 1).to_string();
        let modified = left.map_or(Revision(0), |pair| pair.mod_revision);
        let txn = store
            .txn()
            .when([Compare::mod_revision("left", Relation::Equal, modified)])
            .then([Op::put("left", next.clone()), Op::put("right", next)]);
        if txn.commit().await.unwrap().succeeded {
            return;
        }
    }
}

#[test]
fn two_keys_that_change_together_are_never_seen_out_of_step() {
    simulate(2, async |world| {
        world.break_channels(300.0);
        let clients = [2, 3].map(|client| {
            let store = world.store(client);
            async move {
                for _ in 0..1_000 {
                    increment_both(&store).await;
                }
            }
        });
        let done = AtomicBool::new(false);
        let (looker, mut looks) = (world.store(1), 0_u64);
        let looking = async {
            while !done.load(Ordering::Relaxed) {
                let snapshot = looker.snapshot().await.unwrap();
                let [left, right] = ["left", "right"].map(|key| {
                    let found = snapshot.get(key.as_bytes()).unwrap();
                    found.map(|pair| (pair.value, pair.mod_revision, pair.version))
                });
                assert_eq!(left, right, "out of step at revision {}", snapshot.revision());
                looks += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let counting = async {
            join_all(clients).await;
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(counting, looking);
        assert!(looks > 100, "{looks}");
        let status = world.converge().await;
        assert_eq!(status.revision, Revision(2_000));
        let found = world.store(1).get("right").await.unwrap().unwrap();
        assert_eq!(number(&found.value), 2_000);
    });
}

#[test]
fn a_put_sent_three_times_under_one_key_happens_once() {
    const PUTS: u64 = 1_000;
    simulate(3, async |world| {
        world.break_channels(100.0);
        let stores = [1, 2, 3].map(|number| world.store(number));
        for put in 0..PUTS {
            // Three clients, on three replicas, none of which knows of the others.
            let sent = stores.iter().map(|store| {
                let store = store.with_idempotency_key(format!("put {put}")).unwrap();
                async move { store.put(format!("key {}", put % 7), put.to_string()).await }
            });
            let written = try_join_all(sent).await.unwrap();
            assert!(written.iter().all(|one| *one == written[0]), "{written:?}");
            assert_eq!(written[0].revision, Revision(put + 1));
        }
        assert!(world.applied() > 3 * PUTS + 20, "{}: nothing was sent again", world.applied());
        assert_eq!(world.converge().await.revision, Revision(PUTS));
        let key = stores[0].with_idempotency_key("put 0").unwrap();
        assert_eq!(key.put("key 0", "other").await, Err(Error::IdempotencyMismatch));
        assert_eq!(key.delete("key 0").await, Err(Error::IdempotencyMismatch));
    });
}

#[test]
fn a_write_is_retried_under_the_hood_and_happens_once() {
    const WRITES: u64 = 1_000;
    simulate(4, async |world| {
        world.break_channels(60.0);
        let store = world.store(2);
        for write in 1..=WRITES {
            let last = (write - 1).to_string();
            if write % 2 == 1 {
                let written = store.put("k", write.to_string()).await.unwrap();
                assert_eq!(written.revision, Revision(write));
                continue;
            }
            let txn = store.txn().then([
                Op::get("k"),
                Op::put("k", write.to_string()),
                Op::get("absent"),
                Op::delete("absent"),
            ]);
            let TxnResult { revision, results, .. } = txn.commit().await.unwrap();
            assert_eq!(revision, Revision(write));
            let [OpResult::Get(Some(before)), OpResult::Put { version, previous }, ..] =
                &results[..]
            else {
                panic!("{results:?}")
            };
            assert_eq!(
                (before.value.as_ref(), before.mod_revision.0),
                (last.as_bytes(), write - 1)
            );
            assert_eq!((*version, *previous), (write, Some(Revision(write - 1))));
            assert_eq!(results[2..], [OpResult::Get(None), OpResult::Delete { existed: false }]);
        }
        assert!(world.applied() > WRITES + 20, "{}: nothing was sent again", world.applied());
        assert_eq!(world.converge().await.revision, Revision(WRITES));
    });
}

/// A read of each of six values of 1 MiB, then a write of a seventh and a read of it.
fn read_seven(store: &Store, number: u8) -> Transaction {
    let reads = (0..6_u8).map(|number| Op::get(vec![number]));
    let written = [Op::put("own", megabyte(number)), Op::get("own")];
    store.txn().then(reads.chain(written))
}

fn megabyte(number: u8) -> Bytes {
    Bytes::from(vec![number; 1 << 20])
}

fn check_seven(answer: &TxnResult, own: u8) {
    let value = |place: usize| match &answer.results[place] {
        OpResult::Get(Some(found)) => &found.value,
        other => panic!("{other:?}"),
    };
    for number in 0..6_u8 {
        assert_eq!(value(number.into()), &megabyte(number));
    }
    assert_eq!(value(7), &megabyte(own));
}

#[test]
fn answers_larger_than_a_message_arrive_all_the_same() {
    simulate(5, async |world| {
        let store = world.store(3);
        for number in 0..6_u8 {
            store.put(vec![number], megabyte(number)).await.unwrap();
        }
        // Each answer is over its own limit, all of them together over a frame.
        let answers = (0..8).map(|_| read_seven(&store, 9).commit());
        try_join_all(answers).await.unwrap().iter().for_each(|answer| check_seven(answer, 9));
        // Now and then an answer is here before what it tells of.
        let delay_max = Duration::from_millis(20);
        world.network.set_all_faults(Faults { delay_max, ..Faults::default() });
        for own in 10..30 {
            check_seven(&read_seven(&store, own).commit().await.unwrap(), own);
        }
        assert_eq!(world.converge().await.revision, Revision(6 + 8 + 20));
    });
}

#[test]
fn a_range_is_deleted_in_steps_and_under_a_key_once() {
    simulate(6, async |world| {
        let store = world.store(2);
        let key = |number: u64| format!("k{number:04}");
        try_join_all((0..2_500).map(|number| store.put(key(number), "v"))).await.unwrap();
        store.put("other", "v").await.unwrap();
        world.break_channels(20.0);
        let once = store.with_idempotency_key("clean up").unwrap();
        let done = once.delete_range(KeyRange::prefix("k")).await.unwrap();
        assert_eq!((done.deleted, done.revision), (2_500, Revision(2_504)), "in three steps");
        store.put(key(7), "new").await.unwrap();
        let elsewhere = world.store(3).with_idempotency_key("clean up").unwrap();
        assert_eq!(elsewhere.delete_range(KeyRange::prefix("k")).await.unwrap(), done);
        let other = elsewhere.delete_range(KeyRange::prefix("o")).await;
        assert_eq!(other, Err(Error::IdempotencyMismatch));

        let rest = store.range(KeyRange::all()).delete().await.unwrap();
        assert_eq!((rest.deleted, rest.revision), (2, Revision(2_506)));
        let nothing = store.delete_range(KeyRange::all()).await.unwrap();
        assert_eq!((nothing.deleted, nothing.revision), (0, Revision(2_506)));
        world.converge().await;
    });
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_happens() {
    simulate(7, async |world| {
        let store = world.store(2);
        let commit = async |ops: Vec<Op>| store.txn().or_else(ops).commit().await.unwrap_err();
        let twice = commit(vec![Op::put("k", "1"), Op::delete_range(KeyRange::prefix("k"))]).await;
        assert_eq!(twice, Error::DuplicateKey { key: "k".into() });
        let limit = 128;
        let what = "operations in a transaction";
        assert_eq!(commit(vec![Op::get("k"); 129]).await, Error::TooMany { what, limit });
        assert_eq!(commit(vec![Op::get("")]).await, Error::EmptyKey);
        let inner = store.txn().when([Compare::absent(vec![b'k'; 5_000])]).into_txn();
        let (limit, got) = (4_096, 5_000);
        assert_eq!(commit(vec![Op::txn(inner)]).await, Error::TooLarge { what: "key", limit, got });
        let (limit, got) = (1 << 20, (1 << 20) + 1);
        let large = commit(vec![Op::put("k", vec![0; got])]).await;
        assert_eq!(large, Error::TooLarge { what: "value", limit, got });
        let many = (0..20_u8).map(|number| Op::put(vec![number], vec![0; limit])).collect();
        let large = commit(many).await;
        assert!(matches!(large, Error::TooLarge { what: "command", .. }), "{large}");
        let empty = store.put_if("", Expect::Absent, "v").await;
        assert_eq!(empty, Err(Error::EmptyKey));
        assert_eq!(store.get("k").await.unwrap(), None);
        assert_eq!(world.converge().await.revision, Revision(0));
    });
}

#[test]
fn a_conditional_write_tells_what_is_there() {
    simulate(8, async |world| {
        let store = world.store(2);
        assert_eq!(store.put_if("k", Expect::Present, "1").await, Ok(Swap::Conflict(None)));
        let Ok(Swap::Done(first)) = store.put_if("k", Expect::Version(0), "1").await else {
            panic!()
        };
        assert_eq!((first.revision, first.previous), (Revision(1), None));
        let found = store.get("k").await.unwrap();
        for expected in [
            Expect::Absent,
            Expect::Version(2),
            Expect::Value("2".into()),
            Expect::ModRevision(Revision(2)),
        ] {
            let swap = store.put_if("k", expected.clone(), "2").await;
            assert_eq!(swap, Ok(Swap::Conflict(found.clone())), "{expected:?}");
            let swap = store.delete_if("k", expected).await;
            assert_eq!(swap, Ok(Swap::Conflict(found.clone())));
        }
        for (expected, revision) in [
            (Expect::Present, 2),
            (Expect::Version(2), 3),
            (Expect::Value("v".into()), 4),
            (Expect::ModRevision(Revision(4)), 5),
        ] {
            let Ok(Swap::Done(written)) = store.put_if("k", expected, "v").await else { panic!() };
            assert_eq!(written.revision, Revision(revision));
            assert_eq!(written.previous, Some(Revision(revision - 1)));
        }
        let Ok(Swap::Done(gone)) = store.delete_if("k", Expect::Present).await else { panic!() };
        assert_eq!((gone.revision, gone.existed), (Revision(6), true));
        let Ok(Swap::Done(gone)) = store.delete_if("k", Expect::Absent).await else { panic!() };
        assert_eq!((gone.revision, gone.existed), (Revision(6), false));
    });
}
