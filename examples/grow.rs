//! From one replica to three: a store that began in one process, without a network, becomes a cluster.
//!
//! What was written before the others came is on all of them afterwards. The guide quotes `grow` line by
//! line. Run it with `cargo run --example grow [directory]`.

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
    let replicas = grow(&root).await?;
    all_vote(&replicas[2]).await?;
    for replica in &replicas {
        let found = replica.store().get("since").await?.ok_or("the value must be there")?;
        assert_eq!(found.value, "the first day");
    }
    println!("three replicas have what one had");
    for replica in replicas {
        replica.shutdown().await?;
    }
    Ok(())
}

async fn grow(root: &Path) -> Result<Vec<Cluster>, Error> {
    let alone = Cluster::open(root.join("node1")).await?;
    alone.store().put("since", "the first day").await?;
    alone.shutdown().await?;

    // The same directory, and the name that `open` gave it: `node1`. Now it listens.
    let first = Cluster::builder()
        .name("node1")
        .data_dir(root.join("node1"))
        .listen("127.0.0.1:0")
        .start()
        .await?;
    first.wait_ready(DEADLINE).await?;
    let address = first.members()?.swap_remove(0).member.peer_address;

    let mut replicas = vec![first];
    for name in ["node2", "node3"] {
        let joining = Cluster::builder().name(name).data_dir(root.join(name));
        let joined = joining.listen("127.0.0.1:0").join([&address]).start().await?;
        joined.wait_ready(DEADLINE).await?;
        replicas.push(joined);
    }
    Ok(replicas)
}

/// Waits until `replica` sees three voters: a joined replica first learns, then votes.
async fn all_vote(replica: &Cluster) -> Result<(), Box<dyn std::error::Error>> {
    let voters = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let members = replica.members()?;
            let votes = members.iter().filter(|member| member.membership == Membership::Voter);
            if votes.count() == 3 {
                return Ok::<(), Error>(());
            }
        }
    };
    Ok(tokio::time::timeout(DEADLINE, voters).await??)
}
