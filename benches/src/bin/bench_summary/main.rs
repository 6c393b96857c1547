//! The figures of `make bench` as one JSON file: what criterion measured, and what the benchmarks counted.
//!
//! Criterion keeps, for each benchmark, `new/benchmark.json` (its id and what throughput counts) and
//! `new/estimates.json` (nanoseconds of a run). Beside them stand the benchmarks' own notes
//! ([`axon_benches::bench`]). Only what is newer than `--since` is taken: reports of earlier runs, and of
//! benchmarks that are gone, stay where they are.

mod compare;

use axon_benches::bench::NOTES;
use clap::Parser;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

#[derive(Parser)]
#[command(about = "Puts the figures of the benchmarks into one JSON file")]
struct Args {
    /// The build's directory
    #[arg(long, default_value = "target")]
    target: PathBuf,
    /// A file that is older than the figures that count; without it all do
    #[arg(long)]
    since: Option<PathBuf>,
    /// Where it is written
    #[arg(long)]
    out: PathBuf,
    /// Another summary, to stand beside this one in a table
    #[arg(long)]
    against: Option<PathBuf>,
}

type Check<T = ()> = Result<T, String>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(sentence) => {
            println!("{sentence}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("bench_summary: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Check<String> {
    let since = args.since.as_deref().map(modified).transpose()?;
    let is_new = |path: &Path| match since {
        Some(since) => modified(path).map(|at| at >= since),
        None => Ok(true),
    };
    let mut benches: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for path in files(&args.target.join("criterion"))? {
        let measured = path.ends_with("new/benchmark.json") && is_new(&path)?;
        if measured {
            let (id, figures) = of_criterion(&path)?;
            benches.insert(id, figures);
        }
    }
    for path in files(&args.target.join("tmp").join(NOTES))? {
        if is_new(&path)? {
            let Value::Object(mut noted) = read(&path)? else { continue };
            let Some(Value::String(id)) = noted.remove("id") else { continue };
            benches.entry(id).or_default().extend(noted);
        }
    }
    if benches.is_empty() {
        return Err("no benchmark was run".into());
    }
    let count = benches.len();
    let benches = benches.into_iter().map(|(id, mut figures)| {
        figures.insert("id".into(), json!(id));
        Value::Object(figures)
    });
    let summary = json!({ "format": 1, "benches": benches.collect::<Vec<_>>() });
    std::fs::write(&args.out, format!("{summary:#}\n"))
        .map_err(|error| format!("{}: {error}", args.out.display()))?;
    let table = match &args.against {
        Some(recorded) => compare::table(&summary, &read(recorded)?),
        None => String::new(),
    };
    Ok(format!("{table}{}: {count} benchmarks", args.out.display()))
}

/// A benchmark's id and figures.
fn of_criterion(path: &Path) -> Check<(String, Map<String, Value>)> {
    let (about, estimates) = (read(path)?, read(&path.with_file_name("estimates.json"))?);
    let id = about["full_id"].as_str().ok_or_else(|| format!("{}: no full_id", path.display()))?;
    figures(&about["throughput"], &estimates)
        .map(|figures| (id.to_owned(), figures))
        .ok_or_else(|| format!("{}: not as criterion 0.8 writes it", path.display()))
}

/// The median time of a run in nanoseconds with its confidence interval; how many of what that is a
/// second, where the benchmark says how many a run has.
fn figures(throughput: &Value, estimates: &Value) -> Option<Map<String, Value>> {
    let median = &estimates["median"];
    let nanos = median["point_estimate"].as_f64()?;
    let interval = &median["confidence_interval"];
    let mut figures = Map::new();
    figures.insert("median_ns".into(), json!(nanos));
    figures.insert("median_low_ns".into(), interval["lower_bound"].clone());
    figures.insert("median_high_ns".into(), interval["upper_bound"].clone());
    let counted = [("Elements", "elements/s"), ("Bytes", "bytes/s")];
    let each = counted.iter().find_map(|(name, unit)| Some((throughput[*name].as_f64()?, *unit)));
    let (rate, unit) =
        each.map_or((None, None), |(each, unit)| (Some(each * 1e9 / nanos), Some(unit)));
    figures.insert("throughput".into(), json!(rate));
    figures.insert("unit".into(), json!(unit));
    Some(figures)
}

fn read(path: &Path) -> Check<Value> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn modified(path: &Path) -> Check<SystemTime> {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.map_err(|error| format!("{}: {error}", path.display()))
}

/// All files below `directory`, sorted; none if there is no such directory.
fn files(directory: &Path) -> Check<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        if !directory.is_dir() {
            continue;
        }
        let told = |error: std::io::Error| format!("{}: {error}", directory.display());
        for entry in std::fs::read_dir(&directory).map_err(told)? {
            let path = entry.map_err(told)?.path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::fs;

    const ABOUT: &str = r#"{"group_id":"put/3-replicas","full_id":"put/3-replicas/64",
        "throughput":{"Elements":4}}"#;
    const ESTIMATES: &str = r#"{"median":{"point_estimate":2000.0,"standard_error":1.0,
        "confidence_interval":{"confidence_level":0.95,"lower_bound":1900.0,"upper_bound":2100.0}}}"#;

    fn target() -> tempfile::TempDir {
        let target = tempfile::tempdir().unwrap();
        let report = target.path().join("criterion/put_3-replicas/64/new");
        fs::create_dir_all(&report).unwrap();
        fs::write(report.join("benchmark.json"), ABOUT).unwrap();
        fs::write(report.join("estimates.json"), ESTIMATES).unwrap();
        let own = target.path().join("tmp");
        axon_benches::bench::note(
            own.to_str().unwrap(),
            "put/3-replicas/64",
            json!({ "syncs": 7, "entries_per_sync": 12.5 }),
        );
        target
    }

    #[test]
    fn times_rates_and_notes_of_a_benchmark_stand_together() {
        let target = target();
        let out = target.path().join("bench.json");
        let args =
            Args { target: target.path().into(), since: None, out: out.clone(), against: None };
        run(&args).unwrap();
        let summary = read(&out).unwrap();
        let [bench] = &summary["benches"].as_array().unwrap()[..] else { panic!("{summary}") };
        assert_eq!(bench["id"], "put/3-replicas/64");
        assert_eq!(
            (&bench["median_ns"], &bench["median_high_ns"]),
            (&json!(2000.0), &json!(2100.0))
        );
        assert_eq!((&bench["throughput"], &bench["unit"]), (&json!(2e6), &json!("elements/s")));
        assert_eq!((&bench["syncs"], &bench["entries_per_sync"]), (&json!(7), &json!(12.5)));
    }

    #[test]
    fn what_is_older_than_the_run_does_not_count() {
        let target = target();
        let since = target.path().join("begun");
        let begun = fs::File::create(&since).unwrap();
        begun.set_modified(SystemTime::now() + std::time::Duration::from_mins(1)).unwrap();
        let out = target.path().join("bench.json");
        let args = Args {
            target: target.path().into(),
            since: Some(since),
            out: out.clone(),
            against: None,
        };
        assert_eq!(run(&args).unwrap_err(), "no benchmark was run");
        assert!(!out.exists());
    }

    #[test]
    fn without_a_throughput_there_is_no_rate() {
        let estimates: Value = serde_json::from_str(ESTIMATES).unwrap();
        let figures = figures(&Value::Null, &estimates).unwrap();
        assert_eq!((&figures["throughput"], &figures["unit"]), (&Value::Null, &Value::Null));
    }
}
