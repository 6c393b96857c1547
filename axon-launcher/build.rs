//! Makes cargo notice that the dashboard was built.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A debug build reads the dashboard from disk when it is asked for, so only a release build
    // must be made again for it. Watching a directory that is not there makes cargo build the crate
    // each time, which is right for a release build (it may appear) and a nuisance for others.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release || Path::new("../ui-svelte/build").exists() {
        println!("cargo::rerun-if-changed=../ui-svelte/build");
    }
}
