//! The guard: three ways to be let in, and what each refuses.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::directory::DataDir;
use crate::supervisor::Setup;
use axum::{Router, body::Body, routing::any};
use clap::Parser;
use http_body_util::BodyExt;
use std::fs;
use std::path::Path;
use tower::ServiceExt;

const TOKEN: &str = "correct-horse-battery";

/// A guard, and behind it one door that answers everywhere.
struct Guarded {
    app: Router,
    supervisor: Supervisor,
    _directory: tempfile::TempDir,
}

impl Guarded {
    fn new(access: Access) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("axon-data")).unwrap();
        let server = "/bin/false".into();
        let supervisor =
            Supervisor::open(Setup { data, server, base_port: 26_200, nodes: 1, access }).unwrap();
        let guarding = Arc::new(Guard::new(&supervisor));
        let app = Router::new()
            .fallback(any(|| async { "passed" }))
            .layer(axum::middleware::from_fn_with_state(guarding, guard));
        Self { app, supervisor, _directory: directory }
    }

    fn with_token() -> Self {
        Self::new(Access::Token(Token::new(TOKEN).unwrap()))
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send(method, path, headers, "").await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer: SocketAddr = "10.1.2.3:4567".parse().unwrap();
        let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned()));
        self.app.clone().oneshot(request.unwrap()).await.unwrap()
    }

    async fn status(&self, method: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(method, "/", headers).await.status().as_u16()
    }

    /// Signs in, and returns the cookie as a browser sends it back.
    async fn sign_in(&self) -> String {
        let form = format!("next=%2Fnodes&token={TOKEN}");
        let own = [HOST, ("origin", "http://axon.example:8080")];
        let answer = self.send("POST", "/sign-in", &own, &form).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, "/nodes"));
        header(&answer, "set-cookie").split(';').next().unwrap().to_owned()
    }
}

const HOST: (&str, &str) = ("host", "axon.example:8080");

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn text(answer: Response) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn ask(method: &str, headers: &[(&str, &str)]) -> Response {
    Guarded::new(Access::Loopback).ask(method, "/", headers).await
}

async fn status(method: &str, headers: &[(&str, &str)]) -> u16 {
    ask(method, headers).await.status().as_u16()
}

#[tokio::test]
async fn programs_and_our_own_pages_pass() {
    for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1"] {
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
    for host in ["evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1:8080", "a@127.0.0.1"] {
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

#[tokio::test]
async fn without_a_token_off_loopback_a_name_is_refused_and_an_address_is_not() {
    let open = Guarded::new(Access::Anyone);
    for host in ["10.0.0.1:8080", "[fe80::1]:8080", "localhost:8080"] {
        assert_eq!(open.status("POST", &[("host", host)]).await, 200, "{host}");
    }
    assert_eq!(open.status("GET", &[("host", "rebound.example:8080")]).await, 403);
    let foreign = [("host", "10.0.0.1:8080"), ("origin", "http://10.0.0.2:8080")];
    assert_eq!(open.status("POST", &foreign).await, 403);
}

#[tokio::test]
async fn with_a_token_everything_but_the_sign_in_page_wants_it() {
    let guarded = Guarded::with_token();
    let bearer = format!("bearer {TOKEN}");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/theme.js"),
        ("POST", "/api/control/stop/node1"),
        ("GET", "/api/v1/stream"),
    ] {
        let answer = guarded.ask(method, path, &[HOST]).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert_eq!(header(&answer, "www-authenticate"), "Bearer");
        assert!(text(answer).await.contains(r#""code":"unauthorized""#));
        for wrong in ["", "Bearer", "Bearer ", "Basic Y29ycmVjdA==", TOKEN, "Bearer correct-horse"]
        {
            let answer = guarded.ask(method, path, &[HOST, ("authorization", wrong)]).await;
            assert!([401, 429].contains(&answer.status().as_u16()), "{wrong}");
        }
    }
    let guarded = Guarded::with_token();
    assert_eq!(guarded.status("POST", &[HOST, ("authorization", &bearer)]).await, 200);
    assert_eq!(guarded.ask("GET", "/sign-in", &[HOST]).await.status(), 200);
}

#[tokio::test]
async fn a_browser_is_led_to_the_sign_in_page_and_back() {
    let guarded = Guarded::with_token();
    let browser = [HOST, ("accept", "text/html,application/xhtml+xml")];
    let answer = guarded.ask("GET", "/nodes/node1?tab=log", &browser).await;
    assert_eq!(answer.status(), 303);
    let place = header(&answer, "location").to_owned();
    assert_eq!(place, "/sign-in?next=%2Fnodes%2Fnode1%3Ftab%3Dlog");
    assert_eq!(guarded.ask("POST", "/nodes", &browser).await.status(), 401);
    let answer = guarded.ask("GET", &place, &browser).await;
    let policy = header(&answer, "content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
    assert!(!policy.contains("unsafe"));
    assert_eq!(header(&answer, "referrer-policy"), "same-origin");
    let page = text(answer).await;
    assert!(page.contains(r#"name="next" value="/nodes/node1?tab=log""#), "{page}");
    assert!(!page.contains("<script"));
    let answer = guarded.ask("GET", "/sign-in?next=%2F%2Fevil.example", &browser).await;
    assert!(text(answer).await.contains(r#"name="next" value="/""#));
}

#[tokio::test]
async fn a_session_lasts_until_it_is_signed_out() {
    let guarded = Guarded::with_token();
    let cookie = guarded.sign_in().await;
    assert!(!cookie.contains(TOKEN));
    let signed_in = [HOST, ("cookie", &cookie)];
    assert_eq!(guarded.status("GET", &signed_in).await, 200);
    assert_eq!(guarded.status("POST", &signed_in).await, 200);
    // A proxy's own password beside our cookie does not matter.
    let proxied = [HOST, ("cookie", &cookie), ("authorization", "Basic YTpi")];
    assert_eq!(guarded.status("GET", &proxied).await, 200);
    let answer = guarded.ask("POST", "/sign-out", &signed_in).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, "/sign-in"));
    assert!(header(&answer, "set-cookie").contains("Max-Age=0"));
    assert_eq!(guarded.status("GET", &signed_in).await, 401);
    assert_eq!(guarded.status("GET", &[HOST, ("cookie", "axon_session=")]).await, 401);
}

#[tokio::test]
async fn the_cookie_is_marked_as_the_browser_came() {
    let guarded = Guarded::with_token();
    let form = format!("token={TOKEN}&next=https%3A%2F%2Fevil.example");
    for (headers, secure) in [
        (vec![HOST], false),
        (vec![HOST, ("x-forwarded-proto", "https"), ("origin", "https://axon.example:8080")], true),
    ] {
        let answer = guarded.send("POST", "/sign-in", &headers, &form).await;
        assert_eq!(header(&answer, "location"), "/");
        let cookie = header(&answer, "set-cookie");
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_with_a_valid_cookie_too() {
    let guarded = Guarded::with_token();
    let cookie = guarded.sign_in().await;
    for origin in
        ["http://evil.example", "null", "http://axon.example:3000", "https://axon.example"]
    {
        let foreign = [HOST, ("cookie", cookie.as_str()), ("origin", origin)];
        assert_eq!(guarded.status("POST", &foreign).await, 403, "{origin}");
        let answer = guarded.send("POST", "/sign-in", &foreign, &format!("token={TOKEN}")).await;
        assert_eq!(answer.status(), 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        let foreign = [HOST, ("cookie", cookie.as_str()), ("sec-fetch-site", site)];
        assert_eq!(guarded.status("POST", &foreign).await, 403, "{site}");
    }
}

#[tokio::test]
async fn who_tries_many_tokens_is_slowed_down_and_told_of_once() {
    let guarded = Guarded::with_token();
    let cookie = guarded.sign_in().await;
    let mut events = guarded.supervisor.0.events.subscribe();
    let wrong = [HOST, ("authorization", "Bearer wrong-horse-battery")];
    let mut refused = 0;
    while guarded.status("GET", &wrong).await == 401 {
        refused += 1;
        assert!(refused < 1000, "nobody slows this down");
    }
    let answer = guarded.ask("GET", "/", &wrong).await;
    if answer.status() == 429 {
        assert_eq!(header(&answer, "retry-after"), "1");
    }
    assert_eq!(guarded.status("GET", &[HOST, ("cookie", &cookie)]).await, 200, "sessions go on");
    let event = events.try_recv().unwrap();
    assert_eq!(event.kind, "sign_in_refused");
    assert!(event.text.contains("10.1.2.3") && !event.text.contains("horse"), "{event:?}");
    assert!(events.try_recv().is_err(), "once a minute");
}

#[tokio::test]
async fn a_form_that_is_no_form_or_too_long_signs_nobody_in() {
    let guarded = Guarded::with_token();
    let long = format!("token={}", "x".repeat(9 << 10));
    for (form, status) in [("", 401), ("token=", 401), ("\u{0}", 401), (&long, 413)] {
        let answer = guarded.send("POST", "/sign-in", &[HOST], form).await;
        assert_eq!(answer.status(), status);
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    assert_eq!(guarded.ask("DELETE", "/sign-in", &[HOST]).await.status(), 405);
    assert_eq!(guarded.ask("GET", "/sign-out", &[HOST]).await.status(), 405);
}

#[tokio::test]
async fn without_a_token_there_is_nothing_to_sign_in_to() {
    for path in ["/sign-in", "/sign-out"] {
        let answer =
            Guarded::new(Access::Loopback).ask("GET", path, &[("host", "localhost")]).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "location")), (303, "/"));
    }
}

fn choose(line: &[&str], variable: Option<&str>) -> Result<Access, String> {
    let args = Args::try_parse_from([&["axon-launcher"], line].concat()).unwrap();
    Access::choose(&args, variable.map(OsString::from))
}

#[test]
fn an_address_that_others_reach_needs_a_token_or_consent() {
    for address in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:80", "[::ffff:127.0.0.1]:80"] {
        let refused = choose(&["--listen", address], None).unwrap_err();
        for way_out in ["--token-file", "ssh -L", "--insecure"] {
            assert!(refused.contains(way_out), "{refused}");
        }
        let open = choose(&["--listen", address, "--insecure"], None);
        assert!(matches!(open, Ok(Access::Anyone)));
        assert!(matches!(choose(&["--listen", address], Some(TOKEN)), Ok(Access::Token(_))));
    }
    assert!(matches!(
        choose(&["--listen", "[::1]:8080", "--insecure"], None),
        Ok(Access::Loopback)
    ));
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_never_from_both() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let file = path.to_str().unwrap();
    assert!(choose(&["--token-file", file], None).unwrap_err().contains(file));
    Token::new(TOKEN).unwrap().save(Path::new(file)).unwrap();
    assert!(choose(&["--token-file", file], None).unwrap().token().unwrap().is(TOKEN.as_bytes()));
    assert!(choose(&["--token-file", file], Some(TOKEN)).is_err());
    // A variable that is set and empty was meant to protect something.
    for bad in ["", "short"] {
        assert!(choose(&[], Some(bad)).unwrap_err().contains(TOKEN_VARIABLE));
    }
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(choose(&["--token-file", file], None).unwrap_err().contains("chmod 600"));
}
