//! The sign-in page: a token against a session, for browsers.
//!
//! An event stream cannot send a header, so a browser shows the token once and a cookie from then on.
//! The page needs no script and nothing from elsewhere. Invariants:
//!
//! * the cookie holds a session's id, never the token; scripts cannot read it (`HttpOnly`), and pages
//!   of other sites do not send it (`SameSite=Strict`);
//! * it is `Secure` when `X-Forwarded-Proto` says that the browser came by https. That header is
//!   believed whoever sends it: all it decides is how the cookie for that same sender is marked;
//! * whoever has signed in is led to a path of this launcher only, never to another site.

use crate::guard::{Guard, Verdict, too_many};
use crate::problem::Problem;
use crate::secret::{Token, draw};
use crate::session::SESSION_TIME;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::time::{Duration, Instant};

/// Where a browser signs in.
pub(crate) const PATH: &str = "/sign-in";
/// Where it signs out.
pub(crate) const OUT_PATH: &str = "/sign-out";

const COOKIE: &str = "axon_session";
const PAGE: &str = include_str!("sign_in.html");

/// Longest form: the longest token, each byte of it as `%41`, and where to go on.
const FORM_BYTES_MAX: usize = 8 << 10;

/// Longest path to go on at.
const NEXT_BYTES_MAX: usize = 2 << 10;

/// How long a form may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// Leads a browser to the sign-in page, and back to `uri` from there.
pub(crate) fn lead_there(uri: &Uri) -> Response {
    let next = local(uri.path_and_query().map_or("/", |all| all.as_str()));
    let next = utf8_percent_encode(next, NON_ALPHANUMERIC);
    Redirect::to(&format!("{PATH}?next={next}")).into_response()
}

/// The session that a request's cookie names.
pub(crate) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Answers at [`PATH`] and [`OUT_PATH`].
pub(crate) async fn answer(guard: &Guard, token: &Token, request: Request) -> Response {
    let leaves = request.uri().path() == OUT_PATH;
    match *request.method() {
        Method::POST if leaves => sign_out(guard, request.headers()),
        Method::POST => sign_in(guard, token, request).await,
        Method::GET | Method::HEAD if !leaves => {
            let next = field(request.uri().query().unwrap_or_default(), "next");
            page(StatusCode::OK, "", &next.unwrap_or_default())
        }
        _ => {
            let (error, code) = ("this address answers another method", "method_not_allowed");
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, code, error).into_response()
        }
    }
}

async fn sign_in(guard: &Guard, token: &Token, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let received = tokio::time::timeout(FORM_TIMEOUT, to_bytes(body, FORM_BYTES_MAX)).await;
    let form = match received {
        Ok(Ok(form)) => form,
        Ok(Err(_)) => {
            let error = format!("a form of at most {FORM_BYTES_MAX} bytes is wanted");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error).into_response();
        }
        Err(_) => {
            let error = format!("the form did not arrive within {FORM_TIMEOUT:?}");
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", error).into_response();
        }
    };
    let form = String::from_utf8_lossy(&form);
    let next = field(&form, "next").unwrap_or_default();
    let offered = field(&form, "token").unwrap_or_default();
    let request = Request::from_parts(parts, axum::body::Body::empty());
    match guard.try_token(token, offered.trim().as_bytes(), &request) {
        Verdict::TooMany => too_many(),
        Verdict::Wrong => page(StatusCode::UNAUTHORIZED, "That is not the token.", &next),
        Verdict::Right => {
            let id = guard.sessions().open(Instant::now());
            let secure = is_secure(request.headers());
            let cookie = cookie(&id, SESSION_TIME, secure);
            ([(header::SET_COOKIE, cookie)], Redirect::to(local(&next))).into_response()
        }
    }
}

fn sign_out(guard: &Guard, headers: &HeaderMap) -> Response {
    if let Some(id) = session(headers) {
        guard.sessions().close(id);
    }
    let gone = cookie("", Duration::ZERO, is_secure(headers));
    ([(header::SET_COOKIE, gone)], Redirect::to(PATH)).into_response()
}

fn cookie(id: &str, lasts: Duration, secure: bool) -> HeaderValue {
    let age = lasts.as_secs();
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::from_str(&text).expect("digits and letters are a header");
    value.set_sensitive(true);
    value
}

fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

/// The page, with a nonce for its style.
fn page(status: StatusCode, said: &str, next: &str) -> Response {
    let nonce = draw();
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(r#"<p class="wrong" role="alert">{said}</p>"#)
    };
    let page = PAGE
        .replace("<style>", &format!(r#"<style nonce="{nonce}">"#))
        .replace("<!--said-->", &said)
        .replace("<!--next-->", &escaped(local(next)));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (status, headers, page).into_response()
}

/// `next` if it is a path of this launcher, otherwise its first page. Browsers take `//host` and
/// `/\host` for another site, and leave out control characters before they look.
fn local(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= NEXT_BYTES_MAX
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !next.starts_with(PATH);
    if local { next } else { "/" }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A field of a form.
fn field(form: &str, name: &str) -> Option<String> {
    let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let value = value.replace('+', " ");
    Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for next in [
            "",
            "evil.example",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/a\\b",
            "/\t/evil.example",
            "/\n",
            "/caf\u{e9}",
            "/sign-in?next=/sign-in",
        ] {
            assert_eq!(local(next), "/", "{next:?}");
        }
        assert_eq!(local(&format!("/{}", "x".repeat(NEXT_BYTES_MAX))), "/");
        for next in ["/", "/nodes/node1?tab=log#end", "/a//b", "/a%2f%2fb"] {
            assert_eq!(local(next), next);
        }
    }

    #[test]
    fn a_form_is_decoded() {
        let form = "next=%2Fnodes%3Fa%3D1&token=a%2Bb%20c+d";
        assert_eq!(field(form, "next").as_deref(), Some("/nodes?a=1"));
        assert_eq!(field(form, "token").as_deref(), Some("a+b c d"));
        assert_eq!(field(form, "tok"), None);
        assert_eq!(field("", "token"), None);
    }

    #[test]
    fn markup_in_a_path_stays_text() {
        assert_eq!(escaped(r#"/"><script>&"#), "/&quot;&gt;&lt;script&gt;&amp;");
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(session(&headers), None);
        headers.append("cookie", HeaderValue::from_static("a=1; xaxon_session=no"));
        assert_eq!(session(&headers), None);
        headers.append("cookie", HeaderValue::from_static("b=2;axon_session=abc; c=3"));
        assert_eq!(session(&headers), Some("abc"));
    }
}
