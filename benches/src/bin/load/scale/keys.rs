//! More keys in one embedded replica: what filling, a read, a write, memory and files cost, and how long
//! it takes until a replica that was killed serves again.
//!
//! The replica is in a process of its own (`holder`), and is killed with SIGKILL while 64 clients write
//! as fast as they can. What the kernel has in its cache stays there: this is the death of a process, not
//! of a machine. The time runs from the start of the new process to the moment at which it has read a
//! key that the old one wrote, linearizably, and has written one.

use super::{Args, add};
use crate::figures::median;
use crate::nodes::await_death;
use crate::system::Rig;
use crate::table::{Table, columns};
use crate::{Check, proc};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const VALUE_BYTES: usize = 256;

/// Clients of what is measured at full load, and of what is killed.
const CLIENTS: usize = 64;

/// How long it is written to before a kill: some seconds of writes are not in a checkpoint then.
const BEFORE_KILL: Duration = Duration::from_secs(1);

/// How long filling may take, and all else: ten million keys are a quarter of an hour.
const PATIENCE: Duration = Duration::from_hours(2);

const COLUMNS: [(&str, &str); 15] = [
    ("fill_keys_per_second", "filled/s"),
    ("local_get_p50_us", "local get us"),
    ("get_p50_us", "get us"),
    ("get_p99_us", "get p99 us"),
    ("put_p50_us", "put us"),
    ("put_p99_us", "put p99 us"),
    ("gets_per_second", "gets/s, 64"),
    ("puts_per_second", "puts/s, 64"),
    ("put_cpu_us", "CPU us/put, 64"),
    ("restart_ms", "restart ms"),
    ("memory_mib", "MiB"),
    ("memory_after_restart_mib", "MiB, restarted"),
    ("state_mib", "state MiB"),
    ("log_mib", "log MiB"),
    ("state_bytes_per_key", "state B/key"),
];

/// The table that is filled.
pub fn table() -> Table {
    Table {
        name: "keys",
        title: format!(
            "Keys of 16 bytes with values of {VALUE_BYTES}, one replica that keeps no history"
        ),
        axis: "keys",
        columns: columns(&COLUMNS),
        rows: Vec::new(),
        charts: [
            ("microseconds of one client", vec!["local_get_p50_us", "get_p50_us", "put_p50_us"]),
            ("restart in ms, memory in MiB", vec!["restart_ms", "memory_mib"]),
        ],
    }
}

/// Adds a row for each number of keys.
pub async fn measure(args: &Args, rig: &Rig, table: &mut Table) -> Check {
    std::fs::create_dir_all(&rig.directory)
        .map_err(|error| format!("{}: {error}", rig.directory.display()))?;
    proc::check_disk(&rig.directory)?;
    for keys in &args.keys {
        let directory = tempfile::Builder::new().prefix("axon-scale-").tempdir_in(&rig.directory);
        let directory = directory.map_err(|error| format!("no directory: {error}"))?;
        // Dropped before its directory.
        let values = place(args, *keys, &directory.path().join("data")).await?;
        add(table, keys, values);
    }
    Ok(())
}

async fn place(args: &Args, keys: u64, data: &Path) -> Check<Vec<Option<f64>>> {
    let (mut holder, _) = Holder::start(args, keys, data, false).await?;
    let filled = number(&holder.tell("fill").await?, "seconds")?;
    let mut told = Vec::new();
    for (op, clients) in
        [("local-get", 1), ("get", 1), ("put", 1), ("get", CLIENTS), ("put", CLIENTS)]
    {
        told.push(holder.tell(&format!("{op} {clients} {}", args.seconds)).await?);
    }
    let us = |of: usize, name: &str| Ok::<_, String>(number(&told[of], name)? * 1e3);
    let memory = holder.memory_mib()?;
    let (mut restarts, mut memories) = (Vec::new(), Vec::new());
    for _ in 0..args.restarts {
        holder.say(&format!("put {CLIENTS} 3600")).await?;
        tokio::time::sleep(Duration::from_secs_f64(args.warmup) + BEFORE_KILL).await;
        holder.kill().await?;
        let (next, took) = Holder::start(args, keys, data, true).await?;
        holder = next;
        restarts.push(took.as_secs_f64() * 1e3);
        memories.push(holder.memory_mib()?);
    }
    let state = size_mib(&data.join("state.redb"))?;
    Ok(vec![
        Some(keys as f64 / filled),
        Some(us(0, "p50_ms")?),
        Some(us(1, "p50_ms")?),
        Some(us(1, "p99_ms")?),
        Some(us(2, "p50_ms")?),
        Some(us(2, "p99_ms")?),
        Some(number(&told[3], "operations_per_second")?),
        Some(number(&told[4], "operations_per_second")?),
        Some(number(&told[4], "server_cpu_us_per_operation")?),
        median(restarts),
        Some(memory),
        median(memories),
        Some(state),
        Some(size_mib(&data.join("log"))?),
        Some(state * f64::from(1 << 20) / keys as f64),
    ])
}

/// A process that holds a replica. Dropped, it is killed.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    /// Starts one; how long it took until it served.
    async fn start(args: &Args, keys: u64, data: &Path, filled: bool) -> Check<(Self, Duration)> {
        let program =
            std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let mut command = Command::new(program);
        command.arg("holder").arg("--data-dir").arg(data);
        command.args(["--keys", &keys.to_string(), "--value-bytes", &VALUE_BYTES.to_string()]);
        command.args(["--seed", &args.seed.to_string(), "--warmup", &args.warmup.to_string()]);
        command.args(["--deadline", &args.deadline.to_string()]);
        if filled {
            command.arg("--filled");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("no holder: {error}"))?;
        let input = child.stdin.take().expect("it was piped");
        let output = child.stdout.take().expect("it was piped");
        let mut holder = Self { child, input, output: BufReader::new(output).lines() };
        let serving = holder.hear().await?;
        let took = begun.elapsed();
        if serving["serving"] != true {
            return Err(format!("a holder said {serving}"));
        }
        Ok((holder, took))
    }

    /// Says a line, and waits for the answer.
    async fn tell(&mut self, line: &str) -> Check<Value> {
        self.say(line).await?;
        self.hear().await
    }

    async fn say(&mut self, line: &str) -> Check {
        let said = self.input.write_all(format!("{line}\n").as_bytes()).await;
        said.map_err(|error| format!("the holder does not listen: {error}"))
    }

    async fn hear(&mut self) -> Check<Value> {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line())
            .await
            .map_err(|_| format!("the holder is silent for {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("the holder cannot be heard: {error}"))?
            .ok_or("the holder ended by itself: what it said last is above")?;
        serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))
    }

    fn memory_mib(&self) -> Check<f64> {
        let id = self.child.id().ok_or("the holder has ended")?;
        Ok(proc::memory(id)? as f64 / f64::from(1 << 20))
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    async fn kill(mut self) -> Check {
        self.child.kill().await.map_err(|error| format!("the holder cannot be killed: {error}"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.start_kill();
        await_death("the holder", &mut self.child);
    }
}

fn number(told: &Value, name: &str) -> Check<f64> {
    told[name].as_f64().ok_or_else(|| format!("the holder did not say {name}: {told}"))
}

/// What a file, or all files of a directory, have in bytes.
fn size_mib(path: &Path) -> Check<f64> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = 0;
    let mut pending: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = std::fs::metadata(&path).map_err(told)?;
        if metadata.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(told)? {
                pending.push(entry.map_err(told)?.path());
            }
        } else {
            bytes += metadata.len();
        }
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}
