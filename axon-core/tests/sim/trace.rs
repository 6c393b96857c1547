//! What happened in a run: lines for people, and a hash over everything for the proof of a replay.
//!
//! The hash covers every line with its time, and every frame between replicas with its bytes: two runs
//! of equal hash did the same at the same moments. `SIM_FRAMES=1` writes the frames down, too, to
//! find where two runs part.

use axon_core::runtime;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The lines that are printed when a run fails; all of them are in its file.
const SHOWN: usize = 120;

/// The trace of one run. Cheap to clone.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    begun: Instant,
    lines: Vec<String>,
    hash: DefaultHasher,
    frames: bool,
    /// The last moment that was given out, in microseconds.
    clock: u64,
    root: String,
}

impl Trace {
    /// `root` is where the run keeps its files: no two runs have the same, so it is left out.
    pub fn new(root: &str) -> Self {
        let frames = std::env::var("SIM_FRAMES").is_ok_and(|frames| frames == "1");
        let (begun, hash) = (runtime::now(), DefaultHasher::new());
        Self(Arc::new(Mutex::new(Inner {
            begun,
            lines: Vec::new(),
            hash,
            frames,
            clock: 0,
            root: root.to_owned(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what happened now.
    pub fn note(&self, what: impl AsRef<str>) {
        let mut inner = self.inner();
        let micros = inner.micros();
        let what = what.as_ref().replace(&inner.root, "");
        (micros, &what).hash(&mut inner.hash);
        inner.line(micros, &what);
    }

    /// Takes note of a frame that is sent.
    pub fn frame(&self, way: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        let micros = inner.micros();
        let bytes = &*without(bytes, inner.root.as_bytes());
        (micros, way, bytes).hash(&mut inner.hash);
        if inner.frames {
            let mut sum = DefaultHasher::new();
            bytes.hash(&mut sum);
            let line = format!("  frame {way} {} bytes {:016x}", bytes.len(), sum.finish());
            inner.line(micros, &line);
        }
    }

    /// A moment that is later than every one that was given out before: on one thread the order of
    /// these calls is the order of what happened, though the simulated clock stands still between.
    pub fn moment(&self) -> u64 {
        let mut inner = self.inner();
        inner.clock = inner.micros().max(inner.clock + 1);
        inner.clock
    }

    /// The hash of all so far.
    pub fn hash(&self) -> u64 {
        self.inner().hash.finish()
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.inner().lines.join("\n")
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let inner = self.inner();
        let lines = &inner.lines;
        let from = lines.len().saturating_sub(SHOWN);
        lines[from..].join("\n")
    }
}

/// `bytes`, of which `root` is overwritten: why a replica halted is told with the path of a file.
fn without<'a>(bytes: &'a [u8], root: &[u8]) -> Cow<'a, [u8]> {
    let mut bytes = Cow::Borrowed(bytes);
    while let Some(at) = bytes.windows(root.len()).position(|window| window == root) {
        bytes.to_mut()[at..at + root.len()].fill(0);
    }
    bytes
}

impl Inner {
    fn micros(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn line(&mut self, micros: u64, what: &str) {
        let mut line = String::with_capacity(what.len() + 16);
        let _ = write!(line, "{:>5}.{:03} s  {what}", micros / 1_000_000, micros / 1_000 % 1_000);
        self.lines.push(line);
    }
}
