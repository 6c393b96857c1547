//! What every [`StorageEngine`] must do, as a suite: [`check_engine`].
//!
//! It checks how logs and states are made, opened and refused. What they do once they are open is
//! checked by [`check_log`](super::log_suite::check_log) and
//! [`check_state`](super::state_suite::check_state).

use crate::storage::{Completion, LogRecord, LogState, Result, RowChange, Space, StorageEngine};
use crate::types::LogIndex;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(30);
const ID: u128 = 7;

/// Checks an engine against the contract, in directories of the real disk.
///
/// `durable`: whether what was closed is there when it is opened again. An engine that forgets must
/// refuse to open it instead.
///
/// # Panics
/// When a promise is not kept; the message names it.
pub fn check_engine(engine: &dyn StorageEngine, durable: bool) {
    let directory = || tempfile::tempdir().expect("the tests' machine has a temporary directory");
    nothing_is_opened_where_nothing_is(engine, directory().path());
    what_is_made_is_empty(engine, directory().path());
    another_log_is_refused(engine, directory().path());
    what_was_interrupted_is_replaced(engine, directory().path());
    what_was_closed_is_there_or_missed(engine, directory().path(), durable);
    directories_have_nothing_in_common(engine, directory().path(), directory().path());
}

fn nothing_is_opened_where_nothing_is(engine: &dyn StorageEngine, directory: &Path) {
    let missing = directory.join("missing");
    assert_eq!(engine.exists(&missing), Ok(false), "a missing directory holds nothing");
    assert_eq!(engine.exists(directory), Ok(false), "an empty directory holds nothing");
    assert!(engine.open(directory, ID).is_err(), "what is not there is refused");
    assert_eq!(engine.exists(directory), Ok(false), "opening makes nothing");
    assert!(contents(directory).is_empty(), "opening makes nothing");
    for core in ["lock", "joining", "identity.new"] {
        fs::write(directory.join(core), "core's").expect("a file is written");
    }
    assert_eq!(engine.exists(directory), Ok(false), "core's files are no log and no state");
}

fn what_is_made_is_empty(engine: &dyn StorageEngine, directory: &Path) {
    engine.create(directory, ID).expect("log and state are made in an empty directory");
    assert_eq!(engine.exists(directory), Ok(true), "what is made exists");
    let storage = engine.open(directory, ID).expect("what is made can be opened");
    assert_eq!(storage.log.opened(), LogState::default(), "a new log is empty");
    assert!(rows(&storage).is_empty(), "a new state is empty");
    storage.log.close();
}

fn another_log_is_refused(engine: &dyn StorageEngine, directory: &Path) {
    engine.create(directory, ID).expect("log and state are made");
    let before = contents(directory);
    assert!(engine.open(directory, ID + 1).is_err(), "a log is opened under no other id");
    assert!(contents(directory) == before, "what is refused is left as it was");
    engine.open(directory, ID).expect("its own id still opens it").log.close();
}

fn what_was_interrupted_is_replaced(engine: &dyn StorageEngine, directory: &Path) {
    fs::write(directory.join("making"), "").expect("a file is written");
    engine.create(directory, ID).expect("log and state are made");
    engine.create(directory, ID + 1).expect("they are made again in place of the first ones");
    assert!(directory.join("making").exists(), "core's files are core's");
    assert!(engine.open(directory, ID).is_err(), "the first log is gone");
    let storage = engine.open(directory, ID + 1).expect("the second one is there");
    assert_eq!(storage.log.opened(), LogState::default(), "and empty");
    storage.log.close();
}

fn what_was_closed_is_there_or_missed(engine: &dyn StorageEngine, directory: &Path, durable: bool) {
    engine.create(directory, ID).expect("log and state are made");
    write(engine, directory, "v");
    match engine.open(directory, ID) {
        Ok(storage) => {
            assert!(durable, "what is lost is refused, never begun anew");
            assert_eq!(storage.log.opened().last, Some(LogIndex(1)), "the log is there");
            assert_eq!(storage.log.opened().vote, Some("v".into()), "the vote is there");
            assert_eq!(rows(&storage), [("k".into(), "v".into())], "the state is there");
            storage.log.close();
        }
        Err(error) => assert!(!durable, "what was closed is opened again: {error}"),
    }
}

fn directories_have_nothing_in_common(engine: &dyn StorageEngine, one: &Path, other: &Path) {
    engine.create(one, ID).expect("log and state are made");
    assert_eq!(engine.exists(other), Ok(false), "what is made in one directory is in no other");
    engine.create(other, ID + 1).expect("another log and state are made");
    write(engine, one, "one");
    let other = engine.open(other, ID + 1).expect("the other one is there");
    assert_eq!(other.log.opened(), LogState::default(), "what one was told, the other was not");
    assert!(rows(&other).is_empty(), "what one was told, the other was not");
    other.log.close();
}

/// Opens, writes one entry, one vote and one row, and closes.
fn write(engine: &dyn StorageEngine, directory: &Path, value: &'static str) {
    let storage = engine.open(directory, ID).expect("log and state are there");
    let record = LogRecord { index: LogIndex(1), payload: value.into() };
    wait(|done| storage.log.append(vec![record], done));
    wait(|done| storage.log.save_vote(value.into(), done));
    let row = RowChange { space: Space::Kv, key: "k".into(), value: Some(value.into()) };
    storage.state.commit(&mut [row].into_iter()).expect("a commit succeeds");
    storage.log.close();
}

fn wait(call: impl FnOnce(Completion)) {
    let (sender, answers) = mpsc::channel();
    call(Box::new(move |result: Result<()>| {
        // Nobody waits any more once a check has failed.
        let _ = sender.send(result);
    }));
    let answer = answers.recv_timeout(WAIT_MAX).expect("every call is answered, in time");
    assert_eq!(answer, Ok(()), "a call that follows succeeds");
}

fn rows(storage: &crate::storage::Storage) -> Vec<(Bytes, Bytes)> {
    use std::ops::Bound::Unbounded;
    let view = storage.state.view().expect("a view opens");
    let rows = view.scan(Space::Kv, Unbounded, Unbounded, false).expect("a scan begins");
    rows.map(|row| row.expect("a row of a sound state is read")).collect()
}

/// Every file under `directory`, with its bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("a directory is read") {
            let path = entry.expect("an entry is read").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let bytes = fs::read(&path).expect("a file is read");
                found.insert(path, bytes);
            }
        }
    }
    found
}
