//! The command line and its environment. Parses and validates; starts nothing.

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Ports from one node's API to the next one's.
pub const PORT_STRIDE: u16 = 10;

/// The variable that may hold the launcher's token. A flag would show it to every user of the machine.
pub const TOKEN_VARIABLE: &str = "AXON_LAUNCHER_TOKEN";

/// The most nodes that one launcher runs.
pub const NODES_MAX: usize = 32;

const ABOUT: &str = "Starts and supervises an Axon cluster on this machine";

const LONG_ABOUT: &str = "\
Starts and supervises an Axon cluster on this machine, and serves its dashboard.

The first start makes a cluster in the data directory; every later start continues that cluster, \
with its nodes, ports and data. A node that crashes is restarted. Ctrl-C stops all nodes cleanly; \
a second Ctrl-C kills them.";

const AFTER_HELP: &str = "\
Examples:
  axon-launcher
      Three nodes at 127.0.0.1:9000, 9010 and 9020; the dashboard at http://127.0.0.1:8080
  axon-launcher --nodes 5 --data-dir /tmp/axon-five --base-port 9500
      Five nodes elsewhere
  curl http://127.0.0.1:8080/api/control/nodes
      What runs, in JSON
  curl -X POST http://127.0.0.1:8080/api/control/add -d '{\"node_id\":\"node4\"}'
      One more node

  axon-launcher --listen 0.0.0.0:8080 --token-file ./token
      A dashboard for other machines, behind a token. Passwords and data cross the network as they
      are: put a proxy with TLS in front. Without a token, reach it through an SSH tunnel:
      ssh -L 8080:127.0.0.1:8080 HOST
  axon-launcher recover
      What is left of a cluster whose majority is lost for good; see axon-launcher recover --help

  AXON_HISTORY_BYTES=104857600 AXON_HISTORY_AGE=10m axon-launcher
      Nodes that keep less of the past. Every option of axon-server that nodes may share can be
      given this way, at each start of a node; see axon-server --help

Files, all below the data directory:
  cluster.json         the cluster: its id, its nodes, their ports and whether they should run
  cluster.secret       what the nodes prove to each other; made by the first start
  nodes/NAME/data      the replica's own directory
  logs/NAME.log        what the node wrote; NAME.log.1 to .3 are older
  events/              what happened, in lines of JSON; 20 MiB at most

Exit codes: 0 stopped cleanly, 1 could not start, 2 usage, 130 killed by a second Ctrl-C.";

/// What `axon-launcher` is told when it starts.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "axon-launcher",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    after_help = "See --help for examples, files and exit codes."
)]
pub struct Args {
    /// Where the cluster lives; made if it is not there.
    #[arg(
        long,
        global = true,
        env = "AXON_LAUNCHER_DATA_DIR",
        value_name = "DIR",
        default_value = "./axon-data"
    )]
    pub data_dir: PathBuf,

    /// Where the dashboard and the control API answer. An address that others reach needs a token.
    #[arg(
        long,
        env = "AXON_LAUNCHER_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// The file with the token that the dashboard, the control API and the nodes then ask for: 16 to
    /// 1024 letters, digits and signs, readable by its owner only. Or give it in the variable
    /// `AXON_LAUNCHER_TOKEN`.
    #[arg(long, env = "AXON_LAUNCHER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Answers at an address that others reach without asking for a token: whoever can connect can
    /// delete a node.
    #[arg(long, env = "AXON_LAUNCHER_INSECURE")]
    pub insecure: bool,

    /// The API port of the first node; each further node gets the next tenth, and its peer port is
    /// one higher. Matters at the first start only.
    #[arg(long, env = "AXON_LAUNCHER_BASE_PORT", value_name = "PORT", default_value_t = 9000,
          value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub base_port: u16,

    /// How many nodes the cluster begins with. Matters at the first start only; later, add and
    /// delete nodes in the dashboard or by the control API.
    #[arg(long, env = "AXON_LAUNCHER_NODES", value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
    pub nodes: u8,

    /// The program that runs a node [default: axon-server beside this program, then in PATH].
    #[arg(long, global = true, env = "AXON_LAUNCHER_SERVER_BIN", value_name = "PATH")]
    pub server_bin: Option<PathBuf>,

    /// Serves the dashboard from this directory instead of the one built in.
    #[arg(long, env = "AXON_LAUNCHER_UI_DIR", value_name = "DIR")]
    pub ui_dir: Option<PathBuf>,

    /// How much the launcher says on standard error, such as `warn` or `axon_launcher=debug`.
    #[arg(long, env = "AXON_LAUNCHER_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// What to do instead of running a cluster.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is done while no launcher and no node runs.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Makes a new cluster of what is left of one that lost its majority for good.
    ///
    /// Without --yes it only shows what is left, and what may be lost. The best survivor becomes the
    /// first member of a new cluster; the other nodes' directories are kept in before-recovery-N, and
    /// the next start brings the nodes back by joining. Interrupted, the same command finishes.
    Recover {
        /// Consent: the id of the cluster that is lost, typed out.
        #[arg(long, value_name = "CLUSTER_ID")]
        yes: Option<String>,
    },
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address has the form 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Finds the program that runs a node.
pub fn find_server(asked: Option<&Path>) -> Result<PathBuf, String> {
    let program = format!("axon-server{}", std::env::consts::EXE_SUFFIX);
    let candidates: Vec<PathBuf> = if let Some(asked) = asked {
        vec![asked.to_path_buf()]
    } else {
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_path_buf()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        beside.into_iter().chain(std::env::split_paths(&path)).map(|d| d.join(&program)).collect()
    };
    let found = candidates.iter().find(|candidate| is_program(candidate));
    // Absolute, since an adopted node is recognised by its command line, whatever the directory
    // that the launcher is started in.
    match (found, asked) {
        (Some(found), _) => std::path::absolute(found).map_err(|error| error.to_string()),
        (None, Some(asked)) => {
            Err(format!("--server-bin: {} is not a program that can be run", asked.display()))
        }
        (None, None) => Err(format!(
            "{program} is neither beside axon-launcher nor in PATH; name it with --server-bin PATH"
        )),
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_a_cluster_of_three_on_this_machine() {
        let args = Args::try_parse_from(["axon-launcher"]).unwrap();
        assert_eq!((args.nodes, args.base_port), (3, 9000));
        assert_eq!(args.listen, "127.0.0.1:8080".parse().unwrap());
    }

    #[test]
    fn the_dashboard_is_at_an_address_and_a_port() {
        for address in ["example.org:80", "8080", "127.0.0.1"] {
            assert!(Args::try_parse_from(["axon-launcher", "--listen", address]).is_err());
        }
        for address in ["[::1]:8080", "0.0.0.0:8080"] {
            assert!(Args::try_parse_from(["axon-launcher", "--listen", address]).is_ok());
        }
    }

    #[test]
    fn a_token_is_no_flag() {
        assert!(Args::try_parse_from(["axon-launcher", "--token", "0123456789abcdef"]).is_err());
    }

    #[test]
    fn a_missing_server_is_said_with_its_path() {
        let error = find_server(Some(Path::new("/nowhere/axon-server"))).unwrap_err();
        assert!(error.contains("/nowhere/axon-server"), "{error}");
    }
}
