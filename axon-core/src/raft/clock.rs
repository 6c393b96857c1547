//! Cluster time on a replica.

use crate::runtime;
use std::sync::Mutex;
use tokio::time::Instant;

/// Cluster time: the last applied stamp and the monotonic time since. Stands still nowhere else.
pub(crate) struct ClusterClock(Mutex<(u64, Instant)>);

impl ClusterClock {
    pub(crate) fn new(millis: u64) -> Self {
        Self(Mutex::new((millis, runtime::now())))
    }

    /// Takes the time of what was just applied.
    pub(crate) fn applied(&self, millis: u64) {
        let mut clock = self.0.lock().expect("no holder of the clock's lock panics");
        if millis > clock.0 {
            *clock = (millis, runtime::now());
        }
    }

    /// What a leader stamps a command with.
    pub(crate) fn now_millis(&self) -> u64 {
        let (millis, at) = *self.0.lock().expect("no holder of the clock's lock panics");
        millis + at.elapsed().as_millis() as u64
    }
}
