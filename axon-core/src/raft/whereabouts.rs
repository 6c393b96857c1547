//! Where members are: by the log, and by what they said of themselves since.
//!
//! The log names the address that a member announced to a leader. When it comes back elsewhere and there
//! is no leader to tell, the log is behind, and only hearsay knows better. So the latest news wins,
//! from either side: a word that was said before, and is merely repeated, is no news. A wrong address does no
//! harm, since a dial names the id that must answer.

use crate::types::NodeId;
use std::collections::BTreeMap;

/// Where each member is.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts(BTreeMap<NodeId, Known>);

#[derive(Debug)]
struct Known {
    by_log: String,
    /// With the start of the member that said so: greater is later.
    by_hearsay: Option<(u64, String)>,
    now: String,
}

impl Whereabouts {
    /// Takes down what the log says: these are the members.
    pub(crate) fn note(&mut self, members: BTreeMap<NodeId, String>) {
        self.0.retain(|id, _| members.contains_key(id));
        for (id, by_log) in members {
            match self.0.get_mut(&id) {
                Some(known) if known.by_log == by_log => {}
                Some(known) => {
                    known.now.clone_from(&by_log);
                    known.by_log = by_log;
                }
                None => {
                    let now = by_log.clone();
                    self.0.insert(id, Known { by_log, by_hearsay: None, now });
                }
            }
        }
    }

    /// Takes down what a living replica said of itself. Ignored for one that is no member.
    pub(crate) fn hear(&mut self, id: NodeId, generation: u64, address: &str) {
        let Some(known) = self.0.get_mut(&id) else { return };
        let news = known.by_hearsay.as_ref().is_none_or(|(before, _)| *before < generation);
        if news {
            known.by_hearsay = Some((generation, address.to_owned()));
            address.clone_into(&mut known.now);
        }
    }

    /// Where `id` is now.
    pub(crate) fn of(&self, id: NodeId) -> Option<&str> {
        self.0.get(&id).map(|known| known.now.as_str())
    }

    /// Where `id` is now, for somebody who was told `address`: that, unless it is what the log says
    /// and there is later news.
    pub(crate) fn instead_of<'a>(&'a self, id: NodeId, address: &'a str) -> &'a str {
        self.0.get(&id).filter(|known| known.by_log == address).map_or(address, |known| &known.now)
    }

    /// Who is at `address`.
    pub(crate) fn who(&self, address: &str) -> Option<NodeId> {
        self.0.iter().find(|(_, known)| known.now == address).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ONE: NodeId = NodeId(1);

    fn noted(address: &str) -> BTreeMap<NodeId, String> {
        BTreeMap::from([(ONE, address.into())])
    }

    #[test]
    fn the_latest_news_wins_and_a_repetition_is_no_news() {
        let mut table = Whereabouts::default();
        table.hear(ONE, 9, "nobody");
        assert_eq!(table.of(ONE), None, "hearsay makes no members");
        table.note(noted("a"));
        assert_eq!(table.of(ONE), Some("a"));
        table.hear(ONE, 10, "b");
        table.note(noted("a"));
        assert_eq!(table.of(ONE), Some("b"));
        table.note(noted("c"));
        table.hear(ONE, 10, "b");
        assert_eq!(table.of(ONE), Some("c"), "it moved again, and told a leader");
        table.hear(ONE, 11, "d");
        table.hear(ONE, 10, "b");
        assert_eq!(table.of(ONE), Some("d"), "an earlier start is late news");
        table.note(BTreeMap::new());
        assert_eq!(table.of(ONE), None);
    }

    #[test]
    fn hearsay_stands_in_for_the_logs_word_alone() {
        let mut table = Whereabouts::default();
        table.note(noted("a"));
        table.hear(ONE, 1, "b");
        assert_eq!(table.instead_of(ONE, "a"), "b");
        assert_eq!(table.instead_of(ONE, "told by a member"), "told by a member");
        assert_eq!(table.instead_of(NodeId(2), "a"), "a");
        assert_eq!((table.who("b"), table.who("a")), (Some(ONE), None));
    }
}
