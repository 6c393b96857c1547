//! The routes of nodes and operations, over a cluster that was never made.
#![allow(clippy::unwrap_used, reason = "tests")]
use crate::api::{BODY_BYTES_MAX, actor, router};
use crate::directory::DataDir;
use crate::supervisor::{Setup, Supervisor};
use crate::ui::Ui;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A cluster that was never made, of nodes whose program fails at once.
fn app(base_port: u16) -> (tempfile::TempDir, Supervisor, Router) {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open(&directory.path().join("axon-data")).unwrap();
    let access = crate::guard::Access::Loopback;
    let setup = Setup { data, server: "/bin/false".into(), base_port, nodes: 2, access };
    let supervisor = Supervisor::open(setup).unwrap();
    let app = router(supervisor.clone(), Ui::Fallback);
    (directory, supervisor, app)
}

async fn ask(app: &Router, method: &str, path: &str, body: &str) -> (u16, Option<String>, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("x-axon-actor", "anna")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let place = response.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, place, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_bad_id_is_refused_everywhere_and_changes_nothing() {
    let (_directory, supervisor, app) = app(26_200);
    let before = supervisor.manifest();
    let long = "x".repeat(10 << 10);
    let ids = ["%2e%2e", "..%2fnode1", "..", "", "%00", "n%C3%B6de", "%FF", "Node1", "-a", &long];
    for id in ids {
        for path in [
            format!("/api/v1/nodes/{id}/actions/decommission"),
            format!("/api/v1/nodes/{id}/actions/stop?dry_run=true"),
            format!("/api/control/delete/{id}"),
            format!("/api/control/stop/{id}"),
            format!("/api/control/start/{id}"),
        ] {
            let (status, _, problem) = ask(&app, "POST", &path, "").await;
            let code = problem["code"].as_str().unwrap();
            assert_eq!(
                (status, code),
                (400, "bad_request"),
                "{} {problem}",
                &path[..path.len().min(60)]
            );
        }
        let (status, _, problem) = ask(&app, "GET", &format!("/api/v1/nodes/{id}"), "").await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_request")));
    }
    for id in ["../x", "", "..", "ö", "Node", &"x".repeat(2_000), "a\u{0}"] {
        let body = json!({ "id": id }).to_string();
        assert_eq!(ask(&app, "POST", "/api/v1/nodes", &body).await.0, 400, "{id:?}");
    }
    assert_eq!(supervisor.manifest(), before);
    assert!(supervisor.0.operations.list().is_empty());
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let (_directory, _supervisor, app) = app(26_300);
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    for (method, path, body, status, code) in [
        ("POST", "/api/v1/nodes", "", 400, "bad_request"),
        ("POST", "/api/v1/nodes", r#"{"id":"a","port":1}"#, 400, "bad_request"),
        ("POST", "/api/v1/nodes", r#"{"id":"a","membership":"king"}"#, 400, "bad_request"),
        ("POST", "/api/v1/nodes?dry_run=true", r#"{"id":"a"}"#, 400, "bad_request"),
        ("POST", "/api/v1/nodes", &long, 413, "too_large"),
        ("POST", "/api/v1/nodes", r#"{"id":"node1"}"#, 409, "conflict"),
        ("POST", "/api/v1/nodes/node1/actions/explode", "", 404, "not_found"),
        ("POST", "/api/v1/nodes/node9/actions/stop", "", 404, "not_found"),
        ("POST", "/api/v1/nodes/node9/actions/stop?dry_run=true", "", 404, "not_found"),
        ("POST", "/api/v1/nodes/node1/actions/stop?force=true", "", 400, "bad_request"),
        ("POST", "/api/v1/nodes/node1/actions/stop?dry_run=yes", "", 400, "bad_request"),
        ("POST", "/api/v1/nodes/node1/actions/stop", r#"{"force":true}"#, 400, "bad_request"),
        ("POST", "/api/v1/nodes/node1/actions/stop", "now", 400, "bad_request"),
        ("GET", "/api/v1/nodes/node1/actions/stop", "", 405, "method_not_allowed"),
        ("GET", "/api/v1/nodes/node9", "", 404, "not_found"),
        ("POST", "/api/v1/actions/rolling_restart?all=1", "", 400, "bad_request"),
        ("GET", "/api/v1/operations/7", "", 404, "not_found"),
        ("GET", "/api/v1/operations/first", "", 400, "bad_request"),
        ("POST", "/api/v1/operations/7/cancel", "", 404, "not_found"),
    ] {
        let (got, _, problem) = ask(&app, method, path, body).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{method} {path} {problem}");
    }
}

#[tokio::test]
async fn a_dry_run_and_the_action_refuse_alike_and_each_is_an_event() {
    let (_directory, supervisor, app) = app(26_400);
    let mut events = supervisor.0.events.subscribe();
    let path = "/api/v1/nodes/node1/actions/decommission";
    let (status, _, dry) = ask(&app, "POST", &format!("{path}?dry_run=true"), "").await;
    assert_eq!((status, &dry["allowed"], &dry["effect"]), (200, &json!(false), &Value::Null));
    let (status, _, problem) = ask(&app, "POST", path, "{}").await;
    assert_eq!((status, &problem["error"]), (409, &dry["reason"]));
    let event = events.recv().await.unwrap();
    assert_eq!((event.kind.as_str(), event.actor.as_str()), ("decommission", "anna"));
    assert_eq!(event.node.as_deref(), Some("node1"));

    // Nobody answers: what that means for the quorum is not known, and said so.
    let (status, _, dry) =
        ask(&app, "POST", "/api/v1/actions/rolling_restart?dry_run=true", "").await;
    assert_eq!((status, &dry["allowed"]), (200, &json!(false)));
    let (status, _, problem) = ask(&app, "POST", "/api/v1/actions/rolling_restart", "").await;
    assert_eq!((status, &problem["error"]), (503, &dry["reason"]));
}

#[tokio::test]
async fn an_action_is_an_operation_that_can_be_waited_for() {
    let (_directory, supervisor, app) = app(26_500);
    let mut events = supervisor.0.events.subscribe();
    let path = "/api/v1/nodes/node1/actions/start";
    let (status, place, begun) = ask(&app, "POST", path, "").await;
    assert_eq!(
        (status, &begun["state"], &begun["actor"]),
        (202, &json!("running"), &json!("anna"))
    );
    let place = place.unwrap();
    assert_eq!(place, format!("/api/v1/operations/{}", begun["id"]));
    let ended = supervisor.0.operations.until_ended(1, std::time::Duration::from_secs(30)).await;
    assert!(ended.unwrap().error.unwrap().contains("node1 does not start"));
    let (_, _, shown) = ask(&app, "GET", &place, "").await;
    assert_eq!(
        (&shown["state"], &shown["steps"][0]["state"]),
        (&json!("failed"), &json!("failed"))
    );

    let (status, _, stopped) =
        ask(&app, "POST", "/api/v1/nodes/node1/actions/stop?wait=true", "").await;
    assert_eq!((status, &stopped["state"]), (200, &json!("done")));
    let (_, _, node) = ask(&app, "GET", "/api/v1/nodes/node1", "").await;
    assert_eq!((&node["state"], &node["desired_running"]), (&json!("stopped"), &json!(false)));
    let (_, _, listed) = ask(&app, "GET", "/api/v1/operations", "").await;
    assert_eq!((&listed[0]["kind"], &listed[1]["kind"]), (&json!("stop"), &json!("start")));
    let (status, _, refused) = ask(&app, "POST", "/api/v1/operations/1/cancel", "").await;
    assert_eq!((status, &refused["code"]), (409, &json!("conflict")));

    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        if event.kind == "crashed" {
            assert_eq!(event.exit.unwrap().code, Some(1));
        }
        kinds.push((event.kind, event.actor));
    }
    for expected in
        [("start", "anna"), ("started", "launcher"), ("crashed", "launcher"), ("stop", "anna")]
    {
        let expected = (expected.0.to_owned(), expected.1.to_owned());
        assert!(kinds.contains(&expected), "{expected:?} in {kinds:?}");
    }
}

#[test]
fn an_actor_is_what_can_be_shown() {
    let said = |value: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert("x-axon-actor", axum::http::HeaderValue::from_bytes(value).unwrap());
        actor(&headers)
    };
    assert_eq!(said(b"anna from the dashboard"), "anna from the dashboard");
    assert_eq!(said(&[b'a'; 64]), "a".repeat(64));
    for ignored in [&b""[..], b"   ", &[b'a'; 65], b"a\tb", "ö".as_bytes()] {
        assert_eq!(said(ignored), "api");
    }
    assert_eq!(actor(&HeaderMap::new()), "api");
}
