//! The inputs that the fuzzers keep, once more: those that failed one day (`fuzz/crashers`), and the
//! few that reach what is known to be reached (`fuzz/corpus`). See `docs/fuzzing.md`.

// The drivers' part of the fuzz package, which goes by `crate::wire`.
#[path = "../fuzz/src/drivers/mod.rs"]
mod drivers;

use std::path::{Path, PathBuf};

use guideway::wire;

/// Every input of a target in one of the folders; none when there is no such folder.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Shown with the failure: which input it was.
fn replay(folder: &str) -> usize {
    let mut count = 0;
    for (target, run) in drivers::ALL {
        for path in inputs(folder, target) {
            println!("{target}: {}", path.display());
            run(&std::fs::read(path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn what_once_failed() {
    replay("crashers");
}

#[test]
fn what_is_known_to_be_reached() {
    assert!(replay("corpus") > 100, "the corpora are not there");
}

#[test]
fn each_crasher_has_its_sentence() {
    let page = include_str!("../fuzz/crashers/README.md");
    for (target, _) in drivers::ALL {
        for path in inputs("crashers", target) {
            let name = format!("`{target}/{}`", path.file_name().unwrap().display());
            assert!(page.contains(&name), "{name} is not in fuzz/crashers/README.md");
        }
    }
}

#[test]
fn each_target_has_its_driver_and_its_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let targets = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> =
        targets.map(|path| path.file_stem().unwrap().display().to_string()).collect();
    names.sort();
    let known: Vec<_> = drivers::ALL.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, known);
    for name in names {
        assert!(!inputs("corpus", &name).is_empty(), "{name} has no corpus");
    }
}
