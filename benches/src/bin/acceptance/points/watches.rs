//! Point 11: a watcher that comes back with `Last-Event-ID` sees each change once and in order, across
//! the deaths of the leader and of its own server; one that lags is told, and so is one that asks for
//! what is compacted.

use crate::events::{Event, Events, Refused};
use crate::http::{Call, Http};
use crate::rig::{self, ALL, PATIENCE, Rig, Surroundings, until};
use crate::{Args, Check, ensure, v1};
use futures_util::stream::{self, TryStreamExt};
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Changes of keys, at least; a quarter of them before each of three blows.
const CHANGES: u64 = 10_000;
const WRITERS: u64 = 4;
const KEYS: usize = 200;
/// A writer's rest: the changes take longer than the blows.
const PAUSE: Duration = Duration::from_millis(2);
/// Keys of a transaction, at most.
const TXN_KEYS_MAX: usize = 5;

/// The history of the cluster on which a watcher lags.
const SMALL_HISTORY_BYTES: usize = 4 << 20;
/// What is written meanwhile: far more than what lies in the buffers of a connection.
const LAG_BYTES: usize = 64 << 20;
const LAG_VALUE_BYTES: usize = 64 << 10;

/// What a revision changed: each key with its value, or none.
type Changes = BTreeMap<String, Option<String>>;

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let resumed = Rig::with(args, seed, Surroundings::default(), async |rig| {
        let figures = resumes(rig).await?;
        Ok(format!("{figures}, {}", rig.settle().await?))
    })
    .await?;
    println!("point 11: {resumed}");
    let environment = vec![("AXON_HISTORY_BYTES", SMALL_HISTORY_BYTES.to_string())];
    let small = Surroundings { environment, ..Surroundings::default() };
    let lagged = Rig::with(args, seed, small, async |rig| {
        let (figures, last) = lags(rig).await?;
        compacted(rig, last).await?;
        Ok(format!("{figures}; compacted revisions are refused (410), {}", rig.settle().await?))
    })
    .await?;
    Ok(format!("{resumed}; {lagged}"))
}

async fn resumes(rig: &mut Rig) -> Check<String> {
    let ports = rig.api_ports().await?;
    let leader = rig.leader().await?;
    let follower = ports.iter().position(|port| *port != leader.port).unwrap_or(0);
    let at = Arc::new(AtomicUsize::new(follower));
    let (end, ends) = watch::channel(None);
    let watcher = Watcher { http: rig.http.clone(), ports: ports.clone(), at: at.clone() };
    let watching = tokio::spawn(watcher.run(ends));

    let writing = Writing::start(&rig.http, &ports, rig.rng.random());
    let blows = strike(rig, &writing, &ports, &at).await;
    let ledger = writing.end().await;
    blows?;
    let ledger = ledger?;
    let last = ledger.last_key_value().map(|(revision, _)| *revision);
    end.send_replace(last);
    let seen = tokio::time::timeout(PATIENCE, watching).await;
    let seen = seen.map_err(|_| "the watcher has not seen the last change after a minute")?;
    let (seen, opened) = seen.map_err(|error| format!("the watcher panicked: {error}"))??;
    compare(&ledger, &seen)?;
    let changes: usize = ledger.values().map(BTreeMap::len).sum();
    Ok(format!(
        "{changes} changes in {} revisions seen once each and in order, over {opened} connections, \
         with the leader killed, the watcher's server killed and restarted",
        ledger.len()
    ))
}

/// Three blows, each after a quarter of the changes; returns after the last quarter.
async fn strike(rig: &mut Rig, writing: &Writing, ports: &[u16], at: &AtomicUsize) -> Check {
    writing.reached(CHANGES / 4).await?;
    rig::kill(&rig.leader().await?)?;
    rig.wait_ready(&ALL).await?;
    writing.reached(CHANGES / 2).await?;
    let own = own_server(rig, ports, at).await?;
    rig::kill(&own)?;
    rig.wait_ready(&ALL).await?;
    writing.reached(CHANGES / 4 * 3).await?;
    let own = own_server(rig, ports, at).await?;
    rig.control("stop", &own.id).await?;
    rig.control("start", &own.id).await?;
    rig.wait_ready(&ALL).await?;
    writing.reached(CHANGES).await
}

/// The server that the watcher is connected to.
async fn own_server(rig: &mut Rig, ports: &[u16], at: &AtomicUsize) -> Check<rig::Node> {
    let port = ports[at.load(Ordering::Relaxed) % ports.len()];
    let found = rig.nodes().await?.into_iter().find(|node| node.port == port);
    found.ok_or_else(|| "the watcher's server is gone".into())
}

fn compare(ledger: &BTreeMap<u64, Changes>, seen: &[(u64, Changes)]) -> Check {
    let seen_at: BTreeMap<u64, &Changes> = seen.iter().map(|(at, told)| (*at, told)).collect();
    for (revision, made) in ledger {
        let told = seen_at.get(revision);
        ensure!(told.is_some(), "revision {revision} was never told: {made:?}");
        ensure!(told == Some(&made), "revision {revision} made {made:?}, told was {told:?}");
    }
    for revision in seen_at.keys() {
        ensure!(ledger.contains_key(revision), "revision {revision} was told, and nobody made it");
    }
    Ok(())
}

/// Watches, and comes back to the next node whenever its stream ends.
struct Watcher {
    http: Http,
    ports: Vec<u16>,
    /// The place of the node it is connected to.
    at: Arc<AtomicUsize>,
}

impl Watcher {
    /// Returns what it was told until the revision that `end` names, and how often it connected.
    async fn run(self, end: watch::Receiver<Option<u64>>) -> Check<(Vec<(u64, Changes)>, usize)> {
        let (mut seen, mut last, mut opened) = (Vec::new(), None, 0);
        let (mut heard, mut reason) = (Instant::now(), String::new());
        while heard.elapsed() < PATIENCE {
            let port = self.ports[self.at.load(Ordering::Relaxed) % self.ports.len()];
            match Events::open(&self.http, port, "/v1/watch?prefix=w/&from=1", last).await {
                Ok(mut events) => {
                    opened += 1;
                    while let Ok(Some(event)) = events.next().await {
                        heard = Instant::now();
                        note(event, &mut last, &mut seen)?;
                        if end.borrow().is_some_and(|end| last >= Some(end)) {
                            return Ok((seen, opened));
                        }
                    }
                }
                Err(Refused::Answer(status, code)) if !status.is_server_error() => {
                    return Err(format!("coming back after {last:?} was answered {status} {code}"));
                }
                Err(Refused::Answer(status, code)) => reason = format!("{status} {code}"),
                Err(Refused::Silence(why)) => reason = why.into(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.at.fetch_add(1, Ordering::Relaxed);
        }
        Err(format!("no event for {} s after {last:?}; {reason}", PATIENCE.as_secs()))
    }
}

/// Takes an event; its id must be beyond every one before, or for a progress not behind it.
fn note(event: Event, last: &mut Option<u64>, seen: &mut Vec<(u64, Changes)>) -> Check {
    let Event { name, id, data } = event;
    match name.as_str() {
        "change" => {
            let revision = id.ok_or("a change without an id")?;
            ensure!(Some(revision) > *last, "revision {revision} was told after {last:?}");
            ensure!(data["revision"] == revision, "the event {revision} holds {data}");
            seen.push((revision, changes_of(&data)?));
            *last = Some(revision);
        }
        "progress" => {
            ensure!(id >= *last, "progress {id:?} was told after {last:?}");
            *last = id;
        }
        // A server that stops says so, and its stream ends.
        "error" => {}
        other => return Err(format!("an event {other}, and nothing was compacted: {data}")),
    }
    Ok(())
}

fn changes_of(data: &Value) -> Check<Changes> {
    let told = data["changes"].as_array().ok_or("a change event without changes")?;
    let mut changes = Changes::new();
    for change in told {
        let key = change["key"].as_str().ok_or("a change without a key")?.to_owned();
        let value = match change["type"].as_str() {
            Some("put") => {
                Some(change["value"].as_str().ok_or("a put without a value")?.to_owned())
            }
            Some("delete") => None,
            _ => return Err(format!("a change of another shape: {change}")),
        };
        ensure!(change["mod_revision"] == data["revision"], "{change} in an event of {data}");
        ensure!(changes.insert(key, value).is_none(), "a key twice in one event: {data}");
    }
    Ok(changes)
}

/// Writers that go on whatever happens, and know which revision made which change.
struct Writing {
    writers: JoinSet<Check<BTreeMap<u64, Changes>>>,
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
}

impl Writing {
    fn start(http: &Http, ports: &[u16], seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let changes = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (http, ports) = (http.clone(), ports.to_vec());
            let (stop, changes) = (Arc::clone(&stop), Arc::clone(&changes));
            let mut rng = StdRng::seed_from_u64(seed.wrapping_add(writer));
            writers.spawn(async move {
                let mut ledger = BTreeMap::new();
                for number in 0_usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("{writer}-{number}");
                    let (write, wanted) = draw(&mut rng, &name);
                    let (answer, _) = http.insist(&ports, number, &write, &name).await?;
                    let made = made(&answer.json()?, wanted)?;
                    if !made.is_empty() {
                        changes.fetch_add(made.len() as u64, Ordering::Relaxed);
                        let revision = v1::revision(&answer)?;
                        let double = ledger.insert(revision, made).is_some();
                        ensure!(!double, "revision {revision} was answered to two writes");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(ledger)
            });
        }
        Self { writers, stop, changes }
    }

    /// Waits until so many changes are made.
    async fn reached(&self, changes: u64) -> Check {
        until(&format!("{changes} changes are made"), PATIENCE, async || {
            Ok((self.changes.load(Ordering::Relaxed) >= changes).then_some(()))
        })
        .await
    }

    /// Ends the writers, and returns what they made.
    async fn end(mut self) -> Check<BTreeMap<u64, Changes>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ledger = BTreeMap::new();
        while let Some(ended) = self.writers.join_next().await {
            for (revision, made) in
                ended.map_err(|error| format!("a writer panicked: {error}"))??
            {
                let double = ledger.insert(revision, made).is_some();
                ensure!(!double, "revision {revision} was answered to two writers");
            }
        }
        Ok(ledger)
    }
}

/// A put, a delete, or a transaction of several keys: the call, and each change in its order.
fn draw(rng: &mut StdRng, name: &str) -> (Call, Vec<(String, Option<String>)>) {
    let keys = match rng.random_range(0..4) {
        0 => rng.random_range(2..=TXN_KEYS_MAX),
        _ => 1,
    };
    let mut drawn = BTreeSet::new();
    while drawn.len() < keys {
        drawn.insert(format!("w/{:03}", rng.random_range(0..KEYS)));
    }
    let wanted: Vec<_> = drawn
        .into_iter()
        .map(|key| {
            let value = (rng.random_range(0..6) > 0).then(|| format!("{name} of {key}"));
            (key, value)
        })
        .collect();
    let call = match &wanted[..] {
        [(key, Some(value))] => v1::put(key, value.clone()),
        [(key, None)] => v1::delete(key),
        several => {
            let operation = |(key, value): &(String, Option<String>)| match value {
                Some(value) => json!({"put": {"key": key, "value": value}}),
                None => json!({"delete": {"key": key}}),
            };
            v1::txn(&json!({"success": several.iter().map(operation).collect::<Vec<_>>()}))
        }
    };
    (call, wanted)
}

/// What of `wanted` an answer says was done: the deletes of absent keys were not.
fn made(answer: &Value, wanted: Vec<(String, Option<String>)>) -> Check<Changes> {
    let single = wanted.len() == 1;
    let mut made = Changes::new();
    for (place, (key, value)) in wanted.into_iter().enumerate() {
        let deleted = if single { answer } else { &answer["results"][place]["delete"] };
        let deleted = deleted["deleted"].as_u64();
        ensure!(value.is_some() || deleted.is_some(), "a delete was answered {answer}");
        if value.is_some() || deleted == Some(1) {
            made.insert(key, value);
        }
    }
    Ok(made)
}

/// A watcher that does not read while more is written than the history holds. Returns the last
/// revision, too.
async fn lags(rig: &mut Rig) -> Check<(String, u64)> {
    let ports = rig.api_ports().await?;
    let (http, port) = (&rig.http, ports[1]);
    let first = v1::revision(&http.write(ports[0], &v1::put("lag/first", "x")).await?)?;
    let path = format!("/v1/watch?prefix=lag/&from={first}");
    let opened = Events::open(http, port, &path, None).await;
    let mut events = opened.map_err(|refused| format!("a watch was refused: {refused:?}"))?;
    let told = events.next().await?.and_then(|event| event.id);
    ensure!(told == Some(first), "the first event is {told:?}, wanted was {first}");

    let value = "v".repeat(LAG_VALUE_BYTES);
    let writes = (0..LAG_BYTES / LAG_VALUE_BYTES).map(Ok);
    let write = async |number: usize| {
        let put = v1::put(&format!("lag/{:02}", number % 50), value.clone());
        http.write(ports[number % ports.len()], &put).await.map(drop)
    };
    stream::iter(writes).try_for_each_concurrent(16, write).await?;
    let last = v1::revision(&http.write(ports[0], &v1::put("lag/last", "x")).await?)?;
    let near_end = last - 4 * (SMALL_HISTORY_BYTES / LAG_VALUE_BYTES) as u64;
    until("the history is compacted to its budget", PATIENCE, async || {
        let status = http.get_json(port, "/v1/status").await?;
        let compacted = status["compacted_revision"].as_u64().unwrap_or_default();
        ensure!(compacted >= near_end, "compacted to {compacted}, wanted {near_end} of {last}");
        Ok(Some(()))
    })
    .await?;

    let (mut expected, mut resyncs, mut missed) = (first + 1, 0, 0);
    while expected <= last {
        let event = events.next().await?;
        let event = event.ok_or("the stream of a watcher that lags ended without a word")?;
        match event.name.as_str() {
            "change" => {
                ensure!(event.id == Some(expected), "a gap: {:?} after {expected}", event.id);
                expected += 1;
            }
            "resync" => {
                let gap = event.data["from"].as_u64().zip(event.data["to"].as_u64());
                let (from, to) = gap.ok_or_else(|| format!("a resync of {}", event.data))?;
                let fits = from == expected && to >= from && to <= last;
                ensure!(fits, "resync {from} to {to}, next to be told was {expected} of {last}");
                expected = to + 1;
                missed += to - from + 1;
                resyncs += 1;
            }
            "progress" => ensure!(event.id >= Some(expected - 1), "progress back: {event:?}"),
            other => return Err(format!("a watcher that lags was told {other}: {}", event.data)),
        }
    }
    ensure!(resyncs > 0, "{} revisions lay unread, and there was no resync", last - first);
    let figures = format!(
        "a watcher that lagged was told so ({missed} of {} revisions, resyncs {resyncs}) and the rest",
        last - first
    );
    Ok((figures, last))
}

/// Whoever asks for what is compacted is refused, whatever the door.
async fn compacted(rig: &mut Rig, last: u64) -> Check {
    for port in rig.api_ports().await? {
        for (path, after) in [("/v1/watch?prefix=lag/&from=1", None), ("/v1/watch", Some(1))] {
            match Events::open(&rig.http, port, path, after).await {
                Err(Refused::Answer(StatusCode::GONE, code)) if code == "compacted" => {}
                Err(other) => return Err(format!("{path} after {after:?} was answered {other:?}")),
                Ok(_) => return Err(format!("{path} after {after:?} is compacted, and began")),
            }
        }
        let read = Call::new(Method::GET, port, "/v1/kv/lag%2Ffirst?revision=1");
        let answer = rig.http.send(read).await?;
        let gone = answer.status == StatusCode::GONE && answer.code() == "compacted";
        ensure!(gone, "a read at revision 1 was answered {}", answer.brief());
        let future =
            Call::new(Method::GET, port, format!("/v1/kv/lag%2Ffirst?revision={}", last * 2));
        let answer = rig.http.send(future).await?;
        ensure!(answer.status.is_client_error(), "a future revision: {}", answer.brief());
    }
    Ok(())
}
