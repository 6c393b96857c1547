//! Point 9: two clients on different nodes increment one counter by compare-and-swap, and lose no
//! step; then two counters by transactions, which no snapshot shows out of step.

use crate::http::{Call, Http};
use crate::rig::{Rig, Surroundings};
use crate::{Args, Check, ensure, v1};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Increments of each client.
const STEPS: u64 = 1_000;
/// Calls that a client makes at most: with two of them, one step of either succeeds each time.
const TRIES_MAX: u64 = 20 * STEPS;

const COUNTER: &str = "swap/counter";
const PAIR: [&str; 2] = ["swap/pair/left", "swap/pair/right"];

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let ports = rig.api_ports().await?;
        let http = &rig.http;
        let begun = Instant::now();
        let clients = tokio::try_join!(count(http, ports[0]), count(http, ports[1]));
        let (one, other) = clients?;
        let counter = rate(one, other, begun.elapsed());
        let total = (2 * STEPS).to_string();
        let end = http.envelope(ports[2], COUNTER).await?;
        ensure!(end["value"] == total, "{total} increments by two clients, at the end {end}");
        ensure!(end["version"] == 2 * STEPS, "{total} increments, as many versions, but {end}");

        let begun = Instant::now();
        let looks = async {
            tokio::select! {
                clients = async { tokio::try_join!(step(http, ports[0]), step(http, ports[1])) } => {
                    clients.map(Some)
                }
                never = look(http, &ports) => never.map(|()| None),
            }
        };
        let looked = looks.await?;
        let (one, other) = looked.ok_or("the reader ended before the writers")?;
        let pair = rate(one, other, begun.elapsed());
        let (left, right) = snapshot(http, ports[2]).await?;
        ensure!(left == 2 * STEPS && right == left, "{total} increments, at the end {left} and {right}");
        let hashes = rig.settle().await?;
        Ok(format!("one counter {total} by swaps ({counter}), two by transactions ({pair}); {hashes}"))
    })
    .await
}

fn rate(one: u64, other: u64, took: Duration) -> String {
    let lost = one + other - 2 * STEPS;
    let rate = (2 * STEPS) as f64 / took.as_secs_f64();
    format!("{rate:.0}/s, {lost} lost compares")
}

/// Increments the counter through the node at `port`. Returns how many tries that took.
async fn count(http: &Http, port: u16) -> Check<u64> {
    let mut done = 0;
    for tries in 1..=TRIES_MAX {
        let (condition, value) = match http.read(port, COUNTER).await? {
            Some((revision, value)) => {
                let text = String::from_utf8_lossy(&value);
                let number: u64 = text.parse().map_err(|_| format!("the counter is {text:?}"))?;
                (("if-match", format!("\"{revision}\"")), number + 1)
            }
            None => (("if-none-match", "*".to_owned()), 1),
        };
        let put = v1::put(COUNTER, value.to_string()).header(condition.0, condition.1);
        let answer = http.send(Call { port, ..put }).await?;
        if v1::done(&answer) {
            let status = if value == 1 { StatusCode::CREATED } else { StatusCode::OK };
            ensure!(answer.status == status, "version {value} was put with {}", answer.brief());
            done += 1;
        } else {
            let lost = answer.status == StatusCode::PRECONDITION_FAILED;
            ensure!(lost, "a swap was answered {}", answer.brief());
            v1::etag(&answer).map_err(|what| format!("412 without the current version: {what}"))?;
        }
        if done == STEPS {
            return Ok(tries);
        }
    }
    Err(format!("{TRIES_MAX} tries were not enough for {STEPS} increments"))
}

/// Increments both counters of the pair through the node at `port`, from what the last try saw.
async fn step(http: &Http, port: u16) -> Check<u64> {
    let (mut known, mut done) = (None, 0);
    for tries in 1..=TRIES_MAX {
        let answer = http.write(port, &v1::txn(&increment(known))).await?.json()?;
        if answer["succeeded"] == true {
            known = Some((known.map_or(0, |(value, _)| value) + 1, answer["revision"].as_u64()));
            done += 1;
        } else {
            let [left, right] = [0, 1].map(|at| &answer["results"][at]["get"]["kv"]);
            ensure!(left["value"] == right["value"], "a transaction read {left} and {right}");
            let value = left["value"].as_str().and_then(|value| value.parse::<u64>().ok());
            known = Some((value.ok_or("no number in the pair")?, left["mod_revision"].as_u64()));
        }
        if done == STEPS {
            return Ok(tries);
        }
    }
    Err(format!("{TRIES_MAX} tries were not enough for {STEPS} increments"))
}

/// The transaction that takes the pair one step on from the value and revision that are `known`,
/// and otherwise reads it. One of the two is compared by revision, the other by value.
fn increment(known: Option<(u64, Option<u64>)>) -> Value {
    let compare = match known {
        Some((value, revision)) => json!([
            {"key": PAIR[0], "target": "mod_revision", "op": "=", "mod_revision": revision},
            {"key": PAIR[1], "target": "value", "op": "=", "value": value.to_string()},
        ]),
        None => json!([{"key": PAIR[0], "target": "version", "op": "=", "version": 0}]),
    };
    let next = (known.map_or(0, |(value, _)| value) + 1).to_string();
    let puts = PAIR.map(|key| json!({"put": {"key": key, "value": next}}));
    let gets = PAIR.map(|key| json!({"get": {"key": key}}));
    json!({"compare": compare, "success": puts, "failure": gets})
}

/// Reads the pair in one snapshot after the other, through one node after the other, for ever.
async fn look(http: &Http, ports: &[u16]) -> Check {
    let mut before = 0;
    for port in ports.iter().cycle() {
        let (left, right) = snapshot(http, *port).await?;
        ensure!(left == right, "a snapshot shows the pair out of step: {left} and {right}");
        ensure!(left >= before, "a snapshot shows {left}, one before it showed {before}");
        before = left;
    }
    Ok(())
}

/// Both counters of the pair, as of one revision; 0 when absent.
async fn snapshot(http: &Http, port: u16) -> Check<(u64, u64)> {
    let page = http.page(port, "prefix=swap/pair/").await?;
    let value = |key: &str| {
        let items = page["items"].as_array()?;
        let item = items.iter().find(|item| item["key"] == key)?;
        item["value"].as_str()?.parse::<u64>().ok()
    };
    Ok((value(PAIR[0]).unwrap_or(0), value(PAIR[1]).unwrap_or(0)))
}
