//! Who may ask, before anything is done.
//!
//! Whoever reaches the control API can delete a node. There are three ways to be let in ([`Access`]):
//!
//! | | listens on | who is let in |
//! |---|---|---|
//! | `Loopback` | this machine only | its programs and our own pages |
//! | `Token` | anywhere | whoever shows the token, or the cookie of a session begun with it |
//! | `Anyone` | anywhere, by `--insecure` | whoever connects, except pages of other sites |
//!
//! In all three one adversary is a page of another site in the browser of somebody who is let in:
//!
//! * it may send requests here. So every request with an `Origin` other than our own is refused, with
//!   a cookie too, and without one (old browsers) every changing request that `Sec-Fetch-Site` calls
//!   foreign. The cookie is `SameSite=Strict` besides, so such a page's requests do not carry it;
//! * it may give its own name our address (DNS rebinding), which makes it our own origin. Without a
//!   token a request must therefore say in `Host` what no such page can: an address instead of a
//!   name, and on loopback one of this machine. With a token any name will do, so that a proxy or a
//!   name in the network can stand before us: the rebound page has neither token nor cookie, since
//!   a browser keeps cookies by the name it asked for.
//!
//! A program that is no browser sends neither header: without a token it is let in, as it could do
//! worse by itself; with one it must show it. Invariants:
//!
//! * every answer, also of a refusal, carries the security headers;
//! * with a token nothing but the sign-in page is answered to those who did not show it, and they
//!   cannot learn what exists;
//! * the token is compared in constant time and never logged; who tries many is slowed down
//!   ([`session`](crate::session)).
//!
//! What it does not do: encrypt, or tell people apart. A cookie knows no ports, so another server on
//! the same host that a browser visits is shown the session. A stream that is open when its session
//! ends goes on.

use crate::args::{Args, TOKEN_VARIABLE};
use crate::events::NewEvent;
use crate::problem::Problem;
use crate::secret::Token;
use crate::session::{Sessions, TRY_EVERY, Tries};
use crate::sign_in;
use crate::supervisor::Supervisor;
use crate::wire::Severity;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Who may ask the launcher.
#[derive(Debug, Clone)]
pub enum Access {
    /// This machine's programs and our own pages.
    Loopback,
    /// Whoever shows the token.
    Token(Token),
    /// Whoever connects.
    Anyone,
}

impl Access {
    /// Decides by the command line and the variable that may hold the token.
    ///
    /// # Errors
    /// A sentence, when there is no good token, or none where one is needed.
    pub fn choose(args: &Args, variable: Option<OsString>) -> Result<Self, String> {
        let token = match (&args.token_file, variable) {
            (Some(_), Some(_)) => {
                return Err(format!("--token-file and {TOKEN_VARIABLE}: give the token once"));
            }
            (Some(file), None) => {
                Some(Token::read(file).map_err(|e| format!("--token-file: {e}"))?)
            }
            (None, Some(text)) => {
                let text = text.into_string().unwrap_or_default();
                Some(Token::new(&text).map_err(|error| format!("{TOKEN_VARIABLE}: {error}"))?)
            }
            (None, None) => None,
        };
        match token {
            Some(token) => Ok(Self::Token(token)),
            None if args.listen.ip().is_loopback() => Ok(Self::Loopback),
            None if args.insecure => {
                tracing::warn!(listen = %args.listen, "--insecure: whoever can connect can delete nodes");
                Ok(Self::Anyone)
            }
            None => Err(format!(
                "whoever reaches {} can delete nodes, so it needs a token: put one into a file \
                 (openssl rand -hex 32 > token; chmod 600 token) and give --token-file token. Or stay on \
                 127.0.0.1 and come through an SSH tunnel (ssh -L 8080:127.0.0.1:8080 HOST). \
                 --insecure does without either",
                args.listen
            )),
        }
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token) => Some(token),
            Self::Loopback | Self::Anyone => None,
        }
    }
}

/// What the guard knows of those who asked before.
#[derive(Debug)]
pub struct Guard {
    supervisor: Supervisor,
    sessions: Mutex<Sessions>,
    tries: Mutex<Tries>,
}

/// What comes of looking at a token.
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// It was not looked at.
    TooMany,
}

impl Guard {
    /// Guards the API of `supervisor`, as its access says.
    pub fn new(supervisor: &Supervisor) -> Self {
        let tries = Mutex::new(Tries::new(Instant::now()));
        Self { supervisor: supervisor.clone(), sessions: Mutex::default(), tries }
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn access(&self) -> &Access {
        &self.supervisor.0.access
    }

    async fn admit(&self, request: Request, next: Next) -> Response {
        let signs = matches!(request.uri().path(), sign_in::PATH | sign_in::OUT_PATH);
        let Access::Token(token) = self.access() else {
            if signs {
                return Redirect::to("/").into_response();
            }
            return next.run(request).await;
        };
        if signs {
            return sign_in::answer(self, token, request).await;
        }
        match self.look(token, &request) {
            Verdict::Right => next.run(request).await,
            Verdict::TooMany => too_many(),
            Verdict::Wrong if wants_page(&request) => sign_in::lead_there(request.uri()),
            Verdict::Wrong => {
                let error = "show the token: Authorization: Bearer TOKEN; in a browser, sign in at /sign-in";
                let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", error);
                ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
            }
        }
    }

    fn look(&self, token: &Token, request: &Request) -> Verdict {
        let headers = request.headers();
        // A scheme of another name was meant for a proxy before us.
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, offered) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| offered.trim_ascii())
        });
        if let Some(offered) = bearer {
            return self.try_token(token, offered, request);
        }
        match sign_in::session(headers) {
            Some(id) if self.sessions().knows(id, Instant::now()) => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }

    /// Looks at a token that was offered, unless too many were wrong of late.
    pub(crate) fn try_token(&self, token: &Token, offered: &[u8], request: &Request) -> Verdict {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if !tries.may(now) {
            return Verdict::TooMany;
        }
        if token.is(offered) {
            return Verdict::Right;
        }
        let told = tries.wrong(now);
        drop(tries);
        if let Some(count) = told {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let peer = peer.map_or("an unknown address".to_owned(), |peer| peer.0.ip().to_string());
            let text = match count {
                1 => format!("a wrong token was shown from {peer}"),
                _ => format!("{count} wrong tokens were shown of late, the last from {peer}"),
            };
            tracing::warn!("{text}");
            let event = NewEvent::new(Severity::Warning, "sign_in_refused", text);
            self.supervisor.0.events.record(event);
        }
        Verdict::Wrong
    }
}

/// Refuses to look at another token for now.
pub(crate) fn too_many() -> Response {
    let error = "too many wrong tokens were shown; try again in a moment";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", error);
    let wait = TRY_EVERY.as_secs().to_string();
    ([(header::RETRY_AFTER, wait)], problem.retryable("not_applied")).into_response()
}

/// Reports whether a browser asks for a page, and not a script for data.
fn wants_page(request: &Request) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT).iter();
    let mut accepts = accepts.filter_map(|value| value.to_str().ok());
    matches!(*request.method(), Method::GET | Method::HEAD)
        && accepts.any(|accept| accept.contains("text/html"))
}

/// Lets a request pass or refuses it, and puts the security headers on the answer.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    // HTTP/2 and absolute request lines carry the host in the target instead.
    let target = request.uri().authority().cloned();
    let mut response = match check(guard.access(), request.method(), request.headers(), target) {
        Ok(()) => guard.admit(request, next).await,
        Err(reason) => {
            tracing::warn!(reason, "refused a request");
            Problem::new(StatusCode::FORBIDDEN, "forbidden", reason).into_response()
        }
    };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with that, browsers say `Origin: null` when our own form is sent.
        (header::REFERRER_POLICY, "same-origin"),
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
    access: &Access,
    method: &Method,
    headers: &HeaderMap,
    target: Option<Authority>,
) -> Result<(), &'static str> {
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err("the request has several Host headers");
    }
    let host = match (headers.get(header::HOST), target) {
        (_, Some(target)) => target,
        (Some(host), None) => host
            .to_str()
            .ok()
            .and_then(|host| host.parse().ok())
            .ok_or("the Host header is not an address")?,
        (None, None) => return Err("the Host header is missing"),
    };
    match access {
        Access::Loopback if !names_machine(&host, |address| address.is_loopback()) => {
            return Err("the Host header does not name this machine");
        }
        Access::Anyone if !names_machine(&host, |_| true) => {
            return Err("without a token the launcher is asked by its address, not by a name");
        }
        _ => {}
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let is = |scheme: &str| {
            origin.as_bytes().eq_ignore_ascii_case(format!("{scheme}://{host}").as_bytes())
        };
        // A proxy with TLS may stand before a launcher that asks for a token.
        if is("http") || (is("https") && access.token().is_some()) {
            return Ok(());
        }
        return Err("the request comes from a page of another site");
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if changes => Err("the request comes from a page of another site"),
        Some(_) => Ok(()),
    }
}

fn names_machine(host: &Authority, is_good: impl Fn(IpAddr) -> bool) -> bool {
    if host.as_str().contains('@') {
        return false;
    }
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(is_good)
}

#[cfg(test)]
mod tests;
