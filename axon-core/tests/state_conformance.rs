//! The state engines keep the contract of `StateStore`.

#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::StorageError;
use axon_core::storage::StateStore;
use axon_core::storage::disk::RealDisk;
use axon_core::storage::memory::MemState;
use axon_core::storage::redb::{FILE_NAME, RedbState};
use axon_core::testing::state_suite::check_state;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

const CACHE_BYTES: usize = 4 << 20;

#[test]
fn memory_keeps_the_contract() {
    check_state(MemState::new, |store| store);
}

#[test]
fn redb_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let latest = RefCell::new(PathBuf::new());
    let mut stores = 0;
    check_state(
        || {
            stores += 1;
            let path = directory.path().join(stores.to_string());
            std::fs::create_dir(&path).unwrap();
            let store = RedbState::create(Arc::new(RealDisk), &path, CACHE_BYTES).unwrap();
            *latest.borrow_mut() = path;
            store
        },
        |store| {
            drop(store);
            RedbState::open(Arc::new(RealDisk), &latest.borrow(), CACHE_BYTES).unwrap()
        },
    );
}

#[test]
fn a_missing_or_empty_state_is_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let open = || RedbState::open(Arc::new(RealDisk), directory.path(), CACHE_BYTES).err().unwrap();
    assert!(matches!(open(), StorageError::Io { kind: std::io::ErrorKind::NotFound, .. }));
    std::fs::write(directory.path().join(FILE_NAME), b"").unwrap();
    assert!(matches!(open(), StorageError::Corrupt { .. }));
    std::fs::write(directory.path().join(FILE_NAME), vec![7; 9_000]).unwrap();
    assert!(matches!(open(), StorageError::Corrupt { .. }));
}

#[test]
fn an_existing_state_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let create = || RedbState::create(Arc::new(RealDisk), directory.path(), CACHE_BYTES);
    drop(create().unwrap());
    assert!(matches!(create().err().unwrap(), StorageError::Mismatch { .. }));
}

#[test]
fn what_an_interrupted_replacement_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    drop(RedbState::create(Arc::new(RealDisk), directory.path(), CACHE_BYTES).unwrap());
    let leftover = directory.path().join("state.redb.new");
    std::fs::write(&leftover, b"half a state").unwrap();
    let store = RedbState::open(Arc::new(RealDisk), directory.path(), CACHE_BYTES).unwrap();
    assert!(!leftover.exists());
    assert!(store.disk_bytes() > 0);
}
