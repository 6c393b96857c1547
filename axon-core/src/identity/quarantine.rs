//! Files that are out of use, because the state in them is not what a majority holds.
//!
//! The file `quarantine` says so, from the moment at which the replica halts. Where a majority holds
//! another state, the next start moves all else into `quarantined-ID`, ID being the one that the replica
//! had, and joins the same cluster as a new node. Where none holds any, the next start refuses, and
//! people decide. Invariants:
//!
//! * while the file is there, nobody makes a cluster in the directory, whatever the settings say;
//! * it goes once the new node is a member, whose log then knows the others, and tells before that how far
//!   it is: a start that is interrupted anywhere is taken up by the next;
//! * the files of the last quarantine are kept for whoever wants to know what happened; older ones go.

use super::{DataDir, sync_dir};
use crate::error::StorageError;
use crate::storage::space::RESERVE_NAME;
use crate::types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

pub(super) const NAME: &str = "quarantine";
const MAGIC: [u8; 8] = *b"AXONQUv1";
/// What is the directory's, not the replica's.
const STAYS: [&str; 5] = ["lock", NAME, "quarantine.new", RESERVE_NAME, "lost+found"];
/// So begin the names of directories that keep what was set aside.
const KEPT: &str = "quarantined-";
const KEPT_BY_OTHERS: &str = "before-recovery-";

/// Why a replica's files are out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    pub(crate) cluster_id: ClusterId,
    /// The id that the replica had.
    pub(crate) node_id: NodeId,
    /// What was found, in words.
    pub(crate) reason: String,
    pub(crate) fate: Fate,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// It comes back as a new node.
    Heals {
        /// Where members were.
        doors: Vec<String>,
        /// The old files are out of the way: what else there is belongs to the new node.
        cleared: bool,
    },
    /// People decide.
    Waits,
}

impl Quarantine {
    /// Where members were, of whom the new node asks to be let in.
    pub(crate) fn doors(&self) -> &[String] {
        match &self.fate {
            Fate::Heals { doors, .. } => doors,
            Fate::Waits => &[],
        }
    }

    /// Tells what became of it.
    pub(crate) fn came_back(&self, name: &str, id: NodeId) -> String {
        format!(
            "{name} was quarantined as id {}, and is back as id {id}; its former files are kept in {}",
            self.node_id,
            self.kept()
        )
    }

    /// The name of the directory that keeps the old files.
    pub(crate) fn kept(&self) -> String {
        format!("{KEPT}{}", self.node_id)
    }
}

impl DataDir {
    /// Reports whether the files in `path` are out of use, without changing anything.
    pub(crate) fn is_quarantined(path: &Path) -> bool {
        path.join(NAME).exists()
    }

    /// Reads why the files are out of use, if they are.
    pub(crate) fn quarantine(&self) -> Result<Option<Quarantine>, StorageError> {
        self.read(NAME, MAGIC)
    }

    /// Says durably that the files are out of use.
    pub(crate) fn write_quarantine(&self, quarantine: &Quarantine) -> Result<(), StorageError> {
        self.write(NAME, MAGIC, quarantine)
    }

    /// Makes room for a new node, if the files are out of use: `true` when one is still to be made.
    ///
    /// # Errors
    /// When people have to decide.
    pub(crate) fn make_way(&self) -> Result<bool, StorageError> {
        let Some(mut quarantine) = self.quarantine()? else { return Ok(false) };
        match &mut quarantine.fate {
            Fate::Waits => Err(StorageError::Mismatch {
                path: self.path().display().to_string(),
                reason: format!(
                    "{}. Stop all, and make a new cluster of the one that is right with `axon-server \
                     recover` on its directory alone; the others join with empty directories",
                    quarantine.reason
                ),
            }),
            Fate::Heals { cleared: true, .. } => Ok(self.identity()?.is_none()),
            Fate::Heals { cleared, .. } => {
                *cleared = true;
                self.set_aside(&quarantine.kept())?;
                self.write_quarantine(&quarantine)?;
                Ok(true)
            }
        }
    }

    /// Says durably that the new node is a member.
    pub(crate) fn end_quarantine(&self) -> Result<(), StorageError> {
        let path = self.path().join(NAME);
        fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        sync_dir(self.path())
    }

    /// Moves all that is the replica's into the directory `keep`. Can be done again.
    fn set_aside(&self, keep: &str) -> Result<(), StorageError> {
        let (from, to) = (self.path(), self.path().join(keep));
        if !to.exists() {
            fs::create_dir(&to).map_err(failed("cannot create", &to))?;
            sync_dir(from)?;
        }
        for entry in fs::read_dir(from).map_err(failed("cannot read", from))? {
            let name = entry.map_err(failed("cannot read", from))?.file_name();
            let path = from.join(&name);
            let name = name.to_string_lossy();
            if name.starts_with(KEPT) && name != keep {
                fs::remove_dir_all(&path).map_err(failed("cannot remove", &path))?;
                continue;
            }
            let stays = STAYS.contains(&&*name) || name.starts_with(KEPT_BY_OTHERS);
            if !stays && name != keep {
                fs::rename(&path, to.join(&*name)).map_err(failed("cannot move", &path))?;
            }
        }
        sync_dir(&to)?;
        sync_dir(from)
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StorageError + 'a {
    move |error| StorageError::io(what, path, &error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::identity::{Identity, Origin};
    use std::collections::BTreeSet;

    fn identity(node_id: u64) -> Identity {
        Identity {
            cluster_id: ClusterId(7),
            node_id: NodeId(node_id),
            name: "node3".into(),
            log_id: 9,
            origin: Origin::Join(11),
        }
    }

    fn quarantine(fate: Fate) -> Quarantine {
        let reason = "its state differs".into();
        Quarantine { cluster_id: ClusterId(7), node_id: NodeId(3), reason, fate }
    }

    fn heals() -> Quarantine {
        quarantine(Fate::Heals { doors: vec!["n1".into()], cleared: false })
    }

    fn names(path: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    /// A directory with a replica that has halted.
    fn halted() -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::lock(dir.path()).unwrap();
        data.write_identity(&identity(3)).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        for file in ["log/1", "state.redb", "reserve"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        data.write_quarantine(&heals()).unwrap();
        (dir, data)
    }

    #[test]
    fn what_is_quarantined_is_set_aside_and_kept_until_the_next_time() {
        let (dir, data) = halted();
        fs::create_dir(dir.path().join("quarantined-2")).unwrap();
        assert!(data.make_way().unwrap());
        assert_eq!(names(dir.path()), set(["lock", "quarantine", "quarantined-3", "reserve"]));
        let kept = dir.path().join("quarantined-3");
        assert_eq!(names(&kept), set(["identity", "log", "state.redb"]));
        assert_eq!(fs::read_to_string(kept.join("log/1")).unwrap(), "log/1");

        // A newcomer that is interrupted keeps what it has, and says still where it asks.
        data.nonce(5).unwrap();
        data.begin_making().unwrap();
        assert!(data.make_way().unwrap());
        assert_eq!(data.nonce(6).unwrap(), 5);
        assert_eq!(data.quarantine().unwrap().unwrap().doors(), ["n1"]);

        // It still says so when the new node has its identity, and is not a member yet.
        data.write_identity(&identity(4)).unwrap();
        assert!(!data.make_way().unwrap());
        assert_eq!(data.quarantine().unwrap().unwrap().doors(), ["n1"]);
        data.end_quarantine().unwrap();
        assert!(!data.make_way().unwrap());
        assert_eq!(names(dir.path()), set(["identity", "lock", "quarantined-3", "reserve"]));
        assert_eq!(data.identity().unwrap(), Some(identity(4)));
    }

    #[test]
    fn a_start_that_was_interrupted_is_taken_up_by_the_next() {
        let (dir, data) = halted();
        // Some files were moved when the power went.
        fs::create_dir(dir.path().join("quarantined-3")).unwrap();
        fs::rename(dir.path().join("log"), dir.path().join("quarantined-3/log")).unwrap();
        assert!(data.make_way().unwrap());
        let kept = names(&dir.path().join("quarantined-3"));
        assert_eq!(kept, set(["identity", "log", "state.redb"]));
    }

    #[test]
    fn where_people_have_to_decide_nothing_is_touched() {
        let (dir, data) = halted();
        data.write_quarantine(&quarantine(Fate::Waits)).unwrap();
        let before = names(dir.path());
        let refused = data.make_way().unwrap_err().to_string();
        assert!(refused.contains("axon-server recover"), "{refused}");
        assert_eq!(names(dir.path()), before);
    }
}
