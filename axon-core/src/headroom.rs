//! What a replica does about a disk that runs full, or slow.
//!
//! One task looks at the room that is left, several times a second, and says what it allows
//! (`raft/room.rs` obeys); another hands leadership on from a disk that is not fit for it. Invariants:
//!
//! * below the watermark a replica takes no commands as long as a majority of voters with space does
//!   without it; with no such majority the leader refuses them, before they are in its log;
//! * votes, blanks and changes of membership go on, and so do reads: a full disk stops writes alone;
//! * the reserve is given up before anything must fail for want of space, and made again before the
//!   replica calls itself fit: it never has space without a reserve to lose;
//! * space that comes back is enough: nothing has to be started, reset or told.
//!
//! Who has space is what the voters say of themselves when they are pinged. One that does not answer
//! has none. That the log and the checkpoints wait for space by themselves, rather than fail, is not
//! done here: see `storage/wal/supply.rs` and `state/checkpoint.rs`.

use crate::config::Config;
use crate::events::{EventKind, Events};
use crate::raft::engine::Engine;
use crate::raft::room::{Allowed, Level};
use crate::runtime;
use crate::storage::disk::DiskSpace;
use crate::storage::space::Reserve;
use crate::types::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the disk and the peers are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long leadership may take to move.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);
/// How soon a leader that is low tries again to hand over.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How long syncs must be slow before anything is done.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// How soon a replica hands over again for its slow disk: leadership must not go round in circles.
const SLOW_AGAIN: Duration = Duration::from_mins(1);

/// Where a disk of one size is low, and where it is fit again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// Below this it is low.
    low: u64,
    /// From here on, beside the reserve, it is fit again: a little more, so that it does not flutter.
    fit: u64,
    /// Below this the reserve is given up.
    gone: u64,
    /// What is set aside.
    reserve: u64,
}

impl Marks {
    fn of(config: &Config, total: u64) -> Self {
        let low = config.disk_low_bytes.min(total / 20);
        let reserve = config.disk_reserve_bytes.min(total / 10);
        Self { low, fit: low + low / 10, gone: low / 4, reserve }
    }

    /// Decides, after `free` bytes were seen beside `reserved` ones.
    fn judge(self, was_low: bool, put_off: bool, free: u64, reserved: u64) -> Verdict {
        let whole = free.saturating_add(reserved) >= self.fit + self.reserve;
        let low = put_off || if was_low { !whole } else { free < self.low };
        Verdict {
            low,
            gives_up: low && reserved > 0 && (put_off || free < self.gone),
            sets_aside: !low && whole && reserved != self.reserve,
        }
    }
}

/// What follows from a look at the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    low: bool,
    gives_up: bool,
    sets_aside: bool,
}

/// Looks at the disk, and keeps the reserve as it should be. May block on the disk.
fn tend(
    reserve: &Reserve,
    config: &Config,
    was_low: bool,
    put_off: bool,
) -> Option<(DiskSpace, bool)> {
    let space = reserve.space().inspect_err(|error| tracing::warn!("{error}")).ok()?;
    let marks = Marks::of(config, space.total);
    let verdict = marks.judge(was_low, put_off, space.free, reserve.bytes());
    let tended = match verdict {
        Verdict { gives_up: true, .. } => reserve.give_up(),
        Verdict { sets_aside: true, .. } if marks.reserve == 0 => reserve.give_up(),
        Verdict { sets_aside: true, .. } => reserve.make(marks.reserve),
        _ => return Some((space, verdict.low)),
    };
    // Somebody else may have taken the room in between: it stays as it was, until the next look.
    let low = tended.map_or_else(
        |error| {
            tracing::warn!("{error}");
            was_low || verdict.low
        },
        |()| verdict.low,
    );
    Some((reserve.space().unwrap_or(space), low))
}

/// Watches the disk under `reserve`, if there is one, and what the voters say of theirs, until the
/// engine stops.
pub(crate) async fn watch(engine: Arc<Engine>, reserve: Option<Reserve>, config: Arc<Config>) {
    loop {
        let before = engine.route.room.now();
        let mut allowed = before;
        if let Some(reserve) = reserve.clone() {
            let (settings, put_off) = (config.clone(), engine.checkpointer.is_put_off());
            let tended =
                runtime::blocking(move || tend(&reserve, &settings, before.is_low(), put_off))
                    .await;
            if let Some((space, low)) = tended {
                let marks = Marks::of(&config, space.total);
                let level = match () {
                    () if low => Level::Low,
                    () if space.free < 2 * marks.low => Level::Scarce,
                    () => Level::Ample,
                };
                allowed = Allowed { space: Some(space), level, ..before };
                if before.is_low() != low {
                    tell(&engine.events, marks, space, low, put_off);
                }
            }
        }
        engine.route.room.set(among_voters(&engine, allowed));
        tokio::time::sleep(INTERVAL).await;
    }
}

fn tell(events: &Events, marks: Marks, space: DiskSpace, low: bool, put_off: bool) {
    let room = format!("{} MiB of {} MiB are free", space.free >> 20, space.total >> 20);
    if !low {
        events.record(EventKind::DiskBack, format!("{room}: it takes writes again"));
    } else if put_off {
        let text = format!("{room}, too few for a checkpoint: it takes no writes");
        events.record(EventKind::DiskLow, text);
    } else {
        let text = format!("{room}, fewer than {}: it takes no writes", marks.low >> 20);
        events.record(EventKind::DiskLow, text);
    }
}

/// Adds to what this disk allows what follows from the other voters' disks.
fn among_voters(engine: &Engine, allowed: Allowed) -> Allowed {
    let configs = engine.configs();
    let myself = engine.id();
    let other_has_space = |id: NodeId| id != myself && has_space(engine, id);
    let low = allowed.is_low();
    let spacious = |id: NodeId| other_has_space(id) || (id == myself && !low);
    Allowed {
        pauses: low && !engine.leads() && is_majority(&configs, other_has_space),
        // Without a majority that answers there is another reason to refuse, and another answer.
        refuses: is_majority(&configs, |id| engine.peers.is_alive(id))
            && !is_majority(&configs, spacious),
        ..allowed
    }
}

/// Whether another replica answers and says that it has space.
fn has_space(engine: &Engine, id: NodeId) -> bool {
    engine.peers.report(id).is_some_and(|report| report.is_alive() && !report.pong.disk_low)
}

/// Whether those of whom `holds` is true can decide alone; under a half-done change, in both halves.
fn is_majority(configs: &[BTreeSet<u64>], holds: impl Fn(NodeId) -> bool) -> bool {
    configs.iter().all(|voters| {
        let holding = voters.iter().filter(|id| holds(NodeId(**id))).count();
        holding > voters.len() / 2
    })
}

/// Hands leadership on while this replica leads on a disk that is full, or slower than
/// `sync_p99_max`, until the engine stops.
pub(crate) async fn yield_leadership(engine: Arc<Engine>, sync_p99_max: Duration) {
    let mut slow = Slow::default();
    let (mut low_again, mut slow_again) = (runtime::now(), runtime::now());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let p99 = Duration::from_micros(engine.log_metrics().sync_p99_micros);
        let (lasts, begins) = slow.note(p99 > sync_p99_max);
        if begins {
            let text = format!(
                "of the latest syncs of its log 1 in 100 takes {} ms or more, {} ms are allowed",
                p99.as_millis(),
                sync_p99_max.as_millis()
            );
            engine.events.record(EventKind::DiskSlow, text);
        }
        if !engine.leads() {
            continue;
        }
        let allowed = engine.route.room.now();
        if allowed.is_low() && !allowed.refuses && runtime::now() >= low_again {
            low_again = runtime::now() + RETRY_INTERVAL;
            if let Some(target) = most_complete(&engine) {
                hand_over(&engine, target, "its disk runs full, that one has space").await;
            }
        } else if lasts && runtime::now() >= slow_again {
            let Some((target, theirs)) = quickest(&engine, p99 / 2) else { continue };
            slow_again = runtime::now() + SLOW_AGAIN;
            let reason = format!(
                "1 in 100 syncs of its disk takes {} ms or more, there it is {} ms",
                p99.as_millis(),
                theirs.as_millis()
            );
            hand_over(&engine, target, &reason).await;
        }
    }
}

async fn hand_over(engine: &Engine, target: NodeId, reason: &str) {
    let members = engine.members();
    let name = members.iter().find(|(id, ..)| *id == target).map(|(_, member, _)| &member.name);
    let Some(name) = name else { return };
    match engine.hand_leadership_to(target, HAND_OVER_DEADLINE).await {
        Ok(_) => {
            let text = format!("leadership handed to {name}: {reason}");
            engine.events.record(EventKind::LeadershipHandedOver, text);
        }
        Err(error) => tracing::warn!("leadership did not move to {name} ({reason}): {error}"),
    }
}

/// The other voters that have space.
fn candidates(engine: &Engine) -> impl Iterator<Item = NodeId> {
    let voters = engine.members().into_iter().filter(|(_, _, voter)| *voter);
    voters.map(|(id, ..)| id).filter(|id| *id != engine.id() && has_space(engine, *id))
}

fn most_complete(engine: &Engine) -> Option<NodeId> {
    candidates(engine).max_by_key(|id| engine.replicated(*id).0)
}

/// The voter with the shortest syncs, if they are shorter than `below`. One that has not synced
/// lately may hang in its disk: it says nothing.
fn quickest(engine: &Engine, below: Duration) -> Option<(NodeId, Duration)> {
    let timed = candidates(engine).filter_map(|id| {
        let micros = engine.peers.report(id)?.pong.sync_p99_micros;
        Some((id, Duration::from_micros(micros)))
    });
    timed.filter(|(_, p99)| !p99.is_zero() && *p99 < below).min_by_key(|(_, p99)| *p99)
}

/// Since when syncs are slow.
#[derive(Debug, Default)]
struct Slow {
    since: Option<Instant>,
    told: bool,
}

impl Slow {
    /// Whether they have been slow for long, and whether that begins with this look.
    fn note(&mut self, slow: bool) -> (bool, bool) {
        if !slow {
            *self = Self::default();
            return (false, false);
        }
        let since = *self.since.get_or_insert_with(runtime::now);
        let lasts = since.elapsed() >= SLOW_AFTER;
        (lasts, lasts && !std::mem::replace(&mut self.told, lasts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn marks(total_mib: u64) -> Marks {
        Marks::of(&Config::default(), total_mib * MIB)
    }

    #[test]
    fn the_watermark_of_a_small_disk_is_a_share_of_it() {
        let large = marks(1 << 20);
        assert_eq!((large.low, large.reserve), (512 * MIB, 32 * MIB));
        let small = marks(200);
        assert_eq!((small.low, small.fit, small.reserve), (10 * MIB, 11 * MIB, 20 * MIB));
    }

    #[test]
    fn a_disk_is_low_below_the_mark_and_fit_only_well_above_it() {
        let marks = marks(1_000);
        let low = |was_low, free_mib: u64, reserved| {
            marks.judge(was_low, false, free_mib * MIB, reserved).low
        };
        assert!(!low(false, 50, marks.reserve));
        assert!(low(false, 49, marks.reserve));
        assert!(low(true, 54, marks.reserve), "it does not flutter");
        assert!(!low(true, 55, marks.reserve));
        assert!(low(true, 86, 0), "the reserve has to fit in too");
        assert!(!low(true, 87, 0));
    }

    #[test]
    fn the_reserve_is_given_up_when_space_is_nearly_gone_and_made_again_first() {
        let marks = marks(1_000);
        let low = marks.judge(false, false, 40 * MIB, marks.reserve);
        assert_eq!(low, Verdict { low: true, gives_up: false, sets_aside: false });
        let gone = marks.judge(true, false, 12 * MIB, marks.reserve);
        assert_eq!(gone, Verdict { low: true, gives_up: true, sets_aside: false });
        let still = marks.judge(true, false, 44 * MIB, 0);
        assert_eq!(still, Verdict { low: true, gives_up: false, sets_aside: false });
        let back = marks.judge(true, false, 100 * MIB, 0);
        assert_eq!(back, Verdict { low: false, gives_up: false, sets_aside: true });
        let resized = marks.judge(false, false, 500 * MIB, 7);
        assert!(resized.sets_aside);
    }

    #[test]
    fn a_checkpoint_without_room_makes_the_disk_low_and_takes_the_reserve() {
        let marks = marks(1_000);
        let verdict = marks.judge(false, true, 70 * MIB, marks.reserve);
        assert_eq!(verdict, Verdict { low: true, gives_up: true, sets_aside: false });
    }

    #[test]
    fn both_halves_of_a_change_need_their_majority() {
        let configs = [BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5])];
        let of = |ids: &'static [u64]| move |id: NodeId| ids.contains(&id.0);
        assert!(is_majority(&configs, of(&[1, 3, 4])));
        assert!(!is_majority(&configs, of(&[1, 2, 3])));
        assert!(is_majority(&configs[..1], of(&[1, 2])));
        assert!(!is_majority(&configs[..1], of(&[1, 4])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_is_slow_once_it_stays_slow() {
        let mut slow = Slow::default();
        assert_eq!(slow.note(true), (false, false));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(slow.note(true), (false, false));
        assert_eq!(slow.note(false), (false, false), "a hiccup is forgotten");
        assert_eq!(slow.note(true), (false, false));
        tokio::time::advance(SLOW_AFTER).await;
        assert_eq!(slow.note(true), (true, true));
        assert_eq!(slow.note(true), (true, false), "it is told once");
    }
}
