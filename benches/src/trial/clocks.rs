//! Wall clocks that jump: libfaketime between a node and the system, one clock a node.
//!
//! Only the wall clock is moved. The monotonic one goes on as it is, as on a machine whose
//! administrator, or whose time service, sets the time.

use super::Check;
use crate::ensure;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where distributions put the library; the machine's architecture stands for the star.
const PLACES: [&str; 3] = ["/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime"];
const LIBRARY: &str = "libfaketimeMT.so.1";

/// Finds the library; `None` when it is not installed.
pub fn library() -> Option<PathBuf> {
    let architecture = format!("{}-linux-gnu", std::env::consts::ARCH);
    let places = PLACES.iter().map(|place| place.replace('*', &architecture));
    places.map(|place| Path::new(&place).join(LIBRARY)).find(|path| path.is_file())
}

/// Writes a program into `directory` that starts `server` under a clock of its own, named after
/// the node.
pub fn wrap(library: &Path, server: &Path, directory: &Path) -> Check<PathBuf> {
    let script = format!(
        "#!/bin/sh\n\
         for word; do [ \"$before\" = --name ] && name=$word; before=$word; done\n\
         export LD_PRELOAD='{}' FAKETIME_TIMESTAMP_FILE=\"{}/clock-$name\"\n\
         export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_CACHE_DURATION=1\n\
         exec '{}' \"$@\"\n",
        library.display(),
        directory.display(),
        server.display(),
    );
    let path = directory.join("server-with-a-clock");
    let written = fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// Sets the clock of the node called `id`: so many seconds from the system's.
pub fn set(directory: &Path, id: &str, offset_seconds: i64) -> Check {
    let path = directory.join(format!("clock-{id}"));
    // Renamed into place: the library must not read half an offset.
    let fresh = directory.join(format!("clock-{id}.new"));
    fs::write(&fresh, format!("{offset_seconds:+}\n"))
        .and_then(|()| fs::rename(&fresh, &path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// How far the wall clock that the node called `id` puts into its answers is from this machine's, in
/// seconds.
pub fn offset(id: &str, date: &str) -> Check<i64> {
    let output = std::process::Command::new("date").args(["-u", "+%s", "-d", date]).output();
    let seconds = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let theirs = seconds.and_then(|text| text.trim().parse::<i64>().ok());
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    ensure!(theirs.is_some() && ours.is_ok(), "{id} answers with the date {date:?}");
    Ok(theirs.unwrap_or_default() - ours.map_or(0, |ours| ours.as_secs().cast_signed()))
}
