//! From a request's query to its parameters, strictly.
//!
//! Names and values are form-urlencoded, as every client's library writes them: a `+` is a space, a
//! plus sign is `%2B`, and `%` with two digits is any byte, so that a key can be said whatever its bytes
//! are. (In a path, where no library writes a `+` for a space, it is a plus sign.) Invariants:
//!
//! * a parameter that is not known, said twice, or not of its kind is refused by its name: one that
//!   was silently ignored could turn a question into another one, or a delete into a larger one;
//! * whatever the query holds, the answer is a value or a problem.

use crate::key;
use crate::problem::Problem;
use axon_core::types::Revision;
use bytes::Bytes;
use std::borrow::Cow;

/// More than any door has: what is over would be refused anyhow.
const PARAMETERS_MAX: usize = 32;

/// The parameters of a request that no door has taken yet.
#[derive(Debug)]
pub(crate) struct Params<'a> {
    pairs: Vec<Pair<'a>>,
}

#[derive(Debug)]
struct Pair<'a> {
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl<'a> Params<'a> {
    /// Decodes a query.
    pub(crate) fn parse(query: Option<&'a str>) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        let written = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in written {
            if pairs.len() == PARAMETERS_MAX {
                return Err(Problem::bad_request("the query has too many parameters")
                    .detail("limit", PARAMETERS_MAX));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).map_err(|at| {
                Problem::bad_request(format!(
                    "the name of a parameter has a bad percent-encoding at byte {at}"
                ))
            })?;
            let value = decoded(value).map_err(|at| {
                wrong(&shown(&name), &format!("has a bad percent-encoding at byte {at}"))
            })?;
            pairs.push(Pair { name, value });
        }
        Ok(Self { pairs })
    }

    /// Takes the parameter `name`, any bytes.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<Bytes>, Problem> {
        let of_name = |pair: &Pair<'_>| *pair.name == *name.as_bytes();
        let Some(at) = self.pairs.iter().position(of_name) else { return Ok(None) };
        let Pair { value, .. } = self.pairs.swap_remove(at);
        if self.pairs.iter().any(of_name) {
            return Err(wrong(name, "is said more than once"));
        }
        Ok(Some(Bytes::from(value.into_owned())))
    }

    /// Takes the parameter `name`, a number: decimal digits alone.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.bytes(name)? else { return Ok(None) };
        let digits = value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(&value).ok().filter(|_| digits);
        let number = text.and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| wrong(name, "is a number from 0 to 2^64 - 1"))
    }

    /// Takes the parameter `name`, a revision.
    pub(crate) fn revision(&mut self, name: &str) -> Result<Option<Revision>, Problem> {
        Ok(self.number(name)?.map(Revision))
    }

    /// Takes the parameter `name`, a number in `1..=max`.
    pub(crate) fn count(&mut self, name: &str, max: usize) -> Result<Option<usize>, Problem> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        let number = usize::try_from(number).ok().filter(|number| (1..=max).contains(number));
        number.map(Some).ok_or_else(|| wrong(name, &format!("is a number from 1 to {max}")))
    }

    /// Takes the parameter `name`, `true` or `false`; false when it is not there.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        Ok(self.word(name, &[("true", true), ("false", false)])?.unwrap_or(false))
    }

    /// Takes the parameter `name`, one of `words`.
    pub(crate) fn word<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.bytes(name)? else { return Ok(None) };
        let meant = words.iter().find(|(word, _)| *word.as_bytes() == *value);
        let Some((_, meaning)) = meant else {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            return Err(wrong(name, &format!("is {}", words.join(" or "))));
        };
        Ok(Some(*meaning))
    }

    /// Refuses what nobody has taken.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some(pair) => Err(wrong(&shown(&pair.name), "is no parameter of this path and method")),
        }
    }
}

/// The parameter `name` is wrong: `reason` goes on the sentence.
pub(crate) fn wrong(name: &str, reason: &str) -> Problem {
    Problem::bad_request(format!("the parameter `{name}` {reason}")).detail("parameter", name)
}

fn decoded(text: &str) -> Result<Cow<'_, [u8]>, usize> {
    if !text.contains('+') {
        return key::decode(text.as_bytes());
    }
    let spaced = text.replace('+', " ");
    key::decode(spaced.as_bytes()).map(|bytes| Cow::Owned(bytes.into_owned()))
}

/// A name that may be anything, for an error.
fn shown(name: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 40;
    String::from_utf8_lossy(name).chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn params(query: &str) -> Params<'_> {
        Params::parse(Some(query)).unwrap()
    }

    #[test]
    fn values_are_any_bytes_and_a_plus_is_a_space() {
        let cases = [
            ("k=", &b""[..]),
            ("k", b""),
            ("k=a%2Fb/c", b"a/b/c"),
            ("k=a+b%2B", b"a b+"),
            ("k=%00%FF", b"\0\xff"),
            ("k=a=b", b"a=b"),
            ("&&k=x&", b"x"),
            ("%6B=x", b"x"),
        ];
        for (query, value) in cases {
            let mut params = params(query);
            assert_eq!(params.bytes("k").unwrap().unwrap(), value, "{query}");
            params.finish().unwrap();
        }
        assert_eq!(Params::parse(None).unwrap().bytes("k").unwrap(), None);
    }

    #[test]
    fn what_is_unknown_repeated_or_of_another_kind_is_refused_by_name() {
        let number = |query| params(query).number("n").is_ok();
        assert!(number("n=0") && number("n=18446744073709551615"));
        for query in ["n=", "n=-1", "n=+1", "n=1.0", "n=1e3", "n=18446744073709551616", "n=%FF"] {
            assert!(!number(query), "{query}");
        }
        assert!(params("n=1&n=1").number("n").is_err());
        assert!(params("n=0").count("n", 10).is_err() && params("n=11").count("n", 10).is_err());
        assert_eq!(params("n=10").count("n", 10).unwrap(), Some(10));
        assert!(params("f=true").flag("f").unwrap() && !params("").flag("f").unwrap());
        for query in ["f", "f=", "f=1", "f=True", "f=yes"] {
            assert!(params(query).flag("f").is_err(), "{query}");
        }
        let unknown = params("x%FF=1").finish().unwrap_err();
        assert!(format!("{unknown:?}").contains("`x\u{fffd}`"), "{unknown:?}");
        assert!(Params::parse(Some("a=%")).is_err() && Params::parse(Some("%4=a")).is_err());
        assert!(Params::parse(Some(&"a=1&".repeat(33))).is_err());
    }

    proptest! {
        #[test]
        fn any_query_is_parameters_or_a_problem(query in "[%0-9a-fA-FgG\u{e9}&=+]{0,40}") {
            if let Ok(mut params) = Params::parse(Some(&query)) {
                let _ = params.number("a").and_then(|_| params.finish());
            }
        }
    }
}
