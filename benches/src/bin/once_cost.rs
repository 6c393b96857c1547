//! What exactly once costs: the instructions of a put that carries a request id, against those of
//! one that does not.
//!
//! The program starts itself under callgrind, once for each figure, and reads what was counted:
//!
//! * **apply**, alone: batches of puts through `State::apply`, decoding included, on the thread that
//!   calls. The batches are made beforehand and checkpoints are put off, so that nothing else counts.
//! * **encode**, alone: a command's way to bytes.
//! * **a put**, whole: what 64 callers cost a cluster in this process, over TCP with logs and states
//!   in memory; without HTTP and without a disk, which would make it dearer and the share of the
//!   request ids smaller. There is no such put without a request id: what it would cost is the
//!   whole less what they add, once to encode and on each replica to apply.
//!
//! The sessions are three: each replica of a cluster has one. Instructions do not depend on what
//! else the machine does, so that one run is a figure; that of the whole put varies by a few per
//! cent, with the batches that come about.

use axon_core::codec;
use axon_core::command::{Command, Op};
use axon_core::config::Origin;
use axon_core::state::{Position, State, StateConfig, StateEntry};
use axon_core::storage::memory::MemState;
use axon_core::types::{LogIndex, RequestId, SessionId};
use axon_core::{Cluster, Config};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures_util::stream::{self, TryStreamExt};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SESSIONS: u64 = 3;
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;
/// Puts before anything is counted: the sessions' windows are filled, the keys there.
const WARMUP: u64 = 12_800;
/// Puts counted, and callers of the whole put.
const PUTS: u64 = 12_800;
const CALLERS: usize = 64;
/// The batch that counts: what those callers keep in flight.
const BATCH: u64 = 64;
/// What exactly once may add to a put's instructions.
const SHARE_MAX: f64 = 0.05;
/// Valgrind is some fifty times slower than the machine: nothing may run into a deadline there.
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Parser)]
#[command(about = "Counts what exactly once costs a put, in instructions; needs valgrind")]
struct Args {
    #[command(subcommand)]
    figure: Option<Figure>,
}

/// What is counted; the program calls itself with these.
#[derive(Subcommand, Clone, Copy)]
enum Figure {
    /// Applies puts in batches.
    Apply { batch: u64, once: u8 },
    /// Encodes puts.
    Encode { once: u8 },
    /// Puts through a cluster.
    Whole { replicas: u64, puts: u64 },
}

fn main() -> ExitCode {
    let done = match Args::parse().figure {
        None => report(),
        Some(Figure::Apply { batch, once }) => apply(batch, once != 0),
        Some(Figure::Encode { once }) => {
            encode(once != 0);
            Ok(true)
        }
        Some(Figure::Whole { replicas, puts }) => whole(replicas, puts),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints every figure; says whether the one with a limit is within it.
fn report() -> Result<bool, String> {
    let mut apply_adds = 0.0;
    for batch in [1, 16, BATCH] {
        let (without, with) = pair(&["apply", &batch.to_string()], "*apply_all*")?;
        apply_adds = with - without;
        println!(
            "apply, batches of {batch:2}: {without:.0} instructions a put without request ids, \
             {with:.0} with: {:+.1} % of apply",
            apply_adds / without * 100.0
        );
    }
    let (without, with) = pair(&["encode"], "*encode_all*")?;
    let encode_adds = with - without;
    println!("encode: {without:.0} instructions a put without request ids, {with:.0} with");
    let mut within = true;
    for replicas in [1, 3] {
        let replicas_text = replicas.to_string();
        let count = |puts: u64| counted(&["whole", &replicas_text, &puts.to_string()], None);
        let whole = (count(2 * PUTS)? as f64 - count(PUTS)? as f64) / PUTS as f64;
        let added = encode_adds + f64::from(replicas) * apply_adds;
        let share = added / (whole - added);
        let holds = share > 0.0 && share <= SHARE_MAX;
        within &= holds;
        println!(
            "a put, {replicas} replica(s): {whole:.0} instructions, {added:.0} of them for exactly once: \
             {:+.1} %, the limit is {:.0} %: {}",
            share * 100.0,
            SHARE_MAX * 100.0,
            if holds { "ok" } else { "FAILED" }
        );
    }
    Ok(within)
}

/// Instructions a put of one figure, without and with request ids.
fn pair(figure: &[&str], toggle: &str) -> Result<(f64, f64), String> {
    let count = |once: &str| {
        counted(&[figure, &[once]].concat(), Some(toggle)).map(|all| all as f64 / PUTS as f64)
    };
    Ok((count("0")?, count("1")?))
}

/// Runs this program under callgrind, and returns the instructions that it counted: those within the
/// function that `toggle` names, or all.
fn counted(arguments: &[&str], toggle: Option<&str>) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = std::process::Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(toggle.map(|function| format!("--toggle-collect={function}")));
    let output = valgrind.arg(own).args(arguments).output().map_err(|error| {
        format!("valgrind cannot be started: {error}; install it (apt-get install valgrind)")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    let count = line.and_then(|(_, count)| count.trim().parse().ok()).filter(|count| *count > 0);
    count
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("{arguments:?} under valgrind ended with {}: {said}", output.status))
}

/// The n-th put. Every session has as many requests in flight as its share of a batch.
fn put(number: u64, batch: u64, once: bool) -> Command {
    let sequence = number / SESSIONS + 1;
    let request = RequestId {
        session: SessionId(1 + number % SESSIONS),
        sequence,
        lowest_unacknowledged: sequence.saturating_sub(batch / SESSIONS).max(1),
    };
    let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    Command {
        request: once.then_some(request),
        op: Op::Put {
            key: Bytes::from(format!("key-{:012}", key % KEYS)),
            value: Bytes::from(vec![number as u8; VALUE_BYTES]),
        },
    }
}

type Batch = (Vec<StateEntry>, Position);

/// Batches of `commands` that begin at `first` in the log.
fn batches(first: u64, batch: u64, commands: impl Iterator<Item = Command>) -> Vec<Batch> {
    let entries: Vec<StateEntry> = (first..)
        .zip(commands)
        .map(|(index, command)| StateEntry {
            index: LogIndex(index),
            stamp_millis: index / BATCH,
            command: Some(codec::encode(&command)),
        })
        .collect();
    let opaque = Bytes::from_static(b"twenty-four opaque bytes");
    let chunks = entries.chunks(batch as usize);
    chunks
        .filter_map(|chunk| {
            let index = chunk.last()?.index;
            let position = Position { index, log_id: opaque.clone(), membership: opaque.clone() };
            Some((chunk.to_vec(), position))
        })
        .collect()
}

fn apply(batch: u64, once: bool) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let _inside = runtime.enter();
    let (_durable, receiver) = watch::channel(LogIndex(u64::MAX));
    let config = StateConfig {
        checkpoint_bytes: usize::MAX / 2,
        overlay_bytes_max: usize::MAX,
        checkpoint_interval: Duration::from_hours(1),
        ..StateConfig::default()
    };
    let mut state = State::open(Arc::new(MemState::new()), receiver, config)
        .map_err(|error| error.to_string())?;
    let open = |_| Command { request: None, op: Op::OpenSession };
    let mut before = batches(1, SESSIONS, (0..SESSIONS).map(open));
    let puts = |from: u64, until: u64| (from..until).map(move |number| put(number, batch, once));
    before.extend(batches(1 + SESSIONS, batch, puts(0, WARMUP)));
    for (entries, position) in before {
        state.apply(&entries, position).map_err(|error| error.to_string())?;
    }
    let counted = batches(1 + SESSIONS + WARMUP, batch, puts(WARMUP, WARMUP + PUTS));
    apply_all(&mut state, counted);
    Ok(true)
}

#[inline(never)]
fn apply_all(state: &mut State, batches: Vec<Batch>) {
    for (entries, position) in batches {
        black_box(state.apply(&entries, position).expect("puts apply"));
    }
}

fn encode(once: bool) {
    let commands: Vec<Command> = (WARMUP..WARMUP + PUTS).map(|n| put(n, BATCH, once)).collect();
    encode_all(&commands);
}

#[inline(never)]
fn encode_all(commands: &[Command]) {
    for command in commands {
        black_box(codec::encode(command));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn whole(replicas: u64, puts: u64) -> Result<bool, String> {
    let told = |error: axon_core::Error| error.to_string();
    let mut clusters: Vec<Cluster> = Vec::new();
    for number in 1..=replicas {
        let origin = match clusters.first() {
            Some(first) => {
                Origin::Join(vec![first.members().map_err(told)?[0].member.peer_address.clone()])
            }
            None => Origin::Init(None),
        };
        let config = Config {
            name: format!("node{number}"),
            listen: Some("127.0.0.1:0".into()),
            origin,
            request_timeout: PATIENCE,
            heartbeat_interval: Duration::from_secs(1),
            election_timeout_min: Duration::from_secs(10),
            election_timeout_max: Duration::from_secs(15),
            ..Config::default()
        };
        let cluster = Cluster::start(config).await.map_err(told)?;
        cluster.wait_ready(PATIENCE).await.map_err(told)?;
        clusters.push(cluster);
    }
    let stores: Vec<_> = clusters.iter().map(Cluster::store).collect();
    stream::iter((0..puts).map(Ok))
        .try_for_each_concurrent(CALLERS, async |number| {
            let Op::Put { key, value } = put(number, BATCH, false).op else { return Ok(()) };
            stores[(number % replicas) as usize].put(key, value).await.map(drop)
        })
        .await
        .map_err(told)?;
    for cluster in clusters.iter().rev() {
        cluster.shutdown().await.map_err(told)?;
    }
    Ok(true)
}
