//! The seams to the world: tasks, threads, clocks and randomness. The only file that touches them.
//!
//! In production a task is tokio's, a worker is a thread, the wall clock is the system's and random
//! numbers come from the operating system. Under simulation ([`simulation`]) everything runs on one
//! thread with a paused clock, workers are tasks, and every random number follows from a seed; the
//! code above cannot tell the difference. Invariants:
//!
//! * no other file calls `tokio::spawn`, `std::thread`, `Instant::now`, `SystemTime::now` or `rand`;
//! * time that decides anything is `tokio::time::Instant`, from [`now`].

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Starts a task on the runtime of the caller; under simulation, on the node of the caller.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    simulation::spawn(future)
}

/// Starts a task on the runtime of `handle`; under simulation, on the node of the caller.
pub fn spawn_on<F>(handle: &Handle, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    if simulation::active() { simulation::spawn(future) } else { handle.spawn(future) }
}

/// The time that decides: monotonic, and paused under simulation.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970 on the wall clock. To be shown to people; decides nothing.
#[must_use]
pub fn wall_clock_millis() -> u64 {
    if simulation::active() {
        return simulation::wall_clock_millis();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// A generator of random numbers: seeded by the operating system, or by the simulation's seed.
#[must_use]
pub fn rng() -> SmallRng {
    match simulation::next_seed() {
        Some(seed) => SmallRng::seed_from_u64(seed),
        None => SmallRng::from_rng(&mut rand::rng()),
    }
}

/// 128 random bits.
#[must_use]
pub fn random_u128() -> u128 {
    let mut rng = rng();
    u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())
}

/// `N` random bytes, the same as nobody's before.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rng().fill_bytes(&mut bytes);
    bytes
}

/// A random share of `span`, between 0 and all of it.
#[must_use]
pub fn jitter(span: Duration) -> Duration {
    span.mul_f64(rng().random::<f64>())
}

/// The queue of a worker. Cheap to clone; the worker ends when the last clone is dropped.
pub struct WorkerQueue<T> {
    sender: mpsc::UnboundedSender<T>,
    hurried: Arc<AtomicBool>,
}

impl<T> Clone for WorkerQueue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), hurried: self.hurried.clone() }
    }
}

impl<T> WorkerQueue<T> {
    /// Queues `item`; gives it back when the worker has ended.
    ///
    /// The queue itself is unbounded, so that it can be called from anywhere without waiting: what
    /// bounds it is the admission limit in front of the log.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.sender.send(item).map_err(|rejected| rejected.0)
    }

    /// Says whether the worker, if it is a [background one](background_worker), is waited for now,
    /// so that it must not [give way](give_way).
    pub fn hurry(&self, hurried: bool) {
        self.hurried.store(hurried, Ordering::Relaxed);
    }
}

/// Starts a worker: one synchronous function, called with all that waits in its queue.
///
/// `work` may block; it takes from the front of the batch and may leave the rest for the next call
/// only by keeping it itself. In production it has a thread called `name`; under simulation a task
/// that sleeps for a seeded time before each call, as a disk would.
pub fn worker<T, W>(name: &str, work: W) -> WorkerQueue<T>
where
    T: Send + 'static,
    W: FnMut(Vec<T>) + Send + 'static,
{
    start_worker(name, |_| {}, work)
}

/// Starts a [`worker`] that nobody waits for: where processors are short, its thread has a third of
/// the claim of another one, so that callers need not wait for it either.
pub fn background_worker<T, W>(name: &str, work: W) -> WorkerQueue<T>
where
    T: Send + 'static,
    W: FnMut(Vec<T>) + Send + 'static,
{
    const NICE: i32 = 5;
    let prepare = |hurried| {
        // Of this thread alone, on Linux only. Where it is refused, it competes as before.
        if cfg!(target_os = "linux") {
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        SPELL.set(Some(Spell { since: now(), hurried }));
    };
    start_worker(name, prepare, work)
}

/// How a background worker's thread works: a while, and then a rest.
struct Spell {
    since: Instant,
    hurried: Arc<AtomicBool>,
}

thread_local! {
    static SPELL: RefCell<Option<Spell>> = const { RefCell::new(None) };
}

/// How long a background worker works at a stretch, and then rests, with what a timer adds to it.
const SPELL_MAX: Duration = Duration::from_micros(200);
const SPELL_REST: Duration = Duration::from_micros(100);

/// Lets a [background worker](background_worker) rest for a moment when it has worked for a while,
/// unless it is [hurried](WorkerQueue::hurry); returns whether it did. Does nothing on other threads.
///
/// A small claim is not enough: a thread that computes keeps its processor for a time slice, which is
/// milliseconds, from whoever is woken meanwhile, and a put is a chain of threads that wake each other
/// (a put's p50 while a checkpoint is written, 1,000 a second: 3.4 ms before, 1.4 ms after).
pub fn give_way() -> bool {
    SPELL.with_borrow_mut(|spell| {
        let Some(Spell { since, hurried }) = spell else { return false };
        let rests = since.elapsed() >= SPELL_MAX && !hurried.load(Ordering::Relaxed);
        if rests {
            std::thread::sleep(SPELL_REST);
            *since = now();
        }
        rests
    })
}

fn start_worker<T, W>(name: &str, prepare: fn(Arc<AtomicBool>), mut work: W) -> WorkerQueue<T>
where
    T: Send + 'static,
    W: FnMut(Vec<T>) + Send + 'static,
{
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let hurried = Arc::new(AtomicBool::new(false));
    let told = hurried.clone();
    if simulation::active() {
        spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, usize::MAX).await > 0 {
                tokio::time::sleep(simulation::disk_delay()).await;
                work(std::mem::take(&mut batch));
            }
        });
    } else {
        let body = move || {
            prepare(told);
            let mut batch = Vec::new();
            while receiver.blocking_recv_many(&mut batch, usize::MAX) > 0 {
                work(std::mem::take(&mut batch));
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .expect("the operating system can start a thread when a replica opens");
    }
    WorkerQueue { sender, hurried }
}

/// Runs `work`, which may block on the disk, without holding up other tasks.
pub async fn blocking<T, W>(work: W) -> T
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if simulation::active() {
        tokio::time::sleep(simulation::disk_delay()).await;
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Lets this thread rest, which must be a worker's or [`blocking`]'s. `false`, at once, under
/// simulation, where every task is on one thread: what is waited for cannot come meanwhile.
#[must_use]
pub fn rest(time: Duration) -> bool {
    let may = !simulation::active();
    if may {
        std::thread::sleep(time);
    }
    may
}

/// Runs many replicas on one thread, from one seed. See the module's essay.
pub mod simulation {
    use super::{Cell, Duration, Future, JoinHandle, SeedableRng, SmallRng};
    use rand::{Rng, RngExt};
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::task::{Poll, Waker};
    use tokio::task::AbortHandle;

    thread_local! {
        static SEED: Cell<Option<u64>> = const { Cell::new(None) };
        static BEGUN: Cell<Option<super::Instant>> = const { Cell::new(None) };
        static NODE: Cell<u64> = const { Cell::new(0) };
        static TASKS: RefCell<BTreeMap<u64, Vec<AbortHandle>>> = const { RefCell::new(BTreeMap::new()) };
        static PAUSED: RefCell<BTreeMap<u64, Vec<Waker>>> = const { RefCell::new(BTreeMap::new()) };
        static SLOW: RefCell<BTreeMap<u64, Duration>> = const { RefCell::new(BTreeMap::new()) };
        static CLOCKS: RefCell<BTreeMap<u64, i64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Makes this thread a simulation with `seed`, until [`end`]. Call it inside a current-thread
    /// runtime with a paused clock.
    pub fn begin(seed: u64) {
        SEED.set(Some(seed));
        BEGUN.set(Some(super::now()));
        NODE.set(0);
        TASKS.with_borrow_mut(BTreeMap::clear);
        PAUSED.with_borrow_mut(BTreeMap::clear);
        SLOW.with_borrow_mut(BTreeMap::clear);
        CLOCKS.with_borrow_mut(BTreeMap::clear);
    }

    /// Makes this thread an ordinary one again.
    pub fn end() {
        SEED.set(None);
    }

    /// Reports whether this thread is a simulation.
    #[must_use]
    pub fn active() -> bool {
        SEED.get().is_some()
    }

    /// Runs `future` as part of `node`: it stands still with [`pause`], and the tasks it starts die
    /// with [`kill`].
    pub async fn on_node<F: Future>(node: u64, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(move |context| {
            if waits_for_resume(node, context.waker()) {
                return Poll::Pending;
            }
            let outer = NODE.replace(node);
            let polled = future.as_mut().poll(context);
            NODE.set(outer);
            polled
        })
        .await
    }

    /// Ends every task of `node` where it stands, as a crash would.
    pub fn kill(node: u64) {
        let tasks = TASKS.with_borrow_mut(|tasks| tasks.remove(&node)).unwrap_or_default();
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Stops `node` as a debugger would: none of its tasks moves, while time goes on and what it is
    /// sent piles up.
    pub fn pause(node: u64) {
        PAUSED.with_borrow_mut(|paused| {
            paused.entry(node).or_default();
        });
    }

    /// Lets `node` go on: all that happened meanwhile reaches it at once.
    pub fn resume(node: u64) {
        let waiting = PAUSED.with_borrow_mut(|paused| paused.remove(&node)).unwrap_or_default();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Lets the disk of `node` take up to `longest` for what it does; zero: as long as any other's.
    pub fn slow_disk(node: u64, longest: Duration) {
        SLOW.with_borrow_mut(|slow| slow.insert(node, longest));
    }

    /// Sets the wall clock of `node` ahead, or back, against what it shows now.
    pub fn shift_wall_clock(node: u64, millis: i64) {
        CLOCKS.with_borrow_mut(|clocks| *clocks.entry(node).or_default() += millis);
    }

    fn waits_for_resume(node: u64, waker: &Waker) -> bool {
        PAUSED.with_borrow_mut(|paused| match paused.get_mut(&node) {
            Some(waiting) => {
                if !waiting.iter().any(|known| known.will_wake(waker)) {
                    waiting.push(waker.clone());
                }
                true
            }
            None => false,
        })
    }

    pub(super) fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        if !active() {
            return tokio::spawn(future);
        }
        let node = NODE.get();
        let handle = tokio::spawn(on_node(node, future));
        TASKS.with_borrow_mut(|tasks| {
            let tasks = tasks.entry(node).or_default();
            tasks.retain(|task| !task.is_finished());
            tasks.push(handle.abort_handle());
        });
        handle
    }

    pub(super) fn next_seed() -> Option<u64> {
        let seed = SEED.get()?;
        let next = SmallRng::seed_from_u64(seed).next_u64();
        SEED.set(Some(next));
        Some(next)
    }

    pub(super) fn disk_delay() -> Duration {
        let longest = SLOW.with_borrow(|slow| slow.get(&NODE.get()).map(Duration::as_micros));
        let longest = longest.unwrap_or_default().max(4_000) as u64;
        Duration::from_micros(super::rng().random_range(200..longest))
    }

    pub(super) fn wall_clock_millis() -> u64 {
        // A fixed date plus simulated time: dates differ between runs of different lengths only.
        let simulated = BEGUN.get().map_or(Duration::ZERO, |begun| begun.elapsed());
        let shown = 1_700_000_000_000 + simulated.as_millis() as u64;
        let shift = CLOCKS.with_borrow(|clocks| clocks.get(&NODE.get()).copied());
        shown.saturating_add_signed(shift.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Works for longer than a spell, and gives way then.
    fn work_long() -> bool {
        let begun = now();
        while begun.elapsed() < SPELL_MAX {
            std::hint::spin_loop();
        }
        give_way()
    }

    #[test]
    fn a_background_worker_gives_way_unless_it_is_hurried_and_nobody_else_does() {
        let (sender, rested) = std::sync::mpsc::channel();
        let tell = move |_: Vec<()>| sender.send(work_long()).unwrap();
        let background = background_worker("background", tell.clone());
        background.push(()).unwrap();
        assert!(rested.recv().unwrap());
        background.hurry(true);
        background.push(()).unwrap();
        assert!(!rested.recv().unwrap());
        worker("worker", tell).push(()).unwrap();
        assert!(!rested.recv().unwrap());
        assert!(!work_long());
    }
}
