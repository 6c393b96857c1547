//! `GET /openapi.json`: what the API is, generated from the code that serves it.
//!
//! Shapes describe themselves (`ToSchema`, in `wire`), parameters too (`IntoParams`). A handler that serves
//! one operation carries its description; beside one that tells methods apart stands a module
//! `operations` with a description of each. Errors come from [`Code`]: an operation names those that it
//! may answer, and [`ANY`] come with them. Invariants, all of them tested:
//!
//! * every path and method that is served is described, and the other way round;
//! * whatever is asked with GET may be asked with HEAD;
//! * every example of a body is one that the server takes.
//!
//! What a running server answers is held against the document by a fuzzer: `make fuzz`.

use crate::problem::{Code, MEDIA_TYPE};
use crate::routes::{self, cluster, events, health, kv, v1, watch};
use crate::wire;
use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AllOfBuilder, Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Content, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi, ToSchema};

/// What any request may meet, whatever it asks for.
const ANY: &[Code] = &[
    Code::BadRequest,
    Code::Unauthorized,
    Code::Forbidden,
    Code::RequestTimeout,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::TooManyConnections,
];

/// What a request may meet that needs this replica alone.
pub(crate) const REPLICA: &[Code] = &[Code::NotReady, Code::Halted, Code::Removed];

/// What a request may meet that needs the cluster to agree.
pub(crate) const QUORUM: &[Code] = &[
    Code::NoLeader,
    Code::NoQuorum,
    Code::NotReady,
    Code::Halted,
    Code::Removed,
    Code::Timeout,
    Code::Overloaded,
];

/// What a request may meet that sends a body.
pub(crate) const BODY: &[Code] = &[Code::TooLarge, Code::UnsupportedMediaType, Code::Overloaded];

/// What a write may meet, besides.
pub(crate) const WRITE: &[Code] = &[Code::DiskFull, Code::RequestExpired, Code::UpgradeNeeded];

/// What a request may meet that has an idempotency key.
pub(crate) const ONCE: &[Code] = &[Code::IdempotencyMismatch];

/// Names the problems of an operation, to stand among its responses.
macro_rules! problems {
    ($($name:ident = $($codes:expr),*;)*) => {$(
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                $crate::openapi::problems_of(&[$(&$codes[..]),*])
            }
        }
    )*};
}
pub(crate) use problems;

problems! {
    Problems = [];
}

/// The description of everything.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Axon",
        description = "A strongly consistent replicated key-value store, on any of its nodes. \
            Every error is a problem document: `code` tells what happened, `retryable` whether the \
            same request may succeed later, `outcome` whether a write may have happened. A node that \
            has a token wants to see it in every request but `/livez` and `/readyz`.",
    ),
    tags(
        (name = "simple", description = "Text under a text key, in JSON."),
        (name = "data", description = "Any bytes under any key, their history and their changes."),
        (name = "cluster", description = "The cluster, and the changes that operators make to it."),
        (name = "process", description = "What supervisors, load balancers and monitoring ask."),
    ),
    paths(
        kv::operations::get_pair, kv::operations::put_pair, kv::operations::delete_pair,
        kv::operations::all_pairs,
        v1::pair::operations::get, v1::pair::operations::put, v1::pair::operations::delete,
        v1::range::operations::list, v1::range::operations::delete,
        v1::history::answer, v1::txn::answer, watch::watch,
        cluster::status, cluster::members, cluster::promote, cluster::remove, cluster::transfer,
        events::events,
        health::livez, health::readyz, health::metrics, health::version, document,
    ),
    modifiers(&Everywhere),
)]
struct Api;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| wire::encode(&Api::openapi()));

/// Describes this API: this document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "process", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object), Problems),
)]
pub(crate) async fn document() -> Response<Body> {
    routes::json(DOCUMENT.clone())
}

/// Refers to the answers that have one of `codes`, or of [`ANY`]: one a status, as the format has it.
pub(crate) fn problems_of(codes: &[&[Code]]) -> BTreeMap<String, RefOr<openapi::Response>> {
    let mut statuses = BTreeMap::<String, String>::new();
    for code in codes.iter().copied().flatten().chain(ANY) {
        let status = code.status().as_str().to_owned();
        let name = statuses.entry(status.clone()).or_insert(status);
        if !codes_of(name).any(|known| known == *code) {
            name.push('.');
            name.push_str(code.as_str());
        }
    }
    let referred = |(status, name): (_, String)| (status, Ref::from_response_name(name).into());
    statuses.into_iter().map(referred).collect()
}

/// The codes in the name of an answer, such as `503.no_leader.no_quorum`.
fn codes_of(name: &str) -> impl Iterator<Item = Code> {
    let code = |word| Code::ALL.iter().copied().find(|code| code.as_str() == word);
    name.split('.').filter_map(code)
}

/// Describes the answer that is called `name`.
fn problem(name: &str) -> openapi::Response {
    let sentence = |code: Code| format!("{} (`{}`)", code.title(), code.as_str());
    let sentences: Vec<_> = codes_of(name).map(sentence).collect();
    let mut response = openapi::Response::new(sentences.join(", ") + ".");
    let words = codes_of(name).map(Code::as_str);
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name(wire::Problem::name()))
        .item(ObjectBuilder::new().property("code", code));
    let content = Content::new(Some(Schema::from(schema.build())));
    response.content.insert(MEDIA_TYPE.to_owned(), content);
    if codes_of(name).any(|code| code == Code::Overloaded) {
        response.headers.insert("Retry-After".into(), header(Type::Integer, "In seconds."));
    }
    if codes_of(name).any(|code| code == Code::Unauthorized) {
        let way = header(Type::String, "`Bearer`.");
        response.headers.insert("WWW-Authenticate".into(), way);
    }
    identify(&mut response);
    response
}

fn header(of: Type, description: &str) -> Header {
    let mut header = Header::new(Object::with_type(of));
    header.description = Some(description.into());
    header
}

fn identify(response: &mut openapi::Response) {
    let id = header(Type::String, "The id of the request: the client's own, or a new one.");
    response.headers.insert("X-Request-Id".into(), id);
    let node = header(Type::String, "The name of the node that answered.");
    response.headers.insert("X-Axon-Served-By".into(), node);
}

/// Adds what every operation has, and the answers that operations refer to.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", bearer);
        // Whether there is a token is up to the node.
        let token = SecurityRequirement::new("token", [""; 0]);
        api.security = Some(vec![token, SecurityRequirement::default()]);
        for item in api.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.parameters.get_or_insert_default().push(request_id());
                for response in operation.responses.responses.values_mut() {
                    match response {
                        RefOr::T(response) => identify(response),
                        RefOr::Ref(at) => {
                            let name = at.ref_location.rsplit('/').next().unwrap_or_default();
                            components.responses.insert(name.to_owned(), problem(name).into());
                        }
                    }
                }
            }
            item.head = item.get.as_ref().map(head_of);
        }
    }
}

fn request_id() -> Parameter {
    ParameterBuilder::new()
        .name("X-Request-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Comes back in the answer, if it is short and plain."))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// The same question, answered without a body.
fn head_of(get: &Operation) -> Operation {
    let mut head = get.clone();
    head.operation_id = head.operation_id.map(|id| format!("{id}_head"));
    for response in head.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
    head
}

#[cfg(test)]
mod tests;
