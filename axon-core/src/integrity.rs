//! Proof that a replica keeps its promises: its state against the others', and against its own hash.
//!
//! **Comparison.** Every so many revisions the leader puts an entry into the log as of which everyone
//! notes the hash of its state. Then it asks each member what it noted. When all that answer say the same,
//! that was it. Else a second entry tells everyone what all have said, and each replica judges by it, all
//! alike ([`judge`]):
//!
//! * a majority of the voters holds one value: whoever holds another one, or knows that it is damaged, is
//!   quarantined. A leader hands over first;
//! * values contradict each other, and none can have a majority: nobody knows who is right. All halt;
//! * it cannot be told, since too few answer: nobody halts, and the leader asks again soon.
//!
//! **Scrub.** In the background every row of the base is read, at a pace, and compared with the hash that was
//! committed with it (`state/scrub.rs`). A replica that finds itself damaged serves nothing more, and asks
//! for a comparison, in which it holds no value. If no majority is found within [`VERDICT_DEADLINE`], it
//! halts by its fault.
//!
//! **Quarantine.** The replica says in its directory that its files are out of use, and halts; the next start
//! comes back as a new node (`identity/quarantine.rs`). Invariants:
//!
//! * no replica gives up its files but against a value that a majority of voters holds;
//! * nothing here is part of the state: what a replica knows of hashes changes no row;
//! * a write pays nothing for any of it but the entries that come once in so many revisions.
//!
//! How long a wrong row may be served: one that writes meet, until the next comparison; one at rest, until
//! the scrub gets to it, at most the interval and the time that a scrub takes.

use crate::command::{Command, Comparison, Noted, Op, Report};
use crate::config::Config;
use crate::error::{Error, StorageError};
use crate::events::EventKind;
use crate::identity::DataDir;
use crate::identity::quarantine::{Fate, Quarantine};
use crate::raft::engine::Engine;
use crate::raft::message::{Reply, Request};
use crate::runtime;
use crate::state::{Note, Scrub};
use crate::types::{LogIndex, Member, NodeId};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a leader looks whether states are to be compared.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a member may take to say what it noted, and how soon it is asked again.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
const ASK_DEADLINE: Duration = Duration::from_secs(1);
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// How soon states are compared again when it could not be told who is right.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long an entry may take.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// How long a replica that knows itself to be damaged waits for the others' word.
const VERDICT_DEADLINE: Duration = Duration::from_secs(15);
/// How long leadership may take to move.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);
/// How long a leader that halts with all others goes on, so that they learn why: some heartbeats.
const PARTING: Duration = Duration::from_millis(500);
/// How long the Raft core of a replica that halts may take to end.
const CORE_STOP_DEADLINE: Duration = Duration::from_secs(3);
/// Bytes that a scrub reads in one go.
const SCRUB_STEP_BYTES: u64 = 256 << 10;
/// How long after its start a replica scrubs a base that was too large to be scrubbed at open: it has
/// more urgent things to do.
const FIRST_SCRUB_AFTER: Duration = Duration::from_secs(30);
/// How soon a scrub that was given up is tried again.
const SCRUB_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Starts what compares and scrubs, until the engine stops. `healed` is what the replica was before, if it
/// has come back out of a quarantine.
pub(crate) fn start(
    engine: &Arc<Engine>,
    config: &Arc<Config>,
    healed: Option<Quarantine>,
    directory: Option<&Arc<DataDir>>,
) {
    engine.keep(compare(engine.clone(), config.compare_revisions));
    engine.keep(scrub(engine.clone(), config.clone()));
    if let (Some(former), Some(directory)) = (healed, directory) {
        let name = &engine.peers.myself().name;
        engine.events.record(EventKind::Quarantined, former.came_back(name, engine.id()));
        engine.keep(forget_quarantine(engine.clone(), directory.clone()));
    }
}

/// Ends the quarantine in `directory` once this replica is a member: its own log then knows the others.
async fn forget_quarantine(engine: Arc<Engine>, directory: Arc<DataDir>) {
    let id = engine.id();
    while engine.members().iter().all(|(known, ..)| *known != id) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    if let Err(error) = runtime::blocking(move || directory.end_quarantine()).await {
        tracing::warn!("that the quarantine is over cannot be written down: {error}");
    }
}

/// What follows from a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    /// Nobody who answered differs from a majority; or nobody differs from anybody.
    Equal,
    /// Some differ, and a majority may turn out to hold a value.
    Open,
    /// A majority of voters holds one value, and these do not.
    Differ(Vec<NodeId>),
    /// Voters hold different values, and none is held by a majority, whatever the silent ones hold.
    Contradiction,
}

/// Judges what the members said. Everyone who is told the same finds the same.
fn judge(reports: &[Report]) -> Finding {
    let voters = reports.iter().filter(|report| report.votes);
    let needed = voters.clone().count() / 2 + 1;
    let silent = voters.clone().filter(|report| report.said == Noted::Nothing).count();
    let mut holders: BTreeMap<u128, usize> = BTreeMap::new();
    for report in voters {
        if let Noted::Hash(hash) = report.said {
            *holders.entry(hash).or_default() += 1;
        }
    }
    let most = holders.iter().max_by_key(|(_, count)| **count).map(|(hash, count)| (*hash, *count));
    let (value, count) = most.unwrap_or_default();
    if count >= needed {
        let right = [Noted::Nothing, Noted::Hash(value)];
        let differ = reports.iter().filter(|report| !right.contains(&report.said));
        let differ: Vec<NodeId> = differ.map(|report| report.id).collect();
        return if differ.is_empty() { Finding::Equal } else { Finding::Differ(differ) };
    }
    let damaged = reports.iter().any(|report| report.said == Noted::Damaged);
    match holders.len() {
        2.. if count + silent < needed => Finding::Contradiction,
        2.. => Finding::Open,
        _ if damaged => Finding::Open,
        _ => Finding::Equal,
    }
}

/// Compares the members' states every `revisions` while this replica leads, until the engine stops.
async fn compare(engine: Arc<Engine>, revisions: u64) {
    let mut compared = LogIndex(0);
    let mut again = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // Under a half-done change two majorities count: it is soon over.
        if !engine.leads() || engine.configs().len() > 1 || engine.members().len() < 2 {
            continue;
        }
        let note = engine.reader.last_note();
        let due = || {
            let since = note.map_or(0, |note| note.revision.0);
            let written = engine.reader.view().revision().0.saturating_sub(since);
            (revisions > 0 && written >= revisions)
                || again.is_some_and(|again| runtime::now() >= again)
        };
        // What is decided already is not asked again, by the next leader for one.
        let decided = engine.reader.compared().borrow().as_ref().map(|decided| decided.index);
        compared = compared.max(decided.unwrap_or_default());
        // Whoever knows itself to be damaged asks for a note, too.
        if let Some(note) = note.filter(|note| note.index > compared) {
            compared = note.index;
            let open = round(&engine, note, again.is_none()).await;
            again = open.then(|| runtime::now() + AGAIN_AFTER);
        } else if due()
            && let Err(error) = propose(&engine, Op::NoteHash).await
        {
            tracing::debug!("states are not compared now: {error}");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

async fn propose(engine: &Engine, op: Op) -> Result<(), Error> {
    engine.propose(&Command { request: None, op }, STEP_DEADLINE).await.map(drop)
}

/// Asks everyone what it noted, and tells everyone when something differs. `true`: it is to be asked
/// again, which is told the `first` time.
async fn round(engine: &Engine, note: Note, first: bool) -> bool {
    let members = engine.members();
    let asked = members.iter().map(|(id, member, votes)| async {
        Report { id: *id, votes: *votes, said: said_by(engine, *id, member, note.index).await }
    });
    let comparison = Comparison { index: note.index, reports: join_all(asked).await };
    engine.soundness.comparisons.fetch_add(1, Ordering::Relaxed);
    let finding = judge(&comparison.reports);
    if finding == Finding::Equal {
        return false;
    }
    engine.soundness.differences.fetch_add(1, Ordering::Relaxed);
    if finding == Finding::Open {
        let index = note.index;
        let text =
            format!("states differ as of entry {index}, and it is not known yet whose is right");
        if first {
            engine.events.record(EventKind::StateDiffers, text);
        }
        return true;
    }
    propose(engine, Op::CompareHashes(comparison)).await.is_err()
}

async fn said_by(engine: &Engine, id: NodeId, member: &Member, index: LogIndex) -> Noted {
    if id == engine.id() {
        return engine.noted_at(index).await;
    }
    let deadline = runtime::now() + ANSWER_DEADLINE;
    let address = engine.peers.address(id).unwrap_or_else(|| member.peer_address.clone());
    while engine.peers.is_alive(id) && runtime::now() < deadline {
        let request = Request::NotedHash(index);
        match engine.peers.ask(id, &address, &request, ASK_DEADLINE).await {
            Ok(Reply::Noted(said)) if said != Noted::Nothing => return said,
            _ => tokio::time::sleep(ASK_INTERVAL).await,
        }
    }
    Noted::Nothing
}

/// Why a replica must halt, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Condemned {
    reason: String,
    fate: Fate,
}

/// Returns when a comparison condemns this replica. Tells of every comparison that found something.
pub(crate) async fn condemned(engine: &Engine) -> Condemned {
    let mut compared = engine.reader.compared();
    // What stood in the log when this replica started was told before; what it says still counts.
    let told = engine.last_log_index();
    loop {
        let comparison = compared.borrow_and_update().clone();
        if let Some(condemned) = comparison.and_then(|comparison| weigh(engine, &comparison, told))
        {
            return condemned;
        }
        if compared.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn weigh(engine: &Engine, comparison: &Comparison, told: LogIndex) -> Option<Condemned> {
    let Comparison { index, reports } = comparison;
    let tell = |text: String| {
        if *index > told {
            engine.events.record(EventKind::StateDiffers, text);
        }
    };
    let members = engine.members();
    let myself = engine.id();
    let named = |id: NodeId| {
        let known = members.iter().find(|(known, ..)| *known == id);
        known.map_or_else(
            || format!("id {id}"),
            |(_, member, _)| format!("{} (id {id})", member.name),
        )
    };
    match judge(reports) {
        Finding::Equal | Finding::Open => None,
        Finding::Differ(differ) => {
            for id in &differ {
                let what = format!("holds another state than a majority as of entry {index}");
                tell(format!("{} {what}: it halts, and comes back as a new node", named(*id)));
            }
            let others = members.iter().filter(|(id, ..)| *id != myself && !differ.contains(id));
            let address = |(id, member, _): &(NodeId, Member, bool)| {
                engine.peers.address(*id).unwrap_or_else(|| member.peer_address.clone())
            };
            let doors = others.map(address).filter(|address| !address.is_empty()).collect();
            differ.contains(&myself).then(|| Condemned {
                reason: format!(
                    "it is quarantined: a majority holds another state than this replica (id \
                     {myself}) as of entry {index}. Started again, it joins as a new node"
                ),
                fate: Fate::Heals { doors, cleared: false },
            })
        }
        Finding::Contradiction => {
            let among = reports.iter().any(|report| report.id == myself);
            tell(format!(
                "the voters hold different states as of entry {index}, none of them by a majority: \
                 all halt"
            ));
            among.then(|| Condemned {
                reason: format!(
                    "the voters hold different states as of entry {index}, and none of them a \
                     majority: it is not known whose is right, and all halt"
                ),
                fate: Fate::Waits,
            })
        }
    }
}

/// Takes this replica out of the cluster's work: its files are out of use, leadership moves, and it halts.
pub(crate) async fn quarantine(
    engine: &Engine,
    directory: Option<Arc<DataDir>>,
    condemned: Condemned,
) -> Error {
    let Condemned { reason, fate } = condemned;
    engine.soundness.doubt(&reason);
    engine.events.record(EventKind::Quarantined, format!("this replica halts: {reason}"));
    let (cluster_id, node_id) = (engine.peers.myself().cluster_id, engine.id());
    let heals = matches!(fate, Fate::Heals { .. });
    let quarantine = Quarantine { cluster_id, node_id, reason: reason.clone(), fate };
    if let Some(directory) = directory {
        let written = runtime::blocking(move || directory.write_quarantine(&quarantine)).await;
        if let Err(error) = written {
            tracing::error!("that its files are out of use cannot be written down: {error}");
        }
    }
    if heals {
        hand_over(engine).await;
    } else {
        tokio::time::sleep(PARTING).await;
    }
    let _ = tokio::time::timeout(CORE_STOP_DEADLINE, engine.raft.shutdown()).await;
    Error::Halted { cause: reason }
}

async fn hand_over(engine: &Engine) {
    if engine.leads() {
        let handed = engine.hand_over("its state is not what a majority holds");
        let _ = tokio::time::timeout(HAND_OVER_DEADLINE, handed).await;
    }
}

/// Scrubs the base again and again, until the engine stops or something is wrong with it.
async fn scrub(engine: Arc<Engine>, config: Arc<Config>) {
    let at_open = engine.reader.was_scrubbed_at_open();
    let mut pause = if at_open { config.scrub_interval } else { FIRST_SCRUB_AFTER };
    loop {
        tokio::time::sleep(pause).await;
        match pass(&engine, config.scrub_bytes_per_second).await {
            Ok(true) => pause = config.scrub_interval,
            Ok(false) => pause = SCRUB_AGAIN_AFTER.min(config.scrub_interval),
            Err(error) => return damaged(&engine, &error).await,
        }
    }
}

/// Scrubs the base once; `false` when that was given up, since the pages that it holds are needed.
async fn pass(engine: &Engine, bytes_per_second: u64) -> Result<bool, StorageError> {
    let Some(mut scrub) = Scrub::begin(&engine.reader) else { return Ok(true) };
    let begun = runtime::now();
    loop {
        if engine.route.room.now().is_low() || engine.checkpointer.is_put_off() {
            return Ok(false);
        }
        let before = scrub.read().1;
        let stepped = runtime::blocking(move || {
            let all = scrub.step(SCRUB_STEP_BYTES)?;
            Ok((scrub, all))
        });
        let all;
        (scrub, all) = stepped.await?;
        let (rows, bytes) = scrub.read();
        engine.soundness.scrubbed_bytes.fetch_add(bytes - before, Ordering::Relaxed);
        if all {
            let index = scrub.position().index;
            engine.soundness.scrubbed(index);
            let seconds = begun.elapsed().as_secs();
            let text = format!(
                "the state as of entry {index} was read, and is as it was written: {rows} rows, \
                 {} MiB, in {seconds} s",
                bytes >> 20
            );
            engine.events.record(EventKind::Scrubbed, text);
            return Ok(true);
        }
        let due = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        tokio::time::sleep_until(begun + due).await;
    }
}

/// What a replica does that has found its own state damaged: it stops serving, and asks the others.
async fn damaged(engine: &Engine, error: &StorageError) {
    engine.soundness.doubt(format!("its state is damaged, and it asks the others: {error}"));
    engine
        .events
        .record(EventKind::StateDiffers, format!("this replica's state is damaged: {error}"));
    if engine.members().len() > 1 {
        hand_over(engine).await;
        let deadline = runtime::now() + VERDICT_DEADLINE;
        while runtime::now() < deadline {
            if let Err(error) = propose(engine, Op::NoteHash).await {
                tracing::warn!("states cannot be compared now: {error}");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
    engine.reader.halt(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Noted = Noted::Nothing;
    const BAD: Noted = Noted::Damaged;
    const A: Noted = Noted::Hash(1);
    const B: Noted = Noted::Hash(2);
    const C: Noted = Noted::Hash(3);

    fn reports(voters: &[Noted], learners: &[Noted]) -> Vec<Report> {
        let voters = voters.iter().map(|said| (true, *said));
        let all = voters.chain(learners.iter().map(|said| (false, *said)));
        (1..).zip(all).map(|(id, (votes, said))| Report { id: NodeId(id), votes, said }).collect()
    }

    fn found(voters: &[Noted]) -> Finding {
        judge(&reports(voters, &[]))
    }

    fn differ(ids: &[u64]) -> Finding {
        Finding::Differ(ids.iter().copied().map(NodeId).collect())
    }

    #[test]
    fn whoever_differs_from_a_majority_of_the_voters_is_named() {
        assert_eq!(found(&[A, A, A]), Finding::Equal);
        assert_eq!(found(&[A, A, B]), differ(&[3]));
        assert_eq!(found(&[B, A, A]), differ(&[1]), "be it the leader");
        assert_eq!(found(&[A, A, BAD]), differ(&[3]));
        assert_eq!(found(&[A, A, A, B, C]), differ(&[4, 5]));
        assert_eq!(found(&[A, A, A, SILENT, B]), differ(&[5]));
        assert_eq!(judge(&reports(&[A, A, SILENT], &[A, B])), differ(&[5]));
        assert_eq!(judge(&reports(&[A, B, B], &[A, A, A])), differ(&[1, 4, 5, 6]), "voters count");
    }

    #[test]
    fn without_a_majority_value_nobody_is_named() {
        assert_eq!(found(&[A, B]), Finding::Contradiction);
        assert_eq!(found(&[A, B, C]), Finding::Contradiction);
        assert_eq!(found(&[A, A, B, B]), Finding::Contradiction);
        assert_eq!(found(&[A, A, B, B, C]), Finding::Contradiction);
        assert_eq!(found(&[A, B, BAD]), Finding::Contradiction);
    }

    #[test]
    fn who_is_silent_may_make_a_majority_and_who_is_damaged_contradicts_nobody() {
        assert_eq!(found(&[A, B, SILENT]), Finding::Open);
        assert_eq!(found(&[A, A, B, SILENT, SILENT]), Finding::Open);
        assert_eq!(found(&[A, BAD]), Finding::Open);
        assert_eq!(found(&[A, BAD, BAD]), Finding::Open);
        assert_eq!(found(&[A, SILENT, BAD]), Finding::Open);
        assert_eq!(found(&[BAD, BAD, BAD]), Finding::Open);
        assert_eq!(found(&[A, SILENT, SILENT]), Finding::Equal);
        assert_eq!(found(&[SILENT, SILENT]), Finding::Equal);
        assert_eq!(found(&[]), Finding::Equal);
        assert_eq!(judge(&reports(&[A, SILENT, SILENT], &[B])), Finding::Equal, "not yet");
    }
}
