//! A stream of puts under which things happen to a cluster, and how steadily it was answered.

use super::http::{Http, acknowledged};
use super::ledger::Ledger;
use super::{Check, PATIENCE};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Writers, each with one put in flight and a pause after it: a steady stream, no overload.
const WRITERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);

/// A stream of puts, spread over all nodes, which goes on whatever happens.
pub struct Stream {
    writers: JoinSet<Check<Ledger>>,
    stop: Arc<AtomicBool>,
    /// When the youngest put that was acknowledged had begun.
    latest: watch::Receiver<Option<Instant>>,
    pace: Arc<Mutex<Pacer>>,
}

/// How steadily a stream was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// The longest that an acknowledged put took.
    pub slowest: Duration,
    /// The longest time from one acknowledgement to the next.
    pub longest_gap: Duration,
    /// Acknowledged puts.
    pub puts: usize,
}

#[derive(Debug, Default)]
struct Pacer {
    pace: Pace,
    last: Option<Instant>,
}

impl Pacer {
    fn acknowledged(&mut self, begun: Instant) {
        let now = Instant::now();
        self.pace.puts += 1;
        self.pace.slowest = self.pace.slowest.max(now - begun);
        if let Some(last) = self.last.replace(now) {
            self.pace.longest_gap = self.pace.longest_gap.max(now - last);
        }
    }
}

impl Stream {
    pub fn start(http: &Http, ports: &[u16], name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, latest) = watch::channel(None);
        let pace = Arc::<Mutex<Pacer>>::default();
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut writer = Writer {
                http: http.clone(),
                ports: ports.to_vec(),
                prefix: format!("{name}/{writer}"),
                latest: sender.clone(),
                pace: Arc::clone(&pace),
                ledger: Ledger::default(),
            };
            let stop = Arc::clone(&stop);
            writers.spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    writer.put(number).await?;
                    number += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(writer.ledger)
            });
        }
        Self { writers, stop, latest, pace }
    }

    /// Waits for the acknowledgement of a put that began after `moment`; returns how long after.
    pub async fn acknowledgement_after(&self, moment: Instant) -> Check<Duration> {
        let mut latest = self.latest.clone();
        let younger = latest.wait_for(|begun| begun.is_some_and(|begun| begun > moment));
        match tokio::time::timeout(PATIENCE, younger).await {
            Ok(Ok(_)) => Ok(moment.elapsed()),
            Ok(Err(_)) => Err("every writer has ended".into()),
            Err(_) => Err(format!("no put was acknowledged for {} s", PATIENCE.as_secs())),
        }
    }

    /// Ends the writers and takes over what they know.
    pub async fn end(mut self, ledger: &mut Ledger) -> Check<Pace> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ledger.merge(ended.map_err(|error| format!("a writer panicked: {error}"))??);
        }
        Ok(self.pace.lock().unwrap_or_else(PoisonError::into_inner).pace)
    }
}

struct Writer {
    http: Http,
    ports: Vec<u16>,
    prefix: String,
    latest: watch::Sender<Option<Instant>>,
    pace: Arc<Mutex<Pacer>>,
    ledger: Ledger,
}

impl Writer {
    /// Makes the `number`th put. Only an answer of another shape is a violation here: a refusal is
    /// to be expected, and one that says `not_applied` is held to its word, for a pair that the
    /// ledger does not know must not turn up.
    async fn put(&mut self, number: usize) -> Check {
        let key = format!("{}/{number:06}", self.prefix);
        let value = format!("value of {key}");
        let port = self.ports[number % self.ports.len()];
        let begun = Instant::now();
        match self.http.put(port, &key, &value).await {
            Err(_) => self.ledger.suspect(key, value),
            Ok(answer) if acknowledged(&answer)? => {
                self.ledger.acknowledge(key, value);
                self.pace.lock().unwrap_or_else(PoisonError::into_inner).acknowledged(begun);
                self.latest.send_modify(|latest| *latest = (*latest).max(Some(begun)));
            }
            Ok(answer) => {
                if answer.json()?["outcome"] != "not_applied" {
                    self.ledger.suspect(key, value);
                }
            }
        }
        Ok(())
    }
}
