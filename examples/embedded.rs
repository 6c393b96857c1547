//! Three replicas in one process, over TCP on the loopback interface: what a service of three
//! machines does, on one.
//!
//! A value put through one replica is read through another; then one replica leaves, and the two
//! that are left go on. Run it with `cargo run --example embedded [directory]`.

use axon_core::config::Origin;
use axon_core::status::Membership;
use axon_core::{Cluster, Error};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than a join, a catch-up and a promotion take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let root = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);

    // The first replica makes the cluster; the others knock at it.
    let one = start(&root, "one", Origin::Init(None)).await?;
    let first = one.members()?.swap_remove(0).member.peer_address;
    let two = start(&root, "two", Origin::Join(vec![first.clone()])).await?;
    let three = start(&root, "three", Origin::Join(vec![first])).await?;
    all_vote(&three, 3).await?;

    let written = one.store().put("config/limit", "100").await?;
    let found = three.store().get("config/limit").await?.ok_or("the value must be there")?;
    println!(
        "put through one at revision {}, read through three: {:?}",
        written.revision, found.value
    );
    assert_eq!(found.value, "100");

    // One replica leaves for a while (and hands leadership over, if it has it): two of three are
    // still a majority.
    one.shutdown().await?;
    two.store().put("config/limit", "200").await?;
    let found = three.store().get("config/limit").await?.ok_or("the value must be there")?;
    println!("one is shut down; two and three go on: {:?}", found.value);
    assert_eq!(found.value, "200");

    // It comes back with the directory it left, and catches up. The same settings serve the first
    // start and every other: a replica that has an identity neither makes a cluster nor joins one.
    let one = start(&root, "one", Origin::Resume).await?;
    let found = one.store().get("config/limit").await?.ok_or("the value must be there")?;
    println!("one is back: {:?}", found.value);
    assert_eq!(found.value, "200");

    for replica in [one, two, three] {
        replica.shutdown().await?;
    }
    Ok(())
}

/// Starts a replica and waits until it is a member that has caught up.
async fn start(root: &Path, name: &str, origin: Origin) -> Result<Cluster, Error> {
    let builder = Cluster::builder().name(name).data_dir(root.join(name)).listen("127.0.0.1:0");
    let replica = builder.settings(|config| config.origin = origin).start().await?;
    replica.wait_ready(DEADLINE).await?;
    Ok(replica)
}

/// Waits until `replica` sees `count` voters: a joined replica first learns, then votes.
async fn all_vote(replica: &Cluster, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let voters = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let members = replica.members()?;
            if members.iter().filter(|member| member.membership == Membership::Voter).count()
                == count
            {
                return Ok::<(), Error>(());
            }
        }
    };
    Ok(tokio::time::timeout(DEADLINE, voters).await??)
}
