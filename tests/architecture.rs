//! Holds the source against the house's rules: who may use whom, where unsafe code lives, how long
//! files and functions are, what may not panic. The rules stand in `architecture/rules.rs`.

#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::path::Path;

use source::Source;

/// Folders whose files people read as they read `src`.
const WRITTEN: &[&str] = &["src", "tests", "fuzz/src", "fuzz/targets"];

/// Every Rust file under the crate's folders.
fn read_sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            sources.push(Source::new(&inside, &std::fs::read_to_string(&path).unwrap()));
        }
    }
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let is_test = |test: &String| {
            source.path.strip_prefix(test.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        if tests.iter().any(is_test) {
            source.mark_as_test();
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn assert_kept(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn arrows_point_down() {
    let sources = read_sources(&["src"]);
    assert!(sources.len() > 10, "only {} files read", sources.len());
    assert_kept("a module uses what it must not know", rules::arrows(&sources));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    assert_kept("unsafe code", rules::unsafe_code(&read_sources(WRITTEN)));
}

#[test]
fn network_bytes_cannot_panic() {
    assert_kept("calls that panic on the packet path", rules::panics(&read_sources(&["src"])));
}

#[test]
fn pure_modules_take_the_world_as_arguments() {
    assert_kept("a pure module reaches out", rules::impure(&read_sources(&["src"])));
}

#[test]
fn files_and_functions_are_short() {
    assert_kept("too long", rules::lengths(&read_sources(WRITTEN)));
}

#[test]
fn nothing_is_put_off() {
    assert_kept("put off", rules::put_off(&read_sources(&[WRITTEN, &["benches"]].concat())));
}

/// A rule's checker.
type Rule = fn(&[Source]) -> Vec<String>;

/// What a rule must find: description, rule, path, source, findings.
type Row = (&'static str, Rule, &'static str, &'static str, usize);

#[test]
fn checkers_find_what_breaks_a_rule() {
    const BAD: &[Row] = &[
        ("import", rules::arrows, "src/wire/a.rs", "use crate::control::X;", 1),
        ("inline path", rules::arrows, "src/wire/a.rs", "fn f() -> crate::io::F {}", 1),
        ("group", rules::arrows, "src/io/a.rs", "use crate::{wire::F,\n control::{X, Y}};", 1),
        ("by super", rules::arrows, "src/io/x/a.rs", "use super::super::super::health::X;", 1),
        ("unknown module", rules::arrows, "src/attic.rs", "", 1),
        ("the command line", rules::arrows, "src/control/a.rs", "use crate::cli::run;", 1),
        ("unsafe", rules::unsafe_code, "src/wire/a.rs", "fn f() { unsafe { g() } }", 1),
        ("no reason", rules::unsafe_code, "src/arch.rs", "fn f() { unsafe { g() } }", 1),
        ("unwrap", rules::panics, "src/wire/a.rs", "fn f() { x.unwrap(); y.expect(\"z\") }", 2),
        ("unreachable", rules::panics, "src/dataplane/a.rs", "fn f() { unreachable!() }", 1),
        ("clock", rules::impure, "src/control/a.rs", "fn f() { Instant::now() }", 1),
        ("chance", rules::impure, "src/maglev/a.rs", "use rand::Rng;", 1),
        ("later", rules::put_off, "src/a.rs", concat!("// TO", "DO: later"), 1),
        ("no run", rules::put_off, "tests/a.rs", concat!("#[test]\n#[", "ignore]\nfn f() {}"), 1),
    ];
    for (description, rule, path, text, wanted) in BAD {
        let found = rule(&[Source::new(path, text)]);
        assert_eq!(found.len(), *wanted, "{description}: {found:?}");
    }
    let long = format!("fn f() {{\n{}}}\n", "g();\n".repeat(500));
    let found = rules::lengths(&[Source::new("src/a.rs", &long)]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn test_modules_in_files_of_their_own_are_known() {
    let text = "mod a;\n#[cfg(test)]\npub(crate) mod samples;\n#[cfg(test)]\nmod tests {}\n";
    let found = Source::new("src/wire/mod.rs", text).test_modules();
    assert_eq!(found, ["src/wire/samples", "src/wire/tests"]);
    assert_eq!(Source::new("src/wire/arp.rs", text).test_modules()[0], "src/wire/arp/samples");
    assert_eq!(Source::new("src/lib.rs", text).test_modules()[0], "src/samples");
}

#[test]
fn checkers_let_good_code_pass() {
    const GOOD: &[Row] = &[
        ("down", rules::arrows, "src/control/a.rs", "use crate::{wire::F, forwarding::S};", 0),
        ("itself", rules::arrows, "src/wire/a.rs", "use crate::wire::F; use super::G;", 0),
        ("in a comment", rules::arrows, "src/wire/a.rs", "//! [`crate::control::X`]", 0),
        ("in a string", rules::arrows, "src/wire/a.rs", "const S: &str = \"crate::io\";", 0),
        ("macro", rules::arrows, "src/wire/a.rs", "macro_rules! m { () => { $crate::io::X } }", 0),
        ("command line", rules::arrows, "src/cli/run.rs", "use crate::io::X;", 0),
        ("attribute", rules::unsafe_code, "src/lib.rs", "#![deny(unsafe_code)]", 0),
        (
            "reason",
            rules::unsafe_code,
            "src/arch.rs",
            "// SAFETY: a hint reads nothing.\nfn f() { unsafe { g() } }",
            0,
        ),
        ("or", rules::panics, "src/wire/a.rs", "fn f() { x.unwrap_or(1) }", 0),
        (
            "tests may",
            rules::panics,
            "src/wire/a.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n fn g() { x.unwrap() }\n}\n",
            0,
        ),
        ("raw string", rules::panics, "src/wire/a.rs", "const S: &str = r#\"panic!(\"#;", 0),
        ("lifetime", rules::panics, "src/wire/a.rs", "fn f<'a>(x: &'a str) -> char { '\"' }", 0),
        ("a field", rules::impure, "src/wire/a.rs", "fn process(rand: u8) {}", 0),
        ("elsewhere", rules::panics, "src/cli/a.rs", "fn f() { x.unwrap() }", 0),
    ];
    for (description, rule, path, text, wanted) in GOOD {
        let found = rule(&[Source::new(path, text)]);
        assert_eq!(found.len(), *wanted, "{description}: {found:?}");
    }
}
