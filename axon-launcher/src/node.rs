//! One supervised node: a task that owns its process and brings it to where it should be.
//!
//! Hides *when* things are done to a process; [`lifecycle`] says what, and
//! [`process`](crate::process) how. Others give orders and look at the [`View`]; nobody else
//! touches the process.
//!
//! Invariants:
//! * at most one process runs for a node, since only this task starts one, and only after it has
//!   looked for one that an earlier launcher left;
//! * the view is never older than the last transition, so a stopped node is never shown as running;
//! * a process that an earlier launcher left is signalled only if nobody else answers where it
//!   should: it is asked once more right before;
//! * each transition that people should know of is told as an event, here and nowhere else;
//! * when the task ends (its [`Node`] is dropped), the process goes on.

use crate::events::NewEvent;
use crate::lifecycle::{self, Action, End, Event, Phase, STOP_GRACE};
use crate::logs::{self, follow::Log};
use crate::manifest::{ClusterId, NodeName};
use crate::probe::{NodeClient, Observation, Status};
use crate::process::{Exit, Launch, Process};
use crate::roster;
use crate::wire::Severity;
use futures_util::future::{BoxFuture, FutureExt, pending};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Time between two questions to a node that runs, and to one that has not answered yet.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_EVERY_AT_START: Duration = Duration::from_millis(50);

/// How long after its start a node that is not ready yet is asked as often as at its start.
const EAGER_FOR: Duration = Duration::from_secs(10);

/// Questions in a row without an answer after which a node counts as silent.
const SILENT_AFTER: u32 = 2;

/// How often the size of the log is looked at.
const ROTATE_EVERY: Duration = Duration::from_secs(10);

/// Lines of the log that are kept with the end of a process.
pub const LAST_LINES: usize = 50;

/// Where a node is on this machine; never changes.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: NodeName,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where its API answers.
    pub api_port: u16,
    /// Where its peers reach it.
    pub peer_port: u16,
    /// Its replica's directory, absolute.
    pub replica: std::path::PathBuf,
    /// Its log.
    pub log: std::path::PathBuf,
}

/// How a process ended, and when.
#[derive(Debug, Clone)]
pub struct LastExit {
    /// How.
    pub exit: Exit,
    /// When.
    pub at: SystemTime,
    /// The last lines of its log at that moment.
    pub lines: Vec<String>,
    /// Whether it had been told to stop.
    pub wanted: bool,
}

/// A node as its task sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// Where its process is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: SystemTime,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// When its process was started, if it runs.
    pub started: Option<SystemTime>,
    /// When it starts again by itself, if it does.
    pub next_start: Option<SystemTime>,
    /// What its process last said.
    pub observed: Observation,
    /// The id it last said that it has; it keeps it while it is down.
    pub node_id: Option<u64>,
    /// How its last process ended.
    pub last_exit: Option<LastExit>,
    /// What is wrong, in a sentence, if anything is.
    pub trouble: Option<String>,
}

impl View {
    /// Reports whether the node runs and answers.
    pub fn online(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// Takes down what the node says now.
    pub(crate) fn observe(&mut self, seen: Observation) {
        let id = seen.status().map(|status| status.node_id).filter(|id| *id != 0);
        self.node_id = id.or(self.node_id);
        self.observed = seen;
    }

    /// What the node says of itself, if it runs and answers.
    pub fn status(&self) -> Option<&Status> {
        self.observed.status().filter(|_| self.online())
    }
}

#[derive(Debug)]
enum Order {
    Start,
    Stop,
    Close,
    Kill,
}

/// A handle on a supervised node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it is.
    pub place: Arc<Place>,
    /// Held by whoever starts, stops or deletes it, so that these do not cross.
    pub order: Arc<Mutex<()>>,
    /// What it writes.
    pub log: Arc<Log>,
    orders: mpsc::Sender<(Order, oneshot::Sender<()>)>,
    view: watch::Receiver<View>,
}

/// Makes the directory if needed and says how to start the node now.
pub type Plan = Box<dyn Fn() -> Result<Launch, String> + Send + Sync>;

/// Notes what happened.
pub type Tell = Box<dyn Fn(NewEvent) + Send + Sync>;

impl Node {
    /// Supervises a node; nothing is started yet, but a process that is left over is taken over.
    pub fn supervise(place: Place, plan: Plan, client: NodeClient, tell: Tell) -> Self {
        let place = Arc::new(place);
        let log = Arc::new(Log::new(place.log.clone()));
        let (orders, inbox) = mpsc::channel(16);
        let (publish, view) = watch::channel(View {
            phase: Phase::Stopped,
            since: SystemTime::now(),
            pid: None,
            started: None,
            next_start: None,
            observed: Observation::Silent,
            node_id: None,
            last_exit: None,
            trouble: None,
        });
        let mut task = Task {
            place: Arc::clone(&place),
            log: Arc::clone(&log),
            plan,
            client,
            tell,
            publish,
            process: None,
            probe: None,
            misses: 0,
            eager_until: Instant::now(),
            timer: None,
            closed: false,
        };
        task.adopt();
        tokio::spawn(task.run(inbox));
        Self { place, order: Arc::default(), log, orders, view }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.place.name
    }

    /// How it is now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Wants it running; returns once that is under way.
    pub async fn start(&self) {
        self.order(Order::Start).await;
    }

    /// Wants it stopped; returns once that is under way.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// Wants it stopped and never started again by this launcher.
    pub async fn close(&self) {
        self.order(Order::Close).await;
    }

    /// Kills its process, if it has one.
    pub async fn kill(&self) {
        self.order(Order::Kill).await;
    }

    /// Waits until its view is as `wanted`, no longer than `deadline`; returns whether it is.
    pub async fn until(&self, deadline: Duration, wanted: impl FnMut(&View) -> bool) -> bool {
        let mut view = self.view.clone();
        let seen = tokio::time::timeout(deadline, view.wait_for(wanted)).await;
        matches!(seen, Ok(Ok(_)))
    }

    /// Waits until it has no process, killing it at last if it does not listen.
    pub async fn until_stopped(&self) -> bool {
        self.until(STOP_GRACE * 2, |view| view.pid.is_none()).await
    }

    async fn order(&self, order: Order) {
        let (done, wait) = oneshot::channel();
        // Both fail only if the task is gone, that is, when the runtime is being shut down.
        if self.orders.send((order, done)).await.is_ok() {
            wait.await.ok();
        }
    }
}

struct Task {
    place: Arc<Place>,
    log: Arc<Log>,
    plan: Plan,
    client: NodeClient,
    tell: Tell,
    publish: watch::Sender<View>,
    process: Option<Process>,
    probe: Option<BoxFuture<'static, Observation>>,
    misses: u32,
    eager_until: Instant,
    timer: Option<Instant>,
    /// The launcher is stopping: an order to start that was under way must not win.
    closed: bool,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<(Order, oneshot::Sender<()>)>) {
        let mut rotate = tokio::time::interval(ROTATE_EVERY);
        loop {
            tokio::select! {
                order = inbox.recv() => {
                    let Some((order, done)) = order else { return };
                    if !matches!(order, Order::Start) {
                        self.make_sure().await;
                    }
                    match order {
                        Order::Start if self.closed => {}
                        Order::Start => self.step(Event::Start),
                        Order::Close => {
                            self.closed = true;
                            self.step(Event::Stop);
                        }
                        Order::Stop => self.step(Event::Stop),
                        Order::Kill => self.process.iter().for_each(Process::kill),
                    }
                    // Nobody may be waiting any more; the order was carried out all the same.
                    done.send(()).ok();
                }
                exit = exited(&mut self.process) => self.ended(exit),
                seen = answered(&mut self.probe) => self.observed(seen),
                () = elapsed(self.timer) => {
                    self.timer = None;
                    self.step(Event::TimeUp);
                }
                _ = rotate.tick() => {
                    if let Err(error) = self.log.rotate(logs::FILE_BYTES_MAX) {
                        tracing::warn!(node = %self.place.name, %error, "cannot rotate the log");
                    }
                }
            }
        }
    }

    fn step(&mut self, event: Event) {
        let before = self.publish.borrow().phase;
        let (phase, action) = lifecycle::next(before, event);
        if phase != before {
            tracing::debug!(node = %self.place.name, ?event, ?before, ?phase, "transition");
        }
        let word_changes = phase.as_str() != before.as_str();
        self.publish.send_modify(|view| {
            view.phase = phase;
            view.next_start = match (phase, action) {
                (Phase::Crashed { .. }, Action::Wait(time)) => Some(SystemTime::now() + time),
                _ => view.next_start.filter(|_| !word_changes),
            };
            if let Phase::Crashed { failures, again: false } = phase
                && word_changes
            {
                let reason = view.trouble.take().unwrap_or_else(|| "it ended".to_owned());
                let times = failures.row;
                view.trouble = Some(format!(
                    "{reason}. It has failed {times} times in a row and stays down until it is started"
                ));
            }
            if word_changes {
                view.since = SystemTime::now();
            }
        });
        if word_changes {
            self.announce(before, phase);
        }
        match action {
            Action::None => {}
            Action::Wait(time) => self.timer = Some(Instant::now() + time),
            Action::Spawn => self.spawn(),
            Action::Terminate => {
                self.process.iter().for_each(Process::terminate);
                self.timer = Some(Instant::now() + STOP_GRACE);
            }
            Action::Kill => {
                tracing::warn!(node = %self.place.name, "did not stop within {STOP_GRACE:?}: killing it");
                self.process.iter().for_each(Process::kill);
            }
        }
    }

    /// Tells of a transition that people should know of.
    fn announce(&self, before: Phase, phase: Phase) {
        let view = self.publish.borrow();
        let name = &self.place.name;
        let trouble = view.trouble.as_deref().unwrap_or("it ended by itself");
        let (severity, kind, text) = match (before, phase) {
            (Phase::Stopping { .. }, Phase::Stopped | Phase::Starting { .. }) => {
                (Severity::Info, "stopped", format!("{name} has stopped"))
            }
            (_, Phase::Unhealthy { .. }) => {
                (Severity::Warning, "unhealthy", format!("{name} runs and does not answer"))
            }
            (Phase::Unhealthy { .. }, Phase::Running { .. }) => {
                (Severity::Info, "answers_again", format!("{name} answers again"))
            }
            (_, Phase::Crashed { again, .. }) => {
                let severity = if again { Severity::Warning } else { Severity::Error };
                (severity, "crashed", format!("{name}: {trouble}"))
            }
            (_, Phase::Removed) => (
                Severity::Warning,
                "removed",
                format!("{name} has ended: its cluster has removed it, for good"),
            ),
            _ => return,
        };
        let exit = view.last_exit.as_ref().filter(|last| !last.wanted && kind == "crashed");
        let exit = exit.map(roster::exit);
        (self.tell)(NewEvent { exit, ..NewEvent::new(severity, kind, text).node(name) });
    }

    /// Lets go of a process that was adopted and turns out to be another's: what answers at the
    /// node's address is somebody else.
    async fn make_sure(&mut self) {
        let Some(pid) = self.process.as_ref().filter(|found| found.is_adopted()).map(Process::pid)
        else {
            return;
        };
        let Place { name, cluster, api_port, .. } = &*self.place;
        let Observation::Foreign(what) = self.client.observe(*api_port, name, cluster).await else {
            return;
        };
        let trouble = format!(
            "process {pid} has the directory of {name} on its command line, but port {api_port} is \
             answered by {what}; it was left alone. Look at that process, and end it by hand if it is {name}"
        );
        tracing::warn!(node = %name, "{trouble}");
        (self.tell)(NewEvent::new(Severity::Warning, "disowned", &trouble).node(name));
        (self.process, self.probe, self.timer) = (None, None, None);
        self.publish.send_modify(|view| {
            (view.pid, view.started) = (None, None);
            view.observed = Observation::Silent;
            view.trouble = Some(trouble);
        });
        self.step(Event::Disowned);
    }

    fn adopt(&mut self) -> bool {
        let Some(process) = Process::adopt("--data-dir", &self.place.replica) else { return false };
        let (name, pid) = (&self.place.name, process.pid());
        tracing::info!(node = %name, pid, "taken over from an earlier launcher");
        let text = format!("{name} was taken over from an earlier launcher (process {pid})");
        (self.tell)(NewEvent::new(Severity::Info, "adopted", text).node(name));
        self.step(Event::Adopted);
        self.watch_process(process);
        true
    }

    fn spawn(&mut self) {
        // An earlier launcher may have been killed while it started this node.
        if self.adopt() {
            return;
        }
        let started = (self.plan)()
            .and_then(|launch| self.check_ports().map(|()| launch))
            .and_then(|launch| {
                let program = launch.program.display().to_string();
                Process::spawn(&launch).map_err(|error| format!("cannot run {program}: {error}"))
            });
        match started {
            Ok(process) => {
                let (name, pid) = (&self.place.name, process.pid());
                tracing::info!(node = %name, pid, port = self.place.api_port, "started");
                let text = format!("{name} was started (process {pid})");
                (self.tell)(NewEvent::new(Severity::Info, "started", text).node(name));
                self.watch_process(process);
            }
            Err(trouble) => {
                tracing::error!(node = %self.place.name, "{trouble}");
                let end = End::of_start(&trouble);
                self.publish.send_modify(|view| {
                    view.trouble = Some(trouble);
                    // The story of an earlier process does not explain why this one was not started.
                    view.last_exit = None;
                });
                self.step(Event::Ended(end));
            }
        }
    }

    fn watch_process(&mut self, process: Process) {
        self.publish.send_modify(|view| {
            view.pid = Some(process.pid());
            view.started = Some(process.started());
            view.trouble = None;
        });
        self.process = Some(process);
        self.timer = None;
        self.misses = 0;
        self.eager_until = Instant::now() + EAGER_FOR;
        self.ask(PROBE_EVERY_AT_START);
    }

    /// Says it plainly when a port is taken; the node's own words would only be in its log.
    fn check_ports(&self) -> Result<(), String> {
        [self.place.api_port, self.place.peer_port].into_iter().try_for_each(|port| {
            if port_is_free(port) {
                return Ok(());
            }
            Err(format!(
                "port {port} is taken by another process; {} cannot start",
                self.place.name
            ))
        })
    }

    fn ask(&mut self, after: Duration) {
        let (client, place) = (self.client.clone(), Arc::clone(&self.place));
        let probe = async move {
            tokio::time::sleep(after).await;
            client.observe(place.api_port, &place.name, &place.cluster).await
        };
        self.probe = Some(probe.boxed());
    }

    fn observed(&mut self, seen: Observation) {
        let answers = matches!(seen, Observation::Answers { .. } | Observation::Joining);
        self.misses = if answers { 0 } else { self.misses.saturating_add(1) };
        let silent = self.misses >= SILENT_AFTER;
        self.publish.send_if_modified(|view| {
            if answers || silent {
                view.trouble = match &seen {
                    Observation::Locked => Some(format!(
                        "port {} is answered by a server that wants another token than this \
                         launcher has; restart it here",
                        self.place.api_port
                    )),
                    Observation::Foreign(what) => {
                        Some(format!("port {} is answered by {what}", self.place.api_port))
                    }
                    _ => None,
                };
                let changed = view.observed != seen;
                view.observe(seen);
                return changed;
            }
            false
        });
        if answers {
            self.step(Event::Answered);
        } else if silent {
            self.step(Event::Unanswered);
        }
        let starting = matches!(self.publish.borrow().phase, Phase::Starting { .. });
        let eager = !self.publish.borrow().observed.ready() && Instant::now() < self.eager_until;
        self.ask(if starting || eager { PROBE_EVERY_AT_START } else { PROBE_EVERY });
    }

    fn ended(&mut self, exit: Exit) {
        self.process = None;
        self.probe = None;
        self.timer = None;
        let lines = logs::tail(&self.place.log, LAST_LINES);
        let wanted = matches!(self.publish.borrow().phase, Phase::Stopping { .. });
        let last = lines.iter().rev().find(|line| !line.trim().is_empty()).cloned();
        if wanted {
            tracing::info!(node = %self.place.name, "stopped");
        } else {
            tracing::warn!(node = %self.place.name, last_line = last.as_deref(), "{exit}");
        }
        let end = End::of(exit, last.as_deref());
        self.publish.send_modify(|view| {
            view.pid = None;
            view.started = None;
            view.observed = Observation::Silent;
            view.last_exit = Some(LastExit { exit, at: SystemTime::now(), lines, wanted });
            // What is killed from outside says nothing of it: its last line would mislead.
            view.trouble = (!wanted).then(|| match last.filter(|_| exit.code().is_some()) {
                Some(last) => format!("{exit}: {last}"),
                None => exit.to_string(),
            });
        });
        self.step(Event::Ended(end));
    }
}

/// Reports whether nobody listens on a port of this machine.
pub fn port_is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

async fn exited(process: &mut Option<Process>) -> Exit {
    match process {
        Some(process) => process.exited().await,
        None => pending().await,
    }
}

async fn answered(probe: &mut Option<BoxFuture<'static, Observation>>) -> Observation {
    match probe {
        Some(running) => running.await,
        None => pending().await,
    }
}

async fn elapsed(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
