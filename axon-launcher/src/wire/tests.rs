//! Holds the dashboard's types against the shapes: what is sent and what is read are one thing.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::logs::line::{Level, Line};
use std::path::Path;
use ts_rs::{Config, TS};

/// The dashboard's side.
const FILE: &str = "../ui-svelte/src/lib/api/wire.ts";

const HEAD: &str = "\
// The launcher's shapes, made of axon-launcher/src/wire.rs by its tests. Not written by hand:
// UPDATE=1 cargo test -p axon-launcher --lib wire && npm --prefix ui-svelte run format
";

fn declared<T: TS>(config: &Config) -> String {
    format!("\n{}export {}\n", T::docs().unwrap_or_default(), T::decl(config))
}

fn all() -> String {
    // Numbers here stay far below 2^53.
    let config = Config::new().with_large_int("number");
    let shapes = [
        declared::<State>,
        declared::<Node>,
        declared::<Exit>,
        declared::<Health>,
        declared::<Cluster>,
        declared::<Severity>,
        declared::<Event>,
        declared::<Progress>,
        declared::<Step>,
        declared::<Operation>,
        declared::<DryRun>,
        declared::<Effect>,
        declared::<Tick>,
        declared::<NodeTick>,
        declared::<Snapshot>,
        declared::<Level>,
        declared::<Line>,
    ];
    shapes.iter().fold(HEAD.to_owned(), |text, declared| text + &declared(&config))
}

/// The text without what a formatter decides.
fn meant(text: &str) -> String {
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, ',' | ';');
    let plain: String = text.chars().filter(kept).collect();
    plain.replace('"', "'").replace("=|", "=")
}

#[test]
fn the_dashboard_knows_the_shapes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, all()).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        meant(&known) == meant(&all()),
        "{FILE} is of other shapes than wire.rs: run \
         UPDATE=1 cargo test -p axon-launcher --lib wire && npm --prefix ui-svelte run format"
    );
}
