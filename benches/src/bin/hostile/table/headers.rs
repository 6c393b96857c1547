//! Headers: pages of other sites, conditions that are none, and everything else that clients send.

use crate::case::{Case, Request, Want};
use crate::site::Site;

/// Names that are not this machine's.
const HOSTS: [&[u8]; 16] = [
    b"evil.example",
    b"evil.example:80",
    b"127.0.0.1.evil.example",
    b"localhost.evil.example",
    b"evil@127.0.0.1",
    b"127.0.0.1@evil.example",
    b"127.0.0.1:9000:80",
    b"10.0.0.1",
    b"0.0.0.0",
    b"[::]",
    b"2130706433",
    b"127.1.evil",
    b"\xff\xfe",
    b"",
    b"a b",
    b"/",
];

const ORIGINS: [&[u8]; 11] = [
    b"http://evil.example",
    b"https://evil.example",
    b"null",
    b"",
    b"http://127.0.0.1",
    b"http://127.0.0.1:1",
    b"http://localhost:1",
    b"ftp://127.0.0.1",
    b"file://",
    b"http://127.0.0.1.evil.example",
    b"\xff",
];

/// What `If-Match` and `If-None-Match` of a write cannot be.
const NO_TAGS: [&[u8]; 13] = [
    b"",
    b"1",
    b"\"1",
    b"1\"",
    b"\"1\" \"2\"",
    b"W/",
    b"W/1",
    b"w/\"1\"",
    b"**",
    b"*, \"1\"",
    b"\"1\";",
    b"\xff",
    b"'1'",
];

const NO_NAMES: [&[u8]; 8] =
    [b"", b" ", b"a b", b"\xff", b"caf\xc3\xa9", b"a\tb", b"a,\x80", b"\x80"];

const NO_EVENTS: [&[u8]; 8] =
    [b"", b"x", b"-1", b"+1", b"1.0", b"18446744073709551616", b"\xff", b"1, 2"];

/// What changes nothing: it is ignored, or refused.
const ODD: [(&str, &[u8]); 31] = [
    ("accept", b"nonsense"),
    ("accept", b"\xff"),
    ("accept", b"*/*;q=9"),
    ("accept", b"application/json;q=0, */*;q=0"),
    ("accept-encoding", b"gzip, br, zstd, \xff"),
    ("authorization", b""),
    ("authorization", b"Bearer"),
    ("authorization", b"Bearer \xff"),
    ("authorization", b"Basic dXNlcjpwYXNz"),
    ("connection", b"upgrade"),
    ("connection", b"close, close, keep-alive"),
    ("connection", b"host"),
    ("cookie", b"axon_session=../../x; a=b;;;="),
    ("cookie", b"\xff"),
    ("expect", b"100-continue"),
    ("expect", b"200-ok"),
    ("forwarded", b"for=\"[::1]\";host=evil.example"),
    ("if-modified-since", b"yesterday"),
    ("max-forwards", b"-1"),
    ("range", b"bytes=0-0,1-1,2-2"),
    ("range", b"bytes=-99999999999999999999"),
    ("referer", b"http://evil.example/"),
    ("te", b"trailers, deflate"),
    ("trailer", b"content-length"),
    ("upgrade", b"websocket"),
    ("upgrade", b"h2c"),
    ("via", b"1.1 evil"),
    ("x-forwarded-host", b"evil.example"),
    ("x-http-method-override", b"DELETE"),
    ("x-request-id", b"a\x80b"),
    ("x-request-id", b"<script>alert(1)</script>"),
];

/// The cases for `site`.
pub fn every(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    let (one, watch, txn) = (site.v1("kv/never/headers"), site.v1("watch"), site.v1("txn"));
    let read = site.v1("kv/kept/1");
    let mut ask = |method, target: &str, name, value: &[u8], want| {
        let request = Request::new(method, target).header(name, value).body(match method {
            "PUT" | "POST" => b"{}",
            _ => b"",
        });
        cases.push(request.case(site, want));
    };
    let foreign = Want::OneOf(&[400, 403]);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        for host in HOSTS {
            ask(method, &one, "host", host, foreign);
        }
        for origin in ORIGINS {
            ask(method, &one, "origin", origin, Want::Status(403));
        }
    }
    for site in ["cross-site", "same-site", "anything", ""] {
        for method in ["PUT", "POST", "DELETE", "PATCH"] {
            ask(method, &one, "sec-fetch-site", site.as_bytes(), Want::Status(403));
        }
    }
    for name in ["if-match", "if-none-match"] {
        for tag in NO_TAGS {
            ask("PUT", &one, name, tag, Want::Status(400));
            ask("DELETE", &one, name, tag, Want::Status(400));
        }
        ask("POST", &txn, name, b"\"1\"", Want::Status(400));
    }
    for name in NO_NAMES {
        ask("PUT", &one, "idempotency-key", name, Want::Status(400));
        ask("POST", &txn, "idempotency-key", name, Want::Status(400));
    }
    let long = "k".repeat(129);
    ask("PUT", &one, "idempotency-key", long.as_bytes(), Want::Status(400));
    for id in NO_EVENTS {
        ask("GET", &watch, "last-event-id", id, Want::Status(400));
    }
    for (name, value) in ODD {
        ask("GET", &read, name, value, Want::Any);
        ask("PUT", &one.replace("never", "odd"), name, value, Want::Any);
    }
    ask("GET", &read, "cookie", "a=b; ".repeat(10_000).as_bytes(), Want::Any);
    ask("GET", &read, "authorization", &[&b"Bearer "[..], &vec![b'a'; 60_000]].concat(), Want::Any);
    let encoded = Request::new("PUT", &one).header("content-encoding", &b"gzip"[..]).body(b"x");
    cases.push(encoded.case(site, Want::Status(415)));
    let part = Request::new("PUT", &one).header("content-range", &b"bytes 0-0/2"[..]).body(b"x");
    cases.push(part.case(site, Want::Status(400)));
    cases.extend(hosts(site, &one, foreign));
    cases
}

/// No host, two hosts, and a target that names a third.
fn hosts(site: &Site, target: &str, want: Want) -> Vec<Case> {
    let host = site.host();
    let length = "content-length: 0\r\n\r\n";
    let two = format!("PUT {target} HTTP/1.1\r\nhost: {host}\r\nhost: evil.example\r\n{length}");
    let absolute = format!("PUT http://evil.example{target} HTTP/1.1\r\nhost: {host}\r\n{length}");
    let none = format!("PUT {target} HTTP/1.1\r\n{length}");
    [("no host", none), ("two hosts", two), ("an absolute target", absolute)]
        .map(|(name, head)| Case::new(name, head, want))
        .into()
}
