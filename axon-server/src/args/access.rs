//! Who may reach a node: the cluster's secret, the token, and where it may listen without them.
//!
//! Both come from files that nobody else can read, never from a command line, which everyone on the
//! machine can. What is wrong with a file is said with what to do about it, and never with what is in it.

use super::{HostPort, Refusal};
use crate::Token;
use axon_core::secret::Secret;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The variable that may hold the token itself.
pub(super) const TOKEN_VARIABLE: &str = "AXON_TOKEN";

/// Reads the secret of the cluster.
pub(super) fn secret(file: Option<&Path>) -> Result<Option<Secret>, Refusal> {
    let Some(file) = file else { return Ok(None) };
    let bytes = read("--secret-file", file, Secret::BYTES_MIN, Secret::BYTES_MAX)?;
    Ok(Some(Secret::new(bytes).expect("its length was checked")))
}

/// Finds the token: in a file, or in the variable.
pub(super) fn token(
    file: Option<&Path>,
    variable: Option<OsString>,
) -> Result<Option<Token>, Refusal> {
    let usage = |line: String| Err(Refusal::Usage(line));
    let (source, text) = match (file, variable.filter(|text| !text.is_empty())) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return usage(format!("--token-file and {TOKEN_VARIABLE}: give the token once"));
        }
        (Some(file), None) => {
            let bytes = read("--token-file", file, Token::BYTES_MIN, Token::BYTES_MAX)?;
            ("--token-file", String::from_utf8(bytes).unwrap_or_default())
        }
        (None, Some(text)) => (TOKEN_VARIABLE, text.into_string().unwrap_or_default()),
    };
    match Token::new(&text) {
        Some(token) => Ok(Some(token)),
        None => usage(format!(
            "{source}: a token is {} to {} letters, digits and signs of ASCII, without spaces: make one \
             with openssl rand -hex 32",
            Token::BYTES_MIN,
            Token::BYTES_MAX
        )),
    }
}

/// Reads a file that is nobody else's business, without one newline at its end.
fn read(option: &str, file: &Path, least: usize, most: usize) -> Result<Vec<u8>, Refusal> {
    let shown = file.display();
    let refusal = |reason: String| Refusal::Usage(format!("{option}: {shown} {reason}"));
    let unreadable = |error: std::io::Error| refusal(format!("cannot be read: {error}"));
    let mut opened = File::open(file).map_err(unreadable)?;
    // Of what was opened, not of what the name means by now.
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(refusal(format!(
            "can be read or written by others (mode {:03o}): run chmod 600 {shown}",
            mode & 0o777
        )));
    }
    let mut bytes = Vec::new();
    // A newline, and one byte that is too much.
    (&mut opened).take(most as u64 + 3).read_to_end(&mut bytes).map_err(unreadable)?;
    let newline = if bytes.ends_with(b"\r\n") { 2 } else { usize::from(bytes.ends_with(b"\n")) };
    bytes.truncate(bytes.len() - newline);
    match bytes.len() {
        0 => Err(refusal(format!("is empty: fill it with openssl rand -hex 32 > {shown}"))),
        got if got < least => Err(refusal(format!(
            "has {got} bytes, at least {least} are needed: fill it with openssl rand -hex 32 > {shown}"
        ))),
        got if got > most => {
            Err(refusal(format!("has more than {most} bytes: is it the right file?")))
        }
        _ => Ok(bytes),
    }
}

/// Refuses to listen where others connect, unless they are asked who they are.
pub(super) fn check_exposure(
    listen: &HostPort,
    token: bool,
    peer_listen: &HostPort,
    secret: bool,
) -> Result<(), Refusal> {
    if !token && !listen.is_loopback() {
        return Err(Refusal::Usage(format!(
            "whoever reaches {listen} could read and change everything: give --token-file FILE (made with \
             openssl rand -hex 32), or listen on 127.0.0.1 (--listen), or accept it with --insecure"
        )));
    }
    if !secret && !peer_listen.is_loopback() {
        return Err(Refusal::Usage(format!(
            "whoever reaches {peer_listen} could join the cluster: give --secret-file FILE (made with \
             openssl rand -hex 32, the same for every member), or listen on 127.0.0.1 (--peer-listen), or \
             accept it with --insecure"
        )));
    }
    Ok(())
}
