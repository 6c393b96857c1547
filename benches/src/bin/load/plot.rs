//! Throughput and latency against clients, as one picture in SVG: a row an operation.

use crate::Check;
use crate::args::Target;
use crate::figures::{Cell, Figure, Results};
use crate::work::Op;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::Path;

/// Pixels of one chart.
const CHART: (u32, u32) = (560, 360);

/// The height of a row's title.
const TITLE: u32 = 28;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A chart's curves: what each is called, its colour, and whether it is the lesser one.
struct Curve {
    label: String,
    color: RGBColor,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

/// Draws all operations of `results` to `path`.
pub fn draw(results: &Results, path: &Path) -> Check {
    let mut ops: Vec<Op> = Vec::new();
    for cell in results.cells() {
        if !ops.contains(&cell.op) {
            ops.push(cell.op);
        }
    }
    if ops.is_empty() {
        return Ok(());
    }
    let height = (CHART.1 + TITLE) * ops.len() as u32;
    let root = SVGBackend::new(path, (CHART.0 * 2, height)).into_drawing_area();
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| told(&error))?;
    for (op, row) in ops.iter().zip(root.split_evenly((ops.len(), 1))) {
        draw_row(results, *op, &row).map_err(|error| told(&error))?;
    }
    root.present().map_err(|error| told(&error))
}

fn draw_row(results: &Results, op: Op, row: &Area<'_>) -> Check {
    let row = row.titled(op.name(), ("sans-serif", 20)).map_err(|error| error.to_string())?;
    let (left, right) = row.split_horizontally(CHART.0);
    let cells: Vec<Cell> = results.cells().into_iter().filter(|cell| cell.op == op).collect();
    let clients: Vec<usize> = cells.iter().map(|cell| cell.clients).collect();
    let curve = |target: Target, figure: Figure, name: &str, dashed: bool| Curve {
        label: format!("{}{name}", target.name()),
        color: color(target),
        dashed,
        points: points(&cells, |cell| results.median(cell, target, figure)),
    };
    let targets = results.targets();
    let rates: Vec<Curve> =
        targets.iter().map(|target| curve(*target, Figure::Throughput, "", false)).collect();
    let times: Vec<Curve> = targets
        .iter()
        .flat_map(|target| {
            [curve(*target, Figure::P50, " p50", false), curve(*target, Figure::P99, " p99", true)]
        })
        .collect();
    let highest = extent(&rates).map_or(1.0, |(_, highest)| highest);
    chart(&left, "operations a second", &clients, 0.0..highest * 1.1, &rates)?;
    let (lowest, highest) = extent(&times).unwrap_or((0.1, 1.0));
    let scale = (lowest / 1.5..highest * 1.5).log_scale();
    chart(&right, "latency in ms", &clients, scale, &times)
}

/// Places on the axis are counted, not measured: 1, 16, 64 and 256 clients stand at equal distances.
fn points(cells: &[Cell], value: impl Fn(Cell) -> Option<f64>) -> Vec<(f64, f64)> {
    let place = |(at, cell): (usize, &Cell)| Some((at as f64, value(*cell)?));
    cells.iter().enumerate().filter_map(place).collect()
}

fn extent(curves: &[Curve]) -> Option<(f64, f64)> {
    let values = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let (lowest, highest) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    (lowest > 0.0).then_some((lowest, highest))
}

fn color(target: Target) -> RGBColor {
    match target {
        Target::Axon => RGBColor(0, 98, 184),
        Target::Embedded => RGBColor(0, 138, 90),
        Target::Etcd => RGBColor(200, 80, 20),
    }
}

fn chart<Y>(
    area: &Area<'_>,
    title: &str,
    clients: &[usize],
    scale: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    curves: &[Curve],
) -> Check
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let told = |error: DrawingAreaErrorKind<_>| -> String { format!("{error}") };
    let last = (clients.len() - 1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..last + 0.2, scale)
        .map_err(told)?;
    let name = |place: &f64| {
        let at = place.round();
        let clients = clients.get(at as usize).filter(|_| (place - at).abs() < 0.01 && at >= 0.0);
        clients.map(usize::to_string).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .x_desc("clients")
        .x_labels(clients.len().max(2) * 2)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| format!("{value}"))
        .disable_x_mesh()
        .max_light_lines(0)
        .draw()
        .map_err(told)?;
    for Curve { label, color, dashed, points } in curves {
        let style = color.stroke_width(2);
        let marks = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
        let drawn = if *dashed {
            chart.draw_series(DashedLineSeries::new(points.iter().copied(), 6, 4, style))
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), style))
        };
        let (color, dashed) = (*color, *dashed);
        drawn.map_err(told)?.label(label).legend(move |(x, y)| {
            let length = if dashed { 10 } else { 20 };
            PathElement::new([(x, y), (x + length, y)], color.stroke_width(2))
        });
        chart.draw_series(marks).map_err(told)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(told)
}
