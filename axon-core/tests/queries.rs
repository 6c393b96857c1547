//! Ranges, listings, streams and snapshots as a service sees them, through a running replica.

#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::Origin;
use axon_core::error::Error;
use axon_core::store::{Child, Cursor, Listing, PAGE_BYTES_MAX, Query, ReadConsistency};
use axon_core::transport::memory::{Cut, MemNetwork};
use axon_core::types::{KeyRange, KeyValue, Revision};
use axon_core::{Cluster, Config, Store};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_mins(1);
/// Writes in flight while a store is filled.
const IN_FLIGHT: usize = 1_000;

/// A replica in memory, alone.
async fn alone() -> (Cluster, Store) {
    let config = Config { data_dir: None, origin: Origin::Init(None), ..Config::default() };
    let cluster = Cluster::start(config).await.unwrap();
    cluster.wait_ready(DEADLINE).await.unwrap();
    let store = cluster.store().with_timeout(DEADLINE);
    (cluster, store)
}

async fn fill(store: &Store, keys: impl IntoIterator<Item = String>) {
    let puts = keys.into_iter().map(|key| {
        let store = store.clone();
        async move {
            let value = format!("value of {key}");
            store.put(key, value).await.map(drop)
        }
    });
    stream::iter(puts).buffer_unordered(IN_FLIGHT).try_collect::<()>().await.unwrap();
}

/// Reads page after page; all must be of one revision, and full but the last.
async fn pages(query: Query, limit: usize) -> (Revision, Vec<KeyValue>) {
    let query = query.limit(limit);
    let (mut pairs, mut cursor, mut shown) = (Vec::new(), None::<Cursor>, None);
    loop {
        // A client keeps the text of a cursor.
        let text = cursor.map(|cursor| cursor.to_string());
        let next = text.map(|text| text.parse::<Cursor>().unwrap());
        let page = match next {
            Some(next) => query.clone().cursor(next).page().await.unwrap(),
            None => query.clone().page().await.unwrap(),
        };
        assert_eq!(*shown.get_or_insert(page.revision), page.revision);
        assert!(page.items.len() == limit || page.next.is_none());
        pairs.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return (shown.unwrap(), pairs);
        }
    }
}

async fn streamed(query: Query) -> Vec<KeyValue> {
    query.stream().await.unwrap().try_collect().await.unwrap()
}

fn key(number: u32) -> String {
    format!("{}/{number:06}", number % 4)
}

/// Overwrites, removes and adds keys all over the place, until it is told to stop.
async fn disturb(store: Store, stop: Arc<AtomicBool>) -> u32 {
    let mut writes = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let wave = (0..64).map(|_| {
            writes += 1;
            let number = writes.wrapping_mul(7_919) % 100_000;
            let (store, which) = (store.clone(), writes % 3);
            async move {
                match which {
                    0 => store.delete(key(number)).await.map(drop),
                    1 => store.put(key(number), "overwritten").await.map(drop),
                    _ => store.put(key(number) + "+", "added").await.map(drop),
                }
            }
        });
        stream::iter(wave).buffer_unordered(64).try_collect::<()>().await.unwrap();
    }
    writes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_many_keys_show_the_first_ones_revision_while_writes_go_on() {
    let (cluster, store) = alone().await;
    fill(&store, (0..100_000).map(key)).await;
    let expected: BTreeSet<String> = (0..100_000).map(key).collect();
    let check = |pairs: &[KeyValue], reverse: bool| {
        let keys: Vec<_> = pairs.iter().map(|pair| pair.key.as_ref()).collect();
        if reverse {
            assert!(expected.iter().rev().map(String::as_bytes).eq(keys));
        } else {
            assert!(expected.iter().map(String::as_bytes).eq(keys));
        }
        for KeyValue { key, value, version, .. } in pairs {
            assert_eq!(*version, 1);
            assert_eq!(value.as_ref(), [b"value of ", key.as_ref()].concat());
        }
    };
    let begun = store.range(KeyRange::all()).limit(1).page().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let disturber = tokio::spawn(disturb(store.clone(), stop.clone()));

    let at = begun.revision;
    let (shown, forward) = pages(store.range(KeyRange::all()).at(at), 1_000).await;
    assert_eq!(shown, at);
    check(&forward, false);
    let rest = store.range(KeyRange::all()).cursor(begun.next.unwrap());
    assert!(streamed(rest).await == forward[1..]);
    let back = pages(store.range(KeyRange::all()).at(at).reverse(), 10_000).await.1;
    check(&back, true);
    assert!(streamed(store.range(KeyRange::all()).at(at).reverse()).await == back);
    assert_eq!(store.range(KeyRange::all()).at(at).count().await.unwrap().count, 100_000);
    // One folder more than a child counts.
    let folders = store.prefix("").at(at).list("/").await.unwrap();
    assert_eq!(folders.children.len(), 4);
    assert!(folders.children.iter().all(|child| child.count == Child::COUNT_MAX));

    stop.store(true, Ordering::Relaxed);
    assert!(disturber.await.unwrap() > 1_000);
    let now = streamed(store.range(KeyRange::all())).await;
    assert!(now != forward);
    let counted = store.range(KeyRange::all()).count().await.unwrap();
    assert_eq!(counted.count, now.len() as u64);
    assert_eq!(counted, store.range(KeyRange::all()).at(counted.revision).count().await.unwrap());
    let walked = KeyRange { start: Bound::Included("\0".into()), end: Bound::Unbounded };
    assert_eq!(store.range(walked).count().await.unwrap().count, counted.count);
    cluster.shutdown().await.unwrap();
}

/// What a folder holds, in the order asked for, the model's way.
fn folder(keys: &BTreeSet<String>, prefix: &str, delimiter: &str, reverse: bool) -> Vec<String> {
    let mut entries: BTreeMap<String, u64> = BTreeMap::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        match key[prefix.len()..].find(delimiter) {
            Some(at) => {
                let child = &key[..prefix.len() + at + delimiter.len()];
                *entries.entry(format!("{child} *")).or_default() += 1;
            }
            None => drop(entries.insert(key.clone(), 0)),
        }
    }
    let entries = entries.into_iter().map(|(name, count)| format!("{name}{count}"));
    if reverse { entries.rev().collect() } else { entries.collect() }
}

/// The entries of a listing's pages in order, each page of `limit` items and children.
async fn listed(query: Query, delimiter: &'static str, limit: usize) -> Vec<String> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    loop {
        let query = match cursor.take() {
            Some(cursor) => query.clone().limit(limit).cursor(cursor),
            None => query.clone().limit(limit),
        };
        let Listing { items, children, next, .. } = query.list(delimiter).await.unwrap();
        assert!(items.len() + children.len() == limit || next.is_none());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        entries.extend(items.iter().map(|pair| text(&pair.key) + "0"));
        entries.extend(
            children.iter().map(|child| format!("{} *{}", text(&child.prefix), child.count)),
        );
        cursor = next;
        if cursor.is_none() {
            return entries;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_listed_in_pages_of_any_size_in_both_directions() {
    let (cluster, store) = alone().await;
    let parts = ["", "a", "b", "ab", "~"];
    let mut keys = BTreeSet::new();
    for (one, two, three) in triples(parts) {
        keys.extend([
            format!("{one}/{two}"),
            format!("{one}/{two}/{three}"),
            format!("{two}::{one}"),
        ]);
    }
    fill(&store, keys.iter().cloned()).await;
    let at = store.snapshot().await.unwrap().revision();
    // What comes later must not show.
    fill(&store, ["a/new".to_owned(), "new/a".to_owned()]).await;
    store.delete("a/").await.unwrap();

    for (prefix, delimiter) in
        [("", "/"), ("a", "/"), ("a/", "/"), ("/", "/"), ("", "::"), ("x", "/")]
    {
        for reverse in [false, true] {
            let query = store.prefix(prefix).at(at);
            let query = if reverse { query.reverse() } else { query };
            let expected = folder(&keys, prefix, delimiter, reverse);
            for limit in [1, 2, 7, 1_000] {
                let mut entries = listed(query.clone(), delimiter, limit).await;
                if limit > 1 {
                    // A page tells items and children apart; between them, order is lost.
                    entries.sort();
                    let mut expected = expected.clone();
                    expected.sort();
                    assert_eq!(entries, expected, "{prefix:?} by {delimiter:?} in {limit}s");
                } else {
                    assert_eq!(entries, expected, "{prefix:?} by {delimiter:?}, one by one");
                }
            }
        }
    }
    for query in [store.range(KeyRange::key("a")), store.range(KeyRange::all())] {
        let delimiter = if query.clone().list("/").await.is_ok() { "" } else { "/" };
        let refused = query.list(delimiter).await.unwrap_err();
        assert!(matches!(refused, Error::Config(_)), "{refused}");
    }
    cluster.shutdown().await.unwrap();
}

fn triples(parts: [&'static str; 5]) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut all = Vec::new();
    for one in parts {
        for two in parts {
            all.extend(parts.map(|three| (one, two, three)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_keeps_its_limits() {
    let (cluster, store) = alone().await;
    for key in ["a", "b", "c", "d"] {
        store.put(key, vec![b'v'; 1_000]).await.unwrap();
    }
    let all = || store.range(KeyRange::all());
    let none = all().limit(0).page().await.unwrap_err();
    assert!(matches!(none, Error::Config(_)), "{none}");
    let many = all().limit(10_001).page().await.unwrap_err();
    assert!(matches!(many, Error::TooMany { limit: 10_000, .. }), "{many}");
    assert!(all().limit(10_000).bytes_max(usize::MAX).page().await.is_ok(), "clamped");
    assert!(all().limit(10_001).list("/").await.is_err());

    let two = all().bytes_max(2_500).page().await.unwrap();
    assert_eq!((two.items.len(), two.next.is_some()), (2, true));
    let one = all().bytes_max(0).page().await.unwrap();
    assert_eq!((one.items.len(), one.next.is_some()), (1, true), "one, however large");
    let keys = all().keys_only().bytes_max(4).page().await.unwrap();
    assert_eq!((keys.items.len(), keys.next), (4, None), "values that are left out take no room");
    assert!(keys.items.iter().all(|pair| pair.value.is_empty() && pair.version == 1));
    let exact = all().limit(4).page().await.unwrap();
    assert_eq!(exact.next, None, "no page follows that would be empty");

    let value = vec![0; 1 << 20];
    for key in 0..6 {
        store.put(format!("big{key}"), value.clone()).await.unwrap();
    }
    let page = store.prefix("big").limit(10).page().await.unwrap();
    let bytes: usize = page.items.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    assert!(bytes <= PAGE_BYTES_MAX && page.items.len() == 3, "{bytes}");
    let rest = store.prefix("big").cursor(page.next.unwrap()).page().await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (3, None));
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_serves_its_own_query_alone() {
    let (cluster, store) = alone().await;
    let (other_cluster, other) = alone().await;
    fill(&store, ["a/1".to_owned(), "a/2".into(), "a/x/1".into(), "b".into()]).await;
    fill(&other, ["a/1".to_owned(), "a/2".into(), "a/x/1".into(), "b".into()]).await;
    let page = store.prefix("a/").limit(1).page().await.unwrap();
    let cursor = page.next.unwrap();
    let with = |query: Query| query.cursor(cursor.clone());
    let next = with(store.prefix("a/")).limit(5).page().await.unwrap();
    assert_eq!(next.items.len(), 2, "limits may change");
    assert_eq!(with(store.prefix("a/").at(page.revision)).count().await.unwrap().count, 2);
    for query in [
        other.prefix("a/"),
        store.prefix("a"),
        store.prefix("a/").reverse(),
        store.prefix("a/").keys_only(),
        store.prefix("a/").at(Revision(page.revision.0 - 1)),
    ] {
        let refused = with(query).page().await.unwrap_err();
        assert!(matches!(refused, Error::BadCursor { .. }), "{refused}");
    }
    let refused = with(store.prefix("a/")).list("/").await.unwrap_err();
    assert!(matches!(refused, Error::BadCursor { .. }), "{refused}");
    let listing = store.prefix("a/").limit(1).list("/").await.unwrap();
    let refused = store.prefix("a/").cursor(listing.next.unwrap()).page().await.unwrap_err();
    assert!(matches!(refused, Error::BadCursor { .. }), "{refused}");
    cluster.shutdown().await.unwrap();
    other_cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_read_at_any_freshness_and_the_future_is_refused() {
    let (cluster, store) = alone().await;
    let first = store.put("a", "1").await.unwrap().revision;
    let second = store.put("a", "2").await.unwrap().revision;
    let third = store.delete("a").await.unwrap().revision;
    let levels =
        [ReadConsistency::Linearizable, ReadConsistency::AtLeast(second), ReadConsistency::Local];
    for level in levels {
        let store = store.with_consistency(level);
        let then = store.snapshot_at(second).await.unwrap();
        assert_eq!(then.get(b"a").unwrap().unwrap().value, "2");
        assert_eq!(then.page(&KeyRange::all(), 9, 999).unwrap().len(), 1);
        assert_eq!(then.page_back(&KeyRange::all(), 9, 999).unwrap().len(), 1);
        let versions = then.history(b"a", None, 9).unwrap();
        assert_eq!(
            versions.iter().map(|version| version.revision).collect::<Vec<_>>(),
            [second, first]
        );
        let versions = store.snapshot().await.unwrap().history(b"a", None, 2).unwrap();
        assert_eq!((versions[0].revision, &versions[0].pair), (third, &None));
        assert_eq!(versions.len(), 2);

        let refused = Error::FutureRevision { requested: third.next(), newest: third };
        assert_eq!(store.snapshot_at(third.next()).await.err(), Some(refused.clone()));
        let query = store.prefix("a").at(third.next());
        assert_eq!(query.clone().page().await.err(), Some(refused.clone()));
        assert_eq!(query.clone().count().await.err(), Some(refused.clone()));
        assert_eq!(query.clone().list("/").await.err(), Some(refused.clone()));
        assert_eq!(query.stream().await.err(), Some(refused));
    }
    let empty = store.snapshot_at(Revision(0)).await.unwrap();
    assert_eq!(empty.page(&KeyRange::all(), 9, 999).unwrap(), []);
    cluster.shutdown().await.unwrap();
}

/// Three replicas in memory, on a network of their own.
async fn three(network: &MemNetwork) -> Vec<Cluster> {
    let mut cluster = Vec::new();
    for number in 1..=3 {
        let address = format!("n{number}");
        let config = Config {
            name: format!("node{number}"),
            data_dir: None,
            listen: Some(address.clone()),
            origin: match number {
                1 => Origin::Init(None),
                _ => Origin::Join(vec!["n1".into()]),
            },
            ..Config::default()
        };
        let transport = Arc::new(network.transport(&address));
        let replica = Cluster::start_with(config, Some(transport)).await.unwrap();
        replica.wait_ready(DEADLINE).await.unwrap();
        cluster.push(replica);
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_waits_for_a_cursors_revision() {
    let network = MemNetwork::new();
    let cluster = three(&network).await;
    let local = |replica: usize| {
        let store = cluster[replica].store();
        store.with_consistency(ReadConsistency::Local).with_timeout(DEADLINE)
    };
    for number in 0..100_usize {
        let key = format!("key {number:03}");
        let written = cluster[number % 3].store().put(key.clone(), "").await.unwrap();
        let there = local((number + 1) % 3).snapshot_at(written.revision).await.unwrap();
        assert!(there.get(key.as_bytes()).unwrap().is_some());
    }

    network.isolate("n3", Some(Cut::Stall));
    let begun = local(2).snapshot().await.unwrap().revision();
    let last = cluster[0].store().put("later", "").await.unwrap().revision;
    let first = local(0).range(KeyRange::all()).limit(60).page().await.unwrap();
    assert_eq!(first.revision, last);
    let rest = local(2).range(KeyRange::all()).cursor(first.next.unwrap());
    let impatient = local(2).with_timeout(Duration::from_millis(200));
    let refused = impatient.snapshot_at(last).await.err().unwrap();
    assert!(refused.is_retryable(), "it cannot know whether there is such a revision: {refused}");
    assert_eq!(local(2).snapshot_at(begun).await.unwrap().revision(), begun, "it has that one");
    network.heal();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let page = loop {
        match rest.clone().page().await {
            Ok(page) => break page,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    };
    assert_eq!((page.revision, first.items.len() + page.items.len()), (last, 101));
    let refused = local(2).snapshot_at(last.next()).await.err().unwrap();
    assert!(matches!(refused, Error::FutureRevision { .. }), "{refused}");
    for replica in cluster.iter().rev() {
        replica.shutdown().await.unwrap();
    }
}
