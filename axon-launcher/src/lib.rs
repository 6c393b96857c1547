//! Runs an Axon cluster on one machine: starts its nodes, keeps them running, adds and removes
//! nodes, and serves the dashboard.
//!
//! Made for development, demonstrations and single-machine use: one command, and a cluster of three
//! replicas answers. Each node is an `axon-server` process of its own, with its own directory and
//! ports, exactly as it would run on a machine of its own.
//!
//! | module | what it hides |
//! |---|---|
//! | [`args`] | the command line |
//! | [`manifest`] | how the desired cluster is kept on disk |
//! | [`directory`] | paths, the lock, what may be deleted |
//! | [`logs`] | log files and their rotation |
//! | [`process`] | how the operating system runs things |
//! | [`probe`] | how to ask a node how it is |
//! | [`lifecycle`] | what follows from what in a process's life; pure |
//! | [`node`] | one node's task: when things are done |
//! | [`report`], [`roster`], [`health`] | the cluster as the launcher sees it, for the first API and for `/api/v1`; pure |
//! | [`events`], [`gather`] | what happened, kept; the nodes' own events among it, each thing once |
//! | [`live`], [`samples`] | the cluster as it is now, for whoever watches it; what each node did in the last second |
//! | [`proc`] | what the operating system says of a process |
//! | [`formation`] | how the cluster is made, once, whatever interrupts it |
//! | [`supervisor`] | how N processes become and stay one cluster |
//! | [`quorum`] | what an action does to the quorum, and whether it is carried out; pure |
//! | [`operations`] | what takes a while: steps, progress, cancelling |
//! | [`actions`], [`handling`] | what people ask of nodes: decided and begun; carried out |
//! | [`decommission`] | taking a node out for good |
//! | [`proxy`] | which node answers for the cluster |
//! | [`secret`] | how tokens and secrets are kept in files |
//! | [`guard`], [`session`], [`sign_in`] | who may ask |
//! | [`serve`], [`problem`], [`api`], [`ui`] | HTTP: connections, faults, control API, dashboard |
//! | [`recover`] | a new cluster out of what is left of one |
//!
//! The launcher holds no data and takes no part in consensus. If it is killed, the cluster goes
//! on; the next launcher takes the nodes over.

#![deny(missing_docs)]

pub mod actions;
pub mod api;
pub mod args;
pub mod decommission;
pub mod directory;
pub mod events;
pub mod formation;
pub mod gather;
pub mod guard;
pub mod handling;
pub mod health;
pub mod lifecycle;
pub mod live;
pub mod logs;
pub mod manifest;
pub mod node;
pub mod operations;
pub mod probe;
pub mod problem;
pub mod proc;
pub mod process;
pub mod proxy;
pub mod quorum;
pub mod recover;
pub mod report;
pub mod roster;
pub mod samples;
pub mod secret;
pub mod serve;
pub mod session;
pub mod sign_in;
pub mod supervisor;
pub mod ui;
pub mod wire;

use args::{Args, TOKEN_VARIABLE, find_server};
use directory::DataDir;
use guard::Access;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;
use supervisor::{Setup, Supervisor};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use ui::Ui;

/// How the launcher ends when it is told to stop twice.
const KILLED: u8 = 130;

/// Runs the launcher until it is told to stop.
///
/// # Errors
/// A sentence for people, when the cluster cannot be started.
pub async fn run(args: Args) -> Result<ExitCode, String> {
    if let Some(args::Command::Recover { yes }) = &args.command {
        let server = find_server(args.server_bin.as_deref())?;
        return recover::run(&args.data_dir, &server, yes.as_deref());
    }
    let begun = Instant::now();
    let mut signals =
        Signals::new().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let access = Access::choose(&args, std::env::var_os(TOKEN_VARIABLE))?;
    let server = find_server(args.server_bin.as_deref())?;
    let ui = Ui::choose(args.ui_dir.as_deref())?;
    // First of all: a second launcher must hear who holds the directory, not that a port is taken.
    let data = DataDir::open(&args.data_dir).map_err(|error| error.to_string())?;
    recover::refuse_unfinished(&data)?;
    let (listener, address) = listen(args.listen).await?;
    let holder = format!("process {}, dashboard http://{address}", std::process::id());
    if let Err(error) = data.sign(&holder) {
        tracing::warn!(%error, "cannot write into the lock who holds it");
    }
    let (base_port, nodes) = (args.base_port, args.nodes);
    let setup = Setup { data, server, base_port, nodes, access };
    let supervisor = Supervisor::open(setup).map_err(|error| error.to_string())?;
    let app = api::router(supervisor.clone(), ui);
    let serving = tokio::spawn(serve::serve(listener, app));

    let told = tokio::select! {
        launched = supervisor.launch() => {
            launched.map_err(|error| error.to_string())?;
            introduce(&supervisor, address);
            tokio::select! {
                told = signals.next() => told,
                never = say_when_ready(&supervisor, begun) => match never {},
            }
        }
        told = signals.next() => told,
    };
    say(&format!("{told}: stopping all nodes; once more kills them"));
    let code = tokio::select! {
        () = supervisor.shutdown() => {
            supervisor.farewell().await;
            say("stopped");
            ExitCode::SUCCESS
        }
        _ = signals.next() => {
            supervisor.kill().await;
            supervisor.farewell().await;
            say("killed");
            ExitCode::from(KILLED)
        }
    };
    // Until here the dashboard showed the nodes going.
    serving.abort();
    Ok(code)
}

async fn listen(asked: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let listener = TcpListener::bind(asked).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "{asked} is taken by another process; choose another address for the dashboard with --listen"
        ),
        _ => format!("cannot listen on {asked}: {error}"),
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, address))
}

fn introduce(supervisor: &Supervisor, address: SocketAddr) {
    let manifest = supervisor.manifest();
    say(&format!("Axon cluster {}", manifest.cluster_id));
    say(&format!("  {:<14} http://{address}", "dashboard"));
    for node in &manifest.nodes {
        let stopped = match node.desired {
            manifest::Desired::Running => "",
            manifest::Desired::Stopped => "  (stopped on request)",
        };
        say(&format!("  {:<14} http://127.0.0.1:{}{stopped}", node.name.as_str(), node.api_port));
    }
}

async fn say_when_ready(supervisor: &Supervisor, begun: Instant) -> std::convert::Infallible {
    let leader = supervisor.until_leader().await;
    say(&format!("ready in {:.1} s, leader {leader}", begun.elapsed().as_secs_f64()));
    let voters = supervisor.until_complete().await;
    say(&format!("complete in {:.1} s, {voters} voters", begun.elapsed().as_secs_f64()));
    std::future::pending().await
}

/// Prints a line for people. Nobody may be reading any more, which is no reason to stop.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "asked to stop",
            _ = self.hang_up.recv() => "the terminal is gone",
        }
    }
}
