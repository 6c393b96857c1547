//! How long the checker takes for what a long run records.

use crate::generate::{Doors, Shape, generate};
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{Checker, Verdict};
use std::time::Instant;

fn measured(doors: Doors, lost_in: u64) {
    let shape = Shape {
        clients: 16,
        operations: 100_000,
        keys: 100,
        values: 0,
        lost_in,
        doors,
        wide: false,
        again: false,
    };
    let made = generate(shape, &mut Dice::new(1));
    let begun = Instant::now();
    let verdict = Checker::new().check(&made.history);
    let taken = begun.elapsed();
    println!("100,000 operations, 16 clients, 100 keys, {doors:?}: {taken:.2?}, {verdict:?}");
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
}

#[test]
fn a_hundred_thousand_operations_with_their_revisions_are_checked() {
    measured(Doors::Open, 100);
}

#[test]
fn a_hundred_thousand_operations_without_revisions_are_checked() {
    measured(Doors::Values, 2_000);
}
