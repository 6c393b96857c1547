//! Parameters: numbers that are none, flags that are neither, cursors that were bent.

use crate::case::{Case, Request, Want};
use crate::site::{Kind, Site};

/// As they stand in a query. A plus sign is a space there.
const NO_NUMBERS: [&str; 26] = [
    "",
    "+",
    "%20",
    "-1",
    "%2B1",
    "+1",
    "1+",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "1,000",
    "NaN",
    "null",
    "true",
    "latest",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "1%00",
    "%00",
    "%FF",
    "%EF%BC%91",
    "%D9%A1",
    "[1]",
    "1;2",
    "%31%zz",
];

const NO_FLAGS: [&str; 9] = ["maybe", "2", "-1", "null", "%FF", "%00", "True?", "truefalse", "%t"];

/// A door, its parameters that are numbers, and those that are flags.
const DOORS: [(&str, &[&str], &[&str]); 4] = [
    (
        "kv",
        &["limit", "preview", "revision", "min_revision"],
        &["reverse", "keys_only", "count_only"],
    ),
    ("kv/kept/1", &["revision", "min_revision"], &[]),
    ("history/kept/1", &["limit", "before", "min_revision"], &[]),
    ("watch", &["from", "progress"], &["initial", "previous"]),
];

/// Queries that contradict themselves, ask for too much, or for what there is not.
const NONSENSE: [&str; 40] = [
    "kv?limit=0",
    "kv?limit=10001",
    "kv?limit=18446744073709551615",
    "kv?unknown=1",
    "kv?prefix=a&prefix=a",
    "kv?prefix=a&start=b",
    "kv?start=b&end=a",
    "kv?start=b&end=b",
    "kv?keys_only=true&preview=1",
    "kv?count_only=true&limit=1",
    "kv?delimiter=",
    "kv?delimiter=/&count_only=true",
    "kv?revision=18446744073709551615",
    "kv?revision=1&min_revision=1",
    "kv?consistency=",
    "kv?consistency=stale",
    "kv?consistency=LOCAL",
    "kv?consistency=linearizable,local",
    "kv?consistency=linearizable&min_revision=1",
    "kv?a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11&l=12&m=13&n=14&o=15&p=16&q=17&r=18&s=19&t=20\
     &u=21&v=22&w=23&x=24&y=25&z=26&aa=27&ab=28&ac=29&ad=30&ae=31&af=32&ag=33",
    "kv?%=1",
    "kv?%zz=1",
    "kv?prefix=%",
    "kv?prefix=%f",
    "kv?prefix=%gg",
    "kv/kept/1?unknown",
    "kv/kept/1?revision=18446744073709551615",
    "kv/kept/1?revision=1&revision=1",
    "history/kept/1?limit=1001",
    "history/kept/1?revision=1",
    "history/kept/1?limit=0",
    "watch?from=0",
    "watch?from=18446744073709551615",
    "watch?progress=0",
    "watch?progress=61",
    "watch?key=",
    "watch?key=a&prefix=b",
    "watch?key=a&start=b",
    "watch?prefix=a&start=b",
    "watch?unknown=1",
];

/// The cases for `site`.
pub fn every(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut get = |query: &str, want| {
        cases.push(Request::new("GET", &site.v1(query)).case(site, want));
    };
    let bad = Want::Status(400);
    for (door, numbers, flags) in DOORS {
        for (names, values) in [(numbers, &NO_NUMBERS[..]), (flags, &NO_FLAGS[..])] {
            for name in names {
                for value in values {
                    get(&format!("{door}?{name}={value}"), bad);
                }
            }
        }
    }
    for query in NONSENSE {
        get(query, bad);
    }
    for cursor in bent(&site.cursor) {
        get(&format!("kv?prefix=kept/&cursor={cursor}"), bad);
    }
    // Good for another query.
    for query in
        ["prefix=kep", "prefix=kept/&reverse=true", "", "start=a", "prefix=kept/&keys_only=2"]
    {
        get(&format!("kv?{query}&cursor={}", site.cursor), bad);
    }
    if site.kind == Kind::Server {
        for value in NO_NUMBERS {
            get(&format!("events?after={value}"), bad);
        }
    }
    for query in
        ["prefix=", "confirm=", "confirm=ALL", "confirm=yes", "start=&end=", "limit=1", "key=a"]
    {
        cases.push(Request::new("DELETE", &site.v1(&format!("kv?{query}"))).case(site, bad));
    }
    cases.push(Request::new("DELETE", &site.v1("kv?prefix=kept/&confirm=all")).case(site, bad));
    if site.kind == Kind::Launcher {
        cases.extend(of_the_launcher(site));
    }
    cases
}

/// Cursors that are none: each byte of a good one changed, cut off, or more than there was.
fn bent(good: &str) -> Vec<String> {
    let mut cursors: Vec<String> =
        ["", "A", "AAAA", "====", "%00", "%FF", "null", "0", "../../x"].map(str::to_owned).into();
    for at in 0..good.len() {
        let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        cursors.push(format!("{}{other}{}", &good[..at], &good[at + 1..]));
    }
    for cut in (1..good.len()).step_by(5) {
        cursors.push(good[..cut].to_owned());
    }
    cursors.extend([format!("{good}A"), format!("{good}{good}"), "A".repeat(10_000)]);
    cursors
}

fn of_the_launcher(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut ask = |method: &str, path: String, want| {
        cases.push(Request::new(method, &path).case(site, want));
    };
    let bad = Want::Status(400);
    // An empty value is none, there.
    for value in NO_NUMBERS.iter().filter(|value| !value.is_empty()) {
        for name in ["since", "until", "before", "limit"] {
            // What is no UTF-8 is read as a sign that stands for it, and no number either.
            ask("GET", format!("/api/v1/events?{name}={value}"), bad);
        }
        ask("GET", format!("/api/v1/nodes/node1/logs?lines={value}"), bad);
    }
    for query in ["limit=0", "severity=fatal", "severity=2", "unknown=1", "kind=a&kinds=b"] {
        ask("GET", format!("/api/v1/events?{query}"), bad);
    }
    for query in ["follow=1", "follow=TRUE", "level=loud", "from=x", "unknown=1"] {
        ask("GET", format!("/api/v1/nodes/node1/logs?{query}"), bad);
    }
    for query in
        ["dry_run=maybe", "dry_run", "wait=2", "unknown=true", "dry_run=true&dry_run=true", "%FF=1"]
    {
        ask("POST", format!("/api/v1/actions/rolling_restart?{query}"), bad);
        ask("POST", format!("/api/v1/nodes/node1/actions/stop?{query}"), bad);
    }
    for id in
        ["%2e%2e", "..%2f", "-a", "A", "a_b", "%00", "%FF", "a%20b", "n%C3%B6de", "%2fetc%2fpasswd"]
    {
        for order in ["start", "stop", "delete"] {
            ask("POST", format!("/api/control/{order}/{id}"), bad);
        }
        ask("GET", format!("/api/v1/nodes/{id}"), bad);
        ask("GET", format!("/api/v1/nodes/{id}/logs"), bad);
        ask("POST", format!("/api/v1/nodes/{id}/actions/stop"), bad);
    }
    for id in ["x", "-1", "1.0", "%FF", "%00", "18446744073709551616", "+1"] {
        let want = if id == "+1" { Want::OneOf(&[400, 404]) } else { bad };
        ask("GET", format!("/api/v1/operations/{id}"), want);
        ask("POST", format!("/api/v1/operations/{id}/cancel"), want);
    }
    cases
}
