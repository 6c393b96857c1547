//! Clients that write, swap, delete and read while everything around them breaks, and write down what
//! they were told.
//!
//! Every attempt is recorded: before it is sent as begun, after its answer as done, as refused, or as
//! open. What is acknowledged is read at once through another node: a cluster that serves old reads, or
//! loses what it acknowledged, cannot hide it.

use crate::cluster::Place;
use axon_benches::trial::http::{Answer as Response, Call, Http};
use axon_benches::trial::{Check, v1};
use axon_core::testing::history::{Action, Answer, Condition, Found, History, OpId, Outcome, Seen};
use axon_core::types::Revision;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const CLIENTS: u64 = 6;
/// Few, so that clients meet.
const KEYS: u8 = 8;
/// A little longer than a server lets a call wait.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest rest between two operations, and after one that found nobody.
const REST_MS_MAX: u64 = 12;
const UNREACHED_REST: Duration = Duration::from_millis(50);
/// How often a put is sent under one idempotency key, at most.
const ATTEMPTS_MAX: usize = 4;

/// What all clients write down together.
pub struct Record {
    history: Mutex<History>,
    begun: Instant,
}

impl Record {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn begin(&self, client: u64, id: Option<&str>, action: Action) -> OpId {
        let mut history = self.history();
        let now = self.now();
        match id {
            Some(id) => history.begin_once(client, id, now, action),
            None => history.begin(client, now, action),
        }
    }

    fn end(&self, operation: OpId, outcome: Outcome) {
        let mut history = self.history();
        let now = self.now();
        history.end(operation, now, outcome);
    }
}

/// The clients, at work.
pub struct Clients {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    working: JoinSet<Check>,
    http: Http,
    places: Vec<Place>,
}

impl Clients {
    pub fn start(http: &Http, places: Vec<Place>, seed: u64) -> Self {
        let record = Arc::new(Record { history: Mutex::default(), begun: Instant::now() });
        let stop = Arc::new(AtomicBool::new(false));
        let mut working = JoinSet::new();
        for number in 0..CLIENTS {
            let mut client = Client {
                number,
                http: http.clone(),
                places: places.clone(),
                record: Arc::clone(&record),
                rng: StdRng::seed_from_u64(seed.wrapping_add(number)),
                values: 0,
            };
            let stop = Arc::clone(&stop);
            working.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.work().await?;
                }
                Ok(())
            });
        }
        Self { record, stop, working, http: http.clone(), places }
    }

    /// Reports whether a client has met what is no answer at all.
    pub fn has_failed(&self) -> bool {
        self.working.len() < CLIENTS as usize
    }

    /// Lets them finish, reads every key through every node, and returns what was written down.
    pub async fn end(mut self) -> Check<History> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.working.join_next().await {
            ended.map_err(|error| format!("a client panicked: {error}"))??;
        }
        let mut last = Client {
            number: CLIENTS,
            http: self.http.clone(),
            places: self.places.clone(),
            record: Arc::clone(&self.record),
            rng: StdRng::seed_from_u64(0),
            values: 0,
        };
        for key in 0..KEYS {
            for node in 0..self.places.len() {
                let read = last.get(&name(key), node).await?;
                if !matches!(read, Outcome::Ok(_)) {
                    return Err(format!("node{} does not answer a read at the end", node + 1));
                }
            }
        }
        Ok(self.record.history().clone())
    }
}

fn name(key: u8) -> String {
    format!("chaos/{key}")
}

struct Client {
    number: u64,
    http: Http,
    places: Vec<Place>,
    record: Arc<Record>,
    rng: StdRng,
    values: u64,
}

impl Client {
    /// One operation, and what follows from it.
    async fn work(&mut self) -> Check {
        let key = name(self.rng.random_range(0..KEYS));
        let node = self.rng.random_range(0..self.places.len());
        let acknowledged = match self.rng.random_range(0..100) {
            0..35 => self.put(&key, node).await?,
            35..55 => self.put_once(&key, node).await?,
            55..65 => self.delete(&key, node).await?,
            65..85 => self.swap(&key, node).await?,
            _ => {
                self.get(&key, node).await?;
                false
            }
        };
        if acknowledged {
            let another = (node + self.rng.random_range(1..self.places.len())) % self.places.len();
            self.get(&key, another).await?;
        }
        let rest = self.rng.random_range(0..REST_MS_MAX);
        tokio::time::sleep(Duration::from_millis(rest)).await;
        Ok(())
    }

    fn value(&mut self) -> String {
        self.values += 1;
        format!("{}-{}", self.number, self.values)
    }

    async fn put(&mut self, key: &str, node: usize) -> Check<bool> {
        let value = self.value();
        let action = Action::Put { key: bytes(key), value: bytes(&value) };
        self.write(node, v1::put(key, value), None, action).await
    }

    /// A put that is sent under one key until it is acknowledged, or nobody wants to any more.
    async fn put_once(&mut self, key: &str, node: usize) -> Check<bool> {
        let value = self.value();
        let id = format!("once-{value}");
        for attempt in 0..ATTEMPTS_MAX {
            let action = Action::Put { key: bytes(key), value: bytes(&value) };
            let call = v1::put(key, value.clone()).header("idempotency-key", id.as_str());
            let node = (node + attempt) % self.places.len();
            if self.write(node, call, Some(&id), action).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn delete(&mut self, key: &str, node: usize) -> Check<bool> {
        self.write(node, v1::delete(key), None, Action::Delete { key: bytes(key) }).await
    }

    /// Reads a key and stores another value over what was read.
    async fn swap(&mut self, key: &str, node: usize) -> Check<bool> {
        let Outcome::Ok(Answer::Got(found)) = self.get(key, node).await? else {
            return Ok(false);
        };
        let value = self.value();
        let call = v1::put(key, value.clone());
        let (when, call) = match found {
            Found::Present(Seen { mod_revision: Some(revision), .. }) => (
                Condition::mod_revision(bytes(key), revision),
                call.header("if-match", format!("\"{revision}\"")),
            ),
            _ => (Condition::absent(bytes(key)), call.header("if-none-match", "*")),
        };
        let another = self.rng.random_range(0..self.places.len());
        self.write(another, call, None, Action::PutIf { when, value: bytes(&value) }).await
    }

    /// Makes a write; reports whether it was acknowledged.
    async fn write(
        &mut self,
        node: usize,
        call: Call,
        id: Option<&str>,
        action: Action,
    ) -> Check<bool> {
        let begun = self.record.begin(self.number, id, action);
        let (outcome, rest) = match self.http.send(self.at(node, call)).await {
            Ok(answer) => (written(&answer)?, Duration::ZERO),
            Err(unanswered) if unanswered.sent => (Outcome::Unknown, UNREACHED_REST),
            Err(_) => (Outcome::Failed, UNREACHED_REST),
        };
        let acknowledged = matches!(outcome, Outcome::Ok(Answer::Done { .. }));
        // Of an open outcome nothing is known, its end neither.
        if outcome != Outcome::Unknown {
            self.record.end(begun, outcome);
        }
        tokio::time::sleep(rest).await;
        Ok(acknowledged)
    }

    /// A linearizable read.
    async fn get(&mut self, key: &str, node: usize) -> Check<Outcome> {
        let begun = self.record.begin(self.number, None, Action::Get { key: bytes(key) });
        let call = Call::new(Method::GET, 0, v1::kv_path(key));
        let outcome = if let Ok(answer) = self.http.send(self.at(node, call)).await {
            read(&answer)?
        } else {
            tokio::time::sleep(UNREACHED_REST).await;
            Outcome::Failed
        };
        self.record.end(begun, outcome.clone());
        Ok(outcome)
    }

    fn at(&self, node: usize, call: Call) -> Call {
        Call { patience: PATIENCE, ..self.places[node].at(call) }
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What an answer says of a write.
fn written(answer: &Response) -> Check<Outcome> {
    let body = answer.json()?;
    match answer.status {
        StatusCode::OK | StatusCode::CREATED => {
            let there = |there: bool| {
                if there { Found::Present(Seen::default()) } else { Found::Absent }
            };
            let before = match body.get("deleted") {
                Some(deleted) => there(*deleted == 1),
                None => match body["previous_revision"].as_u64() {
                    Some(previous) => Found::Present(Seen {
                        mod_revision: Some(Revision(previous)),
                        ..Seen::default()
                    }),
                    None => Found::Absent,
                },
            };
            let revision = Some(Revision(v1::revision(answer)?));
            Ok(Outcome::Ok(Answer::Done { revision, before }))
        }
        StatusCode::PRECONDITION_FAILED => {
            let current = body["details"]["current_revision"].as_u64();
            let found = current.map_or(Found::Absent, |revision| {
                Found::Present(Seen { mod_revision: Some(Revision(revision)), ..Seen::default() })
            });
            Ok(Outcome::Ok(Answer::Conflict { revision: None, found }))
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::INSUFFICIENT_STORAGE => match body["outcome"].as_str() {
            Some("not_applied") => Ok(Outcome::Failed),
            Some("unknown") => Ok(Outcome::Unknown),
            _ => Err(format!("a refusal without an outcome: {}", answer.brief())),
        },
        _ => Err(format!("a write was answered {}", answer.brief())),
    }
}

/// What an answer says of a key.
fn read(answer: &Response) -> Check<Outcome> {
    match answer.status {
        StatusCode::OK => {
            let seen = Seen {
                value: Some(answer.body.clone()),
                mod_revision: Some(Revision(v1::etag(answer)?)),
                ..Seen::default()
            };
            Ok(Outcome::Ok(Answer::Got(Found::Present(seen))))
        }
        StatusCode::NOT_FOUND if answer.code() == "not_found" => {
            Ok(Outcome::Ok(Answer::Got(Found::Absent)))
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Ok(Outcome::Failed),
        _ => Err(format!("a read was answered {}", answer.brief())),
    }
}
