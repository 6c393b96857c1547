//! Snapshots: there and back, and nothing that is not whole.

use crate::support::{CLUSTER, Replica, config, put, rows, settle, simulate, story};
use axon_core::error::StorageError;
use axon_core::state::transfer::{SnapshotSink, SnapshotSource};
use axon_core::storage::StateStore;
use axon_core::storage::disk::RealDisk;
use axon_core::storage::memory::MemState;
use axon_core::storage::redb::RedbState;
use axon_core::types::{ClusterId, KeyRange, LogIndex};
use bytes::Bytes;
use std::sync::Arc;

/// A store that holds a checkpoint of a story with a few megabytes, and what a view showed then.
async fn source() -> (MemState, Replica) {
    let store = MemState::new();
    let mut replica = Replica::open(store.clone()).unwrap();
    replica.apply(&story(300));
    let mut dice = 1_u32;
    for n in 0..3 {
        let noise: String = std::iter::repeat_with(|| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (dice >> 26) as u8)
        })
        .take(900_000)
        .collect();
        replica.apply(&[put(&format!("large-{n}"), &noise)]);
    }
    replica.checkpoint().await;
    (store, replica)
}

fn chunks(store: &dyn StateStore) -> Vec<Bytes> {
    let mut source = SnapshotSource::open(store).unwrap();
    std::iter::from_fn(|| source.next_chunk().unwrap()).collect()
}

fn load(store: &dyn StateStore, chunks: &[Bytes]) -> Result<SnapshotSink, StorageError> {
    let mut sink = SnapshotSink::begin(store, Some(CLUSTER))?;
    for chunk in chunks {
        sink.take_chunk(chunk)?;
    }
    Ok(sink)
}

#[test]
fn a_snapshot_arrives_as_it_was_sent_and_survives_a_restart() {
    simulate(async {
        let (store, from) = source().await;
        let chunks = chunks(&store);
        assert!(chunks.len() >= 4, "header, rows, trailer: {}", chunks.len());
        let directory = tempfile::tempdir().unwrap();
        let open = || RedbState::open(Arc::new(RealDisk), directory.path(), 4 << 20);
        let target =
            Arc::new(RedbState::create(Arc::new(RealDisk), directory.path(), 4 << 20).unwrap());
        let mut to = Replica::open_with(target.clone(), config()).unwrap();
        to.apply(&[put("old", "1")]);
        to.checkpoint().await;
        let old_view = to.reader().view();
        let mut applied = to.reader().applied();

        let snapshot = load(&*target, &chunks).unwrap().verify().unwrap();
        assert_eq!(snapshot.position(), &from.state.position());
        to.state.install(snapshot).await.unwrap();

        assert!(old_view.get(b"old").unwrap().is_some(), "an old view shows the old state");
        let expected = rows(&from.reader().view()).unwrap();
        assert_eq!(rows(&to.reader().view()).unwrap(), expected);
        assert_eq!(to.state.position(), from.state.position());
        assert_eq!(to.state.checkpoint_position(), from.state.position());
        assert_eq!(*applied.borrow_and_update(), from.state.position().index);
        assert_eq!(to.reader().hash(), from.reader().hash());
        assert_eq!(to.reader().last_node_id(), from.reader().last_node_id());
        assert_eq!(to.reader().cluster_id(), Some(CLUSTER));

        // Both go on alike.
        let mut from = from;
        (to.next, from.next) = (from.next, from.next);
        assert_eq!(to.apply(&story(40)), from.apply(&story(40)));
        assert_eq!(to.reader().hash(), from.reader().hash());
        to.checkpoint().await;
        drop((to, target, old_view));
        settle().await;
        let again = Replica::open(open().unwrap()).unwrap();
        assert_eq!(again.reader().hash(), from.reader().hash());
        assert_eq!(rows(&again.reader().view()).unwrap(), rows(&from.reader().view()).unwrap());
    });
}

#[test]
fn what_is_not_whole_is_refused_and_changes_nothing() {
    simulate(async {
        let (store, _) = source().await;
        let sound = chunks(&store);
        let last = sound.len() - 1;
        let target = MemState::new();
        let mut replica = Replica::open(target.clone()).unwrap();
        replica.apply(&[put("k", "v")]);
        replica.checkpoint().await;
        let refused = |chunks: &[Bytes], why: &str| {
            let result = load(&target, chunks).and_then(SnapshotSink::verify);
            assert!(result.is_err(), "{why}");
        };
        for chunk in 0..sound.len() {
            for byte in (0..sound[chunk].len()).step_by(sound[chunk].len() / 40 + 1) {
                let mut damaged = sound.clone();
                let mut bytes = damaged[chunk].to_vec();
                bytes[byte] ^= 0x10;
                damaged[chunk] = bytes.into();
                refused(&damaged, &format!("a flip at {byte} of chunk {chunk}"));
            }
            let mut cut = sound.clone();
            cut[chunk] = sound[chunk].slice(1..);
            refused(&cut, "a chunk cut short");
            let mut missing = sound.clone();
            missing.remove(chunk);
            refused(&missing, "a missing chunk");
            let mut twice = sound.clone();
            twice.insert(chunk, sound[chunk].clone());
            refused(&twice, "a chunk that comes twice");
        }
        let mut swapped = sound.clone();
        swapped.swap(1, 2);
        refused(&swapped, "chunks in the wrong order");
        refused(&sound[..last], "a stream without its end");
        refused(&[], "nothing at all");

        // A chunk of another snapshot in its place, sound in itself.
        let other = MemState::new();
        let mut another = Replica::open(other.clone()).unwrap();
        another.apply(&story(299));
        another.checkpoint().await;
        let mut mixed = sound.clone();
        mixed[1] = chunks(&other)[1].clone();
        refused(&mixed, "a chunk of another snapshot");

        let view = replica.reader().view();
        assert_eq!(view.page(&KeyRange::all(), 9, 999).unwrap().len(), 1);
        let reopened = Replica::open(target).unwrap();
        assert_eq!(reopened.reader().hash(), replica.reader().hash());
    });
}

#[test]
fn a_snapshot_of_another_cluster_is_refused() {
    simulate(async {
        let (store, _) = source().await;
        let header = &chunks(&store)[0];
        let target = MemState::new();
        let mut other = SnapshotSink::begin(&target, Some(ClusterId(5))).unwrap();
        assert!(matches!(other.take_chunk(header), Err(StorageError::Mismatch { .. })));
        let mut any = SnapshotSink::begin(&target, None).unwrap();
        any.take_chunk(header).unwrap();
        assert!(any.position().is_some());
    });
}

#[test]
fn an_older_snapshot_is_refused_and_the_replica_goes_on() {
    simulate(async {
        let (store, mut replica) = source().await;
        let chunks = chunks(&store);
        replica.apply(&[put("newer", "1")]);
        let snapshot = load(&store, &chunks).unwrap().verify().unwrap();
        let error = replica.state.install(snapshot).await.unwrap_err();
        assert!(matches!(error, StorageError::Mismatch { .. }));
        replica.apply(&[put("newest", "1")]);
        replica.checkpoint().await;
        assert!(replica.reader().view().get(b"newer").unwrap().is_some());
    });
}

/// The rows of a checkpoint that waits for the log must not go on top of the snapshot's.
#[test]
fn an_install_calls_off_the_checkpoint_that_waits() {
    simulate(async {
        let (store, from) = source().await;
        let chunks = chunks(&store);
        let target = MemState::new();
        let mut to = Replica::open(target.clone()).unwrap();
        to.durable.send_replace(LogIndex(0));
        to.apply(&[put("old", "1")]);
        let checkpointer = to.state.checkpointer();
        let waiting = tokio::spawn(async move { checkpointer.checkpoint_now().await });
        settle().await;
        let snapshot = load(&target, &chunks).unwrap().verify().unwrap();
        to.state.install(snapshot).await.unwrap();
        to.durable.send_replace(LogIndex(u64::MAX));
        assert_eq!(waiting.await.unwrap().unwrap(), from.state.position());
        settle().await;
        let reopened = Replica::open(target).unwrap();
        assert_eq!(reopened.reader().hash(), from.reader().hash());
        assert_eq!(to.reader().view().get(b"old").unwrap(), None);
    });
}
