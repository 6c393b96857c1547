//! What happened to a node, as it tells it.

use axon_core::events;
use serde::Serialize;
use utoipa::ToSchema;

/// The answer to `GET /v1/events`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events<'a> {
    /// Tells starts of the node apart: numbers begin anew with each. The wall clock at this start, in
    /// milliseconds since 1970.
    boot: u64,
    /// The events, oldest first.
    events: Vec<Event<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Event<'a> {
    /// Its number since the start. One that does not follow on the number that was asked for says that
    /// those between are forgotten.
    seq: u64,
    /// When, in milliseconds since 1970, by the node's wall clock.
    time: u64,
    /// What, for programs: `leader_elected`, `quorum_lost`, `joined` and so on.
    kind: &'static str,
    /// What, for people.
    text: &'a str,
}

impl<'a> Events<'a> {
    /// Shows `events` of the start `boot`.
    #[must_use]
    pub fn new(boot: u64, events: &'a [events::Event]) -> Self {
        let shape = |event: &'a events::Event| Event {
            seq: event.seq,
            time: event.time_millis,
            kind: event.kind.as_str(),
            text: &event.text,
        };
        Self { boot, events: events.iter().map(shape).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::reads;
    use axon_core::events::EventKind;

    #[test]
    fn events_read_as_documented() {
        let events = [events::Event {
            seq: 3,
            time_millis: 1_700_000_000_500,
            kind: EventKind::LeaderElected,
            text: "node1 (id 1) leads in term 2".into(),
        }];
        let shape = Events::new(1_700_000_000_000, &events);
        reads(&shape, include_str!("../../tests/fixtures/events.json"));
    }
}
