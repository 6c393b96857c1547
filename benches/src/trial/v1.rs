//! The doors under `/v1` that hold data, as a client uses them.

use super::Check;
use super::http::{Answer, Call, Http, NoAnswer, encoded};
use crate::ensure;
use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a write is sent again and again until it is acknowledged.
const INSISTENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Puts of a transaction that fills, and how many of those are on their way at a time.
const FILL_PUTS: u32 = 128;
const FILL_CONCURRENCY: usize = 12;

/// The path of a key.
pub fn kv_path(key: &str) -> String {
    format!("/v1/kv/{}", encoded(key))
}

/// `PUT` of a value, to be sent to any node.
pub fn put(key: &str, value: impl Into<Bytes>) -> Call {
    Call::new(Method::PUT, 0, kv_path(key)).body(value)
}

/// `DELETE` of a key, to be sent to any node.
pub fn delete(key: &str) -> Call {
    Call::new(Method::DELETE, 0, kv_path(key))
}

/// A transaction, to be sent to any node.
pub fn txn(body: &Value) -> Call {
    Call::new(Method::POST, 0, "/v1/txn")
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// The revision in the body of an answer to a write.
pub fn revision(answer: &Answer) -> Check<u64> {
    let body = answer.json()?;
    body["revision"].as_u64().ok_or_else(|| format!("an answer without a revision: {body}"))
}

/// The revision in an answer's `ETag`.
pub fn etag(answer: &Answer) -> Check<u64> {
    let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
    let number = tag.and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    number.ok_or_else(|| format!("an answer whose ETag is no revision: {tag:?}"))
}

/// Reports whether an answer says that the write is done.
pub fn done(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::OK | StatusCode::CREATED)
}

impl Http {
    /// Reads a key: its value and the revision that its `ETag` names.
    pub async fn read(&self, port: u16, key: &str) -> Check<Option<(u64, Bytes)>> {
        let answer = self.send(Call::new(Method::GET, port, kv_path(key))).await?;
        if answer.status == StatusCode::NOT_FOUND && answer.code() == "not_found" {
            return Ok(None);
        }
        ensure!(answer.status == StatusCode::OK, "GET of {key:?}: {}", answer.brief());
        Ok(Some((etag(&answer)?, answer.body)))
    }

    /// Makes a write through the node at `port`, which must be done at the first try.
    pub async fn write(&self, port: u16, write: &Call) -> Check<Answer> {
        let answer = self.send(Call { port, ..write.clone() }).await?;
        let path = &write.path;
        ensure!(done(&answer), "{} {path} was answered {}", write.method, answer.brief());
        Ok(answer)
    }

    /// Sends a write under an idempotency key until it is acknowledged, through one node after the
    /// other beginning with the `first` of `ports`. Returns the answer, and how often it was sent.
    pub async fn insist(
        &self,
        ports: &[u16],
        first: usize,
        write: &Call,
        idempotency_key: &str,
    ) -> Check<(Answer, usize)> {
        let write = write.clone().header("idempotency-key", idempotency_key);
        let begun = Instant::now();
        let mut sent = 0;
        let mut reason = String::new();
        while begun.elapsed() < INSISTENCE {
            let port = ports[(first + sent) % ports.len()];
            sent += 1;
            match self.send(Call { port, ..write.clone() }).await {
                Ok(answer) if done(&answer) => return Ok((answer, sent)),
                Ok(answer) => {
                    let later = matches!(answer.status.as_u16(), 429 | 503 | 504);
                    reason = answer.brief();
                    ensure!(later, "{} {} was answered {reason}", write.method, write.path);
                }
                Err(NoAnswer { why, .. }) => reason = why,
            }
            tokio::time::sleep(PAUSE).await;
        }
        let what = format!("{} {}", write.method, write.path);
        Err(format!("{what} was not acknowledged within {} s; {reason}", INSISTENCE.as_secs()))
    }

    /// Puts so many pairs, many in a transaction, through all nodes; returns how many a second.
    pub async fn fill(
        &self,
        ports: &[u16],
        pairs: u32,
        pair: impl Fn(u32) -> (String, String),
    ) -> Check<f64> {
        let begun = Instant::now();
        let batches = (0..pairs.div_ceil(FILL_PUTS)).map(Ok::<_, String>);
        stream::iter(batches)
            .try_for_each_concurrent(FILL_CONCURRENCY, async |batch| {
                let numbers = batch * FILL_PUTS..((batch + 1) * FILL_PUTS).min(pairs);
                let puts = numbers.map(|number| {
                    let (key, value) = pair(number);
                    json!({"put": {"value": value, "key": key}})
                });
                let txn = txn(&json!({"success": puts.collect::<Vec<_>>()}));
                let answer = self.write(ports[batch as usize % ports.len()], &txn).await?;
                ensure!(answer.json()?["succeeded"] == true, "filling: {}", answer.brief());
                Ok(())
            })
            .await?;
        Ok(f64::from(pairs) / begun.elapsed().as_secs_f64())
    }

    /// `GET /v1/kv?{query}`, a page.
    pub async fn page(&self, port: u16, query: &str) -> Check<Value> {
        self.get_json(port, &format!("/v1/kv?{query}")).await
    }

    /// The present version of a key, as JSON.
    pub async fn envelope(&self, port: u16, key: &str) -> Check<Value> {
        let call = Call::new(Method::GET, port, kv_path(key)).header("accept", "application/json");
        let answer = self.send(call).await?;
        ensure!(answer.status == StatusCode::OK, "GET of {key:?}: {}", answer.brief());
        answer.json()
    }
}
