//! Channels in memory: a switchboard that joins the replicas of one process, and its faults.
//!
//! Hides queues and timers: a frame waits in its channel's queue until it is due, and the reader takes
//! it from there; there is no task. Invariants:
//!
//! * every random number comes from [`runtime::rng`] and everything is ordered, so that a simulation
//!   replays from its seed;
//! * a channel never loses, repeats or reorders a frame: it delays it, keeps it, or breaks;
//! * a queue holds at most 256 KiB and one frame, then its sink waits;
//! * what is fed and not flushed never arrives, as with a socket;
//! * the closing of a channel travels like a frame: across a silent link, nobody hears of it.
//!
//! Faults belong to a directed link between two addresses, not to a channel: they hold for the
//! channels there are and for those to come. It does not model bandwidth.

mod wire;

use super::{Channel, Lane, Transport};
use crate::error::TransportError;
use crate::runtime;
use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use wire::Wire;

/// Channels that wait for `accept`.
const ACCEPTED_MAX: usize = 64;

/// How a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Channels break at both ends, and dialling fails at once: a peer that refuses or resets.
    /// A channel needs both directions, so cutting one breaks it.
    Break,
    /// Silence: nothing arrives, nothing fails, dialling waits. What a partition looks like. Frames
    /// that were under way arrive when it heals, if their channel still lives.
    Stall,
}

/// What goes wrong on the link from one address to another. The default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Whether, and how, it is cut.
    pub cut: Option<Cut>,
    /// Keeps frames until it is false again; dialling still works.
    pub hold: bool,
    /// The shortest time that a frame is under way.
    pub delay_min: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// The probability, 0 to 1, that a frame breaks its channel, or a dial fails.
    pub break_probability: f64,
}

impl Faults {
    fn silent(&self) -> bool {
        self.hold || self.cut == Some(Cut::Stall)
    }

    fn draw_delay(&self, rng: &mut SmallRng) -> Duration {
        if self.delay_max.is_zero() {
            return Duration::ZERO;
        }
        rng.random_range(self.delay_min.min(self.delay_max)..=self.delay_max)
    }

    fn draw_break(&self, rng: &mut SmallRng) -> bool {
        self.break_probability > 0.0 && rng.random::<f64>() < self.break_probability
    }
}

/// An in-process network. Cheap to clone; all clones are one network.
#[derive(Clone, Default)]
pub struct MemNetwork {
    board: Arc<Mutex<Board>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Board {
    listeners: BTreeMap<String, Listener>,
    /// How many listeners there have been, to tell an address's old one from its new one.
    generation: u64,
    /// Every address there has been: a link may be cut while its replica is down.
    addresses: BTreeSet<String>,
    faults: BTreeMap<(String, String), Faults>,
    default: Faults,
    wires: Vec<(String, String, Weak<Wire>)>,
}

struct Listener {
    generation: u64,
    accepted: mpsc::Sender<Channel>,
}

impl Board {
    fn faults(&self, from: &str, to: &str) -> Faults {
        let link = (from.to_owned(), to.to_owned());
        self.faults.get(&link).copied().unwrap_or(self.default)
    }

    fn set(&mut self, from: &str, to: &str, faults: Faults) {
        self.faults.insert((from.to_owned(), to.to_owned()), faults);
        self.wires.retain(|(_, _, wire)| wire.strong_count() > 0);
        for (dialer, acceptor, wire) in &self.wires {
            let Some(wire) = wire.upgrade() else { continue };
            if (dialer.as_str(), acceptor.as_str()) == (from, to) {
                wire.set_faults(0, faults);
            }
            if (acceptor.as_str(), dialer.as_str()) == (from, to) {
                wire.set_faults(1, faults);
            }
        }
    }
}

impl MemNetwork {
    /// Makes a network without replicas and without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on `address`, in place of whoever listened there before.
    #[must_use]
    pub fn transport(&self, address: &str) -> MemTransport {
        let (sender, accepted) = mpsc::channel(ACCEPTED_MAX);
        let mut board = lock(&self.board);
        board.generation += 1;
        let generation = board.generation;
        board.addresses.insert(address.to_owned());
        board.listeners.insert(address.to_owned(), Listener { generation, accepted: sender });
        MemTransport {
            network: self.clone(),
            address: address.to_owned(),
            generation,
            accepted: tokio::sync::Mutex::new(accepted),
        }
    }

    /// Returns what is wrong on the link from `from` to `to`.
    #[must_use]
    pub fn faults(&self, from: &str, to: &str) -> Faults {
        lock(&self.board).faults(from, to)
    }

    /// Sets what is wrong on the link from `from` to `to`, from now on.
    pub fn set_faults(&self, from: &str, to: &str, faults: Faults) {
        lock(&self.board).set(from, to, faults);
        self.changed.notify_waiters();
    }

    /// Sets what is wrong on every link, known or to come.
    pub fn set_all_faults(&self, faults: Faults) {
        let mut board = lock(&self.board);
        board.default = faults;
        let addresses = board.addresses.clone();
        for from in &addresses {
            for to in &addresses {
                board.set(from, to, faults);
            }
        }
        board.faults.clear();
        drop(board);
        self.changed.notify_waiters();
    }

    /// Cuts the link from `from` to `to`, or mends it with `None`; its other faults stay.
    pub fn cut_one_way(&self, from: &str, to: &str, cut: Option<Cut>) {
        let mut board = lock(&self.board);
        let faults = Faults { cut, ..board.faults(from, to) };
        board.set(from, to, faults);
        drop(board);
        self.changed.notify_waiters();
    }

    /// Cuts the links between `a` and `b` in both directions, or mends them with `None`.
    pub fn cut(&self, a: &str, b: &str, cut: Option<Cut>) {
        self.cut_one_way(a, b, cut);
        self.cut_one_way(b, a, cut);
    }

    /// Cuts `address` off from every other address there has been, or mends that with `None`.
    pub fn isolate(&self, address: &str, cut: Option<Cut>) {
        let others = lock(&self.board).addresses.clone();
        for other in others.iter().filter(|other| *other != address) {
            self.cut(address, other, cut);
        }
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.set_all_faults(Faults::default());
    }

    /// Waits while a dial between the two would hear nothing; fails when it would be refused.
    async fn reach(&self, from: &str, to: &str) -> Result<[Faults; 2], TransportError> {
        loop {
            // Enabled before the look, or a change between the two would be missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let ways = {
                let board = lock(&self.board);
                [board.faults(from, to), board.faults(to, from)]
            };
            if ways.iter().any(|way| way.cut == Some(Cut::Break)) {
                return Err(unreachable(to, "the link is cut"));
            }
            if ways.iter().all(|way| way.cut.is_none()) {
                return Ok(ways);
            }
            changed.await;
        }
    }

    fn join(&self, from: &str, to: &str) -> (Channel, Channel) {
        let mut board = lock(&self.board);
        let (out, back) = (board.faults(from, to), board.faults(to, from));
        let wire = Arc::new(Wire::new(out, back));
        board.wires.retain(|(_, _, wire)| wire.strong_count() > 0);
        board.wires.push((from.to_owned(), to.to_owned(), Arc::downgrade(&wire)));
        (Wire::end(&wire, 0), Wire::end(&wire, 1))
    }
}

/// The transport of one address of a [`MemNetwork`]. Dropped, it stops listening; its channels live on.
pub struct MemTransport {
    network: MemNetwork,
    address: String,
    generation: u64,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Channel>>,
}

#[async_trait]
impl Transport for MemTransport {
    async fn connect(&self, address: &str, _lane: Lane) -> Result<Channel, TransportError> {
        let ways = self.network.reach(&self.address, address).await?;
        let (mut rng, mut round_trip) = (runtime::rng(), Duration::ZERO);
        for way in ways {
            if way.draw_break(&mut rng) {
                return Err(unreachable(address, "the network lost the dial"));
            }
            round_trip += way.draw_delay(&mut rng);
        }
        if !round_trip.is_zero() {
            tokio::time::sleep(round_trip).await;
            self.network.reach(&self.address, address).await?;
        }
        let listener = {
            let board = lock(&self.network.board);
            board.listeners.get(address).map(|listener| listener.accepted.clone())
        };
        let nobody = || unreachable(address, "nobody listens there");
        let queue = listener.ok_or_else(nobody)?;
        let place = queue.reserve().await.map_err(|_| nobody())?;
        let (mine, theirs) = self.network.join(&self.address, address);
        place.send(theirs);
        Ok(mine)
    }

    async fn accept(&self) -> Result<Channel, TransportError> {
        let taken_over = || closed("another transport listens on this address now");
        self.accepted.lock().await.recv().await.ok_or_else(taken_over)
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for MemTransport {
    fn drop(&mut self) {
        let mut board = lock(&self.network.board);
        let current = board.listeners.get(&self.address);
        if current.is_some_and(|listener| listener.generation == self.generation) {
            board.listeners.remove(&self.address);
        }
    }
}

fn closed(message: &str) -> TransportError {
    TransportError::Closed { message: message.to_owned() }
}

fn unreachable(address: &str, message: &str) -> TransportError {
    TransportError::Unreachable { address: address.to_owned(), message: message.to_owned() }
}

/// A panic of one test must not become a panic of every other that shares the network.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
