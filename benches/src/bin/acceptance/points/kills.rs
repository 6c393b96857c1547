//! Point 3: the leader is killed again and again under a stream of puts, then all nodes at once.
//!
//! No acknowledged put may be missing on any node, and after each kill of the leader the next
//! acknowledgement comes within 2.5 s: of a put begun after the kill, since one that was on its
//! way may have been decided before it.

use crate::http::{Http, acknowledged};
use crate::ledger::Ledger;
use crate::rig::{self, ALL, PATIENCE, Rig};
use crate::{Check, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest time without an acknowledgement after the leader's death.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);

/// Writers, each with one put in flight and a pause after it: a steady stream, no overload.
const WRITERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5);

pub async fn run(rig: &mut Rig, rounds: usize) -> Check<String> {
    let stream = Stream::start(&rig.http.clone(), &rig.api_ports().await?, "leader");
    let silences = kill_leaders(rig, &stream, rounds).await;
    stream.end(&mut rig.ledger).await?;
    let mut silences = silences?;
    silences.sort();
    let after_leaders = rig.verify().await?;

    let stream = Stream::start(&rig.http.clone(), &rig.api_ports().await?, "all");
    let outage = kill_all(rig, &stream).await;
    stream.end(&mut rig.ledger).await?;
    let outage = outage?;
    let after_all = rig.verify().await?;
    let seconds = |silence: Option<&Duration>| silence.map_or(0.0, Duration::as_secs_f64);
    Ok(format!(
        "{rounds} leaders killed, next acknowledgement p50 {:.2} s, max {:.2} s, {after_leaders} \
         pairs on each node; all killed at once, writing again after {outage:.2} s, {after_all} \
         pairs on each node ({} puts in doubt)",
        seconds(silences.get(silences.len() / 2)),
        seconds(silences.last()),
        rig.ledger.unknown_len(),
    ))
}

async fn kill_leaders(rig: &mut Rig, stream: &Stream, rounds: usize) -> Check<Vec<Duration>> {
    let mut silences = Vec::new();
    for round in 1..=rounds {
        rig.wait_ready(&ALL).await?;
        let leader = rig.leader().await?;
        stream.acknowledgement_after(Instant::now()).await?;
        let killed = Instant::now();
        rig::kill(&leader)?;
        let silence = stream.acknowledgement_after(killed).await?;
        ensure!(
            silence <= SILENCE_MAX,
            "kill {round}: {} led; the next acknowledgement took {:.2} s",
            leader.id,
            silence.as_secs_f64()
        );
        silences.push(silence);
    }
    rig.wait_ready(&ALL).await?;
    Ok(silences)
}

/// Kills every node under the stream; returns the seconds until the first acknowledgement.
async fn kill_all(rig: &mut Rig, stream: &Stream) -> Check<f64> {
    rig.wait_ready(&ALL).await?;
    stream.acknowledgement_after(Instant::now()).await?;
    let nodes = rig.nodes().await?;
    let killed = Instant::now();
    for node in &nodes {
        rig::kill(node)?;
    }
    rig.wait_ready(&ALL).await?;
    Ok(stream.acknowledgement_after(killed).await?.as_secs_f64())
}

/// A stream of puts, spread over all nodes, which goes on whatever happens.
struct Stream {
    writers: JoinSet<Check<Ledger>>,
    stop: Arc<AtomicBool>,
    /// When the youngest put that was acknowledged had begun.
    latest: watch::Receiver<Option<Instant>>,
}

impl Stream {
    fn start(http: &Http, ports: &[u16], name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, latest) = watch::channel(None);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut writer = Writer {
                http: http.clone(),
                ports: ports.to_vec(),
                prefix: format!("kill/{name}/{writer}"),
                latest: sender.clone(),
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
        Self { writers, stop, latest }
    }

    /// Waits for the acknowledgement of a put that began after `moment`; returns how long after.
    async fn acknowledgement_after(&self, moment: Instant) -> Check<Duration> {
        let mut latest = self.latest.clone();
        let younger = latest.wait_for(|begun| begun.is_some_and(|begun| begun > moment));
        match tokio::time::timeout(PATIENCE, younger).await {
            Ok(Ok(_)) => Ok(moment.elapsed()),
            Ok(Err(_)) => Err("every writer has ended".into()),
            Err(_) => Err(format!("no put was acknowledged for {} s", PATIENCE.as_secs())),
        }
    }

    /// Ends the writers and takes over what they know.
    async fn end(mut self, ledger: &mut Ledger) -> Check {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ledger.merge(ended.map_err(|error| format!("a writer panicked: {error}"))??);
        }
        Ok(())
    }
}

struct Writer {
    http: Http,
    ports: Vec<u16>,
    prefix: String,
    latest: watch::Sender<Option<Instant>>,
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
