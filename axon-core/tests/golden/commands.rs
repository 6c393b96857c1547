//! The commands of a script. `N` is a replica, `via=N` the one that is asked; without it, the living
//! one with the lowest number.
//!
//! ```text
//! cluster nodes=3 [disks] [age=60s] [compare=10] [large]  makes a cluster, in memory or on disks; 1
//!                              leads; its history is kept for so long; states are compared every so
//!                              many revisions; their bases count as large
//! put N k=v, delete N k        writes through N; [once=key]: under that idempotency key
//! cas N k=v R                  writes through N if k was last changed by revision R
//! fill N count                 writes that many keys through N
//! get N k, local N k           reads on N: linearizable, or what it has
//! begin <put or get ...>       begins it and goes on; `finish` waits for the oldest one begun
//! timed <command>              says too whether the answer came at once
//! load N, unload               puts one key after the other through N; ends it, and says how it went
//! partition 1 | 2 3, heal      cuts links in both directions; mends them all
//! cut 1 > 2, reset 1 2         cuts one direction; breaks the channels there are
//! kill N, restart N, stop N    crash; start again on its disks; polite stop
//! pause N, resume N            none of its tasks moves; all go on
//! add N [via=M] [name=..] [manual|never]   starts a newcomer that knocks at M, with that policy
//! knock N ...                  the same, without waiting until it is in
//! remove N, promote N, transfer N    [via=M]
//! members, term                [via=M]
//! status [N ...]               every replica's own view
//! events N [kind ...]          what N noticed, of these kinds or of all
//! history [N ...]              every replica's view of how much of the past it keeps
//! wait leader [N ...]          those replicas, or all, agree on who leads
//! wait a leader [N ...]        the same, whoever it is
//! wait voters N ... [on M ...] those replicas, or all, see exactly these members, all voters
//! wait members count [via=M]   M knows so many members
//! wait rev N revision          N has applied that
//! wait swept revision          all have forgotten what is older
//! wait dead N, wait alive N    [via=M]
//! wait ready [N ...]           those replicas, or all, can serve linearizable reads
//! wait equal                   all have applied the same and have equal states
//! stopped N                    waits until N has stopped, and says why
//! checkpoint N                 writes a checkpoint
//! damage N key bit             flips a bit of the key's value in N's base, with a checksum that fits
//! wait scrubbed N              N has scrubbed its base in the background
//! pass 10s                     lets time pass
//! ```

use crate::world::{DEADLINE, Replica, Start, World, address, until};
use axon_core::config::{History, Origin, Promotion};
use axon_core::error::ErrorOutcome;
use axon_core::runtime::{self, simulation};
use axon_core::status::MemberStatus;
use axon_core::store::{Expect, ReadConsistency, Swap};
use axon_core::transport::memory::Cut;
use axon_core::types::{KeyValue, NodeId, Revision};
use axon_core::{Error, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An answer within this came at once: it waited for no deadline.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Between two puts of a load.
const LOAD_INTERVAL: Duration = Duration::from_millis(10);
/// How long writes may pause while leadership moves.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);

/// A command's words.
struct Words<'a> {
    plain: Vec<&'a str>,
    place: &'a str,
}

impl<'a> Words<'a> {
    fn parse(command: &'a str, place: &'a str) -> Self {
        Self { plain: command.split_whitespace().collect(), place }
    }

    /// The value of the setting `name=value`.
    fn setting(&self, name: &str) -> Option<&'a str> {
        let settings = self.plain.iter().filter_map(|word| word.split_once('='));
        settings.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    }

    fn flag(&self, name: &str) -> bool {
        self.plain.contains(&name)
    }

    fn word(&self, at: usize) -> &'a str {
        self.plain.get(at).copied().unwrap_or_else(|| panic!("{}: too few words", self.place))
    }

    fn number(&self, at: usize) -> u64 {
        self.word(at).parse().unwrap_or_else(|_| panic!("{}: not a number", self.place))
    }

    /// The numbers from `at` to the first other word.
    fn numbers(&self, at: usize) -> Vec<u64> {
        self.plain.iter().skip(at).map_while(|word| word.parse().ok()).collect()
    }

    fn via<'w>(&self, world: &'w World) -> &'w Replica {
        match self.setting("via") {
            Some(number) => world.replica(number.parse().unwrap()),
            None => world.first(),
        }
    }

    /// The replicas whose numbers begin at `at`; all of them when there are none.
    fn replicas(&self, at: usize, world: &World) -> Vec<Replica> {
        let numbers = self.numbers(at);
        let all = world.replicas.values();
        let wanted = all.filter(|one| numbers.is_empty() || numbers.contains(&one.number));
        wanted.cloned().collect()
    }
}

/// Runs one command; what it prints, without the last line's end.
pub async fn run(world: &mut World, command: &str, place: &str) -> String {
    if let Some(timed) = command.strip_prefix("timed ") {
        let begun = runtime::now();
        let words = Box::pin(run(world, timed, place)).await;
        let speed = if begun.elapsed() <= AT_ONCE { "at once" } else { "late" };
        return format!("{words}, {speed}");
    }
    let running = one(world, command, place);
    let ended = tokio::time::timeout(DEADLINE * 2, running).await;
    ended.unwrap_or_else(|_| panic!("{place}: no end"))
}

async fn one(world: &mut World, command: &str, place: &str) -> String {
    let words = Words::parse(command, place);
    match words.word(0) {
        "cluster" => make_cluster(world, &words).await,
        "put" | "delete" | "cas" | "get" | "local" | "fill" => {
            let replica = world.replica(words.number(1)).clone();
            replica.run(data(replica.cluster.store(), command.to_owned())).await
        }
        "begin" => {
            let inner = words.plain[1..].join(" ");
            let store = world.replica(words.number(2)).cluster.store();
            world.begin(words.number(2), data(store, inner));
            String::new()
        }
        "finish" => {
            let begun = world.begun.pop_front().expect("something was begun");
            begun.await.unwrap_or_else(|_| "lost with its replica".into())
        }
        "load" | "unload" => load(world, &words).await,
        "partition" | "heal" | "cut" | "reset" => network(world, &words),
        "kill" | "restart" | "stop" | "pause" | "resume" | "add" | "knock" | "stopped" => {
            life(world, &words).await
        }
        "remove" | "promote" | "transfer" => member_change(world, &words).await,
        "checkpoint" => {
            let replica = world.replica(words.number(1)).clone();
            replica.run(replica.cluster.checkpoint()).await.unwrap();
            String::new()
        }
        "damage" => {
            world.damage(words.number(1), words.word(2), words.number(3) as u8);
            String::new()
        }
        "members" | "status" | "term" | "history" | "events" => view(world, &words),
        "wait" => wait(world, &words).await,
        "pass" => {
            tokio::time::sleep(seconds(words.word(1))).await;
            String::new()
        }
        _ => panic!("{place}: an unknown command"),
    }
}

fn seconds(text: &str) -> Duration {
    let seconds = text.strip_suffix('s').and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.expect("seconds, as in 10s"))
}

async fn make_cluster(world: &mut World, words: &Words<'_>) -> String {
    let count: u64 = words.setting("nodes").unwrap_or("1").parse().unwrap();
    if words.flag("disks") {
        world.use_disks();
    }
    if let Some(age) = words.setting("age") {
        world.history = History::Keep { bytes: u64::MAX, age: seconds(age) };
    }
    if let Some(revisions) = words.setting("compare") {
        world.compare_revisions = revisions.parse().unwrap();
    }
    world.large = words.flag("large");
    for number in 1..=count {
        let origin = if number == 1 { Origin::Init(None) } else { Origin::Join(vec![address(1)]) };
        let name = format!("node{number}");
        let start = Start { number, name, origin, promotion: Promotion::Auto };
        world.start(start).await.unwrap();
        let replica = world.replica(number).clone();
        replica.run(replica.cluster.wait_ready(DEADLINE)).await.unwrap();
        wait_voters(world, words, &(1..=number).collect::<Vec<_>>(), &[]).await;
    }
    wait_leader(&words.replicas(usize::MAX, world), words.place).await
}

/// Reads and writes.
async fn data(store: Store, command: String) -> String {
    let words = Words::parse(&command, &command);
    let once = words.setting("once").map(|key| store.with_idempotency_key(key.to_owned()));
    let store = once.transpose().unwrap().unwrap_or(store);
    let result = match words.word(0) {
        "put" => {
            let (key, value) = words.word(2).split_once('=').expect("put N k=v");
            store
                .put(key.to_owned(), value.to_owned())
                .await
                .map(|put| format!("ok @rev {}", put.revision))
        }
        "delete" => store.delete(words.word(2).to_owned()).await.map(|deleted| {
            let existed = if deleted.existed { "ok" } else { "nothing to delete" };
            format!("{existed} @rev {}", deleted.revision)
        }),
        "cas" => {
            let (key, value) = words.word(2).split_once('=').expect("cas N k=v R");
            let expected = Expect::ModRevision(Revision(words.number(3)));
            store.put_if(key.to_owned(), expected, value.to_owned()).await.map(|swap| match swap {
                Swap::Done(put) => format!("ok @rev {}", put.revision),
                Swap::Conflict(found) => format!("conflict: {}", pair(key, found)),
            })
        }
        "fill" => fill(&store, words.number(2)).await,
        "get" => store.get(words.word(2)).await.map(|found| pair(words.word(2), found)),
        _ => {
            let local = store.with_consistency(ReadConsistency::Local);
            local.get(words.word(2)).await.map(|found| pair(words.word(2), found))
        }
    };
    let wrote = matches!(words.word(0), "put" | "delete" | "cas" | "fill");
    result.unwrap_or_else(|error| match error.outcome() {
        _ if !wrote => said(&error),
        ErrorOutcome::NotApplied => format!("{} (not applied)", said(&error)),
        ErrorOutcome::Unknown => format!("{} (unknown)", said(&error)),
    })
}

async fn fill(store: &Store, count: u64) -> Result<String, Error> {
    let puts = (0..count).map(|at| store.put(format!("fill{at}"), "x"));
    let puts = futures_util::future::try_join_all(puts).await?;
    let last = puts.iter().map(|put| put.revision).max().unwrap_or_default();
    Ok(format!("ok @rev {last}"))
}

/// Puts that go on meanwhile: begins them, or ends them and tells how they went.
async fn load(world: &mut World, words: &Words<'_>) -> String {
    if let Some((task, stop)) = world.load.take() {
        stop.store(true, Ordering::Relaxed);
        return task.await.unwrap_or_else(|_| "lost with its replica".into());
    }
    let replica = world.replica(words.number(1)).clone();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let work = async move {
        let store = replica.cluster.store();
        let (mut longest, mut last, mut errors) = (Duration::ZERO, runtime::now(), "no error");
        for number in 0_u64.. {
            match store.put("load", number.to_string()).await {
                Ok(_) => {
                    longest = longest.max(last.elapsed());
                    last = runtime::now();
                }
                Err(error) if error.is_retryable() => errors = "retryable errors",
                Err(error) => return said(&error),
            }
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(LOAD_INTERVAL).await;
        }
        let paused =
            if longest < PAUSE_MAX { "none too long".into() } else { format!("{longest:?}") };
        format!("puts went on: {errors}, pauses: {paused}")
    };
    let number = words.number(1);
    let replica = world.replica(number).clone();
    let task = runtime::spawn(async move { replica.run(work).await });
    world.load = Some((task, stop));
    String::new()
}

fn pair(key: &str, found: Option<KeyValue>) -> String {
    match found {
        None => format!("{key} is absent"),
        Some(found) => {
            let value = String::from_utf8_lossy(&found.value);
            format!("{key} = {value} @rev {}, version {}", found.mod_revision, found.version)
        }
    }
}

fn said(error: &Error) -> String {
    format!("error: {error}")
}

fn network(world: &World, words: &Words<'_>) -> String {
    match words.word(0) {
        "partition" => {
            let text = words.plain[1..].join(" ");
            let groups: Vec<Vec<u64>> =
                text.split('|').map(|group| Words::parse(group, words.place).numbers(0)).collect();
            world.partition(&groups);
        }
        "heal" => world.network.heal(),
        "cut" => {
            let (from, to) = (address(words.number(1)), address(words.number(3)));
            world.network.cut_one_way(&from, &to, Some(Cut::Stall));
        }
        _ => world.reset(words.number(1), words.number(2)),
    }
    String::new()
}

async fn life(world: &mut World, words: &Words<'_>) -> String {
    let number = words.number(1);
    match words.word(0) {
        "kill" => world.kill(number).await,
        "restart" => {
            if let Err(error) = world.restart(number).await {
                return world.without_places(&said(&error));
            }
        }
        "stop" => {
            let replica = world.replica(number).clone();
            replica.run(replica.cluster.shutdown()).await.unwrap();
            world.kill(number).await;
        }
        "pause" => simulation::pause(number),
        "resume" => simulation::resume(number),
        "stopped" => {
            let replica = world.replica(number).clone();
            return replica.run(replica.cluster.stopped()).await.to_string();
        }
        _ => {
            let door = words.via(world).number;
            let name = words.setting("name").map_or_else(|| format!("node{number}"), str::to_owned);
            let promotion = match () {
                () if words.flag("manual") => Promotion::Manual,
                () if words.flag("never") => Promotion::Never,
                () => Promotion::Auto,
            };
            let origin = Origin::Join(vec![address(door)]);
            world.start(Start { number, name, origin, promotion }).await.unwrap();
            if words.word(0) == "knock" {
                return String::new();
            }
            let replica = world.replica(number).clone();
            if let Err(error) = replica.run(replica.cluster.wait_ready(DEADLINE / 2)).await {
                return said(&error);
            }
            let status = replica.status().expect("it is ready");
            return format!("{} has the id {}", status.name, status.node_id);
        }
    }
    String::new()
}

async fn member_change(world: &World, words: &Words<'_>) -> String {
    let (replica, id) = (words.via(world), NodeId(words.number(1)));
    let cluster = &replica.cluster;
    let result = match words.word(0) {
        "remove" => replica.run(cluster.remove(id)).await.map(|()| "ok".into()),
        "promote" => replica.run(cluster.promote(id)).await.map(|()| "ok".into()),
        _ => {
            let moved = replica.run(cluster.transfer_leadership(Some(id))).await;
            moved.map(|leader| format!("leader {leader}"))
        }
    };
    result.unwrap_or_else(|error| said(&error))
}

fn view(world: &World, words: &Words<'_>) -> String {
    match words.word(0) {
        "members" => match words.via(world).cluster.members() {
            Ok(members) => members.iter().map(member).collect::<Vec<_>>().join("\n"),
            Err(error) => said(&error),
        },
        "term" => words
            .via(world)
            .status()
            .map_or("no term".into(), |status| format!("term {}", status.term)),
        "events" => {
            let replica = world.replica(words.number(1));
            let (events, _) = replica.cluster.events(0).unwrap();
            let wanted = |kind: &str| words.plain.len() == 2 || words.flag(kind);
            let events = events.iter().filter(|event| wanted(event.kind.as_str()));
            let lines = events.map(|event| format!("{}: {}", event.kind.as_str(), event.text));
            lines.collect::<Vec<_>>().join("\n")
        }
        "history" => {
            let lines = words.replicas(1, world).into_iter().map(|replica| {
                let (number, metrics) = (replica.number, replica.cluster.metrics());
                format!(
                    "n{number} {} bytes, compacted={} swept={}",
                    metrics.history_bytes, metrics.compacted_revision, metrics.swept_revision
                )
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        _ => {
            let lines = words.replicas(1, world).into_iter().map(|replica| {
                let number = replica.number;
                match replica.cluster.status() {
                    Ok(status) => format!(
                        "n{number} {} {} term={} rev={}",
                        status.raft_state.as_str(),
                        status.membership.as_str(),
                        status.term,
                        status.revision
                    ),
                    Err(error) => format!("n{number} {}", said(&error)),
                }
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn member(member: &MemberStatus) -> String {
    let alive = if member.alive { "alive" } else { "dead" };
    let leader = if member.leader { " leader" } else { "" };
    let (id, known) = (member.id, &member.member);
    format!(
        "{id} {} at {} {} {alive}{leader}",
        known.name,
        known.peer_address,
        member.membership.as_str()
    )
}

async fn wait(world: &World, words: &Words<'_>) -> String {
    match words.word(1) {
        "leader" => wait_leader(&words.replicas(2, world), words.place).await,
        "a" => {
            wait_leader(&words.replicas(3, world), words.place).await;
            String::new()
        }
        "voters" => {
            let voters = words.numbers(2);
            let on = words.plain.iter().position(|word| *word == "on");
            let on = on.map_or_else(Vec::new, |at| words.numbers(at + 1));
            wait_voters(world, words, &voters, &on).await;
            String::new()
        }
        "members" => {
            let (replica, wanted) = (words.via(world), words.number(2) as usize);
            until(words.place, || {
                let count = replica.cluster.members().map_or(0, |members| members.len());
                if count == wanted { Ok(String::new()) } else { Err(format!("{count} members")) }
            })
            .await
        }
        "ready" => {
            let replicas = words.replicas(2, world);
            until(words.place, || {
                let each = replicas.iter().map(|replica| replica.cluster.readiness());
                let all: Result<(), Error> = each.collect();
                all.map(|()| String::new()).map_err(|error| error.to_string())
            })
            .await
        }
        "rev" => {
            let replica = world.replica(words.number(2));
            let wanted = words.number(3);
            until(words.place, || {
                let revision = replica.status().map_or(0, |status| status.revision.0);
                if revision >= wanted { Ok(String::new()) } else { Err(format!("{revision}")) }
            })
            .await
        }
        "swept" => {
            until(words.place, || {
                let replicas = world.replicas.values();
                let swept = replicas.map(|one| one.cluster.metrics().swept_revision.0).min();
                let done = swept >= Some(words.number(2));
                if done { Ok(String::new()) } else { Err(format!("{swept:?}")) }
            })
            .await
        }
        "scrubbed" => wait_scrubbed(world.replica(words.number(2)), words.place).await,
        "dead" | "alive" => {
            let (replica, id) = (words.via(world), NodeId(words.number(2)));
            let wanted = words.word(1) == "alive";
            until(words.place, || {
                let members = replica.cluster.members().map_err(|error| error.to_string())?;
                let found = members.iter().any(|member| member.id == id && member.alive == wanted);
                if found { Ok(String::new()) } else { Err(format!("{members:?}")) }
            })
            .await
        }
        "equal" => wait_equal(world, words.place).await,
        other => panic!("{}: nothing to wait for: {other}", words.place),
    }
}

async fn wait_scrubbed(replica: &Replica, place: &str) -> String {
    until(place, || {
        let integrity = replica.status().map(|status| status.integrity);
        let scrubbed = integrity.as_ref().is_some_and(|known| known.scrubbed_index.is_some());
        if scrubbed { Ok(String::new()) } else { Err(format!("{integrity:?}")) }
    })
    .await
}

async fn wait_leader(replicas: &[Replica], place: &str) -> String {
    until(place, || {
        let seen = replicas.iter().map(|replica| {
            let status = replica.status()?;
            let (leader, _) = status.leader?;
            Some((leader, leader == status.node_id && status.raft_state.is_leader()))
        });
        let seen: Vec<Option<(NodeId, bool)>> = seen.collect();
        let leaders: Vec<NodeId> =
            seen.iter().flatten().filter(|(_, leads)| *leads).map(|(id, _)| *id).collect();
        match leaders[..] {
            [leader] if seen.iter().all(|seen| seen.is_some_and(|(known, _)| known == leader)) => {
                Ok(format!("leader {leader}"))
            }
            _ => Err(format!("{seen:?}")),
        }
    })
    .await
}

async fn wait_voters(world: &World, words: &Words<'_>, voters: &[u64], on: &[u64]) {
    let replicas = world.replicas.values();
    let replicas = replicas.filter(|one| on.is_empty() || on.contains(&one.number));
    let replicas: Vec<Replica> = replicas.cloned().collect();
    let wanted: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
    until(words.place, || {
        let seen = replicas.iter().map(|replica| {
            let status = replica.status();
            status.map(|status| (status.voters, status.learners))
        });
        let seen: Vec<_> = seen.collect();
        let agreed = seen
            .iter()
            .all(|seen| seen.as_ref().is_some_and(|seen| seen.0 == wanted && seen.1.is_empty()));
        if agreed { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

async fn wait_equal(world: &World, place: &str) -> String {
    until(place, || {
        let seen = world.replicas.values().map(|replica| {
            let status = replica.status();
            status.map(|status| (status.applied_index, status.revision, status.state_hash))
        });
        let seen: Vec<_> = seen.collect();
        let equal = seen.windows(2).all(|two| two[0] == two[1]) && seen[0].is_some();
        if equal { Ok(String::new()) } else { Err(format!("{seen:?}")) }
    })
    .await
}
