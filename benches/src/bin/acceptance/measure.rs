//! What a node takes of its machine: memory, CPU, disk.

use crate::rig::Node;
use crate::{Check, files};
use axon_benches::trial;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Clock ticks a second in `/proc`; fixed on Linux.
const TICKS: f64 = 100.0;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Memory of a node's process, in MiB.
pub fn rss_mib(node: &Node) -> Check<f64> {
    trial::rss_mib(node.pid.ok_or_else(|| format!("{} shows no pid", node.id))?)
}

/// CPU time of a node's process, user and system.
pub fn cpu_seconds(node: &Node) -> Check<f64> {
    let stat = proc_file(node, "stat")?;
    // The name in parentheses may hold anything; user and system time are the 14th and 15th field.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

fn proc_file(node: &Node, name: &str) -> Check<String> {
    let pid = node.pid.ok_or_else(|| format!("{} shows no pid", node.id))?;
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

/// What the files under `directory` take on the disk, in MiB: of the state, and of the rest.
pub fn disk_mib(directory: &Path) -> Check<(f64, f64)> {
    let (mut state, mut rest) = (0, 0);
    for path in files::all(directory)? {
        // A segment of the log may be gone by now.
        let bytes = path.metadata().map_or(0, |file| file.blocks() * 512);
        let name = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy();
        if name.contains("state") { state += bytes } else { rest += bytes }
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok((mib(state), mib(rest)))
}

/// Watches the memory of a node's process.
pub struct Peak {
    kib: Arc<AtomicU64>,
    sampler: JoinHandle<()>,
}

impl Peak {
    /// Begins to watch.
    pub fn watch(node: &Node) -> Self {
        let kib = Arc::new(AtomicU64::new(0));
        let (node, seen) = (node.clone(), Arc::clone(&kib));
        let sampler = tokio::spawn(async move {
            while let Ok(now) = rss_mib(&node) {
                seen.fetch_max((now * 1024.0) as u64, Ordering::Relaxed);
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
        });
        Self { kib, sampler }
    }

    /// The most that it was, in MiB.
    pub fn mib(self) -> f64 {
        self.sampler.abort();
        self.kib.load(Ordering::Relaxed) as f64 / 1024.0
    }
}
