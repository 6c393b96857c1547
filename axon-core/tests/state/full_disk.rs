//! Checkpoints on a disk that runs full: put off, called off, and gone on with.

use crate::support::{Replica, config, put, rows, settle, simulate};
use axon_core::storage::StateStore;
use axon_core::storage::disk::Disk;
use axon_core::storage::redb::RedbState;
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const TOTAL: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(20);
const A_WHILE: Duration = Duration::from_millis(600);

fn store(disk: &FaultyDisk) -> Arc<dyn StateStore> {
    let directory = Path::new("/data");
    disk.create_dir(directory).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Arc::new(RedbState::create(shared, directory, 1 << 20).unwrap())
}

fn opened(disk: &FaultyDisk) -> Replica {
    Replica::open_with(store(disk), config()).unwrap()
}

/// Puts until the overlay is at its cap and apply would wait; returns the last key's number.
async fn fill(replica: &mut Replica) -> u64 {
    for number in 0.. {
        let room = tokio::time::timeout(A_WHILE, replica.state.room());
        if room.await.is_err() {
            return number - 1;
        }
        replica.apply(&[put(&format!("key {number}"), &"x".repeat(4_000))]);
    }
    unreachable!("the overlay has a cap");
}

#[test]
fn a_checkpoint_without_room_is_put_off_and_made_when_there_is() {
    simulate(async {
        let disk = FaultyDisk::new();
        let mut replica = opened(&disk);
        disk.leave_free(1 << 20, TOTAL);
        let last = fill(&mut replica).await;
        let checkpointer = replica.state.checkpointer();
        assert!(checkpointer.is_put_off() && !checkpointer.has_room());
        assert!(replica.state.checkpoint_position().is_start(), "nothing was written");
        let view = replica.reader().view();
        assert!(view.get(format!("key {last}").as_bytes()).unwrap().is_some(), "reads go on");

        disk.leave_free(256 << 20, TOTAL);
        tokio::time::timeout(PATIENCE, replica.state.room()).await.expect("apply goes on");
        replica.apply(&[put("after", "1")]);
        let position = replica.checkpoint().await;
        assert_eq!(position, replica.state.position());
        assert!(!checkpointer.is_put_off());
        rows(&replica.reader().view()).unwrap();
    });
}

#[test]
fn a_checkpoint_that_waits_for_room_is_called_off_by_a_stop() {
    simulate(async {
        let disk = FaultyDisk::new();
        let mut replica = opened(&disk);
        disk.leave_free(1 << 20, TOTAL);
        fill(&mut replica).await;
        replica.state.checkpointer().call_off();
        tokio::time::timeout(PATIENCE, replica.state.room()).await.expect("nobody waits any more");
        disk.leave_free(256 << 20, TOTAL);
        settle().await;
        assert!(replica.state.checkpoint_position().is_start(), "it is not made after all");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_finds_the_disk_full_in_a_commit_is_made_again() {
    let disk = FaultyDisk::new();
    let mut replica = opened(&disk);
    replica.apply(&[put("k", "v")]);
    for nth in 1..=3 {
        disk.fail_write(nth, Fault::NoSpace);
        replica.apply(&[put("k", &format!("{nth}"))]);
        let position = replica.checkpoint().await;
        assert_eq!(position, replica.state.position());
    }
    rows(&replica.reader().view()).unwrap();
}
