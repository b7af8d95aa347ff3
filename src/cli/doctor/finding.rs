//! What a check found, and how it is shown.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::table::wrapped;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but not well, or not always.
    Warn,
    /// It will not work so.
    Fail,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub state: State,
    /// What was looked at: `rp_filter`, `mtu`, ….
    pub check: &'static str,
    /// Whose it is: an interface, a backend; empty for the machine's.
    pub of: String,
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Finding {
    fn new(state: State, check: &'static str, of: &str, found: impl Into<String>) -> Finding {
        Finding { state, check, of: of.to_string(), found: found.into(), advice: None }
    }

    /// As it should be.
    pub fn ok(check: &'static str, of: &str, found: impl Into<String>) -> Finding {
        Finding::new(State::Ok, check, of, found)
    }

    /// Not well, and what to do.
    pub fn warn(
        check: &'static str,
        of: &str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { advice: Some(advice.into()), ..Finding::new(State::Warn, check, of, found) }
    }

    /// It will not work, and what to do.
    pub fn fail(
        check: &'static str,
        of: &str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { advice: Some(advice.into()), ..Finding::new(State::Fail, check, of, found) }
    }
}

/// Before advice.
const INDENT: &str = "      ";

fn counted(findings: &[Finding]) -> (usize, usize) {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    (count(State::Fail), count(State::Warn))
}

/// A line a finding, with what to do below.
pub fn for_people(findings: &[Finding], coloured: bool) -> String {
    let mut text = String::new();
    for Finding { state, check, of, found, advice } in findings {
        let (word, colour) = match state {
            State::Ok => ("OK", 32),
            State::Warn => ("WARN", 33),
            State::Fail => ("FAIL", 31),
        };
        let padded = format!("{word:<4}");
        let word = if coloured { format!("\x1b[{colour}m{padded}\x1b[0m") } else { padded };
        let of = if of.is_empty() { String::new() } else { format!(" {of}") };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{word}  {check}{of}: {found}");
        for line in advice.iter().flat_map(|advice| wrapped(advice, INDENT.len())) {
            let _ = writeln!(text, "{INDENT}{line}");
        }
    }
    let _ = match counted(findings) {
        (0, 0) => writeln!(text, "all is fine"),
        (failed, warned) => writeln!(text, "{failed} FAIL, {warned} WARN"),
    };
    text
}

/// The same for programs.
pub fn for_programs(findings: &[Finding]) -> Value {
    let (failed, warned) = counted(findings);
    json!({ "failed": failed, "warned": warned, "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::COLUMNS;

    #[test]
    fn findings_look_like_this() {
        let findings = [
            Finding::ok("kernel", "", "6.18.5"),
            Finding::warn("rp_filter", "eth1", "1 (strict)", "word ".repeat(30)),
            Finding::fail("mtu", "eth1", "9000", "`ip link set eth1 mtu 1770`"),
        ];
        let text = for_people(&findings, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "OK    kernel: 6.18.5");
        assert_eq!(lines[1], "WARN  rp_filter eth1: 1 (strict)");
        assert!(lines[2].starts_with("      word word") && lines[2].len() <= COLUMNS, "{text}");
        let last = ["FAIL  mtu eth1: 9000", "      `ip link set eth1 mtu 1770`", "1 FAIL, 1 WARN"];
        assert_eq!(&lines[4..], last);
        assert!(for_people(&findings, true).starts_with("\u{1b}[32mOK  \u{1b}[0m  kernel"));
        assert_eq!(for_people(&findings[..1], false), "OK    kernel: 6.18.5\nall is fine\n");
        let value = for_programs(&findings);
        assert_eq!((&value["failed"], &value["findings"][2]["state"]), (&1.into(), &"fail".into()));
    }
}
