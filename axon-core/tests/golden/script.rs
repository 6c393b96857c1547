//! A script: how it is read, run, compared and rewritten.

use crate::commands;
use crate::world::World;
use axon_core::runtime::simulation;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// From how many seeds a script runs unless `SEEDS` says otherwise.
const SEEDS: u64 = 3;

/// Commands, and what they print.
struct Block {
    /// The lines before `---`, comments and blank lines with them.
    input: Vec<String>,
    /// The lines after it.
    expected: Vec<String>,
    /// The number of the first line.
    line: usize,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// The names of all scripts, sorted.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs the script called `name` from each seed.
pub fn run(name: &str) {
    // `RUST_LOG=axon_core=debug` shows what happens behind the scenes.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .with_ansi(false)
        .without_time()
        .try_init();
    let path = directory().join(name);
    let text = fs::read_to_string(&path).unwrap();
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let mut known = text.clone();
    for seed in 1..=seeds {
        let printed = play(&known, seed);
        if seed == 1 && std::env::var("UPDATE").is_ok_and(|update| update == "1") {
            fs::write(&path, &printed).unwrap();
            known.clone_from(&printed);
        }
        assert!(
            printed == known,
            "{name}, seed {seed}: it prints something else; UPDATE=1 accepts it\n{}",
            difference(&known, &printed)
        );
    }
}

/// Runs the commands of `text` from `seed`, and returns it with what they printed.
fn play(text: &str, seed: u64) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        simulation::begin(seed);
        let mut world = World::default();
        let mut printed = String::new();
        for block in parse(text) {
            let mut output = String::new();
            for (offset, line) in block.input.iter().enumerate() {
                let command = line.trim();
                if command.is_empty() || command.starts_with('#') {
                    continue;
                }
                let place = format!("line {}, seed {seed}: {command}", block.line + offset);
                let words = commands::run(&mut world, command, &place).await;
                if !words.is_empty() {
                    writeln!(output, "{words}").unwrap();
                }
            }
            let output = if output.is_empty() { "ok\n" } else { &output };
            write!(printed, "{}\n---\n{output}\n", block.input.join("\n")).unwrap();
        }
        simulation::end();
        printed.truncate(printed.trim_end().len());
        printed + "\n"
    })
}

fn parse(text: &str) -> Vec<Block> {
    let (mut blocks, mut input, mut line) = (Vec::<Block>::new(), Vec::new(), 1);
    let mut lines = text.lines().enumerate();
    while let Some((number, content)) = lines.next() {
        if content != "---" {
            if input.is_empty() {
                line = number + 1;
            }
            input.push(content.to_owned());
            continue;
        }
        let output = lines.by_ref().map(|(_, content)| content);
        let expected = output.take_while(|content| !content.is_empty()).map(str::to_owned);
        blocks.push(Block {
            expected: expected.collect(),
            input: std::mem::take(&mut input),
            line,
        });
    }
    // Commands without an output are run too: that is how a new script begins.
    if !input.iter().all(String::is_empty) {
        blocks.push(Block { input, expected: Vec::new(), line });
    }
    blocks
}

/// The blocks that differ.
fn difference(known: &str, printed: &str) -> String {
    let mut words = String::new();
    for (known, printed) in parse(known).iter().zip(parse(printed)) {
        if known.expected != printed.expected {
            let (expected, got) = (known.expected.join("\n  "), printed.expected.join("\n  "));
            let input = known.input.join("\n");
            writeln!(words, "{input}\nexpected\n  {expected}\ngot\n  {got}\n").unwrap();
        }
    }
    words
}
