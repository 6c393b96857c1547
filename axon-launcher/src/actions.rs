//! What people ask of nodes: decided, begun as an operation, and told of.
//!
//! Hides *who may do what when*. [`quorum`](crate::quorum) decides, from a picture of the cluster that
//! is taken anew for each decision; [`handling`](crate::handling) carries out.
//!
//! Invariants:
//! * a dry run and the action are decided by the same function, and the action once more right before
//!   it takes a node down;
//! * everything that is asked is an event with its actor, whether it was begun or refused;
//! * an operation that was begun goes on when whoever asked hangs up, since half of one would be the
//!   worst of both.

use crate::args::NODES_MAX;
use crate::events::NewEvent;
use crate::lifecycle::{Failures, Phase};
use crate::manifest::{NodeName, NodeSpec};
use crate::node::{Node, View};
use crate::operations::{Draft, OperationError, Operations, Run};
use crate::probe::Observation;
use crate::quorum::{Action, Picture, Refusal, Verdict, decide, decide_rolling, rolling_order};
use crate::supervisor::{ControlError, Supervisor, slot_is_free};
use crate::wire::{DryRun, Operation, Progress, Severity};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long an operation of the first control API waits for the one before it.
const TURN_WAIT: Duration = Duration::from_mins(1);

/// Longer than any operation that does more than wait.
const WORK_MAX: Duration = Duration::from_mins(2);

/// An operation that was begun.
#[derive(Debug)]
pub struct Begun {
    /// As it was then.
    pub operation: Operation,
    end: JoinHandle<Result<(), ControlError>>,
    operations: Operations,
}

impl Begun {
    /// Waits until it has done what was asked and at most waits for what follows by itself, such as a
    /// started node to be ready.
    ///
    /// # Errors
    /// What it failed over.
    pub async fn done(self) -> Result<(), ControlError> {
        self.operations.until_waits(self.operation.id, WORK_MAX).await;
        match self.operations.find(self.operation.id) {
            Some(operation) if operation.state == Progress::Running => Ok(()),
            _ => self.end.await.map_err(|error| ControlError::Internal(error.to_string()))?,
        }
    }
}

/// What is asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who asks.
    pub actor: &'a str,
    /// Whether to wait for what runs on the node now, instead of being refused.
    pub patient: bool,
}

impl Supervisor {
    /// What an action would do, if it were asked for now.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn dry_run(&self, action: Action, name: &NodeName) -> Result<DryRun, ControlError> {
        self.find(name.as_str())?;
        Ok(self.decide(action, name).await?.into())
    }

    /// What a rolling restart would do, if it were asked for now.
    pub async fn dry_rolling_restart(&self) -> DryRun {
        decide_rolling(&self.look().await).into()
    }

    /// Begins an action on a node.
    ///
    /// # Errors
    /// When there is no such node, when another operation is under way there, or when it would do harm.
    pub async fn act(
        &self,
        action: Action,
        name: &NodeName,
        asked: Asked<'_>,
    ) -> Result<Begun, ControlError> {
        if !matches!(action, Action::Stop | Action::Kill) {
            self.check_open()?;
        }
        self.find(name.as_str())?;
        // Stopping and killing wait for nobody.
        if asked.patient && !matches!(action, Action::Stop | Action::Kill) {
            self.take_turn(name).await;
        }
        // Again: what it waited for may have taken it away.
        let node = self.find(name.as_str())?;
        let verdict = self.decide(action, name).await?;
        let what = format!("{action} {name}");
        if let Some(refusal) = &verdict.refusal {
            let error = refused(refusal, &verdict);
            self.tell_refused(action.as_str(), &what, Some(name.as_str()), asked.actor, &error);
            return Err(error);
        }
        let draft = Draft {
            kind: action.as_str(),
            node: Some(name.to_string()),
            actor: asked.actor.to_owned(),
            steps: verdict.steps.clone(),
        };
        let moves = verdict.moves_leadership();
        let supervisor = self.clone();
        self.begin(draft, &what, |run| async move {
            let done = supervisor.carry_out(action, &node, moves, &run).await;
            (run, done)
        })
    }

    /// Begins to restart all nodes that should run, one at a time.
    ///
    /// # Errors
    /// When another operation is under way, or when it would do harm.
    pub async fn rolling_restart(&self, actor: &str) -> Result<Begun, ControlError> {
        self.check_open()?;
        let picture = self.look().await;
        let verdict = decide_rolling(&picture);
        let what = "restart all nodes, one at a time";
        if let Some(refusal) = &verdict.refusal {
            let error = refused(refusal, &verdict);
            self.tell_refused("rolling_restart", what, None, actor, &error);
            return Err(error);
        }
        let order: Vec<String> =
            rolling_order(&picture).iter().map(|node| node.name.clone()).collect();
        let draft = Draft {
            kind: "rolling_restart",
            node: None,
            actor: actor.to_owned(),
            steps: verdict.steps,
        };
        let (supervisor, by) = (self.clone(), actor.to_owned());
        self.begin(draft, what, |run| async move {
            let done = supervisor.roll(&order, &by, &run).await;
            (run, done)
        })
    }

    /// Begins to add a node: it is started, joins as a learner and gets its vote from the cluster,
    /// unless it is to stay a learner.
    ///
    /// # Errors
    /// When there is one of that name, when there is no room for it, or when another operation is under way.
    pub async fn add(
        &self,
        name: &NodeName,
        learner: bool,
        actor: &str,
    ) -> Result<Begun, ControlError> {
        self.check_open()?;
        let what = format!("add {name}");
        let node = match self.make_place(name, learner).await {
            Ok(node) => node,
            Err(error) => {
                self.tell_refused("add", &what, Some(name.as_str()), actor, &error);
                return Err(error);
            }
        };
        let mut steps = vec![
            format!("start {name}"),
            format!("wait until {name} has joined as a learner"),
            format!("wait until {name} has caught up"),
        ];
        if !learner {
            steps.push(format!("wait until {name} votes"));
        }
        let (kind, node_name) = ("add", Some(name.to_string()));
        let draft = Draft { kind, node: node_name, actor: actor.to_owned(), steps };
        let supervisor = self.clone();
        let begun = self.begin(draft, &what, |run| async move {
            let done = supervisor.bring_in(&node, learner, &run).await;
            (run, done)
        });
        if begun.is_err() {
            // A rolling restart began in between. Nothing was started.
            self.edit(|manifest| {
                manifest.nodes.retain(|spec| spec.name != *name);
                Ok(())
            })
            .await?;
            self.forget(name);
        }
        begun
    }

    /// Writes a new node into the manifest.
    async fn make_place(&self, name: &NodeName, learner: bool) -> Result<Node, ControlError> {
        if let Some(first) = self.0.operations.on_all() {
            return Err(first.into());
        }
        if self.0.data.found_nodes()?.contains(&name.to_string())
            && self.manifest().node(name).is_none()
        {
            return Err(ControlError::Refused(format!(
                "there is a directory nodes/{name} that no node of this cluster has; move it away first"
            )));
        }
        let spec = self
            .edit(|manifest| {
                if manifest.node(name).is_some() {
                    return Err(ControlError::Exists(name.clone()));
                }
                if manifest.nodes.len() >= NODES_MAX {
                    let reason = format!("a launcher runs {NODES_MAX} nodes at most");
                    return Err(ControlError::Refused(reason));
                }
                let port = manifest.free_slot(slot_is_free).ok_or_else(|| {
                    ControlError::Refused("no ports are left for another node".to_owned())
                })?;
                let spec = NodeSpec { learner, ..NodeSpec::new(name.clone(), port) };
                manifest.nodes.push(spec.clone());
                Ok(spec)
            })
            .await?;
        Ok(self.supervise(&spec))
    }

    fn begin<F, Fut>(&self, draft: Draft, what: &str, work: F) -> Result<Begun, ControlError>
    where
        F: FnOnce(Run) -> Fut,
        Fut: Future<Output = (Run, Result<(), ControlError>)> + Send + 'static,
    {
        let (kind, node, actor) = (draft.kind, draft.node.clone(), draft.actor.clone());
        let operations = self.0.operations.clone();
        let run = match operations.begin(draft) {
            Ok(run) => run,
            // To stop what is being stopped is to wait for the same end.
            Err(OperationError::Busy { id, kind: first, .. })
                if first == kind && matches!(kind, "stop" | "kill") =>
            {
                return self.join(id);
            }
            Err(error) => {
                let error = ControlError::from(error);
                self.tell_refused(kind, what, node.as_deref(), &actor, &error);
                return Err(error);
            }
        };
        let id = run.id();
        let asked = format!("asked to {what} (operation {id})");
        self.tell(Severity::Info, kind, node.as_deref(), &actor, asked);
        let operation = run.operation().expect("it runs");
        let (supervisor, what, work) = (self.clone(), what.to_owned(), work(run));
        let end = tokio::spawn(async move {
            let (run, done) = work.await;
            run.end(&done);
            let ended = match &done {
                Ok(()) => None,
                Err(ControlError::Cancelled) => Some((Severity::Warning, "was cancelled".into())),
                Err(error) => Some((Severity::Error, format!("failed: {error}"))),
            };
            if let Some((severity, how)) = ended {
                let text = format!("operation {id} ({what}) {how}");
                supervisor.tell(severity, "operation", node.as_deref(), &actor, text);
            }
            done
        });
        Ok(Begun { operation, end, operations })
    }

    /// The end of an operation that somebody else began.
    fn join(&self, id: u64) -> Result<Begun, ControlError> {
        let operations = self.0.operations.clone();
        let operation = operations.find(id).ok_or(OperationError::Unknown(id))?;
        let waiting = operations.clone();
        let end = tokio::spawn(async move {
            match waiting.until_ended(id, WORK_MAX).await {
                Some(Operation { state: Progress::Done, .. }) => Ok(()),
                Some(Operation { state: Progress::Cancelled, .. }) => Err(ControlError::Cancelled),
                Some(Operation { error: Some(error), .. }) => Err(ControlError::Internal(error)),
                _ => Err(ControlError::OutcomeUnknown(format!("operation {id} has not ended yet"))),
            }
        });
        Ok(Begun { operation, end, operations })
    }

    /// Waits for what runs on a node to end; what only waits is cancelled.
    async fn take_turn(&self, name: &NodeName) {
        let operations = &self.0.operations;
        let running = operations.list().into_iter().find(|operation| {
            operation.node.as_deref() == Some(name.as_str()) && operation.state == Progress::Running
        });
        let Some(first) = running else { return };
        operations.until_waits(first.id, TURN_WAIT).await;
        // Refused if it has ended meanwhile, which is as good.
        operations.cancel(first.id).ok();
        operations.until_ended(first.id, TURN_WAIT).await;
    }

    /// Decides on an action, from what the nodes say now.
    pub(crate) async fn decide(
        &self,
        action: Action,
        name: &NodeName,
    ) -> Result<Verdict, ControlError> {
        let picture = self.look().await;
        let unknown = || ControlError::UnknownNode(name.to_string());
        decide(&picture, action, name.as_str()).ok_or_else(unknown)
    }

    /// Asks every node that runs how it is, all at once.
    pub(crate) async fn look(&self) -> Picture {
        let nodes = self.nodes();
        let seen = join_all(nodes.iter().map(|node| self.see(node))).await;
        let named = nodes.iter().map(|node| node.name().to_string()).zip(seen);
        let views: BTreeMap<String, View> = named.collect();
        Picture::of(&self.manifest(), &views, |name| !self.0.data.holds_replica(name))
    }

    /// A node's view with what it says now.
    async fn see(&self, node: &Node) -> View {
        let mut view = node.view();
        let alive = matches!(
            view.phase,
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Unhealthy { .. }
        );
        if alive {
            let place = &node.place;
            view.observe(self.0.client.observe(place.api_port, &place.name, &place.cluster).await);
            let failures = Failures::default();
            view.phase = match view.observed {
                Observation::Answers { .. } => Phase::Running { failures },
                _ => Phase::Unhealthy { failures },
            };
            // It may have been stopped while it was asked.
            if matches!(node.view().phase, Phase::Stopping { .. } | Phase::Stopped) {
                view.phase = node.view().phase;
            }
        }
        view
    }

    fn tell_refused(
        &self,
        kind: &'static str,
        what: &str,
        node: Option<&str>,
        actor: &str,
        why: &ControlError,
    ) {
        let text = format!("asked to {what}: refused, {why}");
        self.tell(Severity::Warning, kind, node, actor, text);
    }

    pub(crate) fn tell(
        &self,
        severity: Severity,
        kind: &'static str,
        node: Option<&str>,
        actor: &str,
        text: impl Into<String>,
    ) {
        let event = NewEvent::new(severity, kind, text).actor(actor);
        let node = node.map(ToOwned::to_owned);
        self.0.events.record(NewEvent { node, ..event });
    }
}

pub(crate) fn refused(refusal: &Refusal, verdict: &Verdict) -> ControlError {
    match refusal {
        Refusal::Harm(reason) => {
            ControlError::Harm { reason: reason.clone(), effect: verdict.effect.clone() }
        }
        Refusal::Unknown(reason) => ControlError::Unavailable(reason.clone()),
    }
}
