//! Where newcomers wait until it is known who they are: a task for each, and not too many.
//!
//! A newcomer is served by a task of its own, so that a silent one holds up nobody. When one more comes
//! than there is room for, the one that has been here for longest goes: peers introduce themselves at
//! once, so that it is the least likely to be one. Dropped, it sends all of them away.
//!
//! It sets no deadlines: whoever admits a task gives it one.

use crate::runtime;
use std::collections::VecDeque;
use std::future::Future;
use tokio::task::JoinHandle;

/// Newcomers, the oldest first.
pub struct Lobby {
    room: usize,
    waiting: VecDeque<JoinHandle<()>>,
}

impl Lobby {
    /// Makes a lobby for `room` newcomers.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { room, waiting: VecDeque::new() }
    }

    /// Starts `introduction`, which ends when it is known who a newcomer is, or that it is nobody.
    pub fn admit(&mut self, introduction: impl Future<Output = ()> + Send + 'static) {
        self.waiting.retain(|task| !task.is_finished());
        while self.waiting.len() >= self.room.max(1) {
            self.waiting.pop_front().expect("it is not empty").abort();
        }
        self.waiting.push_back(runtime::spawn(introduction));
    }
}

impl Drop for Lobby {
    fn drop(&mut self) {
        self.waiting.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn the_one_that_waits_longest_makes_room() {
        let mut lobby = Lobby::new(2);
        let mut ends: Vec<_> = (0..4)
            .map(|_| {
                let (held, end) = oneshot::channel::<()>();
                lobby.admit(async move {
                    let _held = held;
                    std::future::pending::<()>().await;
                });
                end
            })
            .collect();
        let (third, fourth) = (ends.remove(2), ends.remove(2));
        for end in ends {
            end.await.unwrap_err();
        }
        assert_eq!(lobby.waiting.iter().filter(|task| !task.is_finished()).count(), 2);
        drop(lobby);
        third.await.unwrap_err();
        fourth.await.unwrap_err();
    }
}
