//! What each action does to the quorum, as tables.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::lifecycle::Phase;
use crate::probe::Observation;
use crate::report::tests::view;

/// A cluster in letters, node1 first: `L` leads, `v` votes and answers, `x` votes and does not answer,
/// `l` learns and answers, `y` learns and does not, `n` runs and is no member, `b` is blank.
fn cluster(letters: &str) -> Picture {
    let known = |(number, letter): (usize, char)| Known {
        name: format!("node{}", number + 1),
        part: match letter {
            'L' | 'v' | 'x' => Part::Voter,
            'l' | 'y' => Part::Learner,
            _ => Part::None,
        },
        answers: matches!(letter, 'L' | 'v' | 'l' | 'n'),
        ready: matches!(letter, 'L' | 'v' | 'l'),
        leads: letter == 'L',
        runs: !matches!(letter, 'x' | 'y' | 'b'),
        wanted: true,
        leaving: false,
        blank: letter == 'b',
    };
    let nodes: Vec<Known> = letters.chars().enumerate().map(known).collect();
    Picture { known: nodes.iter().any(|node| node.answers), formed: true, nodes }
}

fn decided(letters: &str, action: Action, name: &str) -> Verdict {
    decide(&cluster(letters), action, name).unwrap()
}

/// Voters, online and needed after the action.
fn after(verdict: &Verdict) -> (usize, usize, usize) {
    let effect = verdict.effect.as_ref().unwrap();
    (effect.voters_after, effect.online_after, effect.needed_after)
}

/// The cluster, the action on a node, and voters, online and needed after it; a refusal below.
const TABLE: &str = "
    # Always allowed, whatever it costs.
    Lvv stop node2 3/2/2
    Lvx stop node2 3/1/2
    vxx stop node1 3/0/2
    Lvx kill node1 3/1/2
    Lvx start node3 3/3/2
    Lvv start node3 3/3/2
    # A rolling step.
    Lvv restart node1 3/2/2
    Lvx restart node2 3/1/2 restarting node2 leaves 1 of 3 voters, 2 are needed
    Lvx restart node3 3/2/2
    Lvvxx restart node2 5/2/3 restarting node2 leaves 2 of 5 voters, 3 are needed
    L restart node1 1/0/1 restarting node1 leaves 0 of 1 voters, 1 is needed
    Lvxl restart node4 3/2/2
    vxx restart node2 3/1/2
    # Fewer voters need fewer.
    Lvv decommission node1 2/2/2
    Lvx decommission node3 2/2/2
    Lvx decommission node2 2/1/2 decommissioning node2 leaves 1 of 2 voters, 2 are needed
    Lvvxx decommission node3 4/2/3 decommissioning node3 leaves 2 of 4 voters, 3 are needed
    Lv decommission node2 1/1/1
    Ll decommission node1 0/0/1 decommissioning node1 leaves 0 of 0 voters, 1 is needed
    Lvl decommission node3 2/2/2
    vxx decommission node3 2/1/2 decommissioning node3 leaves 1 of 2 voters, 2 are needed
    vvxxl decommission node5 4/2/3 2 of 4 voters answer, 3 are needed: nothing can be decided now
    vxxb decommission node4 3/1/2
    L decommission node1 0/0/1 node1 is the last node; deleting it would delete the cluster and all its data
    # Votes.
    Lvvl promote node4 4/4/3
    Lvxl promote node4 4/3/3
    Lvxy promote node4 4/2/3 promoting node4 leaves 2 of 4 voters, 3 are needed
    Lvv promote node2 3/3/2 node2 votes already
    Lvvn promote node4 3/3/2 node4 is no member yet; it joins as a learner first
    Lvv transfer node2 3/3/2
    Lvx transfer node3 3/2/2 node3 does not answer, so it cannot lead
    Lvl transfer node3 2/2/2 node3 does not vote, so it cannot lead; promote it first
    vxx transfer node1 3/1/2 1 of 3 voters answer, 2 are needed: nothing can be decided now
";

#[test]
fn each_action_is_allowed_or_refused_by_its_arithmetic() {
    let rows = TABLE.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#'));
    for row in rows {
        let mut words = row.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (letters, action, name) = (word(), word().parse().unwrap(), word());
        let (counts, reason) = (word(), word());
        let verdict = decided(letters, action, name);
        let (voters, online, needed) = after(&verdict);
        assert_eq!(format!("{voters}/{online}/{needed}"), counts, "{row}");
        assert_eq!(verdict.refusal.as_ref().map_or("", Refusal::reason), reason, "{row}");
        assert!(!verdict.steps.is_empty());
    }
}

#[test]
fn with_nobody_to_ask_it_is_unknown_and_never_fine() {
    for action in ACTIONS {
        let verdict = decided("xxx", action, "node1");
        assert_eq!(verdict.effect, None, "{action}");
        let unknown = matches!(verdict.refusal, Some(Refusal::Unknown(_)));
        let said = verdict.warnings.iter().any(|warning| warning.contains("not known who votes"));
        assert!(unknown || said, "{action}: {verdict:?}");
        let may = matches!(action, Action::Start | Action::Stop | Action::Kill | Action::Restart);
        assert_eq!(verdict.refusal.is_none(), may, "{action}");
    }
    assert!(matches!(decide_rolling(&cluster("xxx")).refusal, Some(Refusal::Unknown(_))));
}

#[test]
fn leadership_moves_first_where_someone_is_left_to_take_it() {
    for (letters, action, moves) in [
        ("Lvv", Action::Stop, true),
        ("Lvv", Action::Restart, true),
        ("Lvv", Action::Decommission, true),
        ("Lv", Action::Decommission, true),
        ("Lvx", Action::Stop, false),
        ("Lvv", Action::Kill, false),
        ("vLv", Action::Stop, false),
        ("vLv", Action::Transfer, true),
    ] {
        let verdict = decided(letters, action, "node1");
        assert_eq!(verdict.moves_leadership(), moves, "{action} of {letters}");
        let first = verdict.steps[0].starts_with("move leadership");
        assert_eq!(first, moves, "{action} of {letters}: {:?}", verdict.steps);
    }
}

#[test]
fn what_is_allowed_and_costly_is_said() {
    let warns =
        |letters: &str, action, name: &str| decided(letters, action, name).warnings.join("; ");
    assert_eq!(
        warns("Lvx", Action::Stop, "node2"),
        "stopping node2 leaves 1 of 3 voters, 2 are needed: nothing can be decided then, so reads and writes fail"
    );
    assert!(warns("vxx", Action::Stop, "node1").contains("it has no majority already"));
    assert_eq!(warns("Lvv", Action::Stop, "node2"), "no further voter may fail");
    assert_eq!(
        warns("Lvv", Action::Restart, "node2"),
        "no further voter may fail while it is down"
    );
    assert_eq!(warns("Lvvvv", Action::Stop, "node2"), "");
    assert!(
        warns("Lvv", Action::Kill, "node1").contains("writes wait until another one is elected")
    );
    assert!(warns("Lvv", Action::Kill, "node2").contains("is started again"));
    assert_eq!(warns("Lvv", Action::Transfer, "node1"), "node1 leads already");
}

#[test]
fn a_node_that_is_leaving_can_only_be_deleted_or_killed() {
    let mut picture = cluster("Lvvv");
    picture.nodes[3].leaving = true;
    for action in ACTIONS {
        let allowed = decide(&picture, action, "node4").unwrap().refusal.is_none();
        let may = matches!(action, Action::Kill | Action::Decommission);
        assert_eq!(allowed, may, "{action}");
    }
    picture.formed = false;
    let verdict = decide(&picture, Action::Decommission, "node2").unwrap();
    assert!(verdict.refusal.unwrap().reason().contains("not made yet"));
    assert_eq!(decide(&picture, Action::Start, "node9"), None);
}

#[test]
fn a_rolling_restart_takes_the_leader_last_and_begins_only_with_all_present() {
    let rolling = |letters: &str| decide_rolling(&cluster(letters));
    let verdict = rolling("vLvll");
    assert_eq!(verdict.refusal, None);
    assert_eq!(
        verdict.steps,
        [
            "restart node1",
            "restart node3",
            "restart node4",
            "restart node5",
            "move leadership away from node2, then restart it"
        ]
    );
    assert_eq!(after(&verdict), (3, 2, 2));
    for (letters, reason) in [
        ("Lvx", "restarting one at a time leaves 1 of 3 voters, 2 are needed"),
        ("L", "restarting one at a time leaves 0 of 1 voters, 1 is needed"),
        ("Lvvvx", "node5 should run and cannot serve"),
    ] {
        let reason_given = rolling(letters).refusal.unwrap();
        assert!(reason_given.reason().starts_with(reason), "{letters}: {reason_given:?}");
    }
    // One that was stopped on purpose is left alone.
    let mut picture = cluster("Lvvvx");
    picture.nodes[4].wanted = false;
    let verdict = decide_rolling(&picture);
    assert_eq!((verdict.refusal.as_ref(), verdict.steps.len()), (None, 4));
}

#[test]
fn the_picture_is_what_the_best_informed_node_says() {
    let mut manifest = Manifest::new(9000, 3).unwrap();
    manifest.formed = true;
    for (spec, id) in manifest.nodes.iter_mut().zip(1..) {
        spec.node_id = Some(id);
    }
    let mut down = view("node2", 2, "follower", 4);
    down.phase = Phase::Stopped;
    down.pid = None;
    let leader = view("node1", 1, "leader", 4);
    let learner = view("node3", 3, "learner", 4);
    let views = [("node1", leader), ("node2", down), ("node3", learner)]
        .map(|(name, view)| (name.to_owned(), view));
    let picture = Picture::of(&manifest, &views.into(), |_| true);
    let parts: Vec<_> =
        picture.nodes.iter().map(|n| (n.part, n.answers, n.leads, n.blank)).collect();
    assert_eq!(
        parts,
        [
            (Part::Voter, true, true, false),
            (Part::Voter, false, false, true),
            (Part::Learner, true, false, false),
        ]
    );
    // Stopped before its id was written down, while its leader has not missed it yet.
    manifest.nodes[1].node_id = None;
    let mut leader = view("node1", 1, "leader", 4);
    if let Observation::Answers { status, .. } = &mut leader.observed {
        status.peers =
            serde_json::from_value(serde_json::json!([{"id": 2, "alive": true}])).unwrap();
    }
    let down = View { phase: Phase::Stopped, pid: None, ..view("node2", 2, "follower", 4) };
    let views = [("node1", leader), ("node2", down)].map(|(name, view)| (name.to_owned(), view));
    let picture = Picture::of(&manifest, &views.into(), |_| false);
    let node2 = picture.node("node2").unwrap();
    assert_eq!((node2.part, node2.answers), (Part::Voter, false));
    assert!(picture.node("#2").is_none());
    // A voter that no node of the manifest is counts, and does not answer.
    manifest.nodes.remove(1);
    let views = [("node1".to_owned(), view("node1", 1, "leader", 4))];
    let picture = Picture::of(&manifest, &views.into(), |_| false);
    let stranger = picture.node("#2").unwrap();
    assert_eq!((stranger.part, stranger.answers), (Part::Voter, false));
    assert!(!Picture::of(&manifest, &BTreeMap::new(), |_| false).known);
}
