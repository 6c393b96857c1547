//! The loop: each client has one request in flight, and makes the next when it has the answer.
//!
//! * Every request has a deadline. One that fails, is refused or finds something wrong is counted by
//!   its kind and is no operation; its client pauses, so that a dead node is not stormed.
//! * Throughput is what was completed between two moments; both are read from the clock, not assumed.
//! * Latency is of every request that touches the time between, also of those that end after it: a
//!   stall at the end is not left out. It counts from the moment a client asks. A closed loop asks
//!   less while it waits, so a stall is seen by as many requests as there are clients, not by those
//!   that an open loop would have sent.
//! * A steady load ([`Load::start`] with a rate) is the same loop with moments at which each client asks.
//!   One that was still busy then asks later, and its time counts from the moment all the same: a
//!   stall is seen by every request that was due in it.

use crate::counters::Counters;
use crate::door::{Door, Failure};
use crate::system::{System, Usage};
use crate::work::{Op, Request, Requests, Work};
use crate::{Check, proc};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a client does after an error.
const PAUSE: Duration = Duration::from_millis(10);

/// How often a filler tries a key again.
const FILL_TRIES: usize = 100;

/// Tallies are shared by many clients: ten thousand histograms would take a gigabyte.
const TALLIES: usize = 32;

/// What came out of one run.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Requests completed, and in which time.
    pub operations: u64,
    pub elapsed: Duration,
    pub latency: Latency,
    pub errors: BTreeMap<String, u64>,
    pub server_cpu: Option<Duration>,
    pub own_cpu: Duration,
    /// Bytes, a process each.
    pub memory: Vec<u64>,
    pub counters: Counters,
    /// The load average when it began: what else the machine was doing.
    pub load_before: f64,
}

/// How long requests took, in nanoseconds; writes and reads apart, since a mean of the two is nobody's.
#[derive(Debug, Clone)]
pub struct Latency {
    pub puts: Histogram<u32>,
    pub gets: Histogram<u32>,
}

impl Latency {
    pub fn new() -> Check<Self> {
        // From 100 ns to two minutes in three digits: 90 KB each.
        let histogram = || Histogram::new_with_bounds(100, 120_000_000_000, 3).map_err(told);
        Ok(Self { puts: histogram()?, gets: histogram()? })
    }

    fn record(&mut self, is_put: bool, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let histogram = if is_put { &mut self.puts } else { &mut self.gets };
        histogram.saturating_record(nanos);
    }

    pub fn add(&mut self, other: &Self) -> Check {
        self.puts.add(&other.puts).and_then(|()| self.gets.add(&other.gets)).map_err(told)
    }

    /// Writes and reads together.
    pub fn all(&self) -> Histogram<u32> {
        let mut all = self.puts.clone();
        // Both have the same bounds.
        let added = all.add(&self.gets);
        debug_assert!(added.is_ok(), "{added:?}");
        all
    }
}

fn told(error: impl std::fmt::Display) -> String {
    format!("no histogram: {error}")
}

/// What some clients saw.
#[derive(Debug)]
pub struct Tally {
    pub operations: u64,
    pub latency: Latency,
    pub errors: BTreeMap<String, u64>,
}

impl Tally {
    pub fn new() -> Check<Self> {
        Ok(Self { operations: 0, latency: Latency::new()?, errors: BTreeMap::new() })
    }

    pub fn add(&mut self, other: &Self) -> Check {
        self.operations += other.operations;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.latency.add(&other.latency)
    }
}

/// When it is measured, and when it is over.
#[derive(Debug, Default)]
pub struct Gate {
    /// Odd while it is measured.
    turns: AtomicU32,
    stopped: AtomicBool,
}

impl Gate {
    /// Begins or ends a time that is measured.
    pub fn measure(&self, measured: bool) {
        if self.is_open() != measured {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_open(&self) -> bool {
        self.turns() % 2 == 1
    }

    fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// What a run is about.
pub struct Plan<'a> {
    pub work: &'a Work,
    pub op: Op,
    pub clients: usize,
    /// The node of the first client.
    pub first: usize,
    /// Its number: another run asks for other keys.
    pub run: u64,
    pub warmup: Duration,
    pub length: Duration,
    /// How long a request may take.
    pub deadline: Duration,
}

/// Puts `system` under load, and measures.
pub async fn drive(system: &mut System, plan: &Plan<'_>) -> Check<Measured> {
    let load_before = proc::load_average();
    let doors = system.doors(plan.clients, plan.first, plan.work.value_bytes)?;
    let load = Load::start(doors, plan, None)?;
    tokio::time::sleep(plan.warmup).await;
    let counted = system.counters().await?;
    let (begun, before) = (Instant::now(), system.usage()?);
    load.gate.measure(true);
    tokio::time::sleep(plan.length).await;
    load.gate.measure(false);
    let (elapsed, after) = (begun.elapsed(), system.usage());
    load.gate.stop();
    system.check_alive()?;
    let counters = system.counters().await? - counted;
    let memory = system.memory()?;
    let Usage { server_cpu, own_cpu } = after?;
    let Tally { operations, latency, errors } = load.end().await?;
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

/// Clients at work.
pub struct Load {
    pub gate: Arc<Gate>,
    tallies: Arc<Vec<Mutex<Tally>>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Puts a client at each of `doors`. With a `rate`, all of them together ask so often a second;
    /// without, each asks as soon as it is answered.
    pub fn start(doors: Vec<Door>, plan: &Plan<'_>, rate: Option<f64>) -> Check<Self> {
        let count = doors.len();
        let tallies = (0..count.min(TALLIES)).map(|_| Ok(Mutex::new(Tally::new()?)));
        let tallies = Arc::new(tallies.collect::<Check<Vec<_>>>()?);
        let gate = Arc::new(Gate::default());
        let mut clients = JoinSet::new();
        for (number, door) in doors.into_iter().enumerate() {
            let client = Client {
                door,
                requests: plan.work.requests(plan.op, number, plan.run),
                slots: rate.map(|rate| Slots::of(number, count, rate)),
                gate: Arc::clone(&gate),
                tallies: Arc::clone(&tallies),
                number,
                deadline: plan.deadline,
            };
            clients.spawn(client.run());
        }
        Ok(Self { gate, tallies, clients })
    }

    /// Lets every client finish what it does; what they saw while it was measured.
    pub async fn end(mut self) -> Check<Tally> {
        self.gate.stop();
        while let Some(ended) = self.clients.join_next().await {
            ended.map_err(|error| format!("a client: {error}"))?;
        }
        let mut sum = Tally::new()?;
        for tally in self.tallies.iter() {
            sum.add(&tally.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        Ok(sum)
    }
}

struct Client {
    door: Door,
    requests: Requests,
    /// When it asks; none: as soon as it is answered.
    slots: Option<Slots>,
    gate: Arc<Gate>,
    tallies: Arc<Vec<Mutex<Tally>>>,
    number: usize,
    deadline: Duration,
}

impl Client {
    async fn run(mut self) {
        loop {
            let begun = match &mut self.slots {
                Some(slots) => slots.next().await,
                None => Instant::now(),
            };
            if self.gate.is_stopped() {
                return;
            }
            let before = self.gate.turns();
            let request = self.requests.next();
            let is_put = matches!(request, Request::Put(..));
            let answer = ask(&mut self.door, request, self.deadline).await;
            let latency = begun.elapsed();
            let after = self.gate.turns();
            // Also one that began before and ended after it.
            let counts = before != after || before % 2 == 1;
            let failed = answer.is_err();
            if counts {
                let tally = &self.tallies[self.number % self.tallies.len()];
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                match answer {
                    Ok(()) => {
                        tally.operations += u64::from(after % 2 == 1);
                        tally.latency.record(is_put, latency);
                    }
                    Err(Failure(kind)) => {
                        *tally.errors.entry(kind.into_owned()).or_default() += 1;
                    }
                }
            }
            if failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The moments at which a client of a steady load asks.
struct Slots {
    next: Instant,
    every: Duration,
}

impl Slots {
    /// Those of client `number` of `clients` that ask `rate` times a second together: in turn.
    fn of(number: usize, clients: usize, rate: f64) -> Self {
        let between = Duration::from_secs_f64(1.0 / rate);
        let turn = u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            next: Instant::now() + between * turn,
            every: Duration::from_secs_f64(clients as f64 / rate),
        }
    }

    /// Waits for the next one; from when on its request counts.
    async fn next(&mut self) -> Instant {
        let due = self.next;
        self.next += self.every;
        if Instant::now() >= due {
            // Still busy with the one before when it was due: whoever wanted this has waited since.
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        // A timer is up to a millisecond late, and that is not the store's.
        Instant::now()
    }
}

async fn ask(door: &mut Door, request: Request, deadline: Duration) -> Result<(), Failure> {
    let answer = tokio::time::timeout(deadline, door.ask(request)).await;
    let answer = answer.unwrap_or(Err(Failure::DEADLINE));
    if answer.is_err() {
        door.reset();
    }
    answer
}

/// Puts every key once from `fillers` clients, and waits until every node has them all: reads that ask
/// nobody else would miss keys on one that lags.
pub async fn fill(system: &System, work: &Work, fillers: usize, deadline: Duration) -> Check {
    let mut tasks = JoinSet::new();
    for (number, mut door) in system.doors(fillers, 0, work.value_bytes)?.into_iter().enumerate() {
        let work = work.clone();
        tasks.spawn(async move {
            for key in (number as u64..work.keys).step_by(fillers) {
                insist(&mut door, || work.filling(key), deadline).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(filler) = tasks.join_next().await {
        filler.map_err(|error| format!("a filler: {error}"))??;
    }
    // The last write of all: a node that has it has those before.
    let last = work.keys;
    let mut doors = system.doors(system.nodes(), 0, work.value_bytes)?;
    insist(&mut doors[0], || work.filling(last), deadline).await?;
    for door in &mut doors {
        let read = || Request::Get { key: Work::key(last), local: true };
        insist(door, read, deadline).await?;
    }
    Ok(())
}

/// Reads what [`fill`] wrote last, if it was `filled`, and writes it again: then `system` serves. Asked
/// once: an error is one.
pub async fn probe(system: &System, work: &Work, filled: bool, deadline: Duration) -> Check {
    let mut doors = system.doors(1, 0, work.value_bytes)?;
    let get = Request::Get { key: Work::key(work.keys), local: false };
    let put = work.filling(work.keys);
    for request in filled.then_some(get).into_iter().chain([put]) {
        ask(&mut doors[0], request, deadline).await.map_err(|failure| failure.0.into_owned())?;
    }
    Ok(())
}

/// Makes a request until it succeeds, but not for ever.
async fn insist(door: &mut Door, request: impl Fn() -> Request, deadline: Duration) -> Check {
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
        one.latency.record(true, Duration::from_millis(1));
        one.latency.record(false, Duration::MAX);
        one.errors.insert("deadline".into(), 1);
        sum.add(&one).unwrap();
        sum.add(&one).unwrap();
        assert_eq!((sum.operations, sum.errors["deadline"]), (4, 2));
        assert_eq!((sum.latency.puts.len(), sum.latency.gets.len()), (2, 2));
        assert!(sum.latency.puts.max() < 2_000_000);
        assert!((119_000_000_000..240_000_000_000).contains(&sum.latency.all().max()));
    }

    #[test]
    fn a_gate_turns_only_when_it_is_moved() {
        let gate = Gate::default();
        gate.measure(false);
        assert_eq!((gate.turns(), gate.is_open()), (0, false));
        gate.measure(true);
        gate.measure(true);
        assert_eq!((gate.turns(), gate.is_open()), (1, true));
        gate.measure(false);
        assert_eq!((gate.turns(), gate.is_open()), (2, false));
    }

    #[tokio::test]
    async fn what_was_due_while_a_client_was_busy_counts_from_then() {
        let every = Duration::from_millis(10);
        let now = Instant::now();
        let first = now.checked_sub(Duration::from_millis(25)).unwrap();
        let mut slots = Slots { next: first, every };
        // Due 25, 15 and 5 ms ago, and all asked now.
        let late = [slots.next().await, slots.next().await, slots.next().await];
        assert_eq!(late, [first, first + every, first + every * 2]);
        // The next one is waited for.
        assert!(slots.next().await >= first + every * 3);
    }
}
