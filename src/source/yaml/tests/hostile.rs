//! Files that are made to hurt: refused before they cost much, and never a panic.

use proptest::prelude::*;

use super::*;
use crate::source::yaml::{MAX_FILE_BYTES, MAX_LINE_BYTES};

fn first(text: &str) -> String {
    let error = parse("f", text).unwrap_err();
    error.to_string().lines().next().unwrap_or_default().to_string()
}

#[test]
fn hostile_texts_are_refused() {
    let bomb = (0..40).fold("a0: &a0 [x, x]\n".to_string(), |text, n| {
        let list = format!("*a{n}, ").repeat(10);
        format!("{text}a{}: &a{} [{list}]\n", n + 1, n + 1)
    });
    let chain = (0..40).fold("a0: &a0 [x]\n".to_string(), |text, n| {
        format!("{text}a{}: &a{} [*a{n}]\n", n + 1, n + 1)
    });
    let keys = (0..100_000).fold(String::new(), |text, n| format!("{text}k{n}: 1\n"));
    let block = (0..1_000).fold(String::new(), |text, n| text + &" ".repeat(n) + "a:\n");
    let values = "- a\n".repeat(2_100_000);
    let deep = "f:1:33: lists and maps nested too deeply; wanted at most 32 levels";
    let rows = [
        ("flow lists in flow lists", "[".repeat(50_000), deep.to_string()),
        ("flow maps in flow maps", "{a: ".repeat(10_000), deep.replace(":33:", ":129:")),
        ("block maps in block maps", block, deep.replace("1:33", "33:33")),
        (
            "aliases of aliases",
            bomb,
            "f:7:35: too many values; wanted at most 2000000, aliases counted as often as they are \
             used"
                .to_string(),
        ),
        (
            "aliases that deepen",
            chain,
            "f:33:11: lists and maps nested too deeply; wanted at most 32 levels".to_string(),
        ),
        ("a map of many keys", keys, "f:257:1: too many keys; wanted at most 256".to_string()),
        (
            "many values",
            values,
            "f:2000001:3: too many values; wanted at most 2000000, aliases counted as often as \
             they are used"
                .to_string(),
        ),
        (
            "a line of 50 MB",
            format!("a: {}", "x".repeat(50_000_000)),
            format!("f: the file is too large; wanted at most {MAX_FILE_BYTES} bytes"),
        ),
        (
            "a long line",
            format!("a: 1\nb: {}", "x".repeat(MAX_LINE_BYTES)),
            "f:2:1: a line of 65539 bytes; wanted lines of at most 65536 bytes".to_string(),
        ),
    ];
    for (description, text, wanted) in rows {
        assert_eq!(first(&text), wanted, "{description}");
    }
}

#[test]
fn problems_without_end_are_cut() {
    let interfaces = "  - { name: 'a b', colour: red }\n".repeat(100_000);
    let text = format!("version: 1\ninterfaces:\n{interfaces}services: []\n");
    assert_eq!(parse("f", &text).unwrap_err().problems.len(), MAX_FINDINGS);
    let twice = "  a: 1\n".repeat(100_000);
    assert_eq!(parse("f", &format!("x:\n{twice}")).unwrap_err().problems.len(), MAX_FINDINGS);
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("latin1"), b"version: 1\nname: caf\xe9\n").unwrap();
    std::fs::write(path("utf16"), b"\xff\xfev\0e\0").unwrap();
    std::fs::File::create(path("large")).unwrap().set_len(1 << 40).unwrap();
    let rows = [
        ("not there", "none", ": cannot be read: No such file or directory (os error 2); wanted"),
        ("a directory", ".", ": cannot be read: Is a directory (os error 21); wanted"),
        ("Latin 1", "latin1", ":2:10: the byte 0xe9 is not UTF-8; wanted UTF-8 text\n   2 | name:"),
        ("UTF-16", "utf16", ":1:1: the byte 0xff is not UTF-8; wanted UTF-8 text"),
        ("a terabyte", "large", ": the file is too large; wanted at most 16777216"),
    ];
    for (description, name, wanted) in rows {
        let shown = load(&path(name)).unwrap_err().to_string();
        let tail = shown.strip_prefix(&path(name).display().to_string()).unwrap();
        assert!(tail.starts_with(wanted), "{description}: {shown}");
    }
}

/// Pieces that YAML gives a meaning, so that random texts get further than the first character.
fn piece() -> impl Strategy<Value = String> {
    const KNOWN: &str = "version: 1\n;interfaces:\n;services:\n;  - ;name: ;address: ;port: ;80;\
        10.1.0.1;\n;\n  ;\n    ;{;};[;];, ;: ;&a ;*a;';\";|\n;>\n;#;!!x ;---\n;? ;\t;é;\u{feff};~;\0;\\";
    let known: Vec<String> = KNOWN.split(';').map(String::from).collect();
    prop_oneof![8 => prop::sample::select(known), 1 => ".{0,4}"]
}

proptest! {
    /// Whatever the text, an answer comes and can be shown, with its carets inside the line.
    #[test]
    fn no_text_panics(pieces in prop::collection::vec(piece(), 0..60)) {
        if let Err(error) = parse("f", &pieces.concat()) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.to_string().starts_with("f:"));
        }
    }

    /// A fine file with one piece put anywhere.
    #[test]
    fn no_change_of_a_fine_file_panics(at in 0..SMALL.len(), cut in 0..9usize, new in piece()) {
        let end = (at + cut).min(SMALL.len());
        let text = format!("{}{new}{}", &SMALL[..at], &SMALL[end..]);
        if let Err(error) = parse("f", &text) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.to_string().starts_with("f:"));
        }
    }
}
