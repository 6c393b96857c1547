//! Clients that take their time: they are cut off, with a word where a request had begun.

use crate::case::{Case, Part, Request, Want};
use crate::site::Site;
use std::time::Duration;

/// Longer than a head may take, and a body.
const OVER_HEAD: Duration = Duration::from_secs(16);
const OVER_BODY: Duration = Duration::from_secs(35);

/// The cases for `site`.
pub fn every(site: &Site) -> Vec<Case> {
    let put = Request::new("PUT", &site.v1("kv/never/slow")).body(b"value").bytes(site);
    let late = Want::Status(408);
    let mut cases = Vec::new();
    for cut in [1, 5, 20, 40] {
        let case = Case::new(format!("{cut} bytes of a head, and silence"), &put[..cut], late);
        cases.push(case.then(Part::Pause(OVER_HEAD)).closes());
    }
    // A byte a second buys no time.
    let mut trickle = Case::new("a head byte by byte", &put[..1], late).closes();
    for byte in &put[1..20] {
        trickle = trickle.then(Part::Pause(Duration::from_secs(1))).then(Part::Bytes(vec![*byte]));
    }
    cases.push(trickle);
    for cut in [0, 1, 4] {
        let end = put.len() - 5 + cut;
        let case = Case::new(format!("a body that stops after {cut} bytes"), &put[..end], late);
        cases.push(case.then(Part::Pause(OVER_BODY)).closes());
    }
    let silent = Case::new("a connection without a word", "", late).wants([]);
    cases.push(silent.then(Part::Pause(OVER_HEAD)).closes());
    cases
}
