//! The real binary: how it starts, refuses to start, stops, and comes back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::child::{Running, ended, program, wait};
use rustix::process::Signal;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

/// Checks that the program refuses with `code` and a single line that has all of `parts`.
#[track_caller]
fn refuses(arguments: &[&str], code: i32, parts: &[&str]) {
    let (found, out, err) = ended(arguments);
    assert_eq!(found, code, "{arguments:?}: {err}");
    assert_eq!(out, "", "{arguments:?}");
    assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
    assert!(err.starts_with("axon-server: "), "{err}");
    for part in parts {
        assert!(err.contains(part), "{part:?} is not in {err:?}");
    }
}

/// The only node of its cluster, on any port.
fn start(directory: &Path) -> Running {
    let directory = directory.to_str().unwrap();
    Running::start(&["--name", "n1", "--data-dir", directory, "--listen", "127.0.0.1:0"])
}

fn init(directory: &Path) -> String {
    let directory = directory.to_str().unwrap();
    let (code, out, err) = ended(&["init", "--name", "n1", "--data-dir", directory]);
    assert_eq!((code, err.as_str()), (0, ""));
    let id = out.strip_suffix('\n').unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{out}");
    id
}

#[test]
fn mistakes_on_the_command_line_are_one_line_and_code_2() {
    refuses(&["--nam", "n1"], 2, &["--nam", "--help"]);
    refuses(&[], 2, &["--name", "AXON_NAME"]);
    refuses(&["--name", "n1"], 2, &["--data-dir"]);
    refuses(&["--name", "n1", "--data-dir", "d", "--log", "a=b=c"], 2, &["--log", "a=b=c"]);
    refuses(&["--config", "/nowhere.toml"], 2, &["/nowhere.toml"]);
}

#[test]
fn help_and_version_go_to_the_standard_output() {
    let (code, out, err) = ended(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("--data-dir"));
    let (code, out, _) = ended(&["--version"]);
    assert_eq!((code, out), (0, format!("axon-server {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_environment_is_read() {
    let mut child = program(&["--name", "n1"]).env("AXON_LISTEN", "nonsense").spawn().unwrap();
    assert_eq!(wait(&mut child).code(), Some(2));
    let mut err = String::new();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("AXON_LISTEN"), "{err}");
}

#[test]
fn run_makes_no_cluster() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("data");
    let directory = missing.to_str().unwrap();
    let arguments = ["--name", "n1", "--data-dir", directory, "--listen", "127.0.0.1:0"];
    refuses(&arguments, 1, &[directory, "axon-server init", "--join"]);
    assert!(!missing.exists(), "nothing is left behind");
    std::fs::create_dir(&missing).unwrap();
    refuses(&arguments, 1, &[directory, "axon-server init", "--join"]);
    assert_eq!(std::fs::read_dir(&missing).unwrap().count(), 0);
}

#[test]
fn an_address_in_use_is_named_before_the_directory_is_touched() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let directory = data.to_str().unwrap();
    let start = ["--name", "n1", "--join", "127.0.0.1:1", "--data-dir", directory];
    let api = [&start[..], &["--listen", &address]].concat();
    refuses(&api, 1, &[&address, "in use", "--listen"]);
    let peer = [&start[..], &["--listen", "127.0.0.1:0", "--peer-listen", &address]].concat();
    refuses(&peer, 1, &[&address, "in use", "--peer-listen"]);
    assert!(!data.exists());
}

#[test]
fn a_data_directory_that_is_no_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    refuses(&["--name", "n1", "--data-dir", path, "--listen", "127.0.0.1:0"], 1, &[path]);
    refuses(&["init", "--name", "n1", "--data-dir", path], 1, &[path]);
}

#[test]
fn a_cluster_is_made_once() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let directory = data.to_str().unwrap();
    init(&data);
    let identity = std::fs::read(data.join("identity")).unwrap();
    refuses(&["init", "--name", "n1", "--data-dir", directory], 1, &[directory]);
    assert_eq!(std::fs::read(data.join("identity")).unwrap(), identity);

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let directory = foreign.path().to_str().unwrap();
    refuses(&["init", "--name", "n1", "--data-dir", directory], 1, &[directory]);
    refuses(&["--name", "n1", "--data-dir", directory, "--listen", "127.0.0.1:0"], 1, &[directory]);
    assert_eq!(std::fs::read_dir(foreign.path()).unwrap().count(), 1);
}

#[test]
fn a_cluster_gets_the_id_it_is_given() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let id = "00112233445566778899aabbccddeeff";
    let directory = data.to_str().unwrap();
    let (code, out, err) =
        ended(&["init", "--name", "n1", "--data-dir", directory, "--cluster-id", id]);
    assert_eq!((code, out, err.as_str()), (0, format!("{id}\n"), ""));
    let status = start(&data).call("GET", "/v1/status", "");
    assert!(status.contains(id), "{status}");
}

#[test]
fn a_termination_is_orderly_and_what_was_written_is_there_again() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let id = init(&data);
    for (life, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut server = start(&data);
        assert!(server.call("GET", "/v1/status", "").contains(&id));
        server.call("PUT", &format!("/kv/life{life}"), r#"{"value":"v"}"#);
        server.signal(signal);
        assert_eq!(wait(&mut server.child).code(), Some(0));
    }
    let server = start(&data);
    for life in 0..2 {
        server.call("GET", &format!("/kv/life{life}"), "");
    }
}

#[test]
fn the_log_leaves_out_the_steps_of_the_raft_engine_unless_they_are_asked_for() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    init(&data);
    let node = ["--name", "n1", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let life = |log: &[&str]| {
        let mut server = Running::start(&[&node, log].concat());
        server.call("PUT", "/kv/a", r#"{"value":"v"}"#);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        server.logged("axon_server: stopped")
    };
    assert!(life(&[]).iter().all(|line| !line.contains("openraft")));
    assert!(life(&["--log", "debug"]).iter().all(|line| !line.contains("openraft")));
    assert!(life(&["--log", "info,openraft=info"]).iter().any(|line| line.contains("openraft")));
}

#[test]
fn a_killed_server_has_everything_it_acknowledged() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    init(&data);
    for life in 0..3 {
        let mut server = start(&data);
        for key in 0..20 {
            server.call("PUT", &format!("/kv/{life}-{key}"), r#"{"value":"v"}"#);
        }
        server.signal(Signal::KILL);
        assert_eq!(wait(&mut server.child).code(), None);
    }
    let server = start(&data);
    for life in 0..3 {
        for key in 0..20 {
            let pair = server.call("GET", &format!("/kv/{life}-{key}"), "");
            assert_eq!(pair, format!(r#"{{"key":"{life}-{key}","value":"v"}}"#));
        }
    }
}

#[test]
fn a_data_directory_in_use_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    init(&data);
    let server = start(&data);
    let directory = data.to_str().unwrap();
    let second = ["--name", "n1", "--data-dir", directory, "--listen", "127.0.0.1:0"];
    refuses(&second, 1, &[directory, "in use"]);
    server.call("PUT", "/kv/a", r#"{"value":"the first goes on"}"#);
}
