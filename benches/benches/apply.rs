//! What a put costs the state machine: decoding, exactly once, three rows, the hash, the overlay.
//!
//! Batches of 64 puts of 256 B in one session, through `State::apply`; nothing touches a disk, and
//! checkpoints go into memory on their own thread. Time is per batch; throughput counts puts.

use axon_core::codec;
use axon_core::command::{Command, Op};
use axon_core::state::{Position, State, StateConfig, StateEntry};
use axon_core::storage::memory::MemState;
use axon_core::types::{LogIndex, RequestId, SessionId};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::RefCell;
use std::sync::Arc;
use tokio::sync::watch;

/// Which key the n-th put takes.
type Spread = fn(u64) -> u64;

const BATCH: u64 = 64;
const VALUE_BYTES: usize = 256;

/// Makes batches of puts that follow each other in the log, with the keys that `key` chooses.
struct Source {
    next: u64,
    key: fn(u64) -> u64,
}

impl Source {
    fn open_session(&mut self) -> (Vec<StateEntry>, Position) {
        self.batch_of(vec![Command { request: None, op: Op::OpenSession }])
    }

    fn batch(&mut self) -> (Vec<StateEntry>, Position) {
        let first = self.next;
        let puts = (first..first + BATCH).map(|index| Command {
            request: Some(RequestId {
                session: SessionId(1),
                sequence: index,
                lowest_unacknowledged: first.saturating_sub(BATCH),
            }),
            op: Op::Put {
                key: Bytes::from(format!("key-{:012}", (self.key)(index))),
                value: Bytes::from(vec![index as u8; VALUE_BYTES]),
            },
        });
        let puts = puts.collect();
        self.batch_of(puts)
    }

    fn batch_of(&mut self, commands: Vec<Command>) -> (Vec<StateEntry>, Position) {
        let mut entries = Vec::with_capacity(commands.len());
        for command in commands {
            let index = LogIndex(self.next);
            let command = Some(codec::encode(&command));
            entries.push(StateEntry { index, stamp_millis: self.next / 64, command });
            self.next += 1;
        }
        let index = LogIndex(self.next - 1);
        let opaque = Bytes::from_static(b"twenty-four opaque bytes");
        (entries, Position { index, log_id: opaque.clone(), membership: opaque })
    }
}

/// Spreads numbers over all of them.
fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

fn apply(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let _inside = runtime.enter();
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH));
    let keys: [(&str, Spread); 3] = [
        ("new keys, ascending", |index| index),
        ("new keys, scattered", scatter),
        ("overwrites of 10,000 keys", |index| scatter(index) % 10_000),
    ];
    for (name, key) in keys {
        let (_durable, receiver) = watch::channel(LogIndex(u64::MAX));
        let store = Arc::new(MemState::new());
        let state =
            State::open(store, receiver, StateConfig::default()).expect("an empty state opens");
        let state = RefCell::new(state);
        let mut source = Source { next: 1, key };
        let (entries, position) = source.open_session();
        state.borrow_mut().apply(&entries, position).expect("a session opens");
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    runtime.block_on(state.borrow_mut().room());
                    source.batch()
                },
                |(entries, position)| {
                    state.borrow_mut().apply(&entries, position).expect("puts apply")
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
