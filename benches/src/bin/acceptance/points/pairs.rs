//! Point 2: what is put through one node is read through another, byte for byte.
//!
//! First the packages installed on this machine, real data with odd characters; then generated
//! pairs whose keys hold spaces, slashes, percent signs, quotes and emoji.

use crate::http::Http;
use crate::rig::Rig;
use crate::{Check, ensure};
use futures_util::stream::{self, TryStreamExt};
use rand::RngExt;
use rand::rngs::StdRng;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Calls in flight.
const CONCURRENCY: usize = 64;

/// Values of the largest size.
const LARGE_VALUES: usize = 20;
/// The largest size of a value.
const LARGE_BYTES: usize = 1 << 20;

/// What keys and values are made of: everything that some layer might take for its own.
const PIECES: [&str; 20] = [
    "a",
    "Z",
    "0",
    " ",
    "/",
    "//",
    "%",
    "%2F",
    "+",
    "?",
    "#",
    "&",
    "..",
    "\\",
    "\"",
    "é",
    "漢字",
    "🦀",
    "👩‍🚀",
    "\u{7f}",
];

type Pair = (String, String);

pub async fn run(rig: &mut Rig, count: usize) -> Check<String> {
    let packages = if let Some(pairs) = packages() {
        through_the_doors(rig, pairs).await?
    } else {
        println!("point 2: LEFT OUT: this machine has no dpkg-query, so no package list");
        "no package list".to_owned()
    };
    let generated = generate(&mut rig.rng, count);
    let generated = through_the_doors(rig, generated).await?;
    deletes(rig).await?;
    let pairs = rig.verify().await?;
    Ok(format!("packages: {packages}; generated: {generated}; {pairs} equal pairs on each node"))
}

/// Each line of `dpkg-query -W`: a package and its version. `None` without that command.
fn packages() -> Option<Vec<Pair>> {
    let output = Command::new("dpkg-query").arg("-W").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let pairs: Vec<Pair> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect();
    (!pairs.is_empty()).then_some(pairs)
}

fn generate(rng: &mut StdRng, count: usize) -> Vec<Pair> {
    let mut text = |pieces: usize| -> String {
        (0..pieces).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
    };
    // The number makes keys unique, and stands in the middle: both ends are odd characters. Values
    // have up to 1 KiB, and a few, spread over the run, as many bytes as a value may have.
    let large_every = (count / LARGE_VALUES).max(1);
    (0..count)
        .map(|number| {
            let key = format!("{}{number}{}", text(2), text(3));
            let value = if number % large_every == large_every / 2 {
                "L".repeat(LARGE_BYTES)
            } else {
                let mut value = text(1 + number % 40).repeat(8);
                let cut = (0..=value.len().min(1024)).rev().find(|at| value.is_char_boundary(*at));
                value.truncate(cut.unwrap_or(0));
                value
            };
            (key, value)
        })
        .collect()
}

/// Puts every pair through one node after the other, then reads each through the next one.
async fn through_the_doors(rig: &mut Rig, pairs: Vec<Pair>) -> Check<String> {
    let ports = rig.api_ports().await?;
    let http = rig.http.clone();
    let puts = each(&pairs, async |number, (key, value)| {
        http.must_put(ports[number % ports.len()], key, value).await
    })
    .await?;
    let gets = each(&pairs, async |number, pair| {
        let port = ports[(number + 1) % ports.len()];
        read_back(&http, port, pair).await
    })
    .await?;
    let count = pairs.len();
    for (key, value) in pairs {
        rig.ledger.acknowledge(key, value);
    }
    Ok(format!("{count} pairs, puts {puts}, gets {gets}"))
}

async fn read_back(http: &Http, port: u16, (key, value): &Pair) -> Check {
    let found = http.must_get(port, key).await?;
    ensure!(
        found.as_ref() == Some(value),
        "{key:?} was put as {value:?} and acknowledged, then read through port {port} as {found:?}"
    );
    Ok(())
}

/// Makes a call for each pair, many at once; says how fast they were.
async fn each(pairs: &[Pair], call: impl AsyncFn(usize, &Pair) -> Check) -> Check<String> {
    let latencies = Mutex::new(Vec::with_capacity(pairs.len()));
    let begun = Instant::now();
    stream::iter(pairs.iter().enumerate().map(Ok))
        .try_for_each_concurrent(CONCURRENCY, async |(number, pair)| {
            let begun = Instant::now();
            call(number, pair).await?;
            latencies.lock().map_err(|_| "a call panicked")?.push(begun.elapsed());
            Ok::<_, String>(())
        })
        .await?;
    let elapsed = begun.elapsed();
    let mut latencies = latencies.into_inner().map_err(|_| "a call panicked")?;
    latencies.sort();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or(Duration::ZERO).as_secs_f64() * 1e3
    };
    let rate = pairs.len() as f64 / elapsed.as_secs_f64();
    Ok(format!("{rate:.0}/s (p50 {:.1} ms, p99 {:.1} ms)", at(0.5), at(0.99)))
}

/// A deleted key is absent on every node; deleting it again succeeds; the empty string is a value.
async fn deletes(rig: &mut Rig) -> Check {
    let ports = rig.api_ports().await?;
    let key = "deleted / 100 % 🦀";
    rig.http.must_put(ports[0], key, "").await?;
    let found = rig.http.must_get(ports[1], key).await?;
    ensure!(found.as_deref() == Some(""), "the empty string was read as {found:?}");
    rig.http.must_delete(ports[1], key).await?;
    for port in &ports {
        let found = rig.http.must_get(*port, key).await?;
        ensure!(found.is_none(), "a deleted key is read through port {port} as {found:?}");
    }
    rig.http.must_delete(ports[2], key).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn generated_keys_are_unique_and_hold_every_kind_of_character() {
        let pairs = generate(&mut StdRng::seed_from_u64(7), 2_000);
        let keys: BTreeSet<&String> = pairs.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), pairs.len());
        for piece in PIECES {
            assert!(keys.iter().any(|key| key.contains(piece)), "no key holds {piece:?}");
        }
    }
}
