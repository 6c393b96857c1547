//! A summary beside the one that the repository holds: what has become slower?
//!
//! Hides how that is judged. Of two machines, or of one on two days, figures differ by what the machines
//! can do: the benchmarks `machine/...` stand first, and say how much.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How much slower, beyond what each run's own spread explains, a benchmark is when it is pointed out.
const NOTABLE: f64 = 1.1;

/// What is set side by side of a benchmark.
#[derive(Debug, Clone, Copy)]
struct Figures {
    median: f64,
    low: f64,
    high: f64,
    cpu: Option<f64>,
    entries_per_sync: Option<f64>,
}

/// Returns a table of `now` beside `recorded`, by benchmark, and under it what is missing or slower.
pub fn table(now: &Value, recorded: &Value) -> String {
    let (now, recorded) = (benches(now), benches(recorded));
    let width = now.keys().map(String::len).max().unwrap_or_default();
    let mut text = format!(
        "{:width$}  {:>10}  {:>10}  {:>6}  {:>6}  {:>12}\n",
        "", "recorded", "now", "time", "CPU", "entries/sync"
    );
    let mut slower = Vec::new();
    // The machine's own come first: they are what all others are read by.
    let by_machine = |machine: bool| now.iter().filter(move |(id, _)| is_machine(id) == machine);
    for (id, figures) in by_machine(true).chain(by_machine(false)) {
        let Some(before) = recorded.get(id) else {
            let _ = writeln!(text, "{id:width$}  {:>10}  {:>10}", "-", time(figures.median));
            continue;
        };
        let ratio = |of: fn(&Figures) -> Option<f64>| match (of(figures), of(before)) {
            (Some(now), Some(before)) if before > 0.0 => format!("{:.2} x", now / before),
            _ => "-".to_owned(),
        };
        let _ = writeln!(
            text,
            "{id:width$}  {:>10}  {:>10}  {:>6}  {:>6}  {:>12}",
            time(before.median),
            time(figures.median),
            ratio(|figures| Some(figures.median)),
            ratio(|figures| figures.cpu),
            ratio(|figures| figures.entries_per_sync),
        );
        if figures.low > before.high * NOTABLE && !is_machine(id) {
            slower.push(id.as_str());
        }
    }
    let missing: Vec<&str> =
        recorded.keys().filter(|id| !now.contains_key(*id)).map(String::as_str).collect();
    for (what, ids) in [("slower than recorded", slower), ("recorded, and not run", missing)] {
        if !ids.is_empty() {
            let _ = writeln!(text, "{what}: {}", ids.join(", "));
        }
    }
    text
}

fn is_machine(id: &str) -> bool {
    id.starts_with("machine/")
}

/// The benchmarks of a summary that were timed.
fn benches(summary: &Value) -> BTreeMap<String, Figures> {
    let benches = summary["benches"].as_array().into_iter().flatten();
    let figures = |bench: &Value| {
        Some(Figures {
            median: bench["median_ns"].as_f64()?,
            low: bench["median_low_ns"].as_f64()?,
            high: bench["median_high_ns"].as_f64()?,
            cpu: bench["cpu_us"].as_f64(),
            entries_per_sync: bench["entries_per_sync"].as_f64(),
        })
    };
    benches.filter_map(|bench| Some((bench["id"].as_str()?.to_owned(), figures(bench)?))).collect()
}

fn time(nanos: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
    let (each, unit) = units.into_iter().find(|(each, _)| nanos >= *each).unwrap_or((1.0, "ns"));
    format!("{:.3} {unit}", nanos / each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bench(id: &str, median: f64, cpu: f64) -> Value {
        json!({ "id": id, "median_ns": median, "median_low_ns": median * 0.98,
            "median_high_ns": median * 1.02, "cpu_us": cpu })
    }

    fn lines(now: &[Value], recorded: &[Value]) -> Vec<String> {
        let table = table(&json!({ "benches": now }), &json!({ "benches": recorded }));
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn each_benchmark_stands_beside_what_was_recorded_of_it() {
        let now =
            [bench("get", 2_000.0, 3.0), bench("machine/a sync", 2e6, 0.0), bench("new", 5.0, 1.0)];
        let recorded = [
            bench("get", 1_000.0, 2.0),
            bench("gone", 1.0, 1.0),
            bench("machine/a sync", 1e6, 0.0),
        ];
        assert_eq!(
            lines(&now, &recorded)[1..],
            [
                "machine/a sync 1.000 ms 2.000 ms 2.00 x - -",
                "get 1.000 us 2.000 us 2.00 x 1.50 x -",
                "new - 5.000 ns",
                "slower than recorded: get",
                "recorded, and not run: gone",
            ]
        );
    }

    #[test]
    fn what_the_spread_explains_is_not_pointed_out() {
        let found = lines(&[bench("put", 1_120.0, 1.0)], &[bench("put", 1_000.0, 1.0)]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
