//! What every node must hold: the pairs that were acknowledged, and those that may be there.
//!
//! A put without an answer, or with one that leaves its outcome open, may have happened or not, and
//! may still happen; it is never assumed absent. Keys are put once in a run, so that a value that
//! was never sent under its key is a violation wherever it shows up.

use super::Check;
use crate::ensure;
use std::collections::BTreeMap;

/// The pairs of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    acknowledged: BTreeMap<String, String>,
    unknown: BTreeMap<String, String>,
}

impl Ledger {
    /// Notes an acknowledged put.
    pub fn acknowledge(&mut self, key: String, value: String) {
        self.unknown.remove(&key);
        self.acknowledged.insert(key, value);
    }

    /// Notes a put whose outcome is open.
    pub fn suspect(&mut self, key: String, value: String) {
        if !self.acknowledged.contains_key(&key) {
            self.unknown.insert(key, value);
        }
    }

    /// Takes over everything that `other` knows.
    pub fn merge(&mut self, other: Self) {
        other.acknowledged.into_iter().for_each(|(key, value)| self.acknowledge(key, value));
        other.unknown.into_iter().for_each(|(key, value)| self.suspect(key, value));
    }

    /// Takes over everything that `other` knows as what may be there or not.
    pub fn doubt(&mut self, other: Self) {
        for (key, value) in other.acknowledged.into_iter().chain(other.unknown) {
            self.suspect(key, value);
        }
    }

    /// The acknowledged pairs.
    pub fn acknowledged(&self) -> &BTreeMap<String, String> {
        &self.acknowledged
    }

    /// How many puts are in doubt.
    pub fn unknown_len(&self) -> usize {
        self.unknown.len()
    }

    /// Checks that each pair of `dump` was once sent: what even a stale node owes.
    pub fn check_genuine(&self, dump: &BTreeMap<String, String>) -> Check {
        for (key, value) in dump {
            let sent = self.acknowledged.get(key).or_else(|| self.unknown.get(key));
            ensure!(sent.is_some(), "holds {key:?}, which was never put");
            ensure!(
                sent == Some(value),
                "holds another value under {key:?}: {:?} instead of {:?}",
                value.chars().take(80).collect::<String>(),
                sent.map(|sent| sent.chars().take(80).collect::<String>()),
            );
        }
        Ok(())
    }

    /// Checks that `dump` is genuine and lacks nothing that was acknowledged.
    pub fn check_complete(&self, dump: &BTreeMap<String, String>) -> Check {
        self.check_genuine(dump)?;
        let missing: Vec<_> =
            self.acknowledged.keys().filter(|key| !dump.contains_key(*key)).collect();
        ensure!(
            missing.is_empty(),
            "lacks {} of {} acknowledged pairs, {:?} among them",
            missing.len(),
            self.acknowledged.len(),
            missing[0],
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.acknowledge("a".into(), "1".into());
        ledger.suspect("b".into(), "2".into());
        ledger
    }

    fn dump(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_put_in_doubt_may_be_there_or_not() {
        assert_eq!(ledger().check_complete(&dump(&[("a", "1")])), Ok(()));
        assert_eq!(ledger().check_complete(&dump(&[("a", "1"), ("b", "2")])), Ok(()));
    }

    #[test]
    fn a_missing_acknowledged_pair_is_a_violation() {
        assert!(ledger().check_complete(&dump(&[("b", "2")])).is_err());
        assert_eq!(ledger().check_genuine(&dump(&[("b", "2")])), Ok(()));
    }

    #[test]
    fn a_value_or_key_that_was_never_sent_is_a_violation() {
        assert!(ledger().check_genuine(&dump(&[("a", "2")])).is_err());
        assert!(ledger().check_genuine(&dump(&[("b", "1")])).is_err());
        assert!(ledger().check_genuine(&dump(&[("c", "1")])).is_err());
    }

    #[test]
    fn an_acknowledgement_settles_a_doubt_and_not_the_other_way() {
        let mut ledger = ledger();
        ledger.acknowledge("b".into(), "2".into());
        ledger.suspect("b".into(), "2".into());
        assert_eq!((ledger.acknowledged().len(), ledger.unknown_len()), (2, 0));
    }
}
