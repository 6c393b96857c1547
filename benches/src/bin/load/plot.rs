//! Figures as one picture in SVG: a row of two charts for each thing that was measured.

use crate::Check;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::Path;

/// Pixels of one chart.
const CHART: (u32, u32) = (560, 360);

/// The height of a row's title.
const TITLE: u32 = 28;

/// For curves that have no colour of their own.
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 98, 184), RGBColor(200, 80, 20), RGBColor(0, 138, 90), RGBColor(130, 60, 160)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A row: two charts over the same axis.
pub struct Picture {
    pub title: String,
    /// What the places on the axis are, and each one's name. They are counted, not measured: 1, 16, 64
    /// and 256 clients stand at equal distances.
    pub axis: String,
    pub places: Vec<String>,
    pub charts: [Chart; 2],
}

/// Curves over one scale.
pub struct Chart {
    pub title: String,
    /// Whether the scale is logarithmic.
    pub log: bool,
    pub curves: Vec<Curve>,
}

/// What it is called, its colour, whether it is the lesser one, and a value for each place.
pub struct Curve {
    pub label: String,
    pub color: RGBColor,
    pub dashed: bool,
    pub values: Vec<Option<f64>>,
}

impl Curve {
    /// The `number`th of curves without a colour of their own.
    pub fn numbered(number: usize, label: String, values: Vec<Option<f64>>) -> Self {
        Self { label, color: COLORS[number % COLORS.len()], dashed: number >= COLORS.len(), values }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> + Clone + '_ {
        let values = self.values.iter().enumerate();
        values.filter_map(|(at, value)| Some((at as f64, (*value)?)))
    }
}

/// Draws all of `pictures` to `path`.
pub fn draw(pictures: &[Picture], path: &Path) -> Check {
    if pictures.is_empty() {
        return Ok(());
    }
    let height = (CHART.1 + TITLE) * pictures.len() as u32;
    let root = SVGBackend::new(path, (CHART.0 * 2, height)).into_drawing_area();
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| told(&error))?;
    for (picture, row) in pictures.iter().zip(root.split_evenly((pictures.len(), 1))) {
        draw_row(picture, &row).map_err(|error| told(&error))?;
    }
    root.present().map_err(|error| told(&error))
}

fn draw_row(picture: &Picture, row: &Area<'_>) -> Check {
    let title = picture.title.as_str();
    let row = row.titled(title, ("sans-serif", 20)).map_err(|error| error.to_string())?;
    let (left, right) = row.split_horizontally(CHART.0);
    for (area, chart) in [left, right].iter().zip(&picture.charts) {
        match extent(&chart.curves) {
            Some((lowest, highest)) if chart.log && lowest > 0.0 => {
                let scale = (lowest / 1.5..highest * 1.5).log_scale();
                draw_chart(area, picture, chart, scale)?;
            }
            extent => {
                let highest = extent.map_or(1.0, |(_, highest)| highest).max(1e-9);
                draw_chart(area, picture, chart, 0.0..highest * 1.1)?;
            }
        }
    }
    Ok(())
}

fn extent(curves: &[Curve]) -> Option<(f64, f64)> {
    let values = || curves.iter().flat_map(Curve::points).map(|point| point.1);
    Some((values().reduce(f64::min)?, values().reduce(f64::max)?))
}

fn draw_chart<Y>(
    area: &Area<'_>,
    picture: &Picture,
    chart: &Chart,
    scale: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
) -> Check
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let told = |error: DrawingAreaErrorKind<_>| -> String { format!("{error}") };
    let last = picture.places.len().saturating_sub(1) as f64;
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 16))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..last + 0.2, scale)
        .map_err(told)?;
    let name = |place: &f64| {
        let at = place.round();
        let exact = (place - at).abs() < 0.01 && at >= 0.0;
        picture.places.get(at as usize).filter(|_| exact).cloned().unwrap_or_default()
    };
    context
        .configure_mesh()
        .x_desc(&picture.axis)
        .x_labels(picture.places.len().max(2) * 2)
        .x_label_formatter(&name)
        .y_label_formatter(&|value| format!("{value}"))
        .disable_x_mesh()
        .max_light_lines(0)
        .draw()
        .map_err(told)?;
    for curve in &chart.curves {
        let (color, dashed) = (curve.color, curve.dashed);
        let style = color.stroke_width(2);
        let marks = curve.points().map(|point| Circle::new(point, 3, color.filled()));
        let drawn = if dashed {
            context.draw_series(DashedLineSeries::new(curve.points(), 6, 4, style))
        } else {
            context.draw_series(LineSeries::new(curve.points(), style))
        };
        drawn.map_err(told)?.label(&curve.label).legend(move |(x, y)| {
            let length = if dashed { 10 } else { 20 };
            PathElement::new([(x, y), (x + length, y)], color.stroke_width(2))
        });
        context.draw_series(marks).map_err(told)?;
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(told)
}
