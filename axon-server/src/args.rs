//! From the command line, the environment and a file to [`Settings`], checked together.
//!
//! Every option has one name in three spellings: `--data-dir`, `AXON_DATA_DIR`, and `data_dir` in the
//! TOML file. A flag wins over the environment, that over the file, that over the default. All three go
//! through the same parsers, and whatever is wrong is one line that names the option and what to do.
//! The token alone is never a value of its own: it is in a file, or in `AXON_TOKEN`. Nothing here touches
//! anything but the files that `--config`, `--secret-file` and `--token-file` name.

mod access;
mod offline;
mod values;

pub use offline::{Recover, Restore};
pub use values::{Advertise, HostPort, LogFormat, Promotion, Span};

use crate::{Options, Token};
use axon_core::Config;
use axon_core::config::{self, History, Origin, RuntimeChoice};
use axon_core::secret::Secret;
use axon_core::types::{ClusterId, Limits};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Args, Command as Parser, FromArgMatches};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// The settings of the program.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The replica's name.
    pub name: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// The id for a new cluster; only `init` has one.
    pub cluster_id: Option<ClusterId>,
    /// Where the API listens.
    pub listen: HostPort,
    /// Where its peers connect to.
    pub peer_listen: HostPort,
    /// What others are told about how to reach it.
    pub advertise: Option<Advertise>,
    /// What its peers are told, if that does not follow from `advertise`.
    pub peer_advertise: Option<HostPort>,
    /// Peer addresses of members to join through.
    pub join: Vec<HostPort>,
    /// Other machines may connect without a secret or a token.
    pub insecure: bool,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    promotion: Promotion,
    request_timeout: Duration,
    gossip_interval: Duration,
    connections_max: usize,
    limits: Limits,
    log_retention_bytes: u64,
    state_cache_bytes: usize,
    history: History,
    compare_revisions: u64,
    scrub_bytes_max: u64,
    scrub_interval: Duration,
    scrub_bytes_per_second: u64,
    secret: Option<Secret>,
    token: Option<Token>,
    disk_reserve_bytes: u64,
    disk_low_bytes: u64,
    sync_p99_max: Duration,
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

/// How much of the past the options ask for.
fn history(layer: &Layer) -> Result<History, Refusal> {
    let Layer { history_bytes, history_age, history_latest_only, .. } = layer;
    if history_latest_only.unwrap_or(false) {
        let bounded = history_bytes.is_some() || history_age.is_some();
        return if bounded {
            Err(Refusal::Usage(
                "--history-latest-only keeps no past: leave out --history-bytes and --history-age"
                    .into(),
            ))
        } else {
            Ok(History::LatestOnly)
        };
    }
    Ok(History::Keep {
        bytes: history_bytes.unwrap_or(History::BYTES_DEFAULT),
        age: history_age.map_or(History::AGE_DEFAULT, |span| span.0),
    })
}

impl Settings {
    fn from_layer(layer: Layer, token: Option<OsString>, init: bool) -> Result<Self, Refusal> {
        let missing = |option: &str, variable: &str| {
            Refusal::Usage(format!("--{option} is missing: give it, or set {variable}"))
        };
        let defaults = Config::default();
        let history = history(&layer)?;
        let (secret, token) = if init {
            (None, None)
        } else {
            (
                access::secret(layer.secret_file.as_deref())?,
                access::token(layer.token_file.as_deref(), token)?,
            )
        };
        let listen = layer.listen.unwrap_or_else(|| HostPort::new("127.0.0.1", 9000));
        let peer_listen = match layer.peer_listen {
            Some(address) => address,
            None => listen.next_port().ok_or_else(|| {
                Refusal::Usage("--listen has the highest port: give --peer-listen as well".into())
            })?,
        };
        let settings = Self {
            name: layer.name.ok_or_else(|| missing("name", "AXON_NAME"))?,
            data_dir: layer.data_dir.ok_or_else(|| missing("data-dir", "AXON_DATA_DIR"))?,
            cluster_id: layer.cluster_id.filter(|_| init),
            listen,
            peer_listen,
            advertise: layer.advertise,
            peer_advertise: layer.peer_advertise,
            join: layer.join.unwrap_or_default(),
            insecure: layer.insecure.unwrap_or(false),
            log: layer.log.unwrap_or_else(|| "info".into()),
            log_format: layer.log_format.unwrap_or_default(),
            promotion: layer.promotion.unwrap_or_default(),
            request_timeout: layer.request_timeout.map_or(defaults.request_timeout, |span| span.0),
            gossip_interval: layer.gossip_interval.map_or(defaults.gossip_interval, |span| span.0),
            connections_max: layer.connections_max.unwrap_or(Options::default().connections_max),
            limits: Limits {
                key_bytes_max: layer.key_bytes_max.unwrap_or(defaults.limits.key_bytes_max),
                value_bytes_max: layer.value_bytes_max.unwrap_or(defaults.limits.value_bytes_max),
            },
            log_retention_bytes: layer.log_retention_bytes.unwrap_or(defaults.log_retention_bytes),
            state_cache_bytes: layer.state_cache_bytes.unwrap_or(defaults.state_cache_bytes),
            history,
            compare_revisions: layer.compare_revisions.unwrap_or(defaults.compare_revisions),
            scrub_bytes_max: layer.scrub_bytes_max.unwrap_or(defaults.scrub_bytes_max),
            scrub_interval: layer.scrub_interval.map_or(defaults.scrub_interval, |span| span.0),
            scrub_bytes_per_second: layer
                .scrub_bytes_per_second
                .unwrap_or(defaults.scrub_bytes_per_second),
            secret,
            token,
            disk_reserve_bytes: layer.disk_reserve_bytes.unwrap_or(defaults.disk_reserve_bytes),
            disk_low_bytes: layer.disk_low_bytes.unwrap_or(defaults.disk_low_bytes),
            sync_p99_max: layer.sync_p99_max.map_or(defaults.sync_p99_max, |span| span.0),
        };
        settings.check(init)?;
        Ok(settings)
    }

    fn check(&self, init: bool) -> Result<(), Refusal> {
        let config = if init { self.init_config() } else { self.run_config(self.listen.port) };
        config.validate().map_err(|error| {
            Refusal::Usage(format!("--{}: {}", error.setting.replace('_', "-"), error.reason))
        })?;
        if self.connections_max == 0 {
            return Err(Refusal::Usage("--connections-max: must be at least 1".into()));
        }
        if init {
            return Ok(());
        }
        if self.listen == self.peer_listen && self.listen.port != 0 {
            return Err(Refusal::Usage(format!(
                "--listen and --peer-listen are both {}: give them different ports",
                self.listen
            )));
        }
        // Guessing a name here would be told to the whole cluster, and found wrong at the next election.
        let api_hidden = self.listen.is_wildcard() && self.advertise.is_none();
        let peer_hidden = self.peer_listen.is_wildcard()
            && self.advertise.is_none()
            && self.peer_advertise.is_none();
        if api_hidden || peer_hidden {
            let wildcard = if api_hidden { &self.listen } else { &self.peer_listen };
            return Err(Refusal::Usage(format!(
                "nobody can be told to connect to {wildcard}: give --advertise HOST, the name or address \
                 that others reach this node by"
            )));
        }
        if self.insecure {
            return Ok(());
        }
        let (token, secret) = (self.token.is_some(), self.secret.is_some());
        access::check_exposure(&self.listen, token, &self.peer_listen, secret)
    }

    /// The settings of core with which `init` makes a cluster.
    #[must_use]
    pub fn init_config(&self) -> Config {
        Config { origin: Origin::Init(self.cluster_id), ..self.run_config(self.listen.port) }
    }

    /// The settings of core with which `run` starts a replica whose API listens on `api_port`.
    #[must_use]
    pub fn run_config(&self, api_port: u16) -> Config {
        let origin = if self.join.is_empty() {
            Origin::Resume
        } else {
            Origin::Join(self.join.iter().map(HostPort::to_string).collect())
        };
        Config {
            name: self.name.clone(),
            data_dir: Some(self.data_dir.clone()),
            listen: Some(self.peer_listen.to_string()),
            advertise: self.told_to_peers().map(|address| address.to_string()),
            api_address: self.told_to_clients(api_port).to_string(),
            origin,
            promotion: match self.promotion {
                Promotion::Auto => config::Promotion::Auto,
                Promotion::Manual => config::Promotion::Manual,
                Promotion::Never => config::Promotion::Never,
            },
            limits: self.limits,
            request_timeout: self.request_timeout,
            gossip_interval: self.gossip_interval,
            log_retention_bytes: self.log_retention_bytes,
            state_cache_bytes: self.state_cache_bytes,
            history: self.history,
            compare_revisions: self.compare_revisions,
            scrub_bytes_max: self.scrub_bytes_max,
            scrub_interval: self.scrub_interval,
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            secret: self.secret.clone(),
            disk_reserve_bytes: self.disk_reserve_bytes,
            disk_low_bytes: self.disk_low_bytes,
            sync_p99_max: self.sync_p99_max,
            runtime: RuntimeChoice::Callers,
            ..Config::default()
        }
    }

    /// How requests are served.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            name: self.name.clone(),
            limits: self.limits,
            connections_max: self.connections_max,
            token: self.token.clone(),
            told_host: self.advertise.as_ref().map(|advertise| advertise.host.clone()),
            ..Options::default()
        }
    }

    fn told_to_clients(&self, api_port: u16) -> HostPort {
        match &self.advertise {
            Some(Advertise { host, port }) => HostPort::new(host, port.unwrap_or(api_port)),
            None => HostPort::new(&self.listen.host, api_port),
        }
    }

    /// What peers are told when it is not where the replica listens.
    fn told_to_peers(&self) -> Option<HostPort> {
        let from_advertise = || {
            let Advertise { host, port } = self.advertise.as_ref()?;
            // At the highest port there is no next: the port that it listens on is as good a guess.
            let next = port.and_then(|port| port.checked_add(1));
            Some(HostPort::new(host, next.unwrap_or(self.peer_listen.port)))
        };
        self.peer_advertise.clone().or_else(from_advertise)
    }
}

#[cfg(test)]
mod tests;
