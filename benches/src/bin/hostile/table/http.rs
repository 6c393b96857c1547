//! What is no HTTP, what is no whole HTTP, and what means two things at once.

use crate::case::{Case, Part, Request, Want};
use crate::site::Site;

/// Heads and framing that no request has: refused, and the connection closed.
pub fn broken(site: &Site) -> Vec<Case> {
    let long = "x".repeat(100_000);
    let host = format!("host: {}\r\n", site.host());
    let path = site.v1("kv/never/broken");
    let lines = [
        "\0\0\0\0".to_owned(),
        "hello".into(),
        "GET".into(),
        "GET ".into(),
        format!("GET {path}"),
        format!("GET {path} "),
        format!("GET {path} HTTP"),
        format!("GET {path} HTTP/"),
        format!("GET {path} HTTP/1"),
        format!("GET {path} HTTP/1.10"),
        format!("GET {path} HTTP/2.0"),
        format!("GET {path} HTTP/9.9"),
        format!("GET {path} http/1.1"),
        format!("GET {path} HTTPS/1.1"),
        format!("GET {path} HTTP/1.1 more"),
        format!("GET {path} x HTTP/1.1"),
        format!("GET\t{path}\tHTTP/1.1\x0b"),
        format!("G\u{e9}T {path} HTTP/1.1"),
        format!("G(T {path} HTTP/1.1"),
        format!(" GET {path} HTTP/1.1"),
        "GET \0 HTTP/1.1".into(),
        format!("GET {path}\x7f HTTP/1.1"),
        format!("GET {path}#\x01 HTTP/1.1"),
        "PRI * HTTP/2.0".into(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".into(),
        "SSH-2.0-OpenSSH_9.6".into(),
        "EHLO example.org".into(),
        "*1\r\n$4\r\nPING".into(),
        format!("{long}{long} / HTTP/1.1"),
        format!("GET /{long} HTTP/1.1"),
        format!("GET {path}?{long} HTTP/1.1"),
    ];
    let headers = headers_of_none(&long);
    let lines = lines.iter().map(|line| format!("{line}\r\n{host}\r\n"));
    let put = format!("PUT {path} HTTP/1.1\r\n{host}");
    let headers = headers.iter().map(|header| format!("{put}{header}\r\n\r\n"));
    let heads = lines.chain(headers);
    heads
        .map(|head| {
            let name = format!("broken {}", crate::case::shown(head.replace(&host, "").as_bytes()));
            Case::new(name, head, Want::Refused).closes()
        })
        .collect()
}

/// Lines that are no headers, or say what none may.
fn headers_of_none(long: &str) -> Vec<String> {
    vec![
        "no colon".to_owned(),
        ": no name".into(),
        "bad name: x".into(),
        "bad\u{e9}name: x".into(),
        "bad\0name: x".into(),
        "space : x".into(),
        "x: \0".into(),
        "x: a\u{1}b".into(),
        "x: a\rb".into(),
        "content-length: x".into(),
        "content-length: -1".into(),
        "content-length: +1".into(),
        "content-length: 1.0".into(),
        "content-length: 0x1".into(),
        "content-length: 1 1".into(),
        "content-length: 99999999999999999999999999".into(),
        "content-length: 1\r\ncontent-length: 2".into(),
        "content-length: 1, 2".into(),
        "transfer-encoding: gzip".into(),
        "transfer-encoding: xchunked".into(),
        "transfer-encoding: chunked, identity".into(),
        "transfer-encoding: chunked\r\ntransfer-encoding: gzip".into(),
        format!("x: {long}"),
        format!("{long}: x"),
        "a: b\r\n".repeat(500) + "c: d",
    ]
}

/// Requests with a second one hidden in them. One that is refused hides nothing any more, and one that
/// is understood must not let the hidden one through: `never/smuggled` must not be there.
pub fn smuggled(site: &Site) -> Vec<Case> {
    let path = site.v1("kv/never/smuggled");
    let host = site.host();
    let hidden = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\n\r\nx");
    let length = hidden.len() + 5;
    let bare = format!("0\r\n\r\n{hidden}");
    let forms = [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{bare}"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{bare}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{bare}"),
        format!("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{bare}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{bare}"),
        format!("content-length: 0, {length}\r\n\r\n{bare}"),
        format!("content-length: {length}\r\ncontent-length: 0\r\n\r\n{bare}"),
        format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        format!("content-length: 0\r\n content-length: {length}\r\n\r\n{hidden}"),
        format!("transfer-encoding:\x0bchunked\r\ncontent-length: {length}\r\n\r\n{bare}"),
        format!("transfer-encoding: chunked\x00\r\ncontent-length: {length}\r\n\r\n{bare}"),
        format!("transfer-encoding : chunked\r\ncontent-length: {length}\r\n\r\n{bare}"),
        format!("transfer-encoding: identity\r\ncontent-length: {length}\r\n\r\n{bare}"),
        format!("transfer-encoding: chunked, chunked\r\ncontent-length: 5\r\n\r\n{bare}"),
        format!("x: y\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{bare}"),
        format!("transfer-encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n+0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n10000000000000000\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(100_000)),
        format!("transfer-encoding: chunked\r\n\r\n1;a\rb\r\nx\r\n0 \r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\nzz\r\n{hidden}"),
    ];
    // Behind a request that is refused by its query, and behind one that could be fine.
    let outer = [
        (site.v1("kv/never%2Fouter?no-such-parameter"), Want::Refused),
        (site.v1("kv/odd/outer"), Want::Any),
    ];
    let mut cases = Vec::new();
    for (number, form) in forms.iter().enumerate() {
        for (door, want) in &outer {
            let head = format!("PUT {door} HTTP/1.1\r\nhost: {host}\r\n{form}");
            let form = crate::case::shown(form.as_bytes());
            cases.push(
                Case::new(format!("smuggled {number} in {door} {form}"), head, *want).closes(),
            );
        }
    }
    cases
}

/// Requests that end in the middle, at each of many places: nothing is done.
pub fn truncated(site: &Site) -> Vec<Case> {
    let path = site.v1("kv/never/truncated");
    let host = site.host();
    let whole = [
        Request::new("PUT", &path).body(b"twenty bytes of body").bytes(site),
        format!(
            "PUT {path} HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n\
             a\r\n0123456789\r\n5\r\n01234\r\n0\r\n\r\n"
        )
        .into_bytes(),
    ];
    let mut cases = Vec::new();
    for (form, whole) in whole.iter().enumerate() {
        for cut in (1..whole.len()).step_by(3) {
            let name = format!("truncated {form} at byte {cut} of {}", whole.len());
            let case = Case::new(name, &whole[..cut], Want::NotDone).closes();
            cases.push(case.then(Part::End));
        }
    }
    cases
}

/// Requests that do not wait for answers: answered in order, up to the first that is broken.
pub fn pipelined(site: &Site) -> Vec<Case> {
    let (path, status) = (site.v1("kv/piped"), site.v1("status"));
    let put = Request::new("PUT", &path).body(b"p").bytes(site);
    let kept = site.v1("kv/kept/1");
    let get = Request::new("GET", &kept).bytes(site);
    let missing = Request::new("GET", "/api/nothing/at/all").bytes(site);
    let wrong = Request::new("POST", &status).bytes(site);
    let done = Want::OneOf(&[200, 201]);
    let ok = Want::Status(200);
    let case = |name: &str, requests: &[&[u8]], wants: &[Want]| {
        Case::new(format!("pipelined {name}"), requests.concat(), ok).wants(wants.iter().copied())
    };
    let many: Vec<&[u8]> = vec![&get; 200];
    vec![
        case("put, get, get", &[&put, &get, &get], &[done, ok, ok]),
        case("many", &[&[&put[..]], &many[..]].concat(), &[&[done], &[ok; 200][..]].concat()),
        case(
            "refusals between",
            &[&put, &missing, &get, &wrong, &get],
            &[done, Want::Status(404), ok, Want::Status(405), ok],
        ),
        case(
            "a put, and what is no HTTP",
            &[&put, b"rubbish\r\n\r\n", &get],
            &[done, Want::Status(400)],
        )
        .closes(),
        case("a get, and what is no HTTP", &[&get, b"\0\0\r\n\r\n"], &[ok, Want::Status(400)])
            .closes(),
    ]
}

/// What is larger than anything may be.
pub fn oversized(site: &Site) -> Vec<Case> {
    let host = site.host();
    let put = |key: &str| format!("PUT {} HTTP/1.1\r\nhost: {host}\r\n", site.v1(key));
    let large = Want::OneOf(&[400, 413, 414, 431]);
    let mut cases = Vec::new();
    for length in ["1048577", "10000000", "99999999999999", "18446744073709551614"] {
        let head = format!("{}content-length: {length}\r\n\r\n", put("kv/never/large"));
        // What no machine has a number for is a header that cannot be.
        let want = Want::OneOf(if length.len() < 20 { &[413] } else { &[400, 413, 431] });
        cases.push(Case::new(format!("announces {length} bytes"), head, want));
    }
    let mut body = format!("{}content-length: 1048577\r\n\r\n", put("kv/never/large")).into_bytes();
    body.resize(body.len() + (1 << 20) + 1, b'v');
    cases.push(Case::new("a value of a byte too many", body, Want::Status(413)));
    let mut body = format!("{}transfer-encoding: chunked\r\n\r\n", put("kv/never/large"));
    for _ in 0..8 {
        body.push_str("80000\r\n");
        body.push_str(&"x".repeat(1 << 19));
        body.push_str("\r\n");
    }
    cases.push(Case::new("a stream of 4 MiB", body, Want::Status(413)));
    for bytes in [4097, 8192, 60_000, 70_000, 200_000] {
        let key = format!("kv/never/{}", "k".repeat(bytes - 6));
        let name = format!("a key of {bytes} bytes");
        cases.push(Case::new(name, format!("{}content-length: 1\r\n\r\nv", put(&key)), large));
        let key = format!("kv/never/{}", "%6b".repeat(bytes - 6));
        let name = format!("an encoded key of {bytes} bytes");
        cases.push(Case::new(name, format!("{}content-length: 1\r\n\r\nv", put(&key)), large));
    }
    for count in [101, 200, 1000] {
        let headers = "x-more: y\r\n".repeat(count);
        let head = format!("{}{headers}content-length: 1\r\n\r\nv", put("kv/never/headers"));
        cases.push(Case::new(format!("{count} headers"), head, large));
    }
    cases
}
