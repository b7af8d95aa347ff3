//! What is wrong with a file, shown with its line and a caret.

use std::fmt;

/// Characters of a source line that are shown; a longer one is cut around the caret.
const MAX_LINE_SHOWN: usize = 100;
/// Problems that are looked for before the reading ends.
pub(super) const MAX_FINDINGS: usize = 200;
/// Problems that are shown on a terminal; the structured form has all of them.
const MAX_SHOWN: usize = 50;

/// A place in the text; line and column (in characters) count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub line: u32,
    pub column: u32,
    pub len: u32,
}

impl Place {
    pub fn new(line: usize, column: usize, len: usize) -> Place {
        let small = |number: usize| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
        Place { line: small(line), column: small(column), len: small(len) }
    }
}

/// A problem on its way into a [`ConfigError`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    pub path: String,
    pub place: Option<Place>,
    pub problem: String,
    pub wanted: String,
    pub hint: Option<String>,
}

impl Finding {
    pub fn new(
        path: impl Into<String>,
        place: Option<Place>,
        problem: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Finding {
        let (path, problem, wanted) = (path.into(), problem.into(), wanted.into());
        Finding { path, place, problem, wanted, hint: None }
    }

    pub fn with_hint(mut self, hint: Option<String>) -> Finding {
        self.hint = hint;
        self
    }
}

/// One problem of a file, with everything needed to show it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// Field, such as `services[0].backends[1].port`; empty when it is the whole file.
    pub path: String,
    /// Line, from 1; none when the file could not be read.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub wanted: String,
    /// Advice.
    pub hint: Option<String>,
    /// The line of the file, cut where it is long.
    pub source_line: Option<String>,
    /// Where in `source_line` the carets begin, and how many; in characters, from 0.
    pub caret: Option<(u32, u32)>,
}

/// A file was refused: all problems that were found, in the file's order.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(file: &str, text: &str, mut findings: Vec<Finding>) -> ConfigError {
        findings.sort_by_key(|finding| finding.place.map(|place| (place.line, place.column)));
        let lines: Vec<&str> = text.lines().collect();
        let problems = findings.into_iter().map(|finding| problem(finding, &lines)).collect();
        ConfigError { file: file.to_string(), problems }
    }

    /// A problem of the whole file, such as that it cannot be read.
    pub(super) fn of_file(file: &str, problem: impl Into<String>, wanted: &str) -> ConfigError {
        ConfigError::new(file, "", vec![Finding::new("", None, problem, wanted)])
    }
}

fn problem(finding: Finding, lines: &[&str]) -> Problem {
    let Finding { path, place, problem, wanted, hint } = finding;
    let place = place.map(|place| clamp(place, lines));
    let shown = place.and_then(|place| {
        let line = lines.get(place.line as usize - 1)?;
        Some(show(line, place))
    });
    Problem {
        path,
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        problem,
        wanted,
        hint,
        source_line: shown.as_ref().map(|(line, _)| line.clone()),
        caret: shown.map(|(_, caret)| caret),
    }
}

/// The parser reports what is missing at the end as standing behind the last line.
fn clamp(place: Place, lines: &[&str]) -> Place {
    let last = lines.iter().rposition(|line| !line.trim().is_empty());
    match last {
        Some(last) if place.line as usize > lines.len() => {
            Place::new(last + 1, lines.get(last).map_or(0, |line| line.chars().count()) + 1, 1)
        }
        _ => place,
    }
}

/// The line as it may be printed, and where in it the carets go.
fn show(line: &str, place: Place) -> (String, (u32, u32)) {
    let at = place.column as usize - 1;
    let from = at.saturating_sub(MAX_LINE_SHOWN / 2);
    let mut shown: String = line.chars().skip(from).take(MAX_LINE_SHOWN).map(printable).collect();
    let mut caret = at - from;
    if from > 0 {
        shown.insert(0, '…');
        caret += 1;
    }
    if line.chars().nth(from + MAX_LINE_SHOWN).is_some() {
        shown.push('…');
    }
    let room = shown.chars().count().saturating_sub(caret).max(1);
    let len = (place.len as usize).clamp(1, room);
    (shown.trim_end().to_string(), (caret as u32, len as u32))
}

/// A hostile file's control characters must not reach a terminal.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}') => {
            '\u{fffd}'
        }
        c => c,
    }
}

/// A text of the file in a message: in backticks, cut, without control characters.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(60).map(printable).collect();
    let more = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{cut}{more}`")
}

impl fmt::Display for Problem {
    /// Everything behind the file name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; wanted {}", self.problem, self.wanted)?;
        let number = self.line.map(|line| line.to_string()).unwrap_or_default();
        let margin = number.len().max(4);
        if let (Some(line), Some((at, len))) = (&self.source_line, self.caret) {
            write!(f, "\n{number:>margin$} | {line}")?;
            let (at, carets) = (at as usize, "^".repeat(len as usize));
            write!(f, "\n{:>margin$} | {:at$}{carets}", "", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:>margin$} = hint: {hint}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.problems.iter().take(MAX_SHOWN).enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{}{problem}", self.file)?;
        }
        match self.problems.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more problems", self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_hostile_lines_are_cut_and_cleaned() {
        let long = format!("{}\u{1b}[31mX{}", "a".repeat(500), "b".repeat(500));
        let finding = Finding::new("p", Some(Place::new(1, 506, 1)), "bad", "good");
        let error = ConfigError::new("f", &long, vec![finding]);
        let shown = error.to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some('X'), "{shown}");
        assert!(lines[1].chars().count() < 120);
    }

    #[test]
    fn many_problems_are_cut_on_the_terminal_only() {
        let findings = (0..60).map(|n| Finding::new("", Some(Place::new(n, 1, 1)), "a", "b"));
        let error = ConfigError::new("f", "", findings.collect());
        assert_eq!(error.problems.len(), 60);
        assert!(error.to_string().ends_with("\nf: and 10 more problems"));
    }
}
