//! Every piece of Rust that docs/guide.md shows, run in the guide's order. The guide quotes it line
//! by line; a test of the tree compares the two. Run it with `cargo run --example guide [directory]`.

use axon_core::error::ErrorOutcome;
use axon_core::store::{Expect, ReadConsistency, Swap, WatchChange, WatchEvent};
use axon_core::txn::{Compare, Op, Relation};
use axon_core::{Cluster, Error, Store};
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let root = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let replicas = running(&root).await?;
    let store = replicas[1].store();
    data_model(&store).await?;
    consistency(&store).await?;
    compare_and_swap(&store).await?;
    transaction(&store).await?;
    outcomes(&store).await?;
    idempotency(&store).await?;
    ranges(&store).await?;
    watching(&store).await?;
    println!("the guide says what is so");
    for replica in replicas {
        replica.shutdown().await?;
    }
    Ok(())
}

async fn running(root: &Path) -> Result<[Cluster; 2], Error> {
    let first = Cluster::builder()
        .name("orders-1")
        .data_dir(root.join("orders-1"))
        .listen("127.0.0.1:0")
        .init()
        .start()
        .await?;
    first.wait_ready(Duration::from_secs(30)).await?;
    let address = first.members()?[0].member.peer_address.clone();

    let second = Cluster::builder()
        .name("orders-2")
        .data_dir(root.join("orders-2"))
        .listen("127.0.0.1:0")
        .join([address])
        .start()
        .await?;
    second.wait_ready(Duration::from_secs(30)).await?;
    Ok([first, second])
}

async fn data_model(store: &Store) -> Result<(), Error> {
    let first = store.put("color", "red").await?;
    let second = store.put("color", "blue").await?;

    let color = store.get("color").await?.expect("just stored");
    assert_eq!(color.value, "blue");
    assert_eq!(color.create_revision, first.revision);
    assert_eq!(color.mod_revision, second.revision);
    assert_eq!(color.version, 2);

    let then = store.snapshot_at(first.revision).await?;
    assert_eq!(then.get(b"color")?.expect("it was there").value, "red");
    Ok(())
}

async fn consistency(store: &Store) -> Result<(), Error> {
    let written = store.put("profile/ann", "likes pears").await?;

    let as_fresh = store.with_consistency(ReadConsistency::AtLeast(written.revision));
    assert!(as_fresh.get("profile/ann").await?.is_some());

    let at_once = store.with_consistency(ReadConsistency::Local);
    println!("as far as this replica knows: {:?}", at_once.get("profile/ann").await?);
    Ok(())
}

async fn compare_and_swap(store: &Store) -> Result<(), Error> {
    let mut found = store.get("visits").await?;
    loop {
        let (count, expected) = match &found {
            None => (0, Expect::Absent),
            Some(pair) => (parse(&pair.value), Expect::ModRevision(pair.mod_revision)),
        };
        match store.put_if("visits", expected, (count + 1).to_string()).await? {
            Swap::Done(_) => break,
            Swap::Conflict(now) => found = now,
        }
    }
    assert_eq!(store.get("visits").await?.expect("just counted").value, "1");
    Ok(())
}

fn parse(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn transaction(store: &Store) -> Result<(), Error> {
    let ann = store.put("account/ann", "100").await?.revision;
    let bob = store.put("account/bob", "50").await?.revision;

    let result = store
        .txn()
        .when([
            Compare::mod_revision("account/ann", Relation::Equal, ann),
            Compare::mod_revision("account/bob", Relation::Equal, bob),
        ])
        .then([Op::put("account/ann", "70"), Op::put("account/bob", "80")])
        .or_else([Op::get("account/ann"), Op::get("account/bob")])
        .commit()
        .await?;
    assert!(result.succeeded);
    Ok(())
}

async fn outcomes(store: &Store) -> Result<(), Error> {
    match store.put("order/17", "paid").await {
        Ok(written) => println!("paid, at revision {}", written.revision),
        Err(error) if error.outcome() == ErrorOutcome::NotApplied => {
            println!("not paid, and will not be: {error}");
        }
        Err(error) => println!("perhaps paid; read before you decide: {error}"),
    }
    Ok(())
}

async fn idempotency(store: &Store) -> Result<(), Error> {
    let once = store.with_idempotency_key("payment-7f3a")?;
    let first = once.put("payment/7f3a", "100").await?;

    // Later, after a crash, in another process:
    let once = store.with_idempotency_key("payment-7f3a")?;
    let again = once.put("payment/7f3a", "100").await?;
    assert_eq!(first, again);
    Ok(())
}

async fn ranges(store: &Store) -> Result<(), Error> {
    for name in ["ann", "bob", "cid"] {
        store.put(format!("user/{name}"), "…").await?;
    }

    let mut page = store.prefix("user/").limit(2).page().await?;
    while let Some(cursor) = page.next {
        page = store.prefix("user/").limit(2).cursor(cursor).page().await?;
    }
    assert_eq!(page.items[0].key, "user/cid");

    let mut users = store.prefix("user/").stream().await?;
    while let Some(user) = users.next().await {
        println!("{:?}", user?.key);
    }

    assert_eq!(store.prefix("user/").count().await?.count, 3);
    assert_eq!(store.prefix("user/").delete().await?.deleted, 3);
    Ok(())
}

async fn watching(store: &Store) -> Result<(), Error> {
    store.put("config/limit", "100").await?;

    let mut watcher = store.prefix("config/").watch().with_initial_state().start().await?;
    let mut seen = None;
    while let Some(event) = watcher.next().await {
        match event? {
            WatchEvent::Batch { changes, .. } => {
                for change in changes {
                    match change {
                        WatchChange::Put { pair, .. } => println!("{:?} is set", pair.key),
                        WatchChange::Delete { key, .. } => println!("{key:?} is gone"),
                    }
                }
            }
            WatchEvent::Progress(revision) => {
                seen = Some(revision);
                break;
            }
            WatchEvent::Resync { .. } => println!("too slow: read the range anew"),
        }
    }

    let seen = seen.expect("the initial state ends with its revision");
    let mut later = store.prefix("config/").watch().from(seen.next()).start().await?;
    store.put("config/limit", "200").await?;
    assert!(matches!(later.next().await, Some(Ok(WatchEvent::Batch { .. }))));
    Ok(())
}
