//! What happened to this replica, for people: the latest events, kept in memory.
//!
//! Hides a ring of bounded size. An event is written once where something happens (an election, a
//! hand-over with its reason, a disk that runs full), and read by whoever shows a cluster to people.
//! Invariants:
//!
//! * numbers grow by one and begin at 1 with each start of the replica; `boot` tells starts apart;
//! * recording never waits for a reader and never fails;
//! * nothing is decided by what stands here.

use crate::runtime;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Events kept.
pub const EVENTS_MAX: usize = 1_024;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// This replica asks for votes.
    ElectionStarted,
    /// A leader is known, another than before.
    LeaderElected,
    /// This replica leads no longer.
    LeadershipLost,
    /// This replica hands leadership over; the text says why.
    LeadershipHandedOver,
    /// Too few voters answer to decide anything.
    QuorumLost,
    /// Enough voters answer again.
    QuorumBack,
    /// A member ceased to answer.
    MemberUnreachable,
    /// A member answers again.
    MemberBack,
    /// A newcomer is a learner now.
    MemberJoined,
    /// A learner is a voter now.
    MemberPromoted,
    /// A member was taken out.
    MemberRemoved,
    /// A member came back on another address.
    MemberMoved,
    /// A snapshot was sent to a member.
    SnapshotSent,
    /// A snapshot was installed here.
    SnapshotInstalled,
    /// The log was cut to its retention.
    LogPurged,
    /// The disk has too little space left: writes go elsewhere, or are refused.
    DiskLow,
    /// The disk has space again.
    DiskBack,
    /// Syncs of the log take too long.
    DiskSlow,
    /// The base of the state was read whole, and is as it was written.
    Scrubbed,
    /// A state is damaged, or differs from what a majority holds, or no majority holds any.
    StateDiffers,
    /// This replica's state is wrong: it halts, and comes back as a new node; or it has come back.
    Quarantined,
}

impl EventKind {
    /// The word for it, as shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ElectionStarted => "election_started",
            Self::LeaderElected => "leader_elected",
            Self::LeadershipLost => "leadership_lost",
            Self::LeadershipHandedOver => "leadership_handed_over",
            Self::QuorumLost => "quorum_lost",
            Self::QuorumBack => "quorum_back",
            Self::MemberUnreachable => "node_unreachable",
            Self::MemberBack => "node_back",
            Self::MemberJoined => "joined",
            Self::MemberPromoted => "promoted",
            Self::MemberRemoved => "removed",
            Self::MemberMoved => "moved",
            Self::SnapshotSent => "snapshot_sent",
            Self::SnapshotInstalled => "snapshot_installed",
            Self::LogPurged => "purged",
            Self::DiskLow => "disk_low",
            Self::DiskBack => "disk_back",
            Self::DiskSlow => "disk_slow",
            Self::Scrubbed => "scrubbed",
            Self::StateDiffers => "state_differs",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number since the start of the replica, from 1 on.
    pub seq: u64,
    /// When, in milliseconds since 1970 on the wall clock.
    pub time_millis: u64,
    /// What.
    pub kind: EventKind,
    /// In a sentence.
    pub text: String,
}

/// The latest events of one replica.
#[derive(Debug)]
pub struct Events {
    boot: u64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    events: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { boot: runtime::wall_clock_millis(), ring: Mutex::default() }
    }
}

impl Events {
    /// Tells starts of the replica apart: the wall clock at this one, in milliseconds since 1970.
    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// Notes that something happened, and logs it.
    pub fn record(&self, kind: EventKind, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(event = kind.as_str(), "{text}");
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let event = Event { seq: ring.last, time_millis: runtime::wall_clock_millis(), kind, text };
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
    }

    /// Returns the kept events after number `after`, oldest first. A first one whose number is
    /// beyond `after + 1` says that those between are gone.
    #[must_use]
    pub fn after(&self, after: u64) -> Vec<Event> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().filter(|event| event.seq > after).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_numbered() {
        let events = Events::default();
        for number in 0..EVENTS_MAX + 3 {
            events.record(EventKind::DiskLow, format!("{number}"));
        }
        let kept = events.after(0);
        assert_eq!((kept.len(), kept[0].seq), (EVENTS_MAX, 4));
        let newest = events.after(EVENTS_MAX as u64 + 2);
        assert_eq!(newest.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["1026"]);
    }
}
