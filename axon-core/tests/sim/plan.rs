//! What a seed decides before a run begins: how many replicas, how they are set, how much goes wrong,
//! and which kinds of trouble this run is about.
//!
//! Each run leaves some kinds out and has plenty of others: trouble of one kind hides another, and a
//! run with a little of everything finds less than runs with much of some.

use axon_core::config::{Config, History};
use axon_core::storage::wal::WalConfig;
use axon_core::testing::dice::Dice;
use axon_core::transport::memory::Faults;
use std::time::Duration;

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The replicas fall into two groups.
    Partition,
    /// One replica, the leader perhaps, is cut off.
    Isolate,
    /// One direction between two replicas is silent.
    OneWay,
    /// Channels break, frames are slow.
    Weather,
    /// A replica dies where it stands; unsynced writes may be lost.
    Crash,
    /// A replica's power ends in the middle of writing.
    PowerCut,
    /// All replicas die at once.
    CrashAll,
    /// A replica stops politely, and comes back.
    Stop,
    /// A replica stands still for a while.
    Pause,
    /// A write or a sync fails.
    DiskError,
    /// A disk becomes slow.
    SlowDisk,
    /// A disk is full for a while.
    FullDisk,
    /// A wall clock jumps.
    Clock,
    /// Leadership is handed over.
    Transfer,
    /// A replica joins.
    Add,
    /// A replica is removed.
    Remove,
    /// A replica that is down comes back with a flipped bit in its state.
    Rot,
    /// A voter dies as soon as it has voted.
    CrashVoter,
}

const KINDS: [Kind; 18] = [
    Kind::Partition,
    Kind::Isolate,
    Kind::OneWay,
    Kind::Weather,
    Kind::Crash,
    Kind::PowerCut,
    Kind::CrashAll,
    Kind::Stop,
    Kind::Pause,
    Kind::DiskError,
    Kind::SlowDisk,
    Kind::FullDisk,
    Kind::Clock,
    Kind::Transfer,
    Kind::Add,
    Kind::Remove,
    Kind::Rot,
    Kind::CrashVoter,
];

/// What a seed decides before a run begins.
pub struct Plan {
    pub replicas: u64,
    pub clients: u64,
    pub watchers: u64,
    pub keys: u64,
    /// How many faults there will be.
    pub faults: usize,
    /// The longest time from one fault to the next.
    pub gap_max: Duration,
    /// The longest pause of a client between two operations.
    pub think_max: Duration,
    /// How often a value is a large one: once in so many.
    pub large_once_in: u64,
    /// Whether watches may find their history gone.
    pub history_is_short: bool,
    /// The settings of every replica, but for its name.
    pub config: Config,
    pub wal: WalConfig,
    pub network: Faults,
    weights: Vec<(Kind, u64)>,
}

fn one_of<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.below(of.len() as u64) as usize]
}

fn millis(dice: &mut Dice, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + dice.below(to - from + 1))
}

impl Plan {
    pub fn draw(dice: &mut Dice) -> Self {
        let replicas = one_of(dice, &[3, 3, 3, 4, 5, 5, 7]);
        let history = match dice.below(6) {
            0 => History::LatestOnly,
            1 | 2 => History::Keep { bytes: 1 << 20, age: millis(dice, 1_000, 3_000) },
            _ => History::default(),
        };
        let checkpoint_bytes = one_of(dice, &[2 << 10, 8 << 10, 32 << 10, 128 << 10]);
        let election_timeout_min = millis(dice, 200, 400);
        let config = Config {
            history,
            request_timeout: millis(dice, 800, 2_500),
            election_timeout_min,
            election_timeout_max: election_timeout_min * 2,
            log_cache_bytes: one_of(dice, &[2 << 10, 32 << 10, 1 << 20]),
            log_retention_bytes: one_of(dice, &[0, 0, 0, 64 << 10, 1 << 30]),
            checkpoint_bytes,
            overlay_bytes_max: checkpoint_bytes * 2,
            checkpoint_interval: millis(dice, 50, 1_500),
            state_cache_bytes: 1 << 20,
            disk_reserve_bytes: 0,
            ..Config::default()
        };
        let first_segment_bytes = one_of(dice, &[4 << 10, 16 << 10, 64 << 10]);
        let segment_bytes = first_segment_bytes * one_of(dice, &[1, 4]);
        let weights = KINDS.map(|kind| (kind, kind.usual() * one_of(dice, &[0, 1, 1, 3])));
        Self {
            replicas,
            clients: 3 + dice.below(4),
            watchers: 1 + dice.below(3),
            keys: 2 + dice.below(7),
            faults: 24 + dice.below(25) as usize,
            gap_max: millis(dice, 300, 1_400),
            think_max: millis(dice, 5, 120),
            large_once_in: one_of(dice, &[4, 20, 200]),
            history_is_short: history != History::default(),
            config,
            wal: WalConfig { segment_bytes, first_segment_bytes, spare_segments: 1 },
            network: Faults {
                delay_min: Duration::from_micros(100 + dice.below(900)),
                delay_max: millis(dice, 1, 10),
                break_probability: one_of(dice, &[0.0, 0.0, 0.001, 0.01]),
                ..Faults::default()
            },
            weights: weights.into_iter().filter(|(_, weight)| *weight > 0).collect(),
        }
    }

    /// Draws the next trouble.
    pub fn trouble(&self, dice: &mut Dice) -> Kind {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = dice.below(total.max(1));
        for (kind, weight) in &self.weights {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        Kind::Crash
    }
}

impl Kind {
    /// How often it comes, beside the others.
    const fn usual(self) -> u64 {
        match self {
            Self::CrashAll | Self::Rot | Self::FullDisk => 1,
            Self::Weather | Self::Clock | Self::SlowDisk | Self::Stop | Self::DiskError => 2,
            Self::Add | Self::Remove | Self::Transfer | Self::OneWay => 3,
            Self::Isolate | Self::Pause | Self::PowerCut | Self::CrashVoter => 4,
            Self::Partition | Self::Crash => 5,
        }
    }
}
