//! The manifest: which cluster this data directory holds, and what its nodes should be doing.
//!
//! Hides *how the desired cluster is kept on disk* (`cluster.json`). It owns names, ports, the
//! desired state and the cluster id. It does not own node ids (the cluster gives those; the copy
//! here only serves to remove a node that is down) and it does not say who is a member (Raft does).
//!
//! Invariants:
//! * a saved manifest replaces the old one whole or not at all: written aside, synced, renamed, and
//!   the directory synced, before [`Manifest::save`] returns;
//! * `formed` goes from false to true once and never back, so a cluster is never made twice;
//! * names and ports are unique; a manifest that says otherwise is refused, not repaired;
//! * a manifest of a newer format is refused, since what it does not understand it would drop.

use crate::args::{NODES_MAX, PORT_STRIDE};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The format that this launcher writes.
pub const FORMAT: u64 = 1;

/// A manifest is never larger; more is not a manifest.
const BYTES_MAX: u64 = 1 << 20;

/// The name of a node: `[a-z0-9][a-z0-9-]{0,31}`, so that it is safe as a file name and in an
/// address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = text.bytes().next().is_some_and(|b| b != b'-');
        let all = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if first && all && text.len() <= 32 {
            return Ok(Self(text.to_owned()));
        }
        Err("a node's name has 1 to 32 small letters, digits and hyphens, and begins with a letter \
             or a digit"
            .to_owned())
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a cluster for ever: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

impl ClusterId {
    /// Draws a new id: 128 random bits.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::rng().random::<u128>()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClusterId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("a cluster id is 32 hexadecimal digits, not {text:?}"))
        }
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a node should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// It should run, and is restarted when it ends.
    Running,
    /// It was stopped on request and stays so, also over a restart of the launcher.
    Stopped,
}

/// How far the decommissioning of a node has come. What follows each mark can be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decommission {
    /// It is being taken out of the membership; a refusal takes the mark away again.
    Removing,
    /// It is out of the membership and its process is gone: the directory goes, then this entry.
    Removed,
}

/// One node, as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name, chosen by people.
    pub name: NodeName,
    /// Where its API answers.
    pub api_port: u16,
    /// Where its peers reach it.
    pub peer_port: u16,
    /// The id that the cluster gave it, as it last said itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<u64>,
    /// Whether it stays a learner until somebody promotes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
    /// Whether it should run.
    pub desired: Desired,
    /// How far its decommissioning has come, if it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decommission: Option<Decommission>,
}

/// A rolling restart, as much as is needed to say that it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollingRestart {
    /// Who asked for it.
    pub actor: String,
}

/// The desired cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of this file, [`FORMAT`].
    pub format: u64,
    /// The cluster; drawn before anything else is made.
    pub cluster_id: ClusterId,
    /// Whether the first node is known to hold the cluster. Until then, and never after, it is
    /// initialised.
    pub formed: bool,
    /// The API port of the first slot.
    pub base_port: u16,
    /// The rolling restart that is under way; one that is found at a start ended with its launcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_restart: Option<RollingRestart>,
    /// The nodes, in the order they were added. The first is the founder while `formed` is false.
    pub nodes: Vec<NodeSpec>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is not what a launcher wrote.
    #[error(
        "{} is not a manifest this launcher wrote: {reason}. Nothing was changed. Put back a good copy; \
         the nodes' data is untouched", path.display()
    )]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It was written by a later launcher.
    #[error(
        "{} has format {found}, and this axon-launcher understands formats up to {FORMAT}. Nothing was \
         changed. Use the launcher that wrote it, or a later one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

impl Manifest {
    /// Describes a new cluster of `count` nodes, not formed yet.
    pub fn new(base_port: u16, count: u8) -> Result<Self, String> {
        let mut manifest = Self {
            format: FORMAT,
            cluster_id: ClusterId::random(),
            formed: false,
            base_port,
            rolling_restart: None,
            nodes: Vec::new(),
        };
        for number in 1..=count {
            let name = NodeName(format!("node{number}"));
            let port = manifest.free_slot(|_| true).ok_or_else(|| {
                format!("{count} nodes from port {base_port} on do not fit below port 65536")
            })?;
            manifest.nodes.push(NodeSpec::new(name, port));
        }
        Ok(manifest)
    }

    /// Finds a node by its name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Finds a node by its name, to change it.
    pub fn node_mut(&mut self, name: &NodeName) -> Option<&mut NodeSpec> {
        self.nodes.iter_mut().find(|node| node.name == *name)
    }

    /// The API port of the first slot that no node has and that `usable` accepts.
    pub fn free_slot(&self, usable: impl Fn(u16) -> bool) -> Option<u16> {
        let last = NODES_MAX as u16 * 2;
        (0..last)
            .map_while(|slot| self.base_port.checked_add(slot.checked_mul(PORT_STRIDE)?))
            .take_while(|port| *port < u16::MAX)
            .find(|port| self.nodes.iter().all(|node| node.api_port != *port) && usable(*port))
    }

    /// Reads the manifest at `path`; `None` when there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, ManifestError> {
        let io = |source| ManifestError::Io { path: path.to_path_buf(), source };
        let garbled = |reason: String| ManifestError::Garbled { path: path.to_path_buf(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(garbled(format!("it is larger than {BYTES_MAX} bytes")));
        }
        Self::parse(path, &bytes).map(Some)
    }

    /// Reads what the file at `path` holds.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ManifestError> {
        let garbled = |reason: String| ManifestError::Garbled { path: path.to_path_buf(), reason };
        // The format first, alone: the rest of a newer manifest may look like anything.
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| garbled(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            None => return Err(garbled("it has no \"format\"".to_owned())),
            Some(found) if found > FORMAT => {
                return Err(ManifestError::Newer { path: path.to_path_buf(), found });
            }
            Some(_) => {}
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|error| garbled(error.to_string()))?;
        manifest.check().map_err(garbled)?;
        Ok(manifest)
    }

    /// Saves the manifest at `path`, durably, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), ManifestError> {
        let bytes = serde_json::to_vec_pretty(self).expect("a manifest has only string keys");
        replace_file(path, &bytes)
            .map_err(|source| ManifestError::Io { path: path.to_path_buf(), source })
    }

    fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() {
            return Err("it has no nodes".to_owned());
        }
        let mut names = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for node in &self.nodes {
            if !names.insert(&node.name) {
                return Err(format!("it names {} twice", node.name));
            }
            for port in [node.api_port, node.peer_port] {
                if port == 0 || !ports.insert(port) {
                    return Err(format!("{} has port {port}, which is not its own", node.name));
                }
            }
        }
        Ok(())
    }
}

impl NodeSpec {
    /// Describes a new node that should run.
    pub fn new(name: NodeName, api_port: u16) -> Self {
        Self {
            name,
            api_port,
            peer_port: api_port + 1,
            node_id: None,
            learner: false,
            desired: Desired::Running,
            decommission: None,
        }
    }
}

/// Puts `bytes` at `path`, durably, whole or not at all; only the owner may read them.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    // Before the rename: otherwise the new name may outlive a crash that the bytes do not.
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in `directory` durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.json");
        (directory, path)
    }

    #[test]
    fn a_saved_manifest_is_read_back_the_same_and_is_private() {
        let (_directory, path) = path();
        assert_eq!(Manifest::load(&path).unwrap(), None);
        let mut manifest = Manifest::new(9000, 3).unwrap();
        manifest.nodes[1].decommission = Some(Decommission::Removing);
        manifest.nodes[2].desired = Desired::Stopped;
        manifest.nodes[2].node_id = Some(7);
        manifest.save(&path).unwrap();
        assert_eq!(Manifest::load(&path).unwrap(), Some(manifest.clone()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        manifest.formed = true;
        manifest.save(&path).unwrap();
        assert_eq!(Manifest::load(&path).unwrap(), Some(manifest));
    }

    #[test]
    fn nodes_get_ports_a_stride_apart_and_an_added_node_the_first_free_slot() {
        let mut manifest = Manifest::new(9000, 3).unwrap();
        let ports: Vec<_> = manifest.nodes.iter().map(|n| (n.api_port, n.peer_port)).collect();
        assert_eq!(ports, [(9000, 9001), (9010, 9011), (9020, 9021)]);
        assert_eq!(manifest.free_slot(|_| true), Some(9030));
        assert_eq!(manifest.free_slot(|port| port != 9030), Some(9040));
        manifest.nodes.remove(1);
        assert_eq!(manifest.free_slot(|_| true), Some(9010));
        assert!(Manifest::new(65_000, 32).is_ok());
        assert!(Manifest::new(65_530, 2).is_err());
    }

    #[test]
    fn a_torn_manifest_is_refused_wherever_it_was_cut() {
        let (_directory, path) = path();
        Manifest::new(9000, 2).unwrap().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = Manifest::load(&path).unwrap_err();
            assert!(matches!(error, ManifestError::Garbled { .. }), "cut at {length}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_file_is_a_manifest_or_garbled(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            length in 0..20_usize,
        ) {
            let path = Path::new("cluster.json");
            prop_assert!(Manifest::parse(path, &bytes).is_err(), "random bytes are no manifest");
            let mut damaged = serde_json::to_vec(&Manifest::new(9000, 2).unwrap()).unwrap();
            let from = at.index(damaged.len());
            let to = (from + length).min(damaged.len());
            damaged.splice(from..to, bytes);
            // It may still be one: what counts is that it was looked at, and that it holds together.
            if let Ok(manifest) = Manifest::parse(path, &damaged) {
                prop_assert_eq!(manifest.check(), Ok(()));
            }
        }

        #[test]
        fn any_text_is_a_name_or_refused(text in any::<String>()) {
            if let Ok(name) = text.parse::<NodeName>() {
                prop_assert!(name.as_str() == text && !text.contains(['/', '.', '\0']));
                prop_assert!((1..=32).contains(&text.len()));
            }
            if let Ok(id) = ClusterId::try_from(text.clone()) {
                prop_assert_eq!(id.as_str(), text.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn a_newer_manifest_is_refused_whatever_else_it_holds() {
        let (_directory, path) = path();
        std::fs::write(&path, r#"{"format":2,"shards":[]}"#).unwrap();
        let error = Manifest::load(&path).unwrap_err();
        assert!(matches!(error, ManifestError::Newer { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let (_directory, path) = path();
        let good = Manifest::new(9000, 2).unwrap();
        let change = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(&good).unwrap();
            change(&mut value);
            std::fs::write(&path, value.to_string()).unwrap();
            Manifest::load(&path)
        };
        assert!(change(&|_| {}).is_ok());
        let bad: [&dyn Fn(&mut serde_json::Value); 7] = [
            &|v| v["nodes"][1]["name"] = "node1".into(),
            &|v| v["nodes"][1]["name"] = "../node1".into(),
            &|v| v["nodes"][1]["api_port"] = 9001.into(),
            &|v| v["nodes"] = serde_json::json!([]),
            &|v| v["cluster_id"] = "short".into(),
            &|v| v["format"] = "1".into(),
            &|v| v["unheard_of"] = true.into(),
        ];
        for bad in bad {
            assert!(matches!(change(bad), Err(ManifestError::Garbled { .. })));
        }
    }

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["a", "node1", "0", "a-b-", &"x".repeat(32)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "..", "a/b", "a b", "é", "a\0", &"x".repeat(33)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }
}
