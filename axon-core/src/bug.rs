//! Bugs that tests plant on purpose, to show that the tests would find them.
//!
//! What is hidden here is the switch. At each place where a promise is kept by one line, that line
//! asks [`on`] whether it is to be left out. Invariants:
//!
//! * without the feature `testing` nothing is ever planted: [`on`] is a constant, and what asks it
//!   is compiled as if it were not there;
//! * with it, a bug is planted for one thread, that of a simulation, and for no other.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A vote is written and not synced before it is told.
    SkipVoteSync,
    /// The leader acknowledges a put that a majority does not have yet.
    AckBeforeCommit,
    /// A replica says that entries are durable as soon as they are queued.
    AckBeforeSync,
    /// A linearizable read is what this replica happens to have applied.
    LocalReads,
    /// What was done under a request's id, or an idempotency key, is done again.
    DropDedupe,
    /// A checkpoint commits its rows, and then what they are the state of.
    AppliedNotAtomic,
    /// The last node id is given to the next joiner, too.
    ReuseNodeId,
    /// Checksums of rows, and the hash over all, are not looked at.
    IgnoreChecksum,
    /// The log is purged up to what is applied, and not up to the checkpoint.
    PurgeEarly,
    /// A leader serves reads for a while without asking a quorum, by its wall clock.
    WallClockLease,
    /// A vote that is not answered counts as given.
    QuorumHalf,
}

#[cfg(feature = "testing")]
impl Bug {
    /// Every bug.
    pub const ALL: [Self; 11] = [
        Self::SkipVoteSync,
        Self::AckBeforeCommit,
        Self::AckBeforeSync,
        Self::LocalReads,
        Self::DropDedupe,
        Self::AppliedNotAtomic,
        Self::ReuseNodeId,
        Self::IgnoreChecksum,
        Self::PurgeEarly,
        Self::WallClockLease,
        Self::QuorumHalf,
    ];
}

#[cfg(feature = "testing")]
mod planted {
    use super::Bug;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// How long a lease lasts, by the wall clock: shorter than any election takes.
    const LEASE_MILLIS: u64 = 150;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static LEASES: RefCell<BTreeMap<u64, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Plants a bug on this thread, in place of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
        LEASES.with_borrow_mut(BTreeMap::clear);
    }

    /// Reports whether `bug` is planted on this thread.
    #[must_use]
    pub fn on(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Reports whether the lease of the leader `id` holds, by the wall clock.
    pub(crate) fn lease_holds(id: u64, wall_millis: u64) -> bool {
        LEASES.with_borrow(|leases| leases.get(&id).is_some_and(|until| wall_millis < *until))
    }

    /// Begins the lease of the leader `id` anew.
    pub(crate) fn renew_lease(id: u64, wall_millis: u64) {
        LEASES.with_borrow_mut(|leases| leases.insert(id, wall_millis + LEASE_MILLIS));
    }
}

#[cfg(not(feature = "testing"))]
mod planted {
    use super::Bug;

    pub(crate) const fn on(_bug: Bug) -> bool {
        false
    }

    pub(crate) const fn lease_holds(_id: u64, _wall_millis: u64) -> bool {
        false
    }

    pub(crate) const fn renew_lease(_id: u64, _wall_millis: u64) {}
}

#[cfg(not(feature = "testing"))]
pub(crate) use planted::on;
pub(crate) use planted::{lease_holds, renew_lease};
#[cfg(feature = "testing")]
pub use planted::{on, plant};
