//! The rules, each a function from sources to the list of what breaks it.

use super::source::{Source, line_of, words};

/// What a top-level module may use of the others. Arrows point down only.
pub const HOUSE: &[(&str, &[&str])] = &[
    ("arch", &[]),
    ("wire", &[]),
    ("maglev", &[]),
    ("forwarding", &["arch", "wire", "maglev"]),
    ("dataplane", &["arch", "wire", "forwarding"]),
    ("control", &["wire", "maglev", "forwarding"]),
    ("source", &["wire", "forwarding", "control"]),
    ("health", &["control"]),
    ("announce", &["wire", "forwarding", "control"]),
    ("io", &["arch", "wire"]),
    ("records", &["wire", "forwarding", "dataplane"]),
    (
        "runtime",
        &["arch", "wire", "forwarding", "dataplane", "control", "health", "announce", "io"],
    ),
    ("admin", &["wire", "forwarding", "dataplane", "control"]),
];

/// What single files may use beyond that: file, module, reason.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "src/admin/status.rs",
        "io",
        "a queue's counters are plain data, shown as they are; no device comes with them",
    ),
    ("src/admin/metrics/frames.rs", "io", "the same counters, as Prometheus is told"),
    ("src/admin/sample.rs", "io", "the same counters in the report that tests and docs show"),
];

/// Where code may be unsafe.
pub const UNSAFE_ROOMS: &[&str] = &["src/io/afxdp", "src/arch.rs"];

/// Modules that network bytes reach: nothing there may panic on them.
pub const PANIC_FREE: &[&str] = &["wire", "forwarding", "dataplane"];

/// Calls in panic-free modules that cannot be reached with network bytes: file, text, reason.
pub const PANIC_ALLOWED: &[(&str, &str, &str)] = &[];

/// Modules that are functions of their arguments: time, chance and input come from outside.
pub const PURE: &[&str] = &["wire", "maglev", "forwarding", "dataplane", "control", "records"];
/// What would bring a clock, chance, threads, locks or input into them.
const IMPURE_NAMES: &[&str] = &[
    "Instant",
    "SystemTime",
    "thread",
    "Mutex",
    "RwLock",
    "fs",
    "process",
    "tokio",
    "rand",
    "println",
    "eprintln",
    "tracing",
];

/// A file is at most this long; the longer ones below may shrink, not grow.
pub const FILE_LINES: usize = 500;
pub const LONG_FILES: &[(&str, usize)] = &[];

/// A function is at most this long; the longer ones below may shrink, not grow.
pub const FUNCTION_LINES: usize = 70;
pub const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Imports and inline paths against [`HOUSE`]. `lib.rs`, `main.rs` and `cli` may use everything.
pub fn arrows(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let module = source.module();
        if ["lib", "main", "cli"].contains(&module) {
            continue;
        }
        let Some((_, may_use)) = HOUSE.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{}: `{module}` has no place in the house", source.path));
            continue;
        };
        for (line, used) in source.top_level_paths() {
            let is_module = used == "cli" || HOUSE.iter().any(|(name, _)| *name == used);
            let is_exception =
                EXCEPTIONS.iter().any(|(path, module, _)| *path == source.path && *module == used);
            if is_module && used != module && !may_use.contains(&used.as_str()) && !is_exception {
                broken.push(format!("{}:{line}: `{module}` must not use `{used}`", source.path));
            }
        }
    }
    broken
}

/// Unsafe code in its rooms only, and each use with its reason in the lines before.
pub fn unsafe_code(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.raw.lines().collect();
        for at in words(&source.code, "unsafe") {
            let line = line_of(&source.code, at);
            if !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
                broken.push(format!("{}:{line}: unsafe outside its rooms", source.path));
                continue;
            }
            let before = &lines[line.saturating_sub(10)..line];
            let has_reason =
                before.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !has_reason {
                broken.push(format!("{}:{line}: unsafe without `// SAFETY:`", source.path));
            }
        }
    }
    broken
}

/// Calls that panic, outside tests, in the modules that network bytes reach.
pub fn panics(sources: &[Source]) -> Vec<String> {
    const CALLS: &[&str] = &[
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        concat!("to", "do!("),
        "unimplemented!(",
    ];
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| PANIC_FREE.contains(&source.module())) {
        for (number, line) in source.product.lines().enumerate() {
            let raw = source.raw.lines().nth(number).unwrap_or_default();
            let is_allowed = PANIC_ALLOWED
                .iter()
                .any(|(path, text, _)| *path == source.path && raw.contains(text));
            let calls = CALLS.iter().filter(|call| line.contains(**call) && !is_allowed);
            broken.extend(
                calls.map(|call| format!("{}:{}: `{call}` can panic", source.path, number + 1)),
            );
        }
    }
    broken
}

/// Clocks, chance, threads, locks and input in the pure modules, outside tests.
pub fn impure(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| PURE.contains(&source.module())) {
        for name in IMPURE_NAMES {
            for at in words(&source.product, name) {
                // Names of our own are not meant: a path or a macro is.
                let rest = &source.product[at + name.len()..];
                if rest.starts_with("::") || rest.starts_with('!') {
                    let line = line_of(&source.product, at);
                    broken.push(format!("{}:{line}: `{name}` in a pure module", source.path));
                }
            }
        }
    }
    broken
}

/// Files and functions not longer than a person reads with pleasure.
pub fn lengths(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let limit = LONG_FILES
            .iter()
            .find(|(path, _)| *path == source.path)
            .map_or(FILE_LINES, |(_, lines)| *lines);
        let lines = source.raw.lines().count();
        if lines > limit {
            broken.push(format!("{}: {lines} lines, at most {limit}", source.path));
        }
        for (line, name, lines) in source.functions() {
            let limit = LONG_FUNCTIONS
                .iter()
                .find(|(path, function, _)| *path == source.path && *function == name)
                .map_or(FUNCTION_LINES, |(_, _, lines)| *lines);
            if lines > limit {
                broken.push(format!(
                    "{}:{line}: fn {name} has {lines} lines, at most {limit}",
                    source.path
                ));
            }
        }
    }
    broken
}

/// Nothing put off: no notes to do it later, no tests that do not run.
pub fn put_off(sources: &[Source]) -> Vec<String> {
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut broken = Vec::new();
    for source in sources {
        for note in notes {
            for at in words(&source.raw, note) {
                broken.push(format!("{}:{}: {note}", source.path, line_of(&source.raw, at)));
            }
        }
        for at in source.code.match_indices(concat!("#[", "ignore")).map(|(at, _)| at) {
            let line = line_of(&source.code, at);
            broken.push(format!("{}:{line}: a test that does not run", source.path));
        }
    }
    broken
}
