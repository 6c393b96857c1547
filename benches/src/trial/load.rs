//! A steady load, and what it measures.
//!
//! Open loop: calls begin when they are due, whether those before are answered or not, and their
//! time counts from then, so that a stall is seen by every call that it delays. Bounded: with
//! [`IN_FLIGHT_MAX`] unanswered the next one waits, and its time counts all the same.

use super::Check;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};

const IN_FLIGHT_MAX: usize = 512;

/// Calls at a steady rate, until it is told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Check<u64>>,
    begun: Instant,
}

impl Load {
    /// Makes `rate` calls a second; each is told its number and when it was due.
    pub fn start<F, C>(rate: u32, call: F) -> Self
    where
        F: Fn(u64, Instant) -> C + Send + 'static,
        C: Future<Output = Check> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        let calls = tokio::spawn(async move {
            let mut calls = JoinSet::new();
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = begun + Duration::from_secs(number) / rate;
                tokio::time::sleep_until(due.into()).await;
                while calls.len() >= IN_FLIGHT_MAX {
                    ended(calls.join_next().await)?;
                }
                while let Some(call) = calls.try_join_next() {
                    ended(Some(call))?;
                }
                calls.spawn(call(number, due));
                number += 1;
            }
            while let Some(call) = calls.join_next().await {
                ended(Some(call))?;
            }
            Ok(number)
        });
        Self { stop, calls, begun }
    }

    /// Waits for the calls under way. Returns how many a second there were; the first violation of
    /// any of them.
    pub async fn end(self) -> Check<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.begun.elapsed().as_secs_f64();
        let calls = self.calls.await.map_err(|error| format!("a load panicked: {error}"))??;
        Ok(calls as f64 / seconds)
    }

    /// Reports whether a call has failed, so that nobody waits for the end in vain.
    pub fn has_failed(&self) -> bool {
        self.calls.is_finished()
    }
}

fn ended(call: Option<Result<Check, tokio::task::JoinError>>) -> Check {
    call.unwrap_or(Ok(Ok(()))).map_err(|error| format!("a call panicked: {error}"))?
}

/// How long calls took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// The latency in milliseconds that this share of the calls did not exceed.
    pub fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len().saturating_sub(1) as f64 * share) as usize;
        f64::from(self.0.get(index).copied().unwrap_or(0)) / 1e3
    }

    /// How many calls there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
