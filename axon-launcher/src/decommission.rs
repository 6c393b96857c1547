//! Taking a node out of the cluster for good: out of the membership, stopped, its directory
//! deleted.
//!
//! ```text
//!   step                                             if killed after it, the next start ...
//! 1 save the mark `removing`                         goes on with 2
//! 2 remove it from the membership                    asks again; already gone counts as done
//! 3 stop its process                                 does 2 and 3 again
//! 4 look again: a joiner may just have got in        does 2, 3 and 4 again
//! 5 save the mark `removed`                          goes on with 6; no way back from here
//! 6 rename its directory into the trash              finds it there, goes on with 7
//! 7 delete it                                        deletes the rest
//! 8 forget it in the manifest                        knows nothing of it
//! ```
//!
//! The data goes only after the cluster has said that the node is no member. The cluster decides: a
//! removal that it refuses (it would lose its quorum) takes the mark away and leaves the node as it
//! was. When nobody can decide, nothing is deleted, and whether a removal that was sent off without
//! an answer took place is found out by asking again: the mark stays and the launcher goes on
//! trying.

use crate::events::LAUNCHER;
use crate::manifest::{Decommission, Desired, NodeName};
use crate::node::Node;
use crate::operations::{Cancel, Run};
use crate::supervisor::{ControlError, Supervisor};
use crate::wire::Severity;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long the cluster may take to decide on a removal.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long one node may take to answer; a removal moves leadership away first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const RETRY_EVERY: Duration = Duration::from_millis(300);

enum Removal {
    Done,
    Refused(String),
    Unavailable { reason: String, sent: bool },
}

impl Supervisor {
    /// Step 1. The caller holds the node's order lock.
    pub(crate) async fn mark_leaving(&self, name: &NodeName) -> Result<(), ControlError> {
        self.edit(|manifest| {
            let (count, formed) = (manifest.nodes.len(), manifest.formed);
            let spec = manifest
                .node_mut(name)
                .ok_or_else(|| ControlError::UnknownNode(name.to_string()))?;
            // Decided on before; once more, since two may have been decided on at once.
            if !formed || count == 1 {
                let reason = format!("{name} is the last node, or the cluster is not made yet");
                return Err(ControlError::Refused(reason));
            }
            spec.decommission.get_or_insert(Decommission::Removing);
            Ok(())
        })
        .await
    }

    /// Goes on with a decommissioning that was cut short, unless someone is at it.
    pub(crate) async fn resume_decommission(&self, name: &NodeName) -> Result<(), ControlError> {
        let node = self.find(name.as_str())?;
        let Ok(_handling) = self.0.handling.try_lock() else { return Ok(()) };
        let Ok(_order) = node.order.try_lock() else { return Ok(()) };
        self.decommission(&node, None).await
    }

    /// Steps 2 to 8. The caller holds `handling` and the node's order lock.
    pub(crate) async fn decommission(
        &self,
        node: &Node,
        run: Option<&Run>,
    ) -> Result<(), ControlError> {
        let name = node.name();
        let step = self.manifest().node(name).and_then(|spec| spec.decommission);
        match step {
            None => return Err(ControlError::UnknownNode(name.to_string())),
            Some(Decommission::Removing) => {
                self.leave(node).await?;
                self.mark(name, Some(Decommission::Removed)).await?;
            }
            Some(Decommission::Removed) => {
                // A launcher was killed here; a process that it left may have been taken over.
                node.stop().await;
                node.until_stopped().await;
            }
        }
        if let Some(run) = run {
            run.go_on(Cancel::No);
        }
        let (data, cluster) = (self.0.data.clone(), self.0.cluster_id());
        let name_owned = name.clone();
        tokio::task::spawn_blocking(move || {
            data.retire(&name_owned, &cluster)?;
            data.empty_trash(&name_owned)
        })
        .await
        .map_err(|error| ControlError::Internal(error.to_string()))??;
        self.edit(|manifest| {
            manifest.nodes.retain(|spec| spec.name != *name);
            Ok(())
        })
        .await?;
        self.forget(name);
        tracing::info!(node = %name, "deleted");
        let text = format!("{name} is no member any more, and its data is deleted");
        self.tell(Severity::Info, "decommissioned", Some(name.as_str()), LAUNCHER, text);
        Ok(())
    }

    /// Steps 2 to 4: out of the membership, and no process that could get in again.
    async fn leave(&self, node: &Node) -> Result<(), ControlError> {
        let name = node.name();
        // Nothing was ever written there, so nothing was ever joined.
        let blank = node.view().pid.is_none() && !self.0.data.holds_replica(name);
        if blank {
            return Ok(());
        }
        if let Err(error) = self.remove_all(node).await {
            return Err(self.take_back(node, error).await?);
        }
        node.stop().await;
        if !node.until_stopped().await {
            return Err(ControlError::Internal(format!("{name} was killed and has not ended")));
        }
        // It has left once: no way back now, whatever is answered.
        self.remove_all(node).await.map_err(|error| {
            ControlError::OutcomeUnknown(format!("{error}. The launcher goes on trying"))
        })
    }

    /// Takes the mark away after a removal that surely did not happen; returns why it did not.
    async fn take_back(
        &self,
        node: &Node,
        why: ControlError,
    ) -> Result<ControlError, ControlError> {
        // While the launcher stops, its nodes answer nobody: that is no verdict.
        let verdict = matches!(why, ControlError::Refused(_) | ControlError::Unavailable(_));
        if verdict && self.check_open().is_ok() {
            self.mark(node.name(), None).await?;
            let spec = self.manifest().node(node.name()).cloned();
            // After a restart in the middle it has not been started.
            if spec.is_some_and(|spec| spec.desired == Desired::Running) {
                node.start().await;
            }
        }
        Ok(why)
    }

    /// Removes every member that is this node: by the id that it had, and by its name.
    async fn remove_all(&self, node: &Node) -> Result<(), ControlError> {
        let name = node.name();
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        let mut sent_any = false;
        loop {
            let removal = self.try_remove(node).await;
            let (reason, sent) = match removal {
                Removal::Done => return Ok(()),
                Removal::Refused(reason) if sent_any => (reason, true),
                Removal::Refused(reason) => return Err(ControlError::Refused(reason)),
                Removal::Unavailable { reason, sent } => (reason, sent),
            };
            sent_any |= sent;
            if Instant::now() < deadline {
                tokio::time::sleep(RETRY_EVERY).await;
            } else if sent_any {
                return Err(ControlError::OutcomeUnknown(format!(
                    "it is not known whether {name} was removed: {reason}. The launcher goes on trying"
                )));
            } else {
                return Err(ControlError::Unavailable(format!(
                    "{name} cannot be removed now: {reason}. Nothing was changed"
                )));
            }
        }
    }

    async fn try_remove(&self, node: &Node) -> Removal {
        let name = node.name();
        let ports = self.ports_to_ask(node);
        let mut failed = Removal::Unavailable {
            reason: "no other node of the cluster is online and ready".to_owned(),
            sent: false,
        };
        'ports: for port in ports {
            let members = match self.0.client.members(port).await {
                Ok(members) => members,
                Err(reason) => {
                    failed = Removal::Unavailable { reason, sent: false };
                    continue;
                }
            };
            // The list may lag; the known id does not depend on it.
            let known = self.manifest().node(name).and_then(|spec| spec.node_id);
            let own = node.view().node_id;
            let named = members.iter().filter(|m| m.name == name.as_str()).map(|m| m.id);
            let ids: BTreeSet<u64> = known.into_iter().chain(own).chain(named).collect();
            for id in ids {
                match self.remove_id(port, id).await {
                    Removal::Done => {}
                    refused @ Removal::Refused(_) => return refused,
                    unavailable @ Removal::Unavailable { .. } => {
                        failed = unavailable;
                        continue 'ports;
                    }
                }
            }
            return Removal::Done;
        }
        failed
    }

    async fn remove_id(&self, port: u16, id: u64) -> Removal {
        let path = format!("/v1/members/{id}");
        let client = &self.0.client;
        let sent = client.send(Method::DELETE, port, &path, Bytes::new(), ANSWER_TIMEOUT).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(reason) => return Removal::Unavailable { reason, sent: true },
        };
        match answer.status {
            status if status.is_success() => Removal::Done,
            StatusCode::NOT_FOUND => Removal::Done,
            StatusCode::TOO_MANY_REQUESTS => {
                Removal::Unavailable { reason: answer.sentence(), sent: false }
            }
            status if status.is_client_error() => Removal::Refused(answer.sentence()),
            _ => {
                let sent = !answer.is_not_applied();
                Removal::Unavailable { reason: answer.sentence(), sent }
            }
        }
    }

    /// Whom to ask, best first: the leader, the others, and never the node itself if it can be
    /// helped.
    fn ports_to_ask(&self, leaving: &Node) -> Vec<u16> {
        let mut online: Vec<_> = self
            .report()
            .into_values()
            .filter(|node| node.status == "online" && node.ready)
            .filter(|node| node.id != leaving.name().as_str())
            .collect();
        online.sort_by_key(|node| (!node.is_leader, node.id.clone()));
        online.into_iter().map(|node| node.api_port).collect()
    }

    async fn mark(&self, name: &NodeName, mark: Option<Decommission>) -> Result<(), ControlError> {
        self.edit(|manifest| {
            if let Some(spec) = manifest.node_mut(name) {
                spec.decommission = mark;
            }
            Ok(())
        })
        .await
    }
}
