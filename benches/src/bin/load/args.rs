//! The command line, checked as a whole before anything is started.

use crate::Check;
use crate::start::beside_this_program;
use crate::system::Rig;
use crate::work::{Op, Work};
use crate::{holder, scale, tail};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Clients above this would measure this machine's ports and memory.
pub const CLIENTS_MAX: usize = 10_000;

/// Where the token may be instead of the command line, which others can read.
const TOKEN_VARIABLE: &str = "AXON_TOKEN";

/// Loads Axon and etcd in the same way, and compares what they do. Or measures Axon alone: see the
/// commands.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Program {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub args: Args,
}

/// What else it does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure what Axon costs as there is more: keys, bytes, connections, watchers, replicas
    Scale(scale::Args),
    /// Measure how long puts take while something else happens, at a steady rate
    Tail(tail::Args),
    /// Hold a replica, and do what is said on the standard input: the half of `scale` that is killed
    #[command(hide = true)]
    Holder(holder::Args),
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Three axon-server processes, over HTTP.
    Axon,
    /// Three replicas of axon-core in this process, over TCP among themselves.
    Embedded,
    /// Three etcd processes, over gRPC.
    Etcd,
}

impl Target {
    /// Its name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Axon => "axon",
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

/// The addresses of a cluster that runs already.
#[derive(Debug, Clone)]
pub struct Endpoints {
    pub target: Target,
    pub addresses: Vec<String>,
}

/// What is compared, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to measure, one after the other; the ratios are the first's to each other's
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["axon", "etcd"])]
    pub targets: Vec<Target>,
    /// What the clients do
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "get"])]
    pub op: Vec<Op>,
    /// Numbers of clients, each with one request in flight on a connection of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    pub clients: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Seconds of the same load before each of them
    #[arg(long, default_value_t = 2.0)]
    pub warmup: f64,
    /// Times that the targets take turns: A B A B ... Figures are medians over them
    #[arg(long, default_value_t = 3)]
    pub pairs: u64,
    /// Different keys, of 16 bytes; all are there before reads begin
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Of 100 requests of `mixed`, how many are puts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub put_percent: u32,
    /// Seconds after which a request is given up and counted as an error
    #[arg(long, default_value_t = 5.0)]
    pub deadline: f64,
    /// What keys and values are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Connections that all clients of etcd share (gRPC can); by default one a client
    #[arg(long)]
    pub etcd_connections: Option<usize>,
    /// A cluster that runs already, instead of one that is started: axon=HOST:PORT,... or etcd=...
    #[arg(long, value_name = "TARGET=HOST:PORT,...", value_parser = endpoints)]
    pub endpoints: Vec<Endpoints>,
    /// The token that the axon-servers at --endpoints want to see; `AXON_TOKEN` in the environment
    /// does as well, and is not seen by other users
    #[arg(long)]
    pub token: Option<String>,
    /// The axon-server to start; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub axon_server: Option<PathBuf>,
    /// The etcd to start; by default the one on the path
    #[arg(long, value_name = "FILE")]
    pub etcd: Option<PathBuf>,
    /// One more argument for each axon-server; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub axon_arg: Vec<String>,
    /// One more argument for each etcd; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub etcd_arg: Vec<String>,
    /// Where the data of all targets is put; by default beside this program
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Writes all figures there
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Draws throughput and latency against clients there
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

impl Args {
    /// Refuses what makes no sense, with the option's name.
    pub fn check(&self) -> Check {
        let refuse =
            |wrong: bool, message: &str| if wrong { Err(message.to_owned()) } else { Ok(()) };
        let outside = |seconds: f64, least: f64| !(least..=3600.0).contains(&seconds);
        refuse(
            self.clients.iter().any(|clients| !(1..=CLIENTS_MAX).contains(clients)),
            "--clients: 1 to 10000",
        )?;
        refuse(outside(self.seconds, 0.1), "--seconds: 0.1 to 3600")?;
        refuse(outside(self.warmup, 0.0), "--warmup: 0 to 3600")?;
        refuse(outside(self.deadline, 0.01), "--deadline: 0.01 to 3600")?;
        refuse(!(1..=100).contains(&self.pairs), "--pairs: 1 to 100")?;
        refuse(!(1..=1_000_000_000_000).contains(&self.keys), "--keys: 1 to 10^12")?;
        refuse(self.value_bytes > 64 << 20, "--value-bytes: at most 64 MiB")?;
        refuse(self.etcd_connections == Some(0), "--etcd-connections: at least 1")?;
        let twice =
            |target: &Target| self.targets.iter().filter(|other| *other == target).count() > 1;
        refuse(self.targets.iter().any(twice), "--targets: each once")?;
        refuse(
            self.token.is_some() && self.running(Target::Axon).is_none(),
            "--token: of --endpoints axon=..., what is started here needs none",
        )?;
        let unused = |given: &Endpoints| !self.targets.contains(&given.target);
        refuse(self.endpoints.iter().any(unused), "--endpoints: of a target that is not measured")
    }

    /// The work that the clients do.
    pub fn work(&self) -> Work {
        Work::new(self.keys, self.value_bytes, self.put_percent, self.seed)
    }

    /// How long a request may take.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.deadline)
    }

    /// How clusters are started and asked.
    pub fn rig(&self) -> Check<Rig> {
        // Another program's token must not be shown to what is started here.
        let running = self.running(Target::Axon).is_some();
        let token = || self.token.clone().or_else(|| std::env::var(TOKEN_VARIABLE).ok());
        Ok(Rig {
            directory: directory(self.dir.as_deref())?,
            axon_server: self.axon_server.clone(),
            axon_arg: self.axon_arg.clone(),
            etcd: self.etcd.clone(),
            etcd_arg: self.etcd_arg.clone(),
            etcd_connections: self.etcd_connections,
            deadline: self.deadline(),
            token: running.then(token).flatten(),
        })
    }

    /// The cluster of `target` that runs already, if there is one.
    pub fn running(&self, target: Target) -> Option<&[String]> {
        let given = self.endpoints.iter().find(|given| given.target == target);
        given.map(|given| given.addresses.as_slice())
    }
}

/// Where data is put: as it was said, or beside the program. That is the build's directory: on a disk,
/// where a temporary directory may lie in memory, and cleaned with it.
pub fn directory(given: Option<&Path>) -> Check<PathBuf> {
    given.map_or_else(|| beside_this_program("load-data"), |given| Ok(given.to_owned()))
}

fn endpoints(text: &str) -> Check<Endpoints> {
    let (target, addresses) = text.split_once('=').ok_or("TARGET=HOST:PORT,... is expected")?;
    let target = match target {
        "axon" => Target::Axon,
        "etcd" => Target::Etcd,
        _ => return Err(format!("{target} has no endpoints: axon and etcd have")),
    };
    let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
    match addresses.iter().find(|address| !address.contains(':')) {
        Some(wrong) => Err(format!("{wrong:?} is not HOST:PORT")),
        None => Ok(Endpoints { target, addresses }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(words: &[&str]) -> Check<Args> {
        let words = ["load"].iter().chain(words);
        let program = Program::try_parse_from(words).map_err(|error| error.to_string())?;
        program.args.check().map(|()| program.args)
    }

    #[test]
    fn endpoints_belong_to_a_target() {
        let args = parse(&["--endpoints", "etcd=a:1,b:2"]).unwrap();
        assert_eq!(args.running(Target::Etcd).unwrap(), ["a:1", "b:2"]);
        assert_eq!(args.running(Target::Axon), None);
        for wrong in ["a:1", "embedded=a:1", "etcd=a"] {
            assert!(parse(&["--endpoints", wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&["--targets", "axon", "--endpoints", "etcd=a:1"]).is_err());
    }

    #[test]
    fn a_token_is_for_axons_that_run_already() {
        let args = parse(&["--endpoints", "axon=a:1", "--token", "abc"]).unwrap();
        assert_eq!(args.rig().unwrap().token.as_deref(), Some("abc"));
        assert!(parse(&["--token", "abc"]).is_err());
        assert!(parse(&["--endpoints", "etcd=a:1", "--token", "abc"]).is_err());
        assert_eq!(parse(&[]).unwrap().rig().unwrap().token, None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            ["--clients", "0"],
            ["--seconds", "0"],
            ["--seconds", "NaN"],
            ["--pairs", "0"],
            ["--keys", "0"],
            ["--targets", "etcd,etcd"],
            ["--put-percent", "101"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&["--clients", "1,2", "--op", "local-get,mixed"]).is_ok());
    }
}
