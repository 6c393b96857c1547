//! The kinds of values that options have. Each parses from text, the same for flag, variable and file.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A host and a port. The host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl HostPort {
    /// An address of its parts.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// The same host with the next port; with port 0, port 0 again; `None` after the highest.
    #[must_use]
    pub fn next_port(&self) -> Option<Self> {
        let port = if self.port == 0 { 0 } else { self.port.checked_add(1)? };
        Some(Self::new(&self.host, port))
    }

    /// Reports whether only this machine can connect to it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost")
            || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }

    /// Reports whether it means "every interface", which nobody can connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Advertise::from_str(text)? {
            Advertise { host, port: Some(port) } => Ok(Self { host, port }),
            Advertise { .. } => Err(format!("expected HOST:PORT, there is no port in {text:?}")),
        }
    }
}

/// A host, and a port if it is not the one that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// The host.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            // A colon inside brackets belongs to the address.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("{port:?} is no port (0 to 65535)"))?;
                (host, Some(port))
            }
            _ => (text, None),
        };
        let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let valid = in_brackets.map_or_else(
            || !host.is_empty() && host.chars().all(named),
            |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        if !valid {
            return Err(format!(
                "{host:?} is no host: give a name, an IPv4 address, or an IPv6 address in brackets"
            ));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis_per_unit = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let millis = number.parse::<u64>().ok().zip(millis_per_unit);
        millis
            .and_then(|(number, unit)| number.checked_mul(unit))
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is no length of time: write 500ms, 5s, 1m or 1h"))
    }
}

/// When a joined replica becomes a voter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promotion {
    /// Once it has caught up.
    #[default]
    Auto,
    /// When an operator says so.
    Manual,
    /// Never.
    Never,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

macro_rules! from_text {
    ($($kind:ty)*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        })*
    };
}

from_text!(HostPort Advertise Span);

/// Deserializes an option from the text that its type parses.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}
