//! What an action does to the quorum, and whether it is carried out: one function decides both what a
//! dry run says and what the action does. Pure.
//!
//! Rules:
//! * starting, stopping and killing are always allowed, since people must be able to stop what they
//!   run; a warning says when that loses the quorum;
//! * a restart, a rolling restart, a decommission and a promotion are refused when too few voters
//!   would answer, with the arithmetic; restarting what does not answer anyway costs nothing;
//! * with nobody to ask it is not known who votes, and that is said: never "fine", never a number.
//!
//! The cluster has the last word: it refuses a removal or a promotion by what its own leader hears.

use crate::manifest::{Desired, Manifest, NodeName};
use crate::node::View;
use crate::report::{Words, membership};
use crate::roster::id_of;
use crate::wire::{DryRun, Effect};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Have it run.
    Start,
    /// Have it end, and stay so.
    Stop,
    /// Have it end and start again.
    Restart,
    /// End its process at once; it starts again if it should run.
    Kill,
    /// Give it a vote.
    Promote,
    /// Make it the leader.
    Transfer,
    /// Take it out for good, with its data.
    Decommission,
}

/// All of them.
pub const ACTIONS: [Action; 7] = [
    Action::Start,
    Action::Stop,
    Action::Restart,
    Action::Kill,
    Action::Promote,
    Action::Transfer,
    Action::Decommission,
];

impl Action {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Promote => "promote",
            Self::Transfer => "transfer",
            Self::Decommission => "decommission",
        }
    }

    fn doing(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
            Self::Kill => "killing",
            Self::Promote => "promoting",
            Self::Transfer => "moving leadership to",
            Self::Decommission => "decommissioning",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ACTIONS.into_iter().find(|action| action.as_str() == text).ok_or_else(|| {
            let words = ACTIONS.map(Action::as_str).join(", ");
            format!("there is no action of that name; there are {words}")
        })
    }
}

/// What a node is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It votes.
    Voter,
    /// It receives the log without a vote.
    Learner,
    /// It is no member, or not yet.
    None,
}

/// A node, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts, each independent of the others")]
pub struct Known {
    /// Its name; a member that the launcher does not run stands as `#7`.
    pub name: String,
    /// What it is to the cluster; nothing where that is not known.
    pub part: Part,
    /// Whether it answers as itself.
    pub answers: bool,
    /// Whether it can serve.
    pub ready: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Whether a process of it runs.
    pub runs: bool,
    /// Whether it should run.
    pub wanted: bool,
    /// Whether it is being decommissioned.
    pub leaving: bool,
    /// Whether it was never anything: no process, nothing on its disk.
    pub blank: bool,
}

impl Known {
    /// A voter that the launcher does not run: what there is to know of it, the leader hears.
    fn stranger(id: u64, words: Words<'_>) -> Self {
        let heard = words.claimant.and_then(|leader| leader.peer(id)?.alive) == Some(true);
        Self {
            name: format!("#{id}"),
            part: Part::Voter,
            answers: heard,
            ready: heard,
            leads: false,
            runs: heard,
            wanted: false,
            leaving: false,
            blank: false,
        }
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Whether anyone says who votes.
    pub known: bool,
    /// Whether the cluster is made.
    pub formed: bool,
    /// All nodes, those that the launcher runs in the order of its manifest.
    pub nodes: Vec<Known>,
}

/// Why an action is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It would do harm, or makes no sense as things are.
    Harm(String),
    /// It is not known what it would do.
    Unknown(String),
}

impl Refusal {
    /// Why, in a sentence.
    pub fn reason(&self) -> &str {
        match self {
            Self::Harm(reason) | Self::Unknown(reason) => reason,
        }
    }
}

/// What is made of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is not carried out, if it is not.
    pub refusal: Option<Refusal>,
    /// What else to know.
    pub warnings: Vec<String>,
    /// What it does to the quorum; nothing where that is not known.
    pub effect: Option<Effect>,
    /// What is done, in order.
    pub steps: Vec<String>,
}

impl Verdict {
    /// Whether leadership moves away first.
    pub fn moves_leadership(&self) -> bool {
        self.effect.as_ref().is_some_and(|effect| effect.moves_leadership)
    }
}

impl From<Verdict> for DryRun {
    fn from(verdict: Verdict) -> Self {
        let Verdict { refusal, warnings, effect, steps } = verdict;
        let reason = refusal.as_ref().map(|refusal| refusal.reason().to_owned());
        Self { allowed: refusal.is_none(), reason, warnings, effect, steps }
    }
}

/// How many voters a decision needs.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Picture {
    /// Brings together what is known. `blank` tells of a node's directory that nothing was ever written
    /// there.
    pub fn of(
        manifest: &Manifest,
        views: &BTreeMap<String, View>,
        blank: impl Fn(&NodeName) -> bool,
    ) -> Self {
        let words = Words::of(views);
        let mut nodes = Vec::new();
        let mut strangers = words.informed.map(|said| said.voters.clone()).unwrap_or_default();
        for spec in &manifest.nodes {
            let view = views.get(spec.name.as_str());
            let id = id_of(spec, view);
            strangers.retain(|stranger| id != Some(*stranger));
            let part = match words.informed.map(|informed| membership(informed, id)) {
                Some("voter") => Part::Voter,
                Some("learner") => Part::Learner,
                _ => Part::None,
            };
            let status = view.and_then(View::status);
            let runs = view.is_some_and(|view| view.pid.is_some());
            nodes.push(Known {
                name: spec.name.to_string(),
                part,
                answers: status.is_some(),
                ready: status.is_some() && view.is_some_and(|view| view.observed.ready()),
                leads: words.claimant.is_some_and(|leader| leader.name == spec.name.as_str()),
                runs,
                wanted: spec.desired == Desired::Running,
                leaving: spec.decommission.is_some(),
                blank: !runs && blank(&spec.name),
            });
        }
        nodes.extend(strangers.into_iter().map(|id| Known::stranger(id, words)));
        Self { known: words.informed.is_some(), formed: manifest.formed, nodes }
    }

    /// Finds a node by its name.
    pub fn node(&self, name: &str) -> Option<&Known> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Who leads.
    pub fn leader(&self) -> Option<&Known> {
        self.nodes.iter().find(|node| node.leads)
    }

    fn voters(&self) -> impl Iterator<Item = &Known> {
        self.nodes.iter().filter(|node| node.part == Part::Voter)
    }

    /// The quorum as it is, with nothing done.
    fn effect(&self) -> Effect {
        let voters = self.voters().count();
        let online = self.voters().filter(|voter| voter.answers).count();
        let needed = majority(voters);
        Effect {
            voters_before: voters,
            online_before: online,
            needed_before: needed,
            voters_after: voters,
            online_after: online,
            needed_after: needed,
            moves_leadership: false,
        }
    }
}

const NOBODY: &str = "no node answers, so it is not known who votes";

/// Decides on an action on a node, which must be in the picture.
pub fn decide(picture: &Picture, action: Action, name: &str) -> Option<Verdict> {
    let node = picture.node(name)?;
    let effect = picture.known.then(|| effect(picture, action, node));
    let refusal = refusal(picture, action, node, effect.as_ref());
    let mut warnings = Vec::new();
    if refusal.is_none() {
        warn(&mut warnings, picture, action, node, effect.as_ref());
    }
    let moves = effect.as_ref().is_some_and(|effect| effect.moves_leadership);
    Some(Verdict { refusal, warnings, steps: steps(action, node, moves), effect })
}

fn effect(picture: &Picture, action: Action, node: &Known) -> Effect {
    let mut effect = picture.effect();
    let votes = node.part == Part::Voter;
    let counted = usize::from(votes && node.answers);
    match action {
        Action::Start => effect.online_after += usize::from(votes && !node.answers),
        Action::Stop | Action::Kill => effect.online_after -= counted,
        Action::Restart if node.answers => effect.online_after -= counted,
        Action::Promote if node.part == Part::Learner => {
            effect.voters_after += 1;
            effect.online_after += usize::from(node.answers);
        }
        Action::Decommission if votes => {
            effect.voters_after -= 1;
            effect.online_after -= counted;
        }
        // Moving leadership moves no vote, nor does what is done to who has none.
        Action::Restart | Action::Promote | Action::Transfer | Action::Decommission => {}
    }
    effect.needed_after = majority(effect.voters_after);
    effect.moves_leadership = match action {
        // Without a majority left there is nobody to hand over to.
        Action::Stop | Action::Restart | Action::Decommission => {
            node.leads && effect.online_after >= effect.needed_after && effect.online_after > 0
        }
        Action::Transfer => !node.leads,
        Action::Start | Action::Kill | Action::Promote => false,
    };
    effect
}

fn refusal(
    picture: &Picture,
    action: Action,
    node: &Known,
    effect: Option<&Effect>,
) -> Option<Refusal> {
    let name = &node.name;
    let harm = |reason: String| Some(Refusal::Harm(reason));
    if action == Action::Decommission {
        let own = picture.nodes.iter().filter(|node| !node.name.starts_with('#')).count();
        if !picture.formed {
            return harm("the cluster is not made yet; nothing can be deleted".to_owned());
        }
        if own == 1 {
            return harm(format!(
                "{name} is the last node; deleting it would delete the cluster and all its data"
            ));
        }
        // Nothing was ever written there, so nothing was ever joined.
        if node.blank || node.leaving {
            return None;
        }
    }
    if node.leaving && action != Action::Kill {
        return harm(format!("{name} is being deleted"));
    }
    if matches!(action, Action::Start | Action::Stop | Action::Kill) {
        return None;
    }
    if action == Action::Restart && !node.answers {
        return None;
    }
    let Some(effect) = effect else {
        return Some(Refusal::Unknown(format!("{NOBODY}: {} {name} is not safe", action.doing())));
    };
    match (action, node.part) {
        (Action::Promote, Part::Voter) => return harm(format!("{name} votes already")),
        (Action::Promote, Part::None) => {
            return harm(format!("{name} is no member yet; it joins as a learner first"));
        }
        (Action::Transfer, Part::Learner | Part::None) => {
            return harm(format!("{name} does not vote, so it cannot lead; promote it first"));
        }
        (Action::Transfer, Part::Voter) if !node.answers => {
            return harm(format!("{name} does not answer, so it cannot lead"));
        }
        _ => {}
    }
    let loses = effect.online_after < effect.needed_after;
    let counts = node.part == Part::Voter || action == Action::Promote;
    if loses && counts && action != Action::Transfer {
        return harm(arithmetic(&format!("{} {name}", action.doing()), effect));
    }
    // The cluster decides on these, and cannot without a majority.
    let Effect { voters_before, online_before, needed_before, .. } = *effect;
    if action != Action::Restart && online_before < needed_before {
        return harm(format!(
            "{online_before} of {voters_before} voters answer, {needed_before} are needed: nothing can be decided now"
        ));
    }
    None
}

/// `stopping node2 leaves 1 of 3 voters, 2 are needed`.
fn arithmetic(doing: &str, effect: &Effect) -> String {
    let Effect { voters_after, online_after, needed_after, .. } = effect;
    let are = if *needed_after == 1 { "is" } else { "are" };
    format!("{doing} leaves {online_after} of {voters_after} voters, {needed_after} {are} needed")
}

fn warn(
    warnings: &mut Vec<String>,
    picture: &Picture,
    action: Action,
    node: &Known,
    effect: Option<&Effect>,
) {
    let name = &node.name;
    let Some(effect) = effect else {
        if !node.blank {
            warnings.push(format!("{NOBODY}, nor what this does to the quorum"));
        }
        return;
    };
    let loses = effect.online_after < effect.needed_after;
    if matches!(action, Action::Stop | Action::Kill) && loses && node.part == Part::Voter {
        let arithmetic = arithmetic(&format!("{} {name}", action.doing()), effect);
        let already = effect.online_before < effect.needed_before;
        let what =
            if already { "it has no majority already" } else { "nothing can be decided then" };
        warnings.push(format!("{arithmetic}: {what}, so reads and writes fail"));
    }
    if action == Action::Start && loses {
        warnings.push(arithmetic(&format!("starting {name}"), effect));
    }
    let spare = effect.online_after.saturating_sub(effect.needed_after);
    let shrinks = effect.online_after < effect.online_before
        || effect.needed_after > effect.needed_before
        || effect.voters_after < effect.voters_before;
    if shrinks && !loses && spare == 0 {
        let for_now = if action == Action::Restart { " while it is down" } else { "" };
        warnings.push(format!("no further voter may fail{for_now}"));
    }
    if node.leads && action == Action::Kill {
        warnings.push(format!("{name} leads: writes wait until another one is elected"));
    }
    if node.leads && action == Action::Transfer {
        warnings.push(format!("{name} leads already"));
    }
    if action == Action::Promote && !node.answers {
        warnings.push(format!("{name} does not answer: its vote counts, and is missing"));
    }
    if action == Action::Kill && node.wanted {
        warnings.push(format!("{name} is started again, since it should run"));
    }
    if action == Action::Transfer && picture.leader().is_none() {
        warnings.push("no node leads now; an election comes first".to_owned());
    }
}

fn steps(action: Action, node: &Known, moves: bool) -> Vec<String> {
    let name = &node.name;
    let first = moves.then(|| format!("move leadership away from {name}"));
    let rest = match action {
        Action::Start => {
            vec![format!("start {name}"), format!("wait until {name} is ready")]
        }
        Action::Stop => vec![format!("stop {name}")],
        Action::Restart => vec![
            format!("stop {name}"),
            format!("start {name}"),
            format!("wait until {name} is ready and has caught up"),
        ],
        Action::Kill => vec![format!("kill the process of {name}")],
        Action::Promote => vec![format!("give {name} a vote")],
        Action::Transfer => return vec![format!("move leadership to {name}")],
        Action::Decommission => vec![
            format!("take {name} out of the membership and stop it"),
            format!("delete the directory of {name}"),
        ],
    };
    first.into_iter().chain(rest).collect()
}

/// The nodes that a rolling restart goes through: followers first, the leader last.
pub fn rolling_order(picture: &Picture) -> Vec<&Known> {
    let mut nodes: Vec<&Known> = picture
        .nodes
        .iter()
        .filter(|node| node.wanted && !node.leaving && !node.name.starts_with('#'))
        .collect();
    nodes.sort_by_key(|node| node.leads);
    nodes
}

/// Decides on restarting all nodes that should run, one at a time.
pub fn decide_rolling(picture: &Picture) -> Verdict {
    let nodes = rolling_order(picture);
    let effect = picture.known.then(|| {
        let mut effect = picture.effect();
        if nodes.iter().any(|node| node.part == Part::Voter && node.answers) {
            effect.online_after -= 1;
        }
        effect.moves_leadership = nodes.iter().any(|node| node.leads);
        effect
    });
    let absent: Vec<&str> =
        nodes.iter().filter(|node| !node.ready).map(|node| node.name.as_str()).collect();
    let harm = |reason: String| Some(Refusal::Harm(reason));
    let refusal = match &effect {
        _ if nodes.is_empty() => harm("no node should run, so there is none to restart".to_owned()),
        None => {
            Some(Refusal::Unknown(format!("{NOBODY}: restarting one after the other is not safe")))
        }
        Some(effect) if effect.online_after < effect.needed_after => {
            harm(arithmetic("restarting one at a time", effect))
        }
        Some(_) if !absent.is_empty() => harm(format!(
            "{} should run and cannot serve: one more down would make two; bring it back, or stop it",
            absent.join(", ")
        )),
        Some(_) => None,
    };
    let mut warnings = Vec::new();
    if let (None, Some(effect)) = (&refusal, &effect)
        && effect.online_after == effect.needed_after
    {
        warnings.push("no further voter may fail while one is down".to_owned());
    }
    let steps = nodes
        .iter()
        .map(|node| {
            if node.leads {
                format!("move leadership away from {}, then restart it", node.name)
            } else {
                format!("restart {}", node.name)
            }
        })
        .collect();
    Verdict { refusal, warnings, effect, steps }
}

#[cfg(test)]
mod tests;
