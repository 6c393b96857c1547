//! Point 3: the leader is killed again and again under a stream of puts, then all nodes at once.
//!
//! No acknowledged put may be missing on any node, and after each kill of the leader the next
//! acknowledgement comes within 2.5 s: of a put begun after the kill, since one that was on its
//! way may have been decided before it.

use crate::rig::{self, ALL, Rig};
use crate::stream::Stream;
use crate::{Check, ensure};
use std::time::{Duration, Instant};

/// The longest time without an acknowledgement after the leader's death.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);

pub async fn run(rig: &mut Rig, rounds: usize) -> Check<String> {
    let stream = Stream::start(&rig.http.clone(), &rig.api_ports().await?, "kill/leader");
    let silences = kill_leaders(rig, &stream, rounds).await;
    stream.end(&mut rig.ledger).await?;
    let mut silences = silences?;
    silences.sort();
    let after_leaders = rig.verify().await?;

    let stream = Stream::start(&rig.http.clone(), &rig.api_ports().await?, "kill/all");
    let outage = kill_all(rig, &stream).await;
    stream.end(&mut rig.ledger).await?;
    let outage = outage?;
    let after_all = rig.verify().await?;
    let seconds = |silence: Option<&Duration>| silence.map_or(0.0, Duration::as_secs_f64);
    Ok(format!(
        "{rounds} leaders killed, next acknowledgement p50 {:.2} s, p99 {:.2} s, max {:.2} s, {after_leaders} \
         pairs on each node; all killed at once, writing again after {outage:.2} s, {after_all} \
         pairs on each node ({} puts in doubt)",
        seconds(silences.get(silences.len() / 2)),
        seconds(silences.get(silences.len() * 99 / 100)),
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
