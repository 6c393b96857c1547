//! `axon-launcher`: see `--help`, and the library of the same name.

use axon_launcher::args::Args;
use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("axon-launcher: --log {}: {error}", args.log);
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(axon_launcher::run(args)),
        Err(error) => Err(format!("cannot start its threads: {error}")),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("axon-launcher: {error}");
        ExitCode::FAILURE
    })
}
