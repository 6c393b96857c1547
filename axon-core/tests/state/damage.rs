//! Damage to the engine's file, and power cuts: refused, or without effect; never served.

use crate::support::{Map, Replica, config, put, rows, simulate, story};
use axon_core::command::Command;
use axon_core::error::StorageError;
use axon_core::state::transfer::{SnapshotSink, SnapshotSource};
use axon_core::state::{Position, StateConfig};
use axon_core::storage::disk::Disk;
use axon_core::storage::memory::MemState;
use axon_core::storage::redb::{FILE_NAME, RedbState};
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CACHE_BYTES: usize = 1 << 20;

fn directory() -> &'static Path {
    Path::new("/data")
}

fn file() -> PathBuf {
    directory().join(FILE_NAME)
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(directory()).unwrap();
    disk
}

fn create(disk: &FaultyDisk) -> Result<RedbState, StorageError> {
    RedbState::create(Arc::new(disk.clone()), directory(), CACHE_BYTES)
}

fn open(disk: &FaultyDisk) -> Result<RedbState, StorageError> {
    RedbState::open(Arc::new(disk.clone()), directory(), CACHE_BYTES)
}

/// The state after some entries: where it stands, and all its rows.
type Moment = (Position, Map);

fn moment(replica: &Replica) -> Result<Moment, StorageError> {
    Ok((replica.state.position(), rows(&replica.reader().view())?))
}

/// The story in three parts, a checkpoint after each.
fn parts() -> Vec<Vec<Command>> {
    story(45).chunks(16).map(<[Command]>::to_vec).collect()
}

/// What must be there after none, one, two ... of the parts.
fn moments() -> Vec<Moment> {
    let mut replica = Replica::open(MemState::new()).unwrap();
    let mut moments = vec![moment(&replica).unwrap()];
    for part in parts() {
        replica.apply(&part);
        moments.push(moment(&replica).unwrap());
    }
    moments
}

/// Opens what is there and reads all of it; then goes on for a while, and reads all of it again.
async fn use_it(disk: &FaultyDisk, scrub: u64) -> Result<(Moment, Map), StorageError> {
    let config = StateConfig { scrub_bytes_max: scrub, ..config() };
    let mut replica = Replica::open_with(Arc::new(open(disk)?), config.clone())?;
    let found = moment(&replica)?;
    replica.try_apply(&[put("key-3", "on it goes"), put("key-new", "new")])?;
    replica.state.checkpointer().checkpoint_now().await?;
    drop(replica);
    let again = Replica::open_with(Arc::new(open(disk)?), config)?;
    let rows = rows(&again.reader().view())?;
    Ok((found, rows))
}

/// What [`use_it`] must find and leave, had nothing been damaged after the `part`th checkpoint.
async fn undamaged(parts: &[Vec<Command>]) -> (Moment, Map) {
    let disk = disk();
    let mut replica = Replica::open(create(&disk).unwrap()).unwrap();
    for part in parts {
        replica.apply(part);
        replica.checkpoint().await;
    }
    drop(replica);
    use_it(&disk, u64::MAX).await.unwrap()
}

#[test]
fn a_flipped_bit_is_refused_or_harmless_and_never_served() {
    // Panics of the engine are expected here, and caught; their messages would drown all else.
    std::panic::set_hook(Box::new(|_| {}));
    let sweep = std::panic::catch_unwind(|| {
        simulate(async {
            let parts = parts();
            let mut sound = Vec::new();
            for count in 0..=parts.len() {
                sound.push(undamaged(&parts[..count]).await);
            }
            let disk = disk();
            let mut replica = Replica::open(create(&disk).unwrap()).unwrap();
            for part in &parts {
                replica.apply(part);
                replica.checkpoint().await;
            }
            drop(replica);
            let bytes = disk.contents(&file()).unwrap();
            let (mut flips, mut refused) = (0, 0);
            // Sectors that were never written hold nothing that could be damaged.
            let written =
                (0..bytes.len()).filter(|at| bytes[at & !511..][..512].iter().any(|b| *b > 0));
            for at in written.step_by(step()) {
                let damaged = disk.fork();
                damaged.flip(&file(), at as u64, (at / step() % 8) as u8);
                flips += 1;
                match use_it(&damaged, u64::MAX).await {
                    Ok(found) if sound.contains(&found) => {}
                    Ok((found, _)) => {
                        return Err(format!(
                            "byte {at}: served {:?}, not what was stored",
                            found.0
                        ));
                    }
                    Err(_) => refused += 1,
                }
            }
            println!(
                "R9: state: {flips} flips in {} bytes: {refused} refused, 0 served",
                bytes.len()
            );
            if refused * 20 > flips { Ok(()) } else { Err("hardly a flip hit anything".into()) }
        })
    });
    drop(std::panic::take_hook());
    sweep.expect("no panic reaches a caller").unwrap();
}

/// Every how many bytes a bit is flipped: 97, or what `AXON_FLIP_STEP` says.
fn step() -> usize {
    let step = std::env::var("AXON_FLIP_STEP").ok();
    step.map_or(97, |step| step.parse().expect("AXON_FLIP_STEP is a number"))
}

#[test]
fn a_cut_or_zeroed_file_is_refused_or_harmless() {
    std::panic::set_hook(Box::new(|_| {}));
    let sweep = std::panic::catch_unwind(|| {
        simulate(async {
            let sound = undamaged(&parts()).await;
            let disk = disk();
            let mut replica = Replica::open(create(&disk).unwrap()).unwrap();
            for part in parts() {
                replica.apply(&part);
                replica.checkpoint().await;
            }
            drop(replica);
            let len = disk.contents(&file()).unwrap().len() as u64;
            let mut damages = 0;
            for at in (0..len).step_by(512 * 5) {
                let cut = disk.fork();
                cut.truncate(&file(), at);
                let zeroed = disk.fork();
                zeroed.zero(&file(), at..(at + 512).min(len));
                for (damaged, how) in [(cut, "cut"), (zeroed, "zeroed")] {
                    let found = use_it(&damaged, u64::MAX).await;
                    damages += 1;
                    if found.is_ok_and(|found| found != sound) {
                        return Err(format!("{how} at {at}: served what was not stored"));
                    }
                }
            }
            println!("R9: state: {damages} files cut, or with a zeroed sector: 0 served");
            Ok(())
        })
    });
    drop(std::panic::take_hook());
    sweep.expect("no panic reaches a caller").unwrap();
}

/// Creates a state and makes the checkpoints until the power goes; counts those that were answered.
async fn run_until_dark(disk: &FaultyDisk) -> Option<usize> {
    let mut replica = Replica::open(create(disk).ok()?).ok()?;
    let mut answered = 0;
    for part in parts() {
        if replica.try_apply(&part).is_err() {
            break;
        }
        if replica.state.checkpointer().checkpoint_now().await.is_err() {
            break;
        }
        answered += 1;
    }
    Some(answered)
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_last_checkpoint_or_the_one_under_way() {
    simulate(async {
        let moments = moments();
        let whole = disk();
        assert_eq!(run_until_dark(&whole).await, Some(moments.len() - 1));
        let operations = whole.operations();
        for cut in 0..=operations {
            let disk = disk();
            disk.cut_power_after(cut);
            let answered = run_until_dark(&disk).await;
            let found = disk.crash(cut);
            let store = match (open(&found), answered) {
                (Ok(store), _) => store,
                // It was never said to exist: made again, as the next start would.
                (Err(StorageError::Io { kind: std::io::ErrorKind::NotFound, .. }), None) => {
                    create(&found).unwrap()
                }
                (Err(error), _) => panic!("cut after {cut} of {operations}: {error}"),
            };
            let replica = Replica::open(store).unwrap();
            let found = moment(&replica).unwrap();
            let answered = answered.unwrap_or(0);
            let possible = &moments[answered..(answered + 2).min(moments.len())];
            assert!(possible.contains(&found), "cut after {cut}: stands at {:?}", found.0);
        }
        println!("R10: state: {operations} power cuts, 0 checkpoints lost");
    });
}

fn snapshot_of_story() -> (Vec<Bytes>, Moment) {
    simulate(async {
        let store = MemState::new();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&story(120));
        replica.checkpoint().await;
        let mut source = SnapshotSource::open(&store).unwrap();
        let chunks = std::iter::from_fn(|| source.next_chunk().unwrap()).collect();
        (chunks, moment(&replica).unwrap())
    })
}

async fn install(
    replica: &mut Replica,
    store: &RedbState,
    chunks: &[Bytes],
) -> Result<(), StorageError> {
    let mut sink = SnapshotSink::begin(store, None)?;
    for chunk in chunks {
        sink.take_chunk(chunk)?;
    }
    replica.state.install(sink.verify()?).await
}

#[test]
fn a_power_cut_during_an_install_leaves_the_old_state_or_the_new_one() {
    let (chunks, new) = snapshot_of_story();
    simulate(async {
        let before = disk();
        let mut replica = Replica::open(create(&before).unwrap()).unwrap();
        replica.apply(&parts()[0]);
        replica.checkpoint().await;
        let old = moment(&replica).unwrap();
        drop(replica);

        let (mut cut, mut outcomes) = (0, [0, 0]);
        loop {
            let disk = before.fork();
            let store = Arc::new(open(&disk).unwrap());
            let mut replica = Replica::open_with(store.clone(), config()).unwrap();
            disk.cut_power_after(disk.operations() + cut);
            let installed = install(&mut replica, &store, &chunks).await;
            drop((replica, store));
            let found = disk.crash(cut);
            let reopened = Replica::open(open(&found).unwrap()).unwrap();
            let found = moment(&reopened).unwrap();
            assert!(found == new || (found == old && installed.is_err()), "cut after {cut}");
            outcomes[usize::from(found == new)] += 1;
            if installed.is_ok() {
                break;
            }
            cut += 1;
        }
        assert!(outcomes[0] > 3 && outcomes[1] > 0, "both were seen: {outcomes:?}");
        println!("{cut} power cuts");
    });
}

#[test]
fn a_failed_write_or_sync_of_a_checkpoint_is_never_retried() {
    for (nth, sync) in [(1, false), (2, false), (1, true), (2, true)] {
        simulate(async {
            let disk = disk();
            let mut replica = Replica::open(create(&disk).unwrap()).unwrap();
            replica.apply(&parts()[0]);
            replica.checkpoint().await;
            let old = moment(&replica).unwrap();
            replica.apply(&parts()[1]);
            let new = moment(&replica).unwrap();
            if sync {
                disk.fail_sync(nth, Fault::Io);
            } else {
                disk.fail_write(nth, Fault::NoSpace);
            }
            let error = replica.state.checkpointer().checkpoint_now().await.unwrap_err();
            assert!(matches!(error, StorageError::Io { .. }), "{error}");
            assert_eq!(replica.try_apply(&parts()[2]), Err(error.clone()));
            let again = replica.state.checkpointer().checkpoint_now().await;
            assert_eq!(again.unwrap_err(), error);
            drop(replica);
            let found = disk.crash(1);
            let reopened = Replica::open(open(&found).unwrap()).unwrap();
            let found = moment(&reopened).unwrap();
            assert!(found == old || found == new, "stands at {:?}", found.0);
        });
    }
}
