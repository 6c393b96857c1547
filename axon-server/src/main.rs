//! The process around one replica: signals, exit codes, and one clear line when it cannot go on.
//!
//! Order matters at the start: addresses are taken before the data directory is opened, so that a
//! second start of the same node, or a typing error, leaves everything on disk as it was. And at the
//! end: requests in flight are finished before the replica hands leadership over and stops.

use axon_core::types::NodeId;
use axon_core::{Cluster, Error};
use axon_server::args::{self, Command, HostPort, LogFormat, Refusal, Settings};
use axon_server::offline;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

// Puts by 64 clients take about a tenth less of the processors than with the system's allocator, and the
// memory of a node that has worked comes back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long a replica may take to hand over leadership and write its checkpoint. What it misses then is
/// in the log.
const REPLICA_SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// How long requests are still answered after the replica has stopped by itself: their answers are
/// errors, and ready.
const HALT_GRACE: Duration = Duration::from_millis(250);

/// Why the process ends otherwise than as asked: an exit code and a line.
#[derive(Debug)]
struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    const FAULT: u8 = 1;
    const USAGE: u8 = 2;
    const HALTED: u8 = 3;
    const REMOVED: u8 = 4;

    fn fault(line: impl Into<String>) -> Self {
        Self { code: Self::FAULT, line: line.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Halted { .. } => Self::HALTED,
            Error::Removed { .. } => Self::REMOVED,
            Error::Config(_) => Self::USAGE,
            _ => Self::FAULT,
        };
        let advice = match &error {
            Error::Removed { id: NodeId(id) } => {
                format!("; id {id} is never used again: to come back, join with an empty directory")
            }
            _ => String::new(),
        };
        Self { code, line: format!("{error}{advice}") }
    }
}

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os(), &|name| std::env::var_os(name)) {
        Ok(command) => command,
        Err(Refusal::Text(text)) => {
            // A reader that closed its end early has seen what it wanted.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Usage(line)) => {
            return end(Err(Failure { code: Failure::USAGE, line }), LogFormat::Text);
        }
    };
    let format = match &command {
        Command::Init(settings) | Command::Run(settings) => settings.log_format,
        Command::Restore(_) | Command::Recover(_) => LogFormat::Text,
    };
    end(execute(&command), format)
}

fn execute(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init(settings) | Command::Run(settings) => {
            start_logging(&settings.log, settings.log_format)?;
        }
        // Their words are their output; what goes wrong is in it.
        Command::Restore(_) | Command::Recover(_) => start_logging("error", LogFormat::Text)?,
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::fault(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Init(settings) => init(settings).await,
            Command::Run(settings) => run(settings).await,
            Command::Restore(restore) => Ok(offline::restore(restore)?),
            Command::Recover(recover) => Ok(offline::recover(recover).await?),
        }
    });
    // A thread that hangs in the disk must not keep a stopped replica from exiting.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// Says why the process ends, whatever the log's filter lets through, in the log's own format.
fn end(result: Result<(), Failure>, format: LogFormat) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let line = failure.line.replace('\n', " ");
    match format {
        LogFormat::Text => eprintln!("axon-server: {line}"),
        LogFormat::Json => eprintln!("{}", json_line(&line, failure.code)),
    }
    ExitCode::from(failure.code)
}

/// A line as the JSON log has them.
fn json_line(message: &str, exit_code: u8) -> String {
    let mut timestamp = String::new();
    // A clock that cannot be shown is no reason to lose the line.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let line = serde_json::json!({
        "timestamp": timestamp,
        "level": "ERROR",
        "fields": { "message": message, "exit_code": exit_code },
        "target": "axon_server",
    });
    line.to_string()
}

fn start_logging(log: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(log).map_err(|error| Failure {
        code: Failure::USAGE,
        line: format!("--log: {log:?} is no filter: {error}; write info, or info,axon_core=debug"),
    })?;
    let filter = without_raft_steps(filter, log);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            subscriber.with_ansi(colours).init();
        }
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Leaves out what the Raft engine says, unless `asked` names it: dumps of its state at its every step,
/// and an error for each peer that is away or call that a stop cut off. What matters to an operator,
/// a fault above all, is said by Axon itself.
fn without_raft_steps(filter: EnvFilter, asked: &str) -> EnvFilter {
    let chatty = filter.max_level_hint().is_none_or(|most| most > LevelFilter::WARN);
    if !chatty || asked.contains("openraft") {
        return filter;
    }
    filter.add_directive("openraft=off".parse().expect("this is a directive"))
}

async fn init(settings: &Settings) -> Result<(), Failure> {
    let cluster_id = Cluster::init(settings.init_config()).await?;
    writeln!(io::stdout(), "{cluster_id}")
        .map_err(|error| Failure::fault(format!("cluster {cluster_id} is made, but: {error}")))
}

async fn run(settings: &Settings) -> Result<(), Failure> {
    let listener = listen(&settings.listen, "--listen").await?;
    // Core opens this one by itself. Trying it first keeps the directory closed when it is taken.
    drop(listen(&settings.peer_listen, "--peer-listen").await?);
    let api = listener.local_addr().map_err(|error| {
        Failure::fault(format!("the address of {} is gone: {error}", settings.listen))
    })?;
    refuse_nothing_to_resume(settings)?;
    let mut signals = Signals::new()?;

    let config = settings.run_config(api.port());
    let told = config.api_address.clone();
    let cluster = tokio::select! {
        started = Cluster::start(config) => started?,
        // Recovery may take long. Giving it up is what a crash does, and as safe.
        signal = signals.next() => {
            tracing::info!(signal, "stopped before the replica had started");
            return Ok(());
        }
    };
    let version = axon_server::wire::VERSION;
    tracing::info!(name = settings.name, %api, told, version, "serving");
    if settings.insecure {
        tracing::warn!("--insecure: whoever reaches this node may be served without being asked");
    }

    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        // A sender that is gone asks for the same.
        let _: Result<(), _> = stopped.await;
    };
    let server = axon_server::serve(cluster.clone(), listener, settings.options(), shutdown);
    let mut server = tokio::spawn(server);
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping: finishing what is in flight");
            let _ = stop.send(());
            let orderly = async {
                let cut_off = server.await.unwrap_or(0);
                if cut_off > 0 {
                    tracing::warn!(connections = cut_off, "cut off what did not finish in time");
                }
                shut_down(&cluster).await
            };
            tokio::select! {
                result = orderly => result,
                signal = signals.next() => Err(Failure::fault(format!(
                    "a second {signal}: stopped at once; the next start recovers from the log"
                ))),
            }
        }
        reason = cluster.stopped() => {
            let _ = stop.send(());
            let _ = timeout(HALT_GRACE, &mut server).await;
            Err(reason.into())
        }
        ended = &mut server => {
            let reason = ended.err().map_or_else(String::new, |error| format!(": {error}"));
            Err(Failure::fault(format!("the HTTP server ended by itself{reason}")))
        }
    }
}

async fn shut_down(cluster: &Cluster) -> Result<(), Failure> {
    match timeout(REPLICA_SHUTDOWN_MAX, cluster.shutdown()).await {
        Ok(Ok(())) => {
            tracing::info!("stopped");
            Ok(())
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::fault(format!(
            "the replica did not stop within {} s; the next start recovers from the log",
            REPLICA_SHUTDOWN_MAX.as_secs()
        ))),
    }
}

async fn listen(address: &HostPort, option: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address.to_string()).await.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => "stop what uses it, or choose another address",
            ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose an address of this machine",
        };
        Failure::fault(format!("cannot listen on {address}: {error}; {advice} ({option})"))
    })
}

/// Refuses a directory that has nothing in it, when there is nobody to join: `run` makes no cluster.
fn refuse_nothing_to_resume(settings: &Settings) -> Result<(), Failure> {
    if !settings.join.is_empty() || !is_empty(&settings.data_dir)? {
        return Ok(());
    }
    Err(Failure::fault(format!(
        "there is no replica in {}: make a new cluster with `axon-server init`, or join one with --join",
        settings.data_dir.display()
    )))
}

fn is_empty(directory: &Path) -> Result<bool, Failure> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::fault(format!(
            "cannot read {}: {error}; give a directory that this user owns (--data-dir)",
            directory.display()
        ))),
    }
}

/// The signals that ask the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let handle = |kind| {
            signal(kind).map_err(|error| Failure::fault(format!("cannot handle signals: {error}")))
        };
        let terminate = handle(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: handle(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
