//! What a request's headers make its answer depend on: entity tags, the idempotency key, what the
//! client accepts.
//!
//! The tag of a key is the revision of its last change in quotes, whatever form the answer has: what
//! was read in one form can be expected in a write of the other. Conditions on reads are RFC 9110's, in
//! full. A write depends on one moment of one key, so of what RFC 9110 allows it takes `If-Match` with one
//! tag or `*`, and `If-None-Match: *`. Invariant: a condition that is not understood is refused; it is
//! never ignored, or a write would happen that its client meant to prevent.

use crate::problem::{Code, Problem};
use axon_core::Store;
use axon_core::store::IDEMPOTENCY_KEY_BYTES_MAX;
use axon_core::txn::{Compare, Relation};
use axon_core::types::Revision;
use axum::http::header::{ACCEPT, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::borrow::Cow;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The entity tag of a key that `revision` changed last.
pub(crate) fn tag(revision: Revision) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).expect("digits in quotes are a header")
}

/// What `If-Match` or `If-None-Match` lists.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// Entity tags, and whether each is weak.
    Listed(Vec<(bool, Vec<u8>)>),
}

impl Tags {
    /// Reads the header `name`, on one line or on several.
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        if let [line] = lines[..]
            && line.trim_ascii() == b"*"
        {
            return Ok(Some(Self::Any));
        }
        let mut listed = Vec::new();
        for line in lines {
            parse_tags(line, &mut listed).ok_or_else(|| {
                refused(name, "is `*`, or entity tags in double quotes with commas between them")
            })?;
        }
        Ok(Some(Self::Listed(listed)))
    }

    /// Reports whether they match a key that `current` changed last; `strong`: weak tags never do.
    fn match_key(&self, current: Option<Revision>, strong: bool) -> bool {
        let Some(current) = current else { return false };
        match self {
            Self::Any => true,
            Self::Listed(tags) => {
                let digits = current.to_string();
                let same =
                    |(weak, tag): &(bool, Vec<u8>)| !(strong && *weak) && *tag == digits.as_bytes();
                tags.iter().any(same)
            }
        }
    }
}

/// Appends the tags of `line` to `tags`; `None` when it is no list of tags.
fn parse_tags(line: &[u8], tags: &mut Vec<(bool, Vec<u8>)>) -> Option<()> {
    let mut rest = line.trim_ascii();
    let before = tags.len();
    loop {
        // A list may have empty elements (RFC 9110, 5.6.1.2).
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return (tags.len() > before).then_some(());
        }
        let weak = rest.starts_with(b"W/");
        let opened = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"")?;
        let end = opened.iter().position(|byte| *byte == b'"')?;
        let opaque = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        if !opened[..end].iter().all(opaque) {
            return None;
        }
        tags.push((weak, opened[..end].to_vec()));
        rest = opened[end + 1..].trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

fn refused(name: &HeaderName, reason: &str) -> Problem {
    // Shown as people write it, though HTTP does not care.
    let name = if name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    Problem::bad_request(format!("`{name}` {reason}")).detail("header", name)
}

/// How a read's conditions turn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer is wanted.
    Wanted,
    /// The client has it already: 304.
    NotModified,
    /// The key is not what the client expects: 412.
    Failed,
}

/// Judges the conditions of a read of a key that `current` changed last, in RFC 9110's order.
pub(crate) fn judge(headers: &HeaderMap, current: Option<Revision>) -> Result<Verdict, Problem> {
    let expected = Tags::of(headers, &IF_MATCH)?;
    if expected.is_some_and(|tags| !tags.match_key(current, true)) {
        return Ok(Verdict::Failed);
    }
    let known = Tags::of(headers, &IF_NONE_MATCH)?;
    let known = known.is_some_and(|tags| tags.match_key(current, false));
    Ok(if known { Verdict::NotModified } else { Verdict::Wanted })
}

/// What a write of `key` depends on, if on anything.
pub(crate) fn of_write(headers: &HeaderMap, key: &Bytes) -> Result<Option<Compare>, Problem> {
    let expected = Tags::of(headers, &IF_MATCH)?;
    let unexpected = Tags::of(headers, &IF_NONE_MATCH)?;
    match (expected, unexpected) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(refused(&IF_NONE_MATCH, "cannot stand beside `If-Match`")),
        (None, Some(Tags::Any)) => Ok(Some(Compare::absent(key.clone()))),
        (None, Some(Tags::Listed(_))) => {
            Err(refused(&IF_NONE_MATCH, "is `*` on a write: the key must be absent"))
        }
        (Some(Tags::Any), None) => Ok(Some(Compare::present(key.clone()))),
        (Some(Tags::Listed(tags)), None) => {
            let revision = match &tags[..] {
                [(false, tag)] => revision(tag),
                _ => None,
            };
            let revision = revision.ok_or_else(|| {
                refused(
                    &IF_MATCH,
                    "is `*` or one entity tag on a write: a revision in quotes, as `ETag` has it",
                )
            })?;
            Ok(Some(Compare::mod_revision(key.clone(), Relation::Equal, revision)))
        }
    }
}

/// The revision that a tag names, if it is one of ours. 0 is none: it would mean an absent key.
fn revision(tag: &[u8]) -> Option<Revision> {
    let digits = std::str::from_utf8(tag).ok().filter(|_| tag.iter().all(u8::is_ascii_digit))?;
    digits.parse().ok().filter(|number| *number > 0 && !digits.starts_with('0')).map(Revision)
}

/// Refuses conditions where there is no single key that they could be about.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    match [IF_MATCH, IF_NONE_MATCH].iter().find(|name| headers.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(refused(name, "is about one key: here, compare in POST /v1/txn")),
    }
}

/// Returns the store whose writes happen once under the request's `Idempotency-Key`, if it has one.
pub(crate) fn once<'a>(store: &'a Store, headers: &HeaderMap) -> Result<Cow<'a, Store>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(Cow::Borrowed(store)) };
    let sane = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
        && key.as_bytes().iter().all(u8::is_ascii_graphic)
        && keys.next().is_none();
    if !sane {
        return Err(Problem::new(
            Code::BadRequest,
            format!(
                "`Idempotency-Key` is said once and has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible \
                 ASCII characters"
            ),
        )
        .detail("header", "Idempotency-Key"));
    }
    Ok(Cow::Owned(store.with_idempotency_key(Bytes::copy_from_slice(key.as_bytes()))?))
}

/// Reports whether the client names `media_type` and likes it no less than `instead`, which it gets
/// otherwise.
pub(crate) fn asks_for(headers: &HeaderMap, media_type: &str, instead: &str) -> bool {
    let quality = |wanted: &str| {
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let named = lines.flat_map(|line| line.split(',')).filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
            });
            named.then(|| weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)))
        });
        named.fold(0.0, f32::max)
    };
    let wanted = quality(media_type);
    wanted > 0.0 && wanted >= quality(instead)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    fn judged(name: HeaderName, line: &str, current: Option<u64>) -> Option<Verdict> {
        judge(&headers(&[(name, line)]), current.map(Revision)).ok()
    }

    #[test]
    fn a_read_depends_on_tags_as_rfc_9110_says() {
        use Verdict::{Failed, NotModified, Wanted};
        let cases = [
            ("\"17\"", Some(17), NotModified, Wanted),
            ("\"17\"", Some(18), Wanted, Failed),
            ("\"17\"", None, Wanted, Failed),
            ("W/\"17\"", Some(17), NotModified, Failed),
            ("*", Some(17), NotModified, Wanted),
            ("*", None, Wanted, Failed),
            ("\"a,b\" , ,\"17\"", Some(17), NotModified, Wanted),
            ("\"\"", Some(17), Wanted, Failed),
            ("\"017\"", Some(17), Wanted, Failed),
        ];
        for (line, current, none_match, matched) in cases {
            assert_eq!(judged(IF_NONE_MATCH, line, current), Some(none_match), "{line}");
            assert_eq!(judged(IF_MATCH, line, current), Some(matched), "{line}");
        }
        let both = headers(&[(IF_NONE_MATCH, "\"17\""), (IF_MATCH, "\"16\"")]);
        assert_eq!(judge(&both, Some(Revision(17))).unwrap(), Failed, "If-Match comes first");
        let lines = headers(&[(IF_NONE_MATCH, "\"16\""), (IF_NONE_MATCH, "\"17\"")]);
        assert_eq!(judge(&lines, Some(Revision(17))).unwrap(), NotModified);
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for line in ["", "17", "\"17", "w/\"17\"", "\"1\" \"2\"", "*, \"1\"", ",", "\"a b\"", "W/"]
        {
            assert_eq!(judged(IF_MATCH, line, Some(17)), None, "{line}");
            assert_eq!(judged(IF_NONE_MATCH, line, Some(17)), None, "{line}");
        }
    }

    #[test]
    fn a_write_depends_on_one_tag_or_on_presence() {
        let key = Bytes::from("k");
        let write = |lines: &[_]| of_write(&headers(lines), &key).ok();
        assert_eq!(write(&[]), Some(None));
        assert_eq!(write(&[(IF_NONE_MATCH, "*")]), Some(Some(Compare::absent("k"))));
        assert_eq!(write(&[(IF_MATCH, "*")]), Some(Some(Compare::present("k"))));
        let at = Compare::mod_revision("k", Relation::Equal, Revision(17));
        assert_eq!(write(&[(IF_MATCH, " \"17\" ")]), Some(Some(at)));
        let tags =
            ["W/\"17\"", "\"1\", \"2\"", "\"x\"", "\"0\"", "\"017\"", "\"\"", "17", "\"-1\""];
        for line in tags {
            assert_eq!(write(&[(IF_MATCH, line)]), None, "{line}");
        }
        assert_eq!(write(&[(IF_NONE_MATCH, "\"17\"")]), None);
        assert_eq!(write(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]), None);
        assert_eq!(write(&[(IF_MATCH, "\"1\""), (IF_MATCH, "\"2\"")]), None);
        assert!(refuse(&headers(&[(IF_MATCH, "*")])).is_err() && refuse(&headers(&[])).is_ok());
    }

    #[test]
    fn a_form_is_asked_for_by_name() {
        let asks = |line: &str| {
            let headers = headers(&[(ACCEPT, line)]);
            asks_for(&headers, "application/json", "application/octet-stream")
        };
        for line in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/html, application/json;q=0.1, */*",
            "application/octet-stream;q=0.5, application/json",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "*/*",
            "application/*",
            "",
            "application/json;q=0",
            "application/json; Q=x",
            "application/octet-stream, application/json;q=0.9",
            "application/jsonx",
        ] {
            assert!(!asks(line), "{line}");
        }
        assert!(!asks_for(&HeaderMap::new(), "application/json", "*/*"));
    }

    proptest! {
        #[test]
        fn any_header_is_a_condition_or_a_problem(line in r#"[ -~é]{0,20}|([W/"*, 0-9]){0,20}"#) {
            let _ = judge(&headers(&[(IF_MATCH, &line), (IF_NONE_MATCH, &line)]), Some(Revision(1)));
        }
    }
}
