//! Starts with files that are refused.

use std::fs;

use super::*;

const PART: &str = "\
version: 1
services:
  - { name: part, address: 10.1.0.101, port: 80, backends: [{ name: b1, address: 10.2.0.11 }] }
";

fn main_text(state: &Path) -> String {
    let state = state.display();
    format!(
        "version: 1\nstate_dir: {state}\ninterfaces: [{{ name: eth1 }}]\nsnat: [{{ address: \
         10.1.0.10 }}]\nservices:\n  - name: web\n    address: 10.1.0.100\n    port: 80\n    \
         backends: [{{ name: b1, address: 10.2.0.11 }}]\n"
    )
}

fn start(path: &Path, state: &Path) -> Result<Sources, ConfigError> {
    let (mut sources, read) = Sources::open(path, state)?;
    sources.take_first(read, &Topology::default())?;
    sources.keep_good();
    Ok(sources)
}

fn names(sources: &Sources) -> Vec<&str> {
    sources.merged().desired.services.iter().map(|service| service.name.as_str()).collect()
}

#[test]
fn a_file_that_is_refused_is_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (file, state) = (directory.path().join("gw.yaml"), directory.path().join("state"));
    let good = main_text(&state);
    fs::write(&file, &good).unwrap();
    assert_eq!(names(&start(&file, &state).unwrap()), ["web"]);

    fs::write(&file, good.replace("port: 80", "port: x")).unwrap();
    let mut sources = start(&file, &state).unwrap();
    assert_eq!(names(&sources), ["web"]);
    let refused = &sources.merged().refused[0];
    assert!(refused.keeps_last_good && refused.to_string().contains("gw.yaml:8:11"), "{refused}");
    assert!(sources.read().is_err(), "it still is");
    // Put right by the very text that is in force.
    fs::write(&file, &good).unwrap();
    let (read, running) = (sources.read().unwrap(), sources.main().node.clone());
    sources.take(read, &running, &Topology::default()).unwrap();
    assert_eq!(sources.merged().refused, []);
    assert!(sources.read().unwrap().is_empty());

    fs::write(&file, "version: 1").unwrap();
    assert!(start(&file, &directory.path().join("elsewhere")).is_err(), "nothing is known there");
}

#[test]
fn so_is_each_file_of_a_folder() {
    let directory = tempfile::tempdir().unwrap();
    let (folder, state) = (directory.path().join("folder"), directory.path().join("state"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(MAIN), main_text(&state)).unwrap();
    fs::write(folder.join("part.yaml"), PART).unwrap();
    fs::write(folder.join("gone.yaml"), PART.replace("part", "gone").replace("101", "102"))
        .unwrap();
    assert_eq!(names(&start(&folder, &state).unwrap()), ["gone", "part", "web"]);

    fs::write(folder.join("part.yaml"), PART.replace("port: 80", "port: x")).unwrap();
    fs::remove_file(folder.join("gone.yaml")).unwrap();
    let sources = start(&folder, &state).unwrap();
    assert_eq!(names(&sources), ["part", "web"], "what is gone is gone");
    let refused: Vec<_> = sources.merged().refused.iter().map(|r| &*r.owner.part).collect();
    assert_eq!(refused, ["part.yaml"]);
    fs::write(folder.join(MAIN), "no: configuration").unwrap();
    let sources = start(&folder, &state).unwrap();
    assert_eq!(names(&sources), ["part", "web"]);
    assert_eq!(sources.merged().refused.len(), 2);
}

/// A change that waits is not in force, and so not kept.
#[test]
fn what_waits_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (file, state) = (directory.path().join("gw.yaml"), directory.path().join("state"));
    let few = main_text(&state);
    let more: String = (81..92)
        .map(|port| {
            few.split_once("services:\n")
                .unwrap()
                .1
                .replace("web", &format!("s{port}"))
                .replace("port: 80", &format!("port: {port}"))
        })
        .collect();
    let all = format!("{few}{more}");
    fs::write(&file, &all).unwrap();
    let mut sources = start(&file, &state).unwrap();
    assert_eq!(names(&sources).len(), 12);
    let kept = |sources: &Sources| sources.good.read("gw.yaml").unwrap().text;
    assert!(kept(&sources) == all);
    fs::write(&file, &few).unwrap();
    let (read, running) = (sources.read().unwrap(), sources.main().node.clone());
    sources.take(read, &running, &Topology::default()).unwrap();
    sources.keep_good();
    assert!(kept(&sources) == all && sources.is_held());
    assert!(sources.confirm());
    sources.keep_good();
    assert!(kept(&sources) == few);
}
