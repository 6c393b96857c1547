//! The launcher behind a token, with real servers: what strangers get, and what they do not.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use support::Site;

const TOKEN: &str = "a-token-for-this-test-alone";
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request as a stranger would; returns the status, the head and the body.
fn ask(port: u16, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = headers.join("\r\n");
    if !lines.is_empty() {
        lines.push_str("\r\n");
    }
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{lines}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

fn status(port: u16, line: &str, headers: &[&str]) -> u16 {
    ask(port, line, headers, "").0
}

#[tokio::test]
async fn behind_a_token_strangers_get_nothing_and_a_session_goes_through() {
    let site = Site::with_token(TOKEN);
    let launcher = site.launch().await;
    let port = launcher.port();
    let bearer = format!("authorization: Bearer {TOKEN}");
    for line in
        ["GET /", "GET /api/control/nodes", "POST /api/control/stop/node1", "GET /api/v1/stream"]
    {
        let (status, head, _) = ask(port, line, &[], "");
        assert_eq!(status, 401, "{line}");
        assert!(
            head.contains("www-authenticate: Bearer") && head.contains("x-frame-options: DENY")
        );
    }
    assert_eq!(status(port, "GET /api/control/nodes", &[&bearer]), 200);
    assert_eq!(status(port, "GET /nodes", &["accept: text/html"]), 303);

    let origin = format!("origin: http://127.0.0.1:{port}");
    let form = format!("token={TOKEN}&next=%2Fnodes");
    let (code, head, _) = ask(port, "POST /sign-in", &[&origin], &form);
    assert_eq!(code, 303, "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = format!("cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(status(port, "GET /api/control/nodes", &[&cookie]), 200);
    let foreign = [cookie.as_str(), "origin: http://evil.example"];
    assert_eq!(status(port, "POST /api/control/stop/node1", &foreign), 403);
    assert_eq!(status(port, "POST /api/control/delete/%2e%2e", &[&cookie, &origin]), 400);

    // The nodes ask for the token, too, but for whether they live; and the launcher shows it to them.
    let node = site.base_port;
    assert_eq!(status(node, "GET /v1/status", &[]), 401);
    assert_eq!(status(node, "PUT /kv/k", &[]), 401);
    assert_eq!(status(node, "GET /livez", &[]), 200);
    assert_eq!(status(node, "GET /v1/status", &[&bearer]), 200);
    assert_eq!(site.put(node, "k", "v").await, 200);

    // The peer port says nothing of the cluster to who does not have the secret.
    let mut peer = TcpStream::connect(("127.0.0.1", node + 1)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let term = site.status(node).await["term"].clone();
    peer.write_all(&[0; 64]).unwrap();
    let mut said = Vec::new();
    // Cut off is as good as closed.
    peer.take(1 << 20).read_to_end(&mut said).ok();
    let cluster = site.manifest()["cluster_id"].as_str().unwrap().to_owned();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("node1") && !said.contains(&cluster), "{said}");
    assert_eq!(site.status(node).await["term"], term);

    let wrong = ["authorization: Bearer a-token-of-someone-else"];
    site.until("who tries many is slowed down", async || {
        let code = status(port, "GET /api/control/nodes", &wrong);
        assert!([401, 429].contains(&code), "{code}");
        (code == 429).then_some(())
    })
    .await;
    assert_eq!(status(port, "GET /api/control/nodes", &[&cookie]), 200, "sessions go on");

    for secret in ["cluster.secret", "node.token"] {
        let mode = site.data().join(secret).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let secret = fs::read_to_string(site.data().join("cluster.secret")).unwrap();
    for name in ["node1", "node2", "node3"] {
        let log = fs::read_to_string(site.data().join(format!("logs/{name}.log"))).unwrap();
        assert!(!log.contains(TOKEN) && !log.contains(&secret), "{name} logs a secret");
    }
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_open_address_without_a_token_is_refused_with_the_ways_out() {
    let site = Site::new();
    let said = site.refused(&["--listen", "0.0.0.0:0"]);
    for way_out in ["--token-file", "ssh -L", "--insecure"] {
        assert!(said.contains(way_out), "{said}");
    }
    assert!(!site.data().exists(), "nothing was made");
}

#[tokio::test]
async fn a_lost_secret_is_not_replaced_while_nodes_run() {
    let site = Site::new();
    let launcher = site.launch().await;
    let path = site.data().join("cluster.secret");
    let secret = fs::read_to_string(&path).unwrap();
    launcher.kill();
    fs::remove_file(&path).unwrap();
    let said = site.refused(&[]);
    assert!(said.contains("node1") && said.contains("is missing"), "{said}");
    assert!(!path.exists());
    fs::write(&path, &secret).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(site.refused(&[]).contains("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let launcher = site.launch().await;
    assert_eq!(launcher.stop().await.code(), Some(0));

    // With no node left, a new one is made and serves as well.
    fs::remove_file(&path).unwrap();
    let launcher = site.launch().await;
    assert_ne!(fs::read_to_string(&path).unwrap(), secret);
    assert_eq!(launcher.stop().await.code(), Some(0));
}
