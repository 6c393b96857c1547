//! Every method on every path, with bodies that none of them wants.

use crate::case::{Case, Request, Want};
use crate::site::{Kind, Site};

const METHODS: [&str; 13] = [
    "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
    "get", "QUERY", "X",
];

const BODIES: [&str; 3] = ["", "{", r#"{"value":{"value":"v"}}"#];

/// Paths below the data doors, wherever those are.
const DATA: [&str; 26] = [
    "kv",
    "kv?prefix=",
    "kv?prefix=%FF&limit=0",
    "kv?limit=1&limit=1",
    "kv?%",
    "kv?confirm=",
    "kv/",
    "kv/%",
    "kv/%2",
    "kv/%zz",
    "kv/kept/1/none",
    "kv/%2e%2e/%2e%2e/etc/passwd",
    "kv/../status",
    "kv/a?revision=18446744073709551615",
    "kv/a?consistency=local&x",
    "history",
    "history/",
    "history/a",
    "history/%",
    "history/a?before=0&limit=x",
    "txn",
    "txn?a=b",
    "txn/",
    "status/",
    "status/x",
    "members/",
];

const SERVER: [&str; 30] = [
    "/",
    "*",
    "/kv",
    "/kv/",
    "/kv/%",
    "/kv/%00",
    "/kv/%FF%FE",
    "/kv?x=%",
    "/kv/none?value=b",
    "/kvx",
    "//kv",
    "/KV",
    "/v1",
    "/v1/",
    "/v1/status",
    "/v1/members",
    "/v1/members/0",
    "/v1/members/99999999999999999999999",
    "/v1/members/1/2/3",
    "/v1/members/%2e%2e/promote",
    "/v1/members/none/promote",
    "/v1/events",
    "/v1/events?after=x",
    "/livez",
    "/readyz?verbose=%FF",
    "/metrics",
    "/version",
    "/openapi.json",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
];

/// Nothing here names a node that exists together with an order.
const LAUNCHER: [&str; 36] = [
    "*",
    "/api",
    "/api/",
    "/api//",
    "/api/v1",
    "/api/v2/nodes",
    "/api/control",
    "/api/control/nodes",
    "/api/control/nodes/",
    "/api/control/stop/none",
    "/api/control/start/..%2fnode1",
    "/api/control/delete/%2e%2e",
    "/api/control/delete/",
    "/api/control/stop/n%C3%B6de",
    "/api/control/stop/%FF",
    "/api/control/stop/%00",
    "/api/control/add/x",
    "/api/v1/nodes/none",
    "/api/v1/nodes/%FF",
    "/api/v1/nodes/%FF/logs",
    "/api/v1/nodes/node1/logs?lines=x",
    "/api/v1/nodes/node1/logs?follow=maybe",
    "/api/v1/nodes/../logs",
    "/api/v1/nodes/none/actions/stop",
    "/api/v1/nodes/none/actions/",
    "/api/v1/nodes/none/actions/%FF",
    "/api/v1/nodes/node1/actions/explode",
    "/api/v1/actions/explode",
    "/api/v1/operations/none",
    "/api/v1/operations/%FF",
    "/api/v1/operations/99999999999999999999999",
    "/api/v1/operations/18446744073709551615/cancel",
    "/api/v1/events?limit=x",
    "/api/v1/kv?node=none",
    "/api/v1/status?node=..%2f..",
    "/api/../../etc/passwd",
];

/// The cases for `site`.
pub fn every(site: &Site) -> Vec<Case> {
    let mut paths: Vec<String> = DATA.iter().map(|path| site.v1(path)).collect();
    let own: &[&str] = if site.kind == Kind::Server { &SERVER } else { &LAUNCHER };
    paths.extend(own.iter().map(|path| (*path).to_owned()));
    let mut cases = Vec::new();
    for path in &paths {
        for method in METHODS {
            for body in BODIES {
                let request = Request::new(method, path).body(body.as_bytes());
                cases.push(request.case(site, Want::Any));
            }
        }
    }
    if site.kind == Kind::Launcher {
        // The dashboard: pages for whoever reads, and nothing else.
        for path in ["/", "/nodes", "/_app/none.js", "/%2e%2e/etc/passwd", "/.secret", "/a/../../b"]
        {
            for method in METHODS {
                let reads = matches!(method, "GET" | "HEAD");
                let want = if reads { Want::OneOf(&[200, 400, 404]) } else { Want::Refused };
                cases.push(Request::new(method, path).case(site, want));
            }
        }
    }
    cases
}
