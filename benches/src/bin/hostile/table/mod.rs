//! The table: every hostile request, as data, for a server and for a launcher.
//!
//! Whatever must not happen would write under `never/`: nothing may be there afterwards.

mod bodies;
mod doors;
mod headers;
mod http;
mod params;
mod slow;

use crate::case::Case;
use crate::site::Site;
use std::collections::HashMap;

/// Every case for `site`, but those that take their time.
pub fn quick(site: &Site) -> Vec<Case> {
    let mut cases = http::broken(site);
    cases.extend(http::smuggled(site));
    cases.extend(http::truncated(site));
    cases.extend(http::pipelined(site));
    cases.extend(http::oversized(site));
    cases.extend(doors::every(site));
    cases.extend(params::every(site));
    cases.extend(bodies::every(site));
    cases.extend(headers::every(site));
    tell_apart(&mut cases);
    cases
}

/// Numbers the cases of one name: what is shown of a request leaves out much of it.
fn tell_apart(cases: &mut [Case]) {
    let mut seen = HashMap::<String, usize>::new();
    for case in cases {
        let times = seen.entry(case.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            case.name = format!("{} ({times})", case.name);
        }
    }
}

/// The cases in which a client is slow.
pub fn slow(site: &Site) -> Vec<Case> {
    slow::every(site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Kind;

    #[test]
    fn the_table_has_several_hundred_cases_for_each_and_no_two_of_one_name() {
        for kind in [Kind::Server, Kind::Launcher] {
            let site = Site { kind, port: 9000, cursor: "abcdefghijklmnopqrstuvwxyz".into() };
            let cases = quick(&site);
            assert!(cases.len() > 600, "{}", cases.len());
            let mut names: Vec<_> =
                cases.iter().map(|case| (&case.name, case.parts.len())).collect();
            names.sort();
            let twice: Vec<_> = names.windows(2).filter(|two| two[0] == two[1]).collect();
            assert!(twice.is_empty(), "{twice:?}");
        }
    }
}
