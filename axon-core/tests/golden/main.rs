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
mod engine;
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
    a_damaged_row_is_found_by_a_scrub
    a_dead_member_is_replaced_under_its_name
    a_deposed_leader_refuses_linearizable_reads
    a_follower_forwards_writes
    a_key_does_its_write_once_whoever_leads
    a_leader_whose_state_differs_steps_down_and_halts
    a_learner_is_promoted_when_it_has_caught_up
    a_learner_removed_before_it_votes_is_told
    a_lost_answer_is_applied_once
    a_lost_answer_to_a_swap_is_no_conflict
    a_member_not_heard_of_yet_is_not_called_dead
    a_member_that_is_back_is_not_replaced
    a_member_that_never_votes_is_not_promoted
    a_newcomer_joins_through_any_member
    a_newcomer_knocks_until_there_is_a_leader
    a_paused_leader_serves_nothing_stale
    a_put_survives_the_leader_that_acknowledged_it
    a_removal_asks_who_answers_now
    a_removal_that_would_lose_the_quorum_is_refused
    a_removed_member_is_told_and_disturbs_nobody
    a_removed_member_left_running_moves_no_term
    a_replica_resumes_where_it_was_killed
    a_state_that_differs_is_quarantined_and_comes_back_as_a_new_node
    events_tell_what_happened
    history_grows_old_whoever_leads
    leadership_moves_before_the_leader_is_removed
    leadership_moves_when_asked
    quorum_loss_is_answered_at_once
    states_without_a_majority_stop_all
    two_dead_members_of_one_name_are_replaced_at_once
    who_is_right_is_not_known_while_too_few_answer
    writes_go_on_while_leadership_moves
}
