//! Who may ask, before anything is done.
//!
//! There are two adversaries. One connects to a node that listens on a network: he must show the
//! [`Token`], if the node has one, at every door but those that say whether it lives. The other is a page
//! of another site in a browser that can reach the node, on a laptop above all:
//!
//! * it may send requests here. So a request with an `Origin` other than the node's own is refused,
//!   and without one (old browsers) every changing request that `Sec-Fetch-Site` calls foreign;
//! * it may give its own name the node's address (DNS rebinding), which makes it the node's own origin.
//!   So where only this machine connects, and no token is asked for, `Host` must name this machine or
//!   the host that others are told. A page that was rebound has no token to show: with one, any name
//!   will do, and a proxy may stand in front;
//! * it may show what it gets. Values are raw bytes, and a browser must not take one for a page or a
//!   script: every answer says so.
//!
//! A program that is no browser sends neither header and is let in, as far as the token goes. Nothing
//! here allocates for a request that is let in, and no token is ever shown: only its digest is kept.
//!
//! It does not encrypt and does not tell clients apart: who has the token may do everything.

use crate::problem::{Code, Problem};
use axum::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HOST, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Version};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;

/// What is asked for at every door but these.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

const FOREIGN: &str = "the request comes from a page of another site";
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// What clients show to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// The shortest token, in bytes.
    pub const BYTES_MIN: usize = 16;
    /// The longest token, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Takes `text` for the token; `None` when it is too short or too long, or has anything in it but
    /// visible ASCII, which is all that a header carries.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(Sha256::digest(text).into()))
    }

    /// Reports whether `shown` is the token, in a time that does not tell how much of it is.
    fn is(&self, shown: &[u8]) -> bool {
        if shown.len() > Self::BYTES_MAX {
            return false;
        }
        let digest: [u8; 32] = Sha256::digest(shown).into();
        let differ = self.0.iter().zip(&digest).fold(0, |differ, (ours, theirs)| {
            // Not to be cut short once it is known how it ends.
            std::hint::black_box(differ | (ours ^ theirs))
        });
        differ == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The rules of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Token>,
    /// The listener is on loopback.
    local: bool,
    /// The host that others are told, if there is one.
    told: Option<String>,
}

impl Guard {
    pub(crate) fn new(token: Option<Token>, local: bool, told: Option<String>) -> Self {
        Self { token, local, told }
    }

    /// Lets `request` pass, or says why not.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let headers = request.headers();
        check_host(request.version(), headers)?;
        // An absolute request line carries the host in the target instead.
        let host = match request.uri().authority() {
            Some(target) => Some(target.as_str().as_bytes()),
            None => headers.get(HOST).map(HeaderValue::as_bytes),
        };
        self.check_site(request.method(), headers, host)
            .map_err(|sentence| Problem::new(Code::Forbidden, sentence))?;
        match &self.token {
            Some(token) if !OPEN.contains(&request.uri().path()) => match shown(headers) {
                Some(shown) if token.is(shown) => Ok(()),
                Some(_) => Err(unauthorized("this is not the token of this node")),
                None => {
                    Err(unauthorized("this node has a token: send `Authorization: Bearer TOKEN`"))
                }
            },
            _ => Ok(()),
        }
    }

    fn check_site(
        &self,
        method: &Method,
        headers: &HeaderMap,
        host: Option<&[u8]>,
    ) -> Result<(), &'static str> {
        // Every browser sends one: who does not is no browser.
        if self.local && self.token.is_none() && host.is_some_and(|host| !self.is_named(host)) {
            return Err(
                "the `Host` header does not name this machine: ask for localhost, or give the \
                        node the name with --advertise",
            );
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let own = host.is_some_and(|host| {
                let authority = authority(origin.as_bytes());
                authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
            });
            return if own { Ok(()) } else { Err(FOREIGN) };
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) if changes => Err(FOREIGN),
            Some(_) => Ok(()),
        }
    }

    /// Reports whether `host`, with or without a port, is this machine or the host that others are told.
    fn is_named(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = without_port(host);
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || self.told.as_deref().is_some_and(|told| told.eq_ignore_ascii_case(name))
    }
}

/// RFC 9112, 3.2: whoever stands before us may have read another one of two hosts, and a browser always
/// sends one.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    if hosts.next().is_none() && version == Version::HTTP_11 {
        return Err(Problem::bad_request("a request of HTTP/1.1 has a `Host` header"));
    }
    if hosts.next().is_some() {
        return Err(Problem::bad_request("the request has several `Host` headers"));
    }
    Ok(())
}

/// Puts on an answer what keeps a browser from taking it for a page of this node.
pub(crate) fn disarm(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
}

fn unauthorized(sentence: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, sentence)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// The token that a request shows.
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// What an origin has behind its scheme. Of another scheme no page comes that this server sent.
fn authority(origin: &[u8]) -> Option<&[u8]> {
    // A proxy in front may speak TLS.
    origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon inside brackets belongs to the address.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(token: bool, local: bool) -> Guard {
        let token = token.then(|| Token::new(TOKEN).unwrap());
        Guard::new(token, local, Some("node1.example".into()))
    }

    fn ask(guard: &Guard, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            // Who says no host speaks an older version, which needs none.
            request = request.version(Version::HTTP_10);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let checked = guard.check(&request.body(()).unwrap());
        checked.map_or_else(|problem| problem.code().status().as_u16(), |()| 200)
    }

    #[test]
    fn programs_and_the_nodes_own_pages_pass() {
        let guard = guard(false, true);
        assert_eq!(ask(&guard, "PUT", "/kv/a", &[]), 200, "no browser");
        for host in [
            "127.0.0.1:9000",
            "127.0.0.1",
            "localhost:9000",
            "LOCALHOST",
            "[::1]:9000",
            "[::1]",
            "Node1.example:9000",
        ] {
            assert_eq!(ask(&guard, "PUT", "/kv/a", &[("host", host)]), 200, "{host}");
            for scheme in ["http", "https"] {
                let origin = format!("{scheme}://{host}");
                let own = [("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")];
                assert_eq!(ask(&guard, "PUT", "/kv/a", &own), 200, "{origin}");
            }
        }
        let host = ("host", "localhost:9000");
        assert_eq!(ask(&guard, "GET", "/kv/a", &[host, ("sec-fetch-site", "none")]), 200);
        assert_eq!(ask(&guard, "GET", "/kv/a", &[host, ("sec-fetch-site", "cross-site")]), 200);
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let host = ("host", "127.0.0.1:9000");
        for guard in [guard(false, true), guard(false, false), guard(true, false)] {
            for origin in [
                "http://evil.example",
                "null",
                "",
                "http://127.0.0.1:9001",
                "http://127.0.0.1",
                "http://localhost:9000",
                "ftp://127.0.0.1:9000",
            ] {
                for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
                    let status = ask(&guard, method, "/kv/a", &[host, ("origin", origin)]);
                    assert_eq!(status, 403, "{method} from {origin:?}");
                }
                assert_eq!(ask(&guard, "GET", "/kv/a", &[("origin", origin)]), 403, "no host");
            }
            for site in ["cross-site", "same-site", "anything"] {
                let headers = [host, ("sec-fetch-site", site)];
                assert_eq!(ask(&guard, "DELETE", "/kv/a", &headers), 403, "{site}");
            }
        }
    }

    #[test]
    fn a_name_that_is_not_this_machine_is_refused_where_it_could_be_a_trick() {
        for host in [
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "10.0.0.1:9000",
            "a@127.0.0.1",
            "localhost:9000:evil",
            "node1.example.evil",
            "",
        ] {
            let headers = [("host", host)];
            assert_eq!(ask(&guard(false, true), "GET", "/livez", &headers), 403, "{host}");
            assert_eq!(ask(&guard(false, false), "GET", "/livez", &headers), 200, "{host}");
            assert_eq!(ask(&guard(true, true), "GET", "/livez", &headers), 200, "{host}");
        }
        let absolute = "http://evil.example/kv/a";
        assert_eq!(ask(&guard(false, true), "GET", absolute, &[("host", "localhost")]), 403);
    }

    #[test]
    fn a_request_has_one_host() {
        let ask = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().method("PUT").uri("/kv/a");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let checked = guard(false, true).check(&request.body(()).unwrap());
            checked.map_or_else(|problem| problem.code().status().as_u16(), |()| 200)
        };
        let own = ("host", "127.0.0.1:9000");
        assert_eq!(ask(&[own]), 200);
        assert_eq!(ask(&[]), 400);
        assert_eq!(ask(&[own, ("host", "evil.example")]), 400);
        assert_eq!(ask(&[own, own]), 400);
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_at_the_doors_of_supervisors() {
        let guard = guard(true, true);
        for open in ["/livez", "/readyz", "/readyz?verbose"] {
            assert_eq!(ask(&guard, "GET", open, &[]), 200, "{open}");
        }
        let doors = ["/kv", "/kv/a", "/v1/kv/a", "/v1/status", "/metrics", "/version", "/nothing"];
        for door in doors.into_iter().chain(["/livez/", "//livez", "/openapi.json"]) {
            assert_eq!(ask(&guard, "GET", door, &[]), 401, "{door}");
            for right in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN} ")] {
                assert_eq!(ask(&guard, "GET", door, &[("authorization", &right)]), 200, "{right}");
            }
            for wrong in [
                String::new(),
                "Bearer".into(),
                "Bearer ".into(),
                TOKEN.into(),
                format!("Basic {TOKEN}"),
                format!("Bearer {TOKEN}0"),
                format!("Bearer {}", &TOKEN[1..]),
                format!("Bearer {}", "a".repeat(60_000)),
            ] {
                assert_eq!(ask(&guard, "GET", door, &[("authorization", &wrong)]), 401, "{wrong}");
            }
        }
    }

    #[test]
    fn a_token_is_text_of_some_length_and_never_shown() {
        for (text, fits) in [
            ("a".repeat(15), false),
            ("a".repeat(16), true),
            ("a".repeat(1024), true),
            ("a".repeat(1025), false),
            ("two words, and long enough".into(), false),
            ("ünicode-and-long-enough".into(), false),
        ] {
            assert_eq!(Token::new(&text).is_some(), fits, "{text}");
        }
        assert_eq!(format!("{:?}", Token::new(TOKEN).unwrap()), "Token(..)");
    }
}
