//! Histories as a correct store makes them: operations that overlap, answers that get lost, writes
//! that happen later or never, attempts that are repeated.

use crate::store::Store;
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{
    Action, Answer, Condition, Found, History, OpId, Outcome, Pair, Seen, Span, Step,
};
use bytes::Bytes;

/// How much the doors of the store tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doors {
    /// Everything.
    Open,
    /// Now this, now that.
    Ajar,
    /// No revisions, no versions.
    Values,
}

/// What a history is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub clients: u64,
    pub operations: usize,
    pub keys: u64,
    /// How many values there are; 0: no value is written twice.
    pub values: u64,
    /// One answer in so many gets lost; 0: none.
    pub lost_in: u64,
    pub doors: Doors,
    /// Whether ranges and transactions are among the operations.
    pub wide: bool,
    /// Whether lost writes are sent again under one id.
    pub again: bool,
}

/// A history, and what really happened.
pub struct Made {
    pub history: History,
    pub store: Store,
    /// By revision, when it was made.
    pub times: Vec<u64>,
}

/// An operation under way.
struct Pending {
    op: OpId,
    lost: bool,
    never: bool,
    fails: bool,
    answer: Option<Answer>,
}

struct Maker<'a> {
    shape: Shape,
    dice: &'a mut Dice,
    made: Made,
    now: u64,
    clients: Vec<Option<Pending>>,
    /// Without an answer, and still to happen.
    floating: Vec<OpId>,
    /// What is to be sent again.
    again: Vec<Option<(String, Action)>>,
}

/// Makes a history.
pub fn generate(shape: Shape, dice: &mut Dice) -> Made {
    let small = shape.operations < 1_000;
    let store = if small { Store::new() } else { Store::without_past() };
    let made = Made { history: History::new(), store, times: vec![0] };
    let clients = (0..shape.clients).map(|_| None).collect();
    let again = (0..shape.clients).map(|_| None).collect();
    let mut maker = Maker { shape, dice, made, now: 1, clients, floating: Vec::new(), again };
    while maker.made.history.operations.len() < shape.operations
        || maker.clients.iter().any(Option::is_some)
    {
        maker.step();
    }
    maker.made
}

impl Maker<'_> {
    fn step(&mut self) {
        self.now += self.dice.below(3);
        if !self.floating.is_empty() && self.dice.once_in(4) {
            let at = self.dice.below(self.floating.len() as u64) as usize;
            let op = self.floating.swap_remove(at);
            self.happen(op);
            return;
        }
        let client = self.dice.below(self.shape.clients) as usize;
        match self.clients[client].take() {
            None if self.made.history.operations.len() < self.shape.operations => {
                self.begin(client);
            }
            None => {}
            Some(mut pending) if pending.answer.is_none() && !pending.never && !pending.fails => {
                if pending.lost && self.dice.once_in(2) {
                    self.floating.push(pending.op);
                    self.give_up(client, &pending);
                } else {
                    pending.answer = self.happen(pending.op);
                    self.clients[client] = Some(pending);
                }
            }
            Some(pending) if pending.fails => {
                self.made.history.end(pending.op, self.now, Outcome::Failed);
            }
            Some(pending) if pending.lost || pending.never => self.give_up(client, &pending),
            Some(pending) => {
                let answer = pending.answer.expect("it has happened");
                let told = self.told(answer);
                self.made.history.answer(pending.op, self.now, told);
            }
        }
    }

    fn happen(&mut self, op: OpId) -> Option<Answer> {
        let operation = &self.made.history.operations[op.0];
        let answer = self.made.store.once(operation.id.as_ref(), &operation.action);
        if self.made.store.revision().0 as usize == self.made.times.len() {
            self.made.times.push(self.now);
        }
        answer
    }

    fn give_up(&mut self, client: usize, pending: &Pending) {
        if self.dice.once_in(2) {
            self.made.history.end(pending.op, self.now, Outcome::Unknown);
        }
        let operation = &self.made.history.operations[pending.op.0];
        if let Some(id) = operation.id.clone() {
            self.again[client] = Some((id, operation.action.clone()));
        }
    }

    fn begin(&mut self, client: usize) {
        let lost = self.shape.lost_in > 0 && self.dice.once_in(self.shape.lost_in);
        let history = &mut self.made.history;
        let name = client as u64;
        let op = if let Some((id, action)) = self.again[client].take() {
            history.begin_once(name, id, self.now, action)
        } else {
            let place = history.operations.len();
            let action = self.action();
            let history = &mut self.made.history;
            let reads = matches!(action, Action::Get { .. } | Action::Range { .. });
            if self.shape.again && !reads {
                history.begin_once(name, format!("{client}/{place}"), self.now, action)
            } else {
                history.begin(name, self.now, action)
            }
        };
        let reads = matches!(
            self.made.history.operations[op.0].action,
            Action::Get { .. } | Action::Range { .. }
        );
        let never = lost && (reads || self.dice.once_in(3));
        let fails = !lost && self.shape.lost_in > 0 && self.dice.once_in(12);
        self.clients[client] = Some(Pending { op, lost, never, fails, answer: None });
    }

    fn key(&mut self) -> Bytes {
        format!("k{:02}", self.dice.below(self.shape.keys)).into()
    }

    fn value(&mut self) -> Bytes {
        if self.shape.values == 0 {
            format!("v{}", self.dice.roll() % 1_000_000_000_000).into()
        } else {
            format!("v{}", self.dice.below(self.shape.values)).into()
        }
    }

    /// Often something that holds.
    fn condition(&mut self) -> Condition {
        let key = self.key();
        let present = self.made.store.now().get(&key).cloned();
        match (present, self.dice.below(5)) {
            (Some(pair), 0 | 1) => Condition::mod_revision(key, pair.mod_revision),
            (Some(pair), 2) => Condition::value(key, pair.value),
            (Some(_), 3) => Condition::present(key),
            (Some(_), _) => {
                let value = self.value();
                Condition::value(key, value)
            }
            (None, _) => Condition::absent(key),
        }
    }

    fn action(&mut self) -> Action {
        let key = self.key();
        match self.dice.below(if self.shape.wide { 12 } else { 9 }) {
            0..=2 => Action::Get { key },
            3..=5 => Action::Put { key, value: self.value() },
            6 => Action::Delete { key },
            7 if self.dice.once_in(3) => Action::DeleteIf { when: self.condition() },
            7 | 8 => Action::PutIf { when: self.condition(), value: self.value() },
            9 => {
                let at = self.dice.once_in(3).then(|| self.made.store.revision());
                let at = at.filter(|_| self.shape.operations < 1_000);
                let to = key.clone();
                let span = if self.dice.once_in(2) {
                    Span::all()
                } else {
                    Span { from: Bytes::from_static(b"k"), to: Some(to) }
                };
                Action::Range { span, at }
            }
            _ => {
                let when = (0..self.dice.below(3)).map(|_| self.condition()).collect();
                let (then, or_else) = (self.steps(), self.steps());
                Action::Txn { when, then, or_else }
            }
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut changed: Vec<Bytes> = Vec::new();
        for _ in 0..self.dice.below(4) {
            let key = self.key();
            if self.dice.once_in(3) || changed.contains(&key) {
                steps.push(Step::get(key));
            } else {
                changed.push(key.clone());
                steps.push(if self.dice.once_in(4) {
                    Step::delete(key)
                } else {
                    let value = self.value();
                    Step::put(key, value)
                });
            }
        }
        steps
    }

    /// What the doors tell of an answer.
    fn told(&mut self, mut answer: Answer) -> Answer {
        if self.shape.doors == Doors::Open {
            return answer;
        }
        match &mut answer {
            Answer::Got(found) => self.less_found(found),
            Answer::Done { revision, before: found } | Answer::Conflict { revision, found } => {
                self.less(revision);
                self.less_found(found);
            }
            Answer::Txn { revision, results, .. } => {
                self.less(revision);
                for found in results.iter_mut() {
                    self.less_found(found);
                }
                if self.dice.once_in(8) {
                    results.clear();
                }
            }
            Answer::Range { revision, pairs } => {
                self.less(revision);
                for Pair { seen, .. } in pairs {
                    self.less_seen(seen);
                }
            }
        }
        answer
    }

    fn less<T>(&mut self, told: &mut Option<T>) {
        if self.shape.doors == Doors::Values || self.dice.once_in(3) {
            *told = None;
        }
    }

    fn less_found(&mut self, found: &mut Found) {
        match found {
            Found::Present(seen) => self.less_seen(seen),
            Found::Absent | Found::Untold => {}
        }
        if self.dice.once_in(10) {
            *found = Found::Untold;
        }
    }

    fn less_seen(&mut self, seen: &mut Seen) {
        self.less(&mut seen.mod_revision);
        self.less(&mut seen.create_revision);
        self.less(&mut seen.version);
        if self.dice.once_in(10) {
            seen.value = None;
        }
    }
}
