//! The slow judge: it tries every order of a small history, one by one.

use crate::store::{Store, is_part};
use axon_core::testing::history::{History, Operation, Outcome};

/// Reports whether some order of `history` explains every answer.
pub fn is_explained(history: &History) -> bool {
    let asked = history.operations.iter().filter(|operation| operation.outcome != Outcome::Failed);
    go_on(&Store::new(), &asked.collect::<Vec<_>>())
}

fn go_on(store: &Store, left: &[&Operation]) -> bool {
    let answered = |operation: &&Operation| matches!(operation.outcome, Outcome::Ok(_));
    if !left.iter().any(answered) {
        return true;
    }
    (0..left.len()).any(|at| {
        let operation = left[at];
        let ended = |other: &&&Operation| answered(other) && other.end.unwrap() < operation.begin;
        if left.iter().any(|other| ended(&other)) {
            return false;
        }
        let mut store = store.clone();
        let answer = store.once(operation.id.as_ref(), &operation.action);
        let fits = match (&operation.outcome, answer) {
            (Outcome::Ok(told), Some(answer)) => is_part(told, &answer),
            (Outcome::Ok(_), None) => false,
            _ => true,
        };
        let mut rest = left.to_vec();
        rest.remove(at);
        fits && go_on(&store, &rest)
    })
}
