//! `GET /api/v1/events`: what happened, newest first, by page or as lines of JSON.

use crate::events::Filter;
use crate::problem::Problem;
use crate::supervisor::Supervisor;
use crate::wire::Severity;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

/// Events on a page, unless asked otherwise, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> Router<Supervisor> {
    Router::new().route("/api/v1/events", get(list))
}

async fn list(
    State(supervisor): State<Supervisor>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (filter, limit) = parse(&query).map_err(bad)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let lines = accept.is_some_and(|accept| accept.contains(NDJSON));
    // An export is of everything that is kept, which the files bound.
    let limit = limit.unwrap_or(if lines { usize::MAX } else { LIMIT });
    let found = tokio::task::spawn_blocking(move || supervisor.0.events.find(&filter, limit)).await;
    let found = found.map_err(|error| error.to_string());
    let events = found.and_then(|found| found.map_err(|error| error.to_string())).map_err(|e| {
        let error = format!("the events on disk cannot be read: {e}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
    })?;
    if lines {
        let mut body = Vec::new();
        for event in events {
            serde_json::to_writer(&mut body, &event).expect("every shape of the API is JSON");
            body.push(b'\n');
        }
        return Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response());
    }
    let next = events.last().filter(|_| events.len() == limit).map(|event| event.id);
    Ok(Json(json!({ "events": events, "next": next })).into_response())
}

fn bad(error: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", error)
}

fn parse(query: &[(String, String)]) -> Result<(Filter, Option<usize>), String> {
    let (mut filter, mut limit) = (Filter::default(), None);
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        let number = || -> Result<u64, String> {
            // `parse` would take a plus sign too.
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse().ok().filter(|_| digits);
            number.ok_or_else(|| format!("{name} is a whole number, not {value:?}"))
        };
        match name.as_str() {
            "kind" => filter.kinds.extend(value.split(',').map(|kind| kind.trim().to_owned())),
            "severity" => {
                let known = serde_json::from_value::<Severity>(value.clone().into());
                let severity = known
                    .map_err(|_| format!("severity is info, warning or error, not {value:?}"))?;
                filter.severity = Some(severity);
            }
            "node" => filter.node = Some(value.clone()),
            "q" => filter.text = Some(value.to_lowercase()),
            "since" => filter.since = Some(number()?),
            "until" => filter.until = Some(number()?),
            "before" => filter.before = Some(number()?),
            "limit" => match number()? {
                asked @ 1.. => limit = Some((asked as usize).min(LIMIT_MAX)),
                0 => return Err(format!("limit is 1 to {LIMIT_MAX}")),
            },
            _ => {
                return Err(format!(
                    "there is no parameter {name:?}; there are kind, severity, node, q, since, until, \
                     before and limit"
                ));
            }
        }
    }
    Ok((filter, limit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn asked(query: &[(&str, &str)]) -> Result<(Filter, Option<usize>), String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        parse(&query.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_query_is_taken_by_the_word() {
        let (filter, limit) = asked(&[
            ("kind", "joined,removed"),
            ("kind", "moved"),
            ("severity", "warning"),
            ("q", "Node"),
            ("since", "5"),
            ("before", "9"),
            ("limit", "5000"),
            ("node", ""),
        ])
        .unwrap();
        assert_eq!(filter.kinds, ["joined", "removed", "moved"]);
        assert_eq!((filter.severity, filter.node), (Some(Severity::Warning), None));
        assert_eq!((filter.text.as_deref(), filter.since), (Some("node"), Some(5)));
        assert_eq!((filter.before, limit), (Some(9), Some(LIMIT_MAX)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in [("severity", "bad"), ("since", "today"), ("limit", "0"), ("kinds", "x")] {
            assert!(asked(&[query]).is_err(), "{query:?}");
        }
    }
}
