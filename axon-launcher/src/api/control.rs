//! `/api/control`: the first control API, kept exactly as scripts know it.
//!
//! Its orders are the operations of `/api/v1`, with two differences that scripts rely on: an order waits
//! for the one before it on the same node instead of being refused, and is answered when it is done,
//! not when all has followed that follows by itself.

use super::{Named, actor, bad_request, body};
use crate::actions::Asked;
use crate::manifest::NodeName;
use crate::problem::Problem;
use crate::quorum::Action;
use crate::supervisor::{ControlError, Supervisor};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

type Outcome = Result<Json<Value>, Problem>;

pub(super) fn routes() -> Router<Supervisor> {
    Router::new()
        .route("/api/control/nodes", get(nodes))
        .route("/api/control/add", post(add))
        .route("/api/control/start/{id}", post(start))
        .route("/api/control/stop/{id}", post(stop))
        .route("/api/control/delete/{id}", post(delete))
}

async fn nodes(State(supervisor): State<Supervisor>) -> Response {
    let cluster = supervisor.manifest().cluster_id;
    let name = HeaderName::from_static("x-axon-cluster-id");
    ([(name, cluster.to_string())], Json(supervisor.report())).into_response()
}

#[derive(Deserialize)]
struct Add {
    node_id: String,
}

async fn add(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
    sent: Result<Bytes, BytesRejection>,
) -> Outcome {
    let Add { node_id } = body(sent, r#"{"node_id":"NAME"}"#)?;
    let name: NodeName = node_id.parse().map_err(bad_request)?;
    let (id, by) = (name.to_string(), actor(&headers));
    carry_out(supervisor, id, |supervisor| async move {
        supervisor.add(&name, false, &by).await?.done().await
    })
    .await
}

async fn start(supervisor: State<Supervisor>, named: Named, headers: HeaderMap) -> Outcome {
    act(supervisor, named, &headers, Action::Start).await
}

async fn stop(supervisor: State<Supervisor>, named: Named, headers: HeaderMap) -> Outcome {
    act(supervisor, named, &headers, Action::Stop).await
}

async fn delete(supervisor: State<Supervisor>, named: Named, headers: HeaderMap) -> Outcome {
    act(supervisor, named, &headers, Action::Decommission).await
}

async fn act(
    State(supervisor): State<Supervisor>,
    Named(name): Named,
    headers: &HeaderMap,
    action: Action,
) -> Outcome {
    let (id, by) = (name.to_string(), actor(headers));
    carry_out(supervisor, id, |supervisor| async move {
        let asked = Asked { actor: &by, patient: true };
        supervisor.act(action, &name, asked).await?.done().await
    })
    .await
}

/// Carries an order out to its end, in a task of its own, and answers with the node as it is then.
async fn carry_out<F, Fut>(supervisor: Supervisor, id: String, order: F) -> Outcome
where
    F: FnOnce(Supervisor) -> Fut,
    Fut: Future<Output = Result<(), ControlError>> + Send + 'static,
{
    let done = tokio::spawn(order(supervisor.clone())).await;
    done.map_err(|error| ControlError::Internal(error.to_string()))??;
    let node = supervisor.report().remove(&id);
    Ok(Json(match node {
        Some(node) => json!({ "id": id, "api_port": node.api_port, "status": node.status }),
        None => json!({ "id": id, "deleted": true }),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::api::{BODY_BYTES_MAX, router};
    use crate::directory::DataDir;
    use crate::guard::Access;
    use crate::supervisor::Setup;
    use crate::ui::Ui;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    /// A cluster that was never made, of nodes whose program fails at once.
    fn app() -> (tempfile::TempDir, Router) {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("axon-data")).unwrap();
        let (server, access) = ("/bin/false".into(), Access::Loopback);
        let setup = Setup { data, server, base_port: 26_100, nodes: 2, access };
        let app = router(Supervisor::open(setup).unwrap(), Ui::Fallback);
        (directory, app)
    }

    async fn ask(app: &Router, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:8080")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap();
        if status >= 400 {
            assert_eq!(kind, "application/problem+json");
            assert_eq!(value["status"], status);
            for field in ["type", "title", "error", "code", "retryable", "details"] {
                assert!(value.get(field).is_some(), "{field} in {value}");
            }
        }
        (status, value)
    }

    #[tokio::test]
    async fn nodes_are_a_map_by_name() {
        let (_directory, app) = app();
        let (status, nodes) = ask(&app, "GET", "/api/control/nodes", "").await;
        assert_eq!(status, 200);
        assert_eq!(nodes.as_object().unwrap().len(), 2);
        let node = &nodes["node2"];
        assert_eq!((&node["id"], &node["api_port"]), (&json!("node2"), &json!(26_110)));
        assert_eq!((&node["status"], &node["is_leader"]), (&json!("offline"), &json!(false)));
        assert_eq!(node["node_id"], Value::Null);
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_a_problem_with_its_reason() {
        let (_directory, app) = app();
        let long = format!("{{\"node_id\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
        for (method, path, body, status, code) in [
            ("POST", "/api/control/stop/nobody", "", 404, "not_found"),
            ("POST", "/api/control/start/..%2fnode1", "", 400, "bad_request"),
            ("POST", "/api/control/delete/%2e%2e", "", 400, "bad_request"),
            ("POST", "/api/control/stop/n%C3%B6de", "", 400, "bad_request"),
            (
                "POST",
                &format!("/api/control/delete/{}", "x".repeat(10_000)),
                "",
                400,
                "bad_request",
            ),
            ("POST", "/api/control/add", r#"{"node_id":""}"#, 400, "bad_request"),
            ("POST", "/api/control/add", r#"{"node_id":"../x"}"#, 400, "bad_request"),
            ("POST", "/api/control/delete/nobody", "", 404, "not_found"),
            ("POST", "/api/control/delete/node1", "", 409, "conflict"),
            ("POST", "/api/control/add", r#"{"node_id":"node1"}"#, 409, "conflict"),
            ("POST", "/api/control/add", r#"{"node_id":"No"}"#, 400, "bad_request"),
            ("POST", "/api/control/add", "", 400, "bad_request"),
            ("POST", "/api/control/add", &long, 413, "too_large"),
            ("GET", "/api/control/add", "", 405, "method_not_allowed"),
            ("POST", "/nodes", "", 405, "method_not_allowed"),
            ("GET", "/api/control/nothing", "", 404, "not_found"),
            ("GET", "/api/v1/operations/%FF", "", 400, "bad_request"),
            ("GET", "/api/v1/operations/x", "", 400, "bad_request"),
            ("GET", "/api/v1/nodes/%FF/logs", "", 400, "bad_request"),
            ("GET", "/api/v1/nodes/node1/logs?lines=%2B1", "", 400, "bad_request"),
            ("GET", "/api/v1/events?limit=%2B1", "", 400, "bad_request"),
            ("GET", "/api", "", 404, "not_found"),
            ("GET", "/_app/immutable/old.js", "", 404, "not_found"),
        ] {
            let (got, problem) = ask(&app, method, path, body).await;
            assert_eq!((got, &problem["code"]), (status, &json!(code)), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn stopping_what_is_stopped_is_fine_and_a_failing_start_says_why() {
        let (_directory, app) = app();
        for _ in 0..2 {
            let (status, node) = ask(&app, "POST", "/api/control/stop/node1", "").await;
            assert_eq!((status, &node["status"]), (200, &json!("offline")));
        }
        let (status, problem) = ask(&app, "POST", "/api/control/start/node1", "").await;
        assert_eq!((status, &problem["code"]), (500, &json!("start_failed")));
        let (_, nodes) = ask(&app, "GET", "/api/control/nodes", "").await;
        assert_eq!(nodes["node1"]["last_exit"]["code"], 1);
        assert_eq!(nodes["node1"]["desired"], "running");
        assert_eq!(ask(&app, "POST", "/api/control/stop/node1", "").await.0, 200);
    }
}
