//! What a line of a node's log says of itself: when it was written, and how bad it is. Pure.
//!
//! Nodes write `2026-01-02T03:04:05.678901Z  INFO text`, or objects with `timestamp` and `level`. Anything
//! else, such as the end of a panic, has neither and belongs to the line before it.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "LogLevel"))]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something is broken.
    Error,
}

/// A line, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "LogLine"))]
pub struct Line {
    /// When it was written, in milliseconds since 1970, if it says so.
    pub time: Option<u64>,
    /// How bad it is, if it says so.
    pub level: Option<Level>,
    /// The line, without colours.
    pub text: String,
}

impl Line {
    /// Reads what a line says of itself.
    pub fn parse(text: String) -> Self {
        let (time, level) = if text.starts_with('{') { of_object(&text) } else { of_text(&text) };
        Self { time, level, text }
    }
}

/// Which lines are asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// At least as bad as this.
    pub level: Option<Level>,
    /// With this in them, whatever the case; in lower case here.
    pub text: Option<String>,
    /// Whether the last line that said how bad it is was bad enough.
    went_on: Option<bool>,
}

impl Wanted {
    /// Asks for lines of a level at least, with a text.
    pub fn new(level: Option<Level>, text: Option<&str>) -> Self {
        Self { level, text: text.map(str::to_lowercase), went_on: None }
    }

    /// Reports whether a line is asked for. To be asked of all lines, in order.
    pub fn takes(&mut self, line: &Line) -> bool {
        let bad_enough = match (self.level, line.level) {
            (None, _) => true,
            (Some(least), Some(level)) => level >= least,
            (Some(_), None) => self.went_on.unwrap_or(true),
        };
        self.went_on = Some(bad_enough);
        bad_enough && self.text.as_ref().is_none_or(|text| line.text.to_lowercase().contains(text))
    }
}

fn of_text(text: &str) -> (Option<u64>, Option<Level>) {
    let mut words = text.split_ascii_whitespace();
    let Some(time) = words.next().and_then(millis) else { return (None, None) };
    (Some(time), words.next().and_then(level))
}

fn of_object(text: &str) -> (Option<u64>, Option<Level>) {
    #[derive(Deserialize)]
    struct Object {
        timestamp: Option<String>,
        level: Option<String>,
    }
    let Ok(object) = serde_json::from_str::<Object>(text) else { return (None, None) };
    (object.timestamp.as_deref().and_then(millis), object.level.as_deref().and_then(level))
}

/// A level by its name, whatever the case.
pub fn level(name: &str) -> Option<Level> {
    serde_json::from_value(name.to_ascii_lowercase().into()).ok()
}

/// Reads a moment such as `2026-01-02T03:04:05.678901Z`, as milliseconds since 1970.
fn millis(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let hour: u64 = time.next()?.parse().ok()?;
    let minute: u64 = time.next()?.parse().ok()?;
    let seconds: f64 = time.next()?.parse().ok()?;
    let is_moment = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && (0.0..61.0).contains(&seconds);
    if !is_moment {
        return None;
    }
    // Days since 1970, in years that begin in March: leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    let minutes = (days * 24 + hour) * 60 + minute;
    Some(minutes * 60_000 + (seconds * 1e3) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> (Option<u64>, Option<Level>) {
        let line = Line::parse(text.to_owned());
        (line.time, line.level)
    }

    #[test]
    fn both_formats_say_when_and_how_bad() {
        let text = "2026-11-23T06:35:06.123456Z  WARN axon_server: slow";
        assert_eq!(said(text), (Some(1_795_415_706_123), Some(Level::Warn)));
        let object =
            r#"{"timestamp":"1970-01-01T00:00:01.5Z","level":"ERROR","fields":{"message":"x"}}"#;
        assert_eq!(said(object), (Some(1_500), Some(Level::Error)));
        assert_eq!(said("2000-02-29T00:00:00Z INFO x").0, Some(951_782_400_000));
        assert_eq!(said("2000-03-01T00:00:00Z INFO x").0, Some(951_868_800_000));
    }

    #[test]
    fn other_lines_say_nothing() {
        for text in [
            "",
            "  at src/main.rs",
            "{",
            "{}",
            "[1]",
            "9999999-01-01T00:00:00Z x",
            "2026-13-01T00:00:00Z INFO",
            "2026-01-01T25:00:00Z INFO",
            "T:Z",
            "axon-server: no",
        ] {
            assert_eq!(said(text), (None, None), "{text}");
        }
    }

    #[test]
    fn lines_without_a_level_go_with_the_one_before() {
        let mut wanted = Wanted::new(Some(Level::Warn), None);
        let lines = [
            "start",
            "2026-01-01T00:00:00Z INFO a",
            "  of a",
            "2026-01-01T00:00:00Z ERROR b",
            "  of b",
        ];
        let taken: Vec<_> = lines
            .into_iter()
            .filter(|text| wanted.takes(&Line::parse((*text).to_owned())))
            .collect();
        assert_eq!(taken, ["start", lines[3], "  of b"]);
        let mut wanted = Wanted::new(None, Some("OF"));
        assert_eq!(
            lines.into_iter().filter(|text| wanted.takes(&Line::parse((*text).to_owned()))).count(),
            2
        );
    }
}
