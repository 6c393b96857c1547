//! Figures against something that grows: as a table for people, JSON for programs, and a picture.

use crate::plot::{Chart, Curve, Picture};
use crate::report::number;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A column: what it is called in JSON, with its unit, and in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub heading: &'static str,
}

/// Columns out of their names and headings.
pub fn columns(named: &[(&'static str, &'static str)]) -> Vec<Column> {
    named.iter().map(|(name, heading)| Column { name, heading }).collect()
}

/// What was measured at some places of one axis.
pub struct Table {
    /// What it is called in JSON and on the command line.
    pub name: &'static str,
    pub title: String,
    /// What the places of the axis are.
    pub axis: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// The two charts of its picture: title, and the names of the columns in it.
    pub charts: [(&'static str, Vec<&'static str>); 2],
}

/// One place, and the value of each column there.
pub struct Row {
    pub at: String,
    pub values: Vec<Option<f64>>,
}

impl Row {
    /// It in a line, for who waits.
    pub fn line(&self, table: &Table) -> String {
        let mut line = format!("{:>12} {}:", self.at, table.axis);
        for (column, value) in table.columns.iter().zip(&self.values) {
            let _ = write!(line, "  {} {}", number(*value), column.heading);
        }
        line
    }
}

impl Table {
    /// In Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n| {} |", self.title, self.axis);
        for column in &self.columns {
            let _ = write!(text, " {} |", column.heading);
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.at);
            for value in &row.values {
                let _ = write!(text, " {} |", number(*value));
            }
        }
        text.push('\n');
        text
    }

    /// For programs: an object a row, with the columns' names.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let columns = self.columns.iter().zip(&row.values);
            let mut object: Map<String, Value> =
                columns.map(|(column, value)| (column.name.to_owned(), json!(value))).collect();
            object.insert(self.axis.replace(' ', "_"), json!(row.at));
            Value::Object(object)
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }

    /// For people who would rather see it.
    pub fn picture(&self) -> Picture {
        let chart = |(title, names): &(&str, Vec<&str>)| Chart {
            title: (*title).to_owned(),
            log: true,
            curves: names.iter().enumerate().map(|(at, name)| self.curve(at, name)).collect(),
        };
        Picture {
            title: self.title.clone(),
            axis: self.axis.into(),
            places: self.rows.iter().map(|row| row.at.clone()).collect(),
            charts: [chart(&self.charts[0]), chart(&self.charts[1])],
        }
    }

    fn curve(&self, number: usize, name: &str) -> Curve {
        let at = self.columns.iter().position(|column| column.name == name);
        let at = at.expect("a chart shows columns of its table");
        let values = self.rows.iter().map(|row| row.values[at]).collect();
        Curve::numbered(number, self.columns[at].heading.into(), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            name: "keys",
            title: "A title".into(),
            axis: "keys held",
            columns: columns(&[("get_us", "get us"), ("put_us", "put us")]),
            rows: vec![
                Row { at: "10".into(), values: vec![Some(1.5), None] },
                Row { at: "20".into(), values: vec![Some(200.0), Some(3.0)] },
            ],
            charts: [("gets", vec!["get_us"]), ("puts", vec!["put_us", "get_us"])],
        }
    }

    #[test]
    fn people_get_a_table() {
        let expected = "A title\n\n| keys held | get us | put us |\n|---|---:|---:|\n\
                        | 10 | 1.50 | - |\n| 20 | 200 | 3.00 |\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn programs_find_a_value_by_its_name_and_nothing_where_there_is_none() {
        let json = table().json();
        assert_eq!(json["rows"][1]["get_us"], 200.0);
        assert_eq!(json["rows"][0]["put_us"], Value::Null);
        assert_eq!(json["rows"][0]["keys_held"], "10");
    }

    #[test]
    fn a_picture_has_a_curve_a_column_that_is_asked_for() {
        let picture = table().picture();
        assert_eq!(picture.places, ["10", "20"]);
        assert_eq!(picture.charts[1].curves[0].values, [None, Some(3.0)]);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("plot.svg");
        crate::plot::draw(&[picture], &path).expect("it can be drawn");
        let drawn = std::fs::read_to_string(path).expect("it was drawn");
        assert!(drawn.contains("put us") && drawn.contains("keys held"));
    }
}
