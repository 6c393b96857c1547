//! What the options come to: checked together, and handed to core and to the API.

use super::values::{Advertise, HostPort, LogFormat, Promotion};
use super::{Layer, Refusal, access};
use crate::{Options, Token};
use axon_core::Config;
use axon_core::config::{self, History, Origin, RuntimeChoice};
use axon_core::secret::Secret;
use axon_core::types::{ClusterId, Limits};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of the program.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The replica's name.
    pub name: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// The id for a new cluster; only `init` has one.
    pub cluster_id: Option<ClusterId>,
    /// Where the API listens.
    pub listen: HostPort,
    /// Where its peers connect to.
    pub peer_listen: HostPort,
    /// What others are told about how to reach it.
    pub advertise: Option<Advertise>,
    /// What its peers are told, if that does not follow from `advertise`.
    pub peer_advertise: Option<HostPort>,
    /// Peer addresses of members to join through.
    pub join: Vec<HostPort>,
    /// Other machines may connect without a secret or a token.
    pub insecure: bool,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    promotion: Promotion,
    request_timeout: Duration,
    gossip_interval: Duration,
    connections_max: usize,
    limits: Limits,
    log_retention_bytes: u64,
    state_cache_bytes: usize,
    history: History,
    compare_revisions: u64,
    scrub_bytes_max: u64,
    scrub_interval: Duration,
    scrub_bytes_per_second: u64,
    secret: Option<Secret>,
    token: Option<Token>,
    disk_reserve_bytes: u64,
    disk_low_bytes: u64,
    sync_p99_max: Duration,
}

/// How much of the past the options ask for.
fn history(layer: &Layer) -> Result<History, Refusal> {
    let Layer { history_bytes, history_age, history_latest_only, .. } = layer;
    if history_latest_only.unwrap_or(false) {
        let bounded = history_bytes.is_some() || history_age.is_some();
        return if bounded {
            Err(Refusal::Usage(
                "--history-latest-only keeps no past: leave out --history-bytes and --history-age"
                    .into(),
            ))
        } else {
            Ok(History::LatestOnly)
        };
    }
    Ok(History::Keep {
        bytes: history_bytes.unwrap_or(History::BYTES_DEFAULT),
        age: history_age.map_or(History::AGE_DEFAULT, |span| span.0),
    })
}

impl Settings {
    pub(super) fn from_layer(
        layer: Layer,
        token: Option<OsString>,
        init: bool,
    ) -> Result<Self, Refusal> {
        let missing = |option: &str, variable: &str| {
            Refusal::Usage(format!("--{option} is missing: give it, or set {variable}"))
        };
        let defaults = Config::default();
        let history = history(&layer)?;
        let (secret, token) = if init {
            (None, None)
        } else {
            (
                access::secret(layer.secret_file.as_deref())?,
                access::token(layer.token_file.as_deref(), token)?,
            )
        };
        let listen = layer.listen.unwrap_or_else(|| HostPort::new("127.0.0.1", 9000));
        let peer_listen = match layer.peer_listen {
            Some(address) => address,
            None => listen.next_port().ok_or_else(|| {
                Refusal::Usage("--listen has the highest port: give --peer-listen as well".into())
            })?,
        };
        let settings = Self {
            name: layer.name.ok_or_else(|| missing("name", "AXON_NAME"))?,
            data_dir: layer.data_dir.ok_or_else(|| missing("data-dir", "AXON_DATA_DIR"))?,
            cluster_id: layer.cluster_id.filter(|_| init),
            listen,
            peer_listen,
            advertise: layer.advertise,
            peer_advertise: layer.peer_advertise,
            join: layer.join.unwrap_or_default(),
            insecure: layer.insecure.unwrap_or(false),
            log: layer.log.unwrap_or_else(|| "info".into()),
            log_format: layer.log_format.unwrap_or_default(),
            promotion: layer.promotion.unwrap_or_default(),
            request_timeout: layer.request_timeout.map_or(defaults.request_timeout, |span| span.0),
            gossip_interval: layer.gossip_interval.map_or(defaults.gossip_interval, |span| span.0),
            connections_max: layer.connections_max.unwrap_or(Options::default().connections_max),
            limits: Limits {
                key_bytes_max: layer.key_bytes_max.unwrap_or(defaults.limits.key_bytes_max),
                value_bytes_max: layer.value_bytes_max.unwrap_or(defaults.limits.value_bytes_max),
            },
            log_retention_bytes: layer.log_retention_bytes.unwrap_or(defaults.log_retention_bytes),
            state_cache_bytes: layer.state_cache_bytes.unwrap_or(defaults.state_cache_bytes),
            history,
            compare_revisions: layer.compare_revisions.unwrap_or(defaults.compare_revisions),
            scrub_bytes_max: layer.scrub_bytes_max.unwrap_or(defaults.scrub_bytes_max),
            scrub_interval: layer.scrub_interval.map_or(defaults.scrub_interval, |span| span.0),
            scrub_bytes_per_second: layer
                .scrub_bytes_per_second
                .unwrap_or(defaults.scrub_bytes_per_second),
            secret,
            token,
            disk_reserve_bytes: layer.disk_reserve_bytes.unwrap_or(defaults.disk_reserve_bytes),
            disk_low_bytes: layer.disk_low_bytes.unwrap_or(defaults.disk_low_bytes),
            sync_p99_max: layer.sync_p99_max.map_or(defaults.sync_p99_max, |span| span.0),
        };
        settings.check(init)?;
        Ok(settings)
    }

    fn check(&self, init: bool) -> Result<(), Refusal> {
        let config = if init { self.init_config() } else { self.run_config(self.listen.port) };
        config.validate().map_err(|error| {
            Refusal::Usage(format!("--{}: {}", error.setting.replace('_', "-"), error.reason))
        })?;
        if self.connections_max == 0 {
            return Err(Refusal::Usage("--connections-max: must be at least 1".into()));
        }
        if init {
            return Ok(());
        }
        if self.listen == self.peer_listen && self.listen.port != 0 {
            return Err(Refusal::Usage(format!(
                "--listen and --peer-listen are both {}: give them different ports",
                self.listen
            )));
        }
        // Guessing a name here would be told to the whole cluster, and found wrong at the next election.
        let api_hidden = self.listen.is_wildcard() && self.advertise.is_none();
        let peer_hidden = self.peer_listen.is_wildcard()
            && self.advertise.is_none()
            && self.peer_advertise.is_none();
        if api_hidden || peer_hidden {
            let wildcard = if api_hidden { &self.listen } else { &self.peer_listen };
            return Err(Refusal::Usage(format!(
                "nobody can be told to connect to {wildcard}: give --advertise HOST, the name or address \
                 that others reach this node by"
            )));
        }
        if self.insecure {
            return Ok(());
        }
        let (token, secret) = (self.token.is_some(), self.secret.is_some());
        access::check_exposure(&self.listen, token, &self.peer_listen, secret)
    }

    /// The settings of core with which `init` makes a cluster.
    #[must_use]
    pub fn init_config(&self) -> Config {
        Config { origin: Origin::Init(self.cluster_id), ..self.run_config(self.listen.port) }
    }

    /// The settings of core with which `run` starts a replica whose API listens on `api_port`.
    #[must_use]
    pub fn run_config(&self, api_port: u16) -> Config {
        let origin = if self.join.is_empty() {
            Origin::Resume
        } else {
            Origin::Join(self.join.iter().map(HostPort::to_string).collect())
        };
        Config {
            name: self.name.clone(),
            data_dir: Some(self.data_dir.clone()),
            listen: Some(self.peer_listen.to_string()),
            advertise: self.told_to_peers().map(|address| address.to_string()),
            api_address: self.told_to_clients(api_port).to_string(),
            origin,
            promotion: match self.promotion {
                Promotion::Auto => config::Promotion::Auto,
                Promotion::Manual => config::Promotion::Manual,
                Promotion::Never => config::Promotion::Never,
            },
            limits: self.limits,
            request_timeout: self.request_timeout,
            gossip_interval: self.gossip_interval,
            log_retention_bytes: self.log_retention_bytes,
            state_cache_bytes: self.state_cache_bytes,
            history: self.history,
            compare_revisions: self.compare_revisions,
            scrub_bytes_max: self.scrub_bytes_max,
            scrub_interval: self.scrub_interval,
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            secret: self.secret.clone(),
            disk_reserve_bytes: self.disk_reserve_bytes,
            disk_low_bytes: self.disk_low_bytes,
            sync_p99_max: self.sync_p99_max,
            runtime: RuntimeChoice::Callers,
            ..Config::default()
        }
    }

    /// How requests are served.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            name: self.name.clone(),
            limits: self.limits,
            connections_max: self.connections_max,
            token: self.token.clone(),
            told_host: self.advertise.as_ref().map(|advertise| advertise.host.clone()),
            ..Options::default()
        }
    }

    fn told_to_clients(&self, api_port: u16) -> HostPort {
        match &self.advertise {
            Some(Advertise { host, port }) => HostPort::new(host, port.unwrap_or(api_port)),
            None => HostPort::new(&self.listen.host, api_port),
        }
    }

    /// What peers are told when it is not where the replica listens.
    fn told_to_peers(&self) -> Option<HostPort> {
        let from_advertise = || {
            let Advertise { host, port } = self.advertise.as_ref()?;
            // At the highest port there is no next: the port that it listens on is as good a guess.
            let next = port.and_then(|port| port.checked_add(1));
            Some(HostPort::new(host, next.unwrap_or(self.peer_listen.port)))
        };
        self.peer_advertise.clone().or_else(from_advertise)
    }
}
