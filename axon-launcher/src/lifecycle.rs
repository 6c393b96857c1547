//! The life of a node's process: one enum, one transition function, no effects.
//!
//! ```text
//!             start                    answers
//!   Stopped ---------> Starting ------------------> Running <----> Unhealthy
//!      ^  ^               | ends by itself             |  ends        |
//!      |  |               v                            v              |
//!      |  +--- stop -- Crashed (back-off, then Starting again) <------+
//!      |                  | ends as one that was removed, at any time
//!      +-- ends ---- Stopping <-- stop                 +-----> Removed
//! ```
//!
//! A node that ends by itself is started again after a while that doubles up to a cap. One that
//! *keeps* ending stays down with its reason until somebody starts it: trying once more would only
//! bury the reason under more lines, and a replica that halts over what is on its disk does not
//! heal. What came from outside is not held against it, and is tried without end: a kill says
//! nothing of the node, and a full disk may be freed by somebody who does not know of Axon.

use crate::process::Exit;
use std::time::Duration;

/// A process that has answered for this long is not about to fail over what made it fail before: its
/// failures to start are forgotten. One that halts over what is on its disk does so long before.
pub const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// After this long without a fault, earlier ones are forgotten: a fault now and then is no
/// series.
pub const FAULTLESS_AFTER: Duration = Duration::from_mins(10);

/// How long a process may take to stop before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(15);

/// Failures in a row, without having settled, after which a node stays down.
pub const FAILURES_MAX: u32 = 10;

/// Halts by a fault in a row after which a node stays down, whether it had settled or not.
pub const FAULTS_MAX: u32 = 5;

const BACK_OFF_MIN: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What a node has failed at, since it last settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// How often in a row it ended by itself.
    pub row: u32,
    /// How many of these are held against it.
    pub own: u32,
    /// How often in a row it halted by a fault; settling does not clear these.
    pub faults: u32,
}

/// Where a node's process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs and nothing should.
    Stopped,
    /// It runs and has not answered yet.
    Starting {
        /// What it failed at before.
        failures: Failures,
    },
    /// It runs and answers.
    Running {
        /// What it failed at before.
        failures: Failures,
    },
    /// It runs, and has ceased to answer.
    Unhealthy {
        /// What it failed at before.
        failures: Failures,
    },
    /// It was told to stop and has not ended yet. `again`: it is wanted back after that.
    Stopping {
        /// Whether it starts again once it has ended.
        again: bool,
    },
    /// It ended by itself. `again`: it starts again after a while; else when somebody starts it.
    Crashed {
        /// What it failed at.
        failures: Failures,
        /// Whether it starts again by itself.
        again: bool,
    },
    /// Its cluster has removed it: it does not start again.
    Removed,
}

/// How a process ended that was not told to, as far as it matters for what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its cluster has removed it.
    Removed,
    /// It halted by a fault.
    Fault,
    /// Its disk is full.
    DiskFull,
    /// It was ended from outside, or nobody knows how.
    Outside,
    /// Otherwise; it may not have started at all.
    Failed,
}

impl End {
    /// Tells it from how a process ended and the last line that it wrote.
    ///
    /// A full disk has no exit code of its own: whatever stumbles over it says so in the system's words.
    pub fn of(exit: Exit, last_line: Option<&str>) -> Self {
        match exit {
            Exit::REMOVED => Self::Removed,
            Exit::Code(_) if last_line.is_some_and(says_disk_full) => Self::DiskFull,
            Exit::FAULT => Self::Fault,
            Exit::Signal(signal) if ENDING_SIGNALS.contains(&signal) => Self::Outside,
            Exit::Unknown => Self::Outside,
            Exit::Code(_) | Exit::Signal(_) => Self::Failed,
        }
    }

    /// Tells why a process could not be started.
    pub fn of_start(trouble: &str) -> Self {
        if says_disk_full(trouble) { Self::DiskFull } else { Self::Failed }
    }
}

/// Hang up, interrupt, kill and terminate; others come from within, such as an abort.
const ENDING_SIGNALS: [i32; 4] = [1, 2, 9, 15];

fn says_disk_full(line: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "disk is full"]
        .iter()
        .any(|words| line.contains(words))
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
    /// The process that was adopted is somebody else's: it is not ours to signal.
    Disowned,
    /// It answers.
    Answered,
    /// It does not answer.
    Unanswered,
    /// It has ended, or could not be started.
    Ended(End),
    /// The time that was set is over.
    TimeUp,
}

/// What must be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Start a process; report [`Event::Ended`] if that fails.
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
            Self::Unhealthy { .. } => "unhealthy",
            Self::Stopping { .. } => "stopping",
            Self::Crashed { .. } => "crashed",
            Self::Removed => "removed",
        }
    }

    /// How often in a row its process has ended by itself.
    pub const fn failures(self) -> u32 {
        match self {
            Self::Starting { failures }
            | Self::Running { failures }
            | Self::Unhealthy { failures }
            | Self::Crashed { failures, .. } => failures.row,
            Self::Stopped | Self::Stopping { .. } | Self::Removed => 0,
        }
    }
}

impl Failures {
    fn after(self, end: End) -> Self {
        let row = self.row.saturating_add(1);
        let own = self.own + u32::from(matches!(end, End::Fault | End::Failed));
        let faults = match end {
            End::Fault => self.faults + 1,
            End::DiskFull | End::Outside => self.faults,
            End::Failed | End::Removed => 0,
        };
        Self { row, own, faults }
    }

    fn keeps_failing(self) -> bool {
        self.own >= FAILURES_MAX || self.faults >= FAULTS_MAX
    }

    /// How long until something may be forgotten.
    fn forgets(self) -> Action {
        match self {
            Self { row: 1.., .. } => Action::Wait(SETTLED_AFTER),
            Self { faults: 1.., .. } => Action::Wait(FAULTLESS_AFTER),
            _ => Action::None,
        }
    }

    fn forgotten(self) -> Self {
        if self.row > 0 { Self { faults: self.faults, ..Self::default() } } else { Self::default() }
    }
}

/// How long a node waits that has ended by itself `row` times in a row.
pub fn back_off(row: u32) -> Duration {
    let doublings = row.saturating_sub(1).min(16);
    BACK_OFF_MAX.min(BACK_OFF_MIN * 2_u32.pow(doublings))
}

/// What follows when a process ends that was not told to.
fn ended(before: Failures, end: End) -> (Phase, Action) {
    let failures = before.after(end);
    match end {
        End::Removed => (Phase::Removed, Action::None),
        End::DiskFull => (Phase::Crashed { failures, again: true }, Action::Wait(BACK_OFF_MAX)),
        End::Fault | End::Failed if failures.keeps_failing() => {
            (Phase::Crashed { failures, again: false }, Action::None)
        }
        End::Fault | End::Failed | End::Outside => {
            (Phase::Crashed { failures, again: true }, Action::Wait(back_off(failures.row)))
        }
    }
}

/// What follows when `event` happens in `phase`.
#[allow(clippy::match_same_arms, reason = "arms are grouped by what happens, not by what follows")]
pub fn next(phase: Phase, event: Event) -> (Phase, Action) {
    use Phase::{Crashed, Running, Starting, Stopped, Stopping, Unhealthy};
    let fresh = Failures::default();
    match (phase, event) {
        (Stopped, Event::Start) => (Starting { failures: fresh }, Action::Spawn),
        // Asked for by someone who may have put the cause right: now, not after the back-off.
        (Crashed { failures, again: true }, Event::Start | Event::TimeUp) => {
            (Starting { failures }, Action::Spawn)
        }
        // It had been given up: it gets all its tries anew.
        (Crashed { again: false, .. }, Event::Start) => {
            (Starting { failures: fresh }, Action::Spawn)
        }
        (Stopping { .. }, Event::Start) => (Stopping { again: true }, Action::None),
        (Stopped, Event::Adopted) => (Starting { failures: fresh }, Action::None),

        (Starting { .. } | Running { .. } | Unhealthy { .. }, Event::Stop) => {
            (Stopping { again: false }, Action::Terminate)
        }
        (Stopping { .. }, Event::Stop) => (Stopping { again: false }, Action::None),
        (Crashed { .. }, Event::Stop) => (Stopped, Action::None),
        (Stopping { again }, Event::TimeUp) => (Stopping { again }, Action::Kill),
        (
            Starting { .. } | Running { .. } | Unhealthy { .. } | Stopping { .. },
            Event::Disowned,
        ) => (Stopped, Action::None),

        (Starting { failures } | Unhealthy { failures }, Event::Answered) => {
            (Running { failures }, failures.forgets())
        }
        (Running { failures }, Event::Unanswered) => (Unhealthy { failures }, Action::None),
        (Running { failures }, Event::TimeUp) => {
            let failures = failures.forgotten();
            (Running { failures }, failures.forgets())
        }

        (Stopping { again: true }, Event::Ended(_)) => {
            (Starting { failures: fresh }, Action::Spawn)
        }
        (Stopping { again: false }, Event::Ended(_)) => (Stopped, Action::None),
        (
            Starting { failures } | Running { failures } | Unhealthy { failures },
            Event::Ended(end),
        ) => ended(failures, end),

        // The rest changes nothing: what is asked for is so already, or came too late to matter.
        (phase, _) => (phase, Action::None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use Phase::{Crashed, Removed, Running, Starting, Stopped, Stopping, Unhealthy};

    const FRESH: Failures = failed(0);
    const FAILED: Event = Event::Ended(End::Failed);

    /// So many plain failures in a row.
    pub(crate) const fn failed(row: u32) -> Failures {
        Failures { row, own: row, faults: 0 }
    }

    type Row = (Phase, Event, Phase, Action);

    fn check(table: &[Row]) {
        for (phase, event, then, action) in table {
            assert_eq!(next(*phase, *event), (*then, *action), "{event:?} in {phase:?}");
        }
    }

    const fn crashed(row: u32) -> Phase {
        Crashed { failures: failed(row), again: true }
    }

    const GIVEN_UP: Phase = Crashed { failures: failed(10), again: false };

    #[test]
    fn what_is_asked_for_is_done_from_wherever_it_is() {
        let (two, fresh) = (failed(2), Starting { failures: FRESH });
        let (stopping, again) = (Stopping { again: false }, Stopping { again: true });
        check(&[
            (Stopped, Event::Start, fresh, Action::Spawn),
            (Starting { failures: two }, Event::Start, Starting { failures: two }, Action::None),
            (stopping, Event::Start, again, Action::None),
            (crashed(3), Event::Start, Starting { failures: failed(3) }, Action::Spawn),
            (GIVEN_UP, Event::Start, fresh, Action::Spawn),
            (Removed, Event::Start, Removed, Action::None),
            (Stopped, Event::Stop, Stopped, Action::None),
            (fresh, Event::Stop, stopping, Action::Terminate),
            (Running { failures: FRESH }, Event::Stop, stopping, Action::Terminate),
            (Unhealthy { failures: two }, Event::Stop, stopping, Action::Terminate),
            (again, Event::Stop, stopping, Action::None),
            (crashed(3), Event::Stop, Stopped, Action::None),
            (GIVEN_UP, Event::Stop, Stopped, Action::None),
            (Removed, Event::Stop, Removed, Action::None),
        ]);
    }

    #[test]
    fn what_happens_to_a_process_has_its_consequence() {
        let wait = |ms| Action::Wait(Duration::from_millis(ms));
        let (two, settling) = (failed(2), Action::Wait(SETTLED_AFTER));
        let (fresh, running) = (Starting { failures: FRESH }, Running { failures: FRESH });
        let (stopping, again) = (Stopping { again: false }, Stopping { again: true });
        let (slow, silent) = (Starting { failures: two }, Unhealthy { failures: two });
        check(&[
            (Stopped, Event::Adopted, fresh, Action::None),
            (fresh, Event::Disowned, Stopped, Action::None),
            (running, Event::Disowned, Stopped, Action::None),
            (silent, Event::Disowned, Stopped, Action::None),
            (slow, Event::Answered, Running { failures: two }, settling),
            (fresh, Event::Answered, running, Action::None),
            (slow, Event::Unanswered, slow, Action::None),
            (Running { failures: two }, Event::Answered, Running { failures: two }, Action::None),
            (Running { failures: two }, Event::TimeUp, running, Action::None),
            (Running { failures: two }, Event::Unanswered, silent, Action::None),
            (silent, Event::Answered, Running { failures: two }, settling),
            (silent, Event::TimeUp, silent, Action::None),
            (fresh, FAILED, crashed(1), wait(500)),
            (Starting { failures: failed(1) }, FAILED, crashed(2), wait(1_000)),
            (Running { failures: failed(8) }, FAILED, crashed(9), wait(30_000)),
            (Running { failures: failed(9) }, FAILED, GIVEN_UP, Action::None),
            (running, Event::Ended(End::Removed), Removed, Action::None),
            (stopping, Event::TimeUp, stopping, Action::Kill),
            (again, FAILED, fresh, Action::Spawn),
            (stopping, Event::Ended(End::Outside), Stopped, Action::None),
            (stopping, Event::Answered, stopping, Action::None),
            (crashed(3), Event::TimeUp, Starting { failures: failed(3) }, Action::Spawn),
            (GIVEN_UP, Event::TimeUp, GIVEN_UP, Action::None),
        ]);
    }

    #[test]
    fn the_back_off_doubles_from_half_a_second_to_thirty() {
        let seconds: Vec<f64> = (1..=8).map(|n| back_off(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!(back_off(u32::MAX), Duration::from_secs(30));
    }

    /// Starts a node again and again that ends like this each time, after it has lived for so many
    /// forgettings; returns how often it ended before it stayed down.
    fn tries(ends: impl IntoIterator<Item = End>, forgettings: usize) -> Option<usize> {
        let mut phase = next(Stopped, Event::Start).0;
        for (number, end) in ends.into_iter().enumerate() {
            phase = next(phase, Event::Answered).0;
            for _ in 0..forgettings {
                phase = next(phase, Event::TimeUp).0;
            }
            let (after, action) = next(phase, Event::Ended(end));
            if action == Action::None {
                assert!(matches!(after, Crashed { again: false, .. }), "{after:?}");
                return Some(number + 1);
            }
            phase = next(after, Event::TimeUp).0;
        }
        None
    }

    #[test]
    fn a_node_that_keeps_failing_stays_down_and_one_that_settles_in_between_does_not() {
        use End::{DiskFull, Failed, Fault, Outside};
        let ever = std::iter::repeat;
        assert_eq!(tries(ever(Failed), 0), Some(10));
        assert_eq!(tries(ever(Failed).take(1_000), 1), None);
        // A fault is no accident of the start: it counts though the node had settled.
        assert_eq!(tries(ever(Fault), 0), Some(5));
        assert_eq!(tries(ever(Fault), 1), Some(5));
        assert_eq!(tries(ever(Fault).take(1_000), 2), None);
        // What comes from outside is tried without end, and does not hide what comes from within.
        assert_eq!(tries(ever(DiskFull).take(1_000), 0), None);
        assert_eq!(tries(ever(Outside).take(1_000), 0), None);
        assert_eq!(tries([Outside, Fault].into_iter().cycle(), 0), Some(10));
        let after_a_full_disk = ever(DiskFull).take(50).chain([Failed; 9]).chain([Outside]);
        assert_eq!(tries(after_a_full_disk, 0), None);
    }

    #[test]
    fn a_full_disk_is_tried_slowly() {
        let (phase, action) = next(Starting { failures: FRESH }, Event::Ended(End::DiskFull));
        assert_eq!(action, Action::Wait(BACK_OFF_MAX));
        assert!(matches!(phase, Crashed { again: true, .. }));
    }

    #[test]
    fn an_end_is_told_by_its_code_and_its_last_line() {
        let full = "axon-server: cannot write: No space left on device (os error 28)";
        for (exit, line, end) in [
            (Exit::Code(4), "removed", End::Removed),
            (Exit::Code(3), "halted: a checksum is wrong", End::Fault),
            (Exit::Code(3), full, End::DiskFull),
            (Exit::Code(1), full, End::DiskFull),
            (Exit::Code(1), "port 9000 is taken", End::Failed),
            (Exit::Code(0), "stopped", End::Failed),
            (Exit::Signal(9), full, End::Outside),
            (Exit::Signal(15), "", End::Outside),
            (Exit::Signal(6), "aborted", End::Failed),
            (Exit::Unknown, "whatever", End::Outside),
        ] {
            assert_eq!(End::of(exit, Some(line)), end, "{exit}: {line}");
        }
        assert_eq!(End::of(Exit::Code(3), None), End::Fault);
        assert_eq!(End::of_start("No space left on device (os error 28)"), End::DiskFull);
        assert_eq!(End::of_start("port 9000 is taken"), End::Failed);
    }

    #[test]
    fn a_process_is_started_only_where_none_runs() {
        let failures = failed(1);
        let phases = [
            Stopped,
            Starting { failures },
            Running { failures },
            Unhealthy { failures },
            Stopping { again: false },
            Stopping { again: true },
            Crashed { failures, again: true },
            Crashed { failures, again: false },
            Removed,
        ];
        let events = [
            Event::Start,
            Event::Stop,
            Event::Adopted,
            Event::Disowned,
            Event::Answered,
            Event::Unanswered,
            FAILED,
            Event::Ended(End::Removed),
            Event::TimeUp,
        ];
        for phase in phases {
            for event in events {
                let (_, action) = next(phase, event);
                let idle =
                    matches!(phase, Stopped | Crashed { .. }) || matches!(event, Event::Ended(_));
                assert!(action != Action::Spawn || idle, "{event:?} in {phase:?}");
            }
        }
    }
}
