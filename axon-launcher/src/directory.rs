//! The data directory: what lies where, who owns it, and what may be deleted.
//!
//! Hides *paths*. Every path the launcher touches is made here, from the data root and a
//! [`NodeName`] (which cannot hold a slash or a dot), never from a request.
//!
//! ```text
//! axon-data/launcher.lock             locked while a launcher runs; says which
//!           cluster.json              the manifest
//!           cluster.secret            what the nodes prove to each other
//!           node.token                what the nodes want to be shown, if the launcher has a token
//!           nodes/NAME/launcher.json  the marker: this directory is NAME's, of this cluster
//!           nodes/NAME/data/          the replica's own; never opened by the launcher
//!           logs/NAME.log             what the node wrote
//!           events/                   what happened
//!           trash/NAME/               on its way out
//! ```
//!
//! Invariants:
//! * one launcher holds a data directory at a time, by a lock that the kernel drops with the
//!   process;
//! * a node's directory appears with its marker in it or not at all (made aside, renamed);
//! * only their owner may enter the directories;
//! * a directory is deleted only if it lies in the data root with no link on the way to it, is none
//!   itself, and carries the marker of that name and cluster. It is renamed into `trash/` first, so that a crash in the middle
//!   leaves no half directory under a live name.

use crate::manifest::{ClusterId, NodeName, replace_file, sync_directory};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock that is held is asked for, and how often.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_RETRY_EVERY: Duration = Duration::from_millis(10);

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Another launcher holds it.
    #[error("{} is in use by another axon-launcher{holder}", root.display())]
    InUse {
        /// The data directory.
        root: PathBuf,
        /// Who holds it, as far as it says.
        holder: String,
    },
    /// It is there, but is not what the launcher made.
    #[error("{} is not this node's directory: {reason}. It was left as it is", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Marker {
    node: NodeName,
    cluster_id: ClusterId,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + '_ {
    |source| DirectoryError::Io { path: path.to_path_buf(), source }
}

impl DataDir {
    /// Makes the directory if needed, and takes it for this process.
    pub fn open(root: &Path) -> Result<Self, DirectoryError> {
        private_directory(root).map_err(at(root))?;
        let root = root.canonicalize().map_err(at(root))?;
        let path = root.join("launcher.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        match lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Its words are a courtesy; the refusal stands without them.
                if Read::by_ref(&mut lock).take(256).read_to_string(&mut holder).is_err() {
                    holder.clear();
                }
                let holder = holder.trim();
                let holder = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
                return Err(DirectoryError::InUse { root, holder });
            }
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        let held = Self { root, lock };
        held.sign(&format!("process {}", std::process::id())).map_err(at(&path))?;
        for directory in ["nodes", "logs", "trash"] {
            let path = held.root.join(directory);
            private_directory(&path).map_err(at(&path))?;
            no_links(&path)?;
            // It may have come back from a copy.
            fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(at(&path))?;
        }
        Ok(held)
    }

    /// Writes into the lock who holds it, for whoever is refused.
    pub fn sign(&self, holder: &str) -> io::Result<()> {
        let mut file = &self.lock;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(holder.as_bytes())
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the manifest is.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Where the secret is that the nodes of the cluster share.
    pub fn secret(&self) -> PathBuf {
        self.root.join("cluster.secret")
    }

    /// Where the nodes read the token that they want to be shown.
    pub fn token(&self) -> PathBuf {
        self.root.join("node.token")
    }

    /// Where a node writes what it has to say.
    pub fn log(&self, name: &NodeName) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The replica's own directory, absolute.
    pub fn replica(&self, name: &NodeName) -> PathBuf {
        self.node(name).join("data")
    }

    fn node(&self, name: &NodeName) -> PathBuf {
        self.root.join("nodes").join(name.as_str())
    }

    /// The names of all that lies under `nodes/`, except directories whose making was cut short.
    pub fn found_nodes(&self) -> Result<Vec<String>, DirectoryError> {
        let nodes = self.root.join("nodes");
        let mut found = Vec::new();
        for entry in fs::read_dir(&nodes).map_err(at(&nodes))? {
            let name = entry.map_err(at(&nodes))?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(".new-") {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reports whether a replica's directory is there and holds anything.
    pub fn holds_replica(&self, name: &NodeName) -> bool {
        fs::read_dir(self.replica(name)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Makes the node's directory with its marker, or checks the one that is there.
    pub fn prepare(&self, name: &NodeName, cluster: &ClusterId) -> Result<(), DirectoryError> {
        let path = self.node(name);
        if path.symlink_metadata().is_ok() {
            return Self::check_marker(&path, name, cluster);
        }
        let aside = self.root.join("nodes").join(format!(".new-{name}"));
        // What a crash left of an earlier try holds a marker at most.
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&aside)(error)),
            _ => {}
        }
        private_directory(&aside).map_err(at(&aside))?;
        Self::write_marker(&aside, name, cluster)?;
        fs::rename(&aside, &path).map_err(at(&path))?;
        let nodes = self.root.join("nodes");
        sync_directory(&nodes).map_err(at(&nodes))
    }

    /// Takes the node's directory out of use, if it is there and is ours. Can be done again.
    pub fn retire(&self, name: &NodeName, cluster: &ClusterId) -> Result<(), DirectoryError> {
        let path = self.node(name);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        Self::check_marker(&path, name, cluster)?;
        self.empty_trash(name)?;
        let trash = self.root.join("trash");
        no_links(&trash)?;
        fs::rename(&path, trash.join(name.as_str())).map_err(at(&path))?;
        for directory in [self.root.join("nodes"), trash] {
            sync_directory(&directory).map_err(at(&directory))?;
        }
        Ok(())
    }

    /// Moves the node's directory to `keep`, below the data root, if it is there and is of cluster `id`.
    /// Can be done again.
    pub fn set_aside(
        &self,
        name: &NodeName,
        id: &ClusterId,
        keep: &str,
    ) -> Result<(), DirectoryError> {
        let path = self.node(name);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        Self::check_marker(&path, name, id)?;
        let keep = self.root.join(keep);
        private_directory(&keep).map_err(at(&keep))?;
        fs::rename(&path, keep.join(name.as_str())).map_err(at(&path))?;
        for directory in [&self.root.join("nodes"), &keep, &self.root] {
            sync_directory(directory).map_err(at(directory))?;
        }
        Ok(())
    }

    /// Writes into the node's marker that it is of cluster `id` now, and no longer of `former`. Can be
    /// done again.
    pub fn mark_again(
        &self,
        name: &NodeName,
        former: &ClusterId,
        id: &ClusterId,
    ) -> Result<(), DirectoryError> {
        let path = self.node(name);
        if Self::check_marker(&path, name, id).is_ok() {
            return Ok(());
        }
        Self::check_marker(&path, name, former)?;
        Self::write_marker(&path, name, id)
    }

    fn write_marker(path: &Path, name: &NodeName, id: &ClusterId) -> Result<(), DirectoryError> {
        let marker = Marker { node: name.clone(), cluster_id: id.clone() };
        let bytes = serde_json::to_vec_pretty(&marker).expect("a marker has only string keys");
        replace_file(&path.join("launcher.json"), &bytes).map_err(at(path))
    }

    /// Deletes what [`DataDir::retire`] put aside. Can be done again.
    pub fn empty_trash(&self, name: &NodeName) -> Result<(), DirectoryError> {
        // Its place proves that it is ours: only `retire` puts anything here, after looking at the
        // marker. The marker itself may be gone already, if an earlier try was cut short.
        let path = self.root.join("trash").join(name.as_str());
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                no_links(&path)?;
                fs::remove_dir_all(&path).map_err(at(&path))
            }
            Ok(_) => Err(foreign(&path, "it is a link or a file")),
            Err(_) => Ok(()),
        }
    }

    fn check_marker(path: &Path, name: &NodeName, id: &ClusterId) -> Result<(), DirectoryError> {
        let found = path.symlink_metadata().map_err(at(path))?;
        if !found.is_dir() {
            return Err(foreign(path, "it is a link or a file"));
        }
        no_links(path)?;
        let file = path.join("launcher.json");
        let bytes = fs::read(&file).map_err(|error| {
            foreign(path, &format!("its marker launcher.json cannot be read ({error})"))
        })?;
        let marker: Marker = serde_json::from_slice(&bytes)
            .map_err(|error| foreign(path, &format!("its marker is garbled ({error})")))?;
        if marker.node != *name {
            return Err(foreign(path, &format!("its marker names {}", marker.node)));
        }
        if marker.cluster_id != *id {
            return Err(foreign(path, &format!("it belongs to cluster {}", marker.cluster_id)));
        }
        Ok(())
    }
}

fn foreign(path: &Path, reason: &str) -> DirectoryError {
    DirectoryError::Foreign { path: path.to_path_buf(), reason: reason.to_owned() }
}

/// Refuses a path below the data root that leads somewhere else: without a link on the way it is its own
/// canonical form, since the root is.
fn no_links(path: &Path) -> Result<(), DirectoryError> {
    let leads_to = path.canonicalize().map_err(at(path))?;
    if leads_to == path {
        return Ok(());
    }
    Err(foreign(path, &format!("a link leads from it to {}", leads_to.display())))
}

/// Takes the lock, asking again for a moment: a launcher that was killed while it started a node
/// lives on in it until that process has begun its own program, lock included.
fn lock_patiently(lock: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY_EVERY);
            }
            outcome => return outcome,
        }
    }
}

/// Makes a directory that only its owner can enter, with its parents, if it is not there.
fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn fixture() -> (tempfile::TempDir, DataDir, NodeName, ClusterId) {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("axon-data")).unwrap();
        (directory, data, "node1".parse().unwrap(), ClusterId::random())
    }

    #[test]
    fn a_second_launcher_is_refused_and_told_who_holds_the_directory() {
        let (_directory, data, ..) = fixture();
        data.sign("process 42, http://127.0.0.1:8080").unwrap();
        let error = DataDir::open(data.root()).unwrap_err();
        assert!(matches!(error, DirectoryError::InUse { .. }));
        assert!(error.to_string().contains("process 42, http://127.0.0.1:8080"), "{error}");
        let root = data.root().to_path_buf();
        drop(data);
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn a_lock_that_a_dying_launcher_left_to_a_child_is_waited_for() {
        let (_directory, data, ..) = fixture();
        let root = data.root().to_path_buf();
        // As between fork and exec: the child holds the same open file.
        let left = std::process::Stdio::from(data.lock.try_clone().unwrap());
        let mut child = std::process::Command::new("sleep").arg("0.2").stdin(left).spawn().unwrap();
        drop(data);
        DataDir::open(&root).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_prepared_directory_is_recognised_and_one_of_another_node_is_not() {
        let (_directory, data, name, id) = fixture();
        data.prepare(&name, &id).unwrap();
        data.prepare(&name, &id).unwrap();
        assert_eq!(data.found_nodes().unwrap(), ["node1"]);
        assert!(!data.holds_replica(&name));
        assert!(data.prepare(&name, &ClusterId::random()).is_err());
        fs::rename(data.node(&name), data.root().join("nodes/node2")).unwrap();
        let error = data.prepare(&"node2".parse().unwrap(), &id).unwrap_err();
        assert!(error.to_string().contains("its marker names node1"), "{error}");
    }

    #[test]
    fn making_a_directory_that_was_cut_short_begins_again() {
        let (_directory, data, name, id) = fixture();
        fs::create_dir(data.root().join("nodes/.new-node1")).unwrap();
        assert!(data.found_nodes().unwrap().is_empty());
        data.prepare(&name, &id).unwrap();
        assert_eq!(data.found_nodes().unwrap(), ["node1"]);
    }

    #[test]
    fn deleting_can_be_cut_short_anywhere_and_done_again() {
        let (_directory, data, name, id) = fixture();
        data.prepare(&name, &id).unwrap();
        fs::create_dir_all(data.replica(&name).join("log")).unwrap();
        data.retire(&name, &id).unwrap();
        data.retire(&name, &id).unwrap();
        fs::remove_file(data.root().join("trash/node1/launcher.json")).unwrap();
        data.empty_trash(&name).unwrap();
        data.empty_trash(&name).unwrap();
        assert!(!data.root().join("trash/node1").exists());
        // A directory of that name that came back while an old one still lies in the trash.
        data.prepare(&name, &id).unwrap();
        data.retire(&name, &id).unwrap();
        data.prepare(&name, &id).unwrap();
        data.retire(&name, &id).unwrap();
        data.empty_trash(&name).unwrap();
        assert!(data.found_nodes().unwrap().is_empty());
    }

    #[test]
    fn only_the_owner_may_enter() {
        let (directory, data, name, id) = fixture();
        data.prepare(&name, &id).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let root = data.root().to_path_buf();
        for path in ["", "nodes", "nodes/node1", "logs", "trash"] {
            assert_eq!(mode(&root.join(path)), 0o700, "{path:?}");
        }
        fs::set_permissions(root.join("nodes"), Permissions::from_mode(0o755)).unwrap();
        drop(data);
        DataDir::open(&root).unwrap();
        assert_eq!(mode(&root.join("nodes")), 0o700);
        drop(directory);
    }

    #[test]
    fn nothing_is_deleted_through_a_link_on_the_way() {
        let (directory, data, name, id) = fixture();
        data.prepare(&name, &id).unwrap();
        let root = data.root().to_path_buf();
        // All below `nodes` looks as it should, and lies elsewhere.
        for (inside, outside) in [("nodes", "other-nodes"), ("trash", "other-trash")] {
            let outside = directory.path().join(outside);
            fs::rename(root.join(inside), &outside).unwrap();
            std::os::unix::fs::symlink(&outside, root.join(inside)).unwrap();
            let error = data.retire(&name, &id).unwrap_err();
            assert!(matches!(error, DirectoryError::Foreign { .. }), "{error}");
            assert!(DataDir::open(&root).is_err());
            fs::remove_file(root.join(inside)).unwrap();
            fs::rename(&outside, root.join(inside)).unwrap();
        }
        data.retire(&name, &id).unwrap();
        let outside = directory.path().join("other-trash");
        fs::rename(root.join("trash"), &outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("trash")).unwrap();
        assert!(matches!(data.empty_trash(&name), Err(DirectoryError::Foreign { .. })));
        assert!(outside.join("node1/launcher.json").exists());
        fs::remove_file(root.join("trash")).unwrap();
        fs::rename(&outside, root.join("trash")).unwrap();
        data.empty_trash(&name).unwrap();
    }

    #[test]
    fn a_marker_of_another_cluster_or_one_that_is_garbled_protects_its_directory() {
        let (_directory, data, name, id) = fixture();
        data.prepare(&name, &id).unwrap();
        let error = data.retire(&name, &ClusterId::random()).unwrap_err();
        assert!(error.to_string().contains("it belongs to cluster"), "{error}");
        let other: NodeName = "node2".parse().unwrap();
        fs::rename(data.node(&name), data.node(&other)).unwrap();
        assert!(data.retire(&other, &id).unwrap_err().to_string().contains("names node1"));
        fs::write(data.node(&other).join("launcher.json"), "{").unwrap();
        assert!(data.retire(&other, &id).unwrap_err().to_string().contains("garbled"));
        fs::write(data.node(&name), "a file").unwrap();
        assert!(matches!(data.retire(&name, &id), Err(DirectoryError::Foreign { .. })));
        assert!(data.node(&other).exists() && data.node(&name).exists());
    }

    #[test]
    fn a_link_and_a_directory_without_a_marker_are_never_deleted() {
        let (directory, data, name, id) = fixture();
        let precious = directory.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&precious, data.node(&name)).unwrap();
        assert!(matches!(data.retire(&name, &id), Err(DirectoryError::Foreign { .. })));
        std::os::unix::fs::symlink(&precious, data.root().join("trash/node1")).unwrap();
        assert!(matches!(data.empty_trash(&name), Err(DirectoryError::Foreign { .. })));
        fs::remove_file(data.node(&name)).unwrap();
        fs::create_dir(data.node(&name)).unwrap();
        assert!(matches!(data.retire(&name, &id), Err(DirectoryError::Foreign { .. })));
        assert!(precious.join("file").exists());
        assert!(data.node(&name).exists());
    }
}
