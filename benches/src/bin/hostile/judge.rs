//! What an answer must be, whatever was asked.
//!
//! * An error is a whole problem document (RFC 9457) with the status of its answer, also where HTTP
//!   itself was broken; to `HEAD` it is the same without the body.
//! * No 5xx but 503 and 507, which are documented: something is missing for now.
//! * A success says what it is by its `Content-Type`, and is JSON where it says so.

use crate::case::{Case, Want};
use crate::wire::{Answer, Conversation, Heard};
use serde_json::Value;

/// Holds one conversation to its end; returns what is wrong with it.
pub async fn tried(port: u16, case: &Case) -> Result<(), String> {
    let opened = Conversation::open(port).await;
    let mut conversation = opened.map_err(|error| format!("no connection: {error}"))?;
    conversation.say(case).await;
    for (number, want) in case.wants.iter().enumerate() {
        let heard = conversation.hear(case.to_head).await;
        judge(*want, case.to_head, heard).map_err(|what| match number {
            0 => what,
            _ => format!("answer {}: {what}", number + 1),
        })?;
    }
    if case.closes {
        let rest = conversation.rest().await.ok_or("the connection is left open")?;
        if !rest.is_empty() {
            return Err(format!("more than was asked for: {}", crate::case::shown(&rest)));
        }
    }
    Ok(())
}

fn judge(want: Want, to_head: bool, heard: Heard) -> Result<(), String> {
    let answer = match heard {
        Heard::Answer(answer) => answer,
        Heard::Closed if want == Want::NotDone => return Ok(()),
        Heard::Closed => return Err("closed without an answer".into()),
        Heard::Silence => return Err("no answer in time".into()),
        Heard::Garbage(what) => return Err(format!("no HTTP: {what}")),
    };
    let status = answer.status;
    let refused = matches!(status, 400..=499 | 503 | 507);
    let wanted = match want {
        Want::Any => refused || (200..400).contains(&status),
        Want::Refused | Want::NotDone => refused,
        Want::Status(wanted) => status == wanted,
        Want::OneOf(wanted) => wanted.contains(&status),
    };
    let brief = || crate::case::shown(&answer.body);
    if !wanted {
        return Err(format!("{status}, wanted {want:?}: {}", brief()));
    }
    shape(&answer, to_head).map_err(|what| format!("{status} {what}: {}", brief()))
}

fn shape(answer: &Answer, to_head: bool) -> Result<(), String> {
    let kind = answer.header("content-type").unwrap_or_default();
    if answer.status < 400 {
        if kind == "application/json" && !to_head && answer.status != 304 {
            serde_json::from_slice::<Value>(&answer.body).map_err(|_| "is JSON only by name")?;
        }
        // A redirect, and what has not changed, have nothing to name.
        let bare = answer.body.is_empty() && (300..400).contains(&answer.status);
        return if kind.is_empty() && !bare { Err("has no type".into()) } else { Ok(()) };
    }
    if kind != "application/problem+json" {
        return Err(format!("is an error of type {kind:?}"));
    }
    if to_head {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(&answer.body).map_err(|_| "is no JSON")?;
    if document["status"] != answer.status {
        return Err(format!("says that it is {}", document["status"]));
    }
    for text in ["type", "title", "error", "code"] {
        if document[text].as_str().is_none_or(str::is_empty) {
            return Err(format!("has no {text}"));
        }
    }
    let rest = document["retryable"].is_boolean() && document["details"].is_object();
    if rest { Ok(()) } else { Err("lacks `retryable` or `details`".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &str, body: &str) -> Heard {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Heard::Answer(Answer { status, headers, body: body.into() })
    }

    const PROBLEM: &str = r#"{"type":"about:blank","title":"t","status":400,"error":"e","code":"c",
        "retryable":false,"details":{}}"#;

    #[test]
    fn a_whole_problem_is_a_refusal() {
        let good = || answer(400, "application/problem+json", PROBLEM);
        assert_eq!(judge(Want::Refused, false, good()), Ok(()));
        assert_eq!(judge(Want::Status(400), false, good()), Ok(()));
        assert!(judge(Want::Status(404), false, good()).is_err());
        assert_eq!(judge(Want::NotDone, false, Heard::Closed), Ok(()));
        assert!(judge(Want::Refused, false, Heard::Closed).is_err());
    }

    #[test]
    fn anything_less_is_a_fault() {
        for heard in [
            answer(400, "text/plain", "bad"),
            answer(400, "application/problem+json", ""),
            answer(401, "application/problem+json", PROBLEM),
            answer(500, "application/problem+json", &PROBLEM.replace("400", "500")),
            answer(504, "application/problem+json", &PROBLEM.replace("400", "504")),
            answer(400, "application/problem+json", &PROBLEM.replace("error", "errr")),
            answer(200, "", "x"),
            answer(200, "application/json", "{"),
            Heard::Silence,
            Heard::Garbage("x".into()),
        ] {
            let told = format!("{heard:?}");
            assert!(judge(Want::Any, false, heard).is_err(), "{told}");
        }
    }
}
