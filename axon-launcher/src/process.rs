//! One process: started, watched, told to stop, killed, or taken over from an earlier launcher.
//!
//! Hides *how the operating system runs things*. It knows nothing of clusters.
//!
//! A launcher that is killed leaves its nodes running, and that is wanted: a cluster should not
//! fall because its supervisor did. The next launcher takes them over ([`Process::adopt`]) instead
//! of keeping a record of process ids, which may be stale or name another process by now: it looks
//! for the one process whose command line holds the replica's own directory, pins it with a pidfd,
//! and looks again, so that a process id that changed hands in between cannot be mistaken. From
//! then on signals go through the pidfd. Only the exit code of an adopted process stays unknown: it
//! is not our child.
//!
//! Invariants:
//! * a process gets no terminal signal meant for the launcher (it has a process group of its own);
//! * a signal goes only to the process that was started or adopted, never to a reused id;
//! * dropping a [`Process`] leaves it running.
//!
//! Adoption needs Linux; elsewhere a left-over process is reported by the port that it holds.

use crate::{logs, proc};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};
use tokio::process::{Child, Command};

/// How often an adopted process is looked at.
#[cfg(target_os = "linux")]
const POLL_EVERY: Duration = Duration::from_millis(100);

/// What to run, and where its output goes.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of the launcher's environment that it must not see.
    pub unset: &'static [&'static str],
    /// The file that its output is appended to.
    pub log: PathBuf,
}

impl Launch {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        self.unset.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.args(&self.args).stdin(Stdio::null()).process_group(0);
        command
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not known: it was adopted.
    Unknown,
}

impl Exit {
    /// `axon-server` was removed from its cluster: starting it again is of no use.
    pub const REMOVED: Self = Self::Code(4);

    /// `axon-server` halted by a fault, often of its disk.
    pub const FAULT: Self = Self::Code(3);

    /// The exit code, if there was one.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) | Self::Unknown => None,
        }
    }

    fn from_status(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(0) => f.write_str("stopped (code 0)"),
            Self::Code(1) => f.write_str("could not start (code 1)"),
            Self::Code(2) => f.write_str("was called wrongly (code 2)"),
            Self::Code(3) => f.write_str("halted by a fault (code 3)"),
            Self::Code(4) => f.write_str("was removed from the cluster (code 4)"),
            Self::Code(code) => write!(f, "exited (code {code})"),
            Self::Signal(signal) => write!(f, "was killed (signal {signal})"),
            Self::Unknown => f.write_str("ended (started by an earlier launcher; code not known)"),
        }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    started: SystemTime,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Child(Child),
    #[cfg(target_os = "linux")]
    Adopted(std::os::fd::OwnedFd),
}

impl Process {
    /// Starts a process.
    pub fn spawn(launch: &Launch) -> io::Result<Self> {
        let log = logs::open(&launch.log)?;
        let child =
            launch.command().stdout(log.try_clone()?).stderr(log).kill_on_drop(false).spawn()?;
        let pid = child.id().expect("a child that was never waited for has an id");
        Ok(Self { pid, started: SystemTime::now(), kind: Kind::Child(child) })
    }

    /// Finds a running process that holds the argument pair `flag value` on its command line.
    #[cfg(target_os = "linux")]
    pub fn adopt(flag: &str, value: &std::path::Path) -> Option<Self> {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let own = std::process::id();
        let found = std::fs::read_dir("/proc")
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        for pid in found.filter(|pid| *pid != own) {
            if !holds_argument(pid, flag, value) {
                continue;
            }
            let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let Some(fd) = raw.and_then(|raw| pidfd_open(raw, PidfdFlags::empty()).ok()) else {
                continue;
            };
            // Again, now that the id cannot change hands any more.
            if !holds_argument(pid, flag, value) {
                continue;
            }
            let started = proc::started(pid).unwrap_or_else(SystemTime::now);
            return Some(Self { pid, started, kind: Kind::Adopted(fd) });
        }
        None
    }

    /// Finds nothing: this needs Linux.
    #[cfg(not(target_os = "linux"))]
    pub fn adopt(_flag: &str, _value: &std::path::Path) -> Option<Self> {
        None
    }

    /// Reports whether it was started by an earlier launcher.
    pub fn is_adopted(&self) -> bool {
        !matches!(self.kind, Kind::Child(_))
    }

    /// Reports whether it holds the argument pair `flag value` on its command line.
    #[cfg(target_os = "linux")]
    pub fn was_given(&self, flag: &str, value: &std::path::Path) -> bool {
        holds_argument(self.pid, flag, value)
    }

    /// Knows nothing: this needs Linux.
    #[cfg(not(target_os = "linux"))]
    pub fn was_given(&self, _flag: &str, _value: &std::path::Path) -> bool {
        false
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started; for an adopted one, as far as the system tells.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Waits for it to end. Cancel safe; not to be called again once it has returned.
    pub async fn exited(&mut self) -> Exit {
        match &mut self.kind {
            Kind::Child(child) => match child.wait().await {
                Ok(status) => Exit::from_status(status),
                Err(error) => {
                    tracing::error!(pid = self.pid, %error, "cannot wait for a process");
                    Exit::Unknown
                }
            },
            #[cfg(target_os = "linux")]
            Kind::Adopted(fd) => {
                while !has_ended(fd) {
                    tokio::time::sleep(POLL_EVERY).await;
                }
                Exit::Unknown
            }
        }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let sent = match &self.kind {
            // `id` is `None` once the child was waited for, so the number cannot be another's.
            Kind::Child(child) => child
                .id()
                .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
                .map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal)),
            #[cfg(target_os = "linux")]
            Kind::Adopted(fd) => rustix::process::pidfd_send_signal(fd, signal),
        };
        match sent {
            // It has ended by itself meanwhile, which is what was wanted.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(pid = self.pid, %error, "cannot signal a process"),
        }
    }
}

/// A pidfd becomes readable when its process ends, and stays so.
#[cfg(target_os = "linux")]
fn has_ended(pidfd: &std::os::fd::OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An interrupted question is asked again on the next round.
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(target_os = "linux")]
fn holds_argument(pid: u32, flag: &str, value: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    // Empty for a process that has ended, and for one that belongs to the kernel.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    args.windows(2).any(|pair| pair == [flag.as_bytes(), value.as_os_str().as_bytes()])
}

/// Runs a process to its end and returns how it ended and what it said on standard error.
pub async fn run_to_end(launch: &Launch, deadline: Duration) -> io::Result<(Exit, String)> {
    let running = launch
        .command()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?
        .wait_with_output();
    let output = tokio::time::timeout(deadline, running).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {deadline:?}"))
    })??;
    if let Err(error) = io::Write::write_all(&mut logs::open(&launch.log)?, &output.stderr) {
        tracing::warn!(log = %launch.log.display(), %error, "cannot write a log");
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((Exit::from_status(output.status), said))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::path::Path;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(10);

    /// A shell script as the process; `$1 $2 $3` are `run --data-dir <directory>`.
    fn script(directory: &Path, text: &str) -> Launch {
        let data = directory.join("data");
        Launch {
            program: "/bin/sh".into(),
            args: ["-c", text, "axon-server", "run", "--data-dir"]
                .map(OsString::from)
                .into_iter()
                .chain([data.into_os_string()])
                .collect(),
            unset: &["CARGO_MANIFEST_DIR"],
            log: directory.join("node.log"),
        }
    }

    async fn until_logged(launch: &Launch, line: &str) {
        timeout(SOON, async {
            while !logs::tail(&launch.log, 50).iter().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn output_goes_to_the_log_and_the_exit_code_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        for code in [0, 1, 2, 3, 4] {
            let text = format!("echo out {code}; echo err {code} >&2; exit {code}");
            let launch = script(directory.path(), &text);
            let mut process = Process::spawn(&launch).unwrap();
            assert_eq!(timeout(SOON, process.exited()).await.unwrap(), Exit::Code(code));
            assert_eq!(logs::tail(&launch.log, 2), [format!("out {code}"), format!("err {code}")]);
        }
    }

    #[tokio::test]
    async fn a_process_does_not_see_what_it_must_not_see() {
        let directory = tempfile::tempdir().unwrap();
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let launch = script(directory.path(), "test -n \"$CARGO_MANIFEST_DIR\" && exit 1; exit 0");
        let plain = Launch { unset: &[], ..launch.clone() };
        for (launch, code) in [(launch, 0), (plain, 1)] {
            let mut process = Process::spawn(&launch).unwrap();
            assert_eq!(timeout(SOON, process.exited()).await.unwrap(), Exit::Code(code));
        }
    }

    #[tokio::test]
    async fn a_process_is_asked_to_stop_and_may_take_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let launch = script(
            directory.path(),
            "trap 'echo stopping; exit 0' TERM; echo ready; while :; do :; done",
        );
        let mut process = Process::spawn(&launch).unwrap();
        until_logged(&launch, "ready").await;
        process.terminate();
        assert_eq!(timeout(SOON, process.exited()).await.unwrap(), Exit::Code(0));
        assert_eq!(logs::tail(&launch.log, 1), ["stopping"]);
        // Its id may be another's by now: this must reach nobody.
        process.kill();
    }

    #[tokio::test]
    async fn a_process_that_does_not_listen_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let launch = script(directory.path(), "trap '' TERM; echo ready; while :; do :; done");
        let mut process = Process::spawn(&launch).unwrap();
        until_logged(&launch, "ready").await;
        process.terminate();
        process.kill();
        assert_eq!(timeout(SOON, process.exited()).await.unwrap(), Exit::Signal(9));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_process_left_by_an_earlier_launcher_is_adopted_and_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        assert!(Process::adopt("--data-dir", &data).is_none());
        let launch = script(directory.path(), "echo ready; while :; do :; done");
        let mut own = Process::spawn(&launch).unwrap();
        until_logged(&launch, "ready").await;
        assert!(Process::adopt("--data-dir", directory.path()).is_none());
        let mut adopted = Process::adopt("--data-dir", &data).unwrap();
        assert_eq!(adopted.pid(), own.pid());
        assert!(
            timeout(Duration::from_millis(50), adopted.exited()).await.is_err(),
            "it still runs"
        );
        adopted.terminate();
        assert_eq!(timeout(SOON, adopted.exited()).await.unwrap(), Exit::Unknown);
        assert_eq!(timeout(SOON, own.exited()).await.unwrap(), Exit::Signal(15));
        adopted.kill();
    }

    #[tokio::test]
    async fn a_process_run_to_its_end_says_why_it_failed() {
        let directory = tempfile::tempdir().unwrap();
        let launch = script(directory.path(), "echo 'directory holds a replica' >&2; exit 1");
        let (exit, said) = run_to_end(&launch, SOON).await.unwrap();
        assert_eq!((exit, said.as_str()), (Exit::Code(1), "directory holds a replica"));
        assert_eq!(logs::tail(&launch.log, 1), ["directory holds a replica"]);
        let slow = script(directory.path(), "while :; do :; done");
        let error = run_to_end(&slow, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
