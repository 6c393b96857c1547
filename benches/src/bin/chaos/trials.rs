//! R4 and R5: clients at work on a cluster that faults befall, and the judge of what they were told.

use crate::clients::Clients;
use crate::cluster::{Cluster, Surroundings};
use crate::faults::{Count, Fault, Faults, OF_CLOCKS, OF_PROCESSES, OF_THE_NETWORK};
use axon_benches::trial::mount::command;
use axon_benches::trial::{Check, clocks};
use axon_core::testing::history::{Checker, History, Outcome, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is to be tried.
pub struct Trial<'a> {
    pub binary: &'a Path,
    pub parent: Option<&'a Path>,
    pub seconds: u64,
    pub seed: u64,
    pub keep: bool,
}

impl Trial<'_> {
    /// Tries `what` on a cluster in `surroundings`, and tells under `goal` what came of it. The cluster's
    /// directory stays when that was no good.
    pub async fn on(
        &self,
        goal: &str,
        surroundings: Surroundings,
        what: impl AsyncFnOnce(&mut Cluster) -> Check<String>,
    ) -> Check {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let started = Cluster::start(self.binary, self.parent, &mut rng, surroundings).await;
        let mut cluster = started.map_err(|what| format!("{goal}: {what}"))?;
        let tried = what(&mut cluster).await;
        if tried.is_err() || self.keep {
            cluster.keep();
        }
        println!("{goal} {}", tried.map_err(|what| format!("{goal}: {what}"))?);
        cluster.end().await
    }

    /// Kill, pause, wipe, a full disk.
    pub async fn r4(&self) -> Check {
        let small_disk = can_mount();
        let surroundings = Surroundings { small_disk, ..Surroundings::default() };
        let kinds =
            OF_PROCESSES.into_iter().filter(|fault| small_disk || *fault != Fault::DiskFull);
        self.run("R4", kinds.collect(), surroundings).await
    }

    /// The same, with a network that is cut and loses, and clocks that jump.
    pub async fn r5(&self) -> Check {
        let number = StdRng::seed_from_u64(self.seed ^ u64::from(std::process::id()));
        let number = { number }.random_range(1..250);
        let mut kinds = vec![Fault::KillLeader, Fault::PauseLeader];
        // Made once to see whether it can be.
        let network = match crate::network::Network::open(crate::cluster::NODES, number) {
            Ok(_) => Some(number),
            Err(why) => {
                println!("R5: LEFT OUT: cuts and loss: no network of our own ({why})");
                None
            }
        };
        if network.is_some() {
            kinds.extend(OF_THE_NETWORK);
        }
        let clocks = clocks::library();
        if clocks.is_some() {
            kinds.extend(OF_CLOCKS);
        } else {
            println!("R5: LEFT OUT: clock jumps: there is no libfaketime (make chaos-tools)");
        }
        let surroundings = Surroundings { network, clocks, ..Surroundings::default() };
        self.run("R5", kinds, surroundings).await
    }

    async fn run(&self, goal: &str, kinds: Vec<Fault>, mut surroundings: Surroundings) -> Check {
        let mut rng = StdRng::seed_from_u64(self.seed);
        surroundings.more.extend(["--request-timeout", "2s"].map(str::to_owned));
        let started = Cluster::start(self.binary, self.parent, &mut rng, surroundings).await;
        let mut cluster = started.map_err(|what| format!("{goal}: {what}"))?;
        println!("{goal}: three nodes in {}", cluster.root().display());
        let clients = Clients::start(&cluster.http, cluster.places(), self.seed);
        let mut faults = Faults::new(kinds, rng);
        let begun = Instant::now();
        let mut befallen = Ok(());
        while begun.elapsed() < Duration::from_secs(self.seconds)
            && befallen.is_ok()
            && !clients.has_failed()
        {
            befallen = faults.next(&mut cluster).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let judged = async {
            befallen?;
            cluster.start_all()?;
            cluster.until_ready().await?;
            let history = clients.end().await?;
            let hashes = cluster.settle().await?;
            let verdict = judge(goal, cluster.root(), &history)?;
            println!("{goal} {}; {hashes}", told(seconds, &history, &faults.count, &verdict));
            Ok(())
        };
        let outcome: Check = judged.await;
        if outcome.is_err() || self.keep {
            cluster.keep();
        }
        outcome.map_err(|what| format!("{goal}: {what}"))?;
        cluster.end().await
    }
}

/// Reports whether a small disk can be made; says so, if not.
fn can_mount() -> bool {
    let tried = tempfile::tempdir().map_err(|error| error.to_string()).and_then(|directory| {
        let path = directory.path().to_string_lossy().into_owned();
        command("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &path])?;
        command("umount", &[&path])
    });
    if let Err(why) = &tried {
        println!("R4: LEFT OUT: a full disk: nothing can be mounted ({why})");
    }
    tried.is_ok()
}

/// Says what was broken, if anything was.
fn judge(goal: &str, root: &Path, history: &History) -> Check<String> {
    match Checker::new().check(history) {
        Verdict::Valid(stats) => Ok(format!(
            "linearizable, acknowledged writes lost 0 ({} of {} open ones happened)",
            stats.happened, stats.unknown
        )),
        Verdict::Undecided(stats) => {
            Err(format!("the judge could not decide, after {} states", stats.states))
        }
        Verdict::Violation(violation) => {
            let file = root.join(format!("{goal}-history.json"));
            let _ = std::fs::write(&file, &violation.json);
            Err(format!("{violation}the whole history: {}", file.display()))
        }
    }
}

fn told(seconds: f64, history: &History, faults: &Count, verdict: &str) -> String {
    let (mut done, mut refused, mut open) = (0, 0, 0);
    for operation in &history.operations {
        match operation.outcome {
            Outcome::Ok(_) => done += 1,
            Outcome::Failed => refused += 1,
            Outcome::Unknown => open += 1,
        }
    }
    let kinds: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(
        "{seconds:.0} s, {} operations ({done} answered, {refused} refused, {open} open), {} faults \
         ({}): {verdict}",
        history.operations.len(),
        faults.values().sum::<usize>(),
        kinds.join(", "),
    )
}
