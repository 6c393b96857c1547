//! From the command line, the environment and a file to [`Settings`], checked together.
//!
//! Every option has one name in three spellings: `--data-dir`, `AXON_DATA_DIR`, and `data_dir` in the
//! TOML file. A flag wins over the environment, that over the file, that over the default. All three go
//! through the same parsers, and whatever is wrong is one line that names the option and what to do.
//! The token alone is never a value of its own: it is in a file, or in `AXON_TOKEN`. Nothing here touches
//! anything but the files that `--config`, `--secret-file` and `--token-file` name.

mod access;
mod offline;
mod settings;
mod values;

pub use offline::{Recover, Restore};
pub use settings::Settings;
pub use values::{Advertise, HostPort, LogFormat, Promotion, Span};

use axon_core::types::ClusterId;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, Command as Parser, FromArgMatches};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const PROGRAM: &str = "axon-server";

// Wrapped by hand: clap would wrap at the terminal's width and break the columns of the examples.
const AFTER_HELP: &str = "\
Every option is also an environment variable (--data-dir is AXON_DATA_DIR) and
a key of the TOML file that --config names (data_dir). A flag wins over the
environment, that over the file.

Making a cluster of three, each node on a machine of its own. First two files,
copied to each of them:
  umask 077; openssl rand -hex 32 > secret; openssl rand -hex 32 > token
Then, on one machine each:
  axon-server init --name node1 --data-dir ./data
  axon-server run --name node1 --data-dir ./data --listen 10.0.0.1:9000 \\
      --secret-file secret --token-file token
  axon-server run --name node2 --data-dir ./data --listen 10.0.0.2:9000 \\
      --secret-file secret --token-file token --join 10.0.0.1:9001
  axon-server run --name node3 --data-dir ./data --listen 10.0.0.3:9000 \\
      --secret-file secret --token-file token --join 10.0.0.1:9001

The same command line serves the first start and every restart. `run` never
makes a cluster, whatever the directory holds.

A backup is `curl -f http://HOST:PORT/v1/snapshot -o FILE`; `restore` makes a
new cluster of it. When the majority of a cluster is lost for good, `recover`
makes a new one of what is left: see `axon-server recover --help`.

The replicas prove the secret to each other; every request but /livez and
/readyz shows the token (Authorization: Bearer). AXON_TOKEN may hold it in place
of the file. On 127.0.0.1 neither is needed. Nothing is encrypted: use a network
on which nobody listens in.

Exit codes:
  0  stopped as asked (SIGTERM, SIGINT), or done
  1  it could not start, or not stop in order
  2  a mistake in the command line, the environment or the file
  3  the replica halted after a fault, often of its disk: look at the last
     line that it wrote, then start it again
  4  the replica was removed from its cluster: do not start it again";

/// What the program is asked to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Make a cluster.
    Init(Settings),
    /// Run a replica.
    Run(Settings),
    /// Make a cluster of a backup.
    Restore(Restore),
    /// Make a cluster of what is left of one.
    Recover(Recover),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A text was asked for (`--help`, `--version`): it goes to the standard output.
    Text(String),
    /// Something is wrong with what was asked: one line.
    Usage(String),
}

/// The options, as far as one source gives them.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Layer {
    /// The replica's name: 1 to 32 of a-z, 0-9 and '-'. Stays the same for the life of the directory
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Where the replica keeps its identity, log and state. One directory, one replica
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The cluster id to give the new cluster, 32 hexadecimal digits [default: random]
    #[arg(long, value_name = "ID")]
    #[serde(deserialize_with = "values::optional")]
    cluster_id: Option<ClusterId>,

    /// Where the HTTP API listens [default: 127.0.0.1:9000]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<HostPort>,

    /// Where other replicas connect to [default: the host of --listen, its port + 1]
    #[arg(long, value_name = "HOST:PORT")]
    peer_listen: Option<HostPort>,

    /// The address that others are told to reach this node by, when it is not the one it listens on
    /// (a wildcard such as 0.0.0.0, a container, NAT). HOST alone keeps the ports. With PORT, the API is
    /// told as HOST:PORT, and the peer address as HOST and PORT + 1 [default: the listen addresses]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<Advertise>,

    /// The peer address that others are told, when --advertise does not give the right one
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertise: Option<HostPort>,

    /// Peer addresses of members to join through, when the directory is empty; it knocks until it is let
    /// in. Has no effect once the replica is a member
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    join: Option<Vec<HostPort>>,

    /// When a joined replica becomes a voter: `auto` (once it has caught up), `manual` or
    /// `never` [default: auto]
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    promotion: Option<Promotion>,

    /// How long a request may wait for the cluster before it is answered 503 or 504 (500ms, 5s, 1m)
    /// [default: 5s]
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<Span>,

    /// How often the replica tells another of who is there (100ms to 60s) [default: 500ms]
    #[arg(long, value_name = "DURATION")]
    gossip_interval: Option<Span>,

    /// HTTP connections open at once; one more is answered 503 [default: 10000]
    #[arg(long, value_name = "N")]
    connections_max: Option<usize>,

    /// The longest value in bytes; the same on every replica [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    value_bytes_max: Option<usize>,

    /// The longest key in bytes; the same on every replica [default: 4096]
    #[arg(long, value_name = "BYTES")]
    key_bytes_max: Option<usize>,

    /// How much log is kept on disk for replicas that lag behind [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    log_retention_bytes: Option<u64>,

    /// How much of the state on disk is cached in memory [default: 50331648]
    #[arg(long, value_name = "BYTES")]
    state_cache_bytes: Option<usize>,

    /// How much of the past is kept: superseded values and records of what changed, which reads at an
    /// older revision and watches can reach back to. Beyond it the oldest goes. The same on every
    /// replica: the leader's counts [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    history_bytes: Option<u64>,

    /// For how long the past is kept (10m, 24h), if --history-bytes allows [default: 1h]
    #[arg(long, value_name = "DURATION")]
    history_age: Option<Span>,

    /// Keep only the latest value of each key, and forget the past as soon as possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true)]
    history_latest_only: Option<bool>,

    /// Revisions after which the members compare the hashes of their states; 0: never. The leader's
    /// counts [default: 10000]
    #[arg(long, value_name = "N")]
    compare_revisions: Option<u64>,

    /// A state on disk below this size is read and checked whole before the node starts on it, a larger
    /// one soon after [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    scrub_bytes_max: Option<u64>,

    /// How long the state on disk rests between two scrubs, which read all of it to see whether it is
    /// as it was written [default: 24h]
    #[arg(long, value_name = "DURATION")]
    scrub_interval: Option<Span>,

    /// The pace of a scrub [default: 8388608]
    #[arg(long, value_name = "BYTES")]
    scrub_bytes_per_second: Option<u64>,

    /// The file with the cluster's secret, which the replicas prove to each other; the same for every
    /// member, 16 to 1024 bytes, readable by nobody else. Needed where other machines connect to
    /// --peer-listen
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// The file with the token that every request must show (Authorization: Bearer TOKEN), 16 to 1024
    /// visible characters, readable by nobody else. Needed where other machines connect to --listen
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Let other machines connect without --secret-file or --token-file
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true)]
    insecure: Option<bool>,

    /// How much of the disk is set aside, to be given up when it runs full; at most a tenth of it
    /// [default: 33554432]
    #[arg(long, value_name = "BYTES")]
    disk_reserve_bytes: Option<u64>,

    /// Free bytes of the disk below which the replica takes no writes; at most a twentieth of the
    /// disk [default: 536870912]
    #[arg(long, value_name = "BYTES")]
    disk_low_bytes: Option<u64>,

    /// A leader hands over when 1 in 100 syncs of its log takes longer than this, for 5 s, and half
    /// as long elsewhere [default: 500ms]
    #[arg(long, value_name = "DURATION")]
    sync_p99_max: Option<Span>,

    /// What is logged to the standard error: error, warn, info, debug, trace, or a filter such as
    /// `info,axon_core=debug`. The Raft engine's own steps are left out unless it is named:
    /// `info,openraft=info` [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// How it is logged: `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log_format: Option<LogFormat>,

    /// A TOML file with any of these options
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

macro_rules! first {
    ($upper:ident, $lower:ident: $($option:ident)*) => {
        Layer { $($option: $upper.$option.or($lower.$option),)* }
    };
}

impl Layer {
    /// What this layer gives, and below that what `lower` does.
    fn over(self, lower: Self) -> Self {
        first!(self, lower: name data_dir cluster_id listen peer_listen advertise peer_advertise join
            promotion request_timeout gossip_interval connections_max value_bytes_max key_bytes_max
            log_retention_bytes state_cache_bytes history_bytes history_age history_latest_only
            compare_revisions scrub_bytes_max scrub_interval scrub_bytes_per_second
            secret_file token_file insecure disk_reserve_bytes disk_low_bytes sync_p99_max log
            log_format config)
    }

    /// Reads the environment through `lookup`; an empty variable is the same as none.
    fn from_environment(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Refusal> {
        let parser = Self::augment_args(Parser::new(PROGRAM));
        let mut layer = Self::default();
        for long in parser.get_arguments().filter_map(clap::Arg::get_long) {
            let variable = format!("AXON_{}", long.replace('-', "_").to_uppercase());
            let Some(value) = lookup(&variable).filter(|value| !value.is_empty()) else { continue };
            let mut flag = OsString::from(format!("--{long}="));
            flag.push(value);
            let matches = parser.clone().try_get_matches_from([OsString::from(PROGRAM), flag]);
            let parsed = matches
                .and_then(|matches| Self::from_arg_matches(&matches))
                .map_err(|error| Refusal::Usage(format!("{variable}: {}", one_line(&error))))?;
            layer = parsed.over(layer);
        }
        Ok(layer)
    }

    fn from_file(path: &Path) -> Result<Self, Refusal> {
        let text = std::fs::read_to_string(path);
        Self::from_text(path, &text.map_err(|error| unusable(path, &error.to_string()))?)
    }

    /// Reads what the file at `path` holds.
    fn from_text(path: &Path, text: &str) -> Result<Self, Refusal> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            unusable(path, &format!("line {line}: {}", error.message().replace('\n', " ")))
        })
    }
}

fn unusable(path: &Path, reason: &str) -> Refusal {
    let path = path.display();
    Refusal::Usage(format!("cannot use the configuration file {path}: {reason}"))
}

/// Finds out what the program is asked to do. `arguments` begins with the program's name.
///
/// # Errors
/// A [`Refusal`]: a text that was asked for, or the line that says what is wrong.
pub fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, Refusal> {
    let matches = parser().try_get_matches_from(arguments).map_err(|error| refused(&error))?;
    let (verb, matches) = matches.subcommand().unwrap_or(("run", &matches));
    match verb {
        "restore" => return Restore::from(matches, environment).map(Command::Restore),
        "recover" => return Recover::from(matches, environment).map(Command::Recover),
        _ => {}
    }
    let init = verb == "init";
    let flags = layer(matches)?;
    if !init && flags.cluster_id.is_some() {
        return Err(Refusal::Usage(
            "--cluster-id is an option of `init`: `run` makes no cluster".into(),
        ));
    }
    let given = flags.over(Layer::from_environment(environment)?);
    let file = given.config.as_deref().map_or_else(|| Ok(Layer::default()), Layer::from_file)?;
    let variable = environment(access::TOKEN_VARIABLE);
    let settings = Settings::from_layer(given.over(file), variable, init)?;
    Ok(if init { Command::Init(settings) } else { Command::Run(settings) })
}

fn layer(matches: &ArgMatches) -> Result<Layer, Refusal> {
    Layer::from_arg_matches(matches).map_err(|error| refused(&error))
}

fn parser() -> Parser {
    let run_only = [
        "listen",
        "peer_listen",
        "advertise",
        "peer_advertise",
        "join",
        "promotion",
        "request_timeout",
        "gossip_interval",
        "connections_max",
        "value_bytes_max",
        "key_bytes_max",
        "log_retention_bytes",
        "state_cache_bytes",
        "history_bytes",
        "history_age",
        "history_latest_only",
        "compare_revisions",
        "scrub_bytes_max",
        "scrub_interval",
        "scrub_bytes_per_second",
        "secret_file",
        "token_file",
        "insecure",
        "disk_reserve_bytes",
        "disk_low_bytes",
        "sync_p99_max",
    ];
    let mut init = Layer::augment_args(Parser::new("init")).about(
        "Makes a cluster: writes the identity of its first replica into an empty directory, prints the \
         cluster id and exits. Takes the options of `run` too, so that one file serves both",
    );
    for option in run_only {
        init = init.mut_arg(option, |option| option.hide(true));
    }
    let without_id = |parser: Parser| parser.mut_arg("cluster_id", |option| option.hide(true));
    let run = Layer::augment_args(Parser::new("run")).about("Runs a replica (the default)");
    let whole = Layer::augment_args(Parser::new(PROGRAM))
        .version(crate::wire::VERSION)
        .about("One replica of an Axon cluster: a strongly consistent key-value store, behind HTTP")
        .after_help(AFTER_HELP)
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .subcommand(without_id(run))
        .subcommand(init)
        .subcommand(Restore::parser())
        .subcommand(Recover::parser());
    without_id(whole)
}

fn refused(error: &clap::Error) -> Refusal {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Text(error.to_string()),
        _ => Refusal::Usage(format!("{}; see `{PROGRAM} --help`", one_line(error))),
    }
}

/// The first line of what clap says, with its best suggestion.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let similar = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .find_map(|kind| match error.get(kind)? {
            ContextValue::String(similar) => Some(similar.clone()),
            ContextValue::Strings(similar) => Some(similar.join(" or ")),
            _ => None,
        });
    if let Some(similar) = similar {
        line = format!("{line} (did you mean {similar}?)");
    }
    line
}

#[cfg(test)]
mod tests;
