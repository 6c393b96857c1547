//! One node's task, with a process that only looks like a server.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::json;
use std::path::Path;

const SOON: Duration = Duration::from_secs(20);

/// A process with a node's directory on its command line, as an earlier launcher would have left it.
async fn left_over(replica: &Path, log: &Path) -> Process {
    let args =
        ["-c", "echo ready; while :; do sleep 0.05; done", "axon-server", "run", "--data-dir"];
    let args = args.map(Into::into).into_iter().chain([replica.as_os_str().to_owned()]).collect();
    let launch = Launch { program: "/bin/sh".into(), args, unset: &[], log: log.to_path_buf() };
    let process = Process::spawn(&launch).unwrap();
    // Before that its command line may still be ours.
    let begun = Instant::now();
    while logs::tail(log, 1) != ["ready"] {
        assert!(begun.elapsed() < SOON, "the process does not begin");
        tokio::task::yield_now().await;
    }
    process
}

/// Supervises a node whose process was left over, with a server at its port that says who it is; `?`
/// says it only to who has its token.
async fn adopting(directory: &Path, says: Option<&'static str>) -> (Process, Node) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api_port = listener.local_addr().unwrap().port();
    let cluster = ClusterId::random();
    if let Some(name) = says {
        let status = json!({
            "cluster_id": cluster, "node_id": 1, "name": name, "raft_state": "leader",
            "membership": "voter", "term": 1, "applied_index": 1, "voters": [1],
        });
        let locked = name == "?";
        let code = if locked { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        let app = Router::new()
            .route("/v1/status", get(move || async move { (code, status.to_string()) }))
            .route("/readyz", get(|| async {}));
        tokio::spawn(async move { axum::serve(listener, app).await });
    }
    let (replica, log) = (directory.join("data"), directory.join("node.log"));
    let process = left_over(&replica, &log).await;
    let place = Place {
        name: "node1".parse().unwrap(),
        cluster,
        api_port,
        peer_port: api_port,
        replica,
        log,
    };
    let plan: Plan = Box::new(|| Err("it is not started here".to_owned()));
    let node = Node::supervise(place, plan, NodeClient::new(), Box::new(|_| {}));
    assert_eq!(node.view().pid, Some(process.pid()), "it was taken over");
    (process, node)
}

#[tokio::test]
async fn a_process_that_answers_as_itself_or_not_at_all_is_stopped() {
    for says in [Some("node1"), Some("?"), None] {
        let directory = tempfile::tempdir().unwrap();
        let (mut process, node) = adopting(directory.path(), says).await;
        node.stop().await;
        let exit = tokio::time::timeout(SOON, process.exited()).await.unwrap();
        assert_eq!(exit, Exit::Signal(15), "{says:?}");
        assert!(node.until(SOON, |view| view.phase == Phase::Stopped).await);
    }
}

#[tokio::test]
async fn a_process_that_answers_as_another_is_never_signalled() {
    let directory = tempfile::tempdir().unwrap();
    let (mut process, node) = adopting(directory.path(), Some("node7")).await;
    node.kill().await;
    node.stop().await;
    node.close().await;
    let view = node.view();
    assert_eq!((view.phase, view.pid), (Phase::Stopped, None));
    let trouble = view.trouble.unwrap();
    assert!(
        trouble.contains("is answered by another node, \"node7\"; it was left alone"),
        "{trouble}"
    );
    let ended = tokio::time::timeout(Duration::from_millis(200), process.exited()).await;
    assert!(ended.is_err(), "it still runs");
    process.kill();
}
