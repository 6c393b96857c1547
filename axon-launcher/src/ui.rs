//! The dashboard's files: built in, from a directory, or the small page for when there is no
//! dashboard.
//!
//! Hides *where the files come from and how long a browser may keep them*.
//!
//! * A name that is not a file is a page of the dashboard and gets `index.html`, except below
//!   `/_app`, where a missing file is missing (an old page asking for what a new build no longer
//!   has).
//! * `/_app/immutable` has names made of content and may be kept for ever; the rest is asked for
//!   again each time, and answered with 304 while it is the same.
//! * Pages get a fresh nonce on each answer, in their scripts and in the content security policy,
//!   so an injected script does not run whatever slipped into a page.
//! * A path from a request never leaves the directory: only plain names are looked up.

use crate::problem::Problem;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use rust_embed::RustEmbed;
use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

const FALLBACK: &str = include_str!("fallback.html");

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../ui-svelte/build"]
#[allow_missing = true]
struct Built;

/// Where the dashboard comes from.
#[derive(Debug)]
pub enum Ui {
    /// The one built in.
    BuiltIn,
    /// A directory, looked at on each request.
    Directory(PathBuf),
    /// The small page.
    Fallback,
}

struct Asset {
    bytes: Cow<'static, [u8]>,
    etag: String,
}

impl Ui {
    /// Picks the directory if one is given, else what is built in, else the small page.
    pub fn choose(directory: Option<&Path>) -> Result<Self, String> {
        match directory {
            Some(directory) => {
                let root = directory
                    .canonicalize()
                    .map_err(|error| format!("--ui-dir {}: {error}", directory.display()))?;
                if !root.join("index.html").is_file() {
                    return Err(format!("--ui-dir {} holds no index.html", root.display()));
                }
                Ok(Self::Directory(root))
            }
            None if Built::get("index.html").is_some() => Ok(Self::BuiltIn),
            None => Ok(Self::Fallback),
        }
    }

    fn find(&self, name: &str) -> Option<Asset> {
        let plain = |part: &str| {
            !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', ':'])
        };
        if !name.split('/').all(plain) {
            return None;
        }
        match self {
            Self::BuiltIn => Built::get(name).map(|file| {
                let hash = file.metadata.sha256_hash();
                let mut etag = String::from("\"");
                for byte in &hash[..16] {
                    write!(etag, "{byte:02x}").expect("writing into a string cannot fail");
                }
                etag.push('"');
                Asset { bytes: file.data, etag }
            }),
            Self::Directory(root) => {
                // A link may point out of the directory; what it points at may not be served.
                let path = root.join(name).canonicalize().ok().filter(|p| p.starts_with(root))?;
                let found = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
                let age = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
                let etag = format!("\"{:x}-{:x}\"", age.as_nanos(), found.len());
                Some(Asset { bytes: std::fs::read(path).ok()?.into(), etag })
            }
            Self::Fallback => None,
        }
    }
}

/// Answers a request for the dashboard.
pub async fn serve(
    State(ui): State<Arc<Ui>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let error = "the dashboard answers GET and HEAD";
        let code = "method_not_allowed";
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, code, error).into_response();
    }
    let name = uri.path().trim_start_matches('/');
    if !is_page(name)
        && let Some(response) = asset(&ui, name, &headers)
    {
        return response;
    }
    if name == "_app" || name.starts_with("_app/") {
        let error = format!("the dashboard has no file {}", uri.path());
        return Problem::new(StatusCode::NOT_FOUND, "not_found", error).into_response();
    }
    if matches!(*ui, Ui::Fallback) {
        return page(FALLBACK, true);
    }
    let found = ui.find(if is_page(name) { name } else { "index.html" });
    match found.or_else(|| ui.find("index.html")) {
        Some(found) => page(&String::from_utf8_lossy(&found.bytes), false),
        // The directory was emptied meanwhile, as a build does.
        None => page(FALLBACK, true),
    }
}

fn is_page(name: &str) -> bool {
    extension(name) == "html"
}

fn extension(name: &str) -> &str {
    Path::new(name).extension().and_then(|ext| ext.to_str()).unwrap_or("")
}

fn asset(ui: &Ui, name: &str, headers: &HeaderMap) -> Option<Response> {
    let plain = ui.find(name)?;
    let accepts = |encoding: &str| {
        headers
            .get_all(header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                parts.next() == Some(encoding) && parts.next() != Some("q=0")
            })
    };
    let packed = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(encoding, _)| accepts(encoding))
        .find_map(|(encoding, suffix)| Some((encoding, ui.find(&format!("{name}.{suffix}"))?)));
    let (encoding, found) = match packed {
        Some((encoding, found)) => (Some(encoding), found),
        None => (None, plain),
    };
    let keep = if name.starts_with("_app/immutable/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let same = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == found.etag));
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(found.bytes.into_owned()).into_response();
        let kind = HeaderValue::from_static(content_type(name));
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let etag = HeaderValue::from_str(&found.etag).expect("an etag is hexadecimal digits in quotes");
    headers.insert(header::ETAG, etag);
    Some(response)
}

/// Answers a page, with a nonce for its own scripts.
fn page(text: &str, own: bool) -> Response {
    let nonce = format!("{:032x}", rand::rng().random::<u128>());
    let mut text = text.replace("<script", &format!("<script nonce=\"{nonce}\""));
    let policy = if own {
        text = text.replace("<style", &format!("<style nonce=\"{nonce}\""));
        format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    } else {
        format!(
            "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; \
             img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'"
        )
    };
    let policy = HeaderValue::from_str(&policy).expect("a policy is plain ASCII");
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn content_type(name: &str) -> &'static str {
    match extension(name) {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http_body_util::BodyExt;

    async fn ask(ui: &Arc<Ui>, path: &str, extra: &[(&'static str, &str)]) -> (Response, String) {
        let mut headers = HeaderMap::new();
        for (name, value) in extra {
            headers.insert(*name, value.parse().unwrap());
        }
        let uri = path.parse().unwrap();
        let mut response = serve(State(Arc::clone(ui)), Method::GET, uri, headers).await;
        let body = std::mem::take(response.body_mut()).collect().await.unwrap().to_bytes();
        (response, String::from_utf8_lossy(&body).into_owned())
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn built() -> (tempfile::TempDir, Arc<Ui>) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("build");
        for (name, text) in [
            ("index.html", "<script>go()</script>"),
            ("_app/immutable/a.js", "plain"),
            ("_app/immutable/a.js.br", "brotli"),
            ("_app/immutable/a.js.gz", "gzip"),
            ("theme.js", "theme"),
            (".secret", "secret"),
        ] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), text).unwrap();
        }
        std::fs::write(directory.path().join("outside.txt"), "beyond").unwrap();
        std::os::unix::fs::symlink(directory.path().join("outside.txt"), root.join("link.txt"))
            .unwrap();
        let ui = Ui::choose(Some(&root)).unwrap();
        (directory, Arc::new(ui))
    }

    #[tokio::test]
    async fn the_small_page_answers_everywhere_but_below_app() {
        let ui = Arc::new(Ui::Fallback);
        for path in ["/", "/nodes", "/nodes/node1", "/index.html"] {
            let (response, body) = ask(&ui, path, &[]).await;
            assert_eq!(response.status(), 200, "{path}");
            let policy = header(&response, "content-security-policy");
            let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
            assert_eq!(
                body.matches("<script").count(),
                body.matches(&format!("<script nonce=\"{nonce}\"")).count()
            );
            assert!(!policy.contains("unsafe"));
        }
        let (response, _) = ask(&ui, "/_app/immutable/old.js", &[]).await;
        assert_eq!(response.status(), 404);
    }

    #[tokio::test]
    async fn nonces_are_not_repeated() {
        let ui = Arc::new(Ui::Fallback);
        let (_, one) = ask(&ui, "/", &[]).await;
        let (_, two) = ask(&ui, "/", &[]).await;
        assert_ne!(one, two);
    }

    #[tokio::test]
    async fn the_small_page_puts_no_text_into_markup() {
        for risky in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=\"",
            " onclick",
        ] {
            assert!(!FALLBACK.contains(risky), "{risky}");
        }
    }

    #[tokio::test]
    async fn assets_are_kept_by_name_and_packed_as_the_browser_can_take_them() {
        let (_directory, ui) = built();
        let path = "/_app/immutable/a.js";
        for (accept, body, encoding) in [
            ("", "plain", ""),
            ("gzip", "gzip", "gzip"),
            ("gzip, deflate, br", "brotli", "br"),
            ("br;q=0, gzip;q=0.5", "gzip", "gzip"),
        ] {
            let (response, got) = ask(&ui, path, &[("accept-encoding", accept)]).await;
            assert_eq!((got.as_str(), header(&response, "content-encoding")), (body, encoding));
            assert!(header(&response, "cache-control").contains("immutable"));
            assert_eq!(header(&response, "content-type"), "text/javascript; charset=utf-8");
        }
        let (response, _) = ask(&ui, "/theme.js", &[]).await;
        assert_eq!(header(&response, "cache-control"), "no-cache");
        let etag = header(&response, "etag").to_owned();
        let (response, body) = ask(&ui, "/theme.js", &[("if-none-match", &etag)]).await;
        assert_eq!((response.status().as_u16(), body.as_str()), (304, ""));
    }

    #[tokio::test]
    async fn unknown_paths_are_pages_and_no_path_leaves_the_directory() {
        let (_directory, ui) = built();
        for path in [
            "/",
            "/nodes/node1",
            "/../outside.txt",
            "/_app/../../outside.txt/",
            "/.secret",
            "/link.txt",
            "//etc/passwd",
            "/%2e%2e/outside.txt",
        ] {
            let (response, body) = ask(&ui, path, &[]).await;
            assert!(!body.contains("beyond") && !body.contains("secret"), "{path}");
            let missing = path.starts_with("/_app");
            assert_eq!(response.status(), if missing { 404 } else { 200 }, "{path}");
            if !missing {
                assert!(body.starts_with("<script nonce=\""), "{path}: {body}");
            }
        }
    }
}
