//! What the replica's disk allows at the moment, where entries come in.
//!
//! Hides who obeys: the follower's replication pauses here, and the leader's writes are refused. What
//! is allowed is decided by `headroom.rs`, several times a second. Invariants:
//!
//! * heartbeats, votes, blanks and changes of membership are never held back: only commands are;
//! * a pause ends when the commands that it holds back are seen not to be committed without them:
//!   whoever is wrong about the others' reach costs a second, not the cluster;
//! * what is refused has not entered the log.

use super::TypeConfig;
use crate::codec;
use crate::command::Command;
use crate::runtime;
use crate::storage::disk::DiskSpace;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an append is held; a little less than its sender waits for it.
const HOLD_MAX: Duration = Duration::from_secs(4);
/// How long the others may take to commit what is held, before it is taken to be needed here.
const NEEDED_AFTER: Duration = Duration::from_secs(1);
/// For how long everything passes once something was needed.
const NEEDED_FOR: Duration = Duration::from_secs(5);
/// How often a held append is looked at.
const HOLD_INTERVAL: Duration = Duration::from_millis(100);

/// How much of a disk is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Enough, as far as anybody looks.
    #[default]
    Ample,
    /// Soon too little: no more log is kept than is needed.
    Scarce,
    /// Too little for writes.
    Low,
}

/// What a disk allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The room there is; `None` where nobody looks.
    pub(crate) space: Option<DiskSpace>,
    /// What that is worth.
    pub(crate) level: Level,
    /// This replica takes no commands: a majority does without it.
    pub(crate) pauses: bool,
    /// No majority has space: the leader takes no commands.
    pub(crate) refuses: bool,
}

impl Allowed {
    pub(crate) fn is_low(&self) -> bool {
        self.level == Level::Low
    }
}

/// What the disk allows now.
#[derive(Default)]
pub(crate) struct Room {
    now: watch::Sender<Allowed>,
    /// Up to where the leader is known to have committed, whatever of that is here.
    committed: AtomicU64,
}

/// Up to when one stream of appends passes whatever the disk says.
#[derive(Default)]
pub(crate) struct Passage(Option<Instant>);

impl Room {
    pub(crate) fn now(&self) -> Allowed {
        *self.now.borrow()
    }

    pub(crate) fn set(&self, allowed: Allowed) {
        self.now.send_if_modified(|now| std::mem::replace(now, allowed) != allowed);
    }

    /// Takes note of what a heartbeat says is committed.
    pub(crate) fn hear(&self, heartbeat: &AppendEntriesRequest<TypeConfig>) {
        if let Some(committed) = &heartbeat.leader_commit {
            self.committed.fetch_max(committed.index, Ordering::Relaxed);
        }
    }

    /// Returns when `append` may go to the log. `false`: it has waited for so long that its sender
    /// gives it up.
    pub(crate) async fn passes(
        &self,
        append: &AppendEntriesRequest<TypeConfig>,
        passage: &mut Passage,
    ) -> bool {
        let command = |payload: &_| matches!(payload, EntryPayload::Normal(_));
        let Some(last) = append.entries.iter().rfind(|entry| command(&entry.payload)) else {
            return true;
        };
        let begun = runtime::now();
        let mut changes = self.now.subscribe();
        while changes.borrow_and_update().pauses && passage.0.is_none_or(|until| until <= begun) {
            let committed = self.committed.load(Ordering::Relaxed) >= last.log_id.index;
            if begun.elapsed() >= NEEDED_AFTER && !committed {
                passage.0 = Some(runtime::now() + NEEDED_FOR);
            } else if begun.elapsed() >= HOLD_MAX {
                return false;
            } else {
                let _ = tokio::time::timeout(HOLD_INTERVAL, changes.changed()).await;
            }
        }
        true
    }

    /// Reports whether a command may enter the log of this leader.
    pub(crate) fn admits(&self, command: &Bytes) -> bool {
        !self.now().refuses
            || codec::decode::<Command>(command).is_ok_and(|command| command.keeps_house())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::{Entry, Proposal, Vote, entry};
    use super::*;
    use crate::command::Op;
    use crate::types::{Member, NodeId};

    fn append(payload: EntryPayload<Proposal, u64, Member>) -> AppendEntriesRequest<TypeConfig> {
        let entries = vec![Entry { log_id: entry::log_id(1, 7), payload }];
        AppendEntriesRequest {
            vote: Vote::new(1, 1),
            prev_log_id: None,
            entries,
            leader_commit: None,
        }
    }

    fn command() -> AppendEntriesRequest<TypeConfig> {
        append(EntryPayload::Normal(Proposal { stamp_millis: 0, command: Bytes::new() }))
    }

    fn heartbeat(committed: u64) -> AppendEntriesRequest<TypeConfig> {
        let leader_commit = Some(entry::log_id(1, committed));
        AppendEntriesRequest { entries: vec![], leader_commit, ..command() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_follower_holds_commands_back_and_nothing_else() {
        let (room, mut passage) = (Room::default(), Passage::default());
        assert!(room.passes(&command(), &mut passage).await);
        room.set(Allowed { pauses: true, ..Allowed::default() });
        room.hear(&heartbeat(7));
        let begun = runtime::now();
        assert!(room.passes(&append(EntryPayload::Blank), &mut passage).await);
        assert!(room.passes(&heartbeat(7), &mut passage).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!room.passes(&command(), &mut passage).await, "until its sender gives up");
        assert!(begun.elapsed() >= HOLD_MAX);

        let back = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            room.set(Allowed::default());
        };
        let (passed, ()) =
            tokio::join!(async { room.passes(&command(), &mut passage).await }, back);
        assert!(passed);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_others_cannot_commit_alone_passes() {
        let (room, mut passage) = (Room::default(), Passage::default());
        room.set(Allowed { pauses: true, ..Allowed::default() });
        room.hear(&heartbeat(6));
        let begun = runtime::now();
        assert!(room.passes(&command(), &mut passage).await);
        assert!(begun.elapsed() >= NEEDED_AFTER && begun.elapsed() < HOLD_MAX);
        let next = runtime::now();
        assert!(room.passes(&command(), &mut passage).await, "the next ones follow at once");
        assert_eq!(next.elapsed(), Duration::ZERO);
        tokio::time::advance(NEEDED_FOR).await;
        room.hear(&heartbeat(7));
        assert!(!room.passes(&command(), &mut passage).await);
    }

    #[test]
    fn without_space_only_what_the_cluster_itself_needs_is_taken() {
        let room = Room::default();
        let encoded = |op| codec::encode(&Command { request: None, op });
        let put = encoded(Op::Put { key: "k".into(), value: "v".into() });
        assert!(room.admits(&put));
        room.set(Allowed { refuses: true, ..Allowed::default() });
        assert!(!room.admits(&put));
        assert!(!room.admits(&encoded(Op::Sweep { limit: 1 })));
        assert!(!room.admits(&Bytes::from_static(b"no command")));
        assert!(room.admits(&encoded(Op::SettleNode { id: NodeId(3) })));
    }
}
