//! Many keys: pages, counts, folders, lines, and their end.

use crate::common::{Client, PATIENCE, Server};
use crate::{LINES, ask, refuses_parameter};
use axon_core::Op;
use axon_core::config::History;
use axon_server::Options;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Stores `count` keys with `prefix`, many at once.
async fn fill(server: &Server, prefix: &str, count: usize) {
    let keys: Vec<usize> = (0..count).collect();
    for batch in keys.chunks(128) {
        let puts = batch.iter().map(|number| Op::put(format!("{prefix}{number:05}"), "v"));
        server.cluster.store().txn().then(puts).commit().await.unwrap();
    }
}

/// The keys of all pages, and the revision that they all show.
async fn keys_of_pages(client: &mut Client, query: &str) -> (Vec<String>, u64) {
    let (mut keys, mut revision) = (Vec::new(), None);
    let mut path = format!("/v1/kv?{query}");
    loop {
        let page = ask(client, "GET", &path, &[]).await;
        assert_eq!(page.status, 200, "{page:?}");
        let told = page.header("x-axon-revision").unwrap().parse::<u64>().unwrap();
        let page = page.json();
        assert_eq!((page["revision"].as_u64(), &page["count"]), (Some(told), &Value::Null));
        assert_eq!(*revision.get_or_insert(told), told, "all pages are of one revision");
        let items = page["items"].as_array().unwrap();
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return (keys, revision.unwrap()) };
        path = format!("/v1/kv?{query}&cursor={next}");
        // What is written between two pages is not in them.
        client.call_with("PUT", "/v1/kv/k/00000x", &[], b"new").await;
        client.call_with("DELETE", "/v1/kv/k/00024", &[], b"").await;
    }
}

#[tokio::test]
async fn pages_show_one_revision_however_many_they_are() {
    let server = Server::start().await;
    fill(&server, "k/", 25).await;
    fill(&server, "l/", 3).await;
    let keys: Vec<String> = (0..25).map(|number| format!("k/{number:05}")).collect();
    let mut client = server.client().await;
    let (paged, revision) = keys_of_pages(&mut client, "prefix=k/&limit=10").await;
    assert_eq!((paged, revision), (keys.clone(), 2));
    let at = "prefix=k/&limit=7&revision=2&consistency=local";
    let mut reversed = keys.clone();
    reversed.reverse();
    assert_eq!(keys_of_pages(&mut client, &format!("{at}&reverse=true")).await, (reversed, 2));
    let between = "start=k/00003&end=k/00006&revision=2";
    let (paged, _) = keys_of_pages(&mut client, &format!("{between}&limit=2")).await;
    assert_eq!(paged, keys[3..6], "the end is not part of it");
    let (paged, _) = keys_of_pages(&mut client, "prefix=nothing").await;
    assert_eq!(paged, Vec::<String>::new());
}

#[tokio::test]
async fn items_show_as_much_as_is_asked_for() {
    let server = Server::start().await;
    let store = server.cluster.store();
    store.put("a b+", "h\u{e9}llo").await.unwrap();
    store.put(&b"\xff"[..], &b"\xfe\xfd"[..]).await.unwrap();
    let mut client = server.client().await;
    let items = async |client: &mut Client, query: &str| {
        let page = ask(client, "GET", &format!("/v1/kv?{query}"), &[]).await;
        assert_eq!(page.header("content-type"), Some("application/json"));
        page.json()["items"].clone()
    };
    let a =
        json!({"key":"a b+","value":"h\u{e9}llo","create_revision":1,"mod_revision":1,"version":1});
    assert_eq!(items(&mut client, "prefix=a+b%2B").await, json!([a]));
    assert_eq!(
        items(&mut client, "prefix=%FF&keys_only=true").await,
        json!([
            {"key":"/w==","key_encoding":"base64","create_revision":2,"mod_revision":2,"version":1}
        ])
    );
    assert_eq!(
        items(&mut client, "preview=2").await,
        json!([
            {"key":"a b+","value":"h","value_bytes":6,"create_revision":1,"mod_revision":1,"version":1},
            {"key":"/w==","key_encoding":"base64","value":"/v0=","encoding":"base64","value_bytes":2,
                "create_revision":2,"mod_revision":2,"version":1},
        ])
    );
    let count = ask(&mut client, "GET", "/v1/kv?count_only=true&consistency=local", &[]).await;
    assert_eq!(count.text(), r#"{"items":[],"next":null,"revision":2,"count":2}"#);
    assert!(count.header("x-axon-applied-index").is_some());
    let counted = ask(&mut client, "GET", "/v1/kv?count_only=true&end=b&revision=1", &[]).await;
    assert_eq!(
        (counted.header("x-axon-revision"), &counted.json()["count"]),
        (Some("1"), &json!(1))
    );
}

#[tokio::test]
async fn a_page_ends_before_it_is_too_large() {
    let server = Server::start().await;
    let value = "v".repeat(1 << 20);
    for number in 0..5 {
        server.cluster.store().put(format!("k{number}"), value.clone()).await.unwrap();
    }
    let mut client = server.client().await;
    let page = ask(&mut client, "GET", "/v1/kv", &[]).await.json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3), "4 MiB, the keys included");
    assert!(page["next"].is_string());
    let previewed = ask(&mut client, "GET", "/v1/kv?preview=1&limit=2", &[]).await.json();
    assert_eq!(previewed["items"][1]["value_bytes"], 1 << 20);
}

#[tokio::test]
async fn folders_are_listed_with_what_they_hold() {
    let server = Server::start().await;
    let store = server.cluster.store();
    for key in ["root", "a/1", "a/2", "a/b/3", "a/c/4", "b/5", "a/z"] {
        store.put(key, "v").await.unwrap();
    }
    let mut client = server.client().await;
    let listed = async |client: &mut Client, query: &str| {
        let page = ask(client, "GET", &format!("/v1/kv?delimiter=/&{query}"), &[]).await.json();
        let keys = page["items"].as_array().unwrap().iter().map(|item| item["key"].clone());
        (keys.collect::<Vec<_>>(), page["prefixes"].clone(), page["next"].clone())
    };
    let (keys, folders, next) = listed(&mut client, "").await;
    assert_eq!((keys, next), (vec![json!("root")], Value::Null));
    assert_eq!(folders, json!([{"prefix":"a/","count":5},{"prefix":"b/","count":1}]));
    let (keys, folders, _) = listed(&mut client, "prefix=a/").await;
    assert_eq!(keys, [json!("a/1"), json!("a/2"), json!("a/z")]);
    assert_eq!(folders, json!([{"prefix":"a/b/","count":1},{"prefix":"a/c/","count":1}]));
    let (mut names, mut query) = (Vec::new(), String::from("prefix=a/&limit=2"));
    loop {
        let (keys, folders, next) = listed(&mut client, &query).await;
        names.extend(keys);
        names.extend(folders.as_array().unwrap().iter().map(|folder| folder["prefix"].clone()));
        let Some(next) = next.as_str() else { break };
        query = format!("prefix=a/&limit=2&cursor={next}");
    }
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["a/1", "a/2", "a/b/", "a/c/", "a/z"].map(|name| json!(name)));

    fill(&server, "many/", 10_001).await;
    let (_, folders, _) = listed(&mut client, "prefix=").await;
    assert_eq!(folders[2], json!({"prefix":"many/","count":10_000,"more":true}));
}

#[tokio::test]
async fn lines_are_all_pairs_of_one_moment() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let none = ask(&mut client, "GET", "/v1/kv", &[LINES]).await;
    assert_eq!((none.status, none.body.len()), (200, 0));
    assert_eq!(none.header("content-type"), Some("application/x-ndjson"));
    fill(&server, "k/", 5000).await;
    server.cluster.store().put(&b"\xff"[..], "last").await.unwrap();
    let all = ask(&mut client, "GET", "/v1/kv?consistency=local", &[LINES]).await;
    assert_eq!(all.header("content-length"), None, "streamed");
    assert_eq!(all.header("x-axon-revision"), Some("41"));
    assert!(all.header("x-axon-applied-index").is_some());
    let lines: Vec<Value> =
        all.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5001);
    assert!(all.body.ends_with(b"\n"));
    let pages = ask(&mut client, "GET", "/v1/kv?limit=10000", &[]).await.json();
    assert_eq!(json!(lines), pages["items"], "the lines are the items of pages");

    let some = "/v1/kv?prefix=k/0000&keys_only=true&revision=1";
    let some = ask(&mut client, "GET", some, &[LINES]).await;
    assert_eq!((some.text().lines().count(), some.header("x-axon-revision")), (10, Some("1")));
    assert_eq!(
        some.text().lines().next(),
        Some(r#"{"key":"k/00000","create_revision":1,"mod_revision":1,"version":1}"#)
    );
    let back = ask(&mut client, "GET", "/v1/kv?reverse=true", &[LINES]).await;
    let back: Vec<&str> = back.text().lines().rev().collect();
    assert_eq!(back, all.text().lines().collect::<Vec<_>>());
    for (query, parameter) in [
        ("limit=1", "limit"),
        ("cursor=", "cursor"),
        ("delimiter=/", "delimiter"),
        ("count_only=true", "count_only"),
    ] {
        let refused = ask(&mut client, "GET", &format!("/v1/kv?{query}"), &[LINES]).await;
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
        assert!(refused.json()["code"] == "bad_cursor" || refused.text().contains(parameter));
    }
}

#[tokio::test]
async fn readers_of_everything_take_turns() {
    let server = Server::start().await;
    // More than the buffers of both sockets can hold.
    let value = "v".repeat(1 << 20);
    for number in 0..16 {
        server.cluster.store().put(format!("k{number}"), value.clone()).await.unwrap();
    }
    let mut deaf = Vec::new();
    for number in 0..8 {
        let mut client = server.client().await;
        let path = if number % 2 == 0 { "/v1/kv" } else { "/kv" };
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n"
        );
        client.send(head.as_bytes()).await;
        // It has its turn once its answer begins.
        client.stream.readable().await.unwrap();
        deaf.push(client);
    }
    let mut client = server.client().await;
    let refused = ask(&mut client, "GET", "/v1/kv", &[LINES]).await;
    refused.is_problem(429, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(ask(&mut client, "GET", "/v1/kv?limit=1", &[]).await.status, 200, "pages go on");
    drop(deaf);
    let again = async {
        while ask(&mut client, "GET", "/v1/kv?keys_only=true", &[LINES]).await.status != 200 {}
    };
    timeout(PATIENCE, again).await.expect("there is a turn again");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_the_parameters_name() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=1", "limit"),
        ("prefix=%zz", "prefix"),
        ("prefix=a&start=b", "prefix"),
        ("prefix=a&end=b", "prefix"),
        ("start=b&end=a", "end"),
        ("start=a&end=a", "end"),
        ("reverse=yes", "reverse"),
        ("reverse", "reverse"),
        ("keys_only=1", "keys_only"),
        ("preview=-1", "preview"),
        ("preview=1&keys_only=true", "preview"),
        ("delimiter=", "delimiter"),
        ("delimiter=/&start=a", "delimiter"),
        ("count_only=true&limit=1", "limit"),
        ("count_only=true&delimiter=/", "delimiter"),
        ("count_only=true&reverse=true", "reverse"),
        ("count_only=true&preview=1", "preview"),
        ("revision=1&min_revision=1", "min_revision"),
        ("consistency=strong", "consistency"),
        ("confirm=all", "confirm"),
        ("Prefix=a", "Prefix"),
    ] {
        let refused = ask(&mut client, "GET", &format!("/v1/kv?{query}"), &[]).await;
        refuses_parameter(&refused, parameter);
    }
    for cursor in ["", "x", "%FF", "AAAA"] {
        let refused = ask(&mut client, "GET", &format!("/v1/kv?cursor={cursor}"), &[]).await;
        refused.is_problem(400, "bad_cursor");
    }
    let future = ask(&mut client, "GET", "/v1/kv?revision=1", &[]).await;
    future.is_problem(400, "future_revision");
    let refused = ask(&mut client, "POST", "/v1/kv", &[]).await;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, DELETE"));
}

#[tokio::test]
async fn a_cursor_belongs_to_one_query_of_one_store() {
    let server = Server::start().await;
    fill(&server, "k/", 3).await;
    let mut client = server.client().await;
    let page = ask(&mut client, "GET", "/v1/kv?prefix=k/&limit=1", &[]).await.json();
    let cursor = page["next"].as_str().unwrap();
    for query in ["prefix=k", "", "prefix=k/&reverse=true", "prefix=k/&delimiter=/"] {
        let path = format!("/v1/kv?{query}&cursor={cursor}");
        ask(&mut client, "GET", &path, &[]).await.is_problem(400, "bad_cursor");
    }
    let other = Server::start().await;
    let path = format!("/v1/kv?prefix=k/&cursor={cursor}");
    other.call("GET", &path, "").await.is_problem(400, "bad_cursor");
    let damaged = format!("{path}A");
    ask(&mut client, "GET", &damaged, &[]).await.is_problem(400, "bad_cursor");
    assert_eq!(ask(&mut client, "GET", &format!("{path}&limit=9"), &[]).await.status, 200);
}

#[tokio::test]
async fn the_past_is_told_to_be_gone_once_it_is_forgotten() {
    let server = Server::keeping(History::LatestOnly, Options::default()).await;
    let mut client = server.client().await;
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        client.call_with("PUT", &format!("/v1/kv/{key}"), &[], value.as_bytes()).await;
    }
    let page = ask(&mut client, "GET", "/v1/kv?limit=1", &[]).await.json();
    let cursor = format!("limit=1&cursor={}", page["next"].as_str().unwrap());
    client.call_with("PUT", "/v1/kv/a", &[], b"3").await;
    let forgotten = async {
        while server.call("GET", "/v1/status", "").await.json()["compacted_revision"] != 4 {}
    };
    timeout(PATIENCE, forgotten).await.expect("the past is forgotten");
    for (path, headers) in [
        ("/v1/kv/a?revision=1", &[][..]),
        ("/v1/kv?revision=1", &[]),
        ("/v1/kv?revision=1", &[LINES]),
        ("/v1/kv?count_only=true&revision=1", &[]),
    ] {
        let gone = ask(&mut client, "GET", path, headers).await;
        gone.is_problem(410, "compacted");
        assert_eq!(gone.json()["details"], json!({ "requested": 1, "oldest": 4 }), "{path}");
    }
    let gone = ask(&mut client, "GET", &format!("/v1/kv?{cursor}"), &[]).await;
    gone.is_problem(410, "compacted");
    assert_eq!(ask(&mut client, "GET", "/v1/kv/a?revision=4", &[]).await.text(), "3");
    let history = ask(&mut client, "GET", "/v1/history/a", &[]).await.json();
    assert_eq!(history["versions"].as_array().map(Vec::len), Some(1), "{history}");
}

#[tokio::test]
async fn a_range_is_deleted_and_everything_only_when_it_is_meant() {
    let server = Server::start().await;
    fill(&server, "k/", 2500).await;
    fill(&server, "l/", 4).await;
    let mut client = server.client().await;
    for (query, parameter) in [
        ("", "confirm"),
        ("prefix=", "confirm"),
        ("start=&end=", "confirm"),
        ("confirm=yes", "confirm"),
        ("prefix=k&confirm=all", "confirm"),
        ("prefix=k&limit=1", "limit"),
        ("prefx=k", "prefx"),
        ("start=b&end=a", "end"),
    ] {
        let refused = ask(&mut client, "DELETE", &format!("/v1/kv?{query}"), &[]).await;
        refuses_parameter(&refused, parameter);
    }
    let conditional = ask(&mut client, "DELETE", "/v1/kv?prefix=k", &[("if-match", "*")]).await;
    conditional.is_problem(400, "bad_request");
    let before = server.cluster.status().unwrap().revision.0;
    let deleted = ask(&mut client, "DELETE", "/v1/kv?prefix=k/", &[]).await;
    assert_eq!(deleted.json(), json!({ "deleted": 2500, "revision": before + 3 }));
    let deleted = ask(&mut client, "DELETE", "/v1/kv?start=l/00001&end=l/00003", &[]).await;
    assert_eq!(deleted.json(), json!({ "deleted": 2, "revision": before + 4 }));
    let all = ask(&mut client, "DELETE", "/v1/kv?confirm=all", &[]).await;
    assert_eq!(all.json(), json!({ "deleted": 2, "revision": before + 5 }));
    let none = ask(&mut client, "DELETE", "/v1/kv?prefix=k/", &[]).await;
    assert_eq!(none.json(), json!({ "deleted": 0, "revision": before + 5 }));
}
