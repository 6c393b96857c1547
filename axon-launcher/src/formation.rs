//! Making the cluster: once, whatever interrupts it.
//!
//! ```text
//!   step                                       if killed after it, the next start ...
//! 1 lock the data directory                    begins again: there is nothing
//! 2 save the manifest: id drawn, formed=false  takes up that id, goes on with 3
//!   make the cluster's secret                  keeps it; makes it if it was not there yet
//! 3 make the founder's directory and marker    finds it, goes on with 4
//! 4 `axon-server init --cluster-id ID`         asks again and is refused: see below
//! 5 save the manifest: formed=true             goes on with 6; never an `init` again
//! 6 `run` the founder, then every node         takes over those that run, starts the others
//! ```
//!
//! The one doubtful place is between 4 and 5: a refusal to initialise may mean "done already" or
//! "somebody else's replica". It is settled by asking the replica itself: the founder is run alone,
//! without anyone to knock at, so that it can neither make nor join a cluster. When it answers with
//! our cluster id and its own name, the cluster is formed. When it answers otherwise or does not
//! start, the launcher says so and changes nothing.
//!
//! Steps 2 and 5 are durable before the next begins. So there is never a directory without a
//! manifest, and directories without a manifest mean that the manifest was lost: that is refused,
//! as is a formed cluster of which no directory is left. Making a new cluster under the old names
//! would look like success to everyone but the people whose data it replaced.

use crate::manifest::{Desired, Manifest};
use crate::node::View;
use crate::process::{Exit, Launch, run_to_end};
use crate::supervisor::{NOT_FOR_NODES, Setup, StartError, Supervisor, server_args};
use std::time::Duration;

/// How long making the cluster may take.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the others wait for the founder of a new cluster to lead.
const LEAD_WAIT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Makes the cluster; returns whether it is known to be made.
    pub(crate) async fn form(&self) -> Result<bool, StartError> {
        let manifest = self.manifest();
        let founder = manifest.nodes[0].name.clone();
        if let Ok(node) = self.find(founder.as_str())
            && node.view().pid.is_some()
        {
            return Ok(false);
        }
        self.0.data.prepare(&founder, &manifest.cluster_id)?;
        let mut args = server_args("init", &founder, &self.0.data);
        args.extend(["--cluster-id".into(), manifest.cluster_id.as_str().into()]);
        let log = self.0.data.log(&founder);
        let launch = Launch { program: self.0.server.clone(), args, unset: NOT_FOR_NODES, log };
        let failed = |exit: String, said| StartError::Init { node: founder.clone(), exit, said };
        match run_to_end(&launch, INIT_TIMEOUT).await {
            Ok((Exit::Code(0), _)) => {
                self.mark_formed().await?;
                Ok(true)
            }
            Ok((exit, said)) if self.0.data.holds_replica(&founder) => {
                tracing::warn!(node = %founder, %said, "axon-server init {exit}; asking the replica that is there whether it is ours");
                Ok(false)
            }
            Ok((exit, said)) => Err(failed(exit.to_string(), said)),
            Err(error) => Err(failed("was not run to its end".to_owned(), error.to_string())),
        }
    }

    /// Runs the founder alone first, then the others. Unless the cluster is known to be `made`, the
    /// others wait until the founder says that it holds our cluster.
    pub(crate) async fn gather(&self, made: bool) {
        let founder = self.manifest().nodes[0].clone();
        let Ok(node) = self.find(founder.name.as_str()) else { return };
        if founder.desired == Desired::Running {
            node.start().await;
        }
        if made {
            // Only so that nobody knocks in vain and then waits to knock again: a founder that
            // cannot lead is shown as such, and the others can wait for it by themselves.
            node.until(LEAD_WAIT, |view| view.observed.ready()).await;
            return self.start_desired().await;
        }
        // The probe has compared name and cluster id by then: others do not count as an answer.
        let ours = |view: &View| view.observed.status().is_some();
        while !node.until(Duration::from_mins(1), ours).await {
            tracing::warn!(node = %founder.name, "still not known whether its replica is of this cluster");
        }
        if let Err(error) = self.mark_formed().await {
            tracing::error!(%error, "cannot save that the cluster is made; the next start finds out again");
            return;
        }
        self.start_desired().await;
    }

    async fn mark_formed(&self) -> Result<(), StartError> {
        let marked = self.edit(|manifest| {
            manifest.formed = true;
            Ok(())
        });
        marked.await.map_err(|error| StartError::Inconsistent(error.to_string()))
    }
}

/// Reads the manifest, or draws up and saves a new one where there is nothing at all.
pub(crate) fn load_or_draw(setup: &Setup) -> Result<Manifest, StartError> {
    let root = setup.data.root().display();
    let path = setup.data.manifest();
    let found = setup.data.found_nodes()?;
    let Some(manifest) = Manifest::load(&path)? else {
        if !found.is_empty() {
            return Err(StartError::Inconsistent(format!(
                "{root} holds directories of nodes ({}) but no cluster.json. Nothing was changed. \
                 Put cluster.json back from a copy; or, to begin a new cluster, name another --data-dir",
                found.join(", ")
            )));
        }
        let drawn =
            Manifest::new(setup.base_port, setup.nodes).map_err(StartError::Inconsistent)?;
        drawn.save(&path)?;
        tracing::info!(cluster = %drawn.cluster_id, "new cluster of {} in {root}", setup.nodes);
        return Ok(drawn);
    };
    if manifest.formed && found.is_empty() {
        return Err(StartError::Inconsistent(format!(
            "{root} describes cluster {}, but the directory of every node is gone. Nothing was changed. \
             Put the directories below nodes/ back; or, to begin a new cluster, name another --data-dir",
            manifest.cluster_id
        )));
    }
    if manifest.nodes.len() != usize::from(setup.nodes) || manifest.base_port != setup.base_port {
        tracing::info!(
            "the cluster has {} nodes from port {} on, as it was left; --nodes and --base-port matter at the first start only",
            manifest.nodes.len(),
            manifest.base_port
        );
    }
    for stray in
        found.iter().filter(|name| !manifest.nodes.iter().any(|n| n.name.as_str() == **name))
    {
        tracing::warn!("nodes/{stray} belongs to no node of this cluster; it is left alone");
    }
    Ok(manifest)
}
