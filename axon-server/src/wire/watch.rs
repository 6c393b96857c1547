//! What `GET /v1/watch` tells.
//!
//! An event of many changes is never encoded as a whole (see `routes::watch`): a [`Change`] is encoded
//! alone, and [`Event`] says, in the API's description, what becomes of it.

use super::kv::Envelope;
use super::text::{Encoding, Text};
use axon_core::store::WatchChange;
use axon_core::types::Revision;
use serde::Serialize;
use utoipa::ToSchema;

/// One key's change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Change<'a> {
    /// A value was stored.
    Put {
        /// The key as it is now.
        #[serde(flatten)]
        pair: Envelope<'a>,
        /// With `previous=true`: the key as it was, unless it is new or that is compacted away.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        previous: Option<Envelope<'a>>,
    },
    /// The key was removed.
    Delete {
        /// The key.
        #[schema(value_type = String)]
        key: Text<'a>,
        /// How the key is written, when it is not text.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        key_encoding: Option<Encoding>,
        /// The revision that removed it.
        #[schema(value_type = u64)]
        mod_revision: Revision,
        /// With `previous=true`: the key as it was, unless that is compacted away.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        previous: Option<Envelope<'a>>,
    },
}

impl<'a> From<&'a WatchChange> for Change<'a> {
    fn from(change: &'a WatchChange) -> Self {
        match change {
            WatchChange::Put { pair, previous } => Self::Put {
                pair: Envelope::new(pair),
                previous: previous.as_ref().map(Envelope::new),
            },
            WatchChange::Delete { key, revision, previous } => Self::Delete {
                key: Text::new(key),
                key_encoding: Text::new(key).encoding(),
                mod_revision: *revision,
                previous: previous.as_ref().map(Envelope::new),
            },
        }
    }
}

impl Change<'_> {
    /// Appends it to the JSON in `buffer`.
    pub fn append_to(&self, buffer: &mut Vec<u8>) {
        serde_json::to_writer(buffer, self).expect("a buffer takes every change");
    }
}

/// A line. As a server-sent event, `type` is its `event`, and the rest its `data`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event<'a> {
    /// What one revision changed, all of it; of the initial state, some of what exists.
    Change {
        /// The revision.
        #[schema(value_type = u64)]
        revision: Revision,
        /// The changes, in the order of their keys.
        changes: Vec<Change<'a>>,
    },
    /// All changes up to and with this revision were told; the initial state, too.
    Progress {
        /// The revision.
        #[schema(value_type = u64)]
        revision: Revision,
    },
    /// Changes are gone untold: the client was slower than the history is long.
    Resync {
        /// The first revision that is not told.
        #[schema(value_type = u64)]
        from: Revision,
        /// The last revision that is not told.
        #[schema(value_type = u64)]
        to: Revision,
    },
    /// It ends here. The data of a server-sent `error` is the problem itself.
    Error {
        /// Why.
        problem: super::Problem<'a>,
    },
}

/// An event as a server-sent one.
#[derive(Debug, ToSchema)]
pub struct ServerSentEvent<'a> {
    /// `change`, `progress`, `resync` or `error`.
    pub event: &'a str,
    /// Its revision: what `Last-Event-ID` says to go on after it. Neither the initial state nor an
    /// error has one.
    #[schema(nullable = false)]
    pub id: Option<&'a str>,
    /// The document, on one line.
    pub data: &'a str,
}
