//! Pages under `docs/reference` that are made from the code, kept equal to it.

#[path = "docs/advice.rs"]
mod advice;
#[path = "docs/page.rs"]
mod page;

use std::path::Path;

/// Set, the pages are written instead of compared.
const WRITE: &str = "GUIDEWAY_WRITE_DOCS";

#[test]
fn the_page_of_verdicts_is_what_the_code_says() {
    check("docs/reference/verdicts.md", &page::verdicts());
}

#[test]
fn each_piece_of_advice_is_one_sentence_or_two_in_one_line() {
    for advice in page::all_advice() {
        assert!(advice.ends_with('.') && !advice.contains(['\n', '|']), "{advice}");
        assert!(!advice.contains("  ") && advice.len() <= 240, "{advice}");
    }
}

fn check(page: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{page} is not what the code says; first difference: {differs:?}\n\
         make it anew with: {WRITE}=1 cargo test --no-default-features --test docs"
    );
}
