//! From what runs measured to figures, their medians over the pairs, and the ratios of two targets.

use crate::args::Target;
use crate::drive::Measured;
use crate::work::Op;
use hdrhistogram::Histogram;
use std::time::Duration;

/// One figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Throughput,
    P50,
    P90,
    P99,
    P999,
    Max,
    ServerCpu,
    ClientCpu,
    Syncs,
    Entries,
    Memory,
    Errors,
    PutP50,
    PutP99,
    PutP999,
    GetP50,
    GetP99,
    GetP999,
}

impl Figure {
    /// Those of every run.
    pub const ALL: [Self; 12] = [
        Self::Throughput,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Max,
        Self::ServerCpu,
        Self::ClientCpu,
        Self::Syncs,
        Self::Entries,
        Self::Memory,
        Self::Errors,
    ];

    /// Those that a run has besides when it both writes and reads.
    pub const APART: [Self; 6] =
        [Self::PutP50, Self::PutP99, Self::PutP999, Self::GetP50, Self::GetP99, Self::GetP999];

    /// Those that `op` has, for programs.
    pub fn of(op: Op) -> Vec<Self> {
        let apart: &[Self] = if op == Op::Mixed { &Self::APART } else { &[] };
        [&Self::ALL, apart].concat()
    }

    /// Those that are shown of `op` to people, in their order.
    pub fn shown(op: Op) -> Vec<Self> {
        if op != Op::Mixed {
            return Self::ALL.into();
        }
        // What both took together says little.
        let (rate, rest) = (&Self::ALL[..1], &Self::ALL[6..]);
        [rate, &Self::APART, rest].concat()
    }

    /// Its name in JSON, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "operations_per_second",
            Self::P50 => "p50_ms",
            Self::P90 => "p90_ms",
            Self::P99 => "p99_ms",
            Self::P999 => "p999_ms",
            Self::Max => "max_ms",
            Self::ServerCpu => "server_cpu_us_per_operation",
            Self::ClientCpu => "client_cpu_us_per_operation",
            Self::Syncs => "syncs_per_operation",
            Self::Entries => "entries_per_sync",
            Self::Memory => "memory_mib_per_node",
            Self::Errors => "errors",
            Self::PutP50 => "put_p50_ms",
            Self::PutP99 => "put_p99_ms",
            Self::PutP999 => "put_p999_ms",
            Self::GetP50 => "get_p50_ms",
            Self::GetP99 => "get_p99_ms",
            Self::GetP999 => "get_p999_ms",
        }
    }

    /// Its column in the table.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Throughput => "op/s",
            Self::P50 => "p50 ms",
            Self::P90 => "p90 ms",
            Self::P99 => "p99 ms",
            Self::P999 => "p99.9 ms",
            Self::Max => "max ms",
            Self::ServerCpu => "CPU us/op",
            Self::ClientCpu => "client us",
            Self::Syncs => "syncs/op",
            Self::Entries => "entries/sync",
            Self::Memory => "MiB/node",
            Self::Errors => "errors",
            Self::PutP50 => "put p50",
            Self::PutP99 => "put p99",
            Self::PutP999 => "put p99.9",
            Self::GetP50 => "get p50",
            Self::GetP99 => "get p99",
            Self::GetP999 => "get p99.9",
        }
    }

    /// Reports whether the ratio of two of them says something.
    pub fn is_compared(self) -> bool {
        !matches!(self, Self::Errors | Self::ClientCpu | Self::Entries)
    }
}

/// One run, and whose it was.
#[derive(Debug, Clone)]
pub struct Run {
    pub target: Target,
    pub op: Op,
    pub clients: usize,
    /// Counted from 0.
    pub pair: u64,
    /// Whether the first client asked the node that led.
    pub first_on_leader: Option<bool>,
    pub measured: Measured,
}

impl Run {
    /// A figure of the run; none where it is not known, or nothing was completed.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        self.measured.figure(figure)
    }
}

impl Measured {
    /// A figure of the run; none where it is not known, or nothing was completed.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        let operations = self.operations as f64;
        let all = |share: f64| quantile_ms(&self.latency.all(), share);
        let puts = |share: f64| quantile_ms(&self.latency.puts, share);
        let gets = |share: f64| quantile_ms(&self.latency.gets, share);
        let each = |sum: f64| (operations > 0.0).then_some(sum / operations);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        match figure {
            Figure::Throughput => Some(operations / self.elapsed.as_secs_f64()),
            Figure::P50 => all(0.5),
            Figure::P90 => all(0.9),
            Figure::P99 => all(0.99),
            Figure::P999 => all(0.999),
            Figure::Max => all(1.0),
            Figure::PutP50 => puts(0.5),
            Figure::PutP99 => puts(0.99),
            Figure::PutP999 => puts(0.999),
            Figure::GetP50 => gets(0.5),
            Figure::GetP99 => gets(0.99),
            Figure::GetP999 => gets(0.999),
            Figure::ServerCpu => each(micros(self.server_cpu?)),
            Figure::ClientCpu => each(micros(self.own_cpu)),
            Figure::Syncs => each(self.counters.syncs? as f64),
            Figure::Entries => {
                let (entries, syncs) = (self.counters.entries?, self.counters.syncs?);
                (syncs > 0).then_some(entries as f64 / syncs as f64)
            }
            Figure::Memory => {
                self.memory.iter().max().map(|bytes| *bytes as f64 / f64::from(1 << 20))
            }
            Figure::Errors => Some(self.errors.values().sum::<u64>() as f64),
        }
    }
}

/// The milliseconds that a share of all requests was done in; none if there were none.
pub fn quantile_ms(latency: &Histogram<u32>, share: f64) -> Option<f64> {
    (!latency.is_empty()).then(|| latency.value_at_quantile(share) as f64 / 1e6)
}

/// What runs have in common that are compared, or whose median is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub op: Op,
    pub clients: usize,
}

/// All runs.
#[derive(Debug, Default)]
pub struct Results(pub Vec<Run>);

impl Results {
    /// The cells that have runs, in their order.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for run in &self.0 {
            let cell = Cell { op: run.op, clients: run.clients };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells
    }

    /// The targets that have runs, in their order.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for run in &self.0 {
            if !targets.contains(&run.target) {
                targets.push(run.target);
            }
        }
        targets
    }

    /// The median of a figure over the pairs.
    pub fn median(&self, cell: Cell, target: Target, figure: Figure) -> Option<f64> {
        median(self.runs(cell, target).filter_map(|run| run.figure(figure)).collect())
    }

    /// The median over the pairs of the ratio of a figure of `one` to that of `other`, each pair by
    /// itself: what made both slow at one time leaves their ratio alone.
    pub fn ratio(&self, cell: Cell, one: Target, other: Target, figure: Figure) -> Option<f64> {
        let ratio = |run: &Run| {
            let partner = self.runs(cell, other).find(|partner| partner.pair == run.pair)?;
            let below = partner.figure(figure).filter(|value| *value > 0.0)?;
            Some(run.figure(figure)? / below)
        };
        median(self.runs(cell, one).filter_map(ratio).collect())
    }

    fn runs(&self, cell: Cell, target: Target) -> impl Iterator<Item = &Run> {
        self.0.iter().filter(move |run| {
            run.target == target && (Cell { op: run.op, clients: run.clients }) == cell
        })
    }
}

/// The middle of `values`; none of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        return values.get(middle).copied();
    }
    Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, *values.get(middle)?))
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::counters::Counters;
    use crate::drive::Latency;
    use std::collections::BTreeMap;

    /// A run of one second with so many operations of so many milliseconds.
    pub fn run(target: Target, clients: usize, pair: u64, operations: u64, millis: u64) -> Run {
        let mut latency = Latency::new().unwrap();
        latency.puts.record_n(millis * 1_000_000, u32::try_from(operations).unwrap()).unwrap();
        let measured = Measured {
            operations,
            elapsed: Duration::from_secs(1),
            latency,
            errors: BTreeMap::from([("deadline".into(), 1)]),
            server_cpu: Some(Duration::from_millis(operations)),
            own_cpu: Duration::ZERO,
            memory: vec![1 << 20, 3 << 20],
            counters: Counters { syncs: Some(operations / 2), entries: Some(operations * 3) },
            load_before: 0.5,
        };
        Run { target, op: Op::Put, clients, pair, first_on_leader: Some(true), measured }
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn figures_are_per_operation() {
        let run = run(Target::Axon, 1, 0, 100, 2);
        let figure = |figure| run.figure(figure).unwrap();
        assert!((figure(Figure::P99) - 2.0).abs() < 0.01);
        assert!((figure(Figure::ServerCpu) - 1000.0).abs() < 1e-6);
        assert!((figure(Figure::Entries) - 6.0).abs() < 1e-6);
        assert!((figure(Figure::Memory) - 3.0).abs() < 1e-6);
        assert!((figure(Figure::Errors) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn writes_and_reads_of_a_mixture_are_told_apart() {
        let mut run = run(Target::Axon, 1, 0, 100, 8);
        run.measured.latency.gets.record_n(1_000_000, 300).unwrap();
        let figure = |figure| run.figure(figure).unwrap().round();
        assert_eq!((figure(Figure::PutP50), figure(Figure::GetP999)), (8.0, 1.0));
        assert_eq!((figure(Figure::P50), figure(Figure::P90)), (1.0, 8.0));
        assert!(Figure::of(Op::Mixed).contains(&Figure::P99));
        assert!(!Figure::shown(Op::Mixed).contains(&Figure::P99));
        assert_eq!(Figure::shown(Op::Put), Figure::of(Op::Put));
    }

    #[test]
    fn a_run_without_an_operation_has_no_latency_and_no_cost() {
        let run = run(Target::Axon, 1, 0, 0, 2);
        assert_eq!((run.figure(Figure::P50), run.figure(Figure::ServerCpu)), (None, None));
        assert_eq!(run.figure(Figure::Throughput), Some(0.0));
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_ratios() {
        let mut results = Results::default();
        for (pair, axon, etcd) in [(0, 40, 10), (1, 20, 10), (2, 90, 30)] {
            results.0.push(run(Target::Axon, 4, pair, axon, 1));
            results.0.push(run(Target::Etcd, 4, pair, etcd, 3));
        }
        let cell = results.cells()[0];
        let ratio = results.ratio(cell, Target::Axon, Target::Etcd, Figure::Throughput);
        assert_eq!(ratio, Some(3.0));
        assert_eq!(results.median(cell, Target::Axon, Figure::Throughput), Some(40.0));
    }
}
