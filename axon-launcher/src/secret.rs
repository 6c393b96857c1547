//! What must not be seen: the token that people and programs show, the secret that nodes share.
//!
//! Hides *how secrets are kept in files*, and how they are compared. Invariants:
//!
//! * a secret is never on a command line and never shown: not by `Debug`, not in a log, not in an
//!   error. Nodes get both by the name of a file;
//! * a file that others may read is refused, not repaired: who has read it already is not known;
//! * what is offered is compared by its digest, in a time that tells nothing of where they differ;
//! * the cluster's secret is durable before the first node's directory is made, and is never
//!   replaced while a node runs.
//!
//! # When the cluster's secret is missing
//! The launcher runs every node of its cluster, so it may make a new secret whenever none of them
//! runs: all get it with their next start. That is also how a cluster that was made before there were
//! secrets gets one. While one of them runs (a launcher that was killed left it, or one that knew no
//! secrets), nodes with the new secret and nodes without would refuse each other, and the
//! cluster would fall apart node by node. So the launcher then refuses to start and says what to do.

use crate::directory::DataDir;
use crate::manifest::{Manifest, replace_file};
use crate::process::Process;
use axum::http::HeaderValue;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The option of `axon-server` that names the file with the cluster's secret.
pub(crate) const OPTION: &str = "--secret-file";

/// The digits of a cluster's secret: 32 bytes.
const SECRET_DIGITS: usize = 64;

/// A digest of something secret.
pub(crate) type Seal = [u8; 32];

/// Seals `bytes`, so that they can be compared and kept without being known.
pub(crate) fn seal(bytes: &[u8]) -> Seal {
    Sha256::digest(bytes).into()
}

/// Draws 256 random bits, in hexadecimal digits.
pub(crate) fn draw() -> String {
    let mut digits = String::with_capacity(SECRET_DIGITS);
    for _ in 0..2 {
        write!(digits, "{:032x}", rand::rng().random::<u128>()).expect("a string takes every text");
    }
    digits
}

/// What a request must show to be let in.
#[derive(Clone)]
pub struct Token {
    text: String,
    seal: Seal,
}

impl Token {
    /// The shortest token, in bytes.
    pub const BYTES_MIN: usize = 16;
    /// The longest token, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Takes `text` for the token, without one newline at its end.
    ///
    /// # Errors
    /// A sentence, when it is too short, too long, or holds what a header cannot.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let (least, most) = (Self::BYTES_MIN, Self::BYTES_MAX);
        if !(least..=most).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "a token has {least} to {most} letters, digits and signs, without spaces; \
                 `openssl rand -hex 32` makes a good one"
            ));
        }
        Ok(Self { text: text.to_owned(), seal: seal(text.as_bytes()) })
    }

    /// Reads the token from a file that nobody else may read.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read, others may read it, or it holds no token.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = read_private(path, Self::BYTES_MAX + 2)?
            .ok_or_else(|| format!("there is no file {}", path.display()))?;
        Self::new(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reports whether `offered` is the token.
    pub fn is(&self, offered: &[u8]) -> bool {
        let offered = seal(offered);
        // Every byte is looked at, wherever the first difference is.
        let differences = self.seal.iter().zip(offered).fold(0, |all, (a, b)| all | (a ^ b));
        black_box(differences) == 0
    }

    /// The header that shows it to a node.
    pub(crate) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.text))
            .expect("a token has only characters of a header");
        value.set_sensitive(true);
        value
    }

    /// Keeps it in a file that nobody else may read, for the nodes.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        replace_file(path, self.text.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Sees to it that `data` holds what nodes must share, before any is started: the cluster's secret, and
/// the token that they want to be shown.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn share(
    data: &DataDir,
    manifest: &Manifest,
    token: Option<&Token>,
) -> Result<(), String> {
    let path = data.secret();
    let running = manifest.nodes.iter().filter_map(|spec| {
        let process = Process::adopt("--data-dir", &data.replica(&spec.name))?;
        // An `init` that a killed launcher left speaks to no peer.
        let serves = process.was_given("run", Path::new("--name"));
        let has_secret = process.was_given(OPTION, &path);
        serves.then(|| Running { name: spec.name.to_string(), pid: process.pid(), has_secret })
    });
    provide(&path, &running.collect::<Vec<_>>())?;
    let path = data.token();
    let kept = match token {
        Some(token) => token.save(&path),
        // Nodes that an earlier launcher left have read it.
        None => std::fs::remove_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    kept.map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes the cluster's secret at `path` or checks the one that is there, as nodes `running` allow.
fn provide(path: &Path, running: &[Running]) -> Result<(), String> {
    let file = path.display();
    let found = read_private(path, SECRET_DIGITS + 1)?;
    if let Some(text) = &found {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        if digits.len() != SECRET_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!(
                "{file} does not hold {SECRET_DIGITS} hexadecimal digits, as the launcher writes them. \
                 Put it back from a copy; or stop every node and remove it, and a new one is made"
            ));
        }
    }
    let strangers: Vec<&Running> =
        running.iter().filter(|node| found.is_none() || !node.has_secret).collect();
    if !strangers.is_empty() {
        let names: Vec<_> = strangers.iter().map(|node| node.name.as_str()).collect();
        let pids: Vec<_> = strangers.iter().map(|node| node.pid.to_string()).collect();
        let missing = if found.is_none() {
            format!("{file} is missing, put it back from a copy; or end")
        } else {
            "end".to_owned()
        };
        return Err(format!(
            "{} still runs without this cluster's secret, and its peers would refuse it: {missing} what \
             runs (kill {}), which loses nothing, and start the launcher again",
            names.join(", "),
            pids.join(" ")
        ));
    }
    if found.is_none() {
        replace_file(path, draw().as_bytes()).map_err(|error| format!("{file}: {error}"))?;
        tracing::info!("made the secret that the nodes prove to each other, {file}");
    }
    Ok(())
}

/// A node that runs before the launcher has started any.
#[derive(Debug)]
struct Running {
    name: String,
    pid: u32,
    /// Whether it was started with this cluster's secret.
    has_secret: bool,
}

/// Reads a file that only its owner may read; `None` when it is not there.
fn read_private(path: &Path, bytes_max: usize) -> Result<Option<String>, String> {
    let file = path.display();
    let unreadable = |error: io::Error| format!("cannot read {file}: {error}");
    let mut opened = match File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // Of the file that was opened, not of what the path names by now.
    let found = opened.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(format!("{file} is no file"));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "{file} may be read by others (mode {mode:o}): chmod 600 {file}, and change what is in it \
             if someone may have seen it"
        ));
    }
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    Read::by_ref(&mut opened).take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(format!("{file} is longer than {bytes_max} bytes"));
    }
    // Not with the error: it would show what is in the file.
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{file} is not text"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    const TEXT: &str = "correct-horse-battery";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn running(has_secret: bool) -> Vec<Running> {
        vec![Running { name: "node1".to_owned(), pid: 42, has_secret }]
    }

    #[test]
    fn a_token_is_read_from_a_private_file_without_its_newline() {
        for text in [TEXT.to_owned(), format!("{TEXT}\n"), format!("{TEXT}\r\n")] {
            let (_directory, path) = file(&text, 0o600);
            let token = Token::read(&path).unwrap();
            assert!(token.is(TEXT.as_bytes()));
            assert!(!token.is(text.strip_prefix('c').unwrap().as_bytes()));
            assert!(!token.is(b""));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let (_directory, path) = file(TEXT, mode);
            let error = Token::read(&path).unwrap_err();
            assert!(error.contains("chmod 600") && !error.contains(TEXT), "{error}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        for text in [
            "short",
            "",
            "two words are two many",
            "caf\u{e9}-caf\u{e9}-caf\u{e9}",
            "0123456789abcdef\n\n",
        ] {
            let (_directory, path) = file(text, 0o600);
            let error = Token::read(&path).unwrap_err();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let (_directory, path) = file(&"x".repeat(Token::BYTES_MAX + 1), 0o600);
        assert!(Token::read(&path).is_err());
        assert!(Token::read(Path::new("/nowhere/token")).unwrap_err().contains("/nowhere/token"));
        assert!(Token::read(Path::new("/")).unwrap_err().contains("no file"));
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new(TEXT).unwrap();
        let shown = format!("{token:?} {:?}", token.bearer());
        assert!(!shown.contains("horse"), "{shown}");
        let (_directory, path) = file("", 0o666);
        token.save(&path).unwrap();
        assert!(Token::read(&path).unwrap().is(TEXT.as_bytes()), "what is kept is private");
    }

    #[test]
    fn a_cluster_gets_a_private_secret_once_and_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.secret");
        provide(&path, &[]).unwrap();
        let made = fs::read_to_string(&path).unwrap();
        assert_eq!(made.len(), SECRET_DIGITS);
        assert!(made.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        provide(&path, &running(true)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), made);
        assert_ne!(draw(), draw());
    }

    #[test]
    fn a_missing_secret_is_not_replaced_while_a_node_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.secret");
        for has_secret in [true, false] {
            let error = provide(&path, &running(has_secret)).unwrap_err();
            for part in ["node1", "kill 42", "is missing"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!path.exists());
        }
        provide(&path, &[]).unwrap();
        let error = provide(&path, &running(false)).unwrap_err();
        assert!(error.contains("kill 42") && !error.contains("missing"), "{error}");
    }

    #[test]
    fn a_secret_that_others_may_read_or_that_is_garbled_is_refused_and_left() {
        let (_directory, path) = file(&draw(), 0o644);
        let error = provide(&path, &[]).unwrap_err();
        assert!(error.contains("chmod 600"), "{error}");
        for text in [draw().split_off(1), "x".repeat(SECRET_DIGITS), String::new()] {
            let (_directory, path) = file(&text, 0o600);
            assert!(provide(&path, &[]).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
