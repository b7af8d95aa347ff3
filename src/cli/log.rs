//! The log of commands that run on: to standard error, for people or for programs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How it is written.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// `human` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    fn is_human(self, is_terminal: bool) -> bool {
        match self {
            LogFormat::Auto => is_terminal,
            LogFormat::Human => true,
            LogFormat::Json => false,
        }
    }
}

/// Begins it: events that pass `filter`.
pub fn begin(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format.is_human(is_terminal) {
        log.with_target(false).with_ansi(is_terminal && !super::ask::is_colour_refused()).init();
    } else {
        log.json().flatten_event(true).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_terminals() {
        let rows = [
            (LogFormat::Auto, true, true),
            (LogFormat::Auto, false, false),
            (LogFormat::Human, false, true),
            (LogFormat::Json, true, false),
        ];
        for (format, is_terminal, wanted) in rows {
            assert_eq!(format.is_human(is_terminal), wanted, "{format:?}");
        }
    }
}
