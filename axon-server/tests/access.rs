//! Who is served, and who is not: tokens, secrets, and pages of other sites.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use axon_server::{Options, Token};
use common::child::{Running, ended, within};
use common::{Answer, Client, PATIENCE, Server};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TOKEN: &str = "a-token-of-some-length";

fn problem(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    answer.json()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_door_but_two_asks_for_the_token() {
    let options = Options { token: Token::new(TOKEN), ..Options::default() };
    let server = Server::with(options).await;
    let right = format!("Bearer {TOKEN}");
    let mut client = server.client().await;
    let document =
        client.call_with("GET", "/openapi.json", &[("authorization", &right)], b"").await;
    assert_eq!(document.status, 200);
    let document = document.json();
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for path in document["paths"].as_object().unwrap().keys() {
        let asked = path.replace("{key}", "k").replace("{id}", "1");
        let open = ["/livez", "/readyz"].contains(&asked.as_str());
        for wrong in ["Bearer another-token-of-some-length", "Basic YWxhZGRpbjpzZXNhbWU="] {
            let headers = [("authorization", wrong)];
            let answer = server.client().await.call_with("GET", &asked, &headers, b"").await;
            assert_eq!(answer.status == 401, !open, "{asked}: {answer:?}");
        }
        let answer = server.call("GET", &asked, "").await;
        if open {
            assert_eq!(answer.status, 200, "{asked}");
            continue;
        }
        assert_eq!((answer.status, problem(&answer).as_str()), (401, "unauthorized"), "{asked}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let refused = server.call("PUT", "/kv/k", r#"{"value":"v"}"#).await;
    assert_eq!(refused.status, 401);
    assert!(server.cluster.store().get("k").await.unwrap().is_none());
    // The connection is as good as any: the token is of a request, not of a connection.
    let headers = [("authorization", right.as_str()), ("content-type", "application/json")];
    let taken = client.call_with("PUT", "/kv/k", &headers, br#"{"value":"v"}"#).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    assert_eq!(client.call("GET", "/kv/k", "").await.status, 401);
}

#[tokio::test]
async fn a_page_of_another_site_changes_and_reads_nothing() {
    let server = Server::start().await;
    server.cluster.store().put("k", "old").await.unwrap();
    let port = server.address.port();
    let neighbour = format!("http://localhost:{}", port.wrapping_add(1));
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", &neighbour),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for (method, path) in [
            ("PUT", "/kv/k"),
            ("DELETE", "/kv/k"),
            ("PUT", "/v1/kv/k"),
            ("POST", "/v1/txn"),
            ("POST", "/v1/leader/transfer"),
            ("DELETE", "/v1/members/1"),
        ] {
            let mut client = server.client().await;
            let headers = [foreign, ("content-type", "text/plain")];
            let answer = client.call_with(method, path, &headers, b"new").await;
            assert_eq!((answer.status, problem(&answer).as_str()), (403, "forbidden"), "{path}");
        }
    }
    // It gives its own name this address.
    let mut client = server.client().await;
    client.send(b"GET /kv/k HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(client.answer(false).await.unwrap().status, 403);
    assert_eq!(server.cluster.store().get("k").await.unwrap().unwrap().value, "old");
}

#[tokio::test]
async fn no_answer_is_taken_for_a_page_or_a_script() {
    let server = Server::start().await;
    server.cluster.store().put("k", "<script>alert(1)</script>").await.unwrap();
    for path in ["/v1/kv/k", "/kv/k", "/v1/kv", "/metrics", "/livez", "/nothing", "/v1/kv/missing"]
    {
        let answer = server.call("GET", path, "").await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{path}");
    }
}

fn private(path: &Path, content: &str) -> String {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_asks_for_its_token_and_never_shows_it() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data").to_str().unwrap().to_owned();
    let file = private(&root.path().join("token"), &format!("{TOKEN}\n"));
    let node = ["--name", "n1", "--data-dir", &data, "--listen", "127.0.0.1:0"];
    assert_eq!(ended(&[&["init"], &node[..4]].concat()).0, 0);

    let guarded = [&node[..], &["--token-file", &file, "--log", "trace"]].concat();
    let server = Running::start(&guarded);
    let (right, wrong) = (format!("Bearer {TOKEN}"), "Bearer a-token-of-another-length");
    let mut client = Client::to(server.api).await;
    for (shown, status) in [(right.as_str(), 200), (wrong, 401), (right.as_str(), 200)] {
        let answer = client.call_with("GET", "/version", &[("authorization", shown)], b"").await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(client.call("GET", "/livez", "").await.status, 200);
    for line in server.logged("serving") {
        assert!(!line.contains(TOKEN) && !line.contains("another-length"), "{line}");
    }
    drop(server);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, err) = ended(&guarded);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("--token-file") && err.contains("chmod 600") && !err.contains(TOKEN));
    let (code, _, err) =
        ended(&[&node[..4], &["--listen", "0.0.0.0:0", "--advertise", "h"]].concat());
    assert_eq!(code, 2);
    assert!(err.contains("--token-file") && err.contains("--insecure"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_with_the_clusters_secret_and_not_without() {
    let root = tempfile::tempdir().unwrap();
    let data = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let secret = private(&root.path().join("secret"), "0123456789abcdef0123456789abcdef\n");
    let other = private(&root.path().join("other"), "fedcba9876543210fedcba9876543210\n");
    let start = |name: &str, more: &[&str]| {
        let data = data(name);
        let node = ["--name", name, "--data-dir", &data, "--listen", "127.0.0.1:0"];
        Running::start(&[&node[..], more].concat())
    };
    assert_eq!(ended(&["init", "--name", "n1", "--data-dir", &data("n1")]).0, 0);
    let first = start("n1", &["--secret-file", &secret]);
    let door = within(PATIENCE, "the first is a member", || {
        let members = first.look("/v1/members")?;
        Some(members["members"][0]["peer_address"].as_str()?.to_owned())
    });

    let without = start("n2", &["--join", &door]);
    let another = start("n3", &["--join", &door, "--secret-file", &other]);
    for stranger in [&without, &another] {
        stranger.logged("the secrets differ: give every member the same one (--secret-file)");
        assert_eq!(stranger.ask("GET", "/readyz", "", PATIENCE).unwrap().0, 503);
    }
    first.logged("someone without this cluster's secret was turned away");
    let second = start("n4", &["--join", &door, "--secret-file", &secret]);
    second.call("GET", "/readyz", "");
    let members = first.look("/v1/members").unwrap();
    let names: Vec<_> =
        members["members"].as_array().unwrap().iter().map(|member| &member["name"]).collect();
    assert_eq!(names, ["n1", "n4"]);
}
