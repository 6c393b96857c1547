//! What a leader leaves half done, and what the next one makes of it; over memory, in simulated time.
//!
//! A change is stopped exactly between its two steps: its first half is put into the log, and its leader
//! killed, or left alone, before it looks again.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::raft::message::{Reply, Request};
use crate::transport::memory::MemNetwork;
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// In simulated time.
const DEADLINE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(5);

/// Replicas by number, on one network. The lowest living one campaigns first.
#[derive(Default)]
struct World {
    network: MemNetwork,
    replicas: BTreeMap<u64, Cluster>,
}

impl World {
    /// Starts replica `number` and waits until it is in.
    async fn start(&mut self, number: u64, name: &str, promotion: Promotion) {
        let shortest = Duration::from_millis(400 + 150 * number);
        let join = Origin::Join(vec!["n1".into(), "n3".into()]);
        let config = Config {
            name: name.into(),
            listen: Some(format!("n{number}")),
            origin: if number == 1 { Origin::Init(None) } else { join },
            promotion,
            election_timeout_min: shortest,
            election_timeout_max: shortest + Duration::from_millis(50),
            ..Config::default()
        };
        let transport = Arc::new(self.network.transport(&format!("n{number}")));
        let starting = Cluster::builder().config(config).transport(transport).start();
        let cluster = simulation::on_node(number, starting).await.unwrap();
        simulation::on_node(number, cluster.wait_ready(DEADLINE)).await.unwrap();
        self.replicas.insert(number, cluster);
    }

    async fn start_voters(&mut self, count: u64) {
        for number in 1..=count {
            self.start(number, &format!("node{number}"), Promotion::Auto).await;
            self.until_voters(number, &(1..=number).collect::<Vec<_>>()).await;
        }
    }

    fn kill(&mut self, number: u64) {
        self.replicas.remove(&number).unwrap();
        simulation::kill(number);
    }

    fn engine(&self, number: u64) -> Arc<Engine> {
        self.replicas[&number].inner.engine().unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = runtime::now() + DEADLINE;
        while !condition(self) {
            assert!(runtime::now() < deadline, "in vain: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until exactly `voters` vote as replica `on` sees it, and no change is under way.
    async fn until_voters(&self, on: u64, voters: &[u64]) {
        let wanted = set(voters);
        self.until(&format!("voters {voters:?} on {on}"), |world| {
            world.engine(on).configs() == [wanted.clone()]
        })
        .await;
    }

    async fn until_dead(&self, on: u64, number: u64) {
        let dead = |world: &Self| !world.engine(on).peers.is_alive(NodeId(number));
        self.until(&format!("{number} is dead"), dead).await;
    }

    /// The ids of all members, as replica `on` sees them.
    fn members(&self, on: u64) -> Vec<u64> {
        self.engine(on).members().into_iter().map(|(id, ..)| id.0).collect()
    }

    /// The events of replica `on` that are of the kinds `kinds`.
    fn told(&self, on: u64, kinds: &[&str]) -> Vec<String> {
        let (events, _) = self.replicas[&on].events(0).unwrap();
        let told = events.into_iter().filter(|event| kinds.contains(&event.kind.as_str()));
        told.map(|event| event.text).collect()
    }
}

/// Runs `story` from several seeds, which vary all timers.
fn simulated(story: impl AsyncFn(World)) {
    for seed in 1..=3 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            simulation::begin(seed);
            story(World::default()).await;
            simulation::end();
        });
    }
}

fn set(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

#[test]
fn a_replacement_is_one_change_and_never_has_a_voter_too_many() {
    simulated(async |mut world| {
        world.start_voters(3).await;
        world.kill(2);
        world.until_dead(1, 2).await;
        world.start(4, "node2", Promotion::Auto).await;
        world.until_voters(1, &[1, 3, 4]).await;
        assert_eq!(world.members(1), [1, 3, 4]);
        let configs = world.engine(1).configs_in_log().await;
        assert!(configs.iter().flatten().all(|voters| voters.len() <= 3), "{configs:?}");
        let last = &configs[configs.len() - 2..];
        assert_eq!(*last, [vec![set(&[1, 2, 3]), set(&[1, 3, 4])], vec![set(&[1, 3, 4])]]);
    });
}

#[test]
fn the_next_leader_finishes_a_replacement_and_lets_learners_be() {
    simulated(async |mut world| {
        world.start_voters(5).await;
        world.start(6, "reader", Promotion::Never).await;
        world.kill(2);
        world.until_dead(1, 2).await;
        world.start(7, "node2", Promotion::Manual).await;
        world.engine(1).half_change(set(&[1, 3, 4, 5, 7])).await;
        world.kill(1);
        for survivor in [3, 4, 5, 6, 7] {
            assert!(!world.engine(survivor).leads());
        }
        assert_eq!(world.engine(3).configs().len(), 2, "the change is half done");

        world.until_voters(3, &[1, 3, 4, 5, 7]).await;
        assert_eq!(world.members(3), [1, 3, 4, 5, 6, 7], "id 2 is gone, the reader is not");
        let configs = world.engine(3).configs_in_log().await;
        assert!(configs.iter().flatten().all(|voters| voters.len() <= 5), "{configs:?}");
        let told = |world: &World| world.told(3, &["promoted", "removed"]);
        world.until("it is told", |world| !told(world).is_empty()).await;
        assert_eq!(told(&world), ["node2 (id 7) votes now, in place of id 2"]);
        let store = world.replicas[&6].store();
        simulation::on_node(6, store.put("k", "v")).await.unwrap();
    });
}

#[test]
fn the_next_leader_finishes_a_removal() {
    simulated(async |mut world| {
        world.start_voters(4).await;
        world.engine(1).half_change(set(&[1, 2, 3])).await;
        world.kill(1);
        world.until_voters(2, &[1, 2, 3]).await;
        assert_eq!(world.members(2), [1, 2, 3], "who votes no more is no learner either");
        let stopped = simulation::on_node(4, world.replicas[&4].stopped()).await;
        assert_eq!(stopped, Error::Removed { id: NodeId(4) });
    });
}

#[test]
fn a_leader_finishes_what_it_left_half_done_itself() {
    simulated(async |mut world| {
        world.start_voters(3).await;
        world.start(4, "node4", Promotion::Manual).await;
        world.engine(1).half_change(set(&[1, 2, 3, 4])).await;
        world.until_voters(2, &[1, 2, 3, 4]).await;
        assert!(world.engine(1).leads());
    });
}

/// An address that changes in the middle is no reason to keep as a learner whoever is to go.
#[test]
fn a_member_that_moves_in_the_middle_of_a_removal_does_not_undo_it() {
    simulated(async |mut world| {
        world.start_voters(4).await;
        let engine = world.engine(1);
        let members = engine.members();
        let (id, mut moved, _) = members.into_iter().find(|(id, ..)| id.0 == 3).unwrap();
        moved.address = "elsewhere:9000".into();
        engine.half_change(set(&[1, 2, 3])).await;
        let announcement = crate::raft::message::Announcement { id, nonce: 0, member: moved };
        let reply = engine.change(Request::Announce(announcement)).await;
        assert!(matches!(reply, Reply::Done), "{reply:?}");
        world.until_voters(1, &[1, 2, 3]).await;
        assert_eq!(world.members(1), [1, 2, 3]);
    });
}

#[test]
fn a_leader_that_is_to_leave_hands_over_before_the_second_half() {
    simulated(async |mut world| {
        world.start_voters(4).await;
        world.engine(1).half_change(set(&[2, 3, 4])).await;
        world.until_voters(2, &[2, 3, 4]).await;
        assert_eq!(world.members(2), [2, 3, 4]);
        let handed = world.told(1, &["leadership_handed_over"]);
        assert_eq!(handed.len(), 1, "{handed:?}");
        assert!(handed[0].ends_with("it is to leave the cluster"), "{handed:?}");
        let stopped = simulation::on_node(1, world.replicas[&1].stopped()).await;
        assert_eq!(stopped, Error::Removed { id: NodeId(1) });
    });
}
