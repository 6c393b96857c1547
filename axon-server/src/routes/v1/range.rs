//! Many keys: a page of them, their number, a listing of folders, all of them as lines, and their end.

use super::Freshness;
use crate::app::Shared;
use crate::conditions;
use crate::key;
use crate::params::{Params, wrong};
use crate::problem::{Code, Problem};
use crate::routes::parts::{self, Content, Parts};
use crate::routes::{at, json};
use crate::wire::{self, kv};
use axon_core::runtime;
use axon_core::store::{Cursor, LIMIT_DEFAULT, LIMIT_MAX, Query};
use axon_core::types::{KeyRange, KeyValue};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};
use bytes::Bytes;
use utoipa::{IntoParams, ToSchema};

const LINES: &str = "application/x-ndjson";

/// `GET, HEAD, DELETE /v1/kv`
pub(super) async fn answer(
    shared: &Shared,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    let (head, _) = request.into_parts();
    let query = head.uri.query();
    match head.method {
        Method::GET | Method::HEAD => {
            let asked = ListParams::parse(query)?;
            let mut response = if conditions::asks_for(&head.headers, LINES, "application/json") {
                lines(shared, asked).await?
            } else if asked.count_only {
                count(shared, asked).await?
            } else {
                page(shared, asked).await?
            };
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
            Ok(response)
        }
        Method::DELETE => delete(shared, DeleteParams::parse(query)?, &head.headers).await,
        _ => Err(Problem::method_not_allowed("GET, HEAD, DELETE")),
    }
}

/// Which keys are meant: those that begin with `prefix`, or those from `start` to before `end`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeParams {
    /// What they begin with. Not together with `start` and `end`.
    #[param(value_type = Option<String>)]
    prefix: Option<Bytes>,
    /// The first of them.
    #[param(value_type = Option<String>)]
    start: Option<Bytes>,
    /// What they come before.
    #[param(value_type = Option<String>)]
    end: Option<Bytes>,
}

impl RangeParams {
    /// Takes `prefix`, `start` and `end`.
    pub(crate) fn take(params: &mut Params<'_>) -> Result<Self, Problem> {
        Ok(Self {
            prefix: params.bytes("prefix")?,
            start: params.bytes("start")?,
            end: params.bytes("end")?,
        })
    }

    /// Reports whether there is any of them.
    pub(crate) fn is_given(&self) -> bool {
        [&self.prefix, &self.start, &self.end].into_iter().any(Option::is_some)
    }

    fn has_ends(&self) -> bool {
        [&self.start, &self.end].into_iter().flatten().any(|end| !end.is_empty())
    }

    pub(crate) fn range(&self) -> Result<KeyRange, Problem> {
        let Self { prefix, start, end } = self;
        key::range(prefix.clone(), start.clone(), end.clone()).map_err(|error| {
            let name = match error {
                key::RangeError::Both => "prefix",
                key::RangeError::Backwards => "end",
            };
            Problem::bad_request(error.to_string()).detail("parameter", name)
        })
    }
}

/// What `GET /v1/kv` is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    #[param(ignore)]
    keys: RangeParams,
    /// The most items of a page: 1 to 10,000, default 100. Fewer are when they are large.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// The last key comes first.
    #[param(required = false)]
    reverse: bool,
    /// Leaves the values out.
    #[param(required = false)]
    keys_only: bool,
    /// Counts the keys, and shows none.
    #[param(required = false)]
    count_only: bool,
    /// Gathers keys that have this after the prefix into folders.
    #[param(value_type = Option<String>, min_length = 1)]
    delimiter: Option<Bytes>,
    /// Shows at most so many bytes of each value, and tells how many there are.
    preview: Option<usize>,
    #[param(ignore)]
    freshness: Freshness,
}

impl ListParams {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::parse(query)?;
        let asked = Self {
            keys: RangeParams::take(&mut params)?,
            limit: params.count("limit", LIMIT_MAX)?,
            cursor: params.bytes("cursor")?.map(|text| cursor(&text)).transpose()?,
            reverse: params.flag("reverse")?,
            keys_only: params.flag("keys_only")?,
            count_only: params.flag("count_only")?,
            delimiter: params.bytes("delimiter")?,
            preview: params.number("preview")?.map(|bytes| bytes as usize),
            freshness: Freshness::take(&mut params)?,
        };
        params.finish()?;
        if asked.preview.is_some() && asked.keys_only {
            return Err(wrong("preview", "makes no sense beside `keys_only`"));
        }
        if asked.delimiter.as_ref().is_some_and(Bytes::is_empty) {
            return Err(wrong("delimiter", "has at least one byte"));
        }
        if asked.delimiter.is_some() && asked.keys.has_ends() {
            return Err(wrong("delimiter", "wants a `prefix`, not `start` and `end`"));
        }
        if asked.count_only {
            asked.refuse_paging("makes no sense beside `count_only`")?;
            let more = [
                ("reverse", asked.reverse),
                ("keys_only", asked.keys_only),
                ("preview", asked.preview.is_some()),
            ];
            refuse_given(&more, "makes no sense beside `count_only`")?;
        }
        Ok(asked)
    }

    /// Refuses what only pages have.
    fn refuse_paging(&self, reason: &str) -> Result<(), Problem> {
        let paging = [
            ("limit", self.limit.is_some()),
            ("cursor", self.cursor.is_some()),
            ("delimiter", self.delimiter.is_some()),
        ];
        refuse_given(&paging, reason)
    }

    /// How much of the values is shown.
    fn values(&self) -> kv::Values {
        match self.preview {
            Some(bytes) => kv::Values::Preview(bytes),
            None if self.keys_only => kv::Values::Left,
            None => kv::Values::Whole,
        }
    }

    fn query(&self, shared: &Shared) -> Result<Query, Problem> {
        let mut query = self.freshness.store(shared).range(self.keys.range()?);
        query = query.limit(self.limit.unwrap_or(LIMIT_DEFAULT));
        if let Some(cursor) = &self.cursor {
            query = query.cursor(cursor.clone());
        }
        if let Some(revision) = self.freshness.revision {
            query = query.at(revision);
        }
        if self.reverse {
            query = query.reverse();
        }
        Ok(if self.keys_only { query.keys_only() } else { query })
    }
}

fn cursor(text: &[u8]) -> Result<Cursor, Problem> {
    let no_text = "this cursor cannot be used: it is no text; begin again without it";
    let text = std::str::from_utf8(text).map_err(|_| Problem::new(Code::BadCursor, no_text))?;
    Ok(text.parse()?)
}

fn refuse_given(given: &[(&str, bool)], reason: &str) -> Result<(), Problem> {
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => Err(wrong(name, reason)),
    }
}

async fn page(shared: &Shared, asked: ListParams) -> Result<Response<Body>, Problem> {
    let values = asked.values();
    let query = asked.query(shared)?;
    let room = shared.pages.take().await?;
    let (listed, children) = match asked.delimiter {
        None => (query.page().await?, None),
        Some(delimiter) => {
            let listing = query.list(delimiter).await?;
            let page = axon_core::store::Page {
                items: listing.items,
                next: listing.next,
                revision: listing.revision,
                applied_index: listing.applied_index,
                served_by: listing.served_by,
            };
            (page, Some(listing.children))
        }
    };
    let (revision, applied_index) = (listed.revision, listed.applied_index);
    // Megabytes to encode are as bad as a disk to wait for.
    let document = runtime::blocking(move || {
        wire::encode(&kv::Page {
            items: listed.items.iter().map(|pair| kv::Envelope::with(pair, values)).collect(),
            prefixes: children.as_ref().map(|all| all.iter().map(kv::Folder::from).collect()),
            next: listed.next.map(|cursor| cursor.to_string()),
            revision,
            count: None,
        })
    });
    let response = room.hold(json(document.await));
    Ok(asked.freshness.told(revision, applied_index, response))
}

async fn count(shared: &Shared, asked: ListParams) -> Result<Response<Body>, Problem> {
    let query = asked.query(shared)?;
    // It holds next to nothing, but reads as much as many pages: it takes the place of one.
    let _room = shared.pages.take().await?;
    let counted = query.count().await?;
    let document = wire::encode(&kv::Page {
        items: Vec::new(),
        prefixes: None,
        next: None,
        revision: counted.revision,
        count: Some(counted.count),
    });
    Ok(asked.freshness.told(counted.revision, counted.applied_index, json(document)))
}

/// All pairs, one envelope a line.
async fn lines(shared: &Shared, asked: ListParams) -> Result<Response<Body>, Problem> {
    let reason = "makes no sense for a stream of all items";
    asked.refuse_paging(reason)?;
    refuse_given(&[("count_only", asked.count_only)], reason)?;
    let range = asked.keys.range()?;
    let turn = parts::turn(shared)?;
    let snapshot = asked.freshness.snapshot(shared).await?;
    let (revision, applied_index) = (snapshot.revision(), snapshot.applied_index());
    let lines = Lines(asked.values());
    let parts = Parts::new(snapshot, range, lines, turn).reverse(asked.reverse);
    let (first, parts) = parts.next().await?;
    let body = if parts.is_finished() { Body::from(first) } else { parts.into_body(first) };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    Ok(asked.freshness.told(revision, applied_index, response))
}

/// The lines, as parts of the answer.
struct Lines(kv::Values);

impl Content for Lines {
    fn append(&mut self, pair: &KeyValue, part: &mut Vec<u8>) {
        kv::Envelope::with(pair, self.0).append_line(part);
    }
}

/// What `DELETE /v1/kv` is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteParams {
    #[param(ignore)]
    keys: RangeParams,
    /// `all`, where every key is to be deleted.
    #[param(inline)]
    confirm: Option<Confirm>,
}

/// What `confirm` can be.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(rename_all = "lowercase")]
enum Confirm {
    All,
}

impl DeleteParams {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::parse(query)?;
        let asked = Self {
            keys: RangeParams::take(&mut params)?,
            confirm: params.word("confirm", &[("all", Confirm::All)])?,
        };
        params.finish()?;
        Ok(asked)
    }

    /// The range, if it is safe to delete it: a `prefix` that was forgotten must not cost everything.
    fn range(&self) -> Result<KeyRange, Problem> {
        let range = self.keys.range()?;
        match (range == KeyRange::all(), self.confirm) {
            (true, None) => Err(wrong(
                "confirm",
                "must be `all` to delete every key; name a `prefix`, or `start` and `end`, to delete \
                 some",
            )),
            (false, Some(Confirm::All)) => {
                Err(wrong("confirm", "is for deleting every key, and these are only some"))
            }
            _ => Ok(range),
        }
    }
}

async fn delete(
    shared: &Shared,
    asked: DeleteParams,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    conditions::refuse(headers)?;
    let store = conditions::once(&shared.store, headers)?;
    let deleted = store.range(asked.range()?).delete().await?;
    Ok(at(deleted.revision, json(wire::encode(&kv::Delete::from(deleted)))))
}

/// The operations of many keys, each as the API's description has it.
pub(crate) mod operations {
    #![allow(dead_code, reason = "they only carry descriptions: one function serves them all")]

    use super::{DeleteParams, ListParams, RangeParams};
    use crate::openapi::{ONCE, QUORUM, WRITE, problems};
    use crate::problem::Code;
    use crate::routes::v1::Freshness;
    use crate::wire::kv;

    problems! {
        ListProblems = [Code::FutureRevision, Code::BadCursor, Code::Compacted, Code::TooLarge], QUORUM;
        DeleteProblems = [Code::TooLarge], ONCE, WRITE, QUORUM;
    }

    /// Lists the keys of a range.
    ///
    /// Page by page, as of the revision of the first page; with `count_only`, their number; with `delimiter`,
    /// as a folder; on `Accept: application/x-ndjson`, all of them, an envelope a line.
    #[utoipa::path(
        get, path = "/v1/kv", tag = "data", operation_id = "list",
        params(RangeParams, ListParams, Freshness),
        responses(
            (status = 200, description = "A page, or all.",
                content((kv::Page<'_> = "application/json"), (kv::Envelope<'_> = "application/x-ndjson")),
                headers(
                    ("X-Axon-Revision" = u64, description = "The revision of the store that is shown."),
                    ("X-Axon-Applied-Index" = u64, description = "Of a local read: the last entry that this node has applied."),
                )),
            ListProblems,
        ),
    )]
    pub(crate) fn list() {}

    /// Removes the keys of a range.
    ///
    /// Up to 1,000 keys under one revision; more of them in steps of that size.
    #[utoipa::path(
        delete, path = "/v1/kv", tag = "data", operation_id = "delete_range",
        params(
            RangeParams,
            DeleteParams,
            ("Idempotency-Key" = Option<String>, Header, description = "The delete happens once under it: 1 to 128 visible ASCII characters."),
        ),
        responses(
            (status = 200, description = "They are absent now.", body = kv::Delete,
                headers(("X-Axon-Revision" = u64, description = "The revision of the store after it."))),
            DeleteProblems,
        ),
    )]
    pub(crate) fn delete() {}
}
