//! Who may ask, before anything is done: this machine's own pages and programs.
//!
//! The control API has no password and answers on loopback only, so its adversary is a page of
//! another site in a browser on this machine:
//!
//! * it may send requests here. So every request with an `Origin` other than our own is refused,
//!   and without one (old browsers) every changing request that `Sec-Fetch-Site` calls foreign;
//! * it may give its own name our address (DNS rebinding), which makes it our own origin. So every
//!   request must name this machine in `Host`.
//!
//! A program that is no browser sends neither header and is let in: it could do worse by itself.

use crate::problem::Problem;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Lets a request pass or refuses it, and puts the security headers on the answer.
pub async fn guard(request: Request, next: Next) -> Response {
    // HTTP/2 and absolute request lines carry the host in the target instead.
    let target = request.uri().authority().cloned();
    let mut response = match check(request.method(), request.headers(), target) {
        Ok(()) => next.run(request).await,
        Err(reason) => {
            tracing::warn!(reason, "refused a request");
            Problem::new(StatusCode::FORBIDDEN, "forbidden", reason).into_response()
        }
    };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn check(
    method: &Method,
    headers: &HeaderMap,
    target: Option<Authority>,
) -> Result<(), &'static str> {
    let host = match (headers.get(header::HOST), target) {
        (_, Some(target)) => target,
        (Some(host), None) => host
            .to_str()
            .ok()
            .and_then(|host| host.parse().ok())
            .ok_or("the Host header is not an address")?,
        (None, None) => return Err("the Host header is missing"),
    };
    if !names_this_machine(&host) {
        return Err("the Host header does not name this machine");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own = format!("http://{host}");
        if !origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()) {
            return Err("the request comes from a page of another site");
        }
        return Ok(());
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if changes => Err("the request comes from a page of another site"),
        Some(_) => Ok(()),
    }
}

fn names_this_machine(host: &Authority) -> bool {
    if host.as_str().contains('@') {
        return false;
    }
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axum::{Router, body::Body, routing::any};
    use tower::ServiceExt;

    async fn ask(method: &str, headers: &[(&str, &str)]) -> Response {
        let app = Router::new()
            .route("/", any(|| async { "passed" }))
            .layer(axum::middleware::from_fn(guard));
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn status(method: &str, headers: &[(&str, &str)]) -> u16 {
        ask(method, headers).await.status().as_u16()
    }

    #[tokio::test]
    async fn programs_and_our_own_pages_pass() {
        for host in
            ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1"]
        {
            assert_eq!(status("POST", &[("host", host)]).await, 200, "{host}");
            let origin = format!("http://{host}");
            let own = [("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")];
            assert_eq!(status("POST", &own).await, 200, "{host}");
        }
        let typed = [("host", "localhost:8080"), ("sec-fetch-site", "none")];
        assert_eq!(status("GET", &typed).await, 200);
        let linked = [("host", "localhost:8080"), ("sec-fetch-site", "cross-site")];
        assert_eq!(status("GET", &linked).await, 200, "a link to the dashboard may be followed");
    }

    #[tokio::test]
    async fn a_name_that_is_not_this_machine_is_refused() {
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1:8080", "a@127.0.0.1"]
        {
            assert_eq!(status("GET", &[("host", host)]).await, 403, "{host}");
        }
        assert_eq!(status("GET", &[]).await, 403);
    }

    #[tokio::test]
    async fn a_page_of_another_site_is_refused() {
        let host = ("host", "127.0.0.1:8080");
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:3000",
            "https://127.0.0.1:8080",
            "http://localhost:8080",
        ] {
            assert_eq!(status("POST", &[host, ("origin", origin)]).await, 403, "{origin}");
            assert_eq!(status("GET", &[host, ("origin", origin)]).await, 403, "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert_eq!(status("DELETE", &[host, ("sec-fetch-site", site)]).await, 403, "{site}");
        }
    }

    #[tokio::test]
    async fn every_answer_carries_the_security_headers() {
        for host in ["127.0.0.1:8080", "evil.example"] {
            let response = ask("GET", &[("host", host)]).await;
            for name in [
                "content-security-policy",
                "x-content-type-options",
                "referrer-policy",
                "x-frame-options",
                "cache-control",
            ] {
                assert!(response.headers().contains_key(name), "{name} for {host}");
            }
        }
    }
}
