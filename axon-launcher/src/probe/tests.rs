//! Speaking to nodes: what goes with every request, and what becomes of one that is given up.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use futures_util::stream;
use std::convert::Infallible;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(10);

async fn serve(app: Router) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

fn request(body: Body) -> Request<Body> {
    Request::builder().method("PUT").uri("/v1/kv/a?b=c").body(body).unwrap()
}

#[tokio::test]
async fn every_request_carries_the_token_and_its_own_address() {
    let echo = |uri: Uri, headers: HeaderMap| async move {
        let shown = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        format!("{uri} {}", shown.unwrap_or_default())
    };
    let port = serve(Router::new().fallback(any(echo))).await;
    let token = Token::new("0123456789abcdef").unwrap();
    let client = NodeClient::new().with_token(Some(&token));
    let answer = client.pass(port, request(Body::empty())).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "/v1/kv/a?b=c Bearer 0123456789abcdef");
    let answer = client.send(Method::GET, port, "/x", "", SOON).await.unwrap();
    assert_eq!(answer.body, "/x Bearer 0123456789abcdef");
}

#[tokio::test]
async fn a_body_is_handed_on_as_it_comes_both_ways() {
    // Answers with each part at once, long before the request is whole.
    let echo = |body: Body| async move { body };
    let port = serve(Router::new().fallback(any(echo))).await;
    let (parts, rest) = mpsc::channel::<Bytes>(1);
    let sent = stream::unfold(rest, |mut rest| async move {
        Some((Ok::<_, Infallible>(rest.recv().await?), rest))
    });
    let passed = NodeClient::new();
    let answer = passed.pass(port, request(Body::from_stream(sent))).await.unwrap();
    let mut body = answer.into_body();
    for part in ["one", "two"] {
        parts.send(part.into()).await.unwrap();
        let frame = tokio::time::timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    drop(parts);
    assert!(tokio::time::timeout(SOON, body.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn who_leaves_hangs_up_on_the_node() {
    let (gone, mut left) = mpsc::channel::<()>(1);
    let endless = move || {
        // Dropped with the body, when its connection is closed.
        let held = gone.clone();
        async move {
            Body::from_stream(stream::unfold(held, |held| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), held))
            }))
        }
    };
    let server = serve(Router::new().route("/v1/kv/a", any(endless.clone()))).await;
    drop(endless);
    let answer = NodeClient::new().pass(server, request(Body::empty())).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    let streams = || left.sender_strong_count();
    let while_open = streams();
    drop(body);
    let closed = async {
        while left.sender_strong_count() >= while_open {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.unwrap();
    left.close();
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let fault = NodeClient::new().pass(port, request(Body::from("x"))).await.unwrap_err();
    assert!(matches!(fault, NoAnswer::Unreachable(_)), "{fault:?}");
}
