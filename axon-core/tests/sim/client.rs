//! Clients: each makes one operation after the other, on replicas of its choice, and records what it asked
//! and what it was told.
//!
//! What was acknowledged is read at once on another replica: a store that loses or hides writes for
//! a moment only would pass otherwise. What has no answer is sometimes sent again under the same id,
//! elsewhere, even when it has one.

use crate::record::Record;
use crate::world::{Life, World};
use axon_core::Error;
use axon_core::store::{Expect, Store};
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{
    Action, Answer, Condition, Found, Outcome, Pair, Seen, Span, Step, What,
};
use axon_core::txn::{Compare, Op, Relation};
use axon_core::types::{KeyRange, Revision};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a client waits beyond the store's own deadline, before it gives an operation up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much longer it pauses after a failure.
const BACK_OFF: Duration = Duration::from_millis(150);
/// How often one request is sent under one id.
const ATTEMPTS_MAX: u64 = 4;
/// The size of a large value.
const LARGE_BYTES: usize = 3_000;

pub struct Client {
    pub world: Arc<World>,
    pub record: Record,
    pub number: u64,
    pub dice: Dice,
    pub stop: Arc<AtomicBool>,
    /// Operations that were acknowledged, of all clients.
    pub done: Arc<AtomicU64>,
    /// Where this client last found each key: what it compares with.
    pub known: BTreeMap<Bytes, Revision>,
    pub sent: u64,
}

/// The keys that clients write: all of them lie under one prefix.
pub fn key(number: u64) -> Bytes {
    format!("k/{number}").into()
}

impl Client {
    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) && !self.world.is_wrong() {
            let before = self.done.load(Ordering::Relaxed);
            self.step().await;
            let failed = self.done.load(Ordering::Relaxed) == before;
            let pause = self.world.plan.think_max + if failed { BACK_OFF } else { Duration::ZERO };
            let pause = self.dice.below(pause.as_millis() as u64 + 1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn step(&mut self) {
        let Some(life) = self.pick(None) else { return };
        let action = self.action();
        let writes = !matches!(action, Action::Get { .. } | Action::Range { .. });
        if writes && self.dice.once_in(4) {
            return self.once(life, action).await;
        }
        let number = life.number;
        let outcome = self.ask(&life, None, action.clone()).await;
        let done = matches!(outcome, Outcome::Ok(_));
        if writes && done {
            self.probe(number, &action).await;
        }
    }

    /// Sends one request under one id until it is answered, and perhaps once more.
    async fn once(&mut self, mut life: Life, action: Action) {
        self.sent += 1;
        let id = format!("c{}-{}", self.number, self.sent);
        for _ in 0..ATTEMPTS_MAX {
            let outcome = self.ask(&life, Some(&id), action.clone()).await;
            let again = self.dice.once_in(3);
            if matches!(outcome, Outcome::Ok(_)) && !again {
                self.probe(life.number, &action).await;
                return;
            }
            let Some(next) = self.pick(None) else { return };
            life = next;
        }
    }

    /// Reads what was written, on another replica if there is one.
    async fn probe(&mut self, wrote_on: u64, action: &Action) {
        let key = match action {
            Action::Put { key, .. } | Action::Delete { key } => key,
            Action::PutIf { when, .. } | Action::DeleteIf { when } => &when.key,
            Action::Txn { when, then, .. } => {
                then.first().map_or_else(|| &when[0].key, |step| step.key())
            }
            Action::Get { .. } | Action::Range { .. } => return,
        };
        let key = key.clone();
        if let Some(other) = self.pick(Some(wrote_on)) {
            self.ask(&other, None, Action::Get { key }).await;
        }
    }

    /// A replica that runs; another one than `but`, if there is one.
    fn pick(&mut self, but: Option<u64>) -> Option<Life> {
        let mut lives = self.world.running();
        if lives.iter().any(|life| Some(life.number) != but) {
            lives.retain(|life| Some(life.number) != but);
        }
        let count = lives.len() as u64;
        (count > 0).then(|| lives.swap_remove(self.dice.below(count) as usize))
    }

    /// Asks once, and reports whether it was done.
    pub async fn asks(&mut self, life: &Life, action: Action) -> bool {
        matches!(self.ask(life, None, action).await, Outcome::Ok(_))
    }

    async fn ask(&mut self, life: &Life, id: Option<&str>, action: Action) -> Outcome {
        let words = describe(&action);
        let asked = action.clone();
        let operation = self.record.begin(self.number, id, action.clone());
        let store = life.cluster.store();
        let store = match id {
            None => store,
            Some(id) => store.with_idempotency_key(id.to_owned()).expect("the id is short"),
        };
        let deadline = self.world.plan.config.request_timeout + PATIENCE;
        let answer = life.run(deadline, async move { perform(&store, action).await }).await;
        let (outcome, said) = match answer {
            None => (Outcome::Unknown, "nothing".to_owned()),
            Some(Ok(answer)) => (Outcome::Ok(answer), "done".to_owned()),
            Some(Err(error)) => (Outcome::from(&error), error.to_string()),
        };
        if let Outcome::Ok(answer) = &outcome {
            self.done.fetch_add(1, Ordering::Relaxed);
            self.learn(&asked, answer);
        }
        let id = id.unwrap_or("-");
        let told = match &outcome {
            Outcome::Ok(_) => "ok",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
        };
        self.world.trace.note(format!(
            "client {} on n{} #{} {id} {words}: {told}, {said}",
            self.number, life.number, operation.0
        ));
        self.record.end(operation, outcome.clone());
        outcome
    }

    /// Remembers where keys were found, to compare with later.
    fn learn(&mut self, asked: &Action, answer: &Answer) {
        let mut found = Vec::new();
        match (asked, answer) {
            (Action::Get { key }, Answer::Got(Found::Present(seen))) => found.push((key, seen)),
            (_, Answer::Range { pairs, .. }) => {
                found.extend(pairs.iter().map(|Pair { key, seen }| (key, seen)));
            }
            _ => {}
        }
        for (key, Seen { mod_revision, .. }) in found {
            if let Some(revision) = mod_revision {
                self.known.insert(key.clone(), *revision);
            }
        }
    }

    fn key(&mut self) -> Bytes {
        key(self.dice.below(self.world.plan.keys))
    }

    fn value(&mut self) -> Bytes {
        self.sent += 1;
        let mut value = format!("v{}-{}.", self.number, self.sent).into_bytes();
        if self.dice.once_in(self.world.plan.large_once_in) {
            value.resize(LARGE_BYTES, b'x');
        }
        value.into()
    }

    fn condition(&mut self) -> Condition {
        let key = self.key();
        match self.dice.below(5) {
            0 => Condition::absent(key),
            1 => Condition::present(key),
            _ => {
                let revision = self.known.get(&key).copied().unwrap_or(Revision(1));
                Condition::mod_revision(key, revision)
            }
        }
    }

    fn action(&mut self) -> Action {
        let span = || Span::from(KeyRange::prefix("k/"));
        match self.dice.below(20) {
            0..=5 => Action::Put { key: self.key(), value: self.value() },
            6..=8 => Action::Get { key: self.key() },
            9 => Action::Delete { key: self.key() },
            10..=12 => Action::PutIf { when: self.condition(), value: self.value() },
            13 => Action::DeleteIf { when: self.condition() },
            14..=16 => self.transaction(),
            17 => {
                let newest = self.known.values().max().map_or(0, |revision| revision.0);
                let at = newest.saturating_sub(self.dice.below(40)).max(1);
                Action::Range { span: span(), at: Some(Revision(at)) }
            }
            _ => Action::Range { span: span(), at: None },
        }
    }

    /// Swaps two keys' fates: each changed at most once on either way.
    fn transaction(&mut self) -> Action {
        let (one, other) = (self.dice.below(self.world.plan.keys), self.dice.below(3) + 1);
        let (one, other) = (key(one), key((one + other) % self.world.plan.keys));
        let when = vec![self.condition()];
        let mut then = vec![Step::put(one.clone(), self.value())];
        if one != other {
            let step = match self.dice.below(3) {
                0 => Step::get(other.clone()),
                1 => Step::delete(other.clone()),
                _ => Step::put(other.clone(), self.value()),
            };
            then.push(step);
        }
        let or_else = if self.dice.once_in(2) {
            vec![Step::get(one), Step::get(other)]
        } else {
            vec![Step::put(other, self.value())]
        };
        Action::Txn { when, then, or_else }
    }
}

/// An action in few words, for the trace.
fn describe(action: &Action) -> String {
    let show = |bytes: &Bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
    match action {
        Action::Get { key } => format!("get {}", show(key)),
        Action::Put { key, value } => format!("put {}={}", show(key), show(value)),
        Action::Delete { key } => format!("delete {}", show(key)),
        Action::PutIf { when, value } => format!("swap {}={}", show(&when.key), show(value)),
        Action::DeleteIf { when } => format!("delete {} if", show(&when.key)),
        Action::Txn { then, .. } => format!("txn {}", show(then[0].key())),
        Action::Range { at, .. } => format!("range at {at:?}"),
    }
}

async fn perform(store: &Store, action: Action) -> Result<Answer, Error> {
    Ok(match action {
        Action::Get { key } => store.get(key).await?.into(),
        Action::Put { key, value } => store.put(key, value).await?.into(),
        Action::Delete { key } => store.delete(key).await?.into(),
        Action::PutIf { when, value } => {
            let key = when.key.clone();
            store.put_if(key, expectation(&when), value).await?.into()
        }
        Action::DeleteIf { when } => {
            let key = when.key.clone();
            store.delete_if(key, expectation(&when)).await?.into()
        }
        Action::Txn { when, then, or_else } => {
            let txn = store.txn().when(when.into_iter().map(compare));
            let txn = txn.then(then.into_iter().map(step)).or_else(or_else.into_iter().map(step));
            txn.commit().await?.into()
        }
        Action::Range { at, .. } => {
            let query = store.prefix("k/").limit(1_000);
            let query = match at {
                None => query,
                Some(at) => query.at(at),
            };
            let page = query.page().await?;
            let pairs = page.items.into_iter().map(Pair::from).collect();
            Answer::Range { revision: Some(page.revision), pairs }
        }
    })
}

fn expectation(when: &Condition) -> Expect {
    match (&when.what, when.relation) {
        (What::Version(0), Relation::Equal) => Expect::Absent,
        (What::Version(_), _) => Expect::Present,
        (What::ModRevision(revision), _) => Expect::ModRevision(*revision),
        (What::CreateRevision(_) | What::Value(_), _) => unreachable!("no client asks for it"),
    }
}

fn compare(when: Condition) -> Compare {
    let Condition { key, what, relation } = when;
    match what {
        What::Version(version) => Compare::version(key, relation, version),
        What::CreateRevision(revision) => Compare::create_revision(key, relation, revision),
        What::ModRevision(revision) => Compare::mod_revision(key, relation, revision),
        What::Value(value) => Compare::value(key, relation, value),
    }
}

fn step(step: Step) -> Op {
    match step {
        Step::Get { key } => Op::get(key),
        Step::Put { key, value } => Op::put(key, value),
        Step::Delete { key } => Op::delete(key),
    }
}
