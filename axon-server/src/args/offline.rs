//! The options of `restore` and `recover`: what is done to directories in which no replica runs.
//!
//! They have no file. `--data-dir`, `--name` and `--cluster-id` are also taken from the environment, as
//! they are for `run`.

use super::{Refusal, refused};
use axon_core::backup::RestoreOptions;
use axon_core::types::ClusterId;
use clap::{ArgMatches, Args, Command as Parser, FromArgMatches};
use std::ffi::OsString;
use std::path::PathBuf;

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

const RESTORE_HELP: &str = "\
The directory must be empty or missing, and stays as it was unless the whole
backup has come and every checksum, count and hash has been checked. The new
cluster has one member; `run` starts it, and others join it with empty
directories. Replicas of the cluster that was backed up cannot join it.

  curl -fsS http://10.0.0.1:9000/v1/snapshot -o monday.axon
  axon-server restore --name node1 --data-dir ./data --from monday.axon

Exit codes:
  0  done: the new cluster's id, revision and keys are printed
  1  refused, and nothing was changed: one line says why
  2  a mistake in the command line";

const RECOVER_HELP: &str = "\
Stop every replica first, and make sure that the lost ones never come back.
Name the directories of all that are left. Without --yes nothing is changed:
what each holds is shown, which one is best, and what may be lost.

  axon-server recover --data-dir ./node1 --data-dir ./node3
  axon-server recover --data-dir ./node1 --data-dir ./node3 --yes CLUSTER_ID

The best survivor becomes the only member of a new cluster, under its name and
a new id, with every entry of its log. Its old files are kept beside the new
ones, in before-recovery-N. Interrupted, the same command finishes. All other
replicas come back with empty directories, by joining.

Exit codes:
  0  shown, or done
  1  refused, or interrupted by an error: one line says why
  2  a mistake in the command line";

/// What `restore` is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// What to make.
    pub options: RestoreOptions,
    /// The backup; `None`: the standard input.
    pub from: Option<PathBuf>,
}

/// What `recover` is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Recover {
    /// The directory of a replica that is left. Give it once for each
    #[arg(long = "data-dir", value_name = "DIR")]
    pub data_dirs: Vec<PathBuf>,

    /// Consent: the id of the cluster that is lost, typed out
    #[arg(long, value_name = "CLUSTER_ID")]
    pub yes: Option<ClusterId>,

    /// Recover although a majority of the cluster is here
    #[arg(long)]
    pub force: bool,

    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// Where to make the new replica: an empty directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The new replica's name: 1 to 32 of a-z, 0-9 and '-'
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The new cluster's id, 32 hexadecimal digits [default: random]
    #[arg(long, value_name = "ID")]
    cluster_id: Option<ClusterId>,

    /// The backup: a file, or `-` for the standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    from: PathBuf,
}

fn variable(environment: Environment<'_>, name: &str) -> Option<OsString> {
    environment(name).filter(|value| !value.is_empty())
}

fn missing(option: &str, name: &str) -> Refusal {
    Refusal::Usage(format!("--{option} is missing: give it, or set {name}"))
}

impl Restore {
    pub(super) fn parser() -> Parser {
        RestoreArgs::augment_args(Parser::new("restore"))
            .about("Makes a new cluster of a backup, in an empty directory, and exits")
            .after_help(RESTORE_HELP)
    }

    pub(super) fn from(
        matches: &ArgMatches,
        environment: Environment<'_>,
    ) -> Result<Self, Refusal> {
        let args = RestoreArgs::from_arg_matches(matches).map_err(|error| refused(&error))?;
        let text = |name: &str| -> Result<Option<String>, Refusal> {
            let Some(value) = variable(environment, name) else { return Ok(None) };
            let text = value.into_string();
            text.map(Some).map_err(|_| Refusal::Usage(format!("{name}: it is not text")))
        };
        let data_dir =
            args.data_dir.or_else(|| Some(variable(environment, "AXON_DATA_DIR")?.into()));
        let name = args.name.map_or_else(|| text("AXON_NAME"), |name| Ok(Some(name)))?;
        let cluster_id = match (args.cluster_id, text("AXON_CLUSTER_ID")?) {
            (Some(id), _) => Some(id),
            (None, Some(id)) => {
                let wrong = |reason| Refusal::Usage(format!("AXON_CLUSTER_ID: {reason}"));
                Some(id.parse().map_err(wrong)?)
            }
            (None, None) => None,
        };
        let options = RestoreOptions {
            data_dir: data_dir.ok_or_else(|| missing("data-dir", "AXON_DATA_DIR"))?,
            name: name.ok_or_else(|| missing("name", "AXON_NAME"))?,
            cluster_id,
        };
        Ok(Self { options, from: Some(args.from).filter(|from| from.as_os_str() != "-") })
    }
}

impl Recover {
    pub(super) fn parser() -> Parser {
        Self::augment_args(Parser::new("recover"))
            .about("Makes a new cluster of what is left of one that lost its majority for good")
            .after_help(RECOVER_HELP)
    }

    pub(super) fn from(
        matches: &ArgMatches,
        environment: Environment<'_>,
    ) -> Result<Self, Refusal> {
        let mut args = Self::from_arg_matches(matches).map_err(|error| refused(&error))?;
        if args.data_dirs.is_empty() {
            let directory = variable(environment, "AXON_DATA_DIR");
            args.data_dirs.extend(directory.map(PathBuf::from));
        }
        if args.data_dirs.is_empty() {
            return Err(missing("data-dir", "AXON_DATA_DIR"));
        }
        Ok(args)
    }
}
