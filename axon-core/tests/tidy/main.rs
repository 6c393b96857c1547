//! Tidy: the rules of the tree that no compiler checks, as a test.
//!
//! It reads the workspace around this crate, source files as tokens (`source`), and lists every
//! violation with its file and line:
//!
//! * `layers`: a module uses only lower ones; a dependency is named only where it belongs;
//! * `size`: no file over 500 lines of code, no function over 70, each file opens with an essay;
//! * `shown`: what a host calls has an example in its documentation;
//! * `text`: no unfinished or ignored code, no path of somebody's machine, licences, README.
//!
//! Each rule is itself tried on a bad snippet beside it: a rule that cannot fail proves nothing.
//! It understands tokens, not types: an alias (`use openraft as x`) is caught where it is made.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layers;
mod shown;
mod size;
mod source;
mod text;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what was built, fetched or stored, not what was written here.
const SKIPPED: [&str; 10] = [
    ".git",
    "target",
    "node_modules",
    "build",
    "axon-data",
    ".svelte-kit",
    "test-results",
    "playwright-report",
    "mutants.out",
    "third_party",
];

/// A text file of the workspace.
pub struct TextFile {
    /// Its path from the root of the workspace, with slashes.
    pub path: String,
    pub text: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every text file, sorted by path. What is not UTF-8 is no text.
fn text_files() -> Vec<TextFile> {
    let root = workspace();
    let mut files = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if SKIPPED.contains(&entry.file_name().to_string_lossy().as_ref()) {
                continue;
            }
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                files.push(TextFile { path, text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn sources() -> Vec<Source> {
    let rust = |path: &str| Path::new(path).extension().is_some_and(|extension| extension == "rs");
    let files = text_files().into_iter().filter(|file| rust(&file.path));
    let sources: Vec<Source> = files.map(|file| Source::new(&file.path, file.text)).collect();
    assert!(sources.len() > 20, "the workspace is not where it was looked for");
    sources
}

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn a_module_uses_only_lower_layers() {
    let sources = sources();
    none(&sources.iter().flat_map(|source| layers::edges(source, &sources)).collect::<Vec<_>>());
}

#[test]
fn a_dependency_is_named_only_where_it_belongs() {
    none(&sources().iter().flat_map(layers::names).collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short() {
    none(&sources().iter().flat_map(size::lengths).collect::<Vec<_>>());
}

#[test]
fn every_file_opens_with_an_essay() {
    none(&sources().iter().flat_map(size::essay).collect::<Vec<_>>());
}

#[test]
fn what_a_host_calls_is_shown() {
    none(&sources().iter().flat_map(shown::examples).collect::<Vec<_>>());
}

#[test]
fn nothing_is_unfinished_or_ignored() {
    none(&sources().iter().flat_map(text::unfinished).collect::<Vec<_>>());
}

#[test]
fn no_text_speaks_of_a_machine() {
    none(&text_files().iter().flat_map(text::machine_paths).collect::<Vec<_>>());
}

#[test]
fn lock_files_name_no_download_hosts() {
    none(&text_files().iter().flat_map(text::download_hosts).collect::<Vec<_>>());
}

#[test]
fn the_licences_are_there() {
    none(&text::licences(&text_files()));
}

#[test]
fn the_readme_quotes_the_examples_word_for_word() {
    none(&text::readme(&text_files()));
}

#[test]
fn the_guide_quotes_its_example_line_by_line() {
    none(&text::guide(&text_files()));
}
