//! The text of a configuration: read or refused, and what is refused has its place.

use guideway::source::yaml;

/// Reads a text; one that is not UTF-8 with what is wrong replaced.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let error = match yaml::parse("f", &text) {
        Ok(_) => return,
        Err(error) => error,
    };
    let lines = text.lines().count().max(1) + 1;
    assert!(!error.problems.is_empty(), "refused without a reason");
    for problem in &error.problems {
        let (Some(line), Some(column)) = (problem.line, problem.column) else {
            assert_eq!(problem.problem, "the file is empty");
            continue;
        };
        let (line, column) = (line as usize, column as usize);
        assert!((1..=lines).contains(&line), "line {line} of {lines}");
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!((1..=longest + 2).contains(&column), "column {column} of {longest}");
        assert!(!problem.problem.is_empty() && !problem.wanted.is_empty());
    }
    assert!(error.to_string().starts_with("f:"), "{error}");
}
