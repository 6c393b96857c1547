//! A feed: one watcher's way through the revisions.

use super::hub::{Hub, Turn, halted};
use super::index::WatcherId;
use super::read;
use super::{WatchChange, WatchEvent};
use crate::error::Error;
use crate::runtime;
use crate::state::View;
use crate::types::{KeyRange, KeyValue, Revision};
use futures_util::Stream;
use std::collections::VecDeque;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::coop;
use tokio::time::{Instant, Sleep};

/// Pairs of the initial state that are told at once.
const INITIAL_ITEMS_MAX: usize = 1000;
/// Their bytes, after the first pair.
const INITIAL_BYTES_MAX: usize = 1 << 20;
/// The limits of what `progress_interval` may be: a clock has its own.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
const INTERVAL_MAX: Duration = Duration::from_hours(24 * 365);

/// What a watcher wants to know.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Of which keys.
    pub range: KeyRange,
    /// Whether it wants what was there before, too.
    pub with_previous: bool,
    /// How long it may be quiet before it says how far it has come.
    pub progress_interval: Duration,
}

/// What exists, as of one view, as far as it is not told yet.
struct Initial {
    view: View,
    rest: KeyRange,
}

/// What a step of reading gave.
enum Read {
    /// The last of these was the last revision that was looked at.
    Changes(VecDeque<WatchEvent>, Revision),
    /// Some of the initial state; none is its end.
    Pairs(Vec<KeyValue>),
}

type Step = Pin<Box<dyn Future<Output = Result<Read, Error>> + Send>>;

/// The events of one watcher: a stream that ends after its first error. See the module's essay.
///
/// `next` on it is cancel safe: an event is told, or still to come.
pub struct Feed {
    hub: Arc<Hub>,
    id: WatcherId,
    range: Arc<KeyRange>,
    with_previous: bool,
    initial: Option<Box<Initial>>,
    /// What the last step gave.
    ready: VecDeque<WatchEvent>,
    /// Outlives whoever waits for it.
    step: Option<Step>,
    /// Goes off when something may have to be said.
    alarm: Pin<Box<Sleep>>,
    interval: Duration,
    told_at: Instant,
    ended: bool,
}

impl Feed {
    /// Begins with the changes of `next`. Needs a runtime around it.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many watch, and why the hub is closed.
    pub fn from(hub: &Arc<Hub>, interest: Interest, next: Revision) -> Result<Self, Error> {
        let Interest { range, with_previous, progress_interval } = interest;
        let range = Arc::new(range);
        let id = hub.enter(&range, next, with_previous)?;
        let interval = progress_interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
        Ok(Self {
            hub: hub.clone(),
            id,
            range,
            with_previous,
            initial: None,
            ready: VecDeque::new(),
            step: None,
            alarm: Box::pin(tokio::time::sleep(interval)),
            interval,
            told_at: runtime::now(),
            ended: false,
        })
    }

    /// Begins with what `view` shows, then goes on with what comes after it.
    ///
    /// # Errors
    /// As [`from`](Self::from).
    pub fn with_initial_state(
        hub: &Arc<Hub>,
        interest: Interest,
        view: View,
    ) -> Result<Self, Error> {
        let mut feed = Self::from(hub, interest, view.revision().next())?;
        let rest = KeyRange::clone(&feed.range);
        feed.initial = Some(Box::new(Initial { view, rest }));
        Ok(feed)
    }

    /// Begins to read `from` to `upto` from the state.
    fn read(&self, from: Revision, upto: Revision) -> Step {
        let (hub, range, with_previous) =
            (self.hub.clone(), self.range.clone(), self.with_previous);
        Box::pin(async move {
            let _permit = hub.reads.acquire().await;
            let reader = hub.reader()?;
            let reading = move || {
                let view = reader.view();
                let compacted = view.compacted_revision();
                if from <= compacted {
                    let resync = WatchEvent::Resync { from, to: compacted };
                    return Ok(Read::Changes([resync].into(), compacted));
                }
                let found = read::step(&view, &range, from, upto, with_previous)?;
                let revised = found.revised.iter();
                let events = revised.filter_map(|revised| revised.event(&range, with_previous));
                Ok(Read::Changes(events.collect(), found.through))
            };
            runtime::blocking(reading).await.map_err(|error| halted(&error))
        })
    }

    /// Begins to read more of the initial state.
    fn read_initial(&self, initial: &Initial) -> Step {
        let (hub, view, rest) = (self.hub.clone(), initial.view.clone(), initial.rest.clone());
        Box::pin(async move {
            let _permit = hub.reads.acquire().await;
            hub.reader()?;
            let reading = move || view.page(&rest, INITIAL_ITEMS_MAX, INITIAL_BYTES_MAX);
            runtime::blocking(reading).await.map(Read::Pairs).map_err(|error| halted(&error))
        })
    }

    /// Takes what a step gave; returns what is to be said at once.
    fn take(&mut self, read: Read) -> Option<WatchEvent> {
        match read {
            Read::Changes(events, through) => {
                self.ready = events;
                self.hub.advance(self.id, through);
                self.ready.pop_front().or_else(|| self.overdue(through))
            }
            Read::Pairs(pairs) => {
                let initial = self.initial.as_mut()?;
                let revision = initial.view.revision();
                let Some(last) = pairs.last() else {
                    self.initial = None;
                    return Some(WatchEvent::Progress(revision));
                };
                initial.rest.start = Bound::Excluded(last.key.clone());
                let put = |pair| WatchChange::Put { pair, previous: None };
                let changes = pairs.into_iter().map(put).collect();
                Some(WatchEvent::Batch { revision, changes })
            }
        }
    }

    /// Says that everything up to `through` is told, if nothing was said for long.
    fn overdue(&self, through: Revision) -> Option<WatchEvent> {
        let overdue = runtime::now() >= self.told_at + self.interval;
        overdue.then_some(WatchEvent::Progress(through))
    }

    /// The next event; pending when a step is under way, or when there is nothing to tell.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchEvent, Error>> {
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(Ok(event));
        }
        loop {
            if let Some(step) = &mut self.step {
                let read = ready!(step.as_mut().poll(context));
                self.step = None;
                if let Some(event) = self.take(read?) {
                    return Poll::Ready(Ok(event));
                }
            }
            if let Some(initial) = &self.initial {
                self.step = Some(self.read_initial(initial));
                continue;
            }
            let waker = context.waker();
            match self.hub.turn(self.id, &self.range, self.with_previous, waker) {
                Turn::Event(event) => return Poll::Ready(Ok(event)),
                Turn::Closed(cause) => return Poll::Ready(Err(cause)),
                Turn::Read(from, upto) => self.step = Some(self.read(from, upto)),
                Turn::Nothing(through) => {
                    if let Some(progress) = self.overdue(through) {
                        return Poll::Ready(Ok(progress));
                    }
                    // There is more to look through: others first.
                    waker.wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Wait(through) => {
                    ready!(self.poll_quiet(context));
                    return Poll::Ready(Ok(WatchEvent::Progress(through)));
                }
            }
        }
    }

    /// Ready when nothing was said for the interval.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // It is set anew when it has gone off, not with every event.
            if self.alarm.is_elapsed() {
                let due = self.told_at + self.interval;
                self.alarm.as_mut().reset(due);
            }
            ready!(self.alarm.as_mut().poll(context));
            if runtime::now() >= self.told_at + self.interval {
                return Poll::Ready(());
            }
        }
    }

    /// Notes that `event` is told.
    fn tell(&mut self, event: &WatchEvent) {
        self.told_at = runtime::now();
        self.hub.events.fetch_add(1, Ordering::Relaxed);
        if matches!(event, WatchEvent::Resync { .. }) {
            self.hub.resyncs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Stream for Feed {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // A reader that is always told something must let others run now and then.
        let budget = ready!(coop::poll_proceed(context));
        let told = ready!(self.poll_event(context));
        budget.made_progress();
        if let Ok(event) = &told {
            self.tell(event);
        } else {
            self.ended = true;
            self.initial = None;
        }
        Poll::Ready(Some(told))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.leave(self.id, &self.range, self.with_previous);
    }
}
