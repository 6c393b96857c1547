//! Several keys compared and changed at once.

use crate::app::Shared;
use crate::body;
use crate::conditions;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::routes::{at, json, require_json};
use crate::wire::{self, txn};
use axum::body::Body;
use axum::http::{Method, Request, Response};
use hyper::body::Incoming;

/// `POST /v1/txn`
pub(super) async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
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
