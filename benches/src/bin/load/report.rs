//! What came out, for people (a table) and for programs (JSON).

use crate::args::{Args, Target};
use crate::figures::{Cell, Figure, Results, Run};
use crate::plot::{Chart, Curve, Picture};
use crate::work::Op;
use plotters::style::RGBColor;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What was measured with what.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Target and what it says of its version.
    pub versions: Vec<(Target, String)>,
    /// Milliseconds of a sync, alone and three at once: medians.
    pub syncs_ms: Option<(f64, f64)>,
}

/// The figures of one run in a line, for who waits.
pub fn line(run: &Run) -> String {
    let figure = |figure: Figure| number(run.figure(figure));
    let mut line = format!(
        "{:>9}  {:<8}  {:>5} clients  pair {}:  {:>7} op/s  p50 {} ms  p99 {} ms  CPU {} us/op",
        run.op.name(),
        run.target.name(),
        run.clients,
        run.pair + 1,
        figure(Figure::Throughput),
        figure(Figure::P50),
        figure(Figure::P99),
        figure(Figure::ServerCpu),
    );
    for (kind, count) in &run.measured.errors {
        let _ = write!(line, "  {count} x {kind}");
    }
    line
}

/// The medians, and the ratios of the first target to each other.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    let mut op = None;
    for cell in results.cells() {
        if op.replace(cell.op) != Some(cell.op) {
            let _ = write!(text, "\n{:<9} clients  {:<15}", cell.op.name(), "");
            for figure in Figure::shown(cell.op) {
                let _ = write!(text, "  {:>1$}", figure.heading(), width(figure));
            }
            text.push('\n');
        }
        rows(&mut text, results, cell);
    }
    if results.targets().contains(&Target::Embedded) {
        text.push_str(
            "\nembedded: servers and clients are one process; CPU and memory are of it as a whole\n",
        );
    }
    text
}

fn rows(text: &mut String, results: &Results, cell: Cell) {
    let targets = results.targets();
    for target in &targets {
        let _ = write!(text, "{:<9} {:>7}  {:<15}", "", cell.clients, target.name());
        for figure in Figure::shown(cell.op) {
            let value = number(results.median(cell, *target, figure));
            let _ = write!(text, "  {value:>0$}", width(figure));
        }
        text.push('\n');
    }
    let Some((first, others)) = targets.split_first() else { return };
    for other in others {
        let name = format!("{} / {}", first.name(), other.name());
        let _ = write!(text, "{:<9} {:>7}  {name:<15}", "", cell.clients);
        for figure in Figure::shown(cell.op) {
            let ratio = figure.is_compared().then(|| results.ratio(cell, *first, *other, figure));
            let value = ratio.flatten().map_or(String::new(), |ratio| format!("{ratio:.2} x"));
            let _ = write!(text, "  {value:>0$}", width(figure));
        }
        text.push('\n');
    }
}

fn width(figure: Figure) -> usize {
    figure.heading().len().max(8)
}

/// Three digits, or all before the point.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(0.0) => "0".into(),
        Some(value) if value < 10.0 => format!("{value:.2}"),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// Everything, for programs. `complete` says whether every run that was asked for is in it.
pub fn json(args: &Args, around: &Surroundings, results: &Results, complete: bool) -> Value {
    let targets = results.targets();
    let (mut medians, mut ratios) = (Vec::new(), Vec::new());
    for cell in results.cells() {
        for (at, target) in targets.iter().enumerate() {
            let figure = |figure| results.median(cell, *target, figure);
            let whose = [("target", target.name())];
            medians.push(figures(cell, &whose, &Figure::of(cell.op), figure));
            if at > 0 {
                let figure = |figure| results.ratio(cell, targets[0], *target, figure);
                let whose = [("of", targets[0].name()), ("to", target.name())];
                let compared: Vec<Figure> =
                    Figure::of(cell.op).into_iter().filter(|figure| figure.is_compared()).collect();
                ratios.push(figures(cell, &whose, &compared, figure));
            }
        }
    }
    let versions: Map<String, Value> =
        around.versions.iter().map(|(of, version)| (of.name().into(), json!(version))).collect();
    json!({
        "format": 1,
        "complete": complete,
        "versions": versions,
        "machine": {
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "sync_ms": around.syncs_ms.map(|syncs| syncs.0),
            "sync_ms_three_at_once": around.syncs_ms.map(|syncs| syncs.1),
        },
        "settings": {
            "pairs": args.pairs,
            "seconds": args.seconds,
            "warmup": args.warmup,
            "deadline": args.deadline,
            "keys": args.keys,
            "key_bytes": crate::work::KEY_BYTES,
            "value_bytes": args.value_bytes,
            "put_percent": args.put_percent,
            "seed": args.seed,
            "etcd_connections": args.etcd_connections,
            "axon_arg": args.axon_arg,
            "etcd_arg": args.etcd_arg,
        },
        "runs": results.0.iter().map(one).collect::<Vec<_>>(),
        "medians": medians,
        "ratios": ratios,
    })
}

fn one(run: &Run) -> Value {
    let cell = Cell { op: run.op, clients: run.clients };
    let whose = [("target", run.target.name())];
    let mut value = figures(cell, &whose, &Figure::of(run.op), |figure| run.figure(figure));
    value["pair"] = json!(run.pair + 1);
    value["first_client_on_leader"] = json!(run.first_on_leader);
    value["operations"] = json!(run.measured.operations);
    value["seconds"] = json!(run.measured.elapsed.as_secs_f64());
    value["errors_by_kind"] = json!(run.measured.errors);
    value["memory_bytes"] = json!(run.measured.memory);
    value["load_average_before"] = json!(run.measured.load_before);
    value
}

fn figures(
    cell: Cell,
    whose: &[(&str, &str)],
    which: &[Figure],
    figure: impl Fn(Figure) -> Option<f64>,
) -> Value {
    let mut value = json!({ "op": cell.op.name(), "clients": cell.clients });
    for (member, name) in whose {
        value[*member] = json!(name);
    }
    for one in which {
        value[one.name()] = json!(figure(*one));
    }
    value
}

/// Throughput and latency against clients: a picture an operation.
pub fn pictures(results: &Results) -> Vec<Picture> {
    let mut ops: Vec<Op> = Vec::new();
    for cell in results.cells() {
        if !ops.contains(&cell.op) {
            ops.push(cell.op);
        }
    }
    ops.into_iter().map(|op| picture(results, op)).collect()
}

fn picture(results: &Results, op: Op) -> Picture {
    let cells: Vec<Cell> = results.cells().into_iter().filter(|cell| cell.op == op).collect();
    let curve = |target: Target, figure: Figure, name: &str, dashed: bool| Curve {
        label: format!("{}{name}", target.name()),
        color: color(target),
        dashed,
        values: cells.iter().map(|cell| results.median(*cell, target, figure)).collect(),
    };
    let targets = results.targets();
    let rates =
        targets.iter().map(|target| curve(*target, Figure::Throughput, "", false)).collect();
    let (lesser, greater) = match op {
        Op::Mixed => ((Figure::GetP99, " get p99"), (Figure::PutP99, " put p99")),
        Op::Put | Op::Get | Op::LocalGet => ((Figure::P50, " p50"), (Figure::P99, " p99")),
    };
    let times = targets.iter().flat_map(|target| {
        [curve(*target, lesser.0, lesser.1, false), curve(*target, greater.0, greater.1, true)]
    });
    Picture {
        title: op.name().into(),
        axis: "clients".into(),
        places: cells.iter().map(|cell| cell.clients.to_string()).collect(),
        charts: [
            Chart { title: "operations a second".into(), log: false, curves: rates },
            Chart { title: "latency in ms".into(), log: true, curves: times.collect() },
        ],
    }
}

fn color(target: Target) -> RGBColor {
    match target {
        Target::Axon => RGBColor(0, 98, 184),
        Target::Embedded => RGBColor(0, 138, 90),
        Target::Etcd => RGBColor(200, 80, 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Program;
    use crate::figures::tests::run;
    use clap::Parser;

    fn results() -> Results {
        Results(vec![run(Target::Axon, 64, 0, 300, 1), run(Target::Etcd, 64, 0, 100, 4)])
    }

    #[test]
    fn the_table_has_a_line_a_target_and_one_for_the_ratio() {
        let table = table(&results());
        let lines: Vec<&str> = table.lines().filter(|line| line.contains(" 64 ")).collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[2].contains("axon / etcd") && lines[2].contains("3.00 x"), "{table}");
        assert!(lines[2].contains("0.25 x"), "{table}");
    }

    #[test]
    fn programs_find_medians_and_ratios_by_name() {
        let args = Program::parse_from(["load"]).args;
        let json = json(&args, &Surroundings::default(), &results(), true);
        assert_eq!(json["ratios"][0]["operations_per_second"], 3.0);
        assert_eq!(json["medians"][1]["target"], "etcd");
        assert_eq!(json["runs"][0]["errors_by_kind"]["deadline"], 1);
        assert_eq!(json["runs"][0]["server_cpu_us_per_operation"], 1000.0);
    }
}
