//! The end of a run: everything is mended, and what is promised of a sound cluster must come true.
//!
//! Every replica that is still a member serves, the changes of membership come to an end, all states
//! become equal, every key reads the same everywhere, and the watches have told it all.

use crate::client::{Client, key};
use crate::watcher::Progress;
use crate::world::{Life, World};
use axon_core::Error;
use axon_core::runtime::{self, simulation};
use axon_core::status::Status;
use axon_core::testing::faulty_disk::Fault;
use axon_core::testing::history::Action;
use axon_core::types::Revision;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a sound cluster may take until all of it serves.
const SERVE_DEADLINE: Duration = Duration::from_secs(40);
/// How long it may take, when nobody writes any more, until all replicas are equal and all is told.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
/// How long a watcher may take to read what it was slow to read.
const TOLD_DEADLINE: Duration = Duration::from_mins(2);
/// So many calls no disk sees.
const NEVER: u64 = 1 << 40;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const CALL_DEADLINE: Duration = Duration::from_secs(6);

/// Ends every trouble.
pub fn mend(world: &World) {
    world.trace.note("everything is mended");
    world.cut(BTreeMap::new());
    world.weather(world.plan.network);
    for number in world.numbers(|replica| !replica.gone) {
        let node = world.with(number, |replica| {
            replica.disk.leave_free(1 << 40, 1 << 41);
            // What was to fail later does not.
            replica.disk.fail_write(NEVER, Fault::Io);
            replica.disk.fail_sync(NEVER, Fault::Io);
            replica.life
        });
        simulation::slow_disk(node, Duration::ZERO);
        if world.with(number, |replica| replica.paused) {
            world.pause(number, false);
        }
    }
}

/// Waits until all serve; starts what is down meanwhile.
pub async fn serve(world: &World) {
    let deadline = runtime::now() + SERVE_DEADLINE;
    loop {
        let missing = match revive(world).await {
            Some(missing) => missing,
            None => match unsettled(world).await {
                Some(missing) => missing,
                None => return world.trace.note("all serve"),
            },
        };
        if world.is_wrong() {
            return;
        }
        if runtime::now() >= deadline {
            return world
                .wrong("converge", format!("{missing}, {SERVE_DEADLINE:?} after all was mended"));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Starts what is down, puts away what was removed; says what is not as it should be yet.
async fn revive(world: &World) -> Option<String> {
    for number in world.numbers(|replica| replica.cluster.is_none() && !replica.gone) {
        if let Err(error) = world.start(number).await {
            if world.with(number, |replica| replica.rotten) {
                world.trace.note(format!("n{number} is lost: {error}"));
                world.with(number, |replica| replica.gone = true);
            } else {
                world.wrong("start", format!("n{number} does not start: {error}"));
            }
        }
    }
    let mut missing = None;
    for Life { number, cluster, .. } in world.running() {
        match cluster.status() {
            Err(Error::Removed { .. }) => {
                world.crash(number, number).await;
                world.with(number, |replica| replica.gone = true);
            }
            Err(Error::Halted { .. }) => {
                let rotten = world.with(number, |replica| replica.rotten);
                world.crash(number, number).await;
                world.with(number, |replica| replica.gone = rotten);
                missing = Some(format!("n{number} has halted"));
            }
            Ok(status) if status.halted.is_some() => {
                world.crash(number, number).await;
                missing = Some(format!("n{number} has halted"));
            }
            Ok(_) => {
                if let Err(error) = cluster.readiness() {
                    missing = Some(format!("n{number}: {error}"));
                }
            }
            Err(error) => missing = Some(format!("n{number}: {error}")),
        }
    }
    missing
}

/// Says what is not settled yet of the membership, and has those removed who are lost.
async fn unsettled(world: &World) -> Option<String> {
    let lives = world.running();
    let Some(life) = lives.first() else { return Some("no replica runs".into()) };
    let cluster = life.cluster.clone();
    let Ok(members) = cluster.members() else { return Some("no members are known".into()) };
    if world.changes.load(Ordering::Relaxed) > 0 {
        return Some("a change of membership is not answered".into());
    }
    // Who was lost, or asked to be removed with an unknown outcome, is removed now.
    for number in world.numbers(|replica| replica.gone || replica.leaving) {
        let id = world.with(number, |replica| replica.id);
        let Some(id) = id.filter(|id| members.iter().any(|member| member.id == *id)) else {
            continue;
        };
        let asked = cluster.clone();
        let end = life.run(CALL_DEADLINE, async move { asked.remove(id).await }).await;
        let lost = world.with(number, |replica| replica.gone);
        if !lost && matches!(end, Some(Err(Error::WouldLoseQuorum { .. }))) {
            world.with(number, |replica| replica.leaving = false);
        }
        return Some(format!("n{number}, which has to go, is a member: {end:?}"));
    }
    let belongs = |life: &Life| {
        let id = world.with(life.number, |replica| replica.id);
        members.iter().any(|member| Some(member.id) == id)
    };
    if let Some(life) = lives.iter().find(|life| !belongs(life)) {
        return Some(format!("n{} is no member any more, and does not know", life.number));
    }
    let joint = |life: &Life| life.cluster.status().is_ok_and(|status| status.joint);
    if lives.iter().any(joint) {
        return Some("a change of membership is half done".into());
    }
    None
}

/// Has every replica write, and reads everything everywhere; nobody else writes any more.
pub async fn read_all(world: &Arc<World>, client: &mut Client) {
    for life in world.running() {
        let begun = runtime::now();
        loop {
            client.sent += 1;
            let value = format!("end-{}", client.sent).into();
            let put = Action::Put { key: key(life.number % world.plan.keys), value };
            if client.asks(&life, put).await {
                break;
            }
            if begun.elapsed() > SETTLE_DEADLINE {
                return world.wrong("serve", format!("n{} takes no write any more", life.number));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    for life in world.running() {
        for number in 0..world.plan.keys {
            if !client.asks(&life, Action::Get { key: key(number) }).await {
                return world.wrong("serve", format!("n{} does not read", life.number));
            }
        }
    }
}

/// Waits until all replicas are equal; returns the revision.
pub async fn equal(world: &World) -> Option<Revision> {
    let deadline = runtime::now() + SETTLE_DEADLINE;
    loop {
        let seen: Vec<Option<Status>> =
            world.running().iter().map(|life| life.cluster.status().ok()).collect();
        let what = |status: &Option<Status>| {
            status.as_ref().map(|one| (one.applied_index, one.revision, one.state_hash))
        };
        if seen.windows(2).all(|two| what(&two[0]) == what(&two[1]))
            && let Some(Some(one)) = seen.first()
        {
            let (revision, hash) = (one.revision, one.state_hash);
            world.trace.note(format!("all are equal at revision {revision}, {hash:x}"));
            return Some(revision);
        }
        if runtime::now() >= deadline || world.is_wrong() {
            let seen: Vec<_> = seen.iter().map(what).collect();
            world.wrong("converge", format!("states stay different: {seen:x?}"));
            return None;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until every watcher was told everything up to `revision`.
pub async fn told(world: &World, client: &Client, watchers: &[Arc<Progress>], revision: Revision) {
    let deadline = runtime::now() + TOLD_DEADLINE;
    for progress in watchers {
        progress.wanted.store(revision.0, Ordering::Relaxed);
    }
    for progress in watchers {
        loop {
            if let Some(watch) = progress.reached(revision) {
                client.record.complete(watch, revision);
                break;
            }
            if runtime::now() >= deadline || world.is_wrong() {
                let told_to = progress.told_to();
                world.wrong("watch", format!("told to {told_to:?}, and not to {revision}"));
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
