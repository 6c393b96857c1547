//! The closed loop: each client has one request in flight, and makes the next when it has the answer.
//!
//! * Every request has a deadline. One that fails, is refused or finds something wrong is counted by
//!   its kind and is no operation; its client pauses, so that a dead node is not stormed.
//! * Throughput is what was completed between two moments; both are read from the clock, not assumed.
//! * Latency is of every request that touches the time between, also of those that end after it: a
//!   stall at the end is not left out. It counts from the moment a client asks. A closed loop asks
//!   less while it waits, so a stall is seen by as many requests as there are clients, not by those
//!   that an open loop would have sent.

use crate::args::Args;
use crate::counters::Counters;
use crate::door::{Door, Failure};
use crate::system::{System, Usage};
use crate::work::{Op, Requests, Work};
use crate::{Check, proc};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a client does after an error.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that fill a store, and how often each tries a key again.
const FILLERS: usize = 64;
const FILL_TRIES: usize = 100;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const STOPPED: u8 = 2;

/// What came out of one run.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Requests completed, and in which time.
    pub operations: u64,
    pub elapsed: Duration,
    /// In nanoseconds.
    pub latency: Histogram<u32>,
    pub errors: BTreeMap<String, u64>,
    pub server_cpu: Option<Duration>,
    pub own_cpu: Duration,
    /// Bytes, a process each.
    pub memory: Vec<u64>,
    pub counters: Counters,
    /// The load average when it began: what else the machine was doing.
    pub load_before: f64,
}

/// What one client saw.
struct Tally {
    operations: u64,
    latency: Histogram<u32>,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Check<Self> {
        // From 100 ns to two minutes in three digits: 90 KB a client.
        let latency = Histogram::new_with_bounds(100, 120_000_000_000, 3);
        let latency = latency.map_err(|error| format!("no histogram: {error}"))?;
        Ok(Self { operations: 0, latency, errors: BTreeMap::new() })
    }

    fn add(&mut self, other: &Self) -> Check {
        self.operations += other.operations;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.latency.add(&other.latency).map_err(|error| format!("no histogram: {error}"))
    }
}

/// What a run is about.
pub struct Plan<'a> {
    pub args: &'a Args,
    pub work: &'a Work,
    pub op: Op,
    pub clients: usize,
    /// The node of the first client.
    pub first: usize,
    /// Its number: another run asks for other keys.
    pub run: u64,
}

/// Puts `system` under load, and measures.
pub async fn drive(system: &mut System, plan: &Plan<'_>) -> Check<Measured> {
    let deadline = plan.args.deadline();
    let phase = Arc::new(AtomicU8::new(WARMING));
    let load_before = proc::load_average();
    let mut clients = JoinSet::new();
    for (number, door) in system.doors(plan.args, plan.clients, plan.first)?.into_iter().enumerate()
    {
        let requests = plan.work.requests(plan.op, number, plan.run);
        clients.spawn(client(door, requests, Arc::clone(&phase), deadline));
    }
    tokio::time::sleep(Duration::from_secs_f64(plan.args.warmup)).await;
    let counted = system.counters().await?;
    let (begun, before) = (Instant::now(), system.usage()?);
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(plan.args.seconds)).await;
    phase.store(STOPPED, Ordering::Relaxed);
    let (elapsed, after) = (begun.elapsed(), system.usage());
    system.check_alive()?;
    let counters = system.counters().await? - counted;
    let memory = system.memory()?;
    let Usage { server_cpu, own_cpu } = after?;
    let mut sum = Tally::new()?;
    while let Some(tally) = clients.join_next().await {
        sum.add(&tally.map_err(|error| format!("a client: {error}"))??)?;
    }
    let Tally { operations, latency, errors } = sum;
    Ok(Measured {
        operations,
        elapsed,
        latency,
        errors,
        server_cpu: server_cpu.zip(before.server_cpu).map(|(now, then)| now.saturating_sub(then)),
        own_cpu: own_cpu.saturating_sub(before.own_cpu),
        memory,
        counters,
        load_before,
    })
}

async fn client(
    mut door: Door,
    mut requests: Requests,
    phase: Arc<AtomicU8>,
    deadline: Duration,
) -> Check<Tally> {
    let mut tally = Tally::new()?;
    loop {
        let begun_in = phase.load(Ordering::Relaxed);
        if begun_in == STOPPED {
            return Ok(tally);
        }
        let begun = Instant::now();
        let answer = ask(&mut door, requests.next(), deadline).await;
        let latency = begun.elapsed();
        let ended_in = phase.load(Ordering::Relaxed);
        let counts = begun_in == MEASURING || ended_in == MEASURING;
        match answer {
            Ok(()) if counts => {
                tally.operations += u64::from(ended_in == MEASURING);
                let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                tally.latency.saturating_record(nanos);
            }
            Ok(()) => {}
            Err(Failure(kind)) => {
                if counts {
                    *tally.errors.entry(kind.into_owned()).or_default() += 1;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn ask(
    door: &mut Door,
    request: crate::work::Request,
    deadline: Duration,
) -> Result<(), Failure> {
    let answer = tokio::time::timeout(deadline, door.ask(request)).await;
    let answer = answer.unwrap_or(Err(Failure::DEADLINE));
    if answer.is_err() {
        door.reset();
    }
    answer
}

/// Puts every key once, and waits until every node has them all: reads that ask nobody else would
/// miss keys on one that lags.
pub async fn fill(system: &System, args: &Args, work: &Work) -> Check {
    let mut fillers = JoinSet::new();
    for (number, mut door) in system.doors(args, FILLERS, 0)?.into_iter().enumerate() {
        let (work, deadline) = (work.clone(), args.deadline());
        fillers.spawn(async move {
            for key in (number as u64..work.keys).step_by(FILLERS) {
                insist(&mut door, || work.filling(key), deadline).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(filler) = fillers.join_next().await {
        filler.map_err(|error| format!("a filler: {error}"))??;
    }
    // The last write of all: a node that has it has those before.
    let last = work.keys;
    let mut doors = system.doors(args, system.nodes(), 0)?;
    insist(&mut doors[0], || work.filling(last), args.deadline()).await?;
    for door in &mut doors {
        let read = || crate::work::Request::Get { key: Work::key(last), local: true };
        insist(door, read, args.deadline()).await?;
    }
    Ok(())
}

/// Makes a request until it succeeds, but not for ever.
async fn insist(
    door: &mut Door,
    request: impl Fn() -> crate::work::Request,
    deadline: Duration,
) -> Check {
    let mut last = Failure::DEADLINE;
    for _ in 0..FILL_TRIES {
        match ask(door, request(), deadline).await {
            Ok(()) => return Ok(()),
            Err(failure) => last = failure,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("the store cannot be filled: {} after {FILL_TRIES} tries", last.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally::new().unwrap();
        let mut one = Tally::new().unwrap();
        one.operations = 2;
        one.latency.saturating_record(1_000_000);
        one.latency.saturating_record(u64::MAX);
        one.errors.insert("deadline".into(), 1);
        sum.add(&one).unwrap();
        sum.add(&one).unwrap();
        assert_eq!((sum.operations, sum.latency.len(), sum.errors["deadline"]), (4, 4, 2));
        assert!((119_000_000_000..240_000_000_000).contains(&sum.latency.max()));
    }
}
