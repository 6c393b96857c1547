//! What became of a key.

use crate::common::Server;
use crate::{ask, refuses_parameter};
use serde_json::{Value, json};

#[tokio::test]
async fn a_history_is_told_newest_first_with_what_was_removed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.call_with("PUT", "/v1/kv/a/k", &[], b"1").await;
    client.call_with("PUT", "/v1/kv/a/k", &[], b"\xff").await;
    client.call_with("PUT", "/v1/kv/other", &[], b"").await;
    client.call_with("DELETE", "/v1/kv/a/k", &[], b"").await;
    client.call_with("PUT", "/v1/kv/a/k", &[], b"5").await;
    let versions = [
        json!({"key":"a/k","value":"5","create_revision":5,"mod_revision":5,"version":1}),
        json!({"key":"a/k","mod_revision":4,"deleted":true}),
        json!({"key":"a/k","value":"/w==","encoding":"base64","create_revision":1,"mod_revision":2,"version":2}),
        json!({"key":"a/k","value":"1","create_revision":1,"mod_revision":1,"version":1}),
    ];
    let all = ask(&mut client, "GET", "/v1/history/a%2Fk", &[]).await;
    assert_eq!(all.json(), json!({ "versions": versions, "next": null }));
    assert_eq!(all.header("x-axon-revision"), Some("5"));
    assert_eq!(all.header("cache-control"), Some("no-store"));

    let mut paged = Vec::new();
    let mut query = String::from("limit=1&consistency=local");
    loop {
        let page = ask(&mut client, "GET", &format!("/v1/history/a/k?{query}"), &[]).await;
        assert!(page.header("x-axon-applied-index").is_some());
        let page = page.json();
        paged.extend(page["versions"].as_array().unwrap().iter().cloned());
        if page["next"] == Value::Null {
            break;
        }
        query = format!("limit=1&consistency=local&before={}", page["next"]);
    }
    assert_eq!(paged, versions);
    let older = ask(&mut client, "GET", "/v1/history/a/k?before=4", &[]).await;
    assert_eq!(older.json()["versions"], json!(versions[2..]));
    let none = ask(&mut client, "GET", "/v1/history/never", &[]).await;
    assert_eq!((none.status, none.text()), (200, r#"{"versions":[],"next":null}"#));
}

#[tokio::test]
async fn a_page_of_large_versions_ends_early_and_goes_on() {
    let server = Server::start().await;
    for number in 0..12 {
        let value = vec![b'a' + number; 1 << 20];
        server.cluster.store().put("k", value).await.unwrap();
    }
    let mut client = server.client().await;
    let (mut told, mut path) = (Vec::new(), String::from("/v1/history/k"));
    loop {
        let page = ask(&mut client, "GET", &path, &[]).await.json();
        let versions = page["versions"].as_array().unwrap();
        assert!((4..=8).contains(&versions.len()), "4 MiB, and no more than a step over it");
        told.extend(versions.iter().map(|version| version["mod_revision"].as_u64().unwrap()));
        if page["next"] == Value::Null {
            break;
        }
        path = format!("/v1/history/k?before={}", page["next"]);
    }
    assert_eq!(told, (1..=12).rev().collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("before=now", "before"),
        ("revision=1", "revision"),
        ("cursor=x", "cursor"),
        ("consistency=linearizable&min_revision=1", "min_revision"),
    ] {
        let refused = ask(&mut client, "GET", &format!("/v1/history/k?{query}"), &[]).await;
        refuses_parameter(&refused, parameter);
    }
    ask(&mut client, "GET", "/v1/history/", &[]).await.is_problem(400, "bad_request");
    ask(&mut client, "GET", "/v1/history/%f", &[]).await.is_problem(400, "bad_request");
    ask(&mut client, "GET", "/v1/history", &[]).await.is_problem(404, "not_found");
    let refused = ask(&mut client, "DELETE", "/v1/history/k", &[]).await;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
}
