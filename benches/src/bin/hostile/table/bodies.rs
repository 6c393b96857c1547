//! Bodies: what is no JSON, what is JSON of another shape, and what calls itself something else.

use crate::case::{Case, Request, Want};
use crate::site::{Kind, Site};

/// What no reader takes for a JSON document.
fn no_json() -> Vec<Vec<u8>> {
    let texts = [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "nul",
        "NaN",
        "Infinity",
        "-",
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "'a'",
        "{'value':'v'}",
        "{value:\"v\"}",
        "{\"value\"}",
        "{\"value\":}",
        "{\"value\":\"v\",}",
        "[1,]",
        "{\"value\":\"v\"}}",
        "{\"value\":\"v\"} x",
        "{\"value\":\"v\"}{}",
        "\u{feff}{\"value\":\"v\"}",
        "{\"value\":\"\\x\"}",
        "{\"value\":\"\\u12\"}",
        "{\"value\":\"\\ud800\"}",
        "{\"value\":\"\\udc00\\ud800\"}",
        "{\"value\":\"a\u{1}b\"}",
        "{\"value\":\"a\nb\"}",
        "<value>v</value>",
        "value=v",
        "// comment\n{\"value\":\"v\"}",
        "{\"value\":\"v\"\0}",
    ];
    let mut bodies: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    bodies.push(b"{\"value\":\"\xff\xfe\"}".to_vec());
    bodies.push(b"{\"value\":\"\xc0\x80\"}".to_vec());
    bodies.push(b"{\"value\":\"\xed\xa0\x80\"}".to_vec());
    bodies.push("{\"value\":\"v\"}".encode_utf16().flat_map(u16::to_le_bytes).collect());
    bodies.push(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    bodies
}

/// JSON that no door of the cluster or the launcher has asked for.
fn other_shapes() -> Vec<String> {
    let texts = [
        "null",
        "true",
        "0",
        "-0",
        "1e999",
        "\"v\"",
        "[]",
        "[{}]",
        "[[[[]]]]",
        "{\"\":\"\"}",
        "{\"value\":null}",
        "{\"value\":1}",
        "{\"value\":true}",
        "{\"value\":[]}",
        "{\"value\":{}}",
        "{\"value\":\"a\",\"value\":\"b\"}",
        "{\"value\":\"v\",\"x\":1}",
        "{\"VALUE\":\"v\"}",
        "{\"value\":1e400}",
        "{\"value\":123456789012345678901234567890}",
        "{\"__proto__\":{}}",
        "{\"id\":1}",
        "{\"id\":null}",
        "{\"id\":[\"a\"]}",
        "{\"id\":\"../x\"}",
        "{\"id\":\"\"}",
        "{\"id\":\"A\"}",
        "{\"node_id\":\"../x\"}",
        "{\"node_id\":1}",
        "{\"node_id\":\"a\\u0000b\"}",
    ];
    let mut bodies: Vec<String> = texts.map(str::to_owned).into();
    bodies.push(format!("{{\"value\":{}", "[".repeat(3_000)));
    bodies.push(format!("{}{}", "[".repeat(1_500), "]".repeat(1_500)));
    bodies.push(format!("{}1{}", "{\"a\":".repeat(600), "}".repeat(600)));
    bodies.push(format!("{{\"{}\":1}}", "k".repeat(3_000)));
    bodies
}

/// Transactions that are malformed, each in one place.
const NO_TXNS: [&str; 36] = [
    r#"{"compare":{}}"#,
    r#"{"compare":[{}]}"#,
    r#"{"compare":[null]}"#,
    r#"{"compare":[{"key":"never/t"}]}"#,
    r#"{"compare":[{"key":"","target":"version","op":"=","version":0}]}"#,
    r#"{"compare":[{"key":"never/t","target":"size","op":"=","size":0}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"==","version":0}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","version":-1}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","version":1.5}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","version":"0"}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","version":18446744073709551616}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","value":"0"}]}"#,
    r#"{"compare":[{"key":"never/t","target":"version","op":"=","version":0,"x":1}]}"#,
    r#"{"success":{}}"#,
    r#"{"success":[{}]}"#,
    r#"{"success":[[]]}"#,
    r#"{"success":[{"put":{}}]}"#,
    r#"{"success":[{"put":{"key":"never/t"}}]}"#,
    r#"{"success":[{"put":{"key":"","value":"v"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":1}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v","ttl":1}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v"},"get":{"key":"a"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"%","encoding":"base64"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v","encoding":"rot13"}}]}"#,
    r#"{"success":[{"put":{"key":"%","key_encoding":"base64","value":"v"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v"}},{"put":{"key":"never/t","value":"w"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v"}},{"delete":{"key":"never/t"}}]}"#,
    r#"{"success":[{"put":{"key":"never/t","value":"v"}},{"delete_range":{"prefix":"never/"}}]}"#,
    r#"{"success":[{"delete_range":{}}]}"#,
    r#"{"success":[{"delete_range":{"prefix":"b","start":"a"}}]}"#,
    r#"{"success":[{"delete_range":{"start":"b","end":"a"}}]}"#,
    r#"{"success":[{"drop":{"key":"never/t"}}]}"#,
    r#"{"success":[{"get":{"key":1}}]}"#,
    r#"{"failure":"no"}"#,
    r#"{"then":[]}"#,
    r#"{"success":[],"success":[]}"#,
];

/// Types that are not JSON's.
const TYPES: [&str; 9] = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/octet-stream",
    "json",
    ";",
    "application/json-seq",
    "\u{e9}",
];

/// The cases for `site`.
pub fn every(site: &Site) -> Vec<Case> {
    let txn = site.v1("txn");
    let mut cases = Vec::new();
    let bad = Want::Status(400);
    let too_large = Want::OneOf(&[400, 413]);
    let mut post = |method, door: &str, body: &[u8], want| {
        let request = Request::new(method, door).header("content-type", &b"application/json"[..]);
        cases.push(request.body(body).case(site, want));
    };
    let mut doors = vec![("POST", txn.as_str())];
    match site.kind {
        Kind::Server => doors.push(("PUT", "/kv/never/json")),
        Kind::Launcher => {
            doors.extend([("POST", "/api/control/add"), ("POST", "/api/v1/nodes")]);
        }
    }
    for (method, door) in doors {
        for body in no_json() {
            post(method, door, &body, bad);
        }
        // The simple door takes a value, and ignores what else there is.
        let known = |body: &&String| !(method == "PUT" && body.starts_with("{\"value\":\"v\""));
        let shapes = other_shapes();
        shapes.iter().filter(known).for_each(|body| post(method, door, body.as_bytes(), bad));
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        post(method, door, deep.as_bytes(), too_large);
    }
    for body in NO_TXNS {
        post("POST", &txn, body.as_bytes(), bad);
    }
    let compare = r#"{"key":"a","target":"version","op":"=","version":0}"#;
    let many = format!(r#"{{"compare":[{}{compare}]}}"#, format!("{compare},").repeat(2_000));
    post("POST", &txn, many.as_bytes(), too_large);
    let nested = format!(r"{}{{}}{}", r#"{"success":[{"txn":"#.repeat(200), "}]}".repeat(200));
    post("POST", &txn, nested.as_bytes(), bad);
    if site.kind == Kind::Launcher {
        // An action wants nothing, or an empty object.
        for body in no_json().iter().filter(|body| !body.trim_ascii().is_empty()) {
            post("POST", "/api/v1/actions/rolling_restart", body, bad);
            post("POST", "/api/v1/nodes/node1/actions/stop", body, bad);
        }
    }
    let typed = [("POST", txn.as_str(), "{}"), ("PUT", "/kv/never/typed", r#"{"value":"v"}"#)];
    // The launcher has no simple doors.
    let typed = &typed[..if site.kind == Kind::Server { 2 } else { 1 }];
    for (method, door, body) in typed {
        for kind in TYPES {
            let request = Request::new(method, door).header("content-type", kind.as_bytes());
            cases.push(request.body(body.as_bytes()).case(site, Want::Status(415)));
        }
    }
    cases
}
