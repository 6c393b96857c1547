//! Reads of the past: ranges in both directions, single keys and histories, against a model that
//! keeps the whole key space of every revision.

use crate::support::{Replica, anyone, put, settle, simulate};
use axon_core::command::Op;
use axon_core::state::View;
use axon_core::storage::memory::MemState;
use axon_core::storage::{Replacement, Result, RowChange, Rows, Space, StateStore, StateView};
use axon_core::types::{KeyRange, KeyValue, LogIndex, Revision};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prefixes of each other, with the bytes that the layout of history escapes, and their neighbours.
const KEYS: [&[u8]; 14] = [
    b"\0",
    b"\0\0",
    b"\0\x01",
    b"\0\xff",
    b"\x01",
    b"a",
    b"a\0",
    b"a\0\0",
    b"a\0\xff",
    b"a\x01",
    b"ab",
    b"b",
    b"\xff",
    b"\xff\xff",
];

/// The key space after each revision, from 0 on.
struct Model(Vec<BTreeMap<Bytes, KeyValue>>);

impl Model {
    fn new() -> Self {
        Self(vec![BTreeMap::new()])
    }

    fn revision(&self) -> Revision {
        Revision(self.0.len() as u64 - 1)
    }

    fn now(&self) -> &BTreeMap<Bytes, KeyValue> {
        &self.0[self.0.len() - 1]
    }

    fn put(&mut self, key: &Bytes, value: &Bytes) {
        let (mut next, revision) = (self.now().clone(), self.revision().next());
        let former = next.get(key);
        let pair = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: former.map_or(revision, |former| former.create_revision),
            mod_revision: revision,
            version: former.map_or(1, |former| former.version + 1),
        };
        next.insert(key.clone(), pair);
        self.0.push(next);
    }

    fn delete(&mut self, key: &Bytes) {
        let mut next = self.now().clone();
        if next.remove(key).is_some() {
            self.0.push(next);
        }
    }

    fn at(&self, revision: Revision) -> &BTreeMap<Bytes, KeyValue> {
        &self.0[revision.0 as usize]
    }

    fn page(&self, range: &KeyRange, at: Revision, reverse: bool) -> Vec<KeyValue> {
        let within = self.at(at).values().filter(|pair| range.contains(&pair.key)).cloned();
        let mut page: Vec<_> = within.collect();
        if reverse {
            page.reverse();
        }
        page
    }

    /// What each revision that `view` keeps made of `key`, newest first.
    fn history(&self, key: &[u8], view: &View) -> Vec<(Revision, Option<KeyValue>)> {
        let left = |revision: u64| self.at(Revision(revision)).get(key).cloned();
        let compacted = view.compacted_revision();
        let changed = (compacted.0 + 1..=view.revision().0)
            .rev()
            .filter(|revision| left(*revision) != left(*revision - 1))
            .map(|revision| (Revision(revision), left(revision)));
        let oldest = left(compacted.0).map(|pair| (pair.mod_revision, Some(pair)));
        changed.chain(oldest).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Puts the key so many times.
    Put(usize, u8),
    Delete(usize),
    /// Freezes the overlay; what follows is in another one.
    Freeze,
    Checkpoint,
    /// Keeps a view of now, to be read at the end.
    Hold,
    /// Forgets what is older than a revision that is there.
    Compact(prop::sample::Index),
    /// Takes away what so many revisions superseded.
    Sweep(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![0..KEYS.len(), Just(6_usize)];
    prop_oneof![
        6 => (key.clone(), 1_u8..14).prop_map(|(key, times)| Step::Put(key, times)),
        3 => key.prop_map(Step::Delete),
        1 => Just(Step::Freeze),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Hold),
        1 => any::<prop::sample::Index>().prop_map(Step::Compact),
        1 => (1_u64..30).prop_map(Step::Sweep),
    ]
}

fn any_bound() -> impl Strategy<Value = Bound<Bytes>> {
    let key = prop_oneof![
        (0..KEYS.len()).prop_map(|key| Bytes::from_static(KEYS[key])),
        vec(prop_oneof![Just(0_u8), Just(b'a'), Just(0xff)], 0..3).prop_map(Bytes::from),
    ];
    prop_oneof![
        2 => key.clone().prop_map(Bound::Included),
        2 => key.prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

type Question = (KeyRange, prop::sample::Index, bool, usize);

fn any_question() -> impl Strategy<Value = Question> {
    (any_bound(), any_bound(), any::<prop::sample::Index>(), any::<bool>(), 1_usize..6)
        .prop_map(|(start, end, at, reverse, limit)| (KeyRange { start, end }, at, reverse, limit))
}

async fn play(replica: &mut Replica, model: &mut Model, steps: &[Step]) -> Vec<View> {
    let mut held = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Put(key, times) => {
                let key = Bytes::from_static(KEYS[*key]);
                let values = (0..*times).map(|time| Bytes::from(format!("{number}.{time}")));
                let puts: Vec<_> = values
                    .map(|value| {
                        model.put(&key, &value);
                        anyone(Op::Put { key: key.clone(), value })
                    })
                    .collect();
                replica.apply(&puts);
            }
            Step::Delete(key) => {
                let key = Bytes::from_static(KEYS[*key]);
                model.delete(&key);
                replica.apply(&[anyone(Op::Delete { key })]);
            }
            Step::Freeze => {
                replica.durable.send_replace(LogIndex(0));
                let checkpointer = replica.state.checkpointer();
                tokio::spawn(async move { checkpointer.checkpoint_now().await });
                settle().await;
            }
            Step::Checkpoint => {
                replica.durable.send_replace(LogIndex(u64::MAX));
                replica.checkpoint().await;
            }
            Step::Hold => held.push(replica.reader().view()),
            Step::Compact(upto) => {
                let upto = Revision(upto.index(model.0.len()) as u64);
                replica.apply(&[anyone(Op::Compact { upto })]);
            }
            Step::Sweep(limit) => drop(replica.apply(&[anyone(Op::Sweep { limit: *limit })])),
        }
    }
    held.push(replica.reader().view());
    held
}

fn check(view: &View, model: &Model, (range, at, reverse, limit): &Question) {
    let (oldest, newest) = (view.compacted_revision().0, view.revision().0);
    let at = Revision(oldest + at.index((newest - oldest) as usize + 1) as u64);
    let expected = model.page(range, at, *reverse);
    let all = view.page_at(range, at, *reverse, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all, expected, "{range:?} at {at}, reverse: {reverse}");
    let some = view.page_at(range, at, *reverse, *limit, usize::MAX).unwrap();
    assert_eq!(some, expected[..expected.len().min(*limit)]);
    for key in KEYS {
        assert_eq!(
            view.get_at(key, at).unwrap().as_ref(),
            model.at(at).get(key),
            "{key:?} at {at}"
        );
    }
}

fn check_history(view: &View, model: &Model, below: prop::sample::Index) {
    let below = Revision(below.index(view.revision().0 as usize + 2) as u64);
    for key in KEYS {
        let read =
            |below| view.history(key, below).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        let expected = model.history(key, view);
        assert_eq!(read(None), expected, "{key:?}");
        let older: Vec<_> = expected.into_iter().filter(|(made, _)| *made < below).collect();
        assert_eq!(read(Some(below)), older, "{key:?} below {below}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 96, ..ProptestConfig::default()
    })]

    #[test]
    fn every_kept_revision_reads_as_it_was_in_both_directions(
        steps in vec(any_step(), 1..40),
        questions in vec(any_question(), 12),
        below in any::<prop::sample::Index>(),
    ) {
        simulate(async {
            let (mut replica, mut model) = (Replica::open(MemState::new()).unwrap(), Model::new());
            let views = play(&mut replica, &mut model, &steps).await;
            assert_eq!(views[views.len() - 1].revision(), model.revision());
            for view in &views {
                for question in &questions {
                    check(view, &model, question);
                }
                check_history(view, &model, below);
            }
        });
    }
}

/// A store that counts the rows of history that are read from it.
#[derive(Clone, Default)]
struct Counting {
    store: MemState,
    read: Arc<AtomicU64>,
}

struct CountingView {
    view: Arc<dyn StateView>,
    read: Arc<AtomicU64>,
}

impl StateStore for Counting {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        Ok(Arc::new(CountingView { view: self.store.view()?, read: self.read.clone() }))
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        self.store.commit(changes)
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        self.store.replace()
    }

    fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }
}

impl StateView for CountingView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.view.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<Rows<'_>> {
        let rows = self.view.scan(space, start, end, reverse)?;
        let counts = space == Space::History;
        Ok(Box::new(rows.inspect(move |_| {
            self.read.fetch_add(u64::from(counts), Ordering::Relaxed);
        })))
    }
}

#[test]
fn however_many_versions_a_key_has_a_handful_is_read() {
    simulate(async {
        let store = Counting::default();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&[put("a", "1")]);
        replica.apply(&(0..3_000).map(|number| put("b", &number.to_string())).collect::<Vec<_>>());
        replica.apply(&[put("c", "1")]);
        replica.checkpoint().await;
        let view = replica.reader().view();
        for (at, reverse) in [(1, false), (1_500, false), (3_001, false), (1, true), (1_500, true)]
        {
            store.read.store(0, Ordering::Relaxed);
            let page = view.page_at(&KeyRange::all(), Revision(at), reverse, 9, 9_999).unwrap();
            assert_eq!(page.len(), 1 + usize::from(at > 1), "c is younger");
            let read = store.read.load(Ordering::Relaxed);
            assert!(read <= 12, "{read} rows for the versions of one key");
            assert_eq!(view.get_at(b"b", Revision(at)).unwrap().is_some(), at > 1);
        }
        store.read.store(0, Ordering::Relaxed);
        assert_eq!(view.page(&KeyRange::all(), 9, 9_999).unwrap().len(), 3);
        assert_eq!(store.read.load(Ordering::Relaxed), 0, "now needs no history");
    });
}
