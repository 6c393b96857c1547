//! What flags, environment and file come to together, and the one line that each mistake is answered with.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::Token;
use axon_core::config::{History, Origin, RuntimeChoice};
use axon_core::secret::Secret;
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn with(flags: &[&str], environment: &[(&str, &str)]) -> Result<Command, Refusal> {
    let lookup = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    parse([&["axon-server"], flags].concat(), &lookup)
}

fn run(flags: &[&str]) -> Settings {
    let flags = [&["--name", "n1", "--data-dir", "/d"], flags].concat();
    match with(&flags, &[]) {
        Ok(Command::Run(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn line(flags: &[&str], environment: &[(&str, &str)]) -> String {
    match with(flags, environment) {
        Err(Refusal::Usage(line)) => {
            assert!(!line.contains('\n'), "more than one line: {line}");
            line
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn run_is_the_default_and_has_sensible_defaults() {
    let settings = run(&[]);
    let config = settings.run_config(9000);
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.listen.as_deref(), Some("127.0.0.1:9001"));
    assert_eq!(config.api_address, "127.0.0.1:9000");
    assert_eq!(config.advertise, None);
    assert_eq!(config.origin, Origin::Resume);
    assert_eq!(config.runtime, RuntimeChoice::Callers);
    let explicit = with(&["run", "--name", "n1", "--data-dir", "/d"], &[]);
    assert!(matches!(explicit, Ok(Command::Run(_))));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "name = \"file\"\nlisten = \"127.0.0.1:1000\"\nrequest_timeout = \"1s\"")
        .unwrap();
    writeln!(file, "join = [\"a:1\", \"b:2\"]\nconnections_max = 7\nlog_format = \"json\"")
        .unwrap();
    let path = file.path().to_str().unwrap();
    let environment =
        [("AXON_NAME", "env"), ("AXON_LISTEN", "127.0.0.1:2000"), ("AXON_DATA_DIR", "/env")];
    let given = with(&["--config", path, "--name", "flag"], &environment);
    let Ok(Command::Run(settings)) = given else { panic!("{given:?}") };
    assert_eq!(settings.name, "flag");
    assert_eq!(settings.listen.port, 2000);
    assert_eq!(settings.data_dir, Path::new("/env"));
    assert_eq!(settings.options().connections_max, 7);
    assert_eq!(settings.log_format, LogFormat::Json);
    let config = settings.run_config(2000);
    assert_eq!(config.request_timeout, Duration::from_secs(1));
    assert_eq!(config.origin, Origin::Join(vec!["a:1".into(), "b:2".into()]));
}

#[test]
fn the_file_may_be_named_by_the_environment_and_lists_by_commas() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "name = \"n1\"\ndata_dir = \"/d\"").unwrap();
    let path = file.path().to_str().unwrap();
    let environment = [("AXON_CONFIG", path), ("AXON_JOIN", "a:1,b:2"), ("AXON_LOG", "")];
    let given = with(&[], &environment);
    let Ok(Command::Run(settings)) = given else { panic!("{given:?}") };
    assert_eq!(settings.join, [HostPort::new("a", 1), HostPort::new("b", 2)]);
    assert_eq!(settings.log, "info", "an empty variable is none");
}

#[test]
fn init_makes_a_cluster_with_the_id_it_is_given() {
    let id = "00112233445566778899aabbccddeeff";
    let given = with(
        &["init", "--name", "n1", "--data-dir", "/d", "--cluster-id", id, "--join", "a:1"],
        &[],
    );
    let Ok(Command::Init(settings)) = given else { panic!("{given:?}") };
    assert_eq!(settings.init_config().origin, Origin::Init(Some(id.parse().unwrap())));
    assert!(line(&["--cluster-id", id], &[]).contains("option of `init`"));
    let from_environment = [("AXON_CLUSTER_ID", id), ("AXON_NAME", "n1"), ("AXON_DATA_DIR", "/d")];
    assert!(
        matches!(with(&["run"], &from_environment), Ok(Command::Run(s)) if s.cluster_id.is_none())
    );
}

#[test]
fn the_pace_of_gossip_is_set_in_any_spelling_and_bounded() {
    let interval = |settings: Settings| settings.run_config(9000).gossip_interval;
    assert_eq!(interval(run(&[])), Duration::from_millis(500));
    assert_eq!(interval(run(&["--gossip-interval", "100ms"])), Duration::from_millis(100));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "gossip_interval = \"2s\"\nname = \"n1\"\ndata_dir = \"/d\"").unwrap();
    let path = file.path().to_str().unwrap();
    for (environment, wanted) in [(&[][..], 2), (&[("AXON_GOSSIP_INTERVAL", "60s")], 60)] {
        let given = with(&["--config", path], environment);
        let Ok(Command::Run(settings)) = given else { panic!("{given:?}") };
        assert_eq!(interval(settings), Duration::from_secs(wanted));
    }
    for wrong in ["99ms", "61s"] {
        let said = line(&["--name", "n1", "--data-dir", "/d", "--gossip-interval", wrong], &[]);
        assert!(said.contains("--gossip-interval: must be between 100ms and 60s"), "{said}");
    }
}

#[test]
fn history_has_a_budget_or_is_not_kept() {
    let mib = 1 << 20;
    let kept = |flags: &[&str]| run(flags).run_config(9000).history;
    let keep = |bytes, age| History::Keep { bytes, age };
    let hour = Duration::from_hours(1);
    assert_eq!(kept(&[]), keep(1024 * mib, hour));
    assert_eq!(kept(&["--history-bytes", "1048576"]), keep(mib, hour));
    assert_eq!(kept(&["--history-age", "24h"]), keep(1024 * mib, 24 * hour));
    assert_eq!(
        kept(&["--history-latest-only", "--insecure", "--listen", "h:1"]),
        History::LatestOnly
    );
    assert_eq!(kept(&["--history-latest-only=false"]), keep(1024 * mib, hour));

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "history_latest_only = true\nname = \"n1\"\ndata_dir = \"/d\"").unwrap();
    let path = file.path().to_str().unwrap();
    let given = |environment: &[(&str, &str)]| match with(&["--config", path], environment) {
        Ok(Command::Run(settings)) => settings.run_config(9000).history,
        other => panic!("{other:?}"),
    };
    assert_eq!(given(&[]), History::LatestOnly);
    let environment = [("AXON_HISTORY_LATEST_ONLY", "false"), ("AXON_HISTORY_AGE", "90s")];
    assert_eq!(given(&environment), keep(1024 * mib, Duration::from_secs(90)));
}

#[test]
fn the_disk_has_a_reserve_a_watermark_and_a_pace() {
    let given = |flags: &[&str], environment: &[(&str, &str)]| match with(
        &[&["--name", "n1", "--data-dir", "/d"], flags].concat(),
        environment,
    ) {
        Ok(Command::Run(settings)) => {
            let config = settings.run_config(9000);
            (config.disk_reserve_bytes, config.disk_low_bytes, config.sync_p99_max)
        }
        other => panic!("{other:?}"),
    };
    let mib = 1 << 20;
    let millis = Duration::from_millis;
    assert_eq!(given(&[], &[]), (32 * mib, 512 * mib, millis(500)));
    let flags = ["--disk-reserve-bytes", "0", "--disk-low-bytes", "2097152"];
    let environment = [("AXON_DISK_LOW_BYTES", "1048576"), ("AXON_SYNC_P99_MAX", "1s")];
    assert_eq!(given(&flags, &environment), (0, 2 * mib, millis(1_000)));

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "disk_reserve_bytes = 7\ndisk_low_bytes = 1048576\nsync_p99_max = \"2s\"")
        .unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(given(&["--config", path], &[]), (7, mib, millis(2_000)));
}

#[test]
fn states_are_compared_and_scrubbed_as_often_as_asked() {
    let given = |flags: &[&str], environment: &[(&str, &str)]| match with(
        &[&["--name", "n1", "--data-dir", "/d"], flags].concat(),
        environment,
    ) {
        Ok(Command::Run(settings)) => {
            let config = settings.run_config(9000);
            let pace = (config.scrub_interval, config.scrub_bytes_per_second);
            (config.compare_revisions, config.scrub_bytes_max, pace)
        }
        other => panic!("{other:?}"),
    };
    let hours = Duration::from_hours;
    assert_eq!(given(&[], &[]), (10_000, 64 << 20, (hours(24), 8 << 20)));
    let flags = ["--compare-revisions", "0", "--scrub-bytes-per-second", "65536"];
    let environment = [("AXON_SCRUB_INTERVAL", "1h"), ("AXON_COMPARE_REVISIONS", "7")];
    assert_eq!(given(&flags, &environment), (0, 64 << 20, (hours(1), 64 << 10)));
    assert_eq!(given(&["--scrub-bytes-max", "0"], &[]).1, 0);
    for (flag, wrong, said) in [
        ("--scrub-interval", "500ms", "--scrub-interval: must be at least 1s"),
        ("--scrub-bytes-per-second", "1", "must be at least 65536 (64 KiB)"),
    ] {
        let line = line(&["--name", "n1", "--data-dir", "/d", flag, wrong], &[]);
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn what_others_are_told_follows_from_advertise() {
    let told = |flags: &[&str]| {
        let settings = run(flags);
        let config = settings.run_config(settings.listen.port);
        (config.api_address, config.advertise.unwrap_or_default())
    };
    let pair = |api: &str, peer: &str| (api.to_owned(), peer.to_owned());
    let wild = ["--listen", "0.0.0.0:9000", "--insecure"];
    assert_eq!(told(&[&wild[..], &["--advertise", "h"]].concat()), pair("h:9000", "h:9001"));
    assert_eq!(told(&[&wild[..], &["--advertise", "h:80"]].concat()), pair("h:80", "h:81"));
    assert_eq!(told(&["--advertise", "[::1]"]), pair("[::1]:9000", "[::1]:9001"));
    let both = ["--advertise", "h:80", "--peer-advertise", "p:7"];
    assert_eq!(told(&both), pair("h:80", "p:7"));
    assert_eq!(told(&["--peer-listen", "127.0.0.1:7"]), pair("127.0.0.1:9000", ""));
}

/// A file with `content` that has this mode.
fn file(content: &str, mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn a_secret_and_a_token_come_from_files_and_open_the_network() {
    let long = "0123456789abcdef0123456789abcdef";
    let wanted = Secret::new(long);
    for content in [long.to_owned(), format!("{long}\n"), format!("{long}\r\n")] {
        let (secret, token) = (file(&content, 0o600), file(&content, 0o400));
        let [secret, token] = [&secret, &token].map(|file| file.path().to_str().unwrap());
        let flags = ["--secret-file", secret, "--token-file", token, "--listen", "10.0.0.1:9000"];
        let settings = run(&flags);
        assert_eq!(settings.run_config(9000).secret, wanted, "{content:?}");
        assert_eq!(settings.options().token, Token::new(long), "{content:?}");
        assert!(!format!("{settings:?}").contains(long), "{settings:?}");

        let text = format!("name = \"n1\"\ndata_dir = \"/d\"\ntoken_file = {token:?}\n");
        let toml = file(&text, 0o644);
        let environment = [("AXON_SECRET_FILE", secret)];
        let given = with(&["--config", toml.path().to_str().unwrap()], &environment);
        let Ok(Command::Run(settings)) = given else { panic!("{given:?}") };
        assert_eq!(settings.run_config(9000).secret, wanted);
        assert_eq!(settings.options().token, Token::new(long));
        // Neither is of any use to `init`, which may run where they are not.
        let elsewhere = ["init", "--name", "n1", "--data-dir", "/d", "--secret-file", "/nowhere"];
        assert!(matches!(with(&elsewhere, &[]), Ok(Command::Init(_))));
    }
    let both_lines = file(&format!("{long}\n\n"), 0o600);
    let settings = run(&["--secret-file", both_lines.path().to_str().unwrap()]);
    assert_ne!(settings.run_config(9000).secret, wanted, "one newline alone is no part of it");
}

#[test]
fn the_token_may_be_in_the_environment_and_nowhere_else() {
    let here = [("AXON_NAME", "n1"), ("AXON_DATA_DIR", "/d")];
    let token = ("AXON_TOKEN", "0123456789abcdef");
    let given = with(&["--listen", "127.0.0.1:9000"], &[&here[..], &[token]].concat());
    let Ok(Command::Run(settings)) = given else { panic!("{given:?}") };
    assert_eq!(settings.options().token, Token::new(token.1));
    for wrong in ["short", "with a space in it", "ünicode-and-long-enough"] {
        let refused = line(&[], &[&here[..], &[("AXON_TOKEN", wrong)]].concat());
        assert!(refused.contains("AXON_TOKEN") && !refused.contains(wrong), "{refused}");
    }
    let file = file(token.1, 0o600);
    let twice = [&here[..], &[token, ("AXON_TOKEN_FILE", file.path().to_str().unwrap())]].concat();
    assert!(line(&[], &twice).contains("give the token once"));
    assert!(line(&["--token", token.1], &here).contains("--token"));
    let toml = self::file(&format!("token = \"{}\"\n", token.1), 0o600);
    assert!(line(&["--config", toml.path().to_str().unwrap()], &here).contains("unknown field"));
}

#[test]
fn a_file_that_others_can_read_or_that_holds_no_secret_is_refused() {
    let long = "0123456789abcdef0123456789abcdef";
    for (content, mode, part) in [
        (long.to_owned(), 0o640, "chmod 600"),
        (long.to_owned(), 0o604, "chmod 600"),
        (long.to_owned(), 0o620, "mode 620"),
        (String::new(), 0o600, "is empty: fill it with openssl"),
        ("\n".into(), 0o600, "is empty"),
        ("0123456789abcde\n".into(), 0o600, "has 15 bytes, at least 16"),
        ("x".repeat(1025), 0o600, "more than 1024 bytes"),
        ("x".repeat(5000), 0o600, "more than 1024 bytes"),
    ] {
        let file = file(&content, mode);
        let path = file.path().to_str().unwrap();
        for option in ["--secret-file", "--token-file"] {
            let refused = line(&["--name", "n1", "--data-dir", "/d", option, path], &[]);
            assert!(refused.starts_with(&format!("{option}: {path} ")), "{refused}");
            assert!(refused.contains(part), "{part:?} is not in {refused:?}");
            assert!(content.len() < 3 || !refused.contains(content.trim()), "{refused}");
        }
    }
}

#[test]
fn only_who_asks_who_is_there_listens_where_others_connect() {
    let long = file("0123456789abcdef0123456789abcdef", 0o600);
    let path = long.path().to_str().unwrap();
    let here = ["--name", "n1", "--data-dir", "/d"];
    let refused = |flags: &[&str]| line(&[&here, flags].concat(), &[]);
    let token_alone = ["--listen", "10.0.0.1:9000", "--token-file", path];
    assert!(refused(&token_alone).contains("reaches 10.0.0.1:9001 could join"));
    let secret_alone = ["--listen", "10.0.0.1:9000", "--secret-file", path];
    assert!(refused(&secret_alone).contains("reaches 10.0.0.1:9000 could read"));
    run(&["--listen", "10.0.0.1:9000", "--token-file", path, "--peer-listen", "127.0.0.1:9001"]);
    run(&["--listen", "10.0.0.1:9000", "--insecure"]);
    for loopback in ["127.0.0.1:9000", "127.8.9.10:9000", "[::1]:9000", "localhost:9000"] {
        run(&["--listen", loopback]);
    }
    for outside in ["[::]:9000", "192.168.1.1:9000", "node1.example:9000", "localhost.evil:9000"] {
        assert!(refused(&["--listen", outside, "--advertise", "h"]).contains("--token-file"));
    }
}

#[test]
fn a_mistake_is_one_line_that_names_it() {
    let here = ["--name", "n1", "--data-dir", "/d"];
    let refused = |flags: &[&str]| line(&[&here, flags].concat(), &[]);
    let both = ["--history-latest-only", "--history-age", "1h"];
    let cases: [(String, &[&str]); 25] = [
        (line(&[], &[]), &["--name is missing", "AXON_NAME"]),
        (line(&["--name", "n1"], &[]), &["--data-dir is missing", "AXON_DATA_DIR"]),
        (line(&["--nam", "n1"], &[]), &["'--nam'", "did you mean --name?", "--help"]),
        (line(&["ini"], &[]), &["'ini'", "did you mean init?"]),
        (line(&["--name", "No", "--data-dir", "/d"], &[]), &["--name", "a-z"]),
        (refused(&["--listen", "nonsense"]), &["nonsense", "--listen", "no port"]),
        (refused(&["--listen", "h:99999"]), &["99999", "--listen"]),
        (refused(&["--listen", "0.0.0.0:9000"]), &["0.0.0.0:9000", "--advertise HOST"]),
        (refused(&["--peer-listen", "[::]:9001"]), &["[::]:9001", "--advertise HOST"]),
        (refused(&["--listen", "h:1", "--peer-listen", "h:1"]), &["both h:1"]),
        (refused(&["--listen", "h:65535"]), &["--peer-listen"]),
        (refused(&["--listen", "10.0.0.1:1"]), &["10.0.0.1:1", "--token-file", "--insecure"]),
        (refused(&["--peer-listen", "h:1"]), &["reaches h:1", "--secret-file", "--insecure"]),
        (refused(&["--insecure=perhaps"]), &["perhaps", "--insecure"]),
        (refused(&["--secret-file", "/nowhere/s"]), &["--secret-file: /nowhere/s", "No such file"]),
        (refused(&["--request-timeout", "5"]), &["--request-timeout", "500ms"]),
        (line(&here, &[("AXON_JOIN", "a")]), &["AXON_JOIN", "no port"]),
        (refused(&both), &["--history-latest-only", "leave out --history-bytes"]),
        (refused(&["--history-bytes", "1000"]), &["--history-bytes", "at least 1048576"]),
        (refused(&["--history-age", "999ms"]), &["--history-age", "at least 1s"]),
        (refused(&["--disk-low-bytes", "9"]), &["--disk-low-bytes", "at least 1048576"]),
        (refused(&["--disk-reserve-bytes", "2000000000"]), &["--disk-reserve-bytes", "1 GiB"]),
        (refused(&["--sync-p99-max", "0s"]), &["--sync-p99-max", "at least 1ms"]),
        (refused(&["--history-latest-only=perhaps"]), &["perhaps", "--history-latest-only"]),
        (refused(&["--config", "/nowhere/axon.toml"]), &["/nowhere/axon.toml", "No such file"]),
    ];
    for (line, parts) in cases {
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
    }
}

#[test]
fn a_mistake_in_the_file_is_one_line_with_its_number() {
    let refused = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        line(&["--config", file.path().to_str().unwrap()], &[])
    };
    let unknown = refused("name = \"n1\"\ndatadir = \"/d\"\n");
    assert!(unknown.contains("line 2") && unknown.contains("datadir"), "{unknown}");
    let wrong = refused("name = \"n1\"\nlisten = \"x\"\n");
    assert!(wrong.contains("line 2") && wrong.contains("no port"), "{wrong}");
    assert!(refused("name = ").contains("line 1"));
}

#[test]
fn help_and_version_are_texts() {
    for flags in [&["--help"][..], &["init", "--help"], &["--version"], &["help", "init"]] {
        assert!(matches!(with(flags, &[]), Err(Refusal::Text(_))), "{flags:?}");
    }
    let Err(Refusal::Text(help)) = with(&["--help"], &[]) else { panic!() };
    for part in ["--listen", "127.0.0.1:9000", "AXON_DATA_DIR", "Exit codes", "init"] {
        assert!(help.contains(part), "{part}");
    }
}

fn fragment() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "name",
        "listen",
        "join",
        "value_bytes_max",
        "history_age",
        "insecure",
        "promotion",
        "nothing",
        "=",
        "\"n1\"",
        "-1",
        "1e9",
        "99999999999999999999",
        "true",
        "[",
        "]",
        "\"a:1\"",
        ",",
        "\n",
        "{",
        "}",
        "#",
        "'",
        "\"\"\"",
        "1979-05-27",
        "nan",
        "\u{feff}",
        "--",
        ":",
    ]);
    prop_oneof![known.prop_map(str::to_owned), ".{0,6}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_options_or_one_line(parts in prop::collection::vec(fragment(), 0..12)) {
        if let Err(Refusal::Usage(line)) = Layer::from_text(Path::new("axon.toml"), &parts.join(" ")) {
            prop_assert!(!line.contains('\n'), "more than one line: {line}");
        }
    }

    #[test]
    fn any_arguments_are_settings_or_one_line(words in prop::collection::vec(fragment(), 0..8)) {
        // Words that look like options, now and then one that is.
        let words: Vec<String> = words
            .into_iter()
            .enumerate()
            .map(|(at, word)| if at % 2 == 0 { format!("--{}", word.replace('_', "-")) } else { word })
            .filter(|word| !word.starts_with("--config") && !word.contains("-file"))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(Refusal::Usage(line)) = with(&words, &[]) {
            prop_assert!(!line.contains('\n'), "more than one line: {line}");
        }
    }
}
