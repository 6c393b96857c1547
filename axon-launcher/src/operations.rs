//! What takes a while: who asked for it, its steps, how far it has come.

use crate::wire::Operation;
use std::sync::Arc;
use tokio::sync::broadcast;

/// The operations that run, and the latest that ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operations(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    told: broadcast::Sender<Operation>,
}

impl Default for Operations {
    fn default() -> Self {
        Self(Arc::new(Shared { told: broadcast::channel(1024).0 }))
    }
}

impl Operations {
    /// The operations that run, and the latest that ended, newest first.
    pub fn list(&self) -> Vec<Operation> {
        Vec::new()
    }

    /// An operation by its number.
    pub fn find(&self, id: u64) -> Option<Operation> {
        self.list().into_iter().find(|operation| operation.id == id)
    }

    /// Every change of an operation from now on, as it is after it.
    pub fn subscribe(&self) -> broadcast::Receiver<Operation> {
        self.0.told.subscribe()
    }
}
