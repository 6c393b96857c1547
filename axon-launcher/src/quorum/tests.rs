#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::lifecycle::Phase;
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

#[test]
fn each_action_is_allowed_or_refused_by_its_arithmetic() {
    use Action::{Decommission, Kill, Promote, Restart, Start, Stop, Transfer};
    let ok = None;
    let table = [
        // Always allowed, whatever it costs.
        ("Lvv", Stop, "node2", (3, 2, 2), ok),
        ("Lvx", Stop, "node2", (3, 1, 2), ok),
        ("vxx", Stop, "node1", (3, 0, 2), ok),
        ("Lvx", Kill, "node1", (3, 1, 2), ok),
        ("Lvx", Start, "node3", (3, 3, 2), ok),
        ("Lvv", Start, "node3", (3, 3, 2), ok),
        // A rolling step.
        ("Lvv", Restart, "node1", (3, 2, 2), ok),
        (
            "Lvx",
            Restart,
            "node2",
            (3, 1, 2),
            Some("restarting node2 leaves 1 of 3 voters, 2 are needed"),
        ),
        ("Lvx", Restart, "node3", (3, 2, 2), ok),
        (
            "Lvvxx",
            Restart,
            "node2",
            (5, 2, 3),
            Some("restarting node2 leaves 2 of 5 voters, 3 are needed"),
        ),
        (
            "L",
            Restart,
            "node1",
            (1, 0, 1),
            Some("restarting node1 leaves 0 of 1 voters, 1 is needed"),
        ),
        ("Lvxl", Restart, "node4", (3, 2, 2), ok),
        ("vxx", Restart, "node2", (3, 1, 2), ok),
        // Fewer voters need fewer.
        ("Lvv", Decommission, "node1", (2, 2, 2), ok),
        ("Lvx", Decommission, "node3", (2, 2, 2), ok),
        (
            "Lvx",
            Decommission,
            "node2",
            (2, 1, 2),
            Some("decommissioning node2 leaves 1 of 2 voters, 2 are needed"),
        ),
        (
            "Lvvxx",
            Decommission,
            "node3",
            (4, 2, 3),
            Some("decommissioning node3 leaves 2 of 4 voters, 3 are needed"),
        ),
        ("Lv", Decommission, "node2", (1, 1, 1), ok),
        (
            "Ll",
            Decommission,
            "node1",
            (0, 0, 1),
            Some("decommissioning node1 leaves 0 of 0 voters, 1 is needed"),
        ),
        ("Lvl", Decommission, "node3", (2, 2, 2), ok),
        (
            "vxx",
            Decommission,
            "node3",
            (2, 1, 2),
            Some("decommissioning node3 leaves 1 of 2 voters, 2 are needed"),
        ),
        (
            "vvxxl",
            Decommission,
            "node5",
            (4, 2, 3),
            Some("2 of 4 voters answer, 3 are needed: nothing can be decided now"),
        ),
        ("vxxb", Decommission, "node4", (3, 1, 2), ok),
        (
            "L",
            Decommission,
            "node1",
            (0, 0, 1),
            Some("node1 is the last node; deleting it would delete the cluster and all its data"),
        ),
        // Votes.
        ("Lvvl", Promote, "node4", (4, 4, 3), ok),
        ("Lvxl", Promote, "node4", (4, 3, 3), ok),
        (
            "Lvxy",
            Promote,
            "node4",
            (4, 2, 3),
            Some("promoting node4 leaves 2 of 4 voters, 3 are needed"),
        ),
        ("Lvv", Promote, "node2", (3, 3, 2), Some("node2 votes already")),
        (
            "Lvvn",
            Promote,
            "node4",
            (3, 3, 2),
            Some("node4 is no member yet; it joins as a learner first"),
        ),
        ("Lvv", Transfer, "node2", (3, 3, 2), ok),
        ("Lvx", Transfer, "node3", (3, 2, 2), Some("node3 does not answer, so it cannot lead")),
        (
            "Lvl",
            Transfer,
            "node3",
            (2, 2, 2),
            Some("node3 does not vote, so it cannot lead; promote it first"),
        ),
        (
            "vxx",
            Transfer,
            "node1",
            (3, 1, 2),
            Some("1 of 3 voters answer, 2 are needed: nothing can be decided now"),
        ),
    ];
    for (letters, action, name, expected, reason) in table {
        let verdict = decided(letters, action, name);
        assert_eq!(after(&verdict), expected, "{action} {name} of {letters}");
        let refused = verdict.refusal.as_ref().map(Refusal::reason);
        assert_eq!(refused, reason, "{action} {name} of {letters}");
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
    // A voter that no node of the manifest is counts, and does not answer.
    manifest.nodes.remove(1);
    let views = [("node1".to_owned(), view("node1", 1, "leader", 4))];
    let picture = Picture::of(&manifest, &views.into(), |_| false);
    let stranger = picture.node("#2").unwrap();
    assert_eq!((stranger.part, stranger.answers), (Part::Voter, false));
    assert!(!Picture::of(&manifest, &BTreeMap::new(), |_| false).known);
}
