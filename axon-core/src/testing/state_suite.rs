//! What every [`StateStore`] must do, as a suite: [`check_state`].
//!
//! Run it from a test with a function that makes an empty store; it panics at the first promise of
//! the contract that is not kept.

use crate::storage::{RowChange, Space, StateStore, StateView};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Model = BTreeMap<(Space, Bytes), Bytes>;

/// Checks a state store against the contract.
///
/// `empty` makes an empty store. `reopen` makes what a restart makes of a store; a store that does
/// not outlive its process returns what it was given.
///
/// # Panics
/// When a promise is not kept; the message names it.
pub fn check_state<S: StateStore>(mut empty: impl FnMut() -> S, mut reopen: impl FnMut(S) -> S) {
    a_new_store_is_empty(&empty());
    rows_are_put_replaced_and_removed(&empty());
    spaces_do_not_share_keys(&empty());
    ranges_keep_their_bounds(&empty());
    a_view_never_changes(&empty());
    keys_and_values_may_be_any_bytes(&empty());
    many_commits_agree_with_a_map(&empty());
    a_replacement_takes_the_place_of_all(&empty());
    a_dropped_replacement_changes_nothing(&empty());

    let store = empty();
    let model = fill(&store, 250);
    assert_eq!(all(&store), model, "before a restart");
    let store = reopen(store);
    assert_eq!(all(&store), model, "a commit outlives a restart");
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(space: Space, key: &str, value: &str) -> RowChange {
    RowChange { space, key: bytes(key), value: Some(bytes(value)) }
}

fn remove(space: Space, key: &str) -> RowChange {
    RowChange { space, key: bytes(key), value: None }
}

fn commit(store: &impl StateStore, changes: &[RowChange]) {
    store.commit(&mut changes.iter().cloned()).expect("a commit of sorted changes succeeds");
}

fn view(store: &impl StateStore) -> Arc<dyn StateView> {
    store.view().expect("a view opens")
}

fn get(view: &dyn StateView, space: Space, key: &[u8]) -> Option<Bytes> {
    view.get(space, key).expect("a read of a sound store succeeds")
}

fn scan(
    view: &dyn StateView,
    space: Space,
    start: Bound<&[u8]>,
    end: Bound<&[u8]>,
    reverse: bool,
) -> Vec<(Bytes, Bytes)> {
    let rows = view.scan(space, start, end, reverse).expect("a scan begins");
    rows.map(|row| row.expect("a row of a sound store is read")).collect()
}

fn all_of(view: &dyn StateView) -> Model {
    let mut model = Model::new();
    for space in Space::ALL {
        for (key, value) in scan(view, space, Bound::Unbounded, Bound::Unbounded, false) {
            assert_eq!(get(view, space, &key), Some(value.clone()), "get agrees with scan");
            assert!(model.insert((space, key), value).is_none(), "a scan gives a key once");
        }
    }
    model
}

fn all(store: &impl StateStore) -> Model {
    all_of(&*view(store))
}

/// A few hundred commits' worth of rows, the same for every store.
fn fill(store: &impl StateStore, rounds: u64) -> Model {
    let mut model = Model::new();
    let mut dice = 7_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for round in 0..rounds {
        let mut batch = BTreeMap::new();
        for _ in 0..=roll(6) {
            let space = Space::ALL[roll(5) as usize];
            let key = bytes(&format!("key-{:04}", roll(900)));
            let value = (roll(4) > 0).then(|| bytes(&"v".repeat(roll(40) as usize)));
            batch.insert((space, key), value);
        }
        let changes: Vec<_> = batch
            .into_iter()
            .map(|((space, key), value)| RowChange { space, key, value })
            .collect();
        for RowChange { space, key, value } in &changes {
            match value {
                Some(value) => model.insert((*space, key.clone()), value.clone()),
                None => model.remove(&(*space, key.clone())),
            };
        }
        commit(store, &changes);
        if round % 100 == 0 {
            assert_eq!(all(store), model, "after commit {round}");
        }
    }
    model
}

fn a_new_store_is_empty(store: &impl StateStore) {
    assert!(all(store).is_empty(), "a new store is empty");
    assert_eq!(get(&*view(store), Space::Kv, b"k"), None);
}

fn rows_are_put_replaced_and_removed(store: &impl StateStore) {
    commit(store, &[put(Space::Kv, "a", "1"), put(Space::Kv, "b", "1")]);
    commit(store, &[put(Space::Kv, "a", "2"), remove(Space::Kv, "b"), remove(Space::Kv, "c")]);
    let expected = Model::from([((Space::Kv, bytes("a")), bytes("2"))]);
    assert_eq!(all(store), expected, "put replaces, None removes, removing nothing is nothing");
    commit(store, &[]);
    assert_eq!(all(store), expected, "an empty commit changes nothing");
}

fn spaces_do_not_share_keys(store: &impl StateStore) {
    let changes: Vec<_> =
        Space::ALL.iter().map(|space| put(*space, "k", &format!("{space:?}"))).collect();
    commit(store, &changes);
    for space in Space::ALL {
        assert_eq!(get(&*view(store), space, b"k"), Some(bytes(&format!("{space:?}"))));
    }
}

fn ranges_keep_their_bounds(store: &impl StateStore) {
    let changes: Vec<_> = ["a", "b", "ba", "c", "d"].map(|key| put(Space::Kv, key, key)).into();
    commit(store, &changes);
    let view = view(store);
    let keys = |start, end, reverse| {
        let rows = scan(&*view, Space::Kv, start, end, reverse);
        let keys: Vec<_> = rows.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
        keys.join(" ")
    };
    let (b, c): (&[u8], &[u8]) = (b"b", b"c");
    assert_eq!(keys(Bound::Unbounded, Bound::Unbounded, false), "a b ba c d");
    assert_eq!(keys(Bound::Unbounded, Bound::Unbounded, true), "d c ba b a");
    assert_eq!(keys(Bound::Included(b), Bound::Included(c), false), "b ba c");
    assert_eq!(keys(Bound::Excluded(b), Bound::Excluded(c), false), "ba");
    assert_eq!(keys(Bound::Excluded(b), Bound::Unbounded, true), "d c ba");
    assert_eq!(keys(Bound::Unbounded, Bound::Excluded(b), false), "a");
    assert_eq!(keys(Bound::Included(c), Bound::Included(b), false), "", "end before start");
    assert_eq!(keys(Bound::Excluded(b), Bound::Excluded(b), false), "", "nothing between");
    assert_eq!(keys(Bound::Included(b), Bound::Included(b), false), "b");
}

fn a_view_never_changes(store: &impl StateStore) {
    commit(store, &[put(Space::Kv, "a", "1")]);
    let before = view(store);
    commit(store, &[put(Space::Kv, "a", "2"), put(Space::Kv, "b", "2")]);
    let mut replacement = store.replace().expect("a replacement begins");
    replacement.put(Space::Kv, b"z", b"3").expect("a row is loaded");
    replacement.finish().expect("a replacement is finished");
    let expected = Model::from([((Space::Kv, bytes("a")), bytes("1"))]);
    assert_eq!(all_of(&*before), expected, "a view shows its moment");
    assert_eq!(all(store), Model::from([((Space::Kv, bytes("z")), bytes("3"))]));
}

fn keys_and_values_may_be_any_bytes(store: &impl StateStore) {
    let long = vec![0xff; 8 << 10];
    let big = vec![0xa5; 3 << 20];
    let mut keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    keys.extend([vec![0, 0], vec![0, 255], vec![255, 0], long]);
    keys.sort();
    let changes: Vec<_> = keys
        .iter()
        .map(|key| RowChange {
            space: Space::History,
            key: Bytes::copy_from_slice(key),
            value: Some(Bytes::copy_from_slice(if key.len() == 1 { b"" } else { &big })),
        })
        .collect();
    commit(store, &changes);
    let rows = scan(&*view(store), Space::History, Bound::Unbounded, Bound::Unbounded, false);
    assert!(rows.iter().map(|(key, _)| key).eq(&keys), "keys are sorted as bytes");
    assert!(rows.iter().zip(&changes).all(|(row, change)| Some(&row.1) == change.value.as_ref()));
}

fn many_commits_agree_with_a_map(store: &impl StateStore) {
    let model = fill(store, 150);
    assert_eq!(all(store), model);
    let view = view(store);
    for space in Space::ALL {
        let mut forward = scan(&*view, space, Bound::Unbounded, Bound::Unbounded, false);
        let backward = scan(&*view, space, Bound::Unbounded, Bound::Unbounded, true);
        forward.reverse();
        assert_eq!(forward, backward, "a reverse scan is a scan, reversed");
    }
}

fn a_replacement_takes_the_place_of_all(store: &impl StateStore) {
    fill(store, 50);
    let mut replacement = store.replace().expect("a replacement begins");
    let mut model = Model::new();
    for space in Space::ALL {
        for number in 0..1_000 {
            let (key, value) = (format!("new-{number:04}"), "x".repeat(number % 900));
            replacement.put(space, key.as_bytes(), value.as_bytes()).expect("a row is loaded");
            model.insert((space, bytes(&key)), bytes(&value));
        }
    }
    replacement.finish().expect("a replacement is finished");
    assert_eq!(all(store), model, "nothing old is left, nothing new is missing");
    commit(store, &[put(Space::Kv, "after", "1")]);
    assert_eq!(get(&*view(store), Space::Kv, b"after"), Some(bytes("1")));
}

fn a_dropped_replacement_changes_nothing(store: &impl StateStore) {
    let model = fill(store, 50);
    let mut replacement = store.replace().expect("a replacement begins");
    replacement.put(Space::Kv, b"never", b"seen").expect("a row is loaded");
    drop(replacement);
    assert_eq!(all(store), model);
    let again = store.replace().expect("another one may begin");
    drop(again);
}
