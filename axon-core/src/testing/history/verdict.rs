//! What the checker says: fine, undecided, or what is wrong with the fewest operations that show it.

use super::action::{Action, Answer, Found, Outcome, Seen, Step};
use super::record::{History, OpId, Operation, WatchId};
use super::text::show;
use std::fmt::{self, Write as _};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was promised was kept.
    Valid(Stats),
    /// A promise was broken.
    Violation(Box<Violation>),
    /// The budget of states was used up before either was shown.
    Undecided(Stats),
}

impl Verdict {
    /// Returns what was broken.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Valid(_) | Self::Undecided(_) => None,
        }
    }
}

/// How much there was to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations of the history.
    pub operations: usize,
    /// Those of them whose outcome is unknown.
    pub unknown: usize,
    /// Unknown ones that an order had to let happen.
    pub happened: usize,
    /// Places where the search could go on in several ways, or has gone back to.
    pub states: usize,
    /// Events of watches.
    pub events: usize,
}

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No order of the operations explains what they were answered.
    Order,
    /// An order explains the values, but no order the revisions and versions that were told.
    Revision,
    /// A read does not show a write that was acknowledged before it began, or that an earlier read
    /// has shown.
    Stale,
    /// Something is shown that nobody wrote, or before it was written.
    Invented,
    /// A write is acknowledged and has no effect.
    Lost,
    /// A write took effect twice, or answered differently when it was sent again.
    Once,
    /// An answer does not belong to what was asked.
    Answer,
    /// A watch told a revision out of order, or twice.
    WatchOrder,
    /// A watch left something out.
    WatchGap,
    /// A watch told something that did not happen so.
    WatchContent,
    /// A watch was resynced where it must not be.
    WatchResync,
}

/// What is wrong, shown by the fewest operations that were found to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise was broken.
    pub kind: Kind,
    /// The operations, in the order in which they began.
    pub operations: Vec<OpId>,
    /// The watches.
    pub watches: Vec<WatchId>,
    /// One sentence.
    pub reason: String,
    /// The sentence with the operations, in time order: for people.
    pub text: String,
    /// The whole history, to be read by [`History::from_json`] and checked again.
    pub json: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A violation before it is written out.
#[derive(Debug)]
pub(super) struct Finding {
    pub kind: Kind,
    pub operations: Vec<OpId>,
    pub watches: Vec<WatchId>,
    pub reason: String,
}

impl Finding {
    pub fn new(kind: Kind, operations: Vec<OpId>, reason: String) -> Self {
        Self { kind, operations, watches: Vec::new(), reason }
    }

    pub fn of_watch(kind: Kind, watch: WatchId, operations: Vec<OpId>, reason: String) -> Self {
        Self { kind, operations, watches: vec![watch], reason }
    }

    /// Adds the text and the history.
    pub fn explained(self, history: &History) -> Violation {
        let Self { kind, mut operations, watches, reason } = self;
        operations.sort_unstable();
        operations.dedup();
        let mut text = format!("{reason}\n");
        let mut shown = operations.clone();
        shown.sort_by_key(|id| (history.operations[id.0].begin, id.0));
        for id in shown {
            let _ = writeln!(text, "  #{:<5} {}", id.0, line(&history.operations[id.0]));
        }
        for watch in &watches {
            let told = &history.watches[watch.0];
            let span = &told.span;
            let to = span.to.as_ref().map_or("the end".to_owned(), |to| show(to));
            let _ = writeln!(
                text,
                "  watch {} of keys from {:?} to {to:?}, start {:?}, {} events",
                watch.0,
                show(&span.from),
                told.start,
                told.told.len()
            );
        }
        let json = history.to_json().unwrap_or_else(|error| format!("{{\"error\":{error:?}}}"));
        Violation { kind, operations, watches, reason, text, json }
    }
}

/// An operation on one line.
pub(super) fn line(operation: &Operation) -> String {
    let mut line = match operation.end {
        Some(end) => format!("[{}, {end}]", operation.begin),
        None => format!("[{}, ...]", operation.begin),
    };
    let _ = write!(line, " client {}: {}", operation.client, asked(&operation.action));
    if let Some(id) = &operation.id {
        let _ = write!(line, " (id {id})");
    }
    let _ = match &operation.outcome {
        Outcome::Ok(answer) => write!(line, " -> {}", answered(answer)),
        Outcome::Failed => write!(line, " -> failed"),
        Outcome::Unknown => write!(line, " -> unknown"),
    };
    line
}

fn asked(action: &Action) -> String {
    let condition = |when: &super::action::Condition| {
        format!("{} {:?} {:?}", show(&when.key), when.relation, when.what)
    };
    let steps = |steps: &[Step]| {
        let step = |step: &Step| match step {
            Step::Get { key } => format!("get {}", show(key)),
            Step::Put { key, value } => format!("put {}={}", show(key), show(value)),
            Step::Delete { key } => format!("delete {}", show(key)),
        };
        steps.iter().map(step).collect::<Vec<_>>().join(", ")
    };
    match action {
        Action::Get { key } => format!("get {}", show(key)),
        Action::Put { key, value } => format!("put {}={}", show(key), show(value)),
        Action::Delete { key } => format!("delete {}", show(key)),
        Action::PutIf { when, value } => {
            format!("put {}={} if {}", show(&when.key), show(value), condition(when))
        }
        Action::DeleteIf { when } => format!("delete {} if {}", show(&when.key), condition(when)),
        Action::Txn { when, then, or_else } => {
            let when = when.iter().map(condition).collect::<Vec<_>>().join(", ");
            format!("if [{when}] then [{}] else [{}]", steps(then), steps(or_else))
        }
        Action::Range { span, at } => {
            let to = span.to.as_ref().map_or(String::new(), |to| show(to));
            let at = at.map_or(String::new(), |at| format!(" at {at}"));
            format!("range [{}, {to}){at}", show(&span.from))
        }
    }
}

fn answered(answer: &Answer) -> String {
    let at = |revision: &Option<crate::types::Revision>| {
        revision.map_or("revision untold".to_owned(), |revision| format!("revision {revision}"))
    };
    match answer {
        Answer::Got(seen) => found(seen),
        Answer::Done { revision, before } => {
            format!("done, {}, before: {}", at(revision), found(before))
        }
        Answer::Conflict { revision, found: seen } => {
            format!("conflict, {}, there is {}", at(revision), found(seen))
        }
        Answer::Txn { succeeded, revision, results } => {
            let branch = if *succeeded { "then" } else { "else" };
            let results = results.iter().map(found).collect::<Vec<_>>().join(", ");
            format!("{branch}, {}, [{results}]", at(revision))
        }
        Answer::Range { revision, pairs } => {
            let pair =
                |pair: &super::action::Pair| format!("{}={}", show(&pair.key), shown(&pair.seen));
            format!("{}: {}", at(revision), pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Untold => "untold".into(),
        Found::Absent => "absent".into(),
        Found::Present(seen) => shown(seen),
    }
}

fn shown(seen: &Seen) -> String {
    let mut text = seen.value.as_ref().map_or("present".to_owned(), |value| show(value));
    for (word, number) in [
        ("mod", seen.mod_revision.map(|revision| revision.0)),
        ("created", seen.create_revision.map(|revision| revision.0)),
        ("version", seen.version),
    ] {
        if let Some(number) = number {
            let _ = write!(text, " {word} {number}");
        }
    }
    text
}
