//! Who breaks things: draws one trouble after the other, and mends some of it on the way.
//!
//! It destroys the data of one replica at a time, and has that one removed before the next; anything
//! else it may do to all of them at once. A fault is counted when it was really done.

use crate::observer::Voted;
use crate::plan::Kind;
use crate::world::{Life, World};
use axon_core::config::{Origin, Promotion};
use axon_core::error::Error;
use axon_core::runtime::{self, simulation};
use axon_core::testing::dice::Dice;
use axon_core::testing::faulty_disk::Fault;
use axon_core::transport::memory::{Cut, Faults};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Replicas that may be there at once.
const REPLICAS_MAX: usize = 8;
/// How often there is no trouble for a while.
const CALM_ONCE_IN: u64 = 6;
/// How long a change of membership may take before nobody waits any more.
const CHANGE_DEADLINE: Duration = Duration::from_secs(6);

pub struct Nemesis {
    world: Arc<World>,
    dice: Dice,
    pub faults: usize,
    voted: mpsc::UnboundedReceiver<Voted>,
    /// When replicas that are down come back, and paused ones go on.
    due: BTreeMap<u64, Instant>,
    /// How many voters are to die with their next vote.
    hunts: u64,
    next_number: u64,
}

impl Nemesis {
    pub fn new(world: Arc<World>, dice: Dice, voted: mpsc::UnboundedReceiver<Voted>) -> Self {
        let next_number = world.plan.replicas + 1;
        Self { world, dice, faults: 0, voted, due: BTreeMap::new(), hunts: 0, next_number }
    }

    /// Breaks things until there were faults enough.
    pub async fn run(&mut self) {
        while self.faults < self.world.plan.faults && !self.world.is_wrong() {
            let gap = self.dice.below(self.world.plan.gap_max.as_millis() as u64) + 1;
            self.pass(runtime::now() + Duration::from_millis(gap)).await;
            self.mend_some().await;
            if self.dice.once_in(CALM_ONCE_IN) {
                self.calm().await;
            }
            let kind = self.world.plan.trouble(&mut self.dice);
            if self.make(kind).await {
                self.faults += 1;
            }
        }
    }

    /// Lets the cluster find together: what nobody has agreed on cannot be lost.
    async fn calm(&mut self) {
        self.world.trace.note("the network is left alone");
        self.world.cut(BTreeMap::new());
        self.world.weather(self.world.plan.network);
        let calm = self.some_time(2_000);
        self.pass(calm).await;
    }

    /// Lets time pass; meanwhile what is due comes back, and voters that are hunted die.
    async fn pass(&mut self, until: Instant) {
        loop {
            self.bring_back().await;
            let next = self.due.values().min().copied().unwrap_or(until).min(until);
            let next = next.max(runtime::now() + Duration::from_millis(1));
            tokio::select! {
                biased;
                Some(Voted { number }) = self.voted.recv() => self.hunt(number).await,
                () = tokio::time::sleep_until(next) => {}
            }
            if runtime::now() >= until || self.world.is_wrong() {
                return;
            }
        }
    }

    async fn hunt(&mut self, number: u64) {
        if self.hunts == 0 || !self.dice.once_in(2) {
            return;
        }
        self.hunts -= 1;
        self.crash(number, "as it has voted").await;
        self.faults += 1;
        // It is back before the election is over, and who stands for it may not be heard by all.
        let soon = Duration::from_millis(1 + self.dice.below(60));
        self.due.insert(number, runtime::now() + soon);
        if self.dice.once_in(2) {
            self.isolate(Cut::Stall);
        }
    }

    async fn bring_back(&mut self) {
        let now = runtime::now();
        let due: Vec<u64> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(number, _)| *number).collect();
        for number in due {
            self.due.remove(&number);
            if self.world.with(number, |replica| replica.paused) {
                self.world.trace.note(format!("n{number} goes on"));
                self.world.pause(number, false);
            } else {
                self.start(number).await;
            }
        }
    }

    async fn start(&mut self, number: u64) {
        let startable =
            |replica: &crate::world::Replica| replica.cluster.is_none() && !replica.gone;
        if !self.world.with(number, |replica| startable(replica)) {
            return;
        }
        let Err(error) = self.world.start(number).await else { return };
        self.world.trace.note(format!("n{number} does not start: {error}"));
        if self.world.with(number, |replica| replica.rotten) {
            self.world.with(number, |replica| replica.gone = true);
        } else {
            self.world.wrong("start", format!("n{number} does not start: {error}"));
        }
    }

    fn some_time(&mut self, millis_max: u64) -> Instant {
        runtime::now() + Duration::from_millis(self.dice.below(millis_max) + 1)
    }

    fn any_of(&mut self, numbers: &[u64]) -> Option<u64> {
        let count = numbers.len() as u64;
        (count > 0).then(|| numbers[self.dice.below(count) as usize])
    }

    /// A replica that runs and is not paused: the leader in one case of three.
    fn victim(&mut self) -> Option<u64> {
        let awake = self.world.numbers(|replica| replica.cluster.is_some() && !replica.paused);
        let leader = self.world.leader().filter(|leader| awake.contains(leader));
        if leader.is_some() && self.dice.once_in(3) {
            return leader;
        }
        self.any_of(&awake)
    }

    fn note(&self, what: &str) {
        self.world.trace.note(format!("FAULT {}: {what}", self.faults + 1));
    }

    /// Does some trouble; `false` when there was nobody to do it to.
    async fn make(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Partition => self.partition(),
            Kind::Isolate => {
                let cut = if self.dice.once_in(3) { Cut::Break } else { Cut::Stall };
                self.isolate(cut);
            }
            Kind::OneWay => return self.one_way(),
            Kind::Weather => self.weather(),
            Kind::CrashAll => self.crash_all().await,
            Kind::Add => return self.add().await,
            Kind::Remove => return self.remove(),
            Kind::Transfer => return self.transfer(),
            Kind::CrashVoter => {
                self.hunts += 1 + self.dice.below(3);
                self.note("voters are hunted");
            }
            _ => {
                let Some(number) = self.victim() else { return false };
                return self.hurt(kind, number).await;
            }
        }
        true
    }

    /// Trouble of one replica.
    async fn hurt(&mut self, kind: Kind, number: u64) -> bool {
        match kind {
            Kind::PowerCut => self.cut_power(number).await,
            Kind::Stop => {
                self.note(&format!("n{number} is stopped"));
                self.world.stop(number).await;
            }
            Kind::Pause => {
                self.note(&format!("n{number} stands still"));
                self.world.pause(number, true);
            }
            Kind::DiskError => return self.fail_disk(number),
            Kind::SlowDisk => return self.slow_disk(number),
            Kind::FullDisk => return self.fill_disk(number),
            Kind::Clock => return self.jump(number),
            Kind::Rot => return self.rot(number).await,
            _ => self.crash(number, "").await,
        }
        let back = self.some_time(2_500);
        self.due.insert(number, back);
        true
    }

    async fn crash(&mut self, number: u64, why: &str) {
        self.note(&format!("n{number} crashes {why}"));
        self.world.crash(number, self.dice.roll()).await;
    }

    async fn crash_all(&mut self) {
        self.note("all crash");
        for Life { number, .. } in self.world.running() {
            self.world.crash(number, self.dice.roll()).await;
            let back = self.some_time(1_500);
            self.due.insert(number, back);
        }
    }

    /// Ends the power some operations from now, in the middle of a write or between two.
    async fn cut_power(&mut self, number: u64) {
        let disk = self.world.with(number, |replica| {
            replica.spoiled = true;
            replica.disk.clone()
        });
        let end = disk.operations() + self.dice.below(30);
        disk.cut_power_after(end);
        let patience = runtime::now() + Duration::from_secs(2);
        while disk.operations() < end && runtime::now() < patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.crash(number, "as its power ends").await;
    }
}

/// The network.
impl Nemesis {
    fn numbers(&self) -> Vec<u64> {
        self.world.numbers(|replica| !replica.gone)
    }

    fn partition(&mut self) {
        let numbers = self.numbers();
        let here: BTreeSet<u64> =
            numbers.iter().copied().filter(|_| self.dice.once_in(2)).collect();
        let cut = if self.dice.once_in(4) { Cut::Break } else { Cut::Stall };
        let mut cuts = BTreeMap::new();
        for one in &numbers {
            for other in &numbers {
                if here.contains(one) != here.contains(other) {
                    cuts.insert((*one, *other), cut);
                }
            }
        }
        self.note(&format!("{here:?} against the rest ({cut:?})"));
        self.world.cut(cuts);
    }

    fn isolate(&mut self, cut: Cut) {
        let numbers = self.numbers();
        let Some(alone) = self.victim() else { return };
        let others = numbers.iter().filter(|other| **other != alone);
        let cuts = others.flat_map(|other| [((alone, *other), cut), ((*other, alone), cut)]);
        self.note(&format!("n{alone} is cut off ({cut:?})"));
        self.world.cut(cuts.collect());
    }

    fn one_way(&mut self) -> bool {
        let numbers = self.numbers();
        let (Some(from), Some(to)) = (self.victim(), self.any_of(&numbers)) else { return false };
        // To one, to all, or from all.
        let cuts: BTreeMap<(u64, u64), Cut> = match self.dice.below(3) {
            0 => BTreeMap::from([((from, to), Cut::Stall)]),
            1 => numbers.iter().map(|other| ((from, *other), Cut::Stall)).collect(),
            _ => numbers.iter().map(|other| ((*other, from), Cut::Stall)).collect(),
        };
        self.note(&format!("silent: {:?}", cuts.keys().collect::<Vec<_>>()));
        self.world.cut(cuts);
        true
    }

    fn weather(&mut self) {
        let usual = self.world.plan.network;
        let faults = Faults {
            delay_max: Duration::from_millis(1 + self.dice.below(150)),
            break_probability: [0.0, 0.01, 0.05][self.dice.below(3) as usize],
            ..usual
        };
        self.note(&format!(
            "up to {:?} a frame, {} of them break their channel",
            faults.delay_max, faults.break_probability
        ));
        self.world.weather(faults);
    }

    /// Mends the network now and then.
    async fn mend_some(&mut self) {
        if self.world.is_cut() && self.dice.once_in(2) {
            self.world.trace.note("the cuts are mended");
            self.world.cut(BTreeMap::new());
        }
        if self.dice.once_in(5) {
            self.world.weather(self.world.plan.network);
        }
        // A replica whose disk has failed is a process that has ended: it is started again.
        for number in self.world.numbers(|replica| replica.spoiled && replica.cluster.is_some()) {
            let halted = self.world.life(number).is_some_and(
                |life| !matches!(life.cluster.status(), Ok(status) if status.halted.is_none()),
            );
            if halted {
                self.world.trace.note(format!("n{number} has halted"));
                self.world.crash(number, self.dice.roll()).await;
                let back = self.some_time(800);
                self.due.insert(number, back);
            }
        }
        self.retire().await;
    }
}

/// Disks and clocks.
impl Nemesis {
    fn fail_disk(&mut self, number: u64) -> bool {
        let nth = 1 + self.dice.below(20);
        let sync = self.dice.once_in(2);
        self.note(&format!("n{number}: a {} fails", if sync { "sync" } else { "write" }));
        self.world.with(number, |replica| {
            replica.spoiled = true;
            if sync {
                replica.disk.fail_sync(nth, Fault::Io);
            } else {
                replica.disk.fail_write(nth, Fault::Io);
            }
        });
        true
    }

    fn slow_disk(&mut self, number: u64) -> bool {
        let longest = Duration::from_millis(5 + self.dice.below(200));
        self.note(&format!("n{number}: its disk takes up to {longest:?}"));
        let node = self.world.with(number, |replica| replica.life);
        simulation::slow_disk(node, longest);
        true
    }

    fn fill_disk(&mut self, number: u64) -> bool {
        let full = self.dice.once_in(2);
        self.note(&format!("n{number}: {}", if full { "its disk is full" } else { "it has room" }));
        let free = if full { 1 << 20 } else { 1 << 40 };
        self.world.with(number, |replica| {
            replica.disk.leave_free(free, 1 << 41);
            replica.spoiled |= full;
        });
        true
    }

    fn jump(&mut self, number: u64) -> bool {
        let far = [100, 2_000, 60_000, 86_400_000][self.dice.below(4) as usize];
        let millis = self.dice.below(2 * far + 1).cast_signed() - far.cast_signed();
        self.note(&format!("n{number}: its clock jumps by {millis} ms"));
        let node = self.world.with(number, |replica| replica.life);
        simulation::shift_wall_clock(node, millis);
        true
    }

    /// Flips a bit of what a replica has stored, while it is down.
    async fn rot(&mut self, number: u64) -> bool {
        // With one voter lost for good, and another on its way out, there may be no majority left.
        let voters = self.world.life(number).and_then(|life| life.cluster.status().ok());
        let enough = voters.is_some_and(|status| status.voters.len() >= 3);
        let changing = !self.world.numbers(|one| one.rotten || one.leaving).is_empty();
        if !enough || changing {
            return false;
        }
        self.crash(number, "and a bit of its state flips").await;
        let (disk, directory) = self.world.with(number, |replica| {
            replica.rotten = true;
            (replica.disk.clone(), replica.config.data_dir.clone())
        });
        let path = directory.expect("it has one").join(axon_core::storage::redb::FILE_NAME);
        let Some(bytes) = disk.contents(&path) else { return true };
        // Most of the file is of no meaning: where a client's value lies is.
        let meant: Vec<u64> = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, two)| two[0] == b'v' && two[1].is_ascii_digit())
            .map(|(at, _)| at as u64)
            .collect();
        let at = match self.any_of(&meant) {
            Some(at) if !self.dice.once_in(4) => at,
            _ => self.dice.below(bytes.len() as u64),
        };
        disk.flip(&path, at, self.dice.below(8) as u8);
        let back = self.some_time(500);
        self.due.insert(number, back);
        true
    }
}

/// Membership.
impl Nemesis {
    async fn add(&mut self) -> bool {
        let present = self.world.numbers(|replica| !replica.gone);
        if present.len() >= REPLICAS_MAX {
            return false;
        }
        let number = self.next_number;
        self.next_number += 1;
        let doors: Vec<String> = present.iter().map(|one| crate::world::address(*one)).collect();
        let promotion = match self.dice.below(4) {
            0 => Promotion::Manual,
            1 => Promotion::Never,
            _ => Promotion::Auto,
        };
        self.note(&format!("n{number} joins ({promotion:?})"));
        self.world.add(number, Origin::Join(doors), promotion);
        self.start(number).await;
        if promotion == Promotion::Manual {
            self.ask("promotes", number);
        }
        true
    }

    fn remove(&mut self) -> bool {
        let members = self.world.numbers(|replica| !replica.gone && !replica.leaving);
        let rotten = !self.world.numbers(|replica| replica.rotten).is_empty();
        if members.len() <= 3 || rotten {
            return false;
        }
        let Some(number) = self.any_of(&members) else { return false };
        self.note(&format!("n{number} is removed"));
        self.ask("removes", number);
        true
    }

    /// Has a replica that runs change the membership; nobody waits for the answer for long.
    fn ask(&mut self, what: &'static str, number: u64) {
        let Some(id) = self.world.with(number, |replica| replica.id) else { return };
        if what == "removes" {
            self.world.with(number, |replica| replica.leaving = true);
        }
        let Some(door) = self.victim() else { return };
        let Some(life) = self.world.life(door) else { return };
        let (world, cluster) = (self.world.clone(), life.cluster.clone());
        let changing = async move {
            match what {
                "removes" => cluster.remove(id).await,
                _ => cluster.promote(id).await,
            }
        };
        self.world.changes.fetch_add(1, Ordering::Relaxed);
        drop(runtime::spawn(async move {
            let end = life.run(CHANGE_DEADLINE, changing).await;
            world.changes.fetch_sub(1, Ordering::Relaxed);
            world.trace.note(format!("n{door} {what} n{number} (id {id}): {}", said(end.as_ref())));
        }));
    }

    /// Ends replicas that were removed, and has removed those that are lost.
    async fn retire(&mut self) {
        let gone = self
            .world
            .running()
            .into_iter()
            .filter(|life| matches!(life.cluster.status(), Err(Error::Removed { .. })));
        for Life { number, .. } in gone.collect::<Vec<_>>() {
            if self.dice.once_in(4) {
                self.world.trace.note(format!("n{number}, which was removed, is put away"));
                self.world.crash(number, self.dice.roll()).await;
                self.world.with(number, |replica| replica.gone = true);
            }
        }
        for number in self.world.numbers(|replica| replica.gone && !replica.leaving) {
            self.ask("removes", number);
        }
    }

    fn transfer(&mut self) -> bool {
        let (Some(door), numbers) = (self.victim(), self.numbers()) else { return false };
        let to = self.any_of(&numbers);
        let to = to.and_then(|number| self.world.with(number, |replica| replica.id));
        let Some(life) = self.world.life(door) else { return false };
        self.note(&format!("n{door} has leadership handed to {to:?}"));
        let (world, cluster) = (self.world.clone(), life.cluster.clone());
        self.world.changes.fetch_add(1, Ordering::Relaxed);
        drop(runtime::spawn(async move {
            let moving = async move { cluster.transfer_leadership(to).await };
            let end = life.run(CHANGE_DEADLINE, moving).await;
            world.changes.fetch_sub(1, Ordering::Relaxed);
            world.trace.note(format!("n{door} hands leadership over: {}", said(end.as_ref())));
        }));
        true
    }
}

fn said<T: std::fmt::Debug>(end: Option<&Result<T, Error>>) -> String {
    match end {
        None => "lost".into(),
        Some(Ok(done)) => format!("{done:?}"),
        Some(Err(error)) => error.to_string(),
    }
}
