//! Stories of a cluster, told in text: `tests/scripts/*`, run over memory with a paused clock.
//!
//! A script is blocks of commands, each followed by `---` and by what they print. A run compares
//! exactly; `UPDATE=1` writes what was printed into the script instead, to be read before it is
//! committed. The commands are listed in [`commands`], what they act on is [`world`]'s.
//!
//! Every script runs from several seeds, which vary the disks' delays and all timers, and must print
//! the same each time: a story that depends on luck is not a story. `SEEDS=50` runs it from fifty.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod script;
mod world;

/// One test for each script, named after it.
macro_rules! stories {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                script::run(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_a_test() {
            assert_eq!(script::names(), [$(stringify!($name)),*]);
        }
    };
}

stories! {
    a_dead_member_is_replaced_under_its_name
    a_deposed_leader_refuses_linearizable_reads
    a_follower_forwards_writes
    a_learner_is_promoted_when_it_has_caught_up
    a_lost_answer_is_applied_once
    a_newcomer_joins_through_any_member
    a_put_survives_the_leader_that_acknowledged_it
    a_removal_that_would_lose_the_quorum_is_refused
    a_removed_member_is_told_and_disturbs_nobody
    a_replica_resumes_where_it_was_killed
    history_grows_old_whoever_leads
    leadership_moves_before_the_leader_is_removed
    leadership_moves_when_asked
    quorum_loss_is_answered_at_once
}
