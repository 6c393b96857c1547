//! A judge of histories: whether what clients were told is what a correct store can have told them.
//!
//! Record every operation of every client in a [`History`]: that it begins before it is sent, how it
//! ended after its answer has come, and what watches told. Then ask a [`Checker`]. It knows nothing of
//! replicas, logs or networks: only what the store promises to those who call it. It checks that
//!
//! * **one order explains every answer**: each operation at one moment between its begin and its end,
//!   every read and comparison of what stood there then, revisions and versions included; who got no
//!   answer may have happened at any time since its begin, or never;
//! * **exactly once**: what was sent several times under one id happened at most once, and was
//!   answered the same each time;
//! * **watches** told every change of their span once, in order, all of a revision together, from
//!   their start on and over resumptions, and nothing else; a resync only where one is allowed.
//!
//! How: `compile` brings operations into one form, with numbers for keys and values (`names`). `search` looks for the order, as Wing and Gong
//! did, with Lowe's memory of what was tried. Guided by revisions (`evidence`) it has next to no
//! choices, and needs time in proportion to the history; it still takes no revision on trust, for
//! every answer has to fit the model, those revisions with it. Where no revisions were told, or
//! there is too much to try, `general` looks at values alone, each group of keys apart. `explain`
//! looks for the fewest operations that contradict each other. `watches` compares with the `log` of
//! the order that was found.
//!
//! What [`Store`](crate::Store) answers, its errors and the events of its watches turn into these words
//! by `From` (`convert`).
//!
//! What it does not do: it does not find what nobody was told of. Probe each write by a read after
//! its acknowledgement, through another node. It knows no reads that may be old
//! (`ReadConsistency::Local`), but those of one revision of the past; nor nested transactions, nor
//! deletes of ranges. It knows every write of the store: what writes without being recorded makes
//! violations.
//!
//! ```
//! use axon_core::testing::history::{Action, Answer, Checker, Found, History, Kind, Seen};
//! use axon_core::types::Revision;
//!
//! let mut history = History::new();
//! let put = history.begin(1, 10, Action::Put { key: "color".into(), value: "red".into() });
//! let done = Answer::Done { revision: Some(Revision(1)), before: Found::Absent };
//! history.answer(put, 20, done);
//! let get = history.begin(2, 30, Action::Get { key: "color".into() });
//! history.answer(get, 40, Answer::Got(Found::Present(Seen::value("red"))));
//! assert!(Checker::new().check(&history).violation().is_none());
//!
//! let stale = history.begin(2, 50, Action::Get { key: "color".into() });
//! history.answer(stale, 60, Answer::Got(Found::Absent));
//! let verdict = Checker::new().check(&history);
//! let violation = verdict.violation().expect("a write that was acknowledged is lost");
//! assert_eq!(violation.kind, Kind::Lost);
//! assert_eq!(violation.operations, [put, stale]);
//! ```

mod action;
mod check;
mod compile;
mod convert;
mod evidence;
mod explain;
mod general;
mod log;
mod model;
mod names;
mod record;
mod search;
mod text;
mod verdict;
mod watches;

pub use action::{Action, Answer, Condition, Found, Outcome, Pair, Seen, Span, Step, What};
pub use check::{BUDGET_DEFAULT, Checker};
pub use record::{
    Change, Client, Event, History, OpId, Operation, Start, Time, Told, Watch, WatchId,
};
pub use verdict::{Kind, Stats, Verdict, Violation};
