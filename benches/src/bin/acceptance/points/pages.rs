//! Point 12: a listing of very many keys, page by page while others write, shows exactly the keys and
//! values of its first page's revision, and takes little memory; as a stream of lines it is fast.

use crate::http::{Call, Http};
use crate::load::Load;
use crate::measure::{Peak, rss_mib};
use crate::rig::{Node, Rig, Surroundings};
use crate::{Args, Check, ensure, v1};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PAGE: usize = 200;
const VALUE_BYTES: usize = 100;
/// Writes a second during the paging, and how long they go on before it.
const WRITES: u32 = 1_000;
const BEFORE: Duration = Duration::from_secs(10);
/// What the paging may add to the memory of the server.
const GROWTH_MIB_MAX: f64 = 64.0;
/// Keys a second of a stream of lines, and how often it is tried: the client and all three nodes
/// share the machine.
const LINES_MIN: f64 = 200_000.0;
const LINES_TRIES: usize = 3;
/// How long a stream of all may take.
const LINES_PATIENCE: Duration = Duration::from_mins(2);

/// What is remembered of a value.
type Fingerprint = u64;

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let ports = rig.api_ports().await?;
        let pair = |number| {
            let key = key(number);
            let value = value(&key, "loaded");
            (key, value)
        };
        let loaded = rig.http.fill(&ports, args.keys, pair).await?;
        println!("point 12: {} keys loaded at {loaded:.0}/s, {}", args.keys, rig.settle().await?);

        let ledger = Arc::new(Mutex::new(Vec::new()));
        let writes = writes(&rig.http, &ports, args.keys, seed, Arc::clone(&ledger));
        let leader = rig.leader().await?;
        // Writes alone make memory rise and fall with each checkpoint: what counts is their peak.
        let (still, alone) = (rss_mib(&leader)?, Peak::watch(&leader));
        tokio::time::sleep(BEFORE).await;
        let (at_begin, alone) = (rss_mib(&leader)?, alone.mib());
        let peak = Peak::watch(&leader);
        let begun = Instant::now();
        let paged = pages(&rig.http, leader.port).await;
        let (took, peak) = (begun.elapsed().as_secs_f64(), peak.mib());
        let rate = writes.end().await?;
        let paged = paged?;
        let ledger = std::mem::take(&mut *ledger.lock().map_err(|_| "a writer panicked")?);
        let moved = check(&paged, args.keys, &ledger)?;
        let growth = peak - alone;
        println!(
            "point 12: {} keys of revision {} in pages of {PAGE} within {took:.1} s, {rate:.0} \
             writes/s meanwhile moved {moved} of them on; the leader's memory {still:.0} MiB \
             before, at most {alone:.0} MiB under the writes alone, {at_begin:.0} MiB at the first page, \
             at most {peak:.0} MiB during the paging",
            paged.pairs.len(),
            paged.revision,
        );
        ensure!(growth < GROWTH_MIB_MAX, "paging added {growth:.0} MiB to the server's memory");
        let hashes = rig.settle().await?;

        let last = ledger.iter().map(|write| write.revision).max().unwrap_or_default();
        let lines = lines(rig, &leader, last, args.keys, &ledger).await?;
        Ok(format!(
            "{} keys by {PAGE}, exactly those of one revision, at {:.0} keys/s, {growth:+.0} MiB; \
             {lines}; {hashes}",
            paged.pairs.len(),
            paged.pairs.len() as f64 / took,
        ))
    })
    .await
}

fn key(number: u32) -> String {
    format!("page/{number:08}")
}

fn value(key: &str, generation: &str) -> String {
    let text = format!("{key} {generation} ");
    format!("{text:.<VALUE_BYTES$}")
}

fn fingerprint(value: &str) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A write that was acknowledged.
struct Write {
    revision: u64,
    key: String,
    /// The new value; `None` when the key was deleted.
    value: Option<Fingerprint>,
}

/// Writes at a steady rate: other values, new keys in between, deletes.
fn writes(
    http: &Http,
    ports: &[u16],
    keys: u32,
    seed: u64,
    ledger: Arc<Mutex<Vec<Write>>>,
) -> Load {
    let (http, ports) = (http.clone(), ports.to_vec());
    Load::start(WRITES, move |number, _| {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number));
        let mut key = key(rng.random_range(0..keys));
        let kind = rng.random_range(0..10);
        if kind == 0 {
            key = format!("{key}+{number}");
        }
        let value = (kind != 1).then(|| value(&key, &number.to_string()));
        let call = match &value {
            Some(value) => v1::put(&key, value.clone()),
            None => v1::delete(&key),
        };
        let (http, ledger) = (http.clone(), Arc::clone(&ledger));
        let port = ports[number as usize % ports.len()];
        async move {
            let answer = http.write(port, &call).await?;
            // The delete of an absent key makes no revision.
            if value.is_some() || answer.json()?["deleted"] == 1 {
                let revision = v1::revision(&answer)?;
                let value = value.as_deref().map(fingerprint);
                let mut ledger = ledger.lock().map_err(|_| "a writer panicked")?;
                ledger.push(Write { revision, key, value });
            }
            Ok(())
        }
    })
}

/// What a listing showed.
struct Listed {
    revision: u64,
    pairs: Vec<(Box<str>, Fingerprint)>,
}

impl Listed {
    fn take(&mut self, item: &Value) -> Check {
        let pair = item["key"].as_str().zip(item["value"].as_str());
        let (key, value) = pair.ok_or_else(|| format!("an item of another shape: {item}"))?;
        let last = self.pairs.last();
        let rises = last.is_none_or(|(last, _)| **last < *key);
        ensure!(rises, "{key:?} was listed after {last:?}");
        let made = item["mod_revision"].as_u64();
        let past = made.is_some_and(|made| made <= self.revision);
        ensure!(past, "listed at revision {}: {item}", self.revision);
        self.pairs.push((key.into(), fingerprint(value)));
        Ok(())
    }
}

/// Reads all keys page by page.
async fn pages(http: &Http, port: u16) -> Check<Listed> {
    let mut listed = Listed { revision: 0, pairs: Vec::new() };
    let mut query = format!("limit={PAGE}");
    loop {
        let page = http.page(port, &query).await?;
        let revision = page["revision"].as_u64().ok_or("a page without a revision")?;
        if listed.pairs.is_empty() {
            listed.revision = revision;
        }
        ensure!(revision == listed.revision, "a page of {revision} after {}", listed.revision);
        let items = page["items"].as_array().ok_or("a page without items")?;
        items.iter().try_for_each(|item| listed.take(item))?;
        let Some(next) = page["next"].as_str() else { return Ok(listed) };
        ensure!(items.len() == PAGE, "a page in between has {} items", items.len());
        query = format!("limit={PAGE}&cursor={next}");
    }
}

/// Checks that a listing shows exactly what the load and the writes up to its revision made. Returns
/// how many of its keys had been written since.
fn check(listed: &Listed, keys: u32, ledger: &[Write]) -> Check<usize> {
    let mut expected: BTreeMap<String, (u64, Option<Fingerprint>)> = (0..keys)
        .map(|number| {
            let key = key(number);
            let value = fingerprint(&value(&key, "loaded"));
            (key, (0, Some(value)))
        })
        .collect();
    let mut moved = std::collections::BTreeSet::new();
    for Write { revision, key, value } in ledger {
        if *revision > listed.revision {
            moved.insert(key);
            continue;
        }
        let entry = expected.entry(key.clone()).or_default();
        if entry.0 < *revision {
            *entry = (*revision, *value);
        }
    }
    let at = listed.revision;
    let present = expected.into_iter().filter_map(|(key, (_, value))| Some((key, value?)));
    let mut shown = listed.pairs.iter();
    for (key, value) in present {
        let next = shown.next();
        let found = next.map(|(key, _)| &**key);
        ensure!(found == Some(&key), "at revision {at} there is {key:?}, listed was {found:?}");
        let as_it_was = next.map(|(_, value)| *value) == Some(value);
        ensure!(as_it_was, "{key:?} was listed with another value than at revision {at}");
    }
    let more = shown.next();
    ensure!(more.is_none(), "{more:?} was listed, and was not there at revision {at}");
    Ok(moved.len())
}

/// Reads all keys as lines, some times; checks each, and the fastest against the goal.
async fn lines(
    rig: &mut Rig,
    leader: &Node,
    revision: u64,
    keys: u32,
    ledger: &[Write],
) -> Check<String> {
    let (before, peak) = (rss_mib(leader)?, Peak::watch(leader));
    let mut rates = Vec::new();
    let mut text = Vec::new();
    for _ in 0..LINES_TRIES {
        text.clear();
        let begun = Instant::now();
        let call = Call::new(Method::GET, leader.port, "/v1/kv");
        let response = rig.http.open(call.header("accept", "application/x-ndjson")).await?;
        ensure!(response.status() == StatusCode::OK, "the lines: {}", response.status());
        let mut body = response.into_body();
        let read = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| format!("the lines broke off: {error}"))?;
                text.extend(frame.into_data().ok());
            }
            Ok::<_, String>(())
        };
        tokio::time::timeout(LINES_PATIENCE, read)
            .await
            .map_err(|_| "the lines took too long")??;
        let seconds = begun.elapsed().as_secs_f64();
        let listed = parse(&text, revision)?;
        check(&listed, keys, ledger)?;
        rates.push(listed.pairs.len() as f64 / seconds);
    }
    let growth = peak.mib() - before;
    let told: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    let best = rates.into_iter().fold(0.0, f64::max);
    let told = format!("as lines {} keys/s, {growth:+.0} MiB", told.join(", "));
    println!("point 12: {told}");
    ensure!(best >= LINES_MIN, "{told}: the goal is {LINES_MIN:.0}");
    ensure!(growth < GROWTH_MIB_MAX, "the lines added {growth:.0} MiB to the server's memory");
    Ok(told)
}

fn parse(text: &[Bytes], revision: u64) -> Check<Listed> {
    let mut listed = Listed { revision, pairs: Vec::new() };
    let whole = text.concat();
    ensure!(whole.ends_with(b"\n"), "the last line was cut");
    for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let item = serde_json::from_slice(line)
            .map_err(|error| format!("{:?}: {error}", String::from_utf8_lossy(line)))?;
        listed.take(&item)?;
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(revision: u64, number: u32, text: Option<&str>) -> Write {
        let key = key(number);
        Write { revision, value: text.map(|text| fingerprint(&value(&key, text))), key }
    }

    fn listed(revision: u64, pairs: &[(u32, &str)]) -> Listed {
        let pair = |(number, text): &(u32, &str)| {
            let key = key(*number);
            let value = fingerprint(&value(&key, text));
            (key.into_boxed_str(), value)
        };
        Listed { revision, pairs: pairs.iter().map(pair).collect() }
    }

    #[test]
    fn a_listing_is_held_against_the_writes_up_to_its_revision() {
        // Acknowledged out of order, as concurrent writes are.
        let ledger = [
            written(12, 1, Some("twelve")),
            written(11, 1, Some("eleven")),
            written(13, 0, None),
            written(14, 2, Some("later")),
        ];
        let loaded = |revision, pairs: &[(u32, &str)]| check(&listed(revision, pairs), 3, &ledger);
        assert_eq!(loaded(13, &[(1, "twelve"), (2, "loaded")]), Ok(1));
        assert!(loaded(13, &[(1, "eleven"), (2, "loaded")]).is_err(), "an older value");
        assert!(loaded(13, &[(1, "twelve")]).is_err(), "a key is missing");
        assert!(
            loaded(13, &[(0, "loaded"), (1, "twelve"), (2, "loaded")]).is_err(),
            "a deleted one"
        );
        assert!(loaded(13, &[(1, "twelve"), (2, "later")]).is_err(), "a value of the future");
    }
}
