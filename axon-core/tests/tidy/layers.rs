//! Who may use whom in `axon-core`, and where a dependency may be named.

use crate::source::{CodePath, Source, paths};

/// The layers, lowest first. A module uses only modules of lower layers; what lies in one folder is
/// free among itself. `storage/*` is every file of the folder that is not named by itself.
const LAYERS: &[&[&str]] = &[
    &["types", "error", "codec", "runtime", "secret", "histogram", "trace", "bug"],
    &["txn"],
    &["command", "config"],
    &["status", "events", "storage/mod", "storage/disk", "transport/mod"],
    &["machine", "state", "watch", "storage/*", "transport/*"],
    &["raft", "identity", "discovery"],
    &[
        "membership",
        "session",
        "founding",
        "compaction",
        "headroom",
        "integrity",
        "backup",
        "recovery",
    ],
    &["store", "cluster"],
    &["lib", "testing"],
];

/// Who may use a neighbour in the same layer: (who, whom).
const NEIGHBOURS: &[(&str, &str)] = &[
    ("error", "types"),
    ("status", "storage/mod"),
    ("state", "machine"),
    ("watch", "machine"),
    ("watch", "state"),
    ("cluster", "store"),
    ("store", "cluster"),
    ("recovery", "backup"),
];

/// A name, and the only places under `axon-core/src` where it may stand.
struct OnlyThere {
    /// The parts of a path: from its root, or anywhere in it when they begin with `..`.
    name: &'static str,
    places: &'static [&'static str],
}

/// Why: a pinned dependency that is replaced in one place; and simulation, which must own every
/// task, thread, clock and random number. The suites in `testing` run in ordinary tests, and the
/// memory transport draws its faults from a generator that `runtime` made; `raft/mod.rs` names its
/// type to openraft.
const ONLY_THERE: &[OnlyThere] = &[
    OnlyThere { name: "openraft", places: &["raft/"] },
    OnlyThere { name: "openraft_rt", places: &["raft/"] },
    OnlyThere { name: "openraft_rt_tokio", places: &["raft/"] },
    OnlyThere { name: "bincode", places: &["codec.rs"] },
    OnlyThere { name: "anyhow", places: &["discovery/"] },
    OnlyThere { name: "chitchat", places: &["discovery/"] },
    OnlyThere { name: "redb", places: &["storage/redb.rs"] },
    OnlyThere {
        name: "rand",
        places: &[
            "runtime.rs",
            "raft/mod.rs",
            "transport/memory.rs",
            "transport/memory/",
            "testing/",
        ],
    },
    OnlyThere { name: "std::thread", places: &["runtime.rs", "testing/"] },
    OnlyThere { name: "tokio::spawn", places: &["runtime.rs", "testing/"] },
    OnlyThere { name: "..task::spawn", places: &["runtime.rs", "testing/"] },
    OnlyThere { name: "..task::spawn_blocking", places: &["runtime.rs", "testing/"] },
    OnlyThere { name: "..Instant::now", places: &["runtime.rs", "testing/"] },
    OnlyThere { name: "..SystemTime", places: &["runtime.rs", "testing/"] },
];

const CORE: &str = "axon-core/src/";

/// Lists the uses of `source` that go up or sideways. `sources` tells modules from items.
pub fn edges(source: &Source, sources: &[Source]) -> Vec<String> {
    let Some(file) = source.path.strip_prefix(CORE) else { return Vec::new() };
    let from = unit_of_file(file);
    let Some(layer) = layer_of(&from) else {
        return vec![source.at(1, &format!("the module {from} is in no layer: add it to LAYERS"))];
    };
    if from == "lib" || from == "testing" {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for path in paths(&source.shipped()) {
        let Some(parts) = from_root(&path, file) else { continue };
        let to = unit_of_path(parts, sources);
        let free = folder(&to) == folder(&from) || NEIGHBOURS.contains(&(&from, &to));
        if !free && layer_of(&to).is_none_or(|used| used >= layer) {
            let message = format!(
                "{from} may not use {to} (as {}): see LAYERS in tidy",
                path.parts.join("::")
            );
            violations.push(source.at(path.line, &message));
        }
    }
    violations
}

/// Lists the names in `source` that belong elsewhere.
pub fn names(source: &Source) -> Vec<String> {
    let Some(file) = source.path.strip_prefix(CORE) else { return Vec::new() };
    let paths = paths(&source.shipped());
    let mut violations = Vec::new();
    for rule in ONLY_THERE {
        if rule.places.iter().any(|place| file == *place || file.starts_with(place)) {
            continue;
        }
        let wanted: Vec<&str> = rule.name.trim_start_matches("..").split("::").collect();
        let anywhere = rule.name.starts_with("..");
        for path in &paths {
            // A word alone is a local name; a dependency is the root of something.
            let long_enough = path.parts.len() > 1 || anywhere;
            let found = if anywhere {
                path.parts.windows(wanted.len()).any(|window| window == wanted)
            } else {
                path.parts.len() >= wanted.len() && path.parts[..wanted.len()] == wanted[..]
            };
            if long_enough && found {
                let places = rule.places.join(" or ");
                let message = format!("`{}` is named only in {places}", wanted.join("::"));
                violations.push(source.at(path.line, &message));
            }
        }
    }
    violations
}

/// The rest of a path that starts at the crate's root: behind `crate`, or behind as many `super` as
/// the file is deep when a module of the table follows (an inline module adds a level of its own).
fn from_root<'a>(path: &'a CodePath, file: &str) -> Option<&'a [String]> {
    let parts = &path.parts;
    if parts[0] == "crate" {
        return (parts.len() > 1).then(|| &parts[1..]);
    }
    let deep = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let up = parts.iter().take_while(|part| *part == "super").count();
    let rest = parts.get(up..).filter(|rest| up > 0 && up >= deep && !rest.is_empty())?;
    let known = LAYERS.iter().any(|layer| layer.iter().any(|unit| folder(unit) == rest[0]));
    known.then_some(rest)
}

fn unit_of_file(file: &str) -> String {
    let module = file.trim_end_matches(".rs");
    let (folder, rest) = module.split_once('/').unwrap_or((module, "mod"));
    unit(folder, rest.split('/').next().unwrap_or("mod"))
}

fn unit_of_path(parts: &[String], sources: &[Source]) -> String {
    let folder = &parts[0];
    let exists = |prefix: String| {
        sources.iter().any(|source| {
            source.path == format!("{prefix}.rs") || source.path.starts_with(&format!("{prefix}/"))
        })
    };
    if layer_of(folder).is_none() && layer_of(&format!("{folder}/mod")).is_none() {
        let is_module = exists(format!("{CORE}{folder}"));
        return if is_module { folder.clone() } else { "lib".to_owned() };
    }
    match parts.get(1) {
        Some(module) if exists(format!("{CORE}{folder}/{module}")) => unit(folder, module),
        _ => unit(folder, "mod"),
    }
}

/// The table's word for `module` in `folder`.
fn unit(folder: &str, module: &str) -> String {
    let listed = |unit: &str| LAYERS.iter().any(|layer| layer.contains(&unit));
    let full = format!("{folder}/{module}");
    let star = format!("{folder}/*");
    match () {
        () if listed(&full) => full,
        () if listed(&star) => star,
        () => folder.to_owned(),
    }
}

fn layer_of(unit: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&unit))
}

fn folder(unit: &str) -> &str {
    unit.split('/').next().unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(file: &str, text: &str) -> Source {
        Source::new(&format!("{CORE}{file}"), text.into())
    }

    fn bad_edges(file: &str, text: &str) -> usize {
        let others =
            ["storage/mod.rs", "storage/redb.rs", "storage/wal/mod.rs", "transport/tcp.rs"];
        let mut sources: Vec<Source> = others.iter().map(|file| core(file, "")).collect();
        sources.push(core(file, text));
        edges(&sources[sources.len() - 1], &sources).len()
    }

    #[test]
    fn going_up_or_sideways_is_a_violation() {
        for (file, text) in [
            ("types.rs", "use crate::config::Config;"),
            ("machine/kv.rs", "use crate::raft::log::Log;"),
            ("machine/kv.rs", "use crate::state::View;"),
            ("machine/mod.rs", "fn f() { crate::store::g() }"),
            ("machine/mod.rs", "use super::store::Store;"),
            ("storage/mod.rs", "use crate::{types::A, membership::B};"),
            ("storage/wal/mod.rs", "use crate::transport::tcp::Tcp;"),
            ("state/mod.rs", "use crate::storage::redb::RedbState;"),
            ("raft/log.rs", "use crate::Error;"),
            ("unheard.rs", ""),
        ] {
            assert_eq!(bad_edges(file, text), 1, "{file}: {text}");
        }
    }

    #[test]
    fn going_down_or_staying_in_the_folder_is_free() {
        for (file, text) in [
            ("store.rs", "use crate::raft::log::Log; use crate::types::A;"),
            ("state/mod.rs", "use crate::machine::A; use crate::storage::{StateStore, disk};"),
            ("storage/redb.rs", "use super::StateStore; use crate::storage::wal::Wal;"),
            ("raft/log.rs", "use crate::storage::wal::Wal; pub(crate) fn f() {}"),
            ("types.rs", "#[cfg(test)] mod tests { use crate::testing::X; }"),
            (
                "types.rs",
                "//! See [`crate::cluster::Cluster`].\nconst A: &str = \"crate::store::B\";",
            ),
            ("testing/mod.rs", "use crate::cluster::Cluster;"),
        ] {
            assert_eq!(bad_edges(file, text), 0, "{file}: {text}");
        }
    }

    #[test]
    fn a_name_out_of_place_is_a_violation() {
        for (file, text) in [
            ("store.rs", "use openraft::Raft;"),
            ("store.rs", "fn f() { openraft_rt::g() }"),
            ("raft/log.rs", "use bincode::config;"),
            ("storage/wal/mod.rs", "use redb::Database;"),
            ("state/mod.rs", "use std::{fs, thread};"),
            ("state/mod.rs", "fn f() { tokio::spawn(g()); }"),
            ("state/mod.rs", "fn f() { tokio::task::spawn_blocking(g); }"),
            ("state/mod.rs", "let a = std::time::Instant::now();"),
            ("state/mod.rs", "let a = tokio::time::Instant::now();"),
            ("state/mod.rs", "use std::time::{Duration, SystemTime};"),
            ("state/mod.rs", "use rand::Rng;"),
        ] {
            assert_eq!(names(&core(file, text)).len(), 1, "{file}: {text}");
        }
    }

    #[test]
    fn a_name_in_its_place_is_none() {
        for (file, text) in [
            ("raft/log.rs", "use openraft::Raft;"),
            ("codec.rs", "use bincode::config;"),
            ("storage/redb.rs", "use redb::Database;"),
            ("storage/mod.rs", "pub mod redb; // redb::Database"),
            ("cluster.rs", "use crate::storage::redb::RedbState; use tokio::time::Instant;"),
            ("runtime.rs", "use rand::Rng; fn f() { tokio::spawn(g()); }"),
            ("state/mod.rs", "#[cfg(test)] mod tests { use std::thread; }"),
        ] {
            assert_eq!(names(&core(file, text)), Vec::<String>::new(), "{file}: {text}");
        }
    }
}
