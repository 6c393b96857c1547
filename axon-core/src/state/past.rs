//! The key space as it was at a revision, and the versions of a key.
//!
//! `kv` has the current version of each key, `history` every other one and the tombstones. So what a
//! key was at revision R is its row in `kv`, if that is not younger than R, and otherwise its newest
//! row in `history` that is not; a tombstone, or none, says that it was absent. A range at R is a
//! merge of the two spaces, key by key, in either direction. Invariants:
//!
//! * it is right for every R from the compacted revision to the view's: compaction takes only what
//!   was superseded at or before the compacted revision, which nothing at R shows;
//! * at the view's own revision `history` is not read;
//! * a key costs a handful of steps and two searches at most, however many versions it has;
//! * what a key's history shows is a function of the log and the compacted revision: what compaction
//!   has not swept yet is left out.

use super::merge::Merge;
use super::view::View;
use crate::machine::rows::{self, Version};
use crate::storage::{Result, Row, Space};
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::{Bytes, BytesMut};
use std::cmp::Ordering;
use std::ops::Bound;

/// Kept versions of one key that are stepped over, before a search goes past all of them. A step is
/// several times cheaper than a search, and most keys have few versions.
const STEPS_MAX: u32 = 8;

/// Above all revisions.
const NEVER: Revision = Revision(u64::MAX);

/// A key that a walk came by, with its version at the walk's revision; `None`: absent then.
pub(crate) type Seen = (Bytes, Option<Version>);

impl View {
    /// Reads a key as it was at `at`, which is neither compacted nor in the future.
    pub fn get_at(&self, key: &[u8], at: Revision) -> Result<Option<KeyValue>> {
        let newest = self.get(key)?;
        if at >= self.revision() || newest.as_ref().is_some_and(|pair| pair.mod_revision <= at) {
            return Ok(newest);
        }
        let mut escaped = BytesMut::new();
        rows::put_escaped(&mut escaped, key);
        let kept = newest_kept(self, &escaped, at).and_then(decode_kept);
        let version = kept.inspect_err(|error| self.faults.latch(error))?;
        Ok(version.map(|version| version.with_key(Bytes::copy_from_slice(key))))
    }

    /// Reads the pairs of `range` in key order, at most `items_max` of them and, after the first,
    /// none that would exceed `bytes_max` (keys and values).
    pub fn page(
        &self,
        range: &KeyRange,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>> {
        self.page_at(range, self.revision(), false, items_max, bytes_max)
    }

    /// Reads a page of `range` as it was at `at`, which is neither compacted nor in the future; the
    /// last key first when `reverse` says so.
    pub fn page_at(
        &self,
        range: &KeyRange,
        at: Revision,
        reverse: bool,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>> {
        let mut page = Vec::new();
        let mut bytes_left = bytes_max;
        let mut walk = self.walk(range, at, reverse)?;
        while page.len() < items_max {
            let Some(seen) = walk.next() else { break };
            let (key, Some(version)) = seen? else { continue };
            let pair = version.with_key(key);
            let bytes = pair.key.len() + pair.value.len();
            if bytes > bytes_left && !page.is_empty() {
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes);
            page.push(pair);
        }
        Ok(page)
    }

    /// Reads the versions of `key` that are older than `below` (all of them when `None`), newest
    /// first: each revision that changed the key, with the pair that it left; `None`: it removed
    /// the key.
    ///
    /// These are the changes after the compacted revision, and the one version, if any, that was
    /// current at the compacted revision. A tombstone from then or before is not shown: that the key
    /// was absent goes without saying.
    pub fn history(
        &self,
        key: &[u8],
        below: Option<Revision>,
    ) -> Result<impl Iterator<Item = Result<(Revision, Option<KeyValue>)>> + Send + use<'_>> {
        let (key, compacted) = (Bytes::copy_from_slice(key), self.compacted_revision());
        let below = below.unwrap_or(NEVER);
        let current = self.get(&key)?.map(|pair| Ok((pair.mod_revision, Some(pair))));
        let mut escaped = BytesMut::new();
        rows::put_escaped(&mut escaped, &key);
        // Which version was current at the compacted revision shows only from there.
        let newest = Revision(below.0.saturating_sub(1)).max(compacted);
        let kept = versions_back(self, &escaped, newest)
            .inspect_err(|error| self.faults.latch(error))?
            .map(move |row| {
                let (encoded, row) = row?;
                let (_, revision) = rows::split_history_key(&encoded)?;
                let version = rows::history(&row)?;
                Ok((revision, version.map(|version| version.with_key(key.clone()))))
            });
        let mut versions = current.into_iter().chain(kept);
        let mut ended = false;
        Ok(std::iter::from_fn(move || {
            while !ended {
                let (revision, pair) = match versions.next()? {
                    Ok(version) => version,
                    Err(error) => {
                        self.faults.latch(&error);
                        ended = true;
                        return Some(Err(error));
                    }
                };
                ended = revision <= compacted;
                if revision < below && !(ended && pair.is_none()) {
                    return Some(Ok((revision, pair)));
                }
            }
            None
        }))
    }

    /// Walks through `range` as it was at `at`, which is neither compacted nor in the future. It
    /// tells also of keys that were absent, so that whoever walks can stop between any two.
    pub(crate) fn walk(&self, range: &KeyRange, at: Revision, reverse: bool) -> Result<Walk<'_>> {
        let open = || {
            let (start, end) = (as_slice(&range.start), as_slice(&range.end));
            let present = self.layers().scan(Space::Kv, start, end, reverse)?;
            let past = (at < self.revision()).then(|| Past::open(self, range, at, reverse));
            let escaped = BytesMut::new();
            Ok(Walk { view: self, present, head: None, past: past.transpose()?, escaped })
        };
        open().inspect_err(|error| self.faults.latch(error))
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(AsRef::as_ref)
}

fn decode_kept(row: Option<Bytes>) -> Result<Option<Version>> {
    row.map_or(Ok(None), |row| rows::history(&row))
}

/// Reads the kept versions of a key, those up to `newest`, newest first.
fn versions_back<'a>(
    view: &'a View,
    escaped: &[u8],
    newest: Revision,
) -> Result<impl Iterator<Item = Result<Row>> + Send + use<'a>> {
    let (start, end) = (place(escaped, Revision(0)), place(escaped, newest));
    let (start, end) = (Bound::Included(start.as_ref()), Bound::Included(end.as_ref()));
    Ok(view.layers().scan(Space::History, start, end, true)?.present())
}

/// Reads the newest kept row of a key up to `at`.
fn newest_kept(view: &View, escaped: &[u8], at: Revision) -> Result<Option<Bytes>> {
    let row = versions_back(view, escaped, at)?.next().transpose()?;
    Ok(row.map(|(_, row)| row))
}

/// The history key of a key that is escaped already.
fn place(escaped: &[u8], revision: Revision) -> Bytes {
    [escaped, &revision.0.to_be_bytes()].concat().into()
}

/// Goes through a range, key by key. Ends with the first error.
pub(crate) struct Walk<'a> {
    view: &'a View,
    present: Merge<'a>,
    /// The row of `kv` that comes next, once it was looked for.
    head: Option<(Bytes, Option<Bytes>)>,
    /// `None` at the view's own revision.
    past: Option<Past<'a>>,
    escaped: BytesMut,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<Option<Seen>> {
        let Self { present, head, past, escaped, .. } = self;
        if head.is_none() {
            *head = present.next().transpose()?;
        }
        let Some(past) = past else { return head.take().map(decode_present).transpose() };
        let order = match (&*head, past.peek()?) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(kept)) => {
                escaped.clear();
                rows::put_escaped(escaped, key);
                let order = escaped.as_ref().cmp(kept);
                if past.reverse { order.reverse() } else { order }
            }
        };
        let Some(current) = head.take_if(|_| order.is_le()) else {
            // Gone since, or before: only its history is there.
            let key = past.key()?;
            return Ok(Some((key, past.take(true)?)));
        };
        let (key, version) = decode_present(current)?;
        let current = version.filter(|version| version.mod_revision <= past.at);
        if order.is_lt() {
            return Ok(Some((key, current)));
        }
        let kept = past.take(current.is_none())?;
        Ok(Some((key, current.or(kept))))
    }
}

fn decode_present((key, row): (Bytes, Option<Bytes>)) -> Result<Seen> {
    let version = row.map(|row| rows::version(&row)).transpose()?;
    Ok((key, version))
}

impl Iterator for Walk<'_> {
    type Item = Result<Seen>;

    fn next(&mut self) -> Option<Self::Item> {
        let seen = self.step().transpose()?;
        Some(seen.inspect_err(|error| self.view.faults.latch(error)))
    }
}

/// The rows of `history` beside a walk.
struct Past<'a> {
    view: &'a View,
    at: Revision,
    reverse: bool,
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    kept: Merge<'a>,
    /// The row that comes next, once it was looked for.
    head: Option<Row>,
}

impl<'a> Past<'a> {
    fn open(view: &'a View, range: &KeyRange, at: Revision, reverse: bool) -> Result<Self> {
        let bound = |key: &Bytes, revision| {
            let mut bound = BytesMut::new();
            rows::put_history_key(&mut bound, key, revision);
            bound.freeze()
        };
        let start = match &range.start {
            Bound::Included(key) => Bound::Included(bound(key, Revision(0))),
            Bound::Excluded(key) => Bound::Excluded(bound(key, NEVER)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match &range.end {
            Bound::Included(key) => Bound::Included(bound(key, NEVER)),
            Bound::Excluded(key) => Bound::Excluded(bound(key, Revision(0))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let kept = scan_kept(view, &start, &end, reverse)?;
        Ok(Self { view, at, reverse, start, end, kept, head: None })
    }

    /// The escaped key of the row that comes next.
    fn peek(&mut self) -> Result<Option<&[u8]>> {
        self.fill()?;
        let Some((encoded, _)) = &self.head else { return Ok(None) };
        Ok(Some(rows::split_history_key(encoded)?.0))
    }

    fn fill(&mut self) -> Result<()> {
        while self.head.is_none() {
            match self.kept.next().transpose()? {
                Some((encoded, Some(row))) => self.head = Some((encoded, row)),
                Some((_, None)) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// The key of the row that comes next.
    fn key(&self) -> Result<Bytes> {
        let encoded = self.head.as_ref().map(|(encoded, _)| encoded.as_ref());
        Ok(rows::history_key(encoded.unwrap_or_default())?.0)
    }

    /// Leaves the key of the row that comes next behind; returns its version at the revision, when
    /// that is wanted.
    fn take(&mut self, wanted: bool) -> Result<Option<Version>> {
        let Some((encoded, _)) = &self.head else { return Ok(None) };
        let escaped = encoded.slice(..rows::split_history_key(encoded)?.0.len());
        let mut found = None;
        // Whether the rows to come cannot be the one: forward they grow younger, backward older.
        let mut settled = !wanted;
        for _ in 0..STEPS_MAX {
            let Some((encoded, row)) = self.head.take_if(|(next, _)| is_of(next, &escaped)) else {
                return decode_kept(found);
            };
            let (_, revision) = rows::split_history_key(&encoded)?;
            let visible = revision <= self.at;
            if visible && !settled {
                found = Some(row);
            }
            settled |= visible == self.reverse;
            self.fill()?;
        }
        if self.head.as_ref().is_some_and(|(next, _)| is_of(next, &escaped)) {
            if !settled {
                found = newest_kept(self.view, &escaped, self.at)?;
            }
            self.seek_past(&escaped)?;
        }
        decode_kept(found)
    }

    fn seek_past(&mut self, escaped: &[u8]) -> Result<()> {
        if self.reverse {
            self.end = Bound::Excluded(place(escaped, Revision(0)));
        } else {
            self.start = Bound::Excluded(place(escaped, NEVER));
        }
        self.head = None;
        self.kept = scan_kept(self.view, &self.start, &self.end, self.reverse)?;
        Ok(())
    }
}

/// Whether a history key belongs to a key.
fn is_of(encoded: &[u8], escaped: &[u8]) -> bool {
    encoded.len() == escaped.len() + 8 && encoded.starts_with(escaped)
}

fn scan_kept<'a>(
    view: &'a View,
    start: &Bound<Bytes>,
    end: &Bound<Bytes>,
    reverse: bool,
) -> Result<Merge<'a>> {
    view.layers().scan(Space::History, as_slice(start), as_slice(end), reverse)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::codec;
    use crate::command::{Command, Op};
    use crate::machine::rows::{KeyChange, Kind};
    use crate::runtime::simulation;
    use crate::state::{Position, State, StateConfig, StateEntry};
    use crate::storage::memory::MemState;
    use crate::types::LogIndex;
    use std::sync::Arc;
    use tokio::sync::watch;

    fn simulate<F: Future>(test: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            simulation::begin(1);
            let output = test.await;
            simulation::end();
            output
        })
    }

    /// A state after some puts, and deletes where there is no value.
    fn state(changes: &[(&'static str, Option<String>)]) -> State {
        let (_, durable) = watch::channel(LogIndex(u64::MAX));
        let store = Arc::new(MemState::new());
        let mut state = State::open(store, durable, StateConfig::default()).unwrap();
        let entries: Vec<_> = (1..)
            .zip(changes)
            .map(|(index, (key, value))| {
                let key = Bytes::from_static(key.as_bytes());
                let op = match value.clone() {
                    Some(value) => Op::Put { key, value: value.into() },
                    None => Op::Delete { key },
                };
                let command = Some(codec::encode(&Command { request: None, op }));
                StateEntry { index: LogIndex(index), stamp_millis: index, command }
            })
            .collect();
        let index = LogIndex(entries.len() as u64);
        let opaque = Bytes::from_static(b"opaque");
        let position = Position { index, log_id: opaque.clone(), membership: opaque };
        state.apply(&entries, position).unwrap();
        state
    }

    /// Everything that may be asked of a view whose history is compacted up to `compacted`.
    fn answers(view: &View, compacted: Revision) -> Vec<String> {
        let mut answers = Vec::new();
        for at in (compacted.0..=view.revision().0).map(Revision) {
            for reverse in [false, true] {
                let page = view.page_at(&KeyRange::all(), at, reverse, 99, 9999).unwrap();
                answers.push(format!("at {at}, {reverse}: {page:?}"));
            }
        }
        for key in ["a", "b", "c"] {
            for below in (0..=view.revision().0 + 1).map(Revision) {
                let versions: Vec<_> = view.history(key.as_bytes(), Some(below)).unwrap().collect();
                answers.push(format!("{key} below {below}: {versions:?}"));
            }
        }
        answers
    }

    /// Removes what compaction up to `compacted` leaves behind: what each change superseded, and
    /// the tombstones.
    fn sweep(state: &State, compacted: Revision) -> View {
        let view = state.reader().view();
        let mut core = state.inner.core();
        for change in view.changes(Revision(1)).unwrap() {
            let (revision, changed) = change.unwrap();
            for KeyChange { kind, previous, key } in changed {
                let tombstone = (kind == Kind::Delete).then_some(revision);
                for gone in previous.into_iter().chain(tombstone) {
                    if revision <= compacted {
                        let mut row = BytesMut::new();
                        rows::put_history_key(&mut row, &key, gone);
                        core.sequence += 1;
                        let sequence = core.sequence;
                        core.active.insert(Space::History, row.freeze(), sequence, None);
                    }
                }
            }
        }
        let swept = View { moment: Arc::new(core.moment()), faults: view.faults.clone() };
        swept.with_revisions(compacted, view.revision())
    }

    #[test]
    fn what_is_compacted_is_not_shown_whether_it_is_swept_or_not() {
        simulate(async {
            let put = |text: &str| Some(text.to_owned());
            let changes =
                [("a", put("1")), ("b", put("2")), ("a", put("3")), ("a", None), ("c", put("5"))];
            let later = [("a", put("6")), ("b", None), ("a", put("8")), ("c", put("9"))];
            let changes: Vec<_> = changes.into_iter().chain(later).collect();
            for compacted in (0..=9).map(Revision) {
                let state = state(&changes);
                let view = state.reader().view();
                let unswept = view.with_revisions(compacted, view.revision());
                let swept = sweep(&state, compacted);
                assert_eq!(answers(&unswept, compacted), answers(&swept, compacted));
            }
        });
    }

    #[test]
    fn the_version_that_was_current_when_history_was_compacted_is_the_oldest_shown() {
        simulate(async {
            let put = |text: &str| Some(text.to_owned());
            let changes = [("a", put("1")), ("a", put("2")), ("a", None), ("a", put("4"))];
            let view = state(&changes).reader().view();
            let shown = |compacted, below| {
                let view = view.with_revisions(Revision(compacted), Revision(4));
                let versions = view.history(b"a", below).unwrap();
                versions.map(|version| version.unwrap().0.0).collect::<Vec<_>>()
            };
            assert_eq!(shown(0, None), [4, 3, 2, 1]);
            assert_eq!(shown(1, None), [4, 3, 2, 1], "1 was current at 1");
            assert_eq!(shown(2, None), [4, 3, 2]);
            assert_eq!(shown(3, None), [4], "nothing was there at 3");
            assert_eq!(shown(4, None), [4]);
            assert_eq!(shown(2, Some(Revision(3))), [2]);
            assert_eq!(shown(2, Some(Revision(2))), [0; 0], "1 is gone");
            assert_eq!(shown(4, Some(Revision(4))), [0; 0]);
        });
    }
}
