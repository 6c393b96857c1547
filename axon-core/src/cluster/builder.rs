//! How a host says what it wants: settings by name, and plug-ins in place of what Axon brings.
//!
//! A thin layer over [`Config`]: the settings that nearly every host sets have a method, the others
//! are reached through [`Builder::settings`]. What cannot be a setting, because it cannot be compared
//! or printed, is kept here: a transport and a storage engine.

use super::Cluster;
use crate::config::{Config, Origin};
use crate::error::{ConfigError, Error};
use crate::founding::Plugins;
use crate::secret::Secret;
use crate::storage::StorageEngine;
use crate::transport::Transport;
use std::path::PathBuf;
use std::sync::Arc;

/// A replica in the making. Made by [`Cluster::builder`].
#[derive(Clone, Default)]
#[must_use = "nothing happens before `start`"]
pub struct Builder {
    config: Config,
    plugins: Plugins,
}

impl Cluster {
    /// Begins a replica with the settings of [`Config::default`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    /// use axon_core::Cluster;
    /// use std::time::Duration;
    ///
    /// let first = Cluster::builder()
    ///     .name("orders-1")
    ///     .data_dir(one.path())
    ///     .listen("127.0.0.1:0")
    ///     .init()
    ///     .start()
    ///     .await?;
    /// first.wait_ready(Duration::from_secs(30)).await?;
    /// let address = first.members()?[0].member.peer_address.clone();
    ///
    /// let second = Cluster::builder()
    ///     .name("orders-2")
    ///     .data_dir(two.path())
    ///     .listen("127.0.0.1:0")
    ///     .join([address])
    ///     .start()
    ///     .await?;
    /// second.wait_ready(Duration::from_secs(30)).await?;
    ///
    /// first.store().put("greeting", "hello").await?;
    /// assert!(second.store().get("greeting").await?.is_some());
    /// # Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Takes all settings from `config`, in place of what was set before.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes any of the settings: all that [`Config`] has.
    ///
    /// ```
    /// use axon_core::Cluster;
    /// use axon_core::config::History;
    ///
    /// let builder = Cluster::builder().settings(|config| {
    ///     config.history = History::LatestOnly;
    ///     config.state_cache_bytes = 64 << 20;
    /// });
    /// # drop(builder);
    /// ```
    pub fn settings(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets the name that people know it by: `[a-z0-9][a-z0-9-]{0,31}`, default `node1`. It stays with
    /// the data directory.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Sets where its data lies. Without it everything is in memory, for tests.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.data_dir = Some(path.into());
        self
    }

    /// Sets where it listens for its peers, `host:port`. Without it, and without a transport, it is
    /// a single replica without a network.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.config.listen = Some(address.into());
        self
    }

    /// Sets how its peers reach it, when that is not where it listens.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.config.advertise = Some(address.into());
        self
    }

    /// Makes a new cluster, once, when the data directory is empty; resumes otherwise. For one
    /// replica of a cluster: a second one that does so makes a second cluster.
    pub fn init(mut self) -> Self {
        self.config.origin = Origin::Init(None);
        self
    }

    /// Knocks at the peer addresses of members until it is let in, when the data directory is empty;
    /// resumes otherwise.
    pub fn join<A: Into<String>>(mut self, members: impl IntoIterator<Item = A>) -> Self {
        self.config.origin = Origin::Join(members.into_iter().map(Into::into).collect());
        self
    }

    /// Sets what the replicas of its cluster share, and prove to each other before anything else. One
    /// that has another secret, or none, is not talked to. Default none: whoever reaches the port is
    /// believed.
    ///
    /// It keeps strangers out; it does not encrypt. Take random bytes, and keep them where only the
    /// service can read them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// use axon_core::Cluster;
    /// use axon_core::secret::Secret;
    ///
    /// let bytes = "the content of a file, such as `openssl rand -hex 32` makes it";
    /// let secret = Secret::new(bytes).expect("it has 16 to 1024 bytes");
    /// let builder = Cluster::builder().data_dir(dir.path()).listen("127.0.0.1:0").secret(secret);
    /// let cluster = builder.init().start().await?;
    /// cluster.shutdown().await
    /// # }
    /// ```
    pub fn secret(mut self, secret: Secret) -> Self {
        self.config.secret = Some(secret);
        self
    }

    /// Plugs in `transport` in place of TCP. It is where the replica listens; [`listen`](Self::listen)
    /// is not needed.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.plugins.transport = Some(transport);
        self
    }

    /// Plugs in `engine` in place of Axon's log and redb. It needs a
    /// [`data_dir`](Self::data_dir), which holds the replica's identity in any case.
    pub fn storage(mut self, engine: Arc<dyn StorageEngine>) -> Self {
        self.plugins.storage = Some(engine);
        self
    }

    /// Starts the replica. A joining one is returned while it still knocks: its calls answer
    /// [`Error::NotReady`] until it is a member (see [`Cluster::wait_ready`]).
    ///
    /// Not cancel safe: dropped, a cluster may have been made in the data directory. The same call
    /// then resumes it.
    ///
    /// # Errors
    /// A setting, an address or a data directory that cannot be used. Nothing is changed then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// use axon_core::{Cluster, Error};
    ///
    /// let refused = Cluster::builder().data_dir(dir.path()).start().await.err();
    /// assert!(matches!(refused, Some(Error::Storage(_))), "neither `init` nor `join` on an empty one");
    ///
    /// let cluster = Cluster::builder().data_dir(dir.path()).init().start().await?;
    /// cluster.shutdown().await
    /// # }
    /// ```
    pub async fn start(self) -> Result<Cluster, Error> {
        let Self { mut config, plugins } = self;
        if let Some(transport) = &plugins.transport {
            config.listen.get_or_insert_with(|| transport.local_address());
        }
        if plugins.storage.is_some() && config.data_dir.is_none() {
            let reason = "is needed by a storage engine of your own: who the replica is lies there";
            return Err(ConfigError { setting: "data_dir", reason: reason.into() }.into());
        }
        // Boxed: it happens once, and must not weigh on the future of whoever waits for it.
        Box::pin(Cluster::launch(config, plugins)).await
    }
}
