//! What the machine itself can do: the measure for all other figures.
//!
//! Whoever compares figures of two machines, or of one machine on two days, looks here first: a sync of
//! the disk, a processor, and how long one thread takes to wake another are what everything else is
//! made of. No code of Axon runs.

use axon_benches::bench;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;

const SECTOR: usize = 4096;
const NUMBERS: u64 = 100_000;

fn machine(criterion: &mut Criterion) {
    if !bench::is_chosen("machine") {
        return;
    }
    let mut group = criterion.benchmark_group("machine");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));

    let parent = bench::directory(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir_in(parent).expect("the benchmark's directory is writable");
    let file = File::create(directory.path().join("file")).expect("the directory is writable");
    let write = |file: &File| {
        file.write_all_at(&[b'v'; SECTOR], 0).expect("the disk has room");
        file.sync_data().expect("the disk works");
    };
    write(&file);
    group.bench_function("a sync of 4 KiB", |bencher| bencher.iter(|| write(&file)));

    let numbers: Vec<u64> =
        (0..NUMBERS).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    group.bench_function("100,000 numbers sorted", |bencher| {
        let sort = |mut numbers: Vec<u64>| {
            numbers.sort_unstable();
            black_box(numbers)
        };
        bencher.iter_batched(|| numbers.clone(), sort, BatchSize::LargeInput);
    });

    let (ask, asked) = mpsc::channel::<()>();
    let (answer, answered) = mpsc::channel::<()>();
    let other = std::thread::spawn(move || asked.iter().all(|()| answer.send(()).is_ok()));
    group.bench_function("a thread woken, and woken back", |bencher| {
        bencher.iter(|| {
            ask.send(()).expect("the other thread runs");
            answered.recv().expect("the other thread runs");
        });
    });
    drop(ask);
    assert!(other.join().expect("the other thread ends"), "nobody hung up on it");
    group.finish();
}

criterion_group!(benches, machine);
criterion_main!(benches);
