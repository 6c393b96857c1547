//! Point 13: with the history at its budget and steady writes, files and memory stay bounded and a
//! put is not much slower than where nothing is compacted; a wall clock that jumps expires nothing
//! ([`jumps`]).

use super::jumps;
use crate::load::{Latencies, Load};
use crate::measure::{disk_mib, rss_mib};
use crate::rig::{Rig, Surroundings};
use crate::{Args, Check, ensure, files, v1};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Well below what a cluster on one machine can do: it is compaction that is measured, not overload.
const PUTS: u32 = 2_000;
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 1024;
const BUDGET_BYTES: u64 = 64 << 20;
const LOG_BYTES: u64 = 128 << 20;
/// How often figures are taken.
const EVERY: Duration = Duration::from_secs(30);
/// How long puts are measured where nothing is compacted: less than what the history holds there.
const PLAIN: Duration = Duration::from_mins(2);
/// How long a load runs before anything is measured.
const WARMUP: Duration = Duration::from_secs(10);
/// A put's p99 with compaction, in those without it.
const P99_RATIO_MAX: f64 = 3.0;
/// What the last third of the time may exceed the second, of files and of memory: they have to
/// stand, not to grow.
const GROWTH_MAX: f64 = 1.1;
const GROWTH_MIB_MAX: f64 = 16.0;

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let mut figures = Vec::new();
    if args.minutes > 0.0 {
        let time = Duration::from_secs_f64(args.minutes * 60.0);
        let plain = Rig::with(args, seed, surroundings(&[]), async |rig| {
            let mut plain = steady(rig, PLAIN.min(time), &mut Vec::new()).await?;
            let revision = status(rig, "compacted_revision").await?;
            ensure!(revision == 0, "there was to be no compaction, and it went to {revision}");
            println!("point 13: without compaction {}", told(&mut plain));
            rig.settle().await?;
            Ok(plain)
        })
        .await?;
        let small = surroundings(&[("AXON_HISTORY_BYTES", BUDGET_BYTES)]);
        figures.push(
            Rig::with(args, seed, small, async |rig| at_budget(rig, time, plain).await).await?,
        );
    }
    figures.push(jumps::run(args, seed).await?);
    Ok(figures.join("; "))
}

/// A cluster with these settings, and a log that is as long as it gets early in the run.
fn surroundings(settings: &[(&'static str, u64)]) -> Surroundings {
    let log = ("AXON_LOG_RETENTION_BYTES", LOG_BYTES);
    let settings = settings.iter().chain([&log]);
    let environment = settings.map(|(name, value)| (*name, value.to_string())).collect();
    Surroundings { environment, ..Surroundings::default() }
}

/// What is seen at one moment, of the node that takes most, in MiB.
#[derive(Debug, Clone, Copy)]
struct Sample {
    state: f64,
    rest: f64,
    memory: f64,
}

async fn at_budget(rig: &mut Rig, time: Duration, mut plain: Latencies) -> Check<String> {
    fill(rig).await?;
    let mut samples = Vec::new();
    let mut latencies = steady(rig, time, &mut samples).await?;
    let ratio = latencies.at(0.99) / plain.at(0.99);
    let figures = told(&mut latencies);
    let compacted = status(rig, "compacted_revision").await?;
    ensure!(compacted > 0, "the history was over its budget, and nothing was compacted");
    let hashes = rig.settle().await?;
    ensure!(
        ratio <= P99_RATIO_MAX,
        "with compaction {figures}: the p99 is {ratio:.2} times that without"
    );
    stands("the state's files", &samples, |sample| sample.state)?;
    stands("the other files", &samples, |sample| sample.rest)?;
    stands("memory", &samples, |sample| sample.memory)?;
    let last = samples.last().ok_or("no sample was taken")?;
    Ok(format!(
        "history at its budget for {:.1} min: {figures}, p99 {ratio:.2} times that without \
         compaction; a node's files {:.0} and {:.0} MiB, memory {:.0} MiB, {}; \
         {hashes}",
        time.as_secs_f64() / 60.0,
        last.state,
        last.rest,
        last.memory,
        if samples.len() < 3 {
            "too short to say whether they grow"
        } else {
            "none of them growing"
        },
    ))
}

/// Writes until the history is at its budget, as fast as it will.
async fn fill(rig: &mut Rig) -> Check {
    let begun = Instant::now();
    while status(rig, "compacted_revision").await? == 0 {
        ensure!(begun.elapsed() < Duration::from_mins(3), "the history does not reach its budget");
        let (load, _) = puts(rig).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        load.end().await?;
    }
    println!("point 13: the history reached its budget in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Puts at the steady rate for so long, and takes samples meanwhile. Returns how long each put took.
async fn steady(rig: &mut Rig, time: Duration, samples: &mut Vec<Sample>) -> Check<Latencies> {
    let (load, recorded) = puts(rig).await?;
    tokio::time::sleep(WARMUP).await;
    take(&recorded)?;
    let mut all = Latencies::default();
    let begun = Instant::now();
    while begun.elapsed() < time && !load.has_failed() {
        tokio::time::sleep(EVERY.min(time.saturating_sub(begun.elapsed()))).await;
        let mut some = take(&recorded)?;
        let sample = sample(rig).await?;
        println!(
            "point 13: {:4.0} s: {}; compacted to {} of {}; a node's state {:.0} MiB, other files \
             {:.0} MiB, memory {:.0} MiB",
            begun.elapsed().as_secs_f64(),
            told(&mut some),
            status(rig, "compacted_revision").await?,
            status(rig, "revision").await?,
            sample.state,
            sample.rest,
            sample.memory,
        );
        samples.push(sample);
        all.merge(some);
    }
    let rate = load.end().await?;
    let asked = f64::from(PUTS);
    ensure!(rate > 0.95 * asked, "{asked:.0} puts/s were asked of it, it did {rate:.0}");
    Ok(all)
}

fn take(recorded: &Mutex<Latencies>) -> Check<Latencies> {
    Ok(std::mem::take(&mut *recorded.lock().map_err(|_| "a writer panicked")?))
}

/// Begins the steady load.
async fn puts(rig: &mut Rig) -> Check<(Load, Arc<Mutex<Latencies>>)> {
    let ports = rig.api_ports().await?;
    let http = rig.http.clone();
    let recorded = Arc::new(Mutex::new(Latencies::default()));
    let latencies = Arc::clone(&recorded);
    let value = bytes::Bytes::from(vec![b'v'; VALUE_BYTES]);
    let load = Load::start(PUTS, move |number, due| {
        let port = ports[number as usize % ports.len()];
        // Spread over all keys, each as often.
        let put = v1::put(&format!("steady/{:05}", number * 7_919 % KEYS), value.clone());
        let (http, latencies) = (http.clone(), Arc::clone(&latencies));
        async move {
            http.write(port, &put).await?;
            latencies.lock().map_err(|_| "a writer panicked")?.record(due.elapsed());
            Ok(())
        }
    });
    Ok((load, recorded))
}

async fn status(rig: &mut Rig, name: &str) -> Check<u64> {
    let port = rig.leader().await?.port;
    let status = rig.http.get_json(port, "/v1/status").await?;
    status[name].as_u64().ok_or_else(|| format!("a status without {name}: {status}"))
}

async fn sample(rig: &mut Rig) -> Check<Sample> {
    let mut most = Sample { state: 0.0, rest: 0.0, memory: 0.0 };
    for node in rig.nodes().await? {
        let directory = files::directory_of(&rig.data(), &node.id);
        let directory = directory.ok_or_else(|| format!("{} has no directory", node.id))?;
        let (state, rest) = disk_mib(&directory)?;
        most.state = most.state.max(state);
        most.rest = most.rest.max(rest);
        most.memory = most.memory.max(rss_mib(&node)?);
    }
    Ok(most)
}

fn told(latencies: &mut Latencies) -> String {
    let count = latencies.count();
    let (p50, p99, most) = (latencies.at(0.5), latencies.at(0.99), latencies.at(1.0));
    format!("{count} puts, p50 {p50:.1} ms, p99 {p99:.1} ms, max {most:.0} ms")
}

/// Checks that the last third of the samples is not above the second.
fn stands(what: &str, samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Check {
    let third = samples.len() / 3;
    let most = |samples: &[Sample]| samples.iter().map(&figure).fold(0.0, f64::max);
    let (before, last) = (most(&samples[third..2 * third]), most(&samples[2 * third..]));
    let stands = third == 0 || last <= before * GROWTH_MAX + GROWTH_MIB_MAX;
    ensure!(stands, "{what} grew from {before:.0} to {last:.0} MiB with the history at its budget");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_steadily_does_not_stand() {
        let samples = |mib: fn(u32) -> f64| -> Vec<Sample> {
            let sample = |n| Sample { state: mib(n), rest: 0.0, memory: 0.0 };
            (0..12).map(sample).collect()
        };
        let state = |sample: &Sample| sample.state;
        assert!(stands("it", &samples(|n| 100.0 + 20.0 * f64::from(n)), state).is_err());
        assert!(stands("it", &samples(|n| 200.0 + f64::from(n % 3)), state).is_ok());
    }
}
