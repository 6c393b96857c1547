//! The life of a node's process: one enum, one transition function, no effects.
//!
//! ```text
//!             start                    answers
//!   Stopped ---------> Starting ------------------> Running <----> Silent
//!      ^  ^               | exits by itself            |  exits       |
//!      |  |               v                            v              |
//!      |  +--- stop -- Waiting (back-off, then Starting again) <------+
//!      |                  | exits with code 4, at any time
//!      +-- exits --- Stopping <-- stop                 +-----> Removed
//! ```

use crate::process::Exit;
use std::time::Duration;

/// A process that has answered for this long has no earlier failures held against it: it works, and
/// what ended it came from outside. One that halts over what is on its disk does so long before.
pub const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// How long a process may take to stop before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(15);

const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Where a node's process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs and nothing should.
    Stopped,
    /// It runs and has not answered yet. `failures`: how often in a row it ended by itself.
    Starting {
        /// How often in a row it ended by itself.
        failures: u32,
    },
    /// It runs and answers.
    Running {
        /// How often in a row it ended by itself before.
        failures: u32,
    },
    /// It runs, and has ceased to answer.
    Silent {
        /// How often in a row it ended by itself before.
        failures: u32,
    },
    /// It was told to stop and has not ended yet. `again`: it is wanted back after that.
    Stopping {
        /// Whether it starts again once it has ended.
        again: bool,
    },
    /// It ended by itself and starts again after a while.
    Waiting {
        /// How often in a row it ended by itself.
        failures: u32,
    },
    /// Its cluster has removed it: it does not start again.
    Removed,
}

/// What happens to a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is wanted.
    Start,
    /// It is not wanted.
    Stop,
    /// A process that an earlier launcher left was found.
    Adopted,
    /// It could not be started.
    SpawnFailed,
    /// It answers.
    Answered,
    /// It does not answer.
    Unanswered,
    /// It has ended.
    Exited(Exit),
    /// The time that was set is over.
    TimeUp,
}

/// What must be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Start a process; report [`Event::SpawnFailed`] if that fails.
    Spawn,
    /// Ask the process to stop, and report [`Event::TimeUp`] after [`STOP_GRACE`].
    Terminate,
    /// Kill the process.
    Kill,
    /// Report [`Event::TimeUp`] after this time.
    Wait(Duration),
}

impl Phase {
    /// The word for it, as shown to people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Silent { .. } => "silent",
            Self::Stopping { .. } => "stopping",
            Self::Waiting { .. } => "waiting",
            Self::Removed => "removed",
        }
    }
}

/// How long a node waits that has ended by itself `failures` times in a row.
pub fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACK_OFF_MAX.min(BACK_OFF_MIN * 2_u32.pow(doublings))
}

/// What follows when `event` happens in `phase`.
#[allow(clippy::match_same_arms, reason = "arms are grouped by what happens, not by what follows")]
pub fn next(phase: Phase, event: Event) -> (Phase, Action) {
    use Phase::{Removed, Running, Silent, Starting, Stopped, Stopping, Waiting};
    match (phase, event) {
        (Stopped, Event::Start) => (Starting { failures: 0 }, Action::Spawn),
        // Asked for by someone who may have put the cause right: now, not after the back-off.
        (Waiting { failures }, Event::Start | Event::TimeUp) => {
            (Starting { failures }, Action::Spawn)
        }
        (Stopping { .. }, Event::Start) => (Stopping { again: true }, Action::None),
        (Stopped, Event::Adopted) => (Starting { failures: 0 }, Action::None),

        (Starting { .. } | Running { .. } | Silent { .. }, Event::Stop) => {
            (Stopping { again: false }, Action::Terminate)
        }
        (Stopping { .. }, Event::Stop) => (Stopping { again: false }, Action::None),
        (Waiting { .. }, Event::Stop) => (Stopped, Action::None),
        (Stopping { again }, Event::TimeUp) => (Stopping { again }, Action::Kill),

        (Starting { failures } | Silent { failures }, Event::Answered) => {
            (Running { failures }, Action::Wait(SETTLED_AFTER))
        }
        (Running { failures }, Event::Unanswered) => (Silent { failures }, Action::None),
        (Running { .. }, Event::TimeUp) => (Running { failures: 0 }, Action::None),

        (Stopping { again: true }, Event::Exited(_)) => (Starting { failures: 0 }, Action::Spawn),
        (Stopping { again: false }, Event::Exited(_)) => (Stopped, Action::None),
        (Starting { .. } | Running { .. } | Silent { .. }, Event::Exited(Exit::REMOVED)) => {
            (Removed, Action::None)
        }
        (
            Starting { failures } | Running { failures } | Silent { failures },
            Event::Exited(_) | Event::SpawnFailed,
        ) => {
            let failures = failures.saturating_add(1);
            (Waiting { failures }, Action::Wait(back_off(failures)))
        }

        // The rest changes nothing: what is asked for is so already, or came too late to matter.
        (phase, _) => (phase, Action::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Removed, Running, Silent, Starting, Stopped, Stopping, Waiting};

    const CRASH: Event = Event::Exited(Exit::Code(3));

    #[test]
    fn every_transition_is_as_written() {
        let s = Duration::from_secs;
        let ms = Duration::from_millis;
        let table = [
            (Stopped, Event::Start, Starting { failures: 0 }, Action::Spawn),
            (Stopped, Event::Stop, Stopped, Action::None),
            (Stopped, Event::Adopted, Starting { failures: 0 }, Action::None),
            (Starting { failures: 0 }, Event::Start, Starting { failures: 0 }, Action::None),
            (
                Starting { failures: 2 },
                Event::Answered,
                Running { failures: 2 },
                Action::Wait(SETTLED_AFTER),
            ),
            (Starting { failures: 2 }, Event::Unanswered, Starting { failures: 2 }, Action::None),
            (Starting { failures: 0 }, CRASH, Waiting { failures: 1 }, Action::Wait(ms(500))),
            (
                Starting { failures: 1 },
                Event::SpawnFailed,
                Waiting { failures: 2 },
                Action::Wait(s(1)),
            ),
            (Starting { failures: 0 }, Event::Stop, Stopping { again: false }, Action::Terminate),
            (Running { failures: 2 }, Event::Answered, Running { failures: 2 }, Action::None),
            (Running { failures: 2 }, Event::TimeUp, Running { failures: 0 }, Action::None),
            (Running { failures: 2 }, Event::Unanswered, Silent { failures: 2 }, Action::None),
            (Running { failures: 9 }, CRASH, Waiting { failures: 10 }, Action::Wait(s(30))),
            (
                Running { failures: 0 },
                Event::Exited(Exit::Code(0)),
                Waiting { failures: 1 },
                Action::Wait(ms(500)),
            ),
            (Running { failures: 0 }, Event::Exited(Exit::REMOVED), Removed, Action::None),
            (Running { failures: 0 }, Event::Stop, Stopping { again: false }, Action::Terminate),
            (
                Silent { failures: 1 },
                Event::Answered,
                Running { failures: 1 },
                Action::Wait(SETTLED_AFTER),
            ),
            (Silent { failures: 1 }, Event::TimeUp, Silent { failures: 1 }, Action::None),
            (Silent { failures: 1 }, Event::Stop, Stopping { again: false }, Action::Terminate),
            (Stopping { again: false }, Event::Start, Stopping { again: true }, Action::None),
            (Stopping { again: true }, Event::Stop, Stopping { again: false }, Action::None),
            (Stopping { again: false }, Event::TimeUp, Stopping { again: false }, Action::Kill),
            (Stopping { again: true }, CRASH, Starting { failures: 0 }, Action::Spawn),
            (Stopping { again: false }, Event::Exited(Exit::Signal(9)), Stopped, Action::None),
            (Stopping { again: false }, Event::Answered, Stopping { again: false }, Action::None),
            (Waiting { failures: 3 }, Event::TimeUp, Starting { failures: 3 }, Action::Spawn),
            (Waiting { failures: 3 }, Event::Start, Starting { failures: 3 }, Action::Spawn),
            (Waiting { failures: 3 }, Event::Stop, Stopped, Action::None),
            (Removed, Event::Start, Removed, Action::None),
            (Removed, Event::Stop, Removed, Action::None),
        ];
        for (phase, event, then, action) in table {
            assert_eq!(next(phase, event), (then, action), "{event:?} in {phase:?}");
        }
    }

    #[test]
    fn the_back_off_doubles_from_half_a_second_to_thirty() {
        let seconds: Vec<f64> = (1..=8).map(|n| back_off(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(back_off(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn a_process_is_started_only_where_none_runs() {
        let phases = [
            Stopped,
            Starting { failures: 1 },
            Running { failures: 1 },
            Silent { failures: 1 },
            Stopping { again: false },
            Stopping { again: true },
            Waiting { failures: 1 },
            Removed,
        ];
        let events = [
            Event::Start,
            Event::Stop,
            Event::Adopted,
            Event::SpawnFailed,
            Event::Answered,
            Event::Unanswered,
            CRASH,
            Event::Exited(Exit::REMOVED),
            Event::TimeUp,
        ];
        for phase in phases {
            for event in events {
                let (_, action) = next(phase, event);
                let idle =
                    matches!(phase, Stopped | Waiting { .. }) || matches!(event, Event::Exited(_));
                assert!(action != Action::Spawn || idle, "{event:?} in {phase:?}");
            }
        }
    }
}
