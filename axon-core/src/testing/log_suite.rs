//! The conformance suite of logs: what every [`LogStore`] must do, checked call by call.
//!
//! Call [`check_log`] in a test of the plug-in. A log that breaks its contract makes it panic, with
//! the rule that was broken. It uses threads and waits for them with a deadline, so it is not for
//! simulations. What it cannot check is what a power cut leaves: run the plug-in over the
//! [`FaultyDisk`](super::faulty_disk::FaultyDisk) for that.

use crate::error::StorageError;
use crate::storage::{Completion, LogRecord, LogState, LogStore, PurgeMark, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// A log that is to be checked.
pub struct LogUnderTest {
    /// Opens it. The first call opens it empty; each later one, made after it was closed, opens the
    /// same log again, or an empty one where it is not durable.
    pub open: Box<dyn Fn() -> Arc<dyn LogStore>>,
    /// Whether a log that was closed is there when it is opened again.
    pub durable: bool,
    /// Makes the next sync fail; `None` where that cannot be done.
    pub fail_next_sync: Option<Box<dyn Fn()>>,
}

/// Checks a log; `make` makes a new, empty one for each check.
///
/// # Panics
/// When the log breaks its contract.
pub fn check_log(make: impl Fn() -> LogUnderTest) {
    begins_empty(&*(make().open)());
    reads_what_was_appended(&*(make().open)());
    begins_at_any_index(&*(make().open)());
    reads_within_a_limit(&*(make().open)());
    completes_in_order(&*(make().open)());
    truncates(&*(make().open)());
    purges(&*(make().open)());
    purges_beyond_the_end(&*(make().open)());
    counts(&*(make().open)());
    refuses_gaps(&*(make().open)());
    refuses_after_close(&*(make().open)());
    reads_beside_writes(&(make().open)());
    keeps_what_was_closed(&make());
    purges_a_little_at_a_time(&make());
    latches_a_failure(&make());
}

const WAIT_MAX: Duration = Duration::from_secs(30);

/// Calls a log and waits for what it answers.
struct Caller<'a>(&'a dyn LogStore);

impl Caller<'_> {
    fn wait(call: impl FnOnce(Completion)) -> Result<()> {
        let (sender, answers) = mpsc::channel();
        call(completion(&sender, ()));
        answer(&answers).1
    }

    fn append(&self, records: Vec<LogRecord>) {
        Self::wait(|done| self.0.append(records, done)).expect("an append that follows succeeds");
    }

    fn truncate_after(&self, last: Option<u64>) {
        Self::wait(|done| self.0.truncate_after(last.map(LogIndex), done))
            .expect("a truncation succeeds");
    }

    fn purge(&self, upto: u64) {
        Self::wait(|done| self.0.purge(mark(upto), done)).expect("a purge succeeds");
    }

    fn vote(&self, vote: &'static str) {
        Self::wait(|done| self.0.save_vote(vote.into(), done)).expect("a vote is stored");
    }

    /// Every record there is.
    fn all(&self) -> Vec<LogRecord> {
        self.read(0, u64::MAX, usize::MAX)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<LogRecord> {
        self.0.read(LogIndex(from)..LogIndex(to), bytes_max).expect("a read succeeds")
    }
}

fn completion<T: Send + 'static>(answers: &Sender<(T, Result<()>)>, name: T) -> Completion {
    let answers = answers.clone();
    Box::new(move |result| {
        // Nobody waits any more once a check has failed.
        let _ = answers.send((name, result));
    })
}

fn answer<T>(answers: &Receiver<(T, Result<()>)>) -> (T, Result<()>) {
    answers.recv_timeout(WAIT_MAX).expect("every call is answered, in time")
}

fn record(index: u64, bytes: usize) -> LogRecord {
    let text = format!("entry {index} ").into_bytes();
    let payload = text.iter().copied().cycle().take(bytes).collect::<Vec<u8>>();
    LogRecord { index: LogIndex(index), payload: payload.into() }
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<LogRecord> {
    range.map(|index| record(index, 40 + index as usize % 90)).collect()
}

fn mark(upto: u64) -> PurgeMark {
    PurgeMark { upto: LogIndex(upto), mark: format!("up to {upto}").into() }
}

fn begins_empty(log: &dyn LogStore) {
    assert_eq!(log.opened(), LogState::default(), "a new log is empty");
    assert_eq!(Caller(log).all(), [], "a new log has no records");
}

fn reads_what_was_appended(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(1..=1));
    caller.append(records(2..=40));
    caller.append(vec![]);
    caller.append(vec![record(41, 0), record(42, 70_000)]);
    let mut all = records(1..=40);
    all.extend([record(41, 0), record(42, 70_000)]);
    assert_eq!(caller.all(), all, "records are read as they were appended");
    assert_eq!(caller.read(7, 12, usize::MAX), all[6..11], "a range is read, its end excluded");
    assert_eq!(caller.read(42, 43, usize::MAX), all[41..], "the last record is read");
    assert_eq!(caller.read(43, 50, usize::MAX), [], "what is not there is left out");
    assert_eq!(caller.read(40, 50, usize::MAX), all[39..], "a range may end beyond the log");
    assert_eq!(caller.read(9, 9, usize::MAX), [], "an empty range is empty");
    let reversed = log.read(LogIndex(9)..LogIndex(5), usize::MAX);
    assert_eq!(reversed, Ok(vec![]), "a range that ends before it begins is empty");
}

fn begins_at_any_index(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(0..=2));
    assert_eq!(caller.all(), records(0..=2), "the first record may have the index 0");
    caller.truncate_after(None);
    caller.append(records(7..=8));
    assert_eq!(caller.all(), records(7..=8), "an emptied log may begin anywhere");
}

fn reads_within_a_limit(log: &dyn LogStore) {
    let caller = Caller(log);
    let all: Vec<_> = (1..=10).map(|index| record(index, 100)).collect();
    caller.append(all.clone());
    assert_eq!(caller.read(3, 11, 0), all[2..3], "the first record is read whatever its size");
    assert_eq!(caller.read(3, 11, 99), all[2..3], "the first record is read whatever its size");
    assert_eq!(caller.read(3, 11, 399), all[2..5], "a read stops before it exceeds its limit");
    assert_eq!(caller.read(3, 11, 400), all[2..6], "a read goes up to its limit");
}

fn completes_in_order(log: &dyn LogStore) {
    let (sender, answers) = mpsc::channel();
    let mut expected = VecDeque::new();
    for turn in 0..200_u64 {
        let done = completion(&sender, turn);
        match turn % 4 {
            0 => log.save_vote(Bytes::from(format!("vote {turn}")), done),
            3 => log.truncate_after(Some(LogIndex(turn / 4 * 2)), done),
            odd => {
                log.append(vec![record(turn / 4 * 2 + odd, 50)], done);
                log.save_committed(Bytes::from_static(b"committed"));
            }
        }
        expected.push_back(turn);
        // The truncation took away both records of this round: append them again.
        if turn % 4 == 3 {
            let again = vec![record(turn / 4 * 2 + 1, 60), record(turn / 4 * 2 + 2, 60)];
            log.append(again, completion(&sender, 1000 + turn));
            expected.push_back(1000 + turn);
        }
    }
    for expected in expected {
        let (name, result) = answer(&answers);
        assert_eq!(result, Ok(()), "a call that follows succeeds");
        assert_eq!(name, expected, "calls are completed in the order in which they were made");
    }
    let all: Vec<_> = (1..=100).map(|index| record(index, 60)).collect();
    assert_eq!(Caller(log).all(), all, "calls take effect in the order in which they are made");
}

fn truncates(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(1..=20));
    caller.truncate_after(Some(30));
    assert_eq!(caller.all(), records(1..=20), "a truncation beyond the end removes nothing");
    caller.truncate_after(Some(12));
    assert_eq!(caller.all(), records(1..=12), "a truncation removes what comes after");
    caller.append(vec![record(13, 5), record(14, 6)]);
    assert_eq!(caller.read(13, 99, 99), [record(13, 5), record(14, 6)], "others take the place");
    caller.purge(3);
    caller.truncate_after(None);
    assert_eq!(caller.all(), [], "a truncation may remove everything");
    caller.append(records(4..=5));
    assert_eq!(caller.all(), records(4..=5), "the log goes on after the purge mark");
}

fn purges(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(1..=30));
    caller.purge(10);
    assert_eq!(caller.all(), records(11..=30), "a purge removes what comes before");
    assert_eq!(caller.read(5, 13, 9999), records(11..=12), "what is purged is left out");
    assert_eq!(caller.read(5, 10, 9999), [], "what is purged is left out");
    caller.purge(4);
    assert_eq!(caller.all(), records(11..=30), "a purge below the mark does nothing");
    caller.purge(30);
    assert_eq!(caller.all(), [], "a purge may remove everything");
    caller.append(records(31..=33));
    assert_eq!(caller.all(), records(31..=33), "the log goes on after the purge mark");
}

fn purges_beyond_the_end(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(1..=5));
    caller.purge(100);
    assert_eq!(caller.all(), [], "a purge beyond the end removes every record");
    caller.append(records(101..=103));
    assert_eq!(caller.all(), records(101..=103), "the log goes on after the purge mark");
}

fn counts(log: &dyn LogStore) {
    let before = log.metrics();
    Caller(log).append(records(1..=10));
    let after = log.metrics();
    assert_eq!(after.appended_entries - before.appended_entries, 10, "records are counted");
    assert!(after.appended_bytes >= before.appended_bytes + 400, "their bytes are counted");
}

fn refuses_gaps(log: &dyn LogStore) {
    let caller = Caller(log);
    caller.append(records(1..=3));
    let gap = Caller::wait(|done| log.append(records(5..=5), done));
    assert!(gap.is_err(), "a record that does not follow is refused");
    let next = Caller::wait(|done| log.append(records(4..=4), done));
    assert_eq!(next, gap, "after the first failure every call is answered with it");
}

fn refuses_after_close(log: &dyn LogStore) {
    Caller(log).append(records(1..=3));
    log.close();
    log.close();
    assert!(Caller::wait(|done| log.append(records(4..=4), done)).is_err(), "a closed log refuses");
    assert!(Caller::wait(|done| log.save_vote("v".into(), done)).is_err(), "a closed log refuses");
    assert!(log.read(LogIndex(1)..LogIndex(2), 9).is_err(), "a closed log refuses");
}

fn reads_beside_writes(log: &Arc<dyn LogStore>) {
    const LAST: u64 = 3_000;
    let expected = |index| record(index, 40 + index as usize % 90);
    let (sender, answers) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(mpsc::TryRecvError::Empty) = finished.try_recv() {
                let all = Caller(&**log).all();
                let first = all.first().map_or(0, |first| first.index.0);
                for (index, found) in (first..).zip(&all) {
                    assert_eq!(*found, expected(index), "a read never shows anything else");
                }
            }
        });
        for index in (1..=LAST).step_by(10) {
            log.append(records(index..=index + 9), completion(&sender, index));
            if index > 1_000 && index % 100 == 1 {
                log.purge(mark(index - 1_000), completion(&sender, index));
                log.truncate_after(Some(LogIndex(index + 4)), completion(&sender, index));
                log.append(records(index + 5..=index + 9), completion(&sender, index));
            }
        }
        drop(sender);
        while let Ok((_, result)) = answers.recv_timeout(WAIT_MAX) {
            assert_eq!(result, Ok(()), "a call that follows succeeds");
        }
        drop(finish);
    });
    let all = Caller(&**log).all();
    assert_eq!(all.last(), Some(&expected(LAST)), "every record is there in the end");
}

fn keeps_what_was_closed(test: &LogUnderTest) {
    let log = (test.open)();
    let caller = Caller(&*log);
    caller.append(records(1..=50));
    caller.vote("an early vote");
    caller.purge(20);
    caller.truncate_after(Some(40));
    caller.append(vec![record(41, 7)]);
    caller.vote("the vote");
    log.save_committed("an early index".into());
    log.save_committed("the committed index".into());
    log.close();
    drop(log);
    let log = (test.open)();
    if !test.durable {
        begins_empty(&*log);
        return;
    }
    let expected = LogState {
        purged: Some(mark(20)),
        last: Some(LogIndex(41)),
        vote: Some("the vote".into()),
        committed: Some("the committed index".into()),
    };
    assert_eq!(log.opened(), expected, "what was closed is there when it is opened again");
    let mut all = records(21..=40);
    all.push(record(41, 7));
    assert_eq!(Caller(&*log).all(), all, "the records are there when it is opened again");
    Caller(&*log).append(records(42..=45));
    assert_eq!(log.opened(), expected, "what was found when it was opened stays so");
    log.close();
    drop(log);
    all.extend(records(42..=45));
    assert_eq!(Caller(&*(test.open)()).all(), all, "a log that was opened again is written on");
}

fn purges_a_little_at_a_time(test: &LogUnderTest) {
    let mut log = (test.open)();
    for round in 0..8 {
        for index in (round * 100 + 1..=round * 100 + 100).step_by(20) {
            Caller(&*log).append(records(index..=index + 19));
            Caller(&*log).purge(index + 4);
        }
        let last = round * 100 + 100;
        let kept = records(last - 14..=last);
        assert_eq!(Caller(&*log).all(), kept, "what is not purged is there");
        if test.durable {
            log.close();
            log = (test.open)();
            assert_eq!(log.opened().purged, Some(mark(last - 15)), "the purge mark is there");
            assert_eq!(Caller(&*log).all(), kept, "what is not purged is there when opened again");
        }
    }
}

fn latches_a_failure(test: &LogUnderTest) {
    let Some(fail_next_sync) = &test.fail_next_sync else { return };
    let log = (test.open)();
    Caller(&*log).append(records(1..=3));
    fail_next_sync();
    let (sender, answers) = mpsc::channel();
    for index in 4..=20 {
        log.append(records(index..=index), completion(&sender, index));
    }
    let mut failure: Option<StorageError> = None;
    for index in 4..=20 {
        let (name, result) = answer(&answers);
        assert_eq!(name, index, "failures too are answered in order");
        let error = result.expect_err("a call whose sync failed fails, and so do later ones");
        assert_eq!(*failure.get_or_insert_with(|| error.clone()), error, "with the first failure");
    }
    let failure = failure.expect("there were calls");
    let vote = Caller::wait(|done| log.save_vote("v".into(), done));
    assert_eq!(vote, Err(failure.clone()), "every later call fails with the first failure");
    let read = log.read(LogIndex(1)..LogIndex(2), usize::MAX);
    assert_eq!(read, Err(failure), "every later call fails with the first failure");
    log.close();
}
