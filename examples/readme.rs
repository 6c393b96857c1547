//! The README's first example: one durable replica inside this process.

use axon_core::{Cluster, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let cluster = Cluster::open(std::env::args().nth(1).unwrap_or("./data".into())).await?;
    let store = cluster.store();
    let written = store.put("greeting", "hello").await?;
    let found = store.get("greeting").await?.expect("just written");
    println!("{:?} at revision {}", found.value, written.revision);
    cluster.shutdown().await
}
