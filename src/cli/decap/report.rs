//! Counters and settings as text and as JSON.

use std::fmt::Write;

use serde_json::Value;

use super::settings::{Finding, State};
use crate::cli::status::CounterChoice;
use crate::cli::table::{Aligned, bad, plain, wrapped};
use crate::io::afxdp::decap::layout::DECAP_COUNTERS;

/// Before explanations and commands.
const INDENT: &str = "       ";

/// What one interface's program counted.
pub struct Counted {
    pub interface: String,
    pub mode: &'static str,
    pub counters: [u64; DECAP_COUNTERS.len()],
}

/// A row a counter.
pub fn counters_text(counted: &[Counted], choice: CounterChoice, coloured: bool) -> String {
    let mut table = Aligned::new(coloured, "INTERFACE|MODE|COUNTER|#FRAMES");
    for Counted { interface, mode, counters } in counted {
        for (name, count) in DECAP_COUNTERS.iter().zip(counters) {
            if choice == CounterChoice::All || *count > 0 {
                let name = if name.starts_with("dropped") { bad(name) } else { plain(name) };
                table.row([plain(interface), plain(mode), name, plain(count)]);
            }
        }
    }
    let text = table.text();
    if text.is_empty() { "no frame was seen\n".to_string() } else { text }
}

/// All counters, for programs.
pub fn counters_value(counted: &[Counted]) -> Value {
    let interfaces = counted.iter().map(|Counted { interface, mode, counters }| {
        let named = DECAP_COUNTERS.iter().zip(counters);
        let named: serde_json::Map<_, _> =
            named.map(|(name, count)| (name.to_string(), (*count).into())).collect();
        serde_json::json!({ "interface": interface, "mode": mode, "counters": named })
    });
    let interfaces: Vec<_> = interfaces.collect();
    serde_json::json!({ "interfaces": interfaces })
}

/// A paragraph a setting: how it is, why it matters, what to run.
pub fn settings_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { setting, value, wanted, state, why, fix } = finding;
        let word = match state {
            State::Fine => "ok",
            State::Wrong => "WRONG",
            State::Hint => "hint",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{word:<6} {setting}: {value}; wanted: {wanted}");
        for line in wrapped(why, INDENT.len()) {
            let _ = writeln!(text, "{INDENT}{line}");
        }
        if let Some(fix) = fix {
            let _ = writeln!(text, "{INDENT}# {fix}");
        }
    }
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    let _ = match wrong {
        0 => writeln!(text, "nothing is set wrong"),
        1 => writeln!(text, "1 setting is wrong"),
        wrong => writeln!(text, "{wrong} settings are wrong"),
    };
    text
}

/// The same for programs.
pub fn settings_value(findings: &[Finding]) -> Value {
    let wrong = findings.iter().filter(|finding| finding.state == State::Wrong).count();
    serde_json::json!({ "wrong": wrong, "settings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::COLUMNS;

    fn counted() -> [Counted; 1] {
        let mut counters = [0; DECAP_COUNTERS.len()];
        (counters[0], counters[3], counters[12]) = (1200, 7, 3);
        [Counted { interface: "eth1".to_string(), mode: "native", counters }]
    }

    #[test]
    fn counters_look_like_this() {
        assert_eq!(
            counters_text(&counted(), CounterChoice::Nonzero, false),
            "INTERFACE  MODE    COUNTER              FRAMES
eth1       native  decapsulated_ipip      1200
eth1       native  passed                    7
eth1       native  dropped_destination       3
"
        );
        let all = counters_text(&counted(), CounterChoice::All, false);
        assert_eq!(all.lines().count(), 1 + DECAP_COUNTERS.len());
        assert_eq!(counters_text(&[], CounterChoice::All, false), "no frame was seen\n");
        let json = counters_value(&counted());
        assert_eq!(json["interfaces"][0]["counters"]["dropped_destination"], 3);
        assert_eq!(json["interfaces"][0]["counters"]["dropped_ecn"], 0);
    }

    #[test]
    fn settings_look_like_this() {
        let finding = |state, fix: Option<&str>| Finding {
            setting: "net.ipv4.conf.eth1.rp_filter".to_string(),
            value: "1 (own 1, all 0)".to_string(),
            wanted: "0 or 2",
            state,
            why: "word ".repeat(30),
            fix: fix.map(str::to_string),
        };
        let findings = [finding(State::Wrong, Some("sysctl -w a=2")), finding(State::Fine, None)];
        let text = settings_text(&findings);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "WRONG  net.ipv4.conf.eth1.rp_filter: 1 (own 1, all 0); wanted: 0 or 2"
        );
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
        assert_eq!(lines[3], "       # sysctl -w a=2");
        assert!(lines[4].starts_with("ok     net"), "{text}");
        assert_eq!(lines.last(), Some(&"1 setting is wrong"));
        let json = settings_value(&findings);
        assert_eq!((&json["wrong"], &json["settings"][0]["state"]), (&1.into(), &"wrong".into()));
    }
}
