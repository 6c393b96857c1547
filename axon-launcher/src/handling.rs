//! How actions are carried out, step by step, on real nodes.
//!
//! Invariants:
//! * a node that should run is never left stopped: between its stop and its start nothing can fail
//!   without the start, nothing cancels, and nobody else gives it orders;
//! * of all steps that take a node down for a while, or out for good, one is under way at a time
//!   (`handling`, held from the decision until the node is known to be down), so that two that are
//!   harmless alone do not meet;
//! * leadership moves before its node goes, so that writes need not wait for an election;
//! * a wait for what happens by itself can be cancelled, and has a deadline.

use crate::actions::refused;
use crate::events::LAUNCHER;
use crate::lifecycle::Phase;
use crate::manifest::{Desired, RollingRestart};
use crate::node::{Node, View};
use crate::operations::{Cancel, Run};
use crate::probe::Observation;
use crate::quorum::{Action, rolling_order};
use crate::supervisor::{ControlError, Supervisor};
use crate::wire::Severity;
use hyper::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

/// How long a request to start waits for the node to answer.
const START_WAIT: Duration = Duration::from_secs(10);

/// How long a node may take to be ready again.
const SETTLE_WAIT: Duration = Duration::from_mins(1);

/// How long a new node may take to join, to catch up, to be promoted: each.
const JOIN_WAIT: Duration = Duration::from_mins(10);

/// How long leadership may take to move, with all tries.
const HAND_OVER_WAIT: Duration = Duration::from_secs(10);

/// How long a node may take to answer a change of the cluster.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);

const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Supervisor {
    pub(crate) async fn carry_out(
        &self,
        action: Action,
        node: &Node,
        moves_leadership: bool,
        run: &Run,
    ) -> Result<(), ControlError> {
        match action {
            Action::Start => self.run_start(node, run).await,
            Action::Stop => self.run_stop(node, moves_leadership, run).await,
            Action::Restart => self.run_restart(node, moves_leadership, run).await,
            Action::Kill => self.run_kill(node, run).await,
            Action::Promote => self.run_promote(node, run).await,
            Action::Transfer => self.run_transfer(node, run).await,
            Action::Decommission => self.run_decommission(node, moves_leadership, run).await,
        }
    }

    async fn run_start(&self, node: &Node, run: &Run) -> Result<(), ControlError> {
        run.next(Cancel::AfterStep)?;
        {
            let _order = node.order.lock().await;
            self.desire(node, Desired::Running).await?;
            node.start().await;
        }
        run.wait(self.await_start(node)).await??;
        run.next(Cancel::Now)?;
        run.wait(self.until_settled(node, run)).await?
    }

    async fn run_stop(&self, node: &Node, moves: bool, run: &Run) -> Result<(), ControlError> {
        if moves {
            run.next(Cancel::AfterStep)?;
            if let Err(error) = run.wait(self.hand_over(node)).await? {
                // It stops all the same: that is always allowed, and it tries once more as it goes.
                run.note(error.to_string());
            }
        }
        run.next(Cancel::No)?;
        let _order = node.order.lock().await;
        self.desire(node, Desired::Stopped).await?;
        node.stop().await;
        self.until_down(node).await
    }

    async fn run_kill(&self, node: &Node, run: &Run) -> Result<(), ControlError> {
        run.next(Cancel::No)?;
        let Some(pid) = node.view().pid else {
            run.note("no process of it runs");
            return Ok(());
        };
        node.kill().await;
        let gone = |view: &View| view.pid != Some(pid);
        if node.until(START_WAIT, gone).await {
            return Ok(());
        }
        Err(ControlError::Internal(format!("process {pid} was killed and has still not ended")))
    }

    async fn run_restart(&self, node: &Node, moves: bool, run: &Run) -> Result<(), ControlError> {
        if moves {
            run.next(Cancel::AfterStep)?;
            run.wait(self.hand_over(node)).await??;
        }
        run.next(Cancel::No)?;
        let order = self.take_down(node).await?;
        run.go_on(Cancel::No);
        self.bring_up(node, order).await?;
        run.go_on(Cancel::Now);
        run.wait(self.until_settled(node, run)).await?
    }

    /// Stops a node that is about to be started again, if the cluster can do without it. Until it is
    /// started nobody else may give it orders.
    async fn take_down(&self, node: &Node) -> Result<OwnedMutexGuard<()>, ControlError> {
        let _handling = self.0.handling.lock().await;
        let verdict = self.decide(Action::Restart, node.name()).await?;
        if let Some(refusal) = &verdict.refusal {
            return Err(refused(refusal, &verdict));
        }
        // It may have been elected since it was decided on.
        if verdict.moves_leadership() {
            self.hand_over(node).await?;
        }
        let order = Arc::clone(&node.order).lock_owned().await;
        self.desire(node, Desired::Running).await?;
        node.stop().await;
        Ok(order)
    }

    /// Starts a node again that was taken down, however that went.
    async fn bring_up(&self, node: &Node, order: OwnedMutexGuard<()>) -> Result<(), ControlError> {
        let stopped = node.until_stopped().await;
        node.start().await;
        drop(order);
        if !stopped {
            let name = node.name();
            return Err(ControlError::Internal(format!(
                "{name} was killed and has still not ended; it is started once it has"
            )));
        }
        self.await_start(node).await
    }

    /// Restarts nodes one after the other.
    pub(crate) async fn roll(
        &self,
        order: &[String],
        actor: &str,
        run: &Run,
    ) -> Result<(), ControlError> {
        let rolling = RollingRestart { actor: actor.to_owned() };
        self.edit(|manifest| {
            manifest.rolling_restart = Some(rolling);
            Ok(())
        })
        .await?;
        let mut done = Ok(());
        for name in order {
            done = self.roll_one(name, run).await;
            if done.is_err() {
                break;
            }
        }
        self.edit(|manifest| {
            manifest.rolling_restart = None;
            Ok(())
        })
        .await?;
        done
    }

    async fn roll_one(&self, name: &str, run: &Run) -> Result<(), ControlError> {
        run.next(Cancel::AfterStep)?;
        let spec = self.manifest().nodes.into_iter().find(|spec| spec.name.as_str() == name);
        let wanted = spec
            .is_some_and(|spec| spec.desired == Desired::Running && spec.decommission.is_none());
        let (true, Ok(node)) = (wanted, self.find(name)) else {
            run.note("it should not run any more, so it was left alone");
            return Ok(());
        };
        run.wait(self.until_others_serve(name)).await??;
        run.note("stopping it");
        let order = self.take_down(&node).await?;
        run.note("starting it");
        self.bring_up(&node, order).await?;
        run.wait(self.until_settled(&node, run)).await?
    }

    /// Waits until every other node that should run can serve: one more down would make two.
    async fn until_others_serve(&self, name: &str) -> Result<(), ControlError> {
        let deadline = Instant::now() + SETTLE_WAIT;
        loop {
            let picture = self.look().await;
            let absent: Vec<&str> = rolling_order(&picture)
                .into_iter()
                .filter(|other| other.name != name && !other.ready)
                .map(|other| other.name.as_str())
                .collect();
            if absent.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ControlError::Refused(format!(
                    "{} should run and cannot serve, so {name} is not taken down as well",
                    absent.join(", ")
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Says that a rolling restart ended with the launcher that did it.
    pub(crate) async fn end_left_over_roll(&self) -> Result<(), ControlError> {
        let Some(left) = self.manifest().rolling_restart else { return Ok(()) };
        self.edit(|manifest| {
            manifest.rolling_restart = None;
            Ok(())
        })
        .await?;
        let text = format!(
            "the rolling restart that {} had asked for ended with the launcher; nodes that it had \
             stopped are started, and the rest was not restarted",
            left.actor
        );
        self.tell(Severity::Warning, "rolling_restart", None, LAUNCHER, text);
        Ok(())
    }

    async fn run_promote(&self, node: &Node, run: &Run) -> Result<(), ControlError> {
        run.next(Cancel::No)?;
        let name = node.name();
        let id = self.known_id(node)?;
        self.change(Method::POST, &format!("/v1/members/{id}/promote"), String::new()).await?;
        // From now on it comes back as a voter, whatever happens to its directory.
        self.edit(|manifest| {
            if let Some(spec) = manifest.node_mut(name) {
                spec.learner = false;
            }
            Ok(())
        })
        .await
    }

    async fn run_transfer(&self, node: &Node, run: &Run) -> Result<(), ControlError> {
        run.next(Cancel::No)?;
        let name = node.name().as_str();
        let body = json!({ "to": self.known_id(node)? }).to_string();
        self.change(Method::POST, "/v1/leader/transfer", body).await?;
        let deadline = Instant::now() + HAND_OVER_WAIT;
        // As everyone is shown it, so that who asks next is not told of the old leader.
        while !self.report().get(name).is_some_and(|node| node.is_leader) {
            if Instant::now() > deadline {
                return Err(ControlError::OutcomeUnknown(format!(
                    "leadership was moved to {name}, and {name} does not lead after {HAND_OVER_WAIT:?}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn run_decommission(
        &self,
        node: &Node,
        moves: bool,
        run: &Run,
    ) -> Result<(), ControlError> {
        if moves {
            run.next(Cancel::AfterStep)?;
            if let Err(error) = run.wait(self.hand_over(node)).await? {
                // The cluster moves it as well before it removes who leads.
                run.note(error.to_string());
            }
        }
        run.next(Cancel::No)?;
        let _handling = self.0.handling.lock().await;
        let _order = node.order.lock().await;
        self.mark_leaving(node.name()).await?;
        self.decommission(node, Some(run)).await
    }

    /// Starts a new node and waits until it is what it should be.
    pub(crate) async fn bring_in(
        &self,
        node: &Node,
        learner: bool,
        run: &Run,
    ) -> Result<(), ControlError> {
        let name = node.name().as_str();
        run.next(Cancel::AfterStep)?;
        {
            let _order = node.order.lock().await;
            node.start().await;
        }
        run.wait(self.await_start(node)).await??;
        run.next(Cancel::Now)?;
        let member = |found: Option<&str>| matches!(found, Some("learner" | "voter"));
        run.wait(self.until_shown(name, run, |_, part| member(part))).await??;
        run.next(Cancel::Now)?;
        run.wait(self.until_shown(name, run, |ready, part| ready && member(part))).await??;
        if !learner {
            run.next(Cancel::Now)?;
            run.wait(self.until_shown(name, run, |_, part| part == Some("voter"))).await??;
        }
        Ok(())
    }

    /// Waits until a node is shown as wanted, by its readiness and its part in the cluster.
    async fn until_shown(
        &self,
        name: &str,
        run: &Run,
        wanted: impl Fn(bool, Option<&str>) -> bool,
    ) -> Result<(), ControlError> {
        let deadline = Instant::now() + JOIN_WAIT;
        let mut noted = None;
        loop {
            let Some(shown) = self.nodes_v1().into_iter().find(|node| node.id == name) else {
                return Err(ControlError::UnknownNode(name.to_owned()));
            };
            if wanted(shown.ready, shown.membership.as_deref()) {
                return Ok(());
            }
            let said = match (shown.trouble, shown.lag) {
                (Some(trouble), _) => Some(trouble),
                (None, Some(lag)) => Some(format!("{lag} entries left")),
                (None, None) => None,
            };
            if said.is_some() && said != noted {
                noted.clone_from(&said);
                run.note(said.unwrap_or_default());
            }
            if Instant::now() > deadline {
                return Err(ControlError::OutcomeUnknown(format!(
                    "{name} has not come so far within {JOIN_WAIT:?}; it goes on by itself"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a node is ready, what it was to the cluster, and has applied what the leader had
    /// when it came back.
    async fn until_settled(&self, node: &Node, run: &Run) -> Result<(), ControlError> {
        run.note("waiting until it is ready and has caught up");
        let deadline = Instant::now() + SETTLE_WAIT;
        let mut target = None;
        loop {
            let view = node.view();
            let status = view.status().filter(|_| view.observed.ready());
            let leads = self.applied_by_leader();
            if let (Some(status), Some(applied)) = (status, leads) {
                let target = *target.get_or_insert(applied);
                if status.applied_index >= target && status.membership != "none" {
                    return Ok(());
                }
            }
            let given_up = matches!(view.phase, Phase::Crashed { again: false, .. });
            let ended = matches!(view.phase, Phase::Stopped | Phase::Removed);
            if given_up || ended || Instant::now() > deadline {
                let name = node.name().clone();
                let still = match view.phase {
                    Phase::Running { .. } if leads.is_none() => "it answers, but nobody leads",
                    Phase::Running { .. } => "it answers and has not caught up",
                    phase => phase.as_str(),
                };
                let reason = view.trouble.unwrap_or_else(|| still.to_owned());
                return Err(ControlError::OutcomeUnknown(format!(
                    "{name} was started and is not ready after {SETTLE_WAIT:?} or has ended: {reason}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn applied_by_leader(&self) -> Option<u64> {
        let leader = self.report().into_values().find(|node| node.is_leader)?;
        leader.applied_index
    }

    async fn until_down(&self, node: &Node) -> Result<(), ControlError> {
        if node.until_stopped().await {
            return Ok(());
        }
        let name = node.name();
        Err(ControlError::Internal(format!("{name} was killed and has still not ended")))
    }

    /// Waits until it is plain whether the node starts; one that still knocks has started.
    async fn await_start(&self, node: &Node) -> Result<(), ControlError> {
        let plain = |view: &View| {
            matches!(view.phase, Phase::Running { .. } | Phase::Crashed { .. } | Phase::Removed)
        };
        node.until(START_WAIT, plain).await;
        let name = node.name().clone();
        let view = node.view();
        match view.phase {
            Phase::Crashed { .. } => {
                let reason = view.trouble.unwrap_or_else(|| "it ended at once".to_owned());
                Err(ControlError::StartFailed { name, reason })
            }
            Phase::Removed => Err(ControlError::Refused(format!(
                "{name} was removed from the cluster, for good; delete it, then add a new one"
            ))),
            _ => Ok(()),
        }
    }

    /// Has another node lead, if this one does.
    async fn hand_over(&self, node: &Node) -> Result<(), ControlError> {
        let (place, deadline) = (&node.place, Instant::now() + HAND_OVER_WAIT);
        let mut reason = "no other node leads".to_owned();
        loop {
            let seen = self.0.client.observe(place.api_port, &place.name, &place.cluster).await;
            let leads = matches!(&seen, Observation::Answers { status, .. } if status.raft_state == "leader");
            if leads {
                let (path, body) = ("/v1/leader/transfer", "{}");
                let sent =
                    self.0.client.send(Method::POST, place.api_port, path, body, CHANGE_TIMEOUT);
                match sent.await {
                    Ok(answer) if answer.status.is_success() => {}
                    Ok(answer) => reason = answer.sentence(),
                    Err(error) => reason = error,
                }
            } else {
                let picture = self.look().await;
                if picture.leader().is_some_and(|leader| leader.name != place.name.as_str()) {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                let name = &place.name;
                return Err(ControlError::Unavailable(format!(
                    "leadership did not move away from {name}: {reason}. {name} was left running"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn known_id(&self, node: &Node) -> Result<u64, ControlError> {
        let name = node.name();
        let shown = self.report().remove(name.as_str()).and_then(|node| node.node_id);
        shown.ok_or_else(|| {
            ControlError::Refused(format!("{name} has no id yet: it has not joined"))
        })
    }

    /// Asks the leader, else whoever is ready, for a change of the cluster.
    async fn change(&self, method: Method, path: &str, body: String) -> Result<(), ControlError> {
        let mut ready: Vec<_> = self.report().into_values().filter(|node| node.ready).collect();
        ready.sort_by_key(|node| !node.is_leader);
        let Some(asked) = ready.first() else {
            let reason = "no node is online and ready, so nothing can be decided".to_owned();
            return Err(ControlError::Unavailable(reason));
        };
        let sent = self.0.client.send(method, asked.api_port, path, body, CHANGE_TIMEOUT).await;
        match sent {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) if answer.status.is_client_error() => {
                Err(ControlError::Refused(answer.sentence()))
            }
            Ok(answer) if answer.is_not_applied() => {
                Err(ControlError::Unavailable(answer.sentence()))
            }
            Ok(answer) => Err(ControlError::OutcomeUnknown(answer.sentence())),
            Err(reason) => Err(ControlError::OutcomeUnknown(reason)),
        }
    }
}
