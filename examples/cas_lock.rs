//! A lock made of compare-and-swap, and why a lock alone protects nothing.
//!
//! Whoever creates the key holds the lock, and renews it; who finds it unrenewed for a while takes it
//! over. But a holder may only be paused, and wake up believing that it still holds: no clock can
//! tell. So each holder has a *fencing token*, the revision at which it took the lock, and what the
//! lock protects refuses tokens older than one it has seen. Run it with
//! `cargo run --example cas_lock [directory]`.

use axon_core::error::ErrorOutcome;
use axon_core::store::{Expect, Swap};
use axon_core::types::Revision;
use axon_core::{Cluster, Error, Store};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

const KEY: &str = "locks/printer";
/// How long a lock may go unrenewed. Only how soon a lock is taken over depends on it, not whether
/// what it protects stays whole.
const PATIENCE: Duration = Duration::from_millis(300);

/// A lock that was held when it was last heard of.
struct Lock {
    store: Store,
    owner: &'static str,
    /// The fencing token: greater than that of every holder before.
    token: Revision,
    /// The revision of the latest renewal.
    renewed: Revision,
}

impl Lock {
    /// Waits for the lock. Each owner has a name that no other has.
    async fn acquire(store: &Store, owner: &'static str) -> Result<Self, Error> {
        let held = |at| Self { store: store.clone(), owner, token: at, renewed: at };
        let mut expected = Expect::Absent;
        loop {
            let holder = match store.put_if(KEY, expected, owner).await {
                Ok(Swap::Done(written)) => return Ok(held(written.revision)),
                // The answer to an earlier attempt was lost, but not the attempt.
                Ok(Swap::Conflict(Some(pair))) if pair.value == owner => {
                    return Ok(held(pair.mod_revision));
                }
                Ok(Swap::Conflict(holder)) => holder,
                Err(error) if error.outcome() == ErrorOutcome::Unknown && error.is_retryable() => {
                    None
                }
                Err(error) => return Err(error),
            };
            expected = Expect::Absent;
            if let Some(holder) = holder {
                let after = store.watch(KEY).from(holder.mod_revision.next());
                let mut changes = after.start().await?;
                if timeout(PATIENCE, changes.next()).await.is_err() {
                    // Silence. If it is renewed in this very moment, the swap is lost, and that is
                    // all.
                    expected = Expect::ModRevision(holder.mod_revision);
                }
            }
        }
    }

    /// Says that the holder is alive. `false`: it has lost the lock.
    async fn renew(&mut self) -> Result<bool, Error> {
        let mine = Expect::ModRevision(self.renewed);
        match self.store.put_if(KEY, mine, self.owner).await? {
            Swap::Done(written) => self.renewed = written.revision,
            Swap::Conflict(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Gives the lock back. `false`: it was lost before.
    async fn release(self) -> Result<bool, Error> {
        let mine = Expect::ModRevision(self.renewed);
        Ok(matches!(self.store.delete_if(KEY, mine).await?, Swap::Done(_)))
    }
}

/// What the lock protects. It knows nothing of locks, only that tokens never shrink.
#[derive(Default)]
struct Printer {
    newest: Revision,
    pages: Vec<String>,
}

impl Printer {
    fn print(&mut self, token: Revision, page: &str) -> Result<(), String> {
        if token < self.newest {
            return Err(format!("token {token} is older than {}", self.newest));
        }
        self.newest = token;
        self.pages.push(page.to_owned());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| scratch.path().join("data"), PathBuf::from);
    let replica = Cluster::open(path).await?;
    let store = replica.store();
    let mut printer = Printer::default();

    let mut alice = Lock::acquire(&store, "alice").await?;
    printer.print(alice.token, "alice, page 1")?;
    assert!(alice.renew().await?, "nobody is in her way");
    println!("alice holds the lock with token {}", alice.token);

    // Here Alice's process is paused, by a debugger, a busy machine, a laptop's lid. Bob waits, sees
    // no renewal, and takes over.
    let bob = Lock::acquire(&store, "bob").await?;
    printer.print(bob.token, "bob, page 1")?;
    println!("bob waited, and took it over with token {}", bob.token);
    assert!(bob.token > alice.token);

    // Alice wakes up in the middle of her work and knows nothing of it. The lock cannot stop her;
    // her token does.
    let refused = printer.print(alice.token, "alice, page 2");
    println!("alice goes on as if she held it: {refused:?}");
    assert!(refused.is_err());
    assert!(!alice.renew().await?, "asked, she learns that she has lost it");

    assert!(bob.release().await?);
    let carol = timeout(PATIENCE, Lock::acquire(&store, "carol")).await??;
    printer.print(carol.token, "carol, page 1")?;
    println!("bob gave it back; carol had it at once, with token {}", carol.token);

    println!("printed: {:?}", printer.pages);
    assert_eq!(printer.pages, ["alice, page 1", "bob, page 1", "carol, page 1"]);
    Ok(replica.shutdown().await?)
}
