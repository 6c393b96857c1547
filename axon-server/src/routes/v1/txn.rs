//! Several keys compared and changed at once.

use crate::app::Shared;
use crate::body;
use crate::conditions;
use crate::openapi::{BODY, ONCE, QUORUM, WRITE, problems};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::routes::{at, json, require_json};
use crate::wire::{self, txn};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::{Method, Request, Response};

problems! {
    TxnProblems = [Code::BadCompare, Code::DuplicateKey], BODY, ONCE, WRITE, QUORUM;
}

/// Compares keys, and does one of two lists of operations: all of it, at one revision.
#[utoipa::path(
    post, path = "/v1/txn", tag = "data", operation_id = "transact",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "It happens once under it: 1 to 128 visible ASCII characters."),
    ),
    request_body(content = txn::TxnRequest, example = json!({
        "compare": [{"key": "t1", "target": "version", "op": "=", "version": 0}],
        "success": [
            {"put": {"key": "t1", "value": "1"}},
            {"delete": {"key": "t2"}},
            {"delete_range": {"prefix": "tmp/"}},
        ],
        "failure": [{"get": {"key": "t1"}}],
    })),
    responses(
        (status = 200, description = "What was done, or that the compares did not hold.", body = txn::TxnAnswer<'_>,
            headers(("X-Axon-Revision" = u64, description = "The revision of the store after it."))),
        TxnProblems,
    ),
)]
pub(super) async fn answer(
    shared: &Shared,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    Params::parse(head.uri.query())?.finish()?;
    require_json(&head.headers)?;
    conditions::refuse(&head.headers)?;
    let store = conditions::once(&shared.store, &head.headers)?;
    let limit = shared.txn_body_bytes_max();
    let received = body::receive(body, limit, shared.options.body_timeout, &shared.bodies).await?;
    let txn = txn::parse(received.bytes()).map_err(refused)?;
    let transaction = store.txn().when(txn.when).then(txn.then).or_else(txn.or_else);
    let result = transaction.commit().await?;
    Ok(at(result.revision, json(wire::encode(&txn::TxnAnswer::from(&result)))))
}

fn refused(fault: txn::Fault) -> Problem {
    let code = if fault.in_compare { Code::BadCompare } else { Code::BadRequest };
    Problem::new(code, format!("the transaction is malformed at {}: {}", fault.place, fault.reason))
        .detail("at", fault.place)
}
