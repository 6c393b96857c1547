//! `GET /v1/snapshot` and `axon-server restore`: a store carried off, and made a cluster again.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use axon_core::Cluster;
use axon_core::config::{Config, Origin};
use axon_server::{Options, serve};
use common::child::{Running, ended};
use common::{Answer, PATIENCE, Server};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// How many may read the whole store at once.
const TURNS: usize = 8;

async fn snapshot(server: &Server) -> Answer {
    server.call("GET", "/v1/snapshot", "").await
}

async fn put(server: &Server, key: &str, bytes: usize) {
    let mut client = server.client().await;
    let value = vec![b'v'; bytes];
    let path = format!("/v1/kv/{key}");
    let answer = client.call_with("PUT", &path, &[], &value).await;
    assert!(answer.status < 300, "{answer:?}");
}

fn restore(from: &Path, to: &Path) -> (i32, String, String) {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    ended(&["restore", "--name", "node1", "--data-dir", to, "--from", from])
}

#[tokio::test]
async fn a_snapshot_is_a_file_that_the_program_makes_a_cluster_of() {
    let server = Server::start().await;
    put(&server, "a", 3).await;
    put(&server, "b", 900 << 10).await;
    let status = server.call("GET", "/v1/status", "").await.json();
    let answer = snapshot(&server).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("x-axon-revision"), Some("2"));
    let cluster_id = status["cluster_id"].as_str().unwrap();
    let name = format!("attachment; filename=\"{cluster_id}-2.axon\"");
    assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
    let metrics = server.call("GET", "/metrics", "").await;
    let counted = r#"axon_http_requests_total{route="/v1/snapshot",method="GET",status="200"} 1"#;
    assert!(metrics.text().contains(counted));

    let dir = tempfile::tempdir().unwrap();
    let (file, to) = (dir.path().join("monday.axon"), dir.path().join("data"));
    fs::write(&file, &answer.body).unwrap();
    let (code, out, err) = restore(&file, &to);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("\nrevision: 2\nkeys: 2\n") && !out.contains(cluster_id), "{out}");

    let to = to.to_str().unwrap();
    let run = ["run", "--name", "node1", "--data-dir", to, "--listen", "127.0.0.1:0"];
    let running = Running::start(&run);
    assert_eq!(running.call("GET", "/kv/a", ""), r#"{"key":"a","value":"vvv"}"#);
    let new = running.look("/v1/status").unwrap();
    assert!(out.contains(new["cluster_id"].as_str().unwrap()));
    assert_eq!(new["state_hash"]["hash"], status["state_hash"]["hash"]);
}

#[tokio::test]
async fn what_is_no_whole_backup_makes_nothing() {
    let server = Server::start().await;
    put(&server, "a", 3).await;
    let whole = snapshot(&server).await.body;
    let dir = tempfile::tempdir().unwrap();
    let (file, to) = (dir.path().join("file"), dir.path().join("data"));
    for (bad, words) in [
        (&whole[..whole.len() - 1], "cut short"),
        (&b"<html>not found</html>"[..], "no backup"),
        (&[][..], "cut short"),
    ] {
        fs::write(&file, bad).unwrap();
        let (code, out, err) = restore(&file, &to);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains(words) && err.lines().count() == 1, "{err}");
        assert!(!to.exists());
    }
    let (code, _, err) = restore(&dir.path().join("missing"), &to);
    assert!(code == 1 && err.contains("missing"), "{err}");
    let (code, _, err) = ended(&["restore", "--data-dir", "x"]);
    assert!(code == 2 && err.contains("--name"), "{err}");
}

#[tokio::test]
async fn readers_that_do_not_read_are_few_and_hold_up_no_write() {
    let server = Server::start().await;
    // More than sockets take by themselves.
    for number in 0..12 {
        let bytes = 1_000_000;
        let mut random = vec![0; bytes];
        for (at, byte) in random.iter_mut().enumerate() {
            *byte = ((at as u64 * 2_654_435_761) >> 13) as u8 ^ (at >> 8) as u8;
        }
        let path = format!("/v1/kv/k{number}");
        let answer = server.client().await.call_with("PUT", &path, &[], &random).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    let mut idle = Vec::new();
    for _ in 0..TURNS {
        let (head, stream) = server.client().await.open("/v1/snapshot", &[]).await;
        assert_eq!(head.status, 200);
        idle.push(stream);
    }
    snapshot(&server).await.is_problem(429, "overloaded");
    put(&server, "meanwhile", 3).await;
    assert_eq!(server.call("GET", "/kv/meanwhile", "").await.status, 200);
    drop(idle);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while snapshot(&server).await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the turns are given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A row that is damaged on disk is met in the middle of the stream.
#[tokio::test]
async fn a_failure_midway_breaks_the_body_off() {
    let dir = tempfile::tempdir().unwrap();
    let start = || async {
        let cluster = Cluster::start(Config {
            data_dir: Some(dir.path().into()),
            origin: Origin::Init(None),
            state_cache_bytes: 64 << 10,
            ..Config::default()
        });
        let cluster = cluster.await.unwrap();
        cluster.wait_ready(PATIENCE).await.unwrap();
        cluster
    };
    let cluster = start().await;
    for number in 0..4 {
        let value = format!("NEEDLE-{number}-").repeat(80_000);
        cluster.store().put(format!("k{number}"), value).await.unwrap();
    }
    cluster.checkpoint().await.unwrap();
    let file = dir.path().join("state.redb");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(9).rposition(|part| part == b"NEEDLE-3-").unwrap();
    bytes[at] ^= 1;
    let disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&disk, &bytes[at..=at], at as u64).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(cluster, listener, Options::default(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /v1/snapshot HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("it is closed");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!answer.ends_with(b"0\r\n\r\n"), "the body has no end");
}
